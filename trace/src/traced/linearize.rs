//! A program at a point: what it gives there, and how that changes, as a linear map.

use std::sync::Arc;

use backstitch_derive::Tree;
use backstitch_ir::Graph;
use backstitch_passes::{inline, split, tangent};

use crate::mistake::TraceError;
use crate::spec::Spec;
use crate::traced::Traced;
use crate::tree::{Path, Tree};

/// What the derivative at a point needs of the program there: an output of
/// [`Linearized::primal`] and the data of [`Linearized::tangent`]. What is in it is up to
/// the program.
#[derive(Tree, Clone, Debug)]
#[tree(crate = backstitch_trace)]
pub struct Residuals<T>(Vec<T>);

/// A program and its derivative; see [`Traced::linearize`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Linearized<P, D, O> {
    /// The program, which gives residuals besides its outputs.
    pub primal: Traced<P, D, (O, Residuals<Spec>)>,
    /// From tangents of the parameters and residuals to tangents of the outputs. It is
    /// linear in the former: its [`vjp`](Traced::vjp) gives gradients.
    pub tangent: Traced<P, Residuals<Spec>, O>,
}

impl<P, D, O> Traced<P, D, O>
where
    P: Tree<Spec> + Clone,
    D: Tree<Spec> + Clone,
    O: Tree<Spec> + Clone,
{
    /// The program as one that gives outputs and *residuals*, and its derivative as one
    /// that takes residuals: for many tangents at one point, where the program itself is
    /// run once. Loops are an exception: those whose rows the derivative needs run again,
    /// since their number may not be known.
    ///
    /// ```
    /// use backstitch_trace::{Spec, trace};
    /// let f = trace(Spec::f64([2]), (), |_, x, ()| x.sin() * x.sum())?;
    /// let f = f.linearize()?;
    /// let (y, residuals) = f.primal.eval(&ndarray::arr1(&[0.0, 1.0]), &())?;
    /// assert_eq!(y.to_f64_vec(), [0.0, 1f64.sin()]);
    /// for tangent in [[1.0, 0.0], [0.0, 1.0]] {
    ///     let dy = f.tangent.eval(&ndarray::arr1(&tangent), &residuals)?;
    ///     assert_eq!(dy.to_f64_vec()[0], tangent[0]);
    /// }
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// If an output or a parameter is no float.
    #[track_caller]
    pub fn linearize(&self) -> Result<Linearized<P, D, O>, TraceError> {
        let params = self.float_params("linearize")?;
        self.float_outputs("linearize")?;
        let along = params.len();
        let parts = split(&tangent(&self.graph, &(0..along).collect::<Vec<_>>()), along);

        let mut primal: Graph = (*self.graph).clone();
        let inputs = primal.inputs().to_vec();
        let residuals = inline(&mut primal, &parts.before, &inputs);
        let specs = residuals.iter().map(|&v| primal.ty(v).clone().into()).collect();
        let specs = Residuals(specs);
        let outputs = primal.outputs().to_vec();
        primal.set_outputs(outputs.into_iter().chain(residuals));
        let made = (self.outputs.clone(), specs.clone());
        let primal = self.transformed(primal, "linearize", self.data.clone(), made);

        let mut graph = Graph::new(format!("{}.tangent", self.graph.name));
        let mut args = self.inputs_like(&mut graph, &self.params, "dot");
        specs.visit(&mut Path::root(), &mut |path, spec: &Spec| {
            let name = format!("residual.{}", path.as_str());
            args.push(graph.input(spec.ty().clone(), Some(&name)));
        });
        let tangents = inline(&mut graph, &parts.after, &args);
        graph.set_outputs(tangents);
        let tangent = Traced {
            graph: Arc::new(graph),
            params: self.params.clone(),
            data: specs,
            outputs: self.outputs.clone(),
        };
        Ok(Linearized { primal, tangent })
    }
}
