//! Elements around and between.

use std::fmt;

use ndarray::{ArcArray, IxDyn, SliceInfoElem};
use smallvec::{SmallVec, smallvec};

use crate::array::{Array, Element};
use crate::graph::{Graph, Value};
use crate::nest::Const;
use crate::op::{
    Cotangents, Definition, Lane, Piece, Primitive, Sample, Site, Structure, TypeError, Types,
    arity, mistake,
};
use crate::ops::{Slice, SliceAxis};
use crate::range::Range;
use crate::text::{Attrs, Commas, Constant, ParseError};
use crate::ty::{Shape, Type};
use crate::with_array;

/// One axis of a pad.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PadAxis {
    /// Elements put before the first.
    pub lo: usize,
    /// Elements put after the last.
    pub hi: usize,
    /// Elements put between two neighbours.
    pub inner: usize,
}

impl PadAxis {
    /// Nothing is put anywhere.
    pub const NONE: Self = Self { lo: 0, hi: 0, inner: 0 };

    /// Extent of the result; `None` where it cannot be counted.
    fn extent(self, n: usize) -> Option<usize> {
        let between = n.saturating_sub(1).checked_mul(self.inner)?;
        n.checked_add(between)?.checked_add(self.lo)?.checked_add(self.hi)
    }
}

/// The operand with elements of one value put around and between its own. The
/// adjoint of a slice.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pad {
    /// One for each axis.
    pub axes: SmallVec<[PadAxis; 4]>,
    /// The value; of the operand's element type.
    pub value: Const,
}

impl Pad {
    /// Where the operand's elements are in the result, for an operand of these extents.
    fn places<'a>(&'a self, dims: &'a [usize]) -> impl Iterator<Item = SliceAxis> + 'a {
        self.axes.iter().zip(dims).map(|(a, &len)| SliceAxis {
            start: a.lo,
            len,
            step: if len > 1 { a.inner as isize + 1 } else { 1 },
        })
    }

    fn result(&self, dims: &[usize]) -> Option<Shape> {
        self.axes.iter().zip(dims).map(|(a, &n)| a.extent(n)).collect()
    }
}

fn surround<T: Element>(a: &ArcArray<T, IxDyn>, pad: &Pad) -> Array {
    let shape = pad.result(a.shape()).expect("pad: extents were checked");
    let mut out = ndarray::ArrayD::from_elem(IxDyn(shape.dims()), T::from_const(pad.value));
    let part = |s: SliceAxis| {
        let end = if s.len == 0 { s.start } else { s.start + (s.len - 1) * s.step as usize + 1 };
        SliceInfoElem::Slice { start: s.start as isize, end: Some(end as isize), step: s.step }
    };
    let parts: SmallVec<[SliceInfoElem; 4]> = pad.places(a.shape()).map(part).collect();
    out.slice_mut(&parts[..]).assign(a);
    out.into()
}

impl Primitive for Pad {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lo ({})", Commas(self.axes.iter().map(|a| a.lo)))?;
        write!(f, " hi ({})", Commas(self.axes.iter().map(|a| a.hi)))?;
        write!(f, " inner ({})", Commas(self.axes.iter().map(|a| a.inner)))?;
        write!(f, " with {} {}", self.value.dtype, Constant(self.value))
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 1, args)?;
        if args[0].rank() != self.axes.len() || args[0].dtype != self.value.dtype {
            let expected = format!("an array of {} of rank {}", self.value.dtype, self.axes.len());
            return Err(mistake(Self::NAME, expected, args));
        }
        match self.result(args[0].dims()) {
            Some(shape) => Ok(smallvec![args[0].with_shape(shape)]),
            None => Err(mistake(Self::NAME, "extents that can be counted", args)),
        }
    }

    fn eval(&self, args: &[&Array]) -> Array {
        with_array!(args[0], a => surround(a, self))
    }

    fn range(&self, args: &[Range]) -> Range {
        args[0].union(Range::exactly(self.value.to_f64()))
    }

    fn jvp(&self, g: &mut Graph, _: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        let value = Const::of_float(self.value.dtype, 0.0);
        tangents[0].map(|t| g.push(Self { value, ..self.clone() }, &[t]))
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        let axes = self.places(g.ty(at.args[0]).dims()).collect();
        smallvec![Some(g.push(Slice { axes }, &[ct]))]
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], _: usize) -> Value {
        let axes = std::iter::once(PadAxis::NONE).chain(self.axes.iter().copied()).collect();
        g.push(Self { axes, value: self.value }, &[args[0].value])
    }

    fn structure(&self, args: &[&Type]) -> Structure {
        let places = || self.places(args[0].dims());
        let piece = Piece {
            offset: places().map(|s| s.start).collect(),
            steps: places().map(|s| s.step as usize).collect(),
        };
        Structure::Assemble { fill: Some(self.value), pieces: smallvec![piece] }
    }

    fn carries(&self, _: usize) -> Option<bool> {
        Some(true)
    }
}

impl Definition for Pad {
    const NAME: &'static str = "pad";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        attrs.expect("lo")?;
        let lo = attrs.numbers()?;
        attrs.expect("hi")?;
        let hi = attrs.numbers()?;
        attrs.expect("inner")?;
        let inner = attrs.numbers()?;
        if lo.len() != hi.len() || lo.len() != inner.len() {
            return attrs.error("as many before, after and between");
        }
        let each = lo.into_iter().zip(hi).zip(inner);
        let axes = each.map(|((lo, hi), inner)| PadAxis { lo, hi, inner }).collect();
        attrs.expect("with")?;
        let dtype = attrs.dtype()?;
        Ok(Self { axes, value: attrs.constant(dtype)? })
    }

    fn samples() -> Vec<Sample> {
        type Case = (&'static [usize], &'static [(usize, usize, usize)], Const);
        let cases: [Case; 11] = [
            (&[3], &[(1, 2, 0)], 0.0f64.to_const()),
            (&[3], &[(0, 0, 2)], 1.5f64.to_const()),
            (&[2, 3], &[(1, 0, 1), (0, 2, 3)], (-0.5f64).to_const()),
            (&[2, 0], &[(0, 1, 1), (2, 1, 4)], 2.0f64.to_const()),
            (&[0], &[(0, 0, 1)], 0.0f64.to_const()),
            (&[1], &[(2, 1, 3)], 0.0f64.to_const()),
            (&[], &[], 0.0f64.to_const()),
            (&[2], &[(1, 1, 0)], f32::NEG_INFINITY.to_const()),
            (&[2], &[(1, 1, 0)], f32::NAN.to_const()),
            (&[2, 2], &[(1, 0, 0), (0, 1, 1)], (-7i32).to_const()),
            (&[2], &[(0, 1, 1)], true.to_const()),
        ];
        let sample = |(dims, axes, value): Case| {
            let axis = |&(lo, hi, inner): &(usize, usize, usize)| PadAxis { lo, hi, inner };
            Sample {
                op: Self { axes: axes.iter().map(axis).collect(), value }.into(),
                args: vec![Type::new(value.dtype, dims)],
                domain: vec![(-2.0, 2.0)],
            }
        };
        cases.into_iter().map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ty::DType;

    #[test]
    fn elements_are_kept_apart() {
        let axes = smallvec![PadAxis { lo: 1, hi: 2, inner: 1 }];
        let r = Pad { axes, value: 9i32.to_const() }.eval(&[&ndarray::arr1(&[1, 2, 3]).into()]);
        assert!(r.same_bits(&ndarray::arr1(&[9, 1, 9, 2, 9, 3, 9, 9]).into()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let expected = |inner, ty: Type| {
            let axes = smallvec![PadAxis { lo: 1, hi: 0, inner }];
            Pad { axes, value: 0.0f32.to_const() }.infer(&[&ty]).unwrap_err().expected
        };
        let integers = Type::new(DType::I32, [3]);
        assert_eq!(expected(0, integers), "an array of f32 of rank 1");
        let row = Type::new(DType::F32, [3]);
        assert_eq!(expected(usize::MAX, row), "extents that can be counted");
    }
}
