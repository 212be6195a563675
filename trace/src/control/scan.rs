//! Loops over rows.

use std::panic::Location;
use std::sync::Arc;

use backstitch_ir::{DType, Graph, Shape, Type, Value, ops};

use crate::control::{LoopOptions, rebuild};
use crate::mistake::Problem;
use crate::tensor::Tensor;
use crate::trace::Trace;
use crate::tree::Tree;

impl Trace {
    /// Runs a body over the rows of `rows` (each leaf is cut along its first axis)
    /// with a carry, and gives the last carry and the rows that the body gave, put
    /// together.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0]));
    /// let (total, running) = t.scan(t.constant(0.0), x, |sum, x| (sum + x, sum + x));
    /// assert_eq!(total.item::<f64>()?, 6.0);
    /// assert_eq!(running.array()?.to_f64_vec(), [1.0, 3.0, 6.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn scan<'t, C, X, Y>(
        &'t self,
        init: C,
        rows: X,
        body: impl FnOnce(C::With<Tensor<'t>>, X::With<Tensor<'t>>) -> (C::With<Tensor<'t>>, Y),
    ) -> (C::With<Tensor<'t>>, Y::With<Tensor<'t>>)
    where
        C: Tree<Tensor<'t>>,
        X: Tree<Tensor<'t>>,
        Y: Tree<Tensor<'t>>,
    {
        self.scan_as(self.loop_options().get(), ("scan", false), init, rows, body)
    }

    /// As [`scan`](Self::scan), from the last row to the first.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0]));
    /// let (total, rest) = t.scan_back(t.constant(0.0), x, |sum, x| (sum + x, sum + x));
    /// assert_eq!(total.item::<f64>()?, 6.0);
    /// assert_eq!(rest.array()?.to_f64_vec(), [6.0, 5.0, 3.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn scan_back<'t, C, X, Y>(
        &'t self,
        init: C,
        rows: X,
        body: impl FnOnce(C::With<Tensor<'t>>, X::With<Tensor<'t>>) -> (C::With<Tensor<'t>>, Y),
    ) -> (C::With<Tensor<'t>>, Y::With<Tensor<'t>>)
    where
        C: Tree<Tensor<'t>>,
        X: Tree<Tensor<'t>>,
        Y: Tree<Tensor<'t>>,
    {
        self.scan_as(self.loop_options().get(), ("scan_back", true), init, rows, body)
    }

    #[track_caller]
    pub(super) fn scan_as<'t, C, X, Y>(
        &'t self,
        options: LoopOptions,
        (operation, back): (&'static str, bool),
        init: C,
        rows: X,
        body: impl FnOnce(C::With<Tensor<'t>>, X::With<Tensor<'t>>) -> (C::With<Tensor<'t>>, Y),
    ) -> (C::With<Tensor<'t>>, Y::With<Tensor<'t>>)
    where
        C: Tree<Tensor<'t>>,
        X: Tree<Tensor<'t>>,
        Y: Tree<Tensor<'t>>,
    {
        let place = Location::caller();
        let xs: Vec<Tensor<'t>> = rows.leaves().into_iter().copied().collect();
        let lengths: Vec<Option<usize>> =
            xs.iter().map(|x| x.shape().dims().first().copied()).collect();
        let (length, cuts) = match lengths.split_first() {
            Some((&Some(n), rest)) if rest.iter().all(|&m| m == Some(n)) => (n, true),
            _ => {
                let message = "expected arrays with the same number of rows";
                self.mistake(operation, Problem::Control, message, &xs, Type::scalar(DType::F64));
                (1, false)
            }
        };
        // Only the body knows the structure of what it gives, so it is called even
        // if there are no rows to cut; the poisoned ones keep it silent.
        let no_row = |x: &Tensor<'t>| {
            let ty = x.ty();
            let dims = ty.dims().iter().skip(1).copied();
            self.poison(&mut self.state(), ty.with_shape(dims.collect::<Shape>()), place)
        };
        let carried: Vec<Tensor<'t>> = init.leaves().into_iter().copied().collect();
        let types: Vec<Type> = carried.iter().map(|x| x.ty()).collect();
        // A row comes off a stack in each iteration, and one goes to a stack.
        let row_types: Vec<Type> = xs.iter().map(|x| row(&x.ty())).collect();
        let (step, given) =
            self.body("body", &[&types[..], &row_types].concat(), &[], place, |c| {
                let (c, rows_in) = c.split_at(types.len());
                let mut rows_in = rows_in.iter();
                let row = rows.map_leaves(&mut |x| {
                    let row = *rows_in.next().expect("as many rows as leaves");
                    if cuts { row } else { no_row(x) }
                });
                body(rebuild(&init, c), row)
            });
        // A body that is mistaken may give more carries than it took, or fewer.
        let (next, y) = (&given.0, &given.1);
        let (after, rows_given) = step.types.split_at(next.leaves().len());
        let all = |ty: &Type| {
            let dims = std::iter::once(length).chain(ty.dims().iter().copied());
            ty.with_shape(dims.collect::<Shape>())
        };
        let stacked: Vec<Type> = rows_given.iter().map(all).collect();
        let steady = cuts
            && !step.is_poisoned()
            && self.steady(operation, (&init, &types), (next, after), place);
        if !steady {
            let carry = self.guesses(&init, &types, place);
            return (carry, self.guesses(y, &stacked, place));
        }
        let captured: Vec<Value> = step.scope.captures.iter().map(|c| c.0).collect();
        let given: Vec<Type> =
            types.iter().cloned().chain(rows_given.iter().map(Type::stacked)).collect();
        let op = ops::Loop {
            trip: ops::Trip::Count,
            body: Arc::new(popping_last(step.seal(), types.len(), xs.len())),
            carries: types.len(),
            consts: captured.len(),
            pops: xs.len(),
            unroll: options.hint(),
        };
        let _line = self.line_at(place);
        // What is popped first was pushed last.
        let stacks: Vec<Tensor<'t>> =
            xs.iter().map(|&x| self.apply(ops::Rows::ToStack { back: !back }, &[x])).collect();
        let mut args = vec![self.number((length as i64).into(), DType::I64, operation)];
        args.extend(&carried);
        let found = self.finish(op.into(), &args, &captured, &stacks, &given, place);
        let (last, pushed) = found.split_at(types.len());
        let rows = pushed.iter().zip(stacked);
        let rows: Vec<Tensor<'t>> =
            rows.map(|(&s, ty)| self.apply(ops::Rows::FromStack { ty, back }, &[s])).collect();
        (rebuild(&init, last), rebuild(y, &rows))
    }
}

/// The type of a row of an array.
pub(super) fn row(ty: &Type) -> Type {
    ty.with_shape(ty.dims().get(1..).unwrap_or_default())
}

/// The body with the rows that it pops behind what it captured: a body is recorded
/// before it is known what it will capture.
fn popping_last(body: Graph, carries: usize, rows: usize) -> Graph {
    let mut to = Graph::new(body.name.clone());
    let (carried, rest) = body.inputs().split_at(carries);
    let (rows, captured) = rest.split_at(rows);
    let mut inputs = |vs: &[Value]| -> Vec<Value> {
        vs.iter().map(|&v| to.input(body.ty(v).clone(), body.name_of(v))).collect()
    };
    let (carried, captured, rows) = (inputs(carried), inputs(captured), inputs(rows));
    let args = [carried, rows, captured].concat();
    let outputs = backstitch_passes::inline(&mut to, &body, &args);
    to.set_outputs(outputs);
    to
}
