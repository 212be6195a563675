//! Which element of a result depends, with a derivative, on which element of an input.
//!
//! The *pattern* of a derivative is found without computing any: each element of each
//! value gets the set of the source elements that its derivative may depend on, from
//! the sets of the operands' elements (A. Griewank and A. Walther, "Evaluating
//! Derivatives", 2nd ed., §7.1). One rule for each [`Structure`] of loops covers all
//! array primitives ([`rules`]): whatever combines elements unites their sets, whatever
//! moves elements moves them. A path that carries no derivative
//! ([`Primitive::carries`]) is cut: integers, `floor`, `stop_gradient`. Constants are
//! looked into where they decide: indices, masks, zeros of a constant factor.
//!
//! The pattern is never too small, for any input; it may be too large where elements
//! are picked by what is computed at run time, and in long loops. Loops of a known,
//! moderate number of iterations are followed through iteration by iteration, others
//! until their sets no longer grow ([`control`]).
//!
//! Sets are hash-consed, so memory is proportional to the different sets there are:
//! for a banded derivative, to the number of its entries.
//!
//! [`Structure`]: backstitch_ir::op::Structure
//! [`Primitive::carries`]: backstitch_ir::op::Primitive::carries

mod control;
mod flow;
mod pattern;
mod rules;
mod sets;

use backstitch_ir::{Graph, Value};

pub use pattern::Pattern;

use flow::{Flow, Frame};
use sets::Sets;

/// The pattern of the derivative of the targets by the sources: a row for each element
/// of each target, one target after the other, each in row-major order; a column for
/// each element of each source likewise.
///
/// Time and memory are proportional to the
/// elements of all values and to the sets they get.
pub fn sparsity(g: &Graph, targets: &[Value], sources: &[Value]) -> Pattern {
    let columns = sources.iter().map(|&s| g.ty(s).len()).sum();
    pattern_by(g, targets, sources, Sets::new(columns)).expect("there is room for all sets")
}

/// As [`sparsity`], unless the sets on the way to it have more than so many members
/// together: then the pattern is not worth knowing.
pub fn sparsity_within(
    g: &Graph,
    targets: &[Value],
    sources: &[Value],
    room: usize,
) -> Option<Pattern> {
    let columns = sources.iter().map(|&s| g.ty(s).len()).sum();
    pattern_by(g, targets, sources, Sets::within(columns, room))
}

fn pattern_by(g: &Graph, targets: &[Value], sources: &[Value], mut sets: Sets) -> Option<Pattern> {
    let mut frame = Frame::new(g);
    let mut first = 0;
    for &s in sources {
        let n = g.ty(s).len();
        frame.set(s, Flow::of((first..first + n).map(|j| sets.single(j)).collect()));
        first += n;
    }
    frame.run(&mut sets, targets);
    if sets.is_full() {
        return None;
    }
    let mut pattern = Pattern::empty(first);
    for &t in targets {
        let flow = frame.get(t);
        for i in 0..g.ty(t).len() {
            pattern.push_row(sets.members(flow.at(i)));
        }
    }
    Some(pattern)
}
