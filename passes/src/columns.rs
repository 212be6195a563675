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
//! The same holds of products with small matrices, one or many:
//!
//! ```text
//! L [k, 10, 10] · (x - means) [n, k, 10], squared and summed: [n, k]
//! tanh(x [n, 8] · W [8, 8] + b)
//! ```
//!
//! The library's loops are made for large ones, and all between two products goes to memory and
//! back. As columns the products are sums of 10 terms, for all `n · k` at once; of places that
//! numbers are put to and picked from (`L` may be made of what is below its diagonal) nothing is
//! left, and in derivatives nothing of what is zero.
//!
//! # Rows
//!
//! Operations relate the axes of their operands and results: those of a function run together,
//! those of a broadcast become others, those that a product sums over meet. Axes that are so
//! related are of one [class](axes). An array has *rows* along its axes of some chosen classes;
//! all its other axes together have at most [`MOST_COLUMNS`] elements, or
//! [`MOST_SMALL_COLUMNS`] if it lacks a class. Each column has the chosen axes that the array
//! has, last the one for vectors to run along: that of the longer side of a product, or the longest. Operations whose columns are functions of columns
//! ([`takes`](Columns::takes)) form connected parts; a part becomes columns if something
//! is put together inside it, or small matrices are multiplied, and it is not too large to
//! be one kernel or a few. At its border, columns are slices of arrays, and arrays
//! concatenations of columns.

mod axes;
mod choice;
mod rules;

use backstitch_ir::graph::{Origin, Values};
use backstitch_ir::ops::{Concat, Permute, Slice, SliceAxis};
use backstitch_ir::{Array, Graph, IndexVec, Node, Op, Shape, Type, Value, threshold};
use smallvec::SmallVec;

use self::axes::Classes;
pub(crate) use self::choice::may_have_columns;
use crate::rebuild::{Map, live};

/// Rows at least. Of fewer than [`choice::ROWS_PER_COLUMN`] for each column an array is not
/// narrow.
const LEAST_ROWS: usize = threshold(256, 2);

/// Columns of an array with all rows at most.
const MOST_COLUMNS: usize = 64;

/// Columns at most of an array that lacks some of the rows, or all of them.
const MOST_SMALL_COLUMNS: usize = 256;

/// Where an element is, or a column: then the indices of rows are 0.
type Index = SmallVec<[usize; 4]>;

/// For each class of axes along which rows run the axis of an array, if it has one.
type Rows = SmallVec<[Option<usize>; 3]>;

/// The same program, with columns in the place of narrow arrays where that pays: of 256 rows
/// and more.
pub fn columns(g: &Graph) -> Graph {
    of_rows(g, LEAST_ROWS)
}

/// The same, of so many rows and more.
fn of_rows(g: &Graph, least: usize) -> Graph {
    let live = live(g, g.outputs(), None);
    let nodes: Vec<Node> = live.entries().filter(|(_, live)| **live).map(|(n, _)| n).collect();
    let mut classes = Classes::of(g, &nodes);
    let rows = choice::rows(g, &nodes, &mut classes, least);
    if rows.is_empty() {
        return g.clone();
    }
    let mut pass = Columns::new(g, &nodes, &mut classes, &rows);
    if !pass.choose(&nodes, least) {
        return g.clone();
    }
    pass.build(&nodes)
}

struct Columns<'g> {
    g: &'g Graph,
    /// How many rows there are along each class.
    extents: SmallVec<[usize; 3]>,
    /// The axes of the rows of each narrow array.
    rows: IndexVec<Value, Option<Rows>>,
    /// Small arrays that depend on no input.
    known: IndexVec<Value, Option<Array>>,
    /// What becomes columns.
    chosen: IndexVec<Node, bool>,
    /// For each node one of the new graph that is made of it.
    at: IndexVec<Node, Option<Node>>,
    /// Values of the new graph: arrays,
    whole: Map,
    /// and columns.
    columns: IndexVec<Value, Option<Vec<Value>>>,
}

impl<'g> Columns<'g> {
    fn new(
        g: &'g Graph,
        nodes: &[Node],
        classes: &mut Classes,
        chosen: &[(axes::Class, usize)],
    ) -> Self {
        let mut rows = IndexVec::filled(None, g.value_count());
        let mut known = IndexVec::filled(None, g.value_count());
        for &node in nodes {
            for v in g.results(node) {
                rows[v] = rows_of(g, v, classes, chosen);
            }
            let v = g.results(node)[0];
            known[v] = known_array(g, node, &known);
        }
        Self {
            g,
            extents: chosen.iter().map(|&(_, extent)| extent).collect(),
            rows,
            known,
            chosen: IndexVec::filled(false, g.node_count()),
            at: IndexVec::filled(None, g.node_count()),
            whole: Map::filled(None, g.value_count()),
            columns: IndexVec::filled(None, g.value_count()),
        }
    }

    fn build(mut self, nodes: &[Node]) -> Graph {
        let g = self.g;
        let mut to = g.successor();
        for &v in g.inputs() {
            to.set_origin(self.origin(g.source(v).0));
            self.whole[v] = Some(to.input(g.ty(v).clone(), g.name_of(v)));
        }
        for &n in nodes.iter().filter(|&&n| !g.op(n).is_input()) {
            to.set_origin(self.origin(n));
            if self.chosen[n] {
                let columns = self.of_node(&mut to, n);
                self.at[n] = columns.last().map(|&c| to.source(c).0);
                self.columns[g.results(n)[0]] = Some(columns);
                continue;
            }
            let args: Values = g.args(n).iter().map(|&a| self.array(&mut to, a)).collect();
            let made = crate::rebuild::same(&mut to, g, n, &args);
            for (r, m) in g.results(n).into_iter().zip(made) {
                self.at[n] = Some(to.source(m).0);
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

    /// Where what a node becomes comes from.
    fn origin(&self, n: Node) -> Origin {
        let origin = self.g.origin(n);
        Origin { primal: origin.primal.and_then(|p| self.at[p]), ..origin }
    }

    /// The axes of the rows of a narrow array.
    fn rows(&self, v: Value) -> &Rows {
        self.rows[v].as_ref().expect("columns are of narrow arrays")
    }

    /// Whether a value is narrow and has rows.
    fn has_rows(&self, v: Value) -> bool {
        self.rows[v].as_ref().is_some_and(|rows| rows.iter().any(Option::is_some))
    }

    /// How many columns a narrow array has.
    fn count(&self, v: Value) -> usize {
        let extents = self.g.ty(v).dims().iter().enumerate();
        extents.filter(|(a, _)| !self.rows(v).contains(&Some(*a))).map(|(_, &d)| d).product()
    }

    /// The shape of columns.
    fn shape(&self, rows: &Rows) -> Shape {
        present(rows).map(|class| self.extents[class]).collect()
    }

    /// A value as an array.
    fn array(&mut self, to: &mut Graph, v: Value) -> Value {
        if let Some(whole) = self.whole[v] {
            return whole;
        }
        let columns = self.columns[v].clone().expect("a value is an array or columns");
        let before = to.set_origin(self.origin(self.g.source(v).0));
        let whole = self.together(to, &columns, self.g.ty(v), self.rows(v));
        to.set_origin(before);
        self.whole[v] = Some(whole);
        whole
    }

    /// The column of a narrow array at an index.
    fn column(&mut self, to: &mut Graph, v: Value, at: &[usize]) -> Value {
        let rows = self.rows(v).clone();
        if let Some(columns) = &self.columns[v] {
            return columns[number(self.g.ty(v).dims(), &rows, at)];
        }
        let shape = self.shape(&rows);
        let dims = self.g.ty(v).dims();
        let known = self.known[v].as_ref().filter(|_| !self.has_rows(v));
        let element = known.map(|array| {
            let i = at.iter().zip(dims).fold(0, |i, (&a, &d)| i * d + a);
            array.get(i).expect("an index inside")
        });
        if let Some(c) = element.or_else(|| self.g.as_splat(v)) {
            let c = to.constant(Array::scalar(c));
            return to.broadcast(c, &shape, &[]);
        }
        let x = self.array(to, v);
        cut(to, x, at, &rows)
    }

    /// A column with some rows, repeated to others.
    fn spread(&self, to: &mut Graph, c: Value, have: &Rows, want: &Rows) -> Value {
        let place = |class: usize| present(want).position(|w| w == class).expect("a row it has");
        let dims: Vec<usize> = present(have).map(place).collect();
        let c = to.broadcast(c, &self.shape(want), &dims);
        crate::simplify::normal(to, c)
    }

    /// An array of these columns.
    fn together(&self, to: &mut Graph, columns: &[Value], ty: &Type, rows: &Rows) -> Value {
        if let Some(&first) = columns.first()
            && to.as_splat(first).is_some()
            && columns.iter().all(|&c| c == first)
        {
            let c = to.as_splat(first).expect("a splat");
            let c = to.constant(Array::scalar(c));
            return to.broadcast(c, &ty.shape, &[]);
        }
        let of_rows: SmallVec<[usize; 4]> = rows.iter().flatten().copied().collect();
        let others = || (0..ty.rank()).filter(|a| !of_rows.contains(a));
        let last = (0..ty.rank()).rev().find(|&a| ty.dims()[a] != 1);
        let extents = self.shape(rows);
        // Columns that lie one behind the other, or beside each other.
        let behind = columns.len() > 1 && last.is_some_and(|a| of_rows.contains(&a));
        let mut alone: SmallVec<[usize; 4]> = extents.dims().into();
        let axis = if behind { 0 } else { alone.len() };
        alone.insert(axis, 1);
        let order: Vec<usize> = match behind {
            true => others().chain(of_rows.iter().copied()).collect(),
            false => of_rows.iter().copied().chain(others()).collect(),
        };
        let parts: Vec<Value> =
            columns.iter().map(|&c| to.reshape(c, Shape::from(&alone[..]))).collect();
        let x = match parts[..] {
            [only] => only,
            _ => to.push(Concat { axis }, &parts),
        };
        let x = to.reshape(x, order.iter().map(|&a| ty.dims()[a]).collect::<Shape>());
        let place = |a: usize| order.iter().position(|&o| o == a).expect("one of the axes");
        permuted(to, x, (0..ty.rank()).map(place).collect())
    }
}

/// The classes of rows that there are.
fn present(rows: &Rows) -> impl Iterator<Item = usize> + '_ {
    rows.iter().enumerate().filter(|(_, axis)| axis.is_some()).map(|(class, _)| class)
}

/// The axes of the rows of a value, if it is narrow.
fn rows_of(
    g: &Graph,
    v: Value,
    classes: &mut Classes,
    chosen: &[(axes::Class, usize)],
) -> Option<Rows> {
    let ty = g.ty(v);
    let mut rows: Rows = SmallVec::from_elem(None, chosen.len());
    let mut columns = 1usize;
    for (axis, &extent) in ty.dims().iter().enumerate() {
        let class = classes.of_axis(v, axis);
        match chosen.iter().position(|c| c.0 == class) {
            Some(i) if rows[i].is_some() => return None,
            Some(i) => rows[i] = Some(axis),
            None => columns = columns.saturating_mul(extent),
        }
    }
    let most = if rows.contains(&None) { MOST_SMALL_COLUMNS } else { MOST_COLUMNS };
    (ty.stack == 0 && (1..=most).contains(&columns)).then_some(rows)
}

/// The element of an array at an index, or all along the axes of the rows.
fn cut(to: &mut Graph, x: Value, at: &[usize], rows: &Rows) -> Value {
    let dims = to.ty(x).dims();
    let axis = |(a, &start): (usize, &usize)| match rows.contains(&Some(a)) {
        true => SliceAxis::all(dims[a]),
        false => SliceAxis { start, len: 1, step: 1 },
    };
    let axes: SmallVec<[SliceAxis; 4]> = at.iter().enumerate().map(axis).collect();
    let all = axes.iter().zip(dims).all(|(s, &d)| s.len == d);
    let mut left: SmallVec<[usize; 4]> = rows.iter().flatten().copied().collect();
    let perm: SmallVec<[usize; 4]> =
        left.iter().map(|a| left.iter().filter(|b| *b < a).count()).collect();
    left.sort_unstable();
    let shape: Shape = left.iter().map(|&a| dims[a]).collect();
    let x = if all { x } else { to.push(Slice { axes }, &[x]) };
    let x = crate::simplify::normal(to, x);
    let x = to.reshape(x, shape);
    let x = crate::simplify::normal(to, x);
    permuted(to, x, perm)
}

fn permuted(to: &mut Graph, x: Value, perm: SmallVec<[usize; 4]>) -> Value {
    if perm.iter().enumerate().all(|(i, &p)| i == p) {
        return x;
    }
    let x = to.push(Permute { perm: perm.into_iter().collect() }, &[x]);
    crate::simplify::normal(to, x)
}

/// The number of a column, counted in row-major order over all axes but those of the rows.
fn number(dims: &[usize], rows: &Rows, at: &[usize]) -> usize {
    let others = dims.iter().zip(at).enumerate().filter(|(a, _)| !rows.contains(&Some(*a)));
    others.fold(0, |i, (_, (&d, &at))| i * d + at)
}

/// The indices of all columns, in order.
fn indices(dims: &[usize], rows: &[Option<usize>]) -> Vec<Index> {
    let extents =
        dims.iter().enumerate().map(|(a, &d)| if rows.contains(&Some(a)) { 1 } else { d });
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
    if g.ty(v).len() > MOST_SMALL_COLUMNS || g.ty(v).stack > 0 || g.op(n).is_input() {
        return None;
    }
    let backstitch_ir::op::Family::Array(p) = g.op(n).family() else { return None };
    // What may fail is left for the run to tell.
    if matches!(g.op(n), Op::LoopLimit(_) | Op::Cholesky(_)) {
        return None;
    }
    let args = g.args(n);
    let args: Option<SmallVec<[&Array; 4]>> = args.iter().map(|&a| known[a].as_ref()).collect();
    Some(p.eval(&args?))
}

#[cfg(test)]
mod tests;
