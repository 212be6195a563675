//! `sin`, `cos`, `tan`.
//!
//! `x = n·π/2 + r` with |r| ≤ π/4. π/2 is the sum of three floats. The product of `n`
//! and the first is subtracted exactly: both operands are multiples of the same
//! small power of two, and they cancel. Then `sin` and `cos` of `r` are two short
//! polynomials, and the two low bits of `n` say which of them, with which sign.
//!
//! `tan`, whose sine and cosine would both be off, subtracts the second product
//! such that what is rounded off there, together with the third piece, is a small
//! number `lost`: the exact remainder is `r - lost`.
//!
//! For huge arguments `r` would have few digits right, or none: beyond
//! [`trig_limit`](super::trig_limit) the result is NaN. To reduce all arguments takes
//! some hundred bits of 2/π; without a branch every element would pay for it, several times
//! what the function costs.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, Var};

use super::float::{Float, flip, itself_below, polynomial};

/// π/2 in three pieces. The second is positive, so that `r` keeps the sign of -0.
const HALF_PI_F32: [f64; 3] = [1.570796251296997, 7.549790126404332e-08, -1.7151245100058819e-15];
const HALF_PI_F64: [f64; 3] = [FRAC_PI_2, 6.123233995736766e-17, -1.4973849048591698e-33];

/// `(sin r - r)/r³` in powers of `r²`.
const SIN_F32: [f64; 4] =
    [-0.1666666716337204, 0.008333379402756691, -0.00019853074627462775, 2.8327565360086737e-06];
const SIN_F64: [f64; 6] = [
    -0.1666666666666662,
    0.008333333333319702,
    -0.00019841269827607774,
    2.7557312921197384e-06,
    -2.5050636557551646e-08,
    1.5889711308944823e-10,
];

/// `(cos r - 1 + r²/2)/r⁴` in powers of `r²`.
const COS_F32: [f64; 3] = [0.04166664183139801, -0.0013887130189687014, 2.4412085622316226e-05];
const COS_F64: [f64; 6] = [
    0.041666666666666574,
    -0.0013888888888869719,
    2.4801587286728944e-05,
    -2.7557313557940094e-07,
    2.0875615559546096e-09,
    -1.1354089283293435e-11,
];

/// `x = n·π/2 + first`, but for the second and third piece.
struct Reduced {
    /// `n` in the low bits of a large float.
    n_magic: Var,
    n: Var,
    first: Var,
    /// The other two pieces.
    rest: [f64; 2],
}

impl Reduced {
    fn of(b: &mut NestBuilder, x: Var) -> Self {
        let float = Float::of(b, x);
        let [first, rest @ ..] = float.pick(HALF_PI_F32, HALF_PI_F64);
        let (n_magic, n) = float.integer(b, x, FRAC_2_PI, 0);
        let minus = b.float(float.dtype, -first);
        let first = b.fma(n, minus, x);
        Self { n_magic, n, first, rest }
    }
}

/// The lowest bits of an integer.
struct Quadrant {
    /// The lowest bit, moved to the sign.
    low: Var,
    /// The second bit, moved to the sign.
    second: Var,
    /// Whether it is odd.
    odd: Var,
}

impl Quadrant {
    /// Of the integer in the low bits of a large float.
    fn of(b: &mut NestBuilder, n_magic: Var) -> Self {
        let float = Float::of(b, n_magic);
        let n = b.bitcast(n_magic, float.int);
        let width = 8 * float.dtype.size() as u32;
        let low = b.shl(n, width - 1);
        let (zero, sign_bit) = (b.int(float.int, 0), b.int(float.int, float.sign_bit()));
        let odd = b.cmp(Cmp::Lt, low, zero);
        let second = b.shl(n, width - 2);
        let second = b.and(second, sign_bit);
        Self { low, second, odd }
    }
}

/// `(sin r - r)/r³`
fn sin_tail(b: &mut NestBuilder, r2: Var) -> Var {
    let float = Float::of(b, r2);
    polynomial(b, r2, float.pick(&SIN_F32[..], &SIN_F64[..]))
}

/// `(cos r - 1)/r²`
fn cos_tail(b: &mut NestBuilder, r2: Var) -> Var {
    let float = Float::of(b, r2);
    let tail = polynomial(b, r2, float.pick(&COS_F32[..], &COS_F64[..]));
    let minus_half = b.float(float.dtype, -0.5);
    b.fma(r2, tail, minus_half)
}

/// `r`, or NaN where the argument `x` is beyond the limit: a result without a digit
/// right would pass for one. Of infinity it is NaN anyhow.
fn within_limit(b: &mut NestBuilder, x: Var, r: Var) -> Var {
    let dtype = b.dtype(x);
    let (limit, nan) = (b.float(dtype, super::trig_limit(dtype)), b.float(dtype, f64::NAN));
    let size = b.abs(x);
    let near = b.cmp(Cmp::Le, size, limit);
    b.select(near, r, nan)
}

/// `sin r`, `cos r` and the quadrant.
fn sin_cos(b: &mut NestBuilder, x: Var) -> (Var, Var, Quadrant) {
    let Reduced { n_magic, n, first, rest } = Reduced::of(b, x);
    let dtype = b.dtype(x);
    let less_second = b.float(dtype, -rest[0]);
    let r = b.fma(n, less_second, first);
    // The third piece is so small that `x·2/π` will do for `n`, and it adds a zero
    // of the right sign.
    let less_third = b.float(dtype, -rest[1] * FRAC_2_PI);
    let r = b.fma(x, less_third, r);
    let r = within_limit(b, x, r);
    let r2 = b.mul(r, r);
    let (zero, one) = (b.float(dtype, 0.0), b.float(dtype, 1.0));
    let tail = sin_tail(b, r2);
    // Of zeros this is +0, so that the sum below keeps their sign.
    let r3 = b.fma(r2, r, zero);
    let sin = b.fma(r3, tail, r);
    let tail = cos_tail(b, r2);
    let cos = b.fma(r2, tail, one);
    (sin, cos, Quadrant::of(b, n_magic))
}

/// The sine.
pub(super) fn sin(b: &mut NestBuilder, x: Var) -> Var {
    let (sin, cos, quadrant) = sin_cos(b, x);
    let y = b.select(quadrant.odd, cos, sin);
    flip(b, y, quadrant.second)
}

/// The cosine: the sine one quarter on.
pub(super) fn cos(b: &mut NestBuilder, x: Var) -> Var {
    let (sin, cos, quadrant) = sin_cos(b, x);
    let y = b.select(quadrant.odd, sin, cos);
    let sign = b.xor(quadrant.second, quadrant.low);
    flip(b, y, sign)
}

/// The tangent: `sin r / cos r` or `-cos r / sin r`.
///
/// The quotient is corrected by what sine, cosine and quotient were rounded by.
pub(super) fn tan(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let dtype = float.dtype;
    let one = b.float(dtype, 1.0);
    let Reduced { n_magic, n, first, rest } = Reduced::of(b, x);
    let first = within_limit(b, x, first);
    let [second, less_second, less_third] =
        [rest[0], -rest[0], -rest[1]].map(|c| b.float(dtype, c));
    let product = b.mul(n, second);
    let r = b.sub(first, product);
    let kept = b.sub(first, r);
    let lost = b.sub(product, kept);
    let rest = b.fma(n, less_second, product);
    let rest = b.fma(n, less_third, rest);
    let lost = b.sub(lost, rest);

    // sin (r - lost) = r + s, cos (r - lost) = 1 + r·c
    let r2 = b.mul(r, r);
    let tail = sin_tail(b, r2);
    let r3 = b.mul(r2, r);
    let minus_lost = b.neg(lost);
    let s = b.fma(r3, tail, minus_lost);
    let sin = b.add(r, s);
    let tail = cos_tail(b, r2);
    let c = b.fma(r, tail, lost);
    let cos = b.fma(r, c, one);
    let sin_lost = b.sub(r, sin);
    let sin_lost = b.add(sin_lost, s);
    let cos_lost = b.sub(one, cos);
    let cos_lost = b.fma(r, c, cos_lost);

    let Quadrant { low, odd, .. } = Quadrant::of(b, n_magic);
    let (above, above_lost) = (b.select(odd, cos, sin), b.select(odd, cos_lost, sin_lost));
    let (below, below_lost) = (b.select(odd, sin, cos), b.select(odd, sin_lost, cos_lost));
    let inverse = b.div(one, below);
    let quotient = b.mul(above, inverse);
    let minus = b.neg(quotient);
    let rest = b.fma(minus, below, above);
    let rest = b.add(rest, above_lost);
    let rest = b.fma(minus, below_lost, rest);
    let y = b.fma(rest, inverse, quotient);
    let y = flip(b, y, low);
    itself_below(b, x, float.pick(2f64.powi(-14), 2f64.powi(-28)), y)
}
