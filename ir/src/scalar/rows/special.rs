//! The error function and the gamma function, with their inverses and derivatives.
//!
//! The derivatives close up: those of `lgamma` are `digamma` and `polygamma`, and
//! that of `polygamma` is the next order.

use std::f64::consts::FRAC_2_SQRT_PI;

use super::{HALF, POSITIVE, SMOOTH_FLOAT};
use crate::graph::{Graph, Value};
use crate::range::Range;
use crate::scalar::Partial::{Flat, Times};
use crate::scalar::eval::float;
use crate::scalar::special::{Narrow, digamma, erfinv, polygamma, through};
use crate::scalar::{Def, Domain, Scalar};

/// `factor·e^(sign·x²)`
fn bell(g: &mut Graph, x: Value, sign: f64, factor: f64) -> Value {
    let square = g.map(Scalar::Square, &[x]);
    let exponent = if sign < 0.0 { g.map(Scalar::Neg, &[square]) } else { square };
    let e = g.map(Scalar::Exp, &[exponent]);
    let factor = g.like(x, factor);
    g.map(Scalar::Mul, &[factor, e])
}

pub(super) static ERF: Def = Def {
    name: "erf",
    eval: float!(x => through(libm::erf, x)),
    partial: |g, x, _, _| Times(bell(g, x[0], -1.0, FRAC_2_SQRT_PI)),
    range: |r| r[0].monotone(libm::erf),
    ..SMOOTH_FLOAT
};

pub(super) static ERFC: Def = Def {
    name: "erfc",
    eval: float!(x => through(libm::erfc, x)),
    partial: |g, x, _, _| Times(bell(g, x[0], -1.0, -FRAC_2_SQRT_PI)),
    range: |r| Range { lo: libm::erfc(r[0].hi), hi: libm::erfc(r[0].lo), finite: r[0].finite },
    ..SMOOTH_FLOAT
};

pub(super) static ERFINV: Def = Def {
    name: "erfinv",
    eval: float!(x => through(erfinv, x)),
    // ∞ at ±1; a zero cotangent stays zero.
    partial: |g, _, out, _| Times(bell(g, out, 1.0, 1.0 / FRAC_2_SQRT_PI)),
    range: |r| {
        let inside = r[0].lo > -1.0 && r[0].hi < 1.0;
        if inside { r[0].monotone(erfinv) } else { Range::ANY }
    },
    domain: &[Domain { lo: -0.9, hi: 0.9 }],
    ..SMOOTH_FLOAT
};

pub(super) static LGAMMA: Def = Def {
    name: "lgamma",
    eval: float!(x => through(libm::lgamma, x)),
    partial: |g, x, _, _| Times(g.map(Scalar::Digamma, &[x[0]])),
    range: |r| {
        // Its least value right of 0, rounded down.
        let lo = if r[0].lo > 0.0 { -0.1215 } else { f64::NEG_INFINITY };
        Range { lo, hi: f64::INFINITY, finite: r[0].finite && r[0].lo > 0.0 }
    },
    domain: POSITIVE,
    ..SMOOTH_FLOAT
};

pub(super) static DIGAMMA: Def = Def {
    name: "digamma",
    eval: float!(x => through(digamma, x)),
    partial: |g, x, _, _| {
        let n = g.like(x[0], 1.0);
        Times(g.map(Scalar::Polygamma, &[n, x[0]]))
    },
    range: |r| {
        if r[0].lo <= 0.0 {
            return Range::ANY;
        }
        r[0].monotone(digamma).with_finite(r[0].finite && r[0].lo > 1e-30)
    },
    domain: POSITIVE,
    ..SMOOTH_FLOAT
};

pub(super) static POLYGAMMA: Def = Def {
    name: "polygamma",
    arity: 2,
    eval: float!(n, x => Narrow::narrow(polygamma(n.wide(), x.wide()))),
    // Flat in the order, which is rounded.
    partial: |g, x, _, i| {
        if i == 0 {
            return Flat;
        }
        let next = match g.as_splat(x[0]) {
            Some(n) => g.like(x[0], n.to_f64() + 1.0),
            None => {
                let one = g.like(x[0], 1.0);
                g.map(Scalar::Add, &[x[0], one])
            }
        };
        Times(g.map(Scalar::Polygamma, &[next, x[1]]))
    },
    range: |r| {
        // Trigamma is positive and falls; of other orders nothing is asked.
        if r[0] != Range::exactly(1.0) || r[1].lo <= 0.0 {
            return Range::ANY;
        }
        let (lo, hi) = (polygamma(1.0, r[1].hi), polygamma(1.0, r[1].lo));
        Range { lo, hi, finite: r[1].finite && r[1].lo > 1e-15 }
    },
    domain: &[Domain { lo: 0.6, hi: 3.4 }, Domain { lo: 0.3, hi: 4.0 }],
    kink: HALF,
    ..SMOOTH_FLOAT
};
