//! Losses for the samplers of nuts-rs.
//!
//! Samplers follow the logarithm of a density, and its gradient; a constant added to it does
//! not matter. Losses are often its negative. So [`LogDensity`] is made by one of two
//! functions that say which of the two a program computes, and there is no other way to make
//! one.
//!
//! The densities are over all of the space: a parameter that has to be positive is the
//! exponential of one that has not, and the density has the logarithm of that function's slope
//! in it, which is up to the program.
//!
//! [`LogDensity`] is for a chain that the caller drives, [`Posterior`] for all chains of a
//! `Sampler`, which stores their traces.
//!
//! Samplers ask for density and gradient at once and where to write it, so nothing is
//! remembered here, and a call neither allocates nor copies.

mod posterior;
mod trace;

use std::fmt;

use backstitch_trace::{Spec, Tree};
use nuts_rs::{CpuLogpFunc, CpuMathError, LogpError, rand};

use super::evaluation::EvaluationError;
use super::finite::{finite_derivative, finite_value};
use crate::bind::Bound;
use crate::error::Error;

use trace::Variable;

pub use posterior::Posterior;
pub use trace::Draw;

/// The logarithm of a density to draw from, up to a constant, with its gradient.
///
/// A point where either is not finite, where a matrix cannot be factored or a loop does not
/// end, is a divergence to the sampler: it goes on elsewhere. All other errors end it.
///
/// Traces have a variable for each parameter: its path is the name (`x` if there is but one
/// array), its axes are `name_dim_0` and so on.
///
/// A chain has a workspace of its own, in what is bound; bind the program again, which is
/// cheap, for another. [`Posterior`] does that for the chains of a `Sampler`.
///
/// ```
/// use backstitch::adapters::nuts::LogDensity;
/// use backstitch::prelude::*;
/// use nuts_rs::rand::{SeedableRng, rngs::StdRng};
/// use nuts_rs::{Chain, CpuMath, DiagNutsSettings, Settings};
///
/// // A normal distribution around (1, 2, 3), by half the squared distance.
/// let loss = trace(Spec::f64([3]), Spec::f64([3]), |_, x, mean| {
///     0.5 * (x - mean).square().sum()
/// })?;
/// let program = loss.value_and_grad()?.compile()?;
/// let mean = ndarray::arr1(&[1.0, 2.0, 3.0]);
/// let density = LogDensity::from_negative_log_density(program.bind(&mean)?);
///
/// let settings = DiagNutsSettings { num_tune: 200, ..Default::default() };
/// let mut chain = settings.new_chain(0, CpuMath::new(density), &mut StdRng::seed_from_u64(1))?;
/// chain.set_position(&[0.0; 3])?;
/// let mut sum = [0.0; 3];
/// for i in 0..1200 {
///     let (x, _) = chain.draw()?;
///     if i >= 200 {
///         sum.iter_mut().zip(&x).for_each(|(sum, x)| *sum += x);
///     }
/// }
/// assert!(sum.iter().zip(&mean).all(|(sum, mean)| (sum / 1000.0 - mean).abs() < 0.2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "potential")]
#[doc(alias = "posterior")]
pub struct LogDensity<'a, P> {
    bound: Bound<'a, P, f64>,
    negate: bool,
    variables: Vec<Variable>,
}

impl<'a, P: Tree<Spec> + Clone> LogDensity<'a, P> {
    /// Of a program whose value is the logarithm of the density: it is large where draws are
    /// many.
    pub fn from_log_density(bound: Bound<'a, P, f64>) -> Self {
        Self::new(bound, false)
    }

    /// Of a program whose value is the negative of that logarithm, as losses and potentials
    /// are: it is small where draws are many.
    pub fn from_negative_log_density(bound: Bound<'a, P, f64>) -> Self {
        Self::new(bound, true)
    }

    fn new(bound: Bound<'a, P, f64>, negate: bool) -> Self {
        let variables = bound.layout().iter().map(Variable::new).collect();
        Self { bound, negate, variables }
    }

    /// What runs: where parameters are in the vector, and from one to the other.
    pub fn bound(&self) -> &Bound<'a, P, f64> {
        &self.bound
    }

    /// The logarithm of the density at `x`; its gradient goes to where `gradient` says.
    ///
    /// # Errors
    /// If the program ends with one, a vector has another length than all parameters
    /// together, or the result is not finite.
    pub fn evaluate(&mut self, x: &[f64], gradient: &mut [f64]) -> Result<f64, EvaluationError> {
        let value = finite_value(self.bound.call_into(x, gradient)?)?;
        finite_derivative("gradient", gradient, self.bound.layout())?;
        if !self.negate {
            return Ok(value);
        }
        gradient.iter_mut().for_each(|g| *g = -*g);
        Ok(-value)
    }
}

impl LogpError for EvaluationError {
    fn is_recoverable(&self) -> bool {
        use backstitch_runtime::Error as Call;
        match self {
            Self::Value { .. } | Self::Derivative { .. } => true,
            Self::Call(Error::Runtime(error)) => {
                matches!(error, Call::NotPositiveDefinite { .. } | Call::LoopLimit { .. })
            }
            Self::Call(_) => false,
        }
    }
}

impl<P: Tree<Spec> + Clone> CpuLogpFunc for LogDensity<'_, P> {
    type LogpError = EvaluationError;
    type FlowParameters = ();
    type ExpandedVector = Draw;

    fn dim(&self) -> usize {
        self.bound.len()
    }

    fn logp(&mut self, position: &[f64], gradient: &mut [f64]) -> Result<f64, EvaluationError> {
        self.evaluate(position, gradient)
    }

    fn expand_vector<R: rand::Rng + ?Sized>(
        &mut self,
        _rng: &mut R,
        array: &[f64],
    ) -> Result<Draw, CpuMathError> {
        match self.bound.check_len(array) {
            Ok(()) => Ok(Draw { vector: array.to_vec() }),
            Err(error) => Err(CpuMathError::ExpandError(error.to_string())),
        }
    }
}

impl<P> fmt::Debug for LogDensity<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogDensity")
            .field("bound", &self.bound)
            .field("negate", &self.negate)
            .finish_non_exhaustive()
    }
}
