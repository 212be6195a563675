//! What a program does, in operations and bytes: each kernel's loops, what it reads
//! and writes in memory, and why it begins where it does.
//!
//! All of it is read off the plan: it is what runs, not what was meant. Bytes are
//! counted as `traffic.rs` says; the floor to compare them with is a program that reads
//! each input once and writes each output once ([`Explanation::least`]).
//!
//! What a loop over steps does counts as often as the loop runs, where that is known.
//! Where it is not, and of branches, the sums are no more than a bound, and say so
//! ([`Explanation::exact`]).

mod text;
mod traffic;

use backstitch_ir::index::IndexVec;
use backstitch_ir::plan::{Buffer, BufferRef, Call, Gemm, Kernel, Place, Plan, RowOf, Step};
use backstitch_ir::{Array, DType};
use rustc_hash::FxHashMap;

use crate::lower::KernelOrigin;

/// Bytes that go between the processor and memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bytes {
    /// Read.
    pub read: u64,
    /// Written.
    pub written: u64,
}

/// Where an array is. A donated parameter is read as the input and written as the output
/// that it becomes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Storage {
    /// The input of that number.
    Input(usize),
    /// The output of that number.
    Output(usize),
    /// Part of the program.
    Constant,
    /// In the workspace.
    Workspace,
}

/// What a step reads and writes of an array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ArrayUse {
    /// The array.
    pub buffer: Buffer,
    /// Where it is.
    pub storage: Storage,
    /// Its size in bytes.
    pub size: u64,
    /// What is read and written of it.
    pub bytes: Bytes,
}

/// What it takes to run something once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Work {
    /// What it reads and writes, by array.
    pub arrays: Vec<ArrayUse>,
    /// Operations on floating-point numbers: additions, multiplications, divisions, square
    /// roots, combinations by a reduction. Those inside of library routines other than
    /// matrix products do not count.
    pub flops: u64,
}

/// A step of a program.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Explained {
    /// A kernel.
    Kernel {
        /// Its number.
        kernel: Kernel,
        /// What it computes, and why it begins where it does.
        origin: KernelOrigin,
        /// Its loops.
        loops: String,
        /// What it does.
        work: Work,
    },
    /// A matrix product, a library routine, a copy, an access to a stack.
    Call {
        /// What it is.
        what: String,
        /// What it does.
        work: Work,
    },
    /// One of two lists of steps.
    Branch {
        /// If the condition holds.
        then: Vec<Self>,
        /// If it does not.
        els: Vec<Self>,
    },
    /// Steps that are repeated.
    Loop {
        /// How often, if that is known.
        times: Option<u64>,
        /// What goes in and out of arrays with each iteration, row by row.
        rows: Work,
        /// One iteration.
        body: Vec<Self>,
    },
}

/// What a program does, step by step.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// Its name.
    pub name: String,
    /// In order.
    pub steps: Vec<Explained>,
    /// All of it together. Loops of unknown length count once, and of branches the one that
    /// moves more bytes.
    pub total: Work,
    /// Whether there is neither a branch nor a loop of unknown length.
    pub exact: bool,
    /// What any program reads and writes: inputs that are asked for once, and outputs once.
    pub least: Bytes,
    /// Bytes of workspace, stacks of loops of unknown length aside.
    pub workspace: u64,
    /// Bytes of that which are in use at the worst moment, if it is known: fewer it cannot be.
    pub live: Option<u64>,
}

impl Bytes {
    /// Both ways.
    pub fn sum(self) -> u64 {
        self.read.saturating_add(self.written)
    }

    fn plus(self, other: Self) -> Self {
        Self {
            read: self.read.saturating_add(other.read),
            written: self.written.saturating_add(other.written),
        }
    }

    fn times(self, n: u64) -> Self {
        Self { read: self.read.saturating_mul(n), written: self.written.saturating_mul(n) }
    }
}

impl Work {
    /// What is read and written of all arrays.
    pub fn bytes(&self) -> Bytes {
        self.arrays.iter().fold(Bytes::default(), |sum, a| sum.plus(a.bytes))
    }

    /// What is read and written of arrays in that place.
    pub fn bytes_of(&self, storage: Storage) -> Bytes {
        let there = self.arrays.iter().filter(|a| a.storage == storage);
        there.fold(Bytes::default(), |sum, a| sum.plus(a.bytes))
    }
}

impl Explanation {
    /// Number of kernels, those in loops and branches too.
    pub fn kernels(&self) -> usize {
        fn count(steps: &[Explained]) -> usize {
            let of = |s: &Explained| match s {
                Explained::Kernel { .. } => 1,
                Explained::Call { .. } => 0,
                Explained::Branch { then, els } => count(then) + count(els),
                Explained::Loop { body, .. } => count(body),
            };
            steps.iter().map(of).sum()
        }
        count(&self.steps)
    }
}

/// Explains a plan, whose kernels come from there.
pub fn explain(plan: &Plan, origins: &IndexVec<Kernel, KernelOrigin>) -> Explanation {
    let reader = Reader { plan, origins };
    let mut sum = Sum { exact: true, ..Sum::default() };
    let steps = reader.steps(&plan.steps, 1, &mut sum);
    let total = reader.work(sum.arrays, sum.flops);
    let mut least = Bytes::default();
    for a in &total.arrays {
        match a.storage {
            Storage::Input(_) => least.read += a.size,
            Storage::Output(_) => least.written += a.size,
            _ => {}
        }
    }
    let workspace = plan.arena_bytes as u64;
    let name = plan.name.clone();
    Explanation { name, steps, total, exact: sum.exact, least, workspace, live: None }
}

/// All that has been done so far.
#[derive(Clone, Default)]
struct Sum {
    arrays: FxHashMap<Buffer, Bytes>,
    flops: u64,
    exact: bool,
}

impl Sum {
    fn add(&mut self, work: &Work, times: u64) {
        for a in &work.arrays {
            let sum = self.arrays.entry(a.buffer).or_default();
            *sum = sum.plus(a.bytes.times(times));
        }
        self.flops = self.flops.saturating_add(work.flops.saturating_mul(times));
    }

    fn join(&mut self, other: Self) {
        for (buffer, bytes) in other.arrays {
            let sum = self.arrays.entry(buffer).or_default();
            *sum = sum.plus(bytes);
        }
        self.flops = self.flops.saturating_add(other.flops);
        self.exact &= other.exact;
    }

    fn bytes(&self) -> u64 {
        self.arrays.values().fold(0, |sum: u64, b| sum.saturating_add(b.sum()))
    }
}

struct Reader<'a> {
    plan: &'a Plan,
    origins: &'a IndexVec<Kernel, KernelOrigin>,
}

impl Reader<'_> {
    /// Steps that run so many times, added to a sum.
    fn steps(&self, steps: &[Step], times: u64, sum: &mut Sum) -> Vec<Explained> {
        steps.iter().map(|s| self.step(s, times, sum)).collect()
    }

    fn step(&self, step: &Step, times: u64, sum: &mut Sum) -> Explained {
        let call = |what: String, arrays: Vec<(Buffer, Bytes)>, flops| Explained::Call {
            what,
            work: self.work(arrays, flops),
        };
        let explained = match step {
            Step::Run { kernel, args } => self.kernel(*kernel, args),
            Step::Gemm(g) => self.product(g),
            Step::Call(c) => self.routine(c),
            Step::Copy { from, to } => {
                call("copy".into(), vec![self.read(*from), self.written(*to)], 0)
            }
            Step::Open { stack, .. } => call("open a stack".into(), vec![self.written(*stack)], 0),
            // An entry goes to the store, whose memory is no buffer.
            Step::Push { from, .. } => call("push".into(), vec![self.read(*from)], 0),
            Step::Pop { to, .. } => call("pop".into(), vec![self.written(*to)], 0),
            Step::If { then, els, .. } => {
                let (mut a, mut b) = (Sum::default(), Sum::default());
                let then = self.steps(then, times, &mut a);
                let els = self.steps(els, times, &mut b);
                sum.join(if a.bytes() >= b.bytes() { a } else { b });
                sum.exact = false;
                return Explained::Branch { then, els };
            }
            Step::While { head, body, .. } => {
                let both = [&head[..], body].concat();
                return self.repeated(None, Work::default(), &both, times, sum);
            }
            Step::Repeat { count, body } => {
                return self.repeated(self.constant(*count), Work::default(), body, times, sum);
            }
            Step::Scan { count, reads, writes, body } => {
                let rows = self.rows(reads, writes);
                return self.repeated(Some(*count as u64), rows, body, times, sum);
            }
        };
        if let Explained::Kernel { work, .. } | Explained::Call { work, .. } = &explained {
            sum.add(work, times);
        }
        explained
    }

    fn repeated(
        &self,
        count: Option<u64>,
        rows: Work,
        body: &[Step],
        times: u64,
        sum: &mut Sum,
    ) -> Explained {
        sum.exact &= count.is_some();
        let times = times.saturating_mul(count.unwrap_or(1));
        sum.add(&rows, times);
        let body = self.steps(body, times, sum);
        Explained::Loop { times: count, rows, body }
    }

    fn kernel(&self, kernel: Kernel, args: &[BufferRef]) -> Explained {
        let nest = &self.plan.kernels[kernel];
        let (bytes, flops) = traffic::of(nest);
        let arrays = nest.params.keys().zip(args).map(|(p, arg)| (arg.buffer, bytes[p]));
        Explained::Kernel {
            kernel,
            origin: self.origins[kernel].clone(),
            loops: text::loops(nest, &nest.body),
            work: self.work(arrays, flops),
        }
    }

    fn product(&self, g: &Gemm) -> Explained {
        let size = g.dtype.size() as u64;
        let batch: u64 = g.batch.iter().map(|a| a.extent as u64).product();
        let (m, n, k) = (g.m as u64, g.n as u64, g.k as u64);
        // A factor that is the same for all of the batch is read once.
        let of = |i: usize| {
            let axes = g.batch.iter().filter(|a| a.strides[i] != 0);
            axes.map(|a| a.extent as u64).product::<u64>() * size
        };
        let c = of(2) * m * n;
        let arrays = [
            (g.a.at.buffer, Bytes { read: of(0) * m * k, written: 0 }),
            (g.b.at.buffer, Bytes { read: of(1) * k * n, written: 0 }),
            // What the product is added to is read.
            (g.c.at.buffer, Bytes { read: if g.add { c } else { 0 }, written: c }),
        ];
        let times = if batch > 1 { format!("{batch} × ") } else { String::new() };
        let what = format!("matrix product {times}{m}×{k} · {k}×{n} of {}", g.dtype);
        Explained::Call { what, work: self.work(arrays, 2 * batch * m * n * k) }
    }

    fn routine(&self, c: &Call) -> Explained {
        let reads = c.args.iter().map(|r| self.read(r.buffer));
        let arrays = reads.chain([self.written(c.result.buffer)]);
        Explained::Call { what: c.routine.name().into(), work: self.work(arrays, 0) }
    }

    /// What goes in and out with each iteration.
    fn rows(&self, reads: &[RowOf], writes: &[RowOf]) -> Work {
        let size = |r: &RowOf| self.size(r.entry);
        let reads = reads.iter().map(|r| (r.rows, Bytes { read: size(r), written: 0 }));
        let writes = writes.iter().map(|r| (r.rows, Bytes { read: 0, written: size(r) }));
        self.work(reads.chain(writes), 0)
    }

    fn work(&self, arrays: impl IntoIterator<Item = (Buffer, Bytes)>, flops: u64) -> Work {
        let mut sums: FxHashMap<Buffer, Bytes> = FxHashMap::default();
        for (buffer, bytes) in arrays {
            let sum = sums.entry(buffer).or_default();
            *sum = sum.plus(bytes);
        }
        let mut arrays = Vec::with_capacity(sums.len());
        for (buffer, bytes) in sums {
            let size = self.size(buffer);
            let mut push = |storage, bytes| arrays.push(ArrayUse { buffer, storage, size, bytes });
            match self.plan.buffers[buffer].place {
                Place::Input(i) => push(Storage::Input(i), bytes),
                Place::Output(i) => push(Storage::Output(i), bytes),
                // One array that is both: it is read as the one and written as the other.
                Place::Donated { input, output } => {
                    let Bytes { read, written } = bytes;
                    if read > 0 {
                        push(Storage::Input(input), Bytes { read, written: 0 });
                    }
                    if written > 0 {
                        push(Storage::Output(output), Bytes { read: 0, written });
                    }
                }
                Place::Constant(_) => push(Storage::Constant, bytes),
                Place::Arena(_) => push(Storage::Workspace, bytes),
            }
        }
        arrays.sort_unstable_by_key(|a| (a.storage, a.buffer));
        Work { arrays, flops }
    }

    fn size(&self, buffer: Buffer) -> u64 {
        let decl = &self.plan.buffers[buffer];
        (decl.len * decl.dtype.size()) as u64
    }

    fn read(&self, buffer: Buffer) -> (Buffer, Bytes) {
        (buffer, Bytes { read: self.size(buffer), written: 0 })
    }

    fn written(&self, buffer: Buffer) -> (Buffer, Bytes) {
        (buffer, Bytes { read: 0, written: self.size(buffer) })
    }

    /// A count that is part of the program.
    fn constant(&self, buffer: Buffer) -> Option<u64> {
        let Place::Constant(array) = &self.plan.buffers[buffer].place else { return None };
        first(array)
    }
}

/// The first element of an array of `i64`; negative counts are 0.
fn first(array: &Array) -> Option<u64> {
    let c = array.get(0).filter(|c| c.dtype == DType::I64)?;
    Some(u64::try_from(c.bits as i64).unwrap_or(0))
}
