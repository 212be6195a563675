//! Short names for operations. Operands and result have one type unless said.

use super::{Def, NestBuilder, VarInfo};
use crate::index::Idx;
use crate::nest::{Cmp, Const, Monoid, ScalarOp, Var};
use crate::ty::DType;

impl NestBuilder {
    /// The constant of this type nearest to `x`.
    pub fn float(&mut self, dtype: DType, x: f64) -> Var {
        self.constant(Const::of_float(dtype, x))
    }

    /// The constant of this type nearest to `n`.
    pub fn int(&mut self, dtype: DType, n: i64) -> Var {
        self.constant(Const::of_int(dtype, n))
    }

    fn unary(&mut self, op: ScalarOp, a: Var) -> Var {
        self.op(op, self.dtype(a), &[a])
    }

    fn binary(&mut self, op: ScalarOp, a: Var, b: Var) -> Var {
        self.op(op, self.dtype(a), &[a, b])
    }

    fn shift(&mut self, op: ScalarOp, a: Var, amount: u32) -> Var {
        let amount = self.int(self.dtype(a), amount.into());
        self.binary(op, a, amount)
    }

    /// `a + b`
    pub fn add(&mut self, a: Var, b: Var) -> Var {
        self.binary(ScalarOp::Add, a, b)
    }

    /// `a - b`
    pub fn sub(&mut self, a: Var, b: Var) -> Var {
        self.binary(ScalarOp::Sub, a, b)
    }

    /// `a · b`
    pub fn mul(&mut self, a: Var, b: Var) -> Var {
        self.binary(ScalarOp::Mul, a, b)
    }

    /// `a / b`
    pub fn div(&mut self, a: Var, b: Var) -> Var {
        self.binary(ScalarOp::Div, a, b)
    }

    /// `-a`
    pub fn neg(&mut self, a: Var) -> Var {
        self.unary(ScalarOp::Neg, a)
    }

    /// `|a|`
    pub fn abs(&mut self, a: Var) -> Var {
        self.unary(ScalarOp::Abs, a)
    }

    /// `√a`
    pub fn sqrt(&mut self, a: Var) -> Var {
        self.unary(ScalarOp::Sqrt, a)
    }

    /// `a · b + c`, rounded once.
    pub fn fma(&mut self, a: Var, b: Var, c: Var) -> Var {
        self.op(ScalarOp::Fma, self.dtype(a), &[a, b, c])
    }

    /// `⌊a⌋`
    pub fn floor(&mut self, a: Var) -> Var {
        self.unary(ScalarOp::Floor, a)
    }

    /// `⌈a⌉`
    pub fn ceil(&mut self, a: Var) -> Var {
        self.unary(ScalarOp::Ceil, a)
    }

    /// `a` towards 0.
    pub fn trunc(&mut self, a: Var) -> Var {
        self.unary(ScalarOp::Trunc, a)
    }

    /// `a` to the nearest integer, ties to even.
    pub fn nearest(&mut self, a: Var) -> Var {
        self.unary(ScalarOp::Nearest, a)
    }

    /// `a & b`
    pub fn and(&mut self, a: Var, b: Var) -> Var {
        self.binary(ScalarOp::And, a, b)
    }

    /// `a | b`
    pub fn or(&mut self, a: Var, b: Var) -> Var {
        self.binary(ScalarOp::Or, a, b)
    }

    /// `a ^ b`
    pub fn xor(&mut self, a: Var, b: Var) -> Var {
        self.binary(ScalarOp::Xor, a, b)
    }

    /// `!a`
    pub fn not(&mut self, a: Var) -> Var {
        self.unary(ScalarOp::Not, a)
    }

    /// `a << amount`
    pub fn shl(&mut self, a: Var, amount: u32) -> Var {
        self.shift(ScalarOp::Shl, a, amount)
    }

    /// `a >> amount`, filling with zeros.
    pub fn shru(&mut self, a: Var, amount: u32) -> Var {
        self.shift(ScalarOp::ShrU, a, amount)
    }

    /// `a >> amount`, filling with the sign.
    pub fn shrs(&mut self, a: Var, amount: u32) -> Var {
        self.shift(ScalarOp::ShrS, a, amount)
    }

    /// A comparison: a `bool`.
    pub fn cmp(&mut self, c: Cmp, a: Var, b: Var) -> Var {
        self.op(ScalarOp::Cmp(c), DType::Bool, &[a, b])
    }

    /// `if c { a } else { b }`
    pub fn select(&mut self, c: Var, a: Var, b: Var) -> Var {
        self.op(ScalarOp::Select, self.dtype(a), &[c, a, b])
    }

    /// The bits of `a` as another type.
    pub fn bitcast(&mut self, a: Var, dtype: DType) -> Var {
        self.op(ScalarOp::Bitcast, dtype, &[a])
    }

    /// The number `a` in another type, not `bool`.
    pub fn convert(&mut self, a: Var, dtype: DType) -> Var {
        self.op(ScalarOp::Convert, dtype, &[a])
    }

    /// Whether a reduction might take the factors of this value.
    pub(super) fn is_summed_product(&self, monoid: Monoid, value: Var) -> bool {
        let VarInfo { dtype, def, .. } = self.vars[value];
        monoid == Monoid::Sum && dtype.is_float() && matches!(def, Def::Mul)
    }

    /// `old ⊕ value`, the same bits as a reduction that takes `value` in.
    pub fn take(&mut self, monoid: Monoid, old: Var, value: Var) -> Var {
        let known = self.vars.len();
        let new = self.combine(monoid, old, value);
        if new.index() == known && self.is_summed_product(monoid, value) {
            self.sums_products = true;
            self.steps.insert(new, value);
        }
        new
    }

    /// `a ⊕ b`, the same bits as in a reduction that combines partial results.
    ///
    /// The larger of two floats is a select (one instruction on most machines)
    /// and another for NaN, which a constant on either side makes superfluous.
    pub fn combine(&mut self, monoid: Monoid, a: Var, b: Var) -> Var {
        let (strict, weak) = match monoid {
            Monoid::Sum => return self.add(a, b),
            Monoid::Prod => return self.mul(a, b),
            Monoid::Any => return self.or(a, b),
            Monoid::All => return self.and(a, b),
            Monoid::Max => (Cmp::Gt, Cmp::Ge),
            Monoid::Min => (Cmp::Lt, Cmp::Le),
        };
        if let Some(c) = self.const_of(b)
            && !c.to_f64().is_nan()
            && self.const_of(a).is_none()
        {
            // `b` wins a tie, which matters if they are zeros of two signs.
            let beats = self.cmp(if c.to_f64() == 0.0 { weak } else { strict }, b, a);
            return self.select(beats, b, a);
        }
        let beats = self.cmp(strict, a, b);
        let winner = self.select(beats, a, b);
        let is_number =
            !self.dtype(a).is_float() || self.const_of(a).is_some_and(|c| !c.to_f64().is_nan());
        if is_number {
            return winner;
        }
        let is_nan = self.cmp(Cmp::Ne, a, a);
        self.select(is_nan, a, winner)
    }
}
