//! From plan to machine code, through Cranelift.
//!
//! [`compile()`] turns a [`Plan`] into a [`Code`]: one native function for the
//! whole plan, in memory that the `Code` owns. It knows nothing of tensors; what
//! it needs from the outside (matrix products, routines, stacks) it is given as
//! [`Externs`].
//!
//! From the outside in:
//!
//! * `survey`: what is used where;
//! * `entry`, `part`, `access`: steps of the plan, as functions of bounded size;
//! * `loops`, `stacks`, `registers`: loops over steps, what they push and pop, and what
//!   they carry in registers;
//! * `nest`, `straight`, `vector_loop`, `group`, `partial`: a kernel's statements, its loops,
//!   four iterations at a time, its reductions;
//! * `func`: functions of scalars that kernels call; `guards`: truth values that are masks;
//! * `strided`, `jam`: what steps over memory in strides, and several rows at a time;
//! * `wide`: kernels as full-width vector code of our own, where the processor has it;
//! * `work`: which kernels are worth several threads;
//! * `pointers`, `address`, `forward`: where elements are, and which are in registers;
//! * `scalar`, `vector`, `host`: operations on one element, on four, and those
//!   that are calls;
//! * `asm`, `isa`: instructions and processors;
//! * `compile`, `link`, `code`: functions into executable memory.

mod access;
mod address;
mod asm;
mod code;
mod compile;
mod entry;
mod error;
mod forward;
mod func;
mod group;
mod guards;
mod host;
mod isa;
mod jam;
mod link;
mod loops;
mod moving;
mod nest;
mod part;
mod partial;
mod pointers;
mod registers;
mod scalar;
mod stacks;
mod straight;
mod strided;
mod survey;
mod vector;
mod vector_loop;
mod wide;
mod work;

use std::ffi::c_void;

use backstitch_ir::plan::{Call, Gemm, Plan};

pub use crate::code::Code;
pub use crate::error::JitError;
pub use crate::isa::{Cpu, Vectors};

/// A kernel as a function of the addresses of its parameters and the part of its
/// outermost loop that is to run. Parts that do not overlap can run at once.
pub type KernelFn = unsafe extern "C" fn(table: *const *mut u8, from: i64, to: i64);

/// Functions that the machine code calls.
#[derive(Clone, Copy, Debug)]
pub struct Externs {
    /// A matrix product, on so many threads at most. Pointers are those of the elements
    /// (0, 0).
    pub gemm: unsafe extern "C" fn(
        desc: *const Gemm,
        a: *const u8,
        b: *const u8,
        c: *mut u8,
        threads: u32,
    ),
    /// Runs all `count` iterations of a kernel's outermost loop, on so many threads at
    /// most, and returns when they are done.
    pub fork:
        unsafe extern "C" fn(kernel: KernelFn, table: *const *mut u8, count: i64, threads: u32),
    /// A routine. The table has the addresses of what [`Call::refs`] lists.
    pub call: unsafe extern "C" fn(desc: *const Call, table: *const *mut u8),
    /// Makes room in a store for entries beyond its length and so many more, which are
    /// there already: 0, or anything else if there is no memory.
    pub grow: unsafe extern "C" fn(ctx: *mut c_void, store: u32, more: usize) -> i32,
    /// Appends an entry to a stack: 0, or anything else if there is no memory.
    pub push: unsafe extern "C" fn(ctx: *mut c_void, handle: *mut i64, from: *const u8) -> i32,
    /// Takes the last entry off a stack.
    pub pop: unsafe extern "C" fn(ctx: *mut c_void, handle: *mut i64, to: *mut u8),
    /// A loop was about to use stacks in a way they cannot be used. The call ends.
    pub refuse: unsafe extern "C" fn(ctx: *mut c_void),
}

/// A store of a plan: entries of stacks, in memory that only grows during a call.
///
/// Machine code reads and writes it: what it is called with as `ctx` points to the
/// address of a table of these, one for each store of the plan.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Store {
    /// Where the entries are.
    pub data: *mut u8,
    /// How many there are.
    pub len: usize,
    /// For how many there is room.
    pub room: usize,
    /// Bytes of each.
    pub entry: usize,
}

/// How to compile.
#[derive(Clone, Debug)]
pub struct Options {
    /// For which processor.
    pub cpu: Cpu,
    /// How wide the vectors of kernels may be.
    pub vectors: Vectors,
    /// Whether to check every function before it is compiled.
    pub verify: bool,
    /// Whether to keep the Cranelift text of every function.
    pub text: bool,
    /// How many threads may compile the functions of a large plan; if not said,
    /// as many as the machine has cores, but at most 8. The code is the same
    /// for any number. Small plans are compiled by the caller's thread alone.
    pub threads: Option<usize>,
    /// On how many threads a call of the program may run; 1 if it is 0. Kernels and
    /// products that are too short to gain by it run on the caller's thread.
    pub workers: u32,
    /// Whether all kernels and products that can be shared are, however short: for tests.
    #[doc(hidden)]
    pub share_all: bool,
    /// From how many bytes on a kernel's results are stored past the caches: for tests.
    #[doc(hidden)]
    pub large: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cpu: Cpu::Host,
            vectors: Vectors::default(),
            verify: cfg!(debug_assertions),
            text: false,
            threads: None,
            workers: 1,
            share_all: false,
            large: wide::LARGE,
        }
    }
}

/// Compiles a plan.
///
/// The plan must be one that a verifier accepts: kernels and steps are trusted
/// to stay inside their buffers.
pub fn compile(plan: &Plan, externs: &Externs, options: &Options) -> Result<Code, JitError> {
    entry::Steps::new(plan, externs, options, link::Linker::new(options)?).compile()
}

/// What tests need to be sure that full-width vector code is what they test.
#[doc(hidden)]
pub mod testing {
    use backstitch_ir::nest::Nest;

    use crate::{Cpu, Vectors, wide};

    /// Whether this kernel becomes vector code of our own.
    pub fn is_wide(nest: &Nest, vectors: Vectors) -> bool {
        let encoding = vectors.encoding(Cpu::Host);
        encoding.is_some_and(|encoding| wide::compile(nest, encoding, wide::LARGE).is_some())
    }

    /// Whether this processor can have such code at all.
    pub fn has_wide(vectors: Vectors) -> bool {
        vectors.encoding(Cpu::Host).is_some()
    }
}
