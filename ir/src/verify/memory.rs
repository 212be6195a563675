//! The verifier of plans: what is written when, and where it lies.
//!
//! One walk over the steps in the order of the text finds both. What is written
//! on each way to a step is a set that grows along the walk; a trail of what
//! entered it lets branches and bodies be left at the cost of what they wrote.
//! Time is twice the number of a step, and one more between the head and the
//! body of a loop, where the predicate is read, and at the end of a loop.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use rustc_hash::FxHashSet;

use super::VerifyError;
use super::plan::{Use, uses};
use crate::index::IndexVec;
use crate::plan::{Buffer, Place, Plan, Step};
use crate::text::{buffer_line, step_line};

/// Checks a plan in which all that is named exists and is in bounds.
pub(super) fn check(plan: &Plan, errors: &mut Vec<VerifyError>) {
    let given = |place: &Place| matches!(place, Place::Input(_) | Place::Constant(_));
    let mut w = Walk {
        plan,
        errors,
        step: 0,
        written: plan.buffers.iter().map(|decl| given(&decl.place)).collect(),
        trail: vec![],
        lives: IndexVec::filled(None, plan.buffers.len()),
        loops: vec![],
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
    let lives = w.lives;
    overlaps(plan, &lives, errors);
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

struct Walk<'a> {
    plan: &'a Plan,
    errors: &'a mut Vec<VerifyError>,
    /// Number of the next step.
    step: usize,
    written: IndexVec<Buffer, bool>,
    trail: Vec<Buffer>,
    lives: IndexVec<Buffer, Option<Life>>,
    /// Outermost first.
    loops: Vec<Around>,
}

impl Walk<'_> {
    fn steps(&mut self, steps: &[Step]) {
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
                _ => self.uses(step, number, time),
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
fn overlaps(plan: &Plan, lives: &IndexVec<Buffer, Option<Life>>, errors: &mut Vec<VerifyError>) {
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
    for (life, at, end, b) in placed {
        while let Some(&Reverse((death, start))) = deaths.peek()
            && death < life.birth
        {
            deaths.pop();
            alive.remove(&start);
        }
        let last_before_end = alive.range(..end).next_back();
        if let Some((_, &(_, other))) =
            last_before_end.filter(|(_, (other_end, _))| *other_end > at)
        {
            let message = format!("it overlaps {} while both live", buffer_line(plan, other));
            errors.push(VerifyError { entity: b.to_string(), line: buffer_line(plan, b), message });
            continue;
        }
        alive.insert(at, (end, b));
        deaths.push(Reverse((life.death, at)));
    }
}
