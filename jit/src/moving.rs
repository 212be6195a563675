//! Buffers that are elsewhere while a loop runs.
//!
//! A loop over rows sets a buffer to each row that it reads, and copies others to the rows
//! that it writes; what it carries is copied at the end of each iteration to where the next
//! one expects it. Where nobody can tell the difference, nothing is copied:
//!
//! * A row that is only read, and one that is written by the iteration alone, is worked on
//!   where it is: the buffer's address is the row's.
//! * A carry and the buffer that becomes it change places: their addresses are variables.
//!   If the carry is not at home after the last iteration, it is copied there.
//!
//! The difference could be told by whoever mentions such a buffer outside the loop, or in a
//! function of its own that was made of a part of the body; and by what shares the memory of
//! a buffer that is to hold a carry through an iteration.

use std::ops::Range;

use backstitch_ir::plan::{Buffer, Place, Plan, RowOf, Step};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::Variable;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::access::SMALL_COPY;
use crate::asm::{Addr, WORD};
use crate::entry::Node;
use crate::part::PartEmitter;
use crate::survey::{for_each_assigned, for_each_buffer};

/// Where a buffer is for the moment.
#[derive(Clone, Copy)]
pub(crate) enum Elsewhere {
    /// At an address that an iteration begins with.
    At(Addr),
    /// Where a variable says.
    Variable(Variable),
}

/// What the body of a loop does with buffers, as far as it is in one function.
pub(crate) struct Inside {
    mentions: FxHashMap<Buffer, u32>,
    assigned: FxHashSet<Buffer>,
    /// Whether all of it is in one function.
    whole: bool,
}

impl Inside {
    pub fn of(plan: &Plan, head: &[Node<'_>], body: &[Node<'_>]) -> Self {
        let (mentions, assigned) = (FxHashMap::default(), FxHashSet::default());
        let mut inside = Self { mentions, assigned, whole: true };
        inside.nodes(plan, head);
        inside.nodes(plan, body);
        inside
    }

    fn nodes(&mut self, plan: &Plan, nodes: &[Node<'_>]) {
        for node in nodes {
            match node {
                Node::Step(step) => {
                    for_each_buffer(step, &mut |b| self.mention(b));
                    for_each_assigned(plan, step, &mut |b| {
                        self.assigned.insert(b);
                    });
                }
                Node::Part(_) => self.whole = false,
                Node::If { pred, then: a, els: b } | Node::While { pred, head: a, body: b, .. } => {
                    self.mention(*pred);
                    self.nodes(plan, a);
                    self.nodes(plan, b);
                }
                Node::Repeat { count, body, .. } => {
                    self.mention(*count);
                    self.nodes(plan, body);
                }
                Node::Scan { reads, writes, body, .. } => {
                    for r in reads.iter().chain(*writes) {
                        self.mention(r.rows);
                        self.mention(r.entry);
                    }
                    self.assigned.extend(reads.iter().map(|r| r.entry));
                    self.assigned.extend(writes.iter().map(|r| r.rows));
                    self.nodes(plan, body);
                }
            }
        }
    }

    fn mention(&mut self, buffer: Buffer) {
        *self.mentions.entry(buffer).or_default() += 1;
    }

    fn mentions(&self, buffer: Buffer) -> u32 {
        self.mentions.get(&buffer).copied().unwrap_or(0)
    }

    /// Whether something else is in the memory of a buffer at some time. What is worked on
    /// in rows is not in memory of its own.
    fn is_shared(&self, plan: &Plan, buffer: Buffer, rows: &[&RowOf]) -> bool {
        let Some(own) = bytes(plan, buffer) else { return false };
        let overlaps = |other: &Buffer| {
            let other = bytes(plan, *other);
            other.is_some_and(|other| other.start < own.end && own.start < other.end)
        };
        let in_row = |other: &Buffer| rows.iter().any(|r| r.entry == *other);
        self.mentions.keys().any(|b| *b != buffer && overlaps(b) && !in_row(b))
    }
}

/// The part of the arena that a buffer is in.
fn bytes(plan: &Plan, buffer: Buffer) -> Option<Range<usize>> {
    let decl = &plan.buffers[buffer];
    let Place::Arena(at) = decl.place else { return None };
    Some(at..at + decl.len * decl.dtype.size())
}

/// A carry and the buffer that becomes it.
struct Swap {
    step: *const Step,
    carry: Buffer,
    next: Buffer,
}

/// A carry on its way.
pub(crate) struct Swapped {
    swap: Swap,
    /// Where both are.
    places: [Variable; 2],
    /// Where the carry was before the loop, and is to be after it.
    home: Value,
    before: Option<Elsewhere>,
}

impl<'p> PartEmitter<'_, 'p, '_> {
    // ---- Rows ----

    /// Whether a row can be read where it is: nothing is written to it, nor to what stands
    /// for it.
    pub(crate) fn reads_in_place(&self, r: &RowOf, inside: &Inside) -> bool {
        let written = inside.assigned.contains(&r.entry) || inside.assigned.contains(&r.rows);
        self.is_own(r, inside) && !written
    }

    /// Whether a row can be written where it is: nobody else looks at it.
    pub(crate) fn writes_in_place(&self, r: &RowOf, inside: &Inside) -> bool {
        self.is_own(r, inside) && inside.mentions(r.rows) == 0
    }

    /// Whether nothing but this row and the body mentions an entry.
    fn is_own(&self, r: &RowOf, inside: &Inside) -> bool {
        let steps = &self.steps;
        let in_memory = [r.entry, r.rows].iter().all(|&b| !self.in_registers(b));
        let in_arena = matches!(steps.plan.buffers[r.entry].place, Place::Arena(_));
        let own = inside.mentions(r.entry) + 1 == steps.survey.mentions[r.entry];
        inside.whole && in_memory && in_arena && own
    }

    /// From here to the end of the loop, the entry is at an address.
    pub(crate) fn bind(&mut self, r: &RowOf, at: Addr) {
        self.forward.forget(r.entry);
        self.elsewhere.insert(r.entry, Elsewhere::At(at));
    }

    /// No longer.
    pub(crate) fn unbind(&mut self, r: &RowOf) {
        self.elsewhere.remove(&r.entry);
    }

    // ---- Carries ----

    /// The carries that change places with what they become, at the end of the body of a
    /// loop: the last that happens to either.
    fn swaps(&self, body: &[Node<'p>], inside: &Inside, rows: &[&RowOf]) -> SmallVec<[Swap; 4]> {
        let steps = &self.steps;
        let (mut swaps, mut later) = (SmallVec::new(), FxHashSet::default());
        if !inside.whole {
            return swaps;
        }
        for node in body.iter().rev() {
            let Node::Step(step @ Step::Copy { from, to }) = node else { break };
            let (next, carry) = (*from, *to);
            let in_memory = [next, carry].iter().all(|&b| !self.in_registers(b));
            let in_arena = matches!(steps.plan.buffers[next].place, Place::Arena(_));
            let own = inside.mentions(next) == steps.survey.mentions[next];
            let last = !later.contains(&next) && !later.contains(&carry);
            let long = self.bytes(carry) > SMALL_COPY;
            if in_memory
                && in_arena
                && own
                && last
                && long
                && !inside.is_shared(steps.plan, next, rows)
            {
                swaps.push(Swap { step: *step, carry, next });
            }
            later.extend([next, carry]);
        }
        swaps
    }

    /// Before a loop, of which these rows are worked on where they are: carries are where
    /// variables say.
    pub(crate) fn begin_swaps(
        &mut self,
        body: &[Node<'p>],
        inside: &Inside,
        rows: &[&RowOf],
    ) -> SmallVec<[Swapped; 4]> {
        let swaps = self.swaps(body, inside, rows);
        let begin = |swap: Swap| {
            let both = [swap.carry, swap.next];
            let [home, next] = both.map(|b| self.pointer(b));
            let places = [(); 2].map(|()| self.asm.variable(WORD));
            self.asm.define(places[0], home);
            self.asm.define(places[1], next);
            let before = self.elsewhere.insert(swap.carry, Elsewhere::Variable(places[0]));
            self.elsewhere.insert(swap.next, Elsewhere::Variable(places[1]));
            self.swapping.insert(swap.step, places);
            Swapped { swap, places, home, before }
        };
        swaps.into_iter().map(begin).collect()
    }

    /// Lets a carry and what it becomes change places, if that is what this step is.
    pub(crate) fn swap(&mut self, step: &Step, from: Buffer, to: Buffer) -> bool {
        let Some(&[carry, next]) = self.swapping.get(&std::ptr::from_ref(step)) else {
            return false;
        };
        let (a, b) = (self.asm.read(carry), self.asm.read(next));
        self.asm.define(carry, b);
        self.asm.define(next, a);
        self.forward.forget(from);
        self.forward.forget(to);
        true
    }

    /// After the loop: what is not at home is copied there.
    pub(crate) fn end_swaps(&mut self, swapped: SmallVec<[Swapped; 4]>) {
        for Swapped { swap, places, home, before } in swapped {
            self.swapping.remove(&swap.step);
            self.elsewhere.remove(&swap.next);
            match before {
                Some(before) => self.elsewhere.insert(swap.carry, before),
                None => self.elsewhere.remove(&swap.carry),
            };
            let at = self.asm.read(places[0]);
            let away = self.asm.ins().icmp(IntCC::NotEqual, at, home);
            let [bring, go_on] = [(); 2].map(|()| self.asm.block(&[]));
            self.asm.branch(away, (bring, &[]), (go_on, &[]));
            self.place_sealed(bring);
            let [from, to] = [at, home].map(|base| Addr { base, disp: 0 });
            self.copy_bytes(from, to, self.bytes(swap.carry));
            self.asm.jump(go_on, &[]);
            self.place_sealed(go_on);
        }
    }
}
