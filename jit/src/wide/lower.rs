//! From nests to instructions: statements, and loops in order.
//!
//! [`vector`](super::vector) has the vector loops.

use backstitch_ir::DType;
use backstitch_ir::index::{Idx, IndexVec};
use backstitch_ir::nest::{
    Acc, At, Axis, Cmp, Const, For, Mode, Nest, Param, Range, ScalarOp, Stmt, Term, Var,
};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::ahead::Share;
use super::code::{Alu, Cond, Encoding, Width};
use super::inst::{Class, Inst, Place, Program, Reg, Value};
use super::jam::Rows;
use super::masks::{Mask, Tail};
use super::ops::{Arg, Hoist, Ops};
use super::places::{Int, Places};
use super::stream;
use super::strided::Pieces;
use super::zeros::Definitions;
use crate::nest::{parallel, result};
use crate::vector_loop::split;

/// What is known of a variable.
#[derive(Clone, Default)]
pub(crate) enum Binding {
    #[default]
    None,
    Const(Const),
    /// One value: in the first lane, and in all lanes if a vector loop takes it.
    Uniform(Reg),
    /// The values in the vectors of the current iteration.
    Lanes(SmallVec<[Reg; 4]>),
}

/// Where a loop runs.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub lo: Int,
    pub hi: Int,
    /// Number of iterations, if it is known.
    pub count: Option<usize>,
}

/// The vector code being written.
#[derive(Clone, Copy)]
pub(crate) struct Current {
    pub axis: Axis,
    /// Elements in a vector.
    pub lanes: usize,
    /// Which of the vectors of an iteration.
    pub copy: usize,
    /// Which of the vectors of a loop that is written out.
    pub number: usize,
    /// Bytes of the widest elements.
    pub size: usize,
    /// The lanes that there are, if it is not all of them.
    pub tail: Option<Tail>,
}

impl Current {
    /// How many lanes there are, if it is known.
    pub fn rows(&self) -> Option<usize> {
        match self.tail {
            None => Some(self.lanes),
            Some(Tail { left, .. }) => left.base.is_none().then_some(left.offset as usize),
        }
    }
}

/// A nest being written.
pub(crate) struct Lowering<'n> {
    pub nest: &'n Nest,
    pub ops: Ops,
    pub at: Places,
    pub bindings: IndexVec<Var, Binding>,
    /// Comparisons of floats, for minima and maxima.
    pub less: FxHashMap<Var, (Cmp, Var, Var)>,
    /// Variables outside of vector loops that these take.
    repeated: &'n FxHashSet<Var>,
    part: Option<(Reg, Reg)>,
    pub current: Option<Current>,
    /// The rows that the vector loop being written does at a time, if several.
    pub rows: Option<Rows>,
    /// Which of these.
    pub row: usize,
    /// What the vector loop being written defines.
    pub definitions: Definitions,
    /// Counters of it that are as good with 32 bits.
    pub narrow: FxHashSet<Var>,
    /// Strided accesses of the vector loop being written.
    pub pieces: Pieces,
    /// Vectors that a loop around keeps in registers, by the statement that adds to them or
    /// loads them.
    pub held: FxHashMap<*const Stmt, Vec<Reg>>,
    /// How far on, in bytes, statements ask for what is loaded later.
    pub ahead: FxHashMap<*const Stmt, i64>,
    /// What loops ask for in each iteration.
    pub shares: FxHashMap<*const For, Vec<Share>>,
    /// Parameters that are stored past the caches.
    pub streamed: &'n [Param],
}

/// The nest as a function of a table of its parameters and a part of its outermost
/// parallel loop; nothing if something in it cannot be expressed.
pub(crate) fn lower(nest: &Nest, encoding: Encoding, large: usize) -> Option<Program> {
    let mut program = Program::default();
    let params: Vec<Reg> = (0..3).map(|_| program.reg(Class::General)).collect();
    program.params = params.clone();
    let pointers: Vec<Reg> = (0..nest.params.len())
        .map(|i| {
            let to = program.reg(Class::General);
            let disp = i32::try_from(8 * i).expect("fewer parameters");
            let from = Value::Place(Place { base: params[0], index: None, disp });
            program.insts.push(Inst::Alu { op: Alu::Mov, to, from });
            to
        })
        .collect();
    let mut repeated = FxHashSet::default();
    taken(&nest.body, &mut repeated);
    let body = |program: Program, streamed: &[Param]| {
        let mut lowering = Lowering {
            nest,
            ops: Ops::new(program, encoding),
            at: Places::new(nest, pointers.iter().map(|&p| (p, 0)).collect()),
            bindings: IndexVec::filled(Binding::None, nest.vars.len()),
            less: FxHashMap::default(),
            repeated: &repeated,
            part: parallel(nest).map(|_| (params[1], params[2])),
            current: None,
            rows: None,
            row: 0,
            definitions: Definitions::default(),
            narrow: FxHashSet::default(),
            pieces: Pieces::default(),
            held: FxHashMap::default(),
            ahead: FxHashMap::default(),
            shares: FxHashMap::default(),
            streamed,
        };
        lowering.block(&nest.body)?;
        Some(lowering.ops.program)
    };
    let streamed = stream::results(nest, large);
    if streamed.is_empty() {
        return body(program, &[]);
    }
    let (ordinary, done) = (program.label(), program.label());
    let places: Vec<Reg> = streamed.iter().map(|p| pointers[p.index()]).collect();
    stream::unless_whole(&mut program, &places, ordinary);
    let mut program = body(program, &streamed)?;
    program.insts.extend([Inst::Fence, Inst::Jump(done), Inst::Label(ordinary)]);
    let mut program = body(program, &[])?;
    program.insts.push(Inst::Label(done));
    Some(program)
}

/// What vector loops take from outside.
fn taken(body: &[Stmt], out: &mut FxHashSet<Var>) {
    for s in body {
        let Stmt::For(l) = s else { continue };
        if !matches!(l.mode, Mode::Vector { .. }) {
            taken(&l.body, out);
            continue;
        }
        let (_, varying) = split(l);
        let mut defined = FxHashSet::default();
        for s in varying {
            let mut take = |v: Var| {
                if !defined.contains(&v) {
                    out.insert(v);
                }
            };
            match s {
                Stmt::Let { args, .. } => args.iter().copied().for_each(&mut take),
                Stmt::Store { value, .. } => take(*value),
                Stmt::Accumulate { term, .. } => term.values().iter().copied().for_each(&mut take),
                Stmt::Load { .. } | Stmt::Index { .. } | Stmt::Call { .. } | Stmt::For(_) => {}
            }
            defined.extend(result(s));
        }
        let terms = l.accs.iter().flat_map(|a| a.term.values());
        out.extend(terms.filter(|v| !defined.contains(v)));
    }
}

impl Lowering<'_> {
    pub fn block(&mut self, body: &[Stmt]) -> Option<()> {
        body.iter().try_for_each(|s| self.stmt(s))
    }

    /// A statement outside of vector loops, or the same for all iterations of one.
    pub fn stmt(&mut self, s: &Stmt) -> Option<()> {
        match s {
            Stmt::Let { var, op: ScalarOp::Const(c), .. } => {
                self.bindings[*var] = Binding::Const(*c);
            }
            Stmt::Let { var, op, args } => {
                let x = self.operation(*var, *op, args, 1)?;
                self.bind(*var, x)?;
            }
            Stmt::Index { var, axis } => {
                let at = self.at.position(*axis);
                match at.base {
                    None => {
                        let c = Const::of_int(DType::I64, at.offset);
                        self.bindings[*var] = Binding::Const(c);
                    }
                    Some(_) => {
                        let word = at.read(&mut self.ops.program);
                        let width = self.ops.widest();
                        let x = self.ops.repeat_word(DType::I64, word, width)?;
                        self.bindings[*var] = Binding::Uniform(x);
                    }
                }
            }
            Stmt::Load { var, param, at } => {
                let place = self.element(*param, at)?;
                let width = match self.repeated.contains(var) {
                    true => self.ops.widest(),
                    false => Width::X128,
                };
                let x = self.ops.load_repeated(self.dtype(*param), place, width)?;
                self.bindings[*var] = Binding::Uniform(x);
            }
            Stmt::Store { param, at, value } => {
                let x = self.value(*value);
                let place = self.element(*param, at)?;
                self.ops.store_first(self.dtype(*param), place, x);
            }
            Stmt::Accumulate { param, at, term } => {
                let dtype = self.dtype(*param);
                let place = self.element(*param, at)?;
                let old = self.ops.load_repeated(dtype, place, Width::X128)?;
                self.take(old, term, dtype, 1, None)?;
                self.ops.store_first(dtype, place, old);
            }
            Stmt::Call { .. } => return None,
            Stmt::For(l) => self.for_loop(l)?,
        }
        Some(())
    }

    pub fn dtype(&self, param: Param) -> DType {
        self.nest.params[param].dtype
    }

    /// Binds a variable to the first lane of a register.
    pub fn bind(&mut self, var: Var, x: Reg) -> Option<()> {
        let x = match self.repeated.contains(&var) {
            true => self.ops.repeat(self.nest.vars[var], x)?,
            false => x,
        };
        self.bindings[var] = Binding::Uniform(x);
        Some(())
    }

    /// `op args` on so many lanes.
    pub fn operation(&mut self, var: Var, op: ScalarOp, args: &[Var], lanes: usize) -> Option<Reg> {
        let of = |this: &Self, v: Var| this.nest.vars[v];
        let (from, to) = (of(self, args[0]), of(self, var));
        if let ScalarOp::Cmp(c) = op
            && from.is_float()
        {
            self.less.insert(var, (c, args[0], args[1]));
        }
        if op == ScalarOp::Select
            && to.is_float()
            && let Some(&(cmp, x, y)) = self.less.get(&args[0])
            && let Some((x, y)) = match cmp {
                Cmp::Lt => Some((x, y)),
                Cmp::Gt => Some((y, x)),
                _ => None,
            }
            && (args[1..] == [x, y] || args[1..] == [y, x])
        {
            let sides = [self.arg(x), self.arg(y)];
            return self.ops.select_less(to, lanes, sides, args[1] == x);
        }
        if op == ScalarOp::Select
            && let Some(x) = self.at_one_position(var, args, lanes)?
        {
            return Some(x);
        }
        if op == ScalarOp::Select
            && let Some(x) = self.zero_unless(var, args, lanes)?
        {
            return Some(x);
        }
        let from = if self.narrow.contains(&args[0]) { DType::I32 } else { from };
        let args: SmallVec<[Arg; 3]> = args.iter().map(|&a| self.arg(a)).collect();
        self.ops.apply(op, from, to, lanes, &args)
    }

    /// A variable as an operand, of the current vector if there is one.
    pub fn arg(&self, var: Var) -> Arg {
        match &self.bindings[var] {
            Binding::Const(c) => Arg::Const(*c),
            Binding::Uniform(r) => Arg::Reg(*r),
            Binding::Lanes(regs) => {
                let copy = self.current.expect("vector code").copy;
                Arg::Reg(regs[copy.min(regs.len() - 1)])
            }
            Binding::None => unreachable!("{}: {var} is not defined here", self.nest.name),
        }
    }

    /// A variable in a register.
    pub fn value(&mut self, var: Var) -> Reg {
        let arg = self.arg(var);
        self.ops.reg(arg)
    }

    // ---- Memory ----

    /// The place of an element whose index is the same in all lanes.
    pub fn element(&mut self, param: Param, at: &At) -> Option<Place> {
        let place = self.at.place(&mut self.ops.program, param, at, None)?;
        match at.index {
            None => Some(place),
            Some(index) => self.indexed(place, index, self.dtype(param).size()),
        }
    }

    /// The place so many elements further.
    pub fn indexed(&mut self, place: Place, index: Var, size: usize) -> Option<Place> {
        let word = match self.bindings[index] {
            Binding::Const(c) => {
                let bytes = (c.bits as i64).checked_mul(size as i64)?;
                let disp = i32::try_from(bytes.checked_add(place.disp.into())?).ok()?;
                return Some(Place { disp, ..place });
            }
            Binding::Uniform(x) => self.ops.word(x),
            _ => return None,
        };
        let scale = size.trailing_zeros() as u8;
        if place.index.is_none() {
            return Some(Place { index: Some((word, scale)), ..place });
        }
        let to = self.ops.program.reg(Class::General);
        let by = Place { base: place.base, index: Some((word, scale)), disp: 0 };
        self.ops.push(Inst::Address { to, place: by });
        Some(Place { base: to, ..place })
    }

    // ---- Loops ----

    fn for_loop(&mut self, l: &For) -> Option<()> {
        let span = self.span(l)?;
        self.look_ahead(l);
        match l.mode {
            Mode::Vector { lanes } => self.vector(l, lanes, span),
            Mode::Sequential | Mode::Parallel => match self.rows_at_a_time(l) {
                Some(count) if span.count.is_none_or(|n| n >= count) => self.jammed(l, span, count),
                _ => self.sequential(l, span),
            },
        }
    }

    pub fn span(&mut self, l: &For) -> Option<Span> {
        let extent = self.nest.axes[l.axis] as i64;
        let known = |lo: i64, hi: i64| Span {
            lo: Int::known(lo),
            hi: Int::known(hi),
            count: Some(hi.saturating_sub(lo).max(0) as usize),
        };
        Some(match l.range {
            Range::Whole => match self.part.take() {
                Some((lo, hi)) => Span { lo: Int::of(lo), hi: Int::of(hi), count: None },
                None => known(0, extent),
            },
            Range::Chunk { of, size } => {
                let size = size as i64;
                let at = self.at.position(of);
                let first = at.offset.checked_mul(size)?;
                let Some(base) = at.base else {
                    return Some(known(first, extent.min(first.saturating_add(size))));
                };
                let program = &mut self.ops.program;
                let to = program.reg(Class::General);
                let by = i32::try_from(size).ok()?;
                program.insts.push(Inst::Multiply { to, from: base, by });
                let lo = Int { base: Some(to), offset: first };
                let chunks = self.nest.axes[of] as i64;
                if chunks.saturating_mul(size) <= extent {
                    return Some(Span { lo, hi: lo.plus(size), count: Some(size as usize) });
                }
                let hi = lo.plus(size).copy(program);
                let last = Int::known(extent).copy(program);
                program.insts.push(Inst::Alu { op: Alu::Cmp, to: hi, from: Value::Reg(last) });
                program.insts.push(Inst::MoveIf { cond: Cond::Greater, to: hi, from: last });
                Span { lo, hi: Int::of(hi), count: None }
            }
        })
    }

    /// The partial results that a loop begins with.
    pub fn identities(&mut self, l: &For) -> SmallVec<[Reg; 4]> {
        l.accs.iter().map(|a| self.identity(a)).collect()
    }

    fn identity(&mut self, a: &Acc) -> Reg {
        self.ops.constant(a.term.op().identity(self.nest.vars[a.result]))
    }

    /// Takes a term into `acc` in the lanes of the mask, where `acc` is written again.
    pub fn take(
        &mut self,
        acc: Reg,
        term: &Term,
        of: DType,
        lanes: usize,
        mask: Mask,
    ) -> Option<()> {
        match *term {
            Term::One(op, x) => {
                let x = self.value(x);
                self.ops.combine_into(acc, op, of, lanes, x, mask)
            }
            Term::Product(factors) => {
                let factors = factors.map(|v| self.arg(v));
                self.ops.add_product(acc, of, lanes, factors, mask)
            }
        }
    }

    /// A constant in a register that a loop may write.
    fn own(&mut self, x: Reg) -> Reg {
        match self.ops.program.classes[x.0 as usize] {
            // Others may have the same mask, made before a loop around.
            Class::Mask => self.ops.variable(x),
            Class::Vector | Class::General => x,
        }
    }

    fn sequential(&mut self, l: &For, span: Span) -> Option<()> {
        let accs: SmallVec<[Reg; 4]> = self.identities(l).iter().map(|&x| self.own(x)).collect();
        let carries: SmallVec<[Reg; 4]> = l
            .carries
            .iter()
            .map(|c| {
                let init = self.value(c.init);
                let init = match self.repeated.contains(&c.var) {
                    true => self.ops.repeat(self.nest.vars[c.var], init)?,
                    false => init,
                };
                Some(self.ops.variable(init))
            })
            .collect::<Option<_>>()?;
        match span.count {
            Some(0) => {}
            Some(1) => self.iteration(l, span.lo, &accs, &carries)?,
            count => {
                self.at.prepare(&mut self.ops.program, &l.body)?;
                self.prepare_shares(l)?;
                let before = self.ops.program.insts.len();
                let rows = l.mode == Mode::Sequential;
                if rows {
                    self.ops.around.push(Hoist::default());
                }
                let held = self.hold(l)?;
                self.counted(span.lo, span.hi, 1, count.is_some(), |this, i| {
                    this.iteration(l, i, &accs, &carries)
                })?;
                self.release(held)?;
                if rows {
                    let masks = self.ops.around.pop().expect("those of this loop");
                    self.ops.program.insts.splice(before..before, masks.insts);
                }
            }
        }
        for (acc, &x) in l.accs.iter().zip(&accs) {
            self.bind(acc.result, x)?;
        }
        Some(())
    }

    pub fn iteration(&mut self, l: &For, at: Int, accs: &[Reg], carries: &[Reg]) -> Option<()> {
        for (c, &x) in l.carries.iter().zip(carries) {
            self.bindings[c.var] = Binding::Uniform(x);
        }
        self.at.enter(l.axis, at);
        self.ask_shares(l)?;
        self.block(&l.body)?;
        self.at.leave(l.axis);
        for (acc, &sum) in l.accs.iter().zip(accs) {
            self.take(sum, &acc.term, self.nest.vars[acc.result], 1, None)?;
        }
        // All change at once.
        let mut next: SmallVec<[Reg; 4]> = SmallVec::new();
        for c in &l.carries {
            let x = self.value(c.next);
            let x = match self.repeated.contains(&c.var) {
                true => self.ops.repeat(self.nest.vars[c.var], x)?,
                false => x,
            };
            next.push(if carries.contains(&x) { self.ops.variable(x) } else { x });
        }
        for (&to, from) in carries.iter().zip(next) {
            self.ops.copy(to, from)?;
        }
        Some(())
    }

    /// A loop that counts from `lo` to `hi` by `by`, as long as a whole step fits; `enters`
    /// says that the first does. The counter, where it stopped.
    pub fn counted(
        &mut self,
        lo: Int,
        hi: Int,
        by: i64,
        enters: bool,
        body: impl FnOnce(&mut Self, Int) -> Option<()>,
    ) -> Option<Reg> {
        let program = &mut self.ops.program;
        let last = hi.plus(-by).value(program);
        let i = lo.copy(program);
        let (head, exit) = (program.label(), program.label());
        let compare = Inst::Alu { op: Alu::Cmp, to: i, from: last };
        if !enters {
            program.insts.push(compare);
            program.insts.push(Inst::JumpIf(Cond::Greater, exit));
        }
        program.insts.push(Inst::LoopStart(head));
        body(self, Int::of(i))?;
        self.ops.push(Inst::Alu { op: Alu::Add, to: i, from: Value::Known(by) });
        self.ops.push(compare);
        self.ops.push(Inst::JumpIf(Cond::LessOrEqual, head));
        self.ops.push(Inst::LoopEnd);
        self.ops.push(Inst::Label(exit));
        Some(i)
    }

    /// A register for each vector of a reduction, beginning at the identity.
    pub fn partials(&mut self, dtype: DType, identity: Const, count: usize) -> Vec<Reg> {
        let start = self.ops.constant(identity);
        debug_assert_eq!(self.ops.program.classes[start.0 as usize], self.ops.class_of(dtype));
        (0..count).map(|_| self.ops.variable(start)).collect()
    }
}
