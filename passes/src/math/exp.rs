//! `exp`, `expm1`, `sigmoid`.
//!
//! `x = n·ln 2 + r` with an integer `n` and |r| ≤ ln 2 / 2, so that
//! `exp x = 2^n·(1 + p)` with `p = expm1 r`, a polynomial. As `2^n` may lie outside
//! the range of floats where `exp x` does not, it is the product of `2^⌊n/2⌋` and
//! `2^⌈n/2⌉`; so results overflow and become subnormal where they should, rounded
//! once.
//!
//! `sigmoid x = e/(1 + e)` with `e = exp x` is accurate on both sides: where `e` is
//! large its error cancels.

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::Var;

use super::float::{Float, at_least, at_most, itself_below, polynomial};

/// `(expm1 r - r)/r²` for |r| ≤ ln 2 / 2.
const TAIL_F32: [f64; 5] = [
    0.4999999701976776,
    0.1666654348373413,
    0.04166720062494278,
    0.008366580121219158,
    0.001388252479955554,
];
const TAIL_F64: [f64; 10] = [
    0.5000000000000006,
    0.16666666666666588,
    0.04166666666657612,
    0.008333333333389922,
    0.0013888888931793105,
    0.00019841269718437322,
    2.4801504980881386e-05,
    2.7557407768592453e-06,
    2.76261607072709e-07,
    2.5053809615255457e-08,
];

/// ln 2 in two pieces; the first product with `n` is exact within an fma.
const LN2_F32: [f64; 2] = [0.6931471824645996, -1.9046542121259336e-09];
const LN2_F64: [f64; 2] = [0.6931471805599453, 2.3190468138462996e-17];

/// `x = n·ln 2 + r`.
struct Reduced {
    float: Float,
    /// `n` plus twice the bias, in the low bits.
    n_bits: Var,
    /// The same sum as a float.
    n_magic: Var,
    /// `n`.
    n: Var,
    /// `x - n·ln 2` but for the second piece; exact.
    r_first: Var,
    /// `r`, rounded.
    r: Var,
    /// `(expm1 r - r)/r²`.
    tail: Var,
    /// `r²`.
    r2: Var,
}

impl Reduced {
    fn of(b: &mut NestBuilder, x: Var, correction: Option<Var>) -> Self {
        let float = Float::of(b, x);
        let dtype = float.dtype;
        // Past these the result is 0 or ∞ anyhow; `n` stays small.
        let x = at_least(b, x, float.pick(-104.0, -746.0));
        let x = at_most(b, x, float.pick(88.8, 709.9));
        let magic = float.magic() + 2.0 * float.bias as f64;
        let (log2_e, magic) = (b.float(dtype, std::f64::consts::LOG2_E), b.float(dtype, magic));
        let n_magic = b.fma(x, log2_e, magic);
        let n = b.sub(n_magic, magic);
        let n_bits = b.bitcast(n_magic, float.int);
        let [first, second] = float.pick(LN2_F32, LN2_F64).map(|c| b.float(dtype, -c));
        let r_first = b.fma(n, first, x);
        let r = match correction {
            None => b.fma(n, second, r_first),
            Some(low) => {
                let low = b.fma(n, second, low);
                b.add(r_first, low)
            }
        };
        let r2 = b.mul(r, r);
        let tail = polynomial(b, r, float.pick(&TAIL_F32[..], &TAIL_F64[..]));
        Self { float, n_bits, n_magic, n, r_first, r, tail, r2 }
    }

    /// `expm1 r`.
    fn p(&self, b: &mut NestBuilder) -> Var {
        b.fma(self.r2, self.tail, self.r)
    }

    /// `2^n·(1 + p)`.
    fn scaled(&self, b: &mut NestBuilder) -> Var {
        let Float { dtype, mantissa, .. } = self.float;
        let p = self.p(b);
        let one = b.float(dtype, 1.0);
        let y = b.add(one, p);
        // Twice the bias was added to `n`, so half of it is biased once, and so
        // is the other half. The magic number does not reach the exponent.
        let half = b.shru(self.n_bits, 1);
        let rest = b.sub(self.n_bits, half);
        [half, rest].into_iter().fold(y, |y, n| {
            let power = b.shl(n, mantissa);
            let power = b.bitcast(power, dtype);
            b.mul(y, power)
        })
    }
}

/// `e^x`
pub(super) fn exp(b: &mut NestBuilder, x: Var) -> Var {
    Reduced::of(b, x, None).scaled(b)
}

/// `e^(x + low)`, where `low` is too small to matter but in the last places.
pub(super) fn exp_of_sum(b: &mut NestBuilder, x: Var, low: Var) -> Var {
    Reduced::of(b, x, Some(low)).scaled(b)
}

/// `2^n·(1 + p) + 1` for `0 ≤ x < 50`.
pub(super) fn exp_plus_one(b: &mut NestBuilder, x: Var) -> Var {
    let reduced = Reduced::of(b, x, None);
    let p = reduced.p(b);
    let one = b.float(reduced.float.dtype, 1.0);
    let power = power_of_two(b, &reduced, reduced.n_bits, 0);
    let sum = b.add(power, one);
    b.fma(power, p, sum)
}

/// `2^(n + shift)`, `n` with twice the bias in the low bits of `n_bits`.
fn power_of_two(b: &mut NestBuilder, reduced: &Reduced, n_bits: Var, shift: i64) -> Var {
    let Float { dtype, int, mantissa, bias } = reduced.float;
    let shifted = b.shl(n_bits, mantissa);
    let excess = b.int(int, (bias - shift) << mantissa);
    let power = b.sub(shifted, excess);
    b.bitcast(power, dtype)
}

/// `e^x - 1`
///
/// `2^n·p + (2^n - 1)`, in halves so that nothing overflows too soon. Close to
/// `n = ±1` the sum cancels, so what is rounded off `r` is carried along, and the
/// leading part of the sum is exact.
pub(super) fn expm1(b: &mut NestBuilder, x: Var) -> Var {
    let reduced = Reduced::of(b, x, None);
    let Reduced { float, n_magic, n, r_first, r, tail, r2, .. } = reduced;
    let dtype = float.dtype;
    let [_, second] = float.pick(LN2_F32, LN2_F64).map(|c| b.float(dtype, -c));
    let lost = b.sub(r_first, r);
    let lost = b.fma(n, second, lost);
    let rest = b.fma(r2, tail, lost);

    // Below 2^-64 it makes no difference to -1.
    let least = float.magic() + 2.0 * float.bias as f64 - 64.0;
    let n_bits = at_least(b, n_magic, least);
    let n_bits = b.bitcast(n_bits, float.int);
    let power = power_of_two(b, &reduced, n_bits, -1);
    let half = b.float(dtype, 0.5);
    let power_less_half = b.sub(power, half);
    let high = b.fma(power, r, power_less_half);
    let low = b.sub(power_less_half, high);
    let low = b.fma(power, r, low);
    let low = b.fma(power, rest, low);
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
