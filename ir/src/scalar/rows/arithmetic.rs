//! Sums, products, powers of two and one half; the larger and the smaller.

use super::{POSITIVE, SMOOTH_FLOAT, SMOOTH_NUMBER, TIE, ZERO, flat_at_origin, shared_at_tie};
use crate::array::Array;
use crate::range::Range;
use crate::scalar::Partial::{MinusOne, One, Times};
use crate::scalar::eval::{float, map3, number};
use crate::scalar::{Def, Scalar};

pub(super) static ADD: Def = Def {
    name: "add",
    eval: number!(x, y => x + y, x.wrapping_add(y)),
    partial: |_, _, _, _| One,
    range: |r| r[0].add(r[1]),
    ..SMOOTH_NUMBER
};

pub(super) static SUB: Def = Def {
    name: "sub",
    eval: number!(x, y => x - y, x.wrapping_sub(y)),
    partial: |_, _, _, i| if i == 0 { One } else { MinusOne },
    range: |r| r[0].add(r[1].neg()),
    ..SMOOTH_NUMBER
};

pub(super) static SUB_Z: Def = Def {
    name: "subz",
    arity: 2,
    eval: float!(x, y => if x == y { 0.0 } else { x - y }),
    partial: |_, _, _, i| if i == 0 { One } else { MinusOne },
    range: |r| r[0].add(r[1].neg()),
    ..SMOOTH_FLOAT
};

pub(super) static MUL: Def = Def {
    name: "mul",
    eval: number!(x, y => x * y, x.wrapping_mul(y)),
    partial: |_, x, _, i| Times(x[1 - i]),
    range: |r| r[0].mul(r[1]),
    ..SMOOTH_NUMBER
};

pub(super) static MUL_Z: Def = Def {
    name: "mulz",
    arity: 2,
    eval: float!(x, y => if x == 0.0 || y == 0.0 { 0.0 } else { x * y }),
    partial: |_, x, _, i| Times(x[1 - i]),
    range: |r| r[0].mul(r[1]),
    ..SMOOTH_FLOAT
};

pub(super) static FMA: Def = Def {
    name: "fma",
    arity: 3,
    eval: |a| match a[0] {
        Array::F32(v) => map3(v, [a[1], a[2]], f32::mul_add),
        Array::F64(v) => map3(v, [a[1], a[2]], f64::mul_add),
        _ => unreachable!("map: operands were type-checked"),
    },
    partial: |_, x, _, i| if i == 2 { One } else { Times(x[1 - i]) },
    range: |r| r[0].mul(r[1]).add(r[2]),
    ..SMOOTH_FLOAT
};

pub(super) static MUL_Z_LEFT: Def = Def {
    name: "mulzl",
    arity: 2,
    eval: float!(x, y => if x == 0.0 { 0.0 } else { x * y }),
    partial: |_, x, _, i| Times(x[1 - i]),
    range: |r| r[0].mul(r[1]),
    ..SMOOTH_FLOAT
};

pub(super) static DIV: Def = Def {
    name: "div",
    arity: 2,
    eval: float!(x, y => x / y),
    // d(x/y)/dx = 1/y, d(x/y)/dy = -out/y
    partial: |g, x, out, i| {
        let r = g.map(Scalar::Reciprocal, &[x[1]]);
        if i == 0 {
            return Times(r);
        }
        let q = g.map(Scalar::Mul, &[out, r]);
        Times(g.map(Scalar::Neg, &[q]))
    },
    range: |r| r[0].mul(r[1].recip()),
    domain: POSITIVE,
    ..SMOOTH_FLOAT
};

pub(super) static NEG: Def = Def {
    name: "neg",
    arity: 1,
    eval: number!(x => -x, x.wrapping_neg()),
    partial: |_, _, _, _| MinusOne,
    range: |r| r[0].neg(),
    ..SMOOTH_NUMBER
};

pub(super) static SQUARE: Def = Def {
    name: "square",
    arity: 1,
    eval: number!(x => x * x, x.wrapping_mul(x)),
    partial: |g, x, _, _| Times(g.map(Scalar::Add, &[x[0], x[0]])),
    range: |r| r[0].square(),
    ..SMOOTH_NUMBER
};

pub(super) static SQRT: Def = Def {
    name: "sqrt",
    eval: float!(x => x.sqrt()),
    // ∞ at 0; a zero cotangent stays zero.
    partial: |g, x, out, _| {
        let half = g.like(x[0], 0.5);
        Times(g.map(Scalar::Div, &[half, out]))
    },
    range: |r| Range {
        lo: r[0].lo.max(0.0).sqrt(),
        hi: r[0].hi.max(0.0).sqrt(),
        finite: r[0].finite && r[0].lo >= 0.0,
    },
    domain: POSITIVE,
    ..SMOOTH_FLOAT
};

pub(super) static RSQRT: Def = Def {
    name: "rsqrt",
    eval: float!(x => 1.0 / x.sqrt()),
    // -1/2 · out / x
    partial: |g, x, out, _| {
        let q = g.map(Scalar::Div, &[out, x[0]]);
        let c = g.like(x[0], -0.5);
        Times(g.map(Scalar::Mul, &[c, q]))
    },
    range: |r| Range {
        lo: 0.0,
        hi: 1.0 / r[0].lo.max(0.0).sqrt(),
        finite: r[0].finite && r[0].lo > 1e-30,
    },
    domain: POSITIVE,
    ..SMOOTH_FLOAT
};

pub(super) static RECIPROCAL: Def = Def {
    name: "reciprocal",
    eval: float!(x => 1.0 / x),
    partial: |g, _, out, _| {
        let s = g.map(Scalar::Square, &[out]);
        Times(g.map(Scalar::Neg, &[s]))
    },
    range: |r| r[0].recip(),
    domain: POSITIVE,
    ..SMOOTH_FLOAT
};

pub(super) static ABS: Def = Def {
    name: "abs",
    arity: 1,
    eval: number!(x => x.abs(), x.wrapping_abs()),
    // 0 at 0
    partial: |g, x, _, _| Times(g.map(Scalar::Sign, &[x[0]])),
    range: |r| r[0].abs(),
    kink: ZERO,
    ..SMOOTH_NUMBER
};

pub(super) static MAX: Def = Def {
    name: "max",
    eval: number!(x, y => if x > y || x.is_nan() { x } else { y }, x.max(y)),
    // Half to each at a tie.
    partial: |g, x, _, i| shared_at_tie(g, x[i], x[1 - i], Scalar::Gt),
    range: |r| Range {
        lo: r[0].lo.max(r[1].lo),
        hi: r[0].hi.max(r[1].hi),
        finite: r[0].finite && r[1].finite,
    },
    kink: TIE,
    ..SMOOTH_NUMBER
};

pub(super) static MIN: Def = Def {
    name: "min",
    eval: number!(x, y => if x < y || x.is_nan() { x } else { y }, x.min(y)),
    // Half to each at a tie.
    partial: |g, x, _, i| shared_at_tie(g, x[i], x[1 - i], Scalar::Lt),
    range: |r| Range {
        lo: r[0].lo.min(r[1].lo),
        hi: r[0].hi.min(r[1].hi),
        finite: r[0].finite && r[1].finite,
    },
    kink: TIE,
    ..SMOOTH_NUMBER
};

pub(super) static CBRT: Def = Def {
    name: "cbrt",
    eval: float!(x => x.cbrt()),
    // 1/(3·out²): ∞ at 0.
    partial: |g, x, out, _| {
        let three = g.like(x[0], 3.0);
        let s = g.map(Scalar::Square, &[out]);
        let s = g.map(Scalar::Mul, &[three, s]);
        Times(g.map(Scalar::Reciprocal, &[s]))
    },
    range: |r| r[0].monotone(f64::cbrt),
    domain: POSITIVE,
    ..SMOOTH_FLOAT
};

pub(super) static HYPOT: Def = Def {
    name: "hypot",
    arity: 2,
    eval: float!(x, y => x.hypot(y)),
    // x/out, 0 at the origin.
    partial: |g, x, out, i| {
        flat_at_origin(g, out, |g, distance| g.map(Scalar::Div, &[x[i], distance]))
    },
    range: |r| {
        let (x, y) = (r[0].abs(), r[1].abs());
        let finite = x.finite && y.finite;
        Range { lo: x.lo.max(y.lo), hi: x.hi + y.hi, finite }
    },
    kink: |x| x[0].abs() < 1e-2 && x[1].abs() < 1e-2,
    ..SMOOTH_FLOAT
};
