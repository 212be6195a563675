//! Bayesian linear regression by nuts-rs, with compiled gradients.
//!
//!     cargo run --release --example nuts --features nuts
//!
//! Noise and prior are normal, so the posterior is, too, and its mean and covariance are
//! known. Four chains draw from it on as many threads; what they find for each mean and each
//! covariance is compared with the formula, in units of the error that so many draws have.
//! The exit status is 1 if one is further off than chance would have it.

use std::error::Error;
use std::process::ExitCode;
use std::thread;

use backstitch::Compiled;
use backstitch::adapters::nuts::LogDensity;
use backstitch::prelude::*;
use ndarray::{Array1, Array2};
use nuts_rs::rand::{SeedableRng, rngs::ChaCha8Rng};
use nuts_rs::{Chain, CpuMath, DiagNutsSettings, Settings};

const POINTS: usize = 40;
/// The weights of three features, and an intercept.
const PARAMETERS: usize = 4;
const NOISE: f64 = 0.5;
const PRIOR: f64 = 2.0;

const CHAINS: u64 = 4;
const WARM_UP: u64 = 400;
const DRAWS: u64 = 2000;
/// Draws whose mean counts as one independent number: many more than it takes to forget.
const BATCH: usize = 100;
/// Standard errors that an estimate may be off. Of normal numbers one in 15,000 is.
const ALLOWED: f64 = 4.0;

#[derive(Tree, Clone)]
struct Line<T> {
    weights: T,
    intercept: T,
}

type Program = Compiled<Line<Spec>, (Spec, Spec), (Spec, Line<Spec>)>;

/// The negative logarithm of the posterior density, up to a constant.
fn loss<'t>(_: &'t Trace, line: Line<Tensor<'t>>, data: (Tensor<'t>, Tensor<'t>)) -> Tensor<'t> {
    let (x, y) = data;
    let residuals = (x.matmul(line.weights) + line.intercept - y) / NOISE;
    let prior = (line.weights.square().sum() + line.intercept.square()) / (PRIOR * PRIOR);
    0.5 * (residuals.square().sum() + prior)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let line = Line { weights: Spec::f64([PARAMETERS - 1]), intercept: Spec::f64([]) };
    let data = (Spec::f64([POINTS, PARAMETERS - 1]), Spec::f64([POINTS]));
    let program = trace(line, data, loss)?.value_and_grad()?.compile()?;
    let (x, y) = points();

    let chains: Vec<Vec<Vec<f64>>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CHAINS)
            .map(|chain| {
                let (program, x, y) = (&program, &x, &y);
                scope.spawn(move || draw(program, x, y, chain).map_err(|e| e.to_string()))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Result<_, _>>()
    })?;

    let (mean, covariance) = posterior(&x, &y);
    println!("{CHAINS} chains of {DRAWS} draws");
    println!("            known   estimated   standard error   off by");
    let mut furthest = 0.0f64;
    let mut compare = |what: String, known: f64, of: &dyn Fn(&[f64]) -> f64| {
        let (estimate, error) = estimate(&chains, of);
        let off = (estimate - known) / error;
        println!("{what:<9} {known:>8.5}    {estimate:>8.5}         {error:>8.5}    {off:>5.2}");
        furthest = furthest.max(off.abs());
    };
    for i in 0..PARAMETERS {
        compare(format!("mean {i}"), mean[i], &|x| x[i]);
    }
    for i in 0..PARAMETERS {
        for j in 0..=i {
            let product = |x: &[f64]| (x[i] - mean[i]) * (x[j] - mean[j]);
            compare(format!("cov {i} {j}"), covariance[i][j], &product);
        }
    }
    println!("furthest off: {furthest:.2} standard errors");
    Ok(if furthest < ALLOWED { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One chain of draws, after its warm-up. It depends on nothing but its number.
fn draw(
    program: &Program,
    x: &Array2<f64>,
    y: &Array1<f64>,
    number: u64,
) -> Result<Vec<Vec<f64>>, Box<dyn Error>> {
    let data = (x, y);
    let density = LogDensity::from_negative_log_density(program.bind(&data)?);
    let settings = DiagNutsSettings { num_tune: WARM_UP, ..Default::default() };
    let mut rng = ChaCha8Rng::seed_from_u64(number);
    let mut chain = settings.new_chain(number, CpuMath::new(density), &mut rng)?;
    chain.set_position(&[0.0; PARAMETERS])?;
    for _ in 0..WARM_UP {
        chain.draw()?;
    }
    (0..DRAWS).map(|_| Ok(chain.draw()?.0.into_vec())).collect()
}

/// The mean of a function of the draws, and its standard error by the means of batches.
fn estimate(chains: &[Vec<Vec<f64>>], of: &dyn Fn(&[f64]) -> f64) -> (f64, f64) {
    let batches = chains.iter().flat_map(|chain| chain.chunks_exact(BATCH));
    let means: Vec<f64> =
        batches.map(|batch| batch.iter().map(|x| of(x)).sum::<f64>() / BATCH as f64).collect();
    let n = means.len() as f64;
    let mean = means.iter().sum::<f64>() / n;
    let variance = means.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// Points near a plane, always the same.
fn points() -> (Array2<f64>, Array1<f64>) {
    let wave = |i: usize, seed: f64| ((i * i) as f64 * seed).cos();
    let x = Array2::from_shape_fn((POINTS, PARAMETERS - 1), |(i, j)| wave(3 * i + j, 12.9898));
    let weights = ndarray::arr1(&[1.5, -0.7, 0.2]);
    let noise = Array1::from_shape_fn(POINTS, |i| NOISE * wave(i, 78.233));
    let y = x.dot(&weights) + noise + 0.4;
    (x, y)
}

/// Mean and covariance of the posterior: the covariance is the inverse of the precision
/// `XᵀX/σ² + I/τ²`, and the mean is that times `Xᵀy/σ²`.
fn posterior(x: &Array2<f64>, y: &Array1<f64>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let design =
        Array2::from_shape_fn((POINTS, PARAMETERS), |(i, j)| x.get((i, j)).copied().unwrap_or(1.0));
    let mut precision = design.t().dot(&design) / (NOISE * NOISE);
    precision.diag_mut().mapv_inplace(|d| d + 1.0 / (PRIOR * PRIOR));
    let covariance = inverse(precision);
    let mean = covariance.dot(&design.t().dot(y)) / (NOISE * NOISE);
    (mean.to_vec(), covariance.rows().into_iter().map(|row| row.to_vec()).collect())
}

/// The inverse of a positive definite matrix, by elimination.
fn inverse(mut a: Array2<f64>) -> Array2<f64> {
    let mut b = Array2::eye(a.nrows());
    for k in 0..a.nrows() {
        let pivot = a[(k, k)];
        a.row_mut(k).mapv_inplace(|x| x / pivot);
        b.row_mut(k).mapv_inplace(|x| x / pivot);
        for i in (0..a.nrows()).filter(|&i| i != k) {
            let factor = a[(i, k)];
            let (row_a, row_b) = (a.row(k).to_owned(), b.row(k).to_owned());
            a.row_mut(i).scaled_add(-factor, &row_a);
            b.row_mut(i).scaled_add(-factor, &row_b);
        }
    }
    b
}
