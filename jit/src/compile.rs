//! From functions to machine code, on several cores where that pays.
//!
//! Functions know of each other only by number, so each is compiled on its own.
//! Those that are written wait in a list from which threads take them, the
//! longest first. Threads are started when enough is waiting, so small plans
//! start none; and when too much is, whoever writes the functions compiles some,
//! which bounds the memory. What comes out does not depend on who did what: each
//! function's code is its own, and is put in the order of the functions.

use backstitch_ir::threshold;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::{self, JoinHandle};

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::Function;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_module::{FuncId, ModuleReloc};

use crate::Options;
use crate::error::JitError;
use crate::isa::{Allocator, target};

/// Functions with more values than this get the single-pass allocator.
const LONG: usize = threshold(3000, 200);

/// The same for functions that run once in a call of the program, and have no loops:
/// half the time to make them for a few nanoseconds each time they run.
const LONG_ONCE: usize = threshold(800, 60);

/// Values that have to be waiting for each thread when another is started:
/// about 1 ms of work, against some 50 µs until that one is running.
const SHARE: usize = threshold(1000, 20);

/// Values that may be waiting for each thread.
const ROOM: usize = 4 * SHARE;

/// At most so many threads, unless the options say otherwise.
const THREADS: usize = 8;

/// A function to compile.
pub(crate) struct Job {
    /// Its place in the order.
    pub number: usize,
    /// For messages.
    pub name: String,
    pub func: Function,
    /// Whether it has loops, or is called in one.
    pub repeats: bool,
}

impl Job {
    /// About how long it takes, in values.
    fn size(&self) -> usize {
        self.func.dfg.num_values()
    }
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
struct Compiler {
    short: OwnedTargetIsa,
    long: OwnedTargetIsa,
    verify: bool,
}

impl Compiler {
    fn compile(&self, context: &mut Context, job: Job) -> Result<Compiled, JitError> {
        let long = if job.repeats { LONG } else { LONG_ONCE };
        let isa = if job.size() > long { &self.long } else { &self.short };
        let Job { name, func, .. } = job;
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

/// Functions by number.
type Codes = Vec<(usize, Result<Compiled, JitError>)>;

/// What waits to be compiled.
#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    /// Total size of these.
    size: usize,
    /// Nothing will be added.
    closed: bool,
}

impl Waiting {
    /// The longest.
    fn take(&mut self) -> Option<Job> {
        let longest = (0..self.jobs.len()).max_by_key(|&i| self.jobs[i].size())?;
        let job = self.jobs.swap_remove(longest);
        self.size -= job.size();
        Some(job)
    }
}

/// What all threads see.
struct Shared {
    compiler: Compiler,
    waiting: Mutex<Waiting>,
    /// Something was added, or nothing will be.
    change: Condvar,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nobody fails while holding the list")
    }

    /// The next function; waits for it.
    fn next(&self) -> Option<Job> {
        let idle = |w: &mut Waiting| w.jobs.is_empty() && !w.closed;
        let waiting = self.change.wait_while(self.waiting(), idle);
        waiting.expect("nobody fails while holding the list").take()
    }

    /// What a thread does: everything, until there is no more.
    fn work(&self) -> Codes {
        let mut context = Context::new();
        let mut codes = Codes::new();
        while let Some(job) = self.next() {
            codes.push((job.number, self.compiler.compile(&mut context, job)));
        }
        codes
    }
}

/// The threads that compile the functions of a plan: the one that writes them,
/// and others as needed.
pub(crate) struct Crew {
    shared: Arc<Shared>,
    threads: Option<usize>,
    helpers: Vec<JoinHandle<Codes>>,
    context: Context,
    codes: Codes,
}

impl Crew {
    pub fn new(options: &Options) -> Result<Self, JitError> {
        let compiler = Compiler {
            short: target(options.cpu, Allocator::Backtracking)?,
            long: target(options.cpu, Allocator::SinglePass)?,
            verify: options.verify,
        };
        let (waiting, change) = (Mutex::default(), Condvar::new());
        Ok(Self {
            shared: Arc::new(Shared { compiler, waiting, change }),
            threads: options.threads,
            helpers: Vec::new(),
            context: Context::new(),
            codes: Codes::new(),
        })
    }

    /// The target; those for long functions and others have the same
    /// conventions and instructions.
    pub fn isa(&self) -> &OwnedTargetIsa {
        &self.shared.compiler.short
    }

    /// Hands in a function.
    pub fn add(&mut self, job: Job) {
        let mut waiting = self.shared.waiting();
        waiting.size += job.size();
        waiting.jobs.push(job);
        let team = self.helpers.len() + 1;
        let much = waiting.size >= SHARE * (team + 1) && waiting.jobs.len() > team;
        drop(waiting);
        self.shared.change.notify_one();
        if much && team < self.limit() {
            self.hire();
        }
        while self.shared.waiting().size > ROOM * (self.helpers.len() + 1) {
            self.help();
        }
    }

    /// Hands in what is compiled already.
    pub fn put(&mut self, number: usize, code: Compiled) {
        self.codes.push((number, Ok(code)));
    }

    /// The code of all functions, in order; the first one's failure if some
    /// fail.
    pub fn finish(mut self) -> Result<Vec<Compiled>, JitError> {
        self.close();
        while self.help() {}
        for helper in std::mem::take(&mut self.helpers) {
            self.codes.extend(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        let mut codes = std::mem::take(&mut self.codes);
        codes.sort_by_key(|&(number, _)| number);
        codes.into_iter().map(|(_, code)| code).collect()
    }

    /// Compiles one function, if one is waiting.
    fn help(&mut self) -> bool {
        let Some(job) = self.shared.waiting().take() else { return false };
        self.codes.push((job.number, self.shared.compiler.compile(&mut self.context, job)));
        true
    }

    /// Starts a thread. One that cannot be had is not missed: this one does
    /// what others don't.
    fn hire(&mut self) {
        let shared = self.shared.clone();
        let helper = thread::Builder::new().spawn(move || shared.work());
        self.helpers.extend(helper);
    }

    /// How many threads there may be.
    fn limit(&self) -> usize {
        static CORES: OnceLock<usize> = OnceLock::new();
        let cores = || thread::available_parallelism().map_or(1, |n| n.get().min(THREADS));
        self.threads.unwrap_or_else(|| *CORES.get_or_init(cores))
    }

    /// Lets the helpers go when they are done.
    fn close(&self) {
        self.shared.waiting().closed = true;
        self.shared.change.notify_all();
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.close();
    }
}
