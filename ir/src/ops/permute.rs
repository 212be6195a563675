//! Axes in another order.

use std::fmt;

use ndarray::IxDyn;
use smallvec::smallvec;

use crate::array::{Array, Element};
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, View,
    arity, mistake,
};
use crate::ops::Axes;
use crate::range::Range;
use crate::text::{Attrs, Commas, ParseError};
use crate::ty::{DType, Shape, Type};
use crate::with_array;

/// Axis `i` of the result is axis `perm[i]` of the operand.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Permute {
    /// A permutation of the operand's axes.
    pub perm: Axes,
}

/// `x` with axis `perm[i]` as its `i`th; `x` itself if they stay in order.
#[track_caller]
pub(super) fn permute(g: &mut Graph, x: Value, perm: Axes) -> Value {
    if perm.is_sorted() { x } else { g.push(Permute { perm }, &[x]) }
}

/// The permutation that undoes this one.
pub(super) fn inverse(perm: &[usize]) -> Axes {
    let mut out: Axes = smallvec![0; perm.len()];
    for (i, &p) in perm.iter().enumerate() {
        out[p] = i;
    }
    out
}

impl Primitive for Permute {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by ({})", Commas(&self.perm))
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 1, args)?;
        if self.perm.len() != args[0].rank() {
            let expected = format!("an array of rank {}", self.perm.len());
            return Err(mistake(Self::NAME, expected, args));
        }
        let mut sorted = self.perm.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..args[0].rank()) {
            let expected = format!("each axis once, not {:?}", self.perm.as_slice());
            return Err(mistake(Self::NAME, expected, args));
        }
        let dims = args[0].dims();
        Ok(smallvec![args[0].with_shape(self.perm.iter().map(|&p| dims[p]).collect::<Shape>())])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        with_array!(args[0], a => Element::wrap(a.clone().permuted_axes(IxDyn(&self.perm))))
    }

    fn range(&self, args: &[Range]) -> Range {
        args[0]
    }

    fn jvp(&self, g: &mut Graph, _: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        tangents[0].map(|t| g.push(self.clone(), &[t]))
    }

    fn vjp(&self, g: &mut Graph, _: &Site<'_>, ct: Value) -> Cotangents {
        smallvec![Some(permute(g, ct, inverse(&self.perm)))]
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], _: usize) -> Value {
        let perm = std::iter::once(0).chain(self.perm.iter().map(|p| p + 1)).collect();
        g.push(Self { perm }, &[args[0].value])
    }

    fn structure(&self, args: &[&Type]) -> Structure {
        let strides = args[0].shape.strides();
        let strides = self.perm.iter().map(|&p| strides[p]).collect();
        Structure::View(View { offset: 0, strides })
    }

    fn carries(&self, _: usize) -> Option<bool> {
        Some(true)
    }
}

impl Definition for Permute {
    const NAME: &'static str = "permute";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        attrs.expect("by")?;
        Ok(Self { perm: attrs.numbers()?.into() })
    }

    fn samples() -> Vec<Sample> {
        let cases: [(DType, &[usize], &[usize]); 7] = [
            (DType::F64, &[2, 3], &[1, 0]),
            (DType::F64, &[2, 3, 4], &[2, 0, 1]),
            (DType::F64, &[3, 1, 2], &[0, 2, 1]),
            (DType::F32, &[2, 0], &[1, 0]),
            (DType::F64, &[], &[]),
            (DType::I64, &[3], &[0]),
            (DType::Bool, &[2, 3], &[1, 0]),
        ];
        let sample = |(dtype, dims, perm): (_, &[usize], &[usize])| Sample {
            op: Self { perm: perm.into() }.into(),
            args: vec![Type::new(dtype, dims)],
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
        let expected = |perm: &[usize], dims: &[usize]| {
            let op = Permute { perm: perm.into() };
            op.infer(&[&Type::new(DType::F32, dims)]).unwrap_err().expected
        };
        assert_eq!(expected(&[1, 0], &[3]), "an array of rank 2");
        assert_eq!(expected(&[1, 1], &[3, 2]), "each axis once, not [1, 1]");
        assert_eq!(expected(&[0, 2], &[3, 2]), "each axis once, not [0, 2]");
    }
}
