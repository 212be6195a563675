//! What a traced construct does not take, as bounds that a host's fulfils.

use super::count::HostRange;
use super::mode::Loop;

/// What leaves a construct by `return`, which only the host's can be.
#[diagnostic::on_unimplemented(
    message = "`return` cannot leave a traced loop, or a traced branch before its end",
    label = "here",
    note = "write `break` and decide after the loop, or let the branch end with the `return`"
)]
pub trait Returns {}

/// What is left by `break` or `continue`.
#[diagnostic::on_unimplemented(
    message = "this `break` or `continue` cannot leave a traced branch or loop",
    label = "here",
    note = "under a traced condition, `break` and `continue` are statements that end a branch of an \
            `if` of the innermost loop, without a label or a value"
)]
pub trait Breaks {}

/// What is left by `?`.
#[diagnostic::on_unimplemented(
    message = "`?` cannot leave a traced branch or loop",
    label = "here",
    note = "whether there is an error has to be known while tracing: use `?` before the `if` or the \
            loop"
)]
pub trait Questions {}

/// What assigns through a reference that is made outside of it.
#[diagnostic::on_unimplemented(
    message = "a traced branch or loop cannot assign through a reference",
    label = "here",
    note = "assign to a variable that is declared outside, and through the reference afterwards"
)]
pub trait Writes {}

/// What assigns in its condition.
#[diagnostic::on_unimplemented(
    message = "the condition of a traced loop cannot assign",
    label = "here",
    note = "assign in the body of the loop"
)]
pub trait Assigns {}

/// What `match` compares with `true` and `false`.
#[diagnostic::on_unimplemented(
    message = "`match` decides by values of the host",
    label = "this is a `{Self}`",
    note = "write `if` to decide by a tensor"
)]
pub trait Matched {}
impl Matched for bool {}
impl Matched for &bool {}
impl Matched for &mut bool {}

/// The truth value that a `match` is of.
pub fn matched<T: Matched>(truth: T) -> T {
    truth
}

macro_rules! hosts {
    ($($trait:ident)*) => {$(
        impl $trait for bool {}
        impl<T> $trait for HostRange<T> {}
        impl $trait for Loop<()> {}
        #[diagnostic::do_not_recommend]
        impl<C: $trait, G> $trait for Loop<(C, G)> where Loop<G>: $trait {}
    )*};
}
hosts!(Returns Breaks Questions Writes Assigns);

/// Says that a construct is left by `return`.
pub fn returns<M: Returns>(_: &M) {}

/// Says that a construct is left by `break` or `continue`.
pub fn breaks<M: Breaks>(_: &M) {}

/// Says that a construct is left by `?`.
pub fn questions<M: Questions>(_: &M) {}

/// Says that a construct assigns through a reference.
pub fn writes<M: Writes>(_: &M) {}

/// Says that a construct assigns in its condition.
pub fn assigns<M: Assigns>(_: &M) {}

/// Ends a borrow.
pub fn release<H>(_: H) {}
