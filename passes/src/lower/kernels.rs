//! From groups to kernels.

mod assemble;
mod blocked;
mod chunks;
mod emit;
mod group;
mod keep;
mod narrow;
mod nesting;
mod recurrence;
mod reduction;
mod tiles;

pub(crate) use assemble::{Assemble, Scatter};
pub(crate) use group::group;
pub(crate) use recurrence::Cumulate;
