//! `log`, `log1p`, `log2`, `log10`.
//!
//! `x = 2^k·(1 + f)` with `√½ ≤ 1 + f < √2`. With `s = f/(2 + f)`,
//! `log(1 + f) = 2·artanh s = f - (f²/2 - s·(f²/2 + R))`, where `R = s²·T(s²)`: the
//! parts that are rounded are small beside `f`.
//!
//! `log1p x` takes `u = 1 + x` apart and adds `c/u`, where `c` is what was lost in
//! `u`.

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, Var};

use super::float::{Float, itself_below, polynomial};
use super::pair::{Pair, pieces};

/// `(2·artanh s - 2·s)/s³` in powers of `s²`, for |s| ≤ 3 - 2·√2.
const ARTANH_F32: [f64; 3] = [0.6666678190231323, 0.39976733922958374, 0.2989601790904999];
const ARTANH_F64: [f64; 7] = [
    0.6666666666666745,
    0.3999999999933603,
    0.2857142876138569,
    0.222221964841059,
    0.18183679523461427,
    0.15310947096131228,
    0.1482845059694424,
];

/// `x = 2^k·(1 + f)`, both as floats.
pub(super) struct Split {
    pub k: Var,
    pub f: Var,
}

impl Split {
    /// Of a positive, finite `x`; of others, nonsense. Subnormals are scaled
    /// first if there may be any.
    pub fn of(b: &mut NestBuilder, x: Var, subnormals: bool) -> Self {
        let float = Float::of(b, x);
        let Float { dtype, int, mantissa, bias } = float;
        let up = float.power(mantissa as i32);
        let excess = b.float(dtype, up + bias as f64);
        let (x, excess) = if subnormals {
            let least = b.float(dtype, float.least_normal());
            let subnormal = b.cmp(Cmp::Lt, x, least);
            let factor = b.float(dtype, up);
            let scaled = b.mul(x, factor);
            let more = b.float(dtype, up + bias as f64 + f64::from(mantissa));
            (b.select(subnormal, scaled, x), b.select(subnormal, more, excess))
        } else {
            (x, excess)
        };
        let root = float.bits(std::f64::consts::FRAC_1_SQRT_2);
        let offset = b.int(int, float.bits(1.0) - root);
        let bits = b.bitcast(x, int);
        let bits = b.add(bits, offset);
        // The exponent in the low bits of 2^mantissa.
        let exponent = b.shru(bits, mantissa);
        let holder = b.int(int, float.bits(up));
        let k = b.or(exponent, holder);
        let k = b.bitcast(k, dtype);
        let k = b.sub(k, excess);
        let mask = b.int(int, (1 << mantissa) - 1);
        let m = b.and(bits, mask);
        let root = b.int(int, root);
        let m = b.add(m, root);
        let m = b.bitcast(m, dtype);
        let one = b.float(dtype, 1.0);
        let f = b.sub(m, one);
        Self { k, f }
    }
}

/// `f²/2`, `s` and `f²/2 + R`.
fn tail(b: &mut NestBuilder, f: Var) -> [Var; 3] {
    let float = Float::of(b, f);
    let (half, two) = (b.float(float.dtype, 0.5), b.float(float.dtype, 2.0));
    let sum = b.add(two, f);
    let s = b.div(f, sum);
    let s2 = b.mul(s, s);
    let t = polynomial(b, s2, float.pick(&ARTANH_F32[..], &ARTANH_F64[..]));
    let half_f = b.mul(half, f);
    let f2 = b.mul(half_f, f);
    let r = b.fma(s2, t, f2);
    [f2, s, r]
}

/// `k·ln 2 + log(1 + f) + extra`
pub(super) fn assemble(b: &mut NestBuilder, &Split { k, f }: &Split, extra: Option<Var>) -> Var {
    let float = Float::of(b, f);
    let [ln2, ln2_low] = float.ln_2().map(|c| b.float(float.dtype, c));
    let [f2, s, r] = tail(b, f);
    let low = match extra {
        None => b.mul(k, ln2_low),
        Some(extra) => b.fma(k, ln2_low, extra),
    };
    let low = b.fma(s, r, low);
    let low = b.sub(f2, low);
    let y = b.sub(f, low);
    b.fma(k, ln2, y)
}

/// The logarithm `y` of `x`, put right where `x` is not a positive number: -∞ at
/// 0, NaN below, `x` at ∞ and NaN.
pub(super) fn special(b: &mut NestBuilder, x: Var, y: Var) -> Var {
    let dtype = b.dtype(x);
    let (zero, infinity) = (b.float(dtype, 0.0), b.float(dtype, f64::INFINITY));
    let (least, nan) = (b.float(dtype, f64::NEG_INFINITY), b.float(dtype, f64::NAN));
    let finite = b.cmp(Cmp::Lt, x, infinity);
    let y = b.select(finite, y, x);
    let is_zero = b.cmp(Cmp::Eq, x, zero);
    let none = b.select(is_zero, least, nan);
    let positive = b.cmp(Cmp::Lt, zero, x);
    b.select(positive, y, none)
}

/// The natural logarithm.
pub(super) fn log(b: &mut NestBuilder, x: Var) -> Var {
    let split = Split::of(b, x, true);
    let y = assemble(b, &split, None);
    special(b, x, y)
}

/// `log(1 + x)`
pub(super) fn log1p(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let one = b.float(float.dtype, 1.0);
    let u = b.add(one, x);
    // `u - 1` is exact for all `u` that are not subnormal, and those do not occur.
    let kept = b.sub(u, one);
    let lost = b.sub(x, kept);
    let lost = b.div(lost, u);
    let split = Split::of(b, u, false);
    let y = assemble(b, &split, Some(lost));
    let y = special(b, u, y);
    itself_below(b, x, float.pick(2f64.powi(-25), 2f64.powi(-54)), y)
}

/// The logarithm to a base: `k·log 2 + factor·log(1 + f)`, in pieces of more digits.
/// The first piece of `log 2` is so short that its product with `k` is exact.
fn to_base(b: &mut NestBuilder, x: Var, log_2: [f64; 2], factor: [f64; 2]) -> Var {
    let float = Float::of(b, x);
    let Split { k, f } = Split::of(b, x, true);
    let [f2, s, r] = tail(b, f);
    let product = b.mul(s, r);
    let low = b.sub(f2, product);
    // log(1 + f) as a pair, then its product with the factor.
    let high = b.sub(f, low);
    let lost = b.sub(f, high);
    let low = b.sub(lost, low);
    let [factor, factor_low] = pieces(float, factor).map(|c| b.float(float.dtype, c));
    let product = Pair::product(b, high, factor);
    let rest = b.fma(high, factor_low, product.low);
    let rest = b.fma(low, factor, rest);
    let [log_2, log_2_low] = log_2.map(|c| b.float(float.dtype, c));
    let whole = b.mul(k, log_2);
    let rest = b.fma(k, log_2_low, rest);
    let sum = Pair::sum(b, whole, product.high);
    let low = b.add(sum.low, rest);
    let y = b.add(sum.high, low);
    special(b, x, y)
}

/// The logarithm to base 2.
pub(super) fn log2(b: &mut NestBuilder, x: Var) -> Var {
    to_base(b, x, [1.0, 0.0], [std::f64::consts::LOG2_E, 2.0355273740931033e-17])
}

/// The logarithm to base 10.
pub(super) fn log10(b: &mut NestBuilder, x: Var) -> Var {
    let single = [0.301025390625, 4.605038981195214e-06];
    let double = [0.30102999566361177, 3.694239077158931e-13];
    let log_2 = Float::of(b, x).pick(single, double);
    to_base(b, x, log_2, [std::f64::consts::LOG10_E, 1.098319650216765e-17])
}
