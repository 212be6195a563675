//! First and last step of each buffer.

use backstitch_ir::index::IndexVec;
use backstitch_ir::plan::{Buffer, BufferRef, Kernel, Step};
use rustc_hash::FxHashMap;

/// When buffers live, and when kernels run.
pub(super) struct Lives<'p> {
    /// Of each buffer, the times of the first and the last step that mentions it.
    pub spans: IndexVec<Buffer, Option<(usize, usize)>>,
    /// Each run of a kernel, with its time.
    pub runs: Vec<(usize, Kernel, &'p [BufferRef])>,
}

/// Finds out when buffers live.
///
/// Steps are numbered from 1 in the order of the text; between them are moments of
/// their own: where the predicate of a loop is read, where rows become entries and the
/// other way round, and at the end of a loop.
pub(super) fn of(steps: &[Step], buffers: usize) -> Lives<'_> {
    let mut walk = Walk { spans: FxHashMap::default(), runs: Vec::new(), clock: 0 };
    walk.steps(steps);
    let mut spans = IndexVec::filled(None, buffers);
    walk.spans.into_iter().for_each(|(b, span)| spans[b] = Some(span));
    Lives { spans, runs: walk.runs }
}

struct Walk<'p> {
    spans: FxHashMap<Buffer, (usize, usize)>,
    runs: Vec<(usize, Kernel, &'p [BufferRef])>,
    clock: usize,
}

impl<'p> Walk<'p> {
    fn touch(&mut self, b: Buffer) {
        let now = self.clock;
        let span = self.spans.entry(b).or_insert((now, now));
        span.1 = now;
    }

    fn steps(&mut self, steps: &'p [Step]) {
        steps.iter().for_each(|s| self.step(s));
    }

    fn step(&mut self, step: &'p Step) {
        self.clock += 1;
        match step {
            Step::Run { kernel, args } => {
                args.iter().for_each(|a| self.touch(a.buffer));
                self.runs.push((self.clock, *kernel, args));
            }
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
            Step::While { head, pred, body } => self.repeated(|walk| {
                walk.steps(head);
                walk.clock += 1;
                walk.touch(*pred);
                walk.steps(body);
            }),
            Step::Scan { reads, writes, body, .. } => {
                reads.iter().chain(writes).for_each(|r| self.touch(r.rows));
                self.repeated(|walk| {
                    walk.clock += 1;
                    reads.iter().for_each(|r| walk.touch(r.entry));
                    walk.steps(body);
                    walk.clock += 1;
                    writes.iter().for_each(|r| walk.touch(r.entry));
                    reads.iter().chain(writes).for_each(|r| walk.touch(r.rows));
                });
            }
            Step::Repeat { count, body } => {
                self.touch(*count);
                self.repeated(|walk| walk.steps(body));
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
