//! What can go wrong while machine code is made.

/// Why a plan could not be compiled. None of these is the fault of the program
/// that was traced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JitError {
    /// There is no code generator for this processor.
    #[error("no code generator for this processor: {0}")]
    Host(String),
    /// The code generator refused a function.
    #[error("the code generator refused function `{function}`: {reason}")]
    Function {
        /// Which function.
        function: String,
        /// What the code generator said.
        reason: String,
    },
    /// Executable memory could not be had.
    #[error("no executable memory: {0}")]
    Memory(String),
}
