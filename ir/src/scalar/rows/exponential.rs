//! Exponentials, logarithms, powers.

use std::f64::consts::{LN_2, LOG2_E, LOG10_E};

use super::{POSITIVE, SMOOTH_FLOAT, exp_range};
use crate::range::Range;
use crate::scalar::Partial::Times;
use crate::scalar::eval::float;
use crate::scalar::{Def, Domain, Scalar};

/// Of a logarithm to any base.
fn log_range(r: Range, log: fn(f64) -> f64) -> Range {
    let finite = r.finite && r.lo > 0.0;
    Range { lo: log(r.lo.max(0.0)), hi: log(r.hi.max(0.0)), finite }
}

pub(super) static POW: Def = Def {
    name: "pow",
    arity: 2,
    eval: float!(x, y => x.powf(y)),
    // d/dx = y·x^(y-1), 0 where y = 0. d/dy = out·log x, 0 where x = 0.
    partial: |g, x, out, i| {
        let (a, b) = (x[0], x[1]);
        let zero = g.like(a, 0.0);
        if i == 0 {
            let one = g.like(a, 1.0);
            let less = g.map(Scalar::Sub, &[b, one]);
            let p = g.map(Scalar::Pow, &[a, less]);
            return Times(g.map(Scalar::MulZ, &[b, p]));
        }
        let at_zero = g.map(Scalar::Eq, &[a, zero]);
        let log = g.map(Scalar::Log, &[a]);
        let safe = g.map(Scalar::Select, &[at_zero, zero, log]);
        Times(g.map(Scalar::MulZ, &[out, safe]))
    },
    range: |r| {
        let lo = if r[0].lo >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        Range { lo, ..Range::ANY }
    },
    domain: &[Domain { lo: 0.2, hi: 3.0 }, Domain { lo: -2.0, hi: 3.0 }],
    ..SMOOTH_FLOAT
};

pub(super) static EXP: Def = Def {
    name: "exp",
    eval: float!(x => x.exp()),
    partial: |_, _, out, _| Times(out),
    range: |r| exp_range(r[0]),
    ..SMOOTH_FLOAT
};

pub(super) static EXPM1: Def = Def {
    name: "expm1",
    eval: float!(x => x.exp_m1()),
    partial: |g, x, out, _| {
        let one = g.like(x[0], 1.0);
        Times(g.map(Scalar::Add, &[out, one]))
    },
    range: |r| exp_range(r[0]).add(Range::exactly(-1.0)),
    ..SMOOTH_FLOAT
};

pub(super) static EXP2: Def = Def {
    name: "exp2",
    eval: float!(x => x.exp2()),
    partial: |g, x, out, _| {
        let rate = g.like(x[0], LN_2);
        Times(g.map(Scalar::Mul, &[rate, out]))
    },
    range: |r| Range {
        lo: r[0].lo.exp2(),
        hi: r[0].hi.exp2(),
        finite: r[0].finite && r[0].hi < 115.0,
    },
    ..SMOOTH_FLOAT
};

pub(super) static LOG: Def = Def {
    name: "log",
    eval: float!(x => x.ln()),
    partial: |g, x, _, _| Times(g.map(Scalar::Reciprocal, &[x[0]])),
    range: |r| log_range(r[0], f64::ln),
    domain: POSITIVE,
    ..SMOOTH_FLOAT
};

pub(super) static LOG2: Def = Def {
    name: "log2",
    eval: float!(x => x.log2()),
    partial: |g, x, _, _| {
        let rate = g.like(x[0], LOG2_E);
        Times(g.map(Scalar::Div, &[rate, x[0]]))
    },
    range: |r| log_range(r[0], f64::log2),
    domain: POSITIVE,
    ..SMOOTH_FLOAT
};

pub(super) static LOG10: Def = Def {
    name: "log10",
    eval: float!(x => x.log10()),
    partial: |g, x, _, _| {
        let rate = g.like(x[0], LOG10_E);
        Times(g.map(Scalar::Div, &[rate, x[0]]))
    },
    range: |r| log_range(r[0], f64::log10),
    domain: POSITIVE,
    ..SMOOTH_FLOAT
};

pub(super) static LOG1P: Def = Def {
    name: "log1p",
    eval: float!(x => x.ln_1p()),
    partial: |g, x, _, _| {
        let one = g.like(x[0], 1.0);
        let y = g.map(Scalar::Add, &[x[0], one]);
        Times(g.map(Scalar::Reciprocal, &[y]))
    },
    range: |r| Range {
        lo: r[0].lo.max(-1.0).ln_1p(),
        hi: r[0].hi.max(-1.0).ln_1p(),
        finite: r[0].finite && r[0].lo > -1.0,
    },
    domain: POSITIVE,
    ..SMOOTH_FLOAT
};

pub(super) static SIGMOID: Def = Def {
    name: "sigmoid",
    // e⁻ˣ overflows to ∞ for very negative x and gives 0, as it should.
    eval: float!(x => 1.0 / (1.0 + (-x).exp())),
    partial: |g, x, out, _| {
        let one = g.like(x[0], 1.0);
        let rest = g.map(Scalar::Sub, &[one, out]);
        Times(g.map(Scalar::Mul, &[out, rest]))
    },
    range: |r| r[0].monotone(|x| 1.0 / (1.0 + (-x).exp())),
    ..SMOOTH_FLOAT
};
