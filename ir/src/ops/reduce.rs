//! Combination along axes.

mod fold;

use std::fmt;

use smallvec::{SmallVec, smallvec};

use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::nest::{Const, Monoid};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
    mistake,
};
use crate::ops::map::strong_product;
use crate::ops::permute::{inverse, permute};
use crate::ops::slice::slice_axis;
use crate::ops::{Axes, Pad, PadAxis, SliceAxis};
use crate::range::Range;
use crate::scalar::Scalar;
use crate::text::{Attrs, Commas, ParseError};
use crate::ty::{DType, Shape, Type};
use fold::fold_axes;

/// The operand's elements combined along some axes, which go away. Over no
/// element it is the identity.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reduce {
    /// The combination.
    pub monoid: Monoid,
    /// The axes, ascending.
    pub axes: Axes,
}

impl Reduce {
    /// The axes that stay, for an operand of this rank.
    fn kept(&self, rank: usize) -> Axes {
        (0..rank).filter(|axis| !self.axes.contains(axis)).collect()
    }

    /// `r`, a value like the result, repeated to the operand's shape.
    fn spread(&self, g: &mut Graph, r: Value, shape: &Shape) -> Value {
        g.broadcast(r, shape, &self.kept(shape.rank()))
    }

    /// For a maximum or minimum `out` of `x`: where it is attained, and at how
    /// many places (at least 1, even if a NaN is attained nowhere).
    fn ties(&self, g: &mut Graph, x: Value, out: Value) -> (Value, Value) {
        let shape = g.ty(x).shape.clone();
        let best = self.spread(g, out, &shape);
        let mask = g.map(Scalar::Eq, &[x, best]);
        let ones = g.cast(mask, g.ty(x).dtype);
        let count = g.reduce(Monoid::Sum, ones, &self.axes);
        let one = g.like(count, 1.0);
        (mask, g.map(Scalar::Max, &[count, one]))
    }

    /// For a product over the axes: at each place the product of all elements
    /// but the one there.
    ///
    /// A binary tree of products over the elements, and back down the tree: the
    /// product without a node is that without its parent times its sibling.
    /// There is no division, so zeros need no care, and as this is a polynomial
    /// in the elements, its derivatives of any order are right as well.
    fn others(&self, g: &mut Graph, x: Value) -> Value {
        let shape = g.ty(x).shape.clone();
        let kept = self.kept(shape.rank());
        let perm: Axes = kept.iter().chain(&self.axes).copied().collect();
        let lined_up: Shape = perm.iter().map(|&p| shape.dims()[p]).collect();
        let rows: usize = kept.iter().map(|&k| shape.dims()[k]).product();
        let n: usize = self.axes.iter().map(|&a| shape.dims()[a]).product();
        if n == 0 {
            return x;
        }
        let leaves = permute(g, x, perm.clone());
        let leaves = g.reshape(leaves, [rows, n]);
        let width = n.next_power_of_two();
        let mut level = pad_with_ones(g, leaves, width - n);

        let mut levels: SmallVec<[Value; 16]> = SmallVec::new();
        let mut m = width;
        while m > 1 {
            levels.push(level);
            m /= 2;
            let even = slice_axis(g, level, 1, SliceAxis { start: 0, len: m, step: 2 });
            let odd = slice_axis(g, level, 1, SliceAxis { start: 1, len: m, step: 2 });
            level = g.map(Scalar::Mul, &[even, odd]);
        }
        let mut without = g.like(level, 1.0);
        for level in levels.into_iter().rev() {
            let pairs = Shape::from([rows, m, 2]);
            let pair = g.reshape(level, pairs.clone());
            let siblings = slice_axis(g, pair, 2, SliceAxis::reversed(2));
            let parents = g.broadcast(without, &pairs, &[0, 1]);
            without = g.map(Scalar::Mul, &[parents, siblings]);
            m *= 2;
            without = g.reshape(without, [rows, m]);
        }
        let without = slice_axis(g, without, 1, SliceAxis::all(n));
        let without = g.reshape(without, lined_up);
        permute(g, without, inverse(&perm))
    }
}

/// A matrix with that many columns of ones to its right.
fn pad_with_ones(g: &mut Graph, x: Value, columns: usize) -> Value {
    if columns == 0 {
        return x;
    }
    let axes = smallvec![PadAxis::NONE, PadAxis { lo: 0, hi: columns, inner: 0 }];
    g.push(Pad { axes, value: Const::of_float(g.ty(x).dtype, 1.0) }, &[x])
}

/// The larger (the smaller with `>` turned round), as [`Monoid`] defines it.
macro_rules! extremum {
    ($a:ident, $axes:ident, $t:ty, $identity:expr, $wins:tt) => {
        fold_axes($a, $axes, $identity, |x: $t, y: $t| if x $wins y || x.is_nan() { x } else { y })
    };
}

macro_rules! reduce_floats {
    ($monoid:expr, $a:ident, $axes:ident, $t:ty) => {
        match $monoid {
            Monoid::Sum => fold_axes($a, $axes, 0.0, |x: $t, y: $t| x + y),
            Monoid::Prod => fold_axes($a, $axes, 1.0, |x: $t, y: $t| x * y),
            Monoid::Max => extremum!($a, $axes, $t, <$t>::NEG_INFINITY, >),
            Monoid::Min => extremum!($a, $axes, $t, <$t>::INFINITY, <),
            Monoid::Any | Monoid::All => unreachable!("reduce: element type was checked"),
        }
    };
}

macro_rules! reduce_integers {
    ($monoid:expr, $a:ident, $axes:ident, $t:ty) => {
        match $monoid {
            Monoid::Sum => fold_axes($a, $axes, 0, <$t>::wrapping_add),
            Monoid::Prod => fold_axes($a, $axes, 1, <$t>::wrapping_mul),
            Monoid::Max => fold_axes($a, $axes, <$t>::MIN, |x: $t, y: $t| x.max(y)),
            Monoid::Min => fold_axes($a, $axes, <$t>::MAX, |x: $t, y: $t| x.min(y)),
            Monoid::Any | Monoid::All => unreachable!("reduce: element type was checked"),
        }
    };
}

impl Primitive for Reduce {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by {} over ({})", self.monoid.name(), Commas(&self.axes))
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 1, args)?;
        if !self.monoid.takes(args[0].dtype) {
            let elements = match self.monoid {
                Monoid::Any | Monoid::All => "booleans",
                _ => "numbers",
            };
            let expected = format!("{elements} to combine by {}", self.monoid.name());
            return Err(mistake(Self::NAME, expected, args));
        }
        let ascending = self.axes.is_sorted_by(|a, b| a < b);
        if !ascending || self.axes.iter().any(|&a| a >= args[0].rank()) {
            let expected = format!("an array with the axes {:?}, ascending", self.axes.as_slice());
            return Err(mistake(Self::NAME, expected, args));
        }
        Ok(smallvec![args[0].with_shape(args[0].shape.without(&self.axes))])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        let axes = &self.axes[..];
        match args[0] {
            Array::F32(a) => reduce_floats!(self.monoid, a, axes, f32),
            Array::F64(a) => reduce_floats!(self.monoid, a, axes, f64),
            Array::I32(a) => reduce_integers!(self.monoid, a, axes, i32),
            Array::I64(a) => reduce_integers!(self.monoid, a, axes, i64),
            Array::Bool(a) if self.monoid == Monoid::Any => fold_axes(a, axes, false, |x, y| x | y),
            Array::Bool(a) => fold_axes(a, axes, true, |x, y| x & y),
        }
    }

    fn range(&self, args: &[Range]) -> Range {
        let r = args[0];
        match self.monoid {
            Monoid::Sum => r.sum(),
            // Powers of what is at most 1 stay; all else may leave the finite numbers.
            Monoid::Prod if r.lo >= 0.0 && r.hi <= 1.0 => Range { hi: 1.0, lo: 0.0, ..r },
            Monoid::Prod if r.abs().hi <= 1.0 => Range { lo: -1.0, hi: 1.0, ..r },
            Monoid::Prod if r.lo >= 0.0 => Range { lo: 0.0, ..Range::ANY },
            Monoid::Prod => Range::ANY,
            Monoid::Max | Monoid::Min => r,
            Monoid::Any | Monoid::All => Range::BOOL,
        }
    }

    fn jvp(&self, g: &mut Graph, at: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        let t = tangents[0]?;
        match self.monoid {
            Monoid::Sum => Some(g.reduce(Monoid::Sum, t, &self.axes)),
            Monoid::Prod => {
                let others = self.others(g, at.args[0]);
                let parts = strong_product(g, t, others);
                Some(g.reduce(Monoid::Sum, parts, &self.axes))
            }
            Monoid::Max | Monoid::Min => {
                let (mask, count) = self.ties(g, at.args[0], at.results[0]);
                let zero = g.like(t, 0.0);
                let parts = g.map(Scalar::Select, &[mask, t, zero]);
                let total = g.reduce(Monoid::Sum, parts, &self.axes);
                Some(g.map(Scalar::Div, &[total, count]))
            }
            Monoid::Any | Monoid::All => None,
        }
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        let shape = g.ty(at.args[0]).shape.clone();
        smallvec![match self.monoid {
            Monoid::Sum => Some(self.spread(g, ct, &shape)),
            Monoid::Prod => {
                let others = self.others(g, at.args[0]);
                let ct = self.spread(g, ct, &shape);
                Some(strong_product(g, ct, others))
            }
            Monoid::Max | Monoid::Min => {
                let (mask, count) = self.ties(g, at.args[0], at.results[0]);
                let share = g.map(Scalar::Div, &[ct, count]);
                let share = self.spread(g, share, &shape);
                let zero = g.like(share, 0.0);
                Some(g.map(Scalar::Select, &[mask, share, zero]))
            }
            Monoid::Any | Monoid::All => None,
        }]
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], _: usize) -> Value {
        let axes = self.axes.iter().map(|a| a + 1).collect();
        g.push(Self { monoid: self.monoid, axes }, &[args[0].value])
    }

    fn structure(&self, _: &[&Type]) -> Structure {
        Structure::Reduce { monoid: self.monoid, axes: self.axes.clone() }
    }

    fn carries(&self, _: usize) -> Option<bool> {
        match self.monoid {
            Monoid::Any | Monoid::All => None,
            _ => Some(true),
        }
    }
}

impl Definition for Reduce {
    const NAME: &'static str = "reduce";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        attrs.expect("by")?;
        let before = attrs.clone();
        let Some(monoid) = Monoid::from_name(attrs.word()?) else {
            return before.error("a combination, such as `sum`");
        };
        attrs.expect("over")?;
        Ok(Self { monoid, axes: attrs.numbers()?.into() })
    }

    fn samples() -> Vec<Sample> {
        let shapes: [(&[usize], &[usize]); 10] = [
            (&[5], &[0]),
            (&[2, 3], &[0]),
            (&[2, 3], &[1]),
            (&[2, 3, 2], &[0, 2]),
            (&[3, 1, 2], &[1]),
            (&[2, 2], &[0, 1]),
            (&[2, 3], &[]),
            (&[], &[]),
            (&[0], &[0]),
            (&[0, 2], &[1]),
        ];
        let mut all = Vec::new();
        for monoid in Monoid::ALL {
            let mut sample = |dtype, (dims, axes): (&[usize], &[usize])| {
                all.push(Sample {
                    op: Self { monoid, axes: axes.into() }.into(),
                    args: vec![Type::new(dtype, dims)],
                    domain: vec![(-2.0, 2.0)],
                });
            };
            for dtype in DType::ALL.into_iter().filter(|&d| monoid.takes(d)) {
                let few = if dtype == DType::F64 { shapes.len() } else { 3 };
                shapes[..few].iter().for_each(|&s| sample(dtype, s));
                sample(dtype, (&[2, 0, 3], &[1]));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::whole;

    fn reduce(monoid: Monoid, axes: &[usize], x: impl Into<Array>) -> Array {
        Reduce { monoid, axes: axes.into() }.eval(&[&x.into()])
    }

    #[test]
    fn nothing_gives_the_identity() {
        for s in Reduce::samples().iter().filter(|s| s.args[0].is_empty()) {
            let crate::Op::Reduce(op) = &s.op else { unreachable!("a sample of reduce") };
            let r = op.eval(&[&whole(&s.args[0], 0)]);
            let identity = Array::full(&r.dims().into(), op.monoid.identity(r.dtype()));
            assert!(r.same_bits(&identity), "{op:?} of {:?}", s.args);
        }
    }

    #[test]
    fn nan_wins_wherever_it_is() {
        for n in [1, 2, 8, 9, 17] {
            for i in 0..n {
                let mut x = ndarray::Array1::from_iter((0..n).map(|i| i as f32));
                x[i] = f32::NAN;
                for monoid in [Monoid::Max, Monoid::Min] {
                    let r = reduce(monoid, &[0], x.clone()).item::<f32>();
                    assert!(r.is_some_and(f32::is_nan), "{monoid:?} of {x}");
                }
            }
        }
    }

    #[test]
    fn integers_wrap() {
        let x = ndarray::arr1(&[i64::MAX, 2]);
        assert_eq!(reduce(Monoid::Sum, &[0], x.clone()).item(), Some(i64::MIN + 1));
        assert_eq!(reduce(Monoid::Prod, &[0], x).item(), Some(-2i64));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let expected = |monoid, axes: &[usize], ty: Type| {
            Reduce { monoid, axes: axes.into() }.infer(&[&ty]).unwrap_err().expected
        };
        let (mask, row) = (Type::new(DType::Bool, [2]), Type::new(DType::F32, [2]));
        assert_eq!(expected(Monoid::Sum, &[0], mask), "numbers to combine by sum");
        assert_eq!(expected(Monoid::Any, &[0], row.clone()), "booleans to combine by any");
        assert_eq!(expected(Monoid::Sum, &[1], row), "an array with the axes [1], ascending");
    }
}
