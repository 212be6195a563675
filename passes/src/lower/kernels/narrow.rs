//! Short inner loops, written out: vectors run over the rows instead.
//!
//! ```text
//! for rows { for 3 columns { … } }    ⇒    for rows vector { column 0; column 1; column 2 }
//! ```
//!
//! Three elements are no vector, and a reduction over ten of them spends its time on
//! combining lanes. So where the innermost loops have few iterations together, these are
//! statements of a vector loop over the rows. Functions of the row are in vectors too
//! then, nothing is kept for later phases (the builder knows what it has computed), and
//! a sum over rows has partial results for each column, in registers.
//!
//! Where nothing is reduced and nothing happens per row, that pays only if vectors along
//! the columns would have leftovers: a row of four or eight elements is as good as any.

use std::rc::Rc;

use backstitch_ir::nest::Var;
use backstitch_ir::threshold;
use smallvec::SmallVec;

use super::emit::Emit;
use super::keep::operation_cost;
use super::nesting::{LEAST_VECTOR, lanes};
use super::reduction::Reduction;
use crate::lower::groups::{Item, ItemOp};
use crate::lower::nest::Loops;

/// Elements of a row at most, where rows have results or functions of their own.
const MOST: usize = 16;

/// The same where only columns have results.
const MOST_SUMS: usize = 8;

/// The same where there is no result but the elements.
const MOST_PLAIN: usize = 7;

/// Rows at least.
const LEAST_ROWS: usize = threshold(16, 2);

/// Operations of a row at most: straight-line code has to stay short.
const MOST_WORK: usize = 800;

/// Where the loops stand in those that are written out; −1 for anywhere.
pub(super) type Positions = SmallVec<[i64; 4]>;

/// How many of the innermost loops are to be written out.
pub(super) fn written_out(items: &[Rc<Item>], loops: &Loops, rows: usize, phases: u32) -> usize {
    let all = loops.len();
    let count = match rows {
        0 if phases > 0 => 0,
        0 => usize::from(all > 1),
        _ => all - rows,
    };
    if count == 0 {
        return 0;
    }
    let elements: usize = (all - count..all).map(|d| loops.extent(d)).product();
    let reduces = |over: bool| {
        items.iter().any(|i| match &i.op {
            ItemOp::Reduce { axes, .. } => loops.is(all - 1, |a| axes.contains(&a)) == over,
            _ => false,
        })
    };
    let most = match () {
        () if rows > 0 || reduces(true) => MOST,
        () if reduces(false) => MOST_SUMS,
        () if !elements.is_multiple_of(4) => MOST_PLAIN,
        () => 0,
    };
    let work: usize = items.iter().map(|i| operation_cost(&i.op)).sum();
    let short = (2..=most).contains(&elements) && work * elements <= MOST_WORK;
    if short && loops.extent(all - count - 1) >= LEAST_ROWS { count } else { 0 }
}

/// All positions in loops of these extents; `None` is anywhere.
pub(super) fn positions(extents: impl Iterator<Item = Option<usize>>) -> Vec<Positions> {
    extents.fold(vec![Positions::new()], |before, extent| {
        let here = || match extent {
            Some(n) => 0..n as i64,
            None => -1..0,
        };
        let each = |p: Positions| {
            here().map(move |i| {
                let mut p = p.clone();
                p.push(i);
                p
            })
        };
        before.into_iter().flat_map(each).collect()
    })
}

/// Does something at each position of the loops that are written out; once, if there are
/// none.
pub(super) fn at_each(e: &mut Emit<'_, '_>, mut f: impl FnMut(&mut Emit<'_, '_>)) {
    let loops = e.full..e.loops.len();
    if loops.is_empty() {
        return f(e);
    }
    for at in positions(loops.map(|d| Some(e.loops.extent(d)))) {
        let around = e.env.clone();
        e.written = at;
        f(e);
        e.env = around;
    }
    e.written.clear();
}

/// Reductions over loops that are written out, in the order that a loop would have: which
/// of the two it is depends on what else is in the kernel, and bits must not.
#[derive(Default)]
pub(super) struct Written {
    runs: Vec<(usize, Run)>,
}

/// One of them: partial results of the innermost loop, and what is complete.
#[derive(Default)]
struct Run {
    partials: SmallVec<[Var; 4]>,
    seen: usize,
    complete: Option<Var>,
}

impl Written {
    /// Adds what is reduced at the position where the loops stand to what was before.
    pub fn add(&mut self, e: &mut Emit<'_, '_>, reductions: &[Reduction], k: usize) {
        let r = &reductions[k];
        let here =
            |column: &Positions| column.iter().zip(&e.written).all(|(c, at)| *c < 0 || c == at);
        if !r.column.as_ref().is_none_or(here) {
            return;
        }
        let v = e.read(&r.arg);
        if e.written.is_empty() {
            // It is in a loop, which combines.
            self.runs.push((k, Run { complete: Some(v), ..Run::default() }));
            return;
        }
        let over_innermost = r.column.as_ref().is_none_or(|c| c.last().is_some_and(|&c| c < 0));
        let length = if over_innermost { e.loops.extent(e.loops.len() - 1) } else { 1 };
        let i = self.runs.iter().position(|run| run.0 == k).unwrap_or_else(|| {
            self.runs.push((k, Run::default()));
            self.runs.len() - 1
        });
        let run = &mut self.runs[i].1;
        if run.seen == 0 && length > 1 {
            let identity = e.b.constant(r.monoid.identity(r.dtype));
            run.partials = SmallVec::from_elem(identity, lanes_of_a_run(length));
        }
        let folded = if length > 1 {
            let lane = run.seen % run.partials.len();
            run.partials[lane] = e.b.take(r.monoid, run.partials[lane], v);
            run.seen += 1;
            if run.seen < length {
                return;
            }
            run.seen = 0;
            let mut half = run.partials.len() / 2;
            while half > 0 {
                for j in 0..half {
                    run.partials[j] =
                        e.b.combine(r.monoid, run.partials[j], run.partials[j + half]);
                }
                half /= 2;
            }
            run.partials[0]
        } else {
            v
        };
        run.complete = Some(match run.complete {
            Some(before) => e.b.take(r.monoid, before, folded),
            None => folded,
        });
    }

    /// The results, by the numbers of the reductions.
    pub fn finish(self) -> Vec<(usize, Var)> {
        self.runs.into_iter().filter_map(|(k, run)| Some((k, run.complete?))).collect()
    }
}

/// Partial results of an innermost loop of so many iterations.
fn lanes_of_a_run(length: usize) -> usize {
    if length >= LEAST_VECTOR { lanes(length, usize::MAX, std::iter::empty()) } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_in_order() {
        let all = positions([Some(2), None, Some(2)].into_iter());
        let all: Vec<&[i64]> = all.iter().map(|p| &p[..]).collect();
        assert_eq!(all, [[0, -1, 0], [0, -1, 1], [1, -1, 0], [1, -1, 1]]);
        assert_eq!(positions(std::iter::empty()).len(), 1);
    }
}
