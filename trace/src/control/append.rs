//! Graphs as parts of what is being recorded.
//!
//! A transformation makes graphs of graphs. What it makes of a body, or of a program
//! that was traced before, goes into the innermost open graph node by node, so that it
//! is differentiated, batched and fused as if it had been written there.

use std::panic::Location;

use backstitch_ir::op::{Lane, materialise};
use backstitch_ir::{DType, Graph, Shape, Type, Value};
use backstitch_passes::{batch, inline};

use super::body::{list, list_names, rebuild};
use super::scan::row;
use crate::mistake::Problem;
use crate::spec::Spec;
use crate::tensor::Tensor;
use crate::trace::{Kind, Trace, origin};
use crate::traced::Traced;
use crate::tree::Tree;

impl Trace {
    /// Adds to the innermost graph what `build` does with the values of these tensors,
    /// followed by `captured`; computes it in eager mode. `None` if one of the tensors
    /// is not to be had, which is recorded.
    pub(crate) fn append<'t>(
        &'t self,
        operation: &'static str,
        args: &[Tensor<'t>],
        captured: &[Value],
        place: &'static Location<'static>,
        build: impl FnOnce(&mut Graph, &[Value]) -> Vec<Value>,
    ) -> Option<Vec<Tensor<'t>>> {
        let mut state = self.state();
        let mut values = Vec::with_capacity(args.len() + captured.len());
        for &x in args {
            match self.resolve(&mut state, x) {
                Ok(v) => values.push(v),
                Err(absent) => {
                    let operands = self.describe(&state, args);
                    state.refuse(operation, absent, operands, place);
                    return None;
                }
            }
        }
        values.extend(captured);
        let graph = &mut state.top().graph;
        graph.set_origin(origin(place));
        let found = build(graph, &values);
        if self.is_eager() {
            state.catch_up();
        }
        Some(found.into_iter().map(|v| self.slot(&mut state, v, Kind::Plain, place)).collect())
    }

    /// What a body gives for each row of `rows` (each leaf is cut along its first axis),
    /// put together along a first axis: all rows at once. Other tensors that the body
    /// uses are shared by all rows.
    ///
    /// The body is written for one row and becomes operations on all of them; see
    /// [`Traced::vmap`] for what happens to loops and branches. With as much memory as
    /// all rows need at once; [`map_rows`](Self::map_rows) takes one after the other.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let points = t.constant(ndarray::arr2(&[[3.0, 4.0], [5.0, 12.0]]));
    /// let centre = t.constant(ndarray::arr1(&[0.0, 0.0]));
    /// let distances = t.vmap(points, |p| (p - centre).norm());
    /// assert_eq!(distances.array()?.to_f64_vec(), [5.0, 13.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// Arrays without rows, or with different numbers of them, are a mistake.
    #[track_caller]
    #[doc(alias = "vectorized_map")]
    pub fn vmap<'t, X, Y>(
        &'t self,
        rows: X,
        body: impl FnOnce(X::With<Tensor<'t>>) -> Y,
    ) -> Y::With<Tensor<'t>>
    where
        X: Tree<Tensor<'t>>,
        Y: Tree<Tensor<'t>>,
    {
        let place = Location::caller();
        let xs: Vec<Tensor<'t>> = rows.leaves().into_iter().copied().collect();
        let lengths: Vec<Option<usize>> =
            xs.iter().map(|x| x.shape().dims().first().copied()).collect();
        let length = lengths.first().copied().flatten();
        let length = length.filter(|&n| lengths.iter().all(|&m| m == Some(n)));
        if length.is_none() {
            let message = "expected arrays with the same number of rows";
            self.mistake("vmap", Problem::Control, message, &xs, Type::scalar(DType::F64));
        }
        let types: Vec<Type> = xs.iter().map(|x| row(&x.ty())).collect();
        let (lane, y) = self.body("vmap", &types, &[], place, |inputs| {
            if length.is_some() {
                return body(rebuild(&rows, inputs));
            }
            // The body is called for the structure of what it gives; it keeps silent.
            let mut types = types.iter().cloned();
            body(rows.map_leaves(&mut |_| {
                let ty = types.next().expect("one per leaf");
                self.poison(&mut self.state(), ty, place)
            }))
        });
        let n = length.unwrap_or(1);
        let all = |ty: &Type| {
            let dims = std::iter::once(n).chain(ty.dims().iter().copied());
            ty.with_shape(dims.collect::<Shape>())
        };
        let stacked: Vec<Type> = lane.types.iter().map(all).collect();
        if length.is_none() || lane.is_poisoned() {
            return self.guesses(&y, &stacked, place);
        }
        let captured: Vec<Value> = lane.scope.captures.iter().map(|c| c.0).collect();
        let lane = lane.seal();
        let found = self.append("vmap", &xs, &captured, place, |g, values| {
            let lanes = values.iter().enumerate();
            let lanes: Vec<Lane> =
                lanes.map(|(i, &value)| Lane { value, batched: i < xs.len() }).collect();
            let found = batch(g, &lane, &lanes, n);
            found.into_iter().map(|lane| materialise(g, lane, n)).collect()
        });
        match found {
            Some(found) => rebuild(&y, &found),
            None => self.guesses(&y, &stacked, place),
        }
    }

    /// What a body gives for each row of `rows` (each leaf is cut along its first axis),
    /// put together along a first axis: one row after the other.
    ///
    /// The same as [`vmap`](Self::vmap) up to rounding, as a loop: memory for one row at
    /// a time, loops that end and branches that are taken for each row by itself.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// let y = t.map_rows(x, |row| t.cond(row.sum().gt(5.0), || row.prod(), || row.sum()));
    /// assert_eq!(y.array()?.to_f64_vec(), [3.0, 12.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// As [`vmap`](Self::vmap).
    #[track_caller]
    #[doc(alias = "map_fn")]
    pub fn map_rows<'t, X, Y>(
        &'t self,
        rows: X,
        body: impl FnOnce(X::With<Tensor<'t>>) -> Y,
    ) -> Y::With<Tensor<'t>>
    where
        X: Tree<Tensor<'t>>,
        Y: Tree<Tensor<'t>>,
    {
        let options = self.loop_options().get();
        self.scan_as(options, ("map_rows", false), (), rows, |(), row| ((), body(row))).1
    }
}

impl<P: Tree<Spec>, D: Tree<Spec>, O: Tree<Spec>> Traced<P, D, O> {
    /// The program as part of another one: on tensors of a trace, which may be eager,
    /// inside of loops and branches too.
    ///
    /// With transformed programs, these are derivatives inside of programs:
    ///
    /// ```
    /// use backstitch_trace::{Spec, trace};
    /// let f = trace(Spec::f64([]), Spec::f64([]), |_, x, a| (a * x).sin())?;
    /// let slope = f.grad()?;
    /// // Newton's method, which may be differentiated and compiled in turn.
    /// let zero = trace(Spec::f64([]), (), |t, a, ()| {
    ///     t.for_loop(6, t.scalar(0.9), |_, x| x - f.apply(t, x, a) / slope.apply(t, x, a))
    /// })?;
    /// let (x, slope) = zero.value_and_grad()?.eval(&3.0, &())?;
    /// let pi = std::f64::consts::PI;
    /// assert!((x.item::<f64>().unwrap() - pi / 3.0).abs() < 1e-12);
    /// assert!((slope.item::<f64>().unwrap() + pi / 9.0).abs() < 1e-12);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// Arguments that the program does not take are a mistake of the trace.
    #[track_caller]
    pub fn apply<'t>(
        &self,
        t: &'t Trace,
        params: P::With<Tensor<'t>>,
        data: D::With<Tensor<'t>>,
    ) -> O::With<Tensor<'t>> {
        let place = t.place();
        let guess = |spec: &Spec| t.poison(&mut t.state(), spec.ty().clone(), place);
        let given = [params.leaf_names(), data.leaf_names()];
        let wanted = [self.params().leaf_names(), self.data().leaf_names()];
        let args: Vec<Tensor<'t>> =
            params.leaves().into_iter().chain(data.leaves()).copied().collect();
        let types: Vec<Type> = args.iter().map(|x| x.ty()).collect();
        let takes: Vec<Type> =
            self.graph().inputs().iter().map(|&v| self.graph().ty(v).clone()).collect();
        let message = if given != wanted {
            let [p, d] = wanted.map(|names| list_names(&names));
            let [q, e] = given.map(|names| list_names(&names));
            format!("the program takes {p} and {d}, not {q} and {e}")
        } else if types != takes {
            format!("the program takes {}, not {}", list(&takes), list(&types))
        } else {
            let found =
                t.append("apply", &args, &[], place, |g, values| inline(g, self.graph(), values));
            let Some(found) = found else { return self.outputs().map_leaves(&mut { guess }) };
            let mut found = found.into_iter();
            return self
                .outputs()
                .map_leaves(&mut |_| found.next().expect("one result per output"));
        };
        t.mistake("apply", Problem::Arguments, message, &args, Type::scalar(DType::F64));
        self.outputs().map_leaves(&mut { guess })
    }
}
