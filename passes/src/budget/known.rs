//! Loops of known length: the forward sweep that keeps carries, and the reverse that
//! computes segments again.
//!
//! ```text
//! forward   for each segment { keep c; q times: c = f(c) }        then the tail: c, r = f'(c)
//! reverse   the tail: f*(r)
//!           for each segment, the last first {
//!               c = what was kept; the same with segments of that segment, or:
//!               q times: c, r = f'(c); q times: f*(r)
//!           }
//! ```

use backstitch_ir::{Graph, Value};

use super::nest::{
    Iteration, as_array, as_row, as_stack, flat, joined, moved, number, region, repeat,
};
use super::pair::Push;
use super::schedule::Schedule;
use super::step::{Forward, Stepper};
use crate::motion::flipped;

/// What a forward sweep leaves.
pub(super) struct Swept {
    /// The last carries.
    pub carries: Vec<Value>,
    /// Arrays of what was pushed and is asked for, in that order.
    pub kept: Vec<Value>,
    /// The carries before each segment, as arrays.
    pub starts: Vec<Value>,
    /// Residuals of the tail, as arrays.
    pub tail: Vec<Value>,
}

/// Where the reverse is.
#[derive(Clone, Copy)]
struct Here<'a> {
    /// Cotangents after the steps in question.
    cts: &'a [Value],
    /// Values from outside.
    outside: &'a [Value],
    /// The number of the first of those steps, if it has to be known.
    t: Option<Value>,
}

/// Runs a producer and keeps the carries before each segment, and the residuals of the
/// tail. `outside`: its constants and arrays.
pub(super) fn sweep(
    to: &mut Graph,
    p: &Forward,
    schedule: &Schedule,
    inits: &[Value],
    outside: &[Value],
) -> Swept {
    let carried = inits.len();
    let made = region(to, "sweep", &[inits, outside].concat(), |g, inputs| {
        let (inits, outside) = inputs.split_at(carried);
        swept(g, p, schedule, inits, outside)
    });
    let (carries, rest) = made.split_at(carried);
    let (kept, rest) = rest.split_at(p.kept.len());
    let (starts, tail) = rest.split_at(p.state(inits).len());
    let own = |vs: &[Value]| vs.to_vec();
    Swept { carries: own(carries), kept: own(kept), starts: own(starts), tail: own(tail) }
}

fn swept(
    g: &mut Graph,
    p: &Forward,
    s: &Schedule,
    inits: &[Value],
    outside: &[Value],
) -> Vec<Value> {
    let carried = inits.len();
    let plain: Vec<usize> = (0..carried).chain(p.kept.iter().map(|k| k.index)).collect();
    let step = |g: &mut Graph, c: &[Value], outside: &[Value], wanted: &[usize]| -> Iteration {
        let (c, t) = c.split_at(carried);
        let made = p.outputs(g, c, outside, t.first().copied(), wanted);
        let next = t.first().map(|&t| moved(g, t, 1));
        (made[..carried].iter().copied().chain(next).collect(), made[carried..].to_vec())
    };
    let (outer, segment) = (number(g, s.levels[0]), s.segment());
    let t = p.is_numbered().then(|| number(g, 0));
    let first = [inits, t.as_slice()].concat();
    let (mut last, stacks) = repeat(g, outer, &first, outside, &[], |g, c, outside, _| {
        let (next, kept): Iteration = if segment == 1 {
            let (next, kept) = step(g, c, outside, &plain);
            (next, kept.into_iter().map(|v| as_row(g, v)).collect())
        } else {
            let count = number(g, segment);
            let (next, kept) =
                repeat(g, count, c, outside, &[], |g, c, outside, _| step(g, c, outside, &plain));
            (next, kept.into_iter().map(|v| as_array(g, v, segment)).collect())
        };
        (next, [p.state(&c[..carried]), kept].concat())
    });
    let arrays: Vec<Value> = stacks.into_iter().map(|v| as_array(g, v, s.levels[0])).collect();
    let (starts, kept) = arrays.split_at(arrays.len() - p.kept.len());
    let mut kept = vec![kept.iter().map(|&v| flat(g, v)).collect::<Vec<_>>()];
    let mut tail = vec![];
    if s.tail > 0 {
        let wanted = [plain, p.residuals.clone()].concat();
        let count = number(g, s.tail);
        let (c, stacks) =
            repeat(g, count, &last, outside, &[], |g, c, outside, _| step(g, c, outside, &wanted));
        let arrays: Vec<Value> = stacks.into_iter().map(|v| as_array(g, v, s.tail)).collect();
        kept.push(arrays[..p.kept.len()].to_vec());
        (last, tail) = (c, arrays[p.kept.len()..].to_vec());
    }
    let kept = joined(g, &kept);
    let kept = in_order(g, kept, &p.kept);
    [&last[..carried], &kept, starts, &tail].concat()
}

/// The reverse: from cotangents to cotangents, and arrays of what is pushed. `starts`
/// and `tail` are what the sweeps of all producers left.
pub(super) fn unwind(
    to: &mut Graph,
    stepper: &Stepper,
    schedule: &Schedule,
    cts: &[Value],
    outside: &[Value],
    starts: &[Value],
    tail: &[Value],
) -> Iteration {
    let inputs = [cts, outside, starts, tail].concat();
    let made = region(to, "unwind", &inputs, |g, inputs| {
        let (cts, rest) = inputs.split_at(cts.len());
        let (outside, rest) = rest.split_at(outside.len());
        let (starts, tail) = rest.split_at(starts.len());
        let t = stepper.is_numbered().then(|| number(g, 0));
        let here = Here { cts, outside, t };
        let (cts, pushed) = stepper.unwound(g, schedule, here, starts, tail);
        [cts, pushed].concat()
    });
    (made[..cts.len()].to_vec(), made[cts.len()..].to_vec())
}

/// Arrays in the order in which they are asked for.
fn in_order(g: &mut Graph, arrays: Vec<Value>, pushes: &[Push]) -> Vec<Value> {
    let all = arrays.into_iter().zip(pushes);
    all.map(|(v, p)| if p.back { flipped(g, v) } else { v }).collect()
}

impl Stepper {
    fn unwound(
        &self,
        g: &mut Graph,
        s: &Schedule,
        here: Here<'_>,
        starts: &[Value],
        tail: &[Value],
    ) -> Iteration {
        let (segment, mut cts, mut pushed) = (s.segment(), here.cts.to_vec(), vec![]);
        if s.tail > 0 {
            let t = here.t.map(|t| moved(g, t, (s.levels[0] * segment) as isize));
            let (next, made) = self.undone(g, s.tail, Here { t, ..here }, &self.in_order(tail));
            cts = next;
            pushed.push(made);
        }
        let here = Here { cts: &cts, ..here };
        let (cts, made) = self.segments(g, &s.levels, s.levels[0] * segment, here, starts);
        pushed.push(made);
        let pushed = joined(g, &pushed);
        (cts, in_order(g, pushed, &self.pushes))
    }

    /// The reverse of the steps of all segments of a level.
    fn segments(
        &self,
        g: &mut Graph,
        levels: &[usize],
        len: usize,
        here: Here<'_>,
        starts: &[Value],
    ) -> Iteration {
        let (count, segment) = (levels[0], len / levels[0]);
        let stacks: Vec<Value> = starts.iter().map(|&v| as_stack(g, v)).collect();
        let last = here.t.map(|t| moved(g, t, (len - segment) as isize));
        let first = [here.cts, last.as_slice()].concat();
        let n = number(g, count);
        let (c, made) = repeat(g, n, &first, here.outside, &stacks, |g, c, outside, state| {
            let (cts, t) = c.split_at(self.carries);
            let here = Here { cts, outside, t: t.first().copied() };
            let (mut next, pushed) = self.backwards(g, &levels[1..], segment, here, state);
            next.extend(here.t.map(|t| moved(g, t, -(segment as isize))));
            (next, pushed)
        });
        let rows = |v| {
            let rows = as_array(g, v, count);
            flat(g, rows)
        };
        (c[..self.carries].to_vec(), made.into_iter().map(rows).collect())
    }

    /// The reverse of `len` steps, before which the carries are `state`.
    fn backwards(
        &self,
        g: &mut Graph,
        levels: &[usize],
        len: usize,
        here: Here<'_>,
        state: &[Value],
    ) -> Iteration {
        let first = [state, here.t.as_slice()].concat();
        if let Some(&count) = levels.first() {
            let n = number(g, count);
            let (_, stacks) = repeat(g, n, &first, here.outside, &[], |g, c, outside, _| {
                (self.advanced(g, len / count, c, outside), c[..self.kept].to_vec())
            });
            let starts: Vec<Value> = stacks.into_iter().map(|v| as_array(g, v, count)).collect();
            return self.segments(g, levels, len, here, &starts);
        }
        if len == 1 {
            let residuals = self.record(g, state, here.outside, here.t);
            let (next, pushed) = self.undo(g, here.cts, &residuals, here.outside, here.t);
            return (next, pushed.into_iter().map(|v| as_row(g, v)).collect());
        }
        let n = number(g, len);
        let (_, stacks) = repeat(g, n, &first, here.outside, &[], |g, c, outside, _| {
            let (state, t) = c.split_at(self.kept);
            let t = t.first().copied();
            let (mut next, residuals) = self.advance_and_record(g, state, outside, t);
            next.extend(t.map(|t| moved(g, t, 1)));
            (next, residuals)
        });
        let rows: Vec<Value> = stacks.into_iter().map(|v| as_array(g, v, len)).collect();
        self.undone(g, len, here, &rows)
    }

    /// The reverse of `len` steps whose residuals are in arrays.
    fn undone(&self, g: &mut Graph, len: usize, here: Here<'_>, residuals: &[Value]) -> Iteration {
        let stacks: Vec<Value> = residuals.iter().map(|&v| as_stack(g, v)).collect();
        let last = here.t.map(|t| moved(g, t, len as isize - 1));
        let first = [here.cts, last.as_slice()].concat();
        let n = number(g, len);
        let (c, made) = repeat(g, n, &first, here.outside, &stacks, |g, c, outside, residuals| {
            let (cts, t) = c.split_at(self.carries);
            let t = t.first().copied();
            let (mut next, pushed) = self.undo(g, cts, residuals, outside, t);
            next.extend(t.map(|t| moved(g, t, -1)));
            (next, pushed)
        });
        let pushed = made.into_iter().map(|v| as_array(g, v, len)).collect();
        (c[..self.carries].to_vec(), pushed)
    }

    /// State and step number after some steps.
    fn advanced(&self, g: &mut Graph, steps: usize, c: &[Value], outside: &[Value]) -> Vec<Value> {
        let step = |g: &mut Graph, c: &[Value], outside: &[Value]| {
            let (state, t) = c.split_at(self.kept);
            let mut next = self.advance(g, state, outside, t.first().copied());
            next.extend(t.first().map(|&t| moved(g, t, 1)));
            next
        };
        if steps == 1 {
            return step(g, c, outside);
        }
        let n = number(g, steps);
        repeat(g, n, c, outside, &[], |g, c, outside, _| (step(g, c, outside), vec![])).0
    }
}
