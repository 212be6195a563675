//! How much work there is, and what of it is worth a second thread.
//!
//! Handing work to a thread that is awake takes about a microsecond, waking one two of the
//! caller and some 20 to 50 until it is there. While it wakes nobody waits for it, and it
//! stays awake between kernels that follow each other closely. So a program may use threads
//! if all it could share takes long beside calling them, and then shares every kernel that
//! takes long beside handing it over. Both are decided here, when the program is compiled,
//! from the plan alone. `benches/threads.rs` prints what the numbers below are taken from, and
//! `benches/products.rs` (`threads`) those for products.

use backstitch_ir::index::IndexVec;
use backstitch_ir::nest::{Axis, For, Mode, Nest, Range, Stmt};
use backstitch_ir::plan::{Gemm, Kernel, Plan, Step};
use backstitch_ir::threshold;

use crate::{Options, nest};

/// What a plan has to have in kernels and products that can be shared so that a call may
/// wake threads, in instructions as counted here: twelve take about a nanosecond.
const PROGRAM: u64 = threshold(240_000, 1);

/// Instructions from which a kernel is handed over.
const KERNEL: u64 = threshold(60_000, 1);

/// Multiplications from which a matrix product is.
const PRODUCT: usize = threshold(1 << 19, 1);

/// Multiplications of a matrix product in the time of an instruction.
const PRODUCT_RATE: u64 = 8;

/// Which kernels and products are worth several threads.
pub(crate) struct Sharing {
    /// Threads that a call may run on.
    workers: u32,
    /// Instructions of each kernel that is shared, of others 0.
    kernels: IndexVec<Kernel, u64>,
    /// Multiplications from which a product is shared.
    product: usize,
}

impl Sharing {
    /// For a plan; one that is not worth several threads has one.
    pub fn of(plan: &Plan, options: &Options) -> Self {
        let (program, least, product) = match options.share_all {
            true => (0, 1, 1),
            false => (PROGRAM, KERNEL, PRODUCT),
        };
        let kernels = IndexVec::filled(0, plan.kernels.len());
        let mut all = Self { workers: options.workers, kernels, product };
        if all.workers > 1 {
            for (kernel, nest) in plan.kernels.entries() {
                let chunks = nest::parallel(nest).map_or(0, |l| nest.axes[l.axis]);
                let cost = if chunks > 1 { instructions(nest) } else { 0 };
                all.kernels[kernel] = if cost >= least { cost } else { 0 };
            }
        }
        if all.steps(&plan.steps) < program {
            all.workers = 1;
        }
        all
    }

    /// On how many threads to run a kernel.
    pub fn kernel(&self, kernel: Kernel) -> u32 {
        if self.kernels[kernel] > 0 { self.workers } else { 1 }
    }

    /// On how many threads to run a matrix product.
    pub fn product(&self, gemm: &Gemm) -> u32 {
        if multiplications(gemm) >= self.product { self.workers } else { 1 }
    }

    /// Instructions that can be shared. A loop of unknown length counts as one iteration.
    fn steps(&self, steps: &[Step]) -> u64 {
        steps.iter().fold(0, |all: u64, step| {
            all.saturating_add(match step {
                Step::Run { kernel, .. } => self.kernels[*kernel],
                Step::Gemm(gemm) if self.product(gemm) > 1 => {
                    multiplications(gemm) as u64 / PRODUCT_RATE
                }
                Step::If { then, els, .. } => self.steps(then).max(self.steps(els)),
                Step::While { head, body, .. } => self.steps(head).saturating_add(self.steps(body)),
                Step::Repeat { body, .. } => self.steps(body),
                Step::Scan { count, body, .. } => self.steps(body).saturating_mul(*count as u64),
                _ => 0,
            })
        })
    }
}

fn multiplications(gemm: &Gemm) -> usize {
    let one = gemm.m.saturating_mul(gemm.n).saturating_mul(gemm.k);
    gemm.batch.iter().fold(one, |n, axis| n.saturating_mul(axis.extent))
}

/// Statements that vector code runs at once.
const LANES: u64 = 4;

/// About how many instructions running the nest takes.
fn instructions(nest: &Nest) -> u64 {
    block(nest, &nest.body)
}

fn block(nest: &Nest, body: &[Stmt]) -> u64 {
    body.iter().fold(0u64, |sum, stmt| {
        sum.saturating_add(match stmt {
            Stmt::For(l) => {
                iterations(l, &nest.axes).saturating_mul(block(nest, &l.body)) / per_step(l)
            }
            Stmt::Call { func, .. } => nest.funcs[*func].body.len() as u64,
            _ => 1,
        })
    })
}

fn per_step(l: &For) -> u64 {
    if matches!(l.mode, Mode::Vector { .. }) { LANES } else { 1 }
}

fn iterations(l: &For, axes: &IndexVec<Axis, usize>) -> u64 {
    match l.range {
        Range::Whole => axes[l.axis] as u64,
        Range::Chunk { size, .. } => size.min(axes[l.axis]) as u64,
    }
}
