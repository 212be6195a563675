//! How much work a nest is: whether it is worth a second thread.

use backstitch_ir::index::IndexVec;
use backstitch_ir::nest::{Axis, For, Mode, Nest, Range, Stmt};

/// Statements that vector code runs at once.
const LANES: u64 = 4;

/// About how many instructions running the nest takes.
pub(crate) fn instructions(nest: &Nest) -> u64 {
    block(&nest.body, &nest.axes)
}

fn block(body: &[Stmt], axes: &IndexVec<Axis, usize>) -> u64 {
    body.iter().fold(0u64, |sum, stmt| {
        sum.saturating_add(match stmt {
            Stmt::For(l) => iterations(l, axes).saturating_mul(block(&l.body, axes)) / per_step(l),
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
