#![doc = include_str!("../README.md")]
//!
//! # Where things are
//!
//! * [`trace()`], [`Tensor`], [`Spec`], [`Tree`], [`Trace`]: writing programs.
//! * [`operations`]: everything a tensor can do, by family.
//! * [`Traced`]: derivatives of programs. [`GradientTape`]: derivatives inside of
//!   programs, and in eager mode ([`Trace::eager`]).
//! * [`Compile`], [`Compiled`], [`Workspace`]: running them; [`jit()`]: compiled when they are
//!   called; [`Bound`]: for solvers; [`adapters`]: for solvers of other crates.
//! * [`ir`], [`passes`], [`runtime`]: the floors below, for tools.

extern crate self as backstitch;

pub mod adapters;
mod bind;
mod call;
mod compile;
mod compiled;
mod donate;
mod error;
mod jit;
mod options;

pub use backstitch_trace::*;

pub use backstitch_ir as ir;
pub use backstitch_passes as passes;
pub use backstitch_passes::{LoopMemory, Memory, OverBudget};
pub use backstitch_runtime as runtime;
pub use backstitch_runtime::jit::Vectors;
pub use backstitch_runtime::{Backend, Workspace};
pub use bind::{BindError, Bound, BoundHvp, FlatParameter};
pub use compile::Compile;
pub use compiled::Compiled;
pub use donate::DonationError;
pub use error::Error;
pub use jit::{CacheInfo, CacheMiss, Jit, TypeChange, jit};
pub use options::Options;

/// What most programs import.
pub mod prelude {
    pub use crate::{
        Compile, Dense, GradientTape, Spec, Tensor, Trace, Traced, Tree, Workspace, control_flow,
        trace, trace_tree,
    };
}
