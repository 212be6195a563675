//! What a tape gives for each source.

use std::fmt;
use std::panic::Location;

use backstitch_passes::{Break, Reason};

use crate::mistake::Problem;
use crate::tensor::Tensor;
use crate::tree::{Tree, leaf};

pub use backstitch_passes::Status;

leaf!(Status);

/// The gradient with respect to one source: a tensor, or why there is none.
///
/// A missing gradient is never silent: it is up to you whether it is `None`
/// ([`value`](Self::value)), zeros ([`or_zeros`](Self::or_zeros)) or a mistake
/// ([`expect_connected`](Self::expect_connected)).
///
/// ```
/// # use backstitch_trace::{Status, Trace};
/// let t = Trace::eager();
/// let (x, y) = (t.variable(2.0), t.variable(3.0));
/// let tape = t.tape();
/// let z = x * x;
/// let (dx, dy) = tape.gradient(&z, &(x, y));
/// assert!(matches!(dx.status(), Status::Connected));
/// assert!(dy.value().is_none());
/// assert_eq!(dy.or_zeros().item::<f64>()?, 0.0);
/// # Ok::<(), backstitch_trace::TraceError>(())
/// ```
#[derive(Clone)]
pub struct Gradient<'t> {
    source: Tensor<'t>,
    value: Option<Tensor<'t>>,
    status: Status,
}

leaf!(['t] Gradient<'t>);

/// What to do about a gradient that is not there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Unconnected {
    /// Say so.
    #[default]
    None,
    /// Zeros of the source's type.
    Zero,
    /// It is a mistake of the program.
    Error,
}

impl<'t> Gradient<'t> {
    pub(crate) fn new(source: Tensor<'t>, value: Option<Tensor<'t>>, status: Status) -> Self {
        Self { source, value, status }
    }

    pub(crate) fn missing(source: Tensor<'t>, reason: Reason) -> Self {
        Self::new(source, None, Status::Unconnected(Break::new(reason)))
    }

    /// Whether there is a gradient, and if not, why, and where the path breaks.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The gradient, if there is one. Zeros if the source is connected but the
    /// derivative is zero almost everywhere.
    pub fn value(&self) -> Option<Tensor<'t>> {
        self.value
    }

    /// The gradient, or zeros.
    #[track_caller]
    pub fn or_zeros(&self) -> Tensor<'t> {
        self.value.unwrap_or_else(|| self.source.zeros_like())
    }

    /// The gradient. If there is none, or if it is zero almost everywhere, that is
    /// a mistake of the program, told with the reason.
    #[track_caller]
    pub fn expect_connected(&self) -> Tensor<'t> {
        match (&self.status, self.value) {
            (Status::Connected, Some(value)) => value,
            (status, _) => {
                let message = format!("there is no gradient: {status}");
                let guess = self.source.ty();
                self.source.mistake("gradient", Problem::Gradient, message, guess)
            }
        }
    }

    /// The gradient under a policy: `None` only under [`Unconnected::None`].
    #[track_caller]
    pub fn under(&self, policy: Unconnected) -> Option<Tensor<'t>> {
        match policy {
            Unconnected::None => self.value(),
            Unconnected::Zero => Some(self.or_zeros()),
            Unconnected::Error => Some(self.expect_connected()),
        }
    }
}

impl fmt::Debug for Gradient<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "Gradient({value})"),
            None => write!(f, "Gradient({})", self.status),
        }
    }
}

/// Trees of gradients.
pub trait Gradients<'t>: Tree<Gradient<'t>> {
    /// The tree of gradients, zeros where there is none.
    #[track_caller]
    fn or_zeros(&self) -> Self::With<Tensor<'t>> {
        let place = Location::caller();
        self.map_leaves(&mut |g| {
            let _line = g.source.trace.line_at(place);
            g.or_zeros()
        })
    }

    /// The tree of gradients; a missing one is a mistake of the program.
    #[track_caller]
    fn expect_connected(&self) -> Self::With<Tensor<'t>> {
        let place = Location::caller();
        self.map_leaves(&mut |g| {
            let _line = g.source.trace.line_at(place);
            g.expect_connected()
        })
    }

    /// The status of each.
    fn status(&self) -> Self::With<Status> {
        self.map_leaves(&mut |g| g.status().clone())
    }
}

impl<'t, T: Tree<Gradient<'t>>> Gradients<'t> for T {}
