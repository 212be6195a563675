//! From groups to kernels.

mod assemble;
mod chunks;
mod emit;
mod group;

pub(crate) use assemble::{Assemble, Scatter};
pub(crate) use group::group;
