//! Narrow arrays of many rows: products with small matrices, what is put together and taken
//! apart.
#![allow(missing_docs)]

use backstitch::ir::plan::{Plan, Step};
use backstitch::ir::threshold::TINY;
use backstitch::prelude::*;
use backstitch::{Array, Backend, DType, Error, Options, Vectors};
use ndarray::{ArrayD, Dimension, IxDyn};

type Loss = for<'t> fn(&'t Trace, &[Tensor<'t>]) -> Tensor<'t>;

/// A network of few units for many points.
fn network<'t>(_: &'t Trace, p: &[Tensor<'t>]) -> Tensor<'t> {
    let h = (p[0].matmul(p[1]) + p[2]).tanh();
    let h = (h.matmul(p[3]) + p[4]).tanh();
    (h.matmul(p[5]) - 0.3).square().mean()
}

const NETWORK: &[&[usize]] = &[&[0, 3], &[3, 7], &[7], &[7, 5], &[5], &[5, 2]];

/// A batch of small matrices and many vectors for each.
fn turned<'t>(t: &'t Trace, p: &[Tensor<'t>]) -> Tensor<'t> {
    let centred = p[0].expand_dims(1) - p[1];
    let turned = t.einsum("kij,nkj->nki", [p[2], centred]);
    (turned * centred).sum_over(2).logsumexp_over(1).mean()
}

const TURNED: &[&[usize]] = &[&[0, 6], &[6, 6], &[6, 6, 6]];

/// Small matrices alone, one for each row, of which some are put together.
fn rotated<'t>(t: &'t Trace, p: &[Tensor<'t>]) -> Tensor<'t> {
    let both = t.einsum("nij,njk->nik", [p[0], p[1]]);
    let wide = t.concat([both, p[0]], 2).slice(2, 1..5, 1);
    (wide.sin() * wide).sum_over(1).exp().mean() + both.max()
}

const ROTATED: &[&[usize]] = &[&[0, 3, 3], &[0, 3, 3]];

/// Numbers put below the diagonal.
fn triangular<'t>(t: &'t Trace, p: &[Tensor<'t>]) -> Tensor<'t> {
    let places = t.constant(ndarray::arr1(&[4i64, 8, 9, 12, 13, 14]));
    let zeros = t.zeros(p[1].dtype(), [2, 16]);
    let low = zeros.scatter_update(places, p[1], 1).reshape([2, 4, 4]);
    t.einsum("nj,kij->nki", [p[0], low]).square().sum_over(2).sqrt().sum()
}

const TRIANGULAR: &[&[usize]] = &[&[0, 4], &[2, 6]];

/// All of them, with the shapes of their inputs, in which the number of rows is 0.
const LOSSES: [(&str, Loss, &[&[usize]]); 4] = [
    ("network", network, NETWORK),
    ("turned", turned, TURNED),
    ("rotated", rotated, ROTATED),
    ("triangular", triangular, TRIANGULAR),
];

fn specs(shapes: &[&[usize]], n: usize, dtype: DType) -> Vec<Spec> {
    let dims = |s: &&[usize]| s.iter().map(|&d| if d == 0 { n } else { d }).collect::<Vec<_>>();
    shapes.iter().map(|s| Spec::new(dtype, dims(s))).collect()
}

fn arguments(specs: &[Spec]) -> Vec<Array> {
    let array = |(k, s): (usize, &Spec)| {
        let at = |i: IxDyn| {
            let index = i.as_array_view().iter().fold(k as f64, |x, &i| x * 1.7 + i as f64 * 0.37);
            index.sin() * 0.8
        };
        let array = ArrayD::from_shape_fn(IxDyn(s.dims()), at);
        match s.dtype() {
            DType::F32 => array.mapv(|x| x as f32).into(),
            _ => array.into(),
        }
    };
    specs.iter().enumerate().map(array).collect()
}

/// Value and gradients.
fn run(
    f: Loss,
    specs: &[Spec],
    options: &Options,
    args: &[Array],
) -> Result<(Vec<Array>, Plan), Error> {
    let traced = trace(specs.to_vec(), (), |t, p: Vec<Tensor<'_>>, ()| f(t, &p))?;
    let program = traced.value_and_grad()?.compile_with(options)?;
    let (value, grads) = program.call(&args.to_vec(), &())?;
    let plan = program.executable().plan().clone();
    Ok((std::iter::once(value).chain(grads).collect(), plan))
}

#[test]
fn products_with_small_matrices_are_loops_with_the_same_values() -> Result<(), Error> {
    for dtype in [DType::F32, DType::F64] {
        let tolerance = if dtype == DType::F32 { 2e-4 } else { 1e-11 };
        for (name, f, shapes) in LOSSES {
            for n in [20, 256, 257, 1000] {
                let specs = specs(shapes, n, dtype);
                let args = arguments(&specs);
                let plain = Options::default().optimise(false);
                let (want, _) = run(f, &specs, &plain, &args)?;
                let (got, plan) = run(f, &specs, &Options::default(), &args)?;
                let products = plan.steps.iter().filter(|s| matches!(s, Step::Gemm(_))).count();
                let few = n < 256 && !TINY;
                assert!(products == 0 || few, "{name} {dtype} {n}: {products} products");
                assert!(products > 0 || !few || name != "network", "{dtype} {n}");
                for (i, (want, got)) in want.iter().zip(&got).enumerate() {
                    let (a, b) = (want.to_f64_vec(), got.to_f64_vec());
                    let scale = a.iter().fold(1e-3, |m: f64, x| m.max(x.abs()));
                    for (a, b) in a.into_iter().zip(b) {
                        let near = (a - b).abs() <= tolerance * scale;
                        assert!(near, "{name} {dtype} {n}, output {i}: {a} and {b}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn columns_have_the_same_bits_everywhere() -> Result<(), Error> {
    for (name, f, shapes) in LOSSES {
        let specs = specs(shapes, 3001, DType::F32);
        let args = arguments(&specs);
        let (want, _) = run(f, &specs, &Options::default(), &args)?;
        let others = [
            Options::default().threads(2),
            Options::default().threads(5),
            Options::default().vectors(Vectors::Bits256),
            Options::default().vectors(Vectors::Bits128),
            Options::default().backend(Backend::Interpreter),
        ];
        for (other, options) in others.into_iter().enumerate() {
            let (got, _) = run(f, &specs, &options, &args)?;
            for (i, (a, b)) in want.iter().zip(&got).enumerate() {
                assert!(a.same_bits(b), "{name}, output {i} of options {other}: {a:?} and {b:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_zero_of_a_triangle_times_infinity_is_no_number_as_in_a_product() -> Result<(), Error> {
    let specs = specs(TRIANGULAR, 300, DType::F64);
    let mut args = arguments(&specs);
    let mut x = args[0].to_array::<f64>().expect("floats");
    x[[7, 3]] = f64::INFINITY;
    args[0] = x.into();
    for options in [Options::default(), Options::default().optimise(false)] {
        let (got, _) = run(triangular, &specs, &options, &args)?;
        assert!(got[0].item::<f64>().expect("a number").is_nan());
    }
    Ok(())
}

#[test]
fn second_derivatives_of_a_network_of_columns() -> Result<(), Error> {
    let specs = specs(NETWORK, 300, DType::F64);
    let args = arguments(&specs);
    let norm = |options: &Options| -> Result<Vec<Array>, Error> {
        let inner = trace(specs.clone(), (), |t, p: Vec<Tensor<'_>>, ()| network(t, &p))?;
        let slope = inner.grad()?;
        let outer = trace(specs.clone(), (), |t, p: Vec<Tensor<'_>>, ()| {
            slope
                .apply(t, p, ())
                .into_iter()
                .map(|g| g.square().sum())
                .reduce(|a, b| a + b)
                .unwrap()
        })?;
        outer.grad()?.compile_with(options)?.call(&args, &())
    };
    let (want, got) = (norm(&Options::default().optimise(false))?, norm(&Options::default())?);
    for (a, b) in want.iter().zip(&got) {
        for (a, b) in a.to_f64_vec().into_iter().zip(b.to_f64_vec()) {
            assert!((a - b).abs() <= 1e-10 * a.abs().max(1e-2), "{a} and {b}");
        }
    }
    Ok(())
}
