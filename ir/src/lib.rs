//! The languages of Backstitch.

pub mod apply;
pub mod array;
pub mod build;
pub mod eval_nest;
pub mod index;
pub mod nest;
pub mod plan;
pub mod ty;
pub mod verify_nest;

pub use array::{Array, Element};
pub use ndarray;
pub use ty::{DType, Shape, Type};
