//! Values computed again where few of their elements are looked at.
//!
//! A kernel that has all elements of a value at hand, one at a time, would have to write
//! them to memory for who looks at one in each row, such as the logit of a label. Where
//! the value is a function of arrays in memory and of what is known for the row, that
//! element is computed again from these instead: a look at the value becomes looks at
//! what it is made of.

use std::rc::Rc;

use backstitch_ir::op::View;
use backstitch_ir::threshold;
use backstitch_ir::ty::{Shape, Type};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::groups::{GroupId, Item, ItemId, ItemOp, Level};
use super::operand::{Operand, Val};
use super::scope::{Home, Scope};

/// How many times fewer elements are looked at than there are, at least.
const LEAST_FEWER: usize = threshold(8, 1);

/// Operations that are done again at most.
const MOST: usize = 16;

impl Scope<'_> {
    /// The operand of an item with that domain; of what is better computed again, that.
    pub(super) fn or_again(&mut self, x: Operand, domain: &Shape) -> Operand {
        let Operand::At { val, offset, strides } = &x else { return x };
        let few = domain.len().saturating_mul(LEAST_FEWER) <= self.vals[*val].shape.len();
        if domain.is_empty() || !few || self.groups.stored[*val] || !self.groups.fuse {
            return x;
        }
        let strides = strides.iter().map(|&s| s as isize).collect();
        let view = View { offset: *offset as isize, strides };
        let Some(chain) = self.chain(*val, domain.len()) else { return x };
        let Some(looks) = self.looks(&chain, &view, domain) else { return x };
        let mut made: FxHashMap<Val, Operand> = FxHashMap::default();
        for (&id, args) in chain.iter().zip(looks) {
            let item = Rc::clone(&self.groups.items[id]);
            let (op, out, adjoint) = (item.op.clone(), item.out, item.adjoint);
            let args = args.into_iter().map(|arg| match arg {
                Look::Made(val) => made[&val].clone(),
                Look::At(x) => x,
            });
            let args = args.collect();
            let new = self.val(&Type::new(self.dtype(out), domain.clone()), Home::Open);
            let item = Item { op, domain: domain.clone(), args, out: new, node: None, adjoint };
            self.add(item, &[]);
            made.insert(out, Operand::whole(new, domain));
        }
        made.remove(val).unwrap_or(x)
    }

    /// The items of a group that make a value, from what is in memory or known for a row, in
    /// order. `None` if that is dear for so many elements.
    fn chain(&self, val: Val, looked_at: usize) -> Option<SmallVec<[ItemId; MOST]>> {
        let group = self.groups.made[val]?.group;
        let mut found: SmallVec<[ItemId; MOST]> = SmallVec::new();
        let mut open: SmallVec<[Val; MOST]> = SmallVec::new();
        open.push(val);
        let mut cost = 0;
        while let Some(val) = open.pop() {
            let id = self.own(val, group)?;
            if found.contains(&id) {
                continue;
            }
            let item = &self.groups.items[id];
            cost += match item.op {
                ItemOp::Map(f) => f.cost(),
                ItemOp::Copy => 0,
                _ => return None,
            };
            found.push(id);
            if found.len() > MOST {
                return None;
            }
            let args = item.args.iter().filter_map(Operand::val);
            open.extend(args.filter(|&v| self.own(v, group).is_some()));
        }
        // Items are numbered in the order in which they were made.
        found.sort_unstable();
        (cost * looked_at <= 2 * self.vals[val].shape.len()).then_some(found)
    }

    /// The item that makes a value at each element of a group's domain.
    fn own(&self, val: Val, group: GroupId) -> Option<ItemId> {
        let made = self.groups.made[val].filter(|m| m.group == group && m.level == Level::Full)?;
        made.item
    }

    /// The operands of these items, looked at from the result of the last.
    fn looks(&self, chain: &[ItemId], view: &View, domain: &Shape) -> Option<Vec<Vec<Look>>> {
        let is_made = |val: Val| chain.iter().any(|&id| self.groups.items[id].out == val);
        let items = chain.iter().map(|&id| &self.groups.items[id]);
        let look = |item: &Item, arg: &Operand| match arg.val() {
            Some(val) if is_made(val) => Some(Look::Made(val)),
            _ => arg.view(view, &item.domain, domain).map(Look::At),
        };
        items.map(|item| item.args.iter().map(|arg| look(item, arg)).collect()).collect()
    }
}

/// An operand of what is computed again.
enum Look {
    /// What is computed again itself.
    Made(Val),
    /// What is there.
    At(Operand),
}
