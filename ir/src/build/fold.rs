//! What is known of an operation before it is emitted.

use smallvec::SmallVec;

use super::{Def, NestBuilder};
use crate::nest::{Cmp, Const, ScalarOp, Var};
use crate::ty::DType;

impl NestBuilder {
    /// Identities that keep every bit (but those of a NaN).
    pub(super) fn simplify(&mut self, op: ScalarOp, dtype: DType, args: &[Var]) -> Option<Var> {
        let bits = |b: &Self, v: Var| b.const_of(v).map(|c| c.bits);
        let is = |b: &Self, v: Var, c: Const| bits(b, v) == Some(c.bits);
        let zero = Const { dtype, bits: 0 };
        // Adding -0.0 changes nothing, adding 0.0 changes -0.0.
        let no_term = if dtype.is_float() { Const::of_float(dtype, -0.0) } else { zero };
        match (op, args) {
            (ScalarOp::Add, &[a, b]) if is(self, b, no_term) => Some(a),
            (ScalarOp::Add, &[a, b]) if is(self, a, no_term) => Some(b),
            (ScalarOp::Sub, &[a, b]) if is(self, b, zero) => Some(a),
            (ScalarOp::Sub, &[a, b]) if is(self, a, no_term) => Some(self.neg(b)),
            (ScalarOp::Mul | ScalarOp::Div, &[a, b]) if is(self, b, Const::of_int(dtype, 1)) => {
                Some(a)
            }
            (ScalarOp::Mul, &[a, b]) if is(self, a, Const::of_int(dtype, 1)) => Some(b),
            (ScalarOp::Div, &[a, b]) => {
                let inverse = self.const_of(b).and_then(exact_inverse)?;
                let inverse = self.constant(inverse);
                Some(self.mul(a, inverse))
            }
            (ScalarOp::Neg, &[a]) => match self.vars[a].def {
                Def::Neg(x) => Some(x),
                _ => None,
            },
            (ScalarOp::Not, &[a]) => match self.vars[a].def {
                Def::Not(x) => Some(x),
                _ => None,
            },
            (ScalarOp::And | ScalarOp::Or, &[a, b]) if a == b => Some(a),
            (ScalarOp::And, &[a, b]) if dtype == DType::Bool => {
                match (bits(self, a), bits(self, b)) {
                    (Some(0), _) | (_, Some(1)) => Some(a),
                    (Some(1), _) | (_, Some(0)) => Some(b),
                    _ => None,
                }
            }
            (ScalarOp::Or, &[a, b]) if dtype == DType::Bool => match (bits(self, a), bits(self, b))
            {
                (Some(1), _) | (_, Some(0)) => Some(a),
                (Some(0), _) | (_, Some(1)) => Some(b),
                _ => None,
            },
            (ScalarOp::Shl | ScalarOp::ShrU | ScalarOp::ShrS, &[a, b]) if is(self, b, zero) => {
                Some(a)
            }
            (ScalarOp::Select, &[_, a, b]) if a == b => Some(a),
            (ScalarOp::Select, &[c, a, b]) => bits(self, c).map(|c| if c != 0 { a } else { b }),
            (ScalarOp::Convert | ScalarOp::Bitcast, &[a]) if self.dtype(a) == dtype => Some(a),
            _ => None,
        }
    }
}

/// The same operation with its operands in the one order that is looked up.
pub(super) fn canonical(op: ScalarOp, args: &[Var]) -> (ScalarOp, SmallVec<[Var; 3]>) {
    let mut args = SmallVec::from_slice(args);
    let mut op = op;
    match op {
        ScalarOp::Cmp(Cmp::Gt) => {
            op = ScalarOp::Cmp(Cmp::Lt);
            args.swap(0, 1);
        }
        ScalarOp::Cmp(Cmp::Ge) => {
            op = ScalarOp::Cmp(Cmp::Le);
            args.swap(0, 1);
        }
        ScalarOp::Add
        | ScalarOp::Mul
        | ScalarOp::Fma
        | ScalarOp::And
        | ScalarOp::Or
        | ScalarOp::Xor
        | ScalarOp::Cmp(Cmp::Eq | Cmp::Ne)
            if args[1] < args[0] =>
        {
            args.swap(0, 1);
        }
        _ => {}
    }
    (op, args)
}

/// `1 / c`, if neither it nor `c` is rounded, subnormal or infinite: a power of
/// two within the normal range.
fn exact_inverse(c: Const) -> Option<Const> {
    let x = c.to_f64();
    let inverse = Const::of_float(c.dtype, 1.0 / x);
    let mantissa = x.to_bits() & ((1 << 52) - 1);
    let normal = match c.dtype {
        DType::F32 => (x as f32).is_normal() && (inverse.to_f64() as f32).is_normal(),
        _ => x.is_normal() && inverse.to_f64().is_normal(),
    };
    (c.dtype.is_float() && mantissa == 0 && normal).then_some(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dividing_by_a_power_of_two_multiplies() {
        assert_eq!(
            exact_inverse(Const::of_float(DType::F32, 8.0)),
            Some(Const::of_float(DType::F32, 0.125))
        );
        assert_eq!(exact_inverse(Const::of_float(DType::F32, 3.0)), None);
        assert_eq!(exact_inverse(Const::of_float(DType::F32, 2f64.powi(127))), None);
        assert_eq!(exact_inverse(Const::of_float(DType::F32, 0.0)), None);
    }
}
