//! Operations on four elements at a time.
//!
//! A *group* is four consecutive iterations of a vector loop. Its values of a
//! 32-bit type fill one 128-bit vector, those of a 64-bit type two. A `bool` is
//! a mask, all ones or all zeros per lane, as wide as the comparison made it;
//! it is widened or narrowed where an operation on the other width asks for it.

use backstitch_ir::DType;
use backstitch_ir::nest::{Cmp, Const, Monoid, ScalarOp, Term};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};

use crate::asm::{Addr, Asm, Memory};
use crate::scalar;

/// Elements in a group.
pub(crate) const GROUP: usize = 4;

/// The four values of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lanes {
    /// 32 bits each.
    One(Value),
    /// 64 bits each.
    Two([Value; 2]),
}

impl Lanes {
    pub fn map(self, mut f: impl FnMut(Value) -> Value) -> Self {
        match self {
            Self::One(a) => Self::One(f(a)),
            Self::Two([a, b]) => Self::Two([f(a), f(b)]),
        }
    }

    pub fn zip(self, other: Self, mut f: impl FnMut(Value, Value) -> Value) -> Self {
        match (self, other) {
            (Self::One(a), Self::One(b)) => Self::One(f(a, b)),
            (Self::Two([a0, a1]), Self::Two([b0, b1])) => Self::Two([f(a0, b0), f(a1, b1)]),
            _ => unreachable!("operands of one width"),
        }
    }

    pub fn zip3(self, b: Self, c: Self, mut f: impl FnMut(Value, Value, Value) -> Value) -> Self {
        match (self, b, c) {
            (Self::One(a), Self::One(b), Self::One(c)) => Self::One(f(a, b, c)),
            (Self::Two(a), Self::Two(b), Self::Two(c)) => {
                Self::Two([f(a[0], b[0], c[0]), f(a[1], b[1], c[1])])
            }
            _ => unreachable!("operands of one width"),
        }
    }

    /// The vectors.
    pub fn parts(&self) -> &[Value] {
        match self {
            Self::One(a) => std::slice::from_ref(a),
            Self::Two(parts) => parts,
        }
    }

    /// From as many vectors as the width takes.
    pub fn from_parts(parts: &[Value]) -> Self {
        match *parts {
            [a] => Self::One(a),
            [a, b] => Self::Two([a, b]),
            _ => unreachable!("a group is one vector or two"),
        }
    }

    /// Whether lanes have 64 bits.
    pub fn is_wide(self) -> bool {
        matches!(self, Self::Two(_))
    }
}

/// The type of one vector of a group. A `bool` counts as a narrow mask.
pub(crate) fn vector_type(dtype: DType) -> Type {
    match dtype {
        DType::F32 => types::F32X4,
        DType::F64 => types::F64X2,
        DType::I32 | DType::Bool => types::I32X4,
        DType::I64 => types::I64X2,
    }
}

fn mask_type(wide: bool) -> Type {
    if wide { types::I64X2 } else { types::I32X4 }
}

/// Whether a group of these takes two vectors.
pub(crate) fn is_wide(dtype: DType) -> bool {
    dtype.size() == 8
}

fn build(wide: bool, mut part: impl FnMut(usize) -> Value) -> Lanes {
    if wide { Lanes::Two([part(0), part(1)]) } else { Lanes::One(part(0)) }
}

/// The same scalar in all lanes. `wide` is for masks alone.
pub(crate) fn splat(asm: &mut Asm, dtype: DType, wide: bool, x: Value) -> Lanes {
    let (ty, x, wide) = match dtype {
        DType::Bool => {
            let ty = mask_type(wide);
            let n = asm.ins().uextend(ty.lane_type(), x);
            (ty, asm.ins().ineg(n), wide)
        }
        _ => (vector_type(dtype), x, is_wide(dtype)),
    };
    let v = asm.ins().splat(ty, x);
    build(wide, |_| v)
}

/// The same constant in all lanes. `wide` is for masks alone.
pub(crate) fn constant(asm: &mut Asm, c: Const, wide: bool) -> Lanes {
    let (ty, wide, bits) = match c.dtype {
        DType::Bool => (mask_type(wide), wide, if c.bits == 0 { 0 } else { u64::MAX }),
        d => (vector_type(d), is_wide(d), c.bits),
    };
    let v = pattern(asm, ty, |_| bits);
    build(wide, |_| v)
}

/// A vector of these lanes.
fn pattern(asm: &mut Asm, ty: Type, bits: impl Fn(usize) -> u64) -> Value {
    let size = ty.lane_type().bytes() as usize;
    let mut bytes = [0; 16];
    for (i, lane) in bytes.chunks_exact_mut(size).enumerate() {
        lane.copy_from_slice(&bits(i).to_le_bytes()[..size]);
    }
    asm.vector_constant(ty, bytes)
}

/// `first, first + 1, …` as `i64`.
pub(crate) fn iota(asm: &mut Asm, first: Value) -> Lanes {
    let base = asm.ins().splat(types::I64X2, first);
    build(true, |part| {
        let steps = pattern(asm, types::I64X2, |lane| (2 * part + lane) as u64);
        asm.ins().iadd(base, steps)
    })
}

// ---- Lanes and scalars ----

/// The scalar in lane `i`.
pub(crate) fn extract(asm: &mut Asm, dtype: DType, x: Lanes, i: usize) -> Value {
    let (v, lane) = match x {
        Lanes::One(v) => (v, i),
        Lanes::Two(parts) => (parts[i / 2], i % 2),
    };
    let lane = asm.ins().extractlane(v, lane as u8);
    if dtype == DType::Bool { unmask(asm, lane) } else { lane }
}

/// 0 or 1 from a mask of one lane.
pub(crate) fn unmask(asm: &mut Asm, mask: Value) -> Value {
    let byte = asm.ins().ireduce(types::I8, mask);
    let one = asm.ins().iconst(types::I8, 1);
    asm.ins().band(byte, one)
}

/// The group of four scalars.
pub(crate) fn gather(asm: &mut Asm, dtype: DType, xs: [Value; GROUP]) -> Lanes {
    if dtype == DType::Bool {
        let ints = xs.map(|x| asm.ins().uextend(types::I32, x));
        let ints = gather(asm, DType::I32, ints);
        return nonzero(asm, ints);
    }
    let ty = vector_type(dtype);
    let per = ty.lane_count() as usize;
    build(is_wide(dtype), |part| {
        let xs = &xs[part * per..][..per];
        let first = asm.ins().scalar_to_vector(ty, xs[0]);
        (1..per).fold(first, |v, i| asm.ins().insertlane(v, xs[i], i as u8))
    })
}

/// The group with lane `i` replaced.
pub(crate) fn insert(asm: &mut Asm, x: Lanes, i: usize, scalar: Value) -> Lanes {
    match x {
        Lanes::One(v) => Lanes::One(asm.ins().insertlane(v, scalar, i as u8)),
        Lanes::Two(mut parts) => {
            parts[i / 2] = asm.ins().insertlane(parts[i / 2], scalar, (i % 2) as u8);
            Lanes::Two(parts)
        }
    }
}

/// A mask from lanes that are 0 or 1.
fn nonzero(asm: &mut Asm, x: Lanes) -> Lanes {
    x.map(|v| {
        let zero = asm.vector_constant(types::I32X4, [0; 16]);
        asm.ins().icmp(IntCC::SignedGreaterThan, v, zero)
    })
}

// ---- Memory ----

/// Four consecutive elements.
pub(crate) fn load(asm: &mut Asm, dtype: DType, at: Addr, memory: Memory) -> Lanes {
    if dtype == DType::Bool {
        let four = asm.load(types::I32, at, memory);
        let v = asm.ins().scalar_to_vector(types::I32X4, four);
        let v = asm.cast(types::I8X16, v);
        let v = asm.ins().uwiden_low(v);
        let v = asm.ins().uwiden_low(v);
        return nonzero(asm, Lanes::One(v));
    }
    load_vectors(asm, dtype, at, memory)
}

/// A group as it is in registers; masks are narrow.
pub(crate) fn load_vectors(asm: &mut Asm, dtype: DType, at: Addr, memory: Memory) -> Lanes {
    build(is_wide(dtype), |part| asm.load(vector_type(dtype), at.plus(16 * part as i64), memory))
}

/// Four consecutive elements; masks are narrow.
pub(crate) fn store(asm: &mut Asm, dtype: DType, x: Lanes, at: Addr) {
    if dtype == DType::Bool {
        let Lanes::One(v) = x else { unreachable!("a narrow mask") };
        let v = asm.ins().snarrow(v, v);
        let v = asm.ins().snarrow(v, v);
        let v = asm.cast(types::I32X4, v);
        let four = asm.ins().extractlane(v, 0);
        let ones = asm.ins().iconst(types::I32, 0x0101_0101);
        let bytes = asm.ins().band(four, ones);
        return asm.store(bytes, at);
    }
    for (part, &v) in x.parts().iter().enumerate() {
        asm.store(v, at.plus(16 * part as i64));
    }
}

// ---- Masks ----

/// The mask with lanes of the other width, if it has not that width already.
pub(crate) fn mask_of_width(asm: &mut Asm, mask: Lanes, wide: bool) -> Lanes {
    match mask {
        Lanes::One(v) if wide => Lanes::Two([asm.ins().swiden_low(v), asm.ins().swiden_high(v)]),
        Lanes::Two([a, b]) if !wide => Lanes::One(low_halves(asm, types::I32X4, a, b)),
        mask => mask,
    }
}

/// The lower half of each 64-bit lane.
fn low_halves(asm: &mut Asm, ty: Type, a: Value, b: Value) -> Value {
    asm.shuffle(ty, a, b, [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27])
}

/// The upper two of four 32-bit lanes, moved down.
pub(crate) fn high_pair(asm: &mut Asm, ty: Type, x: Value) -> Value {
    asm.shuffle(ty, x, x, [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15])
}

fn invert(asm: &mut Asm, mask: Lanes) -> Lanes {
    mask.map(|v| asm.ins().bnot(v))
}

/// `a == b` or `a != b` of masks of one width.
pub(crate) fn compare_masks(asm: &mut Asm, cmp: Cmp, a: Lanes, b: Lanes) -> Lanes {
    let differ = a.zip(b, |a, b| asm.ins().bxor(a, b));
    if cmp == Cmp::Ne { differ } else { invert(asm, differ) }
}

/// `mask ? a : b`, where all have one width.
pub(crate) fn select(asm: &mut Asm, mask: Lanes, a: Lanes, b: Lanes) -> Lanes {
    mask.zip3(a, b, |mask, a, b| select_part(asm, mask, a, b))
}

fn select_part(asm: &mut Asm, mask: Value, a: Value, b: Value) -> Value {
    let ty = asm.func().dfg.value_type(a);
    let int = asm.func().dfg.value_type(mask);
    let (a, b) = (asm.cast(int, a), asm.cast(int, b));
    let out = if asm.features.blend {
        asm.ins().blendv(mask, a, b)
    } else {
        asm.ins().bitselect(mask, a, b)
    };
    asm.cast(ty, out)
}

/// `mask ? 0 : a`, where both have one width.
pub(crate) fn without(asm: &mut Asm, mask: Lanes, a: Lanes) -> Lanes {
    mask.zip(a, |mask, a| {
        let (ty, int) = (asm.func().dfg.value_type(a), asm.func().dfg.value_type(mask));
        let bits = asm.cast(int, a);
        let kept = asm.ins().band_not(bits, mask);
        asm.cast(ty, kept)
    })
}

/// `x < y ? a : b` on floats where `{a, b} = {x, y}`: one `min` or `max`
/// instruction, recognised by its shape.
pub(crate) fn select_less(asm: &mut Asm, x: Lanes, y: Lanes, a: Lanes, b: Lanes) -> Lanes {
    let less = x.zip(y, |x, y| {
        let ty = asm.func().dfg.value_type(x);
        let mask = asm.ins().fcmp(FloatCC::LessThan, x, y);
        asm.cast(ty, mask)
    });
    less.zip3(a, b, |mask, a, b| asm.ins().bitselect(mask, a, b))
}

// ---- Arithmetic ----

/// The element-wise operations that need nothing but their operands: `op args`
/// with operands of type `from`. `None` where there is no vector form, and for
/// the operations on masks, shifts and selections, which are done elsewhere.
pub(crate) fn apply(
    asm: &mut Asm,
    op: ScalarOp,
    from: DType,
    to: DType,
    args: &[Lanes],
) -> Option<Lanes> {
    let each = |asm: &mut Asm| match *args {
        [a] => a.map(|a| scalar::apply(asm, op, from, to, &[a])),
        [a, b] => a.zip(b, |a, b| scalar::apply(asm, op, from, to, &[a, b])),
        [a, b, c] => a.zip3(b, c, |a, b, c| scalar::apply(asm, op, from, to, &[a, b, c])),
        _ => unreachable!("one to three operands"),
    };
    Some(match op {
        ScalarOp::Add
        | ScalarOp::Sub
        | ScalarOp::Mul
        | ScalarOp::Div
        | ScalarOp::Neg
        | ScalarOp::Abs
        | ScalarOp::Sqrt
        | ScalarOp::And
        | ScalarOp::Or
        | ScalarOp::Xor
        | ScalarOp::Cmp(_) => each(asm),
        ScalarOp::Not if to == DType::Bool => invert(asm, args[0]),
        ScalarOp::Not => each(asm),
        ScalarOp::Fma if asm.features.fma => each(asm),
        ScalarOp::Floor | ScalarOp::Ceil | ScalarOp::Trunc | ScalarOp::Nearest
            if asm.features.round =>
        {
            each(asm)
        }
        ScalarOp::Bitcast if from == to => args[0],
        ScalarOp::Bitcast => args[0].map(|a| asm.cast(vector_type(to), a)),
        ScalarOp::Convert => return convert(asm, from, to, args[0]),
        _ => return None,
    })
}

fn convert(asm: &mut Asm, from: DType, to: DType, x: Lanes) -> Option<Lanes> {
    Some(match (from, to, x) {
        _ if from == to => x,
        (DType::F32, DType::F64, Lanes::One(v)) => {
            let high = high_pair(asm, types::F32X4, v);
            Lanes::Two([asm.ins().fvpromote_low(v), asm.ins().fvpromote_low(high)])
        }
        (DType::F64, DType::F32, Lanes::Two([a, b])) => {
            let (a, b) = (asm.ins().fvdemote(a), asm.ins().fvdemote(b));
            let low = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];
            Lanes::One(asm.shuffle(types::F32X4, a, b, low))
        }
        (DType::F32, DType::I32, Lanes::One(v)) => {
            Lanes::One(asm.ins().fcvt_to_sint_sat(types::I32X4, v))
        }
        (DType::I32, DType::F32, Lanes::One(v)) => {
            Lanes::One(asm.ins().fcvt_from_sint(types::F32X4, v))
        }
        (DType::I32, DType::F64, Lanes::One(v)) => {
            let high = high_pair(asm, types::I32X4, v);
            Lanes::Two([v, high].map(|v| {
                let v = asm.ins().swiden_low(v);
                asm.ins().fcvt_from_sint(types::F64X2, v)
            }))
        }
        (DType::I32, DType::I64, Lanes::One(v)) => {
            Lanes::Two([asm.ins().swiden_low(v), asm.ins().swiden_high(v)])
        }
        (DType::I64, DType::F64, x) => x.map(|v| asm.ins().fcvt_from_sint(types::F64X2, v)),
        (DType::I64, DType::I32, Lanes::Two([a, b])) => {
            Lanes::One(low_halves(asm, types::I32X4, a, b))
        }
        (DType::Bool, _, mask) => {
            let mask = mask_of_width(asm, mask, is_wide(to));
            let one = constant(asm, Const::of_int(to, 1), false);
            let ty = vector_type(to);
            mask.zip(one, |m, one| {
                let m = asm.cast(ty, m);
                asm.ins().band(m, one)
            })
        }
        _ => return None,
    })
}

/// What a term makes of `old`, on groups of type `of`; masks of one width.
pub(crate) fn take(asm: &mut Asm, term: Term<Lanes>, of: DType, old: Lanes) -> Lanes {
    match term {
        Term::One(op, x) => combine(asm, op, of, old, x),
        Term::Product([a, b]) => {
            apply(asm, ScalarOp::Fma, of, of, &[a, b, old]).unwrap_or_else(|| {
                let each = [0, 1, 2, 3].map(|i| {
                    let args = [a, b, old].map(|x| extract(asm, of, x, i));
                    scalar::apply(asm, ScalarOp::Fma, of, of, &args)
                });
                gather(asm, of, each)
            })
        }
    }
}

/// `a ⊕ b` on groups of type `of`; masks of one width.
pub(crate) fn combine(asm: &mut Asm, op: Monoid, of: DType, a: Lanes, b: Lanes) -> Lanes {
    match (op, of) {
        (Monoid::Max | Monoid::Min, DType::F32 | DType::F64) => {
            let best = if op == Monoid::Max {
                select_less(asm, b, a, a, b)
            } else {
                select_less(asm, a, b, a, b)
            };
            // All ones where `a` is NaN: that is a NaN, and cheaper than to select `a`.
            a.zip(best, |a, best| {
                let nan = asm.ins().fcmp(FloatCC::Unordered, a, a);
                let (of, int) = (asm.func().dfg.value_type(a), asm.func().dfg.value_type(nan));
                let bits = asm.cast(int, best);
                let bits = asm.ins().bor(bits, nan);
                asm.cast(of, bits)
            })
        }
        (Monoid::Max, DType::I32) => a.zip(b, |a, b| asm.ins().smax(a, b)),
        (Monoid::Min, DType::I32) => a.zip(b, |a, b| asm.ins().smin(a, b)),
        (Monoid::Max | Monoid::Min, _) => {
            let cmp = if op == Monoid::Max { Cmp::Gt } else { Cmp::Lt };
            let wins = a.zip(b, |a, b| scalar::compare(asm, cmp, of, a, b));
            select(asm, wins, a, b)
        }
        _ => a.zip(b, |a, b| scalar::combine(asm, op, of, a, b)),
    }
}
