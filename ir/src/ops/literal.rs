//! Constant arrays.

use std::fmt;
use std::hash::{Hash, Hasher};

use smallvec::smallvec;

use crate::array::{Array, Element};
use crate::graph::{Graph, Value};
use crate::nest::Const;
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
    no_cotangents,
};
use crate::range::Range;
use crate::text::{Attrs, Constant, ParseError};
use crate::ty::Type;
use crate::with_dtype;

/// An array that is part of the program. Two are equal if their bits are.
#[derive(Clone, Debug)]
pub struct Literal {
    array: Array,
}

impl Literal {
    /// The constant with this value.
    pub fn new(array: Array) -> Self {
        Self { array: array.standard() }
    }

    /// Its value, contiguous.
    pub fn array(&self) -> &Array {
        &self.array
    }

    fn bits(&self) -> impl Iterator<Item = u64> + '_ {
        let n = self.array.dims().iter().product();
        (0..n).map(|i| self.array.get(i).expect("in range").bits)
    }
}

impl PartialEq for Literal {
    fn eq(&self, other: &Self) -> bool {
        self.array.same_bits(&other.array)
    }
}

impl Eq for Literal {}

impl Hash for Literal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.array.ty().hash(state);
        self.bits().for_each(|b| b.hash(state));
    }
}

impl Primitive for Literal {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [", self.array.ty())?;
        let dtype = self.array.dtype();
        for (i, bits) in self.bits().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{}", Constant(Const { dtype, bits }))?;
        }
        f.write_str("]")
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 0, args)?;
        Ok(smallvec![self.array.ty()])
    }

    fn eval(&self, _: &[&Array]) -> Array {
        self.array.clone()
    }

    fn range(&self, _: &[Range]) -> Range {
        Range::of_array(&self.array)
    }

    fn jvp(&self, _: &mut Graph, _: &Site<'_>, _: &[Option<Value>]) -> Option<Value> {
        None
    }

    fn vjp(&self, _: &mut Graph, _: &Site<'_>, _: Value) -> Cotangents {
        no_cotangents(0)
    }

    fn vmap(&self, _: &mut Graph, _: &[Lane], _: usize) -> Value {
        unreachable!("a constant has no operand to be batched")
    }

    fn structure(&self, _: &[&Type]) -> Structure {
        Structure::Source
    }

    fn carries(&self, _: usize) -> Option<bool> {
        None
    }
}

impl Definition for Literal {
    const NAME: &'static str = "const";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        let ty = attrs.ty()?;
        let items = attrs.list("[", "]", |a| a.constant(ty.dtype))?;
        let data = with_dtype!(ty.dtype, T => {
            let data: Vec<T> = items.into_iter().map(T::from_const).collect();
            Array::from_vec(&ty.shape, data)
        });
        data.map_or_else(|| attrs.error("as many elements as the shape has"), |a| Ok(Self::new(a)))
    }

    fn samples() -> Vec<Sample> {
        let arrays = [Array::from(2.5f32), Array::from(ndarray::arr1(&[1i64, -2, 3]))];
        let sample = |a| Sample { op: Self::new(a).into(), args: vec![], domain: vec![] };
        arrays.into_iter().map(sample).collect()
    }
}
