//! Losses as other crates' solvers see them: what is remembered, what is refused, and that
//! solvers get where they should.

#[path = "adapters/allocations.rs"]
mod allocations;
#[cfg(feature = "argmin")]
#[path = "adapters/argmin.rs"]
mod argmin;
#[path = "adapters/memo.rs"]
mod memo;
#[cfg(feature = "nuts")]
#[path = "adapters/nuts.rs"]
mod nuts;
