//! Whether loops have been stopped at their limit.

use std::fmt;

use super::{Fault, extent};
use crate::text::{Attrs, ParseError};

/// A copy of `len` booleans, none of which may be true. See
/// [`ops::LoopLimit`](crate::ops::LoopLimit).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LoopLimit {
    /// How many loops there are.
    pub len: usize,
    /// After how many iterations they are stopped.
    pub limit: u64,
}

impl LoopLimit {
    pub(super) const NAME: &'static str = "loop_limit";

    pub(super) fn run(&self, stopped: &[bool], out: &mut [bool]) -> Result<(), Fault> {
        out.copy_from_slice(stopped);
        if stopped.contains(&true) {
            return Err(Fault::LoopLimit { limit: self.limit });
        }
        Ok(())
    }

    pub(super) fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        let limit = attrs.digits()?;
        Ok(Self { limit, len: extent(attrs, "len")? })
    }
}

impl fmt::Display for LoopLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} len {}", Self::NAME, self.limit, self.len)
    }
}
