//! Vector loops.
//!
//! One machine iteration does one vector or several, interleaved statement by statement:
//! as many as make up the loop's lanes if it carries reductions (element `t` must go to
//! partial result `t mod lanes`). What is left over at the end is done with masks: lanes
//! outside are not read, not stored and not added, so there is no scalar code, and element
//! `t` is in lane `t mod lanes` all the same.

use std::ops::Range;

use backstitch_ir::DType;
use backstitch_ir::nest::{At, For, Param, ScalarOp, Stmt, Var};
use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::code::{Alu, Cond, Encoding, Width};
use super::inst::{Class, Inst, Place, Reg, Role, Source, Value, Vector};
use super::lower::{Binding, Current, Lowering, Span};
use super::ops::{Arg, Hoist, Mask, blank, store_inst, unary_inst};
use super::places::Int;
use super::strided::Pieces;
use super::table as t;
use super::zeros::Definitions;
use crate::nest::{result, uses};
use crate::vector_loop::split;

/// Statements of a loop body that is written out instead of repeated.
const WRITTEN_OUT: usize = 48;

/// Bodies of so many statements or fewer do four vectors in an iteration, and twice as
/// many two.
const LIGHT: usize = 8;

/// A vector loop in two halves.
struct Body<'b> {
    l: &'b For,
    /// What runs in every iteration.
    stmts: Vec<&'b Stmt>,
    /// Elements in a vector.
    lanes: usize,
    /// Vectors in an iteration.
    copies: usize,
    /// The partial results of each reduction, one for each vector.
    partials: Vec<Vec<Reg>>,
}

impl Body<'_> {
    fn step(&self) -> usize {
        self.lanes * self.copies
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
        let (lanes, copies) = self.shape(l, partial, &stmts)?;
        let mut body = Body { l, stmts, lanes, copies, partials: Vec::new() };
        for a in &l.accs {
            let dtype = self.nest.vars[a.result];
            let partials = self.partials(dtype, a.op.identity(dtype), copies);
            body.partials.push(partials);
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
        for (a, partials) in l.accs.iter().zip(&body.partials) {
            let x = self.ops.finish(a.op, self.nest.vars[a.result], lanes, partials)?;
            self.bind(a.result, x)?;
        }
        Some(())
    }

    /// Elements in a vector and vectors in an iteration.
    pub(super) fn shape(&self, l: &For, partial: usize, stmts: &[&Stmt]) -> Option<(usize, usize)> {
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
        let copies = if l.accs.is_empty() {
            match stmts.len() {
                _ if self.rows.is_some() => 1,
                0..=LIGHT => 4,
                _ if stmts.len() <= 2 * LIGHT => 2,
                _ => 1,
            }
        } else {
            lanes = lanes.min(partial);
            partial / lanes
        };
        if lanes * least < 16 || copies > 8 {
            return None;
        }
        Some((lanes, copies))
    }

    /// Counters that are only made into numbers of 32 bits, which they fit.
    fn narrow_counters(&self, l: &For, stmts: &[&Stmt]) -> FxHashSet<Var> {
        let mut out: FxHashSet<Var> = FxHashSet::default();
        if self.ops.encoding == Encoding::Vex || i32::try_from(self.nest.axes[l.axis]).is_err() {
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
        l.accs.iter().for_each(|a| _ = out.remove(&a.value));
        out
    }

    fn known_count(&mut self, body: &Body, span: Span, count: usize) -> Option<()> {
        let (step, lanes) = (body.step(), body.lanes);
        let (whole, rest) = (count / step, count % step);
        let end = span.lo.plus((whole * step) as i64);
        let held = body.stmts.iter().any(|s| self.held.contains_key(&std::ptr::from_ref(*s)));
        if held || whole <= 1 || whole * body.copies * body.stmts.len() <= WRITTEN_OUT {
            for k in 0..whole {
                let number = k * body.copies;
                let at = span.lo.plus((k * step) as i64);
                self.vectors(body, at, 0..body.copies, number, None, Some(lanes))?;
            }
        } else {
            self.counted(span.lo, end, step as i64, true, |this, i| {
                this.vectors(body, i, 0..body.copies, 0, None, Some(body.lanes))
            })?;
        }
        let (full, last) = (rest / lanes, rest % lanes);
        let number = whole * body.copies;
        if full > 0 {
            self.vectors(body, end, 0..full, number, None, Some(lanes))?;
        }
        if last > 0 {
            let mask = self.ops.mask_constant((1 << last) - 1);
            let at = end.plus((full * lanes) as i64);
            self.vectors(body, at, full..full + 1, number + full, Some(mask), Some(last))?;
        }
        Some(())
    }

    fn unknown_count(&mut self, body: &Body, span: Span) -> Option<()> {
        let (step, lanes) = (body.step() as i64, body.lanes as i64);
        let hi = Int::of(span.hi.read(&mut self.ops.program));
        let i = self.counted(span.lo, hi, step, false, |this, i| {
            this.vectors(body, i, 0..body.copies, 0, None, Some(body.lanes))
        })?;
        let hi = hi.base.expect("just made");
        let done = self.ops.program.label();
        let ones = Int::known((1 << lanes) - 1).copy(&mut self.ops.program);
        let rest = |this: &mut Self, skipped: i64| {
            let left = Int::of(hi).copy(&mut this.ops.program);
            this.ops.push(Inst::Alu { op: Alu::Sub, to: left, from: Value::Reg(i) });
            this.ops.push(Inst::Alu { op: Alu::Sub, to: left, from: Value::Known(skipped) });
            let compare = Inst::Alu { op: Alu::Cmp, to: left, from: Value::Known(0) };
            this.ops.push(compare);
            left
        };
        let mask = |this: &mut Self, left: Reg| {
            let bits = this.ops.program.reg(Class::General);
            this.ops.push(Inst::LowBits { to: bits, from: ones, count: left });
            let mask = this.ops.program.reg(Class::Mask);
            this.ops.push(unary_inst(&t::KLOAD_R, Width::X128, mask, Source::Reg(bits)));
            mask
        };
        if body.partials.is_empty() && body.copies > 1 {
            // One vector after the other, until nothing is left.
            let left = rest(self, 0);
            self.ops.push(Inst::JumpIf(Cond::LessOrEqual, done));
            let head = self.ops.program.label();
            self.ops.push(Inst::LoopStart(head));
            let k = mask(self, left);
            self.vectors(body, Int::of(i), 0..1, 0, Some(k), None)?;
            self.ops.push(Inst::Alu { op: Alu::Add, to: i, from: Value::Known(lanes) });
            self.ops.push(Inst::Alu { op: Alu::Sub, to: left, from: Value::Known(lanes) });
            self.ops.push(Inst::Alu { op: Alu::Cmp, to: left, from: Value::Known(0) });
            self.ops.push(Inst::JumpIf(Cond::Greater, head));
            self.ops.push(Inst::LoopEnd);
        } else {
            for copy in 0..body.copies {
                let skipped = copy as i64 * lanes;
                let left = rest(self, skipped);
                self.ops.push(Inst::JumpIf(Cond::LessOrEqual, done));
                let k = mask(self, left);
                self.vectors(body, Int::of(i).plus(skipped), copy..copy + 1, 0, Some(k), None)?;
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
        mask: Mask,
        rows: Option<usize>,
    ) -> Option<()> {
        let axis = body.l.axis;
        self.pieces.forget();
        self.definitions.forget();
        self.at.enter(axis, at);
        let Some(rows_axis) = self.rows.as_ref().map(|rows| rows.axis) else {
            self.statements(body, which.len(), number, mask, rows)?;
            return self.sums(body, which, number, mask, rows);
        };
        for row in 0..self.rows.as_ref().map_or(0, |rows| rows.tables.len()) {
            let tables = self.rows.as_mut().map(|rows| &mut rows.tables);
            let table = tables.map(|tables| std::mem::take(&mut tables[row])).expect("a row");
            let around = std::mem::replace(&mut self.bindings, table);
            self.row = row;
            self.definitions.forget();
            self.at.shift(rows_axis, row as i64);
            self.statements(body, which.len(), number, mask, rows)?;
            self.at.shift(rows_axis, -(row as i64));
            let table = std::mem::replace(&mut self.bindings, around);
            if let Some(rows) = &mut self.rows {
                rows.tables[row] = table;
            }
        }
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
        mask: Mask,
        rows: Option<usize>,
    ) -> Option<()> {
        let (axis, lanes) = (body.l.axis, body.lanes);
        for s in &body.stmts {
            let mut regs: SmallVec<[Reg; 4]> = SmallVec::new();
            for copy in 0..copies {
                self.current =
                    Some(Current { axis, lanes, copy, number: number + copy, mask, rows });
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
        mask: Mask,
        rows: Option<usize>,
    ) -> Option<()> {
        let (axis, lanes, copies) = (body.l.axis, body.lanes, which.len());
        for (a, partials) in body.l.accs.iter().zip(&body.partials) {
            for copy in 0..copies {
                self.current =
                    Some(Current { axis, lanes, copy, number: number + copy, mask, rows });
                let x = self.value(a.value);
                let dtype = self.nest.vars[a.result];
                self.ops.combine_into(partials[which.start + copy], a.op, dtype, lanes, x, mask)?;
            }
        }
        self.current = None;
        self.at.leave(axis);
        Some(())
    }

    /// A statement for one vector; what it defines, but for constants.
    fn vector_stmt(&mut self, s: &Stmt) -> Option<Option<Reg>> {
        let Current { lanes, mask, .. } = self.current.expect("vector code");
        Some(match s {
            Stmt::Let { var, op: ScalarOp::Const(c), .. } => {
                self.bindings[*var] = Binding::Const(*c);
                None
            }
            Stmt::Let { var, op, args } => Some(self.operation(*var, *op, args, lanes)?),
            Stmt::Index { var, .. } => Some(self.vector_index(*var)?),
            Stmt::Load { param, at, .. } => match self.load_of_piece(s)? {
                Some(x) => Some(x),
                None => Some(self.vector_load(*param, at)?),
            },
            Stmt::Store { param, at, value } => {
                let x = self.value(*value);
                if !self.store_of_piece(s, x)? {
                    self.vector_store(*param, at, x)?;
                }
                None
            }
            Stmt::Accumulate { param, at, op, value } => {
                let x = self.value(*value);
                if let Some(regs) = self.held.get(&std::ptr::from_ref(s)) {
                    let number = self.current.expect("vector code").number;
                    let sum = regs[number];
                    // Lanes that are not there are never stored.
                    self.ops.combine_into(sum, *op, self.dtype(*param), lanes, x, None)?;
                    return Some(None);
                }
                let old = self.vector_load(*param, at)?;
                self.ops.combine_into(old, *op, self.dtype(*param), lanes, x, mask)?;
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
        let narrow = self.narrow.contains(&var);
        let (width, row, first, steps): (_, _, _, Vec<u8>) = if narrow {
            let width = Width::of(4 * lanes);
            let first = self.ops.unary(&t::REPEATD_R, width, Source::Reg(first))?;
            (width, &t::PADDD, first, steps.flat_map(|i| (i as i32).to_le_bytes()).collect())
        } else {
            let width = Width::of(8 * lanes);
            let first = self.ops.repeat_word(first, width)?;
            (width, &t::PADDQ, first, steps.flat_map(i64::to_le_bytes).collect())
        };
        let steps = self.ops.lanes_constant(&steps);
        self.ops.binary(row, width, Arg::Reg(first), Arg::Reg(steps))
    }

    // ---- Memory ----

    /// The place of the first lane, if the lanes' elements are consecutive.
    fn consecutive(&mut self, param: Param, at: &At) -> Option<Place> {
        let axis = self.current.expect("vector code").axis;
        let place = self.at.place(&mut self.ops.program, param, at, Some(axis))?;
        match at.index {
            None => Some(place),
            Some(index) => self.indexed(place, index, self.dtype(param).size()),
        }
    }

    pub(super) fn vector_load(&mut self, param: Param, at: &At) -> Option<Reg> {
        let Current { axis, lanes, mask, .. } = self.current.expect("vector code");
        let dtype = self.dtype(param);
        let step = self.at.step(param, at, axis);
        let varies = at.index.is_some_and(|v| matches!(self.bindings[v], Binding::Lanes(_)));
        if varies || step != dtype.size() as i64 {
            return self.gather(param, at, step, varies);
        }
        let place = self.consecutive(param, at)?;
        let width = Width::of(lanes * dtype.size().max(4));
        let masked = mask.map(|k| (k, true));
        let (row, width, class) = match dtype {
            DType::Bool if mask.is_some() => (&t::LOADB, Width::X128, Class::Vector),
            DType::Bool if lanes == 16 => (&t::LOADPS, Width::X128, Class::Vector),
            DType::Bool if lanes == 8 => (&t::LOADQ, Width::X128, Class::Vector),
            DType::Bool => return None,
            DType::F32 | DType::I32 => (&t::LOADPS, width, Class::Vector),
            DType::F64 | DType::I64 => (&t::LOADPD, width, Class::Vector),
        };
        let def = self.ops.program.reg(class);
        self.ops.push(Inst::Vector(Vector {
            width,
            reg: Some((def, Role::Def)),
            source: Source::Place(place),
            mask: masked,
            ..blank(row)
        }));
        if dtype != DType::Bool {
            return Some(def);
        }
        let mask = self.ops.program.reg(Class::Mask);
        self.ops.push(Inst::Vector(Vector {
            reg: Some((mask, Role::Def)),
            second: Some(def),
            source: Source::Reg(def),
            ..blank(&t::PTESTMB)
        }));
        Some(mask)
    }

    pub(super) fn vector_store(&mut self, param: Param, at: &At, x: Reg) -> Option<()> {
        let Current { axis, lanes, mask, .. } = self.current.expect("vector code");
        let dtype = self.dtype(param);
        let step = self.at.step(param, at, axis);
        let varies = at.index.is_some_and(|v| matches!(self.bindings[v], Binding::Lanes(_)));
        if varies {
            return None;
        }
        if step != dtype.size() as i64 {
            return self.scatter(param, at, step, x);
        }
        let place = self.consecutive(param, at)?;
        let width = Width::of(lanes * dtype.size().max(4));
        let inst = match dtype {
            DType::Bool => {
                let ones = self.ops.unary(&t::MASK_TO_BYTES, Width::X128, Source::Reg(x))?;
                let bytes = self.ops.unary(&t::PABSB, Width::X128, Source::Reg(ones))?;
                let row = match (mask, lanes) {
                    (Some(_), _) => &t::STOREB,
                    (None, 16) => &t::STOREPS,
                    (None, 8) => &t::STOREQ,
                    _ => return None,
                };
                store_inst(row, Width::X128, bytes, place, mask)
            }
            DType::F32 | DType::I32 => store_inst(&t::STOREPS, width, x, place, mask),
            DType::F64 | DType::I64 => store_inst(&t::STOREPD, width, x, place, mask),
        };
        self.ops.push(inst);
        Some(())
    }

    /// A mask that an instruction may use up.
    fn spent(&mut self, lanes: usize, mask: Mask) -> Reg {
        let from = match mask {
            Some(mask) => mask,
            None => self.ops.mask_constant(((1u32 << lanes) - 1) as u16),
        };
        self.ops.variable(from)
    }

    /// Offsets of the lanes' elements in bytes, as 32-bit integers.
    fn offsets(&mut self, lanes: usize, step: i64) -> Option<Reg> {
        let step = i32::try_from(step).ok()?;
        step.checked_mul(lanes as i32)?;
        let bytes: Vec<u8> = (0..lanes as i32).flat_map(|i| (i * step).to_le_bytes()).collect();
        Some(self.ops.lanes_constant(&bytes))
    }

    fn gather(&mut self, param: Param, at: &At, step: i64, varies: bool) -> Option<Reg> {
        let Current { lanes, mask, .. } = self.current.expect("vector code");
        let dtype = self.dtype(param);
        if dtype == DType::Bool || self.ops.encoding == Encoding::Vex {
            return None;
        }
        let wide = dtype.size() == 8;
        let place = self.at.place(&mut self.ops.program, param, at, None)?;
        let (row, place, width) = if varies {
            let Some(Binding::Lanes(regs)) = at.index.map(|v| &self.bindings[v]) else {
                unreachable!("a computed index")
            };
            let mut index = regs[self.current.expect("vector code").copy.min(regs.len() - 1)];
            if step != 0 {
                let stride = step / dtype.size() as i64;
                let steps: Vec<u8> =
                    (0..lanes as i64).flat_map(|i| (i * stride).to_le_bytes()).collect();
                let steps = self.ops.lanes_constant(&steps);
                let def = self.ops.program.reg(Class::Vector);
                self.ops.push(Inst::Vector(Vector {
                    width: Width::of(8 * lanes),
                    reg: Some((def, Role::Def)),
                    second: Some(index),
                    source: Source::Reg(steps),
                    ..blank(&t::PADDQ)
                }));
                index = def;
            }
            let row = if wide { &t::GATHER_PD_Q } else { &t::GATHER_PS_Q };
            let scale = dtype.size().trailing_zeros() as u8;
            (row, Place { index: Some((index, scale)), ..place }, Width::of(8 * lanes))
        } else {
            let place = match at.index {
                None => place,
                Some(index) => {
                    let place = self.indexed(place, index, dtype.size())?;
                    self.flat(place)
                }
            };
            let index = self.offsets(lanes, step)?;
            let row = if wide { &t::GATHER_PD_D } else { &t::GATHER_PS_D };
            (row, Place { index: Some((index, 0)), ..place }, Width::of(lanes * dtype.size()))
        };
        let mask = self.spent(lanes, mask);
        let def = self.ops.program.reg(Class::Vector);
        // Clears what it would otherwise wait for.
        self.ops.push(Inst::Vector(Vector {
            width: Width::X128,
            reg: Some((def, Role::Def)),
            second: Some(def),
            source: Source::Reg(def),
            ..blank(&t::XORD)
        }));
        self.ops.push(Inst::Vector(Vector {
            width,
            reg: Some((def, Role::Change)),
            source: Source::Place(place),
            mask: Some((mask, false)),
            gathers: true,
            ..blank(row)
        }));
        Some(def)
    }

    /// The same place with one register.
    fn flat(&mut self, place: Place) -> Place {
        if place.index.is_none() {
            return place;
        }
        let to = self.ops.program.reg(Class::General);
        self.ops.push(Inst::Address { to, place: Place { disp: 0, ..place } });
        Place { base: to, index: None, disp: place.disp }
    }

    fn scatter(&mut self, param: Param, at: &At, step: i64, x: Reg) -> Option<()> {
        let Current { lanes, mask, rows, .. } = self.current.expect("vector code");
        let dtype = self.dtype(param);
        if dtype == DType::Bool || step == 0 || self.ops.encoding == Encoding::Vex {
            return None;
        }
        let place = self.element(param, at)?;
        if let Some(rows) = rows {
            return self.store_lanes(place, step, rows, dtype.size(), x);
        }
        let place = self.flat(place);
        let index = self.offsets(lanes, step)?;
        let row = if dtype.size() == 8 { &t::SCATTER_PD_D } else { &t::SCATTER_PS_D };
        let mask = self.spent(lanes, mask);
        self.ops.push(Inst::Vector(Vector {
            width: Width::of(lanes * dtype.size()),
            reg: Some((x, Role::Use)),
            source: Source::Place(Place { index: Some((index, 0)), ..place }),
            mask: Some((mask, false)),
            gathers: true,
            ..blank(row)
        }));
        Some(())
    }
}
