//! `cbrt`, `hypot`.
//!
//! `|x| = 2^(3·q)·m` with `m` between about 1/3 and 3. A polynomial gives `m^(-1/3)` to some
//! bits, one step of third order twice to three times as many, and a step for
//! `y = m·(m^(-1/3))²`, whose remainder `m - y³` is that of pairs, the rest.
//!
//! `hypot` scales its arguments where a square would overflow or the larger one vanish.

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, Var};

use super::float::{Float, flip, polynomial, sign_of};
use super::log::Split;
use super::pair::Pair;

/// `(1 + f)^(-1/3)` in powers of `f`, for `√½ ≤ 1 + f ≤ √2`.
const INVERSE_F32: [f64; 4] =
    [0.999778687953949, -0.3346773386001587, 0.23771058022975922, -0.1584557145833969];
const INVERSE_F64: [f64; 6] = [
    1.0000038419667845,
    -0.333260764993421,
    0.22160636381781698,
    -0.17582608493636098,
    0.16040100786947598,
    -0.10800372351512072,
];

/// The cube root.
pub(super) fn cbrt(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let Float { dtype, bias, .. } = float;
    let [zero, one, third] = [0.0, 1.0, 1.0 / 3.0].map(|c| b.float(dtype, c));
    let size = b.abs(x);
    let Split { k, f } = Split::of(b, size, true);
    let (q_magic, q) = float.integer(b, k, 1.0 / 3.0, bias);
    let minus_three = b.float(dtype, -3.0);
    // -1, 0 or 1
    let e = b.fma(q, minus_three, k);
    let (down, up) = (b.cmp(Cmp::Lt, e, zero), b.cmp(Cmp::Lt, zero, e));
    let by_e = |b: &mut NestBuilder, factor: f64| {
        let (less, more) = (b.float(dtype, 1.0 / factor), b.float(dtype, factor));
        let y = b.select(down, less, one);
        b.select(up, more, y)
    };
    let m = b.add(one, f);
    let scale = by_e(b, 2.0);
    let m = b.mul(m, scale);
    let inverse = polynomial(b, f, float.pick(&INVERSE_F32[..], &INVERSE_F64[..]));
    let scale = by_e(b, 0.5f64.cbrt());
    let r = b.mul(inverse, scale);

    // 1 - m·r³ = h, and (1 - h)^(-1/3) = 1 + h/3 + 2/9·h² + …
    let r2 = b.mul(r, r);
    let minus_m = b.neg(m);
    let mr = b.mul(minus_m, r);
    let h = b.fma(mr, r2, one);
    let two_ninths = b.float(dtype, 2.0 / 9.0);
    let step = b.fma(h, two_ninths, third);
    let step = b.mul(step, h);
    let r = b.fma(r, step, r);
    let r2 = b.mul(r, r);
    let y = b.mul(m, r2);
    // y + (m - y³)/(3·y²), and 1/y² is r².
    let square = Pair::product(b, y, y);
    let minus = b.neg(y);
    let rest = b.fma(minus, square.high, m);
    let rest = b.fma(minus, square.low, rest);
    let slope = b.mul(third, r2);
    let y = b.fma(rest, slope, y);
    let power = float.power_of_two(b, q_magic);
    let y = b.mul(y, power);

    let sign = sign_of(b, x);
    let y = flip(b, y, sign);
    // 0, ∞ and NaN are their own roots.
    let infinity = b.float(dtype, f64::INFINITY);
    let (positive, finite) = (b.cmp(Cmp::Lt, zero, size), b.cmp(Cmp::Lt, size, infinity));
    let ordinary = b.and(positive, finite);
    b.select(ordinary, y, x)
}

/// The distance of the point `(x, y)` from the origin.
pub(super) fn hypot(b: &mut NestBuilder, x: Var, y: Var) -> Var {
    let float = Float::of(b, x);
    let dtype = float.dtype;
    let (x, y) = (b.abs(x), b.abs(y));
    let swap = b.cmp(Cmp::Lt, x, y);
    let (large, small) = (b.select(swap, y, x), b.select(swap, x, y));
    let (limit, shift) = float.pick((50, 90), (450, 700));
    let [low, high, up, down] =
        [-limit, limit, shift, -shift].map(|e| b.float(dtype, float.power(e)));
    let one = b.float(dtype, 1.0);
    let (tiny, huge) = (b.cmp(Cmp::Lt, large, low), b.cmp(Cmp::Lt, high, large));
    let scale = b.select(huge, down, one);
    let scale = b.select(tiny, up, scale);
    let back = b.select(huge, up, one);
    let back = b.select(tiny, down, back);
    let (a, c) = (b.mul(large, scale), b.mul(small, scale));
    let square = b.mul(c, c);
    let sum = b.fma(a, a, square);
    let root = b.sqrt(sum);
    let distance = b.mul(root, back);
    // Even beside NaN.
    let infinity = b.float(dtype, f64::INFINITY);
    let (wide, high) = (b.cmp(Cmp::Eq, x, infinity), b.cmp(Cmp::Eq, y, infinity));
    let endless = b.or(wide, high);
    b.select(endless, infinity, distance)
}
