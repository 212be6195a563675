//! Scalar operations as instructions.
//!
//! A `bool` is an 8-bit integer, 0 or 1.

use backstitch_ir::DType;
use backstitch_ir::nest::{Cmp, Monoid, ScalarOp, Term};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};

use crate::asm::Asm;
use crate::host;

/// The type of a scalar in a register.
pub(crate) fn clif_type(dtype: DType) -> Type {
    match dtype {
        DType::F32 => types::F32,
        DType::F64 => types::F64,
        DType::I32 => types::I32,
        DType::I64 => types::I64,
        DType::Bool => types::I8,
    }
}

/// `op args`, where operands have type `from` (the last one's, for `Select`)
/// and the result `to`.
pub(crate) fn apply(asm: &mut Asm, op: ScalarOp, from: DType, to: DType, args: &[Value]) -> Value {
    let float = to.is_float();
    match (op, args) {
        (ScalarOp::Const(c), _) => asm.constant(c),
        (ScalarOp::Add, &[a, b]) if float => asm.ins().fadd(a, b),
        (ScalarOp::Add, &[a, b]) => asm.ins().iadd(a, b),
        (ScalarOp::Sub, &[a, b]) if float => asm.ins().fsub(a, b),
        (ScalarOp::Sub, &[a, b]) => asm.ins().isub(a, b),
        (ScalarOp::Mul, &[a, b]) if float => asm.ins().fmul(a, b),
        (ScalarOp::Mul, &[a, b]) => asm.ins().imul(a, b),
        (ScalarOp::Div, &[a, b]) => asm.ins().fdiv(a, b),
        (ScalarOp::Neg, &[a]) if float => asm.ins().fneg(a),
        (ScalarOp::Neg, &[a]) => asm.ins().ineg(a),
        (ScalarOp::Abs, &[a]) if float => asm.ins().fabs(a),
        (ScalarOp::Abs, &[a]) => asm.ins().iabs(a),
        (ScalarOp::Sqrt, &[a]) => asm.ins().sqrt(a),
        // The instruction overwrites its first factor. Factors come older first, and the
        // younger is more often not needed again: the polynomial so far.
        (ScalarOp::Fma, &[a, b, c]) if asm.features.fma => asm.ins().fma(b, a, c),
        (ScalarOp::Floor, &[a]) if asm.features.round => asm.ins().floor(a),
        (ScalarOp::Ceil, &[a]) if asm.features.round => asm.ins().ceil(a),
        (ScalarOp::Trunc, &[a]) if asm.features.round => asm.ins().trunc(a),
        (ScalarOp::Nearest, &[a]) if asm.features.round => asm.ins().nearest(a),
        (
            ScalarOp::Fma | ScalarOp::Floor | ScalarOp::Ceil | ScalarOp::Trunc | ScalarOp::Nearest,
            args,
        ) => call(asm, op, to, args),
        (ScalarOp::And, &[a, b]) => asm.ins().band(a, b),
        (ScalarOp::Or, &[a, b]) => asm.ins().bor(a, b),
        (ScalarOp::Xor, &[a, b]) => asm.ins().bxor(a, b),
        (ScalarOp::Not, &[a]) if to == DType::Bool => {
            let one = asm.ins().iconst(types::I8, 1);
            asm.ins().bxor(a, one)
        }
        (ScalarOp::Not, &[a]) => asm.ins().bnot(a),
        (ScalarOp::Shl, &[a, b]) => asm.ins().ishl(a, b),
        (ScalarOp::ShrU, &[a, b]) => asm.ins().ushr(a, b),
        (ScalarOp::ShrS, &[a, b]) => asm.ins().sshr(a, b),
        (ScalarOp::Cmp(c), &[a, b]) => compare(asm, c, from, a, b),
        (ScalarOp::Select, &[c, a, b]) => asm.ins().select(c, a, b),
        (ScalarOp::Bitcast, &[a]) => asm.cast(clif_type(to), a),
        (ScalarOp::Convert, &[a]) => convert(asm, from, to, a),
        (op, args) => {
            unreachable!("{} takes {} operands, not {}", op.name(), op.arity(), args.len())
        }
    }
}

/// Comparison of scalars or vectors; `bool` scalars compare as integers.
pub(crate) fn compare(asm: &mut Asm, cmp: Cmp, of: DType, a: Value, b: Value) -> Value {
    if of.is_float() {
        // Written with "less" alone, which is what `min` and `max`
        // instructions are recognised by.
        let (cc, a, b) = match cmp {
            Cmp::Lt => (FloatCC::LessThan, a, b),
            Cmp::Le => (FloatCC::LessThanOrEqual, a, b),
            Cmp::Gt => (FloatCC::LessThan, b, a),
            Cmp::Ge => (FloatCC::LessThanOrEqual, b, a),
            Cmp::Eq => (FloatCC::Equal, a, b),
            Cmp::Ne => (FloatCC::NotEqual, a, b),
        };
        asm.ins().fcmp(cc, a, b)
    } else {
        let cc = match cmp {
            Cmp::Lt => IntCC::SignedLessThan,
            Cmp::Le => IntCC::SignedLessThanOrEqual,
            Cmp::Gt => IntCC::SignedGreaterThan,
            Cmp::Ge => IntCC::SignedGreaterThanOrEqual,
            Cmp::Eq => IntCC::Equal,
            Cmp::Ne => IntCC::NotEqual,
        };
        asm.ins().icmp(cc, a, b)
    }
}

fn convert(asm: &mut Asm, from: DType, to: DType, a: Value) -> Value {
    let ty = clif_type(to);
    match (from, to) {
        _ if from == to => a,
        (DType::F32, DType::F64) => asm.ins().fpromote(ty, a),
        (DType::F64, DType::F32) => asm.ins().fdemote(ty, a),
        (DType::F32 | DType::F64, _) => asm.ins().fcvt_to_sint_sat(ty, a),
        (DType::I32 | DType::I64, DType::F32 | DType::F64) => asm.ins().fcvt_from_sint(ty, a),
        (DType::I32, _) => asm.ins().sextend(ty, a),
        (DType::I64, _) => asm.ins().ireduce(ty, a),
        (DType::Bool, DType::F32 | DType::F64) => {
            let n = asm.ins().uextend(types::I32, a);
            asm.ins().fcvt_from_sint(ty, n)
        }
        (DType::Bool, _) => asm.ins().uextend(ty, a),
    }
}

/// What the processor has no instruction for.
fn call(asm: &mut Asm, op: ScalarOp, of: DType, args: &[Value]) -> Value {
    let single = of == DType::F32;
    let function = match op {
        ScalarOp::Fma if single => host::fma_f32 as *const (),
        ScalarOp::Fma => host::fma_f64 as *const (),
        ScalarOp::Floor if single => host::floor_f32 as *const (),
        ScalarOp::Floor => host::floor_f64 as *const (),
        ScalarOp::Ceil if single => host::ceil_f32 as *const (),
        ScalarOp::Ceil => host::ceil_f64 as *const (),
        ScalarOp::Trunc if single => host::trunc_f32 as *const (),
        ScalarOp::Trunc => host::trunc_f64 as *const (),
        ScalarOp::Nearest if single => host::nearest_f32 as *const (),
        ScalarOp::Nearest => host::nearest_f64 as *const (),
        _ => unreachable!("every processor has {}", op.name()),
    };
    asm.call_host(function, args, Some(clif_type(of))).expect("a result")
}

/// What a term makes of `old`, on scalars of type `of`.
pub(crate) fn take(asm: &mut Asm, term: Term<Value>, of: DType, old: Value) -> Value {
    match term {
        Term::One(op, x) => combine(asm, op, of, old, x),
        Term::Product([a, b]) => apply(asm, ScalarOp::Fma, of, of, &[a, b, old]),
    }
}

/// `a ⊕ b` on scalars of type `of`.
pub(crate) fn combine(asm: &mut Asm, op: Monoid, of: DType, a: Value, b: Value) -> Value {
    let float = of.is_float();
    match op {
        Monoid::Sum if float => asm.ins().fadd(a, b),
        Monoid::Sum => asm.ins().iadd(a, b),
        Monoid::Prod if float => asm.ins().fmul(a, b),
        Monoid::Prod => asm.ins().imul(a, b),
        Monoid::Max | Monoid::Min => {
            let cmp = if op == Monoid::Max { Cmp::Gt } else { Cmp::Lt };
            let wins = compare(asm, cmp, of, a, b);
            let best = asm.ins().select(wins, a, b);
            if !float {
                return best;
            }
            let nan = asm.ins().fcmp(FloatCC::Unordered, a, a);
            asm.ins().select(nan, a, best)
        }
        Monoid::Any => asm.ins().bor(a, b),
        Monoid::All => asm.ins().band(a, b),
    }
}
