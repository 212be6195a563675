//! Systems of linear equations.

use std::fmt;

use smallvec::smallvec;

use super::lu::{factor_of, factored, routine};
use super::matrix;
use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
    sum_parts,
};
use crate::range::Range;
use crate::routine::{Routine, Task};
use crate::scalar::Scalar;
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Type};

/// The `X` with `A·X = B`, or `Aᵀ·X = B`, for each pair of matrices in the last
/// two axes; floats. Operands: `A`; the factor that [`Lu`](crate::ops::Lu) makes
/// of it; `B`.
///
/// The factor alone is read. `A` is there for the derivative, which is implicit:
/// `A·dX = dB - dA·X`, with the same factor. If `A` is singular, there are
/// infinities and NaN in the result.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LuSolve {
    /// Whether `A` is transposed.
    pub transpose: bool,
}

impl LuSolve {
    fn routine(&self, a: &Type, b: &Type) -> Routine {
        let k = matrix::sizes(b).2;
        routine(a, Task::Solve { k, transpose: self.transpose })
    }
}

impl Primitive for LuSolve {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.transpose { "transpose" } else { "" })
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 3, args)?;
        factored(Self::NAME, args)?;
        let n = matrix::sizes(args[0]).1;
        matrix::alike(Self::NAME, args, 2, [Some(n), None])?;
        Ok(smallvec![args[2].clone()])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        let b = args[2].ty();
        self.routine(&args[0].ty(), &b).eval(&args[1..], &b.shape, None)
    }

    fn range(&self, _: &[Range]) -> Range {
        Range::ANY
    }

    fn jvp(&self, g: &mut Graph, at: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        let from_a = tangents[0].map(|da| {
            let da = if self.transpose { matrix::transpose(g, da) } else { da };
            let moved = matrix::product(g, da, at.results[0]);
            matrix::negated(g, moved)
        });
        let right = sum_parts(g, [tangents[2], from_a])?;
        Some(g.push(self.clone(), &[at.args[0], at.args[1], right]))
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        let adjoint = Self { transpose: !self.transpose };
        let b = g.push(adjoint, &[at.args[0], at.args[1], ct]);
        let a = at.wanted[0].then(|| {
            let (x, y) = if self.transpose { (at.results[0], b) } else { (b, at.results[0]) };
            let outer = matrix::product_transposed(g, x, y);
            g.map(Scalar::Neg, &[outer])
        });
        smallvec![a, None, Some(b)]
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], n: usize) -> Value {
        matrix::batched(g, self.clone(), args, n)
    }

    fn structure(&self, args: &[&Type]) -> Structure {
        Structure::Call { routine: self.routine(args[0], args[2]), operands: smallvec![1, 2] }
    }

    fn carries(&self, i: usize) -> Option<bool> {
        (i != 1).then_some(true)
    }
}

impl Definition for LuSolve {
    const NAME: &'static str = "lu_solve";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        Ok(Self { transpose: attrs.eat("transpose") })
    }

    fn samples() -> Vec<Sample> {
        let sizes: [(DType, &[usize], usize, usize); 5] = [
            (DType::F64, &[], 3, 2),
            (DType::F32, &[2], 2, 1),
            (DType::F64, &[2, 1], 2, 3),
            (DType::F64, &[2], 0, 2),
            (DType::F64, &[], 2, 0),
        ];
        let sample = |(dtype, batch, n, k): (_, &[usize], _, _), transpose| {
            let of = |columns| Type::new(dtype, [batch, &[n, columns]].concat());
            Sample {
                op: Self { transpose }.into(),
                args: vec![of(n), factor_of(&of(n)), of(k)],
                domain: vec![(-0.5, 0.5), (-0.5, 0.5), (-2.0, 2.0)],
            }
        };
        sizes.into_iter().flat_map(|size| [false, true].map(|t| sample(size, t))).collect()
    }
}
