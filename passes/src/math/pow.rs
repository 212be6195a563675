//! `pow`.
//!
//! `|x|^y = e^(y·log|x|)`. The product is as large as 745, so the logarithm needs
//! some ten more bits than the type has: it is computed as the sum of two floats,
//! as are its leading terms. With `x = 2^k·(1 + f)` and `s = f/(2 + f)`,
//!
//! ```text
//! log x = k·ln 2 + 2·s + s³·T,   T = 2/3 + s²·(2/5 + s²·(2/7 + …))
//! ```
//!
//! where `s`, `s³` and `T` are pairs, and only the part of `T` in round brackets is
//! rounded to one float. Signs and the many special cases of C99 come last.

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, Var};

use super::exp::exp_of_sum;
use super::float::{Float, at_least, at_most, flip, polynomial, sign_of};
use super::log::Split;
use super::pair::Pair;

/// `(2·artanh s - 2·s - 2/3·s³)/s⁵` in powers of `s²`.
const ARTANH_F32: [f64; 3] = [0.4000016152858734, 0.2854613959789276, 0.23443157970905304];
const ARTANH_F64: [f64; 7] = [
    0.40000000000002595,
    0.2857142856992972,
    0.2222222255143817,
    0.18181781517639115,
    0.1538689231804221,
    0.1325359788226752,
    0.13226842228555208,
];

/// ln 2 in two pieces, the first so short that its product with `k` is exact.
const LN2_F32: [f64; 2] = [0.693145751953125, 1.428606765330187e-06];
const LN2_F64: [f64; 2] = [0.6931471805598903, 5.497923018708371e-14];

const TWO_THIRDS_F32: [f64; 2] = [0.6666666865348816, -1.9868215517249155e-08];
const TWO_THIRDS_F64: [f64; 2] = [0.6666666666666666, 3.700743415417188e-17];

/// `log x` of a positive, finite `x`.
fn log_pair(b: &mut NestBuilder, x: Var) -> Pair {
    let float = Float::of(b, x);
    let dtype = float.dtype;
    let Split { k, f } = Split::of(b, x, true);
    let (one, two) = (b.float(dtype, 1.0), b.float(dtype, 2.0));

    // s = f/(2 + f)
    let below = Pair::sum(b, two, f);
    let inverse = b.div(one, below.high);
    let high = b.mul(f, inverse);
    let minus = b.neg(high);
    let rest = b.fma(minus, below.high, f);
    let rest = b.fma(minus, below.low, rest);
    let s = Pair { high, low: b.mul(rest, inverse) };

    let s2 = s.times(b, s);
    let s3 = s2.times(b, s);
    let r = polynomial(b, s2.high, float.pick(&ARTANH_F32[..], &ARTANH_F64[..]));
    let [third, third_low] = float.pick(TWO_THIRDS_F32, TWO_THIRDS_F64).map(|c| b.float(dtype, c));
    let high = b.fma(s2.high, r, third);
    let kept = b.sub(third, high);
    let low = b.fma(s2.high, r, kept);
    let t = Pair { high, low: b.add(low, third_low) };
    let cubic = s3.times(b, t);

    let double = b.add(s.high, s.high);
    let m = Pair::sum(b, double, cubic.high);
    let low = b.fma(two, s.low, cubic.low);
    let low = b.add(m.low, low);
    let [ln2, ln2_low] = float.pick(LN2_F32, LN2_F64).map(|c| b.float(dtype, c));
    let whole = b.mul(k, ln2);
    let sum = Pair::sum(b, whole, m.high);
    let low = b.fma(k, ln2_low, low);
    Pair { high: sum.high, low: b.add(sum.low, low) }
}

/// `x^y`
pub(super) fn pow(b: &mut NestBuilder, x: Var, y: Var) -> Var {
    if let Some(c) = b.const_of(y)
        && let Some(power) = constant_power(b, x, c.to_f64())
    {
        return power;
    }
    let float = Float::of(b, x);
    let dtype = float.dtype;
    let (zero, one) = (b.float(dtype, 0.0), b.float(dtype, 1.0));
    let infinity = b.float(dtype, f64::INFINITY);
    let size = b.abs(x);

    let log = log_pair(b, size);
    // Exponents past these take all but 1 to 0 or ∞ just as well.
    let far = float.pick(2f64.powi(32), 2f64.powi(64));
    let finite_y = at_least(b, y, -far);
    let finite_y = at_most(b, finite_y, far);
    let high = b.mul(finite_y, log.high);
    let lost = b.neg(high);
    let lost = b.fma(finite_y, log.high, lost);
    let low = b.fma(finite_y, log.low, lost);
    // Less than the low part of ln 2 times 1100, unless the result is 0 or ∞.
    let most = float.pick(2f64.powi(-10), 2f64.powi(-30));
    let low = at_least(b, low, -most);
    let low = at_most(b, low, most);
    let power = exp_of_sum(b, high, low);

    // A negative number has integer powers only, with the sign of odd ones.
    let floor = b.floor(y);
    let integer = b.cmp(Cmp::Eq, floor, y);
    let half = b.float(dtype, 0.5);
    let half_y = b.mul(half, y);
    let half_floor = b.floor(half_y);
    let uneven = b.cmp(Cmp::Ne, half_floor, half_y);
    let odd = b.and(integer, uneven);
    let negative = b.cmp(Cmp::Lt, x, zero);
    let broken = b.not(integer);
    let undefined = b.and(negative, broken);
    let nan = b.float(dtype, f64::NAN);
    let power = b.select(undefined, nan, power);

    // 0 and ∞ to the power of y are 0 or ∞.
    let is_zero = b.cmp(Cmp::Eq, size, zero);
    let is_infinite = b.cmp(Cmp::Eq, size, infinity);
    let extreme = b.or(is_zero, is_infinite);
    let inverse = b.div(one, size);
    let falling = b.cmp(Cmp::Lt, y, zero);
    let limit = b.select(falling, inverse, size);
    let power = b.select(extreme, limit, power);

    let sign = sign_of(b, x);
    let plus = b.int(float.int, 0);
    let sign = b.select(odd, sign, plus);
    let power = flip(b, power, sign);

    let x_is_nan = b.cmp(Cmp::Ne, x, x);
    let power = b.select(x_is_nan, x, power);
    let y_is_nan = b.cmp(Cmp::Ne, y, y);
    let power = b.select(y_is_nan, y, power);
    let to_zero = b.cmp(Cmp::Eq, y, zero);
    let of_one = b.cmp(Cmp::Eq, x, one);
    let always_one = b.or(to_zero, of_one);
    b.select(always_one, one, power)
}

/// Powers that are a few operations.
fn constant_power(b: &mut NestBuilder, x: Var, y: f64) -> Option<Var> {
    let dtype = b.dtype(x);
    let one = b.float(dtype, 1.0);
    if y == 0.0 {
        Some(one)
    } else if y == 1.0 {
        Some(x)
    } else if y == 2.0 {
        Some(b.mul(x, x))
    } else if y == -1.0 {
        Some(b.div(one, x))
    } else if y == 0.5 {
        // The root of -0 is -0 and that of -∞ is NaN; the powers are 0 and ∞.
        let (zero, infinity) = (b.float(dtype, 0.0), b.float(dtype, f64::INFINITY));
        let least = b.float(dtype, f64::NEG_INFINITY);
        let root = b.sqrt(x);
        let root = b.add(root, zero);
        let is_least = b.cmp(Cmp::Eq, x, least);
        Some(b.select(is_least, infinity, root))
    } else {
        None
    }
}
