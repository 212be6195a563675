//! From traced programs to executables with typed arguments.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backstitch_ir::text::{DotOptions, to_dot};
use backstitch_ir::{Array, Graph, Shape};
use backstitch_passes::{Explanation, KernelOrigin, Memory, OverBudget, Prepared, prepare};
use backstitch_runtime::jit::Vectors;
use backstitch_runtime::{
    ArrayMut, ArrayRef, Backend, Call, Error as RuntimeError, Executable, Workspace,
};
use backstitch_trace::{Args, ArgsMut, Spec, Traced, Tree, View, ViewMut};

use crate::donate::Donate;
use crate::error::Error;

/// How to compile.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// Where the program is to run.
    pub backend: Backend,
    /// On how many threads a call may run.
    pub threads: usize,
    /// What the passes do.
    pub passes: backstitch_passes::Options,
    /// Bytes of workspace at most.
    pub memory: Option<usize>,
    /// How wide vector code may be.
    pub vectors: Vectors,
    /// Whether all that threads can share is shared, however short: for tests.
    #[doc(hidden)]
    pub share_all: bool,
    /// Which parameters become outputs in place.
    pub(crate) donate: Donate,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            threads: 1,
            passes: Default::default(),
            memory: None,
            vectors: Vectors::default(),
            share_all: false,
            donate: Donate::Nothing,
        }
    }
}

impl Options {
    /// For this backend.
    #[must_use]
    pub fn backend(self, backend: Backend) -> Self {
        Self { backend, ..self }
    }

    /// On how many threads a call may run: the caller's, and those of the rayon pool
    /// that the caller is in, or else of rayon's global pool. Usually 1. What is too
    /// short to gain by it stays on the caller's thread. Results are the same bits for
    /// any number.
    ///
    /// ```
    /// use backstitch::{Options, prelude::*};
    ///
    /// let f = trace(Spec::f64([300_000]), (), |_, x, ()| x.sin().square().sum())?;
    /// let f = f.value_and_grad()?;
    /// let two = f.compile_with(&Options::default().threads(2))?;
    /// let x = ndarray::Array1::linspace(0.0, 1.0, 300_000);
    /// let (a, b) = (two.call(&x, &())?, f.compile()?.call(&x, &())?);
    /// assert!(a.0.same_bits(&b.0) && a.1.same_bits(&b.1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// With vector code as wide as this at most. The processor's widest is used unless
    /// this says otherwise; results are the same bits for any.
    #[must_use]
    pub fn vectors(self, vectors: Vectors) -> Self {
        Self { vectors, ..self }
    }

    /// Shares among threads what is far too short for that, in chunks of so few elements:
    /// so tests see that results are the same bits on any number of threads, as long as
    /// chunks are the same.
    #[doc(hidden)]
    #[must_use]
    pub fn share_all(mut self, chunk: usize) -> Self {
        self.share_all = true;
        self.passes.chunk = chunk;
        self
    }

    /// With or without simplification and fusion. Without, each operation is a
    /// kernel of its own, as in eager mode.
    #[must_use]
    pub fn optimise(mut self, optimise: bool) -> Self {
        self.passes.optimise = optimise;
        self
    }

    /// How many operations a loop of known length may become when its iterations are
    /// written out one after the other, so that they fuse. 0 leaves all loops as they
    /// are. More of it makes programs faster and compiling them slower.
    #[must_use]
    pub fn unroll(mut self, operations: usize) -> Self {
        self.passes.unroll = operations;
        self
    }

    /// The workspace takes at most so many bytes, whatever the inputs: arrays that are
    /// passed in and results do not count. What a loop keeps for its reverse is computed
    /// again, as far as it takes to get there; the results are the same bits. Only where
    /// that is not enough, matrix products that a loop adds up stay in the loop, and are
    /// added one by one. A loop of unknown length takes the same bytes however long it runs.
    ///
    /// What is kept and what is computed again is in [`Compiled::memory`]. Values of
    /// straight-line programs are kept as they are, and so are those of loops that are
    /// written out (see [`unroll`](Self::unroll)); a checkpoint of yours
    /// ([`Trace::checkpoint`](crate::Trace::checkpoint)) makes them fewer. Scratch that the
    /// matrix product takes for itself does not count.
    ///
    /// Compiling is an [`Error::Memory`] that says how many bytes there have to be, if so few
    /// do not do.
    ///
    /// ```
    /// use backstitch::prelude::*;
    /// use backstitch::{Error, Options};
    ///
    /// let f = trace(Spec::f64([]), (), |t, a, ()| {
    ///     t.for_loop(100_000, t.scalar(0.5), |_, x| a * x * (1.0 - x))
    /// })?;
    /// let f = f.value_and_grad()?;
    /// let all = f.compile()?;
    /// assert!(all.memory().bytes > Some(800_000));
    ///
    /// let few = f.compile_with(&Options::default().memory(20_000))?;
    /// assert!(few.memory().bytes <= Some(20_000));
    /// let (a, b) = (few.call(&3.7, &())?, all.call(&3.7, &())?);
    /// assert!(a.0.same_bits(&b.0) && a.1.same_bits(&b.1));
    ///
    /// let error = f.compile_with(&Options::default().memory(100)).unwrap_err();
    /// assert!(matches!(error, Error::Memory(_)));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    #[doc(alias = "checkpointing")]
    #[doc(alias = "revolve")]
    #[doc(alias = "treeverse")]
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Parameters that become outputs in place, as pairs of paths: the array that is passed
    /// for the first holds the second when the call is over. Both have the same type. Such a
    /// program is called with [`Compiled::update_into`].
    ///
    /// What is still wanted of a parameter when its output is known is waited for, or the
    /// output is kept in the workspace meanwhile. Whether parameters are donated changes no
    /// bit of a result; but where an output is a parameter as it is, loops that would copy it
    /// may be other ones, and their sums round differently.
    ///
    /// Compiling is an [`Error::Donation`] if there is no parameter or output of a path, if
    /// their types differ, or if one is in two pairs.
    ///
    /// ```
    /// use backstitch::{Options, prelude::*};
    ///
    /// // The running mean `m` of all `x` so far.
    /// let f = trace_tree((Spec::f64([]), Spec::f64([3])), Spec::f64([3]), |t, (n, m), x| {
    ///     let n = n + 1.0;
    ///     t.outputs(&(m + (x - m) / n, n))
    /// })?;
    /// let f = f.compile_with(&Options::default().donate([("0", "1"), ("1", "0")]))?;
    /// let mut state = (0.0, ndarray::Array1::zeros(3));
    /// let mut ws = f.workspace()?;
    /// for x in [[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]] {
    ///     f.update_into(&mut ws, &mut state, &ndarray::arr1(&x), &mut ())?;
    /// }
    /// assert_eq!(state, (2.0, ndarray::arr1(&[2.0, 3.0, 4.0])));
    /// # Ok::<(), backstitch::Error>(())
    /// ```
    #[must_use]
    #[doc(alias = "donate_argnums")]
    #[doc(alias = "donate_argnames")]
    #[doc(alias = "input_output_aliases")]
    pub fn donate<'a>(mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(from, to): (&str, &str)| (from.to_owned(), to.to_owned());
        self.donate = Donate::Pairs(pairs.into_iter().map(owned).collect());
        self
    }

    /// All parameters become outputs in place: the first outputs, in their order. So a
    /// training step, which gives new parameters and a loss, changes the parameters where
    /// they are; see [`Compiled::update_into`].
    ///
    /// Compiling is an [`Error::Donation`] if their types differ, or if there are fewer
    /// outputs than parameters.
    #[must_use]
    #[doc(alias = "donate_argnums")]
    pub fn donate_parameters(mut self) -> Self {
        self.donate = Donate::Parameters;
        self
    }
}

/// Compilation of traced programs.
pub trait Compile {
    /// The executable program.
    type Output;

    /// Compiles with other options than the usual.
    ///
    /// # Errors
    /// If no machine code can be made, the program does not fit in a stated number of
    /// bytes, or a parameter cannot be donated as stated.
    fn compile_with(&self, options: &Options) -> Result<Self::Output, Error>;

    /// Compiles for this machine.
    ///
    /// # Errors
    /// If no machine code can be made.
    fn compile(&self) -> Result<Self::Output, Error> {
        self.compile_with(&Options::default())
    }
}

impl<P: Tree<Spec> + Clone, D: Clone, O: Tree<Spec> + Clone> Compile for Traced<P, D, O> {
    type Output = Compiled<P, D, O>;

    fn compile_with(&self, options: &Options) -> Result<Compiled<P, D, O>, Error> {
        let donate = options.donate.pairs(self.params(), self.outputs())?;
        let passes = backstitch_passes::Options { donate, ..options.passes.clone() };
        let mut prepared = prepare(self.graph(), &passes);
        if let Some(bytes) = options.memory {
            prepared = within(self.graph(), prepared, bytes, &passes)?;
        }
        let Prepared { graph, lowered, times, memory } = prepared;
        let (groups, origins) = (lowered.kernel_of, lowered.origins);
        let code = backstitch_runtime::jit::Options {
            workers: u32::try_from(options.threads).unwrap_or(u32::MAX),
            share_all: options.share_all,
            vectors: options.vectors,
            ..Default::default()
        };
        // SAFETY: lowering makes plans that the verifier finds nothing wrong with.
        let executable = unsafe { Executable::trusted(lowered.plan, options.backend, code)? };
        let about = About {
            graph,
            groups,
            origins,
            times,
            memory,
            params: self.params().clone(),
            data: self.data().clone(),
            outputs: self.outputs().clone(),
        };
        Ok(Compiled { executable, about: Arc::new(about) })
    }
}

/// The program in at most so many bytes; the same bits, if that can be.
fn within(
    graph: &Graph,
    prepared: Prepared,
    bytes: usize,
    passes: &backstitch_passes::Options,
) -> Result<Prepared, OverBudget> {
    let error = match prepared.within(bytes, passes) {
        Err(error) if passes.rows => error,
        result => return result,
    };
    // What is kept so that products can leave loops goes last.
    let passes = backstitch_passes::Options { rows: false, ..passes.clone() };
    prepare(graph, &passes).within(bytes, &passes).map_err(|other| {
        let least = error.least.into_iter().chain(other.least).min();
        OverBudget { bytes, least }
    })
}

/// A compiled program: takes parameters like `P` and data like `D`, gives results
/// like `O`.
///
/// It can be called from many threads, each with a [`Workspace`] of its own; clones share
/// everything.
///
/// ```
/// use backstitch::prelude::*;
///
/// let f = trace(Spec::f64([]), Spec::f64([]), |_, x, y| 3.0 * x * x + 2.0 * x * y)?;
/// let f = f.value_and_grad()?.compile()?;
///
/// let mut ws = f.workspace()?;
/// let (mut value, mut gradient) = (0.0, 0.0);
/// f.call_into(&mut ws, &5.0, &3.0, &mut (&mut value, &mut gradient))?;
/// assert_eq!((value, gradient), (105.0, 36.0));
/// # Ok::<(), backstitch::Error>(())
/// ```
pub struct Compiled<P, D, O> {
    executable: Executable,
    about: Arc<About<P, D, O>>,
}

/// What is known of it beyond what runs.
struct About<P, D, O> {
    graph: Graph,
    groups: rustc_hash::FxHashMap<backstitch_ir::Node, usize>,
    origins: backstitch_ir::IndexVec<backstitch_ir::plan::Kernel, KernelOrigin>,
    times: Vec<(&'static str, Duration)>,
    memory: Memory,
    params: P,
    data: D,
    outputs: O,
}

impl<P, D, O> Clone for Compiled<P, D, O> {
    fn clone(&self) -> Self {
        Self { executable: self.executable.clone(), about: self.about.clone() }
    }
}

// Programs are called from several threads at once, and workspaces go to them. That this
// is so is no accident of what they are made of.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    const fn is_sent<T: Send>() {}
    is_shared::<Compiled<Spec, Vec<Spec>, (Spec, Spec)>>();
    is_shared::<Executable>();
    is_shared::<Error>();
    is_sent::<Workspace>();
    is_sent::<crate::Bound<'_, Spec, f64>>();
};

impl<P, D, O> Compiled<P, D, O> {
    /// Memory for calls from one thread.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn workspace(&self) -> Result<Workspace, Error> {
        Ok(self.executable.workspace()?)
    }

    /// The types of the parameters.
    pub fn params(&self) -> &P {
        &self.about.params
    }

    /// The types of the data.
    pub fn data(&self) -> &D {
        &self.about.data
    }

    /// The types of the outputs.
    pub fn outputs(&self) -> &O {
        &self.about.outputs
    }

    /// What runs.
    pub fn executable(&self) -> &Executable {
        &self.executable
    }

    /// The memory it works in: how much, and what its loops keep for their reverse.
    /// Known without running it.
    pub fn memory(&self) -> &Memory {
        &self.about.memory
    }

    /// What it does, kernel by kernel: operations and loops, bytes read and written, and
    /// why each kernel begins where it does; and all bytes together beside the fewest that
    /// any program could do with. Known without running it.
    ///
    /// ```
    /// use backstitch::passes::explain::Storage;
    /// use backstitch::prelude::*;
    ///
    /// let f = trace(Spec::f64([1000, 100]), (), |_, x, ()| x.logsumexp_over(1).sum())?;
    /// let f = f.compile()?.explain();
    /// println!("{f}");
    /// // Each row is read from memory once: for its maximum, and while it is at hand for the
    /// // sum.
    /// assert_eq!(f.total.bytes_of(Storage::Input(0)).read, 800_000);
    /// # Ok::<(), backstitch::Error>(())
    /// ```
    #[doc(alias = "cost_analysis")]
    #[doc(alias = "explain_graph")]
    pub fn explain(&self) -> Explanation {
        let mut explanation =
            backstitch_passes::explain(self.executable.plan(), &self.about.origins);
        explanation.live = self.memory().live.map(|bytes| bytes as u64);
        explanation
    }

    /// The graph as it was lowered: forward and backward together.
    pub fn graph(&self) -> &Graph {
        &self.about.graph
    }

    /// That graph for Graphviz, with the nodes of each kernel in a box, and nodes
    /// of the backward part in another colour.
    pub fn to_dot(&self) -> String {
        let groups = self.about.groups.iter().map(|(&n, &k)| (n, k)).collect();
        to_dot(&self.about.graph, &DotOptions { groups })
    }

    /// Time spent in each pass.
    pub fn pass_times(&self) -> &[(&'static str, Duration)] {
        &self.about.times
    }

    /// Calls the program; results go to where `outputs` says, a structure of
    /// mutable arrays in the order of the outputs. Copies nothing, allocates
    /// nothing, takes no lock.
    ///
    /// # Errors
    /// If an array is missing, superfluous, of another type, or not contiguous
    /// and row-major; if parameters are donated; if a loop runs out of memory for its
    /// residuals, or of iterations; or if a matrix cannot be factored.
    #[inline]
    pub fn call_into<A, B, R>(
        &self,
        ws: &mut Workspace,
        params: &A,
        data: &B,
        outputs: &mut R,
    ) -> Result<(), Error>
    where
        A: Args + ?Sized,
        B: Args + ?Sized,
        R: ArgsMut + ?Sized,
    {
        let mut call = self.executable.begin(ws)?;
        params.views(&mut |v| input(&mut call, v));
        data.views(&mut |v| input(&mut call, v));
        outputs.views_mut(&mut |v| output(&mut call, v));
        Ok(call.run()?)
    }

    /// Calls the program, which changes the parameters that are donated
    /// ([`Options::donate`], [`Options::donate_parameters`]): they hold their outputs when
    /// the call is over. All other outputs go to where `outputs` says, in their order.
    /// Copies nothing of its own accord, allocates nothing, takes no lock.
    ///
    /// After an error during the run, donated parameters hold anything.
    ///
    /// ```
    /// use backstitch::{Options, prelude::*};
    ///
    /// // Loss, gradient and update of a linear regression: one call.
    /// let step = trace_tree(Spec::f64([2]), (Spec::f64([3, 2]), Spec::f64([3])), |t, w, (x, y)| {
    ///     let tape = t.tape();
    ///     tape.watch(&w);
    ///     let loss = (x.matmul(w) - y).square().mean();
    ///     let slope = tape.gradient(&loss, &w).value().expect("the loss depends on w");
    ///     t.outputs(&(w - 0.1 * slope, loss))
    /// })?;
    /// let step = step.compile_with(&Options::default().donate_parameters())?;
    ///
    /// let x = ndarray::arr2(&[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]);
    /// let (mut w, y) = (ndarray::arr1(&[0.0f64, 0.0]), ndarray::arr1(&[1.0, 2.0, 3.0]));
    /// let (mut loss, mut ws) = (0.0, step.workspace()?);
    /// for _ in 0..400 {
    ///     step.update_into(&mut ws, &mut w, &(&x, &y), &mut loss)?;
    /// }
    /// assert!((w - ndarray::arr1(&[1.0, 2.0])).iter().all(|e| e.abs() < 1e-6) && loss < 1e-12);
    /// # Ok::<(), backstitch::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`call_into`](Self::call_into); that parameters are donated is none.
    #[inline]
    pub fn update_into<A, B, R>(
        &self,
        ws: &mut Workspace,
        params: &mut A,
        data: &B,
        outputs: &mut R,
    ) -> Result<(), Error>
    where
        A: ArgsMut + ?Sized,
        B: Args + ?Sized,
        R: ArgsMut + ?Sized,
    {
        let mut call = self.executable.begin(ws)?;
        params.views_mut(&mut |v| donated(&mut call, v));
        data.views(&mut |v| input(&mut call, v));
        outputs.views_mut(&mut |v| output(&mut call, v));
        Ok(call.run()?)
    }
}

impl<P: Tree<Spec>, D: Tree<Spec>, O: Tree<Spec>> Compiled<P, D, O> {
    /// Calls the program; results are new arrays. Arrays that are not contiguous
    /// are copied first, and so are parameters that are donated: they stay as they are.
    ///
    /// # Errors
    /// If an array is missing, superfluous or of another type; if there is not enough
    /// memory for the work, or a loop has run out of iterations; or if a matrix cannot be
    /// factored.
    pub fn call<A, B>(&self, params: &A, data: &B) -> Result<O::With<Array>, Error>
    where
        A: Args + ?Sized,
        B: Args + ?Sized,
    {
        let mut results: Vec<Array> = Vec::new();
        for ty in self.executable.outputs() {
            let zero = backstitch_ir::Const { dtype: ty.dtype, bits: 0 };
            results.push(Array::full(&ty.shape, zero));
        }
        let mut copies: Vec<Array> = Vec::new();
        let mut copy = |v: View<'_>| {
            if !v.is_contiguous() {
                copies.push(v.to_array());
            }
        };
        params.views(&mut copy);
        data.views(&mut copy);
        // In the order of the arguments, the copies in place of what was copied.
        let mut views: Vec<View<'_>> = Vec::new();
        params.views(&mut |v| views.push(v));
        data.views(&mut |v| views.push(v));
        let mut packed = Vec::new();
        copies.iter().for_each(|a| a.views(&mut |v| packed.push(v)));
        let mut packed = packed.into_iter();
        for v in views.iter_mut().filter(|v| !v.is_contiguous()) {
            *v = packed.next().expect("one copy for each view that needs it");
        }
        if !self.executable.donated().is_empty() {
            let inputs: Vec<ArrayRef<'_>> = (views.iter())
                // SAFETY: the views are of elements of their types, borrowed as long as
                // this takes, and they are contiguous.
                .map(|v| unsafe { ArrayRef::from_raw(v.dtype(), v.dims(), v.as_ptr()) })
                .collect();
            let mut results = self.executable.call(&inputs)?.into_iter();
            let result = &mut |_: &Spec| results.next().expect("one result per output");
            return Ok(self.outputs().map_leaves(result));
        }
        self.executable.with_workspace(|ws| {
            let mut call = self.executable.begin(ws)?;
            views.iter().for_each(|&v| input(&mut call, v));
            results.views_mut(&mut |v| output(&mut call, v));
            call.run()
        })??;
        let mut results = results.into_iter();
        Ok(self.about.outputs.map_leaves(&mut |_| results.next().expect("one result per output")))
    }
}

#[inline]
fn input<'a>(call: &mut Call<'a>, v: View<'a>) {
    if v.dims().is_empty() {
        // SAFETY: the view is of an element of its type that is borrowed for `'a`.
        return call.input(unsafe { ArrayRef::from_raw(v.dtype(), &[], v.as_ptr()) });
    }
    array_input(call, v);
}

#[inline(never)]
fn array_input<'a>(call: &mut Call<'a>, v: View<'a>) {
    if !v.is_contiguous() {
        return call.fail(layout(v.dims(), v.strides()));
    }
    // SAFETY: the view is of elements of its type that are borrowed for `'a`, and
    // they are contiguous.
    call.input(unsafe { ArrayRef::from_raw(v.dtype(), v.dims(), v.as_ptr()) });
}

/// An input that may be changed.
#[inline]
fn donated<'a>(call: &mut Call<'a>, mut v: ViewMut<'a>) {
    if !v.is_contiguous() {
        return call.fail(layout(v.dims(), v.strides()));
    }
    let (dtype, dims, at) = (v.dtype(), v.dims(), v.as_mut_ptr());
    // SAFETY: the view is of elements of its type that are borrowed exclusively
    // for `'a`, and they are contiguous.
    call.donate(unsafe { ArrayMut::from_raw(dtype, dims, at) });
}

#[inline]
fn output<'a>(call: &mut Call<'a>, mut v: ViewMut<'a>) {
    if v.dims().is_empty() {
        // SAFETY: the view is of an element of its type that is borrowed exclusively
        // for `'a`.
        return call.output(unsafe { ArrayMut::from_raw(v.dtype(), &[], v.as_mut_ptr()) });
    }
    array_output(call, v);
}

#[inline(never)]
fn array_output<'a>(call: &mut Call<'a>, mut v: ViewMut<'a>) {
    if !v.is_contiguous() {
        return call.fail(layout(v.dims(), v.strides()));
    }
    let (dtype, dims, at) = (v.dtype(), v.dims(), v.as_mut_ptr());
    // SAFETY: the view is of elements of its type that are borrowed exclusively
    // for `'a`, and they are contiguous.
    call.output(unsafe { ArrayMut::from_raw(dtype, dims, at) });
}

#[cold]
fn layout(dims: &[usize], strides: &[isize]) -> RuntimeError {
    RuntimeError::Layout { shape: Shape::from(dims), strides: strides.into() }
}

impl<P, D, O> fmt::Debug for Compiled<P, D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.executable.fmt(f)
    }
}

/// The plan: kernels as loop nests, and the order in which they run.
impl<P, D, O> fmt::Display for Compiled<P, D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.executable.plan())
    }
}
