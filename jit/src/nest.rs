//! A nest as instructions: statements, and loops in order.
//!
//! Vector loops are in [`vector_loop`](crate::vector_loop).

use backstitch_ir::index::{Idx, IndexVec};
use backstitch_ir::nest::{
    Acc, Access, At, Cmp, Const, For, Mode, Nest, Param, Range, ScalarOp, Stmt, Var,
};
use backstitch_ir::{DType, threshold};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, FuncRef, InstBuilder, StackSlot, Type, Value};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::address::{Addresses, Int};
use crate::asm::{Addr, Asm, Memory, WORD};
use crate::forward::Forward;
use crate::guards::Guards;
use crate::jam;
use crate::scalar::{self, clif_type};
use crate::strided::{Pieces, Rows};
use crate::vector::Lanes;

/// What is known of a variable.
#[derive(Clone, Copy, Default)]
pub(crate) struct Binding {
    /// It is this constant.
    pub constant: Option<Const>,
    /// Its value, where it has one in all lanes.
    pub scalar: Option<Value>,
    /// Its values in the current group; a narrow mask for `bool`.
    pub lanes: Option<Lanes>,
    /// The wide mask.
    pub mask: Option<Lanes>,
    /// It is this comparison of floats.
    pub cmp: Option<(Cmp, Var, Var)>,
    /// How many values there were when a constant was last put in `lanes`.
    pub made: usize,
    /// Where in the frame it is kept, if it is needed much later.
    pub home: Option<StackSlot>,
    /// The statement for which it was last put in a register.
    pub seen: usize,
}

/// How many statements later a value is taken from the frame, in long
/// straight-line code. Reverse sweeps use values in the opposite order of their
/// making; with hundreds of them in registers, allocation takes quadratic time
/// and spills all the same.
pub(crate) const KEPT: usize = threshold(48, 4);

/// Where a loop runs.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub lo: Int,
    pub hi: Int,
    /// Number of iterations, if it is known.
    pub count: Option<usize>,
}

/// A nest being written into a function.
pub(crate) struct NestEmitter<'a, 'f> {
    pub asm: &'a mut Asm<'f>,
    pub nest: &'a Nest,
    pub at: Addresses,
    pub bindings: IndexVec<Var, Binding>,
    /// The part of the outermost parallel loop to run, if not all of it.
    part: Option<(Value, Value)>,
    /// How many values there were when the current vector code began.
    pub fresh: usize,
    /// What straight-line code around the nest knows of memory.
    forward: Option<&'a mut Forward>,
    /// The functions that it calls.
    callees: SmallVec<[FuncRef; 4]>,
    /// The statement being written, in straight-line code.
    pub now: usize,
    /// Whether loops are written out.
    straight: bool,
    /// Truth values that can be masks.
    pub guards: Guards,
    /// Strided accesses of the vector loop being written.
    pub pieces: Pieces,
    /// The rows that it does at a time, if that is more than one.
    pub rows: Option<Rows>,
    /// For which of these rows statements are being written.
    pub copy: usize,
    /// Variables of the other rows.
    pub tables: Vec<IndexVec<Var, Binding>>,
    /// What rows before have been combined into an element, by statement.
    pub sums: FxHashMap<usize, Lanes>,
}

/// The parallel loop that the nest is, aside from what each part of it can do again:
/// constants, and elements of arrays that are only read. Parts can be run apart.
pub(crate) fn parallel(nest: &Nest) -> Option<&For> {
    let (last, before) = nest.body.split_last()?;
    let again = |s: &Stmt| match s {
        Stmt::Let { .. } => true,
        Stmt::Load { param, .. } => nest.params[*param].access == Access::In,
        _ => false,
    };
    match last {
        Stmt::For(l) if l.mode == Mode::Parallel && l.range == Range::Whole => {
            before.iter().all(again).then_some(l)
        }
        _ => None,
    }
}

impl<'a, 'f> NestEmitter<'a, 'f> {
    /// For a nest whose parameters are at these places, and whose functions are these.
    pub fn new(
        asm: &'a mut Asm<'f>,
        nest: &'a Nest,
        params: Vec<Addr>,
        callees: SmallVec<[FuncRef; 4]>,
    ) -> Self {
        Self {
            callees,
            asm,
            nest,
            at: Addresses::new(nest, params.into_iter().map(|p| (p.base, p.disp)).collect()),
            bindings: IndexVec::filled(Binding::default(), nest.vars.len()),
            part: None,
            fresh: 0,
            forward: None,
            now: 0,
            straight: false,
            guards: Guards::default(),
            pieces: Pieces::default(),
            rows: None,
            copy: 0,
            tables: Vec::new(),
            sums: FxHashMap::default(),
        }
    }

    /// Runs the outermost parallel loop over this part alone.
    pub fn part(mut self, lo: Value, hi: Value) -> Self {
        self.part = Some((lo, hi));
        self
    }

    /// Uses and updates what is known of memory; there will be no loops: those of the
    /// nest are written out.
    pub fn forward(mut self, forward: &'a mut Forward) -> Self {
        self.forward = Some(forward);
        self.straight = true;
        self
    }

    /// Writes the whole nest.
    pub fn emit(mut self) {
        let nest = self.nest;
        if !has_loops(nest) {
            self.guards = Guards::of(nest);
        }
        if has_loops(nest) || nest.body.len() <= 2 * KEPT {
            return self.block(&nest.body);
        }
        let last = last_uses(nest.body.iter());
        for (now, s) in nest.body.iter().enumerate() {
            self.now = now;
            self.stmt(s);
            let Some(var) = result(s) else { continue };
            if self.bindings[var].scalar.is_some()
                && last.get(&var).is_some_and(|&u| u > now + KEPT)
            {
                self.keep(var);
            }
        }
    }

    /// Stores a variable in the frame, for uses that are far away.
    fn keep(&mut self, var: Var) {
        let slot = self.asm.slot(8);
        let at = self.asm.slot_address(slot);
        let value = self.scalar(var);
        self.asm.store(value, at);
        self.bindings[var].home = Some(slot);
    }

    /// Writes statements for one iteration.
    pub fn block(&mut self, body: &[Stmt]) {
        for s in body {
            self.stmt(s);
        }
    }

    /// Writes a statement for one iteration.
    pub fn stmt(&mut self, s: &Stmt) {
        match s {
            Stmt::Let { var, op: ScalarOp::Const(c), .. } => self.bind_constant(*var, *c),
            Stmt::Let { var, .. } if self.guards.only(*var) => {}
            Stmt::Let { var, op, args } => {
                if let Some(value) = self.guarded(*var, *op, args) {
                    return self.bind(*var, value);
                }
                let from = args.first().map_or(self.nest.vars[*var], |&a| self.nest.vars[a]);
                let values: SmallVec<[Value; 3]> = args.iter().map(|&a| self.scalar(a)).collect();
                let value = scalar::apply(self.asm, *op, from, self.nest.vars[*var], &values);
                self.bind(*var, value);
            }
            Stmt::Call { var, func, args } => {
                let values: SmallVec<[Value; 3]> = args.iter().map(|&a| self.scalar(a)).collect();
                let call = self.asm.ins().call(self.callees[func.index()], &values);
                let value = self.asm.func().dfg.first_result(call);
                self.bind(*var, value);
            }
            Stmt::Index { var, axis } => {
                let at = self.at.position(*axis);
                match at.base {
                    None => self.bind_constant(*var, Const::of_int(DType::I64, at.offset)),
                    Some(_) => {
                        let value = at.value(self.asm);
                        self.bind(*var, value);
                    }
                }
            }
            Stmt::Load { var, param, at } => {
                let value = match self.known(*param, at) {
                    Some(value) => value,
                    None => {
                        let addr = self.address(*param, at);
                        let value = self.load(*param, addr);
                        let (now, element) = (self.asm.values(), self.at.element(at));
                        if let Some(forward) = &mut self.forward {
                            forward.loaded(*param, element, value, now);
                        }
                        value
                    }
                };
                self.bind(*var, value);
            }
            Stmt::Store { param, at, value } => {
                let value = self.scalar(*value);
                self.store(*param, at, value);
            }
            Stmt::Accumulate { param, at, term } => {
                let term = term.map(|v| self.scalar(v));
                let old = match self.known(*param, at) {
                    Some(old) => old,
                    None => {
                        let addr = self.address(*param, at);
                        self.load(*param, addr)
                    }
                };
                let new = scalar::take(self.asm, term, self.dtype(*param), old);
                self.store(*param, at, new);
            }
            Stmt::For(l) => self.for_loop(l),
        }
    }

    pub fn for_loop(&mut self, l: &For) {
        let span = self.span(l);
        if self.straight {
            return self.written_out(l, span);
        }
        match l.mode {
            Mode::Vector { lanes } => self.vector(l, lanes, span),
            Mode::Sequential | Mode::Parallel => match jam::worthwhile(self.nest, l) {
                Some(count) if span.count.is_none_or(|n| n >= count) => self.jammed(l, span, count),
                _ => self.sequential(l, span),
            },
        }
    }

    // ---- Variables ----

    pub fn bind(&mut self, var: Var, value: Value) {
        self.bindings[var] = Binding { scalar: Some(value), seen: self.now, ..Binding::default() };
    }

    pub fn bind_constant(&mut self, var: Var, c: Const) {
        self.bindings[var] = Binding { constant: Some(c), ..Binding::default() };
    }

    /// The value of a variable that is the same in all lanes. Constants are
    /// made anew at each use: that is cheaper than a register.
    pub fn scalar(&mut self, var: Var) -> Value {
        let b = self.bindings[var];
        if let Some(slot) = b.home
            && self.now > b.seen + KEPT
        {
            let at = self.asm.slot_address(slot);
            let value = self.asm.load(clif_type(self.nest.vars[var]), at, Memory::Changing);
            let b = &mut self.bindings[var];
            (b.scalar, b.seen) = (Some(value), self.now);
            return value;
        }
        match (b.constant, b.scalar) {
            (Some(c), _) => {
                let made = self.forward.as_ref().and_then(|forward| forward.registers.made(c));
                made.unwrap_or_else(|| self.asm.constant(c))
            }
            (_, Some(value)) => value,
            _ => unreachable!("{}: {var} is not defined here", self.nest.name),
        }
    }

    // ---- Memory ----

    pub fn dtype(&self, param: Param) -> DType {
        self.nest.params[param].dtype
    }

    /// Whether what is there can change while the nest runs.
    pub fn memory(&self, param: Param) -> Memory {
        match self.nest.params[param].access {
            Access::In => Memory::Fixed,
            Access::Last | Access::Out | Access::InOut => Memory::Changing,
        }
    }

    fn load(&mut self, param: Param, addr: Addr) -> Value {
        self.asm.load(clif_type(self.dtype(param)), addr, self.memory(param))
    }

    /// The address of an element whose index is the same in all lanes.
    pub fn address(&mut self, param: Param, at: &At) -> Addr {
        let index = at.index.map(|v| self.scalar(v));
        self.at.address(self.asm, param, at, index)
    }

    fn known(&mut self, param: Param, at: &At) -> Option<Value> {
        let element = self.at.element(at);
        self.forward.as_mut()?.get(self.asm, param, element)
    }

    /// Stores an element, in a register if it has one.
    fn store(&mut self, param: Param, at: &At, value: Value) {
        let element = self.at.element(at);
        if let Some(forward) = &mut self.forward
            && forward.set(self.asm, param, element, value)
        {
            return;
        }
        let addr = self.address(param, at);
        self.asm.store(value, addr);
        let now = self.asm.values();
        if let Some(forward) = &mut self.forward {
            forward.stored(param, element, value, now);
        }
    }

    // ---- Loops in order ----

    fn span(&mut self, l: &For) -> Span {
        let extent = self.nest.axes[l.axis];
        let known = |lo: i64, hi: i64| Span {
            lo: Int::known(lo),
            hi: Int::known(hi),
            count: Some(hi.saturating_sub(lo).max(0) as usize),
        };
        match l.range {
            Range::Whole => match self.part.take() {
                Some((lo, hi)) => Span { lo: Int::of(lo), hi: Int::of(hi), count: None },
                None => known(0, extent as i64),
            },
            Range::Chunk { of, size } => {
                let (extent, size) = (extent as i64, size as i64);
                let at = self.at.position(of);
                let first = at.offset.wrapping_mul(size);
                let Some(base) = at.base else {
                    return known(first, extent.min(first.saturating_add(size)));
                };
                let lo = Int { base: Some(self.asm.mul_int(base, size)), offset: first };
                let chunks = self.nest.axes[of] as i64;
                if chunks.saturating_mul(size) <= extent {
                    return Span { lo, hi: lo.plus(size), count: Some(size as usize) };
                }
                let end = lo.plus(size).value(self.asm);
                let extent = self.asm.int(extent);
                let hi = self.asm.ins().smin(end, extent);
                Span { lo, hi: Int::of(hi), count: None }
            }
        }
    }

    /// The types of the accumulators.
    pub fn acc_types(&self, l: &For) -> SmallVec<[Type; 8]> {
        l.accs.iter().map(|a| clif_type(self.nest.vars[a.result])).collect()
    }

    /// The accumulators of a loop without iterations.
    pub fn identities(&mut self, l: &For) -> SmallVec<[Value; 8]> {
        l.accs.iter().map(|a| self.identity(a)).collect()
    }

    fn identity(&mut self, a: &Acc) -> Value {
        self.asm.constant(a.term.op().identity(self.nest.vars[a.result]))
    }

    pub fn bind_results(&mut self, l: &For, values: &[Value]) {
        for (acc, &value) in l.accs.iter().zip(values) {
            self.bind(acc.result, value);
        }
    }

    /// One iteration at `at`, from these accumulators and carried variables to the
    /// next.
    pub fn iteration(&mut self, l: &For, at: Int, accs: &[Value]) -> SmallVec<[Value; 8]> {
        let (accs, carried) = accs.split_at(l.accs.len());
        for (c, &value) in l.carries.iter().zip(carried) {
            self.bind(c.var, value);
        }
        self.at.enter(l.axis, at);
        self.block(&l.body);
        self.at.leave(l.axis);
        let mut next: SmallVec<[Value; 8]> = l
            .accs
            .iter()
            .zip(accs)
            .map(|(acc, &old)| {
                let term = acc.term.map(|v| self.scalar(v));
                scalar::take(self.asm, term, self.nest.vars[acc.result], old)
            })
            .collect();
        next.extend(l.carries.iter().map(|c| self.scalar(c.next)));
        next
    }

    fn sequential(&mut self, l: &For, span: Span) {
        let mut start = self.identities(l);
        start.extend(l.carries.iter().map(|c| self.scalar(c.init)));
        match span.count {
            Some(0) => self.bind_results(l, &start),
            Some(1) => {
                let accs = self.iteration(l, span.lo, &start);
                self.bind_results(l, &accs);
            }
            count => {
                self.at.prepare(self.asm, &l.body);
                let mut types = self.acc_types(l);
                types.extend(l.carries.iter().map(|c| clif_type(self.nest.vars[c.var])));
                let exit = self.asm.block(&types);
                self.counted(span, 1, count.is_some(), &start, exit, |this, i, accs| {
                    this.iteration(l, i, accs)
                });
                self.asm.place(exit);
                let results = self.asm.params(exit);
                self.bind_results(l, &results);
            }
        }
    }

    /// A loop that counts from `lo` to `hi` by `by`, as long as a whole step
    /// fits, and passes what it carries to `exit`; `enters` says that the first
    /// step does.
    pub fn counted(
        &mut self,
        span: Span,
        by: i64,
        enters: bool,
        start: &[Value],
        exit: Block,
        body: impl FnOnce(&mut Self, Int, &[Value]) -> SmallVec<[Value; 8]>,
    ) {
        let types: SmallVec<[Type; 8]> = std::iter::once(WORD)
            .chain(start.iter().map(|&v| self.asm.func().dfg.value_type(v)))
            .collect();
        let head = self.asm.block(&types);
        let lo = span.lo.value(self.asm);
        let last = span.hi.plus(-by).value(self.asm);
        let mut args: SmallVec<[Value; 8]> = SmallVec::from_slice(&[lo]);
        args.extend_from_slice(start);
        if enters {
            self.asm.jump(head, &args);
        } else {
            let fits = self.asm.ins().icmp(IntCC::SignedLessThanOrEqual, lo, last);
            self.asm.branch(fits, (head, &args), (exit, start));
        }
        self.asm.place(head);
        let params = self.asm.params(head);
        let carried = body(self, Int::of(params[0]), &params[1..]);
        let next = self.asm.add_int(params[0], by);
        let more = self.asm.ins().icmp(IntCC::SignedLessThanOrEqual, next, last);
        args.clear();
        args.push(next);
        args.extend_from_slice(&carried);
        self.asm.branch(more, (head, &args), (exit, &carried));
    }
}

/// The variable a statement defines.
pub(crate) fn result(s: &Stmt) -> Option<Var> {
    match s {
        Stmt::Let { var, .. }
        | Stmt::Call { var, .. }
        | Stmt::Index { var, .. }
        | Stmt::Load { var, .. } => Some(*var),
        Stmt::Store { .. } | Stmt::Accumulate { .. } | Stmt::For(_) => None,
    }
}

/// The variables a statement without a loop uses.
pub(crate) fn uses(s: &Stmt) -> SmallVec<[Var; 4]> {
    match s {
        Stmt::Let { args, .. } | Stmt::Call { args, .. } => SmallVec::from_slice(args),
        Stmt::Load { at, .. } => at.index.into_iter().collect(),
        Stmt::Store { at, value, .. } => at.index.into_iter().chain([*value]).collect(),
        Stmt::Accumulate { at, term, .. } => {
            at.index.into_iter().chain(term.values().iter().copied()).collect()
        }
        Stmt::Index { .. } | Stmt::For(_) => SmallVec::new(),
    }
}

/// The last statement of straight-line code that uses each variable.
pub(crate) fn last_uses<'s>(body: impl Iterator<Item = &'s Stmt>) -> FxHashMap<Var, usize> {
    body.enumerate().flat_map(|(i, s)| uses(s).into_iter().map(move |v| (v, i))).collect()
}

/// Whether any statement is a loop.
pub(crate) fn has_loops(nest: &Nest) -> bool {
    nest.body.iter().any(|s| matches!(s, Stmt::For(_)))
}
