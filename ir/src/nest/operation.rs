//! What is done to scalars: the operations that machines have.

use super::Const;

/// A comparison. On floats all are false on NaN but `Ne`, which is true.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cmp {
    /// `a < b`
    Lt,
    /// `a <= b`
    Le,
    /// `a > b`
    Gt,
    /// `a >= b`
    Ge,
    /// `a == b`
    Eq,
    /// `a != b`
    Ne,
}

impl Cmp {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Lt, Self::Le, Self::Gt, Self::Ge, Self::Eq, Self::Ne];

    /// Its name in text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::Eq => "eq",
            Self::Ne => "ne",
        }
    }
}

/// One machine-level operation on scalars. Operands have the type of the
/// result unless said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ScalarOp {
    /// A constant. No operands.
    Const(Const),
    /// `a + b`; integers wrap.
    Add,
    /// `a - b`; integers wrap.
    Sub,
    /// `a · b`; integers wrap.
    Mul,
    /// `a / b`; floats only.
    Div,
    /// `-a`: on floats the sign bit flips.
    Neg,
    /// `|a|`: on floats the sign bit is cleared; integers wrap.
    Abs,
    /// Square root; floats only.
    Sqrt,
    /// `a · b + c`, rounded once; floats only.
    Fma,
    /// Towards -∞; floats only.
    Floor,
    /// Towards +∞; floats only.
    Ceil,
    /// Towards 0; floats only.
    Trunc,
    /// To the nearest, ties to even; floats only.
    Nearest,
    /// Bitwise; integers and booleans.
    And,
    /// Bitwise; integers and booleans.
    Or,
    /// Bitwise; integers and booleans.
    Xor,
    /// Bitwise on integers, logical on booleans.
    Not,
    /// `a << b`, `b` modulo the width; integers.
    Shl,
    /// `a >> b` filling with zeros, `b` modulo the width; integers.
    ShrU,
    /// `a >> b` filling with the sign, `b` modulo the width; integers.
    ShrS,
    /// A comparison of two numbers (or booleans, `Eq` and `Ne` only); the
    /// result is `bool`.
    Cmp(Cmp),
    /// `if a { b } else { c }`; `a` is `bool`.
    Select,
    /// The same bits as the result's type, which has the same size.
    Bitcast,
    /// The same number in the result's type. Float to integer truncates,
    /// saturates, and takes NaN to 0; `bool` becomes 0 or 1. Not to `bool`.
    Convert,
}

impl ScalarOp {
    /// All of them but constants.
    pub const ALL: [Self; 28] = [
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::Neg,
        Self::Abs,
        Self::Sqrt,
        Self::Fma,
        Self::Floor,
        Self::Ceil,
        Self::Trunc,
        Self::Nearest,
        Self::And,
        Self::Or,
        Self::Xor,
        Self::Not,
        Self::Shl,
        Self::ShrU,
        Self::ShrS,
        Self::Cmp(Cmp::Lt),
        Self::Cmp(Cmp::Le),
        Self::Cmp(Cmp::Gt),
        Self::Cmp(Cmp::Ge),
        Self::Cmp(Cmp::Eq),
        Self::Cmp(Cmp::Ne),
        Self::Select,
        Self::Bitcast,
        Self::Convert,
    ];

    /// Its name in text; constants and comparisons print more.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Const(_) => "const",
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Div => "div",
            Self::Neg => "neg",
            Self::Abs => "abs",
            Self::Sqrt => "sqrt",
            Self::Fma => "fma",
            Self::Floor => "floor",
            Self::Ceil => "ceil",
            Self::Trunc => "trunc",
            Self::Nearest => "nearest",
            Self::And => "and",
            Self::Or => "or",
            Self::Xor => "xor",
            Self::Not => "not",
            Self::Shl => "shl",
            Self::ShrU => "shru",
            Self::ShrS => "shrs",
            Self::Cmp(c) => c.name(),
            Self::Select => "select",
            Self::Bitcast => "bitcast",
            Self::Convert => "convert",
        }
    }

    /// Number of operands.
    pub const fn arity(self) -> usize {
        match self {
            Self::Const(_) => 0,
            Self::Neg
            | Self::Abs
            | Self::Sqrt
            | Self::Floor
            | Self::Ceil
            | Self::Trunc
            | Self::Nearest
            | Self::Not
            | Self::Bitcast
            | Self::Convert => 1,
            Self::Fma | Self::Select => 3,
            _ => 2,
        }
    }
}
