//! What lowering does not take, in terms of what it does.
//!
//! * `stop_gradient` is the identity once all derivatives have been taken.
//! * A product in which one side is a vector, or that is tiny, is a multiplication
//!   and a sum: as such it fuses with its neighbours, and a matrix that is read
//!   for a value is at hand for its gradient. Integer products are sums too; the
//!   library knows floats only.
//! * A single element, row, … put among others that are a constant, as the adjoint of
//!   `index` does it, is a choice by the index: it fuses, and an array of zeros is not made.

use backstitch_ir::graph::Values;
use backstitch_ir::ops::{Axes, Contract, Iota, Pad, PadAxis};
use backstitch_ir::{Array, DType, Graph, Monoid, Op, Scalar, Shape, Type, Value, threshold};
use smallvec::smallvec;

use crate::rebuild::{rebuild, same};

/// Multiplications up to which a matrix product is not worth a call. `cargo bench --bench
/// products` measures it: of cubes, a nest of 64 takes 9 to 22 ns and the library 24 or more,
/// one of 216 takes 40 to 64 and the library 30 or more. Besides, a nest fuses with its
/// neighbours.
const TINY: usize = threshold(128, 8);

/// Whether lowering might not take the graph as it is.
pub(crate) fn is_illegal(g: &Graph) -> bool {
    g.nodes().any(|n| match g.op(n) {
        Op::StopGradient(_) | Op::Contract(_) => true,
        Op::Pad(p) => is_choice(g, p, g.args(n)[0]),
        _ => false,
    })
}

/// The same program in operations that lowering takes.
pub fn legalise(g: &Graph) -> Graph {
    rebuild(g, |to, n, args| match g.op(n) {
        Op::StopGradient(_) => Values::from_slice(args),
        Op::Contract(c) if is_sum(to, c, args) => smallvec![as_sum(to, c, args)],
        Op::Pad(p) if is_choice(to, p, args[0]) => {
            let ty = g.ty(g.results(n)[0]).clone();
            smallvec![as_choice(to, p, args[0], &ty)]
        }
        _ => same(to, g, n, args),
    })
}

/// Whether there is one index at most on each axis at which something is put.
fn is_choice(g: &Graph, p: &Pad, x: Value) -> bool {
    let one = |(axis, &extent): (&PadAxis, &usize)| *axis == PadAxis::NONE || extent == 1;
    let dims = g.ty(x).dims();
    p.axes.iter().any(|a| *a != PadAxis::NONE) && p.axes.iter().zip(dims).all(one)
}

/// The operand where the indices are those at which it is put, the value elsewhere.
fn as_choice(g: &mut Graph, p: &Pad, x: Value, ty: &Type) -> Value {
    // Of the width of the elements: then so are the masks.
    let counts = if ty.dtype == DType::F64 { DType::I64 } else { DType::I32 };
    let counts = if ty.shape.len() > i32::MAX as usize { DType::I64 } else { counts };
    let counts = ty.with_dtype(counts);
    let mut here: Option<Value> = None;
    for (axis, a) in p.axes.iter().enumerate().filter(|(_, a)| **a != PadAxis::NONE) {
        let index = g.push(Iota { ty: counts.clone(), axis }, &[]);
        let lo = g.splat(&counts, a.lo as f64);
        let equal = g.map(Scalar::Eq, &[index, lo]);
        here = Some(here.map_or(equal, |h| g.map(Scalar::And, &[h, equal])));
    }
    let kept: Axes = (0..p.axes.len()).filter(|&a| p.axes[a] == PadAxis::NONE).collect();
    let shape: Shape = kept.iter().map(|&a| ty.dims()[a]).collect();
    let x = g.reshape(x, shape);
    let x = g.broadcast(x, &ty.shape, &kept);
    let value = g.constant(Array::scalar(p.value));
    let value = g.broadcast(value, &ty.shape, &[]);
    g.map(Scalar::Select, &[here.expect("it is put somewhere"), x, value])
}

fn free(c: &Contract, i: usize, rank: usize) -> Axes {
    (0..rank).filter(|a| !c.batch[i].contains(a) && !c.over[i].contains(a)).collect()
}

fn is_sum(g: &Graph, c: &Contract, args: &[Value]) -> bool {
    let len = |i: usize, axes: &[usize]| -> usize {
        axes.iter().map(|&a| g.ty(args[i]).dims()[a]).product()
    };
    let free = |i: usize| len(i, &free(c, i, g.ty(args[i]).rank()));
    let (m, n, k) = (free(0), free(1), len(0, &c.over[0]));
    let tiny = m.saturating_mul(n).saturating_mul(k) <= TINY;
    m <= 1 || n <= 1 || k <= 1 || tiny || !g.ty(args[0]).is_float()
}

/// Both sides spread over one domain, multiplied, and summed. The axes of the
/// domain are those of the larger side in its own order, so that it is read as it
/// lies; the axes that only the other side has stand before the summed axes at its
/// end.
fn as_sum(g: &mut Graph, c: &Contract, args: &[Value]) -> Value {
    let types = [g.ty(args[0]).clone(), g.ty(args[1]).clone()];
    let big = usize::from(types[1].len() > types[0].len());
    let small = 1 - big;
    let small_free = free(c, small, types[small].rank());
    let rank = types[big].rank() + small_free.len();
    // Extra axes go before the trailing run of summed axes of the large side.
    let cut = (0..types[big].rank()).rev().take_while(|a| c.over[big].contains(a)).count();
    let cut = types[big].rank() - cut;
    let place_big = |a: usize| if a < cut { a } else { a + small_free.len() };
    let mut dims = vec![0; rank];
    for (a, &d) in types[big].dims().iter().enumerate() {
        dims[place_big(a)] = d;
    }
    let partner = |a: usize| {
        let of = |pair: &[Axes; 2]| pair[small].iter().position(|&x| x == a).map(|i| pair[big][i]);
        of(&c.batch).or_else(|| of(&c.over))
    };
    let mut place_small = vec![0; types[small].rank()];
    for (a, place) in place_small.iter_mut().enumerate() {
        *place = match partner(a) {
            Some(b) => place_big(b),
            None => cut + small_free.iter().position(|&x| x == a).expect("it is free"),
        };
        dims[*place] = types[small].dims()[a];
    }
    let domain = Shape::from(&dims);
    let big_dims: Axes = (0..types[big].rank()).map(place_big).collect();
    let x = spread(g, args[big], &big_dims, &domain);
    let y = spread(g, args[small], &place_small, &domain);
    let product = if big == 0 { [x, y] } else { [y, x] };
    let product = g.map(Scalar::Mul, &product);
    let mut over: Axes = c.over[big].iter().map(|&a| place_big(a)).collect();
    over.sort_unstable();
    let sum = g.reduce(Monoid::Sum, product, &over);
    // Where each axis of the domain that is left stands in `sum`.
    let left: Vec<usize> = (0..rank).filter(|a| !over.contains(a)).collect();
    let at = |place: usize| left.iter().position(|&p| p == place).expect("it is left");
    let batch = c.batch[big].iter().map(|&a| place_big(a));
    let big_free: Vec<usize> = free(c, big, types[big].rank()).into_iter().map(place_big).collect();
    let small_free: Vec<usize> = small_free.iter().map(|&a| place_small[a]).collect();
    let (first, second) = if big == 0 { (big_free, small_free) } else { (small_free, big_free) };
    let perm: Axes = batch.chain(first).chain(second).map(at).collect();
    permuted(g, sum, perm)
}

/// `x` over the domain: its axis `i` is the domain's axis `places[i]`.
fn spread(g: &mut Graph, x: Value, places: &[usize], domain: &Shape) -> Value {
    let mut order: Axes = (0..places.len()).collect();
    order.sort_by_key(|&a| places[a]);
    let dims: Axes = order.iter().map(|&a| places[a]).collect();
    let x = permuted(g, x, order);
    g.broadcast(x, domain, &dims)
}

fn permuted(g: &mut Graph, x: Value, perm: Axes) -> Value {
    if perm.iter().enumerate().all(|(i, &a)| i == a) {
        return x;
    }
    g.push(backstitch_ir::ops::Permute { perm }, &[x])
}
