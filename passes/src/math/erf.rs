//! `erf`, `erfc`, `erfinv`.
//!
//! Up to 1, `erf x = x + x·P(x²)`. Beyond, `e^(x²)·erfc x` is smooth, and falls like
//! `1/x`: it is a polynomial in `q = (x - 3)/(x + 3)`, which brings all
//! of the half-axis within [-1, 1] (J. L. Schonfelder, *Chebyshev Expansions for the
//! Error and Related Functions*, 1978). `erfc` divides `1 + 2x` out of it first, and
//! the square in its exponent is exact, so that all digits are right until
//! it underflows.
//!
//! `erfinv y` is `y` times a quotient of polynomials in `y²` up to √½, and one in
//! `√-log((1 - y)/2)` beyond. `f32` goes through `f64`.

use backstitch_ir::DType;
use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, Var};

use super::exp::{exp, exp_of_sum_times};
use super::float::{Float, Quotient, Width, at_most, flip, polynomial, sign_of, through_double};
use super::log::log;

/// `erf x / x - 1` in powers of `x²`, for |x| ≤ 1.
const SMALL_F32: [f64; 7] = [
    0.12837916584835093,
    -0.37612626666720334,
    0.11283594715160218,
    -0.026854212010626412,
    0.005189087423433974,
    -0.000801686428716587,
    7.875875062685488e-05,
];
const SMALL_F64: [f64; 12] = [
    0.12837916709551256,
    -0.37612638903183543,
    0.11283791670945006,
    -0.02686617064323777,
    0.0052239776071164225,
    -0.0008548325975389692,
    0.00012055294904839707,
    -1.492473690741966e-05,
    1.6447424703317362e-06,
    -1.6208483801871705e-07,
    1.3720064546777686e-08,
    -7.795898827002142e-10,
];

/// `e^(x²)·erfc x` in powers of `q`, for 1 ≤ x ≤ 4 (`f32`) or 6 (`f64`).
const TAIL_F32: [f64; 7] = [
    0.17900114450585103,
    -0.32623367423291655,
    0.24560599224302346,
    -0.15009834297159,
    0.07160350390773605,
    -0.02507963778089453,
    0.002742749070858971,
];
const TAIL_F64: [f64; 15] = [
    0.17900115118138996,
    -0.32623356004303716,
    0.24560380171233195,
    -0.15011593650078744,
    0.07166583719774874,
    -0.024392499318273194,
    0.004269136347508256,
    0.0007077464443901538,
    -0.0005970623517093284,
    4.525472635483354e-05,
    6.406182073530546e-05,
    -1.284889451252353e-05,
    -8.008021319412685e-06,
    2.023603179641757e-06,
    1.2801900862962662e-06,
];

/// `e^(x²)·erfc x·(1 + 2x)` in powers of `q`, for 1 ≤ x ≤ 10.5 (`f32`) or 27.5 (`f64`).
const SCALED_F32: [f64; 9] = [
    1.2530080541461786,
    -0.13562096925424683,
    -0.04756168532977573,
    0.12963854852481568,
    -0.11928733429488778,
    0.06839573523940362,
    -0.02367208113730164,
    0.002088345720095514,
    0.0016481141996329432,
];
const SCALED_F64: [f64; 19] = [
    1.2530080582697298,
    -0.1356211061245819,
    -0.04756229435348987,
    0.12964515870288965,
    -0.11927366341247476,
    0.06830802733646804,
    -0.023770514995562573,
    0.002529392019184092,
    0.0018886913466416317,
    -0.000779835183548546,
    -0.00010516604094801024,
    0.0001251226444446015,
    4.9646653541235275e-06,
    -2.0203838378985548e-05,
    -7.053897433073137e-07,
    3.7026745593888024e-06,
    1.4660635681150376e-07,
    -7.853851709845411e-07,
    1.775154540581026e-07,
];

/// `erfinv y / y` for y² ≤ ½, a quotient in `½ - y²`.
const CENTRE_F32: Quotient = Quotient {
    above: &[1.05179585798818, 2.399648945320183, 1.2396625307520894, 0.08335656760597694],
    below: &[1.0, 2.746478508025528, 1.9660879928689021, 0.29903832606237574],
};
const CENTRE_F64: Quotient = Quotient {
    above: &[
        1.051795860165225,
        5.691540862764617,
        11.477031971965044,
        10.647718101855506,
        4.519643924129329,
        0.7435321895291103,
        0.026243872355146455,
        -0.00027839023901709745,
    ],
    below: &[
        1.0,
        5.876261079900613,
        13.154654253091723,
        14.013539679756251,
        7.230378606310835,
        1.621054918477915,
        0.11224578995748608,
    ],
};

/// `erfinv y` beyond, a quotient in `√-log((1 - y)/2)`.
const TAIL_INVERSE_F32: Quotient = Quotient {
    above: &[
        -2.1912536141600367,
        -6.113694412274247,
        4.490886530239397,
        6.411217107923432,
        0.9755266245304115,
    ],
    below: &[1.0, 6.5585212062885665, 6.437904744251356, 0.9750711127216168],
};
const TAIL_INVERSE_F64: Quotient = Quotient {
    above: &[
        -2.5478160356953827,
        -28.730118590334055,
        -44.97663900042335,
        23.923861965086346,
        57.31329164929538,
        31.866549665196004,
        9.556450538104949,
        1.295945529242503,
        0.05054759508940177,
    ],
    below: &[
        1.0,
        18.409394266804718,
        64.16831206884908,
        71.16250954862346,
        34.32866616821012,
        9.692665912360248,
        1.2964717278600555,
        0.050542238521632164,
        4.1518249137729044e-08,
    ],
};

/// `(x - 3)/(x + 3)`
fn halfway(b: &mut NestBuilder, x: Var) -> Var {
    let three = b.float(b.dtype(x), 3.0);
    let (above, below) = (b.sub(x, three), b.add(x, three));
    b.div(above, below)
}

/// `erf x / x - 1` for |x| ≤ 1.
fn small(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let square = b.mul(x, x);
    polynomial(b, square, float.pick(&SMALL_F32[..], &SMALL_F64[..]))
}

/// The error function.
pub(super) fn erf(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let one = b.float(float.dtype, 1.0);
    let tail = small(b, x);
    let near = b.fma(x, tail, x);
    // From here on it is 1.
    let size = b.abs(x);
    let size = at_most(b, size, float.pick(4.0, 6.0));
    let q = halfway(b, size);
    let p = polynomial(b, q, float.pick(&TAIL_F32[..], &TAIL_F64[..]));
    let minus = b.neg(size);
    let exponent = b.mul(minus, size);
    let e = exp(b, exponent);
    let minus = b.neg(p);
    let far = b.fma(minus, e, one);
    let sign = sign_of(b, x);
    let far = flip(b, far, sign);
    let is_near = b.cmp(Cmp::Lt, size, one);
    b.select(is_near, near, far)
}

/// `1 - erf x`
pub(super) fn erfc(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let dtype = float.dtype;
    let (zero, one, two) = (b.float(dtype, 0.0), b.float(dtype, 1.0), b.float(dtype, 2.0));
    // From here on it is 0.
    let size = b.abs(x);
    let size = at_most(b, size, float.pick(10.5, 27.5));
    let q = halfway(b, size);
    let p = polynomial(b, q, float.pick(&SCALED_F32[..], &SCALED_F64[..]));
    let below = b.fma(two, size, one);
    let p = b.div(p, below);
    let minus = b.neg(size);
    let high = b.mul(minus, size);
    let less = b.neg(high);
    let low = b.fma(minus, size, less);
    let right = exp_of_sum_times(b, high, low, p);
    let left = b.sub(two, right);
    let negative = b.cmp(Cmp::Lt, x, zero);
    let far = b.select(negative, left, right);
    // (1 - x) - x·P(x²)
    let tail = small(b, x);
    let rest = b.sub(one, x);
    let minus = b.neg(x);
    let near = b.fma(minus, tail, rest);
    let is_near = b.cmp(Cmp::Lt, size, one);
    b.select(is_near, near, far)
}

/// The inverse of `erf`.
pub(super) fn erfinv(b: &mut NestBuilder, y: Var) -> Var {
    through_double(b, y, erfinv_double)
}

fn erfinv_double(b: &mut NestBuilder, y: Var, width: Width) -> Var {
    let dtype = DType::F64;
    let (half, one) = (b.float(dtype, 0.5), b.float(dtype, 1.0));
    let sign = sign_of(b, y);
    let size = b.abs(y);
    let square = b.mul(y, y);
    let away = b.sub(half, square);
    let (near, near_below) = width.pick(CENTRE_F32, CENTRE_F64).parts(b, away);
    let near = b.mul(near, size);

    let rest = b.sub(one, size);
    let rest = b.mul(rest, half);
    let log = log(b, rest);
    let log = b.neg(log);
    let root = b.sqrt(log);
    // It is ∞ at 1, which is put right below.
    let root = at_most(b, root, 7.0);
    let (far, far_below) = width.pick(TAIL_INVERSE_F32, TAIL_INVERSE_F64).parts(b, root);

    let is_near = b.cmp(Cmp::Lt, square, half);
    let above = b.select(is_near, near, far);
    let below = b.select(is_near, near_below, far_below);
    let x = b.div(above, below);
    let infinity = b.float(dtype, f64::INFINITY);
    let at_end = b.cmp(Cmp::Eq, size, one);
    let x = b.select(at_end, infinity, x);
    flip(b, x, sign)
}
