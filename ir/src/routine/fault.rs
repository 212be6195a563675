//! Faults: what a routine cannot do with the numbers it is given.
//!
//! A fault is raised like a flag of floating-point arithmetic: the routine fills
//! its result with NaN, the program goes on, and whoever runs it looks at the
//! flag in the end. There is one flag per thread; the first fault stays.

use std::cell::Cell;
use std::fmt;

use super::Place;

/// What went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A matrix that had to be positive definite is not.
    NotPositiveDefinite {
        /// Which of a stack of matrices, in row-major order of the leading axes.
        matrix: usize,
    },
    /// A loop went on after as many iterations as it may have.
    LoopLimit {
        /// How many that are.
        limit: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPositiveDefinite { matrix } => {
                write!(f, "matrix {matrix} is not positive definite")
            }
            Self::LoopLimit { limit } => {
                let s = if *limit == 1 { "" } else { "s" };
                write!(f, "the loop goes on after {limit} iteration{s}, its limit")
            }
        }
    }
}

/// A fault, and where it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raised {
    /// What went wrong.
    pub fault: Fault,
    /// In which operation.
    pub operation: &'static str,
    /// The user's line that asked for it, if known.
    pub place: Place,
}

thread_local! {
    static RAISED: Cell<Option<Raised>> = const { Cell::new(None) };
}

/// Notes a fault on this thread, unless one is noted already.
pub fn raise(raised: Raised) {
    if RAISED.get().is_none() {
        RAISED.set(Some(raised));
    }
}

/// Forgets and gives what was noted on this thread.
pub fn take() -> Option<Raised> {
    RAISED.take()
}

/// Runs `f`, and gives the first fault raised by it.
pub fn watch<R>(f: impl FnOnce() -> R) -> (R, Option<Raised>) {
    let before = RAISED.take();
    let result = f();
    (result, RAISED.replace(before))
}
