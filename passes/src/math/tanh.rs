//! `tanh`.
//!
//! `tanh x = (e^d - 1)/(e^d + 1)` with `d = 2|x|`. With `-d = r - n·ln 2` and
//! `p = e^r - 1` that is `((2^n - 1) - p)/((2^n + 1) + p)`: the terms in brackets are
//! exact, or as good as, and where `n` is 0 only `p` is left above, so one formula
//! serves all `x`.

use std::f64::consts::LOG2_E;

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::Var;

use super::exp::{EXP_F32, EXP_F64};
use super::float::{Float, at_least, flip, polynomial};

/// The hyperbolic tangent.
pub(super) fn tanh(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let Float { dtype, bias, .. } = float;
    let bits = b.bitcast(x, float.int);
    let mask = b.int(float.int, float.sign_bit());
    let sign = b.and(bits, mask);
    let minus = b.or(bits, mask);
    let minus = b.bitcast(minus, dtype);
    // From here on it is 1.
    let minus = at_least(b, minus, float.pick(-10.0, -20.0));

    // Half of `r`, `p` and so on, which saves doubling `x`.
    let (n_magic, n) = float.integer(b, minus, -2.0 * LOG2_E, bias - 1);
    let half_ln2 = b.float(dtype, 0.5 * float.ln_2()[0]);
    let r = b.fma(n, half_ln2, minus);
    let mut tail = float.pick(&EXP_F32[..], &EXP_F64[..]).to_vec();
    for (c, power) in tail.iter_mut().zip(1..) {
        *c *= float.power(power);
    }
    let tail = polynomial(b, r, &tail);
    let r2 = b.mul(r, r);
    let p = b.fma(r2, tail, r);
    let power = float.power_of_two(b, n_magic);
    let half = b.float(dtype, 0.5);
    let above = b.sub(power, half);
    let above = b.sub(above, p);
    let below = b.add(power, half);
    let below = b.add(below, p);
    let y = b.div(above, below);
    flip(b, y, sign)
}
