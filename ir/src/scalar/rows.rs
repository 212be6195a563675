//! The rows, by family, and what they are made with.

mod arithmetic;
mod casts;
mod exponential;
mod hyperbolic;
mod logic;
mod rounding;
mod special;
mod trig;

use super::{Def, Domain, Eval, Partial, Scalar, Signature};
use crate::graph::{Graph, Value};
use crate::range::Range;
use crate::ty::DType;

const ANY: &[Domain] = &[Domain { lo: -3.0, hi: 3.0 }; 3];
const POSITIVE: &[Domain] = &[Domain { lo: 0.2, hi: 4.0 }; 2];
/// Inside (-1, 1), away from its ends.
const INSIDE_1: &[Domain] = &[Domain { lo: -0.9, hi: 0.9 }];
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
    eval: Eval,
    range: fn(&[Range]) -> Range,
) -> Def {
    Def { name, arity, signature, eval, partial: NONE, range, domain: ANY, kink: SMOOTH }
}

const fn comparison(name: &'static str, eval: Eval) -> Def {
    discrete(name, 2, Signature::Compare, eval, |_| Range::BOOL)
}

const fn bitwise(name: &'static str, arity: usize, eval: Eval) -> Def {
    discrete(name, arity, Signature::Bits, eval, |_| Range::FINITE)
}

const fn cast_def(name: &'static str, to: DType, eval: Eval) -> Def {
    // Only a cast from float to float carries a derivative; `map` sees to that.
    let partial: PartialFn = |_, _, _, _| Partial::Cast;
    let signature = Signature::To(to);
    Def { name, arity: 1, signature, eval, partial, range: |r| r[0], domain: ANY, kink: SMOOTH }
}

/// Rounding: flat everywhere but at its steps, where the derivative is 0 too.
const fn rounding(
    name: &'static str,
    eval: Eval,
    range: fn(&[Range]) -> Range,
    kink: fn(&[f64]) -> bool,
) -> Def {
    let partial: PartialFn = |_, _, _, _| Partial::Flat;
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
/// `cmp` holds of `(x, y)`, and where it is NaN, as then the result is.
fn shared_at_tie(g: &mut Graph, x: Value, y: Value, cmp: Scalar) -> Partial {
    let wins = g.map(cmp, &[x, y]);
    let nan = g.map(Scalar::Ne, &[x, x]);
    let wins = g.map(Scalar::Or, &[wins, nan]);
    let ties = g.map(Scalar::Eq, &[x, y]);
    let (one, half, zero) = (g.like(x, 1.0), g.like(x, 0.5), g.like(x, 0.0));
    let rest = g.map(Scalar::Select, &[ties, half, zero]);
    Partial::Times(g.map(Scalar::Select, &[wins, one, rest]))
}

/// The product of `1 - x` and `1 + x`, which keeps its digits near ±1.
fn one_less_square(g: &mut Graph, x: Value) -> Value {
    let one = g.like(x, 1.0);
    let (less, more) = (g.map(Scalar::Sub, &[one, x]), g.map(Scalar::Add, &[one, x]));
    g.map(Scalar::Mul, &[less, more])
}

/// For functions of the plane that have no derivative at the origin: there 0, and
/// what `part` makes of the distance elsewhere. It is given 1 instead of 0, so that
/// its own derivatives are finite.
fn flat_at_origin(
    g: &mut Graph,
    distance: Value,
    part: impl FnOnce(&mut Graph, Value) -> Value,
) -> Partial {
    let (zero, one) = (g.like(distance, 0.0), g.like(distance, 1.0));
    let origin = g.map(Scalar::Eq, &[distance, zero]);
    let guarded = g.map(Scalar::Select, &[origin, one, distance]);
    let slope = part(g, guarded);
    Partial::Times(g.map(Scalar::Select, &[origin, zero, slope]))
}

/// `exp` leaves the finite numbers above about 88 (`f32`) and 709 (`f64`).
fn exp_range(r: Range) -> Range {
    Range { lo: r.lo.exp(), hi: r.hi.exp(), finite: r.finite && r.hi < 80.0 }
}

pub(super) fn row(f: Scalar) -> &'static Def {
    match f {
        Scalar::Add => &arithmetic::ADD,
        Scalar::Sub => &arithmetic::SUB,
        Scalar::SubZ => &arithmetic::SUB_Z,
        Scalar::Mul => &arithmetic::MUL,
        Scalar::MulZ => &arithmetic::MUL_Z,
        Scalar::MulZLeft => &arithmetic::MUL_Z_LEFT,
        Scalar::Fma => &arithmetic::FMA,
        Scalar::Div => &arithmetic::DIV,
        Scalar::Neg => &arithmetic::NEG,
        Scalar::Pow => &exponential::POW,
        Scalar::Square => &arithmetic::SQUARE,
        Scalar::Sqrt => &arithmetic::SQRT,
        Scalar::Rsqrt => &arithmetic::RSQRT,
        Scalar::Cbrt => &arithmetic::CBRT,
        Scalar::Hypot => &arithmetic::HYPOT,
        Scalar::Reciprocal => &arithmetic::RECIPROCAL,
        Scalar::Exp => &exponential::EXP,
        Scalar::Expm1 => &exponential::EXPM1,
        Scalar::Exp2 => &exponential::EXP2,
        Scalar::Log => &exponential::LOG,
        Scalar::Log2 => &exponential::LOG2,
        Scalar::Log10 => &exponential::LOG10,
        Scalar::Log1p => &exponential::LOG1P,
        Scalar::Sin => &trig::SIN,
        Scalar::Cos => &trig::COS,
        Scalar::Tan => &trig::TAN,
        Scalar::Asin => &trig::ASIN,
        Scalar::Acos => &trig::ACOS,
        Scalar::Atan => &trig::ATAN,
        Scalar::Atan2 => &trig::ATAN2,
        Scalar::Sinh => &hyperbolic::SINH,
        Scalar::Cosh => &hyperbolic::COSH,
        Scalar::Tanh => &hyperbolic::TANH,
        Scalar::Asinh => &hyperbolic::ASINH,
        Scalar::Acosh => &hyperbolic::ACOSH,
        Scalar::Atanh => &hyperbolic::ATANH,
        Scalar::Sigmoid => &exponential::SIGMOID,
        Scalar::Erf => &special::ERF,
        Scalar::Erfc => &special::ERFC,
        Scalar::Erfinv => &special::ERFINV,
        Scalar::Lgamma => &special::LGAMMA,
        Scalar::Digamma => &special::DIGAMMA,
        Scalar::Polygamma => &special::POLYGAMMA,
        Scalar::Abs => &arithmetic::ABS,
        Scalar::Sign => &rounding::SIGN,
        Scalar::Floor => &rounding::FLOOR,
        Scalar::Ceil => &rounding::CEIL,
        Scalar::Round => &rounding::ROUND,
        Scalar::Trunc => &rounding::TRUNC,
        Scalar::Max => &arithmetic::MAX,
        Scalar::Min => &arithmetic::MIN,
        Scalar::Lt => &logic::LT,
        Scalar::Le => &logic::LE,
        Scalar::Gt => &logic::GT,
        Scalar::Ge => &logic::GE,
        Scalar::Eq => &logic::EQ,
        Scalar::Ne => &logic::NE,
        Scalar::And => &logic::AND,
        Scalar::Or => &logic::OR,
        Scalar::Xor => &logic::XOR,
        Scalar::Not => &logic::NOT,
        Scalar::Shl => &logic::SHL,
        Scalar::Shr => &logic::SHR,
        Scalar::Quot => &logic::QUOT,
        Scalar::Rem => &logic::REM,
        Scalar::Select => &logic::SELECT,
        Scalar::ToF32 => &casts::TO_F32,
        Scalar::ToF64 => &casts::TO_F64,
        Scalar::ToI32 => &casts::TO_I32,
        Scalar::ToI64 => &casts::TO_I64,
        Scalar::ToBool => &casts::TO_BOOL,
    }
}
