//! From traced programs to executables with typed arguments.

use std::sync::Arc;

use backstitch_ir::Graph;
use backstitch_passes::{OverBudget, Prepared, prepare};
use backstitch_runtime::Executable;
use backstitch_trace::{Spec, Traced, Tree};

use crate::compiled::{About, Compiled};
use crate::error::Error;
use crate::options::Options;

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
            vectors: options.vectors,
            share_all: options.share_all,
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
