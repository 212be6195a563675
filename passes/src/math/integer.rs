//! Division of integers, by floats: no machine divides vectors of integers.
//!
//! The quotient of two `i32` as `f64` is on the right side of each whole number. That of
//! two `i64` is off by at most some thousands; what is left is divided once more and
//! put right by one step. Products may wrap, but what is left does not.

use backstitch_ir::DType;
use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, Var};

/// `x / y` towards 0, and the remainder; 0 and 0 where `y` is 0.
pub(super) fn divide(b: &mut NestBuilder, x: Var, y: Var) -> (Var, Var) {
    let dtype = b.dtype(x);
    let [zero, minus_one] = [0, -1].map(|n| b.int(dtype, n));
    let quotient = match dtype {
        DType::I32 => rounded(b, x, y),
        _ => long_quotient(b, x, y),
    };
    // The least number by -1 does not fit, and wraps.
    let by_minus_one = b.cmp(Cmp::Eq, y, minus_one);
    let minus_x = b.neg(x);
    let quotient = b.select(by_minus_one, minus_x, quotient);
    let rest = left(b, x, y, quotient);
    let by_zero = b.cmp(Cmp::Eq, y, zero);
    (b.select(by_zero, zero, quotient), b.select(by_zero, zero, rest))
}

/// The quotient of floats, towards 0.
fn rounded(b: &mut NestBuilder, x: Var, y: Var) -> Var {
    let dtype = b.dtype(x);
    let [x, y] = [x, y].map(|v| b.convert(v, DType::F64));
    let quotient = b.div(x, y);
    b.convert(quotient, dtype)
}

/// `x - quotient·y`
fn left(b: &mut NestBuilder, x: Var, y: Var, quotient: Var) -> Var {
    let product = b.mul(quotient, y);
    b.sub(x, product)
}

/// Of two `i64`, unless `y` is 0 or -1.
fn long_quotient(b: &mut NestBuilder, x: Var, y: Var) -> Var {
    let dtype = b.dtype(x);
    let [zero, one, minus_one] = [0, 1, -1].map(|n| b.int(dtype, n));
    let first = rounded(b, x, y);
    let rest = left(b, x, y, first);
    let second = rounded(b, rest, y);
    let rest = left(b, rest, y, second);
    let quotient = b.add(first, second);

    // Mirrored, it should be above -|y| and at most 0. |y| itself may not fit.
    let (falling, below) = (b.cmp(Cmp::Lt, x, zero), b.cmp(Cmp::Lt, y, zero));
    let minus_rest = b.neg(rest);
    let rest = b.select(falling, rest, minus_rest);
    let minus_y = b.neg(y);
    let least = b.select(below, y, minus_y);
    let (over, under) = (b.cmp(Cmp::Gt, rest, zero), b.cmp(Cmp::Le, rest, least));
    let step = b.select(under, one, zero);
    let step = b.select(over, minus_one, step);
    let back = b.neg(step);
    let opposite = b.cmp(Cmp::Ne, falling, below);
    let step = b.select(opposite, back, step);
    b.add(quotient, step)
}
