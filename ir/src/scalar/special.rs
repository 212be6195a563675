//! Meaning of the special functions, where the standard library has none.
//!
//! All is computed in `f64` and rounded to the type at hand. `erf`, `erfc` and
//! `lgamma` are those of the crate `libm`; the others are written from textbook
//! formulas (*NIST Digital Library of Mathematical Functions*, chapters 5, 7, 25),
//! not from those that compiled code uses, so that each checks the other.

use std::f64::consts::{FRAC_2_SQRT_PI, PI};

/// A float type that goes through `f64`.
pub(super) trait Narrow: Copy {
    fn wide(self) -> f64;
    fn narrow(x: f64) -> Self;
}

impl Narrow for f32 {
    fn wide(self) -> f64 {
        self.into()
    }

    fn narrow(x: f64) -> Self {
        x as Self
    }
}

impl Narrow for f64 {
    fn wide(self) -> f64 {
        self
    }

    fn narrow(x: f64) -> Self {
        x
    }
}

/// `f(x)`, computed in `f64`.
pub(super) fn through<T: Narrow>(f: fn(f64) -> f64, x: T) -> T {
    T::narrow(f(x.wide()))
}

/// The inverse of `erf`: ±∞ at ±1, NaN beyond.
///
/// A rough value (Winitzki's, from `log(1 - y²)`) and Newton's method with a
/// third-order correction. Above ½ it solves for `erfc`, which keeps its digits.
pub(super) fn erfinv(y: f64) -> f64 {
    let size = y.abs();
    if size >= 1.0 || size.is_nan() {
        return if size == 1.0 { y * f64::INFINITY } else { f64::NAN };
    }
    if size < 1e-9 {
        return y / FRAC_2_SQRT_PI;
    }
    let log = ((1.0 - size) * (1.0 + size)).ln();
    let a = 4.330_746_750_799_873 + 0.5 * log;
    let mut x = ((a * a - log / 0.147).sqrt() - a).sqrt();
    for _ in 0..4 {
        let excess = if size > 0.5 { (1.0 - size) - libm::erfc(x) } else { libm::erf(x) - size };
        let step = excess / (FRAC_2_SQRT_PI * (-x * x).exp());
        x -= step / (1.0 + x * step);
    }
    x.copysign(y)
}

/// `ψ⁽ᵏ⁾(x₀)/k!` for `k` from 1, at the positive zero `x₀` of digamma.
const AT_ZERO: [f64; 24] = [
    0.9676722454476212,
    -0.4427631689835921,
    0.258499760955651,
    -0.16394270544240652,
    0.10782405069126237,
    -0.07219956125645471,
    0.04880428816414311,
    -0.03316112647484736,
    0.022597648232218104,
    -0.01542476590494896,
    0.010538791616612175,
    -0.007204534386356869,
    0.004926781395729853,
    -0.003369801655439328,
    0.002305126326734928,
    -0.0015769367714301972,
    0.0010788252019162967,
    -0.0007380709389960052,
    0.000504953265834602,
    -0.0003454680251063077,
    0.00023635601564027053,
    -0.00016170622091974803,
    0.0001106337276874741,
    -7.569179582195066e-05,
];
/// `x₀`, in two pieces.
const ZERO: [f64; 2] = [1.461_632_144_968_362_3, 9.549_995_429_965_697e-17];
/// `B₂ⱼ/2j`
const DIGAMMA_TAIL: [f64; 8] = [
    0.08333333333333333,
    -0.008333333333333333,
    0.003968253968253968,
    -0.004166666666666667,
    0.007575757575757576,
    -0.021092796092796094,
    0.08333333333333333,
    -0.4432598039215686,
];

/// The derivative of `log Γ`. ∓∞ at ±0, NaN at the other poles and at -∞.
pub(super) fn digamma(x: f64) -> f64 {
    if x < 0.0 {
        let r = x - x.round_ties_even();
        return if r == 0.0 { f64::NAN } else { digamma(1.0 - x) - PI / (PI * r).tan() };
    }
    let away = (x - ZERO[0]) - ZERO[1];
    if away.abs() < 0.3 {
        return away * AT_ZERO.iter().rev().fold(0.0, |sum, c| sum * away + c);
    }
    let (mut x, mut sum) = (x, 0.0);
    while x < 10.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let u = 1.0 / (x * x);
    let tail = u * DIGAMMA_TAIL.iter().rev().fold(0.0, |sum, c| sum * u + c);
    sum + (x.ln() - 0.5 / x - tail)
}

/// `B₂ⱼ/(2j)!`
const EULER_MACLAURIN: [f64; 12] = [
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
    5.5090028283602295e-18,
    -1.3954464685812522e-19,
];

/// The derivative of digamma of order `n`, which is rounded to an integer.
///
/// For `x ≥ 0` it is `(-1)ⁿ⁺¹·n!·ζ(n + 1, x)`, where Hurwitz' zeta function is
/// summed as Euler and Maclaurin did. Below 0 the first order is reflected;
/// others are NaN, as are orders below 1.
pub(super) fn polygamma(n: f64, x: f64) -> f64 {
    let n = n.round_ties_even();
    if n < 1.0 || n.is_nan() || x.is_nan() || (x < 0.0 && n != 1.0) {
        return f64::NAN;
    }
    if x < 0.0 {
        let sine = (PI * (x - x.round_ties_even())).sin() / PI;
        return 1.0 / (sine * sine) - polygamma(n, 1.0 - x);
    }
    let s = n + 1.0;
    let sum: f64 = (0..10).map(|k| (x + f64::from(k)).powf(-s)).sum();
    let end = x + 10.0;
    let (mut tail, mut rising) = (1.0 / n + 0.5 / end, s);
    for (j, c) in (0u32..).zip(EULER_MACLAURIN) {
        let j = f64::from(2 * j);
        tail += c * rising * end.powf(-j - 2.0);
        rising *= (s + j + 1.0) * (s + j + 2.0);
    }
    let factorial: f64 = (1..=n.min(171.0) as u32).map(f64::from).product();
    let size = factorial * (sum + end.powf(-n) * tail);
    if n % 2.0 == 0.0 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() <= 4e-15 * want.abs(), "{got} is not {want}");
    }

    #[test]
    fn values_are_those_of_the_tables() {
        close(erfinv(1e-12), 8.86226925452758e-13);
        close(erfinv(0.3), 0.2724627147267543);
        close(erfinv(-0.75), -0.8134198475976185);
        close(erfinv(0.999999), 3.458910737275499);
        close(digamma(0.01), -100.56088545786868);
        close(digamma(1.0), -0.5772156649015329);
        close(digamma(1.46), -0.0015805619870834522);
        close(digamma(1.4616321449683622), -9.241265521729427e-17);
        close(digamma(4.5), 1.388870926359529);
        close(digamma(1000000.0), 13.815510057964191);
        close(digamma(-0.3), 2.113309779635399);
        close(digamma(-5.25), 4.892046180473529);
        close(polygamma(1.0, 0.5), 4.934802200544679);
        close(polygamma(1.0, 100.0), 0.010050166663333571);
        close(polygamma(1.0, -1.25), 19.181879647671607);
        close(polygamma(2.0, 0.7), -6.4349928741909235);
        close(polygamma(3.0, 12.5), 0.0011534128049134052);
        close(polygamma(7.0, 3.25), 0.4642352924265567);
        close(polygamma(20.0, 1.5), -487772949462609.9);
    }

    #[test]
    fn ends_and_poles() {
        assert_eq!(erfinv(1.0), f64::INFINITY);
        assert_eq!(erfinv(-1.0), f64::NEG_INFINITY);
        assert!(erfinv(1.5).is_nan() && erfinv(f64::NAN).is_nan());
        assert_eq!(digamma(0.0), f64::NEG_INFINITY);
        assert_eq!(digamma(-0.0), f64::INFINITY);
        assert_eq!(digamma(f64::INFINITY), f64::INFINITY);
        assert!(digamma(-2.0).is_nan() && digamma(f64::NEG_INFINITY).is_nan());
        assert_eq!(polygamma(1.0, -3.0), f64::INFINITY);
        assert_eq!(polygamma(2.0, 0.0), f64::NEG_INFINITY);
        assert_eq!(polygamma(2.0, f64::INFINITY), -0.0);
        assert!(polygamma(0.0, 1.0).is_nan() && polygamma(2.0, -0.5).is_nan());
    }
}
