//! Running combinations along an axis.
//!
//! All are the recurrence `y_i = a_i · y_{i-1} + b_i`, or one like it, run along
//! an axis in one direction. Their derivatives are recurrences as well, in the
//! other direction for an adjoint:
//!
//! ```text
//! y = linear(a, b)     R_i = y_ct_i + a_{i+1} · R_{i+1}     b_ct = R, a_ct_i = R_i · y_{i-1}
//! y = cumsum(x)        the same with a = 1                  x_ct = R
//! y = cumprod(x)       the same with a = x                  x_ct_i = R_i · y_{i-1}, y_{-1} = 1
//! ```
//!
//! There is no division: zeros need no care, and derivatives of any order are
//! right. A running maximum is an element picked at the place of the last record;
//! its derivative picks (or adds to) that place.

use std::fmt;

use smallvec::{SmallVec, smallvec};

use crate::array::{Array, Element};
use crate::graph::{Graph, Value};
use crate::nest::Const;
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
    materialise, mistake, sum_parts,
};
use crate::ops::map::strong_product;
use crate::ops::slice::slice_axis;
use crate::ops::{Gather, Iota, Pad, PadAxis, ScatterAdd, SliceAxis};
use crate::range::Range;
use crate::scalar::Scalar;
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Type};

/// What an element and the running value before it make.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Recurrence {
    /// `y_{i-1} + x_i`; integers wrap.
    Sum,
    /// `y_{i-1} · x_i`; integers wrap.
    Prod,
    /// The larger; NaN from the first one on. Its derivative belongs to the first
    /// of equal elements.
    Max,
    /// The smaller, alike.
    Min,
    /// `a_i · y_{i-1} + b_i`, two operands `a` and `b`. The first is `b`.
    Linear,
    /// The same with a strong zero: `0 · a_i = 0` whatever `a_i`. For derivatives.
    LinearZ,
}

impl Recurrence {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Sum, Self::Prod, Self::Max, Self::Min, Self::Linear, Self::LinearZ];

    /// Its name in text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Prod => "prod",
            Self::Max => "max",
            Self::Min => "min",
            Self::Linear => "linear",
            Self::LinearZ => "linearz",
        }
    }

    /// Number of operands.
    pub const fn arity(self) -> usize {
        match self {
            Self::Linear | Self::LinearZ => 2,
            _ => 1,
        }
    }
}

/// The running combination of an operand's elements along an axis, the element
/// itself included.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cumulate {
    /// What an element and the running value before it make.
    pub by: Recurrence,
    /// The axis.
    pub axis: usize,
    /// Whether it runs from the last element to the first.
    pub reverse: bool,
}

impl Cumulate {
    /// All elements but the last one in the direction of `reverse`, or all but
    /// the first.
    fn all_but(&self, g: &mut Graph, x: Value, last: bool, reverse: bool) -> Value {
        let len = g.ty(x).dims()[self.axis] - 1;
        slice_axis(g, x, self.axis, SliceAxis { start: (last == reverse).into(), len, step: 1 })
    }

    /// An element put before the first one in the direction of `reverse`.
    fn with_first(&self, g: &mut Graph, x: Value, reverse: bool, first: f64) -> Value {
        let ty = g.ty(x).clone();
        let mut axes: SmallVec<[PadAxis; 4]> = SmallVec::from_elem(PadAxis::NONE, ty.rank());
        let (lo, hi) = if reverse { (0, 1) } else { (1, 0) };
        axes[self.axis] = PadAxis { lo, hi, inner: 0 };
        g.push(Pad { axes, value: Const::of_float(ty.dtype, first) }, &[x])
    }

    /// At each place the element before it in the direction of `reverse`.
    fn before(&self, g: &mut Graph, x: Value, reverse: bool, first: f64) -> Value {
        let part = self.all_but(g, x, true, reverse);
        self.with_first(g, part, reverse, first)
    }

    /// `y_i = factors_i · y_{i-1} + terms_i` in the direction of `reverse`.
    fn linear(&self, g: &mut Graph, factors: Value, terms: Value, reverse: bool) -> Value {
        let finite = g.range(factors).finite;
        let by = if finite { Recurrence::Linear } else { Recurrence::LinearZ };
        g.push(Self { by, axis: self.axis, reverse }, &[factors, terms])
    }

    /// The adjoint of a linear recurrence: `R_i = ct_i + factors_{i+1} · R_{i+1}`.
    fn adjoint(&self, g: &mut Graph, factors: Value, ct: Value) -> Value {
        // The factor of the last element is not read.
        let factors = self.before(g, factors, !self.reverse, 1.0);
        self.linear(g, factors, ct, !self.reverse)
    }

    /// For a running maximum or minimum `y` of `x`: where in the flattened array
    /// each of its elements comes from.
    ///
    /// That is the place of the last record. Places count up along the axis, so it
    /// is a running maximum of them (from the end, a running minimum).
    fn places(&self, g: &mut Graph, x: Value, y: Value) -> Value {
        let shape = g.ty(x).shape.clone();
        let (x, best) =
            (self.all_but(g, x, false, self.reverse), self.all_but(g, y, true, self.reverse));
        let behind = if self.by == Recurrence::Max { Scalar::Le } else { Scalar::Ge };
        let behind = g.map(behind, &[x, best]);
        let ahead = g.map(Scalar::Not, &[behind]);
        // After a NaN nothing is a record; a first NaN is.
        let open = g.map(Scalar::Eq, &[best, best]);
        let record = g.map(Scalar::And, &[ahead, open]);
        let record = self.with_first(g, record, self.reverse, 1.0);

        let place = g.push(Iota { ty: Type::new(DType::I64, [shape.len()]), axis: 0 }, &[]);
        let place = g.reshape(place, shape.clone());
        let (by, none) = match self.reverse {
            true => (Recurrence::Min, shape.len() as f64),
            false => (Recurrence::Max, 0.0),
        };
        let none = g.like(place, none);
        let seen = g.map(Scalar::Select, &[record, place, none]);
        g.push(Self { by, ..self.clone() }, &[seen])
    }
}

/// Runs a recurrence over the middle one of three axes. `first` makes the first
/// element of a line from its operands, `next` the others.
fn run<T: Element, const N: usize>(
    args: [&Array; N],
    axis: usize,
    reverse: bool,
    first: impl Fn([T; N]) -> T,
    next: impl Fn(T, [T; N]) -> T,
) -> Array {
    let args = args.map(|a| {
        let a = T::unwrap(a).expect("cumulate: element types were checked");
        a.as_standard_layout().into_owned()
    });
    let dims = args[0].shape().to_vec();
    let data = args.each_ref().map(|a| a.as_slice().expect("standard layout is contiguous"));
    let (n, inner): (usize, usize) = (dims[axis], dims[axis + 1..].iter().product());
    let mut out: Vec<T> = data[N - 1].to_vec();
    if out.is_empty() {
        return Array::from_vec(&dims.into(), out).expect("cumulate: no elements");
    }
    for start in (0..out.len()).step_by(n * inner) {
        for step in 0..n {
            let i = if reverse { n - 1 - step } else { step };
            for j in 0..inner {
                let at = start + i * inner + j;
                let operands = data.map(|d| d[at]);
                out[at] = match step {
                    0 => first(operands),
                    _ if reverse => next(out[at + inner], operands),
                    _ => next(out[at - inner], operands),
                };
            }
        }
    }
    Array::from_vec(&dims.into(), out).expect("cumulate: as many elements as before")
}

macro_rules! recur_numbers {
    ($op:expr, $args:expr, $t:ty, $add:expr, $mul:expr, $mulz:expr, $is_nan:expr) => {{
        let (op, args): (&Cumulate, &[&Array]) = ($op, $args);
        let (add, mul, mulz, is_nan) = ($add, $mul, $mulz, $is_nan);
        let one = |next: &dyn Fn($t, $t) -> $t| {
            run([args[0]], op.axis, op.reverse, |[x]: [$t; 1]| x, |y, [x]| next(y, x))
        };
        let two = |times: &dyn Fn($t, $t) -> $t| {
            let next = |y, [a, b]: [$t; 2]| add(times(a, y), b);
            run([args[0], args[1]], op.axis, op.reverse, |[_, b]: [$t; 2]| b, next)
        };
        match op.by {
            Recurrence::Sum => one(&add),
            Recurrence::Prod => one(&mul),
            Recurrence::Max => one(&|y, x| if y > x || is_nan(y) { y } else { x }),
            Recurrence::Min => one(&|y, x| if y < x || is_nan(y) { y } else { x }),
            Recurrence::Linear => two(&mul),
            Recurrence::LinearZ => two(&mulz),
        }
    }};
}

macro_rules! recur_floats {
    ($op:expr, $args:expr, $t:ty) => {
        recur_numbers!(
            $op,
            $args,
            $t,
            |a: $t, b: $t| a + b,
            |a: $t, b: $t| a * b,
            |a: $t, b: $t| if a == 0.0 || b == 0.0 { 0.0 } else { a * b },
            <$t>::is_nan
        )
    };
}

macro_rules! recur_integers {
    ($op:expr, $args:expr, $t:ty) => {
        recur_numbers!(
            $op,
            $args,
            $t,
            <$t>::wrapping_add,
            <$t>::wrapping_mul,
            <$t>::wrapping_mul,
            |_: $t| false
        )
    };
}

impl Primitive for Cumulate {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by {} on {}", self.by.name(), self.axis)?;
        if self.reverse { f.write_str(" reverse") } else { Ok(()) }
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, self.by.arity(), args)?;
        if args[0].dtype == DType::Bool {
            return Err(mistake(Self::NAME, "numbers to combine", args));
        }
        if args.iter().any(|t| *t != args[0]) {
            return Err(mistake(Self::NAME, "two arrays of one type", args));
        }
        if self.axis >= args[0].rank() {
            return Err(mistake(Self::NAME, format!("an array with an axis {}", self.axis), args));
        }
        Ok(smallvec![args[0].clone()])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        match args[0] {
            Array::F32(_) => recur_floats!(self, args, f32),
            Array::F64(_) => recur_floats!(self, args, f64),
            Array::I32(_) => recur_integers!(self, args, i32),
            Array::I64(_) => recur_integers!(self, args, i64),
            Array::Bool(_) => unreachable!("cumulate: element type was checked"),
        }
    }

    fn range(&self, args: &[Range]) -> Range {
        let (x, term) = (args[0], args[args.len() - 1]);
        let least = if x.lo >= 0.0 && term.lo >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        match self.by {
            Recurrence::Sum => x.sum(),
            // Powers of what is at most 1 stay; all else may leave the finite numbers.
            Recurrence::Prod if x.abs().hi <= 1.0 => Range { lo: least.max(-1.0), hi: 1.0, ..x },
            Recurrence::Linear | Recurrence::LinearZ if x.abs().hi <= 1.0 => {
                Range { lo: least, hi: f64::INFINITY, finite: x.finite && term.finite }
            }
            Recurrence::Prod | Recurrence::Linear | Recurrence::LinearZ => {
                Range { lo: least, ..Range::ANY }
            }
            Recurrence::Max | Recurrence::Min => x,
        }
    }

    fn jvp(&self, g: &mut Graph, at: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        let (x, y) = (at.args[0], at.results[0]);
        if g.ty(x).dims()[self.axis] == 0 {
            return tangents.iter().copied().flatten().next();
        }
        match self.by {
            Recurrence::Sum => tangents[0].map(|t| g.push(self.clone(), &[t])),
            Recurrence::Prod => {
                let before = self.before(g, y, self.reverse, 1.0);
                let terms = strong_product(g, tangents[0]?, before);
                Some(self.linear(g, x, terms, self.reverse))
            }
            Recurrence::Linear | Recurrence::LinearZ => {
                let of_factors = tangents[0].map(|t| {
                    let before = self.before(g, y, self.reverse, 0.0);
                    strong_product(g, t, before)
                });
                let terms = sum_parts(g, [of_factors, tangents[1]])?;
                Some(self.linear(g, x, terms, self.reverse))
            }
            Recurrence::Max | Recurrence::Min => {
                let t = tangents[0]?;
                let places = self.places(g, x, y);
                let flat = g.ty(t).len();
                let t = g.reshape(t, [flat]);
                Some(g.push(Gather { axis: 0 }, &[t, places]))
            }
        }
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        let (x, y) = (at.args[0], at.results[0]);
        let shape = g.ty(x).shape.clone();
        if shape.dims()[self.axis] == 0 {
            return SmallVec::from_elem(Some(ct), self.by.arity());
        }
        match self.by {
            Recurrence::Sum => {
                smallvec![Some(g.push(Self { reverse: !self.reverse, ..self.clone() }, &[ct]))]
            }
            Recurrence::Prod => {
                let r = self.adjoint(g, x, ct);
                let before = self.before(g, y, self.reverse, 1.0);
                smallvec![Some(strong_product(g, r, before))]
            }
            Recurrence::Linear | Recurrence::LinearZ => {
                let r = self.adjoint(g, x, ct);
                let of_factors = at.wanted[0].then(|| {
                    let before = self.before(g, y, self.reverse, 0.0);
                    strong_product(g, r, before)
                });
                smallvec![of_factors, Some(r)]
            }
            Recurrence::Max | Recurrence::Min => {
                let places = self.places(g, x, y);
                let flat = [shape.len()];
                let (ct, places) = (g.reshape(ct, flat), g.reshape(places, flat));
                let zero = g.like(ct, 0.0);
                let x_ct = g.push(ScatterAdd { axis: 0 }, &[zero, places, ct]);
                smallvec![Some(g.reshape(x_ct, shape))]
            }
        }
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], n: usize) -> Value {
        let args: SmallVec<[Value; 2]> = args.iter().map(|&a| materialise(g, a, n)).collect();
        g.push(Self { axis: self.axis + 1, ..self.clone() }, &args)
    }

    fn structure(&self, _: &[&Type]) -> Structure {
        Structure::Cumulate { by: self.by, axis: self.axis, reverse: self.reverse }
    }

    fn carries(&self, _: usize) -> Option<bool> {
        Some(true)
    }
}

impl Definition for Cumulate {
    const NAME: &'static str = "cumulate";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        attrs.expect("by")?;
        let before = attrs.clone();
        let name = attrs.word()?;
        let Some(by) = Recurrence::ALL.into_iter().find(|r| r.name() == name) else {
            return before.error("a recurrence, such as `sum`");
        };
        attrs.expect("on")?;
        Ok(Self { by, axis: attrs.number()?, reverse: attrs.eat("reverse") })
    }

    fn samples() -> Vec<Sample> {
        type Case = (DType, &'static [usize], usize, bool);
        let cases: [Case; 13] = [
            (DType::F64, &[5], 0, false),
            (DType::F64, &[5], 0, true),
            (DType::F64, &[3, 4], 0, false),
            (DType::F64, &[3, 4], 1, true),
            (DType::F64, &[2, 3, 2], 1, false),
            (DType::F64, &[2, 4, 9], 1, true),
            (DType::F64, &[1, 1], 0, false),
            (DType::F64, &[2, 2], 0, true),
            (DType::F64, &[0], 0, false),
            (DType::F32, &[0, 3], 1, true),
            (DType::F32, &[6], 0, false),
            (DType::I32, &[2, 3], 1, false),
            (DType::I64, &[4, 5], 0, true),
        ];
        let sample = |by: Recurrence, (dtype, dims, axis, reverse): Case| Sample {
            op: Self { by, axis, reverse }.into(),
            args: vec![Type::new(dtype, dims); by.arity()],
            domain: vec![(-2.0, 2.0); by.arity()],
        };
        let each = |by| cases.into_iter().map(move |c| sample(by, c));
        Recurrence::ALL.into_iter().flat_map(each).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cumulate(by: Recurrence, reverse: bool, args: &[&[f64]]) -> Vec<f64> {
        let args: Vec<Array> =
            args.iter().map(|a| Array::from(ndarray::arr1(a).into_shared().into_dyn())).collect();
        let args: Vec<&Array> = args.iter().collect();
        Cumulate { by, axis: 0, reverse }.eval(&args).to_f64_vec()
    }

    #[test]
    fn each_element_follows_from_the_one_before() {
        assert_eq!(cumulate(Recurrence::Sum, false, &[&[1.0, 2.0, 3.0]]), [1.0, 3.0, 6.0]);
        assert_eq!(cumulate(Recurrence::Prod, true, &[&[1.0, 2.0, 3.0]]), [6.0, 6.0, 3.0]);
        assert_eq!(cumulate(Recurrence::Min, false, &[&[2.0, 3.0, 1.0]]), [2.0, 2.0, 1.0]);
        let args: [&[f64]; 2] = [&[9.0, 2.0, -1.0], &[1.0, 3.0, 0.5]];
        assert_eq!(cumulate(Recurrence::Linear, false, &args), [1.0, 5.0, -4.5]);
        assert_eq!(cumulate(Recurrence::LinearZ, true, &args), [37.0, 4.0, 0.5]);
    }

    #[test]
    fn the_first_element_is_taken_as_it_is() {
        assert!(cumulate(Recurrence::Sum, false, &[&[-0.0]])[0].is_sign_negative());
        let args: [&[f64]; 2] = [&[f64::INFINITY, f64::INFINITY], &[0.0, 1.0]];
        assert_eq!(cumulate(Recurrence::LinearZ, false, &args), [0.0, 1.0]);
        assert!(cumulate(Recurrence::Linear, false, &args)[1].is_nan());
    }

    #[test]
    fn nan_stays() {
        let x: [&[f64]; 1] = [&[1.0, f64::NAN, 3.0]];
        for by in [Recurrence::Max, Recurrence::Min] {
            let y = cumulate(by, false, &x);
            assert!(y[0] == 1.0 && y[1].is_nan() && y[2].is_nan(), "{y:?}");
        }
    }
}
