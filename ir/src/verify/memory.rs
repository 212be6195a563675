//! The verifier of plans: what is written when, and where it lies.
//!
//! One walk over the steps in the order of the text finds both. What is written
//! on each way to a step is a set that grows along the walk; a trail of what
//! entered it lets branches and bodies be left at the cost of what they wrote.
//! Time is twice the number of a step, and one more between the head and the
//! body of a loop, where the predicate is read, and at the end of a loop.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use rustc_hash::{FxHashMap, FxHashSet};

use super::plan::{Use, uses};
use super::{VerifyError, in_place};
use crate::index::IndexVec;
use crate::nest::Access;
use crate::plan::{Buffer, BufferRef, Place, Plan, Step};
use crate::text::{buffer_line, step_line};

/// Checks a plan in which all that is named exists and is in bounds.
pub(super) fn check(plan: &Plan, errors: &mut Vec<VerifyError>) {
    let given = |place: &Place| {
        matches!(place, Place::Input(_) | Place::Donated { .. } | Place::Constant(_))
    };
    let mut w = Walk {
        plan,
        errors,
        step: 0,
        written: plan.buffers.iter().map(|decl| given(&decl.place)).collect(),
        trail: vec![],
        lives: IndexVec::filled(None, plan.buffers.len()),
        loops: vec![],
        runs: FxHashMap::default(),
    };
    w.steps(&plan.steps);
    for (b, decl) in plan.buffers.entries() {
        if matches!(decl.place, Place::Output(_)) && decl.len > 0 && !w.written[b] {
            w.errors.push(VerifyError {
                entity: b.to_string(),
                line: buffer_line(plan, b),
                message: "this output is not written on each way to the end".into(),
            });
        }
    }
    let (lives, runs) = (w.lives, w.runs);
    overlaps(plan, &lives, &runs, errors);
}

/// Times of the first and the last mention, loops taken into account.
#[derive(Clone, Copy)]
struct Life {
    birth: usize,
    death: usize,
}

/// A loop around the current step.
struct Around {
    start: usize,
    /// What was born before and is mentioned inside.
    wanted: Vec<Buffer>,
}

struct Walk<'a, 'e> {
    plan: &'a Plan,
    errors: &'e mut Vec<VerifyError>,
    /// Number of the next step.
    step: usize,
    written: IndexVec<Buffer, bool>,
    trail: Vec<Buffer>,
    lives: IndexVec<Buffer, Option<Life>>,
    /// Outermost first.
    loops: Vec<Around>,
    /// The kernels that are run, by time.
    runs: FxHashMap<usize, &'a Step>,
}

impl<'a> Walk<'a, '_> {
    fn steps(&mut self, steps: &'a [Step]) {
        for step in steps {
            let number = self.step;
            let time = 2 * number;
            self.step += 1;
            match step {
                Step::If { then, els, .. } => {
                    self.uses(step, number, time);
                    let mark = self.trail.len();
                    self.steps(then);
                    let by_then: FxHashSet<Buffer> = self.leave(mark).into_iter().collect();
                    self.steps(els);
                    let by_both = self.leave(mark).into_iter().filter(|b| by_then.contains(b));
                    by_both.for_each(|b| self.write(b));
                }
                Step::While { head, body, .. } => {
                    self.enter(time);
                    self.steps(head);
                    self.uses(step, number, self.now());
                    let mark = self.trail.len();
                    self.steps(body);
                    self.leave(mark);
                    self.exit();
                }
                Step::Scan { reads, writes, body, .. } => {
                    for r in reads {
                        self.reads(step, number, r.rows);
                    }
                    reads.iter().chain(writes).for_each(|r| self.mention(r.rows, time));
                    self.enter(time);
                    let mark = self.trail.len();
                    for r in reads {
                        self.mention(r.entry, time + 1);
                        self.write(r.entry);
                    }
                    self.steps(body);
                    for r in writes {
                        self.reads(step, number, r.entry);
                    }
                    let now = self.now();
                    for r in reads.iter().chain(writes) {
                        self.mention(r.rows, now);
                    }
                    writes.iter().for_each(|r| self.mention(r.entry, now));
                    self.leave(mark);
                    self.exit();
                    writes.iter().for_each(|r| self.write(r.rows));
                }
                Step::Repeat { body, .. } => {
                    self.uses(step, number, time);
                    self.enter(time);
                    let mark = self.trail.len();
                    self.steps(body);
                    self.leave(mark);
                    self.exit();
                }
                _ => {
                    if matches!(step, Step::Run { .. }) {
                        self.runs.insert(time, step);
                    }
                    self.uses(step, number, time);
                }
            }
        }
    }

    /// The time after the last step.
    const fn now(&self) -> usize {
        2 * self.step - 1
    }

    fn enter(&mut self, time: usize) {
        self.loops.push(Around { start: time + 1, wanted: vec![] });
    }

    fn exit(&mut self) {
        let now = self.now();
        for b in self.loops.pop().into_iter().flat_map(|l| l.wanted) {
            if let Some(life) = &mut self.lives[b] {
                life.death = life.death.max(now);
            }
        }
    }

    fn write(&mut self, b: Buffer) {
        if !std::mem::replace(&mut self.written[b], true) {
            self.trail.push(b);
        }
    }

    /// Forgets what was written since the trail was this long.
    fn leave(&mut self, mark: usize) -> Vec<Buffer> {
        let since = self.trail.split_off(mark);
        since.iter().for_each(|&b| self.written[b] = false);
        since
    }

    fn uses(&mut self, step: &Step, number: usize, time: usize) {
        let uses = uses(self.plan, step);
        for Use { buffer: b, elements, reads, .. } in &uses {
            self.mention(*b, time);
            if *reads && !elements.is_empty() {
                self.reads(step, number, *b);
            }
        }
        for u in uses.iter().filter(|u| u.writes && !u.elements.is_empty()) {
            self.write(u.buffer);
        }
    }

    fn reads(&mut self, step: &Step, number: usize, b: Buffer) {
        if !self.written[b] && self.plan.buffers[b].len > 0 {
            self.errors.push(VerifyError {
                entity: format!("step {number}"),
                line: step_line(step),
                message: format!("{b} is read, but not written on each way to here"),
            });
        }
    }

    fn mention(&mut self, b: Buffer, time: usize) {
        let life = self.lives[b].get_or_insert(Life { birth: time, death: time });
        life.death = life.death.max(time);
        // The outermost loop that it was born before.
        let born_inside = self.loops.partition_point(|l| l.start <= life.birth);
        if let Some(l) = self.loops.get_mut(born_inside) {
            l.wanted.push(b);
        }
    }
}

/// Finds buffers that overlap in the arena while both live. Sweeps over time;
/// what lives does not overlap, so that only neighbours in memory can meet.
fn overlaps(
    plan: &Plan,
    lives: &IndexVec<Buffer, Option<Life>>,
    runs: &FxHashMap<usize, &Step>,
    errors: &mut Vec<VerifyError>,
) {
    let placed = plan.buffers.entries().filter_map(|(b, decl)| match (&decl.place, lives[b]) {
        (Place::Arena(at), Some(life)) if decl.len > 0 => {
            let end = at.saturating_add(decl.len.saturating_mul(decl.dtype.size()));
            Some((life, *at, end, b))
        }
        _ => None,
    });
    let mut placed: Vec<_> = placed.collect();
    placed.sort_by_key(|(life, at, _, b)| (life.birth, *at, *b));
    let mut alive = BTreeMap::<usize, (usize, Buffer)>::new();
    let mut deaths = BinaryHeap::new();
    // Those whose place was taken at this time.
    let mut taken: (usize, Vec<(usize, usize, Buffer)>) = (0, vec![]);
    for (life, at, end, b) in placed {
        if taken.0 != life.birth {
            taken = (life.birth, vec![]);
        }
        while let Some(&Reverse((death, start, dead))) = deaths.peek()
            && death < life.birth
        {
            deaths.pop();
            // Another buffer may have taken its place.
            if alive.get(&start).is_some_and(|&(_, other)| other == dead) {
                alive.remove(&start);
            }
        }
        while let Some((&start, &(other_end, other))) = alive.range(..end).next_back()
            && other_end > at
            && lives[other].is_some_and(|l| l.death == life.birth)
        {
            alive.remove(&start);
            taken.1.push((start, other_end, other));
        }
        let met = alive.range(..end).next_back().filter(|(_, other)| other.0 > at);
        let met = met.map(|(_, other)| (other.1, String::new()));
        let run = runs.get(&life.birth).copied();
        let over = || {
            let meet = taken.1.iter().filter(|(start, other, _)| *start < end && at < *other);
            meet.map(|t| t.2).find_map(|old| Some((old, takes_over(plan, run, old, b).err()?)))
        };
        let message = met.or_else(over);
        if let Some((other, why)) = message {
            let why = if why.is_empty() { why } else { format!(": {why}") };
            let message = format!("it overlaps {} while both live{why}", buffer_line(plan, other));
            errors.push(VerifyError { entity: b.to_string(), line: buffer_line(plan, b), message });
            continue;
        }
        alive.insert(at, (end, b));
        deaths.push(Reverse((life.death, at, b)));
    }
}

/// Whether one buffer may take the place of another, where it is mentioned for the first
/// time as the other is for the last: in a kernel that loads nothing once it has stored
/// over it.
fn takes_over(plan: &Plan, run: Option<&Step>, old: Buffer, new: Buffer) -> Result<(), String> {
    let Some(Step::Run { kernel, args }) = run else { return Err(String::new()) };
    let nest = &plan.kernels[*kernel];
    let (Place::Arena(old_at), Place::Arena(new_at)) =
        (&plan.buffers[old].place, &plan.buffers[new].place)
    else {
        return Err(String::new());
    };
    let at = |b: Buffer| nest.params.keys().zip(args).filter(move |(_, arg)| arg.buffer == b);
    let start = |place: usize, arg: &BufferRef, b: Buffer| {
        place as i128 + (arg.offset * plan.buffers[b].dtype.size()) as i128
    };
    for (from, read) in at(old) {
        if nest.params[from].access != Access::Last {
            return Err(format!("{from} is not read for the last time"));
        }
        for (to, written) in at(new) {
            if nest.params[to].access != Access::Out {
                return Err(format!("what {to} held before matters"));
            }
            let shift = start(*new_at, written, new) - start(*old_at, read, old);
            in_place::check(nest, from, to, shift)?;
        }
    }
    Ok(())
}
