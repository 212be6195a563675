//! Jacobians of traced programs: all derivatives at once.

#![expect(
    clippy::type_complexity,
    reason = "result types spell out what a program takes and gives"
)]

use backstitch_ir::{Graph, Shape, Type, Value};

use crate::compressed::dense;
use crate::jacobian::{batch_jacobian, fits, jacobian, jacobian_forward, jacobian_reverse};
use crate::mistake::{Problem, TraceError};
use crate::spec::Spec;
use crate::traced::Traced;
use crate::tree::Tree;

/// How the derivative of one output with respect to all parameters is added.
type Rule = fn(&mut Graph, Value, &[Value]) -> Vec<Option<Value>>;

impl<P, D, O> Traced<P, D, O>
where
    P: Tree<Spec> + Clone,
    D: Tree<Spec> + Clone,
    O: Tree<Spec> + Clone,
{
    /// The derivative of each element of each output with respect to each element
    /// of each parameter: for each leaf of the outputs a structure of the
    /// parameters, of the output's shape followed by the parameter's. Forward or
    /// reverse, whichever takes fewer sweeps; far fewer where most derivatives are zero
    /// whatever the arguments, as in a banded matrix
    /// ([`jacobian_sparse`](Self::jacobian_sparse) gives those that are not).
    ///
    /// ```
    /// use backstitch_trace::{Spec, trace};
    /// let traced = trace(Spec::f64([2]), (), |_, x, ()| x * x.sum())?;
    /// let j = traced.jacobian()?.eval(&ndarray::arr1(&[1.0, 2.0]), &())?;
    /// assert_eq!(j.to_f64_vec(), [4.0, 1.0, 2.0, 5.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// If an output or a parameter is no float.
    #[track_caller]
    pub fn jacobian(&self) -> Result<Traced<P, D, O::Nest<Spec, P::With<Spec>>>, TraceError> {
        self.jacobian_by(
            "jacobian",
            |g, of, by| dense(g, of, by).unwrap_or_else(|| jacobian(g, of, by)),
            0,
        )
    }

    /// As [`jacobian`](Self::jacobian), always in forward mode: one sweep for each
    /// element of the parameters, all at once. For few parameters and large outputs.
    ///
    /// ```
    /// use backstitch_trace::{Spec, trace};
    /// let curve = trace(Spec::f64([]), Spec::f64([3]), |_, a, x| (a * x).sin())?;
    /// let j = curve.jacobian_forward()?.eval(&0.0, &ndarray::arr1(&[1.0, 2.0, 3.0]))?;
    /// assert_eq!(j.to_f64_vec(), [1.0, 2.0, 3.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// As [`jacobian`](Self::jacobian).
    #[track_caller]
    #[doc(alias = "jacfwd")]
    pub fn jacobian_forward(
        &self,
    ) -> Result<Traced<P, D, O::Nest<Spec, P::With<Spec>>>, TraceError> {
        self.jacobian_by("jacobian_forward", jacobian_forward, 0)
    }

    /// As [`jacobian`](Self::jacobian), always in reverse mode: one sweep for each
    /// element of the outputs, all at once. For many parameters and small outputs.
    ///
    /// ```
    /// use backstitch_trace::{Spec, trace};
    /// let traced = trace(Spec::f64([3]), (), |_, x, ()| x.square().sum())?;
    /// let j = traced.jacobian_reverse()?.eval(&ndarray::arr1(&[1.0, 2.0, 3.0]), &())?;
    /// assert_eq!(j.to_f64_vec(), [2.0, 4.0, 6.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// As [`jacobian`](Self::jacobian).
    #[track_caller]
    #[doc(alias = "jacrev")]
    pub fn jacobian_reverse(
        &self,
    ) -> Result<Traced<P, D, O::Nest<Spec, P::With<Spec>>>, TraceError> {
        self.jacobian_by("jacobian_reverse", jacobian_reverse, 0)
    }

    /// The derivatives of programs whose first axis counts independent examples: for
    /// outputs `[n, out…]` and parameters `[n, in…]`, the derivatives of each example
    /// by itself, `[n, out…, in…]`. They cost what one example's Jacobian has rows,
    /// not `n` times as much.
    ///
    /// That examples are independent is taken on trust: where one depends on another,
    /// the derivatives of all outputs with respect to an example are summed.
    ///
    /// ```
    /// use backstitch_trace::{Spec, trace};
    /// let traced = trace(Spec::f64([3, 2]), (), |_, x, ()| x.square().sum_over(1))?;
    /// let x = ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
    /// let j = traced.batch_jacobian()?.eval(&x, &())?;
    /// assert_eq!(j.dims(), [3, 2]);
    /// assert_eq!(j.to_f64_vec(), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// If an output or a parameter is no float, or if their first axes are not of one
    /// extent.
    #[track_caller]
    pub fn batch_jacobian(&self) -> Result<Traced<P, D, O::Nest<Spec, P::With<Spec>>>, TraceError> {
        let (params, outputs) = (self.params.leaf_names(), self.outputs.leaf_names());
        let params = params.iter().zip(self.params.leaves()).map(|l| ("parameter", l));
        let outputs = outputs.iter().zip(self.outputs.leaves()).map(|l| ("output", l));
        let mut first: Option<(usize, String)> = None;
        for (what, (name, spec)) in params.chain(outputs) {
            let name = if name.is_empty() { what.to_owned() } else { format!("{what} `{name}`") };
            let message = match (spec.dims().first(), &first) {
                (None, _) => format!("the {name} is {spec}, without an axis of examples"),
                (Some(&n), Some((m, other))) if n != *m => {
                    format!("{m} examples in the {other} and {n} in the {name}, which is {spec}")
                }
                (Some(&n), _) => {
                    first.get_or_insert((n, name));
                    continue;
                }
            };
            return Err(self.error("batch_jacobian", Problem::Shape, message));
        }
        self.jacobian_by("batch_jacobian", batch_jacobian, 1)
    }

    /// The second derivatives of a scalar program: for each parameter a structure
    /// of the parameters.
    ///
    /// # Errors
    /// As [`grad`](Self::grad).
    #[track_caller]
    pub fn hessian(&self) -> Result<Traced<P, D, P::Nest<Spec, P::With<Spec>>>, TraceError> {
        self.grad()?.jacobian()
    }

    /// The derivative that a rule adds, whose first `shared` axes are those of the
    /// output and of the parameter at once.
    #[track_caller]
    fn jacobian_by(
        &self,
        operation: &'static str,
        rule: Rule,
        shared: usize,
    ) -> Result<Traced<P, D, O::Nest<Spec, P::With<Spec>>>, TraceError> {
        let sources = self.float_params(operation)?;
        self.float_outputs(operation)?;
        let block = |of: &Type, by: &Type| -> Type {
            let dims = of.dims().iter().chain(&by.dims()[shared..]).copied();
            of.with_shape(dims.collect::<Shape>())
        };
        let all = self.params.leaves().into_iter().chain(self.outputs.leaves());
        if shared == 0
            && let Some(large) = all.into_iter().find(|spec| !fits(spec.ty().len()))
        {
            let message = format!("the derivative of {large} is more than memory can hold");
            return Err(self.error(operation, Problem::Shape, message));
        }
        let mut graph = self.extend();
        let targets = graph.outputs().to_vec();
        let mut blocks = Vec::with_capacity(targets.len() * sources.len());
        for &target in &targets {
            let found = rule(&mut graph, target, &sources);
            for (found, &source) in found.into_iter().zip(&sources) {
                let ty = block(graph.ty(target), graph.ty(source));
                blocks.push(found.unwrap_or_else(|| graph.splat(&ty, 0.0)));
            }
        }
        graph.set_outputs(blocks);
        let block = |of: &Spec, by: &Spec| block(of.ty(), by.ty()).into();
        let outputs =
            self.outputs.nest_leaves(&mut |of| self.params.map_leaves(&mut |by| block(of, by)));
        Ok(self.transformed(graph, operation, self.data.clone(), outputs))
    }
}
