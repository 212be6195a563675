//! `kmeans`: the sum of squared distances to the nearest centroid, and the step of
//! Newton's method with the diagonal of the Hessian.
//!
//! Which centroid is nearest is a number, and flat; the cost is a smooth function of the
//! centroids that were chosen. Its Hessian is diagonal, so the product with a vector of
//! ones is the diagonal.

use backstitch::DType;
use backstitch::prelude::*;
use ndarray::Array2;
use serde::Deserialize;

use super::input::{Rows, matrix, output, positive};
use super::run::{Function, Recorded, Result};

/// What can be asked for.
pub const FUNCTIONS: &[(&str, Function)] = &[
    ("cost", |line, run| {
        let (points, centroids) = run.input::<Input>(line)?.parts()?;
        Ok(output(&run.call(|| program(&points, &centroids), &centroids, &points)?))
    }),
    ("dir", |line, run| {
        let (points, centroids) = run.input::<Input>(line)?.parts()?;
        Ok(output(&run.call(|| direction(&points, &centroids), &centroids, &points)?))
    }),
];

#[derive(Deserialize)]
struct Input {
    points: Rows,
    centroids: Rows,
}

impl Input {
    fn parts(&self) -> Result<(Array2<f64>, Array2<f64>)> {
        let n = positive("the number of points", self.points.len())?;
        let k = positive("the number of centroids", self.centroids.len())?;
        let d = positive("the dimension of points", self.points[0].len())?;
        Ok((matrix("points", &self.points, [n, d])?, matrix("centroids", &self.centroids, [k, d])?))
    }
}

fn program(points: &Array2<f64>, centroids: &Array2<f64>) -> Recorded<Spec, Spec, Spec> {
    trace(Spec::of(centroids), Spec::of(points), |_, centroids, points| {
        // |P - C|² without the |P|² that is the same for all.
        let distances = centroids.square().sum_over(1) - 2.0 * points.matmul(centroids.transpose());
        let nearest = centroids.take(distances.argmin(1), 0);
        (nearest - points).square().sum()
    })
}

fn direction(points: &Array2<f64>, centroids: &Array2<f64>) -> Recorded<Spec, Spec, Spec> {
    let cost = program(points, centroids)?;
    let (gradient, product) = (cost.grad()?, cost.hvp()?);
    trace(Spec::of(centroids), Spec::of(points), |t, centroids, points| {
        let ones = t.ones(DType::F64, centroids.shape());
        let diagonal = product.apply(t, centroids, (points, ones));
        gradient.apply(t, centroids, points) / diagonal
    })
}
