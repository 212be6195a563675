//! The reductions of a group, and the loops that suit them and all else.

use std::rc::Rc;

use backstitch_ir::nest::Monoid;
use backstitch_ir::ty::{DType, Shape};

use super::narrow::{Positions, positions};
use crate::lower::groups::{Group, Item, ItemOp, Level};
use crate::lower::joined::Section;
use crate::lower::nest::{Kinds, Loops, Touch};
use crate::lower::operand::{Operand, Strides, Val, contiguous};
use crate::lower::scope::Scope;

/// A reduction of the group.
#[derive(Clone, Debug)]
pub(super) struct Reduction {
    pub out: Val,
    pub monoid: Monoid,
    pub arg: Operand,
    /// Level at which the result is known.
    pub level: Level,
    /// Phase in which the operand is known; `None` if it is known once per row.
    pub phase: Option<u32>,
    /// Whether it is done after all loops: a reduction of rows, of which there is one.
    pub after: bool,
    /// Loops outside of this depth are not reduced by an accumulator.
    pub depth: usize,
    /// Whether more than the loops inside `depth` are reduced: then the result is
    /// combined in memory.
    pub in_memory: bool,
    /// Whether each part of the loops has a result of its own, to be combined with others.
    pub in_parts: bool,
    /// The one column that this is the result of, where loops over columns are written out.
    pub column: Option<Positions>,
    /// Strides of the result over the domain: 0 along reduced axes.
    pub strides: Strides,
    pub dtype: DType,
    /// Elements of the result.
    pub len: usize,
}

/// The loops over a part of a group's domain that suit all accesses.
pub(super) fn loops(scope: &Scope<'_>, items: &[Rc<Item>], part: &Section, rows: usize) -> Loops {
    let domain = &part.shape;
    let mut touches: Vec<Touch> = Vec::new();
    let mut kinds = Kinds::new(domain.rank());
    let made = |v: Val| scope.groups.made[v];
    for i in items {
        let group = made(i.out).map(|m| m.group);
        for arg in &i.args {
            let arg = match arg {
                Operand::Joined(joined) => joined.at(&part.start),
                arg => arg,
            };
            let Operand::At { val, strides, .. } = arg else { continue };
            // What the group makes itself is in memory only if it is stored.
            let own = made(*val).is_some_and(|m| Some(m.group) == group);
            if !own || scope.groups.stored[*val] {
                let size = scope.dtype(*val).size();
                touches.push(Touch { strides: strides.clone(), size, writes: false });
            }
        }
        let size = scope.dtype(i.out).size();
        let mut writes = |strides| touches.push(Touch { strides, size, writes: true });
        match &i.op {
            ItemOp::Iota { axis } => kinds.tell(|a| a == *axis),
            ItemOp::Reduce { axes, .. } => {
                // Axes are merged only with others that are reduced alike.
                kinds.tell(|a| a < i.domain.rank());
                kinds.tell(|a| axes.contains(&a));
                writes(result_strides(&i.domain, axes));
            }
            _ => {}
        }
        if scope.groups.stored[i.out] && !matches!(i.op, ItemOp::Reduce { .. }) {
            writes(scope.vals[i.out].stored_at().1);
        }
        if scope.groups.kept.contains(&i.out) {
            let mut strides = scope.vals[i.out].strides();
            strides[..rows].fill(0);
            writes(strides);
        }
    }
    Loops::best(domain, rows, kinds, &touches)
}

/// Strides over the domain of the result of a reduction.
fn result_strides(domain: &Shape, axes: &[usize]) -> Strides {
    let own = contiguous(&domain.without(axes));
    let mut own = own.iter();
    (0..domain.rank())
        .map(|a| if axes.contains(&a) { 0 } else { *own.next().expect("one per kept axis") })
        .collect()
}

/// A reduction, or one for each column, if the loops over columns are written out (all
/// from `full` on) and it does not combine them.
pub(super) fn reductions(
    scope: &Scope<'_>,
    item: &Item,
    group: &Group,
    domain: &Shape,
    loops: &Loops,
    full: usize,
) -> Vec<Reduction> {
    let rows = group.rows();
    let ItemOp::Reduce { monoid, axes } = &item.op else { return vec![] };
    let rank = item.domain.rank();
    let is_row = rank < domain.rank();
    debug_assert!(!is_row || rank == rows, "a reduction is of rows or of all");
    let reduced = |d: usize| loops.is(d, |axis| axes.contains(&axis));
    let by_column = !is_row && (full..loops.len()).any(|d| !reduced(d));
    // The longest run of reduced loops at the end.
    let count = match () {
        () if is_row => loops.depth(rows),
        () if by_column => full,
        () => loops.len(),
    };
    let depth = (0..count).rev().take_while(|&d| reduced(d)).last().unwrap_or(count);
    let made = scope.groups.made[item.out].expect("items are made");
    let arg = item.args[0].clone();
    let own = arg.val().and_then(|v| scope.groups.made[v]).filter(|m| m.group == made.group);
    let in_parts = group.cuts.axes().any(|a| axes.contains(&a));
    let all = Reduction {
        out: item.out,
        monoid: *monoid,
        arg,
        level: made.level,
        phase: (!is_row).then(|| own.map_or(0, |m| m.phase)),
        after: is_row && loops.depth(rows) == 0,
        depth,
        in_memory: (0..depth).any(reduced) || in_parts && made.level == Level::Side,
        in_parts,
        column: None,
        strides: result_strides(&item.domain, axes),
        dtype: scope.dtype(item.out),
        len: scope.vals[item.out].shape.len(),
    };
    if !by_column {
        return vec![all];
    }
    let kept = |d: usize| (!reduced(d)).then(|| loops.extent(d));
    let columns = positions((full..loops.len()).map(kept));
    columns.into_iter().map(|at| Reduction { column: Some(at), ..all.clone() }).collect()
}

impl Reduction {
    /// Whether it is the first of those with the same result.
    pub fn is_first(&self) -> bool {
        self.column.iter().flatten().all(|&at| at <= 0)
    }
}
