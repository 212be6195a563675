//! The memory that a call works in.

use std::alloc::{self, Layout};
use std::fmt;
use std::ptr::{self, NonNull};

use backstitch_ir::plan;

use crate::error::Error;
use crate::stores::Stores;

/// Memory for calls, one at a time: make one per thread and keep it.
///
/// A workspace made by [`Executable::workspace`](crate::Executable::workspace)
/// fits that executable and its clones. Passed to another one, it is made to
/// fit, which takes memory where it was too small.
pub struct Workspace {
    /// The executable that it fits; 0 is none.
    pub(crate) owner: u64,
    pub(crate) memory: Memory,
    pub(crate) inputs: Vec<*const u8>,
    pub(crate) outputs: Vec<*mut u8>,
}

// SAFETY: the addresses in the tables are written and used within one call, which
// borrows the workspace.
unsafe impl Send for Workspace {}

impl Workspace {
    /// One that fits nothing yet.
    pub fn new() -> Self {
        Self { owner: 0, memory: Memory::default(), inputs: vec![], outputs: vec![] }
    }

    /// Bytes it has at the moment.
    pub fn bytes(&self) -> usize {
        self.memory.arena.bytes + self.memory.stores.bytes()
    }

    /// Gives each stack of a loop at most so many bytes from now on. A call that needs more
    /// is an [`Error::StackLimit`], and leaves the workspace as
    /// good as before.
    ///
    /// A loop of unknown length leaves what its derivative needs on stacks, which grow with
    /// it; without a limit, a loop that does not end takes all the memory there is. Stacks
    /// that have more already keep it.
    ///
    /// ```
    /// use backstitch_runtime::Workspace;
    /// let mut workspace = Workspace::new();
    /// workspace.limit_stacks(1 << 30);
    /// ```
    pub fn limit_stacks(&mut self, bytes: usize) {
        self.memory.stores.limit(bytes);
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

/// What a program needs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// Bytes of the arena.
    pub arena_bytes: usize,
    /// Entry size of each store, in bytes.
    pub stores: Vec<usize>,
}

/// What a program works in.
#[derive(Default)]
pub struct Memory {
    pub(crate) arena: Arena,
    pub(crate) stores: Stores,
}

impl Memory {
    /// Makes it serve a program.
    pub(crate) fn fit(&mut self, needs: &Needs) -> Result<(), Error> {
        if self.arena.bytes < needs.arena_bytes {
            // The old one goes first: the two need not fit together.
            self.arena = Arena::default();
            self.arena = Arena::new(needs.arena_bytes)?;
        }
        self.stores.fit(&needs.stores);
        Ok(())
    }
}

/// Zeroed bytes, aligned as plans expect.
pub(crate) struct Arena {
    start: NonNull<u8>,
    bytes: usize,
    /// What was allocated; none if there are no bytes.
    block: Option<(NonNull<u8>, Layout)>,
}

// SAFETY: it owns its bytes, and `&Arena` gives no access to them.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// That many bytes, if they can be had.
    pub fn new(bytes: usize) -> Result<Self, Error> {
        if bytes == 0 {
            return Ok(Self::default());
        }
        let fail = || Error::Memory { what: "an arena", bytes };
        // Aligned by hand: an over-aligned request for zeroed memory would touch
        // every page of it at once, a plain one takes pages that are zero.
        let slack = plan::ALIGN - 1;
        let layout = bytes
            .checked_add(slack)
            .and_then(|n| Layout::from_size_align(n, plan::SCALAR_ALIGN).ok())
            .ok_or_else(fail)?;
        // SAFETY: the size is not 0.
        let block = NonNull::new(unsafe { alloc::alloc_zeroed(layout) }).ok_or_else(fail)?;
        let skip = block.as_ptr().align_offset(plan::ALIGN);
        assert!(skip <= slack, "bytes can be aligned");
        // SAFETY: there are `slack` bytes more than the arena has.
        let start = unsafe { block.add(skip) };
        Ok(Self { start, bytes, block: Some((block, layout)) })
    }

    /// Where it starts.
    #[inline]
    pub fn start(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Default for Arena {
    fn default() -> Self {
        let aligned = ptr::without_provenance_mut(plan::ALIGN);
        Self { start: NonNull::new(aligned).expect("an address"), bytes: 0, block: None }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if let Some((block, layout)) = self.block {
            // SAFETY: this is how it was allocated.
            unsafe { alloc::dealloc(block.as_ptr(), layout) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arenas_are_aligned_and_zero() {
        for bytes in [0, 1, 63, 64, 1000, 1 << 20] {
            let mut arena = Arena::new(bytes).unwrap();
            assert_eq!(arena.start() as usize % plan::ALIGN, 0);
            // SAFETY: it has that many bytes.
            let all = unsafe { std::slice::from_raw_parts_mut(arena.start(), bytes) };
            assert!(all.iter().all(|&b| b == 0));
            all.fill(1);
        }
    }

    #[test]
    fn impossible_sizes_are_errors() {
        for bytes in [usize::MAX, isize::MAX as usize, 1 << 60] {
            let e = Arena::new(bytes).map(|_| ()).unwrap_err();
            assert_eq!(e.to_string(), format!("out of memory: an arena of {bytes} bytes"));
        }
    }

    #[test]
    fn memory_grows_and_does_not_shrink() {
        let mut memory = Memory::default();
        memory.fit(&Needs { arena_bytes: 100, stores: vec![8] }).unwrap();
        let start = memory.arena.start();
        memory.fit(&Needs { arena_bytes: 50, stores: vec![] }).unwrap();
        assert_eq!((memory.arena.start(), memory.arena.bytes), (start, 100));
        memory.fit(&Needs { arena_bytes: 200, stores: vec![4, 24] }).unwrap();
        assert_eq!(memory.arena.bytes, 200);
        assert!(memory.fit(&Needs { arena_bytes: usize::MAX, stores: vec![] }).is_err());
        assert_eq!(memory.arena.bytes, 0);
    }
}
