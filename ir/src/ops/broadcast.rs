//! Repetition along new or stretched axes.

use std::fmt;

use ndarray::{ArcArray, Axis, IxDyn};
use smallvec::smallvec;

use crate::array::{Array, Element};
use crate::graph::{Graph, Value};
use crate::nest::Monoid;
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, View,
    arity, mistake,
};
use crate::ops::Axes;
use crate::range::Range;
use crate::text::{Attrs, Commas, ParseError};
use crate::ty::{DType, Shape, Type};
use crate::with_array;

/// The operand repeated to `shape`: its axis `i` becomes axis `dims[i]` (ascending),
/// with the same extent or, if its extent is 1, stretched. Other axes are new.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Broadcast {
    /// Shape of the result.
    pub shape: Shape,
    /// For each axis of the operand, which axis of the result it is. Ascending.
    pub dims: Axes,
}

fn repeat<T: Element>(a: &ArcArray<T, IxDyn>, shape: &[usize], dims: &[usize]) -> Array {
    // One element is by far the commonest: a plain fill.
    if a.len() == 1 {
        let x = *a.first().expect("one element");
        return T::wrap(ArcArray::from_elem(IxDyn(shape), x));
    }
    let mut a = a.view();
    for axis in (0..shape.len()).filter(|axis| !dims.contains(axis)) {
        a = a.insert_axis(Axis(axis));
    }
    let a = a.broadcast(IxDyn(shape)).expect("broadcast: extents were checked");
    T::wrap(a.to_owned().into_shared())
}

impl Primitive for Broadcast {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to {} along ({})", self.shape, Commas(&self.dims))
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 1, args)?;
        let (from, to) = (args[0].dims(), self.shape.dims());
        let wrong = |expected: String| Err(mistake(Self::NAME, expected, args));
        if self.dims.len() != from.len() {
            return wrong(format!("an array of rank {}", self.dims.len()));
        }
        if !self.dims.is_sorted_by(|a, b| a < b) || self.dims.iter().any(|&d| d >= to.len()) {
            let dims = self.dims.as_slice();
            return wrong(format!("ascending axes of {}, not {dims:?}", self.shape));
        }
        let fits = |(&n, &d): (&usize, &usize)| n == 1 || n == to[d];
        if !from.iter().zip(&self.dims).all(fits) {
            let wanted: Shape = self.dims.iter().map(|&d| to[d]).collect();
            return wrong(format!("an array of shape {wanted}, or with extents of 1 to stretch"));
        }
        Ok(smallvec![args[0].with_shape(self.shape.clone())])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        with_array!(args[0], a => repeat(a, self.shape.dims(), &self.dims))
    }

    fn range(&self, args: &[Range]) -> Range {
        args[0]
    }

    fn jvp(&self, g: &mut Graph, _: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        tangents[0].map(|t| g.push(self.clone(), &[t]))
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        let shape = g.ty(at.args[0]).shape.clone();
        let to = self.shape.dims();
        // An axis is kept if it is the operand's and as long as there.
        let kept = |axis: usize| {
            let from = self.dims.iter().position(|&d| d == axis);
            from.is_some_and(|i| shape.dims()[i] == to[axis])
        };
        let summed: Axes = (0..to.len()).filter(|&axis| !kept(axis)).collect();
        let sum = g.reduce(Monoid::Sum, ct, &summed);
        smallvec![Some(g.reshape(sum, shape))]
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], n: usize) -> Value {
        let shape = std::iter::once(n).chain(self.shape.dims().iter().copied()).collect();
        let dims = std::iter::once(0).chain(self.dims.iter().map(|d| d + 1)).collect();
        g.push(Self { shape, dims }, &[args[0].value])
    }

    fn structure(&self, args: &[&Type]) -> Structure {
        let mut strides = smallvec![0; self.shape.rank()];
        for ((&d, &n), s) in self.dims.iter().zip(args[0].dims()).zip(args[0].shape.strides()) {
            strides[d] = if n == 1 { 0 } else { s };
        }
        Structure::View(View { offset: 0, strides })
    }

    fn carries(&self, _: usize) -> Option<bool> {
        Some(true)
    }
}

impl Definition for Broadcast {
    const NAME: &'static str = "broadcast";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        attrs.expect("to")?;
        let shape = attrs.list("[", "]", Attrs::number)?.into();
        attrs.expect("along")?;
        Ok(Self { shape, dims: attrs.numbers()?.into() })
    }

    fn samples() -> Vec<Sample> {
        type Case = (DType, &'static [usize], &'static [usize], &'static [usize]);
        let cases: [Case; 11] = [
            (DType::F64, &[], &[2, 3], &[]),
            (DType::F64, &[3], &[2, 3], &[1]),
            (DType::F64, &[2], &[2, 3], &[0]),
            (DType::F64, &[2, 1], &[2, 3], &[0, 1]),
            (DType::F64, &[1, 3], &[2, 4, 3], &[0, 2]),
            (DType::F64, &[1], &[1, 1], &[1]),
            (DType::F64, &[1], &[0, 2], &[1]),
            (DType::F64, &[1], &[0], &[0]),
            (DType::F32, &[0], &[2, 0], &[1]),
            (DType::I32, &[2], &[2, 2], &[1]),
            (DType::Bool, &[1, 2], &[3, 2], &[0, 1]),
        ];
        let sample = |(dtype, from, to, dims): Case| Sample {
            op: Self { shape: to.into(), dims: dims.into() }.into(),
            args: vec![Type::new(dtype, from)],
            domain: vec![(-2.0, 2.0)],
        };
        cases.into_iter().map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        let expected = |from: &[usize], to: &[usize], dims: &[usize]| {
            let op = Broadcast { shape: to.into(), dims: dims.into() };
            op.infer(&[&Type::new(DType::F32, from)]).unwrap_err().expected
        };
        assert_eq!(expected(&[2], &[2, 3], &[]), "an array of rank 0");
        assert_eq!(expected(&[2, 3], &[2, 3], &[1, 0]), "ascending axes of [2,3], not [1, 0]");
        assert_eq!(expected(&[2], &[2, 3], &[2]), "ascending axes of [2,3], not [2]");
        let stretched = "an array of shape [3], or with extents of 1 to stretch";
        assert_eq!(expected(&[2], &[2, 3], &[1]), stretched);
    }

    #[test]
    fn what_cannot_be_addressed_is_refused() {
        let op = Broadcast { shape: [usize::MAX, 2].into(), dims: Axes::new() };
        let error = crate::Op::from(op).infer(&[&Type::scalar(DType::Bool)]).unwrap_err();
        assert_eq!(error.expected, "a result that can be addressed in memory");
    }
}
