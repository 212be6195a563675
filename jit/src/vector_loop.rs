//! Vector loops.
//!
//! One machine iteration does several *groups* of four elements: as many as
//! make up the loop's lanes if it carries reductions (element `t` must go to
//! partial result `t mod lanes`), otherwise one, or two if the body is light.
//! What is left over is done one element at a time, or, where the number of
//! iterations is known, by straight-line groups and then single elements.
//!
//! Statements whose value is the same in all iterations run once, before the
//! loop, as scalars; what the loop needs of them is put in all lanes there.
//! Constants are made where they are used: keeping them costs registers, and
//! making one is a load.

use backstitch_ir::nest::{Axis, For, Param, Stmt, Term, Var};
use backstitch_ir::{DType, threshold};
use cranelift_codegen::ir::{InstBuilder, StackSlot, Type, Value};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::address::Int;
use crate::asm::Addr;
use crate::nest::{KEPT, NestEmitter, Span, last_uses, result};
use crate::partial::{Partial, Values};
use crate::strided::Pieces;
use crate::vector::{self, GROUP};

/// Bodies of so many statements or fewer do two groups per iteration.
const LIGHT: usize = 16;

/// At most so many statements are repeated for single elements at the end.
const REPEAT: usize = threshold(96, 4);

/// A vector loop in two halves.
struct Body<'b> {
    axis: Axis,
    /// What runs in every iteration.
    stmts: Vec<&'b Stmt>,
    /// Where in the frame those values are kept that are used much later.
    homes: FxHashMap<Var, StackSlot>,
    /// What each reduction takes.
    terms: SmallVec<[Term; 4]>,
    /// The reductions.
    partials: SmallVec<[Partial; 4]>,
}

impl Body<'_> {
    /// The partials of each reduction, in a common list.
    fn each(&self) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
        let mut start = 0;
        self.partials.iter().enumerate().map(move |(i, p)| {
            let range = start..start + p.count();
            start = range.end;
            (i, range)
        })
    }
}

impl NestEmitter<'_, '_> {
    /// Writes a vector loop.
    pub(crate) fn vector(&mut self, l: &For, lanes: usize, span: Span) {
        if span.count == Some(0) {
            let results = self.identities(l);
            return self.bind_results(l, &results);
        }
        self.at.prepare(self.asm, &l.body);
        let exit = span.count.is_none().then(|| {
            let types = self.acc_types(l);
            let (enter, exit) = (self.asm.block(&[]), self.asm.block(&types));
            let (lo, hi) = (span.lo.value(self.asm), span.hi.value(self.asm));
            let some = self.asm.less(lo, hi);
            let none = self.identities(l);
            self.asm.branch(some, (enter, &[]), (exit, &none));
            self.asm.place(enter);
            exit
        });
        let (uniform, stmts) = split(l);
        self.each_row(|this| {
            for s in &uniform {
                this.stmt(s);
            }
        });
        self.pieces = Pieces::of(self.nest, l.axis, &stmts, self.rows);
        let body = Body {
            axis: l.axis,
            homes: self.homes(&stmts),
            stmts,
            terms: l.accs.iter().map(|a| a.term).collect(),
            partials: l
                .accs
                .iter()
                .map(|a| Partial { op: a.term.op(), dtype: self.nest.vars[a.result], lanes })
                .collect(),
        };
        let mut splats = Vec::new();
        self.each_row(|this| splats = this.splat_uniform(&body));
        let values = self.vector_body(&body, lanes, span);
        for var in splats {
            let b = &mut self.bindings[var];
            (b.lanes, b.mask) = (None, None);
        }
        let mut results: Values = body
            .each()
            .map(|(i, range)| body.partials[i].finish(self.asm, &values[range]))
            .collect();
        if let Some(exit) = exit {
            self.asm.jump(exit, &results);
            self.asm.place(exit);
            results = self.asm.params(exit);
        }
        self.bind_results(l, &results);
    }

    /// Room in the frame for what a long body uses long after it is made.
    fn homes(&mut self, stmts: &[&Stmt]) -> FxHashMap<Var, StackSlot> {
        let mut homes = FxHashMap::default();
        if stmts.len() > 2 * KEPT {
            let last = last_uses(stmts.iter().copied());
            for (now, s) in stmts.iter().enumerate() {
                if let Some(var) = result(s)
                    && last.get(&var).is_some_and(|&u| u > now + KEPT)
                {
                    homes.insert(var, self.asm.slot(32));
                }
            }
        }
        homes
    }

    /// Puts into all lanes what every iteration takes from outside.
    fn splat_uniform(&mut self, body: &Body) -> Vec<Var> {
        let mut done = Vec::new();
        let mut used: SmallVec<[Var; 3]> = SmallVec::new();
        let mut defined = FxHashSet::default();
        for s in &body.stmts {
            used.clear();
            match s {
                Stmt::Let { args, .. } | Stmt::Call { args, .. } => used.extend_from_slice(args),
                Stmt::Store { value, .. } => used.push(*value),
                Stmt::Accumulate { term, .. } => used.extend_from_slice(term.values()),
                Stmt::Index { .. } | Stmt::Load { .. } | Stmt::For(_) => {}
            }
            defined.extend(result(s));
            self.splat_all(&used, &defined, &mut done);
        }
        for term in &body.terms {
            self.splat_all(term.values(), &defined, &mut done);
        }
        done
    }

    fn splat_all(&mut self, used: &[Var], defined: &FxHashSet<Var>, done: &mut Vec<Var>) {
        for &var in used {
            let b = self.bindings[var];
            if defined.contains(&var) || b.constant.is_some() || b.lanes.is_some() {
                continue;
            }
            let (dtype, x) = (self.nest.vars[var], self.scalar(var));
            let lanes = vector::splat(self.asm, dtype, false, x);
            self.bindings[var].lanes = Some(lanes);
            if dtype == DType::Bool {
                self.bindings[var].mask = Some(vector::splat(self.asm, dtype, true, x));
            }
            done.push(var);
        }
    }

    /// All iterations; the partial results.
    fn vector_body(&mut self, body: &Body, lanes: usize, span: Span) -> Values {
        let stmts = body.stmts.len() * self.rows.map_or(1, |rows| rows.count);
        let step = match (body.partials.is_empty(), stmts <= LIGHT) {
            (true, true) => 2 * GROUP,
            (true, false) => GROUP,
            (false, _) => lanes.max(GROUP),
        };
        let mut values: Values = SmallVec::new();
        for p in &body.partials {
            values.extend(p.start(self.asm));
        }
        match span.count {
            Some(count) => self.known_count(body, span, count, step, values),
            None => self.unknown_count(body, span, step, values),
        }
    }

    fn known_count(
        &mut self,
        body: &Body,
        span: Span,
        count: usize,
        step: usize,
        mut values: Values,
    ) -> Values {
        let whole = count - count % step;
        let end = span.lo.plus(whole as i64);
        match count / step {
            0 => {}
            1 => values = self.groups(body, span.lo, step / GROUP, &values),
            _ => values = self.group_loop(body, Span { hi: end, ..span }, step, true, &values),
        }
        let (groups, singles) = ((count - whole) / GROUP, count % GROUP);
        if groups > 0 {
            values = self.groups(body, end, groups, &values);
        }
        let done = groups * GROUP;
        let from = end.plus(done as i64);
        let rows = self.rows.map_or(1, |rows| rows.count);
        if singles * rows * body.stmts.len() > REPEAT {
            return self.singles(body, Span { lo: from, ..span }, span.lo, true, values);
        }
        for i in 0..singles {
            self.single(body, from.plus(i as i64));
            for (k, range) in body.each() {
                let x = body.terms[k].map(|v| self.scalar(v));
                body.partials[k].add(self.asm, &mut values[range], done + i, x);
            }
        }
        values
    }

    fn unknown_count(
        &mut self,
        body: &Body,
        span: Span,
        step: usize,
        mut values: Values,
    ) -> Values {
        let (lo, hi) = (span.lo.value(self.asm), span.hi.value(self.asm));
        let count = self.asm.ins().isub(hi, lo);
        let mut from = Int::of(lo);
        let mut by = step;
        loop {
            let multiple = self.asm.int(-(by as i64));
            let whole = self.asm.ins().band(count, multiple);
            let end = Int::of(self.asm.ins().iadd(lo, whole));
            values =
                self.group_loop(body, Span { lo: from, hi: end, count: None }, by, false, &values);
            from = end;
            if by == GROUP || !body.partials.is_empty() {
                break;
            }
            by = GROUP;
        }
        self.singles(body, Span { lo: from, ..span }, Int::of(lo), false, values)
    }

    /// A loop over whole steps.
    fn group_loop(
        &mut self,
        body: &Body,
        span: Span,
        step: usize,
        enters: bool,
        values: &[Value],
    ) -> Values {
        let types: SmallVec<[Type; 8]> =
            values.iter().map(|&v| self.asm.func().dfg.value_type(v)).collect();
        let exit = self.asm.block(&types);
        self.counted(span, step as i64, enters, values, exit, |this, i, values| {
            this.groups(body, i, step / GROUP, values)
        });
        self.asm.place(exit);
        self.asm.params(exit)
    }

    /// Consecutive groups from `at`, the first of which belongs to lane 0.
    fn groups(&mut self, body: &Body, at: Int, count: usize, values: &[Value]) -> Values {
        let mut values = Values::from_slice(values);
        self.fresh = self.asm.values();
        self.at.enter(body.axis, at);
        for group in 0..count {
            self.pieces.forget();
            self.each_row(|this| {
                for (now, s) in body.stmts.iter().enumerate() {
                    this.now = now;
                    this.group_stmt(body.axis, s);
                    if let Some(var) = result(s)
                        && let Some(&slot) = body.homes.get(&var)
                    {
                        this.keep_lanes(var, slot);
                    }
                }
            });
            for (k, range) in body.each() {
                let x = body.terms[k].map(|v| self.lanes(v));
                body.partials[k].add_group(self.asm, &mut values[range], group, x);
            }
            self.at.shift(body.axis, GROUP as i64);
        }
        self.at.leave(body.axis);
        values
    }

    /// One iteration on its own.
    fn single(&mut self, body: &Body, at: Int) {
        self.at.enter(body.axis, at);
        self.each_row(|this| {
            for s in &body.stmts {
                this.stmt(s);
            }
        });
        self.at.leave(body.axis);
    }

    /// A loop over single iterations; `first` is where lane 0 was.
    fn singles(
        &mut self,
        body: &Body,
        span: Span,
        first: Int,
        enters: bool,
        values: Values,
    ) -> Values {
        if body.partials.is_empty() {
            let exit = self.asm.block(&[]);
            self.counted(span, 1, enters, &[], exit, |this, i, _| {
                this.single(body, i);
                SmallVec::new()
            });
            self.asm.place(exit);
            return values;
        }
        let types: SmallVec<[Type; 8]> =
            values.iter().map(|&v| self.asm.func().dfg.value_type(v)).collect();
        let exit = self.asm.block(&types);
        if !enters {
            let work = self.asm.block(&[]);
            let (lo, hi) = (span.lo.value(self.asm), span.hi.value(self.asm));
            let some = self.asm.less(lo, hi);
            self.asm.branch(some, (work, &[]), (exit, &values));
            self.asm.place(work);
        }
        let saved: SmallVec<[Addr; 4]> =
            body.each().map(|(k, range)| body.partials[k].save(self.asm, &values[range])).collect();
        let done = self.asm.block(&[]);
        let first = first.value(self.asm);
        self.counted(span, 1, true, &[], done, |this, i, _| {
            this.single(body, i);
            let i = i.value(this.asm);
            let t = this.asm.ins().isub(i, first);
            for (k, p) in body.partials.iter().enumerate() {
                let last = this.asm.int(p.lanes as i64 - 1);
                let lane = this.asm.ins().band(t, last);
                let x = body.terms[k].map(|v| this.scalar(v));
                p.add_saved(this.asm, saved[k], lane, x);
            }
            SmallVec::new()
        });
        self.asm.place(done);
        let mut restored = Values::new();
        for (p, &at) in body.partials.iter().zip(&saved) {
            restored.extend(p.restore(self.asm, at));
        }
        self.asm.jump(exit, &restored);
        self.asm.place(exit);
        self.asm.params(exit)
    }
}

/// What is the same in all iterations of a vector loop, and the rest.
pub(crate) fn split(l: &For) -> (Vec<&Stmt>, Vec<&Stmt>) {
    let written: FxHashSet<Param> = l
        .body
        .iter()
        .filter_map(|s| match s {
            Stmt::Store { param, .. } | Stmt::Accumulate { param, .. } => Some(*param),
            _ => None,
        })
        .collect();
    let mut varying: FxHashSet<Var> = FxHashSet::default();
    l.body.iter().partition(|s| {
        let varies = match s {
            Stmt::Let { args, .. } | Stmt::Call { args, .. } => {
                args.iter().any(|a| varying.contains(a))
            }
            Stmt::Index { axis, .. } => *axis == l.axis,
            Stmt::Load { param, at, .. } => {
                at.stride(l.axis) != 0
                    || at.index.is_some_and(|v| varying.contains(&v))
                    || written.contains(param)
            }
            Stmt::Store { .. } | Stmt::Accumulate { .. } | Stmt::For(_) => true,
        };
        if varies {
            varying.extend(result(s));
        }
        !varies
    })
}
