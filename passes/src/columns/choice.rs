//! What becomes columns.

use backstitch_ir::ops::Contract;
use backstitch_ir::{Graph, Idx, IndexVec, Node, Op, threshold};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::axes::{Class, Classes};
use super::{Columns, LEAST_ROWS, MOST_COLUMNS};

/// For each column of a narrow array there are this many rows at least, where [`LEAST_ROWS`] are
/// enough.
pub(super) const ROWS_PER_COLUMN: usize = threshold(8, 2);

/// Functions of columns in a part at most.
const MOST_WORK: usize = 4000;

/// The same for a part in which nothing is put together but matrices are multiplied: four for
/// each row, within these bounds. Compiling a function takes some 3 microseconds, and running it
/// saves some 40 picoseconds for each row.
const MOST_WORK_OF_PRODUCTS: [usize; 2] = [1000, 10_000];

/// Bytes of a small matrix at most. `cargo bench --bench products -- rows` measures it: alone,
/// products of 3000 rows with 2×2 take a thirtieth of the library's time in `f32` and with 10×10
/// three quarters; with 15×15, and in `f64` with 10×10, as long, but they fuse.
pub(super) const MOST_SMALL: usize = 900;

/// Rows on the longer side of a product from which they are an axis to run along.
const LONG: usize = threshold(32, 2);

/// How many of them are wanted where so many rows are enough: in proportion.
fn wanted(of: usize, least: usize) -> usize {
    of * least / LEAST_ROWS
}

/// Whether something narrow is put together, or multiplied with small matrices.
pub(crate) fn may_have_columns(g: &Graph) -> bool {
    g.nodes().any(|n| !reason(g, n, LEAST_ROWS).is_empty())
}

/// Axes of a node's result along which there would be rows, if it is a reason for columns.
/// The last is the one to run along.
fn reason(g: &Graph, n: Node, least: usize) -> SmallVec<[usize; 4]> {
    match g.op(n) {
        Op::Concat(_) | Op::Pad(_) => joined_rows(g, n, least).into_iter().collect(),
        Op::Contract(c) => small_matrices(g, n, c, least).unwrap_or_default(),
        _ => SmallVec::new(),
    }
}

/// The axis of the rows of what a node puts together, if that is narrow.
fn joined_rows(g: &Graph, n: Node, least: usize) -> Option<usize> {
    let ty = g.ty(g.results(n)[0]);
    let rows = ty.dims().iter().copied().max()?;
    let axis = ty.dims().iter().position(|&d| d == rows)?;
    let others = ty.dims().iter().enumerate().filter(|&(a, _)| a != axis);
    let columns = others.map(|(_, &d)| d).product::<usize>();
    let least = least.max(columns * wanted(ROWS_PER_COLUMN, least));
    let alone = ty.dims().iter().filter(|&&d| d == rows).count() == 1;
    (ty.stack == 0 && columns <= MOST_COLUMNS && rows >= least && alone).then_some(axis)
}

/// The axes of the rows of products with small matrices: those of the batch, and those that
/// only the longer side has.
fn small_matrices(g: &Graph, n: Node, c: &Contract, least: usize) -> Option<SmallVec<[usize; 4]>> {
    let args = g.args(n);
    let dims = [0, 1].map(|side| g.ty(args[side]).dims());
    let len = |side: usize, axes: &[usize]| axes.iter().map(|&a| dims[side][a]).product::<usize>();
    let free = [0, 1].map(|side| c.free(side, dims[side].len()));
    let sides = [0, 1].map(|side| len(side, &free[side]));
    let batch = c.batch[0].len();
    let (many, over) = (len(0, &c.batch[0]), len(0, &c.over[0]));
    let long = usize::from(sides[1] > sides[0]);
    let along = sides[long] >= wanted(LONG, least).max(1);
    let inner = if along { sides[1 - long] } else { sides[0] * sides[1] };
    let rows = if along { many.saturating_mul(sides[long]) } else { many };
    let bytes = over.saturating_mul(inner).saturating_mul(g.ty(args[0]).dtype.size());
    let small = over > 1
        && inner > 1
        && bytes <= MOST_SMALL
        && rows >= least.max(inner * wanted(ROWS_PER_COLUMN, least));
    if !small || !g.ty(args[0]).is_float() {
        return None;
    }
    let result = g.ty(g.results(n)[0]).dims();
    let first = batch + if long == 0 { 0 } else { free[0].len() };
    let of_long = (first..first + free[long].len()).filter(|_| along);
    let longer = |&i: &usize| result[i] > 1;
    let mut of_batch: SmallVec<[usize; 4]> = (0..batch).filter(longer).collect();
    of_batch.sort_by_key(|&i| result[i]);
    Some(of_batch.into_iter().chain(of_long.filter(longer)).collect())
}

/// Classes of axes and their extents, in the order of a column's axes.
pub(super) type Along = Vec<(Class, usize)>;

/// The classes along which rows run that most reasons are for.
pub(super) fn rows(g: &Graph, nodes: &[Node], classes: &mut Classes, least: usize) -> Along {
    let mut votes: FxHashMap<Along, (usize, Along)> = FxHashMap::default();
    for &n in nodes {
        let axes = reason(g, n, least);
        if axes.is_empty() {
            continue;
        }
        let r = g.results(n)[0];
        let of = |&a: &usize| (classes.of_axis(r, a), g.ty(r).dims()[a]);
        let order: Along = axes.iter().map(of).collect();
        let mut set = order.clone();
        set.sort_unstable();
        set.dedup();
        if set.len() == order.len() {
            votes.entry(set).or_insert((0, order)).0 += 1;
        }
    }
    // The largest of equals, so that it does not depend on a hash which that is.
    let largest =
        votes.into_iter().max_by_key(|(set, (count, _))| (*count, rows_of(set), set.clone()));
    largest.map(|(_, (_, order))| order).unwrap_or_default()
}

/// How many rows there are along these classes.
fn rows_of(set: &[(Class, usize)]) -> usize {
    set.iter().map(|&(_, extent)| extent).product()
}

impl Columns<'_> {
    /// Chooses the parts that become columns; whether there are any.
    pub(super) fn choose(&mut self, nodes: &[Node], least: usize) -> bool {
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
                    parts.join(n.index(), source.index());
                }
            }
        }
        // Of each part: whether something is put together inside it, or small matrices are
        // multiplied, and its functions.
        let mut found: FxHashMap<usize, [usize; 3]> = FxHashMap::default();
        for &n in &taken {
            let part = found.entry(parts.find(n.index())).or_default();
            match g.op(n) {
                Op::Concat(_) | Op::Pad(_) if g.users(n).any(|user| is_taken[user]) => part[0] += 1,
                Op::Contract(c) if small_matrices(g, n, c, least).is_some() => part[1] += 1,
                _ => {}
            }
            part[2] = part[2].saturating_add(self.work(n));
        }
        let rows: usize = self.extents.iter().product();
        let [least_work, most_work] = MOST_WORK_OF_PRODUCTS;
        let work_of_products = rows.saturating_mul(4).clamp(least_work, most_work);
        let mut any = false;
        for &n in &taken {
            let most = match found[&parts.find(n.index())] {
                [0, 0, _] => continue,
                [0, _, _] => work_of_products,
                _ => MOST_WORK,
            };
            self.chosen[n] = found[&parts.find(n.index())][2] <= most;
            any |= self.chosen[n];
        }
        any
    }

    /// How many functions and views of columns a node becomes.
    fn work(&self, n: Node) -> usize {
        let g = self.g;
        match g.op(n) {
            Op::Map(_) | Op::Gather(_) | Op::Broadcast(_) => self.count(g.results(n)[0]),
            Op::ScatterAdd(_) => self.count(g.args(n)[2]),
            Op::Reduce(_) => self.count(g.args(n)[0]),
            Op::Contract(_) => 2 * self.products(n),
            _ => 0,
        }
    }
}

/// What is connected.
pub(super) struct Parts(Vec<usize>);

impl Parts {
    pub fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    pub fn find(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    pub fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}
