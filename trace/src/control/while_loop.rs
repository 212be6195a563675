//! A body, for as long as a predicate holds.

use std::panic::Location;
use std::sync::Arc;

use backstitch_ir::{DType, Graph, Type, Value, ops};

use super::body::{Body, list, rebuild};
use super::options::{self, LoopOptions};
use crate::mistake::Problem;
use crate::tensor::Tensor;
use crate::trace::Trace;
use crate::tree::Tree;

impl Trace {
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
    pub(super) fn while_loop_as<'t, C: Tree<Tensor<'t>>>(
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
    pub(super) fn repeat_while<'t, C: Tree<Tensor<'t>>>(
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
}
