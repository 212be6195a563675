//! Compiled programs, and what is known of them without running them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backstitch_ir::Graph;
use backstitch_ir::text::{DotOptions, to_dot};
use backstitch_passes::{Explanation, KernelOrigin, Memory};
use backstitch_runtime::{Executable, Workspace};
use backstitch_trace::Spec;

use crate::error::Error;

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
    pub(crate) executable: Executable,
    pub(crate) about: Arc<About<P, D, O>>,
}

/// What is known of it beyond what runs.
pub(crate) struct About<P, D, O> {
    pub(crate) graph: Graph,
    pub(crate) groups: rustc_hash::FxHashMap<backstitch_ir::Node, usize>,
    pub(crate) origins: backstitch_ir::IndexVec<backstitch_ir::plan::Kernel, KernelOrigin>,
    pub(crate) times: Vec<(&'static str, Duration)>,
    pub(crate) memory: Memory,
    pub(crate) params: P,
    pub(crate) data: D,
    pub(crate) outputs: O,
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
