//! Narrow arrays as columns.
//!
//! Programs about many small things (the residuals of observations, the Jacobian of each)
//! have arrays of many rows and few columns, which they cut, turn and put together:
//!
//! ```text
//! [n, 15] ─ slices of 3, 1, 2, … columns ─ … ─ [2, n, 1] for each of two unit cotangents ─ [n, 2, 15]
//! ```
//!
//! As arrays these have loops of many shapes, which do not fuse, and each concatenation is
//! a pass over memory. So where such arrays are put together on the way, each becomes its
//! columns, values of shape `[n]`: slices, transpositions and concatenations of columns are
//! names for them, and all else runs in one loop over the rows. What is the same in all
//! rows of a column is a constant: of the cotangents, which are unit vectors, nothing is
//! left but the products with what is one.
//!
//! An array has *rows* along the one axis of `n`, of all others together at most
//! [`MOST_COLUMNS`] elements. Operations whose columns are functions of columns
//! ([`takes`](Columns::takes)) form connected parts; a part becomes columns if something
//! is put together inside it and it is not too large to be one kernel or a few. At its
//! border, columns are slices of arrays, and arrays concatenations of columns.

mod rules;

use backstitch_ir::graph::{Origin, Values};
use backstitch_ir::ops::{Concat, Permute, Slice, SliceAxis};
use backstitch_ir::{Array, Graph, Idx, IndexVec, Node, Op, Shape, Type, Value};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::rebuild::{Map, live};

/// Columns of an array at most.
const MOST_COLUMNS: usize = 64;

/// Rows at least.
const LEAST_ROWS: usize = 256;

/// Rows for each column at least: what is no narrower than that is no narrow array.
const LEAST_ROWS_PER_COLUMN: usize = 8;

/// Functions of columns in a part at most.
const MOST_WORK: usize = 4000;

/// Products of columns that one product of matrices becomes at most.
const MOST_PRODUCTS: usize = 256;

/// Where an element is, or a column: then the index of the row is 0.
type Index = SmallVec<[usize; 4]>;

/// Whether something narrow is put together.
pub(crate) fn may_have_columns(g: &Graph) -> bool {
    g.nodes().any(|n| joined_rows(g, n).is_some())
}

/// The number of rows of what a node puts together.
fn joined_rows(g: &Graph, n: Node) -> Option<usize> {
    if !matches!(g.op(n), Op::Concat(_) | Op::Pad(_)) {
        return None;
    }
    let ty = g.ty(g.results(n)[0]);
    let rows = ty.dims().iter().copied().max()?;
    rows_of(ty, rows).map(|_| rows)
}

/// The axis of the rows, if a type is narrow.
fn rows_of(ty: &Type, n: usize) -> Option<usize> {
    let dims = ty.dims();
    let axis = dims.iter().position(|&d| d == n)?;
    let others = dims.iter().enumerate().filter(|&(a, _)| a != axis);
    let columns = others.map(|(_, &d)| d).product::<usize>();
    let least = LEAST_ROWS.max(columns * LEAST_ROWS_PER_COLUMN);
    let narrow = ty.stack == 0 && columns <= MOST_COLUMNS && n >= least;
    let alone = dims.iter().filter(|&&d| d == n).count() == 1;
    (narrow && alone).then_some(axis)
}

/// The same program, with columns in the place of narrow arrays where that pays.
pub fn columns(g: &Graph) -> Graph {
    let live = live(g, g.outputs(), None);
    let nodes: Vec<Node> = live.entries().filter(|(_, live)| **live).map(|(n, _)| n).collect();
    let mut counts: FxHashMap<usize, usize> = FxHashMap::default();
    for n in nodes.iter().filter_map(|&n| joined_rows(g, n)) {
        *counts.entry(n).or_default() += 1;
    }
    let Some((&n, _)) = counts.iter().max_by_key(|&(n, count)| (count, n)) else {
        return g.clone();
    };
    let mut pass = Columns::new(g, n, &nodes);
    if !pass.choose(&nodes) {
        return g.clone();
    }
    pass.build(&nodes)
}

struct Columns<'g> {
    g: &'g Graph,
    /// How many rows there are.
    n: usize,
    /// The axis of the rows of each narrow array.
    rows: IndexVec<Value, Option<usize>>,
    /// Small arrays that depend on no input.
    known: IndexVec<Value, Option<Array>>,
    /// What becomes columns.
    chosen: IndexVec<Node, bool>,
    /// Values of the new graph: arrays,
    whole: Map,
    /// and columns.
    columns: IndexVec<Value, Option<Vec<Value>>>,
}

impl<'g> Columns<'g> {
    fn new(g: &'g Graph, n: usize, nodes: &[Node]) -> Self {
        let mut rows = IndexVec::filled(None, g.value_count());
        let mut known = IndexVec::filled(None, g.value_count());
        for &node in nodes {
            for v in g.results(node) {
                rows[v] = rows_of(g.ty(v), n);
            }
            let v = g.results(node)[0];
            known[v] = known_array(g, node, &known);
        }
        Self {
            g,
            n,
            rows,
            known,
            chosen: IndexVec::filled(false, g.node_count()),
            whole: Map::filled(None, g.value_count()),
            columns: IndexVec::filled(None, g.value_count()),
        }
    }

    /// Chooses the parts that become columns; whether there are any.
    fn choose(&mut self, nodes: &[Node]) -> bool {
        let g = self.g;
        let taken: Vec<Node> = nodes.iter().copied().filter(|&n| self.takes(n)).collect();
        let mut parts = Parts::new(g.node_count());
        let mut is_taken = IndexVec::filled(false, g.node_count());
        for &n in &taken {
            is_taken[n] = true;
            // What is the same everywhere connects nothing.
            for a in g.args(n).into_iter().filter(|&a| g.as_splat(a).is_none()) {
                let source = g.source(a).0;
                if is_taken[source] {
                    parts.join(n, source);
                }
            }
        }
        // Of each part: whether something is put together inside it, and its functions.
        let mut found: FxHashMap<usize, (bool, usize)> = FxHashMap::default();
        for &n in &taken {
            let joins = matches!(g.op(n), Op::Concat(_) | Op::Pad(_))
                && g.users(n).any(|user| is_taken[user]);
            let part = found.entry(parts.find(n.index())).or_default();
            part.0 |= joins;
            part.1 = part.1.saturating_add(self.work(n));
        }
        let mut any = false;
        for &n in &taken {
            let (joins, work) = found[&parts.find(n.index())];
            self.chosen[n] = joins && work <= MOST_WORK;
            any |= self.chosen[n];
        }
        any
    }

    fn build(mut self, nodes: &[Node]) -> Graph {
        let g = self.g;
        let mut to = g.successor();
        for &v in g.inputs() {
            to.set_origin(g.origin(g.source(v).0));
            self.whole[v] = Some(to.input(g.ty(v).clone(), g.name_of(v)));
        }
        let mut at: IndexVec<Node, Option<Node>> = IndexVec::filled(None, g.node_count());
        for &n in nodes.iter().filter(|&&n| !g.op(n).is_input()) {
            let mut origin = g.origin(n);
            origin.primal = origin.primal.and_then(|p| at[p]);
            to.set_origin(origin);
            if self.chosen[n] {
                let columns = self.of_node(&mut to, n);
                at[n] = columns.last().map(|&c| to.source(c).0);
                self.columns[g.results(n)[0]] = Some(columns);
                continue;
            }
            let args: Values = g.args(n).iter().map(|&a| self.array(&mut to, a)).collect();
            let made = crate::rebuild::same(&mut to, g, n, &args);
            for (r, m) in g.results(n).into_iter().zip(made) {
                at[n] = Some(to.source(m).0);
                self.whole[r] = Some(m);
                if let Some(name) = g.name_of(r)
                    && to.name_of(m).is_none()
                {
                    to.set_name(m, name);
                }
            }
        }
        let outputs: Vec<Value> = g.outputs().iter().map(|&v| self.array(&mut to, v)).collect();
        to.set_origin(Origin::default());
        to.set_outputs(outputs);
        to
    }

    /// A value as an array.
    fn array(&mut self, to: &mut Graph, v: Value) -> Value {
        if let Some(whole) = self.whole[v] {
            return whole;
        }
        let columns = self.columns[v].clone().expect("a value is an array or columns");
        let before = to.set_origin(self.g.origin(self.g.source(v).0));
        let row = self.rows[v].expect("columns are of narrow arrays");
        let whole = together(to, &columns, self.g.ty(v), row);
        to.set_origin(before);
        self.whole[v] = Some(whole);
        whole
    }

    /// The column of a narrow array at an index.
    fn column(&mut self, to: &mut Graph, v: Value, at: &[usize]) -> Value {
        let row = self.rows[v].expect("columns are of narrow arrays");
        if let Some(columns) = &self.columns[v] {
            return columns[number(self.g.ty(v).dims(), row, at)];
        }
        if let Some(c) = self.g.as_splat(v) {
            let c = to.constant(Array::scalar(c));
            return to.broadcast(c, &Shape::from([self.n]), &[]);
        }
        let x = self.array(to, v);
        let n = self.n;
        cut(to, x, at, Some(row), [n])
    }

    /// The element of an array without rows, in all rows.
    fn element(&mut self, to: &mut Graph, v: Value, at: &[usize]) -> Value {
        let shape = Shape::from([self.n]);
        let dims = self.g.ty(v).dims();
        let x = match &self.known[v] {
            Some(array) => {
                let i = at.iter().zip(dims).fold(0, |i, (&a, &d)| i * d + a);
                to.constant(Array::scalar(array.get(i).expect("an index inside")))
            }
            None => {
                let x = self.array(to, v);
                cut(to, x, at, None, [])
            }
        };
        to.broadcast(x, &shape, &[])
    }
}

/// The element of an array at an index, or all along an axis.
fn cut<const R: usize>(
    to: &mut Graph,
    x: Value,
    at: &[usize],
    along: Option<usize>,
    shape: [usize; R],
) -> Value {
    let dims = to.ty(x).dims();
    let axis = |(a, &start): (usize, &usize)| match along == Some(a) {
        true => SliceAxis::all(dims[a]),
        false => SliceAxis { start, len: 1, step: 1 },
    };
    let axes: SmallVec<[SliceAxis; 4]> = at.iter().enumerate().map(axis).collect();
    let all = axes.iter().zip(dims).all(|(s, &d)| s.len == d);
    let x = if all { x } else { to.push(Slice { axes }, &[x]) };
    let x = crate::simplify::normal(to, x);
    let x = to.reshape(x, shape);
    crate::simplify::normal(to, x)
}

/// An array of these columns.
fn together(to: &mut Graph, columns: &[Value], ty: &Type, row: usize) -> Value {
    let n = ty.dims()[row];
    if let Some(&first) = columns.first()
        && to.as_splat(first).is_some()
        && columns.iter().all(|&c| c == first)
    {
        let c = to.as_splat(first).expect("a splat");
        let c = to.constant(Array::scalar(c));
        return to.broadcast(c, &ty.shape, &[]);
    }
    let (before, after): (usize, usize) =
        (ty.dims()[..row].iter().product(), ty.dims()[row + 1..].iter().product());
    let mut joined = |dims: [usize; 2], axis: usize| {
        let parts: Vec<Value> = columns.iter().map(|&c| to.reshape(c, dims)).collect();
        match parts[..] {
            [only] => only,
            _ => to.push(Concat { axis }, &parts),
        }
    };
    if before == 1 || after != 1 {
        let x = joined([n, 1], 1);
        let others = ty.dims().iter().enumerate().filter(|&(a, _)| a != row).map(|(_, &d)| d);
        let x = to.reshape(x, std::iter::once(n).chain(others).collect::<Shape>());
        if row == 0 {
            return x;
        }
        let place = |a: usize| if a == row { 0 } else { a + usize::from(a < row) };
        return to.push(Permute { perm: (0..ty.rank()).map(place).collect() }, &[x]);
    }
    let x = joined([1, n], 0);
    to.reshape(x, ty.shape.clone())
}

/// The number of a column, counted in row-major order over all axes but that of the rows.
fn number(dims: &[usize], row: usize, at: &[usize]) -> usize {
    let others = dims.iter().zip(at).enumerate().filter(|&(a, _)| a != row);
    others.fold(0, |i, (_, (&d, &at))| i * d + at)
}

/// The indices of all columns, in order; of all elements, without an axis of rows.
fn indices(dims: &[usize], row: Option<usize>) -> Vec<Index> {
    let extents = dims.iter().enumerate().map(|(a, &d)| if row == Some(a) { 1 } else { d });
    extents.fold(vec![Index::new()], |before, extent| {
        let each = |at: Index| {
            (0..extent).map(move |i| {
                let mut at = at.clone();
                at.push(i);
                at
            })
        };
        before.into_iter().flat_map(each).collect()
    })
}

/// What a node gives, if it is small and depends on no input.
fn known_array(g: &Graph, n: Node, known: &IndexVec<Value, Option<Array>>) -> Option<Array> {
    let v = g.results(n)[0];
    if g.ty(v).len() > MOST_COLUMNS || g.ty(v).stack > 0 || g.op(n).is_input() {
        return None;
    }
    let backstitch_ir::op::Family::Array(p) = g.op(n).family() else { return None };
    if matches!(g.op(n), Op::LoopLimit(_)) {
        return None;
    }
    let args = g.args(n);
    let args: Option<SmallVec<[&Array; 4]>> = args.iter().map(|&a| known[a].as_ref()).collect();
    Some(p.eval(&args?))
}

/// Which nodes are connected.
struct Parts(Vec<usize>);

impl Parts {
    fn new(nodes: usize) -> Self {
        Self((0..nodes).collect())
    }

    fn find(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: Node, b: Node) {
        let (a, b) = (self.find(a.index()), self.find(b.index()));
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests;
