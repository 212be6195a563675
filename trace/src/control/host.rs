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

use std::marker::PhantomData;
use std::panic::Location;

use backstitch_ir::{DType, Type};

use super::{Body, rebuild};
use crate::mistake::Problem;
use crate::tensor::Tensor;
use crate::trace::Trace;
use crate::tree::{Leaf, Path, Tree};

/// What there is not.
#[derive(Clone, Copy)]
pub enum Never {}

// ---- modes ----

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
                Looping(PhantomData)
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

// ---- truth values in conditions ----

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

// ---- carries ----

/// Variables with their names, as a tree.
pub struct Carried<A, B> {
    /// The variable's name.
    pub name: &'static str,
    /// Its value.
    pub value: A,
    /// Further ones, or `()`.
    pub rest: B,
}

impl<L: Leaf, A: Tree<L>, B: Tree<L>> Tree<L> for Carried<A, B> {
    type With<U: Leaf> = Carried<A::With<U>, B::With<U>>;
    type Nest<M: Leaf, V: Tree<M>> = Carried<A::Nest<M, V>, B::Nest<M, V>>;

    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a L))
    where
        L: 'a,
    {
        path.enter(self.name, |path| self.value.visit(path, f));
        self.rest.visit(path, f);
    }

    fn map_leaves<U: Leaf>(&self, f: &mut dyn FnMut(&L) -> U) -> Self::With<U> {
        let value = self.value.map_leaves(f);
        Carried { name: self.name, value, rest: self.rest.map_leaves(f) }
    }

    fn nest_leaves<M: Leaf, V: Tree<M>>(&self, f: &mut dyn FnMut(&L) -> V) -> Self::Nest<M, V> {
        let value = self.value.nest_leaves(f);
        Carried { name: self.name, value, rest: self.rest.nest_leaves(f) }
    }
}

fn copy<'t, T: Tree<Tensor<'t>, With<Tensor<'t>> = T>>(tree: &T) -> T {
    tree.map_leaves(&mut |x| *x)
}

fn tensors<'t>(tree: &impl Tree<Tensor<'t>>) -> Vec<Tensor<'t>> {
    tree.leaves().into_iter().copied().collect()
}

/// The trace of a carry. A loop that carries no tensor cannot be traced, for nothing
/// in it can change.
fn trace_of<'t>(tree: &impl Tree<Tensor<'t>>) -> &'t Trace {
    let first = tree.leaves().first().map(|x| x.trace());
    first.expect("a traced loop assigns at least one tensor")
}

// ---- `if` ----

/// Records a traced `if`, by its condition.
#[derive(Clone, Copy)]
pub struct Branching<'t>(Tensor<'t>);

/// The branch that is recorded first, with the names of its results.
pub struct Half {
    body: Body,
    names: Vec<String>,
}

/// Steps of a traced `if` that carries or gives a `T`; in host mode, of any.
pub trait Branch<T>: Sized {
    /// Opens the first branch. What is carried twice: to be kept, and to go on with.
    fn open(self, carried: T) -> (T, T);
    /// Closes the first branch with its results and opens the second.
    fn turn(self, results: T) -> Half;
    /// What is carried, as it was before the first branch.
    fn again(self, kept: &T) -> T;
    /// Closes the second branch; the results of the one or the other.
    fn close(self, first: Half, results: T) -> T;
}

impl<T> Branch<T> for Never {
    fn open(self, _: T) -> (T, T) {
        match self {}
    }
    fn turn(self, _: T) -> Half {
        match self {}
    }
    fn again(self, _: &T) -> T {
        match self {}
    }
    fn close(self, _: Half, _: T) -> T {
        match self {}
    }
}

impl<'t, T: Tree<Tensor<'t>, With<Tensor<'t>> = T>> Branch<T> for Branching<'t> {
    #[track_caller]
    fn open(self, carried: T) -> (T, T) {
        self.0.trace().open_body("then", &[], &[], Location::caller());
        (copy(&carried), carried)
    }

    #[track_caller]
    fn turn(self, results: T) -> Half {
        turn(self.0.trace(), &results)
    }

    fn again(self, kept: &T) -> T {
        copy(kept)
    }

    #[track_caller]
    fn close(self, first: Half, results: T) -> T {
        close(self.0, first, &results)
    }
}

#[track_caller]
fn turn<'t>(t: &'t Trace, results: &impl Tree<Tensor<'t>>) -> Half {
    let body = t.close_body(tensors(results), Location::caller());
    t.open_body("else", &[], &body.scope.captures, Location::caller());
    Half { body, names: results.leaf_names() }
}

#[track_caller]
fn close<'t, T: Tree<Tensor<'t>>>(
    predicate: Tensor<'t>,
    first: Half,
    results: &T,
) -> T::With<Tensor<'t>> {
    let t = predicate.trace();
    let second = t.close_body(tensors(results), Location::caller());
    let names = [first.names, results.leaf_names()];
    t.branch(predicate, (first.body, second), names, results, Location::caller())
}

// ---- loops ----

/// Records a traced loop.
#[derive(Clone, Copy)]
pub struct Looping<'t>(PhantomData<Tensor<'t>>);

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
    start: Vec<Tensor<'t>>,
    types: Vec<Type>,
    place: &'static Location<'static>,
    test: Option<Body>,
}

impl<'t> Test<'t> {
    fn begin(start: Vec<Tensor<'t>>, place: &'static Location<'static>) -> Self {
        let types = start.iter().map(|x| x.ty()).collect();
        Self { start, types, place, test: None }
    }

    /// Opens the predicate or, after it, the body.
    fn open(&self, t: &'t Trace) -> Vec<Tensor<'t>> {
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
#[diagnostic::on_unimplemented(
    message = "a traced loop cannot carry `{T}`",
    label = "what is assigned in this loop has to be tensors, and there has to be some",
    note = "a traced loop assigns at least one tensor that is declared outside of it"
)]
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

impl<'t, A, B> Repeat<Carried<A, B>> for Looping<'t>
where
    Carried<A, B>: Tree<Tensor<'t>, With<Tensor<'t>> = Carried<A, B>>,
{
    type Step = (Tensor<'t>, Half);

    #[track_caller]
    fn flag(self, carried: Carried<A, B>) -> (Tensor<'t>, Carried<A, B>) {
        (trace_of(&carried).scalar(false), carried)
    }

    #[track_caller]
    fn begin(self, carried: Carried<A, B>) -> (Test<'t>, Carried<A, B>, Carried<A, B>) {
        let test = Test::begin(tensors(&carried), Location::caller());
        let inputs = test.open(trace_of(&carried));
        let inside = rebuild(&carried, &inputs);
        (test, carried, inside)
    }

    #[track_caller]
    fn end(self, test: Test<'t>, kept: Carried<A, B>, next: Carried<A, B>) -> Carried<A, B> {
        let t = trace_of(&kept);
        let step = t.close_body(tensors(&next), test.place);
        let body = (test.test.expect("the test is recorded before the body"), step);
        t.repeat_while(&kept, &test.start, body, &next, test.place)
    }

    #[track_caller]
    fn open_unless(self, flag: &Tensor<'t>, carried: Carried<A, B>) -> (Self::Step, Carried<A, B>) {
        let t = flag.trace();
        t.open_body("then", &[], &[], Location::caller());
        ((*flag, turn(t, &carried)), carried)
    }

    #[track_caller]
    fn close_unless(self, (flag, kept): Self::Step, next: Carried<A, B>) -> Carried<A, B> {
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

// ---- `for` over ranges ----

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
        let Begun { test: Test { start, place, test, .. }, counter, .. } = begun;
        let mut outputs = vec![counter + 1];
        outputs.extend(tensors(&next));
        let step = t.close_body(outputs, place);
        let Some(test) = test else {
            return t.repeat_count(self.end - self.first, &kept, start, step, &next, place);
        };
        let counted = |rest| Carried { name: "counter", value: counter, rest };
        t.repeat_while(&counted(kept), &start, (test, step), &counted(next), place).rest
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

// ---- what a traced construct does not take ----

macro_rules! host_only {
    ($($(#[$doc:meta])* $name:ident $function:ident $message:literal $note:literal;)*) => {$(
        $(#[$doc])*
        #[diagnostic::on_unimplemented(message = $message, label = "here", note = $note)]
        pub trait $name {}
        impl $name for bool {}
        impl<T> $name for HostRange<T> {}
        impl $name for Loop<()> {}
        impl<C: $name, G> $name for Loop<(C, G)> where Loop<G>: $name {}
        $(#[$doc])*
        pub fn $function<M: $name>(_: &M) {}
    )*};
}

host_only! {
    /// Says that a construct may be left by `return`.
    Returns returns
    "`return` cannot leave a traced loop, or a traced branch before its end"
    "write `break` and decide after the loop, or let the branch end with the `return`";
    /// Says that a construct may be left by `break` or `continue`.
    Breaks breaks
    "this `break` or `continue` cannot leave a traced branch or loop"
    "under a traced condition, `break` and `continue` are statements that end a branch of an \
     `if` of the innermost loop, without a label or a value";
    /// Says that a construct may be left by `?`.
    Questions questions
    "`?` cannot leave a traced branch or loop"
    "whether there is an error has to be known while tracing: use `?` before the `if` or the loop";
    /// Says that a construct may assign through a reference.
    Writes writes
    "a traced branch or loop cannot assign through a reference"
    "assign to a variable that is declared outside, and through the reference afterwards";
}
