//! Addition at places picked by index: the adjoint of gather.

use std::fmt;

use ndarray::{ArcArray, IxDyn};
use smallvec::smallvec;

use crate::array::{Array, Element};
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
    materialise, mistake,
};
use crate::ops::gather::{
    IndexCase, index_cases, indices, merge_batch, merged_index, picked, to_front,
};
use crate::ops::permute::{inverse, permute};
use crate::ops::{Axes, Gather};
use crate::range::Range;
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Shape, Type};

/// `x` with `[a…, clamp(index[i…]), b…] += u[a…, i…, b…]`, in the order of `i`.
/// Operands: `x`, index (`i32` or `i64`, any rank), `u` of the type that `gather`
/// would give.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ScatterAdd {
    /// The axis of `x` that is indexed.
    pub axis: usize,
}

fn accumulate<T: Element>(
    x: &ArcArray<T, IxDyn>,
    index: &Array,
    u: &Array,
    axis: usize,
    add: impl Fn(T, T) -> T,
) -> Array {
    let extent = x.shape()[axis];
    let inner: usize = x.shape()[axis + 1..].iter().product();
    let index = indices(index, extent);
    let u = T::unwrap(u).expect("scatter_add: element types were checked").as_standard_layout();
    let u = u.as_slice().expect("standard layout is contiguous");
    let mut out = x.as_standard_layout().into_owned();
    let data = out.as_slice_mut().expect("standard layout is contiguous");
    let blocks = data.chunks_exact_mut((extent * inner).max(1));
    for (block, u) in blocks.zip(u.chunks_exact((index.len() * inner).max(1))) {
        for (&i, u) in index.iter().zip(u.chunks_exact(inner.max(1))) {
            for (o, &u) in block[i * inner..][..inner].iter_mut().zip(u) {
                *o = add(*o, u);
            }
        }
    }
    out.into()
}

impl Primitive for ScatterAdd {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "on {}", self.axis)
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 3, args)?;
        if args[0].dtype == DType::Bool {
            return Err(mistake(Self::NAME, "numbers to add", args));
        }
        let u = picked(Self::NAME, self.axis, args[0], args[1], args)?;
        if *args[2] != u {
            return Err(mistake(Self::NAME, format!("{u} to add"), args));
        }
        Ok(smallvec![args[0].clone()])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        let (index, u) = (args[1], args[2]);
        match args[0] {
            Array::F32(x) => accumulate(x, index, u, self.axis, |a, b| a + b),
            Array::F64(x) => accumulate(x, index, u, self.axis, |a, b| a + b),
            Array::I32(x) => accumulate(x, index, u, self.axis, i32::wrapping_add),
            Array::I64(x) => accumulate(x, index, u, self.axis, i64::wrapping_add),
            Array::Bool(_) => unreachable!("scatter_add: element type was checked"),
        }
    }

    fn range(&self, args: &[Range]) -> Range {
        args[0].add(args[2].sum())
    }

    fn jvp(&self, g: &mut Graph, at: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        let Some(u) = tangents[2] else { return tangents[0] };
        let x = tangents[0].unwrap_or_else(|| g.like(at.args[0], 0.0));
        Some(g.push(self.clone(), &[x, at.args[1], u]))
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        let u = g.push(Gather { axis: self.axis }, &[ct, at.args[1]]);
        smallvec![Some(ct), None, Some(u)]
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], n: usize) -> Value {
        let (x, u) = (materialise(g, args[0], n), materialise(g, args[2], n));
        let index = args[1];
        if !index.batched {
            return g.push(Self { axis: self.axis + 1 }, &[x, index.value, u]);
        }
        let shape = g.ty(x).shape.clone();
        let linear = merged_index(g, index.value, n, shape.dims()[self.axis + 1]);
        let merged = merge_batch(g, x, self.axis);
        // Batch, before, index, after: the index comes next to the batch.
        let indexed = g.ty(linear).rank() - 1;
        let after_before = 1 + self.axis;
        let front: Axes = std::iter::once(0).chain(after_before..after_before + indexed).collect();
        let u = permute(g, u, to_front(g.ty(u).rank(), &front));
        let r = g.push(Self { axis: 0 }, &[merged, linear, u]);
        // Split the batch from the axis again, and put that back.
        let perm = to_front(shape.rank(), &[0, self.axis + 1]);
        let split: Shape = perm.iter().map(|&p| shape.dims()[p]).collect();
        let r = g.reshape(r, split);
        permute(g, r, inverse(&perm))
    }

    fn structure(&self, _: &[&Type]) -> Structure {
        Structure::ScatterAdd { axis: self.axis }
    }

    fn carries(&self, i: usize) -> Option<bool> {
        (i != 1).then_some(true)
    }
}

impl Definition for ScatterAdd {
    const NAME: &'static str = "scatter_add";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        attrs.expect("on")?;
        Ok(Self { axis: attrs.number()? })
    }

    fn samples() -> Vec<Sample> {
        let sample = |(dtype, index, dims, by, axis): IndexCase| {
            let (x, index) = (Type::new(dtype, dims), Type::new(index, by));
            let u: Axes = dims[..axis].iter().chain(by).chain(&dims[axis + 1..]).copied().collect();
            let last = dims[axis].saturating_sub(1) as f64;
            Sample {
                op: Self { axis }.into(),
                args: vec![x.clone(), index, x.with_shape(u)],
                domain: vec![(-2.0, 2.0), (0.0, last), (-2.0, 2.0)],
            }
        };
        index_cases().into_iter().map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{elements, whole};

    #[test]
    fn each_element_is_added_where_the_clamped_index_says() {
        for s in ScatterAdd::samples() {
            let crate::Op::ScatterAdd(op) = &s.op else { unreachable!("a sample of scatter_add") };
            let args = [whole(&s.args[0], 0), whole(&s.args[1], 1), whole(&s.args[2], 2)];
            let r = elements(&op.eval(&args.each_ref()));
            let [mut x, index, u] = args.each_ref().map(elements);
            for (at, u) in u.indexed_iter() {
                let at = ndarray::Dimension::slice(&at);
                let (before, rest) = at.split_at(op.axis);
                let (places, after) = rest.split_at(index.ndim());
                let last = x.shape()[op.axis] as f64 - 1.0;
                let i = index[places].clamp(0.0, last) as usize;
                let to: Axes =
                    before.iter().copied().chain([i]).chain(after.iter().copied()).collect();
                x[&to[..]] += u;
            }
            assert_eq!(r, x, "{op:?} of {:?}", s.args);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let (x, index) = (Type::new(DType::F32, [3]), Type::new(DType::I64, [2]));
        let op = ScatterAdd { axis: 0 };
        let error = op.infer(&[&x, &index, &x]).unwrap_err().to_string();
        assert_eq!(error, "scatter_add: expected f32[2] to add, got f32[3], i64[2], f32[3]");
        let mask = Type::new(DType::Bool, [3]);
        assert_eq!(op.infer(&[&mask, &index, &mask]).unwrap_err().expected, "numbers to add");
    }
}
