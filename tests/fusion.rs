//! Fused programs of rows mean what they mean unfused: in machine code, in the interpreter
//! of plans, with fusion and without.
#![allow(missing_docs)]

#[path = "common/random.rs"]
#[allow(dead_code, reason = "what other tests need")]
mod random;

use backstitch::ir::{Array, Type};
use backstitch::prelude::*;
use backstitch::{Backend, DType, Options};

/// Of an array of rows, two vectors of a row's length, and an array of weights.
type Loss = for<'t> fn(&'t Trace, [Tensor<'t>; 4]) -> Tensor<'t>;

const LOSSES: [(&str, Loss); 12] = [
    ("soft-max", |_, [x, _, _, w]| (x.softmax(1) * w).sum()),
    ("logsumexp", |_, [x, _, _, w]| (x.logsumexp_over(1).square().expand_dims(1) * w).sum()),
    ("cross entropy", |_, [x, _, _, w]| x.cross_entropy(w.softmax(1)).mean()),
    ("layer norm", |_, [x, g, b, w]| (x.layer_norm(g, b, 1e-5) * w).sum()),
    ("logsumexp of a layer norm", |_, [x, g, b, _]| {
        let y = x.layer_norm(g, b, 1e-5);
        (y.logsumexp_over(1) - y.index(1, 0)).mean()
    }),
    ("the last of each row", |_, [x, g, _, _]| {
        let y = x.tanh() * g;
        (y.index(1, -1) * y.sum_over(1)).sum()
    }),
    ("some of each row", |_, [x, g, b, w]| {
        let y = (x * g + b).exp();
        (y.slice(1, ..1, 1) * w).sum() + y.max_over(1).sum()
    }),
    ("sums over both axes", |_, [x, g, b, w]| {
        let y = x * g + b;
        (y.sum_over(0) * g).sum() + (y.sum_over(1).sin().expand_dims(1) * w).sum()
    }),
    ("regression", |_, [x, g, b, w]| {
        let z = x.matmul(g) + b.sum();
        (z.softplus() - w.sum_over(1) * z).mean()
    }),
    ("columns of one", |_, [x, g, _, w]| {
        let z = x.matmul(g.expand_dims(1));
        (z - w.sum_keep(1)).square().mean()
    }),
    ("a reduction over rows read again", |_, [x, _, _, w]| {
        let y = x - x.mean_over(0);
        (y.square() * w).sum() + y.exp().mean_over(0).prod()
    }),
    ("rows one after the other", |_, [x, g, b, w]| {
        let y = x.softmax(1).layer_norm(g, b, 1e-3).log_softmax(1);
        (y * w).sum()
    }),
];

fn compare(dtype: DType, dims: [usize; 2], tolerance: f64) {
    let [n, k] = dims;
    let shapes: [&[usize]; 4] = [&[n, k], &[k], &[k], &[n, k]];
    let specs: Vec<Spec> = shapes.iter().map(|d| Spec::new(dtype, *d)).collect();
    let mut rng = random::Rng(7);
    let inputs: Vec<Array> =
        shapes.iter().map(|d| rng.array(&Type::new(dtype, *d), -1.0, 1.0)).collect();
    for (name, f) in LOSSES {
        let f = trace(specs.clone(), (), move |t, p: Vec<Tensor<'_>>, ()| {
            f(t, [p[0], p[1], p[2], p[3]])
        });
        let f = f.unwrap().value_and_grad().unwrap();
        let run = |options: Options| {
            let (value, gradients) = f.compile_with(&options).unwrap().call(&inputs, &()).unwrap();
            std::iter::once(value).chain(gradients).collect::<Vec<Array>>()
        };
        let code = run(Options::default());
        let interpreted = run(Options::default().backend(Backend::Interpreter));
        let apart = run(Options::default().optimise(false));
        for (i, ((a, b), c)) in code.iter().zip(&interpreted).zip(&apart).enumerate() {
            assert!(a.same_bits(b), "{name} {dims:?}, output {i}: machine code and interpreter");
            for (x, y) in a.to_f64_vec().into_iter().zip(c.to_f64_vec()) {
                let near = (x - y).abs() <= tolerance * (1.0 + x.abs().max(y.abs()));
                assert!(
                    near || (x.is_nan() && y.is_nan()),
                    "{name} {dims:?}, output {i}: {x}, {y}"
                );
            }
        }
    }
}

#[test]
fn programs_of_rows_of_odd_shapes() {
    for dims in [[1, 1], [1, 7], [5, 1], [3, 2], [17, 33], [33, 17]] {
        compare(DType::F64, dims, 1e-9);
        compare(DType::F32, dims, 2e-3);
    }
}

#[test]
fn programs_of_rows_in_chunks() {
    for dims in [[700, 61], [61, 700]] {
        compare(DType::F64, dims, 1e-8);
    }
}

/// A few elements of what a kernel has at hand for each of its own are computed again; here
/// they lie across the rows of a part of an array.
#[test]
fn a_look_across_rows_of_a_part_of_an_array() {
    let f = trace_tree(Spec::f64([40, 9]), (), |t, x, ()| {
        let inner = x.slice(0, 1..38, 1).slice(1, 1..8, 1).abs();
        let flat = inner.reshape([37 * 7]);
        let looks = [flat.slice(0, 5..17, 1), flat.slice(0, .., -11).slice(0, 2..20, 1)];
        t.outputs(&vec![inner.sum(), looks[0].sin(), looks[1].sin()])
    });
    let f = f.unwrap();
    let mut rng = random::Rng(3);
    let x = rng.array(&Type::new(DType::F64, [40, 9]), -1.0, 1.0);
    let run = |options: Options| f.compile_with(&options).unwrap().call(&x, &()).unwrap();
    let (fused, apart) = (run(Options::default()), run(Options::default().optimise(false)));
    for (a, b) in fused[1..].iter().zip(&apart[1..]) {
        assert!(a.same_bits(b), "{a:?} and {b:?}");
    }
}
