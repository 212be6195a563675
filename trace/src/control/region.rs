//! Functions with derivatives of their own.

use std::panic::Location;
use std::sync::Arc;

use backstitch_ir::{Graph, Type, Value, ops};

use super::body::{Body, list, list_names, rebuild};
use crate::mistake::{Mistake, Problem};
use crate::tensor::Tensor;
use crate::trace::Trace;
use crate::tree::Tree;

impl Trace {
    /// A function whose derivative you give, as a [`jvp`](Custom::jvp) rule, a
    /// [`vjp`](Custom::vjp) rule, or both. With one, the other is derived from it. Rules
    /// are programs like any other: they are differentiated for second derivatives.
    ///
    /// The derivative is with respect to `x`. Other tensors that the closures use are
    /// constants to it.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// // log(1 + eˣ), whose derivative by the book is NaN for large x.
    /// let t = Trace::eager();
    /// let x = t.constant(1000.0);
    /// let tape = t.tape();
    /// tape.watch(&x);
    /// let y = t
    ///     .custom(x, |x| x.maximum(0.0) + (-x.abs()).exp().log1p())
    ///     .vjp(|x, ct| ct * x.sigmoid())
    ///     .call();
    /// assert_eq!(tape.gradient(&y, &x).or_zeros().item::<f64>()?, 1.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn custom<'t, X, Y>(
        &'t self,
        x: X,
        function: impl FnOnce(X::With<Tensor<'t>>) -> Y,
    ) -> Custom<'t, X, Y>
    where
        X: Tree<Tensor<'t>>,
        Y: Tree<Tensor<'t>>,
    {
        let place = Location::caller();
        let args: Vec<Tensor<'t>> = x.leaves().into_iter().copied().collect();
        let types: Vec<Type> = args.iter().map(|x| x.ty()).collect();
        let (primal, y) = self.body("custom", &types, &[], place, |xs| function(rebuild(&x, xs)));
        Custom {
            trace: self,
            place,
            x,
            args,
            types,
            y,
            primal,
            jvp: None,
            vjp: None,
            refused: false,
        }
    }
}

/// A function with derivatives of its own; see [`Trace::custom`].
#[must_use = "it is not applied before `call`"]
pub struct Custom<'t, X, Y> {
    trace: &'t Trace,
    place: &'static Location<'static>,
    x: X,
    args: Vec<Tensor<'t>>,
    types: Vec<Type>,
    y: Y,
    primal: Body,
    jvp: Option<Body>,
    vjp: Option<Body>,
    /// Whether a rule does not fit, which is recorded already.
    refused: bool,
}

impl<'t, X: Tree<Tensor<'t>>, Y: Tree<Tensor<'t>>> Custom<'t, X, Y> {
    /// How the results move when `x` moves: from `x` and its tangents to the tangents of
    /// the results. It is linear in the tangents. What is no float has the tangent zero.
    ///
    /// # Errors
    /// A rule that gives another structure or other types than the function is a mistake.
    #[track_caller]
    pub fn jvp(
        mut self,
        rule: impl FnOnce(X::With<Tensor<'t>>, X::With<Tensor<'t>>) -> Y::With<Tensor<'t>>,
    ) -> Self {
        let place = Location::caller();
        let given = floats(&self.types);
        let record = |xs: &[Tensor<'t>]| {
            let (xs, dots) = xs.split_at(self.args.len());
            let dots = self.trace.fill(&self.x, &self.types, dots);
            rule(rebuild(&self.x, xs), dots)
        };
        let types = [self.types.clone(), given].concat();
        let captures = &self.primal.scope.captures;
        let (body, found) = self.trace.body("jvp", &types, captures, place, record);
        let fits =
            self.trace.agrees("jvp", (&self.y, &self.primal.types), (&found, &body.types), place);
        self.refused |= !fits;
        self.jvp = fits.then(|| body.only_floats());
        self
    }

    /// The adjoint: from `x` and the cotangents of the results to the cotangents of `x`.
    /// It is linear in the cotangents. What is no float has the cotangent zero.
    ///
    /// # Errors
    /// A rule that gives another structure or other types than `x` is a mistake.
    #[track_caller]
    pub fn vjp(
        mut self,
        rule: impl FnOnce(X::With<Tensor<'t>>, Y::With<Tensor<'t>>) -> X::With<Tensor<'t>>,
    ) -> Self {
        let place = Location::caller();
        let given = floats(&self.primal.types);
        let record = |xs: &[Tensor<'t>]| {
            let (xs, cts) = xs.split_at(self.args.len());
            let cts = self.trace.fill(&self.y, &self.primal.types, cts);
            rule(rebuild(&self.x, xs), cts)
        };
        let types = [self.types.clone(), given].concat();
        let captures = match &self.jvp {
            Some(jvp) => &jvp.scope.captures,
            None => &self.primal.scope.captures,
        };
        let (body, found) = self.trace.body("vjp", &types, captures, place, record);
        let fits = self.trace.agrees("vjp", (&self.x, &self.types), (&found, &body.types), place);
        self.refused |= !fits;
        self.vjp = fits.then(|| body.only_floats());
        self
    }

    /// Applies it.
    ///
    /// # Errors
    /// Without a rule it is a mistake.
    #[track_caller]
    pub fn call(self) -> Y::With<Tensor<'t>> {
        let Self { trace, place, args, types, y, primal, jvp, vjp, refused, .. } = self;
        let results = primal.types.clone();
        let rules = jvp.is_some() || vjp.is_some();
        let poisoned = primal.is_poisoned()
            || jvp.as_ref().is_some_and(Body::is_poisoned)
            || vjp.as_ref().is_some_and(Body::is_poisoned);
        if !rules && !poisoned && !refused {
            let message = "expected a `jvp` or a `vjp` rule".to_owned();
            let mistake = Mistake {
                place,
                operation: "custom",
                problem: Problem::Control,
                message,
                operands: vec![],
            };
            trace.state().mistakes.push(mistake);
        }
        if !rules || poisoned || refused {
            return trace.guesses(&y, &results, place);
        }
        let last = vjp.as_ref().or(jvp.as_ref()).expect("there is a rule");
        let captures = last.scope.captures.clone();
        let captured: Vec<Value> = captures.iter().map(|c| c.0).collect();
        let inner: Vec<Type> = captures.iter().map(|c| last.scope.graph.ty(c.1).clone()).collect();
        let n = types.len();
        let arrange = |body: Body| Arc::new(captured_in_the_middle(body, n, &inner));
        let rule = ops::Rule::Custom { wrt: n, jvp: jvp.map(arrange), vjp: vjp.map(arrange) };
        let body = arrange(primal);
        let op = ops::Region { body, rule };
        rebuild(&y, &trace.finish(op.into(), &args, &captured, &[], &results, place))
    }
}

impl Body {
    /// Without the results that have no derivative.
    fn only_floats(mut self) -> Self {
        let keep: Vec<bool> = self.types.iter().map(Type::is_float).collect();
        let mut kept = keep.iter();
        self.outputs.retain(|_| *kept.next().expect("one per output"));
        self.types.retain(Type::is_float);
        self
    }
}

impl Trace {
    /// A tree of derivatives: those given, and zeros for what is no float.
    fn fill<'t, T: Tree<Tensor<'t>>>(
        &'t self,
        like: &T,
        types: &[Type],
        given: &[Tensor<'t>],
    ) -> T::With<Tensor<'t>> {
        let (mut types, mut given) = (types.iter(), given.iter());
        like.map_leaves(&mut |_| {
            let ty = types.next().expect("one per leaf");
            if ty.is_float() {
                return *given.next().expect("one per float");
            }
            self.zeros(ty.dtype, ty.shape.clone())
        })
    }

    /// Whether a rule gives what it should.
    fn agrees<'t>(
        &'t self,
        operation: &'static str,
        (want, types): (&impl Tree<Tensor<'t>>, &[Type]),
        (got, found): (&impl Tree<Tensor<'t>>, &[Type]),
        place: &'static Location<'static>,
    ) -> bool {
        let (names, got_names) = (want.leaf_names(), got.leaf_names());
        let message = if names != got_names {
            format!("expected {}, the rule gives {}", list_names(&names), list_names(&got_names))
        } else if types != found {
            format!("expected {}, the rule gives {}", list(types), list(found))
        } else {
            return true;
        };
        let (problem, operands) = (Problem::Control, Vec::new());
        self.state().mistakes.push(Mistake { place, operation, problem, message, operands });
        false
    }
}

fn floats(types: &[Type]) -> Vec<Type> {
    types.iter().filter(|t| t.is_float()).cloned().collect()
}

/// The body with what was captured right behind its first `n` inputs: recorded, it
/// stands last, since it is not known before. All bodies get all of it.
fn captured_in_the_middle(body: Body, n: usize, captured: &[Type]) -> Graph {
    let own = body.scope.captures.len();
    let body = body.seal();
    let mut to = Graph::new(body.name.clone());
    let (given, inner) = body.inputs().split_at(body.inputs().len() - own);
    let (xs, rest) = given.split_at(n);
    let copy = |to: &mut Graph, vs: &[Value]| -> Vec<Value> {
        vs.iter().map(|&v| to.input(body.ty(v).clone(), body.name_of(v))).collect()
    };
    let xs = copy(&mut to, xs);
    let mut inner = copy(&mut to, inner);
    for ty in &captured[own..] {
        to.input(ty.clone(), None);
    }
    let mut args = xs;
    args.extend(copy(&mut to, rest));
    args.append(&mut inner);
    let outputs = backstitch_passes::inline(&mut to, &body, &args);
    to.set_outputs(outputs);
    to
}
