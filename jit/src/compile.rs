//! From functions to machine code, on several cores where that pays.
//!
//! Functions know of each other only by number, so each is compiled on its own.
//! Threads take them from a common list, the longest first, so that none is
//! left with a long one at the end. What comes out does not depend on who did
//! what: code is put in the order of the functions.

use std::panic::resume_unwind;
use std::sync::{Mutex, OnceLock};
use std::thread;

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::Function;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_module::{FuncId, ModuleReloc};

use crate::Options;
use crate::error::JitError;
use crate::isa::{Allocator, target};

/// Functions with more values than this get the single-pass allocator.
const LONG: usize = 3000;

/// Values that make a thread worth starting: about 2 ms of work, against some
/// 50 µs until it has started and its caches are warm.
const SHARE: usize = 2000;

/// At most so many threads, unless the options say otherwise.
const THREADS: usize = 8;

/// A function to compile.
pub(crate) struct Job {
    /// For messages.
    pub name: String,
    pub func: Function,
}

/// Machine code of one function; offsets count from its beginning.
pub(crate) struct Compiled {
    pub bytes: Vec<u8>,
    pub align: usize,
    pub relocs: Vec<ModuleReloc>,
}

/// What function offsets in [`Compiled::relocs`] refer to: the function itself,
/// or, once all are in one block, that.
pub(crate) fn whole() -> FuncId {
    FuncId::from_u32(0)
}

/// Compiles functions for one processor.
pub(crate) struct Compiler {
    short: OwnedTargetIsa,
    long: OwnedTargetIsa,
    verify: bool,
    threads: Option<usize>,
}

impl Compiler {
    pub fn new(options: &Options) -> Result<Self, JitError> {
        Ok(Self {
            short: target(options.cpu, Allocator::Backtracking)?,
            long: target(options.cpu, Allocator::SinglePass)?,
            verify: options.verify,
            threads: options.threads,
        })
    }

    /// The target; both have the same conventions and instructions.
    pub fn isa(&self) -> &OwnedTargetIsa {
        &self.short
    }

    /// Compiles all functions, in order; the first one's failure if some fail.
    pub fn compile(&self, jobs: Vec<Job>) -> Result<Vec<Compiled>, JitError> {
        let count = jobs.len();
        let work = jobs.iter().map(size).sum();
        let threads = self.threads(work).min(count);
        if threads <= 1 {
            let mut context = Context::new();
            return jobs.into_iter().map(|job| self.one(&mut context, job)).collect();
        }
        let mut jobs: Vec<(usize, Job)> = jobs.into_iter().enumerate().collect();
        jobs.sort_by_key(|(_, job)| size(job));
        let jobs = Mutex::new(jobs);
        let next = || jobs.lock().expect("taking a function does not fail").pop();
        let work = || {
            let mut context = Context::new();
            let mut done = Vec::new();
            while let Some((i, job)) = next() {
                done.push((i, self.one(&mut context, job)));
            }
            done
        };
        let mut done = thread::scope(|scope| {
            // A thread that cannot be had is not missed: this one does all there is.
            let spawn = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
            let helpers: Vec<_> = (1..threads).filter_map(spawn).collect();
            let mut done = work();
            for helper in helpers {
                done.extend(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            done
        });
        done.sort_by_key(|&(i, _)| i);
        done.into_iter().map(|(_, code)| code).collect()
    }

    /// How many threads to use for so many values.
    fn threads(&self, work: usize) -> usize {
        static CORES: OnceLock<usize> = OnceLock::new();
        let cores = || thread::available_parallelism().map_or(1, |n| n.get().min(THREADS));
        match work / SHARE {
            0 | 1 => 1,
            wanted => wanted.min(self.threads.unwrap_or_else(|| *CORES.get_or_init(cores))),
        }
    }

    fn one(&self, context: &mut Context, Job { name, func }: Job) -> Result<Compiled, JitError> {
        let isa = if func.dfg.num_values() > LONG { &self.long } else { &self.short };
        let failed = |reason: String| JitError::Function { function: name.clone(), reason };
        if self.verify {
            cranelift_codegen::verify_function(&func, isa.flags())
                .map_err(|e| failed(format!("{e}\n{}", func.display())))?;
        }
        context.clear();
        context.func = func;
        context
            .compile(&**isa, &mut ControlPlane::default())
            .map_err(|e| failed(format!("{:?}", e.inner)))?;
        let code = context.compiled_code().expect("just compiled");
        let reloc = |r| ModuleReloc::from_mach_reloc(r, &context.func, whole());
        Ok(Compiled {
            bytes: code.code_buffer().to_vec(),
            align: code.buffer.alignment as usize,
            relocs: code.buffer.relocs().iter().map(reloc).collect(),
        })
    }
}

/// About how long it takes, in values.
fn size(job: &Job) -> usize {
    job.func.dfg.num_values()
}
