//! Sorting, as positions.

use std::fmt;

use smallvec::smallvec;

use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
    mistake, no_cotangents,
};
use crate::range::Range;
use crate::routine::{self, Routine};
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Shape, Type};

/// The positions, as `i64`, of the first `take` elements along the last axis in
/// sorted order.
///
/// Elements of any type. The sort is stable in both directions: of equal
/// elements the one that stands first comes first. NaN comes last in both
/// directions; all NaNs are equal, and so are zeros of both signs.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Argsort {
    /// Whether the largest come first.
    pub descending: bool,
    /// How many positions are asked for; at most the extent of the last axis.
    /// Fewer than all cost less.
    pub take: usize,
}

impl Argsort {
    fn routine(&self, x: &Type) -> routine::Argsort {
        let len = x.dims()[x.rank() - 1];
        let rows = x.dims()[..x.rank() - 1].iter().product();
        let Self { descending, take } = *self;
        routine::Argsort { dtype: x.dtype, rows, len, take, descending }
    }

    fn result(&self, x: &Type) -> Type {
        let before = &x.dims()[..x.rank() - 1];
        let shape: Shape = before.iter().copied().chain([self.take]).collect();
        Type::new(DType::I64, shape)
    }
}

impl Primitive for Argsort {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "take {}{}", self.take, if self.descending { " descending" } else { "" })
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 1, args)?;
        match args[0].dims().last() {
            None => Err(mistake(Self::NAME, "an array with an axis to sort along", args)),
            Some(&n) if n < self.take => {
                let expected = format!("at least {} elements along the last axis", self.take);
                Err(mistake(Self::NAME, expected, args))
            }
            Some(_) => Ok(smallvec![self.result(args[0])]),
        }
    }

    fn eval(&self, args: &[&Array]) -> Array {
        let ty = args[0].ty();
        Routine::Argsort(self.routine(&ty)).eval(args, &self.result(&ty).shape, None)
    }

    fn range(&self, _: &[Range]) -> Range {
        Range::between(0.0, f64::INFINITY)
    }

    fn jvp(&self, _: &mut Graph, _: &Site<'_>, _: &[Option<Value>]) -> Option<Value> {
        None
    }

    fn vjp(&self, _: &mut Graph, _: &Site<'_>, _: Value) -> Cotangents {
        no_cotangents(1)
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], _: usize) -> Value {
        g.push(self.clone(), &[args[0].value])
    }

    fn structure(&self, args: &[&Type]) -> Structure {
        let routine = Routine::Argsort(self.routine(args[0]));
        Structure::Call { routine, operands: smallvec![0] }
    }

    fn carries(&self, _: usize) -> Option<bool> {
        Some(false)
    }
}

impl Definition for Argsort {
    const NAME: &'static str = "argsort";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        attrs.expect("take")?;
        Ok(Self { take: attrs.digits()?, descending: attrs.eat("descending") })
    }

    fn samples() -> Vec<Sample> {
        let cases: [(DType, &[usize], usize, bool); 9] = [
            (DType::F32, &[7], 7, false),
            (DType::F64, &[2, 5], 5, true),
            (DType::F64, &[3, 1, 6], 2, false),
            (DType::I32, &[2, 4], 3, true),
            (DType::I64, &[5], 5, false),
            (DType::Bool, &[2, 3], 3, true),
            (DType::F32, &[2, 0], 0, false),
            (DType::F64, &[0, 3], 3, false),
            (DType::F64, &[3], 0, true),
        ];
        let sample = |(dtype, dims, take, descending): (_, &[usize], _, _)| Sample {
            op: Self { descending, take }.into(),
            args: vec![Type::new(dtype, dims)],
            domain: vec![if dtype == DType::Bool { (0.0, 1.0) } else { (-3.0, 3.0) }],
        };
        cases.into_iter().map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::arr2;

    use super::*;

    #[test]
    fn rows_are_sorted_one_by_one() {
        let x: Array = arr2(&[[3.0f32, 1.0, 2.0, 1.0], [0.0, f32::NAN, -1.0, 5.0]]).into();
        let sort = |descending, take| Argsort { descending, take }.eval(&[&x]);
        let want: Array = arr2(&[[1i64, 3, 2, 0], [2, 0, 3, 1]]).into();
        assert!(sort(false, 4).same_bits(&want));
        let want: Array = arr2(&[[0i64, 2, 1], [3, 0, 2]]).into();
        assert!(sort(true, 3).same_bits(&want));
    }

    #[test]
    fn columns_of_a_transposed_array_are_its_rows() {
        let x: Array = arr2(&[[3.0f64, 0.0], [1.0, 7.0], [2.0, -1.0]]).reversed_axes().into();
        let want: Array = arr2(&[[1i64, 2, 0], [2, 0, 1]]).into();
        assert!(Argsort { descending: false, take: 3 }.eval(&[&x]).same_bits(&want));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let op = Argsort { descending: false, take: 4 };
        let expected = |dims: &[usize]| op.infer(&[&Type::new(DType::F32, dims)]).unwrap_err();
        assert_eq!(expected(&[]).expected, "an array with an axis to sort along");
        assert_eq!(expected(&[9, 3]).expected, "at least 4 elements along the last axis");
    }
}
