//! Measures how far the special functions are from the exact ones.
//!
//! `f64` results are compared with series in 320 bits, which share nothing with the
//! expansions but the names; `f32` results with the functions of eager mode in
//! `f64`, which are measured against the same series first.

use astro_float_num::{BigFloat, Consts, RoundingMode};
use backstitch_ir::array::Array;
use backstitch_ir::build::NestBuilder;
use backstitch_ir::eval_nest::{cells, eval, pack, unpack};
use backstitch_ir::nest::{Access, At, Const, Mode, Range};
use backstitch_ir::scalar::Scalar;
use backstitch_ir::verify_nest::verify;
use backstitch_ir::{DType, Element};
use backstitch_passes::math::{SPECIAL_BOUNDS, legalise};

const P: usize = 320;
const RM: RoundingMode = RoundingMode::ToEven;

/// `f(xs)` by the interpreter; `polygamma` of an order.
fn compiled<A: Element>(f: Scalar, order: Option<Order<'_, A>>, xs: &[A]) -> Vec<A> {
    let len = xs.len();
    let mut b = NestBuilder::new(f.name());
    let param = b.param(A::DTYPE, len, Access::In);
    let orders = match order {
        Some(Order::Each(_)) => Some(b.param(A::DTYPE, len, Access::In)),
        _ => None,
    };
    let out = b.param(A::DTYPE, len, Access::Out);
    let i = b.axis(len);
    b.open(i, Range::Whole, Mode::Vector { lanes: 4 });
    let at = At { strides: [(i, 1)].into_iter().collect(), ..At::default() };
    let x = b.load(param, at.clone());
    let mut args = vec![x];
    if let Some(Order::All(n)) = order {
        args.insert(0, b.float(A::DTYPE, n));
    }
    if let Some(orders) = orders {
        args.insert(0, b.load(orders, at.clone()));
    }
    let y = legalise(&mut b, f, A::DTYPE, &args);
    b.store(out, at, y);
    b.close(&[]);
    let nest = b.finish();
    assert_eq!(verify(&nest), Ok(()));
    let mut bytes = vec![pack(xs)];
    if let Some(Order::Each(ns)) = order {
        bytes.push(pack(ns));
    }
    bytes.push(vec![0; len * A::DTYPE.size()]);
    let mems: Vec<_> = bytes.iter_mut().map(|b| cells(b)).collect();
    eval(&nest, &mems);
    unpack(bytes.last().unwrap())
}

/// The order of `polygamma`.
#[derive(Clone, Copy)]
enum Order<'a, A> {
    All(f64),
    Each(&'a [A]),
}

fn eager(f: Scalar, order: Option<f64>, x: f64) -> f64 {
    let one = |x: f64| Array::scalar(Const::of_float(DType::F64, x));
    let args: Vec<_> = order.into_iter().chain([x]).map(one).collect();
    (f.def().eval)(&args.iter().collect::<Vec<_>>()).to_f64_vec()[0]
}

/// The functions in high precision.
struct Exact {
    consts: Consts,
    /// `B₀, B₂, B₄, …`
    bernoulli: Vec<BigFloat>,
}

fn big(x: f64) -> BigFloat {
    BigFloat::from_f64(x, P)
}

fn add(a: &BigFloat, b: &BigFloat) -> BigFloat {
    a.add(b, P, RM)
}

fn sub(a: &BigFloat, b: &BigFloat) -> BigFloat {
    a.sub(b, P, RM)
}

fn mul(a: &BigFloat, b: &BigFloat) -> BigFloat {
    a.mul(b, P, RM)
}

fn div(a: &BigFloat, b: &BigFloat) -> BigFloat {
    a.div(b, P, RM)
}

impl Exact {
    fn new() -> Self {
        // Σ C(m + 1, k)·B_k = 0 for k from 0 to m; odd ones are 0 but for B₁ = -½.
        let mut all = vec![big(1.0), big(-0.5)];
        for m in 2..=60 {
            let (mut sum, mut choose) = (big(0.0), big(1.0));
            for (k, number) in all.iter().enumerate() {
                sum = add(&sum, &mul(&choose, number));
                choose = div(&mul(&choose, &big((m + 1 - k) as f64)), &big((k + 1) as f64));
            }
            all.push(if m % 2 == 1 { big(0.0) } else { div(&sum, &big(-((m + 1) as f64))) });
        }
        let bernoulli = all.into_iter().step_by(2).collect();
        Self { consts: Consts::new().expect("constants"), bernoulli }
    }

    fn log(&mut self, x: &BigFloat) -> BigFloat {
        x.ln(P, RM, &mut self.consts)
    }

    fn pi(&mut self) -> BigFloat {
        self.consts.pi(P, RM)
    }

    /// `2/√π·e^(-x²)`
    fn bell(&mut self, x: &BigFloat) -> BigFloat {
        let e = mul(x, x).neg().exp(P, RM, &mut self.consts);
        div(&mul(&big(2.0), &e), &self.pi().sqrt(P, RM))
    }

    /// `2/√π·e^(-x²)·Σ 2ᵏ·x^(2k + 1)/(2k + 1)!!`, all terms of one sign.
    fn erf(&mut self, x: &BigFloat) -> BigFloat {
        let square = mul(x, x);
        let (mut term, mut sum) = (x.clone(), x.clone());
        for k in 1..700 {
            term = div(&mul(&mul(&term, &square), &big(2.0)), &big(f64::from(2 * k + 1)));
            sum = add(&sum, &term);
            let small = term.exponent().unwrap_or(-9999) < sum.exponent().unwrap_or(0) - 320;
            if term.is_zero() || small {
                break;
            }
        }
        mul(&self.bell(x), &sum)
    }

    /// A continued fraction where `1 - erf` has lost too much.
    fn erfc(&mut self, x: f64) -> BigFloat {
        let v = big(x);
        if x < 5.0 {
            return sub(&big(1.0), &self.erf(&v));
        }
        let mut fraction = v.clone();
        for k in (1..150).rev() {
            fraction = add(&v, &div(&big(f64::from(k) / 2.0), &fraction));
        }
        div(&div(&self.bell(&v), &fraction), &big(2.0))
    }

    /// One step of Newton's method in full precision from a value that is nearly right.
    fn erfinv(&mut self, y: f64, near: f64) -> BigFloat {
        let v = big(near);
        let excess = sub(&self.erf(&v), &big(y));
        sub(&v, &div(&excess, &self.bell(&v)))
    }

    /// `x` moved up to where the series for large arguments holds, and the steps.
    fn far(x: f64) -> (BigFloat, Vec<BigFloat>) {
        let (mut at, mut steps) = (big(x), vec![]);
        for _ in 0..(50.0 - x).clamp(0.0, 50.0).ceil() as usize {
            steps.push(at.clone());
            at = add(&at, &big(1.0));
        }
        (at, steps)
    }

    fn sin_pi(&mut self, x: f64) -> BigFloat {
        let angle = mul(&self.pi(), &big(x - 2.0 * (x / 2.0).round()));
        angle.sin(P, RM, &mut self.consts)
    }

    fn lgamma(&mut self, x: f64) -> BigFloat {
        if x < 0.0 {
            let below = mul(&self.sin_pi(x), &big(x));
            let ratio = div(&self.pi(), &below.abs());
            return sub(&self.log(&ratio), &self.lgamma(-x));
        }
        let (at, steps) = Self::far(x);
        let product = steps.iter().fold(big(1.0), |p, s| mul(&p, s));
        let log = self.log(&at);
        let mut sum = sub(&mul(&sub(&at, &big(0.5)), &log), &at);
        let tau = mul(&self.pi(), &big(2.0));
        sum = add(&sum, &mul(&self.log(&tau), &big(0.5)));
        let (square, mut power) = (mul(&at, &at), at.clone());
        for (j, number) in self.bernoulli.iter().enumerate().skip(1) {
            let m = 2.0 * j as f64;
            sum = add(&sum, &div(number, &mul(&big(m * (m - 1.0)), &power)));
            power = mul(&power, &square);
        }
        sub(&sum, &self.log(&product))
    }

    /// Digamma for `n = 0`.
    fn polygamma(&mut self, n: u32, x: f64) -> BigFloat {
        if x < 0.0 {
            let angle = mul(&self.pi(), &big(x - x.round()));
            let sine = angle.sin(P, RM, &mut self.consts);
            // 1 - x, not rounded.
            let mirrored = self.polygamma(n, -x);
            let step = if n == 0 { big(x) } else { mul(&big(x), &big(x)) };
            let mirrored = sub(&mirrored, &div(&big(1.0), &step));
            let ratio = div(&self.pi(), &sine);
            return match n {
                0 => {
                    let cosine = angle.cos(P, RM, &mut self.consts);
                    sub(&mirrored, &mul(&ratio, &cosine))
                }
                1 => sub(&mul(&ratio, &ratio), &mirrored),
                _ => panic!("order {n} below 0"),
            };
        }
        let (at, steps) = Self::far(x);
        let s = n as usize + 1;
        let power = |x: &BigFloat, n: usize| x.powi(n, P, RM);
        let sum = steps.iter().fold(big(0.0), |a, k| add(&a, &div(&big(1.0), &power(k, s))));
        let half = div(&big(0.5), &power(&at, s));
        let mut tail = if n == 0 {
            sub(&half, &self.log(&at))
        } else {
            add(&half, &div(&big(1.0), &mul(&big(f64::from(n)), &power(&at, s - 1))))
        };
        // B₂ⱼ/(2j)!·s·(s + 1)···(s + 2j - 2)
        let mut factor = div(&big(s as f64), &big(2.0));
        for (j, number) in self.bernoulli.iter().enumerate().skip(1) {
            let term = div(&mul(number, &factor), &power(&at, s + 2 * j - 1));
            tail = add(&tail, &term);
            let (up, down) = (s + 2 * j, 2 * j);
            factor = mul(&factor, &big(((up - 1) * up) as f64));
            factor = div(&factor, &big(((down + 1) * (down + 2)) as f64));
        }
        let factorial = (1..=n).fold(big(1.0), |p, k| mul(&p, &big(f64::from(k))));
        let size = mul(&factorial, &add(&sum, &tail));
        if n.is_multiple_of(2) { size.neg() } else { size }
    }

    fn value(&mut self, f: Scalar, order: Option<f64>, x: f64, near: f64) -> BigFloat {
        match f {
            Scalar::Erf => self.erf(&big(x)),
            Scalar::Erfc => self.erfc(x),
            Scalar::Erfinv => self.erfinv(x, near),
            Scalar::Lgamma => self.lgamma(x),
            Scalar::Digamma => self.polygamma(0, x),
            Scalar::Polygamma => self.polygamma(order.expect("an order") as u32, x),
            other => panic!("no reference for {}", other.name()),
        }
    }
}

/// `|got - want|` in units in the last place of an `f64` of the size of `want`.
fn error(got: f64, want: &BigFloat) -> f64 {
    // Exponents count from a mantissa in [½, 1).
    let exponent = want.exponent().unwrap_or(0);
    if !got.is_finite() {
        return if exponent > 1024 && got.is_infinite() { 0.0 } else { f64::INFINITY };
    }
    let unit = (exponent - 1).max(-1022) - 52;
    // Subnormal numbers go through normal ones.
    let up = if got.is_subnormal() { 200 } else { 0 };
    let scaled = mul(&big(got * 2f64.powi(up)), &big(2f64.powi(-up)));
    let error = sub(&scaled, want);
    match error.as_raw_parts() {
        Some((digits, _, _, e, _)) if !error.is_zero() => {
            let top = *digits.last().unwrap() as f64 / 2f64.powi(64);
            top * 2f64.powi((e - unit).clamp(-1000, 1000))
        }
        _ => 0.0,
    }
}

struct Bits(u64);

impl Bits {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / 2f64.powi(53)
    }

    fn between(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * self.unit()
    }
}

/// Arguments: some of all sizes, some where something happens.
fn arguments(f: Scalar, dtype: DType, count: usize) -> Vec<f64> {
    let single = dtype == DType::F32;
    let (ranges, sizes): (&[(f64, f64)], (f64, f64)) = match f {
        Scalar::Erf => (&[(-1.1, 1.1), (0.9, 1.1), (-7.0, 7.0)], (-30.0, 3.0)),
        Scalar::Erfc if single => (&[(-1.0, 1.0), (-5.0, 10.1), (9.0, 10.1)], (-30.0, 3.0)),
        Scalar::Erfc => (&[(-1.0, 1.0), (-7.0, 27.3), (26.0, 27.3)], (-60.0, 4.0)),
        Scalar::Erfinv => (&[(-1.0, 1.0), (0.69, 0.72), (0.99, 1.0)], (-60.0, 0.0)),
        Scalar::Lgamma => (&[(0.5, 3.0), (0.9, 1.1), (1.9, 2.1), (2.3, 20.0)], (-60.0, 100.0)),
        Scalar::Digamma => (&[(0.5, 4.0), (1.4, 1.5), (2.5, 20.0)], (-60.0, 100.0)),
        _ => (&[(0.1, 4.0), (2.0, 40.0)], (-20.0, 20.0)),
    };
    let mut bits = Bits(0x9E37_79B9_7F4A_7C15);
    let mut xs: Vec<f64> =
        (0..count / 4).map(|_| 2f64.powf(bits.between(sizes.0, sizes.1))).collect();
    if f == Scalar::Erfinv {
        xs.extend((1..53).map(|k| 1.0 - 2f64.powi(-k)));
    }
    for &(lo, hi) in ranges {
        xs.extend((0..count / ranges.len()).map(|_| bits.between(lo, hi)));
    }
    if single {
        xs.iter_mut().for_each(|x| *x = f64::from(*x as f32));
    }
    xs.retain(|x| f != Scalar::Erfinv || x.abs() < 1.0);
    xs
}

fn orders(f: Scalar) -> Vec<Option<f64>> {
    if f == Scalar::Polygamma {
        [1.0, 2.0, 3.0, 4.0, 7.0, 20.0].map(Some).to_vec()
    } else {
        vec![None]
    }
}

fn worst_f64(f: Scalar, order: Option<f64>, exact: &mut Exact, count: usize) -> [(f64, f64); 2] {
    let xs = arguments(f, DType::F64, count);
    let got: Vec<f64> = compiled(f, order.map(Order::All), &xs);
    let mut worst = [(0.0, 0.0); 2];
    for (&x, &got) in xs.iter().zip(&got) {
        let near = eager(f, order, x);
        let want = exact.value(f, order, x, near);
        for (worst, got) in worst.iter_mut().zip([got, near]) {
            let ulp = error(got, &want);
            if ulp > worst.0 {
                *worst = (ulp, x);
            }
        }
    }
    worst
}

fn worst_f32(f: Scalar, order: Option<f64>, count: usize) -> (f64, f64) {
    let xs: Vec<f32> = arguments(f, DType::F32, count).iter().map(|&x| x as f32).collect();
    let got: Vec<f32> = compiled(f, order.map(Order::All), &xs);
    let mut worst = (0.0, 0.0);
    for (&x, &got) in xs.iter().zip(&got) {
        let want = eager(f, order, x.into());
        let exponent = (want.abs().log2().floor() as i32).clamp(-126, 128);
        let ulp = if exponent == 128 {
            if f64::from(got) == want.signum() * f64::INFINITY { 0.0 } else { f64::INFINITY }
        } else {
            (f64::from(got) - want).abs() / 2f64.powi(exponent - 23)
        };
        if ulp > worst.0 || ulp.is_nan() {
            worst = (ulp, x.into());
        }
    }
    worst
}

#[test]
fn errors_are_within_their_bounds() {
    let mut exact = Exact::new();
    let mut excess = vec![];
    for &(f, single, double) in SPECIAL_BOUNDS {
        for order in orders(f) {
            let [compiled, eager] = worst_f64(f, order, &mut exact, 1500);
            let narrow = worst_f32(f, order, 60_000);
            let name = f.name();
            // Each order adds roundings.
            let double = double + order.unwrap_or(0.0);
            println!("{name:9} {order:?} f64 {compiled:?} eager {eager:?} f32 {narrow:?}");
            for (what, worst, bound) in
                [("f64", compiled, double), ("eager", eager, 24.0), ("f32", narrow, single)]
            {
                if worst.0.is_nan() || worst.0 > bound {
                    excess.push(format!("{name} {order:?} {what}: {worst:?}"));
                }
            }
        }
    }
    assert!(excess.is_empty(), "{excess:#?}");
}

/// Left of 0, next to zeros of the function too.
#[test]
fn reflections_are_right() {
    let mut exact = Exact::new();
    let mut bits = Bits(77);
    let mut xs: Vec<f64> = (0..1500).map(|_| bits.between(-30.0, 0.0)).collect();
    xs.extend((0..100).map(|_| -(2f64.powf(bits.between(-60.0, 0.0)))));
    for (f, order) in
        [(Scalar::Lgamma, None), (Scalar::Digamma, None), (Scalar::Polygamma, Some(1.0))]
    {
        let got: Vec<f64> = compiled(f, order.map(Order::All), &xs);
        for (&x, &got) in xs.iter().zip(&got) {
            let near = eager(f, order, x);
            let want = exact.value(f, order, x, near);
            for (what, got) in [("compiled", got), ("eager", near)] {
                let units = error(got, &want) * ulp_of(got);
                let bound = 4e-15 * got.abs().max(1.0);
                let name = f.name();
                assert!(units <= bound, "{name} of {x}, {what}: {got}, off by {units}");
            }
        }
    }
}

fn ulp_of(x: f64) -> f64 {
    2f64.powi(x.abs().log2().floor() as i32 - 52)
}

#[test]
fn special_arguments_give_special_results() {
    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;
    let check = |f: Scalar, order: Option<f64>, cases: &[(f64, f64)]| {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        let xs: Vec<f64> = cases.iter().map(|c| c.0).collect();
        let single: Vec<f32> = xs.iter().map(|&x| x as f32).collect();
        let double: Vec<f64> = compiled(f, order.map(Order::All), &xs);
        let single: Vec<f32> = compiled(f, order.map(Order::All), &single);
        for (i, &(x, want)) in cases.iter().enumerate() {
            let all = [double[i], single[i].into(), eager(f, order, x)];
            assert!(all.iter().all(|&y| same(y, want)), "{} of {x}: {all:?}", f.name());
        }
    };
    let odd = [(0.0, 0.0), (-0.0, -0.0), (NAN, NAN)];
    check(Scalar::Erf, None, &odd);
    check(Scalar::Erf, None, &[(INF, 1.0), (-INF, -1.0), (8.0, 1.0), (-1e30, -1.0)]);
    check(Scalar::Erfc, None, &[(0.0, 1.0), (-0.0, 1.0), (INF, 0.0), (-INF, 2.0), (NAN, NAN)]);
    check(Scalar::Erfc, None, &[(28.0, 0.0), (1e30, 0.0), (-1e30, 2.0)]);
    check(Scalar::Erfinv, None, &odd);
    check(Scalar::Erfinv, None, &[(1.0, INF), (-1.0, -INF), (1.5, NAN), (-INF, NAN)]);
    check(Scalar::Lgamma, None, &[(0.0, INF), (-0.0, INF), (1.0, 0.0), (2.0, 0.0)]);
    check(Scalar::Lgamma, None, &[(INF, INF), (-INF, INF), (-1.0, INF), (-1e30, INF)]);
    check(Scalar::Lgamma, None, &[(NAN, NAN)]);
    check(Scalar::Digamma, None, &[(0.0, -INF), (-0.0, INF), (INF, INF), (-INF, NAN)]);
    check(Scalar::Digamma, None, &[(-1.0, NAN), (-7.0, NAN), (NAN, NAN)]);
    check(Scalar::Polygamma, Some(1.0), &[(0.0, INF), (-0.0, INF), (INF, 0.0), (-2.0, INF)]);
    check(Scalar::Polygamma, Some(1.0), &[(-INF, NAN), (NAN, NAN)]);
    check(Scalar::Polygamma, Some(2.0), &[(0.0, -INF), (INF, -0.0), (-0.5, NAN), (NAN, NAN)]);
    check(Scalar::Polygamma, Some(0.0), &[(1.0, NAN), (-1.5, NAN)]);
}

#[test]
fn orders_may_be_variables() {
    let xs = [0.2, 0.7, 1.5, 3.25, 20.0, -0.5];
    for n in [1.0, 1.4, 2.0, 3.0, 6.0, 15.0, 0.2] {
        let each: Vec<f64> = compiled(Scalar::Polygamma, Some(Order::Each(&[n; 6])), &xs);
        let all: Vec<f64> = compiled(Scalar::Polygamma, Some(Order::All(n)), &xs);
        for ((x, a), b) in xs.iter().zip(each).zip(all) {
            let close = (a - b).abs() <= 1e-13 * b.abs() || (a.is_nan() && b.is_nan());
            assert!(close, "order {n} at {x}: {a} and {b}");
        }
    }
}

/// `f32` keeps within the numbers of its type, subnormal ones too.
#[test]
fn subnormal_numbers_are_numbers() {
    let xs: Vec<f32> = [1u32, 2, 1000, 0x007F_FFFF].map(f32::from_bits).to_vec();
    let near: Vec<f32> = compiled(Scalar::Erf, None, &xs);
    for (x, y) in xs.iter().zip(near) {
        let want = (f64::from(*x) * std::f64::consts::FRAC_2_SQRT_PI) as f32;
        assert_eq!(y, want);
    }
    let last: Vec<f64> = compiled(Scalar::Erfc, None, &[27.22f64]);
    assert!(last[0] > 0.0 && last[0].is_subnormal());
}
