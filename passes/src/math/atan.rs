//! `atan`, `atan2`.
//!
//! An argument above ½ is taken as an angle from π/4, `atan t = π/4 + atan((t - 1)/(t + 1))`,
//! one above 2 as an angle from π/2, `atan t = π/2 + atan(-1/t)`. The quotient, at most
//! ½, is a pair, as is the angle; the rest of the series is a polynomial.
//!
//! `atan2` takes the quotient of the smaller and the larger of its arguments, which is
//! at most 1, and counts from one of the four half axes.

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, Var};

use super::float::{Float, flip, polynomial, sign_of};
use super::pair::{PI, Pair, pieces};

/// `(atan q - q)/q³` in powers of `q²`, for |q| ≤ ½.
const ATAN_F32: [f64; 6] = [
    -0.333333283662796,
    0.19999553263187408,
    -0.14273063838481903,
    0.10947972536087036,
    -0.08007209002971649,
    0.03901362419128418,
];
const ATAN_F64: [f64; 12] = [
    -0.33333333333332976,
    0.19999999999901844,
    -0.142857142762822,
    0.11111110655343352,
    -0.09090896140824758,
    0.07692072326907483,
    -0.06663794752442014,
    0.058581933663939885,
    -0.051215431917872714,
    0.04185221537442214,
    -0.027414557082303854,
    0.010102690521995734,
];

/// `base + atan q`, where `base` is 0 or larger than the rest.
fn from_base(b: &mut NestBuilder, base: Pair, q: Pair) -> Var {
    let float = Float::of(b, q.high);
    let q2 = b.mul(q.high, q.high);
    let tail = polynomial(b, q2, float.pick(&ATAN_F32[..], &ATAN_F64[..]));
    let q3 = b.mul(q2, q.high);
    let tail = b.fma(q3, tail, q.low);
    let tail = b.add(tail, base.low);
    let sum = Pair::sum(b, base.high, q.high);
    let low = b.add(sum.low, tail);
    b.add(sum.high, low)
}

/// The inverse tangent.
pub(super) fn atan(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let dtype = float.dtype;
    let [zero, half, one, two] = [0.0, 0.5, 1.0, 2.0].map(|c| b.float(dtype, c));
    let minus_one = b.float(dtype, -1.0);
    let t = b.abs(x);
    let (middle, far) = (b.cmp(Cmp::Lt, half, t), b.cmp(Cmp::Lt, two, t));

    let less = b.sub(t, one);
    let above = b.select(middle, less, t);
    let above = b.select(far, minus_one, above);
    let sum = Pair::sum(b, one, t);
    // `t` is at most 2 here: the sum loses what is left of the smaller one.
    let swapped = Pair::sum(b, t, one);
    let over_1 = b.cmp(Cmp::Lt, one, t);
    let lost = b.select(over_1, swapped.low, sum.low);
    let below = b.select(middle, sum.high, one);
    let below = b.select(far, t, below);
    let below_low = b.select(middle, lost, zero);
    let below_low = b.select(far, zero, below_low);
    let above = Pair { high: above, low: zero };
    let q = above.over(b, Pair { high: below, low: below_low });

    let base = pieces(float, PI).map(|c| {
        let (quarter, half) = (b.float(dtype, c / 4.0), b.float(dtype, c / 2.0));
        let base = b.select(middle, quarter, zero);
        b.select(far, half, base)
    });
    let y = from_base(b, Pair { high: base[0], low: base[1] }, q);
    // The quotient of ∞ is a zero, its correction no number.
    let infinity = b.float(dtype, f64::INFINITY);
    let is_infinite = b.cmp(Cmp::Eq, t, infinity);
    let right_angle = b.float(dtype, pieces(float, PI)[0] / 2.0);
    let y = b.select(is_infinite, right_angle, y);
    let sign = sign_of(b, x);
    flip(b, y, sign)
}

/// The angle of the point `(x, y)`.
pub(super) fn atan2(b: &mut NestBuilder, y: Var, x: Var) -> Var {
    let float = Float::of(b, x);
    let dtype = float.dtype;
    let [zero, half, one] = [0.0, 0.5, 1.0].map(|c| b.float(dtype, c));
    let infinity = b.float(dtype, f64::INFINITY);
    let (width, height) = (b.abs(x), b.abs(y));
    let steep = b.cmp(Cmp::Lt, width, height);
    let small = b.select(steep, width, height);
    let large = b.select(steep, height, width);

    // Among infinities, 1 and 0 (or NaN) have the same angle; so have 0 and 1 at
    // the origin. What is tiny or huge is scaled.
    let endless = b.cmp(Cmp::Eq, large, infinity);
    let both = b.cmp(Cmp::Eq, small, infinity);
    let nothing = b.mul(small, zero);
    let unit = b.select(both, one, nothing);
    let small = b.select(endless, unit, small);
    let large = b.select(endless, one, large);
    let origin = b.cmp(Cmp::Eq, large, zero);
    let large = b.select(origin, one, large);
    let [low, high] = float.pick([-60, 100], [-500, 1000]).map(|e| b.float(dtype, float.power(e)));
    let up = b.float(dtype, float.pick(2f64.powi(90), 2f64.powi(600)));
    let down = b.float(dtype, 0.25);
    let (tiny, huge) = (b.cmp(Cmp::Lt, large, low), b.cmp(Cmp::Lt, high, large));
    let scale = b.select(huge, down, one);
    let scale = b.select(tiny, up, scale);
    let (small, large) = (b.mul(small, scale), b.mul(large, scale));

    // Twice the smaller is above the larger: count from the diagonal. Signs that
    // turn the angle are those of the quotient, before the one of `y`.
    let half_large = b.mul(half, large);
    let diagonal = b.cmp(Cmp::Lt, half_large, small);
    let less = b.sub(small, large);
    let above = b.select(diagonal, less, small);
    let sum = Pair::sum(b, large, small);
    let below = b.select(diagonal, sum.high, large);
    let below_low = b.select(diagonal, sum.low, zero);
    let q = Pair { high: above, low: zero }.over(b, Pair { high: below, low: below_low });

    let x_sign = sign_of(b, x);
    let plus = b.int(float.int, 0);
    let behind = b.cmp(Cmp::Ne, x_sign, plus);
    // In quarters of π: the half axis, then towards the diagonal or not.
    let pi_quarters = b.float(dtype, 4.0);
    let steep_quarters = b.float(dtype, 2.0);
    let axis = b.select(behind, pi_quarters, zero);
    let axis = b.select(steep, steep_quarters, axis);
    let turned = b.cmp(Cmp::Ne, steep, behind);
    let minus_one = b.float(dtype, -1.0);
    let direction = b.select(turned, minus_one, one);
    let aside = b.select(diagonal, direction, zero);
    let quarters = b.add(axis, aside);
    let [quarter, quarter_low] = pieces(float, PI.map(|c| c / 4.0)).map(|c| b.float(dtype, c));
    let base = Pair::product(b, quarters, quarter);
    let base = Pair { low: b.fma(quarters, quarter_low, base.low), ..base };
    let q = Pair { high: b.mul(q.high, direction), low: b.mul(q.low, direction) };
    let angle = from_base(b, base, q);
    let sign = sign_of(b, y);
    flip(b, angle, sign)
}
