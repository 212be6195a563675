//! Elements picked by index.

use std::fmt;

use ndarray::{ArcArray, Axis, IxDyn};
use smallvec::smallvec;

use crate::array::{Array, Element};
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
    mistake,
};
use crate::ops::permute::permute;
use crate::ops::{Axes, Iota, ScatterAdd};
use crate::range::Range;
use crate::scalar::Scalar;
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Shape, Type};
use crate::with_array;

/// `r[a…, i…, b…] = x[a…, clamp(index[i…]), b…]`: NumPy's `take` along `axis`, where an
/// index below 0 is taken as 0 and one above the last as the last. Operands:
/// `x`, and an `i32` or `i64` array of any rank. The axis indexed is not empty
/// unless there is no index.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Gather {
    /// The axis of `x` that is indexed; replaced by the axes of the index.
    pub axis: usize,
}

/// Checks `x` and its index, and gives the type of what is picked.
pub(super) fn picked(
    op: &str,
    axis: usize,
    x: &Type,
    index: &Type,
    args: &[&Type],
) -> Result<Type, TypeError> {
    if axis >= x.rank() {
        return Err(mistake(op, format!("an array with an axis {axis} first"), args));
    }
    if !index.dtype.is_int() {
        return Err(mistake(op, "i32 or i64 as index", args));
    }
    let dims = x.dims();
    if dims[axis] == 0 && !index.is_empty() {
        return Err(mistake(op, format!("an element on axis {axis} to index"), args));
    }
    let dims = dims[..axis].iter().chain(index.dims()).chain(&dims[axis + 1..]);
    Ok(x.with_shape(dims.copied().collect::<Shape>()))
}

/// The indices of an axis of that extent, clamped.
pub(super) fn indices(index: &Array, extent: usize) -> Vec<usize> {
    let clamp = |i: i64| usize::try_from(i).unwrap_or(0).min(extent.saturating_sub(1));
    match index {
        Array::I32(a) => a.iter().map(|&i| clamp(i.into())).collect(),
        Array::I64(a) => a.iter().map(|&i| clamp(i)).collect(),
        _ => unreachable!("the index was type-checked"),
    }
}

/// For an index with a batch axis in front, of an array whose batch was merged
/// with the axis indexed: where `extent` elements belong to each lane.
pub(super) fn merged_index(g: &mut Graph, index: Value, n: usize, extent: usize) -> Value {
    // The product of extents may not fit in an `i32`.
    let index = g.cast(index, DType::I64);
    let ty = g.ty(index).clone();
    let (first, last) = (g.like(index, 0.0), g.splat(&ty, extent.saturating_sub(1) as f64));
    let index = g.map(Scalar::Max, &[index, first]);
    let index = g.map(Scalar::Min, &[index, last]);
    let lane = g.push(Iota { ty: Type::new(DType::I64, [n]), axis: 0 }, &[]);
    let lane = g.broadcast(lane, &ty.shape, &[0]);
    let stride = g.splat(&ty, extent as f64);
    let start = g.map(Scalar::Mul, &[lane, stride]);
    g.map(Scalar::Add, &[start, index])
}

/// A batched `x` with its batch and the axis it is indexed on merged in front.
pub(super) fn merge_batch(g: &mut Graph, x: Value, axis: usize) -> Value {
    let x = permute(g, x, to_front(g.ty(x).rank(), &[0, axis + 1]));
    let dims = g.ty(x).dims();
    let merged: Shape =
        std::iter::once(dims[0] * dims[1]).chain(dims[2..].iter().copied()).collect();
    g.reshape(x, merged)
}

/// The permutation that puts these axes in front and leaves the others in order.
pub(super) fn to_front(rank: usize, axes: &[usize]) -> Axes {
    axes.iter().copied().chain((0..rank).filter(|i| !axes.contains(i))).collect()
}

fn take<T: Element>(x: &ArcArray<T, IxDyn>, index: &Array, axis: usize, shape: &Shape) -> Array {
    let extent = x.shape()[axis];
    let index = indices(index, extent);
    let Some(data) = x.as_slice() else {
        let picked = x.select(Axis(axis), &index);
        let picked = picked.as_standard_layout().into_owned();
        return picked
            .into_shape_with_order(IxDyn(shape.dims()))
            .expect("gather: same length")
            .into();
    };
    let inner: usize = x.shape()[axis + 1..].iter().product();
    let mut out: Vec<T> = Vec::with_capacity(shape.len());
    for block in data.chunks_exact((extent * inner).max(1)) {
        if inner == 1 {
            out.extend(index.iter().map(|&i| block[i]));
        } else {
            index.iter().for_each(|&i| out.extend_from_slice(&block[i * inner..][..inner]));
        }
    }
    Array::from_vec(shape, out).expect("gather: as many elements as the shape has")
}

impl Primitive for Gather {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "on {}", self.axis)
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 2, args)?;
        Ok(smallvec![picked(Self::NAME, self.axis, args[0], args[1], args)?])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        let x = args[0].dims();
        let dims = x[..self.axis].iter().chain(args[1].dims()).chain(&x[self.axis + 1..]);
        let shape: Shape = dims.copied().collect();
        with_array!(args[0], x => take(x, args[1], self.axis, &shape))
    }

    fn range(&self, args: &[Range]) -> Range {
        args[0]
    }

    fn jvp(&self, g: &mut Graph, at: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        tangents[0].map(|t| g.push(self.clone(), &[t, at.args[1]]))
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        let zero = g.like(at.args[0], 0.0);
        let x_ct = g.push(ScatterAdd { axis: self.axis }, &[zero, at.args[1], ct]);
        smallvec![Some(x_ct), None]
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], n: usize) -> Value {
        let (x, index) = (args[0], args[1]);
        if !index.batched {
            return g.push(Self { axis: self.axis + 1 }, &[x.value, index.value]);
        }
        if !x.batched {
            let r = g.push(self.clone(), &[x.value, index.value]);
            let perm = to_front(g.ty(r).rank(), &[self.axis]);
            return permute(g, r, perm);
        }
        let extent = g.ty(x.value).dims()[self.axis + 1];
        let linear = merged_index(g, index.value, n, extent);
        let merged = merge_batch(g, x.value, self.axis);
        let r = g.push(Self { axis: 0 }, &[merged, linear]);
        // Batch, index, before, after: the index goes back between the other two.
        let indexed = g.ty(linear).rank();
        let rank = g.ty(r).rank();
        let before = indexed..indexed + self.axis;
        let perm =
            std::iter::once(0).chain(before.clone()).chain(1..indexed).chain(before.end..rank);
        permute(g, r, perm.collect())
    }

    fn structure(&self, _: &[&Type]) -> Structure {
        Structure::Gather { axis: self.axis }
    }

    fn carries(&self, i: usize) -> Option<bool> {
        (i == 0).then_some(true)
    }
}

impl Definition for Gather {
    const NAME: &'static str = "gather";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        attrs.expect("on")?;
        Ok(Self { axis: attrs.number()? })
    }

    fn samples() -> Vec<Sample> {
        let sample = |(dtype, index, dims, by, axis): IndexCase| Sample {
            op: Self { axis }.into(),
            args: vec![Type::new(dtype, dims), Type::new(index, by)],
            domain: vec![(-2.0, 2.0), (0.0, dims[axis].saturating_sub(1) as f64)],
        };
        index_cases().into_iter().map(sample).collect()
    }
}

/// Element types of array and index, shapes of both, the axis indexed.
pub(super) type IndexCase = (DType, DType, &'static [usize], &'static [usize], usize);

/// More picks than elements, so that some are picked twice.
pub(super) fn index_cases() -> [IndexCase; 12] {
    [
        (DType::F64, DType::I64, &[3], &[5], 0),
        (DType::F64, DType::I64, &[3], &[], 0),
        (DType::F64, DType::I32, &[3, 2], &[4], 0),
        (DType::F64, DType::I64, &[2, 3], &[2], 1),
        (DType::F64, DType::I64, &[2, 3, 2], &[2, 2], 1),
        (DType::F64, DType::I32, &[2, 1], &[3], 1),
        (DType::F64, DType::I64, &[2, 0, 2], &[0], 1),
        (DType::F64, DType::I64, &[0, 2], &[3], 1),
        (DType::F64, DType::I64, &[2, 2], &[2, 0], 0),
        (DType::F32, DType::I64, &[3], &[2], 0),
        (DType::I32, DType::I32, &[3], &[2], 0),
        (DType::I64, DType::I64, &[2, 2], &[3], 1),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{elements, whole};

    #[test]
    fn each_element_is_the_one_the_clamped_index_names() {
        for s in Gather::samples() {
            let crate::Op::Gather(op) = &s.op else { unreachable!("a sample of gather") };
            // Indices from before the first element to behind the last.
            let (x, index) = (whole(&s.args[0], 0), whole(&s.args[1], 1));
            let r = elements(&op.eval(&[&x, &index]));
            let (x, index) = (elements(&x), elements(&index));
            for (at, r) in r.indexed_iter() {
                let at = ndarray::Dimension::slice(&at);
                let (before, rest) = at.split_at(op.axis);
                let (places, after) = rest.split_at(index.ndim());
                let last = x.shape()[op.axis] as f64 - 1.0;
                let i = index[places].clamp(0.0, last) as usize;
                let from: Axes =
                    before.iter().copied().chain([i]).chain(after.iter().copied()).collect();
                assert_eq!(*r, x[&from[..]], "{op:?} of {:?} at {at:?}", s.args);
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let expected = |axis, x: &[usize], index: DType| {
            let (x, index) = (Type::new(DType::F32, x), Type::new(index, [2]));
            Gather { axis }.infer(&[&x, &index]).unwrap_err().expected
        };
        assert_eq!(expected(1, &[3], DType::I64), "an array with an axis 1 first");
        assert_eq!(expected(0, &[3], DType::F64), "i32 or i64 as index");
        assert_eq!(expected(0, &[0], DType::I32), "an element on axis 0 to index");
    }
}
