//! Which values of a group outlive their inner loop.
//!
//! What a later phase reads of an earlier one is computed again if that is cheap,
//! and kept if not: where there are rows, in memory for one row, which stays in
//! cache; each chunk of rows has its own.

use backstitch_ir::threshold;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::lower::groups::{GroupId, Groups, ItemId, ItemOp, Level};
use crate::lower::operand::{Operand, Val};

/// Operations and loads up to which a value is computed again in a later phase instead
/// of being kept in memory, which takes a store and a load.
pub(super) const CHEAP: usize = threshold(3, 0);

/// Marks values that a later phase reads and that are dear to compute again. Where inner
/// loops of one row do not follow each other (`blocked`), they need all their memory.
pub(super) fn keep_for_later_phases(groups: &mut Groups, id: GroupId, blocked: bool) {
    if groups.groups[id].phases == 0 {
        return;
    }
    let for_a_row = groups.groups[id].rows() > 0 && !blocked;
    let items: Vec<ItemId> = groups.groups[id].items.clone();
    let mut cost: FxHashMap<Val, usize> = FxHashMap::default();
    for i in items {
        let item = groups.items[i].clone();
        let args: SmallVec<[Val; 3]> = item.args.iter().filter_map(Operand::val).collect();
        let own = |v: &&Val| groups.made[**v].is_some_and(|m| m.group == id);
        let full = |v: &&Val| groups.made[**v].is_some_and(|m| m.level == Level::Full);
        let mut own: SmallVec<[Val; 3]> = args.iter().filter(own).filter(full).copied().collect();
        // What is read twice is computed once.
        own.sort_unstable();
        own.dedup();
        let phase = |v: Val| groups.made[v].map_or(0, |m| m.phase);
        let at = match item.op {
            ItemOp::Reduce { .. } => own.iter().map(|&v| phase(v)).max().unwrap_or(0),
            _ => phase(item.out),
        };
        let elsewhere = args.iter().filter(|&&v| groups.made[v].is_none_or(|m| m.group != id));
        let mut total = operation_cost(&item.op) + elsewhere.count();
        for v in own {
            let c = cost.get(&v).copied().unwrap_or(0);
            if phase(v) < at && c > CHEAP {
                if for_a_row && !groups.stored[v] {
                    groups.kept.insert(v);
                } else {
                    groups.stored[v] = true;
                }
                cost.insert(v, 1);
            }
            total = total.saturating_add(cost.get(&v).copied().unwrap_or(0));
        }
        let total = if groups.stored[item.out] { 1 } else { total };
        cost.insert(item.out, total);
    }
}

/// What an item costs at each element, in additions.
pub(super) fn operation_cost(op: &ItemOp) -> usize {
    match op {
        ItemOp::Map(f) => f.cost(),
        ItemOp::Gather { .. } => 6,
        _ => 1,
    }
}
