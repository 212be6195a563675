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
//! A sum may take products ([`Term::Product`]): each iteration is then one fused
//! multiply-add, rounded once. Partial results are added like those of any sum.
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

mod constant;
mod monoid;
mod operation;
mod term;

use std::sync::Arc;

use smallvec::SmallVec;

pub use self::constant::Const;
pub use self::monoid::Monoid;
pub use self::operation::{Cmp, ScalarOp};
pub use self::term::Term;
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
    /// `param[at] = param[at] ⊕ value`, or `param[at] + a · b`. In a vector or parallel
    /// loop, different iterations touch different elements.
    Accumulate {
        /// The array.
        param: Param,
        /// The element.
        at: At,
        /// What is combined into it.
        term: Term,
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
    /// What each iteration contributes: of variables visible in the loop's body.
    pub term: Term,
}
