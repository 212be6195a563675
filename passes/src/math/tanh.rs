//! `tanh`.
//!
//! In `f32`, `x·N(x²)/D(x²)` up to where it is 1; all coefficients but a zero are
//! positive, so nothing cancels. In `f64` such a quotient would be too long: a
//! polynomial near 0, and `1 - 2/(e^(2|x|) + 1)` farther out, where the errors of the
//! second term are small beside 1.

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, Var};

use super::exp::exp_plus_one;
use super::float::{Float, at_least, at_most, flip, polynomial, sign_of};

/// Numerator and denominator for |x| ≤ 9.02.
const ABOVE_F32: [f64; 5] =
    [1.0, 0.13785369000426642, 0.004008515279378206, 3.158919684834347e-05, 5.0762676821433486e-08];
const BELOW_F32: [f64; 6] = [
    1.0,
    0.47118701405693464,
    0.027737535096572112,
    0.0004207418817447958,
    1.61749567759334e-06,
    7.374524502927649e-10,
];

/// `(tanh x - x)/x³` in powers of `x²`, for |x| ≤ 0.55.
const NEAR_F64: [f64; 10] = [
    -0.33333333333332316,
    0.13333333333168934,
    -0.05396825387616455,
    0.02186948597646722,
    -0.00886319452307639,
    0.003591719831033911,
    -0.0014532173437391941,
    0.000579138586962495,
    -0.00021030474189506347,
    5.102296978444036e-05,
];

/// The hyperbolic tangent.
pub(super) fn tanh(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    float.pick(tanh_f32 as fn(&mut NestBuilder, Var) -> Var, tanh_f64)(b, x)
}

fn tanh_f32(b: &mut NestBuilder, x: Var) -> Var {
    let x = at_least(b, x, -9.02);
    let x = at_most(b, x, 9.02);
    let x2 = b.mul(x, x);
    let above = polynomial(b, x2, &ABOVE_F32);
    let above = b.mul(x, above);
    let below = polynomial(b, x2, &BELOW_F32);
    b.div(above, below)
}

fn tanh_f64(b: &mut NestBuilder, x: Var) -> Var {
    let dtype = b.dtype(x);
    let size = b.abs(x);
    let size2 = b.mul(size, size);
    let near = polynomial(b, size2, &NEAR_F64);
    let size3 = b.mul(size2, size);
    let near = b.fma(size3, near, size);

    let double = b.add(size, size);
    let double = at_most(b, double, 48.0);
    let below = exp_plus_one(b, double);
    let (one, two) = (b.float(dtype, 1.0), b.float(dtype, 2.0));
    let rest = b.div(two, below);
    let far = b.sub(one, rest);

    let limit = b.float(dtype, 0.55);
    let is_near = b.cmp(Cmp::Lt, size, limit);
    let y = b.select(is_near, near, far);
    let sign = sign_of(b, x);
    flip(b, y, sign)
}
