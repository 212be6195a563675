//! Updates that wait.
//!
//! What takes the place of a donated input is copied there at the end, for the input may
//! be wanted until then. A kernel that makes it is moved behind the last step that wants
//! the input, if nothing in between wants what the kernel makes and nothing changes what
//! it reads; then it can be made in place.

use backstitch_ir::index::IndexVec;
use backstitch_ir::nest::Nest;
use backstitch_ir::plan::{Buffer, BufferDecl, Kernel, Place, Step};
use rustc_hash::FxHashMap;

/// Moves kernels that make what donated inputs become.
pub(super) fn delay(
    buffers: &IndexVec<Buffer, BufferDecl>,
    kernels: &IndexVec<Kernel, Nest>,
    steps: &mut Vec<Step>,
) {
    let updates: Vec<(Buffer, Buffer)> = (steps.iter())
        .filter_map(|step| match step {
            Step::Copy { from, to } => Some((*from, *to)),
            _ => None,
        })
        .filter(|&(_, to)| matches!(buffers[to].place, Place::Donated { .. }))
        .collect();
    if updates.is_empty() {
        return;
    }
    let mut uses: FxHashMap<Buffer, Uses> = FxHashMap::default();
    for (i, step) in steps.iter().enumerate() {
        each_use(kernels, step, &mut |b, writes| uses.entry(b).or_default().add(i, writes));
    }
    let mut moved: FxHashMap<usize, usize> = FxHashMap::default();
    for (from, to) in updates {
        let Some(made) = uses.get(&from).and_then(Uses::made) else { continue };
        let Some(last) = uses[&to].last_read.filter(|&last| last > made) else { continue };
        let step @ Step::Run { .. } = &steps[made] else { continue };
        let mut free = true;
        each_use(kernels, step, &mut |b, writes| {
            let Uses { all, writes: written, .. } = &uses[&b];
            let list = if writes { all } else { written };
            let next = list.get(list.partition_point(|&i| i <= made));
            free &= next.is_none_or(|&i| i > last);
        });
        if free {
            let at = moved.entry(made).or_insert(last);
            *at = last.max(*at);
        }
    }
    // What is moved comes right behind.
    let mut order: Vec<(usize, bool, usize)> = (0..steps.len())
        .map(|i| moved.get(&i).map_or((i, false, i), |&last| (last, true, i)))
        .collect();
    order.sort_unstable();
    let mut old: Vec<Option<Step>> = std::mem::take(steps).into_iter().map(Some).collect();
    steps.extend(order.into_iter().filter_map(|(.., i)| old[i].take()));
}

/// The steps that mention a buffer, in order.
#[derive(Default)]
struct Uses {
    all: Vec<usize>,
    writes: Vec<usize>,
    /// The last that only reads it, and the one before.
    last_read: Option<usize>,
    before: Option<usize>,
}

impl Uses {
    /// Adds a use; steps come in order, each with all its uses.
    fn add(&mut self, step: usize, writes: bool) {
        let again = self.all.last() == Some(&step);
        if !again {
            self.all.push(step);
        }
        if writes && self.writes.last() != Some(&step) {
            self.writes.push(step);
        }
        if !again && !writes {
            (self.before, self.last_read) = (self.last_read, Some(step));
        } else if writes && self.last_read == Some(step) {
            self.last_read = self.before;
        }
    }

    /// The step that makes it, if that is the first.
    fn made(&self) -> Option<usize> {
        let first = *self.all.first()?;
        (self.writes.first() == Some(&first)).then_some(first)
    }
}

/// Every use of a buffer in a step and in those inside, and whether it is written.
fn each_use(kernels: &IndexVec<Kernel, Nest>, step: &Step, f: &mut dyn FnMut(Buffer, bool)) {
    let all = |steps: &[Step], f: &mut dyn FnMut(Buffer, bool)| {
        steps.iter().for_each(|s| each_use(kernels, s, f));
    };
    match step {
        Step::Run { kernel, args } => {
            let params = kernels[*kernel].params.iter();
            params.zip(args).for_each(|(decl, arg)| f(arg.buffer, decl.access.writes()));
        }
        Step::Gemm(g) => {
            f(g.a.at.buffer, false);
            f(g.b.at.buffer, false);
            f(g.c.at.buffer, true);
        }
        Step::Call(c) => {
            c.args.iter().for_each(|at| f(at.buffer, false));
            c.work.iter().chain([&c.result]).for_each(|at| f(at.buffer, true));
        }
        Step::Copy { from, to } => {
            f(*from, false);
            f(*to, true);
        }
        Step::Open { stack, .. } => f(*stack, true),
        Step::Push { stack, from } => {
            f(*stack, true);
            f(*from, false);
        }
        Step::Pop { stack, to } => {
            f(*stack, true);
            f(*to, true);
        }
        Step::If { pred, then, els } => {
            f(*pred, false);
            all(then, f);
            all(els, f);
        }
        Step::While { head, pred, body } => {
            all(head, f);
            f(*pred, false);
            all(body, f);
        }
        Step::Repeat { count, body } => {
            f(*count, false);
            all(body, f);
        }
        Step::Scan { reads, writes, body, .. } => {
            for r in reads {
                f(r.rows, false);
                f(r.entry, true);
            }
            all(body, f);
            for r in writes {
                f(r.entry, false);
                f(r.rows, true);
            }
        }
    }
}
