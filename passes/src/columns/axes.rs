//! Which axes run together.
//!
//! Operands and results of an operation share axes: axis 1 of a sum's operands is axis 1 of
//! the sum. Classes are the axes that are connected by such pairs. They are found by extents
//! and by what the operations say, so two axes of 10 that never meet are two classes.

use backstitch_ir::ops::{PadAxis, SliceAxis};
use backstitch_ir::{Graph, IndexVec, Node, Op, Value};

use super::choice::Parts;

/// A class of axes.
pub(super) type Class = usize;

/// The classes of the axes of all values.
pub(super) struct Classes {
    /// The number of the first axis of each value.
    first: IndexVec<Value, usize>,
    parts: Parts,
}

impl Classes {
    /// Those of a graph.
    pub fn of(g: &Graph, nodes: &[Node]) -> Self {
        let mut first = IndexVec::filled(0, g.value_count());
        let mut count = 0;
        for v in nodes.iter().flat_map(|&n| g.results(n)) {
            first[v] = count;
            count += g.ty(v).rank();
        }
        let mut all = Self { first, parts: Parts::new(count) };
        nodes.iter().for_each(|&n| all.relate(g, n));
        all
    }

    /// The class of an axis.
    pub fn of_axis(&mut self, v: Value, axis: usize) -> Class {
        self.parts.find(self.first[v] + axis)
    }

    /// Joins the axes that an operation takes together.
    fn relate(&mut self, g: &Graph, n: Node) {
        let args = g.args(n);
        let Some(r) = g.results(n).into_iter().next() else { return };
        let rank = |v: Value| g.ty(v).rank();
        match g.op(n) {
            Op::Map(_) | Op::StopGradient(_) => {
                for &a in &args {
                    (0..rank(r)).for_each(|i| self.meet(g, (a, i), (r, i)));
                }
            }
            Op::Slice(s) => {
                let dims = g.ty(args[0]).dims();
                let whole = (0..rank(r)).filter(|&i| s.axes[i] == SliceAxis::all(dims[i]));
                whole.for_each(|i| self.meet(g, (args[0], i), (r, i)));
            }
            Op::Pad(p) => {
                let whole = (0..rank(r)).filter(|&i| p.axes[i] == PadAxis::NONE);
                whole.for_each(|i| self.meet(g, (args[0], i), (r, i)));
            }
            Op::Concat(c) => {
                for &a in &args {
                    let others = (0..rank(r)).filter(|&i| i != c.axis);
                    others.for_each(|i| self.meet(g, (a, i), (r, i)));
                }
            }
            Op::Permute(p) => {
                p.perm.iter().enumerate().for_each(|(i, &a)| self.meet(g, (args[0], a), (r, i)));
            }
            Op::Broadcast(b) => {
                b.dims.iter().enumerate().for_each(|(a, &i)| self.meet(g, (args[0], a), (r, i)));
            }
            Op::Reduce(p) => {
                let kept = (0..rank(args[0])).filter(|a| !p.axes.contains(a)).enumerate();
                kept.for_each(|(i, a)| self.meet(g, (args[0], a), (r, i)));
            }
            Op::Reshape(_) => {
                let [from, to] = [g.ty(args[0]).dims(), g.ty(r).dims()];
                for (a, i) in kept_axes(from, to) {
                    self.meet(g, (args[0], a), (r, i));
                }
            }
            Op::Contract(c) => {
                let free = [0, 1].map(|side| c.free(side, rank(args[side])));
                for (i, (&x, &y)) in c.batch[0].iter().zip(&c.batch[1]).enumerate() {
                    self.meet(g, (args[0], x), (r, i));
                    self.meet(g, (args[1], y), (r, i));
                }
                for (&x, &y) in c.over[0].iter().zip(&c.over[1]) {
                    self.meet(g, (args[0], x), (args[1], y));
                }
                let sides =
                    free.iter().enumerate().flat_map(|(s, f)| f.iter().map(move |&a| (s, a)));
                for (i, (side, a)) in sides.enumerate() {
                    self.meet(g, (args[side], a), (r, c.batch[0].len() + i));
                }
            }
            Op::Gather(p) => self.picked(g, p.axis, args[0], args[1], r),
            Op::ScatterAdd(p) => {
                (0..rank(r)).for_each(|i| self.meet(g, (args[0], i), (r, i)));
                self.picked(g, p.axis, r, args[1], args[2]);
            }
            _ => {}
        }
    }

    /// Of `r[a…, i…, b…] = x[a…, index[i…], b…]`.
    fn picked(&mut self, g: &Graph, axis: usize, x: Value, index: Value, r: Value) {
        let of_index = g.ty(index).rank();
        (0..of_index).for_each(|i| self.meet(g, (index, i), (r, axis + i)));
        for a in (0..g.ty(x).rank()).filter(|&a| a != axis) {
            let i = if a < axis { a } else { a - 1 + of_index };
            self.meet(g, (x, a), (r, i));
        }
    }

    fn meet(&mut self, g: &Graph, a: (Value, usize), b: (Value, usize)) {
        // One that is stretched is another.
        if g.ty(a.0).dims()[a.1] == g.ty(b.0).dims()[b.1] {
            self.parts.join(self.first[a.0] + a.1, self.first[b.0] + b.1);
        }
    }
}

/// The axes that a reshape leaves as they are: of the operand and of the result.
pub(super) fn kept_axes(from: &[usize], to: &[usize]) -> Vec<(usize, usize)> {
    let places = |dims: &[usize]| {
        let mut before = 1;
        let all = dims.iter().enumerate().map(move |(axis, &extent)| {
            let place = (before, extent);
            before *= extent;
            (axis, place)
        });
        all.filter(|(_, (_, extent))| *extent != 1).collect::<Vec<_>>()
    };
    let (from, to) = (places(from), places(to));
    let mut to = to.into_iter().peekable();
    let mut kept = Vec::new();
    for (a, place) in from {
        while to.next_if(|(_, p)| p.0 < place.0).is_some() {}
        if let Some((i, _)) = to.next_if(|(_, p)| *p == place) {
            kept.push((a, i));
        }
    }
    kept
}
