//! The identity whose derivative is not taken.

use std::fmt;

use smallvec::smallvec;

use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, View,
    arity, no_cotangents,
};
use crate::range::Range;
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Type};

/// `x`, as a constant to differentiation of any order. Pruned once all
/// derivatives have been taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StopGradient;

impl Primitive for StopGradient {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 1, args)?;
        Ok(smallvec![args[0].clone()])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        args[0].clone()
    }

    fn range(&self, args: &[Range]) -> Range {
        args[0]
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
        Structure::View(View { offset: 0, strides: args[0].shape.strides() })
    }

    fn carries(&self, _: usize) -> Option<bool> {
        None
    }
}

impl Definition for StopGradient {
    const NAME: &'static str = "stop_gradient";

    fn parse(_: &mut Attrs<'_>) -> Result<Self, ParseError> {
        Ok(Self)
    }

    fn samples() -> Vec<Sample> {
        let args = vec![Type::new(DType::F64, [3])];
        vec![Sample { op: Self.into(), args, domain: vec![(-2.0, 2.0)] }]
    }
}
