//! Results larger than the caches, stored past them.
//!
//! An ordinary store reads the line that it writes to. Where a line is written whole and
//! nothing will be left of it in a cache when somebody asks, that is wasted: a store past
//! the caches gathers what makes up a line and writes it to memory at once. Such stores want
//! places at multiples of their 16 bytes, which most arrays of callers are and some are not;
//! so a kernel with large results exists twice, and decides when it is called.
//!
//! Where little is computed for each element, kernels take a tenth to a quarter less time;
//! where much is, memory is not what they wait for, and the instructions that take vectors
//! apart are too many. Stores of whole vectors would save them, but want more of a place than
//! callers' arrays have. In place nothing is gained, as the line has been read anyway. With
//! many results at a time there are more lines than can be gathered, and such stores are
//! slower than others.

use backstitch_ir::nest::{Access, At, For, Mode, Nest, Param, Range, Stmt};
use backstitch_ir::threshold;
use rustc_hash::FxHashMap;

use super::code::{Alu, Cond, Label, Width};
use super::inst::{Class, Inst, Place, Program, Reg, Value};
use super::memory::Lanes;
use super::ops::{Ops, store_inst};
use super::table as t;
use crate::jam;

/// Bytes of results from which on they are stored past the caches. Measured with 32 MiB of last
/// level: with half as much, a kernel that reads them finds part of them there.
pub(crate) const LARGE: usize = threshold(64 << 20, 64);

/// Bytes that such a store writes, and of which places are multiples.
const UNIT: usize = 16;

/// Results at a time.
const MOST: usize = 4;

/// Statements of a loop in which memory takes longer than they do.
const LIGHT: usize = threshold(20, 200);

/// Bytes that are stored in a row: begun and ended within lines, which are not whole.
const ROW: usize = threshold(4096, 16);

/// The parameters that a kernel should store past the caches, if they are `large` together.
pub(super) fn results(nest: &Nest, large: usize) -> Vec<Param> {
    let written = nest.params.iter().filter(|p| p.access.writes());
    let bytes = written.fold(0usize, |sum, p| sum.saturating_add(p.len * p.dtype.size()));
    // What is read for the last time is there to be written over.
    if bytes < large || nest.params.iter().any(|p| p.access == Access::Last) {
        return Vec::new();
    }
    let mut search = Search { nest, mentions: FxHashMap::default(), found: Vec::new() };
    search.block(&nest.body, &mut Vec::new());
    let Search { mentions, mut found, .. } = search;
    found.retain(|(param, _)| mentions[param] == 1);
    let bytes = found.iter().fold(0usize, |sum, (_, bytes)| sum.saturating_add(*bytes));
    if bytes < large || found.len() > MOST {
        return Vec::new();
    }
    found.into_iter().map(|(param, _)| param).collect()
}

struct Search<'n> {
    nest: &'n Nest,
    /// Statements that name each parameter.
    mentions: FxHashMap<Param, usize>,
    /// What is stored to in a way that suits, and how many bytes.
    found: Vec<(Param, usize)>,
}

impl<'n> Search<'n> {
    fn block(&mut self, body: &'n [Stmt], around: &mut Vec<&'n For>) {
        for s in body {
            match s {
                Stmt::For(l) => {
                    around.push(l);
                    self.block(&l.body, around);
                    around.pop();
                }
                Stmt::Load { param, .. } | Stmt::Accumulate { param, .. } => {
                    *self.mentions.entry(*param).or_default() += 1;
                }
                Stmt::Store { param, at, .. } => {
                    *self.mentions.entry(*param).or_default() += 1;
                    if let Some(bytes) = self.suits(*param, at, around) {
                        self.found.push((*param, bytes));
                    }
                }
                Stmt::Let { .. } | Stmt::Index { .. } | Stmt::Call { .. } => {}
            }
        }
    }

    /// How many bytes a statement stores, if those are long rows of whole units and each is
    /// stored once.
    fn suits(&self, param: Param, at: &At, around: &[&For]) -> Option<usize> {
        let (inner, outer) = around.split_last()?;
        let decl = &self.nest.params[param];
        let size = decl.dtype.size();
        let extent = |l: &For| match l.range {
            Range::Whole => self.nest.axes[l.axis],
            Range::Chunk { size, .. } => self.nest.axes[l.axis].min(size),
        };
        let whole = |elements: i64| elements.wrapping_mul(size as i64) % UNIT as i64 == 0;
        let begins = match inner.range {
            Range::Whole => true,
            Range::Chunk { size, .. } => whole(size as i64),
        };
        let rows = matches!(inner.mode, Mode::Vector { .. })
            && inner.body.len() <= LIGHT
            && at.stride(inner.axis) == 1
            && extent(inner).saturating_mul(size) >= ROW
            && !outer.iter().any(|l| jam::transposed(self.nest, l).is_some());
        let units = size >= 4
            && begins
            && whole(at.offset)
            && at.strides.iter().all(|&(axis, stride)| axis == inner.axis || whole(stride));
        let steps = |l: &For| at.stride(l.axis) != 0;
        let counts = |l: &For| {
            let of = |other: &&For| matches!(other.range, Range::Chunk { of, .. } if of == l.axis);
            around.iter().any(|other| of(other) && steps(other))
        };
        let once = outer.iter().all(|l| steps(l) || counts(l));
        if decl.access != Access::Out || at.index.is_some() || !rows || !units || !once {
            return None;
        }
        let axes = at.strides.iter().map(|&(axis, _)| self.nest.axes[axis]);
        Some(axes.fold(size, usize::saturating_mul))
    }
}

/// Goes elsewhere unless these pointers are multiples of a unit.
pub(super) fn unless_whole(program: &mut Program, pointers: &[Reg], elsewhere: Label) {
    for &pointer in pointers {
        let rest = program.reg(Class::General);
        program.insts.extend([
            Inst::Alu { op: Alu::Mov, to: rest, from: Value::Reg(pointer) },
            Inst::Alu { op: Alu::And, to: rest, from: Value::Known(UNIT as i64 - 1) },
            Inst::Alu { op: Alu::Cmp, to: rest, from: Value::Known(0) },
            Inst::JumpIf(Cond::NotEqual, elsewhere),
        ]);
    }
}

impl Ops {
    /// Stores a whole vector at a multiple of a unit.
    pub(super) fn store_past_caches(&mut self, of: Lanes, place: Place, x: Reg) -> Option<()> {
        for part in 0..of.lanes * of.dtype.size() / UNIT {
            let from = self.part_of(x, part)?;
            let disp = place.disp.checked_add((UNIT * part) as i32)?;
            self.push(store_inst(&t::STREAMPS, Width::X128, from, Place { disp, ..place }, None));
        }
        Some(())
    }
}
