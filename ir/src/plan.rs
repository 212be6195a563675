//! The schedule: kernels, library calls, loops and branches in order, with all
//! memory placed.
//!
//! A [`Plan`] is what a device gets. It names no tensor operation; every shape,
//! type and address is decided. Buffers are flat arrays; those of the arena have
//! an offset, and two whose lifetimes overlap do not overlap in memory.
//!
//! # Stacks
//!
//! A loop of unknown length leaves what its reverse needs on a *stack*. A stack
//! value is a handle, a buffer of three `i64`: which *store* (a growable array of
//! entries in the workspace), at which of its entries the stack begins, and how many
//! there are. `Open` makes an empty stack at the end of its store, `Push`
//! appends an entry to the store and counts it, `Pop` reads the last entry and
//! uncounts it **without removing it from the store**: a copy of a handle can
//! be popped again. Stores are emptied when a call begins. Entries of one stack
//! are contiguous because between its `Open` and its last `Push` nothing else is
//! pushed to the same store. A handle is itself data of 24 bytes and can be
//! pushed on another stack, which is how loops inside loops work.

use crate::array::Array;
use crate::define_index;
use crate::index::IndexVec;
use crate::nest::Nest;
use crate::routine::{self, Routine};
use crate::ty::{DType, Type};

define_index! {
    /// A buffer of a plan.
    Buffer, "b";
    /// A kernel of a plan.
    Kernel, "k";
    /// A store of a plan.
    Store, "s";
}

/// A whole program, ready for a device.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// What the caller passes.
    pub inputs: Vec<Type>,
    /// What the caller gets.
    pub outputs: Vec<Type>,
    /// All memory.
    pub buffers: IndexVec<Buffer, BufferDecl>,
    /// All kernels.
    pub kernels: IndexVec<Kernel, Nest>,
    /// Entry size of each store, in bytes.
    pub stores: IndexVec<Store, usize>,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// Bytes of the arena.
    pub arena_bytes: usize,
}

impl Plan {
    /// Inputs and outputs that are one array: their numbers.
    pub fn donated(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.buffers.iter().filter_map(|decl| match decl.place {
            Place::Donated { input, output } => Some((input, output)),
            _ => None,
        })
    }
}

/// Alignment of buffers in the arena, in bytes: a cache line, a full vector.
/// Buffers of one element pack at [`SCALAR_ALIGN`].
pub const ALIGN: usize = 64;

/// Alignment of one-element buffers in the arena, in bytes.
pub const SCALAR_ALIGN: usize = 8;

/// A buffer.
#[derive(Clone, Debug)]
pub struct BufferDecl {
    /// Element type.
    pub dtype: DType,
    /// Number of elements.
    pub len: usize,
    /// Where it is.
    pub place: Place,
}

/// Where a buffer is.
#[derive(Clone, Debug)]
pub enum Place {
    /// The caller's input of that number; only read.
    Input(usize),
    /// The caller's output of that number; written before it is read.
    Output(usize),
    /// The caller's input and output of these numbers, which are one array: it begins as
    /// what goes in and ends as what comes out.
    Donated {
        /// The input.
        input: usize,
        /// The output.
        output: usize,
    },
    /// Part of the program.
    Constant(Array),
    /// In the workspace's arena, at this byte.
    Arena(usize),
}

impl Place {
    /// Whether a plan may write there.
    pub const fn is_writable(&self) -> bool {
        matches!(self, Self::Output(_) | Self::Donated { .. } | Self::Arena(_))
    }
}

/// A buffer from some element on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BufferRef {
    /// The buffer.
    pub buffer: Buffer,
    /// Its first element, as seen from here.
    pub offset: usize,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Step {
    /// Run a kernel on these buffers, one per parameter.
    Run {
        /// The kernel.
        kernel: Kernel,
        /// Its parameters, in order.
        args: Vec<BufferRef>,
    },
    /// A batched matrix product.
    Gemm(Gemm),
    /// A library routine.
    Call(Call),
    /// Copy all elements of one buffer to another of the same type and length.
    Copy {
        /// Source.
        from: Buffer,
        /// Destination; does not overlap.
        to: Buffer,
    },
    /// Run one of two lists of steps.
    If {
        /// A `bool` buffer of one element.
        pred: Buffer,
        /// If it is true.
        then: Vec<Self>,
        /// If it is false.
        els: Vec<Self>,
    },
    /// Run `head`; while `pred` is then true, run `body` and `head` again.
    While {
        /// Computes the predicate.
        head: Vec<Self>,
        /// A `bool` buffer of one element.
        pred: Buffer,
        /// One iteration.
        body: Vec<Self>,
    },
    /// Run `body` as often as the count says (read once; negative is 0).
    Repeat {
        /// An `i64` buffer of one element.
        count: Buffer,
        /// One iteration.
        body: Vec<Self>,
    },
    /// Run `body` once for each row of some arrays.
    Scan {
        /// Number of rows.
        count: usize,
        /// Before iteration `t`, `entry` becomes row `t` of `rows`.
        reads: Vec<RowOf>,
        /// After iteration `t`, row `t` of `rows` becomes `entry`.
        writes: Vec<RowOf>,
        /// One iteration.
        body: Vec<Self>,
    },
    /// Make `stack` an empty stack at the end of `store`.
    Open {
        /// A handle: an `i64` buffer of three elements.
        stack: Buffer,
        /// The store.
        store: Store,
    },
    /// Append the contents of `from` (as many bytes as the store's entries have).
    Push {
        /// A handle.
        stack: Buffer,
        /// The entry.
        from: Buffer,
    },
    /// Take the last entry. Popping an empty stack cannot happen in a plan made
    /// from a verified graph.
    Pop {
        /// A handle.
        stack: Buffer,
        /// Where the entry goes.
        to: Buffer,
    },
}

/// One row after the other of an array.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RowOf {
    /// The array: as many entries as the loop has iterations.
    pub rows: Buffer,
    /// One row.
    pub entry: Buffer,
    /// Whether row `count - 1 - t` is meant instead of row `t`.
    pub back: bool,
}

/// `c = a · b`, or `c += a · b`, for each index of the batch axes. All strides in elements.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Gemm {
    /// `f32` or `f64`.
    pub dtype: DType,
    /// Rows of `a` and `c`.
    pub m: usize,
    /// Columns of `b` and `c`.
    pub n: usize,
    /// Columns of `a`, rows of `b`. May be 0: then the product is all zeros.
    pub k: usize,
    /// Whether the product is added to what is in `c`.
    pub add: bool,
    /// Batch axes, outermost first.
    pub batch: Vec<BatchAxis>,
    /// Left factor: where it starts, stride between rows, between columns.
    pub a: Matrix,
    /// Right factor.
    pub b: Matrix,
    /// Product.
    pub c: Matrix,
}

/// A library routine on contiguous arrays.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Call {
    /// Which, with element type and extents.
    pub routine: Routine,
    /// Operands, in order.
    pub args: Vec<BufferRef>,
    /// Where the result goes.
    pub result: BufferRef,
    /// Memory that it works in, in any state: as many bytes as the signature's
    /// words have, as `i64`. None if it needs none.
    pub work: Option<BufferRef>,
    /// The user's line that asked for it; in text a comment.
    pub place: routine::Place,
}

impl Call {
    /// Everything it is given: operands, result, memory to work in.
    pub fn refs(&self) -> impl Iterator<Item = BufferRef> + '_ {
        self.args.iter().copied().chain([self.result]).chain(self.work)
    }

    /// How many `i64` it works in.
    pub fn work_len(&self) -> usize {
        self.routine.signature().words * (size_of::<routine::Word>() / size_of::<i64>())
    }
}

/// A batch axis of a matrix product: extent, and stride in each matrix.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BatchAxis {
    /// Extent.
    pub extent: usize,
    /// Stride in `a`, `b` and `c`.
    pub strides: [isize; 3],
}

/// A strided matrix in a buffer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Matrix {
    /// Where element (0, 0) is.
    pub at: BufferRef,
    /// Elements from one row to the next.
    pub row: isize,
    /// Elements from one column to the next.
    pub col: isize,
}

/// Number of `i64` in the handle of a stack.
pub const HANDLE_LEN: usize = 3;
