//! Comparisons, bits, whole division, choices.

#![expect(clippy::bool_comparison, reason = "one expression serves all types, booleans too")]

use super::{SMOOTH_FLOAT, bitwise, comparison, discrete};
use crate::array::Array;
use crate::range::Range;
use crate::scalar::Partial::{Where, WhereNot};
use crate::scalar::eval::{bits, compare, ints, map2, select};
use crate::scalar::{Def, Eval, Partial, Signature};

pub(super) static LT: Def = comparison("lt", compare!(x, y => x < y));

pub(super) static LE: Def = comparison("le", compare!(x, y => x <= y));

pub(super) static GT: Def = comparison("gt", compare!(x, y => x > y));

pub(super) static GE: Def = comparison("ge", compare!(x, y => x >= y));

pub(super) static EQ: Def = comparison("eq", compare!(x, y => x == y));

pub(super) static NE: Def = comparison("ne", compare!(x, y => x != y));

pub(super) static AND: Def = bitwise("and", 2, bits!(x, y => x & y, x & y));

pub(super) static OR: Def = bitwise("or", 2, bits!(x, y => x | y, x | y));

pub(super) static XOR: Def = bitwise("xor", 2, bits!(x, y => x ^ y, x ^ y));

pub(super) static NOT: Def = bitwise("not", 1, bits!(x => !x, !x));

pub(super) static SHL: Def = {
    let eval: Eval = |a| match a[0] {
        Array::I32(v) => map2(v, a[1], |x: i32, n| x.wrapping_shl(n as u32)),
        Array::I64(v) => map2(v, a[1], |x: i64, n| x.wrapping_shl(n as u32)),
        _ => unreachable!("map: operands were type-checked"),
    };
    discrete("shl", 2, Signature::Int, eval, |_| Range::FINITE)
};

pub(super) static SHR: Def = {
    let eval: Eval = |a| match a[0] {
        Array::I32(v) => map2(v, a[1], |x: i32, n| (x as u32).wrapping_shr(n as u32) as i32),
        Array::I64(v) => map2(v, a[1], |x: i64, n| (x as u64).wrapping_shr(n as u32) as i64),
        _ => unreachable!("map: operands were type-checked"),
    };
    discrete("shr", 2, Signature::Int, eval, |_| Range::FINITE)
};

pub(super) static QUOT: Def = {
    let eval: Eval = ints!(x, y => if y == 0 { 0 } else { x.wrapping_div(y) });
    discrete("quot", 2, Signature::Int, eval, |_| Range::FINITE)
};

pub(super) static REM: Def = {
    let eval: Eval = ints!(x, y => if y == 0 { 0 } else { x.wrapping_rem(y) });
    discrete("rem", 2, Signature::Int, eval, |_| Range::FINITE)
};

pub(super) static SELECT: Def = Def {
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
};
