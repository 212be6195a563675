//! Derivatives compared with differences, and forward mode with reverse.
//!
//! All outputs are summed with random weights `w`, so that one number `s = w·f(p)`
//! stands for them. What reverse mode says of `s` is compared with central differences
//! of it, entry by entry or along random directions, and with what forward mode says.

mod differences;
mod probe;
mod random;
mod report;

use backstitch_ir::eval::eval_arrays;
use backstitch_ir::{Array, DType};

use self::probe::Probe;
use self::random::Random;
pub use self::report::{Comparison, GradientEntry, GradientReport};
use crate::args::{Args, to_arrays};
use crate::mistake::{Problem, TraceError};
use crate::spec::Spec;
use crate::traced::Traced;
use crate::tree::Tree;

/// How [`Traced::check_gradients_with`] compares.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GradientCheck {
    tolerance: f64,
    entries: usize,
    directions: usize,
    seed: u64,
}

impl Default for GradientCheck {
    fn default() -> Self {
        Self { tolerance: 1e-6, entries: 64, directions: 3, seed: 0 }
    }
}

impl GradientCheck {
    /// The greatest relative error that passes; 1e-6 if nothing is said.
    #[must_use]
    pub fn tolerance(self, tolerance: f64) -> Self {
        Self { tolerance, ..self }
    }

    /// Up to how many elements an array is checked entry by entry; 64 if nothing is
    /// said. Larger ones are checked along random directions; where these disagree,
    /// the entry is searched for.
    #[must_use]
    pub fn entries(self, entries: usize) -> Self {
        Self { entries, ..self }
    }

    /// How many random directions there are for each array, at least one; 3 if nothing
    /// is said.
    #[must_use]
    pub fn directions(self, directions: usize) -> Self {
        Self { directions: directions.max(1), ..self }
    }

    /// What the random numbers depend on.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }
}

impl<P, D, O> Traced<P, D, O>
where
    P: Tree<Spec> + Clone,
    D: Tree<Spec> + Clone,
    O: Tree<Spec> + Clone,
{
    /// Compares the derivatives of the program at a point with differences, and forward
    /// mode with reverse mode: a test of [`custom`](crate::Trace::custom) rules, and of
    /// programs that may not be as smooth as they should. Parameters and outputs are `f64`.
    ///
    /// At a kink, such as that of `abs` at 0, a derivative is a convention, and
    /// differences give the mean of the slopes on both sides: the report says so of
    /// the worst entry, and the point is better moved. A jump within 1e-5 of the point
    /// and what is hidden by [`stop_gradient`](crate::Tensor::stop_gradient) is reported as
    /// a disagreement, too: differences see them.
    ///
    /// ```
    /// use backstitch_trace::{Spec, trace};
    /// let right = trace(Spec::f64([3]), (), |_, x, ()| x.sin() * x.sum())?;
    /// let x = ndarray::arr1(&[0.1, 1.0, 2.0]);
    /// assert!(right.check_gradients(&x, &())?.is_ok());
    ///
    /// let wrong = trace(Spec::f64([3]), (), |t, x, ()| {
    ///     t.custom(x, |x| x.square()).vjp(|x, ct| ct * x).call()
    /// })?;
    /// let report = wrong.check_gradients(&x, &())?;
    /// let worst = report.worst.as_ref().unwrap();
    /// assert!(!report.is_ok() && (worst.reference / worst.derivative - 2.0).abs() < 1e-6);
    /// assert!(report.to_string().starts_with("derivatives disagree"));
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// If a parameter or an output is not `f64`, or if the arguments are not those the
    /// program takes. What is found is in the report.
    #[track_caller]
    pub fn check_gradients<A, B>(&self, params: &A, data: &B) -> Result<GradientReport, TraceError>
    where
        A: Args + ?Sized,
        B: Args + ?Sized,
    {
        self.check_gradients_with(&GradientCheck::default(), params, data)
    }

    /// As [`check_gradients`](Self::check_gradients), with another tolerance and so on.
    ///
    /// ```
    /// use backstitch_trace::{GradientCheck, Spec, trace};
    /// let f = trace(Spec::f64([100]), (), |_, x, ()| x.cumsum(0).tanh())?;
    /// let x = ndarray::Array1::linspace(-1.0, 1.0, 100);
    /// let how = GradientCheck::default().tolerance(1e-8).directions(10).seed(7);
    /// assert!(f.check_gradients_with(&how, &x, &())?.is_ok());
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// As [`check_gradients`](Self::check_gradients).
    #[track_caller]
    pub fn check_gradients_with<A, B>(
        &self,
        how: &GradientCheck,
        params: &A,
        data: &B,
    ) -> Result<GradientReport, TraceError>
    where
        A: Args + ?Sized,
        B: Args + ?Sized,
    {
        let names = self.params.leaf_names();
        let given = names.iter().zip(self.params.leaves()).map(|leaf| ("parameter", leaf));
        let made = self.outputs.leaf_names();
        let made = made.iter().zip(self.outputs.leaves()).map(|leaf| ("output", leaf));
        for (what, (name, spec)) in given.chain(made) {
            if spec.dtype() != DType::F64 {
                let name = if name.is_empty() { name } else { &format!(" `{name}`") };
                let message = format!(
                    "the {what}{name} is {spec}, and differences are only accurate for f64"
                );
                return Err(self.error("check_gradients", Problem::Gradient, message));
            }
        }
        let (point, data) = (to_arrays(params), to_arrays(data));
        self.check(&point.iter().chain(&data).map(Array::ty).collect::<Vec<_>>())?;

        let mut random = Random(how.seed);
        let weights = |spec: &&Spec| random.array(spec.dims());
        let weights: Vec<Array> = self.outputs.leaves().iter().map(weights).collect();
        let outputs = weights.len();
        let arguments: Vec<Array> = point.iter().chain(&data).chain(&weights).cloned().collect();
        let found = eval_arrays(self.vjp()?.graph(), &arguments);
        let terms = found[..outputs].iter().zip(&weights).flat_map(|(y, w)| {
            y.to_f64_vec().into_iter().zip(w.to_f64_vec()).map(|(y, w)| (y * w).abs())
        });
        let magnitude = terms.filter(|t| t.is_finite()).sum();
        let gradient = found[outputs..].iter().map(Array::to_f64_vec).collect();
        let forward = self.jvp()?;
        let probe = Probe {
            graph: &self.graph,
            forward: forward.graph(),
            shapes: self.params.leaves().iter().map(|s| s.dims().to_vec()).collect(),
            point: point.iter().map(Array::to_f64_vec).collect(),
            data,
            weights: weights.iter().map(Array::to_f64_vec).collect(),
            magnitude,
            gradient,
            tolerance: how.tolerance,
        };
        Ok(probe.run(how, &names, &mut random))
    }
}

fn array(dims: &[usize], elements: Vec<f64>) -> Array {
    Array::from_vec(&dims.into(), elements).expect("as many elements as the shape has")
}
