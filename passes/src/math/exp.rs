//! `exp`, `expm1`, `sigmoid`.
//!
//! `x = n·ln 2 + r` with an integer `n` and |r| ≤ ln 2 / 2, so that
//! `exp x = 2^n·e^r`, and `e^r` is a polynomial. As `2^n` may lie outside
//! the range of floats where `exp x` does not, it is the product of `2^⌊n/2⌋` and
//! `2^⌈n/2⌉`; so results overflow and become subnormal where they should, rounded
//! once.
//!
//! `sigmoid x = e/(1 + e)` with `e = exp x` is accurate on both sides: where `e` is
//! large its error cancels.

use std::f64::consts::LOG2_E;

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::Var;

use super::float::{Float, at_least, at_most, itself_below, polynomial};

/// `(e^r - 1 - r)/r²` for |r| ≤ ln 2 / 2, fitted for `exp`.
const EXP_F32: [f64; 5] = [
    0.4999999403953552,
    0.1666651964187622,
    0.04166839271783829,
    0.008368780836462975,
    0.0013814519625157118,
];
const EXP_F64: [f64; 10] = [
    0.5000000000000011,
    0.1666666666666641,
    0.041666666666529184,
    0.008333333333495634,
    0.0013888888943923293,
    0.00019841269504756046,
    2.480149276209247e-05,
    2.7557587344426433e-06,
    2.7630378862167696e-07,
    2.4999965656382597e-08,
];

/// The same, fitted for `expm1`.
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
        let magic = float.magic() + 2.0 * float.bias as f64;
        let (log2_e, magic) = (b.float(dtype, LOG2_E), b.float(dtype, magic));
        let n_magic = b.fma(x, log2_e, magic);
        let n = b.sub(n_magic, magic);
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

    /// `2^n·e^r`
    fn scaled(&self, b: &mut NestBuilder) -> Var {
        let Float { dtype, int, mantissa, .. } = self.float;
        let y = exp_of_small(b, self.r);
        // Twice the bias was added to `n`, so half of it is biased once, and so
        // is the other half. The magic number does not reach the exponent.
        let n = b.bitcast(self.n_magic, int);
        let half = b.shru(n, 1);
        let rest = b.sub(n, half);
        [half, rest].into_iter().fold(y, |y, n| {
            let power = b.shl(n, mantissa);
            let power = b.bitcast(power, dtype);
            b.mul(y, power)
        })
    }
}

/// `e^r` for |r| ≤ ln 2 / 2.
fn exp_of_small(b: &mut NestBuilder, r: Var) -> Var {
    let float = Float::of(b, r);
    let one = b.float(float.dtype, 1.0);
    let y = polynomial(b, r, float.pick(&EXP_F32[..], &EXP_F64[..]));
    let y = b.fma(r, y, one);
    b.fma(r, y, one)
}

/// `e^x`
pub(super) fn exp(b: &mut NestBuilder, x: Var) -> Var {
    Reduced::of(b, x, None).scaled(b)
}

/// `e^(x + low)`, where `low` is too small to matter but in the last places.
pub(super) fn exp_of_sum(b: &mut NestBuilder, x: Var, low: Var) -> Var {
    Reduced::of(b, x, Some(low)).scaled(b)
}

/// `e^x + 1` for `0 ≤ x < 60`, meant to be divided by: its relative error grows
/// with `x`, but slower than it does itself.
pub(super) fn exp_plus_one(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let Float { dtype, int, mantissa, bias } = float;
    let (log2_e, magic) = (b.float(dtype, LOG2_E), b.float(dtype, float.magic() + bias as f64));
    let n_magic = b.fma(x, log2_e, magic);
    let n = b.sub(n_magic, magic);
    let ln2 = b.float(dtype, -float.ln_2()[0]);
    let r = b.fma(n, ln2, x);
    let y = exp_of_small(b, r);
    let power = b.bitcast(n_magic, int);
    let power = b.shl(power, mantissa);
    let power = b.bitcast(power, dtype);
    let one = b.float(dtype, 1.0);
    b.fma(power, y, one)
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
    let e = exp(b, x);
    // From here on it is 1; the quotient of infinities would not be.
    let e = at_most(b, e, float.power(float.mantissa as i32 + 2));
    let one = b.float(float.dtype, 1.0);
    let sum = b.add(one, e);
    b.div(e, sum)
}
