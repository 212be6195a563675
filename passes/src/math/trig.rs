//! `sin`, `cos`, `tan`.
//!
//! `x = n·π/2 + r` with |r| ≤ π/4. π/2 is the sum of three floats. The product of `n`
//! and the first is subtracted exactly (both operands are multiples of the same
//! small power of two, and they cancel), that with the second leaves `r`, and what
//! is rounded off there, together with the third piece, is the small number
//! `lost`: the exact remainder is `r - lost`. Then `sin` and `cos` of `r` are two short
//! polynomials, and the two low bits of `n` say which of them, with which sign.
//!
//! For huge arguments `r` has few digits right, or none; past some size all of one
//! sign are taken for the same.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, Var};

use super::float::{Float, at_least, at_most, flip, itself_below, polynomial};

/// π/2 in three pieces. The second is positive, so that `r` keeps the sign of -0.
const HALF_PI_F32: [f64; 3] = [1.570796251296997, 7.549790126404332e-08, -1.7151245100058819e-15];
const HALF_PI_F64: [f64; 3] = [FRAC_PI_2, 6.123233995736766e-17, -1.4973849048591698e-33];

/// `(r - sin r)/r³` in powers of `r²`.
const SIN_F32: [f64; 3] = [0.16666653752326965, -0.008332093246281147, 0.00019505145610310137];
const SIN_F64: [f64; 6] = [
    0.1666666666666662,
    -0.008333333333319702,
    0.00019841269827607774,
    -2.7557312921197384e-06,
    2.5050636557551646e-08,
    -1.5889711308944823e-10,
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

/// `x = n·π/2 + r`.
struct Reduced {
    /// The lowest bit of `n`, moved to the sign.
    low: Var,
    /// The second bit of `n`, moved to the sign.
    second: Var,
    /// Whether `n` is odd.
    odd: Var,
    /// `sin r`.
    sin: Var,
    /// `cos r`.
    cos: Var,
    /// `sin` is `r - s`, rounded, and `cos` is `1 + r·c`.
    r: Var,
    s: Var,
    c: Var,
}

impl Reduced {
    fn of(b: &mut NestBuilder, x: Var) -> Self {
        let float = Float::of(b, x);
        let dtype = float.dtype;
        // Keeps `n` in the mantissa; the product makes ∞ NaN.
        let reach = float.pick(3e6, 1e15);
        let near = at_least(b, x, -reach);
        let near = at_most(b, near, reach);
        let zero = b.float(dtype, 0.0);
        let x = b.fma(x, zero, near);
        let pieces = float.pick(HALF_PI_F32, HALF_PI_F64);
        let inverse = b.float(dtype, FRAC_2_PI);
        let magic = b.float(dtype, float.magic());
        let n_magic = b.fma(x, inverse, magic);
        let n = b.sub(n_magic, magic);
        let first = b.float(dtype, -pieces[0]);
        let first = b.fma(n, first, x);
        let [second, less_second, less_third] =
            [pieces[1], -pieces[1], -pieces[2]].map(|c| b.float(dtype, c));
        let product = b.mul(n, second);
        let r = b.sub(first, product);
        let kept = b.sub(first, r);
        let lost = b.sub(product, kept);
        let rest = b.fma(n, less_second, product);
        let rest = b.fma(n, less_third, rest);
        let lost = b.sub(lost, rest);

        // r - (r³·S + lost): the sum is +0 where r is a zero, whose sign stays.
        let r2 = b.mul(r, r);
        let s = polynomial(b, r2, float.pick(&SIN_F32[..], &SIN_F64[..]));
        let r3 = b.mul(r2, r);
        let s = b.fma(r3, s, lost);
        let sin = b.sub(r, s);

        // cos (r - lost) = 1 + r·(r·C + lost)
        let c = polynomial(b, r2, float.pick(&COS_F32[..], &COS_F64[..]));
        let (one, minus_half) = (b.float(dtype, 1.0), b.float(dtype, -0.5));
        let c = b.fma(r2, c, minus_half);
        let c = b.fma(r, c, lost);
        let cos = b.fma(r, c, one);

        let n = b.bitcast(n_magic, float.int);
        let width = 8 * dtype.size() as u32;
        let low = b.shl(n, width - 1);
        let (zero, sign_bit) = (b.int(float.int, 0), b.int(float.int, float.sign_bit()));
        let odd = b.cmp(Cmp::Lt, low, zero);
        let second = b.shl(n, width - 2);
        let second = b.and(second, sign_bit);
        Self { low, second, odd, sin, cos, r, s, c }
    }
}

/// The sine.
pub(super) fn sin(b: &mut NestBuilder, x: Var) -> Var {
    let r = Reduced::of(b, x);
    let y = b.select(r.odd, r.cos, r.sin);
    flip(b, y, r.second)
}

/// The cosine: the sine one quarter on.
pub(super) fn cos(b: &mut NestBuilder, x: Var) -> Var {
    let r = Reduced::of(b, x);
    let y = b.select(r.odd, r.sin, r.cos);
    let sign = b.xor(r.second, r.low);
    flip(b, y, sign)
}

/// The tangent: `sin r / cos r` or `-cos r / sin r`.
///
/// The quotient is corrected by what sine, cosine and quotient were rounded by.
pub(super) fn tan(b: &mut NestBuilder, x: Var) -> Var {
    let Reduced { low, odd, sin, cos, r, s, c, .. } = Reduced::of(b, x);
    let float = Float::of(b, x);
    let one = b.float(float.dtype, 1.0);
    let sin_lost = b.sub(r, sin);
    let sin_lost = b.sub(sin_lost, s);
    let cos_lost = b.sub(one, cos);
    let cos_lost = b.fma(r, c, cos_lost);
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
