//! `tanh`.
//!
//! Near 0 a polynomial, and farther out `1 - 2/(e^(2|x|) + 1)`, where the errors of
//! the second term are small beside 1.

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, Var};

use super::exp::exp_plus_one;
use super::float::{Float, at_most, flip, polynomial, sign_of};

/// `(tanh x - x)/x³` in powers of `x²`, for |x| up to [`NEAR`].
const TAIL_F32: [f64; 6] = [
    -0.3333326578140259,
    0.13331478834152222,
    -0.05379640311002731,
    0.021120887249708176,
    -0.007142527494579554,
    0.0014400205109268427,
];
const TAIL_F64: [f64; 10] = [
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

/// Up to where the polynomials hold.
const NEAR: [f64; 2] = [0.85, 0.55];

/// The hyperbolic tangent.
pub(super) fn tanh(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let dtype = float.dtype;
    let size = b.abs(x);
    let size2 = b.mul(size, size);
    let tail = polynomial(b, size2, float.pick(&TAIL_F32[..], &TAIL_F64[..]));
    let size3 = b.mul(size2, size);
    let near = b.fma(size3, tail, size);

    // From here on it is 1.
    let double = b.add(size, size);
    let double = at_most(b, double, float.pick(20.0, 40.0));
    let below = exp_plus_one(b, double);
    let (one, two) = (b.float(dtype, 1.0), b.float(dtype, 2.0));
    let rest = b.div(two, below);
    let far = b.sub(one, rest);

    let limit = b.float(dtype, float.pick(NEAR[0], NEAR[1]));
    let is_near = b.cmp(Cmp::Lt, size, limit);
    let y = b.select(is_near, near, far);
    let sign = sign_of(b, x);
    flip(b, y, sign)
}
