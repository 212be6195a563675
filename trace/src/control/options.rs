//! What is said of one loop: whether it is written out, and how often it may run.

use std::sync::Arc;

use backstitch_ir::ops::{Loop, LoopLimit, Trip, Unroll};
use backstitch_ir::{DType, Graph, Scalar, Type, Value};
use backstitch_passes::inline;

use crate::number::Operand;
use crate::tensor::Tensor;
use crate::trace::Trace;
use crate::tree::Tree;

/// What is said of a loop: see [`Trace::loops`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct LoopOptions {
    unroll: Option<Unroll>,
    limit: Option<usize>,
}

impl LoopOptions {
    /// Nothing is said.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the iterations are written out one after the other, where the program is
    /// compiled; instead of what the options of the compiler say of all loops.
    ///
    /// Written out, iterations fuse with each other and with what is around them; it takes
    /// longer to compile. The results are the same but for how sums of products round, which
    /// depends on what else is computed from the products. So are the loops of derivatives
    /// treated. Loops that end by a predicate are never written out. By a factor is seldom
    /// worth it: a loop that stays costs little per iteration.
    #[must_use]
    pub fn unroll(self, unroll: Unroll) -> Self {
        Self { unroll: Some(unroll), ..self }
    }

    /// After how many iterations a loop that goes on by a predicate has to be done; if
    /// nothing is said, it may go on forever.
    ///
    /// If the predicate holds still then, the loop ends, and there is an error when the
    /// program runs: in eager mode a mistake of the trace with the loop's line, else an
    /// error of the call, which has the line and the limit. The results of the loop are
    /// NaN, 0 for integers, and false. In programs made with `vmap` each lane has the limit
    /// for itself. Loops that count are not affected, since they always end.
    #[must_use]
    #[doc(alias = "maximum_iterations")]
    pub fn limit(self, iterations: usize) -> Self {
        Self { limit: Some(iterations), ..self }
    }

    /// What is said here, and else what is said there.
    fn or(self, other: Self) -> Self {
        Self { unroll: self.unroll.or(other.unroll), limit: self.limit.or(other.limit) }
    }

    /// For an operation of the graph.
    pub(super) fn hint(self) -> Unroll {
        self.unroll.unwrap_or_default()
    }

    /// The limit, if there is one.
    pub(super) fn bound(self) -> Option<usize> {
        self.limit
    }
}

/// Loops of which something is said: see [`Trace::loops`].
#[derive(Clone, Copy)]
pub struct Loops<'t> {
    trace: &'t Trace,
    options: LoopOptions,
}

/// While it lives, something is said of all loops that are recorded.
struct Around<'t> {
    trace: &'t Trace,
    before: LoopOptions,
}

impl Drop for Around<'_> {
    fn drop(&mut self) {
        self.trace.loop_options().set(self.before);
    }
}

impl Trace {
    /// Loops of which something is said: how far they are written out, how often they may
    /// run. Its methods are those of the trace.
    ///
    /// ```
    /// use backstitch_trace::{LoopOptions, Spec, Trace, Unroll, trace};
    /// let t = Trace::eager();
    /// let brief = t.loops(LoopOptions::new().limit(10));
    /// let x = brief.while_loop(t.constant(6.0), |x| x.gt(1.0), |x| x * 0.5);
    /// assert_eq!(x.item::<f64>()?, 0.75);
    /// let x = brief.while_loop(t.constant(1e9), |x| x.gt(1.0), |x| x * 0.5);
    /// let error = x.item::<f64>().unwrap_err().to_string();
    /// assert!(error.contains("goes on after 10 iterations"), "{error}");
    ///
    /// // Four steps at a time.
    /// let power = trace(Spec::f64([]), (), |t, x, ()| {
    ///     let by_four = LoopOptions::new().unroll(Unroll::By(4));
    ///     t.loops(by_four).for_loop(1000, t.scalar(1.0), |_, y| y * x)
    /// })?;
    /// assert_eq!(power.grad()?.eval(&1.0, &())?.item::<f64>(), Some(1000.0));
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[must_use]
    pub fn loops(&self, options: LoopOptions) -> Loops<'_> {
        Loops { trace: self, options }
    }
}

impl<'t> Loops<'t> {
    /// [`Trace::while_loop`] with these options.
    ///
    /// # Errors
    /// Besides, a limit of 0 is a mistake.
    #[track_caller]
    pub fn while_loop<C: Tree<Tensor<'t>>>(
        self,
        init: C,
        predicate: impl FnOnce(C::With<Tensor<'t>>) -> Tensor<'t>,
        body: impl FnOnce(C::With<Tensor<'t>>) -> C::With<Tensor<'t>>,
    ) -> C::With<Tensor<'t>> {
        self.trace.while_loop_as(self.all(), init, predicate, body)
    }

    /// [`Trace::for_loop`] with these options.
    #[track_caller]
    pub fn for_loop<C: Tree<Tensor<'t>>>(
        self,
        count: impl Into<Operand<'t>>,
        init: C,
        body: impl FnOnce(Tensor<'t>, C::With<Tensor<'t>>) -> C::With<Tensor<'t>>,
    ) -> C::With<Tensor<'t>> {
        self.trace.for_loop_as(self.all(), count, init, body)
    }

    /// [`Trace::scan`] with these options.
    #[track_caller]
    pub fn scan<C, X, Y>(
        self,
        init: C,
        rows: X,
        body: impl FnOnce(C::With<Tensor<'t>>, X::With<Tensor<'t>>) -> (C::With<Tensor<'t>>, Y),
    ) -> (C::With<Tensor<'t>>, Y::With<Tensor<'t>>)
    where
        C: Tree<Tensor<'t>>,
        X: Tree<Tensor<'t>>,
        Y: Tree<Tensor<'t>>,
    {
        self.trace.scan_as(self.all(), ("scan", false), init, rows, body)
    }

    /// [`Trace::scan_back`] with these options.
    #[track_caller]
    pub fn scan_back<C, X, Y>(
        self,
        init: C,
        rows: X,
        body: impl FnOnce(C::With<Tensor<'t>>, X::With<Tensor<'t>>) -> (C::With<Tensor<'t>>, Y),
    ) -> (C::With<Tensor<'t>>, Y::With<Tensor<'t>>)
    where
        C: Tree<Tensor<'t>>,
        X: Tree<Tensor<'t>>,
        Y: Tree<Tensor<'t>>,
    {
        self.trace.scan_as(self.all(), ("scan_back", true), init, rows, body)
    }

    /// [`Trace::map_rows`] with these options.
    #[track_caller]
    pub fn map_rows<X, Y>(
        self,
        rows: X,
        body: impl FnOnce(X::With<Tensor<'t>>) -> Y,
    ) -> Y::With<Tensor<'t>>
    where
        X: Tree<Tensor<'t>>,
        Y: Tree<Tensor<'t>>,
    {
        self.trace.scan_as(self.all(), ("map_rows", false), (), rows, |(), row| ((), body(row))).1
    }

    /// Lets these options hold for all loops that `f` records, those of
    /// `#[control_flow]` too; what is said of a loop itself comes first.
    ///
    /// ```
    /// # use backstitch_trace::{LoopOptions, Trace};
    /// let t = Trace::eager();
    /// let x = t.loops(LoopOptions::new().limit(3)).within(|| {
    ///     t.while_loop(t.constant(1e9), |x| x.gt(1.0), |x| x * 0.5)
    /// });
    /// assert!(x.item::<f64>().is_err());
    /// ```
    pub fn within<R>(self, f: impl FnOnce() -> R) -> R {
        let before = self.trace.loop_options().replace(self.all());
        let _around = Around { trace: self.trace, before };
        f()
    }

    fn all(self) -> LoopOptions {
        self.options.or(self.trace.loop_options().get())
    }
}

/// Adds a loop that has to be done after `limit` iterations. Its results: those of the
/// loop, unless it is not done.
pub(super) fn limited(g: &mut Graph, l: &Loop, args: &[Value], limit: usize) -> Vec<Value> {
    let Trip::While(test) = &l.trip else {
        unreachable!("only loops with a predicate are limited")
    };
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    // `while test(c) && clock < limit { (c, clock) = (body(c), clock + 1) }`.
    let trip = Trip::While(clocked(test, l.carries, |g, made, clock| {
        let most = g.constant(most);
        let early = g.map(Scalar::Lt, &[clock, most]);
        vec![g.map(Scalar::And, &[made[0], early])]
    }));
    let body = clocked(&l.body, l.carries, |g, mut made, clock| {
        let one = g.constant(1i64);
        made.insert(l.carries, g.map(Scalar::Add, &[clock, one]));
        made
    });
    let op = Loop { trip, body, carries: l.carries + 1, ..l.clone() };
    let (inits, consts) = args.split_at(l.carries);
    let clock = g.constant(0i64);
    let operands = [inits, &[clock], consts].concat();
    let made = g.add(op, &operands).unwrap_or_else(|e| panic!("loop_limit: {e}\n{g}"));
    let (carries, clock) = made.split_at(l.carries);
    // Stopped: it would have gone on.
    let goes_on = inline(g, test, &[carries, consts].concat())[0];
    let most = g.constant(most);
    let late = g.map(Scalar::Ge, &[clock[0], most]);
    let stopped = g.map(Scalar::And, &[goes_on, late]);
    let stopped = g.push(LoopLimit { limit: limit as u64 }, &[stopped]);
    let unless_stopped = |&v: &Value| {
        let ty = g.ty(v).clone();
        let nothing = g.splat(&ty, if ty.is_float() { f64::NAN } else { 0.0 });
        let stopped = g.broadcast(stopped, &ty.shape, &[]);
        g.map(Scalar::Select, &[stopped, nothing, v])
    };
    carries.iter().map(unless_stopped).collect()
}

/// The same graph with a clock behind the carries, and what `f` makes of outputs and
/// clock for outputs.
fn clocked(
    from: &Graph,
    carries: usize,
    f: impl FnOnce(&mut Graph, Vec<Value>, Value) -> Vec<Value>,
) -> Arc<Graph> {
    let mut to = Graph::new(from.name.clone());
    let again = |to: &mut Graph, vs: &[Value]| -> Vec<Value> {
        vs.iter().map(|&v| to.input(from.ty(v).clone(), from.name_of(v))).collect()
    };
    let (carried, rest) = from.inputs().split_at(carries);
    let carried = again(&mut to, carried);
    let clock = to.input(Type::scalar(DType::I64), Some("clock"));
    let rest = again(&mut to, rest);
    let made = inline(&mut to, from, &[carried, rest].concat());
    let outputs = f(&mut to, made, clock);
    to.set_outputs(outputs);
    Arc::new(to)
}
