//! `&&`, `||` and `!` of truth values of either kind.

use super::mode::{Condition, Guard};
use crate::tensor::Tensor;

/// The two sides of `&&` and `||`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` and `{B}` are no two conditions",
    note = "under `#[control_flow]` a condition is a `bool` of the host or a `Tensor` of one truth value"
)]
pub trait Both<B>: Condition + Sized {
    /// Both together.
    type Truth: Condition;
    /// The result if this side decides it alone, being `decisive`.
    fn short(&self, other: &Guard<B>, decisive: bool) -> Option<Self::Truth>;
    /// Whether both hold.
    fn and(self, other: B) -> Self::Truth;
    /// Whether one holds.
    fn or(self, other: B) -> Self::Truth;
}

impl Both<bool> for bool {
    type Truth = bool;
    fn short(&self, _: &Guard<bool>, decisive: bool) -> Option<bool> {
        (*self == decisive).then_some(decisive)
    }
    fn and(self, other: bool) -> bool {
        self && other
    }
    fn or(self, other: bool) -> bool {
        self || other
    }
}

macro_rules! both {
    ([$($g:tt)*] $a:ty, $b:ty, $other:ident => $trace:expr) => {
        impl<$($g)*> Both<$b> for $a {
            type Truth = Tensor<'t>;
            fn short(&self, _: &Guard<$b>, _: bool) -> Option<Tensor<'t>> {
                None
            }
            #[track_caller]
            fn and(self, $other: $b) -> Tensor<'t> {
                let t = ($trace)(&self);
                self.truth(t).and($other.truth(t))
            }
            #[track_caller]
            fn or(self, $other: $b) -> Tensor<'t> {
                let t = ($trace)(&self);
                self.truth(t).or($other.truth(t))
            }
        }
    };
}
both!(['t] Tensor<'t>, Tensor<'t>, other => |x: &Tensor<'t>| x.trace());
both!(['t] Tensor<'t>, bool, other => |x: &Tensor<'t>| x.trace());
both!(['t] bool, Tensor<'t>, other => |_: &bool| other.trace());

/// What `!` is of.
pub trait Opposite: Condition {
    /// The opposite truth value.
    fn opposite(self) -> Self;
}

impl Opposite for bool {
    fn opposite(self) -> bool {
        !self
    }
}

impl Opposite for Tensor<'_> {
    #[track_caller]
    fn opposite(self) -> Self {
        self.not()
    }
}
