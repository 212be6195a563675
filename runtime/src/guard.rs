//! Panics of what machine code calls: they are kept from unwinding through it,
//! and remembered until the call is over.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use backstitch_ir::routine;

thread_local! {
    /// Whether something on this thread panicked since [`begin`].
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// Forgets earlier panics and faults of routines on this thread.
pub(crate) fn begin() {
    PANICKED.set(false);
    routine::take();
}

/// Whether there was a panic since.
pub(crate) fn panicked() -> bool {
    PANICKED.get()
}

/// Runs it, and remembers if it panics.
pub(crate) fn catch(run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        PANICKED.set(true);
    }
}
