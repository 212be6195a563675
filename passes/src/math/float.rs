//! The layout of floats, and the few idioms that all functions use.

use std::f64::consts::LN_2;

use backstitch_ir::DType;
use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, Const, Var};

/// The layout of a float type.
#[derive(Clone, Copy)]
pub(super) struct Float {
    /// The type.
    pub dtype: DType,
    /// The integer of the same size.
    pub int: DType,
    /// Bits of the mantissa that are stored.
    pub mantissa: u32,
    /// Bias of the exponent.
    pub bias: i64,
}

impl Float {
    /// That of a variable's type.
    pub fn of(b: &NestBuilder, x: Var) -> Self {
        match b.dtype(x) {
            DType::F32 => Self { dtype: DType::F32, int: DType::I32, mantissa: 23, bias: 127 },
            DType::F64 => Self { dtype: DType::F64, int: DType::I64, mantissa: 52, bias: 1023 },
            other => panic!("math functions are of floats, not of {other}"),
        }
    }

    /// One of two values, by type.
    pub fn pick<T>(self, single: T, double: T) -> T {
        if self.dtype == DType::F32 { single } else { double }
    }

    /// `2^e`.
    pub fn power(self, e: i32) -> f64 {
        2f64.powi(e)
    }

    /// ln 2 in two pieces. An fma takes the product of an integer and the first
    /// from a number exactly, if little is left.
    pub fn ln_2(self) -> [f64; 2] {
        self.pick([0.6931471824645996, -1.9046542121259336e-09], [LN_2, 2.3190468138462996e-17])
    }

    /// What added to a small float leaves its integer part, rounded to nearest,
    /// in the low bits.
    pub fn magic(self) -> f64 {
        1.5 * self.power(self.mantissa as i32)
    }

    /// `factor·x` rounded to an integer `n`: `n + offset` in the low bits of a large
    /// float, and `n`.
    pub fn integer(self, b: &mut NestBuilder, x: Var, factor: f64, offset: i64) -> (Var, Var) {
        let factor = b.float(self.dtype, factor);
        let magic = b.float(self.dtype, self.magic() + offset as f64);
        let n_magic = b.fma(x, factor, magic);
        (n_magic, b.sub(n_magic, magic))
    }

    /// `2^n`, where `n` plus the bias is in the low bits of a large float.
    pub fn power_of_two(self, b: &mut NestBuilder, n_magic: Var) -> Var {
        let n = b.bitcast(n_magic, self.int);
        let power = b.shl(n, self.mantissa);
        b.bitcast(power, self.dtype)
    }

    /// Least positive normal number.
    pub fn least_normal(self) -> f64 {
        self.power(1 - self.bias as i32)
    }

    /// The bits of a constant of this type.
    pub fn bits(self, x: f64) -> i64 {
        let bits = Const::of_float(self.dtype, x).bits;
        self.pick(i64::from(bits as u32 as i32), bits as i64)
    }

    /// The integer whose only bit is the sign.
    pub fn sign_bit(self) -> i64 {
        self.pick(i32::MIN.into(), i64::MIN)
    }
}

/// `Σ coefficients[i]·x^i`, by Horner's rule.
pub(super) fn polynomial(b: &mut NestBuilder, x: Var, coefficients: &[f64]) -> Var {
    let dtype = b.dtype(x);
    let mut rest = coefficients.iter().rev();
    let last = *rest.next().expect("a polynomial has coefficients");
    let mut sum = b.float(dtype, last);
    for &c in rest {
        let c = b.float(dtype, c);
        sum = b.fma(sum, x, c);
    }
    sum
}

/// `max(x, least)`; NaN stays NaN.
pub(super) fn at_least(b: &mut NestBuilder, x: Var, least: f64) -> Var {
    let least = b.float(b.dtype(x), least);
    let below = b.cmp(Cmp::Lt, x, least);
    b.select(below, least, x)
}

/// `min(x, greatest)`; NaN stays NaN.
pub(super) fn at_most(b: &mut NestBuilder, x: Var, greatest: f64) -> Var {
    let greatest = b.float(b.dtype(x), greatest);
    let above = b.cmp(Cmp::Lt, greatest, x);
    b.select(above, greatest, x)
}

/// `x` where |x| is less than `limit`, `y` elsewhere: for odd functions that are
/// `x` near 0, whose zeros and subnormals keep sign and digits.
pub(super) fn itself_below(b: &mut NestBuilder, x: Var, limit: f64, y: Var) -> Var {
    let limit = b.float(b.dtype(x), limit);
    let size = b.abs(x);
    let small = b.cmp(Cmp::Lt, size, limit);
    b.select(small, x, y)
}

/// The sign bit of `x`, all other bits 0, as an integer.
pub(super) fn sign_of(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let bits = b.bitcast(x, float.int);
    let mask = b.int(float.int, float.sign_bit());
    b.and(bits, mask)
}

/// `x` with these bits (an integer) flipped.
pub(super) fn flip(b: &mut NestBuilder, x: Var, bits: Var) -> Var {
    let dtype = b.dtype(x);
    let x = b.bitcast(x, b.dtype(bits));
    let y = b.xor(x, bits);
    b.bitcast(y, dtype)
}

/// For which type a function is computed in `f64`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Single,
    Double,
}

impl Width {
    /// One of two values, by type.
    pub fn pick<T>(self, single: T, double: T) -> T {
        if self == Self::Single { single } else { double }
    }
}

/// `f(x)`, computed in `f64` and rounded to the type of `x`.
pub(super) fn through_double(
    b: &mut NestBuilder,
    x: Var,
    f: impl FnOnce(&mut NestBuilder, Var, Width) -> Var,
) -> Var {
    let dtype = b.dtype(x);
    let width = if dtype == DType::F32 { Width::Single } else { Width::Double };
    let wide = b.convert(x, DType::F64);
    let y = f(b, wide, width);
    b.convert(y, dtype)
}

/// A quotient of polynomials: the coefficients of both, from the constant on.
#[derive(Clone, Copy)]
pub(super) struct Quotient {
    pub above: &'static [f64],
    pub below: &'static [f64],
}

impl Quotient {
    /// Numerator and denominator at `x`.
    pub fn parts(self, b: &mut NestBuilder, x: Var) -> (Var, Var) {
        (polynomial(b, x, self.above), polynomial(b, x, self.below))
    }

    /// Its value at `x`.
    pub fn at(self, b: &mut NestBuilder, x: Var) -> Var {
        let (above, below) = self.parts(b, x);
        b.div(above, below)
    }
}
