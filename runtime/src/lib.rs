//! Executables, workspaces, devices.
//!
//! An [`Executable`] is a plan loaded on a [`Device`]. It is called with views
//! of the caller's arrays ([`ArrayRef`], [`ArrayMut`]) and works in a
//! [`Workspace`], which each thread has for itself: so a call copies nothing,
//! takes no lock, and allocates nothing.
//!
//! What a call costs beyond the machine code is comparing the views' types with
//! the plan's and writing their addresses into a table; nothing else about the
//! program is left to be decided by then.

mod call;
mod cpu;
mod device;
mod error;
mod executable;
mod guard;
mod interpreter;
mod matmul;
mod routines;
mod stores;
mod team;
mod threads;
mod view;
mod workspace;

pub use call::Call;
pub use cpu::Cpu;
pub use device::{Backend, Device, Program};
pub use error::{Error, Side};
pub use executable::{Executable, Stats};
pub use interpreter::Interpreter;
pub use view::{ArrayMut, ArrayRef};
pub use workspace::{Memory, Needs, Workspace};

pub use backstitch_jit as jit;

/// What tests need to be sure that threads take part.
#[doc(hidden)]
pub mod testing {
    use std::sync::atomic::Ordering::Relaxed;

    use crate::team::{HELPED, INSIST};

    /// From now on, work that may be shared is, also if waiting for helpers takes longer
    /// than the work. There have to be threads in the pool that are free to help.
    pub fn insist_on_helpers() {
        INSIST.store(true, Relaxed);
    }

    /// How often a helper has taken part since.
    pub fn helped() -> u64 {
        HELPED.load(Relaxed)
    }
}
