//! What users write: tensors, tapes and transformations.
//!
//! A program is a closure over [`Tensor`]s. [`trace`](fn@trace) calls it once and records
//! each operation in a graph; [`Trace::eager`] gives tensors that compute at once.
//! In both modes the same rules hold: shapes and element types are checked as
//! each operation is written down, and the first mistake is kept with the
//! user's line.
//!
//! ```
//! use backstitch_trace::{Spec, Tensor, Trace, trace};
//!
//! fn loss<'t>(_: &'t Trace, w: Tensor<'t>, (x, y): (Tensor<'t>, Tensor<'t>)) -> Tensor<'t> {
//!     (x.matmul(w) - y).square().mean()
//! }
//!
//! # fn main() -> Result<(), backstitch_trace::TraceError> {
//! let traced = trace(Spec::f64([3]), (Spec::f64([2, 3]), Spec::f64([2])), loss)?;
//! let gradient = traced.grad()?;
//! let w = ndarray::arr1(&[1.0, 0.0, -1.0]);
//! let x = ndarray::arr2(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
//! let y = ndarray::arr1(&[0.0, 0.0]);
//! let g = gradient.eval(&w, &(&x, &y))?;
//! assert_eq!(g.to_f64_vec(), [-10.0, -14.0, -18.0]);
//! # Ok(())
//! # }
//! ```

extern crate self as backstitch_trace;

mod args;
mod axes;
mod compressed;
mod control;
mod dense;
mod gradient;
mod identity;
mod jacobian;
mod mistake;
mod number;
pub mod operations;
mod ops;
mod random;
mod signature;
mod sparse;
mod spec;
mod tape;
mod tensor;
mod trace;
mod traced;
mod tree;

pub use args::{Args, ArgsMut, View, ViewMut};
pub use axes::{Axes, Bounds};
pub use backstitch_derive::Tree;
#[doc = include_str!("control/control_flow.md")]
pub use backstitch_derive::control_flow;
pub use backstitch_ir::ops::Unroll;
pub use backstitch_ir::routine::Triangle;
pub use backstitch_ir::{Array, DType, Element, Graph, Shape};
pub use backstitch_passes::{Direction, Pattern};
pub use control::{Branch, Custom, LoopOptions, Loops, Policy, Solver};
pub use dense::{Activation, Dense};
pub use gradient::{Gradient, Gradients, Status, Unconnected};
pub use mistake::{Mistake, Operand as MistakenOperand, Problem, TraceError};
pub use number::{Number, Operand};
pub use ops::PadMode;
pub use ops::conv::{Conv, PerAxis, Pool};
pub use random::Key;
pub use signature::Signature;
pub use sparse::Sparse;
pub use spec::{Spec, Typed, specs};
pub use tape::{GradientTape, PersistentTape};
pub use tensor::Tensor;
pub use trace::Trace;
pub use traced::{
    Comparison, GradientCheck, GradientEntry, GradientReport, Lane, Lanes, Linearized, Outputs,
    Residuals, Traced, trace, trace_tree,
};
pub use tree::{Leaf, Path, Tree};

/// What the code refers to that `#[derive(Tree)]` writes.
#[doc(hidden)]
pub mod derive_support {
    pub use crate::args::{Args, ArgsMut, View, ViewMut};
    pub use crate::signature::Signature;
    pub use crate::tree::{Leaf, Path, Tree};
}

/// What the code refers to that `#[control_flow]` writes.
#[doc(hidden)]
pub mod control_support {
    pub use crate::control::host::*;
}
