//! The same elements in another shape.

use std::fmt;

use smallvec::smallvec;

use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
    mistake,
};
use crate::range::Range;
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Shape, Type};
use crate::with_array;

/// The elements of `x` in row-major order, as an array of this shape.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reshape {
    /// The new shape, of the same length.
    pub shape: Shape,
}

impl Primitive for Reshape {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to {}", self.shape)
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 1, args)?;
        if self.shape.checked_len() != Some(args[0].len()) {
            let expected = format!("as many elements as {} has", self.shape);
            return Err(mistake(Self::NAME, expected, args));
        }
        Ok(smallvec![args[0].with_shape(self.shape.clone())])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        let x = args[0].standard();
        with_array!(&x, a => {
            let a = a.clone().into_shape_with_order(ndarray::IxDyn(self.shape.dims()));
            crate::Element::wrap(a.expect("reshape: lengths were checked"))
        })
    }

    fn range(&self, args: &[Range]) -> Range {
        args[0]
    }

    fn jvp(&self, g: &mut Graph, _: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        tangents[0].map(|t| g.reshape(t, self.shape.clone()))
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        let shape = g.ty(at.args[0]).shape.clone();
        smallvec![Some(g.reshape(ct, shape))]
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], n: usize) -> Value {
        let dims = self.shape.dims().iter().copied();
        g.reshape(args[0].value, std::iter::once(n).chain(dims).collect::<Shape>())
    }

    fn structure(&self, _: &[&Type]) -> Structure {
        Structure::Reshape
    }

    fn carries(&self, _: usize) -> Option<bool> {
        Some(true)
    }
}

impl Definition for Reshape {
    const NAME: &'static str = "reshape";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        attrs.expect("to")?;
        Ok(Self { shape: attrs.list("[", "]", Attrs::number)?.into() })
    }

    fn samples() -> Vec<Sample> {
        let cases: [(&[usize], &[usize]); 5] =
            [(&[2, 3], &[3, 2]), (&[4], &[2, 1, 2]), (&[], &[1]), (&[1, 1], &[]), (&[0, 3], &[0])];
        let sample = |(from, to): (&[usize], &[usize])| Sample {
            op: Self { shape: to.into() }.into(),
            args: vec![Type::new(DType::F64, from)],
            domain: vec![(-2.0, 2.0)],
        };
        cases.into_iter().map(sample).collect()
    }
}
