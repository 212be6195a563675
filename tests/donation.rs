//! Parameters that become outputs where they are: the same bits as without.
#![allow(missing_docs)]

use backstitch::ir::plan::{Place, Plan, Step};
use backstitch::prelude::*;
use backstitch::{Backend, BindError, Compiled, DonationError, Error, Options};
use ndarray::{Array1, Array2, arr1, arr2};

fn donating() -> Options {
    Options::default().donate_parameters()
}

/// Copies at the top of a plan into what is donated.
fn copied_back(plan: &Plan) -> usize {
    let donated = |b| matches!(plan.buffers[b], ref d if matches!(d.place, Place::Donated { .. }));
    plan.steps.iter().filter(|s| matches!(s, Step::Copy { to, .. } if donated(*to))).count()
}

type Layers<T> = Vec<(T, T)>;

/// A perceptron's loss, and its parameters after a step of plain descent.
fn descent<'t>(
    t: &'t Trace,
    layers: Layers<Tensor<'t>>,
    (x, y): (Tensor<'t>, Tensor<'t>),
) -> backstitch::Outputs<(Layers<Spec>, Spec)> {
    let tape = t.tape();
    tape.watch(&layers);
    let mut h = x;
    let last = layers.len() - 1;
    for (i, (w, b)) in layers.iter().enumerate() {
        h = h.matmul(*w) + *b;
        if i < last {
            h = h.tanh();
        }
    }
    let loss = (h - y).square().mean();
    let slopes = tape.gradient(&loss, &layers);
    let next: Layers<Tensor<'t>> = (layers.iter().zip(&slopes))
        .map(|((w, b), (dw, db))| {
            let step = |x: Tensor<'t>, d: &backstitch::Gradient<'t>| {
                x - 0.1 * d.value().expect("the loss depends on it")
            };
            (step(*w, dw), step(*b, db))
        })
        .collect();
    t.outputs(&(next, loss))
}

fn wave(rows: usize, columns: usize, scale: f64) -> Array2<f64> {
    Array2::from_shape_fn((rows, columns), |(i, j)| {
        scale * (1.7 * i as f64 + 0.9 * j as f64 + 0.3).sin()
    })
}

#[test]
fn a_training_step_is_one_call_that_changes_the_parameters() {
    let sizes = [16, 32, 32, 1];
    let params: Vec<(Array2<f64>, Array2<f64>)> =
        sizes.windows(2).map(|n| (wave(n[0], n[1], 0.3), wave(1, n[1], 0.1))).collect();
    let data = (wave(32, 16, 1.0), wave(32, 1, 0.5));
    let specs = (backstitch::specs(&params), backstitch::specs(&data));
    let step = trace_tree(specs.0, specs.1, descent).unwrap();
    let plain = step.compile().unwrap();
    for backend in [Backend::Cpu, Backend::Interpreter] {
        let update = step.compile_with(&donating().backend(backend)).unwrap();
        let plan = update.executable().plan();
        assert_eq!(copied_back(plan), 0, "{plan}");
        let mut now = params.clone();
        let mut ws = update.workspace().unwrap();
        let mut before = params.clone();
        for _ in 0..5 {
            let mut loss = 0.0;
            update.update_into(&mut ws, &mut now, &data, &mut loss).unwrap();
            let (want, want_loss) = plain.call(&before, &data).unwrap();
            let exact = backend == Backend::Cpu;
            for (((w, b), (x, y)), (a, c)) in want.iter().zip(&now).zip(&mut before) {
                for (want, got) in [(w, x), (b, y)] {
                    let want = want.to_f64_vec();
                    assert!(want.iter().zip(got).all(|(a, b)| match exact {
                        true => a.to_bits() == b.to_bits(),
                        false => (a - b).abs() < 1e-12,
                    }));
                }
                (*a, *c) = (x.clone(), y.clone());
            }
            assert!((want_loss.item::<f64>().unwrap() - loss).abs() < 1e-12);
        }
    }
}

/// Calls both, and compares all bits.
fn same<O: Tree<Spec> + Clone>(f: &Traced<(Spec, Spec), Spec, O>, x: [&Array1<f64>; 3])
where
    O::With<backstitch::Array>: Tree<backstitch::Array>,
{
    let plain = f.compile().unwrap();
    let want = plain.call(&(x[0], x[1]), x[2]).unwrap();
    let want: Vec<Vec<f64>> = want.leaves().iter().map(|a| a.to_f64_vec()).collect();
    for options in
        [donating(), donating().optimise(false), donating().backend(Backend::Interpreter)]
    {
        let update: Compiled<_, _, _> = f.compile_with(&options).unwrap();
        let mut params = (x[0].clone(), x[1].clone());
        let mut ws = update.workspace().unwrap();
        update.update_into(&mut ws, &mut params, x[2], &mut ()).unwrap();
        assert_eq!([params.0.to_vec(), params.1.to_vec()], want[..], "{update}");
        // Without leave to change them, copies are changed.
        let again = update.call(&(x[0], x[1]), x[2]).unwrap();
        let again: Vec<Vec<f64>> = again.leaves().iter().map(|a| a.to_f64_vec()).collect();
        assert_eq!(again, want);
    }
}

#[test]
fn what_is_still_wanted_is_kept() {
    let spec = || Spec::f64([4]);
    let arrays = [arr1(&[1.0, 2.0, 3.0, 4.0]), arr1(&[0.5, 0.25, 2.0, -1.0]), arr1(&[3.0; 4])];
    let x = [&arrays[0], &arrays[1], &arrays[2]];
    type Program = for<'t> fn(Tensor<'t>, Tensor<'t>, Tensor<'t>) -> (Tensor<'t>, Tensor<'t>);
    let programs: [Program; 11] = [
        // Exchanged; turned round; the same; one for both; from what is not donated.
        |a, b, _| (b, a),
        |a, b, _| (a.flip([0]), b),
        |a, b, _| (a, b),
        |a, _, _| (a, a),
        |_, _, c| (c, c),
        // The first is wanted for the second, and the other way round.
        |a, b, c| (a + b, a * c),
        |a, b, c| (a.cumsum(0), a.flip([0]) + b * c),
        |a, b, _| (a + b.sum(), b + a.sum()),
        |a, b, c| (a.zeros_like(), (a * b).sum() * c),
        |a, b, c| {
            (a.softmax(0), b.scatter_add(c.sum().cast(backstitch::DType::I64) - 10, a.sum(), 0))
        },
        |a, b, c| ((a - a.mean()) / (a.var() + 1.0).sqrt(), (b - a) / c),
    ];
    for program in programs {
        let f = trace_tree((spec(), spec()), spec(), |t, (a, b), c| t.outputs(&program(a, b, c)));
        same(&f.unwrap(), x);
    }
    let f = trace_tree((spec(), spec()), spec(), |t, (a, b), c| {
        t.outputs(&t.for_loop(5, (a, b), |_, (a, b)| ((a + b * 0.1).sin(), b * c + a)))
    });
    same(&f.unwrap(), x);
    let f = trace_tree((spec(), spec()), spec(), |t, (a, b), c| {
        let (p, q) = t.cond(a.sum().gt(c.sum()), || (b, a), || (a * 2.0, b));
        t.outputs(&(p, q))
    });
    same(&f.unwrap(), x);
}

#[test]
fn every_type_and_shape_can_be_donated() {
    let f = trace_tree((Spec::i64([]), Spec::f32([0, 3])), Spec::bool([2]), |t, (n, e), b| {
        t.outputs(&(n + 1, e * 2.0f32, b.not()))
    });
    let f = f.unwrap().compile_with(&donating()).unwrap();
    let mut state = (41i64, Array2::<f32>::zeros((0, 3)));
    let (mut out, mut ws) = (arr1(&[false, false]), f.workspace().unwrap());
    f.update_into(&mut ws, &mut state, &arr1(&[true, false]), &mut out).unwrap();
    assert_eq!((state.0, out), (42, arr1(&[false, true])));

    let f = trace(Spec::i32([2, 2]), (), |_, x, ()| x.transpose() * 3).unwrap();
    let f = f.compile_with(&donating()).unwrap();
    let (mut x, mut ws) = (arr2(&[[1, 2], [3, 4]]), f.workspace().unwrap());
    f.update_into(&mut ws, &mut x, &(), &mut ()).unwrap();
    assert_eq!(x, arr2(&[[3, 9], [6, 12]]));
}

#[test]
fn mistakes_are_told() {
    let spec = || (Spec::f64([2]), Spec::f64([3]));
    let f = trace_tree(spec(), (), |t, (a, b), ()| t.outputs(&(b * 2.0, a * 2.0))).unwrap();
    let error = |options: Options| match f.compile_with(&options) {
        Err(Error::Donation(e)) => e,
        other => panic!("{other:?}"),
    };
    let e = error(donating());
    assert!(matches!(e, DonationError::Type { .. }));
    assert_eq!(e.to_string(), "donate: parameter `0` is f64[2], but output `0` is f64[3]");
    let pairs = |pairs: &[(&'static str, &'static str)]| {
        error(Options::default().donate(pairs.iter().copied()))
    };
    assert!(matches!(pairs(&[("2", "0")]), DonationError::Unknown { side: "parameter", .. }));
    assert!(matches!(pairs(&[("0", "x")]), DonationError::Unknown { side: "output", .. }));
    assert!(matches!(pairs(&[("0", "1"), ("0", "1")]), DonationError::Twice { .. }));
    let one = trace(spec(), (), |_, (a, _), ()| a.sum()).unwrap();
    let e = one.compile_with(&donating()).err().unwrap();
    assert!(matches!(e, Error::Donation(DonationError::Count { parameters: 2, outputs: 1, .. })));

    let f = f.compile_with(&Options::default().donate([("0", "1"), ("1", "0")])).unwrap();
    let (mut params, mut ws) =
        ((arr1(&[1.0, 2.0]), Array1::<f64>::zeros(3)), f.workspace().unwrap());
    let e = f.call_into(&mut ws, &params, &(), &mut ()).unwrap_err();
    assert!(e.to_string().contains("input 0 is donated"), "{e}");
    let e = f.update_into(&mut ws, &mut params, &(), &mut 0.0).unwrap_err();
    assert!(e.to_string().contains("expected 0 outputs, got 1"), "{e}");
    let mut wrong = (Array1::<f64>::zeros(3), Array1::<f64>::zeros(3));
    let e = f.update_into(&mut ws, &mut wrong, &(), &mut ()).unwrap_err();
    assert!(e.to_string().contains("input 0: expected f64[2], got f64[3]"), "{e}");
    assert_eq!(params.0, arr1(&[1.0, 2.0]));
    let square = trace(Spec::f64([2]), (), |_, x, ()| x.square().sum()).unwrap();
    let square = square.value_and_grad().unwrap();
    let square = square.compile_with(&Options::default().donate([("", "1")])).unwrap();
    let e = square.bind::<f64, _>(&()).err().unwrap();
    assert!(matches!(e, Error::Bind(BindError::Donated)), "{e}");
}
