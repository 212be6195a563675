//! Arrays one after the other.

use std::fmt;

use smallvec::{SmallVec, smallvec};

use crate::array::{Array, Element};
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Piece, Primitive, Sample, Site, Structure, TypeError, Types,
    materialise, mistake,
};
use crate::ops::slice::slice_axis;
use crate::ops::{Axes, SliceAxis};
use crate::range::Range;
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Shape, Type};
use crate::with_dtype;

/// The operands one after the other along `axis`; other extents are the same.
/// At least one operand.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Concat {
    /// The axis along which they follow each other.
    pub axis: usize,
}

fn join<T: Element>(args: &[&Array], axis: usize) -> Array {
    let typed = |&a| T::unwrap(a).expect("concat: element types were checked");
    let arrays: SmallVec<[_; 4]> = args.iter().map(|a| typed(a).as_standard_layout()).collect();
    let first = arrays[0].shape();
    let outer: usize = first[..axis].iter().product();
    let mut shape: Axes = first.into();
    shape[axis] = arrays.iter().map(|a| a.shape()[axis]).sum();
    // In turn from each operand what belongs to one position on the axes before.
    let mut data: Vec<T> = Vec::with_capacity(shape.iter().product());
    let slices = arrays.iter().map(|a| a.as_slice().expect("standard layout is contiguous"));
    let slices: SmallVec<[(&[T], usize); 4]> =
        slices.map(|s| (s, s.len().checked_div(outer).unwrap_or(0))).collect();
    for i in 0..outer {
        slices.iter().for_each(|&(s, n)| data.extend_from_slice(&s[i * n..][..n]));
    }
    Array::from_vec(&shape.into(), data).expect("concat: as many elements as the shape has")
}

impl Primitive for Concat {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "on {}", self.axis)
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        let Some(first) = args.first() else {
            return Err(mistake(Self::NAME, "at least one array", args));
        };
        if self.axis >= first.rank() {
            return Err(mistake(Self::NAME, format!("arrays with an axis {}", self.axis), args));
        }
        let others = |t: &Type| t.shape.without(&[self.axis]);
        let alike = |t: &&Type| {
            t.dtype == first.dtype
                && t.stack == 0
                && t.rank() == first.rank()
                && others(t) == others(first)
        };
        if !args.iter().all(alike) {
            let expected = format!("arrays of one element type, alike but on axis {}", self.axis);
            return Err(mistake(Self::NAME, expected, args));
        }
        let total = args.iter().try_fold(0usize, |n, t| n.checked_add(t.dims()[self.axis]));
        let Some(total) = total else {
            return Err(mistake(Self::NAME, "extents that can be counted", args));
        };
        let with_total = |(i, &n): (usize, &usize)| if i == self.axis { total } else { n };
        let shape: Shape = first.dims().iter().enumerate().map(with_total).collect();
        Ok(smallvec![first.with_shape(shape)])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        with_dtype!(args[0].dtype(), T => join::<T>(args, self.axis))
    }

    fn range(&self, args: &[Range]) -> Range {
        args.iter().copied().reduce(Range::union).unwrap_or(Range::ANY)
    }

    fn jvp(&self, g: &mut Graph, at: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        if tangents.iter().all(Option::is_none) {
            return None;
        }
        let each = at.args.iter().zip(tangents);
        let parts: SmallVec<[Value; 4]> =
            each.map(|(&x, t)| t.unwrap_or_else(|| g.like(x, 0.0))).collect();
        Some(g.push(self.clone(), &parts))
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        let mut start = 0;
        let part = |&x: &Value| {
            let len = g.ty(x).dims()[self.axis];
            let cut = SliceAxis { start, len, step: 1 };
            start += len;
            Some(slice_axis(g, ct, self.axis, cut))
        };
        at.args.iter().map(part).collect()
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], n: usize) -> Value {
        let args: SmallVec<[Value; 4]> = args.iter().map(|&a| materialise(g, a, n)).collect();
        g.push(Self { axis: self.axis + 1 }, &args)
    }

    fn structure(&self, args: &[&Type]) -> Structure {
        let mut start = 0;
        let piece = |t: &&Type| {
            let mut offset: Axes = smallvec![0; t.rank()];
            offset[self.axis] = start;
            start += t.dims()[self.axis];
            Piece { offset, steps: smallvec![1; t.rank()] }
        };
        Structure::Assemble { fill: None, pieces: args.iter().map(piece).collect() }
    }

    fn carries(&self, _: usize) -> Option<bool> {
        Some(true)
    }
}

impl Definition for Concat {
    const NAME: &'static str = "concat";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        attrs.expect("on")?;
        Ok(Self { axis: attrs.number()? })
    }

    fn samples() -> Vec<Sample> {
        let cases: [(DType, &[&[usize]], usize); 9] = [
            (DType::F64, &[&[2], &[3]], 0),
            (DType::F64, &[&[2, 3], &[2, 1], &[2, 2]], 1),
            (DType::F64, &[&[1, 3], &[2, 3]], 0),
            (DType::F64, &[&[2, 2]], 1),
            (DType::F64, &[&[0], &[2], &[0]], 0),
            (DType::F64, &[&[2, 0, 3], &[2, 0, 1]], 2),
            (DType::F32, &[&[0], &[0]], 0),
            (DType::I64, &[&[2], &[1]], 0),
            (DType::Bool, &[&[1], &[2]], 0),
        ];
        let sample = |(dtype, args, axis): (_, &[&[usize]], _)| Sample {
            op: Self { axis }.into(),
            args: args.iter().map(|&dims| Type::new(dtype, dims)).collect(),
            domain: vec![(-2.0, 2.0); args.len()],
        };
        cases.into_iter().map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_alternate_on_an_inner_axis() {
        let (a, b) = (ndarray::arr2(&[[1, 2], [3, 4]]), ndarray::arr2(&[[5], [6]]));
        let r = Concat { axis: 1 }.eval(&[&a.into(), &b.into()]);
        assert!(r.same_bits(&ndarray::arr2(&[[1, 2, 5], [3, 4, 6]]).into()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let (a, b) = (Type::new(DType::F32, [2, 3]), Type::new(DType::F32, [3, 3]));
        let expected = |axis, args: &[&Type]| Concat { axis }.infer(args).unwrap_err().expected;
        assert_eq!(expected(0, &[]), "at least one array");
        assert_eq!(expected(2, &[&a, &b]), "arrays with an axis 2");
        assert_eq!(expected(1, &[&a, &b]), "arrays of one element type, alike but on axis 1");
    }
}
