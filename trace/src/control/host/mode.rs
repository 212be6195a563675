//! Whether a construct is the host's or traced.

use std::marker::PhantomData;

use super::Never;
use super::branch::Branching;
use super::count::{HostRange, TracedRange};
use super::repeat::Looping;
use crate::tensor::Tensor;
use crate::trace::Trace;

/// Whether a construct is the host's or traced.
pub trait Mode {
    /// What records; [`Never`] in host mode.
    type Tracing;
    /// Nothing; [`Never`] when traced.
    type Hosted;
    /// Whether it is traced.
    const TRACED: bool;
    /// What records.
    fn tracing(&self) -> Self::Tracing;
    /// Nothing.
    fn hosted(&self) -> Self::Hosted;
}

/// Whether a construct is traced.
pub fn is_traced<M: Mode>(_: &M) -> bool {
    M::TRACED
}

/// What records a traced construct; of the host's, there is none.
pub fn tracing<M: Mode>(mode: &M) -> M::Tracing {
    mode.tracing()
}

/// Asserts that a construct is the host's.
pub fn hosted<M: Mode>(mode: &M) -> M::Hosted {
    mode.hosted()
}

impl Mode for bool {
    type Tracing = Never;
    type Hosted = ();
    const TRACED: bool = false;
    fn tracing(&self) -> Never {
        unreachable!("asked in host mode")
    }
    fn hosted(&self) {}
}

impl<'t> Mode for Tensor<'t> {
    type Tracing = Branching<'t>;
    type Hosted = Never;
    const TRACED: bool = true;
    fn tracing(&self) -> Branching<'t> {
        Branching(*self)
    }
    fn hosted(&self) -> Never {
        unreachable!("asked while tracing")
    }
}

/// What `if` and `while` decide by.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a `bool` nor a tensor",
    label = "expected a condition",
    note = "under `#[control_flow]` a condition is a `bool` of the host or a `Tensor` of one truth value"
)]
pub trait Condition: Mode {
    /// Whether the text of this branch runs: always when traced.
    fn takes(&self) -> bool;
    /// As a tensor of the trace.
    fn truth<'t>(self, trace: &'t Trace) -> Tensor<'t>
    where
        Self: 't;
}

impl Condition for bool {
    fn takes(&self) -> bool {
        *self
    }
    #[track_caller]
    fn truth<'t>(self, trace: &'t Trace) -> Tensor<'t>
    where
        Self: 't,
    {
        trace.scalar(self)
    }
}

impl Condition for Tensor<'_> {
    fn takes(&self) -> bool {
        true
    }
    fn truth<'t>(self, _: &'t Trace) -> Tensor<'t>
    where
        Self: 't,
    {
        self
    }
}

/// The condition of an `if`.
pub fn decide<C: Condition>(condition: C) -> C {
    condition
}

/// Whether the text of a branch runs.
pub fn takes<C: Condition>(condition: &C) -> bool {
    condition.takes()
}

/// A condition whose type is found later.
pub struct Guard<C>(PhantomData<fn() -> C>);

/// A condition not seen yet.
pub fn guard<C>() -> Guard<C> {
    Guard(PhantomData)
}

/// Here it is.
pub fn see<C: Condition>(_: &Guard<C>, _: &C) {}

/// The mode of a loop that ends by conditions of these types: traced if one of them is.
pub struct Loop<G>(PhantomData<fn() -> G>);

/// The mode of a loop with no condition yet.
pub fn loop_mode() -> Loop<()> {
    Loop(PhantomData)
}

/// With one condition more.
pub fn and_by<C, G>(_: Loop<G>, _: &Guard<C>) -> Loop<(C, G)> {
    Loop(PhantomData)
}

/// With the bound of a range as one condition more.
pub fn and_range<R, G>(_: Loop<G>, _: &R) -> Loop<(R, G)> {
    Loop(PhantomData)
}

/// The mode that conditions have together.
pub trait Together {
    /// What records.
    type Tracing;
    /// What does not.
    type Hosted;
    /// Whether one of them is traced.
    const TRACED: bool;
    /// What records.
    fn tracing() -> Self::Tracing;
    /// What does not.
    fn hosted() -> Self::Hosted;
}

impl Together for () {
    type Tracing = Never;
    type Hosted = ();
    const TRACED: bool = false;
    fn tracing() -> Never {
        unreachable!("asked in host mode")
    }
    fn hosted() {}
}

/// Conditions that are the host's, and those that are traced.
macro_rules! together {
    (host [$($g:tt)*] $t:ty) => {
        impl<$($g)* G: Together> Together for ($t, G) {
            type Tracing = G::Tracing;
            type Hosted = G::Hosted;
            const TRACED: bool = G::TRACED;
            fn tracing() -> G::Tracing {
                G::tracing()
            }
            fn hosted() -> G::Hosted {
                G::hosted()
            }
        }
    };
    (traced $t:ty) => {
        impl<'t, G> Together for ($t, G) {
            type Tracing = Looping<'t>;
            type Hosted = Never;
            const TRACED: bool = true;
            fn tracing() -> Looping<'t> {
                Looping::new()
            }
            fn hosted() -> Never {
                unreachable!("asked while tracing")
            }
        }
    };
}
together!(host [] bool);
together!(host [T,] HostRange<T>);
together!(traced Tensor<'t>);
together!(traced TracedRange<'t>);

impl<G: Together> Mode for Loop<G> {
    type Tracing = G::Tracing;
    type Hosted = G::Hosted;
    const TRACED: bool = G::TRACED;
    fn tracing(&self) -> G::Tracing {
        G::tracing()
    }
    fn hosted(&self) -> G::Hosted {
        G::hosted()
    }
}
