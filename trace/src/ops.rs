//! The operations, a file per family. Most are composed of a few primitives.

mod activation;
mod arithmetic;
mod attention;
mod compare;
pub(crate) mod conv;
mod create;
mod diagonal;
mod division;
mod einsum;
mod elementary;
mod elementwise;
mod gamma;
mod index;
mod linalg;
mod loss;
mod matmul;
mod nan;
mod nn;
mod norm;
mod normalise;
mod pad;
mod reduce;
mod scan;
mod shape;
mod slice;
mod sort;
mod special;

pub use pad::PadMode;

use backstitch_ir::{DType, Scalar, Shape, Type, ops};
use smallvec::SmallVec;

use crate::mistake::Problem;
use crate::number::{Number, Operand};
use crate::tensor::Tensor;
use crate::trace::Trace;

impl Trace {
    /// A rank-0 constant of that type; shared by all who ask for the same.
    #[track_caller]
    pub(crate) fn number(&self, x: Number, dtype: DType, operation: &'static str) -> Tensor<'_> {
        match x.to(dtype) {
            Some(c) => self.scalar_constant(c),
            None => {
                let message = format!("{x} is no {dtype}");
                self.mistake(operation, Problem::DType, message, &[], Type::scalar(dtype))
            }
        }
    }

    /// The operands as tensors: numbers take the type of the first tensor.
    #[track_caller]
    pub(crate) fn tensors<'t, const N: usize>(
        &'t self,
        operation: &'static str,
        operands: [Operand<'t>; N],
    ) -> [Tensor<'t>; N] {
        let first = operands.iter().find_map(|o| match o {
            Operand::Tensor(x) => Some(x.dtype()),
            Operand::Number(_) => None,
        });
        let dtype = first.unwrap_or_else(|| match operands[0] {
            Operand::Number(x) => x.dtype(),
            Operand::Tensor(x) => x.dtype(),
        });
        let mut all = [None; N];
        for (slot, operand) in all.iter_mut().zip(operands) {
            *slot = Some(match operand {
                Operand::Tensor(x) => x,
                Operand::Number(x) => self.number(x, dtype, operation),
            });
        }
        all.map(|x| x.expect("all are filled"))
    }

    /// A scalar function of operands that are stretched to one shape.
    #[track_caller]
    pub(crate) fn map<'t>(&'t self, f: Scalar, operands: &[Tensor<'t>]) -> Tensor<'t> {
        if f != Scalar::Select && self.same_type(operands) {
            return self.apply(ops::Map { f }, operands);
        }
        let types: SmallVec<[Type; 3]> = operands.iter().map(|x| x.ty()).collect();
        // `select` takes a condition and two of one type; all else takes one type.
        let same = if f == Scalar::Select { &types[1..] } else { &types[..] };
        let guess = |shape: &Shape| {
            let dtypes: SmallVec<[DType; 3]> = types.iter().map(|t| t.dtype).collect();
            let dtype = f.infer(&dtypes).unwrap_or(types[types.len() - 1].dtype);
            Type::new(dtype, shape.clone())
        };
        let shape =
            types[1..].iter().try_fold(types[0].shape.clone(), |s, t| s.broadcast(&t.shape));
        let Some(shape) = shape else {
            let largest = types.iter().map(|t| &t.shape).max_by_key(|s| s.rank());
            let guess = guess(largest.expect("a function has operands"));
            let shapes: Vec<String> = types.iter().map(|t| t.shape.to_string()).collect();
            let message = format!("shapes {} do not fit together", shapes.join(" and "));
            return self.mistake(f.name(), Problem::Shape, message, operands, guess);
        };
        if let Some(other) = same.iter().find(|t| t.dtype != same[0].dtype) {
            let message = format!(
                "element types {} and {} differ; `cast` one of them",
                same[0].dtype, other.dtype
            );
            return self.mistake(f.name(), Problem::DType, message, operands, guess(&shape));
        }
        let mut stretched: SmallVec<[Tensor<'t>; 3]> = SmallVec::new();
        for x in operands {
            stretched.push(x.stretch(&shape));
        }
        self.apply(ops::Map { f }, &stretched)
    }
}

impl<'t> Tensor<'t> {
    /// Repeated to a shape that it fits, axes aligned at the end.
    #[track_caller]
    pub(crate) fn stretch(self, shape: &Shape) -> Self {
        let own = self.shape();
        if own == *shape {
            return self;
        }
        let lead = shape.rank() - own.rank();
        let dims = (lead..shape.rank()).collect();
        self.trace.apply(ops::Broadcast { shape: shape.clone(), dims }, &[self])
    }

    /// Repeated to a shape; axis `i` becomes axis `dims[i]`.
    #[track_caller]
    pub(crate) fn spread(self, shape: &Shape, dims: &[usize]) -> Self {
        if self.shape() == *shape {
            return self;
        }
        self.trace.apply(ops::Broadcast { shape: shape.clone(), dims: dims.into() }, &[self])
    }

    #[track_caller]
    pub(crate) fn unary(self, f: Scalar) -> Self {
        self.trace.map(f, &[self])
    }

    #[track_caller]
    pub(crate) fn binary(self, f: Scalar, other: impl Into<Operand<'t>>) -> Self {
        let operands = self.trace.tensors(f.name(), [self.into(), other.into()]);
        self.trace.map(f, &operands)
    }

    /// A number in this tensor's element type.
    #[track_caller]
    pub(crate) fn number(self, x: impl Into<Number>) -> Self {
        self.trace.number(x.into(), self.dtype(), "constant")
    }

    /// Checks that elements are floats. `Err` is the poisoned result.
    #[track_caller]
    pub(crate) fn floats(self, operation: &'static str) -> Result<(), Self> {
        let ty = self.ty();
        if ty.is_float() {
            return Ok(());
        }
        let message = format!("expected floats, got {}; `cast` it", ty.dtype);
        Err(self.mistake(operation, Problem::DType, message, ty.with_dtype(DType::F64)))
    }

    /// Checks that two are of one type, which it gives. `Err` is the poisoned result.
    #[track_caller]
    pub(crate) fn same_type(
        self,
        operation: &'static str,
        other: Tensor<'t>,
    ) -> Result<Type, Self> {
        let (a, b) = (self.ty(), other.ty());
        if a == b {
            return Ok(a);
        }
        let problem = if a.shape == b.shape { Problem::DType } else { Problem::Shape };
        let message = format!("expected two of one type, got {a} and {b}");
        Err(self.trace.mistake(operation, problem, message, &[self, other], a))
    }

    /// An axis of this tensor. `Err` is the poisoned result.
    #[track_caller]
    pub(crate) fn axis(self, operation: &'static str, axis: i32) -> Result<usize, Self> {
        let ty = self.ty();
        match crate::axes::axis(axis, ty.rank()) {
            Ok(axis) => Ok(axis),
            Err(message) => Err(self.mistake(operation, Problem::Axis, message, ty)),
        }
    }
}
