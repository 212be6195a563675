//! Sparse derivatives of traced programs.

use std::sync::Arc;

use backstitch_ir::{Graph, Value};
use backstitch_passes::{Direction, colour, colour_symmetric, sparsity, symmetric_places};

use crate::compressed::{Sweeps, values};
use crate::mistake::{Problem, TraceError};
use crate::sparse::{Layout, Sparse};
use crate::spec::Spec;
use crate::traced::Traced;
use crate::tree::Tree;

impl<P, D, O> Traced<P, D, O>
where
    P: Tree<Spec> + Clone,
    D: Tree<Spec> + Clone,
    O: Tree<Spec> + Clone,
{
    /// The Jacobian of a program most of whose derivatives are zero, whatever its
    /// arguments: a [`Sparse`] matrix of those that may not be. Rows are elements of the
    /// outputs, columns elements of the parameters.
    ///
    /// Which ones these are is found from the program. Columns (or rows) that have no
    /// row (no column) in common are found by one sweep, so that for a banded Jacobian
    /// the number of sweeps is the width of the band, whatever its length
    /// ([`Sparse::colours`]). An element that is picked by an index from the arguments
    /// may be any, and an iteration of a long loop may be any other; there the matrix has
    /// more entries than need be, some of which are zero.
    ///
    /// Values are of the outputs' element type, or of `f64` if these differ.
    ///
    /// ```
    /// use backstitch_trace::{Spec, trace};
    /// let step = trace(Spec::f64([1000]), (), |_, u, ()| {
    ///     (u.slice(0, 2.., 1) - u.slice(0, 1.., 1).slice(0, ..-1, 1).square()) * u.slice(0, ..-2, 1)
    /// })?;
    /// let j = step.jacobian_sparse()?;
    /// assert_eq!((j.outputs().nnz(), j.outputs().colours()), (3 * 998, 3));
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// If an output or a parameter is no float, or if there are more of their elements
    /// than can be counted by 32 bits.
    #[track_caller]
    #[doc(alias = "jacobian_sparsity")]
    pub fn jacobian_sparse(&self) -> Result<Traced<P, D, Sparse<Spec>>, TraceError> {
        const NAME: &str = "jacobian_sparse";
        let sources = self.float_params(NAME)?;
        self.float_outputs(NAME)?;
        let mut graph = self.extend();
        let targets = graph.outputs().to_vec();
        let (rows, columns) =
            (self.starts(NAME, &graph, &targets)?, self.starts(NAME, &graph, &sources)?);
        let pattern = sparsity(&graph, &targets, &sources);
        let (direction, colouring) = colour(&pattern);
        let sweeps = Sweeps::of(&pattern, direction, &colouring);
        let found = values(&mut graph, &targets, &sources, &sweeps);
        let layout = Layout { pattern, direction, colours: colouring.count(), rows, columns };
        Ok(self.sparse(graph, NAME, layout, found))
    }

    /// The second derivatives of a scalar program most of which are zero, whatever its
    /// arguments: a [`Sparse`] matrix, symmetric, whose rows and columns are elements of
    /// the parameters.
    ///
    /// Sweeps are forward over the gradient, and entries are read on either side of the
    /// diagonal: a tridiagonal matrix takes three sweeps, one with full first row,
    /// column and diagonal takes two. Otherwise as [`jacobian_sparse`](Self::jacobian_sparse).
    ///
    /// ```
    /// use backstitch_trace::{Spec, trace};
    /// let rosenbrock = trace(Spec::f64([100]), (), |_, x, ()| {
    ///     let (x, next) = (x.slice(0, ..-1, 1), x.slice(0, 1.., 1));
    ///     (100.0 * (next - x.square()).square() + (1.0 - x).square()).sum()
    /// })?;
    /// let hessian = rosenbrock.hessian_sparse()?;
    /// assert_eq!((hessian.outputs().nnz(), hessian.outputs().colours()), (100 + 2 * 99, 3));
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// As [`grad`](Self::grad), or if there are more elements of parameters than can be
    /// counted by 32 bits.
    #[track_caller]
    pub fn hessian_sparse(&self) -> Result<Traced<P, D, Sparse<Spec>>, TraceError> {
        const NAME: &str = "hessian_sparse";
        let (mut graph, _, gradients) = self.reverse(NAME)?;
        let sources = self.param_values();
        let columns = self.starts(NAME, &graph, &sources)?;
        let pattern = sparsity(&graph, &gradients, &sources).symmetric();
        let colouring = colour_symmetric(&pattern);
        let direction = Direction::Forward;
        let places = symmetric_places(&pattern, &colouring);
        let sweeps = Sweeps { direction, colouring: &colouring, places };
        let found = values(&mut graph, &gradients, &sources, &sweeps);
        let colours = colouring.count();
        let layout = Layout { pattern, direction, colours, rows: columns.clone(), columns };
        Ok(self.sparse(graph, NAME, layout, found))
    }

    fn sparse(
        &self,
        mut graph: Graph,
        operation: &'static str,
        layout: Layout,
        values: Value,
    ) -> Traced<P, D, Sparse<Spec>> {
        let spec = Spec::from(graph.ty(values).clone());
        graph.set_outputs([values]);
        let outputs = Sparse { layout: Arc::new(layout), values: spec };
        self.transformed(graph, operation, self.data.clone(), outputs)
    }

    /// Where the elements of each value start if all stand in a row, and where the last
    /// ones end.
    #[track_caller]
    fn starts(
        &self,
        operation: &'static str,
        graph: &Graph,
        values: &[Value],
    ) -> Result<Vec<usize>, TraceError> {
        let mut starts = vec![0usize];
        for &v in values {
            let end = starts[starts.len() - 1].checked_add(graph.ty(v).len());
            let Some(end) = end.filter(|&end| u32::try_from(end).is_ok_and(|end| end < u32::MAX))
            else {
                let message = format!(
                    "the derivative of {} has more rows or columns than are counted by 32 bits",
                    graph.ty(v)
                );
                return Err(self.error(operation, Problem::Shape, message));
            };
            starts.push(end);
        }
        Ok(starts)
    }
}
