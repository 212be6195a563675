//! Counting.

use std::fmt;

use smallvec::smallvec;

use crate::array::{Array, Element};
use crate::graph::{Graph, Value};
use crate::nest::Const;
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
    mistake, no_cotangents,
};
use crate::range::Range;
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Type};
use crate::with_dtype;

/// An array whose element `i` is `i[axis]`; any number type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Iota {
    /// Type of the result.
    pub ty: Type,
    /// The axis that is counted.
    pub axis: usize,
}

impl Primitive for Iota {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.ty, self.axis)
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 0, args)?;
        if self.ty.dtype == DType::Bool || self.ty.stack > 0 {
            let expected = format!("an array of numbers to fill, not {}", self.ty);
            return Err(mistake(Self::NAME, expected, args));
        }
        if self.axis >= self.ty.rank() {
            let expected = format!("an axis of {} to count, not {}", self.ty, self.axis);
            return Err(mistake(Self::NAME, expected, args));
        }
        Ok(smallvec![self.ty.clone()])
    }

    fn eval(&self, _: &[&Array]) -> Array {
        let dims = self.ty.dims();
        let inner: usize = dims[self.axis + 1..].iter().product();
        let outer: usize = dims[..self.axis].iter().product();
        with_dtype!(self.ty.dtype, T => {
            let mut data: Vec<T> = Vec::with_capacity(self.ty.len());
            // Of nothing, there is nothing to count, however long the other axes are.
            let outer = if self.ty.is_empty() { 0 } else { outer };
            for _ in 0..outer {
                for i in 0..dims[self.axis] {
                    let i = T::from_const(Const::of_int(T::DTYPE, i as i64));
                    data.extend(std::iter::repeat_n(i, inner));
                }
            }
            Array::from_vec(&self.ty.shape, data).expect("iota: as many as the shape has")
        })
    }

    fn range(&self, _: &[Range]) -> Range {
        Range::between(0.0, self.ty.dims()[self.axis].saturating_sub(1) as f64)
    }

    fn jvp(&self, _: &mut Graph, _: &Site<'_>, _: &[Option<Value>]) -> Option<Value> {
        None
    }

    fn vjp(&self, _: &mut Graph, _: &Site<'_>, _: Value) -> Cotangents {
        no_cotangents(0)
    }

    fn vmap(&self, _: &mut Graph, _: &[Lane], _: usize) -> Value {
        unreachable!("iota has no operand to be batched")
    }

    fn structure(&self, _: &[&Type]) -> Structure {
        Structure::Iota { axis: self.axis }
    }

    fn carries(&self, _: usize) -> Option<bool> {
        None
    }
}

impl Definition for Iota {
    const NAME: &'static str = "iota";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        let ty = attrs.ty()?;
        attrs.expect("on")?;
        Ok(Self { ty, axis: attrs.number()? })
    }

    fn samples() -> Vec<Sample> {
        let cases: [(DType, &[usize], usize); 6] = [
            (DType::F32, &[5], 0),
            (DType::F64, &[2, 3], 0),
            (DType::I32, &[2, 3], 1),
            (DType::I64, &[2, 3, 2], 1),
            (DType::F64, &[0], 0),
            (DType::I64, &[3, 0], 0),
        ];
        let sample = |(dtype, dims, axis): (_, &[usize], _)| Sample {
            op: Self { ty: Type::new(dtype, dims), axis }.into(),
            args: vec![],
            domain: vec![],
        };
        cases.into_iter().map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::elements;

    #[test]
    fn each_element_is_its_index() {
        for s in Iota::samples() {
            let crate::Op::Iota(op) = &s.op else { unreachable!("a sample of iota") };
            let r = elements(&op.eval(&[]));
            assert!(r.indexed_iter().all(|(at, &x)| x == at[op.axis] as f64), "{op:?}: {r}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let expected =
            |dtype, axis| Iota { ty: Type::new(dtype, [3]), axis }.infer(&[]).unwrap_err().expected;
        assert_eq!(expected(DType::F32, 1), "an axis of f32[3] to count, not 1");
        assert_eq!(expected(DType::Bool, 0), "an array of numbers to fill, not bool[3]");
    }
}
