//! Scalar constants, as bits.

use std::fmt;

use crate::ty::DType;

/// A scalar constant: its type and its bits, in the low bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Const {
    /// Its type.
    pub dtype: DType,
    /// Its bits. For `i32` the upper half is zero.
    pub bits: u64,
}

impl Const {
    /// The constant nearest to `x`; integers truncate and saturate, booleans
    /// are `x != 0`.
    pub fn of_float(dtype: DType, x: f64) -> Self {
        let bits = match dtype {
            DType::F32 => u64::from((x as f32).to_bits()),
            DType::F64 => x.to_bits(),
            DType::I32 => u64::from(x as i32 as u32),
            DType::I64 => x as i64 as u64,
            DType::Bool => u64::from(x != 0.0),
        };
        Self { dtype, bits }
    }

    /// The constant nearest to `n`; `i32` wraps, booleans are `n != 0`.
    pub fn of_int(dtype: DType, n: i64) -> Self {
        let bits = match dtype {
            DType::F32 => u64::from((n as f32).to_bits()),
            DType::F64 => (n as f64).to_bits(),
            DType::I32 => u64::from(n as i32 as u32),
            DType::I64 => n as u64,
            DType::Bool => u64::from(n != 0),
        };
        Self { dtype, bits }
    }

    /// Its value as a float; exact but for large `i64`.
    pub fn to_f64(self) -> f64 {
        match self.dtype {
            DType::F32 => f32::from_bits(self.bits as u32).into(),
            DType::F64 => f64::from_bits(self.bits),
            DType::I32 => (self.bits as u32 as i32).into(),
            DType::I64 => self.bits as i64 as f64,
            DType::Bool => f64::from(self.bits != 0),
        }
    }
}

impl fmt::Display for Const {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            DType::F32 => write!(f, "{:?}", f32::from_bits(self.bits as u32)),
            DType::F64 => write!(f, "{:?}", f64::from_bits(self.bits)),
            DType::I32 => write!(f, "{}", self.bits as u32 as i32),
            DType::I64 => write!(f, "{}", self.bits as i64),
            DType::Bool => write!(f, "{}", self.bits != 0),
        }
    }
}

impl fmt::Debug for Const {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}:{}", self.dtype)
    }
}
