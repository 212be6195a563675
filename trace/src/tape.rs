//! The gradient tape.
//!
//! The graph is the tape: everything that a trace computes is there already, so
//! recording costs nothing, and the gradient is itself recorded, which is how
//! tapes nest. What a tape adds is the question which values count as sources:
//! those it watches, and what was computed from them.

mod derive;

use rustc_hash::FxHashSet;

use crate::gradient::Gradient;
use crate::jacobian;
use crate::tensor::Tensor;
use crate::trace::Trace;
use crate::tree::Tree;

/// What a trace knows of a tape.
pub(crate) struct TapeState {
    id: u32,
    /// Whether variables are watched when they are used.
    automatic: bool,
    paused: bool,
    watched: FxHashSet<u32>,
    variables: Vec<u32>,
}

impl TapeState {
    /// A variable is used.
    pub(crate) fn accessed(&mut self, slot: u32) {
        if self.automatic && !self.paused {
            self.watch_variable(slot);
        }
    }

    fn watch_variable(&mut self, slot: u32) {
        if self.watched.insert(slot) {
            self.variables.push(slot);
        }
    }
}

/// Gives gradients of what is computed while it exists.
///
/// [`gradient`](Self::gradient) uses the tape up, so that using a spent tape does
/// not compile; [`persistent`](Self::persistent) makes one that can be asked many
/// times.
///
/// ```
/// # use backstitch_trace::Trace;
/// let t = Trace::eager();
/// let x = t.constant(3.0);
/// let tape = t.tape();
/// tape.watch(&x);
/// let y = x * x;
/// let dy = tape.gradient(&y, &x).expect_connected();
/// assert_eq!(dy.item::<f64>()?, 6.0);
/// # Ok::<(), backstitch_trace::TraceError>(())
/// ```
///
/// ```compile_fail
/// # use backstitch_trace::Trace;
/// let t = Trace::eager();
/// let x = t.variable(3.0);
/// let tape = t.tape();
/// let y = x * x;
/// tape.gradient(&y, &x);
/// tape.gradient(&y, &x); // the tape is spent
/// ```
///
/// # Beside TensorFlow
///
/// * A derivative follows all operations of the trace, also those before the
///   tape was made.
/// * What is computed under [`stop_recording`](Self::stop_recording) is a constant
///   to all tapes.
/// * [`reset`](Self::reset) forgets what is watched, not what was computed.
/// * Values that are equal by construction (`x * x` written twice) are one value,
///   also as a source.
pub struct GradientTape<'t> {
    tape: Tape<'t>,
}

/// A tape that can be asked for many gradients.
///
/// ```
/// # use backstitch_trace::Trace;
/// let t = Trace::eager();
/// let x = t.constant(3.0);
/// let tape = t.tape().persistent();
/// tape.watch(&x);
/// let y = x * x;
/// let z = y * y;
/// assert_eq!(tape.gradient(&z, &x).expect_connected().item::<f64>()?, 108.0);
/// assert_eq!(tape.gradient(&y, &x).expect_connected().item::<f64>()?, 6.0);
/// # Ok::<(), backstitch_trace::TraceError>(())
/// ```
pub struct PersistentTape<'t> {
    tape: Tape<'t>,
}

struct Tape<'t> {
    trace: &'t Trace,
    id: u32,
}

impl Trace {
    /// A new tape. It watches variables when they are used.
    pub fn tape(&self) -> GradientTape<'_> {
        let mut state = self.state();
        let id = state.made_tapes;
        state.made_tapes += 1;
        let (watched, variables) = (FxHashSet::default(), Vec::new());
        state.tapes.push(TapeState { id, automatic: true, paused: false, watched, variables });
        GradientTape { tape: Tape { trace: self, id } }
    }
}

/// The methods that do not use a tape up.
macro_rules! common {
    ($($tape:ident)*) => {$(
        impl<'t> $tape<'t> {
            /// Whether variables are watched when they are used; they are unless
            /// it is said otherwise.
            pub fn watch_accessed_variables(self, on: bool) -> Self {
                self.tape.with(|state| state.automatic = on);
                self
            }

            /// Watches all tensors of a tree: gradients with respect to them, and to
            /// what is computed from them, are to be had.
            #[track_caller]
            pub fn watch(&self, tensors: &impl Tree<Tensor<'t>>) {
                self.tape.watch(tensors);
            }

            /// The variables that are watched, in the order in which they were used
            /// first.
            pub fn watched_variables(&self) -> Vec<Tensor<'t>> {
                self.tape.watched_variables()
            }

            /// Forgets all that was watched.
            pub fn reset(&self) {
                self.tape.with(|state| {
                    state.watched.clear();
                    state.variables.clear();
                });
            }

            /// Runs `f` with recording paused: what it computes is a constant to
            /// derivatives, and variables it uses are not watched.
            ///
            /// ```
            /// # use backstitch_trace::Trace;
            /// let t = Trace::eager();
            /// let x = t.variable(3.0);
            /// let tape = t.tape();
            /// let scale = tape.stop_recording(|| x * 2.0);
            /// let y = x * scale;
            /// assert_eq!(tape.gradient(&y, &x).expect_connected().item::<f64>()?, 6.0);
            /// # Ok::<(), backstitch_trace::TraceError>(())
            /// ```
            #[track_caller]
            pub fn stop_recording<R>(&self, f: impl FnOnce() -> R) -> R {
                self.tape.stop_recording(f)
            }
        }
    )*};
}
common!(GradientTape PersistentTape);

impl<'t> GradientTape<'t> {
    /// This tape, to be asked for many gradients.
    pub fn persistent(self) -> PersistentTape<'t> {
        PersistentTape { tape: self.tape }
    }

    /// The gradients of the sum of all targets with respect to each source, in the
    /// structure of the sources.
    #[track_caller]
    pub fn gradient<T: Tree<Tensor<'t>>, S: Tree<Tensor<'t>>>(
        self,
        targets: &T,
        sources: &S,
    ) -> S::With<Gradient<'t>> {
        self.tape.gradient(targets, None::<&T>, sources)
    }

    /// As [`gradient`](Self::gradient), with the targets weighted: one cotangent of
    /// the same shape for each.
    #[track_caller]
    pub fn gradient_with<T: Tree<Tensor<'t>>, C: Tree<Tensor<'t>>, S: Tree<Tensor<'t>>>(
        self,
        targets: &T,
        output_gradients: &C,
        sources: &S,
    ) -> S::With<Gradient<'t>> {
        self.tape.gradient(targets, Some(output_gradients), sources)
    }

    /// The derivative of each element of the target with respect to each element
    /// of each source: arrays of the target's shape followed by the source's.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.variable(ndarray::arr1(&[1.0, 2.0]));
    /// let tape = t.tape();
    /// let y = x * x;
    /// let j = tape.jacobian(&y, &x).expect_connected();
    /// assert_eq!(j.array()?.to_f64_vec(), [2.0, 0.0, 0.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn jacobian<S: Tree<Tensor<'t>>>(
        self,
        target: &Tensor<'t>,
        sources: &S,
    ) -> S::With<Gradient<'t>> {
        self.tape.jacobian("jacobian", *target, sources, jacobian::jacobian)
    }

    /// The Jacobian of each example, where the first axis of target and sources
    /// counts examples that do not depend on each other: arrays
    /// `[examples, target…, source…]`.
    #[track_caller]
    pub fn batch_jacobian<S: Tree<Tensor<'t>>>(
        self,
        target: &Tensor<'t>,
        sources: &S,
    ) -> S::With<Gradient<'t>> {
        self.tape.jacobian("batch_jacobian", *target, sources, jacobian::batch_jacobian)
    }
}

impl<'t> PersistentTape<'t> {
    /// See [`GradientTape::gradient`].
    #[track_caller]
    pub fn gradient<T: Tree<Tensor<'t>>, S: Tree<Tensor<'t>>>(
        &self,
        targets: &T,
        sources: &S,
    ) -> S::With<Gradient<'t>> {
        self.tape.gradient(targets, None::<&T>, sources)
    }

    /// See [`GradientTape::gradient_with`].
    #[track_caller]
    pub fn gradient_with<T: Tree<Tensor<'t>>, C: Tree<Tensor<'t>>, S: Tree<Tensor<'t>>>(
        &self,
        targets: &T,
        output_gradients: &C,
        sources: &S,
    ) -> S::With<Gradient<'t>> {
        self.tape.gradient(targets, Some(output_gradients), sources)
    }

    /// See [`GradientTape::jacobian`].
    #[track_caller]
    pub fn jacobian<S: Tree<Tensor<'t>>>(
        &self,
        target: &Tensor<'t>,
        sources: &S,
    ) -> S::With<Gradient<'t>> {
        self.tape.jacobian("jacobian", *target, sources, jacobian::jacobian)
    }

    /// See [`GradientTape::batch_jacobian`].
    #[track_caller]
    pub fn batch_jacobian<S: Tree<Tensor<'t>>>(
        &self,
        target: &Tensor<'t>,
        sources: &S,
    ) -> S::With<Gradient<'t>> {
        self.tape.jacobian("batch_jacobian", *target, sources, jacobian::batch_jacobian)
    }
}
