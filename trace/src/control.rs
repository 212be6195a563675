//! Branches and loops of programs that are compiled.
//!
//! Bodies are closures. They are called once, while tracing, and may use any
//! tensor around them. Carries and results are trees. Two trees that have to
//! agree, such as a carry before and after a step, are compared leaf by leaf,
//! by name and by type: equal types alone would let one key of a map pass for
//! another.

mod append;
mod associative;
mod body;
mod checkpoint;
mod cond;
mod fixed_point;
mod for_loop;
pub(crate) mod host;
mod options;
mod region;
mod scan;
mod switch;
mod while_loop;

pub(crate) use body::{Body, rebuild};
pub use checkpoint::Policy;
pub use fixed_point::Solver;
pub use options::{LoopOptions, Loops};
pub use region::Custom;
pub use switch::Branch;
