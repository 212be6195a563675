//! Functions of the hyperbola.

use super::SMOOTH_FLOAT;
use crate::scalar::Partial::Times;
use crate::scalar::eval::float;
use crate::scalar::{Def, Scalar};

pub(super) static TANH: Def = Def {
    name: "tanh",
    eval: float!(x => x.tanh()),
    partial: |g, x, out, _| {
        let one = g.like(x[0], 1.0);
        let s = g.map(Scalar::Square, &[out]);
        Times(g.map(Scalar::Sub, &[one, s]))
    },
    range: |r| r[0].monotone(f64::tanh),
    ..SMOOTH_FLOAT
};
