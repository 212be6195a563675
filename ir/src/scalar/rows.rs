//! The rows.

use super::eval::{bits, cast, compare, float, map1, map2, number, select};
use super::{Def, Domain, Partial, Scalar, Signature};
use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::range::Range;
use crate::ty::DType;
use Partial::{Flat, MinusOne, One, Times, Where, WhereNot};

const ANY: &[Domain] = &[Domain { lo: -3.0, hi: 3.0 }; 3];
const POSITIVE: &[Domain] = &[Domain { lo: 0.2, hi: 4.0 }; 2];
const SMOOTH: fn(&[f64]) -> bool = |_| false;
/// Two operands close to a tie.
const TIE: fn(&[f64]) -> bool = |x| (x[0] - x[1]).abs() < 1e-3;
const ZERO: fn(&[f64]) -> bool = |x| x[0].abs() < 1e-3;
const INTEGER: fn(&[f64]) -> bool = |x| (x[0] - x[0].round()).abs() < 1e-3;
const HALF: fn(&[f64]) -> bool = |x| (x[0] - x[0].floor() - 0.5).abs() < 1e-3;

type PartialFn = fn(&mut Graph, &[Value], Value, usize) -> Partial;
const NONE: PartialFn = |_, _, _, _| Partial::None;

/// A comparison, a bit operation: no derivative.
const fn discrete(
    name: &'static str,
    arity: usize,
    signature: Signature,
    eval: super::Eval,
    range: fn(&[Range]) -> Range,
) -> Def {
    Def { name, arity, signature, eval, partial: NONE, range, domain: ANY, kink: SMOOTH }
}

const fn comparison(name: &'static str, eval: super::Eval) -> Def {
    discrete(name, 2, Signature::Compare, eval, |_| Range::BOOL)
}

const fn bitwise(name: &'static str, arity: usize, eval: super::Eval) -> Def {
    discrete(name, arity, Signature::Bits, eval, |_| Range::FINITE)
}

const fn cast_def(name: &'static str, to: DType, eval: super::Eval) -> Def {
    // Only a cast from float to float carries a derivative; `map` sees to that.
    let partial: PartialFn = |_, _, _, _| Partial::Cast;
    let signature = Signature::To(to);
    Def { name, arity: 1, signature, eval, partial, range: |r| r[0], domain: ANY, kink: SMOOTH }
}

/// Rounding: flat everywhere but at its steps, where the derivative is 0 too.
const fn rounding(
    name: &'static str,
    eval: super::Eval,
    range: fn(&[Range]) -> Range,
    kink: fn(&[f64]) -> bool,
) -> Def {
    let partial: PartialFn = |_, _, _, _| Flat;
    Def { name, arity: 1, signature: Signature::Float, eval, partial, range, domain: ANY, kink }
}

const SMOOTH_FLOAT: Def = Def {
    name: "",
    arity: 1,
    signature: Signature::Float,
    eval: |a| a[0].clone(),
    partial: NONE,
    range: |_| Range::ANY,
    domain: ANY,
    kink: SMOOTH,
};

const SMOOTH_NUMBER: Def = Def { arity: 2, signature: Signature::Number, ..SMOOTH_FLOAT };

/// Half of the derivative at a tie, all or nothing elsewhere. `x` wins where
/// `cmp` holds of `(x, y)`.
fn shared_at_tie(g: &mut Graph, x: Value, y: Value, cmp: Scalar) -> Partial {
    let wins = g.map(cmp, &[x, y]);
    let ties = g.map(Scalar::Eq, &[x, y]);
    let (one, half, zero) = (g.like(x, 1.0), g.like(x, 0.5), g.like(x, 0.0));
    let rest = g.map(Scalar::Select, &[ties, half, zero]);
    Times(g.map(Scalar::Select, &[wins, one, rest]))
}

/// `exp` leaves the finite numbers above about 88 (`f32`) and 709 (`f64`).
fn exp_range(r: Range) -> Range {
    Range { lo: r.lo.exp(), hi: r.hi.exp(), finite: r.finite && r.hi < 80.0 }
}

#[expect(clippy::bool_comparison, reason = "one expression serves all types, booleans too")]
pub(super) fn row(f: Scalar) -> &'static Def {
    match f {
        Scalar::Add => {
            &const {
                Def {
                    name: "add",
                    eval: number!(x, y => x + y, x.wrapping_add(y)),
                    partial: |_, _, _, _| One,
                    range: |r| r[0].add(r[1]),
                    ..SMOOTH_NUMBER
                }
            }
        }
        Scalar::Sub => {
            &const {
                Def {
                    name: "sub",
                    eval: number!(x, y => x - y, x.wrapping_sub(y)),
                    partial: |_, _, _, i| if i == 0 { One } else { MinusOne },
                    range: |r| r[0].add(r[1].neg()),
                    ..SMOOTH_NUMBER
                }
            }
        }
        Scalar::Mul => {
            &const {
                Def {
                    name: "mul",
                    eval: number!(x, y => x * y, x.wrapping_mul(y)),
                    partial: |_, x, _, i| Times(x[1 - i]),
                    range: |r| r[0].mul(r[1]),
                    ..SMOOTH_NUMBER
                }
            }
        }
        Scalar::MulZ => {
            &const {
                Def {
                    name: "mulz",
                    arity: 2,
                    eval: float!(x, y => if x == 0.0 || y == 0.0 { 0.0 } else { x * y }),
                    partial: |_, x, _, i| Times(x[1 - i]),
                    range: |r| r[0].mul(r[1]),
                    ..SMOOTH_FLOAT
                }
            }
        }
        Scalar::Div => {
            &const {
                Def {
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
                }
            }
        }
        Scalar::Neg => {
            &const {
                Def {
                    name: "neg",
                    arity: 1,
                    eval: number!(x => -x, x.wrapping_neg()),
                    partial: |_, _, _, _| MinusOne,
                    range: |r| r[0].neg(),
                    ..SMOOTH_NUMBER
                }
            }
        }
        Scalar::Pow => {
            &const {
                Def {
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
                }
            }
        }
        Scalar::Square => {
            &const {
                Def {
                    name: "square",
                    arity: 1,
                    eval: number!(x => x * x, x.wrapping_mul(x)),
                    partial: |g, x, _, _| Times(g.map(Scalar::Add, &[x[0], x[0]])),
                    range: |r| r[0].square(),
                    ..SMOOTH_NUMBER
                }
            }
        }
        Scalar::Sqrt => {
            &const {
                Def {
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
                }
            }
        }
        Scalar::Rsqrt => {
            &const {
                Def {
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
                }
            }
        }
        Scalar::Reciprocal => {
            &const {
                Def {
                    name: "reciprocal",
                    eval: float!(x => 1.0 / x),
                    partial: |g, _, out, _| {
                        let s = g.map(Scalar::Square, &[out]);
                        Times(g.map(Scalar::Neg, &[s]))
                    },
                    range: |r| r[0].recip(),
                    domain: POSITIVE,
                    ..SMOOTH_FLOAT
                }
            }
        }
        Scalar::Exp => {
            &const {
                Def {
                    name: "exp",
                    eval: float!(x => x.exp()),
                    partial: |_, _, out, _| Times(out),
                    range: |r| exp_range(r[0]),
                    ..SMOOTH_FLOAT
                }
            }
        }
        Scalar::Expm1 => {
            &const {
                Def {
                    name: "expm1",
                    eval: float!(x => x.exp_m1()),
                    partial: |g, x, out, _| {
                        let one = g.like(x[0], 1.0);
                        Times(g.map(Scalar::Add, &[out, one]))
                    },
                    range: |r| exp_range(r[0]).add(Range::exactly(-1.0)),
                    ..SMOOTH_FLOAT
                }
            }
        }
        Scalar::Log => {
            &const {
                Def {
                    name: "log",
                    eval: float!(x => x.ln()),
                    partial: |g, x, _, _| Times(g.map(Scalar::Reciprocal, &[x[0]])),
                    range: |r| Range {
                        lo: r[0].lo.max(0.0).ln(),
                        hi: r[0].hi.max(0.0).ln(),
                        finite: r[0].finite && r[0].lo > 0.0,
                    },
                    domain: POSITIVE,
                    ..SMOOTH_FLOAT
                }
            }
        }
        Scalar::Log1p => {
            &const {
                Def {
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
                }
            }
        }
        Scalar::Sin => {
            &const {
                Def {
                    name: "sin",
                    eval: float!(x => x.sin()),
                    partial: |g, x, _, _| Times(g.map(Scalar::Cos, &[x[0]])),
                    range: |r| Range::between(-1.0, 1.0).with_finite(r[0].finite),
                    ..SMOOTH_FLOAT
                }
            }
        }
        Scalar::Cos => {
            &const {
                Def {
                    name: "cos",
                    eval: float!(x => x.cos()),
                    partial: |g, x, _, _| {
                        let s = g.map(Scalar::Sin, &[x[0]]);
                        Times(g.map(Scalar::Neg, &[s]))
                    },
                    range: |r| Range::between(-1.0, 1.0).with_finite(r[0].finite),
                    ..SMOOTH_FLOAT
                }
            }
        }
        Scalar::Tan => {
            &const {
                Def {
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
                }
            }
        }
        Scalar::Tanh => {
            &const {
                Def {
                    name: "tanh",
                    eval: float!(x => x.tanh()),
                    partial: |g, x, out, _| {
                        let one = g.like(x[0], 1.0);
                        let s = g.map(Scalar::Square, &[out]);
                        Times(g.map(Scalar::Sub, &[one, s]))
                    },
                    range: |r| r[0].monotone(f64::tanh),
                    ..SMOOTH_FLOAT
                }
            }
        }
        Scalar::Sigmoid => {
            &const {
                Def {
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
                }
            }
        }
        Scalar::Abs => {
            &const {
                Def {
                    name: "abs",
                    arity: 1,
                    eval: number!(x => x.abs(), x.wrapping_abs()),
                    // 0 at 0
                    partial: |g, x, _, _| Times(g.map(Scalar::Sign, &[x[0]])),
                    range: |r| r[0].abs(),
                    kink: ZERO,
                    ..SMOOTH_NUMBER
                }
            }
        }
        Scalar::Sign => {
            &const {
                Def {
                    name: "sign",
                    arity: 1,
                    eval: number!(x => if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x },
                              x.signum()),
                    partial: |_, _, _, _| Flat,
                    range: |r| Range::between(-1.0, 1.0).with_finite(r[0].finite),
                    kink: ZERO,
                    ..SMOOTH_NUMBER
                }
            }
        }
        Scalar::Floor => {
            &const { rounding("floor", float!(x => x.floor()), |r| r[0].monotone(f64::floor), INTEGER) }
        }
        Scalar::Ceil => {
            &const { rounding("ceil", float!(x => x.ceil()), |r| r[0].monotone(f64::ceil), INTEGER) }
        }
        Scalar::Round => {
            &const {
                let eval: super::Eval = float!(x => x.round_ties_even());
                rounding("round", eval, |r| r[0].monotone(f64::round_ties_even), HALF)
            }
        }
        Scalar::Max => {
            &const {
                Def {
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
                }
            }
        }
        Scalar::Min => {
            &const {
                Def {
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
                }
            }
        }
        Scalar::Lt => &const { comparison("lt", compare!(x, y => x < y)) },
        Scalar::Le => &const { comparison("le", compare!(x, y => x <= y)) },
        Scalar::Gt => &const { comparison("gt", compare!(x, y => x > y)) },
        Scalar::Ge => &const { comparison("ge", compare!(x, y => x >= y)) },
        Scalar::Eq => &const { comparison("eq", compare!(x, y => x == y)) },
        Scalar::Ne => &const { comparison("ne", compare!(x, y => x != y)) },
        Scalar::And => &const { bitwise("and", 2, bits!(x, y => x & y, x & y)) },
        Scalar::Or => &const { bitwise("or", 2, bits!(x, y => x | y, x | y)) },
        Scalar::Xor => &const { bitwise("xor", 2, bits!(x, y => x ^ y, x ^ y)) },
        Scalar::Not => &const { bitwise("not", 1, bits!(x => !x, !x)) },
        Scalar::Shl => {
            &const {
                let eval: super::Eval = |a| match a[0] {
                    Array::I32(v) => map2(v, a[1], |x: i32, n| x.wrapping_shl(n as u32)),
                    Array::I64(v) => map2(v, a[1], |x: i64, n| x.wrapping_shl(n as u32)),
                    _ => unreachable!("map: operands were type-checked"),
                };
                discrete("shl", 2, Signature::Int, eval, |_| Range::FINITE)
            }
        }
        Scalar::Shr => {
            &const {
                let eval: super::Eval = |a| match a[0] {
                    Array::I32(v) => {
                        map2(v, a[1], |x: i32, n| (x as u32).wrapping_shr(n as u32) as i32)
                    }
                    Array::I64(v) => {
                        map2(v, a[1], |x: i64, n| (x as u64).wrapping_shr(n as u32) as i64)
                    }
                    _ => unreachable!("map: operands were type-checked"),
                };
                discrete("shr", 2, Signature::Int, eval, |_| Range::FINITE)
            }
        }
        Scalar::Select => {
            &const {
                Def {
                    name: "select",
                    arity: 3,
                    signature: Signature::Select,
                    eval: select,
                    partial: |_, x, _, i| match i {
                        0 => Partial::None,
                        1 => Where(x[0]),
                        _ => WhereNot(x[0]),
                    },
                    range: |r| r[1].union(r[2]),
                    ..SMOOTH_FLOAT
                }
            }
        }
        Scalar::ToF32 => &const { cast_def("to_f32", DType::F32, cast!(f32)) },
        Scalar::ToF64 => &const { cast_def("to_f64", DType::F64, cast!(f64)) },
        Scalar::ToI32 => &const { cast_def("to_i32", DType::I32, cast!(i32)) },
        Scalar::ToI64 => &const { cast_def("to_i64", DType::I64, cast!(i64)) },
        Scalar::ToBool => {
            &const {
                let eval: super::Eval = |a| match a[0] {
                    Array::F32(v) => map1(v, |x| x != 0.0),
                    Array::F64(v) => map1(v, |x| x != 0.0),
                    Array::I32(v) => map1(v, |x| x != 0),
                    Array::I64(v) => map1(v, |x| x != 0),
                    Array::Bool(v) => map1(v, |x| x),
                };
                discrete("to_bool", 1, Signature::To(DType::Bool), eval, |_| Range::BOOL)
            }
        }
    }
}
