//! Windows that slide along an axis.

use std::fmt;

use ndarray::{ArcArray, Axis, IxDyn, Slice as Part};
use smallvec::{SmallVec, smallvec};

use crate::array::{Array, Element};
use crate::graph::{Graph, Value};
use crate::nest::{Const, Monoid};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, View,
    arity, mistake,
};
use crate::ops::permute::permute;
use crate::ops::slice::slice_axis;
use crate::ops::{Axes, Pad, PadAxis, SliceAxis};
use crate::range::Range;
use crate::scalar::Scalar;
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Shape, Type};
use crate::with_array;

/// `r[a…, i, b…, k] = x[a…, stride·i + dilation·k, b…]`: the axis counts windows, a
/// new last axis the places in a window. As many windows as fit. It is a view:
/// windows may overlap and cost nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    /// The axis along which windows slide.
    pub axis: usize,
    /// Elements of a window; at least 1.
    pub size: usize,
    /// From one window to the next; at least 1.
    pub stride: usize,
    /// From one element of a window to the next; at least 1.
    pub dilation: usize,
}

impl Window {
    /// From the first element of a window to its last; `None` if too large.
    fn reach(&self) -> Option<usize> {
        self.size.checked_sub(1)?.checked_mul(self.dilation)
    }

    /// Number of windows along an axis of that extent; `None` if none fits.
    fn count(&self, extent: usize) -> Option<usize> {
        let free = extent.checked_sub(self.reach()?.checked_add(1)?)?;
        Some(free / self.stride.max(1) + 1)
    }

    fn shape(&self, x: &Shape) -> Shape {
        let mut dims: Axes = x.dims().into();
        dims[self.axis] = self.count(dims[self.axis]).expect("window: checked by inference");
        dims.push(self.size);
        dims.as_slice().into()
    }

    /// The sum, at each element of the axis, of what windows hold of it.
    ///
    /// Element `i` is at place `k` of the window that starts at `i - dilation·k`. With
    /// a row for each place and zeros where no window starts, the elements wanted lie
    /// on a diagonal. In the flattened rows a diagonal is a window again: so this is
    /// one pad, and a sum of a view.
    fn gathered(&self, g: &mut Graph, ct: Value, extent: usize) -> Value {
        let (rank, axis, size) = (g.ty(ct).rank() - 1, self.axis, self.size);
        // The places go before the windows.
        let perm: Axes = (0..axis).chain([rank]).chain(axis..rank).collect();
        let ct = permute(g, ct, perm);
        let dims: Axes = g.ty(ct).dims().into();
        let reach = (size - 1) * self.dilation;
        let row = reach + extent;
        let used = (dims[axis + 1] - 1) * self.stride + 1;
        let mut axes: SmallVec<[PadAxis; 4]> = SmallVec::from_elem(PadAxis::NONE, rank + 1);
        axes[axis + 1] = PadAxis { lo: reach, hi: extent - used, inner: self.stride - 1 };
        let value = Const::of_float(g.ty(ct).dtype, 0.0);
        let rows = g.push(Pad { axes, value }, &[ct]);
        let flat: Shape =
            dims[..axis].iter().chain([&(size * row)]).chain(&dims[axis + 2..]).copied().collect();
        let rows = g.reshape(rows, flat);
        // One row down and `dilation` back.
        let step = if size > 1 { row - self.dilation } else { 1 };
        let len = extent + (size - 1) * step;
        let rows = slice_axis(g, rows, axis, SliceAxis { start: reach, len, step: 1 });
        let diagonals = Self { axis, size, stride: 1, dilation: step };
        let parts = g.push(diagonals, &[rows]);
        if size > UNROLLED {
            return g.reduce(Monoid::Sum, parts, &[rank]);
        }
        let shape = g.ty(parts).shape.without(&[rank]);
        let part = |g: &mut Graph, start: usize| {
            let x = slice_axis(g, parts, rank, SliceAxis { start, len: 1, step: 1 });
            g.reshape(x, shape.clone())
        };
        let first = part(g, 0);
        (1..size).fold(first, |sum, k| {
            let next = part(g, k);
            g.map(Scalar::Add, &[sum, next])
        })
    }
}

/// Places of a window up to which the elements of an adjoint are added one by one,
/// in vectors, and not in a loop.
const UNROLLED: usize = 16;

fn slide<T: Element>(x: &ArcArray<T, IxDyn>, w: &Window) -> Array {
    let shape = w.shape(&x.shape().into());
    let last = shape.rank() - 1;
    let windows = shape.dims()[w.axis];
    let mut out = ndarray::ArrayD::from_elem(
        IxDyn(shape.dims()),
        T::from_const(Const { dtype: T::DTYPE, bits: 0 }),
    );
    for k in 0..w.size {
        let start = (k * w.dilation) as isize;
        let end = start + ((windows - 1) * w.stride) as isize + 1;
        let part = x.slice_axis(Axis(w.axis), Part::new(start, Some(end), w.stride as isize));
        out.index_axis_mut(Axis(last), k).assign(&part);
    }
    out.into()
}

impl Primitive for Window {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { axis, size, stride, dilation } = self;
        write!(f, "of {size} on {axis} stride {stride} dilation {dilation}")
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 1, args)?;
        if self.size == 0 || self.stride == 0 || self.dilation == 0 {
            return Err(mistake(Self::NAME, "a size, stride and dilation of at least 1", args));
        }
        let count = args[0].dims().get(self.axis).and_then(|&n| self.count(n));
        if count.is_none() {
            let expected = format!("an array with room for a window on axis {}", self.axis);
            return Err(mistake(Self::NAME, expected, args));
        }
        Ok(smallvec![args[0].with_shape(self.shape(&args[0].shape))])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        with_array!(args[0], x => slide(x, self))
    }

    fn range(&self, args: &[Range]) -> Range {
        args[0]
    }

    fn jvp(&self, g: &mut Graph, _: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        tangents[0].map(|t| g.push(self.clone(), &[t]))
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        let extent = g.ty(at.args[0]).dims()[self.axis];
        smallvec![Some(self.gathered(g, ct, extent))]
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], _: usize) -> Value {
        g.push(Self { axis: self.axis + 1, ..self.clone() }, &[args[0].value])
    }

    fn structure(&self, args: &[&Type]) -> Structure {
        let mut strides = args[0].shape.strides();
        let own = strides[self.axis];
        strides[self.axis] = own * self.stride as isize;
        strides.push(own * self.dilation as isize);
        // Along what has one element there is no step.
        let shape = self.shape(&args[0].shape);
        for (s, _) in strides.iter_mut().zip(shape.dims()).filter(|(_, n)| **n <= 1) {
            *s = 0;
        }
        Structure::View(View { offset: 0, strides })
    }

    fn carries(&self, _: usize) -> Option<bool> {
        Some(true)
    }
}

impl Definition for Window {
    const NAME: &'static str = "window";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        attrs.expect("of")?;
        let size = attrs.number()?;
        attrs.expect("on")?;
        let axis = attrs.number()?;
        attrs.expect("stride")?;
        let stride = attrs.number()?;
        attrs.expect("dilation")?;
        Ok(Self { axis, size, stride, dilation: attrs.number()? })
    }

    fn samples() -> Vec<Sample> {
        type Case = (DType, &'static [usize], [usize; 4]);
        let cases: [Case; 14] = [
            (DType::F64, &[5], [0, 3, 1, 1]),
            (DType::F64, &[5], [0, 1, 1, 1]),
            (DType::F64, &[5], [0, 1, 2, 3]),
            (DType::F64, &[6], [0, 2, 2, 1]),
            (DType::F64, &[8], [0, 3, 2, 2]),
            (DType::F64, &[9], [0, 2, 4, 3]),
            (DType::F64, &[3, 5], [0, 2, 1, 1]),
            (DType::F64, &[2, 5, 3], [1, 3, 2, 1]),
            (DType::F64, &[4, 2], [0, 4, 1, 1]),
            (DType::F64, &[2, 20, 2], [1, 17, 2, 1]),
            (DType::F64, &[0, 4], [1, 2, 1, 2]),
            (DType::F32, &[7], [0, 3, 3, 1]),
            (DType::I32, &[2, 4], [1, 2, 1, 1]),
            (DType::Bool, &[3], [0, 2, 1, 1]),
        ];
        let sample = |(dtype, dims, [axis, size, stride, dilation]): Case| Sample {
            op: Self { axis, size, stride, dilation }.into(),
            args: vec![Type::new(dtype, dims)],
            domain: vec![(-2.0, 2.0)],
        };
        cases.into_iter().map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{elements, whole};

    #[test]
    fn each_place_of_each_window_is_the_element_it_names() {
        for s in Window::samples() {
            let crate::Op::Window(op) = &s.op else { unreachable!("a sample of window") };
            let x = whole(&s.args[0], 0);
            let (r, x) = (elements(&op.eval(&[&x])), elements(&x));
            for (at, r) in r.indexed_iter() {
                let at = ndarray::Dimension::slice(&at);
                let (&k, at) = at.split_last().expect("a last axis");
                let mut from: Axes = at.into();
                from[op.axis] = op.stride * at[op.axis] + op.dilation * k;
                assert_eq!(*r, x[&from[..]], "{op:?} of {:?} at {at:?}", s.args);
            }
        }
    }

    #[test]
    fn windows_have_to_fit() {
        let of = |size, stride, dilation| {
            let op = Window { axis: 0, size, stride, dilation };
            op.infer(&[&Type::new(DType::F32, [5])]).map(|t| t[0].dims().to_vec())
        };
        assert_eq!(of(5, 1, 1), Ok(vec![1, 5]));
        assert_eq!(of(2, 3, 1), Ok(vec![2, 2]));
        assert_eq!(of(3, 1, 2), Ok(vec![1, 3]));
        assert!(of(6, 1, 1).is_err() && of(3, 1, 3).is_err() && of(0, 1, 1).is_err());
        assert!(of(1, 0, 1).is_err() && of(2, 1, 0).is_err());
        assert!(of(usize::MAX, 1, usize::MAX).is_err());
    }
}
