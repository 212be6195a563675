//! Loops of unknown length: how long they were is known when they have run. The
//! forward sweep keeps nothing; the reverse computes the loop again from its first
//! carries, in segments of segments, as many at each level as there is memory for.
//!
//! ```text
//! reverse(state, n, levels):
//!     n small, or no level left:
//!         for j = n-1 … 0 { c = state; j times: c = f(c);  f*(f'(c)) }
//!     else, with m segments of l = ⌈n/m⌉ steps, some of them cut short or empty:
//!         c = state; for each segment { keep c; l times: c = f(c) }
//!         for each segment, the last first { reverse(what was kept, its steps, levels[1..]) }
//! ```
//!
//! The bytes are the same whatever `n` is. Up to the product of the levels each step is
//! computed again once per level; from there on the innermost segments get longer, and
//! the work in them grows with the square of their length.

use std::sync::Arc;

use backstitch_ir::ops::Cond;
use backstitch_ir::{DType, Graph, Scalar, Value};

use super::nest::{as_array, as_stack, moved, number, region, repeat};
use super::step::Stepper;

/// Up to how many steps it is not worth keeping carries.
const FEW: i64 = 4;

/// Steps that are computed again for each, at most, up to as many as the levels multiply
/// to: a sweep per level, one for residuals, and half of a few.
pub(super) fn recomputed(levels: &[usize]) -> f64 {
    levels.len() as f64 + 1.0 + (FEW - 1) as f64 / 2.0
}

/// The reverse of a loop of `steps` steps from `state` on: from cotangents to
/// cotangents. `outside`: values from outside, of all loops.
pub(super) fn unwind(
    to: &mut Graph,
    stepper: &Stepper,
    levels: &[usize],
    steps: Value,
    cts: &[Value],
    state: &[Value],
    outside: &[Value],
) -> Vec<Value> {
    let inputs = [&[steps], cts, state, outside].concat();
    region(to, "unwind", &inputs, |g, inputs| stepper.reversed(g, levels, inputs))
}

impl Stepper {
    /// The reverse, from a list of number of steps, cotangents, state and values from
    /// outside.
    fn reversed(&self, g: &mut Graph, levels: &[usize], all: &[Value]) -> Vec<Value> {
        let [count, inner @ ..] = levels else { return self.one_by_one(g, all) };
        let branch = |name: &str, f: &dyn Fn(&mut Graph, &[Value]) -> Vec<Value>| {
            let mut to = Graph::new(name);
            let inputs: Vec<Value> =
                all.iter().map(|&v| to.input(g.ty(v).clone(), g.name_of(v))).collect();
            let outputs = f(&mut to, &inputs);
            to.set_outputs(outputs);
            Arc::new(to)
        };
        let then = branch("few", &|g, all| self.one_by_one(g, all));
        let els = branch("many", &|g, all| self.in_segments(g, *count, inner, all));
        let few = g.constant(FEW);
        let few = g.map(Scalar::Le, &[all[0], few]);
        let operands = [&[few], all].concat();
        let made = g.add(Cond { then, els }, &operands);
        made.unwrap_or_else(|e| panic!("budget: {e}\n{g}")).to_vec()
    }

    /// Each step computed from the first state on.
    fn one_by_one(&self, g: &mut Graph, all: &[Value]) -> Vec<Value> {
        let (steps, rest) = (all[0], &all[1..]);
        let (cts, env) = rest.split_at(self.carries);
        let last = moved(g, steps, -1);
        let first = [cts, &[last]].concat();
        let (c, _) = repeat(g, steps, &first, env, &[], |g, c, env, _| {
            let (cts, j) = c.split_at(self.carries);
            let (state, outside) = env.split_at(self.kept);
            let state = self.ahead(g, j[0], state, outside);
            let residuals = self.record(g, &state, outside, None);
            let (next, _) = self.undo(g, cts, &residuals, outside, None);
            let j = moved(g, j[0], -1);
            ([next, vec![j]].concat(), vec![])
        });
        c[..self.carries].to_vec()
    }

    fn in_segments(
        &self,
        g: &mut Graph,
        count: usize,
        inner: &[usize],
        all: &[Value],
    ) -> Vec<Value> {
        let (steps, rest) = (all[0], &all[1..]);
        let (cts, rest) = rest.split_at(self.carries);
        let (state, outside) = rest.split_at(self.kept);
        let n = number(g, count);
        let segment = divided_up(g, steps, count);
        let zero = number(g, 0);
        let first = [state, &[zero]].concat();
        let env = [&[steps, segment], outside].concat();
        let (_, stacks) = repeat(g, n, &first, &env, &[], |g, c, env, _| {
            let (state, t) = c.split_at(self.kept);
            let (len, next) = (part(g, t[0], env), g.map(Scalar::Add, &[t[0], env[1]]));
            let ahead = self.ahead(g, len, state, &env[2..]);
            ([ahead, vec![next]].concat(), state.to_vec())
        });
        let stacks: Vec<Value> = stacks
            .into_iter()
            .map(|v| {
                let rows = as_array(g, v, count);
                as_stack(g, rows)
            })
            .collect();
        let before = number(g, count - 1);
        let last = g.map(Scalar::Mul, &[segment, before]);
        let first = [cts, &[last]].concat();
        let (c, _) = repeat(g, n, &first, &env, &stacks, |g, c, env, state| {
            let (cts, t) = c.split_at(self.carries);
            let len = part(g, t[0], env);
            let all = [&[len], cts, state, &env[2..]].concat();
            let next = self.reversed(g, inner, &all);
            let t = g.map(Scalar::Sub, &[t[0], env[1]]);
            ([next, vec![t]].concat(), vec![])
        });
        c[..self.carries].to_vec()
    }

    /// The state some steps later.
    fn ahead(&self, g: &mut Graph, steps: Value, state: &[Value], outside: &[Value]) -> Vec<Value> {
        let step = |g: &mut Graph, state: &[Value], outside: &[Value], _: &[Value]| {
            (self.advance(g, state, outside, None), vec![])
        };
        repeat(g, steps, state, outside, &[], step).0
    }
}

/// Steps of the segment that begins at `t`; `env` begins with the number of all steps and
/// of those of a segment.
fn part(g: &mut Graph, t: Value, env: &[Value]) -> Value {
    let left = g.map(Scalar::Sub, &[env[0], t]);
    let zero = number(g, 0);
    let left = g.map(Scalar::Max, &[left, zero]);
    g.map(Scalar::Min, &[left, env[1]])
}

/// `⌈n / by⌉`, as far as floats count.
fn divided_up(g: &mut Graph, n: Value, by: usize) -> Value {
    let n = g.cast(n, DType::F64);
    let by = g.like(n, by as f64);
    let quotient = g.map(Scalar::Div, &[n, by]);
    let up = g.map(Scalar::Ceil, &[quotient]);
    g.cast(up, DType::I64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps that are computed for a reverse of `n`, by the rules above.
    fn work(levels: &[usize], n: usize) -> usize {
        match levels {
            [count, inner @ ..] if n > FEW as usize => {
                let segment = n.div_ceil(*count);
                let lens = (0..*count).map(|i| n.saturating_sub(i * segment).min(segment));
                n + lens.map(|len| work(inner, len)).sum::<usize>()
            }
            _ => n * (n + 1) / 2,
        }
    }

    #[test]
    fn levels_bound_the_work() {
        for levels in [vec![2], vec![7], vec![5, 3], vec![16, 16, 16], vec![40, 32, 32]] {
            let most: usize = levels.iter().product::<usize>() * FEW as usize;
            for n in (0..100).chain((0..50).map(|i| most - i.min(most))) {
                let n = n.min(most);
                let bound = recomputed(&levels) * n as f64;
                assert!(work(&levels, n) as f64 <= bound, "{levels:?}, {n}");
            }
        }
    }
}
