//! Functions of the hyperbola.

use super::{INSIDE_1, SMOOTH_FLOAT, one_less_square};
use crate::range::Range;
use crate::scalar::Partial::Times;
use crate::scalar::eval::float;
use crate::scalar::{Def, Domain, Scalar};

pub(super) static SINH: Def = Def {
    name: "sinh",
    eval: float!(x => x.sinh()),
    partial: |g, x, _, _| Times(g.map(Scalar::Cosh, &[x[0]])),
    range: |r| Range {
        lo: r[0].lo.sinh(),
        hi: r[0].hi.sinh(),
        finite: r[0].finite && r[0].abs().hi < 80.0,
    },
    ..SMOOTH_FLOAT
};

pub(super) static COSH: Def = Def {
    name: "cosh",
    eval: float!(x => x.cosh()),
    partial: |g, x, _, _| Times(g.map(Scalar::Sinh, &[x[0]])),
    range: |r| {
        let size = r[0].abs();
        let finite = r[0].finite && size.hi < 80.0;
        // The least cosine may be rounded down to 1.
        Range { lo: 1.0, hi: size.hi.cosh(), finite }
    },
    ..SMOOTH_FLOAT
};

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

pub(super) static ASINH: Def = Def {
    name: "asinh",
    // The library doubles a number that may overflow; the formula for half of the
    // result does not.
    eval: float!(x => {
        if x.abs() < 1e18 || x.is_infinite() {
            x.asinh()
        } else {
            2.0 * (0.5 * x / (0.5 + 0.5 * x.hypot(1.0)).sqrt()).asinh()
        }
    }),
    // 1/√(x² + 1), whose square does not overflow.
    partial: |g, x, _, _| {
        let one = g.like(x[0], 1.0);
        let h = g.map(Scalar::Hypot, &[x[0], one]);
        Times(g.map(Scalar::Reciprocal, &[h]))
    },
    range: |r| r[0].monotone(f64::asinh),
    ..SMOOTH_FLOAT
};

pub(super) static ACOSH: Def = Def {
    name: "acosh",
    // By the distance from 1, which keeps digits there, and without a square.
    eval: float!(x => 2.0 * ((x - 1.0) * 0.5).sqrt().asinh()),
    // 1/(√(x - 1)·√(x + 1)): ∞ at 1.
    partial: |g, x, _, _| {
        let one = g.like(x[0], 1.0);
        let (less, more) = (g.map(Scalar::Sub, &[x[0], one]), g.map(Scalar::Add, &[x[0], one]));
        let (less, more) = (g.map(Scalar::Rsqrt, &[less]), g.map(Scalar::Rsqrt, &[more]));
        Times(g.map(Scalar::Mul, &[less, more]))
    },
    range: |r| Range {
        lo: 0.0,
        hi: r[0].hi.max(1.0).acosh(),
        finite: r[0].finite && r[0].lo >= 1.0,
    },
    domain: &[Domain { lo: 1.2, hi: 4.0 }],
    ..SMOOTH_FLOAT
};

pub(super) static ATANH: Def = Def {
    name: "atanh",
    eval: float!(x => x.atanh()),
    // 1/((1 - x)·(1 + x)): ∞ at ±1.
    partial: |g, x, _, _| {
        let s = one_less_square(g, x[0]);
        Times(g.map(Scalar::Reciprocal, &[s]))
    },
    range: |r| Range {
        lo: r[0].lo.max(-1.0).atanh(),
        hi: r[0].hi.min(1.0).atanh(),
        finite: r[0].finite && r[0].lo > -1.0 && r[0].hi < 1.0,
    },
    domain: INSIDE_1,
    ..SMOOTH_FLOAT
};
