//! What `#[control_flow]` turns `if`, `while`, `loop` and `for` into.
//!
//! Whether a condition is a host's `bool` or a tensor is known to the compiler, not to the
//! macro. So the macro writes one text that is right for both, and the types choose.
//! Each construct has a [`Mode`]: of the host, or traced. The text holds what the host does
//! (take one branch, go round again) and what tracing does (open a scope, run the branch,
//! close it, run the other), in the manner of
//!
//! ```text
//! if is_traced(&mode) { let t = tracing(&mode); .. } else { hosted(&mode); .. }
//! ```
//!
//! In host mode `tracing` gives the empty type [`Never`], so that what follows it is
//! unreachable: it is not checked for moves and borrows, and any variables may be carried
//! there. When traced, `hosted` gives it. Thus a host's `if` may move a vector in both
//! branches, as ever, while a traced `if` may not; and only the latter demands that what it
//! assigns is a tree of tensors.
//!
//! The mode of a loop depends on all conditions that end it, which come later in its text;
//! it is a type that inference finds, see [`Loop`]. No body is a closure, for then
//! `return` and `?` in it would mean something else.

mod branch;
mod carry;
mod count;
mod demand;
mod mode;
mod repeat;
mod truth;

pub use branch::{Branch, Branching, Half};
pub use carry::Carried;
pub use count::{
    Begun, Count, Counting, End, HostRange, LiteralEnd, Ranged, TracedRange, Variable,
};
pub use count::{range, range_to, steps};
pub use demand::{Assigns, Breaks, Matched, Questions, Returns, Writes};
pub use demand::{assigns, breaks, matched, questions, release, returns, writes};
pub use mode::{Condition, Guard, Loop, Mode, Together};
pub use mode::{
    and_by, and_range, decide, guard, hosted, is_traced, loop_mode, see, takes, tracing,
};
pub use repeat::{Flag, Looping, Records, Repeat, Test, Tested, Variables, set};
pub use truth::{Both, Opposite};

/// What there is not.
#[derive(Clone, Copy)]
pub enum Never {}
