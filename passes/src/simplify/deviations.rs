//! Deviations from a mean add up to nothing.
//!
//! ```text
//! sum (a + c · (x - mean x))     sum a          c the same in all that is added up
//! ```
//!
//! The derivative of what takes a mean away takes the mean of the cotangent away. Where `x` is
//! divided by its deviation too, as normalisations do, a part of that cotangent is a multiple
//! of `x - mean x`, whose sum is 0 but for rounding. Without it the sum has to wait for less:
//! of the layer norm's derivative it needs what is known before the derivative of the variance
//! is, so that one loop over each row does what took two.
//!
//! Only what derivatives add up: a program may have such a sum to see how much is rounded off.

use backstitch_ir::graph::Values;
use backstitch_ir::nest::Const;
use backstitch_ir::ops::{Axes, Reduce};
use backstitch_ir::{Graph, Monoid, Node, Op, Scalar, Value};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::smallvec;

use crate::rebuild::{live, rebuild, same};

/// How many operations deep terms and multiples are looked for.
const DEEP: usize = 8;

/// Whether there may be something to do.
pub(crate) fn may_have_deviations(g: &Graph) -> bool {
    let mut means = g.nodes().filter(|&n| is_sum(g, n) && !g.origin(n).adjoint);
    means.next().is_some() && g.nodes().any(|n| is_sum_of_derivatives(g, n))
}

/// The same program, where sums of derivatives are without deviations from means.
pub fn drop_deviations(g: &Graph) -> Graph {
    let live = live(g, g.outputs(), None);
    let mut rests: FxHashMap<Node, Rest> = FxHashMap::default();
    for n in g.nodes().filter(|&n| live[n] && is_sum_of_derivatives(g, n)) {
        rests.extend(rest(g, n).map(|rest| (n, rest)));
    }
    if rests.is_empty() {
        return g.clone();
    }
    let wanted: FxHashSet<Value> = rests.values().filter_map(|r| r.value).collect();
    // Where what is wanted is in the next graph: inputs are there from the beginning.
    let inputs = g.inputs().iter().enumerate().filter(|(_, v)| wanted.contains(v));
    let inputs: FxHashMap<Value, usize> = inputs.map(|(i, &v)| (v, i)).collect();
    let mut there: FxHashMap<Value, Value> = FxHashMap::default();
    rebuild(g, |to, n, args| {
        let results = match (rests.get(&n), g.op(n)) {
            (Some(rest), Op::Reduce(r)) => {
                let sum = match rest.value {
                    Some(v) => {
                        let v = inputs.get(&v).map_or_else(|| there[&v], |&i| to.inputs()[i]);
                        to.push(r.clone(), &[v])
                    }
                    None => {
                        let sum = same(to, g, n, args)[0];
                        to.like(sum, 0.0)
                    }
                };
                smallvec![if rest.negative { to.map(Scalar::Neg, &[sum]) } else { sum }]
            }
            _ => same(to, g, n, args),
        };
        let made = g.results(n);
        there.extend(made.iter().zip(&results).filter(|(v, _)| wanted.contains(v)));
        results
    })
}

fn is_sum(g: &Graph, n: Node) -> bool {
    matches!(g.op(n), Op::Reduce(r) if r.monoid == Monoid::Sum)
}

fn is_sum_of_derivatives(g: &Graph, n: Node) -> bool {
    is_sum(g, n) && g.origin(n).adjoint && g.ty(g.results(n)[0]).is_float()
}

/// What is left of what is added up.
struct Rest {
    /// None if it is nothing.
    value: Option<Value>,
    negative: bool,
}

/// What is left of a sum's operand, if deviations leave it.
fn rest(g: &Graph, sum: Node) -> Option<Rest> {
    let Op::Reduce(r) = g.op(sum) else { return None };
    let (mut v, mut negative, mut found) = (g.args(sum)[0], false, false);
    let is_nothing = |v: Value| deviates(g, v, &r.axes, DEEP);
    for _ in 0..DEEP {
        let Some((f, args)) = map(g, v) else { break };
        match f {
            Scalar::Neg => (v, negative) = (args[0], !negative),
            Scalar::Add | Scalar::Sub if is_nothing(args[1]) => (v, found) = (args[0], true),
            Scalar::Add | Scalar::Sub if is_nothing(args[0]) => {
                (v, negative, found) = (args[1], negative ^ (f == Scalar::Sub), true);
            }
            _ => break,
        }
    }
    if is_nothing(v) {
        return Some(Rest { value: None, negative: false });
    }
    found.then_some(Rest { value: Some(v), negative })
}

fn map(g: &Graph, v: Value) -> Option<(Scalar, Values)> {
    match g.op_of(v) {
        Op::Map(m) => Some((m.f, g.args(g.source(v).0))),
        _ => None,
    }
}

/// Whether the elements of a value add up to 0 along these axes, but for rounding.
fn deviates(g: &Graph, v: Value, axes: &Axes, deep: usize) -> bool {
    let Some((f, args)) = map(g, v).filter(|_| deep > 0) else { return false };
    let deviates = |v: Value| deviates(g, v, axes, deep - 1);
    match f {
        Scalar::Neg => deviates(args[0]),
        Scalar::Sub if is_mean(g, args[1], args[0], axes) => true,
        Scalar::Add | Scalar::Sub => deviates(args[0]) && (args[0] == args[1] || deviates(args[1])),
        Scalar::Mul | Scalar::MulZ | Scalar::MulZLeft => match is_constant(g, args[0], axes) {
            true => deviates(args[1]),
            false => is_constant(g, args[1], axes) && deviates(args[0]),
        },
        _ => false,
    }
}

/// Whether a value is the same everywhere along these axes.
fn is_constant(g: &Graph, v: Value, axes: &Axes) -> bool {
    if g.as_splat(v).is_some() {
        return true;
    }
    let Op::Broadcast(b) = g.op_of(v) else { return false };
    let from = g.ty(g.args(g.source(v).0)[0]).dims();
    b.dims.iter().zip(from).all(|(axis, &extent)| extent == 1 || !axes.contains(axis))
}

/// Whether `m` is the mean of `x` over these axes, repeated along them.
fn is_mean(g: &Graph, m: Value, x: Value, axes: &Axes) -> bool {
    let Op::Broadcast(b) = g.op_of(m) else { return false };
    let (dims, mean) = (g.ty(x).dims(), g.args(g.source(m).0)[0]);
    let kept = (0..dims.len()).filter(|axis| !axes.contains(axis));
    if !b.dims.iter().copied().eq(kept) || g.ty(m).dims() != dims {
        return false;
    }
    let count = axes.iter().map(|&axis| dims[axis] as f64).product::<f64>();
    let Some((f, args)) = map(g, mean) else { return false };
    let is = |v: Value, number: f64| {
        g.as_splat(v).is_some_and(|c| c.bits == Const::of_float(c.dtype, number).bits)
    };
    let sum = match f {
        Scalar::Div if is(args[1], count) => args[0],
        Scalar::Mul if is(args[1], 1.0 / count) => args[0],
        Scalar::Mul if is(args[0], 1.0 / count) => args[1],
        _ => return false,
    };
    let of_x =
        |r: &Reduce| r.monoid == Monoid::Sum && r.axes == *axes && g.args(g.source(sum).0)[0] == x;
    matches!(g.op_of(sum), Op::Reduce(r) if of_x(r))
}

#[cfg(test)]
mod tests {
    use backstitch_ir::eval::eval_arrays;
    use backstitch_ir::graph::Origin;
    use backstitch_ir::ops::Broadcast;
    use backstitch_ir::{Array, DType, Shape, Type};

    use super::*;

    const ROWS: usize = 3;
    const COLUMNS: usize = 5;

    /// A value of each row, for all of its elements.
    fn repeated(g: &mut Graph, v: Value, axis: usize) -> Value {
        let shape = Shape::from([ROWS, COLUMNS]);
        g.push(Broadcast { shape, dims: Axes::from_slice(&[axis]) }, &[v])
    }

    /// Arrays `a` and `x`, numbers `c` for each row, and `x - mean x` of each row; what
    /// follows is a derivative's.
    fn deviations(g: &mut Graph) -> [Value; 4] {
        let all = Type::new(DType::F64, [ROWS, COLUMNS]);
        let [a, x] = [0, 1].map(|_| g.input(all.clone(), None));
        let c = g.input(Type::new(DType::F64, [ROWS]), None);
        let sum = g.reduce(Monoid::Sum, x, &[1]);
        let n = g.like(sum, COLUMNS as f64);
        let mean = g.map(Scalar::Div, &[sum, n]);
        let mean = repeated(g, mean, 0);
        let d = g.map(Scalar::Sub, &[x, mean]);
        g.set_origin(Origin { adjoint: true, ..g.current_origin() });
        let c = repeated(g, c, 0);
        [a, x, c, d]
    }

    /// The next graph, and what both compute.
    fn both(g: &Graph) -> (Graph, Vec<[f64; 2]>) {
        let next = drop_deviations(g);
        let numbers = |n: usize| (0..n).map(|i| (i as f64 * 0.7).sin() + 0.25);
        let inputs: Vec<Array> = g
            .inputs()
            .iter()
            .map(|&v| {
                let ty = g.ty(v);
                let x = ndarray::Array1::from_iter(numbers(ty.len()));
                x.into_dyn().into_shape_with_order(ty.dims()).expect("as many").into()
            })
            .collect();
        let sides = [g, &next].map(|g| eval_arrays(g, &inputs));
        let [old, new] = sides.map(|side| side.iter().flat_map(Array::to_f64_vec).collect());
        let (old, new): (Vec<f64>, Vec<f64>) = (old, new);
        (next, old.into_iter().zip(new).map(|(a, b)| [a, b]).collect())
    }

    /// Whether sums are of this value and no other.
    fn all_sum(g: &Graph, of: usize) -> bool {
        let g = crate::prune(g);
        let sums = g.nodes().filter(|&n| is_sum_of_derivatives(&g, n));
        let operands: Vec<Value> = sums.map(|n| g.args(n)[0]).collect();
        operands.iter().all(|&v| v == g.inputs()[of])
    }

    #[test]
    fn multiples_of_deviations_leave_sums() {
        let mut g = Graph::new("g");
        let [a, _, c, d] = deviations(&mut g);
        let twice = g.map(Scalar::Add, &[d, d]);
        let part = g.map(Scalar::Mul, &[c, twice]);
        let sum = g.map(Scalar::Add, &[a, part]);
        let minus = g.map(Scalar::Neg, &[sum]);
        let less = g.map(Scalar::Sub, &[part, a]);
        let outputs = [sum, minus, less].map(|v| g.reduce(Monoid::Sum, v, &[1]));
        g.set_outputs(outputs);
        let (next, pairs) = both(&g);
        assert!(all_sum(&next, 0), "{next}");
        for [a, b] in pairs {
            assert!((a - b).abs() < 1e-14, "{a} and {b}");
        }
    }

    #[test]
    fn what_is_left_may_be_such_a_sum_itself() {
        let mut g = Graph::new("g");
        let [a, _, c, d] = deviations(&mut g);
        let part = g.map(Scalar::Mul, &[c, d]);
        let with = g.map(Scalar::Add, &[a, part]);
        let inner = g.reduce(Monoid::Sum, with, &[1]);
        // The sum of each row, less a multiple of its deviation from the mean of another array.
        let y = g.input(Type::new(DType::F64, [ROWS]), None);
        let sum = g.reduce(Monoid::Sum, y, &[0]);
        let n = g.like(sum, ROWS as f64);
        let mean = g.map(Scalar::Div, &[sum, n]);
        let mean = g.broadcast(mean, &Shape::from([ROWS]), &[]);
        let deviation = g.map(Scalar::Sub, &[y, mean]);
        let outer = g.map(Scalar::Sub, &[inner, deviation]);
        let all = g.reduce(Monoid::Sum, outer, &[0]);
        g.set_outputs([all]);
        let (next, pairs) = both(&g);
        let next = crate::prune(&next);
        let subtracts = |n| matches!(next.op(n), Op::Map(m) if m.f == Scalar::Sub);
        assert!(!next.nodes().any(subtracts), "{next}");
        assert!(pairs.iter().all(|[a, b]| (a - b).abs() < 1e-13), "{pairs:?}");
    }

    #[test]
    fn sums_of_nothing_else_are_zero() {
        let mut g = Graph::new("g");
        let [_, _, c, d] = deviations(&mut g);
        let part = g.map(Scalar::Mul, &[d, c]);
        let sum = g.reduce(Monoid::Sum, part, &[1]);
        g.set_outputs([sum]);
        let (next, pairs) = both(&g);
        assert!(all_sum(&next, 0), "{next}");
        assert!(pairs.iter().all(|[a, b]| a.abs() < 1e-14 && *b == 0.0), "{pairs:?}");
    }

    #[test]
    fn other_sums_stay_what_they_are() {
        let mut g = Graph::new("g");
        let [a, x, c, d] = deviations(&mut g);
        // Along the other axis, with other factors, of the square, or of something that is no
        // deviation from this mean.
        let weighed = g.map(Scalar::Mul, &[a, d]);
        let square = g.map(Scalar::Mul, &[d, d]);
        let other = g.map(Scalar::Sub, &[a, c]);
        let sum = g.reduce(Monoid::Sum, x, &[1]);
        let less = g.like(sum, COLUMNS as f64 - 1.0);
        let unbiased = g.map(Scalar::Div, &[sum, less]);
        let unbiased = repeated(&mut g, unbiased, 0);
        let unbiased = g.map(Scalar::Sub, &[x, unbiased]);
        let terms = [weighed, square, other, unbiased, x].map(|v| g.map(Scalar::Add, &[v, a]));
        let with = g.map(Scalar::Add, &[a, d]);
        let mut outputs: Vec<Value> =
            terms.iter().map(|&v| g.reduce(Monoid::Sum, v, &[1])).collect();
        outputs.extend([[0].as_slice(), &[0, 1]].map(|axes| g.reduce(Monoid::Sum, with, axes)));
        g.set_outputs(outputs);
        let (next, pairs) = both(&g);
        assert_eq!(next.to_string(), g.to_string());
        assert!(pairs.iter().all(|[a, b]| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn what_a_program_adds_up_stays() {
        let mut g = Graph::new("g");
        let [a, _, _, d] = deviations(&mut g);
        g.set_origin(Origin::default());
        let with = g.map(Scalar::Add, &[a, d]);
        let sum = g.reduce(Monoid::Sum, with, &[1]);
        g.set_outputs([sum]);
        assert_eq!(drop_deviations(&g).to_string(), g.to_string());
    }
}
