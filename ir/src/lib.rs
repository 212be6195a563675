//! The languages of Backstitch.

pub mod apply;
pub mod array;
pub mod build;
pub mod eval;
pub mod eval_nest;
pub mod eval_plan;
pub mod graph;
pub mod index;
pub mod nest;
pub mod op;
pub mod ops;
pub mod plan;
pub mod range;
pub mod routine;
pub mod scalar;
pub mod text;
pub mod threshold;
pub mod ty;
pub mod verify;
pub mod verify_nest;

pub use array::{Array, Element};
pub use graph::{Graph, Node, Value};
pub use index::{Idx, IndexVec};
pub use ndarray;
pub use nest::{Const, Monoid};
pub use op::Op;
pub use scalar::Scalar;
pub use threshold::threshold;
pub use ty::{DType, Shape, Type};
