//! Bodies: recording them, and what they have to agree on with the operation around them.

use std::panic::Location;

use backstitch_ir::{DType, Graph, Op, Type, Value};
use smallvec::SmallVec;

use crate::mistake::{Mistake, Problem};
use crate::tensor::Tensor;
use crate::trace::{Absent, Kind, Scope, Trace, origin};
use crate::tree::Tree;

/// A body that has been recorded: its graph without outputs yet, and the
/// tensors it gave, where they are to be had.
pub(crate) struct Body {
    pub(super) scope: Scope,
    pub(super) outputs: Vec<Result<Value, Absent>>,
    pub(super) types: Vec<Type>,
}

impl Body {
    /// Whether a result is not to be had; the mistake is recorded already.
    pub(super) fn is_poisoned(&self) -> bool {
        self.outputs.iter().any(Result::is_err)
    }

    /// The graph of a body whose results are all to be had.
    pub(super) fn seal(self) -> Graph {
        let mut graph = self.scope.graph;
        graph.set_outputs(self.outputs.into_iter().flatten());
        graph
    }
}

impl Trace {
    /// Records a body on inputs of these types. Captures that another body made
    /// already are made in the same order, so that both take the same operands.
    #[track_caller]
    pub(super) fn body<'t, R: Tree<Tensor<'t>>>(
        &'t self,
        name: &str,
        carries: &[Type],
        captures: &[(Value, Value)],
        place: &'static Location<'static>,
        f: impl FnOnce(&[Tensor<'t>]) -> R,
    ) -> (Body, R) {
        let inputs = self.open_body(name, carries, captures, place);
        let result = f(&inputs);
        let leaves: Vec<Tensor<'t>> = result.leaves().into_iter().copied().collect();
        (self.close_body(leaves, place), result)
    }

    /// Starts to record a body; its inputs for the carries.
    pub(super) fn open_body<'t>(
        &'t self,
        name: &str,
        carries: &[Type],
        captures: &[(Value, Value)],
        place: &'static Location<'static>,
    ) -> Vec<Tensor<'t>> {
        let mut state = self.state();
        state.open(Graph::new(name));
        let graph = &mut state.top().graph;
        graph.set_origin(origin(place));
        let values: Vec<Value> = carries.iter().map(|ty| graph.input(ty.clone(), None)).collect();
        for &(outer, _) in captures {
            let depth = state.scopes.len() - 2;
            let (ty, name) = {
                let around = &state.scopes[depth].graph;
                (around.ty(outer).clone(), around.name_of(outer).map(str::to_owned))
            };
            let top = state.top();
            let here = top.graph.input(ty, name.as_deref());
            top.capture(outer, here);
        }
        let slots = values.into_iter();
        slots.map(|v| self.slot(&mut state, v, Kind::Plain, place)).collect()
    }

    /// Ends the recording of a body that gives these.
    pub(super) fn close_body<'t>(
        &'t self,
        leaves: Vec<Tensor<'t>>,
        place: &'static Location<'static>,
    ) -> Body {
        let mut state = self.state();
        let types = leaves.iter().map(|&x| self.type_of(&state, x)).collect();
        let mut outputs = Vec::with_capacity(leaves.len());
        for x in leaves {
            let value = self.resolve(&mut state, x);
            if let Err(absent @ (Absent::Closed | Absent::Foreign)) = value {
                let operands = self.describe(&state, &[x]);
                state.refuse("result of a body", absent, operands, place);
                outputs.push(Err(Absent::Poisoned));
                continue;
            }
            outputs.push(value);
        }
        Body { scope: state.close(), outputs, types }
    }

    /// Adds the operation to the scope around its bodies; its results, of these
    /// types.
    #[track_caller]
    pub(super) fn finish<'t>(
        &'t self,
        op: Op,
        args: &[Tensor<'t>],
        captured: &[Value],
        stacks: &[Tensor<'t>],
        types: &[Type],
        place: &'static Location<'static>,
    ) -> SmallVec<[Tensor<'t>; 1]> {
        let mut args = args.to_vec();
        {
            let mut state = self.state();
            let slots = captured.iter().map(|&v| self.slot(&mut state, v, Kind::Plain, place));
            args.extend(slots);
        }
        args.extend(stacks);
        self.apply_all(op, &args, |_| types.iter().cloned().collect())
    }

    /// Whether a body keeps the names and the types of its carries.
    #[track_caller]
    pub(super) fn steady<'t>(
        &'t self,
        operation: &'static str,
        (init, before): (&impl Tree<Tensor<'t>>, &[Type]),
        (next, after): (&impl Tree<Tensor<'t>>, &[Type]),
        place: &'static Location<'static>,
    ) -> bool {
        let (names, next_names) = (init.leaf_names(), next.leaf_names());
        let message = if names != next_names {
            let (names, next_names) = (list_names(&names), list_names(&next_names));
            if before.len() == after.len() {
                format!("the carry starts as {names} but the body gives {next_names}")
            } else {
                let (start, end) = (before.len(), after.len());
                format!("{start} carries go in, {names}, and {end} come out, {next_names}")
            }
        } else if let Some(changed) = (0..before.len()).find(|&i| before[i] != after[i]) {
            let name = &names[changed];
            let name = if name.is_empty() { String::new() } else { format!(" `{name}`") };
            format!(
                "the carry{name} starts as {} but the body gives {}",
                before[changed], after[changed]
            )
        } else {
            return true;
        };
        let (problem, operands) = (Problem::Control, Vec::new());
        let mistake = Mistake { place, operation, problem, message, operands };
        self.state().mistakes.push(mistake);
        false
    }

    /// Poisoned tensors in the place of results.
    pub(super) fn guesses<'t, R: Tree<Tensor<'t>>>(
        &'t self,
        like: &R,
        types: &[Type],
        place: &'static Location<'static>,
    ) -> R::With<Tensor<'t>> {
        let mut types = types.iter();
        like.map_leaves(&mut |_| {
            let guess = types.next().cloned().unwrap_or_else(|| Type::scalar(DType::F64));
            self.poison(&mut self.state(), guess, place)
        })
    }
}

/// A tree with these leaves.
pub(crate) fn rebuild<'t, T: Tree<Tensor<'t>>>(
    like: &T,
    leaves: &[Tensor<'t>],
) -> T::With<Tensor<'t>> {
    let mut leaves = leaves.iter();
    like.map_leaves(&mut |_| *leaves.next().expect("as many leaves as the tree has"))
}

/// Types, for a message.
pub(super) fn list(types: &[Type]) -> String {
    let types: Vec<String> = types.iter().map(ToString::to_string).collect();
    format!("({})", types.join(", "))
}

/// Names of leaves, for a message.
pub(super) fn list_names(names: &[String]) -> String {
    if let [name] = names
        && name.is_empty()
    {
        return "a single tensor".to_owned();
    }
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("({})", names.join(", "))
}
