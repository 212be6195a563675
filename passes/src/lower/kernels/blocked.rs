//! Rows in blocks, for functions of rows that are dear and for sums of rows.
//!
//! Between two inner loops stand functions of the row, such as the sigmoid of a
//! regression. Done row by row they are scalar code. In blocks they are not, and loops that
//! only add rows up do several of them at a time:
//!
//! ```text
//! for rows of the chunk { for the rest { phase 0 } }
//! for rows of the chunk vector { row items of phase 1 }
//! for rows of the chunk { for the rest { phase 1 } }
//! ```
//!
//! The results per row go through memory; the chunk is in cache when it is read for
//! the second time.

use std::rc::Rc;

use backstitch_ir::nest::Var;
use backstitch_ir::threshold;
use smallvec::SmallVec;

use super::chunks::Chunks;
use super::emit::{Emit, Stage};
use super::group::{forget_rows, one_phase};
use super::keep::{CHEAP, operation_cost};
use super::nesting::{LIGHT, close_loops, open_loops, settle};
use super::reduction::Reduction;
use crate::lower::groups::{GroupId, Groups, Item, ItemOp, Level};
use crate::lower::operand::{Operand, Val};

/// Operations per row from which they are worth loops of their own.
const DEAR: usize = threshold(40, 4);

/// Elements of a row from which its own loops hide what is done once per row.
const LONG: usize = threshold(512, 8);

/// Rows below which it is not worth the trouble.
const FEW: usize = threshold(16, 2);

/// Decides whether the rows of a group go in blocks, and if so marks what has to be
/// in memory.
pub(super) fn is_worthwhile(groups: &mut Groups, id: GroupId) -> bool {
    let group = &groups.groups[id];
    let (Some(domain), rows) = (&group.domain, group.rows()) else { return false };
    let (outer, inner) = domain.dims().split_at(rows);
    let (outer, inner): (usize, usize) = (outer.iter().product(), inner.iter().product());
    if rows == 0 || outer < FEW || inner <= 1 || inner >= LONG {
        return false;
    }
    let is_row =
        |groups: &Groups, i: &Item| groups.made[i.out].is_some_and(|m| m.level == Level::Row);
    let items: Vec<Rc<Item>> = group.items.iter().map(|&i| groups.items[i].clone()).collect();
    let cost: usize =
        items.iter().filter(|i| is_row(groups, i)).map(|i| operation_cost(&i.op)).sum();
    if cost < DEAR && !sums_rows(groups, id, &items) {
        return false;
    }
    // What is read in another loop than the one that makes it.
    for item in &items {
        let made = groups.made[item.out].expect("items are made");
        if made.level == Level::Row && matches!(item.op, ItemOp::Reduce { .. }) {
            groups.stored[item.out] = true;
        }
        let in_row_loop = item.domain.rank() == rows && !domain_is(groups, id, item);
        let reduces = matches!(item.op, ItemOp::Reduce { .. });
        for val in item.args.iter().filter_map(Operand::val) {
            let Some(arg) = groups.made[val].filter(|m| m.group == id) else { continue };
            // Rows are reduced where they are made.
            let same_loop = in_row_loop
                && (reduces || arg.phase == made.phase || is_made_again(groups, id, val));
            if arg.level == Level::Row && !same_loop {
                groups.stored[val] = true;
            }
        }
    }
    true
}

/// Whether loops over rows compute a value themselves rather than load it: one of few
/// operations on what they load anyway.
fn is_made_again(groups: &Groups, id: GroupId, val: Val) -> bool {
    let Some(item) = groups.made[val].and_then(|m| m.item).map(|i| &groups.items[i]) else {
        return false;
    };
    let own = |v: Val| groups.made[v].is_some_and(|m| m.group == id);
    !matches!(item.op, ItemOp::Reduce { .. })
        && !item.args.iter().filter_map(Operand::val).any(own)
        && operation_cost(&item.op) + item.args.len() <= CHEAP
}

/// Whether rows are added up by a loop that does nothing else and runs after another: on
/// its own, it can do several rows at a time.
fn sums_rows(groups: &Groups, id: GroupId, items: &[Rc<Item>]) -> bool {
    let full = items.iter().filter(|i| domain_is(groups, id, i));
    let reductions = full.filter(|i| matches!(i.op, ItemOp::Reduce { .. }));
    let made = reductions.filter_map(|i| groups.made[i.out]);
    let (mut sums, mut results) = (SmallVec::<[u32; 4]>::new(), SmallVec::<[u32; 4]>::new());
    for m in made {
        match m.level {
            Level::Side => sums.push(m.phase),
            // Known to later loops.
            _ => results.push(m.phase - 1),
        }
    }
    sums.iter().any(|p| *p > 0 && !results.contains(p))
}

/// Whether an item runs over the whole domain of its group.
fn domain_is(groups: &Groups, id: GroupId, item: &Item) -> bool {
    groups.groups[id].domain.as_ref() == Some(&item.domain)
}

/// The loops over rows, one after the other.
pub(super) fn rows(
    e: &mut Emit<'_, '_>,
    items: &[Rc<Item>],
    reductions: &[Reduction],
    phases: u32,
    rows: usize,
    chunks: Option<&Chunks>,
) {
    e.blocked = true;
    for phase in 0..=phases + MORE {
        e.stage = Stage::Row(phase);
        row_loop(e, items, reductions, phase, rows, chunks);
        if phase > phases {
            continue;
        }
        e.stage = Stage::Full(phase);
        let mut pending: Vec<(usize, Var)> = Vec::new();
        open_loops(e, 0, rows, false, reductions, chunks);
        one_phase(e, items, reductions, phase, rows, chunks, &mut pending);
        for r in reductions.iter().filter(|r| r.phase == Some(phase) && r.level == Level::Row) {
            let v = e.env[&r.out];
            e.store(r.out, v);
        }
        forget_rows(e, reductions);
        close_loops(e, 0, rows, reductions, chunks, &mut pending);
    }
}

/// Loops over rows after the last inner loop: one, for what needs its results.
const MORE: u32 = 1;

/// Row items of a phase, in a loop of their own.
fn row_loop(
    e: &mut Emit<'_, '_>,
    items: &[Rc<Item>],
    reductions: &[Reduction],
    phase: u32,
    rows: usize,
    chunks: Option<&Chunks>,
) {
    let made = |e: &Emit<'_, '_>, i: &Item| e.scope.groups.made[i.out].expect("items are made");
    let stores: Vec<&Rc<Item>> = items
        .iter()
        .filter(|i| !matches!(i.op, ItemOp::Reduce { .. }) && e.scope.groups.stored[i.out])
        .filter(|i| made(e, i).level == Level::Row && made(e, i).phase == phase)
        .collect();
    // A reduction of rows is done where its operand is known.
    let known = |e: &Emit<'_, '_>, r: &Reduction| {
        let own = r.arg.val().and_then(|v| e.scope.groups.made[v]);
        own.filter(|m| Some(m.group) == e.group).map_or(0, |m| m.phase)
    };
    let reduced: Vec<usize> = (0..reductions.len())
        .filter(|&k| reductions[k].phase.is_none() && known(e, &reductions[k]) == phase)
        .collect();
    if stores.is_empty() && reduced.is_empty() {
        return;
    }
    let accs: Vec<Reduction> = reduced.iter().map(|&k| reductions[k].clone()).collect();
    // Rows are in loops of their own because of what is done with each.
    let stored: usize = stores.iter().map(|i| operation_cost(&i.op)).sum();
    e.work = stored.max(LIGHT + 1);
    open_loops(e, 0, rows, true, &accs, chunks);
    for i in stores {
        let v = e.own(i.out);
        e.store(i.out, v);
    }
    let mut pending: Vec<(usize, Var)> = Vec::new();
    for k in reduced {
        let v = e.read(&reductions[k].arg);
        pending.push((k, v));
    }
    settle(e, reductions, rows, chunks, &mut pending);
    forget_rows(e, reductions);
    close_loops(e, 0, rows, reductions, chunks, &mut pending);
}
