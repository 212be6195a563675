//! Programs as solvers want them: one vector in, a value and one vector out.
//!
//! An optimiser, a line search or a sampler knows nothing of layers and biases: to it the
//! parameters are a vector. [`Compiled::bind`](crate::Compiled::bind) lays the leaves of the
//! parameters one after another, fixes the data, and gives an object that is called with such
//! a vector. Machine code reads the parameters where they are in it and writes the gradient to
//! where it belongs, so nothing is copied from one layout to the other.

mod error;
mod flat;
mod gradient;
mod hvp;
mod layout;

pub use error::BindError;
pub use gradient::Bound;
pub use hvp::BoundHvp;
pub use layout::FlatParameter;
#[cfg(feature = "argmin")]
pub(crate) use layout::check_same;
