//! What a kernel makes, in the place of what it reads for the last time.
//!
//! That may be if every element is loaded before it is stored over. A store in a loop
//! over rows stores over elements of this row alone, if rows are as far apart as a row
//! is long; so it is enough that within a row loads come first. The verifier of plans
//! proves it again, in its own way.

use backstitch_ir::index::IndexVec;
use backstitch_ir::nest::{Access, At, Axis, For, Mode, Nest, Param, Range, Stmt};
use backstitch_ir::plan::{Buffer, BufferDecl, Kernel, Place};
use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::lives::Lives;

/// So many operands are looked at for each result.
const TRIED: usize = 8;

/// At most so many loads and stores of two parameters are compared.
const COMPARED: usize = 64;

/// Which buffer takes the place of which.
pub(super) struct Next {
    /// The one that takes its place.
    pub after: IndexVec<Buffer, Option<Buffer>>,
    /// Whether it takes the place of another.
    pub taken: IndexVec<Buffer, bool>,
}

/// Chooses for each result of each kernel an operand whose place it takes, if there is
/// one; tells the kernels.
pub(super) fn choose(
    buffers: &IndexVec<Buffer, BufferDecl>,
    kernels: &mut IndexVec<Kernel, Nest>,
    lives: &Lives<'_>,
) -> Next {
    let mut next = Next {
        after: IndexVec::filled(None, buffers.len()),
        taken: IndexVec::filled(false, buffers.len()),
    };
    let fits = |b: Buffer| matches!(buffers[b].place, Place::Arena(_)) && buffers[b].len > 0;
    let size = |b: Buffer| (buffers[b].dtype.size(), buffers[b].len);
    for &(time, kernel, args) in &lives.runs {
        let params = || kernels[kernel].params.entries().zip(args);
        let mut seen = FxHashSet::default();
        let twice: SmallVec<[Buffer; 4]> =
            args.iter().map(|arg| arg.buffer).filter(|&b| !seen.insert(b)).collect();
        let whole = |p: Param, b: Buffer| {
            kernels[kernel].params[p].len == buffers[b].len && fits(b) && !twice.contains(&b)
        };
        let ends = |b: Buffer| lives.spans[b].is_some_and(|l| l.1 == time && l.0 < time);
        let begins = |b: Buffer| lives.spans[b].is_some_and(|l| l.0 == time && l.1 > time);
        let mut dying: SmallVec<[(Param, Buffer); 8]> = params()
            .filter(|((_, decl), arg)| decl.access == Access::In && ends(arg.buffer))
            .map(|((p, _), arg)| (p, arg.buffer))
            .filter(|&(p, b)| whole(p, b))
            .collect();
        if dying.is_empty() {
            continue;
        }
        let born: SmallVec<[(Param, Buffer); 8]> = params()
            .filter(|((_, decl), arg)| decl.access == Access::Out && begins(arg.buffer))
            .map(|((p, _), arg)| (p, arg.buffer))
            .filter(|&(p, b)| whole(p, b))
            .collect();
        if born.is_empty() {
            continue;
        }
        let touches = Touches::of(&kernels[kernel]);
        let mut last: SmallVec<[Param; 8]> = SmallVec::new();
        for (to, new) in born {
            let same = dying.iter().filter(|d| size(d.1) == size(new)).take(TRIED);
            let found = same.copied().find(|&(from, _)| touches.may_take(from, to));
            let Some((from, old)) = found else { continue };
            dying.retain(|d| d.1 != old);
            next.after[old] = Some(new);
            next.taken[new] = true;
            last.push(from);
        }
        drop(touches);
        last.into_iter().for_each(|p| kernels[kernel].params[p].access = Access::Last);
    }
    next
}

type Loops<'n> = SmallVec<[&'n For; 4]>;

/// A load or a store.
struct Touch<'n> {
    number: usize,
    at: &'n At,
    loops: Loops<'n>,
}

impl Touch<'_> {
    /// The first and the last element that it may touch, if that can be told.
    fn span(&self, nest: &Nest) -> Option<(i64, i64)> {
        let start = (self.at.offset, self.at.offset);
        self.at.index.is_none().then(|| {
            self.loops.iter().fold(start, |(low, high), l| {
                let last = (nest.axes[l.axis] as i64 - 1).max(0);
                let reach = self.at.stride(l.axis).saturating_mul(last);
                (low.saturating_add(reach.min(0)), high.saturating_add(reach.max(0)))
            })
        })
    }
}

/// The loads and stores of each parameter of a nest.
pub(super) struct Touches<'n> {
    nest: &'n Nest,
    loads: IndexVec<Param, SmallVec<[Touch<'n>; 1]>>,
    stores: IndexVec<Param, SmallVec<[Touch<'n>; 1]>>,
    number: usize,
}

impl<'n> Touches<'n> {
    pub fn of(nest: &'n Nest) -> Self {
        let none = || nest.params.iter().map(|_| SmallVec::new()).collect();
        let mut all = Self { nest, loads: none(), stores: none(), number: 0 };
        all.visit(&nest.body, &mut Loops::new());
        all
    }

    /// Whether `to`, of elements of the same size, may be where `from` is.
    pub fn may_take(&self, from: Param, to: Param) -> bool {
        let (loads, stores) = (&self.loads[from], &self.stores[to]);
        let first = |load, store| comes_first(self.nest, load, store).unwrap_or(false);
        loads.len().saturating_mul(stores.len()) <= COMPARED
            && loads.iter().all(|load| stores.iter().all(|store| first(load, store)))
    }

    fn visit(&mut self, body: &'n [Stmt], loops: &mut Loops<'n>) {
        for stmt in body {
            self.number += 1;
            let touch = |at| Touch { number: self.number, at, loops: loops.clone() };
            match stmt {
                Stmt::Load { param, at, .. } => self.loads[*param].push(touch(at)),
                Stmt::Store { param, at, .. } | Stmt::Accumulate { param, at, .. } => {
                    self.stores[*param].push(touch(at));
                }
                Stmt::For(l) => {
                    loops.push(l);
                    self.visit(&l.body, loops);
                    loops.pop();
                }
                _ => {}
            }
        }
    }
}

/// Whether a load is over before the store reaches its element; `None` if it cannot be
/// seen.
fn comes_first(nest: &Nest, load: &Touch<'_>, store: &Touch<'_>) -> Option<bool> {
    if let (Some(load), Some(store)) = (load.span(nest), store.span(nest))
        && (load.1 < store.0 || store.1 < load.0)
    {
        // Elsewhere altogether, as in another part of the loops.
        return Some(true);
    }
    if load.number > store.number {
        return Some(false);
    }
    let same = |(a, b): &(&&For, &&For)| std::ptr::eq::<For>(**a, **b);
    let common = load.loops.iter().zip(&store.loops).take_while(same).count();
    // Threads that share a parallel loop repeat what stands before it.
    let shared = store.loops.iter().position(|l| l.mode == Mode::Parallel);
    if shared.is_some_and(|outermost| outermost >= common) {
        return Some(false);
    }
    let (rows, rest) = load.loops.split_at(common);
    if rows.iter().all(|l| nest.axes[l.axis] <= 1) {
        // The load is over and done with.
        return Some(true);
    }
    if load.at.index.or(store.at.index).is_some() || load.at.offset != store.at.offset {
        return None;
    }
    let is_row = |axis: Axis| rows.iter().any(|l| l.axis == axis);
    // How far the loops inside a row go: all strides forward. The chunks of a counter that
    // runs inside, too, go all the way.
    let reach = |at: &At, loops: &[&For]| -> Option<i64> {
        loops.iter().try_fold(0i64, |sum, l| {
            let (stride, extent) = (at.stride(l.axis), nest.axes[l.axis]);
            let extent = match l.range {
                Range::Chunk { of, size } if is_row(of) => size.min(extent),
                Range::Whole | Range::Chunk { .. } => extent,
            };
            (stride >= 0).then(|| sum.saturating_add(stride * (extent as i64 - 1).max(0)))
        })
    };
    let mut row = reach(load.at, rest)?.max(reach(store.at, &store.loops[common..])?);
    // What moves from row to row, from the innermost loop out.
    let strides = |at: &At, loops: &[&For], axis: Axis| -> i64 {
        let chunks = loops[common..].iter().map(|l| match l.range {
            Range::Chunk { of, size } if of == axis => at.stride(l.axis) * size as i64,
            _ => 0,
        });
        at.stride(axis) + chunks.sum::<i64>()
    };
    let counted =
        |axis: Axis| rows.iter().any(|l| matches!(l.range, Range::Chunk { of, .. } if of == axis));
    for l in rows.iter().rev().filter(|l| nest.axes[l.axis] > 1 && !counted(l.axis)) {
        let stride = strides(load.at, &load.loops, l.axis);
        if stride <= row || stride != strides(store.at, &store.loops, l.axis) {
            return None;
        }
        row += stride * (nest.axes[l.axis] as i64 - 1);
    }
    Some(true)
}
