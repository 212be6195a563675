//! The textual form of graphs, nests and plans.

mod attrs;

pub use attrs::{Attrs, ParseError};
