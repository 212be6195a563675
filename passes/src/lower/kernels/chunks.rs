//! Reductions over long loops, in chunks.
//!
//! The outermost loop is cut into chunks of a size that depends on the shape alone.
//! Each chunk has its own partial results in memory, and a second kernel combines
//! them in order. So the tree of a reduction is fixed by the plan, chunks can run
//! on any number of threads, and the rounding error of a long sum stays small.

use backstitch_ir::nest::{Access, At, Axis, Mode, Range, Var};
use backstitch_ir::plan::Buffer;
use backstitch_ir::threshold;
use rustc_hash::FxHashMap;
use std::cell::Cell;

use super::emit::Emit;
use super::nesting::{LEAST_VECTOR, fill, lanes};
use super::reduction::Reduction;
use super::tiles::Tiles;
use crate::lower::groups::Level;
use crate::lower::nest::Loops;
use crate::lower::operand::Val;

/// Chunks above which a reduction is cut.
const LEAST: usize = threshold(2, 1);

/// Chunks above which a loop is cut for threads alone.
const LEAST_SHARED: usize = threshold(4, 1);

/// Operations for an element up to which chunks are as long as any.
const LIGHT: usize = threshold(32, 4);

/// Chunks for threads alone are multiples of so many iterations.
const VECTORS: usize = threshold(64, 8);

/// Bytes of a chunk whose rows are gone through several times, for each element that a chunk
/// has: by default 16 kB, which leaves room in the first cache for half of the next.
const BLOCKED_BYTES: usize = 2;

/// Its rows are a multiple of this, if there are as many.
const BLOCKED_ROWS: usize = threshold(16, 2);

/// Elements of a chunk at least, however long each takes.
const LEAST_CHUNK: usize = threshold(256, 4);

/// Chunks at most if each has arrays of its own: partial results, what is kept for a row.
const MOST_ARRAYS: usize = threshold(32, 3);

/// Elements that the arrays of all chunks may have together where there are more of them.
const MOST_ELEMENTS: usize = threshold(65536, 64);

/// What decides whether a kernel has chunks.
pub(super) struct Choice<'a> {
    pub loops: &'a Loops,
    /// Whether its only row is gone through several times.
    pub phased: bool,
    /// Whether rows are.
    pub blocked: bool,
    pub tiles: Option<&'a Tiles>,
    /// Elements kept for a row: each chunk has memory of its own for them.
    pub kept: usize,
    /// Operations for each element.
    pub work: usize,
}

/// The chunks of a kernel.
pub(super) struct Chunks {
    /// Iterations per chunk.
    pub size: usize,
    count: usize,
    partials: FxHashMap<Val, Buffer>,
    axis: Cell<Option<Axis>>,
}

impl Chunks {
    /// Whether the outermost loop is cut, and how: into chunks of about so many elements.
    ///
    /// Also without a reduction: for threads, and where rows are gone through several
    /// times (`blocked`) so that a chunk is still in cache the second time. Chunks for
    /// threads alone are shorter where elements take long.
    pub fn choose(mut chunk: usize, choice: &Choice<'_>, reductions: &[Reduction]) -> Option<Self> {
        let &Choice { loops, phased, blocked, tiles, kept, work } = choice;
        let total: usize = (0..loops.len()).map(|d| loops.extent(d)).product();
        let cut: Vec<&Reduction> = reductions.iter().filter(|r| crosses(loops, r)).collect();
        let for_threads = cut.is_empty() && !blocked && kept == 0;
        if for_threads && work > LIGHT {
            chunk = (chunk * LIGHT / work).max(LEAST_CHUNK.min(chunk));
        }
        if phased || loops.len() == 0 || total <= LEAST * chunk {
            return None;
        }
        if cut.is_empty() && !blocked && total <= LEAST_SHARED * chunk {
            return None;
        }
        let outer = loops.extent(0);
        if blocked {
            let widest = reductions.iter().map(|r| r.dtype.size()).max();
            chunk = chunk * BLOCKED_BYTES / widest.unwrap_or(4).max(4);
        }
        let mut size = (chunk / (total / outer)).max(1);
        if blocked && size >= BLOCKED_ROWS {
            // Functions of rows in vectors without leftovers.
            size = (size + BLOCKED_ROWS / 2) / BLOCKED_ROWS * BLOCKED_ROWS;
        }
        let arrays = cut.iter().filter(|r| r.in_memory && r.is_first());
        let arrays = arrays.map(|r| r.len).sum::<usize>() + kept;
        if let Some(most) = MOST_ELEMENTS.checked_div(arrays) {
            size = size.max(outer.div_ceil(most.max(MOST_ARRAYS)));
        }
        if for_threads && size >= LEAST_CHUNK {
            // Vectors without leftovers.
            size = size.next_multiple_of(VECTORS);
        }
        // The height of a tile, if it is of this loop.
        size = size.next_multiple_of(tiles.map_or(1, |t| if t.outer == 0 { t.rows } else { 1 }));
        let count = outer.div_ceil(size);
        let (partials, axis) = (FxHashMap::default(), Cell::new(None));
        (count > 1).then_some(Self { size, count, partials, axis })
    }

    /// Makes room for the partial results.
    pub fn allocate(
        mut self,
        e: &mut Emit<'_, '_>,
        loops: &Loops,
        reductions: &[Reduction],
    ) -> Self {
        for r in reductions.iter().filter(|r| r.is_first() && crosses(loops, r)) {
            let len = r.len;
            let buffer = e.planner.scratch(r.dtype, self.count * len);
            self.partials.insert(r.out, buffer);
        }
        // In the order of the reductions: the kernel's parameters do not depend on
        // the order of a hash map.
        for r in reductions {
            if let Some(&buffer) = self.partials.get(&r.out) {
                e.param(buffer, Access::Out);
            }
        }
        self
    }

    /// Whether each chunk has its own result of this reduction.
    pub fn has_partial(&self, r: &Reduction) -> bool {
        self.partials.contains_key(&r.out)
    }

    /// Opens the loop over chunks.
    pub fn begin(&self, e: &mut Emit<'_, '_>, reductions: &[Reduction]) {
        let of = e.b.axis(self.count);
        e.b.open(of, Range::Whole, Mode::Parallel);
        self.axis.set(Some(of));
        e.chunk = Some((of, self.count));
        self.clear(e, reductions);
    }

    /// The part of the outermost loop that is in the open chunk.
    pub fn range(&self) -> Range {
        Range::Chunk { of: self.axis.get().expect("a chunk is open"), size: self.size }
    }

    /// Fills the partial results that are combined in memory, of the open chunk.
    fn clear(&self, e: &mut Emit<'_, '_>, reductions: &[Reduction]) {
        for r in reductions.iter().filter(|r| r.in_memory && r.is_first() && self.has_partial(r)) {
            let len = r.len;
            let param = e.param(self.partials[&r.out], Access::Out);
            fill(e, param, self.axis.get(), len, r);
        }
    }

    /// Puts a result of the open chunk where it belongs.
    pub fn keep(&self, e: &mut Emit<'_, '_>, r: &Reduction, v: Var) {
        let param = e.param(self.partials[&r.out], Access::Out);
        let len = r.len as i64;
        let mut at = e.at(0, &r.strides);
        at.strides.push((self.axis.get().expect("a chunk is open"), len));
        if r.in_memory {
            e.b.accumulate(param, at, r.monoid, v);
        } else {
            e.b.store(param, at, v);
        }
    }
}

/// Whether a reduction runs over the outermost loop.
fn crosses(loops: &Loops, r: &Reduction) -> bool {
    !r.after && (r.depth == 0 || (r.in_memory && loops.stride(0, &r.strides) == 0))
}

/// Combines the partial results of all chunks, in a kernel of their own.
pub(super) fn combine(e: &mut Emit<'_, '_>, chunks: &Chunks, reductions: &[Reduction]) {
    for r in reductions.iter().filter(|r| r.is_first() && chunks.has_partial(r)) {
        let param = e.param(chunks.partials[&r.out], Access::In);
        let count = e.b.axis(chunks.count);
        if r.level != Level::Side {
            let mode = if chunks.count >= LEAST_VECTOR {
                Mode::Vector { lanes: lanes(chunks.count, 1, std::iter::once(r.dtype)) }
            } else {
                Mode::Sequential
            };
            e.b.open(count, Range::Whole, mode);
            let at = At { strides: [(count, 1)].into_iter().collect(), ..At::default() };
            let v = e.b.load(param, at);
            let result = e.b.close(&[(r.monoid, v)])[0];
            e.env.insert(r.out, result);
            continue;
        }
        let len = r.len;
        let out = e.memory(r.out);
        fill(e, out, None, len, r);
        e.b.open(count, Range::Whole, Mode::Sequential);
        let axis = e.b.axis(len);
        let mode = if len >= LEAST_VECTOR { Mode::Vector { lanes: 8 } } else { Mode::Sequential };
        e.b.open(axis, Range::Whole, mode);
        let part = [(axis, 1), (count, len as i64)].into_iter().collect();
        let v = e.b.load(param, At { strides: part, ..At::default() });
        let at = At { strides: [(axis, 1)].into_iter().collect(), ..At::default() };
        e.b.accumulate(out, at, r.monoid, v);
        e.b.close(&[]);
        e.b.close(&[]);
    }
}
