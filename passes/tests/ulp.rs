//! Measures how far the legalised functions are from the exact ones.
//!
//! `f32` results are compared with the `f64` functions of the standard library,
//! `f64` results with an arbitrary-precision library. Arguments cover all
//! exponents, and the ranges where something happens more densely.

use std::f64::consts::{FRAC_PI_2, LN_2, PI};

use astro_float_num::{BigFloat, Consts, RoundingMode};
use backstitch_ir::build::NestBuilder;
use backstitch_ir::eval_nest::{cells, eval, pack, unpack};
use backstitch_ir::index::IndexVec;
use backstitch_ir::nest::{Access, At, Const, Mode, Nest, Range, ScalarOp, Stmt};
use backstitch_ir::plan::{BufferDecl, BufferRef, Place, Plan, Step};
use backstitch_ir::scalar::Scalar;
use backstitch_ir::verify_nest::verify;
use backstitch_ir::{Array, DType, Element, Shape, Type};
use backstitch_passes::math::{BOUNDS, legalise, trig_limit};
use backstitch_runtime::jit::{Options, Vectors, testing};
use backstitch_runtime::{ArrayRef, Backend, Executable};

/// `f` of each tuple of arguments, by the interpreter; machine code gives the same bits with
/// vectors of any width.
fn apply<A: Element, R: Element>(f: Scalar, args: &[&[A]]) -> Vec<R> {
    let len = args[0].len();
    let mut b = NestBuilder::new(f.name());
    let params: Vec<_> = args.iter().map(|_| b.param(A::DTYPE, len, Access::In)).collect();
    let out = b.param(R::DTYPE, len, Access::Out);
    let i = b.axis(len);
    b.open(i, Range::Whole, Mode::Vector { lanes: 4 });
    let at = At { strides: [(i, 1)].into_iter().collect(), ..At::default() };
    let xs: Vec<_> = params.iter().map(|&p| b.load(p, at.clone())).collect();
    let y = legalise(&mut b, f, R::DTYPE, &xs);
    b.store(out, at, y);
    b.close(&[]);
    let nest = b.finish();
    assert_eq!(verify(&nest), Ok(()));
    let mut bytes: Vec<_> = args.iter().map(|a| pack(a)).collect();
    bytes.push(vec![0; len * R::DTYPE.size()]);
    let mems: Vec<_> = bytes.iter_mut().map(|b| cells(b)).collect();
    eval(&nest, &mems);
    let results = unpack(bytes.last().unwrap());
    for vectors in [Vectors::Widest, Vectors::Bits256, Vectors::Bits128] {
        let got: Vec<R> = run(&nest, vectors, args);
        let differs = results.iter().zip(&got).position(|(x, y)| !same_bits(x, y));
        if let Some(at) = differs {
            let args: Vec<A> = args.iter().map(|a| a[at]).collect();
            panic!(
                "{} of {args:?} with {vectors:?}: {:?}, not {:?}",
                f.name(),
                got[at],
                results[at]
            );
        }
    }
    results
}

/// Both NaN, or the same.
fn same_bits<T: Element>(a: &T, b: &T) -> bool {
    let (a, b) = (a.to_const(), b.to_const());
    let nan = |c: Const| c.dtype.is_float() && c.to_f64().is_nan();
    a == b || (nan(a) && nan(b))
}

/// The nest's results as machine code with such vectors.
fn run<A: Element, R: Element>(nest: &Nest, vectors: Vectors, args: &[&[A]]) -> Vec<R> {
    let len = args[0].len();
    let mut buffers = IndexVec::new();
    let mut buffer = |dtype, place| buffers.push(BufferDecl { dtype, len, place });
    let whole = |buffer| BufferRef { buffer, offset: 0 };
    let mut refs: Vec<_> =
        (0..args.len()).map(|k| whole(buffer(A::DTYPE, Place::Input(k)))).collect();
    refs.push(whole(buffer(R::DTYPE, Place::Output(0))));
    let mut kernels = IndexVec::new();
    let kernel = kernels.push(nest.clone());
    let plan = Plan {
        name: nest.name.clone(),
        inputs: vec![Type::new(A::DTYPE, [len]); args.len()],
        outputs: vec![Type::new(R::DTYPE, [len])],
        buffers,
        kernels,
        stores: IndexVec::new(),
        steps: vec![Step::Run { kernel, args: refs }],
        arena_bytes: 0,
    };
    let options = Options { vectors, ..Options::default() };
    let code = Executable::with_options(plan, Backend::Cpu, options).expect("it compiles");
    // Long arrays are where the processor's vectors are what is tested.
    let wide = code.stats().wide_functions == 1;
    let is_long = len >= 1000;
    assert!(!is_long || wide == testing::has_wide(vectors), "{} with {vectors:?}", nest.name);
    let array = |a: &&[A]| Array::from_vec(&Shape::from([len]), a.to_vec()).expect("as many");
    let arrays: Vec<Array> = args.iter().map(array).collect();
    let views: Vec<_> = arrays.iter().map(|a| ArrayRef::try_from(a).expect("contiguous")).collect();
    let results = code.call(&views).expect("it runs");
    results[0].view::<R>().expect("the output's type").iter().copied().collect()
}

/// A generator of pseudo-random bits.
struct Bits(u64);

impl Bits {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / 2f64.powi(53)
    }

    fn between(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * self.unit()
    }
}

fn is_trig(f: Scalar) -> bool {
    matches!(f, Scalar::Sin | Scalar::Cos | Scalar::Tan)
}

/// Where something happens, besides everywhere.
fn ranges(f: Scalar, dtype: DType) -> Vec<(f64, f64)> {
    let single = dtype == DType::F32;
    let (under, over) = if single { (-104.5, 89.0) } else { (-746.0, 710.0) };
    match f {
        Scalar::Exp | Scalar::Sigmoid => vec![(-2.0, 2.0), (under, over), (under, under * 0.8)],
        Scalar::Expm1 => vec![(-2.0, 2.0), (-50.0, over), (0.3, 0.5)],
        Scalar::Log => vec![(0.0, 4.0), (0.9, 1.1), (0.7, 0.72), (1.41, 1.42)],
        Scalar::Log1p => vec![(-1.0, 3.0), (-0.1, 0.1), (0.4, 0.42), (-0.3, -0.29)],
        Scalar::Sin | Scalar::Cos | Scalar::Tan => {
            let limit = trig_limit(dtype);
            vec![(-PI, PI), (-100.0, 100.0), (-limit, limit), (1.5, 1.65), (3.1, 3.2)]
        }
        Scalar::Tanh => vec![(-1.0, 1.0), (-10.0, 10.0), (0.5, 0.6), (-25.0, 25.0)],
        Scalar::Exp2 if single => vec![(-2.0, 2.0), (-150.5, 128.5), (-150.5, -125.0)],
        Scalar::Exp2 => vec![(-2.0, 2.0), (-1075.5, 1024.5), (-1075.5, -1020.0)],
        Scalar::Log2 | Scalar::Log10 => vec![(0.0, 4.0), (0.9, 1.1), (0.7, 0.72), (1.41, 1.42)],
        Scalar::Asin | Scalar::Acos => {
            vec![(-1.0, 1.0), (-1.001, -0.999), (0.999, 1.001), (0.4, 0.6), (-0.6, -0.4)]
        }
        Scalar::Atan => vec![(-3.0, 3.0), (0.4, 0.6), (0.9, 1.1), (1.9, 2.1)],
        Scalar::Sinh | Scalar::Cosh => vec![(-2.0, 2.0), (0.3, 0.4), (-over, over + 1.0)],
        Scalar::Asinh => vec![(-4.0, 4.0), (-0.02, 0.02), (0.6, 0.9)],
        Scalar::Acosh => vec![(1.0, 1.001), (1.0, 3.0), (1.0, 1e7)],
        Scalar::Atanh => vec![(-1.0, 1.0), (-0.02, 0.02), (0.3, 0.4), (0.999, 1.0)],
        _ => vec![(0.0, 2.0)],
    }
}

/// `count` arguments: a third of them any bits at all.
fn arguments(f: Scalar, dtype: DType, count: usize) -> Vec<f64> {
    let mut bits = Bits(0x9E37_79B9_7F4A_7C15);
    let mut xs = vec![];
    for i in 0..count as u64 / 3 {
        xs.push(match dtype {
            // Evenly over all bit patterns.
            DType::F32 => {
                let step = (u64::from(u32::MAX) * 3) / count as u64;
                f32::from_bits((i * step + bits.next() % step) as u32).into()
            }
            _ => f64::from_bits(bits.next()),
        });
    }
    // Evenly over the exponents near 1.
    for _ in 0..count / 3 {
        let size = 2f64.powf(bits.between(-30.0, 10.0));
        xs.push(if bits.next().is_multiple_of(2) { size } else { -size });
    }
    let ranges = ranges(f, dtype);
    for (lo, hi) in &ranges {
        xs.extend((0..count / 3 / ranges.len()).map(|_| bits.between(*lo, *hi)));
    }
    if is_trig(f) {
        let limit = trig_limit(dtype);
        // Next to the zeros of sine and cosine.
        for _ in 0..count / 20 {
            xs.push((bits.between(0.0, limit / FRAC_PI_2).floor() * FRAC_PI_2).min(limit));
        }
        xs.retain(|x| x.abs() <= limit);
    }
    xs
}

/// Bases and exponents whose power is mostly finite.
fn power_arguments(dtype: DType, count: usize) -> (Vec<f64>, Vec<f64>) {
    let mut bits = Bits(88_172_645_463_325_252);
    let (reach, most) = if dtype == DType::F32 { (140.0, 150.0) } else { (1050.0, 1080.0) };
    let pair = |i| {
        let x = match i % 3 {
            0 => bits.between(0.5, 2.0),
            1 => 1.0 + bits.between(-0.01, 0.01),
            _ => 2f64.powf(bits.between(-reach, reach)),
        };
        let x = if dtype == DType::F32 { f64::from(x as f32) } else { x };
        let log = x.log2().abs().max(1e-9);
        let y = bits.between(-most, most) / log;
        match i % 5 {
            0 => (-x, y.round()),
            1 => (x, (bits.between(-40.0, 40.0)).round() / 2.0),
            _ => (x, y),
        }
    };
    (0..count).map(pair).unzip()
}

/// Points of the plane: of all sizes, near each other's size, and near the lines
/// where a function changes its formula.
fn plane_arguments(dtype: DType, count: usize) -> (Vec<f64>, Vec<f64>) {
    let mut bits = Bits(0xA076_1D64_78BD_642F);
    let reach = if dtype == DType::F32 { 149.0 } else { 1074.0 };
    let pair = |i| {
        let size = 2f64.powf(bits.between(-reach, reach * 0.85));
        let ratio = match i % 4 {
            0 => 2f64.powf(bits.between(-40.0, 40.0)),
            1 => bits.between(0.4, 0.6),
            2 => bits.between(0.9, 1.1),
            _ => bits.between(0.0, 4.0),
        };
        let sign = |bit: u64| if bit & 1 == 0 { 1.0 } else { -1.0 };
        let signs = bits.next();
        (size * sign(signs), size * ratio * sign(signs >> 1))
    };
    (0..count).map(pair).unzip()
}

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

fn reference_f64(f: Scalar, x: f64, y: f64) -> f64 {
    match f {
        Scalar::Exp => x.exp(),
        Scalar::Expm1 => x.exp_m1(),
        Scalar::Log => x.ln(),
        Scalar::Log1p => x.ln_1p(),
        Scalar::Sin => x.sin(),
        Scalar::Cos => x.cos(),
        Scalar::Tan => x.tan(),
        Scalar::Tanh => x.tanh(),
        Scalar::Sigmoid if x < 0.0 => x.exp() / (1.0 + x.exp()),
        Scalar::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Scalar::Pow => x.powf(y),
        Scalar::Rsqrt => 1.0 / x.sqrt(),
        Scalar::Exp2 => x.exp2(),
        Scalar::Log2 => x.log2(),
        Scalar::Log10 => x.log10(),
        Scalar::Cbrt => x.cbrt(),
        Scalar::Hypot => x.hypot(y),
        Scalar::Asin => x.asin(),
        Scalar::Acos => x.acos(),
        Scalar::Atan => x.atan(),
        Scalar::Atan2 => x.atan2(y),
        Scalar::Sinh => x.sinh(),
        Scalar::Cosh => x.cosh(),
        // The library's overflows.
        Scalar::Asinh if x.abs() > 1e20 => x.signum() * (x.abs().ln() + LN_2),
        Scalar::Asinh => x.asinh(),
        // The library's loses digits near 1.
        Scalar::Acosh => 2.0 * ((x - 1.0) / 2.0).sqrt().asinh(),
        Scalar::Atanh => x.atanh(),
        other => panic!("no reference for {}", other.name()),
    }
}

/// Error of an `f32` in units in the last place; an infinite one counts as the
/// number after the largest.
fn error_f32(got: f32, want: f64) -> f64 {
    if want.is_nan() || got.is_nan() {
        return if want.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let clip = |x: f64| x.clamp(-(2f64.powi(128)), 2f64.powi(128));
    let (got, want) = (clip(got.into()), clip(want));
    let exponent = (want.abs().log2().floor() as i32).clamp(-126, 127);
    // The logarithm may be rounded up to the next binade; then the unit is less.
    let exponent = if 2f64.powi(exponent) > want.abs() { exponent - 1 } else { exponent };
    (got - want).abs() / 2f64.powi(exponent.max(-126) - 23)
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

const PRECISION: usize = 256;
const NEAREST: RoundingMode = RoundingMode::ToEven;

fn big(x: f64) -> BigFloat {
    if x.is_subnormal() {
        // The library takes subnormal numbers for normal ones.
        let scaled = BigFloat::from_f64(x * 2f64.powi(200), PRECISION);
        return scaled.mul(&BigFloat::from_f64(2f64.powi(-200), PRECISION), PRECISION, NEAREST);
    }
    BigFloat::from_f64(x, PRECISION)
}

/// The exact value, or as good as; `None` where it is not a finite number other
/// than 0.
fn reference_big(f: Scalar, x: f64, y: f64, consts: &mut Consts) -> Option<BigFloat> {
    let (p, rm) = (PRECISION, NEAREST);
    let (v, w, one) = (big(x), big(y), big(1.0));
    let tiny = x.abs() < 2f64.powi(-70);
    // x ± x²/2
    let parabola = |sign: f64| v.add(&v.mul(&v, p, rm).mul(&big(sign * 0.5), p, rm), p, rm);
    let sum = |a: &BigFloat| a.add(&one, p, rm);
    let value = match f {
        Scalar::Exp => v.exp(p, rm, consts),
        Scalar::Expm1 if tiny => parabola(1.0),
        Scalar::Expm1 => v.exp(p, rm, consts).sub(&one, p, rm),
        Scalar::Log => v.ln(p, rm, consts),
        Scalar::Log1p if tiny => parabola(-1.0),
        Scalar::Log1p => sum(&v).ln(p, rm, consts),
        Scalar::Sin | Scalar::Tan | Scalar::Tanh if tiny => v,
        Scalar::Cos if tiny => one,
        Scalar::Sin => v.sin(p, rm, consts),
        Scalar::Cos => v.cos(p, rm, consts),
        Scalar::Tan => v.sin(p, rm, consts).div(&v.cos(p, rm, consts), p, rm),
        Scalar::Tanh if x.abs() > 100.0 => big(x.signum()),
        Scalar::Tanh => v.tanh(p, rm, consts),
        Scalar::Sigmoid => one.div(&sum(&v.neg().exp(p, rm, consts)), p, rm),
        Scalar::Pow if x < 0.0 && y.fract() != 0.0 => return None,
        Scalar::Pow => {
            let log = big(x.abs()).ln(p, rm, consts);
            let size = log.mul(&big(y), p, rm).exp(p, rm, consts);
            if x < 0.0 && y % 2.0 != 0.0 { size.neg() } else { size }
        }
        Scalar::Rsqrt => one.div(&v.sqrt(p, rm), p, rm),
        Scalar::Exp2 => big(2.0).pow(&v, p, rm, consts),
        Scalar::Log2 => v.log2(p, rm, consts),
        Scalar::Log10 => v.log10(p, rm, consts),
        Scalar::Cbrt => v.cbrt(p, rm),
        Scalar::Hypot => {
            let (x2, y2) = (v.mul(&v, p, rm), w.mul(&w, p, rm));
            x2.add(&y2, p, rm).sqrt(p, rm)
        }
        Scalar::Asin | Scalar::Atan | Scalar::Sinh | Scalar::Asinh | Scalar::Atanh if tiny => v,
        Scalar::Cosh if tiny => one,
        Scalar::Asin => v.asin(p, rm, consts),
        Scalar::Acos => v.acos(p, rm, consts),
        Scalar::Atan => v.atan(p, rm, consts),
        Scalar::Atan2 => {
            let pi = consts.pi(p, rm);
            let angle = v.div(&w, p, rm).atan(p, rm, consts);
            match (y < 0.0, x < 0.0) {
                (false, _) => angle,
                (true, false) => angle.add(&pi, p, rm),
                (true, true) => angle.sub(&pi, p, rm),
            }
        }
        Scalar::Sinh => v.sinh(p, rm, consts),
        Scalar::Cosh => v.cosh(p, rm, consts),
        Scalar::Asinh => {
            let root = sum(&v.mul(&v, p, rm)).sqrt(p, rm);
            let size = v.abs().add(&root, p, rm).ln(p, rm, consts);
            if x < 0.0 { size.neg() } else { size }
        }
        Scalar::Acosh => {
            let root = v.mul(&v, p, rm).sub(&one, p, rm).sqrt(p, rm);
            v.add(&root, p, rm).ln(p, rm, consts)
        }
        Scalar::Atanh => {
            let quotient = sum(&v).div(&one.sub(&v, p, rm), p, rm);
            quotient.ln(p, rm, consts).mul(&big(0.5), p, rm)
        }
        other => panic!("no reference for {}", other.name()),
    };
    (!value.is_nan() && !value.is_inf() && !value.is_zero()).then_some(value)
}

/// Error of an `f64`. Infinity counts as the number after the largest.
fn error_f64(got: f64, want: &BigFloat) -> f64 {
    if got.is_nan() {
        return f64::INFINITY;
    }
    let got = if got.is_infinite() {
        big(got.signum()).mul(&big(2f64.powi(1023)), PRECISION, NEAREST).mul(
            &big(2.0),
            PRECISION,
            NEAREST,
        )
    } else {
        big(got)
    };
    // Exponents count from a mantissa in [½, 1).
    let exponent = want.exponent().unwrap_or(0);
    if exponent > 1024 {
        return if got.exponent() == Some(1025) { 0.0 } else { f64::INFINITY };
    }
    let unit = (exponent - 1).max(-1022) - 52;
    let error = got.sub(want, PRECISION, NEAREST);
    match error.as_raw_parts() {
        Some((digits, _, _, e, _)) if !error.is_zero() => {
            let top = *digits.last().unwrap() as f64 / 2f64.powi(64);
            top * 2f64.powi((e - unit).clamp(-1000, 1000))
        }
        _ => 0.0,
    }
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

/// Whether `got` is `want` to the bit, or both are NaN.
fn same(got: f64, want: f64) -> bool {
    got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan())
}

/// Checks a function of one argument in both types, where argument and result
/// are numbers of both.
fn check(f: Scalar, cases: &[(f64, f64)]) {
    let xs: Vec<_> = cases.iter().map(|c| c.0).collect();
    let single: Vec<_> = xs.iter().map(|&x| x as f32).collect();
    let double_results: Vec<f64> = apply(f, &[&xs]);
    let single_results: Vec<f32> = apply(f, &[&single]);
    for ((&(x, want), &d), &s) in cases.iter().zip(&double_results).zip(&single_results) {
        assert!(same(d, want), "{} of {x} is {d}, not {want}, in f64", f.name());
        assert!(same(s.into(), want), "{} of {x} is {s}, not {want}, in f32", f.name());
    }
}

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

#[test]
fn special_arguments_give_special_results() {
    check(Scalar::Exp, &[(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (NAN, NAN)]);
    check(Scalar::Exp, &[(1e4, INF), (-1e4, 0.0), (1e38, INF), (-1e38, 0.0)]);
    check(Scalar::Expm1, &[(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (NAN, NAN)]);
    check(Scalar::Expm1, &[(1e4, INF), (-1e4, -1.0), (-100.0, -1.0)]);
    check(Scalar::Log, &[(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN)]);
    check(Scalar::Log, &[(-INF, NAN), (NAN, NAN)]);
    check(Scalar::Log1p, &[(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-2.0, NAN)]);
    check(Scalar::Log1p, &[(-INF, NAN), (NAN, NAN)]);
    check(Scalar::Sin, &[(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)]);
    check(Scalar::Cos, &[(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN), (NAN, NAN)]);
    check(Scalar::Tan, &[(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)]);
    check(Scalar::Tanh, &[(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (NAN, NAN)]);
    check(Scalar::Tanh, &[(40.0, 1.0), (-40.0, -1.0), (1e30, 1.0)]);
    check(Scalar::Sigmoid, &[(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (NAN, NAN)]);
    check(Scalar::Sigmoid, &[(1e4, 1.0), (-1e4, 0.0)]);
    check(Scalar::Rsqrt, &[(4.0, 0.5), (0.0, INF), (-0.0, -INF), (INF, 0.0), (-1.0, NAN)]);
    check(Scalar::Reciprocal, &[(4.0, 0.25), (-0.0, -INF), (INF, 0.0)]);
    check(Scalar::Sign, &[(3.0, 1.0), (-3.0, -1.0), (-0.0, -0.0), (0.0, 0.0), (NAN, NAN)]);
    check(Scalar::Trunc, &[(1.5, 1.0), (-0.5, -0.0), (-INF, -INF), (NAN, NAN)]);
    check(Scalar::Exp2, &[(0.0, 1.0), (10.0, 1024.0), (-3.0, 0.125), (-INF, 0.0), (INF, INF)]);
    check(Scalar::Exp2, &[(NAN, NAN), (1e30, INF), (-1e30, 0.0)]);
    check(Scalar::Log2, &[(8.0, 3.0), (1.0, 0.0), (0.125, -3.0), (-0.0, -INF), (INF, INF)]);
    check(Scalar::Log2, &[(-1.0, NAN), (NAN, NAN)]);
    check(Scalar::Log10, &[(1.0, 0.0), (10.0, 1.0), (1e6, 6.0), (0.0, -INF), (-1.0, NAN)]);
    check(Scalar::Cbrt, &[(27.0, 3.0), (-8.0, -2.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)]);
    check(Scalar::Cbrt, &[(0.0, 0.0), (NAN, NAN), (0.125, 0.5)]);
    check(Scalar::Asin, &[(0.0, 0.0), (-0.0, -0.0), (1.5, NAN), (-INF, NAN), (NAN, NAN)]);
    check(Scalar::Acos, &[(1.0, 0.0), (-1.5, NAN), (INF, NAN), (NAN, NAN)]);
    check(Scalar::Atan, &[(0.0, 0.0), (-0.0, -0.0), (NAN, NAN)]);
    check(Scalar::Sinh, &[(0.0, 0.0), (-0.0, -0.0), (1e4, INF), (-INF, -INF), (NAN, NAN)]);
    check(Scalar::Cosh, &[(0.0, 1.0), (-0.0, 1.0), (-1e4, INF), (-INF, INF), (NAN, NAN)]);
    check(Scalar::Asinh, &[(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (NAN, NAN)]);
    check(Scalar::Acosh, &[(1.0, 0.0), (0.5, NAN), (-2.0, NAN), (-1e30, NAN), (INF, INF)]);
    check(Scalar::Acosh, &[(-INF, NAN), (NAN, NAN)]);
    check(Scalar::Atanh, &[(0.0, 0.0), (-0.0, -0.0), (1.0, INF), (-1.0, -INF), (2.0, NAN)]);
    check(Scalar::Atanh, &[(-INF, NAN), (NAN, NAN)]);
    check(Scalar::Round, &[(0.5, 0.0), (1.5, 2.0), (-0.5, -0.0), (2.5, 2.0)]);
}

/// Checks a function of two arguments, whose result is near the one given, in both
/// types; zeros to the sign.
fn check_pairs(f: Scalar, cases: &[(f64, f64, f64)]) {
    let (xs, ys): (Vec<_>, Vec<_>) = cases.iter().map(|c| (c.0, c.1)).unzip();
    let single = |xs: &[f64]| xs.iter().map(|&x| x as f32).collect::<Vec<_>>();
    let double: Vec<f64> = apply(f, &[&xs, &ys]);
    let single: Vec<f32> = apply(f, &[&single(&xs), &single(&ys)]);
    for ((&(x, y, want), &d), &s) in cases.iter().zip(&double).zip(&single) {
        let near = |got: f64, want: f64, unit: f64| {
            same(got, want) || (want != 0.0 && (got - want).abs() <= unit * want.abs())
        };
        assert!(near(d, want, 3e-16), "{} of {x}, {y} is {d}, not {want}, in f64", f.name());
        assert!(near(s.into(), want, 1.2e-7), "{} of {x}, {y} is {s}, not {want}", f.name());
    }
}

#[test]
fn angles_and_distances_follow_c99() {
    let (quarter, half) = (PI / 4.0, FRAC_PI_2);
    check_pairs(
        Scalar::Atan2,
        &[
            (0.0, 1.0, 0.0),
            (-0.0, 1.0, -0.0),
            (0.0, 0.0, 0.0),
            (-0.0, 0.0, -0.0),
            (0.0, -0.0, PI),
            (-0.0, -0.0, -PI),
            (0.0, -1.0, PI),
            (-0.0, -1.0, -PI),
            (1.0, 0.0, half),
            (-1.0, -0.0, -half),
            (1.0, 1.0, quarter),
            (1.0, -1.0, 3.0 * quarter),
            (-1.0, -1.0, -3.0 * quarter),
            (-1.0, 1.0, -quarter),
            (INF, INF, quarter),
            (INF, -INF, 3.0 * quarter),
            (-INF, -INF, -3.0 * quarter),
            (INF, 1e30, half),
            (-INF, -1e30, -half),
            (1e30, INF, 0.0),
            (-1.0, INF, -0.0),
            (-1.0, -INF, -PI),
            (1e-30, -1e30, PI),
            (1e30, 1e-30, half),
            (NAN, INF, NAN),
            (INF, NAN, NAN),
            (NAN, 0.0, NAN),
            (0.0, NAN, NAN),
        ],
    );
    check_pairs(
        Scalar::Hypot,
        &[
            (3.0, -4.0, 5.0),
            (0.0, 0.0, 0.0),
            (-0.0, -0.0, 0.0),
            (-2.0, 0.0, 2.0),
            (3e30, 4e30, 5e30),
            (3e-30, 4e-30, 5e-30),
            (INF, NAN, INF),
            (NAN, -INF, INF),
            (NAN, 1.0, NAN),
            (1.0, NAN, NAN),
        ],
    );
    let steps: Vec<f64> = (1..300).map(|k| f64::from(k) * f64::from_bits(1)).collect();
    let got: Vec<f64> = apply(Scalar::Hypot, &[&steps, &vec![0.0; steps.len()]]);
    assert_eq!(got, steps);
    let infinite: Vec<f64> = apply(Scalar::Atan, &[&[INF, -INF]]);
    assert_eq!(infinite, [half, -half]);
}

#[test]
fn quotients_of_integers_are_exact_and_do_not_trap() {
    fn cases<T: Element + Copy>(edges: &[T], random: impl Fn(u64) -> T) -> [Vec<T>; 2] {
        let mut bits = Bits(0x1234_5678_9ABC_DEF1);
        let mut pairs: Vec<(T, T)> =
            edges.iter().flat_map(|&x| edges.iter().map(move |&y| (x, y))).collect();
        pairs.extend((0..200_000).map(|_| {
            let (x, y, shift) = (bits.next(), bits.next(), bits.next());
            (random(x >> (shift & 63)), random(y >> (shift >> 6 & 63)))
        }));
        pairs.extend((0..100_000).map(|_| {
            let (x, y, shift) = (bits.next() as i64, bits.next() as i64, bits.next());
            (random((x >> (shift & 63)) as u64), random((y >> (shift >> 6 & 63)) as u64))
        }));
        let (xs, ys) = pairs.into_iter().unzip();
        [xs, ys]
    }
    let near = |n: i64| [n.wrapping_sub(1), n, n.wrapping_add(1)];
    let edges: Vec<i64> =
        [0, 3, 10, 1 << 31, 1 << 32, 1 << 52, 1 << 53, 1 << 62, -(1 << 62), -(1 << 53), i64::MAX]
            .into_iter()
            .flat_map(near)
            .collect();
    let [xs, ys] = cases(&edges, |n| n as i64);
    let by = |f: fn(i64, i64) -> i64| {
        let divided = |(&x, &y)| if y == 0 { 0 } else { f(x, y) };
        xs.iter().zip(&ys).map(divided).collect::<Vec<_>>()
    };
    assert_eq!(apply::<i64, i64>(Scalar::Quot, &[&xs, &ys]), by(i64::wrapping_div));
    assert_eq!(apply::<i64, i64>(Scalar::Rem, &[&xs, &ys]), by(i64::wrapping_rem));
    let edges: Vec<i32> = edges.iter().map(|&n| n as i32).chain([i32::MIN, i32::MAX]).collect();
    let [xs, ys] = cases(&edges, |n| n as i32);
    let by = |f: fn(i32, i32) -> i32| {
        let divided = |(&x, &y)| if y == 0 { 0 } else { f(x, y) };
        xs.iter().zip(&ys).map(divided).collect::<Vec<_>>()
    };
    assert_eq!(apply::<i32, i32>(Scalar::Quot, &[&xs, &ys]), by(i32::wrapping_div));
    assert_eq!(apply::<i32, i32>(Scalar::Rem, &[&xs, &ys]), by(i32::wrapping_rem));
}

#[test]
fn subnormal_numbers_are_numbers() {
    let single: Vec<f32> = [1u32, 2, 3, 1000, 0x007F_FFFF].map(f32::from_bits).to_vec();
    let double: Vec<f64> = [1u64, 2, 3, 1000, (1 << 52) - 1].map(f64::from_bits).to_vec();
    let odd = [Scalar::Sin, Scalar::Tan, Scalar::Asin, Scalar::Atan, Scalar::Sinh, Scalar::Tanh];
    let more = [Scalar::Asinh, Scalar::Atanh, Scalar::Expm1, Scalar::Log1p];
    for f in odd.into_iter().chain(more) {
        assert_eq!(apply::<_, f32>(f, &[&single]), single, "{}", f.name());
        assert_eq!(apply::<_, f64>(f, &[&double]), double, "{}", f.name());
    }
    assert_eq!(apply::<_, f64>(Scalar::Log, &[&double])[0], -744.4400719213812);
    assert_eq!(apply::<_, f32>(Scalar::Log, &[&single])[0], -103.27893);
    assert_eq!(apply::<_, f64>(Scalar::Exp, &[&[-744.44f64]])[0].to_bits(), 1);
    assert_eq!(apply::<_, f32>(Scalar::Exp, &[&[-103.27f32]])[0].to_bits(), 1);
    assert_eq!(apply::<_, f32>(Scalar::Sigmoid, &[&[-103.27f32]])[0].to_bits(), 1);
}

#[test]
fn overflow_begins_where_it_should() {
    let edge = [88.72283f32, 88.722_84];
    assert_eq!(apply::<_, f32>(Scalar::Exp, &[&edge]), [edge[0].exp(), f32::INFINITY]);
    let edge = [709.782712893384f64, 709.7827128933841];
    let got: Vec<f64> = apply(Scalar::Exp, &[&edge]);
    assert!(got[0] > 1.79e308 && got[0].is_finite() && got[1] == INF);
}

#[test]
fn huge_angles_are_right_or_nan() {
    fn all_nan<T: Element + Into<f64>>(f: Scalar, xs: &[T]) -> bool {
        apply::<T, T>(f, &[xs]).into_iter().all(|y| y.into().is_nan())
    }
    let ((single, double), near) = ((1e6, 1e15), |x: f64| [x, -x, x / 2.0]);
    assert_eq!((trig_limit(DType::F32), trig_limit(DType::F64)), (single, double));
    for f in [Scalar::Sin, Scalar::Cos, Scalar::Tan] {
        let xs = near(single).map(|x| x as f32);
        for (&x, y) in xs.iter().zip(apply::<f32, f32>(f, &[&xs])) {
            assert!(error_f32(y, reference_f64(f, x.into(), 0.0)) < 1.6, "{} of {x}", f.name());
        }
        for (x, y) in near(double).into_iter().zip(apply::<f64, f64>(f, &[&near(double)])) {
            let want = reference_f64(f, x, 0.0);
            assert!((y - want).abs() <= 1e-15 * want.abs().max(0.1), "{} of {x}", f.name());
        }
        let beyond: Vec<f64> = (1..1000).map(|i| double * 2.03f64.powi(i)).collect();
        assert!(all_nan(f, &beyond), "{} in f64", f.name());
        let beyond: Vec<f32> = (1..1000).map(|i| single as f32 * 1.097f32.powi(i)).collect();
        assert!(all_nan(f, &beyond), "{} in f32", f.name());
    }
}

#[test]
fn tanh_and_sigmoid_do_not_pass_1() {
    let single: Vec<f32> = (0..200_000).map(|i| i as f32 * 1e-4).collect();
    let double: Vec<f64> = (0..200_000).map(|i| f64::from(i) * 2e-4).collect();
    for f in [Scalar::Tanh, Scalar::Sigmoid] {
        assert!(apply::<_, f32>(f, &[&single]).iter().all(|&y: &f32| y <= 1.0));
        assert!(apply::<_, f64>(f, &[&double]).iter().all(|&y: &f64| y <= 1.0));
    }
}

#[test]
fn powers_follow_c99() {
    let cases = [
        (2.0, 10.0, 1024.0),
        (-2.0, 3.0, -8.0),
        (-2.0, 2.0, 4.0),
        (-2.0, -3.0, -0.125),
        (-2.0, 0.5, NAN),
        (-8.0, 1.5, NAN),
        (NAN, 0.0, 1.0),
        (NAN, -0.0, 1.0),
        (INF, 0.0, 1.0),
        (1.0, NAN, 1.0),
        (1.0, INF, 1.0),
        (-1.0, INF, 1.0),
        (-1.0, -INF, 1.0),
        (NAN, 1.5, NAN),
        (1.5, NAN, NAN),
        (0.0, 3.0, 0.0),
        (-0.0, 3.0, -0.0),
        (-0.0, 2.0, 0.0),
        (-0.0, 0.5, 0.0),
        (0.0, -3.0, INF),
        (-0.0, -3.0, -INF),
        (-0.0, -2.0, INF),
        (-0.0, -0.5, INF),
        (0.0, -INF, INF),
        (0.0, INF, 0.0),
        (0.5, INF, 0.0),
        (0.5, -INF, INF),
        (2.0, INF, INF),
        (2.0, -INF, 0.0),
        (INF, 1e-30, INF),
        (INF, -1e-30, 0.0),
        (-INF, 3.0, -INF),
        (-INF, 2.0, INF),
        (-INF, 0.5, INF),
        (-INF, -3.0, -0.0),
        (-INF, -2.0, 0.0),
        (0.0, 1e-30, 0.0),
        (2.0, 1e30, INF),
        (2.0, -1e30, 0.0),
        (-2.0, 1e30, INF),
        (1.5, 2.0, 2.25),
        (9.0, 0.5, 3.0),
        (1.0, 1e30, 1.0),
    ];
    let (xs, ys): (Vec<_>, Vec<_>) = cases.iter().map(|c| (c.0, c.1)).unzip();
    let got: Vec<f64> = apply(Scalar::Pow, &[&xs, &ys]);
    for (&(x, y, want), &got) in cases.iter().zip(&got) {
        assert!(same(got, want), "{x}^{y} is {got}, not {want}, in f64");
    }
    let single = |xs: &[f64]| xs.iter().map(|&x| x as f32).collect::<Vec<_>>();
    let got: Vec<f32> = apply(Scalar::Pow, &[&single(&xs), &single(&ys)]);
    for (&(x, y, want), &got) in cases.iter().zip(&got) {
        assert!(same(got.into(), want), "{x}^{y} is {got}, not {want}, in f32");
    }
}

#[test]
fn differences_of_equals_are_zero() {
    let (xs, ys) = ([INF, -INF, INF, NAN, 2.0], [INF, -INF, 1.0, INF, 2.0f64]);
    let got: Vec<f64> = apply(Scalar::SubZ, &[&xs, &ys]);
    assert!(got.iter().zip([0.0, 0.0, INF, NAN, 0.0]).all(|(&g, w)| same(g, w)));
}

#[test]
fn products_with_zero_are_zero() {
    let (xs, ys) = ([0.0, INF, NAN, -0.0, 2.0, NAN], [INF, -0.0, 0.0, 3.0, 3.0, 1.0f64]);
    let got: Vec<f64> = apply(Scalar::MulZ, &[&xs, &ys]);
    assert!(got.iter().zip([0.0, 0.0, 0.0, 0.0, 6.0, NAN]).all(|(&g, w)| same(g, w)));
    let got: Vec<f64> = apply(Scalar::MulZLeft, &[&xs, &ys]);
    assert!(got.iter().zip([0.0, NAN, NAN, 0.0, 6.0, NAN]).all(|(&g, w)| same(g, w)));
}

#[test]
fn booleans_are_ordered() {
    let (xs, ys) = ([false, false, true, true], [false, true, false, true]);
    let less = [false, true, false, false];
    assert_eq!(apply::<bool, bool>(Scalar::Lt, &[&xs, &ys]), less);
    assert_eq!(apply::<bool, bool>(Scalar::Gt, &[&ys, &xs]), less);
    assert_eq!(apply::<bool, bool>(Scalar::Ge, &[&xs, &ys]), less.map(|b| !b));
    assert_eq!(apply::<bool, bool>(Scalar::Le, &[&ys, &xs]), less.map(|b| !b));
}

#[test]
fn casts_saturate_and_compare_with_zero() {
    let xs = [1e20f64, -1e20, NAN, 2.9, -2.9];
    assert_eq!(apply::<f64, i32>(Scalar::ToI32, &[&xs]), [i32::MAX, i32::MIN, 0, 2, -2]);
    assert_eq!(
        apply::<f64, bool>(Scalar::ToBool, &[&[0.0, -0.0, NAN, 0.1]]),
        [false, false, true, true]
    );
    assert_eq!(apply::<bool, f32>(Scalar::ToF32, &[&[true, false]]), [1.0, 0.0]);
    assert_eq!(apply::<i32, bool>(Scalar::ToBool, &[&[0, 7]]), [false, true]);
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
