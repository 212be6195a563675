//! Verifiers: whether a graph or a plan is what its language says.
//!
//! They find mistakes of the compiler, not of its users, and so they look at
//! everything and trust nothing, collect all they find, and quote the lines.
//! The driver of the passes calls them after each pass in debug builds; tests
//! call them on text that is wrong on purpose. For nests see
//! [`verify_nest`](crate::verify_nest).
//!
//! # Graphs
//!
//! 1. Operands exist and are results of nodes before their user.
//! 2. The results of a node have the types that its operation infers from its
//!    operands; so stacks are operands of control flow alone.
//! 3. No two nodes have the same operation and operands, but for inputs.
//! 4. The `i`th input of the graph is the result of the node `input i`.
//! 5. Outputs exist.
//! 6. All this holds for the graphs of loops and conditionals.
//!
//! # Plans
//!
//! *Declarations*
//!
//! 1. Inputs and outputs are arrays, not stacks, of a size that fits in memory.
//! 2. A buffer that is an input, an output or a constant has its type and its
//!    number of elements. No two buffers are the same output; a buffer that is input and
//!    output in one is the only one that is this input.
//! 3. A buffer in the arena ends inside it, and begins at a multiple of
//!    [`ALIGN`](crate::plan::ALIGN), or of
//!    [`SCALAR_ALIGN`](crate::plan::SCALAR_ALIGN) if it has one element.
//! 4. Each kernel is a well-formed nest.
//!
//! *Steps*
//!
//! 5. What a step names exists.
//! 6. A kernel gets one argument per parameter, of its element type and with at
//!    least as many elements from the offset on.
//! 7. Matrices of a product are of its element type, and in bounds for all
//!    indices; no two indices of the product are one element. Operands, result
//!    and memory of a routine are as its signature says.
//! 8. A copy is between buffers of one type and length.
//! 9. Predicates are one `bool`, counts one `i64`, handles three `i64`. What is
//!    pushed or popped has as many bytes as an entry of the store: the one that
//!    the handle was opened in, or of some store if that is not known.
//! 10. Inputs and constants are not written.
//! 11. What a step writes does not overlap anything else that it reads or
//!     writes; but a kernel may store where it reads for the last time, as in 14.
//!
//! *Memory*
//!
//! 12. Nothing is read before it was written on each way to there: both
//!     branches of an `if`, not the body of a loop. (A write to a part of a
//!     buffer counts as a write to the buffer.)
//! 13. All outputs are written on each way to the end.
//! 14. Buffers of the arena whose lifetimes overlap do not overlap in memory.
//!     A lifetime is from the first step to the last that mentions the buffer;
//!     if a buffer born before a loop is mentioned in it, the lifetime reaches
//!     to the end of the loop, for its next iteration will want it again. A
//!     buffer born in a loop is born again in each iteration (by 12). A buffer that
//!     a kernel is the first to mention may lie where one lies that it is the last to
//!     mention, if the kernel says so ([`Access::Last`](crate::nest::Access::Last)) and
//!     loads no element once it has stored over it: see `in_place`.
//!
//! Parts without elements need not be written and overlap nothing.

mod graph;
mod in_place;
mod memory;
mod plan;

use std::fmt;

pub use graph::verify_graph;
pub use plan::verify_plan;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyError {
    /// What it is about: a node `n3`, a buffer `b2`, a step `step 7` (in the
    /// order of the text, from 0), and so on.
    pub entity: String,
    /// The line of the entity in text; may be empty.
    pub line: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.entity, self.message)?;
        if self.line.is_empty() { Ok(()) } else { write!(f, "\n    {}", self.line) }
    }
}

/// All that is wrong; at least one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyErrors(pub Vec<VerifyError>);

impl fmt::Display for VerifyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, e) in self.0.iter().enumerate() {
            write!(f, "{}{e}", if i > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for VerifyErrors {}

/// `Ok` if nothing is wrong.
fn result(errors: Vec<VerifyError>) -> Result<(), VerifyErrors> {
    if errors.is_empty() { Ok(()) } else { Err(VerifyErrors(errors)) }
}
