//! What a solver is told of a point at which there is nothing to go on with.

use std::fmt;

use crate::error::Error;

/// Why there is no value or derivative at a point.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// The program could not be called there, or the call ended with an error: the vector has
    /// another length, a matrix cannot be factored, a loop does not end.
    #[error(transparent)]
    Call(#[from] Error),
    /// The value is infinite or not a number.
    #[error("the value is {value}, which is not finite")]
    Value {
        /// What it is.
        value: f64,
    },
    /// A derivative is infinite or not a number.
    #[error("the {of} is {value}, which is not finite, at {}", Place { parameter, element: *element })]
    Derivative {
        /// Which one: `gradient`, or `product with the Hessian`.
        of: &'static str,
        /// What it is.
        value: f64,
        /// The path of the first parameter where it is so; empty if that is all there is.
        parameter: String,
        /// Its element, in row-major order.
        element: usize,
    },
}

/// An element of a parameter in words.
struct Place<'a> {
    parameter: &'a str,
    element: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "element {}", self.element)?;
        if self.parameter.is_empty() { Ok(()) } else { write!(f, " of {}", self.parameter) }
    }
}
