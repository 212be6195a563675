//! Cofactors: the derivative of the determinant.

use std::fmt;

use smallvec::{SmallVec, smallvec};

use super::det::factored_samples;
use super::lu::{factored, routine};
use super::matrix;
use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::nest::Monoid;
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
};
use crate::ops::{Axes, Iota, Lu};
use crate::range::Range;
use crate::routine::Task;
use crate::scalar::Scalar;
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Shape, Type};

/// `C` with `C[i, j] = ∂det(A)/∂A[i, j]`, for each matrix in the last two axes;
/// floats. Operands: `A`; the factor that [`Lu`] makes of it,
/// which alone is read.
///
/// Right for singular matrices, too. Cofactors are themselves determinants, so
/// their derivative is made of cofactors: with `A⟨j⟩` for `A` with column `j` of
/// `K` in place of its own, `Σ_ij K[i, j]·C[i, j] = Σ_j det(A⟨j⟩)`, which changes
/// with `A` as the sum of the cofactors of all `A⟨j⟩`, each without column `j`.
/// The same sum is the tangent, because second derivatives are symmetric. It
/// costs `n` factorisations: for regular matrices of some size, the logarithm of
/// the determinant has cheaper second derivatives.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cofactors;

/// The second derivative of the determinant along `k`.
fn second(g: &mut Graph, a: Value, k: Value) -> Value {
    let ty = g.ty(a).clone();
    let (batch, n, _) = matrix::sizes(&ty);
    // One more axis, before the matrix: which column is exchanged.
    let rank = ty.rank() + 1;
    let wide: Shape = batch.iter().copied().chain([n, n, n]).collect();
    let dims: Axes = (0..rank - 3).chain([rank - 2, rank - 1]).collect();
    let index = Type::new(DType::I64, wide.clone());
    let which = g.push(Iota { ty: index.clone(), axis: rank - 3 }, &[]);
    let column = g.push(Iota { ty: index, axis: rank - 1 }, &[]);
    let own = g.map(Scalar::Eq, &[which, column]);
    let [a, k] = [a, k].map(|x| g.broadcast(x, &wide, &dims));
    let exchanged = g.map(Scalar::Select, &[own, k, a]);
    let factor = g.push(Lu, &[exchanged]);
    let each = g.push(Cofactors, &[exchanged, factor]);
    let zero = g.like(each, 0.0);
    let each = g.map(Scalar::Select, &[own, zero, each]);
    g.reduce(Monoid::Sum, each, &[rank - 3])
}

impl Primitive for Cofactors {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 2, args)?;
        factored(Self::NAME, args)?;
        Ok(smallvec![args[0].clone()])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        let ty = args[0].ty();
        routine(&ty, Task::Cofactors).eval(&args[1..], &ty.shape, None)
    }

    fn range(&self, _: &[Range]) -> Range {
        Range::ANY
    }

    fn jvp(&self, g: &mut Graph, at: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        Some(second(g, at.args[0], tangents[0]?))
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        SmallVec::from_slice(&[Some(second(g, at.args[0], ct)), None])
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], n: usize) -> Value {
        matrix::batched(g, self.clone(), args, n)
    }

    fn structure(&self, args: &[&Type]) -> Structure {
        Structure::Call { routine: routine(args[0], Task::Cofactors), operands: smallvec![1] }
    }

    fn carries(&self, i: usize) -> Option<bool> {
        (i == 0).then_some(true)
    }
}

impl Definition for Cofactors {
    const NAME: &'static str = "cofactors";

    fn parse(_: &mut Attrs<'_>) -> Result<Self, ParseError> {
        Ok(Self)
    }

    fn samples() -> Vec<Sample> {
        factored_samples(Self)
    }
}
