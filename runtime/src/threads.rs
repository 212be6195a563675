//! Kernels on several threads.
//!
//! A kernel's outermost loop runs over chunks that the plan has fixed, each with
//! results of its own; who runs a chunk makes no difference to the bits. The threads
//! are rayon's: those of the pool that the caller is in, or the global one. So a
//! program called from inside a pool neither waits for itself nor brings more threads
//! than there are.
//!
//! The caller takes the first part itself, while the others wake up.

use std::ops::Range;

use backstitch_jit::KernelFn;

/// The addresses of a kernel's parameters, for all threads.
#[derive(Clone, Copy)]
struct Table(*const *mut u8);

// SAFETY: parts of a kernel's loop that run at once write different elements, as the
// loop language demands of parallel loops; the table itself is only read.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    /// # Safety
    ///
    /// As for the kernel.
    unsafe fn run(self, kernel: KernelFn, from: i64, to: i64) {
        // SAFETY: as required.
        unsafe { kernel(self.0, from, to) }
    }
}

/// Runs all `count` iterations of a kernel's outermost loop, on so many threads at most.
///
/// # Safety
///
/// The table has the addresses of the kernel's parameters, and its outermost loop is a
/// parallel one of so many iterations.
pub(crate) unsafe extern "C" fn fork(
    kernel: KernelFn,
    table: *const *mut u8,
    count: i64,
    threads: u32,
) {
    let table = Table(table);
    parts(threads, count as usize, |part| {
        // SAFETY: as required; this returns when all parts are done.
        unsafe { table.run(kernel, part.start as i64, part.end as i64) }
    });
}

/// Runs `work` on parts of `0..count`, as many as there may be threads, and waits.
pub(crate) fn parts(threads: u32, count: usize, work: impl Fn(Range<usize>) + Sync) {
    let parts = (threads as usize).min(count).max(1);
    let part = |i: usize| i * count / parts..(i + 1) * count / parts;
    let work = &work;
    rayon::in_place_scope(|scope| {
        for i in 1..parts {
            scope.spawn(move |_| work(part(i)));
        }
        work(part(0));
    });
}
