//! Why a program is no function of one vector, or a call of one could not be made.

use std::fmt;

use backstitch_ir::DType;

/// Why a program cannot be called with one vector, or a call could not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A parameter has another element type than the vector.
    #[error("parameter{} has elements of {got}, the vector of {expected}", Name(.name))]
    Element {
        /// Which one: its path.
        name: String,
        /// What the vector has.
        expected: DType,
        /// What the program has.
        got: DType,
    },
    /// The structure of the parameters has other leaves than the program was traced with.
    #[error("the parameters say they are {expected}, the program takes {got}")]
    Parameters {
        /// Types of the leaves.
        expected: String,
        /// Types of the program's first inputs.
        got: String,
    },
    /// The direction of a product with a Hessian is not like the parameters.
    #[error("the direction is to be {expected} like the parameters, and is {got}")]
    Direction {
        /// Types of all parameters.
        expected: String,
        /// Types of the program's last inputs.
        got: String,
    },
    /// The outputs are not a value and its gradient, or not a product with a Hessian.
    #[error("outputs are to be {expected}, and are {got}")]
    Outputs {
        /// Types of a scalar and of all parameters, or of all parameters.
        expected: String,
        /// Types of what the program gives.
        got: String,
    },
    /// Two programs that are to be of the same parameters are not.
    #[error("the product with the Hessian is of parameters {got}, the value of {expected}")]
    OtherParameters {
        /// Types of the parameters of the value.
        expected: String,
        /// Types of those of the product.
        got: String,
    },
    /// The program changes its parameters.
    #[error("the parameters are donated; what is bound leaves them as they are")]
    Donated,
    /// A vector of the wrong length.
    #[error("expected a vector of {expected} elements, got {got}")]
    Length {
        /// What all parameters have together.
        expected: usize,
        /// What was passed.
        got: usize,
    },
}

/// The name of a leaf, unless it is the whole.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " {}", self.0) }
    }
}
