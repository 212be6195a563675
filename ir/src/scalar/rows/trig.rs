//! Functions of the circle.

use super::{INSIDE_1, SMOOTH_FLOAT, flat_at_origin, one_less_square};
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

/// An angle of an inverse function: bounds are rounded up, as angles may be.
fn angle(lo: f64, hi: f64, finite: bool) -> Range {
    Range::between(lo, hi).with_finite(finite)
}

fn within_1(r: Range) -> bool {
    r.finite && r.lo >= -1.0 && r.hi <= 1.0
}

pub(super) static ASIN: Def = Def {
    name: "asin",
    eval: float!(x => x.asin()),
    // 1/√(1 - x²): ∞ at ±1.
    partial: |g, x, _, _| {
        let s = one_less_square(g, x[0]);
        Times(g.map(Scalar::Rsqrt, &[s]))
    },
    range: |r| angle(-1.6, 1.6, within_1(r[0])),
    domain: INSIDE_1,
    ..SMOOTH_FLOAT
};

pub(super) static ACOS: Def = Def {
    name: "acos",
    eval: float!(x => x.acos()),
    // -1/√(1 - x²): -∞ at ±1.
    partial: |g, x, _, _| {
        let s = one_less_square(g, x[0]);
        let r = g.map(Scalar::Rsqrt, &[s]);
        Times(g.map(Scalar::Neg, &[r]))
    },
    range: |r| angle(0.0, 3.2, within_1(r[0])),
    domain: INSIDE_1,
    ..SMOOTH_FLOAT
};

pub(super) static ATAN: Def = Def {
    name: "atan",
    eval: float!(x => x.atan()),
    partial: |g, x, _, _| {
        let one = g.like(x[0], 1.0);
        let s = g.map(Scalar::Square, &[x[0]]);
        let s = g.map(Scalar::Add, &[one, s]);
        Times(g.map(Scalar::Reciprocal, &[s]))
    },
    range: |r| angle(-1.6, 1.6, r[0].finite),
    ..SMOOTH_FLOAT
};

pub(super) static ATAN2: Def = Def {
    name: "atan2",
    arity: 2,
    eval: float!(y, x => y.atan2(x)),
    // (x, -y)/(x² + y²), divided by the distance twice so that nothing overflows;
    // 0 at the origin.
    partial: |g, x, _, i| {
        let distance = g.map(Scalar::Hypot, &[x[0], x[1]]);
        flat_at_origin(g, distance, |g, distance| {
            let unit = g.map(Scalar::Div, &[x[1 - i], distance]);
            let slope = g.map(Scalar::Div, &[unit, distance]);
            if i == 0 { slope } else { g.map(Scalar::Neg, &[slope]) }
        })
    },
    range: |r| angle(-3.2, 3.2, r[0].finite && r[1].finite),
    // The origin, and the cut along the negative axis.
    kink: |x| x[0].abs() < 1e-2 && x[1] < 1e-2,
    ..SMOOTH_FLOAT
};
