//! The reductions of a group, and the loops that suit them and all else.

use backstitch_ir::nest::Monoid;
use backstitch_ir::ty::{DType, Shape};

use crate::lower::groups::{Item, ItemOp, Level};
use crate::lower::nest::Loops;
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
    /// Strides of the result over the domain: 0 along reduced axes.
    pub strides: Strides,
    pub dtype: DType,
}

/// The loops that suit all accesses of a group.
pub(super) fn loops(scope: &Scope<'_>, items: &[Item], domain: &Shape, rows: usize) -> Loops {
    let mut accesses: Vec<Strides> = Vec::new();
    let mut boundaries = vec![rows];
    for i in items {
        for arg in &i.args {
            if let Operand::At { strides, .. } = arg {
                accesses.push(strides.clone());
            }
        }
        match &i.op {
            ItemOp::Iota { axis } => {
                let mut s = Strides::from_elem(0, i.domain.rank());
                s[*axis] = 1;
                boundaries.extend([*axis, axis + 1]);
                accesses.push(s);
            }
            ItemOp::Reduce { axes, .. } => {
                // Axes are merged only with others that are reduced alike.
                let rank = i.domain.rank();
                let is = |a: usize| axes.contains(&a);
                boundaries.extend((1..rank).filter(|&a| is(a) != is(a - 1)));
                boundaries.push(rank);
            }
            _ => {}
        }
        if scope.groups.stored[i.out] && !matches!(i.op, ItemOp::Reduce { .. }) {
            accesses.push(contiguous(&scope.vals[i.out].shape));
        }
        if let ItemOp::Reduce { axes, .. } = &i.op {
            accesses.push(result_strides(&i.domain, axes));
        }
    }
    Loops::new(domain, &boundaries, accesses.iter().map(|s| &s[..]))
}

/// Strides over the domain of the result of a reduction.
fn result_strides(domain: &Shape, axes: &[usize]) -> Strides {
    let own = contiguous(&domain.without(axes));
    let mut own = own.iter();
    (0..domain.rank())
        .map(|a| if axes.contains(&a) { 0 } else { *own.next().expect("one per kept axis") })
        .collect()
}

pub(super) fn reduction(
    scope: &Scope<'_>,
    item: &Item,
    domain: &Shape,
    rows: usize,
    loops: &Loops,
) -> Option<Reduction> {
    let ItemOp::Reduce { monoid, axes } = &item.op else { return None };
    let rank = item.domain.rank();
    let is_row = rank < domain.rank();
    // The longest run of reduced axes at the end; axes of extent 1 do not count.
    let one = |a: usize| item.domain.dims()[a] == 1;
    let first = (0..rank).rev().take_while(|&a| one(a) || axes.contains(&a)).last().unwrap_or(rank);
    let made = scope.groups.made[item.out].expect("items are made");
    let arg = item.args[0].clone();
    let own = arg.val().and_then(|v| scope.groups.made[v]).filter(|m| m.group == made.group);
    debug_assert!(!is_row || rank == rows, "a reduction is of rows or of all");
    Some(Reduction {
        out: item.out,
        monoid: *monoid,
        arg,
        level: made.level,
        phase: (!is_row).then(|| own.map_or(0, |m| m.phase)),
        after: is_row && loops.depth(rows) == 0,
        depth: loops.depth(first),
        in_memory: axes.iter().any(|&a| a < first && !one(a)),
        strides: result_strides(&item.domain, axes),
        dtype: scope.dtype(item.out),
    })
}
