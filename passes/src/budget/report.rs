//! What is kept, what is computed again, in words and numbers.

use std::fmt;
use std::panic::Location;

use super::rewrite::Choice;
use super::search::Candidate;
use super::sites::Site;

/// The memory a program works in.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Memory {
    /// Bytes of workspace; `None` if a loop of unknown length keeps as much as it is long.
    pub bytes: Option<usize>,
    /// Bytes of all that is in it at the worst moment: with this order of steps it cannot
    /// be smaller. `None` if `bytes` is.
    pub live: Option<usize>,
    /// Loops that leave something for their reverse.
    pub loops: Vec<LoopMemory>,
}

/// What a loop keeps for its reverse.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct LoopMemory {
    /// The user's line that asked for the loop, if known.
    pub place: Option<&'static Location<'static>>,
    /// Number of iterations, if it is known.
    pub steps: Option<usize>,
    /// Bytes kept at the worst moment; `None` if that grows with the number of iterations.
    pub bytes: Option<usize>,
    /// Bytes that all residuals would take; `None` if that grows with the number of
    /// iterations.
    pub whole: Option<usize>,
    /// Of a loop that is computed again, segments at each level, outermost first: their
    /// first carries are kept.
    pub levels: Vec<usize>,
    /// Iterations that are computed again for each of the loop, on average. Of a loop of
    /// unknown length at most, up to as many iterations as its levels multiply to.
    pub recomputed: f64,
}

pub(super) fn loop_memory(site: &Site<'_>, c: &Candidate) -> LoopMemory {
    let (g, pair) = (site.graph, site.pair);
    let levels = match &c.choice {
        None => vec![],
        Some(Choice::Known(s)) => s.levels.clone(),
        Some(Choice::Open(levels)) => levels.clone(),
    };
    LoopMemory {
        place: pair.producers.iter().find_map(|p| g.origin(p.node).place),
        steps: pair.steps,
        bytes: c.bytes,
        whole: c.known.then(|| c.chain.bytes()),
        levels,
        recomputed: c.recomputed(),
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes {
            Some(bytes) => {
                let live = self.live.unwrap_or(bytes);
                write!(f, "workspace of {bytes} bytes, {live} of them in use at once")?;
            }
            None => write!(f, "workspace that grows with the length of a loop")?,
        }
        self.loops.iter().try_for_each(|l| write!(f, "\n{l}"))
    }
}

impl fmt::Display for LoopMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{place}: ")?;
        }
        match self.steps {
            Some(n) => write!(f, "loop of {n} steps")?,
            None => write!(f, "loop of unknown length")?,
        }
        match (self.bytes, self.whole) {
            (Some(bytes), Some(whole)) => write!(f, ", keeps {bytes} bytes of {whole}")?,
            (Some(bytes), None) => write!(f, ", keeps {bytes} bytes")?,
            (None, _) => write!(f, ", keeps all residuals")?,
        }
        if !self.levels.is_empty() {
            write!(f, ", in segments {:?}", self.levels)?;
            write!(f, ", {:.2} steps computed again for one", self.recomputed)?;
        }
        Ok(())
    }
}

/// A program that cannot be made to fit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OverBudget {
    /// What was asked for.
    pub bytes: usize,
    /// The fewest bytes it can do with; `None` if there is no bound: a loop of unknown length
    /// keeps something that cannot be computed again.
    pub least: Option<usize>,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, least } = self;
        match least {
            Some(least) => {
                write!(f, "memory: expected at least {least} bytes of workspace, got {bytes}")
            }
            None => write!(
                f,
                "memory: got {bytes} bytes of workspace, but a loop of unknown length keeps \
                 something that cannot be computed again, and takes memory as it runs"
            ),
        }
    }
}

impl std::error::Error for OverBudget {}
