//! `for` over a range, and the steps of a traced one.

use std::panic::Location;

use backstitch_ir::{DType, Type};

use super::Never;
use super::carry::{Carried, tensors};
use super::mode::Mode;
use super::repeat::Test;
use crate::control::rebuild;
use crate::mistake::Problem;
use crate::tensor::Tensor;
use crate::tree::Tree;

/// The numbers between two of the host's.
pub struct HostRange<T>(T, T);

/// The numbers between two scalars, one of which is traced.
pub struct TracedRange<'t> {
    first: Tensor<'t>,
    end: Tensor<'t>,
}

impl<T> Mode for HostRange<T> {
    type Tracing = Never;
    type Hosted = ();
    const TRACED: bool = false;
    fn tracing(&self) -> Never {
        unreachable!("asked in host mode")
    }
    fn hosted(&self) {}
}

impl<'t> Mode for TracedRange<'t> {
    type Tracing = Counting<'t>;
    type Hosted = Never;
    const TRACED: bool = true;
    fn tracing(&self) -> Counting<'t> {
        Counting { first: self.first, end: self.end }
    }
    fn hosted(&self) -> Never {
        unreachable!("asked while tracing")
    }
}

/// What can be gone over.
pub trait Ranged: Mode {
    /// What stands for the numbers.
    type Index;
    /// The host's numbers.
    fn steps(&self) -> impl Iterator<Item = Self::Index>;
}

/// The host's numbers of a range.
pub fn steps<R: Ranged>(range: &R) -> impl Iterator<Item = R::Index> {
    range.steps()
}

impl<'t> Ranged for TracedRange<'t> {
    type Index = Tensor<'t>;
    fn steps(&self) -> impl Iterator<Item = Tensor<'t>> {
        std::iter::empty()
    }
}

/// Ends of ranges that begin at a literal, or at a number of the host's.
#[diagnostic::on_unimplemented(
    message = "no range ends at `{Self}`",
    note = "under `#[control_flow]` the ends of `a..b` are integers, of the host or traced; \
            write `#[host] for` to leave the loop as it is"
)]
pub trait End<A = Self> {
    /// The range.
    type Range: Ranged;
    /// From there to here.
    fn since(self, first: A) -> Self::Range;
}

/// Ends of ranges whose first number is a literal.
pub trait LiteralEnd: End<Self::First> {
    /// The type of the literal.
    type First;
}

/// The numbers from a literal to an end.
#[track_caller]
pub fn range_to<E: LiteralEnd>(end: E, first: E::First) -> <E as End<E::First>>::Range {
    end.since(first)
}

/// The numbers from a first one to an end.
#[track_caller]
pub fn range<A, E: End<A>>(first: A, end: E) -> E::Range {
    end.since(first)
}

macro_rules! host_ends {
    ($($t:ty)*) => {$(
        impl Ranged for HostRange<$t> {
            type Index = $t;
            fn steps(&self) -> impl Iterator<Item = $t> {
                self.0..self.1
            }
        }
        impl End for $t {
            type Range = HostRange<$t>;
            fn since(self, first: $t) -> HostRange<$t> {
                HostRange(first, self)
            }
        }
        impl LiteralEnd for $t {
            type First = $t;
        }
    )*};
}
host_ends!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

impl<'t> End for Tensor<'t> {
    type Range = TracedRange<'t>;
    #[track_caller]
    fn since(self, first: Tensor<'t>) -> TracedRange<'t> {
        TracedRange { first: whole(first), end: whole(self) }
    }
}

impl LiteralEnd for Tensor<'_> {
    type First = i64;
}

macro_rules! mixed_ends {
    ($($t:ty)*) => {$(
        impl<'t> End<$t> for Tensor<'t> {
            type Range = TracedRange<'t>;
            #[track_caller]
            fn since(self, first: $t) -> TracedRange<'t> {
                let end = whole(self);
                TracedRange { first: end.trace().scalar(i64::from(first)), end }
            }
        }
        impl<'t> End<Tensor<'t>> for $t {
            type Range = TracedRange<'t>;
            #[track_caller]
            fn since(self, first: Tensor<'t>) -> TracedRange<'t> {
                let first = whole(first);
                TracedRange { first, end: first.trace().scalar(i64::from(self)) }
            }
        }
    )*};
}
mixed_ends!(u8 u16 u32 i8 i16 i32 i64);

/// A scalar to count by.
#[track_caller]
fn whole(x: Tensor<'_>) -> Tensor<'_> {
    let ty = x.ty();
    if ty.rank() == 0 && ty.dtype.is_int() {
        return x.cast(DType::I64);
    }
    let message = format!("expected an integer scalar to count to, got {ty}");
    x.mistake("for", Problem::Control, message, Type::scalar(DType::I64))
}

/// Records a traced `for`.
#[derive(Clone, Copy)]
pub struct Counting<'t> {
    first: Tensor<'t>,
    end: Tensor<'t>,
}

/// Steps of a traced `for` that carries a `T`; in host mode, of any.
pub trait Count<T>: Sized {
    /// Where it began.
    type Begun;
    /// Opens the body. What is carried twice: to be kept, and to go on with.
    fn begin(self, carried: T) -> (Self::Begun, T, T);
    /// The same for a loop that ends when a flag is set as well: the first thing carried.
    fn begin_unless(self, carried: T) -> (Self::Begun, T, T);
    /// Closes the body; what is carried in the end.
    fn end(self, begun: Self::Begun, kept: T, next: T) -> T;
}

/// The variable of a `for`.
pub trait Variable<I> {
    /// It.
    fn variable(&self) -> I;
}

impl<I> Variable<I> for Never {
    fn variable(&self) -> I {
        match *self {}
    }
}

/// A `for` that is being recorded.
pub struct Begun<'t> {
    test: Test<'t>,
    counter: Tensor<'t>,
    variable: Tensor<'t>,
}

impl<'t> Variable<Tensor<'t>> for Begun<'t> {
    fn variable(&self) -> Tensor<'t> {
        self.variable
    }
}

impl<T> Count<T> for Never {
    type Begun = Never;
    fn begin(self, _: T) -> (Never, T, T) {
        match self {}
    }
    fn begin_unless(self, _: T) -> (Never, T, T) {
        match self {}
    }
    fn end(self, _: Never, _: T, _: T) -> T {
        match self {}
    }
}

impl<'t, T: Tree<Tensor<'t>, With<Tensor<'t>> = T>> Count<T> for Counting<'t> {
    type Begun = Begun<'t>;

    #[track_caller]
    fn begin(self, carried: T) -> (Begun<'t>, T, T) {
        let t = self.end.trace();
        let test = self.start(&carried);
        let inputs = t.open_body("body", &test.types, &[], test.place);
        self.inside(test, carried, &inputs)
    }

    #[track_caller]
    fn begin_unless(self, carried: T) -> (Begun<'t>, T, T) {
        let t = self.end.trace();
        let mut test = self.start(&carried);
        let inputs = test.open(t);
        let goes_on = inputs[0].lt(self.end - self.first).and(inputs[1].not());
        test.test = Some(t.close_body(vec![goes_on], test.place));
        let inputs = test.open(t);
        self.inside(test, carried, &inputs)
    }

    #[track_caller]
    fn end(self, begun: Begun<'t>, kept: T, next: T) -> T {
        let t = self.end.trace();
        let options = t.loop_options().get();
        let Begun { test: Test { start, place, test, .. }, counter, .. } = begun;
        let mut outputs = vec![counter + 1];
        outputs.extend(tensors(&next));
        let step = t.close_body(outputs, place);
        let Some(test) = test else {
            return t.repeat_count(
                options,
                self.end - self.first,
                &kept,
                start,
                step,
                &next,
                place,
            );
        };
        let counted = |rest| Carried { name: "counter", value: counter, rest };
        t.repeat_while(options, &counted(kept), &start, (test, step), &counted(next), place).rest
    }
}

impl<'t> Counting<'t> {
    #[track_caller]
    fn inside<T: Tree<Tensor<'t>, With<Tensor<'t>> = T>>(
        self,
        test: Test<'t>,
        kept: T,
        inputs: &[Tensor<'t>],
    ) -> (Begun<'t>, T, T) {
        let inside = rebuild(&kept, &inputs[1..]);
        let (counter, variable) = (inputs[0], inputs[0] + self.first);
        (Begun { test, counter, variable }, kept, inside)
    }

    #[track_caller]
    fn start(self, carried: &impl Tree<Tensor<'t>>) -> Test<'t> {
        let mut start = vec![self.end.trace().scalar(0i64)];
        start.extend(tensors(carried));
        Test::begin(start, Location::caller())
    }
}
