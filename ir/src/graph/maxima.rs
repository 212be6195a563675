//! What is known of differences to a maximum: `x - max(x)` is 0 somewhere, and above 0
//! nowhere.

use smallvec::SmallVec;

use super::{Graph, Value};
use crate::nest::Monoid;
use crate::op::Op;
use crate::ops::{Axes, Map};
use crate::scalar::Scalar;
use crate::ty::DType;

/// The axes over which `m` is the maximum of `x`, if it is, broadcast back to where it was.
/// Limits that keep it finite do not count: no finite number of its type is beyond them.
pub(super) fn over(g: &Graph, m: Value, x: Value) -> Option<Axes> {
    let Maximum { axes, places } = maximum(g, m, x)?;
    let dims = g.ty(x).dims();
    let is_there = |a: usize| match places[a] {
        Some(of) => of == a,
        None => axes.contains(&a) || dims[a] == 1,
    };
    (g.ty(m).dims() == dims && (0..dims.len()).all(is_there)).then_some(axes)
}

/// Whether a sum over these axes is of `exp(x - max(x))`, the maximum over the same: then
/// it is 1 at least, as long as all is finite.
pub(super) fn is_in_sum(g: &Graph, v: Value, axes: &Axes) -> bool {
    let Op::Map(Map { f: Scalar::Exp }) = g.op_of(v) else { return false };
    let below = g.args(g.source(v).0)[0];
    let Op::Map(Map { f: Scalar::Sub | Scalar::SubZ }) = g.op_of(below) else { return false };
    let operands = g.args(g.source(below).0);
    let ty = g.ty(v);
    !ty.is_empty()
        && g.range(below).finite
        && over(g, operands[1], operands[0]).as_ref() == Some(axes)
}

/// A maximum of an array.
struct Maximum {
    /// Over which of its axes.
    axes: Axes,
    /// For each axis of the maximum, which one of the array it is; none along those that it
    /// is repeated along, and of extent 1.
    places: SmallVec<[Option<usize>; 4]>,
}

fn maximum(g: &Graph, m: Value, x: Value) -> Option<Maximum> {
    let args = g.args(g.source(m).0);
    let (arg, dims) = (*args.first()?, g.ty(m).dims());
    match g.op_of(m) {
        Op::Map(Map { f: f @ (Scalar::Max | Scalar::Min) }) => {
            let limit = g.as_splat(args[1])?;
            let largest = match g.ty(m).dtype {
                DType::F32 => f64::from(f32::MAX),
                _ => f64::MAX,
            };
            let beyond = if *f == Scalar::Min { limit.to_f64() } else { -limit.to_f64() };
            (beyond >= largest).then(|| maximum(g, arg, x)).flatten()
        }
        Op::StopGradient(_) => maximum(g, arg, x),
        Op::Reduce(r) if r.monoid == Monoid::Max && number(g, arg) == number(g, x) => {
            let kept = (0..g.ty(x).rank()).filter(|a| !r.axes.contains(a));
            Some(Maximum { axes: r.axes.clone(), places: kept.map(Some).collect() })
        }
        Op::Broadcast(b) => {
            let Maximum { axes, places } = maximum(g, arg, x)?;
            let mut to: SmallVec<[Option<usize>; 4]> = SmallVec::from_elem(None, dims.len());
            let from = g.ty(arg).dims();
            for (i, &axis) in b.dims.iter().enumerate().filter(|&(i, &a)| from[i] == dims[a]) {
                to[axis] = places[i];
            }
            Some(Maximum { axes, places: to })
        }
        Op::Reshape(_) => {
            // Axes of extent 1 come and go; the others stay.
            let Maximum { axes, places } = maximum(g, arg, x)?;
            let from = g.ty(arg).dims();
            let mut long = (0..from.len()).filter(|&a| from[a] != 1);
            let mut place = |&d: &usize| match d {
                1 => Some(None),
                _ => long.next().filter(|&a| from[a] == d).map(|a| places[a]),
            };
            let places = dims.iter().map(&mut place).collect::<Option<_>>()?;
            Some(Maximum { axes, places })
        }
        _ => None,
    }
}

/// What the numbers of a value are, whatever derivatives make of it.
fn number(g: &Graph, mut v: Value) -> Value {
    while let Op::StopGradient(_) = g.op_of(v) {
        v = g.args(g.source(v).0)[0];
    }
    v
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ty::{Shape, Type};

    /// `x - max(x over axis 1)`, the maximum put along that axis of a square.
    fn difference(g: &mut Graph, x: Value, along: usize) -> Value {
        let shape = g.ty(x).shape.clone();
        let max = g.reduce(Monoid::Max, x, &[1]);
        let max = g.broadcast(max, &shape, &[along]);
        g.map(Scalar::SubZ, &[x, max])
    }

    fn square() -> (Graph, Value) {
        let mut g = Graph::new("maxima");
        let x = g.input(Type::new(DType::F32, Shape::from([3, 3])), None);
        (g, x)
    }

    #[test]
    fn sums_of_soft_max_are_one_at_least() {
        let (mut g, x) = square();
        let below = difference(&mut g, x, 0);
        let exp = g.map(Scalar::Exp, &[below]);
        let sum = g.reduce(Monoid::Sum, exp, &[1]);
        let columns = g.reduce(Monoid::Sum, exp, &[0]);
        assert_eq!(g.range(below).hi, 0.0);
        assert_eq!(g.range(sum).lo, 1.0);
        assert!(g.range(sum).finite && g.range(columns).lo == 0.0);
    }

    #[test]
    fn a_maximum_that_is_constant_to_derivatives_is_one() {
        let (mut g, x) = square();
        let stopped = g.push(crate::ops::StopGradient, &[x]);
        let shape = g.ty(x).shape.clone();
        let max = g.reduce(Monoid::Max, stopped, &[1]);
        let max = g.broadcast(max, &shape, &[0]);
        let below = g.map(Scalar::SubZ, &[x, max]);
        assert_eq!(g.range(below).hi, 0.0);
    }

    #[test]
    fn a_maximum_of_rows_put_along_columns_bounds_nothing() {
        let (mut g, x) = square();
        let below = difference(&mut g, x, 1);
        assert!(g.range(below).hi > 0.0);
    }

    #[test]
    fn a_maximum_that_may_be_infinite_promises_nothing() {
        let (mut g, x) = square();
        let ty = g.ty(x).clone();
        let masked = g.splat(&ty, f64::NEG_INFINITY);
        let zero = g.splat(&ty, 0.0);
        let mask = g.map(Scalar::Lt, &[x, zero]);
        let x = g.map(Scalar::Select, &[mask, masked, x]);
        let below = difference(&mut g, x, 0);
        let exp = g.map(Scalar::Exp, &[below]);
        let sum = g.reduce(Monoid::Sum, exp, &[1]);
        assert_eq!(g.range(sum).lo, 0.0);
    }

    #[test]
    fn a_limit_that_a_number_may_exceed_counts() {
        let mut g = Graph::new("maxima");
        let x = g.input(Type::new(DType::F64, Shape::from([3])), None);
        let above = f64::INFINITY;
        for (limit, hi) in [(1e38, above), (f64::MAX, 0.0), (-f64::MAX, above)] {
            let max = g.reduce(Monoid::Max, x, &[0]);
            let ty = g.ty(max).clone();
            let limit = g.splat(&ty, limit);
            let max = g.map(Scalar::Min, &[max, limit]);
            let shape = g.ty(x).shape.clone();
            let max = g.broadcast(max, &shape, &[]);
            let below = g.map(Scalar::SubZ, &[x, max]);
            assert_eq!(g.range(below).hi, hi);
        }
    }
}
