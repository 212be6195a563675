//! Staying under a stated number of bytes.
//!
//! What makes a gradient need memory is what its forward part leaves for its reverse:
//! *residuals*, one set per iteration of a loop. They can be computed again instead, from
//! the loop's carries, which are kept before some iterations. With places for `s` sets of
//! carries and `r` sweeps, the *binomial* schedule reverses `C(s + r, r)` steps, and none
//! reverses more (A. Griewank, "Achieving logarithmic growth of temporal and spatial
//! complexity in reverse automatic differentiation", 1992; A. Griewank and A. Walther,
//! "Algorithm 799: revolve", 2000). It takes one pool of places for all levels.
//!
//! Here all memory is placed before the program runs, and each level of a nest of loops
//! has an array of its own. Of the schedules with that property, we take segments of equal
//! length at all levels, and at the end of the loop a tail whose residuals are kept at
//! once. So the share of steps computed again falls steadily from `r` to 0 as the budget
//! grows; with `r` whole sweeps such a nest reaches at least `(s/r)^r` steps, so it needs
//! less than `r/(r!)^(1/r) < e` times the memory of the binomial schedule for as many.
//!
//! *Bits stay the same*: bodies are computed again as they are ([`nest`]).
//!
//! 1. Pairs of loops are found in the program as it is about to be lowered ([`pair`]).
//! 2. It is lowered. If it needs too much, pairs get schedules of fewer bytes
//!    ([`schedule`]), little by little, each time the pair where a byte costs the least
//!    work; and again, until it fits ([`search`]).
//! 3. Pairs are rewritten ([`rewrite`]): of known length ([`known`]) and of unknown
//!    length ([`open`]), of which only the number of iterations is left by the forward
//!    sweep.
//!
//! What is not rewritten stays as it is and counts: values of straight-line programs,
//! loops written out, residuals that several loops pop, stacks of stacks.

mod known;
mod nest;
mod open;
mod pair;
mod report;
mod rewrite;
mod schedule;
mod search;
mod sites;
mod step;

use std::time::Instant;

use backstitch_ir::Graph;
pub use report::{LoopMemory, Memory, OverBudget};

use crate::lower::Lowered;
use crate::pipeline::{Options, Prepared};
use search::{Attempt, Candidate, Program};
use sites::Sites;

impl Prepared {
    /// The same program in at most so many bytes of workspace: what loops keep for their
    /// reverse is computed again as far as it has to be. Results are the same bits.
    ///
    /// # Errors
    /// If it cannot be done; the error says how many bytes it takes.
    pub fn within(self, bytes: usize, options: &Options) -> Result<Self, OverBudget> {
        let start = Instant::now();
        if fits(&self.lowered, bytes) {
            return Ok(self);
        }
        let sites = Sites::of(&self.graph);
        let all = sites.all(&self.graph);
        let program = Program { graph: &self.graph, sites: &sites, options };
        let candidates = all.iter().map(Candidate::new).collect();
        let found = program.search(&self.lowered, candidates, bytes);
        let (candidates, Attempt { graph, lowered }) = found.map_err(|least| {
            let least = least.into_iter().chain(need(&self.lowered)).min();
            OverBudget { bytes, least }
        })?;
        if let Some(observe) = &options.observe {
            observe("budget", &graph);
        }
        if options.verify
            && let Err(errors) = backstitch_ir::verify::verify_plan(&lowered.plan)
        {
            panic!("budget: {errors}\n{graph}\n{}", lowered.plan);
        }
        let loops =
            all.iter().zip(&candidates).map(|(site, c)| report::loop_memory(site, c)).collect();
        let memory = Memory { bytes: need(&lowered), live: live(&lowered), loops };
        let mut times = self.times;
        times.push(("budget", start.elapsed()));
        Ok(Self { graph, lowered, times, memory })
    }
}

/// What a program keeps as it is.
pub(crate) fn memory(g: &Graph, lowered: &Lowered) -> Memory {
    let sites = Sites::of(g);
    let loops = sites.all(g).iter().map(|s| report::loop_memory(s, &Candidate::new(s))).collect();
    Memory { bytes: need(lowered), live: live(lowered), loops }
}

/// Bytes of workspace, if there is a bound.
fn need(lowered: &Lowered) -> Option<usize> {
    lowered.plan.stores.is_empty().then_some(lowered.plan.arena_bytes)
}

/// Bytes of it that are in use at the worst moment.
fn live(lowered: &Lowered) -> Option<usize> {
    lowered.plan.stores.is_empty().then_some(lowered.live_bytes)
}

/// Whether it needs at most so many bytes. What has no bound fits in all there are.
fn fits(lowered: &Lowered, bytes: usize) -> bool {
    need(lowered).unwrap_or(usize::MAX) <= bytes
}
