//! Logistic regression by argmin's solvers, with compiled gradients.
//!
//!     cargo run --release --example argmin --features argmin
//!
//! The same loss is minimised by limited-memory BFGS, which asks for values and gradients,
//! and by a trust region, which multiplies with the Hessian as well. Both are compared with
//! Newton's method, written by hand on slices. The exit status is 1 if they differ.

use std::error::Error;
use std::process::ExitCode;

use argmin::core::{Executor, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use argmin::solver::trustregion::{Steihaug, TrustRegion};
use backstitch::adapters::argmin::{CurvedObjective, Objective};
use backstitch::prelude::*;
use ndarray::{Array1, Array2};

const POINTS: usize = 400;
const FEATURES: usize = 6;
/// Half of this times the squared weights is added to the loss.
const DECAY: f64 = 0.01;
/// The largest difference that is none.
const TOLERANCE: f64 = 1e-7;

#[derive(Tree, Clone)]
struct Model<T> {
    weights: T,
    intercept: T,
}

fn loss<'t>(_: &'t Trace, model: Model<Tensor<'t>>, data: (Tensor<'t>, Tensor<'t>)) -> Tensor<'t> {
    let (x, y) = data;
    let logits = x.matmul(model.weights) + model.intercept;
    (logits.softplus() - y * logits).mean() + 0.5 * DECAY * model.weights.square().sum()
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let model = Model { weights: Spec::f64([FEATURES]), intercept: Spec::f64([]) };
    let traced = trace(model, (Spec::f64([POINTS, FEATURES]), Spec::f64([POINTS])), loss)?;
    let (program, products) = (traced.value_and_grad()?.compile()?, traced.hvp()?.compile()?);

    let (x, y) = points();
    let data = (&x, &y);
    let expected = newton(&x, &y);
    let start = vec![0.0; FEATURES + 1];
    println!("{POINTS} points, {} parameters; by hand: {expected:.4?}", start.len());
    println!("solver        iterations  costs  gradients  runs  products  largest difference");

    let objective = Objective::new(program.bind::<f64, _>(&data)?);
    let solver = LBFGS::new(MoreThuenteLineSearch::new(), 7).with_tolerance_grad(1e-10)?;
    let result = Executor::new(objective, solver)
        .configure(|state| state.param(start.clone()).max_iters(100).counting(true))
        .run()?;
    let objective = result.problem.problem.as_ref().ok_or("the objective comes back")?;
    let first = report("L-BFGS", result.state(), objective.runs(), 0, &expected)?;

    let objective = Objective::new(program.bind::<f64, _>(&data)?);
    let objective = CurvedObjective::new(objective, products.bind_hvp(&data)?)?;
    let solver = TrustRegion::new(Steihaug::new());
    let result = Executor::new(objective, solver)
        .configure(|state| state.param(start).max_iters(12).counting(true))
        .run()?;
    let objective = result.problem.problem.as_ref().ok_or("the objective comes back")?;
    let (runs, products) = (objective.runs(), objective.product_runs());
    let second = report("trust region", result.state(), runs, products, &expected)?;

    let agree = first.max(second) < TOLERANCE;
    Ok(if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints what a solver did, and gives its largest difference from what is expected.
fn report<S: State<Param = Vec<f64>>>(
    solver: &str,
    state: &S,
    runs: u64,
    products: u64,
    expected: &[f64],
) -> Result<f64, Box<dyn Error>> {
    let found = state.get_best_param().ok_or("a solver that ends has a best point")?;
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let largest = differences.fold(0.0, f64::max);
    let counts = state.get_func_counts();
    let count = |of: &str| counts.get(of).copied().unwrap_or(0);
    println!(
        "{solver:<12}  {:>10}  {:>5}  {:>9}  {runs:>4}  {products:>8}  {largest:.1e}",
        state.get_iter(),
        count("cost_count"),
        count("gradient_count"),
    );
    Ok(largest)
}

/// Points in two overlapping classes, always the same.
fn points() -> (Array2<f64>, Array1<f64>) {
    let wave = |i: usize, seed: f64| ((i * i) as f64 * seed).cos();
    let x = Array2::from_shape_fn((POINTS, FEATURES), |(i, j)| wave(i * FEATURES + j, 12.9898));
    let weights = Array1::from_shape_fn(FEATURES, |j| 2.0 * wave(j, 0.7));
    let noisy = x.dot(&weights) + Array1::from_shape_fn(POINTS, |i| wave(i, 78.233)) + 0.3;
    (x, noisy.mapv(|score| if score > 0.0 { 1.0 } else { 0.0 }))
}

/// The minimum by Newton's method: gradient and Hessian of this loss as one derives them.
fn newton(x: &Array2<f64>, y: &Array1<f64>) -> Vec<f64> {
    let n = FEATURES + 1;
    let mut w = vec![0.0; n];
    for _ in 0..20 {
        let mut gradient: Vec<f64> = w.iter().map(|w| DECAY * w).collect();
        let mut hessian = vec![vec![0.0; n]; n];
        (0..FEATURES).for_each(|j| hessian[j][j] = DECAY);
        // The intercept does not decay.
        gradient[FEATURES] = 0.0;
        for (row, label) in x.rows().into_iter().zip(y) {
            let features = || row.iter().copied().chain([1.0]);
            let logit: f64 = features().zip(&w).map(|(x, w)| x * w).sum();
            let p = 1.0 / (1.0 + (-logit).exp());
            for (i, a) in features().enumerate() {
                gradient[i] += (p - label) * a / POINTS as f64;
                for (j, b) in features().enumerate() {
                    hessian[i][j] += p * (1.0 - p) * a * b / POINTS as f64;
                }
            }
        }
        let step = solve(hessian, gradient);
        w.iter_mut().zip(step).for_each(|(w, step)| *w -= step);
    }
    w
}

/// Solves a positive definite system by elimination.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    for k in 0..b.len() {
        let pivot = a[k].clone();
        for i in k + 1..b.len() {
            let factor = a[i][k] / pivot[k];
            a[i].iter_mut().zip(&pivot).for_each(|(a, p)| *a -= factor * p);
            b[i] -= factor * b[k];
        }
    }
    for k in (0..b.len()).rev() {
        let known: f64 = (k + 1..b.len()).map(|j| a[k][j] * b[j]).sum();
        b[k] = (b[k] - known) / a[k][k];
    }
    b
}
