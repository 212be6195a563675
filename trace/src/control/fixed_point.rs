//! Values that are given by equations.

use std::panic::Location;
use std::sync::Arc;

use backstitch_ir::{DType, Shape, Type, Value};
use backstitch_passes::fixed_point;

use super::rebuild;
use crate::jacobian::{fits, jacobian};
use crate::mistake::Problem;
use crate::tensor::Tensor;
use crate::trace::Trace;
use crate::tree::Tree;

/// When an iteration ends: see [`Trace::fixed_point`] and [`Trace::root`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Solver {
    tolerance: Option<f64>,
    limit: usize,
}

impl Default for Solver {
    fn default() -> Self {
        Self { tolerance: None, limit: 1000 }
    }
}

impl Solver {
    /// Ends when no element changes by more than this, in relation to the largest of its
    /// array or to 1, whichever is larger. If nothing is said, 1e-12, and 1e-6 for `f32`.
    #[must_use]
    pub fn tolerance(self, tolerance: f64) -> Self {
        Self { tolerance: Some(tolerance), ..self }
    }

    /// Ends after this many iterations, with whatever has been reached; 1000 if nothing
    /// is said.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }
}

impl Trace {
    /// The `x` with `x = step(x)`, by iteration from `init`: trees of floats of any
    /// shapes.
    ///
    /// It is differentiated by the implicit function theorem with respect to all tensors
    /// that the step uses, in both modes and to any order: nothing of the iterations is
    /// kept, and it makes no difference where they started. The derivative is an
    /// iteration too, which converges at the rate of this one, with the same tolerance
    /// and limit. Where the step is not contractive, or the limit ends the iteration
    /// before it has converged, value and derivative are those of no fixed point.
    ///
    /// ```
    /// # use backstitch_trace::{Solver, Trace};
    /// // x = cos(a·x), so dx/da = -x·sin(a·x) / (1 + a·sin(a·x)).
    /// let t = Trace::eager();
    /// let a = t.variable(1.0);
    /// let tape = t.tape();
    /// let x = t.fixed_point(t.scalar(0.5), |x| (a * x).cos(), &Solver::default());
    /// let slope = tape.gradient(&x, &a).expect_connected().item::<f64>()?;
    /// let x = x.item::<f64>()?;
    /// assert!((x - x.cos()).abs() < 1e-11);
    /// assert!((slope + x * x.sin() / (1.0 + x.sin())).abs() < 1e-10);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// A step that gives another structure or other types than it takes, or numbers that
    /// are no floats, are a mistake.
    #[track_caller]
    #[doc(alias = "implicit")]
    pub fn fixed_point<'t, X: Tree<Tensor<'t>>>(
        &'t self,
        init: X,
        step: impl FnOnce(X::With<Tensor<'t>>) -> X::With<Tensor<'t>>,
        solver: &Solver,
    ) -> X::With<Tensor<'t>> {
        self.iterate("fixed_point", &init, step, solver, Location::caller())
    }

    /// The `x` with `f(x) = 0`, by Newton's method from `init`: a tree of floats of one
    /// element type, and `f` gives as many equations in the same structure.
    ///
    /// Differentiated like a [`fixed_point`](Self::fixed_point). Each step solves a dense
    /// system of all elements of `x`: for large ones, write a step of your own.
    ///
    /// ```
    /// use backstitch_trace::{Solver, Spec, trace};
    /// let sqrt = trace(Spec::f64([]), (), |t, a, ()| {
    ///     t.root(t.scalar(1.0), |x| x.square() - a, &Solver::default())
    /// })?;
    /// let (x, slope) = sqrt.value_and_grad()?.eval(&4.0, &())?;
    /// assert!((x.item::<f64>().unwrap() - 2.0).abs() < 1e-14);
    /// assert!((slope.item::<f64>().unwrap() - 1.0 / 4.0).abs() < 1e-14);
    /// let curvature = sqrt.hessian()?.eval(&4.0, &())?;
    /// assert!((curvature.item::<f64>().unwrap() + 1.0 / 32.0).abs() < 1e-14);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// As [`fixed_point`](Self::fixed_point). Where the Jacobian is singular there are
    /// infinities and NaN in the result.
    #[track_caller]
    #[doc(alias = "fsolve")]
    #[doc(alias = "newton")]
    pub fn root<'t, X: Tree<Tensor<'t>>>(
        &'t self,
        init: X,
        f: impl FnOnce(X::With<Tensor<'t>>) -> X::With<Tensor<'t>>,
        solver: &Solver,
    ) -> X::With<Tensor<'t>> {
        let place = Location::caller();
        let newton = |x: X::With<Tensor<'t>>| {
            let xs: Vec<Tensor<'t>> = x.leaves().into_iter().copied().collect();
            let y = f(rebuild(&init, &xs));
            let ys: Vec<Tensor<'t>> = y.leaves().into_iter().copied().collect();
            let _line = self.line_at(place);
            let types = |vs: &[Tensor<'t>]| vs.iter().map(|x| x.ty()).collect::<Vec<_>>();
            let floats = xs.iter().all(|x| x.ty().is_float());
            if xs.is_empty()
                || !floats
                || types(&xs) != types(&ys)
                || x.leaf_names() != y.leaf_names()
            {
                // Told as a step that cannot be iterated.
                return y;
            }
            let size = xs.iter().try_fold(0usize, |n, x| n.checked_add(x.size()));
            if !size.is_some_and(fits) {
                let message = "the Jacobian has more elements than memory can hold";
                let guess = xs[0].ty();
                let poisoned = self.mistake("root", Problem::Shape, message, &xs, guess);
                return rebuild(&init, &vec![poisoned; xs.len()]);
            }
            let next = self.newton(&xs, &ys, place);
            rebuild(&init, &next)
        };
        self.iterate("root", &init, newton, solver, place)
    }

    /// `x - J⁻¹·f(x)`. The derivative takes `J⁻¹` for a constant: whatever stands in its
    /// place, the fixed point is the same.
    fn newton<'t>(
        &'t self,
        xs: &[Tensor<'t>],
        ys: &[Tensor<'t>],
        place: &'static Location<'static>,
    ) -> Vec<Tensor<'t>> {
        let sizes: Vec<usize> = xs.iter().map(|x| x.size()).collect();
        let blocks = self.append("root", &[ys, xs].concat(), &[], place, |g, values| {
            let (ys, xs) = values.split_at(xs.len());
            let mut blocks: Vec<Value> = Vec::with_capacity(xs.len() * xs.len());
            for (&y, &rows) in ys.iter().zip(&sizes) {
                let found = jacobian(g, y, xs);
                for (block, (&x, &columns)) in found.into_iter().zip(xs.iter().zip(&sizes)) {
                    let ty = g.ty(x).with_shape([rows, columns]);
                    blocks.push(match block {
                        Some(block) => g.reshape(block, Shape::from([rows, columns])),
                        None => g.splat(&ty, 0.0),
                    });
                }
            }
            blocks
        });
        // What is not to be had has been recorded.
        let Some(blocks) = blocks else { return ys.to_vec() };
        let rows: Vec<Tensor<'t>> =
            blocks.chunks(xs.len()).map(|row| self.concat(row, 1)).collect();
        let flat: Vec<Tensor<'t>> = ys.iter().map(|y| y.flatten()).collect();
        let change = self.concat(&rows, 0).stop_gradient().solve(self.concat(&flat, 0));
        let mut at = 0;
        let moved = xs.iter().zip(&sizes).map(|(&x, &n)| {
            let part = change.slice(0, at..at + n as i64, 1).reshape(x.shape());
            at += n as i64;
            x - part
        });
        moved.collect()
    }

    #[track_caller]
    fn iterate<'t, X: Tree<Tensor<'t>>>(
        &'t self,
        operation: &'static str,
        init: &X,
        step: impl FnOnce(X::With<Tensor<'t>>) -> X::With<Tensor<'t>>,
        solver: &Solver,
        place: &'static Location<'static>,
    ) -> X::With<Tensor<'t>> {
        let start: Vec<Tensor<'t>> = init.leaves().into_iter().copied().collect();
        let types: Vec<Type> = start.iter().map(|x| x.ty()).collect();
        let (body, next) = self.body(operation, &types, &[], place, |xs| step(rebuild(init, xs)));
        if body.is_poisoned()
            || !self.steady(operation, (init, &types), (&next, &body.types), place)
        {
            return self.guesses(init, &types, place);
        }
        if let Some(ty) = types.iter().find(|ty| !ty.is_float()) {
            let message = format!("expected floats to solve for, got {ty}");
            self.mistake(operation, Problem::DType, message, &start, ty.clone());
            return self.guesses(init, &types, place);
        }
        let coarse = types.iter().any(|ty| ty.dtype == DType::F32);
        let tolerance = solver.tolerance.unwrap_or(if coarse { 1e-6 } else { 1e-12 });
        let captured: Vec<Value> = body.scope.captures.iter().map(|c| c.0).collect();
        let region = fixed_point(Arc::new(body.seal()), tolerance, solver.limit, 1.0);
        rebuild(init, &self.finish(region.into(), &start, &captured, &[], &types, place))
    }
}
