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
//! * A carry that is copied to a row before it changes, as a reverse loop wants it, is in
//!   that row to begin with: each iteration makes the next one in the next row, and the last
//!   iteration at home. Rows have to begin where lines of the cache do, or what is saved is
//!   lost to accesses across them.
//!
//! The difference could be told by whoever mentions such a buffer outside the loop, or in a
//! function of its own that was made of a part of the body; and by what shares the memory of
//! a buffer that is to hold a carry through an iteration, if that is not a row.

use std::ops::Range;

use backstitch_ir::plan::{ALIGN, Buffer, Place, Plan, RowOf, Step};
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
    /// How many steps write a buffer.
    assigned: FxHashMap<Buffer, u32>,
    /// Whether all of it is in one function.
    whole: bool,
}

impl Inside {
    pub fn of(plan: &Plan, head: &[Node<'_>], body: &[Node<'_>]) -> Self {
        let (mentions, assigned) = (FxHashMap::default(), FxHashMap::default());
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
                    for_each_assigned(plan, step, &mut |b| self.assign(b));
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
                    reads.iter().for_each(|r| self.assign(r.entry));
                    writes.iter().for_each(|r| self.assign(r.rows));
                    self.nodes(plan, body);
                }
            }
        }
    }

    fn mention(&mut self, buffer: Buffer) {
        *self.mentions.entry(buffer).or_default() += 1;
    }

    fn assign(&mut self, buffer: Buffer) {
        *self.assigned.entry(buffer).or_default() += 1;
    }

    fn is_assigned(&self, buffer: Buffer) -> bool {
        self.assigned.contains_key(&buffer)
    }

    fn mentions(&self, buffer: Buffer) -> u32 {
        self.mentions.get(&buffer).copied().unwrap_or(0)
    }

    /// The memory of all that is mentioned. What is worked on in rows is not in memory of
    /// its own.
    fn memory(&self, plan: &Plan, rows: &[&RowOf]) -> Memory {
        let in_rows: FxHashSet<Buffer> = rows.iter().map(|r| r.entry).collect();
        let own = self.mentions.keys().filter(|b| !in_rows.contains(b));
        Memory::of(own.filter_map(|&b| Some((bytes(plan, b)?, b))).collect())
    }
}

/// Where a buffer ends, if there is one.
type End = (usize, Option<Buffer>);

/// Where buffers begin, in order; with each the two places farthest on at which it, and
/// those before it, end.
struct Memory(Vec<(usize, [End; 2])>);

impl Memory {
    fn of(mut parts: Vec<(Range<usize>, Buffer)>) -> Self {
        parts.sort_unstable_by_key(|(bytes, b)| (bytes.start, *b));
        let mut ends = [(0, None); 2];
        let parts = parts.into_iter().map(|(bytes, b)| {
            if bytes.end > ends[0].0 {
                ends = [(bytes.end, Some(b)), ends[0]];
            } else if bytes.end > ends[1].0 {
                ends[1] = (bytes.end, Some(b));
            }
            (bytes.start, ends)
        });
        Self(parts.collect())
    }

    /// Whether another buffer is in this part of the arena, which one buffer has.
    fn is_shared(&self, part: &Range<usize>, buffer: Buffer) -> bool {
        let before = self.0.partition_point(|&(start, _)| start < part.end);
        let ends = before.checked_sub(1).map(|last| self.0[last].1);
        let reaches = |&(end, b): &End| b != Some(buffer) && end > part.start;
        ends.is_some_and(|ends| ends.iter().any(reaches))
    }
}

/// The part of the arena that a buffer is in.
fn bytes(plan: &Plan, buffer: Buffer) -> Option<Range<usize>> {
    let decl = &plan.buffers[buffer];
    let Place::Arena(at) = decl.place else { return None };
    Some(at..at + decl.len * decl.dtype.size())
}

/// A carry and the buffer that becomes it.
struct Swap<'a> {
    step: *const Step,
    carry: Buffer,
    next: Buffer,
    /// The rows that it is in, if it is, and the step that would copy it there.
    row: Option<(&'a RowOf, *const Step)>,
}

/// A carry on its way.
pub(crate) struct Swapped<'a> {
    swap: Swap<'a>,
    /// Where both are.
    places: [Variable; 2],
    /// Where the carry was before the loop, and is to be after it.
    home: Value,
    before: Option<Elsewhere>,
}

/// What becomes of a copy.
#[derive(Clone, Copy)]
pub(crate) enum Moved {
    /// What is in these two places changes them.
    Swapped([Variable; 2]),
    /// It is there.
    There,
}

impl<'p> PartEmitter<'_, 'p, '_> {
    // ---- Rows ----

    /// Whether a row can be read where it is: nothing is written to it, nor to what stands
    /// for it.
    pub(crate) fn reads_in_place(&self, r: &RowOf, inside: &Inside) -> bool {
        let written = inside.is_assigned(r.entry) || inside.is_assigned(r.rows);
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
    fn swaps<'a>(
        &self,
        body: &[Node<'p>],
        inside: &Inside,
        rows: &[&'a RowOf],
    ) -> SmallVec<[Swap<'a>; 4]> {
        let steps = &self.steps;
        let (mut swaps, mut later) = (SmallVec::new(), FxHashSet::default());
        if !inside.whole || !matches!(body.last(), Some(Node::Step(Step::Copy { .. }))) {
            return swaps;
        }
        let memory = inside.memory(steps.plan, rows);
        let copies = || {
            body.iter().rev().map_while(|node| match node {
                Node::Step(step @ Step::Copy { from, to }) => Some((*step, *from, *to)),
                _ => None,
            })
        };
        // Rows that are copies of something, by what that is.
        let is_copy = |r: &&RowOf| self.begins_lines(r) && inside.mentions(r.entry) == 1;
        let rows = rows.iter().copied().filter(is_copy);
        let rows: FxHashMap<Buffer, &RowOf> = rows.map(|r| (r.entry, r)).collect();
        let kept = copies().filter_map(|(step, from, to)| Some((from, (*rows.get(&to)?, step))));
        let kept: FxHashMap<Buffer, (&RowOf, &Step)> = kept.collect();
        for (step, next, carry) in copies() {
            let in_memory = [next, carry].iter().all(|&b| !self.in_registers(b));
            let in_arena = matches!(steps.plan.buffers[next].place, Place::Arena(_));
            let own = inside.mentions(next) == steps.survey.mentions[next];
            let last = !later.contains(&next) && !later.contains(&carry);
            let long = self.bytes(carry) > SMALL_COPY;
            let shared = |next| bytes(steps.plan, next).is_some_and(|b| memory.is_shared(&b, next));
            let once = || inside.assigned.get(&carry) == Some(&1);
            let row = kept.get(&carry).filter(|_| once()).map(|&(r, copy)| (r, &raw const *copy));
            if in_memory && in_arena && own && last && long && (row.is_some() || !shared(next)) {
                swaps.push(Swap { step, carry, next, row });
            }
            later.extend([next, carry]);
        }
        swaps
    }

    /// Whether each row begins a line of the cache.
    fn begins_lines(&self, r: &RowOf) -> bool {
        let in_arena = matches!(self.steps.plan.buffers[r.rows].place, Place::Arena(_));
        in_arena && self.bytes(r.entry).is_multiple_of(ALIGN)
    }

    /// Before a loop, of which these rows are worked on where they are: carries are where
    /// variables say. Given are the iterations, of a loop over rows.
    pub(crate) fn begin_swaps<'a>(
        &mut self,
        body: &[Node<'p>],
        inside: &Inside,
        rows: &[&'a RowOf],
        trips: Option<(Value, usize)>,
    ) -> SmallVec<[Swapped<'a>; 4]> {
        let swaps = self.swaps(body, inside, rows);
        let begin = |swap: Swap<'a>| {
            let both = [swap.carry, swap.next];
            let [home, next] = both.map(|b| self.pointer(b));
            let places = [(); 2].map(|()| self.asm.variable(WORD));
            let mut first = home;
            if let Some((r, copy)) = swap.row {
                let (left, count) = trips.expect("rows are those of a loop over rows");
                let to = self.row(r, left, count);
                let from = Addr { base: home, disp: 0 };
                self.copy_bytes(from, to, self.bytes(swap.carry));
                first = self.asm.address(to);
                self.moved.insert(copy, Moved::There);
            }
            self.asm.define(places[0], first);
            self.asm.define(places[1], next);
            let before = self.elsewhere.insert(swap.carry, Elsewhere::Variable(places[0]));
            self.elsewhere.insert(swap.next, Elsewhere::Variable(places[1]));
            self.moved.insert(swap.step, Moved::Swapped(places));
            Swapped { swap, places, home, before }
        };
        swaps.into_iter().map(begin).collect()
    }

    /// Before an iteration of a loop over rows, `left` being left: what becomes of carries
    /// that are in rows goes to the next ones, or home.
    pub(crate) fn next_rows(&mut self, swapped: &[Swapped<'_>], left: Value, count: usize) {
        for s in swapped {
            let Some((r, _)) = s.swap.row else { continue };
            let after = self.asm.add_int(left, -1);
            let next = self.row(r, after, count);
            let next = self.asm.address(next);
            let at = self.asm.ins().select(after, next, s.home);
            self.asm.define(s.places[1], at);
        }
    }

    /// Lets a carry and what it becomes change places, if that is what this step is, or does
    /// nothing, if what it copies is there.
    pub(crate) fn moves(&mut self, step: &Step, from: Buffer, to: Buffer) -> bool {
        match self.moved.get(&std::ptr::from_ref(step)) {
            None => return false,
            Some(Moved::There) => {}
            Some(&Moved::Swapped([carry, next])) => {
                let (a, b) = (self.asm.read(carry), self.asm.read(next));
                self.asm.define(carry, b);
                self.asm.define(next, a);
                self.forward.forget(from);
                self.forward.forget(to);
            }
        }
        true
    }

    /// After the loop: what is not at home is copied there.
    pub(crate) fn end_swaps(&mut self, swapped: SmallVec<[Swapped<'_>; 4]>) {
        for Swapped { swap, places, home, before } in swapped {
            self.moved.remove(&swap.step);
            self.elsewhere.remove(&swap.next);
            match before {
                Some(before) => self.elsewhere.insert(swap.carry, before),
                None => self.elsewhere.remove(&swap.carry),
            };
            if let Some((_, copy)) = swap.row {
                self.moved.remove(&copy);
                continue;
            }
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

#[cfg(test)]
mod tests {
    use backstitch_ir::Idx;

    use super::*;

    #[test]
    fn memory_is_shared_where_parts_meet() {
        let mut state = 3u64;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 33) % n) as usize
        };
        let mut found = [0, 0];
        for _ in 0..2000 {
            let parts: Vec<(Range<usize>, Buffer)> = (0..1 + below(8))
                .map(|i| {
                    let start = below(60);
                    (start..start + below(12), Buffer::new(i))
                })
                .collect();
            let memory = Memory::of(parts.clone());
            for (own, b) in &parts {
                let meets = |(other, c): &(Range<usize>, Buffer)| {
                    c != b && other.start < own.end && own.start < other.end
                };
                let want = parts.iter().any(meets);
                assert_eq!(memory.is_shared(own, *b), want, "{b} of {parts:?}");
                found[usize::from(want)] += 1;
            }
        }
        assert!(found.iter().all(|&n| n > 1000), "{found:?}");
    }
}
