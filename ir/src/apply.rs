//! The meaning of one scalar operation.
//!
//! [`function`] is the single table from which the interpreter of nests, the
//! constant folding of the builder and the type rules of the verifier come.
//! Scalars travel as 64 bits: floats as their pattern, `i32` with a zero upper
//! half, `bool` as 0 or 1.
//!
//! Which NaN comes out of an operation (its sign and payload) is not defined;
//! all else is, to the bit.

use crate::nest::{Cmp, Const, Monoid, ScalarOp, Term};
use crate::ty::DType;

/// An operation on the bits of up to three operands; those beyond its arity
/// are ignored.
pub type Function = fn(u64, u64, u64) -> u64;

/// The operation that takes operands of type `operand` to a result of type
/// `result`, or `None` if there is no such operation. `operand` is the type of
/// every operand, but for [`ScalarOp::Select`], whose first is `bool`.
/// Constants have no operands and are not here.
pub fn function(op: ScalarOp, operand: DType, result: DType) -> Option<Function> {
    match op {
        ScalarOp::Const(_) => None,
        ScalarOp::Select => (operand == result).then_some(|c, a, b| if c != 0 { a } else { b }),
        ScalarOp::Bitcast => bitcast(operand, result),
        ScalarOp::Convert => convert(operand, result),
        ScalarOp::Cmp(c) if result == DType::Bool => compare(c, operand),
        _ if operand != result => None,
        _ => match result {
            DType::F32 => f32_function(op),
            DType::F64 => f64_function(op),
            DType::I32 => i32_function(op),
            DType::I64 => i64_function(op),
            DType::Bool => bool_function(op),
        },
    }
}

/// Result of the operation on these bits; it must exist (see [`function`]).
pub fn apply(op: ScalarOp, operand: DType, result: DType, args: &[u64]) -> u64 {
    if let ScalarOp::Const(c) = op {
        return c.bits;
    }
    let f = function(op, operand, result)
        .unwrap_or_else(|| panic!("no {} from {operand} to {result}", op.name()));
    let arg = |i: usize| args.get(i).copied().unwrap_or(0);
    f(arg(0), arg(1), arg(2))
}

/// Why `op` cannot take operands of these types to a result of that type.
pub fn check(op: ScalarOp, operands: &[DType], result: DType) -> Result<(), String> {
    if operands.len() != op.arity() {
        return Err(format!("{} takes {} operands, not {}", op.name(), op.arity(), operands.len()));
    }
    if let ScalarOp::Const(Const { dtype, .. }) = op {
        let fits = dtype == result;
        return fits.then_some(()).ok_or_else(|| format!("a constant {dtype} is no {result}"));
    }
    let same = match op {
        ScalarOp::Select if operands[0] != DType::Bool => {
            return Err(format!("select asks a bool, not a {}", operands[0]));
        }
        ScalarOp::Select => &operands[1..],
        _ => operands,
    };
    if same.iter().any(|&d| d != same[0]) {
        return Err(format!("{} mixes operands of types {operands:?}", op.name()));
    }
    match function(op, same[0], result) {
        Some(_) => Ok(()),
        None => Err(format!("no {} from {} to {result}", op.name(), same[0])),
    }
}

/// The combination of two elements of this type, or `None` if the monoid does
/// not take it.
pub fn combination(monoid: Monoid, dtype: DType) -> Option<Function> {
    if !monoid.takes(dtype) {
        return None;
    }
    macro_rules! larger {
        ($get:ident, $op:tt) => {
            |a, b, _| if $get(a) $op $get(b) || is_nan($get(a)) { a } else { b }
        };
    }
    match (monoid, dtype) {
        (Monoid::Sum, _) => function(ScalarOp::Add, dtype, dtype),
        (Monoid::Prod, _) => function(ScalarOp::Mul, dtype, dtype),
        (Monoid::Any, _) => function(ScalarOp::Or, dtype, dtype),
        (Monoid::All, _) => function(ScalarOp::And, dtype, dtype),
        (Monoid::Max, DType::F32) => Some(larger!(f32_of, >)),
        (Monoid::Max, DType::F64) => Some(larger!(f64_of, >)),
        (Monoid::Max, DType::I32) => Some(larger!(i32_of, >)),
        (Monoid::Max, _) => Some(larger!(i64_of, >)),
        (Monoid::Min, DType::F32) => Some(larger!(f32_of, <)),
        (Monoid::Min, DType::F64) => Some(larger!(f64_of, <)),
        (Monoid::Min, DType::I32) => Some(larger!(i32_of, <)),
        (Monoid::Min, _) => Some(larger!(i64_of, <)),
    }
}

/// What a term makes of what there is so far, on the bits of that and of the term's values;
/// `None` if there is no such term of this type.
pub fn taking<V>(term: &Term<V>, dtype: DType) -> Option<Function> {
    match (term, dtype) {
        (Term::One(op, _), _) => combination(*op, dtype),
        (Term::Product(_), DType::F32) => {
            Some(|old, a, b| of_f32(f32_of(a).mul_add(f32_of(b), f32_of(old))))
        }
        (Term::Product(_), DType::F64) => {
            Some(|old, a, b| of_f64(f64_of(a).mul_add(f64_of(b), f64_of(old))))
        }
        (Term::Product(_), _) => None,
    }
}

/// Whether it is not even equal to itself; never, for an integer.
#[expect(clippy::eq_op, reason = "a NaN differs from itself, and this is for integers as well")]
fn is_nan<T: PartialEq + Copy>(x: T) -> bool {
    x != x
}

fn f32_of(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn f64_of(bits: u64) -> f64 {
    f64::from_bits(bits)
}

fn i32_of(bits: u64) -> i32 {
    bits as u32 as i32
}

fn i64_of(bits: u64) -> i64 {
    bits as i64
}

fn bool_of(bits: u64) -> bool {
    bits != 0
}

fn of_f32(x: f32) -> u64 {
    x.to_bits().into()
}

fn of_f64(x: f64) -> u64 {
    x.to_bits()
}

fn of_i32(x: i32) -> u64 {
    (x as u32).into()
}

fn of_i64(x: i64) -> u64 {
    x as u64
}

macro_rules! float_function {
    ($name:ident, $get:ident, $put:ident) => {
        fn $name(op: ScalarOp) -> Option<Function> {
            Some(match op {
                ScalarOp::Add => |a, b, _| $put($get(a) + $get(b)),
                ScalarOp::Sub => |a, b, _| $put($get(a) - $get(b)),
                ScalarOp::Mul => |a, b, _| $put($get(a) * $get(b)),
                ScalarOp::Div => |a, b, _| $put($get(a) / $get(b)),
                ScalarOp::Neg => |a, _, _| $put(-$get(a)),
                ScalarOp::Abs => |a, _, _| $put($get(a).abs()),
                ScalarOp::Sqrt => |a, _, _| $put($get(a).sqrt()),
                ScalarOp::Fma => |a, b, c| $put($get(a).mul_add($get(b), $get(c))),
                ScalarOp::Floor => |a, _, _| $put($get(a).floor()),
                ScalarOp::Ceil => |a, _, _| $put($get(a).ceil()),
                ScalarOp::Trunc => |a, _, _| $put($get(a).trunc()),
                ScalarOp::Nearest => |a, _, _| $put($get(a).round_ties_even()),
                _ => return None,
            })
        }
    };
}

float_function!(f32_function, f32_of, of_f32);
float_function!(f64_function, f64_of, of_f64);

macro_rules! int_function {
    ($name:ident, $get:ident, $put:ident, $signed:ty, $unsigned:ty) => {
        fn $name(op: ScalarOp) -> Option<Function> {
            Some(match op {
                ScalarOp::Add => |a, b, _| $put($get(a).wrapping_add($get(b))),
                ScalarOp::Sub => |a, b, _| $put($get(a).wrapping_sub($get(b))),
                ScalarOp::Mul => |a, b, _| $put($get(a).wrapping_mul($get(b))),
                ScalarOp::Neg => |a, _, _| $put($get(a).wrapping_neg()),
                ScalarOp::Abs => |a, _, _| $put($get(a).wrapping_abs()),
                ScalarOp::And => |a, b, _| a & b,
                ScalarOp::Or => |a, b, _| a | b,
                ScalarOp::Xor => |a, b, _| a ^ b,
                ScalarOp::Not => |a, _, _| $put(!$get(a)),
                ScalarOp::Shl => |a, b, _| $put($get(a).wrapping_shl(b as u32)),
                ScalarOp::ShrU => {
                    |a, b, _| $put(($get(a) as $unsigned).wrapping_shr(b as u32) as $signed)
                }
                ScalarOp::ShrS => |a, b, _| $put($get(a).wrapping_shr(b as u32)),
                _ => return None,
            })
        }
    };
}

int_function!(i32_function, i32_of, of_i32, i32, u32);
int_function!(i64_function, i64_of, of_i64, i64, u64);

fn bool_function(op: ScalarOp) -> Option<Function> {
    Some(match op {
        ScalarOp::And => |a, b, _| a & b,
        ScalarOp::Or => |a, b, _| a | b,
        ScalarOp::Xor => |a, b, _| a ^ b,
        ScalarOp::Not => |a, _, _| a ^ 1,
        _ => return None,
    })
}

fn compare(c: Cmp, operand: DType) -> Option<Function> {
    macro_rules! by {
        ($get:ident) => {
            match c {
                Cmp::Lt => |a, b, _| u64::from($get(a) < $get(b)),
                Cmp::Le => |a, b, _| u64::from($get(a) <= $get(b)),
                Cmp::Gt => |a, b, _| u64::from($get(a) > $get(b)),
                Cmp::Ge => |a, b, _| u64::from($get(a) >= $get(b)),
                Cmp::Eq => |a, b, _| u64::from($get(a) == $get(b)),
                Cmp::Ne => |a, b, _| u64::from($get(a) != $get(b)),
            }
        };
    }
    match operand {
        DType::F32 => Some(by!(f32_of)),
        DType::F64 => Some(by!(f64_of)),
        DType::I32 => Some(by!(i32_of)),
        DType::I64 => Some(by!(i64_of)),
        DType::Bool if matches!(c, Cmp::Eq | Cmp::Ne) => Some(by!(bool_of)),
        DType::Bool => None,
    }
}

fn bitcast(operand: DType, result: DType) -> Option<Function> {
    let is_bool = |d| d == DType::Bool;
    let fits = operand.size() == result.size() && is_bool(operand) == is_bool(result);
    fits.then_some(|a, _, _| a)
}

fn convert(operand: DType, result: DType) -> Option<Function> {
    macro_rules! from {
        ($get:ident) => {
            match result {
                DType::F32 => |a, _, _| of_f32($get(a) as f32),
                DType::F64 => |a, _, _| of_f64($get(a) as f64),
                DType::I32 => |a, _, _| of_i32($get(a) as i32),
                DType::I64 => |a, _, _| of_i64($get(a) as i64),
                DType::Bool => return None,
            }
        };
    }
    Some(match operand {
        DType::F32 => from!(f32_of),
        DType::F64 => from!(f64_of),
        DType::I32 => from!(i32_of),
        // A `bool` is the integer 0 or 1.
        DType::I64 | DType::Bool => from!(i64_of),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_take_the_amount_modulo_the_width() {
        let minus_one = of_i32(-1);
        assert_eq!(apply(ScalarOp::Shl, DType::I32, DType::I32, &[1, 33]), 2);
        assert_eq!(apply(ScalarOp::ShrU, DType::I32, DType::I32, &[minus_one, 31]), 1);
        assert_eq!(apply(ScalarOp::ShrS, DType::I32, DType::I32, &[minus_one, 31]), minus_one);
        assert_eq!(apply(ScalarOp::Shl, DType::I64, DType::I64, &[1, u64::MAX]), 1 << 63);
    }

    #[test]
    fn converting_saturates() {
        let to_i32 =
            |x: f64| i32_of(apply(ScalarOp::Convert, DType::F64, DType::I32, &[of_f64(x)]));
        assert_eq!(to_i32(1e300), i32::MAX);
        assert_eq!(to_i32(-2.9), -2);
        assert_eq!(to_i32(f64::NAN), 0);
        assert_eq!(apply(ScalarOp::Convert, DType::Bool, DType::F32, &[1]), of_f32(1.0));
    }

    #[test]
    fn max_propagates_nan_from_either_side() {
        let max = combination(Monoid::Max, DType::F32).unwrap();
        let nan = of_f32(f32::NAN);
        assert!(f32_of(max(nan, of_f32(1.0), 0)).is_nan());
        assert!(f32_of(max(of_f32(1.0), nan, 0)).is_nan());
        assert_eq!(f32_of(max(of_f32(1.0), of_f32(2.0), 0)), 2.0);
    }

    #[test]
    fn ill_typed_operations_are_refused() {
        use DType::{Bool, F32, I32, I64};
        assert!(check(ScalarOp::Div, &[I32, I32], I32).is_err());
        assert!(check(ScalarOp::And, &[F32, F32], F32).is_err());
        assert!(check(ScalarOp::Cmp(Cmp::Lt), &[Bool, Bool], Bool).is_err());
        assert!(check(ScalarOp::Bitcast, &[F32], I64).is_err());
        assert!(check(ScalarOp::Convert, &[F32], Bool).is_err());
        assert!(check(ScalarOp::Select, &[I32, F32, F32], F32).is_err());
        assert!(check(ScalarOp::Select, &[Bool, F32, F32], F32).is_ok());
        assert!(check(ScalarOp::Add, &[F32], F32).is_err());
    }
}
