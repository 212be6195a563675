//! Lifetimes and places: where in the arena each buffer is.
//!
//! A buffer lives from the first step that mentions it to the last; if it is
//! mentioned inside a loop and was there before, to the end of that loop. Buffers
//! are placed in the order in which their lives begin, each in the smallest hole
//! it fits (best fit); holes are kept by size and by address, so placing costs a
//! logarithm per buffer.

use std::collections::{BTreeMap, BTreeSet};

use backstitch_ir::index::{Idx, IndexVec};
use backstitch_ir::plan::{ALIGN, Buffer, BufferDecl, Place, SCALAR_ALIGN, Step};
use rustc_hash::FxHashMap;

/// First and last step of each buffer.
struct Lives {
    spans: FxHashMap<Buffer, (usize, usize)>,
    clock: usize,
}

impl Lives {
    fn touch(&mut self, b: Buffer) {
        let now = self.clock;
        let span = self.spans.entry(b).or_insert((now, now));
        span.1 = now;
    }

    fn steps(&mut self, steps: &[Step]) {
        for s in steps {
            self.step(s);
        }
    }

    fn step(&mut self, step: &Step) {
        self.clock += 1;
        match step {
            Step::Run { args, .. } => args.iter().for_each(|a| self.touch(a.buffer)),
            Step::Gemm(g) => [&g.a, &g.b, &g.c].into_iter().for_each(|m| self.touch(m.at.buffer)),
            Step::Call(c) => c.refs().for_each(|at| self.touch(at.buffer)),
            Step::Copy { from, to } | Step::Push { stack: to, from } => {
                self.touch(*from);
                self.touch(*to);
            }
            Step::Open { stack, .. } => self.touch(*stack),
            Step::Pop { stack, to } => {
                self.touch(*stack);
                self.touch(*to);
            }
            Step::If { pred, then, els } => {
                self.touch(*pred);
                self.steps(then);
                self.steps(els);
            }
            Step::While { head, pred, body } => self.repeated(|lives| {
                lives.steps(head);
                lives.clock += 1;
                lives.touch(*pred);
                lives.steps(body);
            }),
            Step::Scan { reads, writes, body, .. } => {
                reads.iter().chain(writes).for_each(|r| self.touch(r.rows));
                self.repeated(|lives| {
                    lives.clock += 1;
                    reads.iter().for_each(|r| lives.touch(r.entry));
                    lives.steps(body);
                    lives.clock += 1;
                    writes.iter().for_each(|r| lives.touch(r.entry));
                    reads.iter().chain(writes).for_each(|r| lives.touch(r.rows));
                });
            }
            Step::Repeat { count, body } => {
                self.touch(*count);
                self.repeated(|lives| lives.steps(body));
            }
        }
    }

    /// What was there before a loop and is mentioned in it lives to its end.
    fn repeated(&mut self, body: impl FnOnce(&mut Self)) {
        let start = self.clock;
        let outer = std::mem::take(&mut self.spans);
        body(self);
        self.clock += 1;
        let end = self.clock;
        let inner = std::mem::replace(&mut self.spans, outer);
        for (b, (first, last)) in inner {
            let span = self.spans.entry(b).or_insert((first, last));
            if span.0 <= start {
                span.1 = end;
            }
        }
    }
}

/// Free parts of the arena.
#[derive(Default)]
struct Holes {
    by_start: BTreeMap<usize, usize>,
    by_size: BTreeSet<(usize, usize)>,
    end: usize,
}

impl Holes {
    fn insert(&mut self, mut start: usize, mut len: usize) {
        if let Some((&s, &l)) = self.by_start.range(..start).next_back()
            && s + l == start
        {
            self.remove(s, l);
            start = s;
            len += l;
        }
        if let Some(&l) = self.by_start.get(&(start + len)) {
            self.remove(start + len, l);
            len += l;
        }
        self.by_start.insert(start, len);
        self.by_size.insert((len, start));
    }

    fn remove(&mut self, start: usize, len: usize) {
        self.by_start.remove(&start);
        self.by_size.remove(&(len, start));
    }

    /// A place for `len` bytes.
    fn take(&mut self, len: usize) -> usize {
        if let Some(&(l, start)) = self.by_size.range((len, 0)..).next() {
            self.remove(start, l);
            if l > len {
                self.insert(start + len, l - len);
            }
            return start;
        }
        // A hole at the end grows.
        let last = self.by_start.last_key_value().map(|(&s, &l)| (s, l));
        let start = match last {
            Some((s, l)) if s + l == self.end => {
                self.remove(s, l);
                s
            }
            _ => self.end,
        };
        self.end = start + len;
        start
    }
}

/// Places all buffers of the arena; gives its size in bytes. Buffers that no step
/// mentions are placed at 0.
pub(crate) fn place(buffers: &mut IndexVec<Buffer, BufferDecl>, steps: &[Step]) -> usize {
    let mut lives = Lives { spans: FxHashMap::default(), clock: 0 };
    lives.steps(steps);
    let mut order: Vec<(usize, usize, Buffer)> = lives
        .spans
        .iter()
        .filter(|(b, _)| matches!(buffers[**b].place, Place::Arena(_)))
        .map(|(&b, &(first, last))| (first, last, b))
        .collect();
    order.sort_unstable();
    let round = |n: usize, to: usize| n.div_ceil(to) * to;
    // Single elements have an arena of their own, packed closely, before the rest.
    let mut scalars = Holes::default();
    let mut arrays = Holes::default();
    let mut dying: BTreeSet<(usize, Buffer)> = BTreeSet::new();
    let mut placed: IndexVec<Buffer, (usize, usize)> = IndexVec::filled((0, 0), buffers.len());
    let is_scalar = |d: &BufferDecl| d.len <= 1;
    for (first, last, b) in order {
        while let Some(&(end, dead)) = dying.first().filter(|d| d.0 < first) {
            dying.remove(&(end, dead));
            let (start, len) = placed[dead];
            let holes = if is_scalar(&buffers[dead]) { &mut scalars } else { &mut arrays };
            holes.insert(start, len);
        }
        let decl = &buffers[b];
        let (holes, align) =
            if is_scalar(decl) { (&mut scalars, SCALAR_ALIGN) } else { (&mut arrays, ALIGN) };
        let bytes = decl.len.saturating_mul(decl.dtype.size()).max(1);
        let len = round(bytes.min(usize::MAX / 2), align);
        placed[b] = (holes.take(len), len);
        dying.insert((last, b));
    }
    let base = round(scalars.end, ALIGN);
    for (b, &(start, _)) in placed.entries() {
        let b = Buffer::new(b.index());
        let shift = if is_scalar(&buffers[b]) { 0 } else { base };
        if let Place::Arena(offset) = &mut buffers[b].place {
            *offset = start + shift;
        }
    }
    base.saturating_add(arrays.end)
}
