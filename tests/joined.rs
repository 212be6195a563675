//! Arrays that are put together of pieces, and adjoints of slices: whoever works on them
//! element by element reads them a piece at a time, and gets what was put together.
#![allow(missing_docs)]
#![allow(clippy::reversed_empty_ranges, reason = "negative ends count from the end of an axis")]

use backstitch::passes::explain::{Explained, Explanation};
use backstitch::prelude::*;
use backstitch::{Array, Backend, DType, Options};

type Program = for<'t> fn(&'t Trace, Tensor<'t>) -> Tensor<'t>;

/// As much of an axis as says, and all of the others.
fn along<'t>(x: Tensor<'t>, axis: usize, before: usize, after: usize, value: f64) -> Tensor<'t> {
    let mut margins = vec![(0, 0); x.rank()];
    margins[axis] = (before, after);
    match x.dtype() {
        DType::F32 => x.pad(margins, value as f32),
        _ => x.pad(margins, value),
    }
}

/// One step along an axis; a constant comes in.
fn shifted<'t>(t: &'t Trace, x: Tensor<'t>, axis: i32) -> Tensor<'t> {
    t.concat([x.slice(axis, ..1, 1).ones_like(), x.slice(axis, ..-1, 1)], axis)
}

/// The first of an axis after all others.
fn turned<'t>(t: &'t Trace, x: Tensor<'t>, axis: i32) -> Tensor<'t> {
    t.concat([x.slice(axis, 1.., 1), x.slice(axis, ..1, 1)], axis)
}

/// Of arrays whose extents are three or more.
const PROGRAMS: [(&str, Program); 13] = [
    ("shifts", |t, x| (0..4).fold(x, |y, _| y * 0.5 + (x * shifted(t, y, 0)).sin())),
    ("shifts backwards", |t, x| (0..3).fold(x, |y, _| y + (x * turned(t, y, -1)).tanh())),
    ("differences of neighbours", |_, x| {
        (0..x.rank()).fold(x, |sum, a| {
            let axis = a as i32;
            let d = (x.slice(axis, 1.., 1) - x.slice(axis, ..-1, 1)).square();
            sum + along(d, a, 1, 0, 0.0) * x - along(d, a, 0, 1, 0.0) * 2.0
        })
    }),
    ("inside a border", |_, x| {
        let inner = (0..x.rank()).fold(x.square(), |y, a| y.slice(a as i32, 1..-1, 1));
        x * (0..x.rank()).fold(inner, |y, a| along(y, a, 1, 1, 0.5)).cos()
    }),
    ("a border around a permutation", |_, x| {
        let order: Vec<i32> = (0..x.rank() as i32).rev().collect();
        let inner = (0..x.rank()).fold(x.sin(), |y, a| y.slice(a as i32, 1.., 1));
        let inner = inner.permute(&order);
        let y = (0..x.rank()).fold(inner, |y, a| along(y, a, a % 2, 1 - a % 2, 0.0));
        y.permute(&order) * x + (y * 2.0).cos().permute(&order)
    }),
    ("every second", |_, x| {
        x + x.slice(0, .., 2).sin().sum() * x.slice(0, 1.., 2).cos().sum() * x.slice(0, .., -1)
    }),
    ("turned round", |t, x| {
        let y = x.slice(0, .., -1);
        t.concat([y.slice(0, 1.., 1), x.slice(0, ..1, 1)], 0) * x + y
    }),
    ("overlapping slices", |_, x| {
        let [a, b, c] = [x.slice(0, ..-2, 1), x.slice(0, 1..-1, 1), x.slice(0, 2.., 1)];
        x * ((a * b + 0.5 * c) * c).sum()
    }),
    ("pieces without elements", |t, x| {
        let none = x.slice(0, 1..1, 1);
        t.concat([none, x.slice(0, 1.., 1), none, x.slice(0, ..1, 1), none], 0) * x
    }),
    ("sums of rows", |t, x| {
        let y = t.concat([x.slice(0, 2.., 1), x.slice(0, ..2, 1)], 0);
        x * y.cos() + (x * y).sum_over(0) * 0.25 + (y * x).sum() * 0.125
    }),
    ("soft-max", |t, x| {
        let (y, z) = (turned(t, x, -1), turned(t, x, 0));
        (x * y).softmax(-1) * z + (x - z).softmax(-1)
    }),
    ("four pieces", |t, x| {
        let parts = [x.slice(0, -1.., 1), x.slice(0, 2..-1, 1), x.slice(0, 1..2, 1)];
        let parts = [parts[0], parts[1], parts[2].sin(), x.slice(0, ..1, 1)];
        t.concat(parts, 0).sin() * x
    }),
    ("a border of a border", |t, x| {
        let once = along(x.slice(0, 1..-1, 1), 0, 1, 0, 1.5) * 2.0;
        along(once, 0, 0, 1, -1.0) * x
            + t.iota(x.dtype(), x.shape(), 0) * along(once.square(), 0, 1, 0, 0.25)
    }),
];

const SHAPES: [&[usize]; 8] =
    [&[3], &[7], &[300], &[9, 5], &[3, 260], &[130, 3], &[4, 6, 5], &[3, 3, 40]];

fn numbers(dims: &[usize], dtype: DType, seed: u64) -> Array {
    let mut i = seed;
    let mut next = || {
        i = i.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (i >> 40) as f64 / (1u64 << 24) as f64 * 2.0 - 1.0
    };
    let x = ndarray::ArrayD::from_shape_simple_fn(dims, &mut next);
    if dtype == DType::F32 { x.mapv(|x| x as f32).into() } else { x.into() }
}

/// The sum of a program's results, each times a number of its own.
fn loss(shape: &[usize], dtype: DType, f: Program) -> Traced<Spec, (), Spec> {
    trace(Spec::new(dtype, shape), (), move |t, x, ()| {
        let y = f(t, x);
        let count: usize = y.shape().dims().iter().product();
        let w = t.iota(y.dtype(), [count], 0).reshape(y.shape());
        (y * (w * 0.7 + 0.3).sin()).sum()
    })
    .unwrap()
}

fn assert_close(got: &Array, want: &Array, dtype: DType, what: &str) {
    let tolerance = if dtype == DType::F32 { 1e-4 } else { 1e-11 };
    assert_eq!(got.dims(), want.dims(), "{what}");
    let all = want.to_f64_vec();
    let scale = all.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    for (a, b) in got.to_f64_vec().into_iter().zip(all) {
        assert!((a - b).abs() <= tolerance * scale, "{what}: {a} instead of {b}");
    }
}

#[test]
fn pieces_are_what_was_put_together() {
    for (name, f) in PROGRAMS {
        for (i, (shape, dtype)) in
            SHAPES.iter().flat_map(|s| [(s, DType::F64), (s, DType::F32)]).enumerate()
        {
            let what = format!("{name} of {dtype}{shape:?}");
            let x = numbers(shape, dtype, i as u64);
            let f = loss(shape, dtype, f);
            let second = f.hvp().unwrap();
            let f = f.value_and_grad().unwrap();
            let dot = numbers(shape, dtype, 99);
            let (value, grad) = f.eval(&x, &()).unwrap();
            let product = second.eval(&x, &((), &dot)).unwrap();
            let threads = Options::default().threads(2).share_all(16);
            let apart = Options::default().optimise(false);
            for options in [Options::default(), threads, apart] {
                let got = f.compile_with(&options).unwrap().call(&x, &()).unwrap();
                assert_close(&got.0, &value, dtype, &what);
                assert_close(&got.1, &grad, dtype, &what);
                let got = second.compile_with(&options).unwrap().call(&x, &((), &dot)).unwrap();
                assert_close(&got, &product, dtype, &what);
            }
        }
    }
}

#[test]
fn pieces_have_the_same_bits_in_machine_code_and_on_threads() {
    for (name, f) in PROGRAMS {
        for shape in [&[300][..], &[130, 3], &[9, 5], &[7, 9, 40]] {
            let x = numbers(shape, DType::F64, 5);
            let f = loss(shape, DType::F64, f).value_and_grad().unwrap();
            let run = |options: Options| f.compile_with(&options).unwrap().call(&x, &()).unwrap();
            for chunk in [16, 8192] {
                let options = || Options::default().share_all(chunk);
                let want = run(options().backend(Backend::Interpreter));
                for threads in [1, 2, 3] {
                    let got = run(options().threads(threads));
                    let same = got.0.same_bits(&want.0) && got.1.same_bits(&want.1);
                    assert!(same, "{name} of {shape:?}, {threads} threads, chunks of {chunk}");
                }
            }
        }
    }
}

#[test]
fn what_is_sliced_off_leaks_nowhere() {
    let f = trace(Spec::f64([40]), (), |t, x, ()| {
        let inside = x.slice(0, 1..-1, 1);
        let y = along(inside, 0, 1, 1, 2.0) * along(inside, 0, 0, 2, 3.0);
        (y + shifted(t, y, 0) * y).sum()
    });
    let f = f.unwrap().value_and_grad().unwrap();
    for bad in [f64::NAN, f64::INFINITY] {
        let mut x = ndarray::Array1::from_elem(40, 0.5);
        let (want, all) = f.eval(&x, &()).unwrap();
        (x[0], x[39]) = (bad, bad);
        let (value, grad) = f.compile().unwrap().call(&x, &()).unwrap();
        assert_eq!(value.to_f64_vec(), want.to_f64_vec());
        assert_close(&grad, &all, DType::F64, "gradient");
        assert_eq!((grad.to_f64_vec()[0], grad.to_f64_vec()[39]), (0.0, 0.0));
    }
}

fn names(e: &Explanation) -> Vec<&'static str> {
    let kernels = e.steps.iter().filter_map(|s| match s {
        Explained::Kernel { origin, .. } => Some(origin),
        _ => None,
    });
    kernels.flat_map(|origin| origin.operations.iter().map(|o| o.name)).collect()
}

/// What is put together only to be worked on is not put together; and of what was made for
/// that, no kernel writes more than it did.
#[test]
fn shifts_take_no_pass_of_their_own() {
    for n in [100, 1000, 100_000] {
        let f = trace(Spec::f64([n]), (), |t, x, ()| {
            let y = x + x * shifted(t, x, 0);
            (y * shifted(t, y, 0)).sum()
        });
        let e = f.unwrap().value_and_grad().unwrap().compile().unwrap().explain();
        assert!(!names(&e).contains(&"assemble"), "{e}");
    }
}

/// A border around rows of a matrix is a loop over these rows, and what is done with it.
#[test]
fn a_padded_array_is_read_once() {
    let f = trace(Spec::f32([100, 64]), (), |_, x, ()| along(x, 0, 8, 8, 1.0).square() * 0.5);
    let e = f.unwrap().compile().unwrap().explain();
    assert_eq!(e.kernels(), 1, "{e}");
    let bytes = e.total.bytes();
    assert_eq!((bytes.read, bytes.written), (4 * 64 * 100, 4 * 64 * 116), "{e}");
}
