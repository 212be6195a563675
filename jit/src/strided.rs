//! Strided accesses of a vector loop, several at once.
//!
//! Four iterations that step over memory in strides read four places. Where the loop
//! also reads the elements beside them (the other columns of a narrow array, or, with
//! several rows of an outer loop at a time, the other rows of a transposed one), each
//! place is a vector, and the four of them are transposed in registers:
//!
//! ```text
//! iteration 0:  a0 b0 c0 d0         a:  a0 a1 a2 a3
//! iteration 1:  a1 b1 c1 d1   ⇄     b:  b0 b1 b2 b3
//! iteration 2:  a2 b2 c2 d2         c:  c0 c1 c2 c3
//! iteration 3:  a3 b3 c3 d3         d:  d0 d1 d2 d3
//! ```
//!
//! Neighbouring elements are cut into *pieces*: of 64 bits two, of 32 bits four, or three,
//! or two. A vector on three elements takes the first of the next iteration along, which
//! is there, or, in the last one, the element before. Stores go the other way; those of
//! three elements are in order, each mending what the one before wrote too much.
//!
//! Places that are computed (rows gathered by index) are computed once for all elements
//! that are read there.

use backstitch_ir::DType;
use backstitch_ir::nest::{At, Axis, Nest, Param, Stmt, Var};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::asm::{Addr, Asm, Memory};
use crate::nest::{NestEmitter, result};
use crate::scalar::clif_type;
use crate::vector::{self, GROUP, Lanes};

/// Rows of an outer loop that one pass of the vector loop does.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    /// The outer loop's axis.
    pub axis: Axis,
    /// How many rows.
    pub count: usize,
}

/// An access: of which copy of the body, and its number there.
type Access = (usize, usize);

/// Neighbouring elements that every iteration reads, or writes.
struct Piece {
    param: Param,
    /// The first column, in the first of the rows.
    at: At,
    columns: usize,
    /// Which family it is of.
    family: usize,
}

/// The pieces of a body, and what is known of them in the current group.
#[derive(Default)]
pub(crate) struct Pieces {
    pieces: Vec<Piece>,
    /// The piece of an access, and its column there.
    places: FxHashMap<Access, (usize, usize)>,
    /// Columns that have been read, or are to be written.
    columns: FxHashMap<(usize, usize), Lanes>,
    /// Where the iterations' elements are, of families with computed places.
    lanes: FxHashMap<usize, [Addr; GROUP]>,
}

impl Pieces {
    /// Those of a vector loop over `axis` with this body.
    pub fn of(nest: &Nest, axis: Axis, body: &[&Stmt], rows: Option<Rows>) -> Self {
        let mut out = Self::default();
        let varying: FxHashSet<Var> = body.iter().filter_map(|s| result(s)).collect();
        let stored = only_stored(body);
        for (number, family) in families(body, rows).into_iter().enumerate() {
            let (param, first) = (family.param, family.first);
            let dtype = nest.params[param].dtype;
            let size = dtype.size() as i64;
            let step = first.stride(axis).wrapping_mul(size);
            let computed = first.index.is_some_and(|v| varying.contains(&v));
            let apart = match first.index {
                Some(_) => computed,
                None => step != 0 && step != size,
            };
            // What is written has to be all there is of its parameter.
            let alone = match stored.get(&param) {
                Some(alone) => family.writes && *alone,
                None => true,
            };
            if apart && alone && dtype != DType::Bool {
                out.cut(number, &family, size, step);
            }
        }
        out
    }

    /// Cuts runs of neighbours into pieces.
    fn cut(&mut self, number: usize, family: &Family<'_>, size: i64, step: i64) {
        let computed = family.first.index.is_some();
        let mut offsets: Vec<i64> = family.members.iter().map(|m| m.0).collect();
        offsets.sort_unstable();
        offsets.dedup();
        let mut from = 0;
        while from < offsets.len() {
            let neighbours = offsets[from..].iter().zip(offsets[from]..);
            let run = neighbours.take_while(|(a, b)| **a == *b).count();
            let three = if family.writes { step == 3 * size } else { step >= 3 * size };
            let three = three && !computed;
            let columns = match (size, run) {
                (8, 2..) => 2,
                (4, 4..) => 4,
                (4, 3) if three => 3,
                (4, 2..) => 2,
                _ => 1,
            };
            if columns > 1 || computed {
                let at = At { offset: offsets[from], ..family.first.clone() };
                for &(offset, access) in &family.members {
                    let column = offset.wrapping_sub(at.offset);
                    if (0..columns as i64).contains(&column) {
                        self.places.insert(access, (self.pieces.len(), column as usize));
                    }
                }
                let param = family.param;
                self.pieces.push(Piece { param, at, columns, family: number });
            }
            from += columns;
        }
    }

    /// A new group begins.
    pub fn forget(&mut self) {
        self.columns.clear();
        self.lanes.clear();
    }
}

/// Accesses of one kind with the same strides.
struct Family<'b> {
    param: Param,
    first: &'b At,
    writes: bool,
    /// Element in the first row, and the access.
    members: Vec<(i64, Access)>,
}

/// The families of a body's accesses, in the order in which they are met.
fn families<'b>(body: &[&'b Stmt], rows: Option<Rows>) -> Vec<Family<'b>> {
    type Key<'b> = (Param, bool, &'b [(Axis, i64)], Option<Var>);
    let mut known: FxHashMap<Key<'b>, usize> = FxHashMap::default();
    let mut out: Vec<Family<'b>> = Vec::new();
    for (now, s) in body.iter().enumerate() {
        let (param, at, writes) = match s {
            Stmt::Load { param, at, .. } => (*param, at, false),
            Stmt::Store { param, at, .. } => (*param, at, true),
            _ => continue,
        };
        if at.index.is_some() && writes {
            continue;
        }
        let family = *known.entry((param, writes, &at.strides, at.index)).or_insert(out.len());
        if family == out.len() {
            out.push(Family { param, first: at, writes, members: Vec::new() });
        }
        let by_row = rows.map_or(0, |rows| at.stride(rows.axis));
        for copy in 0..rows.map_or(1, |rows| rows.count) {
            let offset = at.offset.wrapping_add(by_row.wrapping_mul(copy as i64));
            out[family].members.push((offset, (copy, now)));
        }
    }
    out
}

/// The parameters that are written, and whether all that is done with them is to store
/// different elements of one family.
pub(crate) fn only_stored(body: &[&Stmt]) -> FxHashMap<Param, bool> {
    let mut out: FxHashMap<Param, (&At, FxHashSet<i64>, bool)> = FxHashMap::default();
    for s in body {
        if let Stmt::Store { param, at, .. } | Stmt::Accumulate { param, at, .. } = s {
            let store = matches!(s, Stmt::Store { .. });
            let (first, offsets, only) =
                out.entry(*param).or_insert_with(|| (at, FxHashSet::default(), true));
            *only &= store && at.index.is_none() && at.strides == first.strides;
            *only &= offsets.insert(at.offset);
        }
    }
    for s in body {
        if let Stmt::Load { param, .. } = s
            && let Some((.., only)) = out.get_mut(param)
        {
            *only = false;
        }
    }
    out.into_iter().map(|(param, (.., only))| (param, only)).collect()
}

impl NestEmitter<'_, '_> {
    /// The group that the current statement loads, if it is of a piece.
    pub(crate) fn load_of_piece(&mut self, axis: Axis) -> Option<Lanes> {
        let &(piece, column) = self.pieces.places.get(&(self.copy, self.now))?;
        if let Some(&known) = self.pieces.columns.get(&(piece, column)) {
            return Some(known);
        }
        let (dtype, at, step, columns) = self.piece(axis, piece);
        let all = load(self.asm, dtype, at, step, columns);
        self.pieces.columns.extend(all.into_iter().enumerate().map(|(k, x)| ((piece, k), x)));
        self.pieces.columns.get(&(piece, column)).copied()
    }

    /// Whether the current statement stores a column of a piece: it is stored with the last.
    pub(crate) fn store_of_piece(&mut self, axis: Axis, x: Lanes) -> bool {
        let Some(&(piece, column)) = self.pieces.places.get(&(self.copy, self.now)) else {
            return false;
        };
        self.pieces.columns.insert((piece, column), x);
        let columns = self.pieces.pieces[piece].columns;
        let all: SmallVec<[Lanes; 4]> =
            (0..columns).filter_map(|k| self.pieces.columns.get(&(piece, k)).copied()).collect();
        if all.len() == columns {
            let (dtype, at, step, _) = self.piece(axis, piece);
            store(self.asm, dtype, at, step, &all);
        }
        true
    }

    /// Type, places and step of a piece in the current group, and its number of columns.
    fn piece(&mut self, axis: Axis, piece: usize) -> (DType, [Addr; GROUP], i64, usize) {
        let Piece { param, at, columns, family } = &self.pieces.pieces[piece];
        let (param, columns, family, mut at) = (*param, *columns, *family, at.clone());
        let (dtype, step) = (self.dtype(param), self.at.step(param, &at, axis));
        // The rows' axis stands at the current copy.
        let by_row = self.rows.map_or(0, |rows| at.stride(rows.axis));
        at.offset = at.offset.wrapping_sub(by_row.wrapping_mul(self.copy as i64));
        let Some(index) = at.index.take() else {
            let addr = self.at.address(self.asm, param, &at, None);
            return (dtype, along(addr, step), step, columns);
        };
        let size = dtype.size() as i64;
        let offset = std::mem::take(&mut at.offset);
        let lanes = match self.pieces.lanes.get(&family) {
            Some(lanes) => *lanes,
            None => {
                let addr = self.at.address(self.asm, param, &at, None);
                let mut lanes = along(addr, step);
                for (i, lane) in lanes.iter_mut().enumerate() {
                    let index = self.lane(index, i);
                    let bytes = self.asm.mul_int(index, size);
                    lane.base = self.asm.ins().iadd(lane.base, bytes);
                }
                self.pieces.lanes.insert(family, lanes);
                lanes
            }
        };
        (dtype, lanes.map(|lane| lane.plus(offset.wrapping_mul(size))), step, columns)
    }
}

/// Four places, one step after the other.
fn along(at: Addr, step: i64) -> [Addr; GROUP] {
    std::array::from_fn(|i| at.plus(step.wrapping_mul(i as i64)))
}

// ---- Registers ----

fn load(
    asm: &mut Asm,
    dtype: DType,
    at: [Addr; GROUP],
    step: i64,
    columns: usize,
) -> SmallVec<[Lanes; 4]> {
    let ty = vector::vector_type(dtype);
    let row = |i: usize| at[i];
    let memory = Memory::Changing;
    let dense = step == 8 && at[1].base == at[0].base;
    match (vector::is_wide(dtype), columns) {
        (_, 1) => {
            let xs = at.map(|at| asm.load(clif_type(dtype), at, memory));
            SmallVec::from_slice(&[vector::gather(asm, dtype, xs)])
        }
        (true, _) => {
            let rows = [0, 1, 2, 3].map(|i| asm.load(ty, row(i), memory));
            let [a, b] = [false, true].map(|high| {
                let low = pairs(asm, high, rows[0], rows[1]);
                Lanes::Two([low, pairs(asm, high, rows[2], rows[3])])
            });
            SmallVec::from_slice(&[a, b])
        }
        (false, 2) => {
            let halves = if dense {
                [0, 2].map(|i| asm.load(ty, row(i), memory))
            } else {
                [0, 2].map(|i| {
                    let low = asm.load(types::F64, row(i), memory);
                    let low = asm.ins().scalar_to_vector(types::F64X2, low);
                    let high = asm.load(types::F64, row(i + 1), memory);
                    let both = asm.ins().insertlane(low, high, 1);
                    asm.cast(ty, both)
                })
            };
            [EVEN, ODD]
                .iter()
                .map(|m| Lanes::One(asm.shuffle(ty, halves[0], halves[1], *m)))
                .collect()
        }
        (false, _) => {
            let rows = [0, 1, 2, 3].map(|i| {
                if columns == 3 && i + 1 == GROUP {
                    let v = asm.load(ty, row(i).plus(-4), memory);
                    return asm.shuffle(ty, v, v, ROTATE);
                }
                asm.load(ty, row(i), memory)
            });
            transpose(asm, rows)[..columns].iter().map(|&c| Lanes::One(c)).collect()
        }
    }
}

fn store(asm: &mut Asm, dtype: DType, at: [Addr; GROUP], step: i64, columns: &[Lanes]) {
    let ty = vector::vector_type(dtype);
    let row = |i: usize| at[i];
    if vector::is_wide(dtype) {
        let (a, b) = (columns[0].parts(), columns[1].parts());
        for (i, (half, high)) in
            [(0, false), (0, true), (1, false), (1, true)].into_iter().enumerate()
        {
            let v = pairs(asm, high, a[half], b[half]);
            asm.store(v, row(i));
        }
        return;
    }
    let column = |k: usize| columns[k].parts()[0];
    if let [_, _] = columns {
        for (half, mask) in [LOW, HIGH].into_iter().enumerate() {
            let v = asm.shuffle(ty, column(0), column(1), mask);
            if step == 8 {
                asm.store(v, row(2 * half));
                continue;
            }
            let v = asm.cast(types::F64X2, v);
            for lane in 0..2 {
                let x = asm.ins().extractlane(v, lane as u8);
                asm.store(x, row(2 * half + lane));
            }
        }
        return;
    }
    let rows = [0, 1, 2, 3].map(|k| column(k.min(columns.len() - 1)));
    for (i, v) in transpose(asm, rows).into_iter().enumerate() {
        if columns.len() == 3 && i + 1 == GROUP {
            let last = vector::extract(asm, dtype, Lanes::One(v), 2);
            let v = asm.cast(types::F64X2, v);
            let first = asm.ins().extractlane(v, 0);
            asm.store(first, row(i));
            asm.store(last, row(i).plus(8));
        } else {
            asm.store(v, row(i));
        }
    }
}

/// Rows of 32-bit elements as columns.
fn transpose(asm: &mut Asm, rows: [Value; GROUP]) -> [Value; GROUP] {
    let ty = asm.func().dfg.value_type(rows[0]);
    let low = asm.shuffle(ty, rows[0], rows[1], LOW);
    let high = asm.shuffle(ty, rows[0], rows[1], HIGH);
    let low2 = asm.shuffle(ty, rows[2], rows[3], LOW);
    let high2 = asm.shuffle(ty, rows[2], rows[3], HIGH);
    [
        pairs(asm, false, low, low2),
        pairs(asm, true, low, low2),
        pairs(asm, false, high, high2),
        pairs(asm, true, high, high2),
    ]
}

/// The lower, or the upper, halves of both.
fn pairs(asm: &mut Asm, high: bool, a: Value, b: Value) -> Value {
    let ty = asm.func().dfg.value_type(a);
    let mask = if high {
        [8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31]
    } else {
        [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]
    };
    asm.shuffle(ty, a, b, mask)
}

/// Lanes 0 and 1 of both in turn.
const LOW: [u8; 16] = [0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23];
/// Lanes 2 and 3 of both in turn.
const HIGH: [u8; 16] = [8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31];
/// Lanes 0 and 2 of both.
const EVEN: [u8; 16] = [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27];
/// Lanes 1 and 3 of both.
const ODD: [u8; 16] = [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31];
/// All lanes down by one.
const ROTATE: [u8; 16] = [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3];
