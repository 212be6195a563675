//! `lgamma`, `digamma`, `polygamma`.
//!
//! For positive `x`, `lgamma` and `digamma` are Stirling's series from 2.5 and 3 on,
//! with a quotient of polynomials in `1/x²` for its tail, which holds as far down.
//! Below, where both cross 0, what is left when their zeros are divided out is a
//! quotient of polynomials in `x`; close to 0 the argument is moved up by 1.
//!
//! Below 0, `lgamma` and `digamma` are reflected: `Γ(x)·Γ(1 - x) = π/sin πx`.
//! There both cross 0 in each unit interval, and next to these zeros only the
//! absolute error is small.
//!
//! `polygamma` of order `n` is `n!` times Hurwitz' `ζ(s, x)`, `s = n + 1`, up to sign.
//! It is summed by Euler and Maclaurin's formula: some terms as they are, the
//! rest as an integral with corrections (DLMF 25.11.28). Where the order is a
//! constant, as it is in all derivatives, its powers are products.
//!
//! All goes through `f64`; `f32` takes shorter polynomials and fewer terms.

use std::f64::consts::PI;

use backstitch_ir::DType;
use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, Var};

use super::exp::exp;
use super::float::{Quotient, Width, polynomial, through_double};
use super::log::log;
use super::pow::pow;

/// `lgamma x/((x - 1)·(x - 2))` in `x - 1`, for 0.75 ≤ x ≤ 2.5.
const LGAMMA_CENTRE_F32: Quotient = Quotient {
    above: &[
        0.5772156650402183,
        0.913129933729987,
        0.4193962047103334,
        0.052866293431856975,
        0.0005013598086699959,
    ],
    below: &[1.0, 2.0068431469761263, 1.3099834842566687, 0.30726107651748313, 0.01920035622693823],
};
const LGAMMA_CENTRE_F64: Quotient = Quotient {
    above: &[
        0.5772156649015329,
        1.7154699018099857,
        1.950969682401806,
        1.0621862622618927,
        0.282533264680307,
        0.033200084866973095,
        0.0012704422274615664,
        3.5942770120418215e-06,
    ],
    below: &[
        1.0,
        3.3968608088053966,
        4.553965421271999,
        3.0598796913106012,
        1.0811010193372663,
        0.19247555380874437,
        0.014940398916257838,
        0.0003448308775532477,
    ],
};

/// `(lgamma x - (x - ½)·log x + x - ½·log 2π)·x` in `1/x²`, for x ≥ 2.5.
const STIRLING_F32: Quotient = Quotient {
    above: &[0.08333333222320545, 0.05032835195762719, -0.0009840776459561931],
    below: &[1.0, 0.6372708574555853],
};
const STIRLING_F64: Quotient = Quotient {
    above: &[
        0.08333333333333325,
        0.8263412497382328,
        2.19052460584177,
        1.673339310699347,
        0.2493186494182304,
        -0.002515905828634511,
    ],
    below: &[1.0, 9.949428330190823, 26.608419071871463, 20.879405401531727, 3.49535808788489],
};

/// The positive zero of digamma, in two pieces.
const ZERO: [f64; 2] = [1.4616321449683622, 9.549995429965697e-17];

/// `digamma x/(x - zero)` in `x - zero`, for 1 ≤ x ≤ 3.
const PSI_CENTRE_F32: Quotient = Quotient {
    above: &[
        0.9676722454425849,
        0.8790164328762764,
        0.22908233679344145,
        0.016476304607971323,
        7.892627021402642e-05,
    ],
    below: &[
        1.0,
        1.3659372874113294,
        0.5945910925612633,
        0.09361390731420817,
        0.004069011616307194,
    ],
};
const PSI_CENTRE_F64: Quotient = Quotient {
    above: &[
        0.9676722454476212,
        1.1852184186278258,
        0.5167990497045379,
        0.09824702008058385,
        0.00785812852512703,
        0.00020109390829106037,
        3.329676108786952e-07,
    ],
    below: &[
        1.0,
        1.6823687930187088,
        1.0367045574205782,
        0.29587744319279224,
        0.04016021292328807,
        0.0023336432837374995,
        4.076085853878657e-05,
    ],
};

/// `(log x - 1/(2x) - digamma x)·x²` in `1/x²`, for x ≥ 3.
const PSI_FAR_F32: Quotient = Quotient {
    above: &[0.08333325935073499, 0.028218961746330765],
    below: &[1.0, 0.43848178150185363],
};
const PSI_FAR_F64: Quotient = Quotient {
    above: &[
        0.08333333333333326,
        1.0437816439448735,
        3.558518730399508,
        3.5577701319529247,
        0.6797357344028124,
        -0.017586261764852475,
    ],
    below: &[1.0, 12.625379727336778, 43.917143690445144, 46.53374732509509, 11.259275676286821],
};

/// `(sin πr/r - π)/r²` in powers of `r²`, for |r| ≤ ½.
const SIN_F32: [f64; 5] = [
    -5.167712779186312,
    2.550163867104827,
    -0.5992589937336754,
    0.08208371776286144,
    -0.007084488778956108,
];
const SIN_F64: [f64; 8] = [
    -5.16771278004997,
    2.55016403987734,
    -0.599264529320343,
    0.08214588659675232,
    -0.007370430719634586,
    0.00046630087411496363,
    -2.1906201655131958e-05,
    7.725743030789876e-07,
];

/// `B₂ⱼ/(2j)!`
const EULER_MACLAURIN: [f64; 10] = [
    0.08333333333333333,
    -0.001388888888888889,
    3.306878306878307e-05,
    -8.267195767195768e-07,
    2.08767569878681e-08,
    -5.284190138687493e-10,
    1.3382536530684679e-11,
    -3.3896802963225827e-13,
    8.586062056277845e-15,
    -2.174868698558062e-16,
];

/// `log |Γ(x)|`
pub(super) fn lgamma(b: &mut NestBuilder, x: Var) -> Var {
    through_double(b, x, lgamma_double)
}

fn lgamma_double(b: &mut NestBuilder, x: Var, width: Width) -> Var {
    let dtype = DType::F64;
    let (zero, one) = (b.float(dtype, 0.0), b.float(dtype, 1.0));
    let (half, two) = (b.float(dtype, 0.5), b.float(dtype, 2.0));
    let infinity = b.float(dtype, f64::INFINITY);
    let size = b.abs(x);
    let log_size = log(b, size);

    // From 2.5 on: (x - ½)·(log x - 1) + ½·log 2π - ½ + …
    let inverse = b.div(one, size);
    let u = b.mul(inverse, inverse);
    let tail = width.pick(STIRLING_F32, STIRLING_F64).at(b, u);
    let constant = b.float(dtype, 0.418_938_533_204_672_7);
    let tail = b.fma(tail, inverse, constant);
    let factor = b.sub(size, half);
    let less = b.sub(log_size, one);
    let far = b.fma(factor, less, tail);

    // Below: (z - 1)·(z - 2)·…, at z = x or x + 1.
    let low = b.float(dtype, 0.75);
    let moved = b.cmp(Cmp::Lt, size, low);
    let up = b.add(size, one);
    let z = b.select(moved, up, size);
    let (first, second) = (b.sub(z, one), b.sub(z, two));
    let centre = width.pick(LGAMMA_CENTRE_F32, LGAMMA_CENTRE_F64).at(b, first);
    let zeros = b.mul(first, second);
    // The zero on the right is positive, and so are those at 1 and 2.
    let minus = b.neg(log_size);
    let taken = b.select(moved, minus, zero);
    let near = b.fma(zeros, centre, taken);
    let high = b.float(dtype, 2.5);
    let is_near = b.cmp(Cmp::Lt, size, high);
    let right = b.select(is_near, near, far);
    // Of ∞ it was ∞ - ∞ or NaN.
    let is_infinite = b.cmp(Cmp::Eq, size, infinity);
    let right = b.select(is_infinite, infinity, right);

    // Of -a it is log(π/|sin πa|) - log a - lgamma a.
    let r = off_integer(b, size);
    let r = b.abs(r);
    let sine = sin_pi(b, r, width);
    let pi = b.float(dtype, PI);
    let ratio = b.div(pi, sine);
    let left = log(b, ratio);
    let left = b.sub(left, log_size);
    let left = b.sub(left, right);
    // ∞ at the poles, and at -∞.
    let regular = b.cmp(Cmp::Gt, r, zero);
    let left = b.select(regular, left, infinity);
    let negative = b.cmp(Cmp::Lt, x, zero);
    b.select(negative, left, right)
}

/// The derivative of `log Γ`: ∓∞ at ±0, NaN at the other poles.
pub(super) fn digamma(b: &mut NestBuilder, x: Var) -> Var {
    through_double(b, x, digamma_double)
}

fn digamma_double(b: &mut NestBuilder, x: Var, width: Width) -> Var {
    let dtype = DType::F64;
    let (zero, half, one) = (b.float(dtype, 0.0), b.float(dtype, 0.5), b.float(dtype, 1.0));
    // digamma x = digamma (1 - x) - π·cot πx
    let negative = b.cmp(Cmp::Lt, x, zero);
    let mirrored = b.sub(one, x);
    let a = b.select(negative, mirrored, x);
    let inverse = b.div(one, a);

    // From 3 on: log a - 1/(2a) - …
    let u = b.mul(inverse, inverse);
    let tail = width.pick(PSI_FAR_F32, PSI_FAR_F64).at(b, u);
    let log = log(b, a);
    let tail = b.mul(u, tail);
    let tail = b.fma(half, inverse, tail);
    let far = b.sub(log, tail);

    let moved = b.cmp(Cmp::Lt, a, one);
    let up = b.add(a, one);
    let z = b.select(moved, up, a);
    let [first, second] = ZERO.map(|c| b.float(dtype, c));
    let away = b.sub(z, first);
    let away = b.sub(away, second);
    let centre = width.pick(PSI_CENTRE_F32, PSI_CENTRE_F64).at(b, away);
    let taken = b.select(moved, inverse, zero);
    let minus = b.neg(taken);
    let near = b.fma(away, centre, minus);
    let three = b.float(dtype, 3.0);
    let is_near = b.cmp(Cmp::Lt, a, three);
    let right = b.select(is_near, near, far);

    // cot πr = sin π(½ - |r|)/sin πr
    let r = off_integer(b, x);
    let size = b.abs(r);
    let quarter = b.sub(half, size);
    let cosine = sin_pi(b, quarter, width);
    let sine = sin_pi(b, r, width);
    let cotangent = b.div(cosine, sine);
    let minus_pi = b.float(dtype, -PI);
    let left = b.fma(minus_pi, cotangent, right);
    let nan = b.float(dtype, f64::NAN);
    let pole = b.cmp(Cmp::Eq, r, zero);
    let left = b.select(pole, nan, left);
    b.select(negative, left, right)
}

/// `x` less the integer next to it.
fn off_integer(b: &mut NestBuilder, x: Var) -> Var {
    let nearest = b.nearest(x);
    b.sub(x, nearest)
}

/// `sin πr` for |r| ≤ ½.
fn sin_pi(b: &mut NestBuilder, r: Var, width: Width) -> Var {
    let pi = b.float(DType::F64, PI);
    let r2 = b.mul(r, r);
    let tail = polynomial(b, r2, width.pick(&SIN_F32[..], &SIN_F64[..]));
    let factor = b.fma(r2, tail, pi);
    b.mul(r, factor)
}

/// The order of a derivative.
enum Order {
    /// A constant, from 1 to 170.
    Known(u32),
    /// A variable that holds an integer.
    Variable(Var),
}

impl Order {
    fn of(b: &mut NestBuilder, n: Var) -> Self {
        let known = b.const_of(n).map(|c| c.to_f64().round_ties_even());
        match known.filter(|n| (1.0..=170.0).contains(n)) {
            Some(n) => Self::Known(n as u32),
            None => {
                let n = b.convert(n, DType::F64);
                Self::Variable(b.nearest(n))
            }
        }
    }

    /// `n + more` as a number.
    fn plus(&self, b: &mut NestBuilder, more: u32) -> Var {
        match *self {
            Self::Known(n) => b.float(DType::F64, f64::from(n + more)),
            Self::Variable(n) => {
                let more = b.float(DType::F64, more.into());
                b.add(n, more)
            }
        }
    }

    /// `x` to the power of `n + more`.
    fn power(&self, b: &mut NestBuilder, x: Var, more: u32) -> Var {
        match *self {
            Self::Known(n) => integer_power(b, x, n + more),
            Self::Variable(_) => {
                let exponent = self.plus(b, more);
                pow(b, x, exponent)
            }
        }
    }

    /// The corrections' coefficients, `B₂ⱼ/(2j)!·s·(s + 1)···(s + 2j - 2)`.
    fn corrections(&self, b: &mut NestBuilder, terms: usize) -> Vec<Var> {
        let mut numbers = vec![];
        if let Self::Known(n) = *self {
            let mut rising = f64::from(n + 1);
            for (j, c) in (0u32..).zip(&EULER_MACLAURIN[..terms]) {
                numbers.push(b.float(DType::F64, c * rising));
                rising *= f64::from(n + 2 * j + 2) * f64::from(n + 2 * j + 3);
            }
            return numbers;
        }
        let mut rising = self.plus(b, 1);
        for (j, &c) in (0u32..).zip(&EULER_MACLAURIN[..terms]) {
            let c = b.float(DType::F64, c);
            numbers.push(b.mul(c, rising));
            for more in [2 * j + 2, 2 * j + 3] {
                let factor = self.plus(b, more);
                rising = b.mul(rising, factor);
            }
        }
        numbers
    }

    /// `(-1)ⁿ⁺¹·n!`
    fn signed_factorial(&self, b: &mut NestBuilder) -> Var {
        match *self {
            Self::Known(n) => {
                let size: f64 = (1..=n).map(f64::from).product();
                b.float(DType::F64, if n % 2 == 0 { -size } else { size })
            }
            Self::Variable(n) => {
                let up = self.plus(b, 1);
                let log = lgamma_double(b, up, Width::Double);
                let size = exp(b, log);
                let minus = b.neg(size);
                let half = b.float(DType::F64, 0.5);
                let half_n = b.mul(half, n);
                let floor = b.floor(half_n);
                let even = b.cmp(Cmp::Eq, floor, half_n);
                b.select(even, minus, size)
            }
        }
    }
}

/// `x` to the power of a positive integer.
fn integer_power(b: &mut NestBuilder, x: Var, n: u32) -> Var {
    let (mut square, mut rest, mut power) = (x, n, None);
    loop {
        if rest % 2 == 1 {
            power = Some(power.map_or(square, |p| b.mul(p, square)));
        }
        rest /= 2;
        match power {
            Some(power) if rest == 0 => return power,
            _ => square = b.mul(square, square),
        }
    }
}

/// The derivative of digamma of order `n`, rounded to an integer; NaN for orders
/// below 1. Left of 0, order 1 is reflected and others are NaN.
pub(super) fn polygamma(b: &mut NestBuilder, n: Var, x: Var) -> Var {
    let order = Order::of(b, n);
    through_double(b, x, |b, x, width| polygamma_double(b, &order, x, width))
}

fn polygamma_double(b: &mut NestBuilder, order: &Order, x: Var, width: Width) -> Var {
    let dtype = DType::F64;
    let (zero, one) = (b.float(dtype, 0.0), b.float(dtype, 1.0));
    let negative = b.cmp(Cmp::Lt, x, zero);
    // trigamma x = (π/sin πx)² - trigamma (1 - x)
    let mirrored = b.sub(one, x);
    let a = b.select(negative, mirrored, x);
    let right = right_polygamma(b, order, a, width);

    let nan = b.float(dtype, f64::NAN);
    if let Order::Known(n) = *order
        && n != 1
    {
        return b.select(negative, nan, right);
    }
    let r = off_integer(b, x);
    let sine = sin_pi(b, r, width);
    let pi = b.float(dtype, PI);
    let ratio = b.div(pi, sine);
    let square = b.mul(ratio, ratio);
    let left = b.sub(square, right);
    let y = b.select(negative, left, right);
    let Order::Variable(n) = *order else { return y };
    let above = b.cmp(Cmp::Gt, n, one);
    let nowhere = b.and(above, negative);
    let y = b.select(nowhere, nan, y);
    let defined = b.cmp(Cmp::Ge, n, one);
    b.select(defined, y, nan)
}

/// Right of 0.
fn right_polygamma(b: &mut NestBuilder, order: &Order, x: Var, width: Width) -> Var {
    let dtype = DType::F64;
    let one = b.float(dtype, 1.0);
    let (count, terms) = width.pick((6, 5), (10, 10));
    let mut sum = None;
    for k in 0..count {
        let k = b.float(dtype, k.into());
        let at = b.add(x, k);
        let inverse = b.div(one, at);
        let term = order.power(b, inverse, 1);
        sum = Some(sum.map_or(term, |sum| b.add(sum, term)));
    }
    let sum = sum.expect("there are terms");
    // t = 1/(x + count): tⁿ·(1/n + t/2 + t²·…)
    let count = b.float(dtype, count.into());
    let end = b.add(x, count);
    let t = b.div(one, end);
    let t2 = b.mul(t, t);
    let mut corrections = order.corrections(b, terms).into_iter().rev();
    let mut tail = corrections.next().expect("there are corrections");
    for c in corrections {
        tail = b.fma(tail, t2, c);
    }
    let half = b.float(dtype, 0.5);
    let tail = b.fma(tail, t, half);
    let n = order.plus(b, 0);
    let first = b.div(one, n);
    let tail = b.fma(tail, t, first);
    let power = order.power(b, t, 0);
    let zeta = b.fma(power, tail, sum);
    let factorial = order.signed_factorial(b);
    b.mul(factorial, zeta)
}
