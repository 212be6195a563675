//! Numbers among tensors: `2.0 * x`, `x.lt(0)`.
//!
//! A number has no element type of its own: it takes that of the tensor it meets.
//! It is a mistake if it has no equal there, as 0.5 among integers.

use backstitch_ir::{Const, DType};

use crate::tensor::Tensor;

/// A number in a program.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Number {
    /// An `f32`.
    F32(f32),
    /// An `f64`.
    F64(f64),
    /// An `i32`.
    I32(i32),
    /// An `i64`.
    I64(i64),
    /// A truth value.
    Bool(bool),
}

impl Number {
    /// The type it has if nothing else is said.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::F64(_) => DType::F64,
            Self::I32(_) => DType::I32,
            Self::I64(_) => DType::I64,
            Self::Bool(_) => DType::Bool,
        }
    }

    /// As a constant of that type. Rounding to a float is fine; `None` if a
    /// fraction, a number out of range, or a number as a truth value would be
    /// needed.
    pub fn to(self, dtype: DType) -> Option<Const> {
        match (self, dtype) {
            (Self::Bool(x), DType::Bool) => Some(Const::of_int(dtype, x.into())),
            (Self::Bool(_), _) | (_, DType::Bool) => None,
            (Self::F32(x), _) => Self::of_float(x.into(), dtype),
            (Self::F64(x), _) => Self::of_float(x, dtype),
            (Self::I32(n), _) => Self::of_int(n.into(), dtype),
            (Self::I64(n), _) => Self::of_int(n, dtype),
        }
    }

    fn of_float(x: f64, dtype: DType) -> Option<Const> {
        if dtype.is_float() {
            return Some(Const::of_float(dtype, x));
        }
        // 2^63 itself is no i64, and is the bound after which casts saturate.
        let whole = x.fract() == 0.0 && x >= i64::MIN as f64 && x < i64::MAX as f64;
        if whole { Self::of_int(x as i64, dtype) } else { None }
    }

    fn of_int(n: i64, dtype: DType) -> Option<Const> {
        let fits = dtype != DType::I32 || i32::try_from(n).is_ok();
        fits.then(|| Const::of_int(dtype, n))
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::F32(x) => write!(f, "{x:?}"),
            Self::F64(x) => write!(f, "{x:?}"),
            Self::I32(x) => write!(f, "{x}"),
            Self::I64(x) => write!(f, "{x}"),
            Self::Bool(x) => write!(f, "{x}"),
        }
    }
}

/// A tensor or a number.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'t> {
    /// A tensor.
    Tensor(Tensor<'t>),
    /// A number that takes the type of the tensors it meets.
    Number(Number),
}

impl<'t> From<Tensor<'t>> for Operand<'t> {
    fn from(x: Tensor<'t>) -> Self {
        Self::Tensor(x)
    }
}

impl From<Number> for Operand<'_> {
    fn from(x: Number) -> Self {
        Self::Number(x)
    }
}

macro_rules! numbers {
    ($($t:ty, $variant:ident;)*) => {$(
        impl From<$t> for Number {
            fn from(x: $t) -> Self {
                Self::$variant(x)
            }
        }
        impl From<$t> for Operand<'_> {
            fn from(x: $t) -> Self {
                Self::Number(x.into())
            }
        }
    )*};
}
numbers! {
    f32, F32;
    f64, F64;
    i32, I32;
    i64, I64;
    bool, Bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_convert_only_where_they_are_equal_or_rounded() {
        assert_eq!(Number::F64(2.0).to(DType::I32), Some(Const::of_int(DType::I32, 2)));
        assert_eq!(Number::F64(0.5).to(DType::I32), None);
        assert_eq!(Number::F64(1e300).to(DType::I64), None);
        assert_eq!(Number::I64(1 << 40).to(DType::I32), None);
        assert_eq!(Number::I32(3).to(DType::F32), Some(Const::of_float(DType::F32, 3.0)));
        assert_eq!(Number::I32(1).to(DType::Bool), None);
        assert_eq!(Number::F64(0.1).to(DType::F32), Some(Const::of_float(DType::F32, 0.1)));
    }
}
