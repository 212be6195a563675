//! Triangular systems.

use std::fmt;

use smallvec::smallvec;

use super::matrix::{self, Diagonal};
use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
    sum_parts,
};
use crate::range::Range;
use crate::routine::{self, Routine, Triangle};
use crate::scalar::Scalar;
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Type};

/// The `X` with `op(A)·X = B`, for each pair of matrices in the last two axes;
/// floats. Operands: `A`, square; `B`, of as many rows.
///
/// One triangle of `A` is read, and the derivative by the rest is 0. A zero on
/// the diagonal divides by zero.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TriangularSolve {
    /// How `A` is read.
    pub triangle: Triangle,
}

impl TriangularSolve {
    fn routine(&self, a: &Type, b: &Type) -> Routine {
        let ((batch, n, _), (.., k)) = (matrix::sizes(a), matrix::sizes(b));
        let (dtype, batch, triangle) = (a.dtype, batch.iter().product(), self.triangle);
        Routine::TriangularSolve(routine::TriangularSolve { dtype, batch, n, k, triangle })
    }

    fn masked(&self, g: &mut Graph, x: Value) -> Value {
        let Triangle { lower, unit_diagonal, .. } = self.triangle;
        let diagonal = if unit_diagonal { Diagonal::Nothing } else { Diagonal::Whole };
        matrix::triangle(g, x, lower, diagonal)
    }
}

impl Primitive for TriangularSolve {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.triangle)
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 2, args)?;
        matrix::square(Self::NAME, args)?;
        let n = matrix::sizes(args[0]).1;
        matrix::alike(Self::NAME, args, 1, [Some(n), None])?;
        Ok(smallvec![args[1].clone()])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        let (a, b) = (args[0].ty(), args[1].ty());
        self.routine(&a, &b).eval(args, &b.shape, None)
    }

    fn range(&self, _: &[Range]) -> Range {
        Range::ANY
    }

    fn jvp(&self, g: &mut Graph, at: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        let from_a = tangents[0].map(|da| {
            let mut da = self.masked(g, da);
            if self.triangle.transpose {
                da = matrix::transpose(g, da);
            }
            let moved = matrix::product(g, da, at.results[0]);
            matrix::negated(g, moved)
        });
        let right = sum_parts(g, [tangents[1], from_a])?;
        Some(g.push(self.clone(), &[at.args[0], right]))
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        let transpose = !self.triangle.transpose;
        let adjoint = Self { triangle: Triangle { transpose, ..self.triangle } };
        let b = g.push(adjoint, &[at.args[0], ct]);
        let a = at.wanted[0].then(|| {
            let (x, y) = if transpose { (b, at.results[0]) } else { (at.results[0], b) };
            let outer = matrix::product_transposed(g, x, y);
            let outer = g.map(Scalar::Neg, &[outer]);
            self.masked(g, outer)
        });
        smallvec![a, Some(b)]
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], n: usize) -> Value {
        matrix::batched(g, self.clone(), args, n)
    }

    fn structure(&self, args: &[&Type]) -> Structure {
        Structure::Call { routine: self.routine(args[0], args[1]), operands: smallvec![0, 1] }
    }

    fn carries(&self, _: usize) -> Option<bool> {
        Some(true)
    }
}

impl Definition for TriangularSolve {
    const NAME: &'static str = "triangular_solve";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        Ok(Self { triangle: Triangle::parse(attrs)? })
    }

    fn samples() -> Vec<Sample> {
        let sizes: [(DType, &[usize], usize, usize); 5] = [
            (DType::F64, &[], 3, 2),
            (DType::F32, &[2], 2, 1),
            (DType::F64, &[2, 1], 2, 3),
            (DType::F64, &[2], 0, 2),
            (DType::F64, &[], 2, 0),
        ];
        let mut samples = Vec::new();
        for (i, (dtype, batch, n, k)) in sizes.into_iter().enumerate() {
            for kind in 0..8 {
                if i > 2 && kind > 0 {
                    continue;
                }
                let [lower, transpose, unit_diagonal] = [4, 2, 1].map(|bit| kind & bit > 0);
                let of = |columns| Type::new(dtype, [batch, &[n, columns]].concat());
                samples.push(Sample {
                    op: Self { triangle: Triangle { lower, transpose, unit_diagonal } }.into(),
                    args: vec![of(n), of(k)],
                    domain: vec![(-0.5, 0.5), (-2.0, 2.0)],
                });
            }
        }
        samples
    }
}
