//! Two loops in tiles.
//!
//! Where an access goes through the innermost loop in strides but has neighbours along
//! the loop around it, as a transposed operand has, each step touches another line of the
//! cache, of which only a few elements are used before it is gone. So the two loops are cut:
//!
//! ```text
//! for tiles of rows { for tiles of columns { for rows of the tile { for columns of it … } } }
//! ```
//!
//! A tile is as high as a line of the cache is long, or a multiple of that, and as wide as
//! keeps its lines in the cache that is next to the core. Where the rows are those of
//! a chunk, the chunk is the tile's height.

use backstitch_ir::nest::{Mode, Range};
use backstitch_ir::threshold;

use super::emit::Emit;
use super::reduction::Reduction;
use crate::lower::nest::Loops;

/// Rows of a tile: elements of a line of the cache.
const ROWS: usize = threshold(16, 4);

/// Columns of a tile, about.
const COLUMNS: usize = threshold(64, 8);

/// Elements from which the lines of a column do not stay in the cache by themselves.
const LEAST: usize = threshold(16384, 64);

/// How the innermost two loops are cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiles {
    /// The outer of the two loops.
    pub outer: usize,
    /// Rows and columns of a tile.
    pub rows: usize,
    columns: usize,
}

impl Tiles {
    /// Whether the innermost two loops are cut, and how.
    ///
    /// Both are opened one after the other, and no result is complete between them.
    pub fn choose(
        loops: &Loops,
        rows: usize,
        full: usize,
        reductions: &[Reduction],
    ) -> Option<Self> {
        let all = loops.len();
        if !loops.crossed || full < all || (rows > 0 && rows + 1 == all) {
            return None;
        }
        let (outer, inner) = (all - 2, all - 1);
        let through = |r: &Reduction| r.depth <= outer || r.depth == all;
        let (height, width) = (loops.extent(outer), loops.extent(inner));
        if height * width < LEAST || width < 2 * COLUMNS || !reductions.iter().all(through) {
            return None;
        }
        // Tiles of one width are without leftovers.
        let even =
            (COLUMNS / 2..=2 * COLUMNS).rev().find(|c| c % 8 == 0 && width.is_multiple_of(*c));
        let columns = even.unwrap_or(COLUMNS);
        Some(Self { outer, rows: ROWS, columns })
    }

    /// Opens the loops over tiles before the outer of the two loops; the part of a loop
    /// that is in the tile.
    pub fn range(&self, e: &mut Emit<'_, '_>, depth: usize, chunked: bool) -> Option<Range> {
        if depth == self.outer {
            let rows = (!chunked).then(|| {
                let of = e.b.axis(e.loops.extent(depth).div_ceil(self.rows));
                e.b.open(of, Range::Whole, Mode::Sequential);
                Range::Chunk { of, size: self.rows }
            });
            let of = e.b.axis(e.loops.extent(depth + 1).div_ceil(self.columns));
            e.b.open(of, Range::Whole, Mode::Sequential);
            e.columns = Some(Range::Chunk { of, size: self.columns });
            return rows;
        }
        e.columns.filter(|_| depth == self.outer + 1)
    }

    /// How many loops over tiles are around the loop at this depth.
    pub fn around(&self, depth: usize, chunked: bool) -> usize {
        match depth == self.outer {
            true if chunked && depth == 0 => 1,
            true => 2,
            false => 0,
        }
    }
}
