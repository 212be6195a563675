//! Which pair gets how many bytes.
//!
//! Memory is what lowering says, so a program is lowered after each change. Between two
//! lowerings the bytes that are too many are taken away in small pieces, each from the
//! pair whose schedule then has the least work to do again per byte. In the end, what
//! turns out not to have been in the way is kept again.

use backstitch_ir::Graph;

use super::rewrite::Choice;
use super::schedule::{self, Chain, choose};
use super::sites::{Site, Sites};
use super::{fits, need};
use crate::lower::{Lowered, lower_as};
use crate::pipeline::Options;

/// Lowerings at most on the way down, and on the way up again.
const TRIES: usize = 24;

/// Pieces at most between two lowerings.
const PIECES: usize = 1000;

/// A pair, and what was decided about it.
#[derive(Clone)]
pub(super) struct Candidate {
    pub chain: Chain,
    /// Whether its length is known.
    pub known: bool,
    pub choice: Option<Choice>,
    /// Bytes it takes at the moment, as far as the schedule goes; `None` if that grows with
    /// the number of iterations.
    pub bytes: Option<usize>,
    /// Work of one step, in all the times the loop runs.
    work: f64,
}

impl Candidate {
    pub fn new(site: &Site<'_>) -> Self {
        let (chain, known) = (site.pair.chain(), site.pair.steps.is_some());
        let bytes = known.then(|| chain.bytes());
        Self { chain, known, choice: None, bytes, work: site.work }
    }

    /// As it is without a budget.
    fn whole(&self) -> Self {
        Self { choice: None, bytes: self.known.then(|| self.chain.bytes()), ..*self }
    }

    /// The fewest bytes it can take.
    fn least(&self) -> usize {
        if self.known {
            choose(&self.chain, None).map_or(usize::MAX, |s| s.bytes(&self.chain))
        } else {
            self.chain.carries.saturating_mul(2).max(2)
        }
    }

    /// With at most so many bytes, if that can be.
    fn within(&self, bytes: usize) -> Option<Self> {
        let choice = if self.known {
            choose(&self.chain, Some(bytes)).map(Choice::Known)?
        } else {
            schedule::open(self.chain.carries, bytes).map(Choice::Open)?
        };
        let bytes = match &choice {
            Choice::Known(s) => s.bytes(&self.chain),
            Choice::Open(levels) => levels.iter().sum::<usize>() * self.chain.carries,
        };
        Some(Self { choice: Some(choice), bytes: Some(bytes), ..*self })
    }

    /// With about so many bytes less, or a little less than that if it has many.
    fn smaller(&self, by: usize, least: usize) -> Option<Self> {
        let now = self.bytes.filter(|&now| now > least)?;
        let by = by.min(now / 16).max(1);
        self.within(now.saturating_sub(by).max(least)).filter(|next| next.bytes < self.bytes)
    }

    /// Iterations that are computed again, for one.
    pub fn recomputed(&self) -> f64 {
        match &self.choice {
            None => 0.0,
            Some(Choice::Known(s)) => s.recomputed() as f64 / self.chain.steps.max(1) as f64,
            Some(Choice::Open(levels)) => super::open::recomputed(levels),
        }
    }

    /// Work that is done again.
    fn cost(&self) -> f64 {
        // Of unknown length: long.
        let steps = if self.known { self.chain.steps as f64 } else { 1e4 };
        self.work * steps * self.recomputed()
    }
}

/// A program as it is without a budget.
pub(super) struct Program<'a> {
    pub graph: &'a Graph,
    pub sites: &'a Sites,
    pub options: &'a Options,
}

/// The program with some pairs rewritten.
pub(super) struct Attempt {
    pub graph: Graph,
    pub lowered: Lowered,
}

impl Program<'_> {
    fn attempt(&self, candidates: &[Candidate]) -> Attempt {
        let choices: Vec<Option<Choice>> = candidates.iter().map(|c| c.choice.clone()).collect();
        let graph = self.sites.rewritten(self.graph, &choices);
        if self.options.verify
            && let Err(errors) = backstitch_ir::verify::verify_graph(&graph)
        {
            panic!("budget: {errors}\n{graph}");
        }
        let lowered = lower_as(&graph, self.options);
        Attempt { graph, lowered }
    }

    /// Choices with which it fits, or how many bytes the smallest take.
    pub fn search(
        &self,
        before: &Lowered,
        mut candidates: Vec<Candidate>,
        bytes: usize,
    ) -> Result<(Vec<Candidate>, Attempt), Option<usize>> {
        let least: Vec<usize> = candidates.iter().map(Candidate::least).collect();
        let mut now: Option<Attempt> = None;
        for _ in 0..TRIES {
            let lowered = now.as_ref().map_or(before, |n| &n.lowered);
            if fits(lowered, bytes) || !shrink(&mut candidates, &least, lowered, bytes) {
                break;
            }
            now = Some(self.attempt(&candidates));
        }
        let now = match now.filter(|n| fits(&n.lowered, bytes)) {
            Some(now) => now,
            None => {
                for (c, &least) in candidates.iter_mut().zip(&least) {
                    let whole = c.whole();
                    let enough = whole.bytes.is_some_and(|bytes| bytes <= least);
                    *c = if enough { whole } else { c.within(least).unwrap_or(whole) };
                }
                let now = self.attempt(&candidates);
                if !fits(&now.lowered, bytes) {
                    return Err(need(&now.lowered));
                }
                now
            }
        };
        Ok(self.relaxed(candidates, now, bytes))
    }

    /// Keeps again what did not have to go: not all that is large is there at the worst
    /// moment, and the last piece taken away may have been too large.
    fn relaxed(
        &self,
        mut candidates: Vec<Candidate>,
        mut now: Attempt,
        bytes: usize,
    ) -> (Vec<Candidate>, Attempt) {
        let mut order: Vec<usize> =
            (0..candidates.len()).filter(|&i| candidates[i].choice.is_some()).collect();
        order.sort_by(|&i, &k| candidates[k].cost().total_cmp(&candidates[i].cost()));
        let mut left = 2 * TRIES;
        for i in order {
            let slack = bytes.saturating_sub(need(&now.lowered).unwrap_or(0));
            let c = &candidates[i];
            // As it was, or with all that is left, or with part of it.
            let more = [4, 3, 2, 1].iter().filter_map(|part| {
                c.within(c.bytes?.saturating_add(slack / 4 * part)).filter(|m| m.cost() < c.cost())
            });
            let larger: Vec<Candidate> = std::iter::once(c.whole()).chain(more).collect();
            for next in larger.into_iter().take(left) {
                left -= 1;
                let before = std::mem::replace(&mut candidates[i], next);
                let attempt = self.attempt(&candidates);
                if fits(&attempt.lowered, bytes) {
                    now = attempt;
                    break;
                }
                candidates[i] = before;
            }
        }
        (candidates, now)
    }
}

/// Bounds all candidates that have no bound, or takes away the bytes that are too many.
/// Whether anything changed.
fn shrink(all: &mut [Candidate], least: &[usize], lowered: &Lowered, bytes: usize) -> bool {
    let arena = lowered.plan.arena_bytes;
    let unbounded = all.iter().filter(|c| c.bytes.is_none()).count();
    if let Some(share) = bytes.saturating_sub(arena).max(bytes / 4).checked_div(unbounded) {
        let mut any = false;
        for (c, &least) in all.iter_mut().zip(least).filter(|(c, _)| c.bytes.is_none()) {
            if let Some(next) = c.within(share.max(least)) {
                (*c, any) = (next, true);
            }
        }
        return any;
    }
    if need(lowered).is_none() {
        // Something else grows.
        return false;
    }
    let mut over = arena.saturating_sub(bytes);
    let mut next: Vec<Option<Candidate>> = vec![None; all.len()];
    let mut any = false;
    for _ in 0..PIECES {
        for i in 0..all.len() {
            if next[i].is_none() {
                next[i] = all[i].smaller(over, least[i]);
            }
        }
        // Work per byte.
        let price = |i: usize| -> Option<f64> {
            let (now, next) = (&all[i], next[i].as_ref()?);
            Some((next.cost() - now.cost()) / (now.bytes? - next.bytes?) as f64)
        };
        let prices = (0..all.len()).filter_map(|i| Some((i, price(i)?)));
        let Some((i, _)) = prices.min_by(|a, b| a.1.total_cmp(&b.1)) else { break };
        let chosen = next[i].take().expect("it has a price");
        let saved = all[i].bytes.unwrap_or(0) - chosen.bytes.unwrap_or(0);
        (all[i], any) = (chosen, true);
        over = over.saturating_sub(saved);
        if over == 0 {
            break;
        }
    }
    any
}
