//! Densities for all chains of a sampler.

use std::fmt;
use std::sync::Arc;

use backstitch_ir::Array;
use backstitch_trace::{Args, Spec, Tree};
use nuts_rs::rand::{Rng, RngExt};
use nuts_rs::{CpuMath, InitPositionError, Model};

use super::LogDensity;
use crate::compiled::Compiled;
use crate::error::Error;

/// Chains begin at most so far from 0 in each coordinate, where nothing else is said.
const RADIUS: f64 = 2.0;

/// A density and its data, from which nuts-rs' `Sampler` makes its chains, on as many threads
/// as it likes.
///
/// Samplers own what they draw from, so the data is copied, once for all and once for each
/// chain.
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use backstitch::adapters::nuts::Posterior;
/// use backstitch::prelude::*;
/// use nuts_rs::{DiagNutsSettings, HashMapConfig, HashMapValue, Sampler, SamplerWaitResult};
///
/// #[derive(Tree, Clone)]
/// struct Normal<T> {
///     mean: T,
///     log_sd: T,
/// }
///
/// // Of numbers, their mean and the logarithm of their standard deviation.
/// let parameters = Normal { mean: Spec::f64([]), log_sd: Spec::f64([]) };
/// let density = trace(parameters, Spec::f64([5]), |_, p: Normal<Tensor<'_>>, x| {
///     let z = (x - p.mean) / p.log_sd.exp();
///     -0.5 * z.square().sum() - 5.0 * p.log_sd
/// })?;
/// let program = density.value_and_grad()?.compile()?;
/// let x = ndarray::arr1(&[1.0, 2.0, 3.0, 4.0, 5.0]);
/// let posterior = Posterior::from_log_density(&program, &x)?;
///
/// let mut settings = DiagNutsSettings::default();
/// (settings.num_chains, settings.num_tune, settings.num_draws, settings.seed) = (2, 300, 500, 1);
/// let sampler = Sampler::new(Arc::new(posterior), settings, HashMapConfig::new(), 2, None)?;
/// let traces = match sampler.wait_timeout(Duration::from_secs(60)) {
///     SamplerWaitResult::Trace(traces) => traces,
///     SamplerWaitResult::Timeout(_) => panic!("not done within a minute"),
///     SamplerWaitResult::Err(error, _) => return Err(error.into()),
/// };
/// let HashMapValue::F64(means) = &traces[0].draws["mean"] else { panic!("numbers") };
/// let mean = means[300..].iter().sum::<f64>() / 500.0;
/// assert!((mean - 3.0).abs() < 0.3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Posterior<P, D, O> {
    program: Compiled<P, D, O>,
    data: Vec<Array>,
    negate: bool,
    start: Option<Vec<f64>>,
}

impl<P: Tree<Spec> + Clone, D, O> Posterior<P, D, O> {
    /// Of a program whose value is the logarithm of the density.
    ///
    /// # Errors
    /// As for [`Compiled::bind`].
    pub fn from_log_density<B: Args + ?Sized>(
        program: &Compiled<P, D, O>,
        data: &B,
    ) -> Result<Self, Error> {
        Self::new(program, data, false)
    }

    /// Of a program whose value is the negative of that logarithm, as losses and potentials
    /// are.
    ///
    /// # Errors
    /// As for [`Compiled::bind`].
    pub fn from_negative_log_density<B: Args + ?Sized>(
        program: &Compiled<P, D, O>,
        data: &B,
    ) -> Result<Self, Error> {
        Self::new(program, data, true)
    }

    fn new<B: Args + ?Sized>(
        program: &Compiled<P, D, O>,
        data: &B,
        negate: bool,
    ) -> Result<Self, Error> {
        program.bind::<f64, _>(data)?;
        let mut arrays = Vec::new();
        data.views(&mut |view| arrays.push(view.to_array().standard()));
        Ok(Self { program: program.clone(), data: arrays, negate, start: None })
    }

    /// All chains begin here, instead of at random within 2 of 0 in each coordinate.
    ///
    /// # Errors
    /// If the parameters are not of the program's types.
    pub fn start<A: Args + ?Sized>(self, params: &A) -> Result<Self, Error> {
        let start = self.density()?.bound().flatten(params)?;
        Ok(Self { start: Some(start), ..self })
    }

    /// The density for one chain.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn density(&self) -> Result<LogDensity<'static, P>, Error> {
        Ok(LogDensity::new(self.program.bind_copy(&self.data)?, self.negate))
    }
}

impl<P, D, O> Model for Posterior<P, D, O>
where
    P: Tree<Spec> + Clone + Send + Sync + 'static,
    D: Send + Sync + 'static,
    O: Send + Sync + 'static,
{
    type Math = CpuMath<LogDensity<'static, P>>;

    fn math<R: Rng + ?Sized>(self: Arc<Self>, _rng: &mut R) -> anyhow::Result<Self::Math> {
        Ok(CpuMath::new(self.density()?))
    }

    fn init_position<R: Rng + ?Sized>(
        &self,
        rng: &mut R,
        _chain: u64,
        position: &mut [f64],
    ) -> Result<(), InitPositionError> {
        match &self.start {
            Some(start) => position.copy_from_slice(start),
            None => position.fill_with(|| rng.random_range(-RADIUS..=RADIUS)),
        }
        Ok(())
    }
}

impl<P, D, O> fmt::Debug for Posterior<P, D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Posterior")
            .field("program", &self.program)
            .field("negate", &self.negate)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}
