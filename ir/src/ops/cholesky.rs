//! Cholesky factors.

use std::fmt;

use smallvec::smallvec;

use super::matrix::{self, Diagonal};
use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
};
use crate::ops::TriangularSolve;
use crate::range::Range;
use crate::routine::{self, Routine, Triangle};
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Type};

/// The lower triangular `L` with `L·Lᵀ = (A + Aᵀ)/2`, for each matrix in the last
/// two axes; floats.
///
/// If that is not positive definite, the factor is NaN and a
/// [fault](routine::Fault) is raised. With `S = (A + Aᵀ)/2` and `Φ` the lower
/// triangle with half the diagonal, `dL = L·Φ(L⁻¹·dS·L⁻ᵀ)`; the gradient is
/// symmetric.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cholesky;

const LOWER: TriangularSolve = TriangularSolve { triangle: Triangle::LOWER };
const TRANSPOSED: TriangularSolve = TriangularSolve { triangle: Triangle::LOWER.transposed() };

fn routine(x: &Type) -> Routine {
    let (batch, n, _) = matrix::sizes(x);
    Routine::Cholesky(routine::Cholesky { dtype: x.dtype, batch: batch.iter().product(), n })
}

impl Primitive for Cholesky {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 1, args)?;
        matrix::square(Self::NAME, args)?;
        Ok(smallvec![args[0].clone()])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        let ty = args[0].ty();
        routine(&ty).eval(args, &ty.shape, None)
    }

    fn range(&self, _: &[Range]) -> Range {
        Range::ANY
    }

    fn jvp(&self, g: &mut Graph, at: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        let l = at.results[0];
        let ds = matrix::symmetric(g, tangents[0]?);
        let left = g.push(LOWER, &[l, ds]);
        let left = matrix::transpose(g, left);
        let both = g.push(LOWER, &[l, left]);
        let inner = matrix::triangle(g, both, true, Diagonal::Half);
        Some(matrix::product(g, l, inner))
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        let l = at.results[0];
        let ct = matrix::triangle(g, ct, true, Diagonal::Whole);
        let turned = matrix::transpose(g, l);
        let inner = matrix::product(g, turned, ct);
        let inner = matrix::triangle(g, inner, true, Diagonal::Half);
        let left = g.push(TRANSPOSED, &[l, inner]);
        let left = matrix::transpose(g, left);
        let both = g.push(TRANSPOSED, &[l, left]);
        smallvec![Some(matrix::symmetric(g, both))]
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], n: usize) -> Value {
        matrix::batched(g, self.clone(), args, n)
    }

    fn structure(&self, args: &[&Type]) -> Structure {
        Structure::Call { routine: routine(args[0]), operands: smallvec![0] }
    }

    fn carries(&self, _: usize) -> Option<bool> {
        Some(true)
    }
}

impl Definition for Cholesky {
    const NAME: &'static str = "cholesky";

    fn parse(_: &mut Attrs<'_>) -> Result<Self, ParseError> {
        Ok(Self)
    }

    fn samples() -> Vec<Sample> {
        let cases: [(DType, &[usize]); 7] = [
            (DType::F64, &[3, 3]),
            (DType::F64, &[2, 4, 4]),
            (DType::F32, &[3, 1, 2, 2]),
            (DType::F64, &[1, 1]),
            (DType::F64, &[0, 0]),
            (DType::F32, &[2, 0, 0]),
            (DType::F64, &[0, 2, 2]),
        ];
        let sample = |(dtype, dims): (_, &[usize])| Sample {
            op: Self.into(),
            args: vec![Type::new(dtype, dims)],
            domain: vec![(-0.5, 0.5)],
        };
        cases.into_iter().map(sample).collect()
    }
}
