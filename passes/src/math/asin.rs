//! `asin`, `acos`.
//!
//! Up to ½, `asin x` is `x` plus a polynomial. Above, with `s = √((1 - |x|)/2)`,
//! `acos |x| = 2·asin s`, where `s` is at most ½ again; 1 - |x| is exact, and the root a
//! pair. Both functions are `base + m + m·tail`, where `m` is `±x` or `±2·s` and `base`
//! 0, π/2 or π. The root of a negative number makes NaN of what is above 1.

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, Var};

use super::float::{Float, flip, polynomial, sign_of};
use super::pair::{PI, Pair, pieces};

/// `(asin s - s)/s³` in powers of `s²`, for |s| ≤ ½.
const ASIN_F32: [f64; 6] = [
    0.16666659712791443,
    0.0750051811337471,
    0.04451455920934677,
    0.03182626888155937,
    0.014372190460562706,
    0.03760595992207527,
];
const ASIN_F64: [f64; 12] = [
    0.16666666666665392,
    0.07500000000341193,
    0.04464285682476722,
    0.030381959288397677,
    0.022371754313698453,
    0.017359762633506592,
    0.01388464959038519,
    0.012173147697603328,
    0.006510582155603799,
    0.01957683799446624,
    -0.0163019476695976,
    0.031966502787070694,
];

/// What both functions share.
struct Reduced {
    /// Whether |x| is above ½.
    large: Var,
    /// |x| or `s`.
    s: Pair,
    /// `(asin s - s)/s`
    tail: Var,
}

impl Reduced {
    fn of(b: &mut NestBuilder, x: Var) -> Self {
        let float = Float::of(b, x);
        let dtype = float.dtype;
        let [zero, half, one] = [0.0, 0.5, 1.0].map(|c| b.float(dtype, c));
        let t = b.abs(x);
        let large = b.cmp(Cmp::Lt, half, t);
        let rest = b.sub(one, t);
        let rest = b.mul(half, rest);
        let root = Pair { high: rest, low: zero }.root(b);
        let square = b.mul(t, t);
        let z = b.select(large, rest, square);
        let s = Pair { high: b.select(large, root.high, t), low: b.select(large, root.low, zero) };
        let tail = polynomial(b, z, float.pick(&ASIN_F32[..], &ASIN_F64[..]));
        Self { large, s, tail: b.mul(z, tail) }
    }

    /// `base + factor·asin s`, where `base` is 0 or larger than the rest.
    fn assemble(&self, b: &mut NestBuilder, base: [Var; 2], factor: Var) -> Var {
        let (m, low) = (b.mul(self.s.high, factor), b.mul(self.s.low, factor));
        let tail = b.fma(m, self.tail, low);
        let tail = b.add(tail, base[1]);
        let sum = Pair::sum(b, base[0], m);
        let low = b.add(sum.low, tail);
        b.add(sum.high, low)
    }
}

/// The inverse sine.
pub(super) fn asin(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let dtype = float.dtype;
    let reduced = Reduced::of(b, x);
    let [zero, one, minus_two] = [0.0, 1.0, -2.0].map(|c| b.float(dtype, c));
    let base = pieces(float, PI).map(|c| {
        let right_angle = b.float(dtype, c / 2.0);
        b.select(reduced.large, right_angle, zero)
    });
    let factor = b.select(reduced.large, minus_two, one);
    let y = reduced.assemble(b, base, factor);
    let sign = sign_of(b, x);
    flip(b, y, sign)
}

/// The inverse cosine.
pub(super) fn acos(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let dtype = float.dtype;
    let reduced = Reduced::of(b, x);
    let [zero, minus_one, two] = [0.0, -1.0, 2.0].map(|c| b.float(dtype, c));
    let negative = b.cmp(Cmp::Lt, x, zero);
    let base = pieces(float, PI).map(|c| {
        let (right, straight) = (b.float(dtype, c / 2.0), b.float(dtype, c));
        let ends = b.select(negative, straight, zero);
        b.select(reduced.large, ends, right)
    });
    let factor = b.select(reduced.large, two, minus_one);
    // On the left the angle is measured from π: asin is odd, and 2·s is taken off.
    let sign = sign_of(b, x);
    let factor = flip(b, factor, sign);
    reduced.assemble(b, base, factor)
}
