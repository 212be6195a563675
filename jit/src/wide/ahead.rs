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
//! So all loops that read a chunk ask for what is still far away, each with every row for
//! its share of a row: what is asked for last moves on at the same pace all the time. When
//! the first loop ends, that is a little behind the end of the chunk; the others go on from
//! there, into the next chunk, and so does the first loop when it gets there. Lines are
//! asked for one after the other, because the processor guesses as well: where loops ask for
//! every second line each, or in different places, it guesses badly.
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

/// How far behind the end of a chunk its first loop has come when it ends, in bytes.
const AHEAD: i64 = 2048;

/// Bytes that a long loop reads of an array, at least.
const STREAM: usize = threshold(16 << 10, 16);

/// How far on it asks, in bytes.
const NEXT: i64 = 2048;

/// Bytes of a line of the cache.
const LINE: i64 = 64;

/// What a loop asks for in each iteration.
pub(super) struct Share {
    param: Param,
    /// The first element.
    at: At,
    /// How many bytes from there, negative if backwards.
    bytes: i64,
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

    fn next_chunk(&mut self, chunks: &For) {
        let mut readers: FxHashMap<Rows, SmallVec<[(&For, &At); 2]>> = FxHashMap::default();
        for s in &chunks.body {
            let Stmt::For(rows) = s else { continue };
            if rows.mode != Mode::Sequential {
                continue;
            }
            for s in &rows.body {
                let Stmt::For(inner) = s else { continue };
                for s in &inner.body {
                    if let Some((key, at)) = self.short_rows(chunks.axis, rows, inner, s) {
                        let all = readers.entry(key).or_default();
                        if all.last().is_none_or(|(last, _)| !std::ptr::eq(*last, &**rows)) {
                            all.push((rows, at));
                        }
                    }
                }
            }
        }
        for ((param, row, _, len), all) in readers {
            let (loops, len) = (all.len() as i64, len as i64);
            if loops < 2 {
                continue;
            }
            let later = row / loops / LINE * LINE;
            let first = row - (loops - 1) * later;
            let end = row * len + AHEAD * row.signum();
            self.share(chunks.axis, all[0], param, [row, first, end - first * len]);
            for (k, &reader) in (0..).zip(&all[1..]) {
                self.share(chunks.axis, reader, param, [row, later, end + k * later * len]);
            }
        }
    }

    /// One of the loops that read rows of so many bytes asks for that many with each, in the
    /// first row of a chunk that far behind its beginning.
    fn share(&mut self, chunks: Axis, reader: (&For, &At), param: Param, bytes: [i64; 3]) {
        let (rows, at) = reader;
        let size = self.dtype(param).size() as i64;
        let [row, share, from] = bytes.map(|bytes| bytes / size);
        let mut at = At { offset: at.offset + from, ..at.clone() };
        at.strides.retain(|(axis, _)| *axis != rows.axis);
        at.strides.push((rows.axis, share));
        if let Range::Chunk { size, .. } = rows.range {
            at.strides.push((chunks, size as i64 * (row - share)));
        }
        at.strides.retain(|(_, stride)| *stride != 0);
        if bytes[1] != 0 && i32::try_from(at.offset * size).is_ok() {
            let share = Share { param, at, bytes: bytes[1] };
            self.shares.entry(std::ptr::from_ref(rows)).or_default().push(share);
        }
    }

    /// Computes what is the same for all iterations of a loop that is about to begin.
    pub(super) fn prepare_shares(&mut self, l: &For) -> Option<()> {
        for Share { param, at, .. } in self.shares.get(&std::ptr::from_ref(l)).into_iter().flatten()
        {
            let (terms, _) = self.at.terms(*param, at);
            self.at.sum(&mut self.ops.program, *param, &terms)?;
        }
        Some(())
    }

    /// Asks for what belongs to an iteration.
    pub(super) fn ask_shares(&mut self, l: &For) -> Option<()> {
        for Share { param, at, bytes } in
            self.shares.remove(&std::ptr::from_ref(l)).into_iter().flatten()
        {
            let place = self.at.place(&mut self.ops.program, param, &at, None)?;
            for line in (0..bytes.abs()).step_by(LINE as usize) {
                if let Some(disp) = place.disp.checked_add((line * bytes.signum()) as i32) {
                    self.ops.push(Inst::Prefetch { place: Place { disp, ..place } });
                }
            }
        }
        Some(())
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
                self.ahead.entry(std::ptr::from_ref(s)).or_insert(NEXT);
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
            self.ahead.entry(stmt).or_insert(bytes);
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

    /// What a statement loads, if it loads short rows of an array that is far away, chunk
    /// after chunk.
    fn short_rows<'l>(
        &self,
        chunks: Axis,
        rows: &For,
        inner: &For,
        s: &'l Stmt,
    ) -> Option<(Rows, &'l At)> {
        let Stmt::Load { param, at, .. } = s else { return None };
        let size = self.dtype(*param).size() as i64;
        let bytes = |stride: i64| stride.checked_mul(size);
        let row = bytes(at.stride(rows.axis))?;
        let (len, of_chunk) = match rows.range {
            Range::Whole => (self.nest.axes[rows.axis], row),
            Range::Chunk { of, size } if of == chunks => (size, 0),
            Range::Chunk { .. } => return None,
        };
        let next = row.checked_mul(len as i64)?;
        let follows = bytes(at.stride(chunks))? == of_chunk * len as i64;
        let far = self.nest.params[*param].len.saturating_mul(size as usize) >= FAR;
        let short = row != 0 && row.unsigned_abs() <= LONG as u64;
        let whole = matches!(inner.mode, Mode::Vector { .. }) && inner.range == Range::Whole;
        let plain = at.index.is_none() && at.stride(inner.axis) == 1;
        let fits = i32::try_from(next).is_ok();
        (far && short && whole && plain && fits && follows)
            .then_some(((*param, row, at.offset, len), at))
    }

    /// Asks for what belongs to the current vector of a load.
    pub(super) fn ask_ahead(&mut self, s: &Stmt, param: Param, at: &At) -> Option<()> {
        let Some(&bytes) = self.ahead.get(&std::ptr::from_ref(s)) else {
            return Some(());
        };
        let current = self.current.expect("vector code");
        let first = current.number * current.lanes * current.size;
        // The last elements of a row are on a line with the next row.
        if current.tail.is_some() || !first.is_multiple_of(LINE as usize) {
            return Some(());
        }
        let place = self.consecutive(param, at)?;
        if let Some(disp) = place.disp.checked_add(bytes as i32) {
            self.ops.push(Inst::Prefetch { place: Place { disp, ..place } });
        }
        Some(())
    }
}
