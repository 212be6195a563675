//! Loops over rows.

use std::panic::Location;
use std::sync::Arc;

use backstitch_ir::{DType, Graph, Shape, Type, Value, ops};

use crate::control::rebuild;
use crate::mistake::Problem;
use crate::tensor::Tensor;
use crate::trace::{Trace, origin};
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
        self.scan_with(init, rows, false, body)
    }

    /// As [`scan`](Self::scan), from the last row to the first.
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
        self.scan_with(init, rows, true, body)
    }

    #[track_caller]
    fn scan_with<'t, C, X, Y>(
        &'t self,
        init: C,
        rows: X,
        back: bool,
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
            Some((&Some(n), rest)) if n > 0 && rest.iter().all(|&m| m == Some(n)) => (n, true),
            _ => {
                let message = "expected arrays with the same number of rows, at least one";
                self.mistake("scan", Problem::Control, message, &xs, Type::scalar(DType::F64));
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
        // The rows given are added at their place to zeros: what a body gives is
        // known only after it was recorded, so it is recorded once for its types.
        let carried: Vec<Tensor<'t>> = init.leaves().into_iter().copied().collect();
        let mut types: Vec<Type> = vec![Type::scalar(DType::I64)];
        types.extend(carried.iter().map(|x| x.ty()));
        let (step, given) = self.body("body", &types, &[], place, |c| {
            let line = self.line_at(place);
            let i = if back { self.scalar(length as i64 - 1) - c[0] } else { c[0] };
            let row = rows.map_leaves(&mut |x| if cuts { x.take(i, 0) } else { no_row(x) });
            drop(line);
            let (next, y) = body(rebuild(&init, &c[1..]), row);
            let _line = self.line_at(place);
            (c[0] + 1, next, y, i)
        });
        let carries = 1 + carried.len();
        // A body that is mistaken may give more carries than it took, or fewer.
        let (next, y) = (&given.1, &given.2);
        let next_carries = 1 + next.leaves().len();
        let rows_given: Vec<Type> = step.types[next_carries..step.types.len() - 1].to_vec();
        let all = |ty: &Type| {
            let dims = std::iter::once(length).chain(ty.dims().iter().copied());
            ty.with_shape(dims.collect::<Shape>())
        };
        let stacked: Vec<Type> = rows_given.iter().map(all).collect();
        let after = &step.types[1..next_carries];
        let steady = cuts
            && !step.is_poisoned()
            && self.steady("scan", (&init, &types[1..]), (next, after), place);
        if !steady {
            let carry = self.guesses(&init, &types[1..], place);
            return (carry, self.guesses(y, &stacked, place));
        }
        // The body again as a part of a larger one, with the stacks as carries.
        // Truth values do not add up: they are stacked as integers.
        let summed = |ty: &Type| match ty.dtype {
            DType::Bool => ty.with_dtype(DType::I32),
            _ => ty.clone(),
        };
        types.extend(stacked.iter().map(summed));
        let captured: Vec<Value> = step.scope.captures.iter().map(|c| c.0).collect();
        let inner = step.seal();
        let mut outer = Graph::new("body");
        let mut state: Vec<Value> = Vec::new();
        outer.set_origin(origin(place));
        for ty in &types {
            state.push(outer.input(ty.clone(), None));
        }
        let mut args: Vec<Value> = state[..carries].to_vec();
        for &v in &inner.inputs()[carries..] {
            args.push(outer.input(inner.ty(v).clone(), inner.name_of(v)));
        }
        let results = backstitch_passes::inline(&mut outer, &inner, &args);
        let (&at, results) = results.split_last().expect("the index is the last result");
        let mut next: Vec<Value> = results[..carries].to_vec();
        for (&stack, &row) in state[carries..].iter().zip(&results[carries..]) {
            let row = outer.cast(row, outer.ty(stack).dtype);
            next.push(outer.push(ops::ScatterAdd { axis: 0 }, &[stack, at, row]));
        }
        outer.set_outputs(next);
        let op = ops::Loop {
            trip: ops::Trip::Count,
            body: Arc::new(outer),
            carries: carries + stacked.len(),
            consts: captured.len(),
            pops: 0,
        };
        let _line = self.line_at(place);
        let mut args = vec![self.number((length as i64).into(), DType::I64, "scan")];
        args.push(self.number(0i64.into(), DType::I64, "scan"));
        args.extend(&carried);
        args.extend(types[carries..].iter().map(|ty| self.zeros(ty.dtype, ty.shape.clone())));
        let found = self.finish(op.into(), &args, &captured, &types, place);
        let (last, rows) = found[1..].split_at(carries - 1);
        let rows: Vec<Tensor<'t>> =
            rows.iter().zip(&stacked).map(|(x, ty)| x.cast(ty.dtype)).collect();
        (rebuild(&init, last), rebuild(y, &rows))
    }
}
