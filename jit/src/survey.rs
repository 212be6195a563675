//! What is known of a plan before its functions are written.
//!
//! Steps are numbered in the order of the text: a step before those inside it. The
//! steps inside a loop are a range of numbers ([`Span`]), so that questions about all
//! of them, however deep, are questions about numbers.

use std::hash::BuildHasher;

use backstitch_ir::index::IndexVec;
use backstitch_ir::nest::{For, Mode, Nest, Range, Stmt};
use backstitch_ir::plan::{Buffer, Kernel, Plan, Step, Store};
use backstitch_ir::threshold;
use rustc_hash::{FxBuildHasher, FxHashMap};
use smallvec::SmallVec;

/// Kernels with loops are written out inside loops of steps if that makes so many
/// statements at most.
const WRITTEN_OUT: usize = threshold(96, 8);

/// The numbers of the steps inside a loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub first: usize,
    pub end: usize,
}

impl Span {
    fn contains(self, step: usize) -> bool {
        (self.first..self.end).contains(&step)
    }
}

/// What is done with the handle of a stack.
#[derive(Default)]
struct Handle {
    /// Where it is opened, and in which store.
    opens: SmallVec<[(usize, Store); 1]>,
    /// Every step that mentions it.
    mentions: SmallVec<[usize; 4]>,
    /// Whether it is pushed to.
    grows: bool,
    /// Whether it may become what another handle is.
    assigned: bool,
}

/// Where and how often things are used.
pub(crate) struct Survey {
    /// How often each buffer is mentioned.
    pub mentions: IndexVec<Buffer, u32>,
    /// How often each kernel is run inside loops, and elsewhere.
    pub runs: IndexVec<Kernel, [u32; 2]>,
    /// The first kernel that does the same as each: often itself.
    pub same: IndexVec<Kernel, Kernel>,
    /// Of those, whether any that does the same is run inside loops.
    repeated: IndexVec<Kernel, bool>,
    handles: FxHashMap<Buffer, Handle>,
    /// How often each store is opened.
    opens: IndexVec<Store, u32>,
    /// All pushes, in order.
    pushes: Vec<usize>,
    /// Whether every stack that is pushed to is opened in one place, and alone in its
    /// store.
    orderly: bool,
    /// The next step's number.
    clock: usize,
    /// How many loops there are around it.
    depth: usize,
}

impl Survey {
    pub fn of(plan: &Plan) -> Self {
        let mut survey = Self {
            mentions: IndexVec::filled(0, plan.buffers.len()),
            runs: IndexVec::filled([0; 2], plan.kernels.len()),
            same: equal_kernels(plan),
            repeated: IndexVec::filled(false, plan.kernels.len()),
            handles: FxHashMap::default(),
            opens: IndexVec::filled(0, plan.stores.len()),
            pushes: Vec::new(),
            orderly: true,
            clock: 0,
            depth: 0,
        };
        survey.handles_of(&plan.steps);
        survey.steps(plan, &plan.steps);
        survey.orderly = survey.handles.values().filter(|h| h.grows).all(|h| {
            let [(_, store)] = h.opens[..] else { return false };
            survey.opens[store] == 1 && !h.assigned
        });
        survey
    }

    /// Whether a kernel, or one that does the same, is run inside loops: of those that do,
    /// the first is asked.
    pub fn repeats(&self, kernel: Kernel) -> bool {
        self.repeated[kernel]
    }

    /// The store of a stack to which a loop may push by itself: the stack is opened
    /// in one place, outside the loop, nothing else is ever in its store, and the loop
    /// does nothing with it but to push. Where a plan has a stack of another kind,
    /// there are none: a push to that could move any store.
    pub fn pushed(&self, stack: Buffer, within: Span) -> Option<Store> {
        let handle = self.handles.get(&stack).filter(|_| self.orderly)?;
        let &[(at, store)] = &handle.opens[..] else { return None };
        (!within.contains(at) && self.is_alone(handle, within)).then_some(store)
    }

    /// Whether a loop does nothing with a handle but to pop.
    pub fn popped(&self, stack: Buffer, within: Span) -> bool {
        self.handles.get(&stack).is_some_and(|handle| self.is_alone(handle, within))
    }

    fn is_alone(&self, handle: &Handle, within: Span) -> bool {
        handle.mentions.iter().filter(|&&step| within.contains(step)).count() == 1
    }

    /// Whether stores may grow in a loop.
    pub fn grows(&self, within: Span) -> bool {
        let next = self.pushes.partition_point(|&push| push < within.first);
        self.pushes.get(next).is_some_and(|&push| push < within.end)
    }

    /// Finds out which buffers are handles.
    fn handles_of(&mut self, steps: &[Step]) {
        for step in steps {
            if let Step::Open { stack, .. } | Step::Push { stack, .. } | Step::Pop { stack, .. } =
                step
            {
                self.handles.entry(*stack).or_default();
            }
            inside(step).into_iter().for_each(|steps| self.handles_of(steps));
        }
    }

    fn steps(&mut self, plan: &Plan, steps: &[Step]) {
        for step in steps {
            let now = self.clock;
            self.clock += 1;
            match step {
                Step::Run { kernel, .. } => {
                    self.runs[*kernel][usize::from(self.depth == 0)] += 1;
                    self.repeated[self.same[*kernel]] |= self.depth > 0;
                }
                Step::Open { stack, store } => {
                    self.opens[*store] += 1;
                    self.handles.entry(*stack).or_default().opens.push((now, *store));
                }
                Step::Push { stack, .. } => {
                    self.pushes.push(now);
                    self.handles.entry(*stack).or_default().grows = true;
                }
                _ => {}
            }
            for_each_assigned(plan, step, &mut |buffer| {
                if let Some(handle) = self.handles.get_mut(&buffer) {
                    handle.assigned = true;
                }
            });
            for_each_buffer(step, &mut |buffer| {
                self.mentions[buffer] += 1;
                if let Some(handle) = self.handles.get_mut(&buffer) {
                    handle.mentions.push(now);
                }
            });
            let is_loop = !matches!(step, Step::If { .. });
            self.depth += usize::from(is_loop);
            inside(step).into_iter().for_each(|steps| self.steps(plan, steps));
            self.depth -= usize::from(is_loop);
        }
    }
}

/// For each kernel the first one that is equal but for its name. Programs repeat
/// themselves: layers, steps that were written out, bodies of loops that do the same.
fn equal_kernels(plan: &Plan) -> IndexVec<Kernel, Kernel> {
    let mut first: FxHashMap<u64, SmallVec<[Kernel; 1]>> = FxHashMap::default();
    first.reserve(plan.kernels.len());
    let same = plan.kernels.entries().map(|(kernel, nest)| {
        let Nest { name: _, params, axes, funcs, vars, body } = nest;
        let hash = FxBuildHasher.hash_one((params, axes, vars, body));
        let alike = first.entry(hash).or_default();
        let found = alike.iter().copied().find(|&k| {
            let other = &plan.kernels[k];
            other.params == *params
                && other.axes == *axes
                && other.funcs == *funcs
                && other.vars == *vars
                && other.body == *body
        });
        found.unwrap_or_else(|| {
            alike.push(kernel);
            kernel
        })
    });
    same.collect()
}

/// The lists of steps inside a step.
fn inside(step: &Step) -> [&[Step]; 2] {
    match step {
        Step::If { then: a, els: b, .. } | Step::While { head: a, body: b, .. } => [a, b],
        Step::Repeat { body, .. } | Step::Scan { body, .. } => [body, &[]],
        _ => [&[], &[]],
    }
}

/// Every mention of a buffer in a step, not counting the steps inside.
pub(crate) fn for_each_buffer(step: &Step, f: &mut impl FnMut(Buffer)) {
    match step {
        Step::Run { args, .. } => args.iter().for_each(|a| f(a.buffer)),
        Step::Gemm(g) => [&g.a, &g.b, &g.c].into_iter().for_each(|m| f(m.at.buffer)),
        Step::Call(c) => c.refs().for_each(|at| f(at.buffer)),
        Step::Copy { from: a, to: b }
        | Step::Push { stack: a, from: b }
        | Step::Pop { stack: a, to: b } => [*a, *b].into_iter().for_each(f),
        Step::Open { stack: only, .. }
        | Step::If { pred: only, .. }
        | Step::While { pred: only, .. }
        | Step::Repeat { count: only, .. } => f(*only),
        Step::Scan { reads, writes, .. } => {
            reads.iter().chain(writes).for_each(|r| {
                f(r.rows);
                f(r.entry);
            });
        }
    }
}

/// Every buffer that a step writes, but for what it does to handles as handles.
pub(crate) fn for_each_assigned(plan: &Plan, step: &Step, f: &mut impl FnMut(Buffer)) {
    match step {
        Step::Run { kernel, args } => {
            for (param, arg) in plan.kernels[*kernel].params.iter().zip(args) {
                if param.access.writes() {
                    f(arg.buffer);
                }
            }
        }
        Step::Gemm(g) => f(g.c.at.buffer),
        Step::Call(c) => c.work.into_iter().chain([c.result]).for_each(|at| f(at.buffer)),
        Step::Copy { to, .. } | Step::Pop { to, .. } => f(*to),
        Step::Scan { reads, writes, .. } => {
            reads.iter().for_each(|r| f(r.entry));
            writes.iter().for_each(|r| f(r.rows));
        }
        Step::If { .. }
        | Step::While { .. }
        | Step::Repeat { .. }
        | Step::Open { .. }
        | Step::Push { .. } => {}
    }
}

/// How many statements a nest is with all its loops written out, if that is few.
pub(crate) fn written_out(nest: &Nest) -> Option<usize> {
    fn count(nest: &Nest, body: &[Stmt]) -> Option<usize> {
        body.iter().try_fold(0usize, |sum, s| {
            let size = match s {
                Stmt::For(l) => iterations(nest, l)?
                    .checked_mul(count(nest, &l.body)? + l.accs.len())?
                    .checked_add(lanes(l) * l.accs.len())?,
                _ => 1,
            };
            sum.checked_add(size).filter(|&sum| sum <= WRITTEN_OUT)
        })
    }
    count(nest, &nest.body)
}

fn iterations(nest: &Nest, l: &For) -> Option<usize> {
    (l.range == Range::Whole).then(|| nest.axes[l.axis])
}

/// Partial results of each accumulator of a loop.
pub(crate) fn lanes(l: &For) -> usize {
    match l.mode {
        Mode::Vector { lanes } => lanes,
        Mode::Sequential | Mode::Parallel => 1,
    }
}
