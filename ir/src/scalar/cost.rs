//! What scalar functions cost, roughly.
//!
//! Decides whether a value is computed twice or kept. Only the order of magnitude
//! counts: counted in additions, from the lengths of the expansions in machine
//! operations, where a division counts for several.

use super::Scalar;

impl Scalar {
    /// About how many additions take as long.
    pub const fn cost(self) -> usize {
        match self {
            Self::Add
            | Self::Sub
            | Self::Mul
            | Self::Neg
            | Self::Square
            | Self::Abs
            | Self::Max
            | Self::Min
            | Self::Lt
            | Self::Le
            | Self::Gt
            | Self::Ge
            | Self::Eq
            | Self::Ne
            | Self::And
            | Self::Or
            | Self::Xor
            | Self::Not
            | Self::Shl
            | Self::Shr
            | Self::Select
            | Self::Fma
            | Self::ToF32
            | Self::ToF64
            | Self::ToI32
            | Self::ToI64
            | Self::ToBool => 1,
            Self::MulZLeft => 2,
            Self::SubZ | Self::MulZ | Self::Sign => 3,
            Self::Floor | Self::Ceil | Self::Round | Self::Trunc => 4,
            Self::Div | Self::Sqrt | Self::Reciprocal | Self::Quot | Self::Rem => 10,
            Self::Rsqrt | Self::Hypot => 24,
            Self::Exp
            | Self::Expm1
            | Self::Exp2
            | Self::Log
            | Self::Log2
            | Self::Log10
            | Self::Log1p
            | Self::Sigmoid
            | Self::Cbrt => 48,
            Self::Sin
            | Self::Cos
            | Self::Tan
            | Self::Asin
            | Self::Acos
            | Self::Atan
            | Self::Atan2
            | Self::Sinh
            | Self::Cosh
            | Self::Tanh
            | Self::Asinh
            | Self::Acosh
            | Self::Atanh
            | Self::Erf => 64,
            Self::Pow | Self::Erfc | Self::Erfinv => 128,
            Self::Lgamma | Self::Digamma | Self::Polygamma => 256,
        }
    }
}
