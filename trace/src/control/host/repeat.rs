//! The steps of a traced `while` or `loop`, and of a host's `for` with traced breaks.

use std::marker::PhantomData;
use std::panic::Location;

use backstitch_ir::Type;

use super::Never;
use super::branch::{Half, close, turn};
use super::carry::{Carried, tensors, trace_of};
use super::mode::Condition;
use crate::control::{Body, rebuild};
use crate::tensor::Tensor;
use crate::trace::Trace;
use crate::tree::Tree;

/// Records a traced loop.
#[derive(Clone, Copy)]
pub struct Looping<'t>(PhantomData<Tensor<'t>>);

impl Looping<'_> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

/// Types of what a loop is recorded with.
pub trait Records {
    /// Whether the loop has been left.
    type Flag;
    /// A test that is recorded.
    type Test;
}

impl Records for Never {
    type Flag = Never;
    type Test = Never;
}

impl<'t> Records for Looping<'t> {
    type Flag = Tensor<'t>;
    type Test = Test<'t>;
}

/// Where a loop that is being recorded began, and its test once that is recorded.
pub struct Test<'t> {
    pub(super) start: Vec<Tensor<'t>>,
    pub(super) types: Vec<Type>,
    pub(super) place: &'static Location<'static>,
    pub(super) test: Option<Body>,
}

impl<'t> Test<'t> {
    pub(super) fn begin(start: Vec<Tensor<'t>>, place: &'static Location<'static>) -> Self {
        let types = start.iter().map(|x| x.ty()).collect();
        Self { start, types, place, test: None }
    }

    /// Opens the predicate or, after it, the body.
    pub(super) fn open(&self, t: &'t Trace) -> Vec<Tensor<'t>> {
        let (name, captures) = match &self.test {
            Some(test) => ("body", &test.scope.captures[..]),
            None => ("while", &[][..]),
        };
        t.open_body(name, &self.types, captures, self.place)
    }
}

/// Whether a loop has been left, as its text has it.
pub trait Flag: Sized {
    /// It has.
    fn set(self) -> Self;
}

impl Flag for Never {
    fn set(self) -> Self {
        self
    }
}

impl Flag for Tensor<'_> {
    #[track_caller]
    fn set(self) -> Self {
        self.trace().scalar(true)
    }
}

/// Notes that a loop has been left.
#[track_caller]
pub fn set<F: Flag>(flag: F) -> F {
    flag.set()
}

/// Steps of a traced loop that carries a `T`; in host mode, of any.
pub trait Repeat<T>: Records + Sized {
    /// A flag that is not set.
    fn flag(self, carried: T) -> (Self::Flag, T);
    /// Opens the test. What is carried twice: to be kept, and to go on with.
    fn begin(self, carried: T) -> (Self::Test, T, T);
    /// Closes the body; what is carried in the end.
    fn end(self, test: Self::Test, kept: T, next: T) -> T;
    /// Opens a step of a host's loop that happens unless the flag is set. What is carried
    /// twice.
    fn open_unless(self, flag: &Self::Flag, carried: T) -> (Self::Step, T);
    /// Closes it.
    fn close_unless(self, step: Self::Step, next: T) -> T;
    /// A step that is being recorded.
    type Step;
}

/// Tests of a traced loop that carries a `T` by a condition of type `C`.
pub trait Tested<T, C>: Records + Sized {
    /// Closes the test with its result and opens the body. What is carried, at its start.
    fn test(self, test: &mut Self::Test, condition: C, kept: &T) -> T;
    /// The same for a loop that ends when a flag is set as well.
    fn test_unless(self, test: &mut Self::Test, condition: C, flag: Self::Flag, kept: &T) -> T;
}

impl<T> Repeat<T> for Never {
    type Step = Never;
    fn flag(self, _: T) -> (Never, T) {
        match self {}
    }
    fn begin(self, _: T) -> (Never, T, T) {
        match self {}
    }
    fn end(self, _: Never, _: T, _: T) -> T {
        match self {}
    }
    fn open_unless(self, _: &Never, _: T) -> (Never, T) {
        match self {}
    }
    fn close_unless(self, _: Never, _: T) -> T {
        match self {}
    }
}

impl<T, C> Tested<T, C> for Never {
    fn test(self, _: &mut Never, _: C, _: &T) -> T {
        match self {}
    }
    fn test_unless(self, _: &mut Never, _: C, _: Never, _: &T) -> T {
        match self {}
    }
}

/// At least one variable.
#[diagnostic::on_unimplemented(
    message = "a traced loop that assigns no variable",
    label = "nothing in this loop changes its condition",
    note = "a traced loop assigns at least one tensor that is declared outside of it"
)]
pub trait Variables {}

impl<A, B> Variables for Carried<A, B> {}

impl<'t, T> Repeat<T> for Looping<'t>
where
    T: Variables + Tree<Tensor<'t>, With<Tensor<'t>> = T>,
{
    type Step = (Tensor<'t>, Half);

    #[track_caller]
    fn flag(self, carried: T) -> (Tensor<'t>, T) {
        (trace_of(&carried).scalar(false), carried)
    }

    #[track_caller]
    fn begin(self, carried: T) -> (Test<'t>, T, T) {
        let test = Test::begin(tensors(&carried), Location::caller());
        let inputs = test.open(trace_of(&carried));
        let inside = rebuild(&carried, &inputs);
        (test, carried, inside)
    }

    #[track_caller]
    fn end(self, test: Test<'t>, kept: T, next: T) -> T {
        let t = trace_of(&kept);
        let step = t.close_body(tensors(&next), test.place);
        let body = (test.test.expect("the test is recorded before the body"), step);
        t.repeat_while(t.loop_options().get(), &kept, &test.start, body, &next, test.place)
    }

    #[track_caller]
    fn open_unless(self, flag: &Tensor<'t>, carried: T) -> (Self::Step, T) {
        let t = flag.trace();
        t.open_body("then", &[], &[], Location::caller());
        ((*flag, turn(t, &carried)), carried)
    }

    #[track_caller]
    fn close_unless(self, (flag, kept): Self::Step, next: T) -> T {
        close(flag, kept, &next)
    }
}

impl<'t, T, C> Tested<T, C> for Looping<'t>
where
    T: Tree<Tensor<'t>, With<Tensor<'t>> = T>,
    C: Condition + 't,
{
    #[track_caller]
    fn test(self, test: &mut Test<'t>, condition: C, kept: &T) -> T {
        let t = trace_of(kept);
        test.test = Some(t.close_body(vec![condition.truth(t)], test.place));
        rebuild(kept, &test.open(t))
    }

    #[track_caller]
    fn test_unless(self, test: &mut Test<'t>, condition: C, flag: Tensor<'t>, kept: &T) -> T {
        let goes_on = condition.truth(trace_of(kept)).and(flag.not());
        self.test(test, goes_on, kept)
    }
}
