//! `sin`, `cos`, `tan`.
//!
//! `x = n·π/2 + r` with |r| ≤ π/4. π/2 is the sum of three floats: the first fused
//! multiply-add is exact (numerator and product are multiples of the same small
//! power of two, and they cancel), the second is rounded to `r`, and what that
//! loses, together with the third piece, is the small number `lost`:
//! the exact remainder is `r - lost`. Then `sin` and `cos` of `r` are two short
//! polynomials, and the two low bits of `n` say which of them, with which sign.
//!
//! For huge arguments `n` is wrong and `r` may be anything; it is cut at ±1, so
//! that results stay in [-1, 1].

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, Var};

use super::float::{Float, at_least, at_most, flip, polynomial};

/// π/2 in three pieces. The second is positive, so that `r` keeps the sign of -0.
const HALF_PI_F32: [f64; 3] = [1.570796251296997, 7.549790126404332e-08, -1.7151245100058819e-15];
const HALF_PI_F64: [f64; 3] = [1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33];

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
    float: Float,
    /// `n` in the low bits.
    n: Var,
    /// Whether `n` is odd.
    odd: Var,
    /// `sin r`.
    sin: Var,
    /// `cos r`.
    cos: Var,
}

impl Reduced {
    fn of(b: &mut NestBuilder, x: Var) -> Self {
        let float = Float::of(b, x);
        let dtype = float.dtype;
        let pieces = float.pick(HALF_PI_F32, HALF_PI_F64);
        let inverse = b.float(dtype, std::f64::consts::FRAC_2_PI);
        let magic = b.float(dtype, float.magic());
        let n_magic = b.fma(x, inverse, magic);
        let n = b.sub(n_magic, magic);
        let first = b.float(dtype, -pieces[0]);
        let first = b.fma(n, first, x);
        let second = b.float(dtype, -pieces[1]);
        let r = b.fma(n, second, first);
        let lost = b.sub(r, first);
        let second = b.float(dtype, pieces[1]);
        let lost = b.fma(n, second, lost);
        let third = b.float(dtype, pieces[2]);
        let lost = b.fma(n, third, lost);
        let r = at_least(b, r, -1.0);
        let r = at_most(b, r, 1.0);

        // r - (r³·S + lost): the sum is +0 where r is a zero, whose sign stays.
        let r2 = b.mul(r, r);
        let s = polynomial(b, r2, float.pick(&SIN_F32[..], &SIN_F64[..]));
        let r3 = b.mul(r2, r);
        let s = b.fma(r3, s, lost);
        let sin = b.sub(r, s);

        let c = polynomial(b, r2, float.pick(&COS_F32[..], &COS_F64[..]));
        let (one, minus_half) = (b.float(dtype, 1.0), b.float(dtype, -0.5));
        let c = b.fma(r2, c, minus_half);
        let cos = b.fma(r2, c, one);

        let n = b.bitcast(n_magic, float.int);
        let (bit, zero) = (b.int(float.int, 1), b.int(float.int, 0));
        let low = b.and(n, bit);
        let odd = b.cmp(Cmp::Ne, low, zero);
        Self { float, n, odd, sin, cos }
    }

    /// The bit of 2 in `n`, moved to the sign.
    fn second_bit(&self, b: &mut NestBuilder, n: Var) -> Var {
        let moved = b.shl(n, self.float.pick(30, 62));
        let mask = b.int(self.float.int, self.float.sign_bit());
        b.and(moved, mask)
    }
}

/// The sine.
pub(super) fn sin(b: &mut NestBuilder, x: Var) -> Var {
    let r = Reduced::of(b, x);
    let y = b.select(r.odd, r.cos, r.sin);
    let sign = r.second_bit(b, r.n);
    flip(b, y, sign)
}

/// The cosine: the sine one quarter on.
pub(super) fn cos(b: &mut NestBuilder, x: Var) -> Var {
    let r = Reduced::of(b, x);
    let y = b.select(r.odd, r.sin, r.cos);
    let one = b.int(r.float.int, 1);
    let next = b.add(r.n, one);
    let sign = r.second_bit(b, next);
    flip(b, y, sign)
}

/// The tangent: `sin r / cos r` or `-cos r / sin r`.
pub(super) fn tan(b: &mut NestBuilder, x: Var) -> Var {
    let r = Reduced::of(b, x);
    let above = b.select(r.odd, r.cos, r.sin);
    let below = b.select(r.odd, r.sin, r.cos);
    let sign = b.shl(r.n, r.float.pick(31, 63));
    let above = flip(b, above, sign);
    b.div(above, below)
}
