//! Machine code and everything it points to.

use std::ffi::c_void;
use std::mem::ManuallyDrop;

use backstitch_ir::Array;
use backstitch_ir::plan::{Call, Gemm};
use cranelift_jit::JITModule;

/// The signature of a compiled plan.
pub(crate) type Entry = unsafe extern "C" fn(
    inputs: *const *const u8,
    outputs: *const *mut u8,
    arena: *mut u8,
    ctx: *mut c_void,
) -> i32;

/// Executable memory. Cranelift leaks it unless told otherwise.
pub(crate) struct Memory(ManuallyDrop<JITModule>);

impl Memory {
    pub fn new(module: JITModule) -> Self {
        Self(ManuallyDrop::new(module))
    }

    pub fn module(&mut self) -> &mut JITModule {
        &mut self.0
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the module is taken once, here. Pointers into its memory are
        // held by `Code` alone, which is being dropped and so is not running.
        unsafe { ManuallyDrop::take(&mut self.0).free_memory() }
    }
}

/// A plan as machine code.
pub struct Code {
    pub(crate) entry: Entry,
    pub(crate) bytes: usize,
    pub(crate) functions: usize,
    pub(crate) wide: usize,
    pub(crate) texts: Vec<(String, String)>,
    /// Where `entry` is.
    pub(crate) _memory: Memory,
    /// Where the code's constants and descriptors are: their addresses are in
    /// the instructions.
    pub(crate) _pinned: Pinned,
}

/// Data whose addresses are in the instructions. All stay where they are when
/// this moves: an array's elements are behind a shared pointer.
#[derive(Default)]
pub(crate) struct Pinned {
    pub constants: Vec<Array>,
    #[expect(clippy::vec_box, reason = "the list grows while addresses are taken")]
    pub gemms: Vec<Box<Gemm>>,
    #[expect(clippy::vec_box, reason = "the list grows while addresses are taken")]
    pub calls: Vec<Box<Call>>,
}

// SAFETY: after it is made, a `Code` is only read: its instructions, constants
// and descriptors are never written again, and calls keep their state in
// arguments. The module inside, which could be changed, is touched by nothing
// but the drop, which has the only reference.
unsafe impl Send for Code {}
// SAFETY: as above.
unsafe impl Sync for Code {}

impl Code {
    /// Runs it; 0 if all went well, 1 if a stack could not grow.
    ///
    /// # Safety
    ///
    /// `inputs` and `outputs` point to as many pointers as the plan has inputs
    /// and outputs, each to all elements of its type (`bool` as 0 or 1); outputs
    /// overlap nothing else. `arena` has the plan's number of bytes, aligned to
    /// its largest element, and nobody else uses it meanwhile. `ctx` is what the
    /// plan's [`Externs`](crate::Externs) expect.
    #[inline]
    pub unsafe fn call(
        &self,
        inputs: *const *const u8,
        outputs: *const *mut u8,
        arena: *mut u8,
        ctx: *mut c_void,
    ) -> i32 {
        // SAFETY: `entry` is in `_memory`, and the rest is promised by the caller.
        unsafe { (self.entry)(inputs, outputs, arena, ctx) }
    }

    /// Bytes of machine code.
    pub fn code_bytes(&self) -> usize {
        self.bytes
    }

    /// How many functions that is. Kernels that do the same share one, and short ones
    /// have none of their own.
    pub fn functions(&self) -> usize {
        self.functions
    }

    /// How many of these are vector code of full width, which is not Cranelift's.
    pub fn wide_functions(&self) -> usize {
        self.wide
    }

    /// Name and Cranelift text of each function, if
    /// [`Options::text`](crate::Options::text) asked for them. Of kernels that Cranelift does
    /// not make, it says how long they are.
    pub fn texts(&self) -> &[(String, String)] {
        &self.texts
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Code").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
