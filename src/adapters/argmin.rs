//! Losses for the solvers of argmin.
//!
//! [`Objective`] is a value and its gradient, for line searches, gradient descent, conjugate
//! gradients and (L-)BFGS. [`CurvedObjective`] has products with the Hessian beside, for
//! truncated Newton methods and trust regions.
//!
//! Parameters are `Vec`s, of `f64` or `f32` like the program's. Solvers do their arithmetic on
//! them by the feature `vec` of argmin-math, which the feature `argmin` of this crate turns on.
//!
//! Solvers take problems by `&self`, and with argmin's feature `rayon` from several threads;
//! so the workspace is behind a lock. It is not waited for unless two threads ask the same
//! objective at once. Beside that, a call allocates the vector that argmin's traits return and
//! nothing else.

mod hessian;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::argmin::core::{ArgminFloat, CostFunction, Gradient};
use backstitch_ir::Element;
use backstitch_trace::{Spec, Tree};

use super::evaluation::EvaluationError;
use super::finite::{finite_derivative, finite_value};
use super::memo::Memo;
use crate::bind::Bound;

pub use hessian::{CurvedObjective, HessianAt};

/// A loss to minimise, with its gradient.
///
/// argmin asks for the cost at a point and for the gradient there in two calls. They run the
/// program once: the last point is remembered, see [`Memo`].
///
/// Values and gradients that are not finite end the search, with an [`EvaluationError`] that
/// says which; [`allow_non_finite`](Self::allow_non_finite) hands them on.
///
/// ```
/// use argmin::core::{Executor, State};
/// use argmin::solver::linesearch::MoreThuenteLineSearch;
/// use argmin::solver::quasinewton::LBFGS;
/// use backstitch::adapters::argmin::Objective;
/// use backstitch::prelude::*;
///
/// // Rosenbrock's valley in ten dimensions.
/// let loss = trace(Spec::f64([10]), (), |_, x, ()| {
///     let (a, b) = (x.slice(0, ..-1, 1), x.slice(0, 1.., 1));
///     (100.0 * (b - a.square()).square() + (1.0 - a).square()).sum()
/// })?;
/// let program = loss.value_and_grad()?.compile()?;
/// let objective = Objective::new(program.bind::<f64, _>(&())?);
///
/// let solver = LBFGS::new(MoreThuenteLineSearch::new(), 7);
/// let result = Executor::new(objective, solver)
///     .configure(|state| state.param(vec![-0.5; 10]).max_iters(200))
///     .run()?;
/// let x = result.state().get_best_param().expect("a solution");
/// assert!(x.iter().all(|x| (x - 1.0).abs() < 1e-5), "{x:?}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Objective<'a, P, T> {
    memo: Mutex<Memo<'a, P, T>>,
    allow_non_finite: bool,
}

impl<'a, P: Tree<Spec> + Clone, T: Element> Objective<'a, P, T> {
    /// Of a bound value and gradient.
    pub fn new(bound: Bound<'a, P, T>) -> Self {
        Self { memo: Mutex::new(Memo::new(bound)), allow_non_finite: false }
    }

    /// Gives the solver values and gradients that are not finite, instead of an error: for
    /// losses that are infinite or NaN outside of their domain, and line searches that step back
    /// from there (those that only compare values, like backtracking).
    #[must_use]
    pub fn allow_non_finite(self) -> Self {
        Self { allow_non_finite: true, ..self }
    }

    /// How often the program has run.
    pub fn runs(&self) -> u64 {
        self.memo().runs()
    }

    /// The bound program again: where parameters are in the vector, and from one to the other.
    pub fn into_bound(self) -> Bound<'a, P, T> {
        self.memo.into_inner().unwrap_or_else(PoisonError::into_inner).into_bound()
    }

    fn memo(&self) -> MutexGuard<'_, Memo<'a, P, T>> {
        self.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P, T> CostFunction for Objective<'_, P, T>
where
    P: Tree<Spec> + Clone,
    T: Element + ArgminFloat + Into<f64>,
{
    type Param = Vec<T>;
    type Output = T;

    /// The loss at `param`.
    ///
    /// # Errors
    /// An [`EvaluationError`].
    fn cost(&self, param: &Vec<T>) -> Result<T, ::argmin::core::Error> {
        let value = self.memo().value(param).map_err(EvaluationError::from)?;
        if self.allow_non_finite { Ok(value) } else { Ok(finite_value(value)?) }
    }
}

impl<P, T> Gradient for Objective<'_, P, T>
where
    P: Tree<Spec> + Clone,
    T: Element + ArgminFloat + Into<f64>,
{
    type Param = Vec<T>;
    type Gradient = Vec<T>;

    /// The gradient at `param`.
    ///
    /// # Errors
    /// An [`EvaluationError`].
    fn gradient(&self, param: &Vec<T>) -> Result<Vec<T>, ::argmin::core::Error> {
        let mut memo = self.memo();
        let gradient = memo.gradient(param).map_err(EvaluationError::from)?.to_vec();
        if !self.allow_non_finite {
            finite_derivative("gradient", &gradient, memo.bound().layout())?;
        }
        Ok(gradient)
    }
}

impl<P, T> fmt::Debug for Objective<'_, P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objective")
            .field("memo", &self.memo)
            .field("allow_non_finite", &self.allow_non_finite)
            .finish()
    }
}

// Solvers with argmin's feature `rayon` share objectives among threads.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Objective<'_, Spec, f64>>();
    is_shared::<CurvedObjective<'_, Spec, f64>>();
};
