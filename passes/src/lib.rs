//! From graph to graph and from graph to plan.
//!
//! * Derivatives: [`reverse`], [`forward`], [`batch`]; they append to a graph, so
//!   they compose to any order. [`status()`] says why a gradient is missing.
//! * [`sparsity()`] says which entries of a derivative may be other than zero, and
//!   [`colour`] which of them one sweep can find.
//! * The [`pipeline`]: simplification, legalisation.
//! * A budget of bytes: [`Prepared::within`].
//! * [`explain()`]: what a plan reads and writes, and why its kernels are cut where they are.
//! * [`lower()`]: fusion groups, loop nests, memory. [`math`] writes scalar
//!   functions out in machine operations.
//!
//! Every pass is a function. None changes a graph: it builds the next one.

#[cfg(test)]
extern crate self as backstitch_passes;

mod budget;
mod buffers;
mod colouring;
mod columns;
mod control;
pub mod explain;
mod invert;
mod jvp;
mod legalise;
mod linear;
mod lower;
pub mod math;
mod motion;
pub mod pipeline;
#[cfg(test)]
#[path = "../../tests/common/random.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "other tests share it")]
mod random;
mod rebuild;
mod residuals;
mod simplify;
mod sparsity;
mod status;
mod unroll;
mod vjp;
mod vmap;

pub use budget::{LoopMemory, Memory, OverBudget};
pub use colouring::{
    Colouring, Direction, colour, colour_columns, colour_symmetric, symmetric_places,
};
pub use columns::columns;
pub use control::{Keep, checkpoint, fixed_point, inline_regions};
pub use explain::{Explanation, explain};
pub use invert::invert_loops;
pub use jvp::forward;
pub use legalise::legalise;
pub use linear::{Split, split, tangent};
pub use lower::{Cut, KernelOrigin, Lowered, Operation, lower};
pub use motion::{batch_rows, hoist_invariants, map_sums, start_sums, sum_products};
pub use pipeline::{Options, Prepared, prepare};
pub use rebuild::{inline, prune};
pub use simplify::{
    Class, RULES, Rule, drop_deviations, factor_sums, merge_conds, merge_loops, simplify,
};
pub use sparsity::{Pattern, sparsity, sparsity_within};
pub use status::{Break, Reason, Status, status};
pub use unroll::unroll;
pub use vjp::reverse;
pub use vmap::batch;
