//! How to compile: for which backend and how many threads, in how many bytes, and what is
//! changed in place.

use backstitch_runtime::Backend;
use backstitch_runtime::jit::Vectors;

use crate::donate::Donate;

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
    ///
    /// ```
    /// use backstitch::{Options, Vectors, prelude::*};
    ///
    /// let f = trace(Spec::f32([1000]), (), |_, x, ()| x.sin().square().sum())?;
    /// let f = f.value_and_grad()?;
    /// let narrow = f.compile_with(&Options::default().vectors(Vectors::Bits128))?;
    /// let x = ndarray::Array1::linspace(0.0f32, 1.0, 1000);
    /// let (a, b) = (narrow.call(&x, &())?, f.compile()?.call(&x, &())?);
    /// assert!(a.0.same_bits(&b.0) && a.1.same_bits(&b.1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// What is kept and what is computed again is in [`Compiled::memory`](crate::Compiled::memory).
    /// Values of straight-line programs are kept as they are, and so are those of loops that are
    /// written out (see [`unroll`](Self::unroll)); a checkpoint of yours
    /// ([`Trace::checkpoint`](crate::Trace::checkpoint)) makes them fewer. Scratch that the matrix
    /// product takes for itself does not count.
    ///
    /// Compiling is an [`Error::Memory`](crate::Error::Memory) that says how many bytes there have
    /// to be, if so few do not do.
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
    /// program is called with [`Compiled::update_into`](crate::Compiled::update_into).
    ///
    /// What is still wanted of a parameter when its output is known is waited for, or the
    /// output is kept in the workspace meanwhile. Whether parameters are donated changes no
    /// bit of a result; but where an output is a parameter as it is, loops that would copy it
    /// may be other ones, and their sums round differently.
    ///
    /// Compiling is an [`Error::Donation`](crate::Error::Donation) if there is no parameter or
    /// output of a path, if their types differ, or if one is in two pairs.
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
    /// they are; see [`Compiled::update_into`](crate::Compiled::update_into).
    ///
    /// Compiling is an [`Error::Donation`](crate::Error::Donation) if their types differ, or if
    /// there are fewer outputs than parameters.
    #[must_use]
    #[doc(alias = "donate_argnums")]
    pub fn donate_parameters(mut self) -> Self {
        self.donate = Donate::Parameters;
        self
    }
}
