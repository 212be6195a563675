//! How reductions combine what they meet.

use super::Const;
use crate::ty::DType;

/// An associative combination with an identity.
///
/// `Max` and `Min` propagate NaN: `max(a, b)` is `a` if `a > b` or `a` is NaN,
/// and `b` otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Monoid {
    /// `a + b`; numbers.
    Sum,
    /// `a · b`; numbers.
    Prod,
    /// The larger; numbers.
    Max,
    /// The smaller; numbers.
    Min,
    /// Either; booleans.
    Any,
    /// Both; booleans.
    All,
}

impl Monoid {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Sum, Self::Prod, Self::Max, Self::Min, Self::Any, Self::All];

    /// Its name in text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Prod => "prod",
            Self::Max => "max",
            Self::Min => "min",
            Self::Any => "any",
            Self::All => "all",
        }
    }

    /// The combination of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }

    /// Whether it combines elements of this type.
    pub const fn takes(self, dtype: DType) -> bool {
        matches!(self, Self::Any | Self::All) == matches!(dtype, DType::Bool)
    }

    /// What changes nothing: the result over no element at all.
    pub fn identity(self, dtype: DType) -> Const {
        let least = match dtype {
            DType::I32 => Const::of_int(dtype, i32::MIN.into()),
            DType::I64 => Const::of_int(dtype, i64::MIN),
            _ => Const::of_float(dtype, f64::NEG_INFINITY),
        };
        let greatest = match dtype {
            DType::I32 => Const::of_int(dtype, i32::MAX.into()),
            DType::I64 => Const::of_int(dtype, i64::MAX),
            _ => Const::of_float(dtype, f64::INFINITY),
        };
        match self {
            Self::Sum | Self::Any => Const { dtype, bits: 0 },
            Self::Prod | Self::All => Const::of_int(dtype, 1),
            Self::Max => least,
            Self::Min => greatest,
        }
    }
}
