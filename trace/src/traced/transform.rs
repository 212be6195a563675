//! Derivatives of traced programs.

#![expect(
    clippy::type_complexity,
    reason = "result types spell out what a program takes and gives"
)]

use std::sync::Arc;

use backstitch_ir::{Graph, Value};
use backstitch_passes::{forward, reverse};

use crate::mistake::TraceError;
use crate::spec::Spec;
use crate::traced::Traced;
use crate::tree::{Path, Tree};

impl<P, D, O> Traced<P, D, O>
where
    P: Tree<Spec> + Clone,
    D: Tree<Spec> + Clone,
    O: Tree<Spec> + Clone,
{
    /// The gradient of a scalar program with respect to the parameters. Zeros
    /// where a parameter is not connected: see
    /// [`gradient_status`](Self::gradient_status).
    ///
    /// # Errors
    /// If the program gives anything but one float scalar, or if a parameter is
    /// no float.
    #[track_caller]
    pub fn grad(&self) -> Result<Traced<P, D, P>, TraceError> {
        let (mut graph, _, gradients) = self.reverse("grad")?;
        graph.set_outputs(gradients);
        Ok(self.transformed(graph, "grad", self.data.clone(), self.params.clone()))
    }

    /// The value of a scalar program and its gradient with respect to the
    /// parameters.
    ///
    /// ```
    /// use backstitch_trace::{Spec, trace};
    /// let traced = trace(Spec::f64([2]), (), |_, x, ()| x.square().sum())?;
    /// let (value, gradient) = traced.value_and_grad()?.eval(&ndarray::arr1(&[1.0, 2.0]), &())?;
    /// assert_eq!(value.item::<f64>(), Some(5.0));
    /// assert_eq!(gradient.to_f64_vec(), [2.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// As [`grad`](Self::grad).
    #[track_caller]
    pub fn value_and_grad(&self) -> Result<Traced<P, D, (O, P)>, TraceError> {
        let (mut graph, value, gradients) = self.reverse("value_and_grad")?;
        graph.set_outputs(std::iter::once(value).chain(gradients));
        let outputs = (self.outputs.clone(), self.params.clone());
        Ok(self.transformed(graph, "value_and_grad", self.data.clone(), outputs))
    }

    /// The outputs, and the gradient of their sum weighted with cotangents, which
    /// are additional data of the outputs' types.
    ///
    /// # Errors
    /// If an output or a parameter is no float.
    #[track_caller]
    pub fn vjp(&self) -> Result<Traced<P, (D, O), (O, P)>, TraceError> {
        let sources = self.float_params("vjp")?;
        self.float_outputs("vjp")?;
        let mut graph = self.extend();
        let outputs = graph.outputs().to_vec();
        let cts = self.inputs_like(&mut graph, &self.outputs, "ct");
        let targets: Vec<_> = outputs.iter().zip(&cts).map(|(&v, &ct)| (v, Some(ct))).collect();
        let gradients = reverse(&mut graph, &targets, &sources);
        let gradients = or_zeros(&mut graph, gradients, &sources);
        graph.set_outputs(outputs.into_iter().chain(gradients));
        let data = (self.data.clone(), self.outputs.clone());
        let outputs = (self.outputs.clone(), self.params.clone());
        Ok(self.transformed(graph, "vjp", data, outputs))
    }

    /// The outputs, and how they change as the parameters move along tangents,
    /// which are additional data of the parameters' types.
    ///
    /// ```
    /// use backstitch_trace::{Spec, trace};
    /// let traced = trace(Spec::f64([]), (), |_, x, ()| x.sin())?;
    /// let (value, tangent) = traced.jvp()?.eval(&0.0, &((), 2.0))?;
    /// assert_eq!((value.item::<f64>(), tangent.item::<f64>()), (Some(0.0), Some(2.0)));
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// If an output or a parameter is no float.
    #[track_caller]
    pub fn jvp(&self) -> Result<Traced<P, (D, P), (O, O)>, TraceError> {
        let sources = self.float_params("jvp")?;
        self.float_outputs("jvp")?;
        let mut graph = self.extend();
        let outputs = graph.outputs().to_vec();
        let dots = self.inputs_like(&mut graph, &self.params, "dot");
        let moved: Vec<_> = sources.iter().copied().zip(dots).collect();
        let tangents = forward(&mut graph, &moved, &outputs);
        let tangents = or_zeros(&mut graph, tangents, &outputs);
        graph.set_outputs(outputs.into_iter().chain(tangents));
        let data = (self.data.clone(), self.params.clone());
        let outputs = (self.outputs.clone(), self.outputs.clone());
        Ok(self.transformed(graph, "jvp", data, outputs))
    }

    /// The product of the second derivatives of a scalar program with a vector,
    /// which is additional data of the parameters' types. Forward over reverse, so
    /// about as costly as two gradients.
    ///
    /// ```
    /// use backstitch_trace::{Spec, trace};
    /// let traced = trace(Spec::f64([2]), (), |_, x, ()| x.powi(3).sum())?;
    /// let (x, v) = (ndarray::arr1(&[1.0, 2.0]), ndarray::arr1(&[1.0, 10.0]));
    /// let product = traced.hvp()?.eval(&x, &((), v))?;
    /// assert_eq!(product.to_f64_vec(), [6.0, 120.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// As [`grad`](Self::grad).
    #[track_caller]
    pub fn hvp(&self) -> Result<Traced<P, (D, P), P>, TraceError> {
        let (mut graph, _, gradients) = self.reverse("hvp")?;
        let sources = self.param_values();
        let dots = self.inputs_like(&mut graph, &self.params, "dot");
        let moved: Vec<_> = sources.into_iter().zip(dots).collect();
        let products = forward(&mut graph, &moved, &gradients);
        let products = or_zeros(&mut graph, products, &gradients);
        graph.set_outputs(products);
        let data = (self.data.clone(), self.params.clone());
        Ok(self.transformed(graph, "hvp", data, self.params.clone()))
    }

    /// The graph with the gradient added: graph, value, gradients.
    #[track_caller]
    pub(super) fn reverse(
        &self,
        operation: &'static str,
    ) -> Result<(Graph, Value, Vec<Value>), TraceError> {
        let value = self.scalar(operation)?;
        let sources = self.float_params(operation)?;
        let mut graph = self.extend();
        let gradients = reverse(&mut graph, &[(value, None)], &sources);
        let gradients = or_zeros(&mut graph, gradients, &sources);
        Ok((graph, value, gradients))
    }

    /// Adds an input for each leaf, named after it.
    pub(super) fn inputs_like(
        &self,
        graph: &mut Graph,
        tree: &impl Tree<Spec>,
        suffix: &str,
    ) -> Vec<Value> {
        let mut all = Vec::new();
        tree.visit(&mut Path::root(), &mut |path, spec| {
            let name = format!("{}'{suffix}", path.as_str());
            all.push(graph.input(spec.ty().clone(), Some(&name)));
        });
        all
    }

    pub(super) fn transformed<E, Q>(
        &self,
        mut graph: Graph,
        by: &str,
        data: E,
        outputs: Q,
    ) -> Traced<P, E, Q> {
        graph.name = format!("{}.{by}", self.graph.name);
        let graph = backstitch_passes::prune(&graph);
        Traced { graph: Arc::new(graph), params: self.params.clone(), data, outputs }
    }
}

fn or_zeros(g: &mut Graph, found: Vec<Option<Value>>, like: &[Value]) -> Vec<Value> {
    found.into_iter().zip(like).map(|(v, &l)| v.unwrap_or_else(|| g.like(l, 0.0))).collect()
}
