//! Traced programs and their transformations.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use backstitch_ir::routine;
use backstitch_ir::{Array, Graph, Type, Value};
use backstitch_passes::inline;

use crate::args::{Args, to_arrays};
use crate::gradient::Status;
use crate::mistake::{Mistake, Problem, TraceError};
use crate::spec::Spec;
use crate::tensor::Tensor;
use crate::trace::{State, Trace, fault, origin};
use crate::tree::Tree;

mod check;
mod jacobians;
mod linearize;
mod sparse;
mod transform;
mod vmap;

pub use check::{Comparison, GradientCheck, GradientEntry, GradientReport};
pub use linearize::{Linearized, Residuals};
pub use vmap::{Lane, Lanes};

/// A program that has been traced: a graph, and the structures that it takes
/// and gives.
///
/// It takes parameters `P`, with respect to which it is differentiated, and data
/// `D`; it gives `O`. Transformations give programs again, so that they compose.
#[derive(Clone)]
pub struct Traced<P, D, O> {
    graph: Arc<Graph>,
    params: P,
    data: D,
    outputs: O,
}

/// Traces a program with one result.
///
/// The closure is called once, with tensors of the types that `params` and `data`
/// say. It is told by the mistakes it makes, each with its place.
///
/// ```
/// use backstitch_trace::{Spec, trace};
///
/// let error = trace(Spec::f32([32, 4]), Spec::f32([3, 1]), |_, x, y| x.matmul(y)).err().unwrap();
/// let text = error.to_string();
/// assert!(text.contains("matmul"));
/// assert!(text.contains("[32,4]") && text.contains("[3,1]"));
/// ```
///
/// # Errors
/// If the program makes mistakes.
#[track_caller]
pub fn trace<P, D, F>(params: P, data: D, f: F) -> Result<Traced<P, D, Spec>, TraceError>
where
    P: Tree<Spec>,
    D: Tree<Spec>,
    F: for<'t> FnOnce(&'t Trace, P::With<Tensor<'t>>, D::With<Tensor<'t>>) -> Tensor<'t>,
{
    record(&program_name::<F>(), params, data, |t, p, d| t.outputs(&f(t, p, d)))
}

/// Traces a program with a structure of results, which it hands over with
/// [`Trace::outputs`].
///
/// ```
/// use backstitch_trace::{Spec, trace_tree};
///
/// let traced = trace_tree(Spec::f64([]), Spec::f64([3]), |t, w, x| {
///     let y = x * w;
///     t.outputs(&(y.sum(), y))
/// })?;
/// let (sum, y) = traced.eval(&2.0, &ndarray::arr1(&[1.0, 2.0, 3.0]))?;
/// assert_eq!(sum.item::<f64>(), Some(12.0));
/// assert_eq!(y.to_f64_vec(), [2.0, 4.0, 6.0]);
/// # Ok::<(), backstitch_trace::TraceError>(())
/// ```
///
/// # Errors
/// If the program makes mistakes.
#[track_caller]
pub fn trace_tree<P, D, O, F>(params: P, data: D, f: F) -> Result<Traced<P, D, O>, TraceError>
where
    P: Tree<Spec>,
    D: Tree<Spec>,
    O: Tree<Spec>,
    F: for<'t> FnOnce(&'t Trace, P::With<Tensor<'t>>, D::With<Tensor<'t>>) -> Outputs<O>,
{
    record(&program_name::<F>(), params, data, f)
}

#[track_caller]
fn record<P, D, O, F>(name: &str, params: P, data: D, f: F) -> Result<Traced<P, D, O>, TraceError>
where
    P: Tree<Spec>,
    D: Tree<Spec>,
    O: Tree<Spec>,
    F: for<'t> FnOnce(&'t Trace, P::With<Tensor<'t>>, D::With<Tensor<'t>>) -> Outputs<O>,
{
    let place = Location::caller();
    let begun = Moment::now();
    let trace = Trace::recording(name);
    let mut inputs = 0;
    let outputs = {
        let mut input = |name: &str, spec: &Spec| {
            inputs += 1;
            trace.input(spec.ty(), name, place)
        };
        let mut names = input_names(&params, &data).into_iter();
        let mut next = |spec: &Spec| input(&names.next().expect("one name per leaf"), spec);
        let p = params.map_leaves(&mut next);
        let d = data.map_leaves(&mut next);
        f(&trace, p, d)
    };
    if !outputs.are_of(&trace, begun) {
        trace.state().mistakes.push(Mistake {
            place: outputs.place,
            operation: "outputs",
            problem: Problem::Scope,
            message: "these outputs were made by another trace; \
                      hand them over with the trace that the program is given"
                .to_owned(),
            operands: Vec::new(),
        });
    }
    trace.check()?;
    let state = trace.into_state();
    let graph = finish(state, inputs, &outputs.values);
    Ok(Traced { graph: Arc::new(graph), params, data, outputs: outputs.specs })
}

/// The results of a program: see [`Trace::outputs`].
#[derive(Debug)]
pub struct Outputs<O> {
    values: Vec<Value>,
    specs: O,
    /// The address of the trace that made them, which tells it apart from those
    /// that live at the same time, and when, which tells it apart from those that
    /// lived at that address before.
    trace: usize,
    made: Moment,
    place: &'static Location<'static>,
    of: PhantomData<fn() -> O>,
}

impl<O> Outputs<O> {
    /// Whether they were made by this trace, which has stayed where it is since it
    /// was begun.
    fn are_of(&self, trace: &Trace, begun: Moment) -> bool {
        self.trace == std::ptr::from_ref(trace).addr() && self.made > begun
    }
}

/// A point in the history of the process; each is later than those before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Moment(u64);

impl Moment {
    fn now() -> Self {
        static CLOCK: AtomicU64 = AtomicU64::new(0);
        // One counter is counted in one order by all threads, however relaxed.
        Self(CLOCK.fetch_add(1, Ordering::Relaxed))
    }
}

impl Trace {
    /// Hands over the results of a program that is traced with [`trace_tree`].
    #[track_caller]
    pub fn outputs<'t, T: Tree<Tensor<'t>>>(&'t self, results: &T) -> Outputs<T::With<Spec>> {
        let place = Location::caller();
        if self.is_nested() {
            // The values of a body are no values of the program around it.
            self.state().mistakes.push(Mistake {
                place,
                operation: "outputs",
                problem: Problem::Scope,
                message: "the outputs of a program are handed over outside of loops and \
                          branches; return them from the body and hand over its results"
                    .to_owned(),
                operands: Vec::new(),
            });
        }
        let specs = results.map_leaves(&mut |x| Spec::from(x.ty()));
        let mut values = Vec::new();
        for &x in results.leaves() {
            let mut state = self.state();
            match self.resolve(&mut state, x) {
                Ok(value) => values.push(value),
                Err(absent) => {
                    let operands = self.describe(&state, &[x]);
                    state.refuse("output", absent, operands, place);
                }
            }
        }
        let trace = std::ptr::from_ref(self).addr();
        Outputs { values, specs, trace, made: Moment::now(), place, of: PhantomData }
    }
}

/// The graph of a program: inputs and outputs as they were traced, and constants
/// where the trace had held them as inputs.
fn finish(state: State, inputs: usize, outputs: &[Value]) -> Graph {
    let State { mut scopes, held, .. } = state;
    let mut recorded = scopes.pop().expect("one scope is always open").graph;
    recorded.set_outputs(outputs.iter().copied());
    let mut graph = Graph::new(recorded.name.clone());
    let mut args: Vec<Value> = Vec::with_capacity(recorded.inputs().len());
    for &v in &recorded.inputs()[..inputs] {
        graph.set_origin(recorded.origin(recorded.source(v).0));
        args.push(graph.input(recorded.ty(v).clone(), recorded.name_of(v)));
    }
    for (_, array) in held {
        args.push(graph.constant(array));
    }
    let results = inline(&mut graph, &recorded, &args);
    graph.set_outputs(results);
    graph
}

/// A name for each input: its path, below `params` or `data` where that is
/// needed to tell them apart.
fn input_names(params: &impl Tree<Spec>, data: &impl Tree<Spec>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (whole, paths) in [("params", params.leaf_names()), ("data", data.leaf_names())] {
        for path in paths {
            let starts_with_letter = path.starts_with(|c: char| c.is_alphabetic() || c == '_');
            names.push(match path.as_str() {
                "" => whole.to_owned(),
                _ if starts_with_letter && whole == "params" => path,
                _ => format!("{whole}.{path}"),
            });
        }
    }
    names
}

/// The name of a function; a closure is called after what it is in.
fn program_name<F>() -> String {
    let path = std::any::type_name::<F>();
    let path = path.split('<').next().unwrap_or(path);
    let mut parts = path.rsplit("::").filter(|p| !p.starts_with('{'));
    parts.next().unwrap_or("program").to_owned()
}

impl<P, D, O> Traced<P, D, O> {
    /// The graph. Its inputs are the leaves of the parameters, then those of the
    /// data; its outputs are the leaves of the outputs.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The graph, shared.
    pub fn graph_arc(&self) -> Arc<Graph> {
        Arc::clone(&self.graph)
    }

    /// The types of the parameters.
    pub fn params(&self) -> &P {
        &self.params
    }

    /// The types of the data.
    pub fn data(&self) -> &D {
        &self.data
    }

    /// The types of the outputs.
    pub fn outputs(&self) -> &O {
        &self.outputs
    }

    /// The same program with another graph, such as one that passes have made
    /// better: it takes and gives the same types.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn with_graph(self, graph: Graph) -> Self {
        let types =
            |g: &Graph, vs: &[Value]| vs.iter().map(|&v| g.ty(v).clone()).collect::<Vec<_>>();
        let signature = |g: &Graph| (types(g, g.inputs()), types(g, g.outputs()));
        assert_eq!(signature(&graph), signature(&self.graph), "another graph of the same types");
        Self { graph: Arc::new(graph), ..self }
    }
}

impl<P: Tree<Spec>, D: Tree<Spec>, O: Tree<Spec>> Traced<P, D, O> {
    /// Runs the program on the reference interpreter: slow, but it needs no
    /// compilation.
    ///
    /// # Errors
    /// If the arguments are not those the program takes, or one of its operations
    /// does not take the numbers it gets.
    #[track_caller]
    pub fn eval<A: Args + ?Sized, B: Args + ?Sized>(
        &self,
        params: &A,
        data: &B,
    ) -> Result<O::With<Array>, TraceError> {
        let mut arrays = to_arrays(params);
        arrays.extend(to_arrays(data));
        self.check(&arrays.iter().map(Array::ty).collect::<Vec<_>>())?;
        let run = || backstitch_ir::eval::eval_arrays(&self.graph, &arrays);
        let (results, raised) = routine::watch(run);
        if let Some(raised) = raised {
            return Err(fault(raised, Location::caller()).into());
        }
        let mut results = results.into_iter();
        Ok(self.outputs.map_leaves(&mut |_| results.next().expect("one result per output")))
    }

    /// Checks the types of arguments, in the order of the inputs.
    ///
    /// # Errors
    /// If they are not those of the inputs.
    #[track_caller]
    pub fn check(&self, types: &[Type]) -> Result<(), TraceError> {
        let inputs = self.graph.inputs();
        if inputs.len() != types.len() {
            let message = format!("the program takes {} arrays, not {}", inputs.len(), types.len());
            return Err(self.error("call", Problem::Arguments, message));
        }
        for (&v, got) in inputs.iter().zip(types) {
            let wanted = self.graph.ty(v);
            if wanted != got {
                let name = self.graph.name_of(v).unwrap_or("an input");
                let message = format!("`{name}` is {wanted}, not {got}");
                return Err(self.error("call", Problem::Arguments, message));
            }
        }
        Ok(())
    }

    /// How each parameter is connected to the outputs.
    ///
    /// ```
    /// use backstitch_trace::{Spec, Status, trace};
    /// let traced = trace((Spec::f64([]), Spec::f64([])), (), |_, (a, _), ()| a * a)?;
    /// let (a, b) = traced.gradient_status();
    /// assert!(matches!(a, Status::Connected));
    /// assert!(matches!(b, Status::Unconnected(_)));
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    pub fn gradient_status(&self) -> P::With<Status> {
        let sources = self.param_values();
        let statuses = backstitch_passes::status(&self.graph, self.graph.outputs(), &sources);
        let mut statuses = statuses.into_iter();
        self.params.map_leaves(&mut |_| statuses.next().expect("one status per parameter"))
    }

    /// The inputs that are parameters.
    fn param_values(&self) -> Vec<Value> {
        self.graph.inputs()[..self.params.leaves().len()].to_vec()
    }

    #[track_caller]
    fn error(&self, operation: &'static str, problem: Problem, message: String) -> TraceError {
        let place = Location::caller();
        Mistake { place, operation, problem, message, operands: Vec::new() }.into()
    }

    /// A copy of the graph to which derivatives are added.
    #[track_caller]
    fn extend(&self) -> Graph {
        let mut graph = (*self.graph).clone();
        graph.set_origin(origin(Location::caller()));
        graph
    }

    /// The only output, a float scalar.
    #[track_caller]
    fn scalar(&self, operation: &'static str) -> Result<Value, TraceError> {
        if let [v] = *self.graph.outputs()
            && self.graph.ty(v).rank() == 0
            && self.graph.ty(v).is_float()
        {
            return Ok(v);
        }
        let got: Vec<String> = self.outputs.leaves().iter().map(ToString::to_string).collect();
        let message = format!(
            "the program must give one float scalar, not ({}); \
             reduce it, or ask for `vjp` or `jacobian`",
            got.join(", ")
        );
        Err(self.error(operation, Problem::Gradient, message))
    }

    /// The parameters, all of them floats.
    #[track_caller]
    fn float_params(&self, operation: &'static str) -> Result<Vec<Value>, TraceError> {
        let params = self.param_values();
        self.floats(operation, &params, ("parameter", "make it data, or leave it out"))?;
        Ok(params)
    }

    /// Whether the outputs are all floats.
    #[track_caller]
    fn float_outputs(&self, operation: &'static str) -> Result<(), TraceError> {
        self.floats(operation, self.graph.outputs(), ("an output", "cast it, or leave it out"))
    }

    #[track_caller]
    fn floats(
        &self,
        operation: &'static str,
        values: &[Value],
        (what, remedy): (&str, &str),
    ) -> Result<(), TraceError> {
        let Some(&v) = values.iter().find(|&&v| !self.graph.ty(v).is_float()) else {
            return Ok(());
        };
        let name = self.graph.name_of(v).map_or_else(String::new, |n| format!(" `{n}`"));
        let message = format!(
            "{what}{name} is {}, and only floats have derivatives; {remedy}",
            self.graph.ty(v)
        );
        Err(self.error(operation, Problem::Gradient, message))
    }
}

impl<P: fmt::Debug, D: fmt::Debug, O: fmt::Debug> fmt::Debug for Traced<P, D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traced")
            .field("name", &self.graph.name)
            .field("params", &self.params)
            .field("data", &self.data)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

impl<P, D, O> fmt::Display for Traced<P, D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.graph)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn my_loss<'t>(_: &'t Trace, x: Tensor<'t>, (): ()) -> Tensor<'t> {
        x * x
    }

    #[test]
    fn programs_are_named_after_their_functions() {
        let traced = trace(Spec::f64([]), (), my_loss).unwrap();
        assert_eq!(traced.graph().name, "my_loss");
    }
}
