//! A body, so many times.

use std::panic::Location;
use std::sync::Arc;

use backstitch_ir::{DType, Type, Value, ops};

use super::body::{Body, rebuild};
use super::options::LoopOptions;
use crate::mistake::Problem;
use crate::number::Operand;
use crate::tensor::Tensor;
use crate::trace::Trace;
use crate::tree::Tree;

impl Trace {
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
    pub(super) fn for_loop_as<'t, C: Tree<Tensor<'t>>>(
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
    pub(super) fn repeat_count<'t, C: Tree<Tensor<'t>>>(
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
}
