//! Every so many elements of a part, forwards or backwards.

use std::fmt;

use ndarray::SliceInfoElem;
use smallvec::{SmallVec, smallvec};

use crate::array::{Array, Element};
use crate::graph::{Graph, Value};
use crate::nest::Const;
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, View,
    arity, mistake,
};
use crate::ops::{Pad, PadAxis};
use crate::range::Range;
use crate::text::{Attrs, Commas, ParseError};
use crate::ty::{DType, Shape, Type};
use crate::with_array;

/// One axis of a slice: elements `start, start + step, …`, `len` of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SliceAxis {
    /// The first element taken. At most the extent, even if none is taken.
    pub start: usize,
    /// How many are taken. May be 0.
    pub len: usize,
    /// From one to the next; not 0, may be negative.
    pub step: isize,
}

impl SliceAxis {
    /// All elements of an axis of this extent, in order.
    pub const fn all(extent: usize) -> Self {
        Self { start: 0, len: extent, step: 1 }
    }

    /// All elements of an axis of this extent, the last first.
    pub const fn reversed(extent: usize) -> Self {
        Self { start: extent.saturating_sub(1), len: extent, step: -1 }
    }

    /// The last element taken, if there is one and it can be counted.
    fn last(self) -> Option<usize> {
        let steps = isize::try_from(self.len.checked_sub(1)?).ok()?;
        self.start.checked_add_signed(steps.checked_mul(self.step)?)
    }

    /// Whether all that is taken is inside an axis of this extent.
    fn fits(self, extent: usize) -> bool {
        self.step != 0
            && self.start <= extent
            && (self.len == 0
                || self.start < extent && self.last().is_some_and(|last| last < extent))
    }

    /// The pad that puts what was taken, made ascending, back to its place.
    fn back(self, extent: usize) -> PadAxis {
        let Some(last) = self.last() else { return PadAxis { lo: extent, hi: 0, inner: 0 } };
        let (lo, hi) = (self.start.min(last), extent - 1 - self.start.max(last));
        // A single element has no neighbour to keep its distance from.
        let inner = if self.len <= 1 { 0 } else { self.step.unsigned_abs() - 1 };
        PadAxis { lo, hi, inner }
    }
}

/// A part of the operand, all of it inside. Python's rules for negative and
/// missing bounds are the tracer's business.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Slice {
    /// One for each axis.
    pub axes: SmallVec<[SliceAxis; 4]>,
}

/// `x` cut to `cut` on one axis, whole on all others.
#[track_caller]
pub(super) fn slice_axis(g: &mut Graph, x: Value, axis: usize, cut: SliceAxis) -> Value {
    let dims = g.ty(x).dims();
    if cut == SliceAxis::all(dims[axis]) {
        return x;
    }
    let mut axes: SmallVec<[SliceAxis; 4]> = dims.iter().map(|&n| SliceAxis::all(n)).collect();
    axes[axis] = cut;
    g.push(Slice { axes }, &[x])
}

impl Primitive for Slice {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at ({})", Commas(self.axes.iter().map(|a| a.start)))?;
        write!(f, " len ({})", Commas(self.axes.iter().map(|a| a.len)))?;
        write!(f, " step ({})", Commas(self.axes.iter().map(|a| a.step)))
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 1, args)?;
        if args[0].rank() != self.axes.len() {
            let expected = format!("an array of rank {}", self.axes.len());
            return Err(mistake(Self::NAME, expected, args));
        }
        for (i, (a, &extent)) in self.axes.iter().zip(args[0].dims()).enumerate() {
            if !a.fits(extent) {
                let SliceAxis { start, len, step } = a;
                let expected =
                    format!("axis {i} to have {len} elements from {start} in steps of {step}");
                return Err(mistake(Self::NAME, expected, args));
            }
        }
        Ok(smallvec![args[0].with_shape(self.axes.iter().map(|a| a.len).collect::<Shape>())])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        // ndarray takes a half-open interval, and runs through it from its end
        // if the step is negative.
        let part = |a: &SliceAxis| {
            let (lo, hi) = a.last().map_or((0, 0), |z| (a.start.min(z), a.start.max(z) + 1));
            SliceInfoElem::Slice { start: lo as isize, end: Some(hi as isize), step: a.step }
        };
        let parts: SmallVec<[SliceInfoElem; 4]> = self.axes.iter().map(part).collect();
        with_array!(args[0], a => Element::wrap(a.clone().slice_move(&parts[..])))
    }

    fn range(&self, args: &[Range]) -> Range {
        args[0]
    }

    fn jvp(&self, g: &mut Graph, _: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        tangents[0].map(|t| g.push(self.clone(), &[t]))
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, mut ct: Value) -> Cotangents {
        let Type { dtype, shape, .. } = g.ty(at.args[0]).clone();
        if self.axes.iter().any(|a| a.step < 0 && a.len > 1) {
            let flip = |a: &SliceAxis| match a.step {
                ..0 => SliceAxis::reversed(a.len),
                _ => SliceAxis::all(a.len),
            };
            ct = g.push(Self { axes: self.axes.iter().map(flip).collect() }, &[ct]);
        }
        let axes = self.axes.iter().zip(shape.dims()).map(|(a, &n)| a.back(n)).collect();
        let value = Const::of_float(dtype, 0.0);
        smallvec![Some(g.push(Pad { axes, value }, &[ct]))]
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], n: usize) -> Value {
        let axes = std::iter::once(SliceAxis::all(n)).chain(self.axes.iter().copied()).collect();
        g.push(Self { axes }, &[args[0].value])
    }

    fn structure(&self, args: &[&Type]) -> Structure {
        let strides = args[0].shape.strides();
        let each = || self.axes.iter().zip(&strides);
        Structure::View(View {
            offset: each().map(|(a, &s)| a.start as isize * s).sum(),
            strides: each().map(|(a, &s)| if a.len > 1 { a.step * s } else { 0 }).collect(),
        })
    }

    fn carries(&self, _: usize) -> Option<bool> {
        Some(true)
    }
}

impl Definition for Slice {
    const NAME: &'static str = "slice";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        attrs.expect("at")?;
        let starts = attrs.numbers()?;
        attrs.expect("len")?;
        let lens = attrs.numbers()?;
        attrs.expect("step")?;
        let steps = attrs.numbers()?;
        if starts.len() != lens.len() || starts.len() != steps.len() {
            return attrs.error("as many starts, lengths and steps");
        }
        let each = starts.into_iter().zip(lens).zip(steps);
        let axes = each.map(|((start, len), step)| SliceAxis { start, len, step }).collect();
        Ok(Self { axes })
    }

    fn samples() -> Vec<Sample> {
        type Case = (DType, &'static [usize], &'static [(usize, usize, isize)]);
        let cases: [Case; 12] = [
            (DType::F64, &[5], &[(1, 3, 1)]),
            (DType::F64, &[5], &[(4, 5, -1)]),
            (DType::F64, &[6], &[(0, 3, 2)]),
            (DType::F64, &[7], &[(5, 3, -2)]),
            (DType::F64, &[5], &[(3, 1, -4)]),
            (DType::F64, &[3, 4], &[(2, 2, -1), (0, 2, 3)]),
            (DType::F64, &[3, 4], &[(0, 3, 1), (1, 0, 1)]),
            (DType::F64, &[3], &[(3, 0, -1)]),
            (DType::F32, &[0, 2], &[(0, 0, 1), (0, 2, 1)]),
            (DType::F64, &[], &[]),
            (DType::I32, &[4], &[(2, 2, 1)]),
            (DType::Bool, &[2, 2], &[(1, 2, -1), (0, 1, 1)]),
        ];
        let sample = |(dtype, dims, axes): Case| {
            let axis = |&(start, len, step): &(usize, usize, isize)| SliceAxis { start, len, step };
            Sample {
                op: Self { axes: axes.iter().map(axis).collect() }.into(),
                args: vec![Type::new(dtype, dims)],
                domain: vec![(-2.0, 2.0)],
            }
        };
        cases.into_iter().map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_inside_is_taken() {
        let ok = |start, len, step| {
            let op = Slice { axes: smallvec![SliceAxis { start, len, step }] };
            op.infer(&[&Type::new(DType::F32, [5])]).is_ok()
        };
        assert!(ok(0, 5, 1) && ok(4, 5, -1) && ok(0, 3, 2) && ok(5, 0, 1) && ok(3, 1, isize::MIN));
        assert!(!ok(1, 5, 1) && !ok(3, 5, -1) && !ok(0, 4, 2) && !ok(5, 1, 1) && !ok(6, 0, 1));
        assert!(!ok(0, 1, 0), "a step of 0");
        assert!(!ok(4, usize::MAX, -1) && !ok(0, 3, isize::MAX), "what cannot be counted");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let op = Slice { axes: smallvec![SliceAxis { start: 1, len: 3, step: 2 }] };
        let expected =
            |dims: &[usize]| op.infer(&[&Type::new(DType::F32, dims)]).unwrap_err().expected;
        assert_eq!(expected(&[5]), "axis 0 to have 3 elements from 1 in steps of 2");
        assert_eq!(expected(&[5, 5]), "an array of rank 1");
    }
}
