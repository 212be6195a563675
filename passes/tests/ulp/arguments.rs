//! Arguments of all exponents, and more where something happens.

use std::f64::consts::{FRAC_PI_2, PI};

use backstitch_ir::DType;
use backstitch_ir::scalar::Scalar;
use backstitch_passes::math::trig_limit;

/// A generator of pseudo-random bits.
pub struct Bits(pub u64);

impl Bits {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / 2f64.powi(53)
    }

    fn between(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * self.unit()
    }
}

fn is_trig(f: Scalar) -> bool {
    matches!(f, Scalar::Sin | Scalar::Cos | Scalar::Tan)
}

/// Where something happens, besides everywhere.
fn ranges(f: Scalar, dtype: DType) -> Vec<(f64, f64)> {
    let single = dtype == DType::F32;
    let (under, over) = if single { (-104.5, 89.0) } else { (-746.0, 710.0) };
    match f {
        Scalar::Exp | Scalar::Sigmoid => vec![(-2.0, 2.0), (under, over), (under, under * 0.8)],
        Scalar::Expm1 => vec![(-2.0, 2.0), (-50.0, over), (0.3, 0.5)],
        Scalar::Log => vec![(0.0, 4.0), (0.9, 1.1), (0.7, 0.72), (1.41, 1.42)],
        Scalar::Log1p => vec![(-1.0, 3.0), (-0.1, 0.1), (0.4, 0.42), (-0.3, -0.29)],
        Scalar::Sin | Scalar::Cos | Scalar::Tan => {
            let limit = trig_limit(dtype);
            vec![(-PI, PI), (-100.0, 100.0), (-limit, limit), (1.5, 1.65), (3.1, 3.2)]
        }
        Scalar::Tanh => vec![(-1.0, 1.0), (-10.0, 10.0), (0.5, 0.6), (-25.0, 25.0)],
        Scalar::Exp2 if single => vec![(-2.0, 2.0), (-150.5, 128.5), (-150.5, -125.0)],
        Scalar::Exp2 => vec![(-2.0, 2.0), (-1075.5, 1024.5), (-1075.5, -1020.0)],
        Scalar::Log2 | Scalar::Log10 => vec![(0.0, 4.0), (0.9, 1.1), (0.7, 0.72), (1.41, 1.42)],
        Scalar::Asin | Scalar::Acos => {
            vec![(-1.0, 1.0), (-1.001, -0.999), (0.999, 1.001), (0.4, 0.6), (-0.6, -0.4)]
        }
        Scalar::Atan => vec![(-3.0, 3.0), (0.4, 0.6), (0.9, 1.1), (1.9, 2.1)],
        Scalar::Sinh | Scalar::Cosh => vec![(-2.0, 2.0), (0.3, 0.4), (-over, over + 1.0)],
        Scalar::Asinh => vec![(-4.0, 4.0), (-0.02, 0.02), (0.6, 0.9)],
        Scalar::Acosh => vec![(1.0, 1.001), (1.0, 3.0), (1.0, 1e7)],
        Scalar::Atanh => vec![(-1.0, 1.0), (-0.02, 0.02), (0.3, 0.4), (0.999, 1.0)],
        _ => vec![(0.0, 2.0)],
    }
}

/// `count` arguments: a third of them any bits at all.
pub fn arguments(f: Scalar, dtype: DType, count: usize) -> Vec<f64> {
    let mut bits = Bits(0x9E37_79B9_7F4A_7C15);
    let mut xs = vec![];
    for i in 0..count as u64 / 3 {
        xs.push(match dtype {
            // Evenly over all bit patterns.
            DType::F32 => {
                let step = (u64::from(u32::MAX) * 3) / count as u64;
                f32::from_bits((i * step + bits.next() % step) as u32).into()
            }
            _ => f64::from_bits(bits.next()),
        });
    }
    // Evenly over the exponents near 1.
    for _ in 0..count / 3 {
        let size = 2f64.powf(bits.between(-30.0, 10.0));
        xs.push(if bits.next().is_multiple_of(2) { size } else { -size });
    }
    let ranges = ranges(f, dtype);
    for (lo, hi) in &ranges {
        xs.extend((0..count / 3 / ranges.len()).map(|_| bits.between(*lo, *hi)));
    }
    if is_trig(f) {
        let limit = trig_limit(dtype);
        // Next to the zeros of sine and cosine.
        for _ in 0..count / 20 {
            xs.push((bits.between(0.0, limit / FRAC_PI_2).floor() * FRAC_PI_2).min(limit));
        }
        xs.retain(|x| x.abs() <= limit);
    }
    xs
}

/// Bases and exponents whose power is mostly finite.
pub fn power_arguments(dtype: DType, count: usize) -> (Vec<f64>, Vec<f64>) {
    let mut bits = Bits(88_172_645_463_325_252);
    let (reach, most) = if dtype == DType::F32 { (140.0, 150.0) } else { (1050.0, 1080.0) };
    let pair = |i| {
        let x = match i % 3 {
            0 => bits.between(0.5, 2.0),
            1 => 1.0 + bits.between(-0.01, 0.01),
            _ => 2f64.powf(bits.between(-reach, reach)),
        };
        let x = if dtype == DType::F32 { f64::from(x as f32) } else { x };
        let log = x.log2().abs().max(1e-9);
        let y = bits.between(-most, most) / log;
        match i % 5 {
            0 => (-x, y.round()),
            1 => (x, (bits.between(-40.0, 40.0)).round() / 2.0),
            _ => (x, y),
        }
    };
    (0..count).map(pair).unzip()
}

/// Points of the plane: of all sizes, near each other's size, and near the lines
/// where a function changes its formula.
pub fn plane_arguments(dtype: DType, count: usize) -> (Vec<f64>, Vec<f64>) {
    let mut bits = Bits(0xA076_1D64_78BD_642F);
    let reach = if dtype == DType::F32 { 149.0 } else { 1074.0 };
    let pair = |i| {
        let size = 2f64.powf(bits.between(-reach, reach * 0.85));
        let ratio = match i % 4 {
            0 => 2f64.powf(bits.between(-40.0, 40.0)),
            1 => bits.between(0.4, 0.6),
            2 => bits.between(0.9, 1.1),
            _ => bits.between(0.0, 4.0),
        };
        let sign = |bit: u64| if bit & 1 == 0 { 1.0 } else { -1.0 };
        let signs = bits.next();
        (size * sign(signs), size * ratio * sign(signs >> 1))
    };
    (0..count).map(pair).unzip()
}
