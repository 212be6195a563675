//! Numbers as sums of two floats, for what has to be more precise than its type.

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::Var;

use super::float::Float;

/// A number as the sum of two floats, the second far below the first.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub high: Var,
    pub low: Var,
}

impl Pair {
    /// The product, but for the product of the low parts.
    pub fn times(self, b: &mut NestBuilder, other: Self) -> Self {
        let high = b.mul(self.high, other.high);
        let lost = b.neg(high);
        let lost = b.fma(self.high, other.high, lost);
        let low = b.fma(self.high, other.low, lost);
        let low = b.fma(self.low, other.high, low);
        Self { high, low }
    }

    /// `large + small`, where `large` is 0 or the larger one.
    pub fn sum(b: &mut NestBuilder, large: Var, small: Var) -> Self {
        let high = b.add(large, small);
        let kept = b.sub(high, large);
        Self { high, low: b.sub(small, kept) }
    }

    /// `x·y`, exactly.
    pub fn product(b: &mut NestBuilder, x: Var, y: Var) -> Self {
        let high = b.mul(x, y);
        let minus = b.neg(high);
        Self { high, low: b.fma(x, y, minus) }
    }

    /// The quotient by a pair, but for what is far below its low part: with the
    /// reciprocal of the divisor, which a quotient is made of and corrected by.
    pub fn over(self, b: &mut NestBuilder, divisor: Self) -> Self {
        let one = b.float(b.dtype(divisor.high), 1.0);
        let inverse = b.div(one, divisor.high);
        let high = b.mul(self.high, inverse);
        let minus = b.neg(high);
        let rest = b.fma(minus, divisor.high, self.high);
        let rest = b.fma(minus, divisor.low, rest);
        let rest = b.add(rest, self.low);
        Self { high, low: b.mul(rest, inverse) }
    }

    /// The square root of a number that is not subnormal; 0 of 0.
    pub fn root(self, b: &mut NestBuilder) -> Self {
        let dtype = b.dtype(self.high);
        let high = b.sqrt(self.high);
        let minus = b.neg(high);
        let rest = b.fma(minus, high, self.high);
        let rest = b.add(rest, self.low);
        // Twice the root; not 0, which would make 0/0 of a root of 0.
        let least = b.float(dtype, Float::of(b, high).least_normal());
        let two = b.float(dtype, 2.0);
        let twice = b.fma(two, high, least);
        Self { high, low: b.div(rest, twice) }
    }
}

/// A constant, given to about a hundred bits, in two pieces.
pub(super) fn pieces(float: Float, [high, low]: [f64; 2]) -> [f64; 2] {
    let single = f64::from(high as f32);
    float.pick([single, high - single], [high, low])
}

/// π in two pieces.
pub(super) const PI: [f64; 2] = [std::f64::consts::PI, 1.2246467991473532e-16];
