//! The loop language: one kernel as a tree of loops over axes.
//!
//! A [`Nest`] computes on *parameters* (flat, row-major arrays bound to buffers
//! when the plan runs it) with scalar *variables*. A variable is defined once,
//! has one type, and is visible from its definition to the end of the block
//! that defines it, and in the blocks inside. Memory is touched by `Load`,
//! `Store` and `Accumulate` alone.
//!
//! # What a loop means
//!
//! A loop runs its axis over its range. Sequential loops run in order; the
//! iterations of a parallel loop may run in any order and on any thread; the
//! iterations of a vector loop are independent and its body has no loop inside,
//! so that a back end may run several at once.
//!
//! A loop may carry accumulators. The result does not depend on the back end,
//! because the order of combination is part of the nest:
//!
//! * a sequential or parallel loop starts at the identity and combines on the
//!   right, in iteration order (a parallel loop carries none);
//! * a vector loop with `lanes = w` keeps `w` partial results, each starting at
//!   the identity. The `t`-th iteration of the range (counted from 0) is
//!   combined into partial result `t mod w`. At the end, for `s = w/2, w/4, …,
//!   1`, partial `j` is combined with partial `j + s` for all `j < s`; partial
//!   0 is the result.
//!
//! A sequential loop may also carry variables from one iteration to the next: for
//! recurrences whose every step is wanted, such as running sums.
//!
//! # What a call means
//!
//! The same as if the operations of the function stood there: so long straight-line
//! programs need not repeat them. Calls are outside loops, where one takes little beside
//! all else that is done once.
//!
//! # What an operation means
//!
//! Each [`ScalarOp`] is one IEEE 754 or two's-complement operation, rounded to
//! nearest even: an interpreter and machine code give the same bits. Functions
//! such as `exp` have been written out in these operations before.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::define_index;
use crate::index::IndexVec;
use crate::ty::DType;

define_index! {
    /// A loop axis of a nest.
    Axis, "i";
    /// A scalar variable of a nest.
    Var, "v";
    /// An array parameter of a nest.
    Param, "p";
    /// A function that a nest calls.
    Func, "f";
}

/// One kernel.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Nest {
    /// Its name in text and in profiles.
    pub name: String,
    /// The arrays it reads and writes.
    pub params: IndexVec<Param, ParamDecl>,
    /// Extent of each axis.
    pub axes: IndexVec<Axis, usize>,
    /// The functions it calls.
    pub funcs: IndexVec<Func, Arc<FuncDecl>>,
    /// Type of each variable.
    pub vars: IndexVec<Var, DType>,
    /// What it does.
    pub body: Vec<Stmt>,
}

/// A function of scalars, written out in operations.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FuncDecl {
    /// Its name in text and in profiles.
    pub name: String,
    /// How many parameters it has: its first variables.
    pub params: usize,
    /// Type of each variable.
    pub vars: IndexVec<Var, DType>,
    /// What it does: [`Stmt::Let`] alone.
    pub body: Vec<Stmt>,
    /// What it gives: one of its variables.
    pub result: Var,
}

/// An array parameter.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ParamDecl {
    /// Element type.
    pub dtype: DType,
    /// Number of elements that may be touched, from 0.
    pub len: usize,
    /// How it is used.
    pub access: Access,
}

/// How a nest uses a parameter. Parameters that are written alias no other, but that one
/// that is stored to may take the place of one that is read for the last time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// Only read.
    In,
    /// Only read, and nobody reads it afterwards: an [`Out`](Self::Out) parameter may lie
    /// where this one lies, if no element is read once something has been stored there.
    Last,
    /// Stored to; what it held before does not matter. An element may be read
    /// after it was stored.
    Out,
    /// Read and stored; what it held before matters.
    InOut,
}

impl Access {
    /// Whether what it held before matters.
    pub const fn reads(self) -> bool {
        !matches!(self, Self::Out)
    }

    /// Whether it is stored to.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Out | Self::InOut)
    }
}

/// An element of a parameter: `offset + Σ stride·axis + index`, in elements.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct At {
    /// The constant part.
    pub offset: i64,
    /// The affine part; no axis twice, no stride 0.
    pub strides: SmallVec<[(Axis, i64); 4]>,
    /// The part known only at run time: an `i64` variable. Whoever made the
    /// nest has clamped it so that the element is inside the parameter.
    pub index: Option<Var>,
}

impl At {
    /// How far the element moves when `axis` moves by one.
    pub fn stride(&self, axis: Axis) -> i64 {
        self.strides.iter().find(|s| s.0 == axis).map_or(0, |s| s.1)
    }
}

/// A statement.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Stmt {
    /// `var = op args`.
    Let {
        /// What is defined.
        var: Var,
        /// The operation.
        op: ScalarOp,
        /// Its operands.
        args: SmallVec<[Var; 3]>,
    },
    /// `var = func(args)`. Outside loops.
    Call {
        /// What is defined.
        var: Var,
        /// The function.
        func: Func,
        /// Its operands.
        args: SmallVec<[Var; 3]>,
    },
    /// `var = ` the current value of `axis`, as `i64`.
    Index {
        /// What is defined.
        var: Var,
        /// An axis of an enclosing loop.
        axis: Axis,
    },
    /// `var = param[at]`.
    Load {
        /// What is defined.
        var: Var,
        /// The array.
        param: Param,
        /// The element.
        at: At,
    },
    /// `param[at] = value`.
    Store {
        /// The array.
        param: Param,
        /// The element.
        at: At,
        /// The value.
        value: Var,
    },
    /// `param[at] = param[at] ⊕ value`. In a vector or parallel loop, different
    /// iterations touch different elements.
    Accumulate {
        /// The array.
        param: Param,
        /// The element.
        at: At,
        /// The combination.
        op: Monoid,
        /// The value.
        value: Var,
    },
    /// A loop.
    For(Box<For>),
}

/// A loop over one axis.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct For {
    /// The axis. No enclosing loop runs over it.
    pub axis: Axis,
    /// Which part of it.
    pub range: Range,
    /// In which manner.
    pub mode: Mode,
    /// Variables handed from one iteration to the next; sequential loops only.
    pub carries: Vec<Carry>,
    /// Reductions over the iterations.
    pub accs: Vec<Acc>,
    /// What each iteration does.
    pub body: Vec<Stmt>,
}

/// Which part of its axis a loop runs over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Range {
    /// From 0 to the extent.
    Whole,
    /// From `of·size` to `min(extent, (of + 1)·size)`, where `of` is the axis of
    /// an enclosing loop over the chunks.
    Chunk {
        /// The axis that counts chunks.
        of: Axis,
        /// Iterations per chunk.
        size: usize,
    },
}

/// The manner of a loop.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// In order.
    Sequential,
    /// In any order, on any thread. Nothing is carried.
    Parallel,
    /// Independent iterations, no loop inside.
    Vector {
        /// Partial results per accumulator, a power of two.
        lanes: usize,
    },
}

/// A variable that each iteration of a loop hands on to the next.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Carry {
    /// What it is called in the loop's body; not visible after the loop.
    pub var: Var,
    /// Its value in the first iteration: a variable visible before the loop.
    pub init: Var,
    /// Its value in the next iteration: a variable visible in the loop's body. All
    /// carried variables change at once.
    pub next: Var,
}

/// A reduction carried by a loop.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Acc {
    /// The result; visible after the loop, not inside.
    pub result: Var,
    /// The combination.
    pub op: Monoid,
    /// What each iteration contributes: a variable visible in the loop's body.
    pub value: Var,
}

/// An associative combination with an identity.
///
/// `Max` and `Min` propagate NaN: `max(a, b)` is `a` if `a > b` or `a` is NaN,
/// and `b` otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Monoid {
    /// `a + b`; numbers.
    Sum,
    /// `a · b`; numbers.
    Prod,
    /// The larger; numbers.
    Max,
    /// The smaller; numbers.
    Min,
    /// Either; booleans.
    Any,
    /// Both; booleans.
    All,
}

impl Monoid {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Sum, Self::Prod, Self::Max, Self::Min, Self::Any, Self::All];

    /// Its name in text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Prod => "prod",
            Self::Max => "max",
            Self::Min => "min",
            Self::Any => "any",
            Self::All => "all",
        }
    }

    /// The combination of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }

    /// Whether it combines elements of this type.
    pub const fn takes(self, dtype: DType) -> bool {
        matches!(self, Self::Any | Self::All) == matches!(dtype, DType::Bool)
    }

    /// What changes nothing: the result over no element at all.
    pub fn identity(self, dtype: DType) -> Const {
        let least = match dtype {
            DType::I32 => Const::of_int(dtype, i32::MIN.into()),
            DType::I64 => Const::of_int(dtype, i64::MIN),
            _ => Const::of_float(dtype, f64::NEG_INFINITY),
        };
        let greatest = match dtype {
            DType::I32 => Const::of_int(dtype, i32::MAX.into()),
            DType::I64 => Const::of_int(dtype, i64::MAX),
            _ => Const::of_float(dtype, f64::INFINITY),
        };
        match self {
            Self::Sum | Self::Any => Const { dtype, bits: 0 },
            Self::Prod | Self::All => Const::of_int(dtype, 1),
            Self::Max => least,
            Self::Min => greatest,
        }
    }
}

/// A scalar constant: its type and its bits, in the low bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Const {
    /// Its type.
    pub dtype: DType,
    /// Its bits. For `i32` the upper half is zero.
    pub bits: u64,
}

impl Const {
    /// The constant nearest to `x`; integers truncate and saturate, booleans
    /// are `x != 0`.
    pub fn of_float(dtype: DType, x: f64) -> Self {
        let bits = match dtype {
            DType::F32 => u64::from((x as f32).to_bits()),
            DType::F64 => x.to_bits(),
            DType::I32 => u64::from(x as i32 as u32),
            DType::I64 => x as i64 as u64,
            DType::Bool => u64::from(x != 0.0),
        };
        Self { dtype, bits }
    }

    /// The constant nearest to `n`; `i32` wraps, booleans are `n != 0`.
    pub fn of_int(dtype: DType, n: i64) -> Self {
        let bits = match dtype {
            DType::F32 => u64::from((n as f32).to_bits()),
            DType::F64 => (n as f64).to_bits(),
            DType::I32 => u64::from(n as i32 as u32),
            DType::I64 => n as u64,
            DType::Bool => u64::from(n != 0),
        };
        Self { dtype, bits }
    }

    /// Its value as a float; exact but for large `i64`.
    pub fn to_f64(self) -> f64 {
        match self.dtype {
            DType::F32 => f32::from_bits(self.bits as u32).into(),
            DType::F64 => f64::from_bits(self.bits),
            DType::I32 => (self.bits as u32 as i32).into(),
            DType::I64 => self.bits as i64 as f64,
            DType::Bool => f64::from(self.bits != 0),
        }
    }
}

impl fmt::Display for Const {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            DType::F32 => write!(f, "{:?}", f32::from_bits(self.bits as u32)),
            DType::F64 => write!(f, "{:?}", f64::from_bits(self.bits)),
            DType::I32 => write!(f, "{}", self.bits as u32 as i32),
            DType::I64 => write!(f, "{}", self.bits as i64),
            DType::Bool => write!(f, "{}", self.bits != 0),
        }
    }
}

impl fmt::Debug for Const {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}:{}", self.dtype)
    }
}

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
