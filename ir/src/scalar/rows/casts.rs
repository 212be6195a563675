//! Casts.

use super::{cast_def, discrete};
use crate::array::Array;
use crate::range::Range;
use crate::scalar::eval::{cast, map1};
use crate::scalar::{Def, Eval, Signature};
use crate::ty::DType;

pub(super) static TO_F32: Def = cast_def("to_f32", DType::F32, cast!(f32));

pub(super) static TO_F64: Def = cast_def("to_f64", DType::F64, cast!(f64));

pub(super) static TO_I32: Def = cast_def("to_i32", DType::I32, cast!(i32));

pub(super) static TO_I64: Def = cast_def("to_i64", DType::I64, cast!(i64));

pub(super) static TO_BOOL: Def = {
    let eval: Eval = |a| match a[0] {
        Array::F32(v) => map1(v, |x| x != 0.0),
        Array::F64(v) => map1(v, |x| x != 0.0),
        Array::I32(v) => map1(v, |x| x != 0),
        Array::I64(v) => map1(v, |x| x != 0),
        Array::Bool(v) => map1(v, |x| x),
    };
    discrete("to_bool", 1, Signature::To(DType::Bool), eval, |_| Range::BOOL)
};
