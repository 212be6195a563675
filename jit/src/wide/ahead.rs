//! Rows from far away, asked for before they are read.
//!
//! ```text
//! for c parallel {
//!   for i in chunk c { for j vector (s = sum) { s += w[j] · x[i,j] } }
//!   …
//!   for i in chunk c { for j vector { y[j] += r[i] · x[i,j] } }
//! }
//! ```
//!
//! Where the array is larger than the second cache, the first loop waits for it, and the
//! second finds the chunk in the first cache while nothing is under way from further out.
//! So each loop that reads a chunk again asks for its share of the lines of the next chunk:
//! every second one if there are two loops. The processor guesses what is read next from
//! what has been missing, and does not see that the other lines still are: for these the
//! first loop asks, a few rows before it reads them.
//!
//! A long loop through arrays that are far away asks for what is a few iterations on: the
//! processor does so too, but stops at the ends of pages, and late where there are several
//! arrays.
//!
//! Where several inner loops of an iteration read the same longer row (a soft-max, a
//! normalisation), the first of them waits for each row from further out, and the others
//! find it in the first cache. So the longest of the others asks for the next row.
//!
//! Asking for what is outside of an array does nothing.

use std::ops::RangeInclusive;

use backstitch_ir::nest::{At, Axis, For, Mode, Param, Range, Stmt};
use backstitch_ir::threshold;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::inst::{Inst, Place};
use super::lower::Lowering;

/// Bytes of an array that is far away: second caches have 1 to 3 MiB, and asking for what is
/// near costs little.
const FAR: usize = threshold(1 << 20, 64);

/// Bytes of a row at most: in long ones the processor guesses well.
const LONG: i64 = 2048;

/// Bytes of a row that is asked for while the row before is read again: less is over too
/// soon, and more takes the place of what is still read.
const WHOLE: RangeInclusive<u64> = 512..=8192;

/// How far on the first loop asks, in bytes.
const AHEAD: i64 = 4096;

/// Bytes that a long loop reads of an array, at least.
const STREAM: usize = threshold(16 << 10, 16);

/// How far on it asks, in bytes.
const NEXT: i64 = 2048;

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// What is asked for where something is loaded.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// How far on.
    bytes: i64,
    /// Lines with this number, of so many.
    line: usize,
    of: usize,
}

/// A load of short rows: the parameter, bytes from row to row, where the first element is,
/// rows of a chunk.
type Rows = (Param, i64, i64, usize);

/// A load of one row: the parameter, where its first element is.
type Row = (Param, i64, SmallVec<[(Axis, i64); 4]>);

/// A loop that loads a row, the statement, and bytes to the next row.
type Reader<'l> = (&'l For, *const Stmt, i64);

impl Lowering<'_> {
    /// Decides what a loop, or those inside of it, ask for.
    pub(super) fn look_ahead(&mut self, l: &For) {
        match l.mode {
            Mode::Parallel => self.next_chunk(l),
            Mode::Sequential => self.next_row(l),
            Mode::Vector { .. } => self.next_lines(l),
        }
    }

    fn next_chunk(&mut self, l: &For) {
        let mut readers: FxHashMap<Rows, SmallVec<[(*const Stmt, i64); 2]>> = FxHashMap::default();
        for s in &l.body {
            let Stmt::For(rows) = s else { continue };
            if rows.mode != Mode::Sequential {
                continue;
            }
            for s in &rows.body {
                let Stmt::For(inner) = s else { continue };
                for s in &inner.body {
                    if let Some((key, next)) = self.short_rows(l.axis, rows, inner, s) {
                        let all = readers.entry(key).or_default();
                        all.push((std::ptr::from_ref(s), next));
                    }
                }
            }
        }
        for ((_, row, ..), all) in readers {
            if all.len() < 2 {
                continue;
            }
            for (line, &(stmt, next)) in all.iter().enumerate() {
                let bytes = if line == 0 { row * (AHEAD / row.abs()) } else { next };
                self.ahead.insert(stmt, Ahead { bytes, line, of: all.len() });
            }
        }
    }

    /// What a long loop asks for.
    fn next_lines(&mut self, l: &For) {
        let trips = match l.range {
            Range::Whole => self.nest.axes[l.axis],
            Range::Chunk { size, .. } => size,
        };
        for s in &l.body {
            let Stmt::Load { param, at, .. } = s else { continue };
            let size = self.dtype(*param).size();
            let far = self.nest.params[*param].len.saturating_mul(size) >= FAR;
            let long = trips.saturating_mul(size) >= STREAM;
            if far && long && at.index.is_none() && at.stride(l.axis) == 1 {
                let ahead = Ahead { bytes: NEXT, line: 0, of: 1 };
                self.ahead.entry(std::ptr::from_ref(s)).or_insert(ahead);
            }
        }
    }

    /// What iterations that read a row several times ask for.
    fn next_row(&mut self, rows: &For) {
        let mut readers: FxHashMap<Row, SmallVec<[Reader<'_>; 4]>> = FxHashMap::default();
        for s in &rows.body {
            let Stmt::For(inner) = s else { continue };
            for s in &inner.body {
                if let Some((row, bytes)) = self.whole_row(rows.axis, inner, s) {
                    readers.entry(row).or_default().push((inner, std::ptr::from_ref(s), bytes));
                }
            }
        }
        for all in readers.into_values() {
            let others = all.iter().filter(|(inner, ..)| !std::ptr::eq(*inner, all[0].0));
            let Some(&(_, stmt, bytes)) = others.max_by_key(|(inner, ..)| inner.body.len()) else {
                continue;
            };
            self.ahead.entry(stmt).or_insert(Ahead { bytes, line: 0, of: 1 });
        }
    }

    /// The row that a statement loads as a whole, and how far away the next one is, if the
    /// array is far away.
    fn whole_row(&self, rows: Axis, inner: &For, s: &Stmt) -> Option<(Row, i64)> {
        let Stmt::Load { param, at, .. } = s else { return None };
        let size = self.dtype(*param).size();
        let bytes = at.stride(rows).checked_mul(size as i64)?;
        let far = self.nest.params[*param].len.saturating_mul(size) >= FAR;
        let whole = matches!(inner.mode, Mode::Vector { .. }) && inner.range == Range::Whole;
        let plain = at.index.is_none() && at.stride(inner.axis) == 1;
        let mut strides = at.strides.clone();
        strides.retain(|(axis, _)| *axis != inner.axis);
        strides.sort_unstable();
        (far && whole && plain && WHOLE.contains(&bytes.unsigned_abs()))
            .then_some(((*param, at.offset, strides), bytes))
    }

    /// What a statement loads, and how far away that is for the next chunk, if it loads
    /// short rows of an array that is far away.
    fn short_rows(&self, chunks: Axis, rows: &For, inner: &For, s: &Stmt) -> Option<(Rows, i64)> {
        let Stmt::Load { param, at, .. } = s else { return None };
        let size = self.dtype(*param).size() as i64;
        let bytes = |stride: i64| stride.checked_mul(size);
        let row = bytes(at.stride(rows.axis))?;
        let len = match rows.range {
            Range::Whole => 0,
            Range::Chunk { of, size } if of == chunks => size,
            Range::Chunk { .. } => return None,
        };
        let next = row.checked_mul(len as i64)?.checked_add(bytes(at.stride(chunks))?)?;
        let far = self.nest.params[*param].len.saturating_mul(size as usize) >= FAR;
        let short = row != 0 && row.unsigned_abs() <= LONG as u64;
        let whole = matches!(inner.mode, Mode::Vector { .. }) && inner.range == Range::Whole;
        let plain = at.index.is_none() && at.stride(inner.axis) == 1;
        let fits = i32::try_from(next).is_ok();
        (far && short && whole && plain && fits && next != 0)
            .then_some(((*param, row, at.offset, len), next))
    }

    /// Asks for what belongs to the current vector of a load.
    pub(super) fn ask_ahead(&mut self, s: &Stmt, param: Param, at: &At) -> Option<()> {
        let Some(&Ahead { bytes, line, of }) = self.ahead.get(&std::ptr::from_ref(s)) else {
            return Some(());
        };
        let current = self.current.expect("vector code");
        let first = current.number * current.lanes * current.size;
        // The last elements of a row are on a line with the next row.
        let asks =
            current.tail.is_none() && first.is_multiple_of(LINE) && (first / LINE) % of == line;
        if !asks {
            return Some(());
        }
        let place = self.consecutive(param, at)?;
        if let Some(disp) = place.disp.checked_add(bytes as i32) {
            self.ops.push(Inst::Prefetch { place: Place { disp, ..place } });
        }
        Some(())
    }
}
