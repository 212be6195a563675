//! Functions of the circle.

use super::SMOOTH_FLOAT;
use crate::range::Range;
use crate::scalar::Partial::Times;
use crate::scalar::eval::float;
use crate::scalar::{Def, Domain, Scalar};

pub(super) static SIN: Def = Def {
    name: "sin",
    eval: float!(x => x.sin()),
    partial: |g, x, _, _| Times(g.map(Scalar::Cos, &[x[0]])),
    range: |r| Range::between(-1.0, 1.0).with_finite(r[0].finite),
    ..SMOOTH_FLOAT
};

pub(super) static COS: Def = Def {
    name: "cos",
    eval: float!(x => x.cos()),
    partial: |g, x, _, _| {
        let s = g.map(Scalar::Sin, &[x[0]]);
        Times(g.map(Scalar::Neg, &[s]))
    },
    range: |r| Range::between(-1.0, 1.0).with_finite(r[0].finite),
    ..SMOOTH_FLOAT
};

pub(super) static TAN: Def = Def {
    name: "tan",
    eval: float!(x => x.tan()),
    // 1 + tan². No float is a pole, so it is always finite.
    partial: |g, x, out, _| {
        let one = g.like(x[0], 1.0);
        let s = g.map(Scalar::Square, &[out]);
        Times(g.map(Scalar::Add, &[one, s]))
    },
    range: |r| Range::FINITE.with_finite(r[0].finite),
    domain: &[Domain { lo: -1.2, hi: 1.2 }],
    ..SMOOTH_FLOAT
};
