//! Kernels on several threads.
//!
//! A kernel's outermost loop runs over chunks that the plan has fixed, each with
//! results of its own; who runs a chunk makes no difference to the bits. So chunks go to
//! whoever is there: the caller begins at once, and the [team](crate::team) of its
//! helpers joins when it is awake. The helpers are rayon's threads: those of the pool
//! that the caller is in, or of the global one. So a program called from inside a pool
//! neither waits for itself nor brings more threads than there are.

use std::cell::Cell;
use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::{Arc, OnceLock};

use backstitch_jit::KernelFn;

use crate::team::Team;

/// Pieces of a thread's part where beginning one costs next to nothing: in a kernel.
const FINE: usize = 16;

/// Pieces of a thread's part where each piece has something to do beforehand: a matrix
/// product repacks its factors.
pub(crate) const COARSE: usize = 4;

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
    shared(threads, count as usize, FINE, |part| {
        // SAFETY: as required; this returns when all parts are done.
        unsafe { table.run(kernel, part.start as i64, part.end as i64) }
    });
}

thread_local! {
    /// Those who help this thread; nobody while they do.
    static TEAM: Cell<Option<Arc<Team>>> = const { Cell::new(None) };
}

/// Runs `work` on parts of `0..count` that make up the whole, on so many threads at most,
/// and waits. Nobody is waited for who has not begun.
///
/// A panic of `work`, on whatever thread, is one here.
pub(crate) fn parts(threads: u32, count: usize, work: impl Fn(Range<usize>) + Sync) {
    shared(threads, count, COARSE, work);
}

fn shared(threads: u32, count: usize, pieces: usize, work: impl Fn(Range<usize>) + Sync) {
    let threads = if count > 1 { available(threads).min(count) } else { 1 };
    if threads == 1 {
        return work(0..count);
    }
    let team = TEAM.try_with(Cell::take).ok().flatten();
    let team = team.unwrap_or_else(|| Team::new(rayon::current_num_threads()));
    team.run(threads, count, pieces, &work);
    // Where the thread is ending, its helpers go when there is nothing for them to do.
    _ = TEAM.try_with(|place| place.set(Some(team)));
}

/// How many of so many threads there are, the caller among them.
pub(crate) fn available(threads: u32) -> usize {
    match threads > 1 && there_are_threads() {
        true => (threads as usize).min(rayon::current_num_threads()),
        false => 1,
    }
}

/// Whether there is a pool: the one that the caller is in, or the global one.
///
/// The global pool is made when it is first used. If the system gives no threads, rayon
/// panics each time it is asked; machine code cannot be unwound through, so it is asked
/// here, once.
fn there_are_threads() -> bool {
    static GLOBAL: OnceLock<bool> = OnceLock::new();
    rayon::current_thread_index().is_some()
        || *GLOBAL.get_or_init(|| catch_unwind(rayon::current_num_threads).is_ok())
}
