//! Hessians as solvers use them: by their products with vectors.
//!
//! A truncated Newton method asks for the Hessian at a point and then only multiplies with it,
//! a few times. So what it gets is the point, and each product runs the program of products:
//! no matrix is made.
//!
//! A product, `ArgminDot::dot`, cannot fail. One that does is noted, and is zero: a direction
//! without curvature, at which the conjugate gradients inside of such methods stop. (At NaN
//! they may go on for ever.) Solvers then ask for the loss at their next point, and get the
//! error that was noted.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argmin_math::ArgminDot;
use backstitch_ir::Element;
use backstitch_trace::{Spec, Tree};

use ::argmin::core::{ArgminFloat, CostFunction, Error, Gradient, Hessian};

use super::Objective;
use crate::adapters::evaluation::EvaluationError;
use crate::adapters::finite::finite_derivative;
use crate::bind::{BoundHvp, check_same};

/// A loss to minimise, with its gradient and products with its Hessian.
///
/// ```
/// use argmin::core::{Executor, State};
/// use argmin::solver::trustregion::{Steihaug, TrustRegion};
/// use backstitch::adapters::argmin::{CurvedObjective, Objective};
/// use backstitch::prelude::*;
///
/// let loss = trace(Spec::f64([2]), (), |_, x, ()| {
///     let (a, b) = (x.index(0, 0), x.index(0, 1));
///     100.0 * (b - a.square()).square() + (1.0 - a).square()
/// })?;
/// let (program, products) = (loss.value_and_grad()?.compile()?, loss.hvp()?.compile()?);
/// let objective = Objective::new(program.bind::<f64, _>(&())?);
/// let objective = CurvedObjective::new(objective, products.bind_hvp(&())?)?;
///
/// let solver = TrustRegion::new(Steihaug::new());
/// let result = Executor::new(objective, solver)
///     .configure(|state| state.param(vec![-1.2, 1.0]).max_iters(60))
///     .run()?;
/// let x = result.state().get_best_param().expect("a solution");
/// assert!(x.iter().all(|x| (x - 1.0).abs() < 1e-8), "{x:?}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CurvedObjective<'a, P, T> {
    objective: Objective<'a, P, T>,
    products: Shared<'a, P, T>,
}

/// The program of products, shared by all Hessians.
struct Products<'a, P, T> {
    bound: BoundHvp<'a, P, T>,
    runs: u64,
    /// Of a product that failed and that no call has told of yet.
    failure: Option<EvaluationError>,
}

type Shared<'a, P, T> = Arc<Mutex<Products<'a, P, T>>>;

fn lock<'s, 'a, P, T>(products: &'s Shared<'a, P, T>) -> MutexGuard<'s, Products<'a, P, T>> {
    products.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a, P: Tree<Spec> + Clone, T: Element> CurvedObjective<'a, P, T> {
    /// Of an objective and the bound products with its Hessian. Both are of the same loss:
    /// that their parameters are the same is checked, that their numbers are is not.
    ///
    /// # Errors
    /// If their parameters differ.
    pub fn new(
        objective: Objective<'a, P, T>,
        products: BoundHvp<'a, P, T>,
    ) -> Result<Self, crate::Error> {
        check_same(objective.memo().bound().layout(), products.layout())?;
        let products = Products { bound: products, runs: 0, failure: None };
        Ok(Self { objective, products: Arc::new(Mutex::new(products)) })
    }

    /// How often the program of value and gradient has run.
    pub fn runs(&self) -> u64 {
        self.objective.runs()
    }

    /// How often the program of products has run.
    pub fn product_runs(&self) -> u64 {
        lock(&self.products).runs
    }

    /// The error of a product, if one failed since the last call.
    fn failure(&self) -> Result<(), EvaluationError> {
        lock(&self.products).failure.take().map_or(Ok(()), Err)
    }
}

impl<P, T> CostFunction for CurvedObjective<'_, P, T>
where
    P: Tree<Spec> + Clone,
    T: Element + ArgminFloat + Into<f64>,
{
    type Param = Vec<T>;
    type Output = T;

    /// The loss at `param`.
    ///
    /// # Errors
    /// An [`EvaluationError`], maybe of a product with a Hessian before.
    fn cost(&self, param: &Vec<T>) -> Result<T, Error> {
        self.failure()?;
        self.objective.cost(param)
    }
}

impl<P, T> Gradient for CurvedObjective<'_, P, T>
where
    P: Tree<Spec> + Clone,
    T: Element + ArgminFloat + Into<f64>,
{
    type Param = Vec<T>;
    type Gradient = Vec<T>;

    /// The gradient at `param`.
    ///
    /// # Errors
    /// An [`EvaluationError`], maybe of a product with a Hessian before.
    fn gradient(&self, param: &Vec<T>) -> Result<Vec<T>, Error> {
        self.failure()?;
        self.objective.gradient(param)
    }
}

impl<'a, P, T> Hessian for CurvedObjective<'a, P, T>
where
    P: Tree<Spec> + Clone,
    T: Element + ArgminFloat + Into<f64>,
{
    type Param = Vec<T>;
    type Hessian = HessianAt<'a, P, T>;

    /// The Hessian at `param`, to be multiplied with vectors. Runs nothing.
    ///
    /// # Errors
    /// An [`EvaluationError`] if the vector has another length than all parameters together,
    /// or of a product before.
    fn hessian(&self, param: &Vec<T>) -> Result<HessianAt<'a, P, T>, Error> {
        self.failure()?;
        self.objective.memo().bound().check_len(param).map_err(EvaluationError::from)?;
        Ok(HessianAt { products: self.products.clone(), point: param.as_slice().into() })
    }
}

/// The Hessian at a point: what [`CurvedObjective`] gives to a solver, which multiplies
/// vectors with it.
///
/// A product that fails, or that is not finite, is zero, and the error comes from the next
/// call of the objective: also of one that allows what is not finite, for methods that
/// multiply with Hessians do not step back.
pub struct HessianAt<'a, P, T> {
    products: Shared<'a, P, T>,
    point: Arc<[T]>,
}

impl<P, T> HessianAt<'_, P, T> {
    /// Where it is the Hessian.
    pub fn point(&self) -> &[T] {
        &self.point
    }
}

impl<P, T> ArgminDot<Vec<T>, Vec<T>> for HessianAt<'_, P, T>
where
    P: Tree<Spec> + Clone,
    T: Element + ArgminFloat + Into<f64>,
{
    /// The Hessian times `v`.
    fn dot(&self, v: &Vec<T>) -> Vec<T> {
        let mut products = lock(&self.products);
        let Products { bound, runs, failure } = &mut *products;
        let mut product = vec![T::zero(); self.point.len()];
        *runs += 1;
        let called = bound.call_into(&self.point, v, &mut product).map_err(EvaluationError::from);
        let checked = called
            .and_then(|()| finite_derivative("product with the Hessian", &product, bound.layout()));
        if let Err(error) = checked {
            product.fill(T::zero());
            failure.get_or_insert(error);
        }
        product
    }
}

impl<P, T> Clone for HessianAt<'_, P, T> {
    fn clone(&self) -> Self {
        Self { products: self.products.clone(), point: self.point.clone() }
    }
}

impl<P, T: fmt::Debug> fmt::Debug for HessianAt<'_, P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HessianAt").field("point", &self.point).finish_non_exhaustive()
    }
}

impl<P, T> fmt::Debug for Products<'_, P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Products")
            .field("bound", &self.bound)
            .field("runs", &self.runs)
            .finish_non_exhaustive()
    }
}
