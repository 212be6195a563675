//! `asinh`, `acosh`, `atanh`.
//!
//! All are logarithms, of `|x| + √(x² + 1)`, `x + √(x² - 1)` and `(1 + |x|)/(1 - |x|)`. The
//! argument is a pair, so that its logarithm is accurate where it is close to 1. Close
//! to 0, where that would not be enough, two odd functions take a few terms of their
//! series. Large numbers, whose squares would overflow, are doubled in place of the
//! sum.

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, Var};

use super::float::{Float, flip, polynomial, sign_of};
use super::log::{Split, assemble, special};
use super::pair::Pair;

/// The logarithm of a pair, or where `double` holds, of twice its high part.
fn log_of(b: &mut NestBuilder, u: Pair, double: Option<Var>) -> Var {
    let dtype = b.dtype(u.high);
    let correction = b.div(u.low, u.high);
    let mut split = Split::of(b, u.high, false);
    let mut extra = correction;
    if let Some(double) = double {
        let (zero, one) = (b.float(dtype, 0.0), b.float(dtype, 1.0));
        let more = b.add(split.k, one);
        split.k = b.select(double, more, split.k);
        extra = b.select(double, zero, extra);
    }
    let y = assemble(b, &split, Some(extra));
    special(b, u.high, y)
}

/// From where on a square plus or minus 1 is the square.
fn large(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let limit = b.float(float.dtype, float.pick(2f64.powi(20), 2f64.powi(40)));
    b.cmp(Cmp::Lt, limit, x)
}

/// `x + √(x² + offset)` of a number that is not negative, or `x` where it is large.
fn with_root(b: &mut NestBuilder, x: Var, large: Var, offset: f64) -> Pair {
    let dtype = b.dtype(x);
    let (zero, one, offset) = (b.float(dtype, 0.0), b.float(dtype, 1.0), b.float(dtype, offset));
    let small = b.select(large, one, x);
    let square = Pair::product(b, small, small);
    // Either may be the larger one, so what is rounded off is made up of both.
    let high = b.add(square.high, offset);
    let of_square = b.sub(high, offset);
    let of_offset = b.sub(high, of_square);
    let lost = b.sub(square.high, of_square);
    let rest = b.sub(offset, of_offset);
    let lost = b.add(lost, rest);
    let root = Pair { high, low: b.add(lost, square.low) }.root(b);
    let high = b.add(root.high, small);
    // Of the root and `x` either may be the larger one, too.
    let of_small = b.sub(high, root.high);
    let of_root = b.sub(high, of_small);
    let lost = b.sub(small, of_small);
    let rest = b.sub(root.high, of_root);
    let lost = b.add(lost, rest);
    let low = b.add(lost, root.low);
    Pair { high: b.select(large, x, high), low: b.select(large, zero, low) }
}

/// The odd function `|x|·(1 + x²·series)` below a limit, `y` elsewhere; the sign of `x`.
fn odd(b: &mut NestBuilder, x: Var, series: &[f64], limit: f64, y: Var) -> Var {
    let dtype = b.dtype(x);
    let t = b.abs(x);
    let square = b.mul(t, t);
    let tail = polynomial(b, square, series);
    let cube = b.mul(square, t);
    let near = b.fma(cube, tail, t);
    let limit = b.float(dtype, limit);
    let is_near = b.cmp(Cmp::Lt, t, limit);
    let y = b.select(is_near, near, y);
    let sign = sign_of(b, x);
    flip(b, y, sign)
}

/// The inverse hyperbolic sine.
pub(super) fn asinh(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let t = b.abs(x);
    let large = large(b, t);
    let u = with_root(b, t, large, 1.0);
    let y = log_of(b, u, Some(large));
    let series = [-1.0 / 6.0, 3.0 / 40.0, -15.0 / 336.0];
    odd(b, x, &series[..float.pick(2, 3)], float.pick(2f64.powi(-6), 2f64.powi(-9)), y)
}

/// The inverse hyperbolic cosine.
pub(super) fn acosh(b: &mut NestBuilder, x: Var) -> Var {
    let dtype = b.dtype(x);
    let large = large(b, x);
    let u = with_root(b, x, large, -1.0);
    let y = log_of(b, u, Some(large));
    let (one, nan) = (b.float(dtype, 1.0), b.float(dtype, f64::NAN));
    let outside = b.cmp(Cmp::Lt, x, one);
    b.select(outside, nan, y)
}

/// The inverse hyperbolic tangent.
pub(super) fn atanh(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let (one, half) = (b.float(float.dtype, 1.0), b.float(float.dtype, 0.5));
    let t = b.abs(x);
    let minus = b.neg(t);
    let (above, below) = (Pair::sum(b, one, t), Pair::sum(b, one, minus));
    let u = above.over(b, below);
    let y = log_of(b, u, None);
    let y = b.mul(half, y);
    let series = [1.0 / 3.0, 1.0 / 5.0, 1.0 / 7.0];
    odd(b, x, &series[..float.pick(2, 3)], float.pick(2f64.powi(-6), 2f64.powi(-9)), y)
}
