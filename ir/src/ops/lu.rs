//! LU factors.

use std::fmt;

use smallvec::smallvec;

use super::matrix;
use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
    no_cotangents,
};
use crate::range::Range;
use crate::routine::{self, Routine, Task};
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Type};

/// The LU factor of each matrix in the last two axes, with row exchanges, as one
/// array of one row more; see the routine for its layout. Floats.
///
/// Derivatives do not go through it: whatever takes a factor takes the matrix as
/// well, and its derivative is by the matrix.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Lu;

/// A routine about factors of these matrices.
pub(super) fn routine(a: &Type, task: Task) -> Routine {
    let (batch, n, _) = matrix::sizes(a);
    Routine::Lu(routine::Lu { dtype: a.dtype, batch: batch.iter().product(), n, task })
}

/// The type of the factor of such matrices.
pub(super) fn factor_of(a: &Type) -> Type {
    let (_, n, _) = matrix::sizes(a);
    matrix::resized(a, n + 1, n)
}

/// Checks that the first two operands are square matrices and their factors.
pub(super) fn factored(op: &str, args: &[&Type]) -> Result<(), TypeError> {
    matrix::square(op, args)?;
    let n = matrix::sizes(args[0]).1;
    matrix::alike(op, args, 1, [n.checked_add(1), Some(n)])
}

impl Primitive for Lu {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 1, args)?;
        matrix::square(Self::NAME, args)?;
        Ok(smallvec![factor_of(args[0])])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        let ty = args[0].ty();
        routine(&ty, Task::Factor).eval(args, &factor_of(&ty).shape, None)
    }

    fn range(&self, _: &[Range]) -> Range {
        Range::ANY
    }

    fn jvp(&self, _: &mut Graph, _: &Site<'_>, _: &[Option<Value>]) -> Option<Value> {
        None
    }

    fn vjp(&self, _: &mut Graph, _: &Site<'_>, _: Value) -> Cotangents {
        no_cotangents(1)
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], n: usize) -> Value {
        matrix::batched(g, self.clone(), args, n)
    }

    fn structure(&self, args: &[&Type]) -> Structure {
        Structure::Call { routine: routine(args[0], Task::Factor), operands: smallvec![0] }
    }

    fn carries(&self, _: usize) -> Option<bool> {
        None
    }
}

impl Definition for Lu {
    const NAME: &'static str = "lu";

    fn parse(_: &mut Attrs<'_>) -> Result<Self, ParseError> {
        Ok(Self)
    }

    fn samples() -> Vec<Sample> {
        // Floats without a derivative: tests of derivatives take those of what
        // takes a factor.
        let cases: [(DType, &[usize]); 5] = [
            (DType::F32, &[3, 3]),
            (DType::F32, &[2, 4, 4]),
            (DType::F32, &[2, 1, 1]),
            (DType::F32, &[0, 0]),
            (DType::F32, &[0, 2, 2]),
        ];
        let sample = |(dtype, dims): (_, &[usize])| Sample {
            op: Self.into(),
            args: vec![Type::new(dtype, dims)],
            domain: vec![(-0.5, 0.5)],
        };
        cases.into_iter().map(sample).collect()
    }
}
