//! Measures how far the legalised functions are from the exact ones.
//!
//! `f32` results are compared with the `f64` functions of the standard library,
//! `f64` results with an arbitrary-precision library. Arguments cover all
//! exponents, and the ranges where something happens more densely.

mod arguments;
mod exact;
mod run;
mod special;

use astro_float_num::Consts;
use backstitch_ir::DType;
use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Access, At, ScalarOp, Stmt};
use backstitch_ir::scalar::Scalar;
use backstitch_passes::math::{BOUNDS, legalise};

use arguments::{arguments, plane_arguments, power_arguments};
use exact::{error_f32, error_f64, reference_big, reference_f64};
use run::apply;

/// The worst error found, and where.
#[derive(Clone, Copy)]
struct Worst {
    ulp: f64,
    at: (f64, f64),
}

impl Worst {
    const NONE: Self = Self { ulp: 0.0, at: (0.0, 0.0) };

    fn see(&mut self, ulp: f64, at: (f64, f64)) {
        let ulp = if ulp.is_nan() { f64::INFINITY } else { ulp };
        if ulp > self.ulp {
            *self = Self { ulp, at };
        }
    }
}

fn worst_f32(f: Scalar, count: usize) -> Worst {
    let (xs, ys): (Vec<f64>, Vec<f64>) = match f {
        Scalar::Pow => power_arguments(DType::F32, count),
        Scalar::Hypot | Scalar::Atan2 => plane_arguments(DType::F32, count),
        _ => (arguments(f, DType::F32, count), vec![]),
    };
    let xs: Vec<_> = xs.iter().map(|&x| x as f32).collect();
    let ys: Vec<_> = ys.iter().map(|&y| y as f32).collect();
    let args = [&xs[..], &ys[..]];
    let got: Vec<f32> = apply(f, if ys.is_empty() { &args[..1] } else { &args });
    let mut worst = Worst::NONE;
    for (i, (&x, &got)) in xs.iter().zip(&got).enumerate() {
        let (x, y) = (f64::from(x), ys.get(i).map_or(0.0, |&y| f64::from(y)));
        worst.see(error_f32(got, reference_f64(f, x, y)), (x, y));
    }
    worst
}

fn worst_f64(f: Scalar, count: usize) -> Worst {
    let (xs, ys) = match f {
        Scalar::Pow => power_arguments(DType::F64, count),
        Scalar::Hypot | Scalar::Atan2 => plane_arguments(DType::F64, count),
        _ => (arguments(f, DType::F64, count), vec![]),
    };
    let args = [&xs[..], &ys[..]];
    let got: Vec<f64> = apply(f, if ys.is_empty() { &args[..1] } else { &args });
    let mut consts = Consts::new().expect("constants");
    let mut worst = Worst::NONE;
    for (i, (&x, &got)) in xs.iter().zip(&got).enumerate() {
        let y = ys.get(i).copied().unwrap_or(0.0);
        let rough = reference_f64(f, x, y);
        // Far outside the range of f64 the exact value takes long and says nothing.
        if rough == 0.0 || !rough.is_finite() {
            let same = got == rough || (got.is_nan() && rough.is_nan());
            let next = got.abs() == f64::MAX || got.abs() == f64::from_bits(1);
            worst.see(
                if same {
                    0.0
                } else if next {
                    1.0
                } else {
                    f64::INFINITY
                },
                (x, y),
            );
        } else if let Some(want) = reference_big(f, x, y, &mut consts) {
            worst.see(error_f64(got, &want), (x, y));
        }
    }
    worst
}

#[test]
fn errors_are_within_their_bounds() {
    let mut excess = vec![];
    for &(f, single, double) in BOUNDS {
        for (dtype, bound) in [(DType::F32, single), (DType::F64, double)] {
            let start = std::time::Instant::now();
            let worst = match dtype {
                DType::F32 => worst_f32(f, 1_200_000),
                _ => worst_f64(f, 20_000),
            };
            let Worst { ulp, at: (x, y) } = worst;
            let name = f.name();
            println!(
                "{name:8} {dtype}  bound {bound:4}  worst {ulp:6.3} at {x:e} {y:e}  ({:?})",
                start.elapsed()
            );
            if ulp > bound {
                excess.push(format!("{name} {dtype}: {ulp} at {x:e} {y:e}"));
            }
        }
    }
    assert!(excess.is_empty(), "{excess:#?}");
}

/// Number of operations, constants aside, of these functions of one argument
/// together.
fn cost(dtype: DType, functions: &[Scalar]) -> usize {
    let mut b = NestBuilder::new("cost");
    let input = b.param(dtype, 1, Access::In);
    let x = b.load(input, At::default());
    for &f in functions {
        let out = b.param(dtype, 1, Access::Out);
        let y = legalise(&mut b, f, dtype, &[x]);
        b.store(out, At::default(), y);
    }
    let work = |s: &&Stmt| {
        let free = |op: &ScalarOp| matches!(op, ScalarOp::Const(_) | ScalarOp::Bitcast);
        matches!(s, Stmt::Let { op, .. } if !free(op))
    };
    b.finish().body.iter().filter(work).count()
}

#[test]
fn functions_of_one_argument_share_their_work() {
    for dtype in [DType::F32, DType::F64] {
        for &(f, ..) in BOUNDS.iter().filter(|b| b.0.def().arity == 1) {
            println!("{:8} {dtype} {:3} operations", f.name(), cost(dtype, &[f]));
        }
        let alone = cost(dtype, &[Scalar::Sin]);
        assert!(cost(dtype, &[Scalar::Sin, Scalar::Cos]) <= alone + 3);
    }
}
