//! The recorder.
//!
//! A [`Trace`] holds a graph that grows with each operation. A [`Tensor`] is an
//! index into its table of *slots*; a slot says in which scope the tensor was
//! made, as which value, and on which of the user's lines. Slots rather than
//! values, because the graph shares equal computations: two tensors can be one
//! value and still have been made on two lines.
//!
//! # Scopes
//!
//! The body of a loop or a branch is a graph of its own, recorded in a scope of
//! its own. A tensor of an outer scope that is used inside becomes an additional
//! input of each body in between (a *capture*); constants are copied instead. A
//! tensor of a body that has been closed is refused.
//!
//! # Eager mode
//!
//! An eager trace computes each node as it is added and keeps the value beside
//! it. The graph is still there: it is the tape. Values given from outside are
//! inputs of that graph, so that they are never hashed nor shared, and two
//! tensors of equal value stay two.

mod state;

use std::cell::{Cell, RefCell, RefMut};
use std::panic::Location;

use backstitch_ir::graph::Values;
use backstitch_ir::{Array, Const, DType, Graph, Idx, Op, Type, Value, ops};
use smallvec::SmallVec;

use crate::control::LoopOptions;
use crate::mistake::{Mistake, Operand, Problem, TraceError};
use crate::tensor::Tensor;

pub(crate) use state::{Absent, Kind, Scope, Slot, State, fault, is_to_be_had, origin};

/// Records a program, or runs it as it is written.
///
/// ```
/// use backstitch_trace::Trace;
/// let t = Trace::eager();
/// let x = t.constant(3.0);
/// let y = x * x + 1.0;
/// assert_eq!(y.item::<f64>()?, 10.0);
/// # Ok::<(), backstitch_trace::TraceError>(())
/// ```
pub struct Trace {
    state: RefCell<State>,
    eager: bool,
    /// The user's line, while an operation is being composed of others.
    line: Cell<Option<&'static Location<'static>>>,
    /// What is said of the loops that are recorded now.
    loops: Cell<LoopOptions>,
}

/// While it lives, operations count as asked for on one line of the user's.
pub(crate) struct Line<'t> {
    trace: &'t Trace,
    before: Option<&'static Location<'static>>,
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.trace.line.set(self.before);
    }
}

impl Trace {
    /// A trace that computes each operation at once.
    pub fn eager() -> Self {
        Self::new("eager", true)
    }

    /// A trace that only records.
    pub(crate) fn recording(name: &str) -> Self {
        Self::new(name, false)
    }

    fn new(name: &str, eager: bool) -> Self {
        let mut state = State::default();
        state.open(Graph::new(name));
        Self { state: RefCell::new(state), eager, line: Cell::new(None), loops: Cell::default() }
    }

    /// Lets all operations count as asked for by the caller. Needed where they are
    /// called in closures, which do not track their callers.
    #[track_caller]
    pub(crate) fn line(&self) -> Line<'_> {
        self.line_at(Location::caller())
    }

    /// As [`line`](Self::line), for a line that is known.
    pub(crate) fn line_at(&self, place: &'static Location<'static>) -> Line<'_> {
        let before = self.line.get();
        self.line.set(before.or(Some(place)));
        Line { trace: self, before }
    }

    /// The user's line that asks for an operation.
    #[track_caller]
    pub(crate) fn place(&self) -> &'static Location<'static> {
        self.line.get().unwrap_or(Location::caller())
    }

    /// Whether operations are computed at once.
    pub fn is_eager(&self) -> bool {
        self.eager
    }

    /// The mistakes made so far, if any.
    ///
    /// # Errors
    /// The mistakes.
    pub fn check(&self) -> Result<(), TraceError> {
        let state = self.state.borrow();
        if state.mistakes.is_empty() {
            return Ok(());
        }
        Err(TraceError::new(state.mistakes.clone()))
    }

    /// The graph recorded so far.
    pub fn graph(&self) -> std::cell::Ref<'_, Graph> {
        std::cell::Ref::map(self.state.borrow(), |s| &s.scopes[0].graph)
    }

    /// What is said of the loops that are recorded now.
    pub(crate) fn loop_options(&self) -> &Cell<LoopOptions> {
        &self.loops
    }

    pub(crate) fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    pub(crate) fn into_state(self) -> State {
        self.state.into_inner()
    }

    /// Whether a body is being recorded.
    pub(crate) fn is_nested(&self) -> bool {
        self.state.borrow().scopes.len() > 1
    }

    /// Records an operation on these tensors; the first of its results.
    #[track_caller]
    pub(crate) fn apply(&self, op: impl Into<Op>, args: &[Tensor<'_>]) -> Tensor<'_> {
        self.apply_all(op.into(), args, |t| SmallVec::from_elem(t, 1))[0]
    }

    /// Records an operation; all of its results. Where it is a mistake, as many
    /// poisoned tensors as there are guesses.
    #[track_caller]
    pub(crate) fn apply_all(
        &self,
        op: Op,
        args: &[Tensor<'_>],
        guess: impl FnOnce(Type) -> SmallVec<[Type; 1]>,
    ) -> SmallVec<[Tensor<'_>; 1]> {
        let place = self.place();
        let mut state = self.state.borrow_mut();
        let operation = op.name();
        let first = |state: &State| match args.first() {
            Some(&x) => self.type_of(state, x),
            None => Type::scalar(DType::F64),
        };
        let values = match self.resolve_all(&mut state, args) {
            Ok(values) => values,
            Err(absent) => {
                let operands = self.describe(&state, args);
                state.refuse(operation, absent, operands, place);
                let types: SmallVec<[Type; 4]> =
                    args.iter().map(|&a| self.type_of(&state, a)).collect();
                let types: SmallVec<[&Type; 4]> = types.iter().collect();
                let types = op.infer(&types).unwrap_or_else(|_| guess(first(&state)));
                return self.poison_all(&mut state, types, place);
            }
        };
        match state.add(op, &values, place, self.eager) {
            Ok(results) => {
                results.into_iter().map(|v| self.slot(&mut state, v, Kind::Plain, place)).collect()
            }
            Err(e) => {
                let operands = self.describe(&state, args);
                let message = format!("expected {}", e.expected);
                let problem = Problem::DType;
                state.mistakes.push(Mistake { place, operation, problem, message, operands });
                let types = guess(first(&state));
                self.poison_all(&mut state, types, place)
            }
        }
    }

    /// Records a mistake, unless it follows from one among the operands.
    #[track_caller]
    pub(crate) fn mistake(
        &self,
        operation: &'static str,
        problem: Problem,
        message: impl Into<String>,
        operands: &[Tensor<'_>],
        guess: Type,
    ) -> Tensor<'_> {
        let place = self.place();
        let mut state = self.state.borrow_mut();
        if !operands.iter().any(|x| self.follows(&state, x)) {
            let operands = self.describe(&state, operands);
            let message = message.into();
            state.mistakes.push(Mistake { place, operation, problem, message, operands });
        }
        self.poison(&mut state, guess, place)
    }

    /// Whether a tensor stands for the result of a mistake, which is recorded already.
    pub(crate) fn is_poisoned(&self, x: Tensor<'_>) -> bool {
        self.follows(&self.state.borrow(), &x)
    }

    fn follows(&self, state: &State, x: &Tensor<'_>) -> bool {
        std::ptr::eq(self, x.trace) && state.slots[x.id as usize].kind == Kind::Poisoned
    }

    /// A tensor that stands for the result of a mistake.
    pub(crate) fn poison<'t>(
        &'t self,
        state: &mut State,
        guess: Type,
        place: &'static Location<'static>,
    ) -> Tensor<'t> {
        let value = Value::new(state.guesses.len());
        // A guess is asked for its size as any other type.
        let guess = if guess.checked_bytes().is_some() { guess } else { Type::scalar(guess.dtype) };
        state.guesses.push(guess);
        self.slot(state, value, Kind::Poisoned, place)
    }

    fn poison_all<'t>(
        &'t self,
        state: &mut State,
        types: SmallVec<[Type; 1]>,
        place: &'static Location<'static>,
    ) -> SmallVec<[Tensor<'t>; 1]> {
        types.into_iter().map(|ty| self.poison(state, ty, place)).collect()
    }

    /// A handle to a value of the current scope.
    pub(crate) fn slot<'t>(
        &'t self,
        state: &mut State,
        value: Value,
        kind: Kind,
        place: &'static Location<'static>,
    ) -> Tensor<'t> {
        let id = u32::try_from(state.slots.len()).expect("fewer than 2^32 tensors");
        let scope = state.scopes.last().expect("one scope is always open").id;
        state.slots.push(Slot { value, scope, kind, place });
        Tensor { trace: self, id }
    }

    /// The tensor's value in the current scope.
    pub(crate) fn resolve(&self, state: &mut State, x: Tensor<'_>) -> Result<Value, Absent> {
        if !std::ptr::eq(self, x.trace) {
            return Err(Absent::Foreign);
        }
        state.resolve(x.id)
    }

    /// The type of a tensor, with the state of this trace borrowed.
    pub(crate) fn type_of(&self, state: &State, x: Tensor<'_>) -> Type {
        if std::ptr::eq(self, x.trace) { state.type_of(x.id) } else { x.ty() }
    }

    fn resolve_all(&self, state: &mut State, args: &[Tensor<'_>]) -> Result<Values, Absent> {
        args.iter().map(|&x| self.resolve(state, x)).collect()
    }

    /// The operands as a mistake tells them.
    pub(crate) fn describe(&self, state: &State, args: &[Tensor<'_>]) -> Vec<Operand> {
        let describe = |&x: &Tensor<'_>| {
            if !std::ptr::eq(self, x.trace) {
                return Operand { ty: x.ty(), name: None, place: None };
            }
            let slot = state.slots[x.id as usize];
            let input = state.scope_of(slot).filter(|_| slot.kind != Kind::Poisoned);
            let name = input.and_then(|s| s.graph.name_of(slot.value)).map(str::to_owned);
            Operand { ty: state.type_of(x.id), name, place: Some(slot.place) }
        };
        args.iter().map(describe).collect()
    }

    // ---- leaves ----

    /// An array that is part of the program.
    ///
    /// Takes ndarray arrays, views of them, scalars and [`Array`]s.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0f32, 2.0], [3.0, 4.0]]));
    /// assert_eq!(x.shape().dims(), [2, 2]);
    /// assert_eq!(x.sum().item::<f32>()?, 10.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn constant(&self, array: impl Into<Array>) -> Tensor<'_> {
        let array = array.into();
        if self.eager && !self.is_nested() {
            return self.leaf(array, Kind::Plain);
        }
        self.apply(ops::Literal::new(array), &[])
    }

    /// A rank-0 constant, shared by all who ask for the same.
    #[track_caller]
    pub(crate) fn scalar_constant(&self, c: Const) -> Tensor<'_> {
        let place = self.place();
        let mut state = self.state.borrow_mut();
        let known = state.top().scalars.get(&(c.dtype, c.bits)).copied();
        let value = known.unwrap_or_else(|| {
            let op = ops::Literal::new(Array::scalar(c)).into();
            let value = state.add(op, &[], place, self.eager).expect("a constant is well typed")[0];
            state.top().scalars.insert((c.dtype, c.bits), value);
            value
        });
        self.slot(&mut state, value, Kind::Plain, place)
    }

    /// Whether all of these are tensors of this trace of one type.
    pub(crate) fn same_type(&self, args: &[Tensor<'_>]) -> bool {
        let state = self.state.borrow();
        let types = args.iter().map(|x| {
            let slot = state.slots.get(x.id as usize).filter(|_| std::ptr::eq(self, x.trace))?;
            let scope = state.scope_of(*slot).filter(|_| slot.kind != Kind::Poisoned)?;
            Some(scope.graph.ty(slot.value))
        });
        let mut first = None;
        types.into_iter().all(|ty| match (ty, first) {
            (Some(ty), Some(first)) => ty == first,
            (Some(ty), None) => {
                first = Some(ty);
                true
            }
            (None, _) => false,
        })
    }

    /// A value that tapes watch when it is used, as in TensorFlow: a parameter
    /// of a model.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let w = t.variable(3.0);
    /// let tape = t.tape();
    /// let y = w * w;
    /// let dw = tape.gradient(&y, &w).expect_connected();
    /// assert_eq!(dw.item::<f64>()?, 6.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn variable(&self, array: impl Into<Array>) -> Tensor<'_> {
        self.leaf(array.into(), Kind::Variable)
    }

    /// An array as an input of the graph, never shared with another. In a
    /// compiling trace it becomes a constant in the end.
    #[track_caller]
    fn leaf(&self, array: Array, kind: Kind) -> Tensor<'_> {
        let place = self.place();
        let mut state = self.state.borrow_mut();
        let value = state.leaf(array, place, self.eager);
        let id = u32::try_from(state.slots.len()).expect("fewer than 2^32 tensors");
        let scope = state.scopes[0].id;
        state.slots.push(Slot { value, scope, kind, place });
        Tensor { trace: self, id }
    }

    /// An input of the program.
    pub(crate) fn input(
        &self,
        ty: &Type,
        name: &str,
        place: &'static Location<'static>,
    ) -> Tensor<'_> {
        let mut state = self.state.borrow_mut();
        if ty.checked_bytes().is_none() {
            let (operation, problem) = ("input", Problem::Shape);
            let message = format!("`{name}` as {ty} does not fit in memory");
            let operands = vec![];
            state.mistakes.push(Mistake { place, operation, problem, message, operands });
            return self.poison(&mut state, Type::scalar(ty.dtype), place);
        }
        let graph = &mut state.top().graph;
        graph.set_origin(origin(place));
        let value = graph.input(ty.clone(), (!name.is_empty()).then_some(name));
        self.slot(&mut state, value, Kind::Plain, place)
    }
}
