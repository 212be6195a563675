//! What compiled programs say they read and write, and why they are cut where they are.

use backstitch::passes::Cut;
use backstitch::passes::explain::{Bytes, Explained, Explanation, Storage};
use backstitch::prelude::*;
use backstitch::{DType, Options};

/// Of a loss: parameters first, then data.
type Loss = for<'t> fn(&'t Trace, &[Tensor<'t>]) -> Tensor<'t>;

/// Value and gradient of a loss of arrays of `f32`.
fn explained(params: &[&[usize]], data: &[&[usize]], f: Loss) -> Explanation {
    with(params, data, f, &Options::default())
}

fn with(params: &[&[usize]], data: &[&[usize]], f: Loss, options: &Options) -> Explanation {
    let specs = |all: &[&[usize]]| all.iter().map(|dims| Spec::f32(*dims)).collect::<Vec<_>>();
    let f = trace(specs(params), specs(data), move |t, p: Vec<Tensor<'_>>, d: Vec<Tensor<'_>>| {
        f(t, &[&p[..], &d[..]].concat())
    });
    let e = f.unwrap().value_and_grad().unwrap().compile_with(options).unwrap().explain();
    assert!(e.to_string().lines().count() > e.kernels(), "each kernel has lines of its own");
    e
}

/// What is read of an input.
fn read(e: &Explanation, input: usize) -> u64 {
    e.total.bytes_of(Storage::Input(input)).read
}

/// Bytes of so many `f32`.
fn f32s(n: usize) -> u64 {
    4 * n as u64
}

fn kernels(e: &Explanation) -> impl Iterator<Item = (&Explained, &Cut)> {
    e.steps.iter().filter_map(|s| match s {
        Explained::Kernel { origin, .. } => Some((s, &origin.cut)),
        _ => None,
    })
}

#[test]
fn a_regression_reads_its_data_once() {
    let linear = explained(&[&[100, 1], &[1]], &[&[10_000, 100], &[10_000, 1]], |_, p| {
        (p[2].matmul(p[0]) + p[1] - p[3]).square().mean()
    });
    let logistic = explained(&[&[100], &[]], &[&[10_000, 100], &[10_000]], |_, p| {
        let z = p[2].matmul(p[0]) + p[1];
        (z.softplus() - p[3] * z).mean()
    });
    for e in [linear, logistic] {
        assert_eq!((read(&e, 2), read(&e, 3)), (f32s(1_000_000), f32s(10_000)), "{e}");
        assert!(e.total.bytes().sum() < e.least.sum() * 108 / 100, "{e}");
    }
}

const ROWS: usize = 512;
const COLUMNS: usize = 1024;

/// Losses of arrays of rows: how many of these arrays there are among the parameters and
/// the data, which stand first; and how many vectors of a row's length.
const OF_ROWS: [(&str, [usize; 3], Loss); 8] = [
    ("soft-max", [1, 0, 0], |_, p| p[0].softmax(1).square().sum()),
    ("logsumexp", [1, 0, 0], |_, p| p[0].logsumexp_over(1).sum()),
    ("cross entropy", [1, 1, 0], |_, p| p[0].cross_entropy(p[1]).mean()),
    ("layer norm", [1, 1, 2], |_, p| (p[0].layer_norm(p[1], p[2], 1e-5) * p[3]).sum()),
    ("distance of a layer norm", [1, 1, 2], |_, p| {
        (p[0].layer_norm(p[1], p[2], 1e-5) - p[3]).square().mean()
    }),
    ("logsumexp of a layer norm", [1, 0, 2], |_, p| {
        let y = p[0].layer_norm(p[1], p[2], 1e-5);
        (y.logsumexp_over(1) - y.index(1, 0)).mean()
    }),
    ("rms norm", [1, 0, 1], |_, p| p[0].rms_norm(p[1], 1e-5).square().mean()),
    ("unit rows", [1, 1, 0], |_, p| (p[0].normalize(1, 1e-9) * p[1]).sum()),
];

#[test]
fn rows_are_read_once_for_value_and_gradient() {
    let (rows, row): (&[usize], &[usize]) = (&[ROWS, COLUMNS], &[COLUMNS]);
    for (name, [params, data, vectors], f) in OF_ROWS {
        let mut all = vec![rows; params];
        all.extend(vec![row; vectors]);
        let e = explained(&all, &vec![rows; data], f);
        let large = (0..params).chain(params + vectors..params + vectors + data);
        for input in large {
            assert_eq!(read(&e, input), f32s(ROWS * COLUMNS), "{name}\n{e}");
        }
        let gradient = e.total.bytes_of(Storage::Output(1));
        assert_eq!(gradient, Bytes { read: 0, written: f32s(ROWS * COLUMNS) }, "{name}\n{e}");
        // What a later loop of a row needs stays near the core, in a buffer of each chunk.
        assert!(e.total.bytes().sum() < e.least.sum() * 135 / 100, "{name}\n{e}");
    }
}

#[test]
fn an_elementwise_loss_reads_each_input_once_and_writes_each_gradient_once() {
    let n = 100_000;
    let e = explained(&[&[n], &[n], &[n]], &[&[n]], |_, p| {
        (p[0].tanh() * (-p[1] * p[2]).exp() + p[2].sin() * p[3]).sum()
    });
    for i in 0..4 {
        assert_eq!(read(&e, i), f32s(n), "{e}");
    }
    for i in 1..4 {
        let bytes = e.total.bytes_of(Storage::Output(i));
        assert_eq!(bytes, Bytes { read: 0, written: f32s(n) }, "{e}");
    }
    let least = Bytes { read: 4 * f32s(n), written: 3 * f32s(n) + 4 };
    assert!(e.exact && e.least == least, "{e}");
    assert!(e.total.bytes().sum() < e.least.sum() * 101 / 100, "{e}");
}

#[test]
fn unfused_programs_move_more() {
    let f: Loss = |_, p| (p[0].tanh() * (-p[0] * p[0]).exp()).sum();
    let fused = explained(&[&[50_000]], &[], f);
    let apart = with(&[&[50_000]], &[], f, &Options::default().optimise(false));
    assert!(apart.total.bytes().sum() > 4 * fused.total.bytes().sum());
    assert!(apart.kernels() > 8 && fused.kernels() <= 2, "{apart}\n{fused}");
    assert!(kernels(&apart).all(|(_, cut)| matches!(cut, Cut::Unfused | Cut::Chunks | Cut::Alone)));
}

#[test]
fn a_kernel_says_why_it_begins() {
    let e = explained(&[&[300, 200]], &[], |_, p| {
        let x = p[0].exp();
        (x - x.sum_over(0)).square().sum()
    });
    let cuts: Vec<&Cut> = kernels(&e).map(|(_, cut)| cut).collect();
    assert_eq!(cuts[0], &Cut::First, "{e}");
    assert!(cuts.contains(&&Cut::Unfinished), "{e}");
    assert!(e.to_string().contains("here and not in k0"), "{e}");
}

#[test]
fn operations_know_what_differentiation_made() {
    let e = explained(&[&[1000]], &[], |_, p| p[0].sin().sum());
    let Some(Explained::Kernel { origin, loops, work, .. }) = e.steps.first() else {
        panic!("a kernel: {e}")
    };
    let found = |name: &str| origin.operations.iter().find(|o| o.name == name);
    assert!(found("sin").is_some_and(|o| !o.adjoint), "{e}");
    assert!(found("cos").is_some_and(|o| o.adjoint), "{e}");
    assert!(loops.contains("vector 1000"), "{e}");
    assert!(work.flops > 10_000 && work.bytes().written == f32s(1001), "{e}");
}

#[test]
fn matrix_products_count_their_operands_and_operations() {
    let e = explained(&[&[64, 96]], &[&[96, 32]], |_, p| p[0].matmul(p[1]).square().sum());
    let products: Vec<(&str, u64)> = e
        .steps
        .iter()
        .filter_map(|s| match s {
            Explained::Call { what, work } => Some((what.as_str(), work.flops)),
            _ => None,
        })
        .collect();
    assert_eq!(products.len(), 2, "{e}");
    assert_eq!(products[0], ("matrix product 64×96 · 96×32 of f32", 2 * 64 * 96 * 32));
    assert!(kernels(&e).any(|(_, cut)| *cut == Cut::NoKernel), "{e}");
}

/// Reads `n` elements, a hundred times.
fn steps<'t>(t: &'t Trace, x: Tensor<'t>) -> Tensor<'t> {
    t.for_loop(100, t.zeros(DType::F32, [50]), |_, y| y * 0.5 + x)
}

#[test]
fn a_loop_counts_as_often_as_it_runs() {
    let f = trace(Spec::f32([50]), (), |t, x, ()| steps(t, x)).unwrap();
    let e = f.compile_with(&Options::default().unroll(0)).unwrap().explain();
    assert!(e.exact, "{e}");
    assert_eq!(read(&e, 0), 100 * f32s(50), "{e}");
    assert!(e.steps.iter().any(|s| matches!(s, Explained::Loop { times: Some(100), .. })), "{e}");
}

#[test]
fn a_loop_of_unknown_length_counts_once_and_says_so() {
    let f = trace(Spec::f32([50]), (), |t, x, ()| {
        t.while_loop(t.zeros(DType::F32, [50]), |y| y.sum().lt(100.0), |y| y * 0.5 + x)
    });
    let e = f.unwrap().compile().unwrap().explain();
    assert!(!e.exact, "{e}");
    assert_eq!(read(&e, 0), f32s(50), "{e}");
    assert!(e.steps.iter().any(|s| matches!(s, Explained::Loop { times: None, .. })), "{e}");
}

#[test]
fn of_two_branches_the_one_that_moves_more_counts() {
    let f = trace((Spec::f32([]), Spec::f32([500])), (), |t, (a, x), ()| {
        t.cond(a.gt(0.0), || x.sin(), || x.zeros_like())
    });
    let e = f.unwrap().compile().unwrap().explain();
    assert!(!e.exact, "{e}");
    assert!(read(&e, 1) >= f32s(500), "{e}");
    assert!(e.steps.iter().any(|s| matches!(s, Explained::Branch { .. })), "{e}");
}

#[test]
fn what_an_empty_program_moves_is_nothing() {
    let e = explained(&[&[0]], &[], |_, p| p[0].sin().sum());
    assert_eq!(e.total.bytes_of(Storage::Input(0)), Bytes::default(), "{e}");
}

#[test]
fn a_donated_parameter_is_read_as_an_input_and_written_as_an_output() {
    let n = 1000;
    let f = trace(Spec::f32([n]), Spec::f32([n]), |_, w, x| w - 0.1 * x).unwrap();
    let [donated, plain] = [Options::default().donate_parameters(), Options::default()]
        .map(|options| f.compile_with(&options).unwrap().explain());
    for e in [&donated, &plain] {
        assert_eq!((read(e, 0), read(e, 1)), (f32s(n), f32s(n)), "{e}");
        let output = e.total.bytes_of(Storage::Output(0));
        assert_eq!(output, Bytes { read: 0, written: f32s(n) }, "{e}");
        assert_eq!(e.least, Bytes { read: 2 * f32s(n), written: f32s(n) }, "{e}");
        assert_eq!(e.total.bytes(), e.least, "{e}");
    }
}

#[test]
fn what_a_product_is_added_to_is_read() {
    let (m, n, k) = (40, 50, 60);
    let specs = [[m, k], [k, n], [m, k], [k, n]].map(Spec::f32).to_vec();
    let f = trace(specs, (), |_, p: Vec<Tensor<'_>>, ()| p[0].matmul(p[1]) + p[2].matmul(p[3]));
    let e = f.unwrap().compile().unwrap().explain();
    let calls = e.steps.iter().filter(|s| matches!(s, Explained::Call { .. })).count();
    assert_eq!((calls, e.kernels()), (2, 0), "{e}");
    let output = e.total.bytes_of(Storage::Output(0));
    assert_eq!(output, Bytes { read: f32s(m * n), written: 2 * f32s(m * n) }, "{e}");
}
