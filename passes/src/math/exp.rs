//! `exp`, `exp2`, `expm1`, `sigmoid`.
//!
//! `x = n·ln 2 + r` with an integer `n` and |r| ≤ ln 2 / 2, so that
//! `exp x = 2^n·e^r`, and `e^r` is a polynomial. As `2^n` may lie outside
//! the range of floats where `exp x` does not, it is the product of two powers;
//! so results overflow and become subnormal where they should, rounded once.
//!
//! `exp` itself takes even `n` only, and |r| ≤ ln 2: then both powers are the same
//! one, which is worth a longer polynomial.
//!
//! `sigmoid x = e/(1 + e)` with `e = exp x` is accurate on both sides: where `e` is
//! large its error cancels. Quotient and sum are of `2^k·e` and `2^k`: from where
//! it is 1 down to where it is 0, that takes one power, not two.

use std::f64::consts::{LN_2, LOG2_E};

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::Var;

use super::float::{Float, at_least, at_most, itself_below, polynomial};

/// `(e^r - 1 - r)/r²` for |r| ≤ ln 2, fitted for `exp`: where `e^r` is close to 2
/// and all errors count double, it is more precise.
const WIDE_F32: [f64; 6] = [
    0.500000536441803,
    0.16666671633720398,
    0.041660062968730927,
    0.008332648314535618,
    0.001412190031260252,
    0.00020093693456146866,
];
const WIDE_F64: [f64; 12] = [
    0.4999999999999993,
    0.1666666666666694,
    0.04166666666670222,
    0.008333333333269044,
    0.001388888888355649,
    0.00019841269893455948,
    2.4801590841468855e-05,
    2.755730041722386e-06,
    2.7556155337650364e-07,
    2.505507055141878e-08,
    2.1062557103619923e-09,
    1.5933366641573334e-10,
];

/// The same for |r| ≤ ln 2 / 2.
pub(super) const EXP_F32: [f64; 5] = [
    0.4999999701976776,
    0.1666654348373413,
    0.04166756197810173,
    0.008366546593606472,
    0.0013858258025720716,
];
pub(super) const EXP_F64: [f64; 10] = [
    0.5000000000000006,
    0.16666666666666607,
    0.041666666666573635,
    0.008333333333378568,
    0.0013888888932392942,
    0.0001984126974187827,
    2.4801504403449207e-05,
    2.755738785389401e-06,
    2.762635328153906e-07,
    2.5059754751982435e-08,
];

/// The same, more precise by far close to 0.
const EXPM1_F32: [f64; 6] = [
    0.5,
    0.1666666567325592,
    0.04166635870933533,
    0.008333389647305012,
    0.0013940719654783607,
    0.00019845862698275596,
];
const EXPM1_F64: [f64; 11] = [
    0.5,
    0.16666666666666677,
    0.041666666666666505,
    0.008333333333321608,
    0.0013888888888962869,
    0.0001984126988620707,
    2.4801587171885046e-05,
    2.755724410499033e-06,
    2.7557402920395344e-07,
    2.5109081118460922e-08,
    2.0875330493817882e-09,
];

/// `(2^r - 1)/r` for |r| ≤ ½.
const EXP2_F32: [f64; 6] = [
    0.6931471824645996,
    0.24022647738456726,
    0.05550359562039375,
    0.009618502110242844,
    0.0013390998356044292,
    0.0001532827300252393,
];
const EXP2_F64: [f64; 11] = [
    LN_2,
    0.2402265069591011,
    0.05550410866482172,
    0.00961812910760058,
    0.0013333558146544355,
    0.00015403530450261332,
    1.5252733637727966e-05,
    1.3215438246025268e-06,
    1.0178157797429219e-07,
    7.073332046355173e-09,
    4.439291552063268e-10,
];

/// `x = n·ln 2 + r`.
struct Reduced {
    float: Float,
    /// `n` plus twice the bias, in the low bits of a large float.
    n_magic: Var,
    /// `n`.
    n: Var,
    /// `x - n·ln 2` but for the second piece; exact.
    r_first: Var,
    /// `r`, rounded.
    r: Var,
}

impl Reduced {
    fn of(b: &mut NestBuilder, x: Var, correction: Option<Var>) -> Self {
        let float = Float::of(b, x);
        let dtype = float.dtype;
        // Past these the result is 0 or ∞ anyhow; `n` stays small.
        let x = at_least(b, x, float.pick(-104.0, -746.0));
        let x = at_most(b, x, float.pick(88.8, 709.9));
        let (n_magic, n) = float.integer(b, x, LOG2_E, 2 * float.bias);
        let [first, second] = float.ln_2().map(|c| b.float(dtype, -c));
        let r_first = b.fma(n, first, x);
        let r = match correction {
            None => b.fma(n, second, r_first),
            Some(low) => {
                let low = b.fma(n, second, low);
                b.add(r_first, low)
            }
        };
        Self { float, n_magic, n, r_first, r }
    }

    /// `2^n·e^r`, times a factor. What is less than normal is rounded once.
    fn scaled(&self, b: &mut NestBuilder, factor: Option<Var>) -> Var {
        let y = exp_of_small(b, self.r, self.float.pick(&EXP_F32[..], &EXP_F64[..]));
        let y = factor.map_or(y, |factor| b.mul(y, factor));
        times_power(b, y, self.n_magic)
    }
}

/// `2^n·y`, where `n` plus twice the bias is in the low bits of a large float. Half
/// of `n` is biased once, and so is the other half, so that only a result that is not
/// normal is rounded. The magic number does not reach the exponent.
fn times_power(b: &mut NestBuilder, y: Var, n_magic: Var) -> Var {
    let Float { dtype, int, mantissa, .. } = Float::of(b, y);
    let n = b.bitcast(n_magic, int);
    let half = b.shru(n, 1);
    let rest = b.sub(n, half);
    [half, rest].into_iter().fold(y, |y, n| {
        let power = b.shl(n, mantissa);
        let power = b.bitcast(power, dtype);
        b.mul(y, power)
    })
}

/// `e^r`, with one of the polynomials above.
fn exp_of_small(b: &mut NestBuilder, r: Var, tail: &[f64]) -> Var {
    let one = b.float(b.dtype(r), 1.0);
    let y = polynomial(b, r, tail);
    let y = b.fma(r, y, one);
    b.fma(r, y, one)
}

/// `e^x`
pub(super) fn exp(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let Float { dtype, bias, .. } = float;
    // Past these the result is 0 or ∞ anyhow; `n` stays small.
    let x = at_least(b, x, float.pick(-104.0, -746.0));
    let x = at_most(b, x, float.pick(88.8, 709.9));
    let (n_magic, n) = float.integer(b, x, LOG2_E / 2.0, bias);
    let [first, second] = float.ln_2().map(|c| b.float(dtype, -2.0 * c));
    let r = b.fma(n, first, x);
    let r = b.fma(n, second, r);
    let y = exp_of_small(b, r, float.pick(&WIDE_F32[..], &WIDE_F64[..]));
    let power = float.power_of_two(b, n_magic);
    let y = b.mul(y, power);
    b.mul(y, power)
}

/// `2^x`: `x` less a whole number is exact.
pub(super) fn exp2(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    // Past these the result is 0 or ∞ anyhow; `n` stays small.
    let x = at_least(b, x, float.pick(-152.0, -1080.0));
    let x = at_most(b, x, float.pick(129.0, 1025.0));
    let (n_magic, n) = float.integer(b, x, 1.0, 2 * float.bias);
    let r = b.sub(x, n);
    let one = b.float(float.dtype, 1.0);
    let y = polynomial(b, r, float.pick(&EXP2_F32[..], &EXP2_F64[..]));
    let y = b.fma(r, y, one);
    times_power(b, y, n_magic)
}

/// `e^(x + low)`, where `low` is too small to matter but in the last places.
pub(super) fn exp_of_sum(b: &mut NestBuilder, x: Var, low: Var) -> Var {
    Reduced::of(b, x, Some(low)).scaled(b, None)
}

/// `factor·e^(x + low)`, with a factor next to 1.
pub(super) fn exp_of_sum_times(b: &mut NestBuilder, x: Var, low: Var, factor: Var) -> Var {
    Reduced::of(b, x, Some(low)).scaled(b, Some(factor))
}

/// `e^x - 1`
///
/// With `p = e^r - 1` this is `2^n·p + (2^n - 1)`, computed in halves so that
/// nothing overflows too soon. Close to `n = ±1` the sum cancels, so what is rounded
/// off `r` is carried along, and the leading part of the sum is exact.
pub(super) fn expm1(b: &mut NestBuilder, x: Var) -> Var {
    let Reduced { float, n_magic, n, r_first, r } = Reduced::of(b, x, None);
    let Float { dtype, int, mantissa, bias } = float;
    let second = b.float(dtype, -float.ln_2()[1]);
    let lost = b.sub(r_first, r);
    let lost = b.fma(n, second, lost);
    let tail = polynomial(b, r, float.pick(&EXPM1_F32[..], &EXPM1_F64[..]));
    let r2 = b.mul(r, r);
    let rest = b.fma(r2, tail, lost);

    // 2^(n - 1). Below 2^-64 it makes no difference to -1.
    let n = at_least(b, n_magic, float.magic() + 2.0 * bias as f64 - 64.0);
    let n = b.bitcast(n, int);
    let power = b.shl(n, mantissa);
    let excess = b.int(int, (bias + 1) << mantissa);
    let power = b.sub(power, excess);
    let power = b.bitcast(power, dtype);
    let half = b.float(dtype, 0.5);
    let power_less_half = b.sub(power, half);
    let high = b.fma(power, r, power_less_half);
    let low = b.sub(power, power_less_half);
    let low = b.sub(low, half);
    let rest = b.fma(power, rest, low);
    let low = b.sub(power_less_half, high);
    let low = b.fma(power, r, low);
    let low = b.add(rest, low);
    let y = b.add(high, low);
    let y = b.add(y, y);
    itself_below(b, x, float.pick(2f64.powi(-25), 2f64.powi(-54)), y)
}

/// `1/(1 + e^-x)`
pub(super) fn sigmoid(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let Float { dtype, bias, .. } = float;
    // Past these it is 0 or 1.
    let x = at_least(b, x, float.pick(-104.0, -746.0));
    let x = at_most(b, x, float.pick(17.4, 37.5));
    let up = float.pick(64, 512);
    let (n_magic, n) = float.integer(b, x, LOG2_E, bias + up);
    let [first, second] = float.ln_2().map(|c| b.float(dtype, -c));
    let r = b.fma(n, first, x);
    let r = b.fma(n, second, r);
    let y = exp_of_small(b, r, float.pick(&EXP_F32[..], &EXP_F64[..]));
    let power = float.power_of_two(b, n_magic);
    let e = b.mul(y, power);
    let one = b.float(dtype, float.power(up as i32));
    let sum = b.add(e, one);
    b.div(e, sum)
}
