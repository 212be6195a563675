//! `+`, `-`, `*`, `/` between tensors, and between tensors and numbers.
//!
//! On the left stand `f64` and `i32` alone: were there more, the type of the
//! literal in `(1.0 - x).log()` would be ambiguous. What type a number has makes
//! no difference, since it takes that of the tensor.

use std::ops::{Add, Div, Mul, Neg, Sub};

use backstitch_ir::Scalar;

use crate::number::Operand;
use crate::tensor::Tensor;

macro_rules! operators {
    ($($op:ident $method:ident $f:ident),*) => {$(
        impl<'t, R: Into<Operand<'t>>> $op<R> for Tensor<'t> {
            type Output = Self;

            #[track_caller]
            fn $method(self, other: R) -> Self {
                self.binary(Scalar::$f, other)
            }
        }
        number_first!($op $method $f: f64 i32);
    )*};
}

macro_rules! number_first {
    ($op:ident $method:ident $f:ident: $($t:ty)*) => {$(
        impl<'t> $op<Tensor<'t>> for $t {
            type Output = Tensor<'t>;

            #[track_caller]
            fn $method(self, other: Tensor<'t>) -> Tensor<'t> {
                let trace = other.trace;
                let operands = trace.tensors(Scalar::$f.name(), [self.into(), other.into()]);
                trace.map(Scalar::$f, &operands)
            }
        }
    )*};
}

operators!(Add add Add, Sub sub Sub, Mul mul Mul, Div div Div);

impl Neg for Tensor<'_> {
    type Output = Self;

    #[track_caller]
    fn neg(self) -> Self {
        self.unary(Scalar::Neg)
    }
}
