//! Math legalisation: scalar functions written out in machine-level operations.
//!
//! [`legalise`] turns a [`Scalar`] into [`ScalarOp`]s
//! through a [`NestBuilder`], so every back end, and the interpreter, computes
//! the same function to the same bits, and functions of one argument share what
//! they have in common: `sin` and `cos` all but the last few operations.
//!
//! # How the functions are made
//!
//! Only operations that are one or two instructions on vectors of 128 bits and
//! more are used. There are no branches, tables, or conversions between integers
//! and floats: an integer is had by adding `1.5·2^p` (`p` the width of the
//! mantissa), which leaves the rounded value in the low bits of the sum, and goes
//! back by the opposite way. Polynomials are minimax fits in the relative error
//! of the whole function, their coefficients rounded to the type. `f32` is
//! computed in `f32`, but for the gamma function and its kin, which have zeros
//! and sums that cancel: those go through `f64` with shorter polynomials.
//!
//! # Accuracy
//!
//! [`BOUNDS`] states, in units in the last place, how far a result may be from
//! the exact value, subnormal results included. `tests/ulp` measures it.
//! Special arguments follow C99's annex F; which NaN comes out is not defined.
//!
//! `sin`, `cos` and `tan` reduce by π/2 in three pieces with fused multiply-adds.
//! The bound holds for |x| up to [`trig_limit`]. Beyond, where the reduction would lose
//! digits, they are NaN.

mod asin;
mod asinh;
mod atan;
mod erf;
mod exp;
mod float;
mod gamma;
mod integer;
mod log;
mod pair;
mod pow;
mod roots;
mod sinh;
mod tanh;
mod trig;

use backstitch_ir::DType;
use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Cmp, FuncDecl, Monoid, ScalarOp, Var};
use backstitch_ir::scalar::Scalar;

/// The stated error of each function that is not exactly rounded: name, bound
/// for `f32`, bound for `f64`, in units in the last place.
pub const BOUNDS: &[(Scalar, f64, f64)] = &[
    (Scalar::Exp, 1.5, 1.5),
    (Scalar::Expm1, 1.0, 1.1),
    (Scalar::Log, 1.0, 1.0),
    (Scalar::Log1p, 1.0, 1.0),
    (Scalar::Sin, 1.5, 1.6),
    (Scalar::Cos, 1.5, 1.6),
    (Scalar::Tan, 1.5, 1.5),
    (Scalar::Tanh, 2.0, 2.0),
    (Scalar::Sigmoid, 2.5, 2.5),
    (Scalar::Pow, 1.0, 1.0),
    (Scalar::Rsqrt, 1.5, 1.5),
    (Scalar::Exp2, 1.0, 1.0),
    (Scalar::Log2, 1.0, 1.0),
    (Scalar::Log10, 1.0, 1.0),
    (Scalar::Cbrt, 1.0, 1.0),
    (Scalar::Hypot, 1.0, 1.0),
    (Scalar::Asin, 1.0, 1.0),
    (Scalar::Acos, 1.0, 1.0),
    (Scalar::Atan, 1.0, 1.0),
    (Scalar::Atan2, 1.0, 1.0),
    (Scalar::Sinh, 1.0, 1.0),
    (Scalar::Cosh, 1.0, 1.0),
    (Scalar::Asinh, 1.0, 1.0),
    (Scalar::Acosh, 1.0, 1.0),
    (Scalar::Atanh, 1.0, 1.0),
];

/// The same for the special functions: `tests/special.rs` measures it.
///
/// `lgamma` and `digamma` are meant right of 0; left of it their error is small
/// beside the larger of 1 and the result. In `f64` the
/// order of `polygamma`, up to 20, is added to its bound.
pub const SPECIAL_BOUNDS: &[(Scalar, f64, f64)] = &[
    (Scalar::Erf, 1.5, 1.5),
    (Scalar::Erfc, 3.5, 4.0),
    (Scalar::Erfinv, 1.0, 4.0),
    (Scalar::Lgamma, 1.0, 4.0),
    (Scalar::Digamma, 1.0, 4.0),
    (Scalar::Polygamma, 1.0, 6.0),
];

/// Up to which |x| the bounds of `sin`, `cos` and `tan` hold; beyond, they are NaN.
pub const fn trig_limit(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 1e6,
        _ => 1e15,
    }
}

/// `f(args)` in basic operations; `dtype` is the type of the result. The
/// arguments have types that [`Scalar::infer`] accepts.
pub fn legalise(b: &mut NestBuilder, f: Scalar, dtype: DType, args: &[Var]) -> Var {
    let x = args[0];
    let of = b.dtype(x);
    match f {
        Scalar::Add => b.add(x, args[1]),
        Scalar::Sub => b.sub(x, args[1]),
        Scalar::SubZ => strong_difference(b, x, args[1]),
        Scalar::Mul => b.mul(x, args[1]),
        Scalar::Div => b.div(x, args[1]),
        Scalar::Neg => b.neg(x),
        Scalar::MulZ => strong_product(b, x, args[1]),
        Scalar::MulZLeft => left_strong_product(b, x, args[1]),
        Scalar::Fma => b.fma(x, args[1], args[2]),
        Scalar::Pow => pow::pow(b, x, args[1]),
        Scalar::Square => b.mul(x, x),
        Scalar::Sqrt => b.sqrt(x),
        Scalar::Rsqrt => {
            let root = b.sqrt(x);
            reciprocal(b, root)
        }
        Scalar::Cbrt => roots::cbrt(b, x),
        Scalar::Hypot => roots::hypot(b, x, args[1]),
        Scalar::Reciprocal => reciprocal(b, x),
        Scalar::Exp => exp::exp(b, x),
        Scalar::Exp2 => exp::exp2(b, x),
        Scalar::Expm1 => exp::expm1(b, x),
        Scalar::Log => log::log(b, x),
        Scalar::Log2 => log::log2(b, x),
        Scalar::Log10 => log::log10(b, x),
        Scalar::Log1p => log::log1p(b, x),
        Scalar::Sin => trig::sin(b, x),
        Scalar::Cos => trig::cos(b, x),
        Scalar::Tan => trig::tan(b, x),
        Scalar::Asin => asin::asin(b, x),
        Scalar::Acos => asin::acos(b, x),
        Scalar::Atan => atan::atan(b, x),
        Scalar::Atan2 => atan::atan2(b, x, args[1]),
        Scalar::Sinh => sinh::sinh(b, x),
        Scalar::Cosh => sinh::cosh(b, x),
        Scalar::Asinh => asinh::asinh(b, x),
        Scalar::Acosh => asinh::acosh(b, x),
        Scalar::Atanh => asinh::atanh(b, x),
        Scalar::Tanh => tanh::tanh(b, x),
        Scalar::Sigmoid => exp::sigmoid(b, x),
        Scalar::Erf => erf::erf(b, x),
        Scalar::Erfc => erf::erfc(b, x),
        Scalar::Erfinv => erf::erfinv(b, x),
        Scalar::Lgamma => gamma::lgamma(b, x),
        Scalar::Digamma => gamma::digamma(b, x),
        Scalar::Polygamma => gamma::polygamma(b, x, args[1]),
        Scalar::Abs => b.abs(x),
        Scalar::Sign => sign(b, x),
        Scalar::Floor => b.floor(x),
        Scalar::Ceil => b.ceil(x),
        Scalar::Round => b.nearest(x),
        Scalar::Trunc => b.trunc(x),
        Scalar::Max => b.combine(Monoid::Max, x, args[1]),
        Scalar::Min => b.combine(Monoid::Min, x, args[1]),
        Scalar::Lt => compare(b, Cmp::Lt, x, args[1]),
        Scalar::Le => compare(b, Cmp::Le, x, args[1]),
        Scalar::Gt => compare(b, Cmp::Gt, x, args[1]),
        Scalar::Ge => compare(b, Cmp::Ge, x, args[1]),
        Scalar::Eq => b.cmp(Cmp::Eq, x, args[1]),
        Scalar::Ne => b.cmp(Cmp::Ne, x, args[1]),
        Scalar::And => b.and(x, args[1]),
        Scalar::Or => b.or(x, args[1]),
        Scalar::Xor => b.xor(x, args[1]),
        Scalar::Not => b.not(x),
        Scalar::Shl => b.op(ScalarOp::Shl, dtype, &[x, args[1]]),
        Scalar::Shr => b.op(ScalarOp::ShrU, dtype, &[x, args[1]]),
        Scalar::Quot => integer::divide(b, x, args[1]).0,
        Scalar::Rem => integer::divide(b, x, args[1]).1,
        Scalar::Select => b.select(x, args[1], args[2]),
        Scalar::ToBool if of == DType::Bool => x,
        Scalar::ToBool => {
            let zero = b.int(of, 0);
            b.cmp(Cmp::Ne, x, zero)
        }
        Scalar::ToF32 | Scalar::ToF64 | Scalar::ToI32 | Scalar::ToI64 => b.convert(x, dtype),
    }
}

/// The same as a function to call, of arguments of these types.
pub fn function(f: Scalar, dtype: DType, args: &[DType]) -> FuncDecl {
    FuncDecl::new(f.name(), args, |b, args| legalise(b, f, dtype, args))
}

fn reciprocal(b: &mut NestBuilder, x: Var) -> Var {
    let one = b.float(b.dtype(x), 1.0);
    b.div(one, x)
}

/// `x - y`, but 0 where they are equal and infinite.
fn strong_difference(b: &mut NestBuilder, x: Var, y: Var) -> Var {
    let zero = b.int(b.dtype(x), 0);
    let (equal, difference) = (b.cmp(Cmp::Eq, x, y), b.sub(x, y));
    b.select(equal, zero, difference)
}

/// `x·y`, but 0 where a factor is 0 and the other one is not finite.
fn strong_product(b: &mut NestBuilder, x: Var, y: Var) -> Var {
    let zero = b.int(b.dtype(x), 0);
    let (x_is_zero, y_is_zero) = (b.cmp(Cmp::Eq, x, zero), b.cmp(Cmp::Eq, y, zero));
    let either = b.or(x_is_zero, y_is_zero);
    let product = b.mul(x, y);
    b.select(either, zero, product)
}

/// `x·y`, but 0 where `x` is 0 and `y` not finite.
fn left_strong_product(b: &mut NestBuilder, x: Var, y: Var) -> Var {
    let zero = b.int(b.dtype(x), 0);
    let is_zero = b.cmp(Cmp::Eq, x, zero);
    let product = b.mul(x, y);
    b.select(is_zero, zero, product)
}

/// -1 or 1; `x` itself where it is a zero or NaN.
fn sign(b: &mut NestBuilder, x: Var) -> Var {
    let dtype = b.dtype(x);
    let (zero, one, minus_one) = (b.int(dtype, 0), b.int(dtype, 1), b.int(dtype, -1));
    let (positive, negative) = (b.cmp(Cmp::Gt, x, zero), b.cmp(Cmp::Lt, x, zero));
    let rest = b.select(negative, minus_one, x);
    b.select(positive, one, rest)
}

/// Machines compare booleans for equality only; `false` is less than `true`.
fn compare(b: &mut NestBuilder, c: Cmp, x: Var, y: Var) -> Var {
    if b.dtype(x) != DType::Bool {
        return b.cmp(c, x, y);
    }
    let (less, greater, strict) = match c {
        Cmp::Lt => (x, y, true),
        Cmp::Gt => (y, x, true),
        Cmp::Le => (x, y, false),
        Cmp::Ge => (y, x, false),
        Cmp::Eq | Cmp::Ne => return b.cmp(c, x, y),
    };
    let not_less = b.not(less);
    if strict { b.and(not_less, greater) } else { b.or(not_less, greater) }
}
