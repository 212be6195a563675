//! What can go wrong, from the closure to the call.

use backstitch_trace::TraceError;

/// Why a program could not be traced, compiled or called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program itself is wrong.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// It needs more bytes than were stated.
    #[error(transparent)]
    Memory(#[from] backstitch_passes::OverBudget),
    /// A parameter cannot become an output in place.
    #[error(transparent)]
    Donation(#[from] crate::DonationError),
    /// It could not be compiled, or the call's arrays are not what it takes.
    #[error(transparent)]
    Runtime(#[from] backstitch_runtime::Error),
    /// What makes a program asks for that very program, by itself, or through programs
    /// that other threads make and that wait for each other. Threads that `make` starts and
    /// joins itself are not seen.
    #[error("jit: the program for {arguments} is asked for while it is made, and cannot wait")]
    Recursion {
        /// The arguments it is for, with their paths and types.
        arguments: String,
    },
    /// It is not a function of one vector, or the vector has another length.
    #[error(transparent)]
    Bind(#[from] crate::bind::BindError),
}
