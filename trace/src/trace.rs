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

use std::cell::{Cell, RefCell, RefMut};
use std::panic::Location;

use backstitch_ir::eval::Datum;
use backstitch_ir::graph::{Origin, Values};
use backstitch_ir::op::TypeError;
use backstitch_ir::{Array, DType, Graph, Idx, Node, Op, Shape, Type, Value, ops};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::mistake::{Mistake, Operand, Problem, TraceError};
use crate::tape::TapeState;
use crate::tensor::Tensor;

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

/// What a slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Plain,
    /// A variable: tapes watch it when it is used.
    Variable,
    /// The result of a mistake; its value is an index into the guesses.
    Poisoned,
}

#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) value: Value,
    scope: u32,
    pub(crate) kind: Kind,
    place: &'static Location<'static>,
}

/// A graph being recorded.
pub(crate) struct Scope {
    id: u32,
    pub(crate) graph: Graph,
    /// Values of the scope around and the inputs that stand for them here.
    pub(crate) captures: Vec<(Value, Value)>,
    inner: FxHashMap<Value, Value>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) scopes: Vec<Scope>,
    made_scopes: u32,
    pub(crate) slots: Vec<Slot>,
    guesses: Vec<Type>,
    pub(crate) mistakes: Vec<Mistake>,
    /// Values of the outermost graph, in eager mode.
    pub(crate) data: Vec<Datum>,
    computed: usize,
    /// Inputs that stand for constants, in a compiling trace.
    pub(crate) held: Vec<(Value, Array)>,
    pub(crate) tapes: Vec<TapeState>,
    pub(crate) made_tapes: u32,
}

/// Why a tensor is not to be had as a value of the current scope.
pub(crate) enum Absent {
    /// It is the result of a mistake.
    Poisoned,
    /// Its scope is closed.
    Closed,
    /// It belongs to another trace.
    Foreign,
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
        Self { state: RefCell::new(state), eager, line: Cell::new(None) }
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
        let poisoned = |x: &Tensor<'_>| {
            std::ptr::eq(self, x.trace) && state.slots[x.id as usize].kind == Kind::Poisoned
        };
        if !operands.iter().any(poisoned) {
            let operands = self.describe(&state, operands);
            let message = message.into();
            state.mistakes.push(Mistake { place, operation, problem, message, operands });
        }
        self.poison(&mut state, guess, place)
    }

    /// A tensor that stands for the result of a mistake.
    pub(crate) fn poison<'t>(
        &'t self,
        state: &mut State,
        guess: Type,
        place: &'static Location<'static>,
    ) -> Tensor<'t> {
        let value = Value::new(state.guesses.len());
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
        let graph = &mut state.top().graph;
        graph.set_origin(origin(place));
        let value = graph.input(ty.clone(), (!name.is_empty()).then_some(name));
        self.slot(&mut state, value, Kind::Plain, place)
    }
}

impl State {
    /// The innermost open scope.
    pub(crate) fn top(&mut self) -> &mut Scope {
        self.scopes.last_mut().expect("one scope is always open")
    }

    /// Starts to record another graph.
    pub(crate) fn open(&mut self, graph: Graph) {
        let id = self.made_scopes;
        self.made_scopes += 1;
        let (captures, inner) = (Vec::new(), FxHashMap::default());
        self.scopes.push(Scope { id, graph, captures, inner });
    }

    /// Ends the recording of the innermost graph.
    pub(crate) fn close(&mut self) -> Scope {
        assert!(self.scopes.len() > 1, "the outermost scope stays open");
        self.scopes.pop().expect("checked above")
    }

    /// The current scope's value of a tensor.
    pub(crate) fn resolve(&mut self, id: u32) -> Result<Value, Absent> {
        let slot = self.slots[id as usize];
        match slot.kind {
            Kind::Plain => {}
            Kind::Variable => self.tapes.iter_mut().for_each(|tape| tape.accessed(id)),
            Kind::Poisoned => return Err(Absent::Poisoned),
        }
        let top = self.scopes.len() - 1;
        if self.scopes[top].id == slot.scope {
            return Ok(slot.value);
        }
        let at = self.scopes.iter().rposition(|s| s.id == slot.scope).ok_or(Absent::Closed)?;
        Ok(self.bring(slot.value, at, top))
    }

    /// Makes a tensor of the current scope mean another value of it.
    pub(crate) fn rebind(&mut self, id: u32, value: Value) {
        let scope = self.top().id;
        let slot = &mut self.slots[id as usize];
        (slot.value, slot.scope) = (value, scope);
    }

    /// Takes a value of scope `from` into scope `to`, through those between.
    fn bring(&mut self, value: Value, from: usize, to: usize) -> Value {
        let mut v = value;
        for level in from + 1..=to {
            let (outer, inner) = self.scopes.split_at_mut(level);
            let (outer, scope) = (&outer[level - 1].graph, &mut inner[0]);
            v = scope.take(outer, v);
        }
        v
    }

    fn scope_of(&self, slot: Slot) -> Option<&Scope> {
        self.scopes.iter().rev().find(|s| s.id == slot.scope)
    }

    /// The line that made a tensor of this trace.
    pub(crate) fn place_of(&self, id: u32) -> &'static Location<'static> {
        self.slots[id as usize].place
    }

    /// The type of a tensor of this trace; that it was guessed to have, if it is
    /// poisoned.
    pub(crate) fn type_of(&self, id: u32) -> Type {
        let slot = self.slots[id as usize];
        if slot.kind == Kind::Poisoned {
            return self.guesses[slot.value.index()].clone();
        }
        match self.scope_of(slot) {
            Some(scope) => scope.graph.ty(slot.value).clone(),
            // Of a body that is closed: any use of it is refused.
            None => Type::scalar(DType::F64),
        }
    }

    /// Records that operands are not to be had, unless for an earlier mistake.
    pub(crate) fn refuse(
        &mut self,
        operation: &'static str,
        absent: Absent,
        operands: Vec<Operand>,
        place: &'static Location<'static>,
    ) {
        let message = match absent {
            Absent::Poisoned => return,
            Absent::Closed => {
                "a tensor made in the body of a loop or conditional is used outside of it; \
                 make it a result of the body"
            }
            Absent::Foreign => "tensors of two different traces",
        };
        let (problem, message) = (Problem::Scope, message.to_owned());
        self.mistakes.push(Mistake { place, operation, problem, message, operands });
    }

    /// Adds an operation to the innermost graph, and computes it in eager mode.
    pub(crate) fn add(
        &mut self,
        op: Op,
        args: &[Value],
        place: &'static Location<'static>,
        eager: bool,
    ) -> Result<Values, TypeError> {
        let graph = &mut self.top().graph;
        graph.set_origin(origin(place));
        let results = graph.add(op, args)?;
        if eager {
            self.catch_up();
        }
        Ok(results)
    }

    /// An array as an input of the outermost graph.
    pub(crate) fn leaf(
        &mut self,
        array: Array,
        place: &'static Location<'static>,
        eager: bool,
    ) -> Value {
        let graph = &mut self.scopes[0].graph;
        graph.set_origin(origin(place));
        let value = graph.input(array.ty(), None);
        if eager {
            self.data.push(array.into());
            self.computed += 1;
        } else {
            self.held.push((value, array));
        }
        value
    }

    /// The array that a value of the outermost graph has, in eager mode.
    pub(crate) fn datum(&self, v: Value) -> Array {
        self.data[v.index()].array().clone()
    }

    /// Computes the nodes of the outermost graph that are not computed yet.
    pub(crate) fn catch_up(&mut self) {
        let graph = &self.scopes[0].graph;
        while self.computed < graph.node_count() {
            let n = Node::new(self.computed);
            let args = graph.args(n);
            let results = {
                let args: SmallVec<[&Datum; 4]> =
                    args.iter().map(|a| &self.data[a.index()]).collect();
                graph.op(n).eval(&args)
            };
            self.data.extend(results);
            self.computed += 1;
        }
    }
}

/// Where a node comes from that the user's line asked for.
pub(crate) fn origin(place: &'static Location<'static>) -> Origin {
    Origin { place: Some(place), ..Origin::default() }
}

impl Scope {
    /// The value here that stands for `v` of the graph around.
    fn take(&mut self, outer: &Graph, v: Value) -> Value {
        if let Some(c) = outer.as_splat(v) {
            let constant = self.graph.constant(Array::scalar(c));
            let shape: Shape = outer.ty(v).shape.clone();
            return self.graph.broadcast(constant, &shape, &[]);
        }
        if let Some(&known) = self.inner.get(&v) {
            return known;
        }
        let here = self.graph.input(outer.ty(v).clone(), outer.name_of(v));
        self.capture(v, here);
        here
    }

    /// Makes input `here` stand for `v` of the graph around.
    pub(crate) fn capture(&mut self, v: Value, here: Value) {
        self.captures.push((v, here));
        self.inner.insert(v, here);
    }
}
