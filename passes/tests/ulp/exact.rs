//! What the exact results are, or as good as, and how far from them a number is.

use std::f64::consts::LN_2;

use astro_float_num::{BigFloat, Consts, RoundingMode};
use backstitch_ir::scalar::Scalar;

pub fn reference_f64(f: Scalar, x: f64, y: f64) -> f64 {
    match f {
        Scalar::Exp => x.exp(),
        Scalar::Expm1 => x.exp_m1(),
        Scalar::Log => x.ln(),
        Scalar::Log1p => x.ln_1p(),
        Scalar::Sin => x.sin(),
        Scalar::Cos => x.cos(),
        Scalar::Tan => x.tan(),
        Scalar::Tanh => x.tanh(),
        Scalar::Sigmoid if x < 0.0 => x.exp() / (1.0 + x.exp()),
        Scalar::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Scalar::Pow => x.powf(y),
        Scalar::Rsqrt => 1.0 / x.sqrt(),
        Scalar::Exp2 => x.exp2(),
        Scalar::Log2 => x.log2(),
        Scalar::Log10 => x.log10(),
        Scalar::Cbrt => x.cbrt(),
        Scalar::Hypot => x.hypot(y),
        Scalar::Asin => x.asin(),
        Scalar::Acos => x.acos(),
        Scalar::Atan => x.atan(),
        Scalar::Atan2 => x.atan2(y),
        Scalar::Sinh => x.sinh(),
        Scalar::Cosh => x.cosh(),
        // The library's overflows.
        Scalar::Asinh if x.abs() > 1e20 => x.signum() * (x.abs().ln() + LN_2),
        Scalar::Asinh => x.asinh(),
        // The library's loses digits near 1.
        Scalar::Acosh => 2.0 * ((x - 1.0) / 2.0).sqrt().asinh(),
        Scalar::Atanh => x.atanh(),
        other => panic!("no reference for {}", other.name()),
    }
}

/// Error of an `f32` in units in the last place; an infinite one counts as the
/// number after the largest.
pub fn error_f32(got: f32, want: f64) -> f64 {
    if want.is_nan() || got.is_nan() {
        return if want.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let clip = |x: f64| x.clamp(-(2f64.powi(128)), 2f64.powi(128));
    let (got, want) = (clip(got.into()), clip(want));
    let exponent = (want.abs().log2().floor() as i32).clamp(-126, 127);
    // The logarithm may be rounded up to the next binade; then the unit is less.
    let exponent = if 2f64.powi(exponent) > want.abs() { exponent - 1 } else { exponent };
    (got - want).abs() / 2f64.powi(exponent.max(-126) - 23)
}

const PRECISION: usize = 256;
const NEAREST: RoundingMode = RoundingMode::ToEven;

fn big(x: f64) -> BigFloat {
    if x.is_subnormal() {
        // The library takes subnormal numbers for normal ones.
        let scaled = BigFloat::from_f64(x * 2f64.powi(200), PRECISION);
        return scaled.mul(&BigFloat::from_f64(2f64.powi(-200), PRECISION), PRECISION, NEAREST);
    }
    BigFloat::from_f64(x, PRECISION)
}

/// The exact value, or as good as; `None` where it is not a finite number other
/// than 0.
pub fn reference_big(f: Scalar, x: f64, y: f64, consts: &mut Consts) -> Option<BigFloat> {
    let (p, rm) = (PRECISION, NEAREST);
    let (v, w, one) = (big(x), big(y), big(1.0));
    let tiny = x.abs() < 2f64.powi(-70);
    // x ± x²/2
    let parabola = |sign: f64| v.add(&v.mul(&v, p, rm).mul(&big(sign * 0.5), p, rm), p, rm);
    let sum = |a: &BigFloat| a.add(&one, p, rm);
    let value = match f {
        Scalar::Exp => v.exp(p, rm, consts),
        Scalar::Expm1 if tiny => parabola(1.0),
        Scalar::Expm1 => v.exp(p, rm, consts).sub(&one, p, rm),
        Scalar::Log => v.ln(p, rm, consts),
        Scalar::Log1p if tiny => parabola(-1.0),
        Scalar::Log1p => sum(&v).ln(p, rm, consts),
        Scalar::Sin | Scalar::Tan | Scalar::Tanh if tiny => v,
        Scalar::Cos if tiny => one,
        Scalar::Sin => v.sin(p, rm, consts),
        Scalar::Cos => v.cos(p, rm, consts),
        Scalar::Tan => v.sin(p, rm, consts).div(&v.cos(p, rm, consts), p, rm),
        Scalar::Tanh if x.abs() > 100.0 => big(x.signum()),
        Scalar::Tanh => v.tanh(p, rm, consts),
        Scalar::Sigmoid => one.div(&sum(&v.neg().exp(p, rm, consts)), p, rm),
        Scalar::Pow if x < 0.0 && y.fract() != 0.0 => return None,
        Scalar::Pow => {
            let log = big(x.abs()).ln(p, rm, consts);
            let size = log.mul(&big(y), p, rm).exp(p, rm, consts);
            if x < 0.0 && y % 2.0 != 0.0 { size.neg() } else { size }
        }
        Scalar::Rsqrt => one.div(&v.sqrt(p, rm), p, rm),
        Scalar::Exp2 => big(2.0).pow(&v, p, rm, consts),
        Scalar::Log2 => v.log2(p, rm, consts),
        Scalar::Log10 => v.log10(p, rm, consts),
        Scalar::Cbrt => v.cbrt(p, rm),
        Scalar::Hypot => {
            let (x2, y2) = (v.mul(&v, p, rm), w.mul(&w, p, rm));
            x2.add(&y2, p, rm).sqrt(p, rm)
        }
        Scalar::Asin | Scalar::Atan | Scalar::Sinh | Scalar::Asinh | Scalar::Atanh if tiny => v,
        Scalar::Cosh if tiny => one,
        Scalar::Asin => v.asin(p, rm, consts),
        Scalar::Acos => v.acos(p, rm, consts),
        Scalar::Atan => v.atan(p, rm, consts),
        Scalar::Atan2 => {
            let pi = consts.pi(p, rm);
            let angle = v.div(&w, p, rm).atan(p, rm, consts);
            match (y < 0.0, x < 0.0) {
                (false, _) => angle,
                (true, false) => angle.add(&pi, p, rm),
                (true, true) => angle.sub(&pi, p, rm),
            }
        }
        Scalar::Sinh => v.sinh(p, rm, consts),
        Scalar::Cosh => v.cosh(p, rm, consts),
        Scalar::Asinh => {
            let root = sum(&v.mul(&v, p, rm)).sqrt(p, rm);
            let size = v.abs().add(&root, p, rm).ln(p, rm, consts);
            if x < 0.0 { size.neg() } else { size }
        }
        Scalar::Acosh => {
            let root = v.mul(&v, p, rm).sub(&one, p, rm).sqrt(p, rm);
            v.add(&root, p, rm).ln(p, rm, consts)
        }
        Scalar::Atanh => {
            let quotient = sum(&v).div(&one.sub(&v, p, rm), p, rm);
            quotient.ln(p, rm, consts).mul(&big(0.5), p, rm)
        }
        other => panic!("no reference for {}", other.name()),
    };
    (!value.is_nan() && !value.is_inf() && !value.is_zero()).then_some(value)
}

/// Error of an `f64`. Infinity counts as the number after the largest.
pub fn error_f64(got: f64, want: &BigFloat) -> f64 {
    if got.is_nan() {
        return f64::INFINITY;
    }
    let got = if got.is_infinite() {
        big(got.signum()).mul(&big(2f64.powi(1023)), PRECISION, NEAREST).mul(
            &big(2.0),
            PRECISION,
            NEAREST,
        )
    } else {
        big(got)
    };
    // Exponents count from a mantissa in [½, 1).
    let exponent = want.exponent().unwrap_or(0);
    if exponent > 1024 {
        return if got.exponent() == Some(1025) { 0.0 } else { f64::INFINITY };
    }
    let unit = (exponent - 1).max(-1022) - 52;
    let error = got.sub(want, PRECISION, NEAREST);
    match error.as_raw_parts() {
        Some((digits, _, _, e, _)) if !error.is_zero() => {
            let top = *digits.last().unwrap() as f64 / 2f64.powi(64);
            top * 2f64.powi((e - unit).clamp(-1000, 1000))
        }
        _ => 0.0,
    }
}
