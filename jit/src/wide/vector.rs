//! Vector loops.
//!
//! One machine iteration does one vector or several, interleaved statement by statement:
//! as many as make up the loop's lanes if it carries reductions (element `t` must go to
//! partial result `t mod lanes`). What is left over at the end is done with masks: lanes
//! outside are not read, not stored and not added, so there is no scalar code, and element
//! `t` is in lane `t mod lanes` all the same.

use std::ops::Range;

use backstitch_ir::nest::{At, Axis, For, Param, ScalarOp, Stmt, Term, Var};
use backstitch_ir::{DType, threshold};
use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::code::{Alu, Cond, Width};
use super::inst::{Inst, Place, Reg, Value};
use super::lower::{Binding, Current, Lowering, Span};
use super::masks::Tail;
use super::memory::{Lanes, mask_of};
use super::ops::{Arg, Hoist};
use super::places::Int;
use super::strided::Pieces;
use super::table as t;
use super::zeros::Definitions;
use crate::nest::{result, uses};
use crate::vector_loop::split;

/// Statements of a loop body that is written out instead of repeated.
const WRITTEN_OUT: usize = threshold(48, 4);

/// Bodies of so many statements or fewer do four vectors in an iteration, and twice as
/// many two.
const LIGHT: usize = 8;

/// A vector loop in two halves.
struct Body<'b> {
    l: &'b For,
    /// What runs in every iteration.
    stmts: Vec<&'b Stmt>,
    shape: Shape,
    /// The partial results of each reduction, one for each vector.
    partials: Vec<Vec<Reg>>,
    /// Where a NaN has come, for reductions that look out for that.
    seen: Vec<Option<Reg>>,
}

/// How many elements an iteration does.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Elements in a vector.
    pub lanes: usize,
    /// Bytes of the widest elements.
    pub size: usize,
    /// Vectors in an iteration.
    pub copies: usize,
}

impl Shape {
    fn step(&self) -> usize {
        self.lanes * self.copies
    }

    /// One of the vectors: of an iteration, and of a loop that is written out.
    pub fn current(&self, axis: Axis, copy: usize, number: usize, tail: Option<Tail>) -> Current {
        Current { axis, lanes: self.lanes, size: self.size, copy, number, tail }
    }
}

impl Lowering<'_> {
    /// A vector loop with so many partial results.
    pub(super) fn vector(&mut self, l: &For, partial: usize, span: Span) -> Option<()> {
        if span.count == Some(0) {
            for (a, x) in l.accs.iter().zip(self.identities(l)) {
                self.bind(a.result, x)?;
            }
            return Some(());
        }
        self.at.prepare(&mut self.ops.program, &l.body)?;
        let (uniform, stmts) = split(l);
        let shape = self.shape(l, partial, &stmts)?;
        let mut body = Body { l, stmts, shape, partials: Vec::new(), seen: Vec::new() };
        for a in &l.accs {
            let dtype = self.nest.vars[a.result];
            let partials = self.partials(dtype, a.term.op().identity(dtype), shape.copies);
            body.partials.push(partials);
            body.seen.push(self.ops.watch(a.term.op(), dtype));
        }
        // Without iterations nothing may be read.
        let done = self.ops.program.label();
        if span.count.is_none() {
            let lo = span.lo.read(&mut self.ops.program);
            let hi = span.hi.value(&mut self.ops.program);
            self.ops.push(Inst::Alu { op: Alu::Cmp, to: lo, from: hi });
            self.ops.push(Inst::JumpIf(Cond::GreaterOrEqual, done));
        }
        if self.rows.is_none() {
            uniform.iter().try_for_each(|s| self.stmt(s))?;
        }
        self.pieces = {
            let rows = self.rows.as_ref().map(|rows| rows.axis);
            Pieces::of(self.nest, l.axis, &body.stmts, rows, self.ops.encoding)
        };
        self.definitions = Definitions::of(l, &body.stmts);
        self.definitions.from_zero = span.lo.base.is_none() && span.lo.offset == 0;
        self.narrow = self.narrow_counters(l, &body.stmts);
        let before = self.ops.program.insts.len();
        self.ops.hoist = Some(Hoist::default());
        match span.count {
            Some(count) => self.known_count(&body, span, count)?,
            None => self.unknown_count(&body, span)?,
        }
        let hoist = self.ops.hoist.take().expect("constants of this loop");
        self.ops.program.insts.splice(before..before, hoist.insts);
        self.ops.push(Inst::Label(done));
        for ((a, partials), seen) in l.accs.iter().zip(&body.partials).zip(&body.seen) {
            let (op, of) = (a.term.op(), self.nest.vars[a.result]);
            let x = self.ops.finish(op, of, shape.lanes, partials, *seen)?;
            self.bind(a.result, x)?;
        }
        Some(())
    }

    /// How many elements an iteration of a loop does.
    pub(super) fn shape(&self, l: &For, partial: usize, stmts: &[&Stmt]) -> Option<Shape> {
        let narrow = self.narrow_counters(l, stmts);
        let of = |v: Var| if narrow.contains(&v) { DType::I32 } else { self.nest.vars[v] };
        let sizes: SmallVec<[usize; 16]> = stmts
            .iter()
            .filter_map(|s| match s {
                Stmt::Store { param, .. } | Stmt::Accumulate { param, .. } => {
                    Some(self.dtype(*param))
                }
                _ => result(s).map(of),
            })
            .chain(l.accs.iter().map(|a| of(a.result)))
            .filter(|dtype| *dtype != DType::Bool)
            .map(DType::size)
            .collect();
        let size = sizes.iter().copied().max().unwrap_or(4);
        let least = sizes.iter().copied().min().unwrap_or(4);
        let mut lanes = self.ops.widest().bytes() / size;
        // Truth values may be combined in any order; each vector has a mask of its own, of
        // which there are few.
        let free = l.accs.iter().all(|a| of(a.result) == DType::Bool);
        let copies = if free {
            let least = match stmts.len() {
                _ if self.rows.is_some() => 1,
                0..=LIGHT if l.accs.is_empty() => 4,
                _ if stmts.len() <= 2 * LIGHT => 2,
                _ => 1,
            };
            if l.accs.is_empty() { self.more(l, stmts, least) } else { least }
        } else {
            lanes = lanes.min(partial);
            partial / lanes
        };
        if lanes * least < 16 || copies > 8 {
            return None;
        }
        Some(Shape { lanes, size, copies })
    }

    /// Counters that are only made into numbers of 32 bits, which they fit.
    fn narrow_counters(&self, l: &For, stmts: &[&Stmt]) -> FxHashSet<Var> {
        let mut out: FxHashSet<Var> = FxHashSet::default();
        if i32::try_from(self.nest.axes[l.axis]).is_err() {
            return out;
        }
        for s in stmts {
            if let Stmt::Index { var, .. } = s {
                out.insert(*var);
                continue;
            }
            let converted = match s {
                Stmt::Let { var, op: ScalarOp::Convert, .. } => {
                    matches!(self.nest.vars[*var], DType::I32 | DType::F32)
                }
                _ => false,
            };
            if !converted {
                uses(s).iter().for_each(|v| _ = out.remove(v));
            }
        }
        l.accs.iter().flat_map(|a| a.term.values()).for_each(|v| _ = out.remove(v));
        out
    }

    fn known_count(&mut self, body: &Body, span: Span, count: usize) -> Option<()> {
        let (step, lanes) = (body.shape.step(), body.shape.lanes);
        let (whole, rest) = (count / step, count % step);
        let end = span.lo.plus((whole * step) as i64);
        let held = body.stmts.iter().any(|s| self.held.contains_key(&std::ptr::from_ref(*s)));
        if held || whole <= 1 || whole * body.shape.copies * body.stmts.len() <= WRITTEN_OUT {
            for k in 0..whole {
                let number = k * body.shape.copies;
                let at = span.lo.plus((k * step) as i64);
                self.vectors(body, at, 0..body.shape.copies, number, None)?;
            }
        } else {
            let vectors = self.more(body.l, &body.stmts, body.shape.copies);
            let times = whole.min(vectors / body.shape.copies);
            let (most, single) = (whole / times * times, whole % times);
            let last = span.lo.plus((most * step) as i64);
            self.counted(span.lo, last, (times * step) as i64, true, |this, i| {
                this.vectors(body, i, 0..times * body.shape.copies, 0, None)
            })?;
            for k in most..most + single {
                let at = span.lo.plus((k * step) as i64);
                self.vectors(body, at, 0..body.shape.copies, k * body.shape.copies, None)?;
            }
        }
        let (full, last) = (rest / lanes, rest % lanes);
        let number = whole * body.shape.copies;
        if full > 0 {
            self.vectors(body, end, 0..full, number, None)?;
        }
        if last > 0 {
            let tail = self.ops.tail(Int::known(last as i64), lanes, body.shape.size)?;
            let at = end.plus((full * lanes) as i64);
            self.vectors(body, at, full..full + 1, number + full, Some(tail))?;
        }
        Some(())
    }

    fn unknown_count(&mut self, body: &Body, span: Span) -> Option<()> {
        let (step, lanes) = (body.shape.step() as i64, body.shape.lanes as i64);
        let hi = Int::of(span.hi.read(&mut self.ops.program));
        let vectors = self.more(body.l, &body.stmts, body.shape.copies);
        let lo = match vectors as i64 * lanes {
            all if all == step => span.lo,
            all => Int::of(self.counted(span.lo, hi, all, false, |this, i| {
                this.vectors(body, i, 0..vectors, 0, None)
            })?),
        };
        let i = self.counted(lo, hi, step, false, |this, i| {
            this.vectors(body, i, 0..body.shape.copies, 0, None)
        })?;
        let hi = hi.base.expect("just made");
        let done = self.ops.program.label();
        let rest = |this: &mut Self, skipped: i64| {
            let left = Int::of(hi).copy(&mut this.ops.program);
            this.ops.push(Inst::Alu { op: Alu::Sub, to: left, from: Value::Reg(i) });
            this.ops.push(Inst::Alu { op: Alu::Sub, to: left, from: Value::Known(skipped) });
            let compare = Inst::Alu { op: Alu::Cmp, to: left, from: Value::Known(0) };
            this.ops.push(compare);
            left
        };
        let tail = |this: &mut Self, left: Reg| {
            this.ops.tail(Int::of(left), body.shape.lanes, body.shape.size)
        };
        if body.partials.is_empty() && body.shape.copies > 1 {
            // One vector after the other, until nothing is left.
            let left = rest(self, 0);
            self.ops.push(Inst::JumpIf(Cond::LessOrEqual, done));
            let head = self.ops.program.label();
            self.ops.push(Inst::LoopStart(head));
            let tail = tail(self, left)?;
            self.vectors(body, Int::of(i), 0..1, 0, Some(tail))?;
            self.ops.push(Inst::Alu { op: Alu::Add, to: i, from: Value::Known(lanes) });
            self.ops.push(Inst::Alu { op: Alu::Sub, to: left, from: Value::Known(lanes) });
            self.ops.push(Inst::Alu { op: Alu::Cmp, to: left, from: Value::Known(0) });
            self.ops.push(Inst::JumpIf(Cond::Greater, head));
            self.ops.push(Inst::LoopEnd);
        } else {
            for copy in 0..body.shape.copies {
                let skipped = copy as i64 * lanes;
                let left = rest(self, skipped);
                self.ops.push(Inst::JumpIf(Cond::LessOrEqual, done));
                let tail = tail(self, left)?;
                self.vectors(body, Int::of(i).plus(skipped), copy..copy + 1, 0, Some(tail))?;
            }
        }
        self.ops.push(Inst::Label(done));
        Some(())
    }

    /// Consecutive vectors from `at`, those of these numbers in an iteration. The first is
    /// vector `number` of the loop, if the loop is written out.
    fn vectors(
        &mut self,
        body: &Body,
        at: Int,
        which: Range<usize>,
        number: usize,
        tail: Option<Tail>,
    ) -> Option<()> {
        let axis = body.l.axis;
        self.definitions.forget();
        self.at.enter(axis, at);
        let Some(rows_axis) = self.rows.as_ref().map(|rows| rows.axis) else {
            self.statements(body, which.len(), number, tail)?;
            self.pieces.forget();
            return self.sums(body, which, number, tail);
        };
        for row in 0..self.rows.as_ref().map_or(0, |rows| rows.tables.len()) {
            let tables = self.rows.as_mut().map(|rows| &mut rows.tables);
            let table = tables.map(|tables| std::mem::take(&mut tables[row])).expect("a row");
            let around = std::mem::replace(&mut self.bindings, table);
            self.row = row;
            self.definitions.forget();
            self.at.shift(rows_axis, row as i64);
            self.statements(body, which.len(), number, tail)?;
            self.at.shift(rows_axis, -(row as i64));
            let table = std::mem::replace(&mut self.bindings, around);
            if let Some(rows) = &mut self.rows {
                rows.tables[row] = table;
            }
        }
        self.pieces.forget();
        self.row = 0;
        self.current = None;
        self.at.leave(axis);
        Some(())
    }

    /// What several vectors do, statement by statement.
    fn statements(
        &mut self,
        body: &Body,
        copies: usize,
        number: usize,
        tail: Option<Tail>,
    ) -> Option<()> {
        let (axis, lanes) = (body.l.axis, body.shape.lanes);
        for s in &body.stmts {
            let mut regs: SmallVec<[Reg; 4]> = SmallVec::new();
            for copy in 0..copies {
                self.current = Some(body.shape.current(axis, copy, number + copy, tail));
                regs.extend(self.vector_stmt(s)?);
                self.at.shift(axis, lanes as i64);
            }
            self.at.shift(axis, -((lanes * copies) as i64));
            if let Some(var) = result(s)
                && !regs.is_empty()
            {
                self.bindings[var] = Binding::Lanes(regs);
            }
        }
        Some(())
    }

    /// What several vectors add to the loop's reductions.
    fn sums(
        &mut self,
        body: &Body,
        which: Range<usize>,
        number: usize,
        tail: Option<Tail>,
    ) -> Option<()> {
        let (axis, lanes, copies) = (body.l.axis, body.shape.lanes, which.len());
        let mask = mask_of(tail);
        for ((a, partials), seen) in body.l.accs.iter().zip(&body.partials).zip(&body.seen) {
            let dtype = self.nest.vars[a.result];
            let mut watched: SmallVec<[(Reg, Reg); 4]> = SmallVec::new();
            for copy in 0..copies {
                self.current = Some(body.shape.current(axis, copy, number + copy, tail));
                let partial = partials[(which.start + copy) % partials.len()];
                match (a.term, seen) {
                    (Term::One(_, x), Some(_)) => watched.push((partial, self.value(x))),
                    (term, _) => self.take(partial, &term, dtype, lanes, mask)?,
                }
            }
            for two in watched.chunks(2) {
                let seen = seen.expect("what is watched");
                self.ops.combine_watched(seen, a.term.op(), dtype, lanes, two, mask)?;
            }
        }
        self.current = None;
        self.at.leave(axis);
        Some(())
    }

    /// A statement for one vector; what it defines, but for constants.
    fn vector_stmt(&mut self, s: &Stmt) -> Option<Option<Reg>> {
        let Current { lanes, .. } = self.current.expect("vector code");
        Some(match s {
            Stmt::Let { var, op: ScalarOp::Const(c), .. } => {
                self.bindings[*var] = Binding::Const(*c);
                None
            }
            Stmt::Let { var, op, args } => Some(self.operation(*var, *op, args, lanes)?),
            Stmt::Index { var, .. } => Some(self.vector_index(*var)?),
            Stmt::Load { param, at, .. } => {
                let number = self.current.expect("vector code").number;
                let held = self.held.get(&std::ptr::from_ref(s));
                if let Some(&x) = held.and_then(|regs| regs.get(number)) {
                    return Some(Some(x));
                }
                let x = match self.load_of_piece(s)? {
                    Some(x) => x,
                    None => self.vector_load(*param, at)?,
                };
                self.ask_ahead(s, *param, at)?;
                Some(x)
            }
            Stmt::Store { param, at, value } => {
                let x = self.value(*value);
                if !self.store_of_piece(s, x)? {
                    self.vector_store(*param, at, x)?;
                }
                None
            }
            Stmt::Accumulate { param, at, term } => {
                if let Some(regs) = self.held.get(&std::ptr::from_ref(s)) {
                    let number = self.current.expect("vector code").number;
                    let sum = regs[number];
                    // Lanes that are not there are never stored.
                    self.take(sum, term, self.dtype(*param), lanes, None)?;
                    return Some(None);
                }
                // What is combined where nothing has been loaded is not stored either.
                let old = self.vector_load(*param, at)?;
                self.take(old, term, self.dtype(*param), lanes, None)?;
                self.vector_store(*param, at, old)?;
                None
            }
            Stmt::Call { .. } => return None,
            Stmt::For(_) => unreachable!("{}: a loop inside a vector loop", self.nest.name),
        })
    }

    /// The lanes' positions on the axis.
    fn vector_index(&mut self, var: Var) -> Option<Reg> {
        let Current { axis, lanes, .. } = self.current.expect("vector code");
        let at = self.at.position(axis);
        let first = Int { offset: 0, ..at }.read(&mut self.ops.program);
        let steps = (0..lanes as i64).map(|i| i + at.offset);
        let (dtype, row, steps): (_, _, Vec<u8>) = match self.narrow.contains(&var) {
            true => (DType::I32, &t::PADDD, steps.flat_map(|i| (i as i32).to_le_bytes()).collect()),
            false => (DType::I64, &t::PADDQ, steps.flat_map(i64::to_le_bytes).collect()),
        };
        let width = Width::of(dtype.size() * lanes);
        let first = self.ops.repeat_word(dtype, first, width)?;
        let steps = self.ops.lanes_constant(&steps);
        self.ops.binary(row, width, Arg::Reg(first), Arg::Reg(steps))
    }

    // ---- Memory ----

    /// The place of the first lane, if the lanes' elements are consecutive.
    pub(super) fn consecutive(&mut self, param: Param, at: &At) -> Option<Place> {
        let axis = self.current.expect("vector code").axis;
        let place = self.at.place(&mut self.ops.program, param, at, Some(axis))?;
        match at.index {
            None => Some(place),
            Some(index) => self.indexed(place, index, self.dtype(param).size()),
        }
    }

    pub(super) fn vector_load(&mut self, param: Param, at: &At) -> Option<Reg> {
        let Current { axis, .. } = self.current.expect("vector code");
        let of = self.lanes(self.dtype(param));
        let step = self.at.step(param, at, axis);
        if let Some(index) = self.varying_index(at) {
            let place = self.at.place(&mut self.ops.program, param, at, None)?;
            return self.ops.load_indexed(of, place, index, step);
        }
        if step != of.dtype.size() as i64 {
            let place = self.element(param, at)?;
            return self.ops.load_strided(of, place, step);
        }
        let place = self.consecutive(param, at)?;
        self.ops.load(of, place)
    }

    /// The current vector of a type.
    fn lanes(&self, dtype: DType) -> Lanes {
        let Current { lanes, size, tail, .. } = self.current.expect("vector code");
        Lanes { dtype, lanes, size, tail }
    }

    /// The index of an element if it is not the same in all lanes.
    fn varying_index(&self, at: &At) -> Option<Reg> {
        let Binding::Lanes(regs) = &self.bindings[at.index?] else { return None };
        let copy = self.current.expect("vector code").copy;
        Some(regs[copy.min(regs.len() - 1)])
    }

    pub(super) fn vector_store(&mut self, param: Param, at: &At, x: Reg) -> Option<()> {
        let Current { axis, .. } = self.current.expect("vector code");
        let of = self.lanes(self.dtype(param));
        let step = self.at.step(param, at, axis);
        if self.varying_index(at).is_some() {
            return None;
        }
        if step != of.dtype.size() as i64 {
            let place = self.element(param, at)?;
            return self.ops.store_strided(of, place, step, x);
        }
        let place = self.consecutive(param, at)?;
        if self.streamed.contains(&param) && of.tail.is_none() {
            return self.ops.store_past_caches(of, place, x);
        }
        self.ops.store(of, place, x)
    }
}
