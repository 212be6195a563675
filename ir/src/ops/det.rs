//! Determinants.

use std::fmt;

use smallvec::smallvec;

use super::lu::{factor_of, factored, routine};
use super::matrix;
use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
};
use crate::ops::{Cofactors, LuSolve};
use crate::range::Range;
use crate::routine::Task;
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Shape, Type};

/// The determinant of each matrix in the last two axes, or the logarithm of its
/// magnitude; floats. Operands: `A`; the factor that [`Lu`](crate::ops::Lu)
/// makes of it, which alone is read.
///
/// The derivative of the determinant is the matrix of cofactors, right for
/// singular matrices, too; that of the logarithm is `A⁻ᵀ`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Det {
    /// Whether the logarithm of the magnitude is asked for. That of 0 is -∞.
    pub log: bool,
}

impl Det {
    const fn task(&self) -> Task {
        if self.log { Task::LogAbsDet } else { Task::Det }
    }

    /// The derivative of the result by each element.
    fn slope(&self, g: &mut Graph, args: &[Value]) -> Value {
        if !self.log {
            return g.push(Cofactors, args);
        }
        let one = matrix::identity(g, &g.ty(args[0]).clone());
        g.push(LuSolve { transpose: true }, &[args[0], args[1], one])
    }

    fn shape(a: &Type) -> Shape {
        matrix::sizes(a).0.into()
    }
}

impl Primitive for Det {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.log { "log" } else { "" })
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 2, args)?;
        factored(Self::NAME, args)?;
        Ok(smallvec![args[0].with_shape(Self::shape(args[0]))])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        let ty = args[0].ty();
        routine(&ty, self.task()).eval(&args[1..], &Self::shape(&ty), None)
    }

    fn range(&self, _: &[Range]) -> Range {
        Range::ANY
    }

    fn jvp(&self, g: &mut Graph, at: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        let da = tangents[0]?;
        let slope = self.slope(g, at.args);
        Some(matrix::inner(g, da, slope))
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        let slope = self.slope(g, at.args);
        smallvec![Some(matrix::scaled(g, ct, slope)), None]
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], n: usize) -> Value {
        matrix::batched(g, self.clone(), args, n)
    }

    fn structure(&self, args: &[&Type]) -> Structure {
        Structure::Call { routine: routine(args[0], self.task()), operands: smallvec![1] }
    }

    fn carries(&self, i: usize) -> Option<bool> {
        (i == 0).then_some(true)
    }
}

impl Definition for Det {
    const NAME: &'static str = "det";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        Ok(Self { log: attrs.eat("log") })
    }

    fn samples() -> Vec<Sample> {
        let samples = |log| factored_samples(Self { log });
        [false, true].into_iter().flat_map(samples).collect()
    }
}

/// Samples of an operation on matrices and their factors.
pub(super) fn factored_samples<P: Definition + Clone>(op: P) -> Vec<Sample>
where
    crate::Op: From<P>,
{
    let cases: [(DType, &[usize]); 6] = [
        (DType::F64, &[3, 3]),
        (DType::F64, &[2, 4, 4]),
        (DType::F32, &[3, 1, 2, 2]),
        (DType::F64, &[1, 1]),
        (DType::F64, &[0, 0]),
        (DType::F64, &[0, 2, 2]),
    ];
    let sample = |(dtype, dims): (_, &[usize])| {
        let a = Type::new(dtype, dims);
        Sample {
            op: op.clone().into(),
            args: vec![a.clone(), factor_of(&a)],
            domain: vec![(-0.5, 0.5), (-0.5, 0.5)],
        }
    };
    cases.into_iter().map(sample).collect()
}
