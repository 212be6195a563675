//! What the caller passes.

use std::fmt;

use smallvec::smallvec;

use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
    no_cotangents,
};
use crate::range::Range;
use crate::text::{Attrs, ParseError};
use crate::ty::Type;

/// The `index`th input.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Input {
    /// Its position among the inputs.
    pub index: usize,
    /// Its type.
    pub ty: Type,
}

impl Primitive for Input {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.index)
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 0, args)?;
        Ok(smallvec![self.ty.clone()])
    }

    fn eval(&self, _: &[&Array]) -> Array {
        unreachable!("inputs are bound before evaluation")
    }

    fn range(&self, _: &[Range]) -> Range {
        Range::of_dtype(self.ty.dtype)
    }

    fn jvp(&self, _: &mut Graph, _: &Site<'_>, _: &[Option<Value>]) -> Option<Value> {
        None
    }

    fn vjp(&self, _: &mut Graph, _: &Site<'_>, _: Value) -> Cotangents {
        no_cotangents(0)
    }

    fn vmap(&self, _: &mut Graph, _: &[Lane], _: usize) -> Value {
        unreachable!("an input has no operand to be batched")
    }

    fn structure(&self, _: &[&Type]) -> Structure {
        Structure::Source
    }

    fn carries(&self, _: usize) -> Option<bool> {
        None
    }
}

impl Definition for Input {
    const NAME: &'static str = "input";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        // Inputs stand in the header of a graph, never in its body.
        attrs.error("an operation")
    }

    fn samples() -> Vec<Sample> {
        Vec::new()
    }
}
