//! Branches and loops of programs that are compiled.
//!
//! Bodies are closures. They are called once, while tracing, and may use any
//! tensor around them. Carries and results are trees. Two trees that have to
//! agree, such as a carry before and after a step, are compared leaf by leaf,
//! by name and by type: equal types alone would let one key of a map pass for
//! another.

use std::panic::Location;
use std::sync::Arc;

use backstitch_ir::{DType, Graph, Op, Type, Value, ops};
use smallvec::SmallVec;

use crate::mistake::{Mistake, Problem};
use crate::number::Operand;
use crate::tensor::Tensor;
use crate::trace::{Absent, Kind, Scope, Trace, origin};
use crate::tree::Tree;

mod append;
mod associative;
mod checkpoint;
mod fixed_point;
pub(crate) mod host;
mod options;
mod region;
mod scan;
mod switch;

pub use checkpoint::Policy;
pub use fixed_point::Solver;
pub use options::{LoopOptions, Loops};
pub use region::Custom;
pub use switch::Branch;

/// A body that has been recorded: its graph without outputs yet, and the
/// tensors it gave, where they are to be had.
struct Body {
    scope: Scope,
    outputs: Vec<Result<Value, Absent>>,
    types: Vec<Type>,
}

impl Body {
    /// Whether a result is not to be had; the mistake is recorded already.
    fn is_poisoned(&self) -> bool {
        self.outputs.iter().any(Result::is_err)
    }

    /// The graph of a body whose results are all to be had.
    fn seal(self) -> Graph {
        let mut graph = self.scope.graph;
        graph.set_outputs(self.outputs.into_iter().flatten());
        graph
    }
}

impl Trace {
    /// One of two bodies, by a truth value known when the program runs. Only that
    /// body is executed, forwards and backwards. Both give trees of the same types.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(-2.0);
    /// let y = t.cond(x.gt(0.0), || x, || -x * 100.0);
    /// assert_eq!(y.item::<f64>()?, 200.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn cond<'t, A, B>(
        &'t self,
        predicate: Tensor<'t>,
        then: impl FnOnce() -> A,
        otherwise: impl FnOnce() -> B,
    ) -> A::With<Tensor<'t>>
    where
        A: Tree<Tensor<'t>>,
        B: Tree<Tensor<'t>>,
    {
        let place = Location::caller();
        let (left, results) = self.body("then", &[], &[], place, |_| then());
        let (right, others) = self.body("else", &[], &left.scope.captures, place, |_| otherwise());
        let names = [results.leaf_names(), others.leaf_names()];
        self.branch(predicate, (left, right), names, &results, place)
    }

    /// One of two bodies that are recorded; the names are those of their results.
    #[track_caller]
    fn branch<'t, R: Tree<Tensor<'t>>>(
        &'t self,
        predicate: Tensor<'t>,
        (mut left, right): (Body, Body),
        [names, other_names]: [Vec<String>; 2],
        like: &R,
        place: &'static Location<'static>,
    ) -> R::With<Tensor<'t>> {
        let (ty, types) = (predicate.ty(), left.types.clone());
        if left.is_poisoned() || right.is_poisoned() {
            return self.guesses(like, &types, place);
        }
        let message = if ty != Type::scalar(DType::Bool) {
            let message = format!("expected one truth value to decide by, got {ty}");
            self.mistake("cond", Problem::Control, message, &[predicate], ty);
            return self.guesses(like, &types, place);
        } else if names != other_names {
            let (names, others) = (list_names(&names), list_names(&other_names));
            Some(format!("the branches give {names} and {others}"))
        } else if left.types != right.types {
            Some(format!("the branches give {} and {}", list(&left.types), list(&right.types)))
        } else {
            None
        };
        if let Some(message) = message {
            self.mistake("cond", Problem::Control, message, &[], ty);
            return self.guesses(like, &types, place);
        }
        // What only the other branch uses is an input of this one as well.
        let extra = &right.scope.captures[left.scope.captures.len()..];
        for &(_, inner) in extra {
            left.scope.graph.input(right.scope.graph.ty(inner).clone(), None);
        }
        let captured: Vec<Value> = right.scope.captures.iter().map(|c| c.0).collect();
        let op = ops::Cond { then: Arc::new(left.seal()), els: Arc::new(right.seal()) };
        rebuild(like, &self.finish(op.into(), &[predicate], &captured, &[], &types, place))
    }

    /// Repeats a body while a predicate holds, and gives the last carry.
    ///
    /// The number of repetitions may depend on the data; so may the derivative.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(3.0);
    /// let y = t.while_loop(x, |y| y.norm().lt(1000.0), |y| y * 2.0);
    /// assert_eq!(y.item::<f64>()?, 1536.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn while_loop<'t, C: Tree<Tensor<'t>>>(
        &'t self,
        init: C,
        predicate: impl FnOnce(C::With<Tensor<'t>>) -> Tensor<'t>,
        body: impl FnOnce(C::With<Tensor<'t>>) -> C::With<Tensor<'t>>,
    ) -> C::With<Tensor<'t>> {
        self.while_loop_as(self.loop_options().get(), init, predicate, body)
    }

    #[track_caller]
    fn while_loop_as<'t, C: Tree<Tensor<'t>>>(
        &'t self,
        options: LoopOptions,
        init: C,
        predicate: impl FnOnce(C::With<Tensor<'t>>) -> Tensor<'t>,
        body: impl FnOnce(C::With<Tensor<'t>>) -> C::With<Tensor<'t>>,
    ) -> C::With<Tensor<'t>> {
        let place = Location::caller();
        let start: Vec<Tensor<'t>> = init.leaves().into_iter().copied().collect();
        let types: Vec<Type> = start.iter().map(|x| x.ty()).collect();
        let (test, _) = self.body("while", &types, &[], place, |c| predicate(rebuild(&init, c)));
        let (step, next) =
            self.body("body", &types, &test.scope.captures, place, |c| body(rebuild(&init, c)));
        self.repeat_while(options, &init, &start, (test, step), &next, place)
    }

    /// A loop whose predicate and body are recorded.
    #[track_caller]
    fn repeat_while<'t, C: Tree<Tensor<'t>>>(
        &'t self,
        options: LoopOptions,
        init: &C,
        start: &[Tensor<'t>],
        (mut test, step): (Body, Body),
        next: &impl Tree<Tensor<'t>>,
        place: &'static Location<'static>,
    ) -> C::With<Tensor<'t>> {
        let types: Vec<Type> = start.iter().map(|x| x.ty()).collect();
        if test.is_poisoned() || step.is_poisoned() {
            return self.guesses(init, &types, place);
        }
        if test.types != [Type::scalar(DType::Bool)] {
            let message =
                format!("expected one truth value to go on by, got {}", list(&test.types));
            self.mistake("while_loop", Problem::Control, message, &[], Type::scalar(DType::Bool));
            return self.guesses(init, &types, place);
        }
        if options.bound() == Some(0) {
            let message = "expected a limit of at least 1 iteration, got 0";
            self.mistake("while_loop", Problem::Control, message, &[], Type::scalar(DType::Bool));
            return self.guesses(init, &types, place);
        }
        if !self.steady("while_loop", (init, &types), (next, &step.types), place) {
            return self.guesses(init, &types, place);
        }
        for &(_, inner) in &step.scope.captures[test.scope.captures.len()..] {
            test.scope.graph.input(step.scope.graph.ty(inner).clone(), None);
        }
        let captured: Vec<Value> = step.scope.captures.iter().map(|c| c.0).collect();
        let op = ops::Loop {
            trip: ops::Trip::While(Arc::new(test.seal())),
            body: Arc::new(step.seal()),
            carries: types.len(),
            consts: captured.len(),
            pops: 0,
            unroll: options.hint(),
        };
        let Some(limit) = options.bound() else {
            return rebuild(init, &self.finish(op.into(), start, &captured, &[], &types, place));
        };
        let build = |g: &mut Graph, args: &[Value]| options::limited(g, &op, args, limit);
        match self.append("while_loop", start, &captured, place, build) {
            Some(found) => rebuild(init, &found),
            None => self.guesses(init, &types, place),
        }
    }

    /// Repeats a body `count` times (a number, or an integer scalar) and gives the
    /// last carry. The body takes the number of repetitions before, an `i64`
    /// scalar, and the carry.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.constant(1.0);
    /// let y = t.for_loop(4, x, |i, y| y * (i + 1).cast(DType::F64));
    /// assert_eq!(y.item::<f64>()?, 24.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn for_loop<'t, C: Tree<Tensor<'t>>>(
        &'t self,
        count: impl Into<Operand<'t>>,
        init: C,
        body: impl FnOnce(Tensor<'t>, C::With<Tensor<'t>>) -> C::With<Tensor<'t>>,
    ) -> C::With<Tensor<'t>> {
        self.for_loop_as(self.loop_options().get(), count, init, body)
    }

    #[track_caller]
    fn for_loop_as<'t, C: Tree<Tensor<'t>>>(
        &'t self,
        options: LoopOptions,
        count: impl Into<Operand<'t>>,
        init: C,
        body: impl FnOnce(Tensor<'t>, C::With<Tensor<'t>>) -> C::With<Tensor<'t>>,
    ) -> C::With<Tensor<'t>> {
        let place = Location::caller();
        let count = match count.into() {
            Operand::Number(n) => self.number(n, DType::I64, "for_loop"),
            Operand::Tensor(x) => {
                let ty = x.ty();
                if ty.rank() == 0 && ty.dtype.is_int() {
                    x.cast(DType::I64)
                } else {
                    let message = format!("expected an integer scalar to count to, got {ty}");
                    let guess = Type::scalar(DType::I64);
                    x.mistake("for_loop", Problem::Control, message, guess)
                }
            }
        };
        let zero = self.number(0i64.into(), DType::I64, "for_loop");
        let mut start = vec![zero];
        start.extend(init.leaves().into_iter().copied());
        let types: Vec<Type> = start.iter().map(|x| x.ty()).collect();
        let (step, given) = self.body("body", &types, &[], place, |c| {
            let next = body(c[0], rebuild(&init, &c[1..]));
            let _line = self.line_at(place);
            (c[0] + 1, next)
        });
        self.repeat_count(options, count, &init, start, step, &given.1, place)
    }

    /// A loop of `count` steps whose body is recorded; the counter is the first carry.
    #[track_caller]
    #[expect(clippy::too_many_arguments, reason = "what is known of a loop and of its bodies")]
    fn repeat_count<'t, C: Tree<Tensor<'t>>>(
        &'t self,
        options: LoopOptions,
        count: Tensor<'t>,
        init: &C,
        start: Vec<Tensor<'t>>,
        step: Body,
        next: &impl Tree<Tensor<'t>>,
        place: &'static Location<'static>,
    ) -> C::With<Tensor<'t>> {
        let types: Vec<Type> = start.iter().map(|x| x.ty()).collect();
        if step.is_poisoned()
            || !self.steady("for_loop", (init, &types[1..]), (next, &step.types[1..]), place)
        {
            return self.guesses(init, &types[1..], place);
        }
        let captured: Vec<Value> = step.scope.captures.iter().map(|c| c.0).collect();
        let op = ops::Loop {
            trip: ops::Trip::Count,
            body: Arc::new(step.seal()),
            carries: types.len(),
            consts: captured.len(),
            pops: 0,
            unroll: options.hint(),
        };
        let mut args = vec![count];
        args.extend(start);
        rebuild(init, &self.finish(op.into(), &args, &captured, &[], &types, place)[1..])
    }

    /// Records a body on inputs of these types. Captures that another body made
    /// already are made in the same order, so that both take the same operands.
    #[track_caller]
    fn body<'t, R: Tree<Tensor<'t>>>(
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
    fn open_body<'t>(
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
    fn close_body<'t>(
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
    fn finish<'t>(
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
    fn steady<'t>(
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
    fn guesses<'t, R: Tree<Tensor<'t>>>(
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

fn list(types: &[Type]) -> String {
    let types: Vec<String> = types.iter().map(ToString::to_string).collect();
    format!("({})", types.join(", "))
}

fn list_names(names: &[String]) -> String {
    if let [name] = names
        && name.is_empty()
    {
        return "a single tensor".to_owned();
    }
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("({})", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_branches_take_what_either_uses() {
        let t = Trace::eager();
        let (x, y) = (t.constant(2.0), t.constant(3.0));
        let z = t.cond(x.lt(y), || x * 10.0, || y * x);
        assert_eq!(z.item::<f64>().unwrap(), 20.0);
        let z = t.cond(x.gt(y), || x * 10.0, || y * x);
        assert_eq!(z.item::<f64>().unwrap(), 6.0);
    }
}
