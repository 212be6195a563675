//! Loops opened and closed, with the reductions that run through them.

use backstitch_ir::nest::{At, Axis, Mode, Monoid, Param, Range, Var};
use backstitch_ir::threshold;
use backstitch_ir::ty::DType;
use smallvec::SmallVec;

use super::chunks::Chunks;
use super::emit::Emit;
use super::reduction::Reduction;
use crate::lower::groups::Level;

/// Operations per iteration from which a loop is heavy.
const HEAVY: usize = threshold(80, 8);

/// Operations per iteration up to which the latency of its sums is what counts.
pub(super) const LIGHT: usize = threshold(24, 4);

/// Iterations from which a loop is worth vectors.
pub(super) const LEAST_VECTOR: usize = 4;

/// Opens loops `from..to`; the innermost as a vector loop if it may be.
pub(super) fn open_loops(
    e: &mut Emit<'_, '_>,
    from: usize,
    to: usize,
    innermost: bool,
    accs: &[Reduction],
    chunks: Option<&Chunks>,
) {
    for d in from..to {
        let extent = e.loops.extent(d);
        let chunk = chunks.filter(|_| d == 0).map(Chunks::range);
        let tile = e.tiles.and_then(|t| t.range(e, d, chunk.is_some()));
        let range = chunk.or(tile).unwrap_or(Range::Whole);
        let axis = e.b.axis(extent);
        let vector = innermost && d + 1 == to && extent >= LEAST_VECTOR;
        let carried = accs.iter().filter(|r| r.depth <= d);
        let mode = if vector {
            Mode::Vector { lanes: lanes(extent, e.work, carried.map(|r| r.dtype)) }
        } else {
            Mode::Sequential
        };
        e.b.open(axis, range, mode);
        e.axes.push(axis);
    }
}

/// Closes loops `from..to`; accumulators run through them as far as they reach.
pub(super) fn close_loops(
    e: &mut Emit<'_, '_>,
    from: usize,
    to: usize,
    reductions: &[Reduction],
    chunks: Option<&Chunks>,
    pending: &mut Vec<(usize, Var)>,
) {
    for d in (from..to).rev() {
        let accs: Vec<(Monoid, Var)> =
            pending.iter().map(|&(k, v)| (reductions[k].monoid, v)).collect();
        let results = e.b.close(&accs);
        e.axes.pop();
        for (p, v) in pending.iter_mut().zip(results) {
            p.1 = v;
        }
        for _ in 0..e.tiles.map_or(0, |t| t.around(d, chunks.is_some())) {
            let accs: Vec<(Monoid, Var)> =
                pending.iter().map(|&(k, v)| (reductions[k].monoid, v)).collect();
            let results = e.b.close(&accs);
            pending.iter_mut().zip(results).for_each(|(p, v)| p.1 = v);
        }
        settle(e, reductions, d, chunks, pending);
    }
}

/// Brings reductions that are complete at this depth to where they are read.
pub(super) fn settle(
    e: &mut Emit<'_, '_>,
    reductions: &[Reduction],
    depth: usize,
    chunks: Option<&Chunks>,
    pending: &mut Vec<(usize, Var)>,
) {
    for (k, v) in std::mem::take(pending) {
        let r = &reductions[k];
        if r.depth != depth {
            pending.push((k, v));
            continue;
        }
        e.written = r.column.clone().unwrap_or_default();
        e.written.iter_mut().for_each(|at| *at = (*at).max(0));
        if let Some(c) = chunks.filter(|c| c.has_partial(r)) {
            c.keep(e, r, v);
        } else if r.level != Level::Side {
            let before = e.env.get(&r.out).copied().filter(|_| r.in_parts);
            let v = before.map_or(v, |before| e.b.combine(r.monoid, before, v));
            e.env.insert(r.out, v);
        } else {
            let param = e.memory(r.out);
            let at = e.at(0, &r.strides);
            if r.in_memory {
                e.b.accumulate(param, at, r.monoid, v);
            } else {
                e.b.store(param, at, v);
            }
        }
        e.written.clear();
    }
}

/// Fills an accumulator in memory with the identity, before the loops. With an
/// axis of chunks, the part of that chunk.
pub(super) fn fill(
    e: &mut Emit<'_, '_>,
    param: Param,
    chunk: Option<Axis>,
    len: usize,
    r: &Reduction,
) {
    let value = e.b.constant(r.monoid.identity(r.dtype));
    let axis = e.b.axis(len);
    let mode = if len >= LEAST_VECTOR { Mode::Vector { lanes: 8 } } else { Mode::Sequential };
    e.b.open(axis, Range::Whole, mode);
    let mut at = At::default();
    at.strides.push((axis, 1));
    if let Some(c) = chunk {
        at.strides.push((c, len as i64));
    }
    e.b.store(param, at, value);
    e.b.close(&[]);
}

/// Partial results per accumulator: enough to hide the latency of a fused multiply-add with
/// vectors of 512 bits, few enough that those of all accumulators stay in registers, together
/// with what the body computes. A heavy body hides it itself: one vector of the widest type.
pub(super) fn lanes(extent: usize, work: usize, accs: impl Iterator<Item = DType>) -> usize {
    let sizes: SmallVec<[usize; 4]> = accs.map(|d| d.size().max(4)).collect();
    let (bytes, widest) = (sizes.iter().sum::<usize>(), sizes.iter().copied().max());
    let most = match widest {
        None => 8,
        Some(size) if work > HEAVY => 64 / size,
        Some(_) => (if work > LIGHT { 256 } else { 512 } / bytes).clamp(8, 32),
    };
    let worth = match extent {
        64.. if work <= HEAVY => 32,
        32.. => 16,
        _ => 4,
    };
    let n = most.min(worth);
    1 << n.ilog2()
}
