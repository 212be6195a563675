//! Programs over arrays in all layouts: the interpreter's bits on any number of threads, and
//! the numbers of eager mode.

use backstitch::prelude::*;
use backstitch::{Array, Backend, DType, Options, trace_tree};

/// The shapes of a program's inputs.
type Shapes = &'static [&'static [usize]];

type Program = for<'t> fn(&[Tensor<'t>]) -> Vec<Tensor<'t>>;

/// What is computed, on arrays of which shapes: large enough for tiles, chunks and vectors,
/// and small and odd ones.
const PROGRAMS: &[(&str, &[Shapes], Program)] = &[
    (
        "transposed operands",
        &[
            &[&[300, 200], &[200, 300]],
            &[&[5, 7], &[7, 5]],
            &[&[1, 9], &[9, 1]],
            &[&[0, 3], &[3, 0]],
        ],
        |p| {
            let sum = p[0] + p[1].transpose();
            vec![sum, sum.sum(), sum.sum_over(0), sum.max_over(1), p[1].transpose() * 2.0]
        },
    ),
    ("permuted axes", &[&[&[20, 40, 50]], &[&[2, 3, 5]], &[&[17, 1, 3]], &[&[2, 0, 4]]], |p| {
        let x = p[0];
        let turned = [[2, 0, 1], [1, 0, 2], [2, 1, 0], [0, 2, 1]].map(|a| x.permute(a) + 1.0);
        let sums = [x.sum_over([0, 2]), x.sum_over(1), x.permute([2, 1, 0]).prod_over([0, 1])];
        turned.into_iter().chain(sums).collect()
    }),
    (
        "narrow rows",
        &[
            &[&[20_001, 3], &[3], &[20_001, 1]],
            &[&[33, 2], &[2], &[33, 1]],
            &[&[40, 7], &[7], &[40, 1]],
            &[&[16, 10], &[10], &[16, 1]],
            &[&[3, 4], &[4], &[3, 1]],
            &[&[0, 3], &[3], &[0, 1]],
        ],
        |p| {
            let (x, row, column) = (p[0], p[1], p[2]);
            let weights = (x * row).softmax(-1);
            let spread = (weights * column).square().sum_over(1);
            vec![x + row, x * column, x.sum_over(0), x.sum_over(1), weights, spread, spread.sum()]
        },
    ),
    (
        "blocks of rows",
        &[&[&[500, 2, 5], &[500, 5]], &[&[18, 2, 3], &[18, 3]], &[&[2, 1, 3], &[2, 3]]],
        |p| {
            let y = p[0] * p[1].expand_dims(1);
            let norm = y.square().sum_over([1, 2]);
            vec![
                y / (norm + 1.0).expand_dims(1).expand_dims(2),
                y.sum_over([0, 2]),
                y.sum_over(0),
                norm,
            ]
        },
    ),
    ("strided slices", &[&[&[301, 203]], &[&[9, 8]], &[&[2, 3]]], |p| {
        let (even, odd) = (p[0].slice(1, .., 2), p[0].slice(0, .., -2));
        vec![even * 2.0, even.sum(), odd.sum_over(0), odd.transpose() - 1.0]
    }),
    (
        "rows at indices",
        &[&[&[50, 3], &[200, 3]], &[&[7, 5], &[19, 5]], &[&[4, 1], &[3, 1]]],
        |p| {
            let (rows, n) = (p[1].shape().dims()[0], p[0].shape().dims()[0]);
            let index: Vec<i64> = (0..rows as i64).map(|i| i * 7 % n as i64).collect();
            let index = p[0].trace().constant(ndarray::Array1::from(index).into_dyn());
            let taken = p[0].take(index, 0);
            vec![(taken * p[1]).sum_over(1), taken + p[1], p[0].scatter_add(index, p[1], 0)]
        },
    ),
];

fn numbers(dtype: DType, dims: &[usize], seed: usize) -> Array {
    let mut state = seed as u32 * 77 + 5;
    let x = ndarray::ArrayD::from_shape_simple_fn(dims, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.25
    });
    if dtype == DType::F32 { x.mapv(|x| x as f32).into() } else { x.into() }
}

#[test]
fn arrays_in_all_layouts() -> Result<(), backstitch::Error> {
    for (name, shapes, program) in PROGRAMS {
        for (shape, dtype) in shapes.iter().flat_map(|s| [(s, DType::F32), (s, DType::F64)]) {
            let specs: Vec<Spec> = shape.iter().map(|d| Spec::new(dtype, *d)).collect();
            let inputs: Vec<Array> =
                shape.iter().enumerate().map(|(i, d)| numbers(dtype, d, i)).collect();
            let traced =
                trace_tree(specs, (), |t, p: Vec<Tensor<'_>>, ()| t.outputs(&program(&p)))?;
            let run = |options: Options| traced.compile_with(&options)?.call(&inputs, &());
            let want = run(Options::default().backend(Backend::Interpreter))?;
            for threads in [1, 2, 3, 8] {
                let got = run(Options::default().threads(threads))?;
                for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                    let bits = |a: &Array| -> Vec<u64> {
                        a.to_f64_vec().iter().map(|x| x.to_bits()).collect()
                    };
                    assert!(bits(g) == bits(w), "{name} {shape:?} {dtype}: {i}, {threads} threads");
                }
            }
            let t = Trace::eager();
            let tensors: Vec<Tensor<'_>> = inputs.iter().map(|x| t.constant(x.clone())).collect();
            let near = if dtype == DType::F32 { 1e-4 } else { 1e-11 };
            for (i, (e, w)) in program(&tensors).iter().zip(&want).enumerate() {
                for (e, w) in e.array()?.to_f64_vec().iter().zip(w.to_f64_vec()) {
                    let close = (e - w).abs() <= near * e.abs().max(1.0) || *e == w;
                    assert!(close, "{name} {shape:?} {dtype}: {i}, {e} and {w}");
                }
            }
        }
    }
    Ok(())
}
