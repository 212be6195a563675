//! Accesses of a vector loop that step over memory, several neighbours at once.
//!
//! Lanes that step over memory in strides read as many places. Where the loop reads the
//! elements beside them as well, 128 bits are read at each place, and lanes and columns
//! change places in registers. Rows are put into the four parts of a register so that
//! instructions that work on each part by itself leave the lanes in order:
//!
//! ```text
//! rows 0 2 4 6:  a0 b0  a2 b2  a4 b4  a6 b6       a:  a0 a1  a2 a3  a4 a5  a6 a7
//! rows 1 3 5 7:  a1 b1  a3 b3  a5 b5  a7 b7   ⇄   b:  b0 b1  b2 b3  b4 b5  b6 b7
//! ```
//!
//! So 64-bit elements are read and written in pairs, 32-bit elements in fours; what is
//! left over of a run of neighbours is gathered, and stored lane by lane.

use backstitch_ir::DType;
use backstitch_ir::nest::{At, Axis, Nest, Param, Stmt};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::code::{Encoding, Width};
use super::dense::Dense;
use super::inst::{Class, Inst, Place, Reg, Role, Source, Vector};
use super::lower::{Current, Lowering};
use super::ops::{Arg, blank, store_inst};
use super::table as t;
use crate::strided::only_stored;

/// Steps of so many elements or fewer leave little out.
const MOST_COLUMNS: i64 = 4;

/// Neighbouring elements that every iteration reads, or writes.
struct Piece {
    param: Param,
    /// The first column.
    at: At,
    columns: usize,
    /// How many elements lanes step over, if that is so few that all of it is read.
    stride: Option<usize>,
}

/// The pieces of a loop's body, and what is known of them in the current iteration.
#[derive(Default)]
pub(super) struct Pieces {
    pieces: Vec<Piece>,
    /// Whether columns are rows of an outer loop.
    by_row: bool,
    /// The piece of a statement, and its column there.
    places: FxHashMap<*const Stmt, (usize, usize)>,
    /// Columns that have been read, or are to be written, by copy of the body.
    columns: FxHashMap<(usize, usize, usize), Reg>,
    /// Pieces, by copy of the body, of which some columns are still to be stored.
    waiting: FxHashSet<(usize, usize)>,
}

impl Pieces {
    /// Those of a vector loop over `axis` with this body.
    ///
    /// If the loop does several rows of an outer axis at a time, columns are the rows.
    pub fn of(
        nest: &Nest,
        axis: Axis,
        body: &[&Stmt],
        rows: Option<Axis>,
        encoding: Encoding,
    ) -> Self {
        if let Some(rows) = rows {
            return Self::of_rows(nest, axis, body, rows);
        }
        type Key<'b> = (Param, bool, &'b At);
        type Strides<'b> = (Param, bool, &'b [(Axis, i64)]);
        let mut out = Self::default();
        let stored = only_stored(body);
        let mut families: Vec<(Key<'_>, Vec<(i64, *const Stmt)>)> = Vec::new();
        let mut known: FxHashMap<Strides<'_>, usize> = FxHashMap::default();
        for s in body {
            let (param, at, writes) = match s {
                Stmt::Load { param, at, .. } => (*param, at, false),
                Stmt::Store { param, at, .. } => (*param, at, true),
                _ => continue,
            };
            let stride = at.stride(axis);
            let alone = match stored.get(&param) {
                Some(alone) => writes && *alone,
                None => true,
            };
            if at.index.is_some() || stride == 0 || stride == 1 || !alone {
                continue;
            }
            let family = *known.entry((param, writes, &at.strides)).or_insert(families.len());
            if family == families.len() {
                families.push(((param, writes, at), Vec::new()));
            }
            families[family].1.push((at.offset, std::ptr::from_ref(*s)));
        }
        for ((param, writes, first), members) in families {
            let stride = first.stride(axis);
            let few = (2..=MOST_COLUMNS).contains(&stride) && encoding == Encoding::Evex;
            if few && nest.params[param].dtype != DType::Bool {
                out.cut_few(param, first, stride as usize, writes, &members);
                continue;
            }
            let columns = match nest.params[param].dtype {
                DType::Bool => continue,
                dtype => 16 / dtype.size(),
            };
            out.cut(param, first, columns, &members);
        }
        out
    }

    fn of_rows(nest: &Nest, axis: Axis, body: &[&Stmt], rows: Axis) -> Self {
        let mut out = Self { by_row: true, ..Self::default() };
        let stored = only_stored(body);
        for s in body {
            let (Stmt::Load { param, at, .. } | Stmt::Store { param, at, .. }) = s else {
                continue;
            };
            let dtype = nest.params[*param].dtype;
            // A store waits for the last row: nobody may look in the meantime.
            let alone = stored.get(param).is_none_or(|alone| *alone);
            let neighbours = at.stride(rows) == 1 && at.stride(axis).abs() > 1;
            if !neighbours || !alone || dtype == DType::Bool {
                continue;
            }
            out.places.insert(std::ptr::from_ref(*s), (out.pieces.len(), 0));
            let columns = 16 / dtype.size();
            out.pieces.push(Piece { param: *param, at: at.clone(), columns, stride: None });
        }
        out
    }

    /// Cuts accesses into windows as long as a step. Reads need not be all of a window.
    fn cut_few(
        &mut self,
        param: Param,
        first: &At,
        stride: usize,
        writes: bool,
        members: &[(i64, *const Stmt)],
    ) {
        let mut offsets: SmallVec<[i64; 16]> = members.iter().map(|m| m.0).collect();
        offsets.sort_unstable();
        offsets.dedup();
        let mut from = 0;
        while from < offsets.len() {
            let start = offsets[from];
            let window = start..start + stride as i64;
            let count = offsets[from..].iter().take_while(|&o| window.contains(o)).count();
            let columns = (offsets[from + count - 1] - start + 1) as usize;
            from += count;
            if writes && count < stride {
                continue;
            }
            for &(offset, stmt) in members {
                if window.contains(&offset) {
                    self.places.insert(stmt, (self.pieces.len(), (offset - start) as usize));
                }
            }
            let at = At { offset: start, ..first.clone() };
            self.pieces.push(Piece { param, at, columns, stride: Some(stride) });
        }
    }

    /// Cuts runs of neighbours into pieces of so many columns.
    fn cut(&mut self, param: Param, first: &At, columns: usize, members: &[(i64, *const Stmt)]) {
        let mut offsets: SmallVec<[i64; 16]> = members.iter().map(|m| m.0).collect();
        offsets.sort_unstable();
        offsets.dedup();
        let mut from = 0;
        while from + columns <= offsets.len() {
            let start = offsets[from];
            if offsets[from + columns - 1] != start + columns as i64 - 1 {
                from += 1;
                continue;
            }
            for &(offset, stmt) in members {
                if (start..start + columns as i64).contains(&offset) {
                    self.places.insert(stmt, (self.pieces.len(), (offset - start) as usize));
                }
            }
            let at = At { offset: start, ..first.clone() };
            self.pieces.push(Piece { param, at, columns, stride: None });
            from += columns;
        }
    }

    /// An iteration ends: all that it stores has been stored.
    pub fn forget(&mut self) {
        assert!(self.waiting.is_empty(), "stores that have not been made");
        self.columns.clear();
    }
}

impl Lowering<'_> {
    /// What a statement loads, if it is of a piece.
    pub(super) fn load_of_piece(&mut self, s: &Stmt) -> Option<Option<Reg>> {
        let current = self.current.expect("vector code");
        let copy = current.copy;
        let (Some(rows), Some((piece, column))) = (current.rows(), self.column(s)) else {
            return Some(None);
        };
        if let Some(&known) = self.pieces.columns.get(&(piece, column, copy)) {
            return Some(Some(known));
        }
        let (param, place, step) = self.piece(piece)?;
        let all = match self.dtype(param).size() {
            size if let Some(dense) = self.dense(piece, size, rows) => {
                self.load_dense(place, dense)?
            }
            8 => self.load_pairs(place, step, rows)?,
            _ => self.load_fours(place, step, rows)?,
        };
        for (k, x) in all.into_iter().enumerate() {
            self.pieces.columns.insert((piece, k, copy), x);
        }
        Some(self.pieces.columns.get(&(piece, column, copy)).copied())
    }

    /// Whether a statement stores a column of a piece: it is stored with the last.
    pub(super) fn store_of_piece(&mut self, s: &Stmt, x: Reg) -> Option<bool> {
        let current = self.current.expect("vector code");
        let copy = current.copy;
        let (Some(rows), Some((piece, column))) = (current.rows(), self.column(s)) else {
            return Some(false);
        };
        self.pieces.columns.insert((piece, column, copy), x);
        self.pieces.waiting.insert((piece, copy));
        let columns = self.pieces.pieces[piece].columns;
        let all: SmallVec<[Reg; 4]> = (0..columns)
            .filter_map(|k| self.pieces.columns.get(&(piece, k, copy)).copied())
            .collect();
        if all.len() == columns {
            self.pieces.waiting.remove(&(piece, copy));
            let (param, place, step) = self.piece(piece)?;
            match *all {
                _ if let Some(dense) = self.dense(piece, self.dtype(param).size(), rows) => {
                    self.store_dense(place, dense, &all)?;
                }
                [a, b] => self.store_pairs(place, step, rows, [a, b])?,
                [a, b, c, d] => self.store_fours(place, step, rows, [a, b, c, d])?,
                _ => unreachable!("two or four columns"),
            }
        }
        Some(true)
    }

    /// The piece of a statement, and its column there.
    fn column(&self, s: &Stmt) -> Option<(usize, usize)> {
        let &(piece, column) = self.pieces.places.get(&std::ptr::from_ref(s))?;
        Some((piece, if self.pieces.by_row { self.row } else { column }))
    }

    /// How it is read or written as a whole, if it is.
    fn dense(&self, piece: usize, size: usize, rows: usize) -> Option<Dense> {
        let Current { lanes, .. } = self.current.expect("vector code");
        let Piece { columns, stride, .. } = self.pieces.pieces[piece];
        Some(Dense { stride: stride?, columns, size, lanes, rows })
    }

    /// Array, place of the first lane, and step in bytes.
    fn piece(&mut self, piece: usize) -> Option<(Param, Place, i64)> {
        let axis = self.current.expect("vector code").axis;
        let Piece { param, at, .. } = &self.pieces.pieces[piece];
        let (param, mut at) = (*param, at.clone());
        if self.pieces.by_row {
            // The rows' axis stands at the current row.
            at.offset -= self.row as i64;
        }
        let step = self.at.step(param, &at, axis);
        let place = self.at.place(&mut self.ops.program, param, &at, None)?;
        Some((param, place, step))
    }

    // ---- Registers ----

    /// 128 bits at each of these rows, in the parts of a register.
    fn rows(
        &mut self,
        place: Place,
        step: i64,
        rows: impl Iterator<Item = usize>,
    ) -> Option<Option<Reg>> {
        let mut all: Option<Reg> = None;
        for (part, row) in rows.enumerate() {
            let from = Source::Place(at_row(place, step, row)?);
            all = Some(match all {
                None => self.ops.unary(&t::LOADPS, Width::X128, from)?,
                Some(before) => {
                    let def = self.ops.program.reg(Class::Vector);
                    self.ops.push(Inst::Vector(Vector {
                        width: if part < 2 { Width::Y256 } else { Width::Z512 },
                        reg: Some((def, Role::Def)),
                        second: Some(before),
                        source: from,
                        immediate: Some(part as u8),
                        ..blank(&t::INSERT128)
                    }));
                    def
                }
            });
        }
        Some(all)
    }

    /// The parts of a register to these rows.
    fn put_rows(
        &mut self,
        place: Place,
        step: i64,
        rows: impl Iterator<Item = usize>,
        x: Reg,
    ) -> Option<()> {
        for (part, row) in rows.enumerate() {
            let place = at_row(place, step, row)?;
            if part == 0 {
                self.ops.push(store_inst(&t::STOREPS, Width::X128, x, place, None));
                continue;
            }
            self.ops.push(Inst::Vector(Vector {
                width: if part < 2 { Width::Y256 } else { Width::Z512 },
                reg: Some((x, Role::Use)),
                source: Source::Place(place),
                immediate: Some(part as u8),
                ..blank(&t::EXTRACT128)
            }));
        }
        Some(())
    }

    fn mix(&mut self, row: &'static t::Row, a: Reg, b: Reg) -> Option<Reg> {
        let width = self.ops.widest();
        self.ops.binary(row, width, Arg::Reg(a), Arg::Reg(b))
    }

    fn load_pairs(&mut self, place: Place, step: i64, rows: usize) -> Option<SmallVec<[Reg; 4]>> {
        let even = self.rows(place, step, (0..rows).step_by(2))??;
        let odd = self.rows(place, step, (1..rows).step_by(2))?.unwrap_or(even);
        let low = self.mix(&t::UNPACK_LOW_PD, even, odd)?;
        let high = self.mix(&t::UNPACK_HIGH_PD, even, odd)?;
        Some(SmallVec::from_slice(&[low, high]))
    }

    fn load_fours(&mut self, place: Place, step: i64, rows: usize) -> Option<SmallVec<[Reg; 4]>> {
        let first = self.rows(place, step, (0..rows).step_by(4))??;
        let mut all = [first; 4];
        for (k, x) in all.iter_mut().enumerate().skip(1) {
            if let Some(row) = self.rows(place, step, (k..rows).step_by(4))? {
                *x = row;
            }
        }
        Some(SmallVec::from_slice(&self.transpose(all)?))
    }

    fn store_pairs(&mut self, place: Place, step: i64, rows: usize, x: [Reg; 2]) -> Option<()> {
        let even = self.mix(&t::UNPACK_LOW_PD, x[0], x[1])?;
        self.put_rows(place, step, (0..rows).step_by(2), even)?;
        let odd = self.mix(&t::UNPACK_HIGH_PD, x[0], x[1])?;
        self.put_rows(place, step, (1..rows).step_by(2), odd)
    }

    fn store_fours(&mut self, place: Place, step: i64, rows: usize, x: [Reg; 4]) -> Option<()> {
        for (k, x) in self.transpose(x)?.into_iter().enumerate() {
            self.put_rows(place, step, (k..rows).step_by(4), x)?;
        }
        Some(())
    }

    /// Four by four 32-bit elements in each part.
    fn transpose(&mut self, [a, b, c, d]: [Reg; 4]) -> Option<[Reg; 4]> {
        let ab = self.mix(&t::UNPACK_LOW_PS, a, b)?;
        let cd = self.mix(&t::UNPACK_LOW_PS, c, d)?;
        let ab_high = self.mix(&t::UNPACK_HIGH_PS, a, b)?;
        let cd_high = self.mix(&t::UNPACK_HIGH_PS, c, d)?;
        Some([
            self.mix(&t::UNPACK_LOW_PD, ab, cd)?,
            self.mix(&t::UNPACK_HIGH_PD, ab, cd)?,
            self.mix(&t::UNPACK_LOW_PD, ab_high, cd_high)?,
            self.mix(&t::UNPACK_HIGH_PD, ab_high, cd_high)?,
        ])
    }
}

/// The place so many rows further.
fn at_row(place: Place, step: i64, row: usize) -> Option<Place> {
    let disp = i64::from(place.disp).checked_add(step.checked_mul(row as i64)?)?;
    Some(Place { disp: i32::try_from(disp).ok()?, ..place })
}
