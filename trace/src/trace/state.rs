//! What a trace has recorded: scopes, slots, values.

use std::panic::Location;

use backstitch_ir::eval::Datum;
use backstitch_ir::graph::{Origin, Values};
use backstitch_ir::op::TypeError;
use backstitch_ir::routine::{self, Raised};
use backstitch_ir::{Array, DType, Graph, Idx, Node, Op, Shape, Type, Value};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::mistake::{Mistake, Operand, Problem};
use crate::tape::TapeState;

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
    pub(crate) scope: u32,
    pub(crate) kind: Kind,
    pub(super) place: &'static Location<'static>,
}

/// A graph being recorded.
pub(crate) struct Scope {
    pub(super) id: u32,
    pub(crate) graph: Graph,
    /// Values of the scope around and the inputs that stand for them here.
    pub(crate) captures: Vec<(Value, Value)>,
    inner: FxHashMap<Value, Value>,
    /// Values with a name by which a checkpoint may keep them.
    pub(crate) named: Vec<(Value, Box<str>)>,
    /// Rank-0 constants that have been used here, by their bits.
    pub(super) scalars: FxHashMap<(DType, u64), Value>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) scopes: Vec<Scope>,
    made_scopes: u32,
    pub(crate) slots: Vec<Slot>,
    pub(super) guesses: Vec<Type>,
    pub(crate) mistakes: Vec<Mistake>,
    /// Values of the outermost graph, in eager mode.
    pub(crate) data: Vec<Datum>,
    computed: usize,
    /// Values of the outermost graph that follow from a fault, in eager mode.
    pub(crate) failed: FxHashSet<Value>,
    /// Inputs that stand for constants, in a compiling trace.
    pub(crate) held: Vec<(Value, Array)>,
    pub(crate) tapes: Vec<TapeState>,
    pub(crate) made_tapes: u32,
    /// What variables were before they were assigned to, while there are tapes.
    pub(crate) versions: FxHashMap<u32, Vec<Version>>,
}

/// What a variable was.
pub(crate) struct Version {
    pub(crate) value: Value,
    /// How many tapes had been made when it was replaced.
    pub(crate) tapes: u32,
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

impl State {
    /// The innermost open scope.
    pub(crate) fn top(&mut self) -> &mut Scope {
        self.scopes.last_mut().expect("one scope is always open")
    }

    /// Starts to record another graph.
    pub(crate) fn open(&mut self, graph: Graph) {
        let id = self.made_scopes;
        self.made_scopes += 1;
        let (captures, inner, named, scalars) = Default::default();
        self.scopes.push(Scope { id, graph, captures, inner, named, scalars });
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

    /// Gives a variable another value.
    pub(crate) fn replace(&mut self, id: u32, leaf: Value) {
        let value = std::mem::replace(&mut self.slots[id as usize].value, leaf);
        if !self.tapes.is_empty() {
            let version = Version { value, tapes: self.made_tapes };
            self.versions.entry(id).or_default().push(version);
        }
    }

    /// Makes a tensor of the current scope mean another value of it.
    pub(crate) fn rebind(&mut self, id: u32, value: Value) {
        let scope = self.top().id;
        let slot = &mut self.slots[id as usize];
        (slot.value, slot.scope) = (value, scope);
    }

    /// Whether a tensor is of the outermost scope, and that is the open one.
    pub(crate) fn is_outermost(&self, id: u32) -> bool {
        self.scopes.len() == 1 && self.slots[id as usize].scope == self.scopes[0].id
    }

    /// What the innermost scope is called.
    pub(crate) fn top_id(&self) -> u32 {
        self.scopes.last().expect("one scope is always open").id
    }

    /// Makes a tensor stand for a value of the outermost scope.
    pub(crate) fn rebind_outermost(&mut self, id: u32, value: Value) {
        let scope = self.scopes[0].id;
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

    pub(super) fn scope_of(&self, slot: Slot) -> Option<&Scope> {
        self.scopes.iter().rev().find(|s| s.id == slot.scope)
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
        let eager_now = eager && self.scopes.len() == 1;
        let graph = &mut self.top().graph;
        if eager_now {
            let types: SmallVec<[&Type; 4]> = args.iter().map(|&v| graph.ty(v)).collect();
            if !op.infer(&types)?.iter().all(is_to_be_had) {
                let got = types.into_iter().cloned().collect();
                let expected = "a result for which there is memory".to_owned();
                return Err(TypeError { op: op.name().to_owned(), expected, got });
            }
        }
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

    /// The value of a tensor, if it is known before the program runs: in eager mode,
    /// or of a constant.
    pub(crate) fn known(&self, id: u32, eager: bool) -> Option<Array> {
        let slot = self.slots[id as usize];
        if slot.kind == Kind::Poisoned {
            return None;
        }
        if eager && slot.scope == self.scopes[0].id {
            return Some(self.datum(slot.value));
        }
        match self.scope_of(slot)?.graph.op_of(slot.value) {
            Op::Literal(literal) => Some(literal.array().clone()),
            _ => None,
        }
    }

    /// The array that a value of the outermost graph has, in eager mode.
    pub(crate) fn datum(&self, v: Value) -> Array {
        self.data[v.index()].array().clone()
    }

    /// Computes the nodes of the outermost graph that are not computed yet.
    ///
    /// What follows from a fault fails silently, as what follows from a mistake.
    #[track_caller]
    pub(crate) fn catch_up(&mut self) {
        let graph = &self.scopes[0].graph;
        while self.computed < graph.node_count() {
            let n = Node::new(self.computed);
            let args = graph.args(n);
            let (results, raised) = {
                let args: SmallVec<[&Datum; 4]> =
                    args.iter().map(|a| &self.data[a.index()]).collect();
                routine::watch(|| graph.op(n).eval(&args))
            };
            let follows = !self.failed.is_empty() && args.iter().any(|a| self.failed.contains(a));
            if raised.is_some() || follows {
                self.failed.extend(graph.results(n));
            }
            if let Some(raised) = raised.filter(|_| !follows) {
                let here = Location::caller();
                self.mistakes.push(fault(raised, graph.origin(n).place.unwrap_or(here)));
            }
            self.data.extend(results);
            self.computed += 1;
        }
    }
}

/// A fault as a mistake of the program, in that line if it does not know its own.
pub(crate) fn fault(raised: Raised, place: &'static Location<'static>) -> Mistake {
    Mistake {
        place: raised.place.unwrap_or(place),
        operation: raised.operation,
        problem: Problem::Value,
        message: raised.fault.to_string(),
        operands: vec![],
    }
}

/// Whether there is memory for an array: asked of the allocator if it is a large one.
pub(crate) fn is_to_be_had(ty: &Type) -> bool {
    const SURELY: usize = 1 << 30;
    ty.checked_bytes().is_some_and(|n| n < SURELY || Vec::<u8>::new().try_reserve_exact(n).is_ok())
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
