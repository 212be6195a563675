//! Which values of a group outlive their inner loop.
//!
//! What a later phase reads of an earlier one is computed again if that is cheap,
//! and kept in memory if not.

use backstitch_ir::Scalar;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::lower::groups::{GroupId, Groups, ItemId, ItemOp, Level};
use crate::lower::operand::{Operand, Val};

/// Operations up to which a value is computed again in a later phase instead of
/// being kept in memory.
const CHEAP: u32 = 4;

/// Marks values that a later phase reads and that are dear to compute again.
pub(super) fn keep_for_later_phases(groups: &mut Groups, id: GroupId) {
    if groups.groups[id].phases == 0 {
        return;
    }
    let items: Vec<ItemId> = groups.groups[id].items.clone();
    let mut cost: FxHashMap<Val, u32> = FxHashMap::default();
    for i in items {
        let item = groups.items[i].clone();
        let args: SmallVec<[Val; 3]> = item.args.iter().filter_map(Operand::val).collect();
        let own = |v: &&Val| groups.made[**v].is_some_and(|m| m.group == id);
        let full = |v: &&Val| groups.made[**v].is_some_and(|m| m.level == Level::Full);
        let own: SmallVec<[Val; 3]> = args.iter().filter(own).filter(full).copied().collect();
        let phase = |v: Val| groups.made[v].map_or(0, |m| m.phase);
        let at = match item.op {
            ItemOp::Reduce { .. } => own.iter().map(|&v| phase(v)).max().unwrap_or(0),
            _ => phase(item.out),
        };
        let mut total = operation_cost(&item.op);
        for v in own {
            let c = cost.get(&v).copied().unwrap_or(0);
            if phase(v) < at && c > CHEAP {
                groups.stored[v] = true;
                cost.insert(v, 1);
            }
            total = total.saturating_add(cost.get(&v).copied().unwrap_or(0));
        }
        let total = if groups.stored[item.out] { 1 } else { total };
        cost.insert(item.out, total);
    }
}

pub(super) fn operation_cost(op: &ItemOp) -> u32 {
    match op {
        ItemOp::Map(f) => match f {
            Scalar::Exp
            | Scalar::Expm1
            | Scalar::Log
            | Scalar::Log1p
            | Scalar::Sin
            | Scalar::Cos
            | Scalar::Tan
            | Scalar::Tanh
            | Scalar::Exp2
            | Scalar::Log2
            | Scalar::Log10
            | Scalar::Asin
            | Scalar::Acos
            | Scalar::Atan
            | Scalar::Atan2
            | Scalar::Sinh
            | Scalar::Cosh
            | Scalar::Asinh
            | Scalar::Acosh
            | Scalar::Atanh
            | Scalar::Cbrt
            | Scalar::Sigmoid
            | Scalar::Pow => 20,
            Scalar::Div
            | Scalar::Sqrt
            | Scalar::Rsqrt
            | Scalar::Reciprocal
            | Scalar::Hypot
            | Scalar::Quot
            | Scalar::Rem => 6,
            _ => 1,
        },
        ItemOp::Gather { .. } => 6,
        _ => 1,
    }
}
