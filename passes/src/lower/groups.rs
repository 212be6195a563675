//! Fusion: which items share a loop nest.
//!
//! A group has a *domain* `D` (the axes that its innermost items run over) and
//! possibly a *split* `s`, which divides the axes into rows `D[..s]` and the rest.
//! Its items live at one of three levels: *full* (shape `D`), *row* (shape
//! `D[..s]`) and *scalar* (rank 0). The group becomes
//!
//! ```text
//! for rows {                       absent if s = 0
//!     for the rest { phase 0 }     full items of phase 0, reductions of them
//!     row items                    what needs only those
//!     for the rest { phase 1 }     full items that need row items of phase 1
//!     …
//! }
//! scalar items
//! ```
//!
//! so that soft-max or a logistic regression's value and gradient read each row
//! from memory once. An item joins a group if, within one iteration of the rows,
//! everything it reads is made before it is read, at the same place: in-group
//! operands are looked at element for element (or broadcast along trailing axes),
//! never permuted or shifted. A reduction over an axis of the rows ends only
//! when the group does: it is a *side* output, and whoever reads it joins a later
//! group. Where an operand is put together of pieces, all loops of the group are cut where one
//! ends ([`joined`](super::joined)). Groups are numbered in the order in which they run, and an item never
//! joins a group before those that make its operands, so there are no cycles.
//!
//! Items come one by one, in the order of the graph. Each looks at a few groups only: the
//! one that made its last operand, those that read the same, the latest of its domain. Of
//! those that it fits it joins the one that saves most: each operand that the group
//! makes need not be read again (nor written, if nobody else wants it), and one that
//! the group reads anyway is at hand. Linear.

mod fit;
mod item;

use std::rc::Rc;

use backstitch_ir::Idx;
use backstitch_ir::define_index;
use backstitch_ir::index::IndexVec;
use backstitch_ir::plan::Kernel;
use backstitch_ir::ty::Shape;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use self::fit::Fit;
pub(crate) use self::fit::element_for_element;
pub(crate) use self::item::{Item, ItemOp};
use super::joined::Cuts;
use super::operand::{Operand, Val, ValDecl};
use super::origin::Cut;

define_index! {
    /// Something with loops.
    ItemId, "t";
    /// A kernel in the making, or a library call, a loop, a conditional.
    GroupId, "g";
}

/// Where the loop stands when a val of a group is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    /// In the innermost loop.
    Full,
    /// Once per row.
    Row,
    /// Once.
    Scalar,
    /// After the group.
    Side,
}

/// How a val is made by a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub group: GroupId,
    pub level: Level,
    /// Full: the inner loop that makes it. Row and scalar: the first inner loop
    /// that can read it.
    pub phase: u32,
    /// The item, if it is of a nest.
    pub item: Option<ItemId>,
}

/// Items that share a nest. `domain` is `None` for what is not a nest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub domain: Option<Shape>,
    pub split: Option<usize>,
    pub items: Vec<ItemId>,
    pub phases: u32,
    /// Where its loops are cut, because operands are put together of pieces.
    pub cuts: Cuts,
    /// Why its first item joined no group that was there, and which one that was.
    pub cut: Option<(Cut, Option<GroupId>)>,
    /// Its kernel, once it has one.
    pub kernel: Option<Kernel>,
}

#[derive(Default)]
pub(crate) struct Groups {
    /// Shared with the kernels in the making.
    pub items: IndexVec<ItemId, Rc<Item>>,
    pub groups: IndexVec<GroupId, Group>,
    pub made: IndexVec<Val, Option<Made>>,
    /// Whether a val has to be in memory.
    pub stored: IndexVec<Val, bool>,
    /// What is in memory for the time of a row: a later inner loop of it reads it.
    pub kept: FxHashSet<Val>,
    /// The last group that reads a val.
    pub last_read: IndexVec<Val, Option<GroupId>>,
    /// Whether items join groups that are there.
    pub fuse: bool,
    /// The latest group of a domain.
    latest: FxHashMap<Shape, GroupId>,
    /// The latest group whose rows may have that domain.
    latest_rows: FxHashMap<Shape, GroupId>,
}

/// The group that an item joins, and what that means.
pub(crate) struct Place {
    pub id: GroupId,
    fit: Fit,
}

impl Place {
    /// Whether the item is in the innermost loop.
    pub fn is_innermost(&self) -> bool {
        self.fit.level == Level::Full
    }
}

impl Groups {
    /// No group yet.
    pub fn new(fuse: bool) -> Self {
        Self { fuse, ..Self::default() }
    }

    /// A group that is not a nest, after all others; reads these vals from memory.
    pub fn barrier(&mut self, reads: impl IntoIterator<Item = Val>) -> GroupId {
        let id = self.groups.push(Group::default());
        for v in reads {
            self.stored[v] = true;
            self.last_read[v] = Some(id);
        }
        id
    }

    /// The val is made by a group that is not a nest.
    pub fn made_by(&mut self, val: Val, group: GroupId) {
        self.made[val] = Some(Made { group, level: Level::Side, phase: 0, item: None });
        self.stored[val] = true;
    }

    /// The group in which an item saves most, of those that it fits; a new one if there is
    /// none.
    pub fn place(&mut self, vals: &IndexVec<Val, ValDecl>, item: &Item) -> Place {
        let mut cut = if self.fuse { (Cut::First, None) } else { (Cut::Unfused, None) };
        let mut best: Option<(usize, Place)> = None;
        for id in self.candidates(item) {
            match self.fit(vals, id, item) {
                Ok(fit) => {
                    let saved = self.saved(vals, id, item);
                    if best.as_ref().is_none_or(|b| saved > b.0) {
                        best = Some((saved, Place { id, fit }));
                    }
                }
                Err(why) if cut.1.is_none() => cut = (why, Some(id)),
                Err(_) => {}
            }
        }
        if let Some((_, place)) = best {
            return place;
        }
        let (domain, cut) = (Some(item.domain.clone()), Some(cut));
        let id = self.groups.push(Group { domain, cut, ..Group::default() });
        let fit = self.fit(vals, id, item).expect("any item fits a group of its own");
        Place { id, fit }
    }

    /// Adds an item where it is to be.
    pub fn add(&mut self, place: Place, item: Rc<Item>) {
        self.join(place.id, place.fit, item);
    }

    /// Adds an item that a group's new item reads, and that changes nothing about its loops,
    /// if it fits.
    pub fn add_before(
        &mut self,
        vals: &IndexVec<Val, ValDecl>,
        id: GroupId,
        item: Rc<Item>,
    ) -> bool {
        let group = &self.groups[id];
        let whole = |fit: &Fit| {
            group.domain.as_ref() == Some(&fit.domain)
                && (group.split, group.phases) == (fit.split, fit.phases)
                && (fit.level, fit.phase) == (Level::Full, 0)
                && group.cuts == fit.cuts
        };
        let fit = self.fit(vals, id, &item).ok().filter(whole);
        fit.map(|fit| self.join(id, fit, item)).is_some()
    }

    /// Adds an item to a group that is there, if that saves at least so many bytes and
    /// leaves the group's loops as they are.
    pub fn add_if(&mut self, vals: &IndexVec<Val, ValDecl>, item: Item, least: usize) -> bool {
        let dtype = vals[item.out].dtype;
        let item = Rc::new(item.squeezed(dtype));
        let mut best: Option<(usize, GroupId, Fit)> = None;
        for id in self.candidates(&item) {
            let (group, saved) = (&self.groups[id], self.saved(vals, id, &item));
            if let Ok(fit) = self.fit(vals, id, &item)
                && group.domain.as_ref() == Some(&fit.domain)
                && (group.split, group.phases) == (fit.split, fit.phases)
                && saved >= least
                && best.as_ref().is_none_or(|b| saved > b.0)
            {
                best = Some((saved, id, fit));
            }
        }
        let Some((_, id, fit)) = best else { return false };
        self.join(id, fit, item);
        true
    }

    /// Groups to look at: the one that made the last operand; those that read the same,
    /// the last of each; the latest of the same domain, and the latest whose rows have
    /// that domain.
    fn candidates(&self, item: &Item) -> SmallVec<[GroupId; 6]> {
        let mut found = SmallVec::new();
        if !self.fuse {
            return found;
        }
        let vals = item.args.iter().flat_map(Operand::vals).copied();
        let first = vals.clone().filter_map(|v| self.made[v].map(|m| m.group)).max();
        let readers = vals.filter_map(|v| self.last_read[v]);
        let alike = [&self.latest, &self.latest_rows].map(|of| of.get(&item.domain).copied());
        let others = readers.chain(alike.into_iter().flatten());
        for id in first.into_iter().chain(others.filter(|&id| first.is_none_or(|f| id > f))) {
            if !found.contains(&id) {
                found.push(id);
            }
        }
        found
    }

    /// Bytes that need not be moved if an item joins a group: of what the group has at
    /// hand, because it makes it (then it is not read, and may not have to be written) or
    /// because it reads it anyway.
    fn saved(&self, vals: &IndexVec<Val, ValDecl>, id: GroupId, item: &Item) -> usize {
        let of = |val: Val| {
            let bytes = vals[val].shape.len() * vals[val].dtype.size();
            match self.made[val] {
                Some(made) if made.group == id => bytes * if self.stored[val] { 1 } else { 2 },
                _ if self.last_read[val] == Some(id) => bytes,
                _ => 0,
            }
        };
        let mut seen: SmallVec<[Val; 3]> =
            item.args.iter().flat_map(Operand::vals).copied().collect();
        // What is read twice, like x in x · y · x, is moved once.
        seen.sort_unstable();
        seen.dedup();
        seen.into_iter().map(of).sum()
    }

    fn join(&mut self, id: GroupId, fit: Fit, item: Rc<Item>) {
        for &val in item.args.iter().flat_map(Operand::vals) {
            self.last_read[val] = self.last_read[val].max(Some(id));
            if self.made[val].is_none_or(|m| m.group != id) {
                self.stored[val] = true;
            }
        }
        let out = item.out;
        let item_id = self.items.push(item);
        self.made[out] =
            Some(Made { group: id, level: fit.level, phase: fit.phase, item: Some(item_id) });
        if fit.level == Level::Side {
            self.stored[out] = true;
        }
        let group = &mut self.groups[id];
        let before = group.domain.replace(fit.domain.clone());
        if before.is_some_and(|d| d.rank() < fit.domain.rank()) {
            for &i in &group.items {
                let made = self.made[self.items[i].out].as_mut().expect("items are made");
                if made.level == Level::Full {
                    made.level = fit.outer;
                }
            }
        }
        group.items.push(item_id);
        group.split = fit.split;
        group.phases = fit.phases;
        group.cuts = fit.cuts;
        let rows = fit.split.map_or(0..fit.domain.rank(), |s| s..s + 1);
        for rows in rows.filter(|&r| r > 0 && r < fit.domain.rank()) {
            let latest = self.latest_rows.entry(Shape::from(&fit.domain.dims()[..rows]));
            latest.and_modify(|of| *of = id.max(*of)).or_insert(id);
        }
        self.latest.entry(fit.domain).and_modify(|of| *of = id.max(*of)).or_insert(id);
    }
}

impl Group {
    /// Number of axes of the rows.
    pub fn rows(&self) -> usize {
        self.split.unwrap_or(0)
    }
}

/// Groups in the order in which they run.
pub(crate) fn order(groups: &Groups) -> impl Iterator<Item = GroupId> + use<> {
    (0..groups.groups.len()).map(GroupId::new)
}
