//! Mistakes in programs, and how they are told.
//!
//! Operations on tensors do not fail one by one: the first mistake is recorded
//! where it is made, its result is *poisoned*, and whatever is computed from a
//! poisoned tensor is silent. So a program is traced to its end and all
//! independent mistakes are told at once, each with the user's line.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use backstitch_ir::Type;

/// Why a program cannot be traced, or a value cannot be read.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", Listing(.mistakes))]
#[non_exhaustive]
pub struct TraceError {
    /// The mistakes, in the order in which they were made. At least one.
    pub mistakes: Arc<[Mistake]>,
}

impl TraceError {
    pub(crate) fn new(mistakes: impl Into<Arc<[Mistake]>>) -> Self {
        Self { mistakes: mistakes.into() }
    }

    /// The first mistake.
    pub fn first(&self) -> &Mistake {
        &self.mistakes[0]
    }
}

impl From<Mistake> for TraceError {
    fn from(mistake: Mistake) -> Self {
        Self::new([mistake])
    }
}

impl fmt::Debug for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What `main` and `unwrap` print: for people.
        fmt::Display::fmt(self, f)
    }
}

struct Listing<'a>(&'a [Mistake]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, m) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{m}")?;
        }
        Ok(())
    }
}

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Mistake {
    /// The user's line.
    pub place: &'static Location<'static>,
    /// The operation.
    pub operation: &'static str,
    /// What sort of mistake it is.
    pub problem: Problem,
    /// What is wrong, in words.
    pub message: String,
    /// The operands and where they come from.
    pub operands: Vec<Operand>,
}

/// A sort of mistake.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Problem {
    /// Shapes that do not fit together.
    Shape,
    /// Element types that do not fit together, or that the operation does not take.
    DType,
    /// An axis that the array does not have.
    Axis,
    /// A parameter that the operation does not take.
    Parameter,
    /// A tensor used outside the body of the loop or conditional that made it,
    /// or in another trace.
    Scope,
    /// Numbers that the operation does not take: a matrix that is not positive
    /// definite.
    Value,
    /// A branch or a loop whose results are not of the types they have to be.
    Control,
    /// A value asked for that is known only when the compiled program runs.
    Read,
    /// A derivative that does not exist.
    Gradient,
    /// Arguments of a call that are not those the program takes.
    Arguments,
}

/// A tensor that took part in a mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Operand {
    /// Its type.
    pub ty: Type,
    /// Its name, if it is an input.
    pub name: Option<String>,
    /// The line that made it, if it is not.
    pub place: Option<&'static Location<'static>>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.operation, self.message)?;
        for operand in &self.operands {
            write!(f, "\n    {operand}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ty)?;
        match (&self.name, self.place) {
            (Some(name), _) => write!(f, ", input `{name}`"),
            (None, Some(place)) => write!(f, ", made at {place}"),
            (None, None) => Ok(()),
        }
    }
}
