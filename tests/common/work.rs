//! Work that is counted, not timed.

use backstitch::ir::nest::{Nest, Range, Stmt};
use backstitch::ir::plan::{Plan, Step};

/// How many statements, multiplications of products and elements copied it takes to run
/// a plan. Of branches both count, of loops of unknown length one iteration.
pub fn work(plan: &Plan) -> usize {
    steps(plan, &plan.steps)
}

fn statements(nest: &Nest, body: &[Stmt]) -> usize {
    let each = |s: &Stmt| match s {
        Stmt::For(l) => {
            let extent = nest.axes[l.axis];
            let times = match l.range {
                Range::Whole => extent,
                Range::Chunk { .. } => extent.div_ceil(2),
            };
            times * statements(nest, &l.body)
        }
        Stmt::Call { func, .. } => nest.funcs[*func].body.len(),
        _ => 1,
    };
    body.iter().map(each).sum()
}

fn steps(plan: &Plan, all: &[Step]) -> usize {
    let each = |s: &Step| match s {
        Step::Run { kernel, .. } => {
            let nest = &plan.kernels[*kernel];
            statements(nest, &nest.body)
        }
        Step::Gemm(g) => g.batch.iter().fold(g.m * g.n * g.k, |n, axis| n * axis.extent),
        Step::Copy { from, .. } => plan.buffers[*from].len,
        Step::Scan { count, reads, writes, body } => {
            let rows = reads.iter().chain(writes).map(|r| plan.buffers[r.entry].len);
            count * (rows.sum::<usize>() + steps(plan, body))
        }
        Step::Push { from: entry, .. } | Step::Pop { to: entry, .. } => plan.buffers[*entry].len,
        Step::If { then: a, els: b, .. } | Step::While { head: a, body: b, .. } => {
            steps(plan, a) + steps(plan, b)
        }
        Step::Repeat { body, .. } => steps(plan, body),
        Step::Open { .. } => 1,
        Step::Call(_) => panic!("routines are not counted"),
    };
    all.iter().map(each).sum()
}
