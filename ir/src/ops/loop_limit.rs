//! Loops that do not come to an end.

use std::fmt;

use smallvec::smallvec;

use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
    mistake, no_cotangents,
};
use crate::range::Range;
use crate::routine::{self, Routine};
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Type};

/// Which of some loops have been stopped at their limit: the operand, booleans of any
/// shape, as it is.
///
/// If there is one, a [fault](routine::Fault) is raised. Whoever asks for the results
/// of a loop asks this first, so that the fault is never dead code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LoopLimit {
    /// After how many iterations.
    pub limit: u64,
}

impl LoopLimit {
    fn routine(self, x: &Type) -> Routine {
        Routine::LoopLimit(routine::LoopLimit { len: x.len(), limit: self.limit })
    }
}

impl Primitive for LoopLimit {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.limit)
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 1, args)?;
        if args[0].dtype != DType::Bool {
            return Err(mistake(Self::NAME, "booleans", args));
        }
        Ok(smallvec![args[0].clone()])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        let ty = args[0].ty();
        self.routine(&ty).eval(args, &ty.shape, None)
    }

    fn range(&self, _: &[Range]) -> Range {
        Range::BOOL
    }

    fn jvp(&self, _: &mut Graph, _: &Site<'_>, _: &[Option<Value>]) -> Option<Value> {
        None
    }

    fn vjp(&self, _: &mut Graph, _: &Site<'_>, _: Value) -> Cotangents {
        no_cotangents(1)
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], _: usize) -> Value {
        g.push(*self, &[args[0].value])
    }

    fn structure(&self, args: &[&Type]) -> Structure {
        Structure::Call { routine: self.routine(args[0]), operands: smallvec![0] }
    }

    fn carries(&self, _: usize) -> Option<bool> {
        None
    }
}

impl Definition for LoopLimit {
    const NAME: &'static str = "loop_limit";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        Ok(Self { limit: attrs.digits()? })
    }

    fn samples() -> Vec<Sample> {
        let shapes: [&[usize]; 4] = [&[], &[3], &[2, 0], &[2, 17]];
        let sample = |dims: &[usize]| Sample {
            op: Self { limit: 10 }.into(),
            args: vec![Type::new(DType::Bool, dims)],
            domain: vec![(0.0, 0.0)],
        };
        shapes.into_iter().map(sample).collect()
    }
}
