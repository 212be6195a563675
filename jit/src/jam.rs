//! Several rows of an outer loop in one pass of the vector loop inside.
//!
//! ```text
//! for i { for j vector { y[i,j] = x[j,i] } }      reads x in strides
//! for i { for j vector { y[j] += x[i,j] } }       reads and writes y for each row
//! ```
//!
//! With four rows at a time, the first reads four neighbours at each place (see
//! [`strided`](crate::strided)), and the second reads and writes `y` a quarter as often.
//! The rows that are left over are done one by one.
//!
//! For each element that is written, what is written follows in the same order as
//! before, so that bits stay the same. That holds if iterations of different rows and
//! different columns never meet: each parameter that is written is mentioned with one
//! element of the row and the column, which either tells both, or is the same for all
//! rows and is only added to.

use backstitch_ir::nest::{At, Axis, For, Mode, Nest, Param, Range, Stmt};
use cranelift_codegen::ir::InstBuilder;
use rustc_hash::FxHashMap;

use crate::address::Int;
use crate::nest::{KEPT, NestEmitter, Span};
use crate::strided::Rows;
use crate::vector;

/// Statements of all rows together at most: with more, loads are not what counts.
const MOST: usize = 40;

/// How many rows of a loop are worth doing at a time, if more than one.
pub(crate) fn worthwhile(nest: &Nest, l: &For) -> Option<usize> {
    let inner = vector_loop(l)?;
    let accesses = || inner.body.iter().filter_map(access);
    if accesses().any(|a| a.at.index.is_some()) || !is_allowed(nest, l, inner) {
        return None;
    }
    let fits = |count: usize| inner.body.len() * count <= MOST.min(2 * KEPT);
    let neighbours = |at: &At| at.stride(l.axis).abs() == 1 && at.stride(inner.axis).abs() > 1;
    let transposed = |a: &Mention<'_>| !a.adds && neighbours(a.at);
    let wide = |a: &Mention<'_>| vector::is_wide(nest.params[a.param].dtype);
    if accesses().any(|a| transposed(&a)) {
        let narrow = accesses().any(|a| transposed(&a) && !wide(&a));
        return [4, 2].into_iter().find(|&n| fits(n) && (n == 4 || !narrow));
    }
    let sums = |a: &Mention<'_>| a.adds && a.at.stride(l.axis) == 0;
    (accesses().any(|a| sums(&a)) && fits(4)).then_some(4)
}

/// Bytes of the elements of arrays that are read or written transposed, if all have as many
/// and rows of this loop are neighbours there and may be done together.
pub(crate) fn transposed(nest: &Nest, l: &For) -> Option<usize> {
    let inner = vector_loop(l)?;
    let accesses = || inner.body.iter().filter_map(access);
    if accesses().any(|a| a.at.index.is_some()) || !is_allowed(nest, l, inner) {
        return None;
    }
    let mut sizes = accesses()
        .filter(|a| !a.adds && a.at.stride(l.axis) == 1 && a.at.stride(inner.axis).abs() > 1)
        .map(|a| nest.params[a.param].dtype.size())
        .filter(|&size| size >= 4);
    let size = sizes.next()?;
    (sizes.all(|other| other == size) && inner.body.len() * (16 / size) <= MOST).then_some(size)
}

/// The one loop inside a loop that carries nothing, if it is a vector loop that carries
/// nothing either and all before it can be done again for each row.
fn vector_loop(l: &For) -> Option<&For> {
    let (Stmt::For(inner), before) = l.body.split_last()? else { return None };
    let again =
        |s: &Stmt| !matches!(s, Stmt::For(_) | Stmt::Store { .. } | Stmt::Accumulate { .. });
    let plain = l.accs.is_empty() && l.carries.is_empty() && inner.accs.is_empty();
    let vector = matches!(inner.mode, Mode::Vector { .. });
    let apart = !matches!(inner.range, Range::Chunk { of, .. } if of == l.axis);
    (plain && vector && apart && before.iter().all(again)).then_some(inner)
}

/// A mention of a parameter.
struct Mention<'n> {
    param: Param,
    at: &'n At,
    /// Whether something is added to what is there.
    adds: bool,
}

fn access(s: &Stmt) -> Option<Mention<'_>> {
    let (param, at, adds) = match s {
        Stmt::Load { param, at, .. } | Stmt::Store { param, at, .. } => (*param, at, false),
        Stmt::Accumulate { param, at, .. } => (*param, at, true),
        _ => return None,
    };
    Some(Mention { param, at, adds })
}

/// Whether rows may be done together.
fn is_allowed(nest: &Nest, l: &For, inner: &For) -> bool {
    let extent = |l: &For| match l.range {
        Range::Whole => nest.axes[l.axis],
        Range::Chunk { size, .. } => nest.axes[l.axis].min(size),
    } as i64;
    // What is read for the last time is stored over at the same place, in the same iteration.
    let changes = |p: Param| nest.params[p].access.writes();
    let before = &l.body[..l.body.len() - 1];
    if before.iter().filter_map(access).any(|a| changes(a.param)) {
        return false;
    }
    let mut seen: FxHashMap<Param, Mention<'_>> = FxHashMap::default();
    for a in inner.body.iter().filter_map(access).filter(|a| changes(a.param)) {
        let (row, column) = (a.at.stride(l.axis).abs(), a.at.stride(inner.axis).abs());
        let apart =
            row >= column.saturating_mul(extent(inner)) || column >= row.saturating_mul(extent(l));
        let told = row != 0 && column != 0 && apart;
        let alone = !seen.contains_key(&a.param);
        let allowed = match seen.get(&a.param) {
            _ if row == 0 && column != 0 => a.adds && alone,
            Some(other) => told && other.at == a.at,
            None => told,
        };
        if !allowed {
            return false;
        }
        seen.insert(a.param, a);
    }
    true
}

impl NestEmitter<'_, '_> {
    /// Writes a loop whose rows are done `count` at a time.
    pub(crate) fn jammed(&mut self, l: &For, span: Span, count: usize) {
        let by = count as i64;
        self.at.prepare(self.asm, &l.body);
        let (main, rest) = match span.count {
            Some(n) => {
                let end = span.lo.plus((n - n % count) as i64);
                (Span { hi: end, ..span }, Span { lo: end, ..span })
            }
            None => {
                let (lo, hi) = (span.lo.value(self.asm), span.hi.value(self.asm));
                let all = self.asm.ins().isub(hi, lo);
                let multiple = self.asm.int(-by);
                let whole = self.asm.ins().band(all, multiple);
                let end = Int::of(self.asm.ins().iadd(lo, whole));
                (Span { lo: Int::of(lo), hi: end, count: None }, Span { lo: end, ..span })
            }
        };
        let known = span.count.is_some();
        let rest_exit = self.asm.block(&[]);
        let exit = self.asm.block(&[]);
        self.counted(main, by, known, &[], exit, |this, i, _| {
            this.several(l, i, count);
            Default::default()
        });
        self.asm.place(exit);
        if span.count.is_some_and(|n| n % count == 0) {
            self.asm.jump(rest_exit, &[]);
        } else {
            self.counted(rest, 1, known, &[], rest_exit, |this, i, _| this.iteration(l, i, &[]));
        }
        self.asm.place(rest_exit);
    }

    /// So many rows from `at`.
    fn several(&mut self, l: &For, at: Int, count: usize) {
        let Some((Stmt::For(inner), before)) = l.body.split_last() else { unreachable!("a loop") };
        let around = self.bindings.clone();
        self.at.enter(l.axis, at);
        self.rows = Some(Rows { axis: l.axis, count });
        self.tables = vec![around.clone(); count];
        self.each_row(|this| this.block(before));
        self.for_loop(inner);
        self.rows = None;
        self.at.leave(l.axis);
        self.bindings = around;
    }

    /// Does something for each of the rows done at a time, or once.
    pub(crate) fn each_row(&mut self, mut f: impl FnMut(&mut Self)) {
        let Some(Rows { axis, count }) = self.rows else { return f(self) };
        for row in 0..count {
            self.turn_to(axis, row);
            f(self);
        }
        self.turn_to(axis, 0);
    }

    fn turn_to(&mut self, axis: Axis, row: usize) {
        std::mem::swap(&mut self.bindings, &mut self.tables[self.copy]);
        std::mem::swap(&mut self.bindings, &mut self.tables[row]);
        self.at.shift(axis, row as i64 - self.copy as i64);
        self.copy = row;
    }

    /// Whether the next of the rows done at a time adds to this element as well.
    pub(crate) fn is_summed_further(&self, at: &At) -> bool {
        self.rows.is_some_and(|rows| at.stride(rows.axis) == 0 && self.copy + 1 < rows.count)
    }
}
