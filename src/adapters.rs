//! Compiled losses in the shapes that other crates ask for.
//!
//! Solvers know one vector, and each has its own way to ask for what belongs to it:
//!
//! * [`Memo`] is for those that ask for value and gradient one after the other, at the same
//!   point. The program that gives both runs once.
//! * `argmin`, with the cargo feature of that name, is for the solvers of the crate argmin:
//!   line searches, quasi-Newton methods, and with products of the Hessian truncated Newton
//!   methods and trust regions.
//! * `nuts`, with the cargo feature of that name, is for the Hamiltonian samplers of the
//!   crate nuts-rs.
//!
//! All of them begin with [`Compiled::bind`](crate::Compiled::bind), which says what is wrong
//! with a program that is no value and gradient of one vector. What is wrong at single points
//! is an [`EvaluationError`].

#[cfg(feature = "argmin")]
pub mod argmin;
mod evaluation;
#[cfg(any(feature = "argmin", feature = "nuts"))]
mod finite;
mod memo;
#[cfg(feature = "nuts")]
pub mod nuts;

pub use evaluation::EvaluationError;
pub use memo::Memo;

// The programs of that page are run as tests.
#[cfg(all(doctest, feature = "argmin"))]
#[doc = include_str!("../docs/solvers.md")]
struct Solvers;
