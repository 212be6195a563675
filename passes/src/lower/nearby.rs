//! Values computed again where they are read.
//!
//! What a kernel reads of an earlier one has to be stored there and loaded here. A few
//! operations on what it reads anyway are cheaper than that, such as a cotangent that was
//! multiplied by a constant: it does them again. Where there is no other reader, so are
//! operations on two other arrays, as the value is not stored at all then; a sum that goes
//! from kernel to kernel is stored every other time.

use std::rc::Rc;

use backstitch_ir::ty::Type;
use backstitch_ir::{Node, Value, threshold};
use smallvec::SmallVec;

use super::groups::{GroupId, Item, ItemId, ItemOp, Level, element_for_element};
use super::operand::{Operand, Val};
use super::scope::{Home, Scope};

/// What is done again takes so many additions at most.
const CHEAP: usize = threshold(3, 20);

impl Scope<'_> {
    /// Adds an item to the group in which it saves most, with what it had better compute
    /// again than read. `args` are its operands in the graph.
    pub(super) fn add(&mut self, item: Item, args: &[Value]) {
        let dtype = self.dtype(item.out);
        let mut item = Rc::new(item.squeezed(dtype));
        let place = self.groups.place(&self.vals, &item);
        if self.groups.fuse && place.is_innermost() {
            // What is gathered from is looked at elsewhere than its operand says.
            let first = usize::from(matches!(item.op, ItemOp::Gather { .. }));
            for i in first..item.args.len() {
                let alone = || args.get(i).is_some_and(|&v| self.has_one_user(v));
                let Some(chain) = self.chain_nearby(place.id, &item, i, alone) else { continue };
                if let Some(val) = self.repeat(place.id, &chain) {
                    let again = Operand::whole(val, &item.domain);
                    Rc::make_mut(&mut item).args[i] = again;
                }
            }
        }
        self.groups.add(place, item);
    }

    fn has_one_user(&self, v: Value) -> bool {
        let n: Node = self.g.source(v).0;
        self.g.users(n).nth(1).is_none()
    }

    /// The items that make an operand of another group, in order, if they had better be
    /// repeated in this one.
    fn chain_nearby(
        &self,
        to: GroupId,
        item: &Item,
        i: usize,
        alone: impl Fn() -> bool,
    ) -> Option<SmallVec<[ItemId; 4]>> {
        let val = item.args[i].val()?;
        let from = self.groups.made[val].map(|m| m.group).filter(|&from| from != to)?;
        if !self.is_near(&item.args[i], item, from) {
            return None;
        }
        let mut chain: SmallVec<[ItemId; 4]> = SmallVec::new();
        let mut more: SmallVec<[Val; 4]> = SmallVec::new();
        let mut open: SmallVec<[Val; 4]> = SmallVec::from_slice(&[val]);
        let mut cost = 0;
        while let Some(val) = open.pop() {
            let id = self.groups.made[val]?.item?;
            if chain.contains(&id) {
                continue;
            }
            chain.push(id);
            let made = &self.groups.items[id];
            let ItemOp::Map(f) = made.op else { return None };
            cost += f.cost();
            if cost > CHEAP {
                return None;
            }
            for arg in &made.args {
                for &v in arg.vals() {
                    let is_own = self.groups.made[v].is_some_and(|m| m.group == from);
                    if is_own && !self.groups.stored[v] {
                        // Also what is known once per row, or elsewhere in memory, is not near.
                        self.is_near(arg, item, from).then(|| open.push(v))?;
                        continue;
                    }
                    let is_read = self.groups.last_read[v] == Some(to)
                        || item.args.iter().any(|x| x.vals().contains(&v));
                    if !is_read && !more.contains(&v) {
                        more.push(v);
                    }
                }
            }
        }
        chain.sort_unstable();
        (more.len() <= 1 || more.len() == 2 && alone()).then_some(chain)
    }

    /// Whether an operand is what a group makes at each element and does not store so far.
    fn is_near(&self, x: &Operand, item: &Item, from: GroupId) -> bool {
        let Some(val) = x.val() else { return false };
        let made = self.groups.made[val];
        made.is_some_and(|m| m.group == from && m.level == Level::Full && m.item.is_some())
            && !self.groups.stored[val]
            && self.vals[val].loops == item.domain
            && element_for_element(x, &self.vals[val], &item.domain)
    }

    /// Repeats items in another group; gives what the last one makes.
    fn repeat(&mut self, to: GroupId, chain: &[ItemId]) -> Option<Val> {
        let mut made: SmallVec<[(Val, Val); 4]> = SmallVec::new();
        for &id in chain {
            let item = self.groups.items[id].clone();
            let args = item.args.iter().map(|x| {
                let again = made.iter().find(|m| Some(m.0) == x.val());
                again.map_or_else(|| x.clone(), |m| Operand::whole(m.1, &item.domain))
            });
            let args = args.collect();
            let out = self.val(&Type::new(self.dtype(item.out), item.domain.clone()), Home::Open);
            made.push((item.out, out));
            let (op, domain) = (item.op.clone(), item.domain.clone());
            let item = Item { op, domain, args, out, node: None, adjoint: item.adjoint };
            if !self.groups.add_before(&self.vals, to, Rc::new(item)) {
                return None;
            }
        }
        made.last().map(|m| m.1)
    }
}
