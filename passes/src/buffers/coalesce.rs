//! Copies that need not be.
//!
//! A copy `to = from` goes away if `from` can be `to` from the start: all that mentions
//! `from` is in the same list of steps as the copy, nothing mentions `to` between the
//! first of these and the copy (but for a kernel that reads `to` for the last time,
//! element by element, where it makes `from`), and nothing mentions `from` later in the
//! list. So what an iteration of a loop makes is made in the carry, and what a
//! branch, or a loop, gives is made in the output.

use backstitch_ir::index::{Idx, IndexVec};
use backstitch_ir::nest::{Access, Nest};
use backstitch_ir::plan::{Buffer, BufferDecl, BufferRef, Kernel, Place, RowOf, Step};
use rustc_hash::{FxHashMap, FxHashSet};

use super::in_place::Touches;

/// Lets copies go away, and kernels work in place for that.
pub(super) fn coalesce(
    buffers: &mut IndexVec<Buffer, BufferDecl>,
    kernels: &mut IndexVec<Kernel, Nest>,
    steps: &mut Vec<Step>,
) {
    let mut copies = 0;
    let mut handles = FxHashSet::default();
    let mut total = IndexVec::filled(0, buffers.len());
    survey(steps, &mut |step| {
        copies += usize::from(matches!(step, Step::Copy { .. }));
        if let Step::Open { stack, .. } | Step::Push { stack, .. } | Step::Pop { stack, .. } = step
        {
            handles.insert(*stack);
        }
        own(step, &mut |b| total[b] += 1);
    });
    if copies == 0 {
        return;
    }
    let same = (0..buffers.len()).map(Buffer::new).collect();
    let mut names = Names { buffers, kernels, handles, total, same, changed: false };
    names.list(steps, &[], &[]);
    if names.changed {
        each_mut(steps, &mut |b| *b = names.name(*b));
        drop_copies(steps);
        drop_unused(buffers, steps);
    }
}

/// Calls `f` with each step, however deep.
fn survey<'p>(steps: &'p [Step], f: &mut impl FnMut(&'p Step)) {
    for step in steps {
        f(step);
        inside(step).into_iter().for_each(|steps| survey(steps, f));
    }
}

fn inside(step: &Step) -> [&[Step]; 2] {
    match step {
        Step::If { then: a, els: b, .. } | Step::While { head: a, body: b, .. } => [a, b],
        Step::Repeat { body, .. } | Step::Scan { body, .. } => [body, &[]],
        _ => [&[], &[]],
    }
}

/// Every mention of a buffer in a step, not counting the steps inside.
fn own(step: &Step, f: &mut impl FnMut(Buffer)) {
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
            reads.iter().chain(writes).flat_map(|r| [r.rows, r.entry]).for_each(f);
        }
    }
}

/// How often a list of steps mentions a buffer, and where.
#[derive(Clone, Default)]
struct Mentions {
    count: usize,
    /// Positions in the list, ascending.
    at: Vec<usize>,
}

struct Names<'a> {
    buffers: &'a IndexVec<Buffer, BufferDecl>,
    kernels: &'a mut IndexVec<Kernel, Nest>,
    /// Handles of stacks: which stack it is is known by its buffer.
    handles: FxHashSet<Buffer>,
    /// How often each buffer is mentioned in all of the plan.
    total: IndexVec<Buffer, usize>,
    /// What a buffer is the same as; itself at the end.
    same: IndexVec<Buffer, Buffer>,
    changed: bool,
}

impl Names<'_> {
    fn name(&mut self, b: Buffer) -> Buffer {
        let mut name = b;
        while self.same[name] != name {
            // Halves the way for whoever asks next.
            self.same[name] = self.same[self.same[name]];
            name = self.same[name];
        }
        name
    }

    /// Looks at the copies of a list of steps that is run with these rows as entries;
    /// gives how often it mentions each buffer.
    fn list(
        &mut self,
        steps: &[Step],
        reads: &[RowOf],
        writes: &[RowOf],
    ) -> FxHashMap<Buffer, usize> {
        let mut all: FxHashMap<Buffer, Mentions> = FxHashMap::default();
        let mut mention = |b: Buffer, at: usize, count: usize| {
            let m = all.entry(b).or_default();
            m.count += count;
            if m.at.last() != Some(&at) {
                m.at.push(at);
            }
        };
        // Position 0 is where rows become entries.
        reads.iter().for_each(|r| mention(r.entry, 0, 1));
        for (i, step) in steps.iter().enumerate() {
            let at = i + 1;
            let inner = match step {
                Step::If { then: a, els: b, .. } | Step::While { head: a, body: b, .. } => {
                    vec![self.list(a, &[], &[]), self.list(b, &[], &[])]
                }
                Step::Repeat { body, .. } => vec![self.list(body, &[], &[])],
                Step::Scan { reads, writes, body, .. } => vec![self.list(body, reads, writes)],
                _ => vec![],
            };
            match step {
                // Entries are mentioned in the body.
                Step::Scan { reads, writes, .. } => {
                    reads.iter().chain(writes).for_each(|r| mention(self.name(r.rows), at, 1));
                }
                _ => own(step, &mut |b| mention(self.name(b), at, 1)),
            }
            for (b, count) in inner.into_iter().flatten() {
                mention(b, at, count);
            }
        }
        let end = steps.len() + 1;
        writes.iter().for_each(|r| mention(self.name(r.entry), end, 1));
        for (i, step) in steps.iter().enumerate() {
            if let Step::Copy { from, to } = step {
                let (from, to) = (self.name(*from), self.name(*to));
                self.copy(steps, &mut all, i + 1, from, to);
            }
        }
        all.into_iter().map(|(b, m)| (b, m.count)).collect()
    }

    /// Lets the copy at this position go away, if it may.
    fn copy(
        &mut self,
        steps: &[Step],
        all: &mut FxHashMap<Buffer, Mentions>,
        at: usize,
        from: Buffer,
        to: Buffer,
    ) {
        let (old, new) = (&self.buffers[to], &self.buffers[from]);
        let suits = matches!(new.place, Place::Arena(_))
            && (new.dtype, new.len) == (old.dtype, old.len)
            && from != to
            && !self.handles.contains(&from)
            && !self.handles.contains(&to);
        let (Some(source), Some(target)) = (all.get(&from), all.get(&to)) else { return };
        if !suits || source.count != self.total[from] {
            return;
        }
        let end = steps.len() + 1;
        let first = source.at[0];
        let between = |m: &Mentions, after: usize, before: usize| {
            m.at.get(m.at.partition_point(|&p| p <= after)).is_some_and(|&p| p < before)
        };
        // What becomes a row at the end of an iteration has to last as long.
        let last = if source.at.last() == Some(&end) { end + 1 } else { at };
        let meets = between(target, first, at) || between(target, at, last);
        if first == 0 || first >= at || target.at[0] == 0 || between(source, at, end) || meets {
            return;
        }
        if target.at.binary_search(&first).is_ok() && !self.reads_first(&steps[first - 1], from, to)
        {
            return;
        }
        let source = all.remove(&from).expect("it is mentioned");
        let target = all.get_mut(&to).expect("it is mentioned");
        target.count = target.count + source.count - 2;
        target.at.extend(source.at);
        target.at.sort_unstable();
        target.at.dedup();
        target.at.retain(|&p| p != at);
        self.total[to] = self.total[to] + self.total[from] - 2;
        self.same[from] = to;
        self.changed = true;
    }

    /// Whether a step is a kernel that makes `from` and reads each element of `to` before
    /// it makes the one of `from`.
    fn reads_first(&mut self, step: &Step, from: Buffer, to: Buffer) -> bool {
        let Step::Run { kernel, args } = step else { return false };
        let mut mentions = |b: Buffer| -> Vec<usize> {
            (0..args.len()).filter(|&i| self.name(args[i].buffer) == b).collect()
        };
        let (&[made], &[read]) = (&mentions(from)[..], &mentions(to)[..]) else { return false };
        let nest = &self.kernels[*kernel];
        let [made, read] = [made, read].map(|i| (backstitch_ir::nest::Param::new(i), args[i]));
        let whole = |(p, arg): (backstitch_ir::nest::Param, BufferRef)| {
            arg.offset == 0 && nest.params[p].len == self.buffers[arg.buffer].len
        };
        let suits = whole(made)
            && whole(read)
            && nest.params[made.0].access == Access::Out
            && nest.params[read.0].access == Access::In
            && Touches::of(nest).may_take(read.0, made.0);
        if suits {
            self.kernels[*kernel].params[read.0].access = Access::Last;
        }
        suits
    }
}

/// Calls `f` with every buffer that is mentioned.
fn each_mut(steps: &mut [Step], f: &mut impl FnMut(&mut Buffer)) {
    for step in steps.iter_mut() {
        match step {
            Step::Run { args, .. } => args.iter_mut().for_each(|a| f(&mut a.buffer)),
            Step::Gemm(g) => {
                [&mut g.a, &mut g.b, &mut g.c].into_iter().for_each(|m| f(&mut m.at.buffer));
            }
            Step::Call(c) => {
                let refs = c.args.iter_mut().chain([&mut c.result]).chain(&mut c.work);
                refs.for_each(|at| f(&mut at.buffer));
            }
            Step::Copy { from: a, to: b }
            | Step::Push { stack: a, from: b }
            | Step::Pop { stack: a, to: b } => [a, b].into_iter().for_each(&mut *f),
            Step::Open { stack, .. } => f(stack),
            Step::If { pred, then, els } => {
                f(pred);
                each_mut(then, f);
                each_mut(els, f);
            }
            Step::While { head, pred, body } => {
                f(pred);
                each_mut(head, f);
                each_mut(body, f);
            }
            Step::Repeat { count, body } => {
                f(count);
                each_mut(body, f);
            }
            Step::Scan { reads, writes, body, .. } => {
                for r in reads.iter_mut().chain(writes) {
                    f(&mut r.rows);
                    f(&mut r.entry);
                }
                each_mut(body, f);
            }
        }
    }
}

/// Drops what copies a buffer to itself.
fn drop_copies(steps: &mut Vec<Step>) {
    steps.retain(|step| !matches!(step, Step::Copy { from, to } if from == to));
    for step in steps {
        match step {
            Step::If { then: a, els: b, .. } | Step::While { head: a, body: b, .. } => {
                drop_copies(a);
                drop_copies(b);
            }
            Step::Repeat { body, .. } | Step::Scan { body, .. } => drop_copies(body),
            _ => {}
        }
    }
}

/// Drops buffers of the arena that nothing mentions any more.
fn drop_unused(buffers: &mut IndexVec<Buffer, BufferDecl>, steps: &mut [Step]) {
    let mut used = IndexVec::filled(false, buffers.len());
    each_mut(steps, &mut |b| used[*b] = true);
    let mut renamed = IndexVec::filled(None, buffers.len());
    let mut kept = IndexVec::new();
    for (b, decl) in buffers.entries() {
        if used[b] || !matches!(decl.place, Place::Arena(_)) {
            renamed[b] = Some(kept.push(decl.clone()));
        }
    }
    *buffers = kept;
    each_mut(steps, &mut |b| *b = renamed[*b].expect("what is mentioned is kept"));
}
