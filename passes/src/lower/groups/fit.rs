//! Whether an item fits a group.

use backstitch_ir::index::IndexVec;
use backstitch_ir::threshold;
use backstitch_ir::ty::Shape;

use super::{GroupId, Groups, Item, ItemOp, Level};
use crate::lower::joined::{Cuts, MOST_SECTIONS};
use crate::lower::operand::{Operand, Val, ValDecl, same_strides};
use crate::lower::origin::Cut;

/// Items per group at most: bounds the length of straight-line code, for which
/// the code generator is linear only in pieces, and the registers alive in it.
const MOST_ITEMS: usize = 480;

/// The same where loops are cut, in all of their parts together.
const MOST_IN_SECTIONS: usize = 128;

/// Elements above which a full reduction ends its group. Below, what depends on
/// it runs in a second loop of the same kernel; above, loops are long enough to be
/// worth chunks, and those have to end before the reduction is known.
const MOST_PHASED: usize = threshold(8192, 64);

/// Phases per group at most.
const MOST_PHASES: u32 = 8;

/// What joining a group would mean.
pub(super) struct Fit {
    pub level: Level,
    pub phase: u32,
    pub split: Option<usize>,
    pub domain: Shape,
    pub phases: u32,
    /// What full items become if the domain is extended.
    pub outer: Level,
    pub cuts: Cuts,
}

impl Groups {
    /// How an item fits a group, or why it does not.
    pub(super) fn fit(
        &self,
        vals: &IndexVec<Val, ValDecl>,
        id: GroupId,
        item: &Item,
    ) -> Result<Fit, Cut> {
        let group = &self.groups[id];
        let domain = group.domain.as_ref().ok_or(Cut::NoKernel)?;
        if group.items.len() >= MOST_ITEMS {
            return Err(Cut::TooManyItems { most: MOST_ITEMS });
        }
        let own = |v: Val| self.made[v].filter(|m| m.group == id);
        let (s, d) = (item.domain.dims(), domain.dims());
        let mut split = group.split;
        let mut domain = domain.clone();
        // At which level do the item's own loops run?
        let level = if s == d {
            Level::Full
        } else if s.is_empty() {
            Level::Scalar
        } else if split.is_some_and(|k| k > 0) && s == &d[..split.unwrap_or(0)] {
            Level::Row
        } else if split.is_none() && d.starts_with(s) {
            split = Some(s.len());
            Level::Row
        } else if split.is_none() && s.starts_with(d) {
            // The group's loops become the rows of longer ones.
            split = (!d.is_empty()).then_some(d.len());
            domain = item.domain.clone();
            Level::Full
        } else {
            return Err(Cut::OtherLoops { kernel: domain, own: item.domain.clone() });
        };
        let extended = domain.rank() != d.len();
        let outer = if d.is_empty() { Level::Scalar } else { Level::Row };
        let rows = split.unwrap_or(0);
        let mut phase = 0;
        let mut cuts = group.cuts.clone();
        item.args.iter().for_each(|arg| cuts.add(arg));
        let args = item.args.iter().enumerate();
        for (i, arg, val) in args.flat_map(|(i, x)| x.vals().iter().map(move |&v| (i, x, v))) {
            let Some(made) = own(val) else { continue };
            if matches!(item.op, ItemOp::Gather { .. }) && i == 0 {
                return Err(Cut::Gathered);
            }
            if made.level == Level::Side {
                return Err(Cut::Unfinished);
            }
            if !element_for_element(arg, &vals[val], &item.domain) {
                return Err(Cut::Permuted);
            }
            let made_level = match made.level {
                Level::Full if extended => outer,
                other => other,
            };
            match (made_level, level) {
                // Rows are over only when the group is.
                (Level::Scalar, Level::Full | Level::Row) if rows > 0 && made.phase > 0 => {
                    return Err(Cut::Unfinished);
                }
                (Level::Scalar, Level::Full) if made.phase > 0 => split = Some(0),
                _ => {}
            }
            phase = phase.max(made.phase);
        }
        let len = domain.len();
        if rows == 0 && level == Level::Full && phase > 0 && len > MOST_PHASED {
            return Err(Cut::LongReduction { elements: len, most: MOST_PHASED });
        }
        if phase >= MOST_PHASES {
            return Err(Cut::TooManyPhases { most: MOST_PHASES as usize });
        }
        let phases = if level == Level::Full { group.phases.max(phase) } else { group.phases };
        let mut result = (level, phase);
        if let ItemOp::Reduce { axes, .. } = &item.op {
            let (to, more) = reduced_to(level, axes, s.len(), &mut split);
            result = (to, phase + u32::from(more));
        }
        if !cuts.is_empty() {
            let reduces = |op: &ItemOp| matches!(op, ItemOp::Reduce { .. });
            let long = len > 2 * MOST_PHASED;
            let mut items = group.items.iter().map(|&i| &self.items[i].op).chain([&item.op]);
            if long && items.any(reduces) {
                return Err(Cut::LongReduction { elements: len, most: 2 * MOST_PHASED });
            }
            // Within a row, and where all is one row that is gone through several times,
            // loops are whole.
            let rows = split.unwrap_or(0);
            let whole = if rows == 0 { phases > 0 } else { cuts.axes().any(|a| a >= rows) };
            let sections = cuts.count();
            if whole
                || sections > MOST_SECTIONS
                || sections * (group.items.len() + 1) > MOST_IN_SECTIONS
            {
                return Err(Cut::Joined);
            }
        }
        Ok(Fit { level: result.0, phase: result.1, split, domain, phases, outer, cuts })
    }
}

/// At which level the result of a reduction is known, and whether a later inner
/// loop is the first that can read it.
fn reduced_to(
    level: Level,
    axes: &[usize],
    rank: usize,
    split: &mut Option<usize>,
) -> (Level, bool) {
    let from = rank - axes.len();
    let is_suffix = axes[0] == from;
    match level {
        _ if is_suffix && from == 0 => (Level::Scalar, true),
        Level::Full if is_suffix && split.is_none_or(|s| s == from) => {
            *split = Some(from);
            (Level::Row, true)
        }
        _ => (Level::Side, false),
    }
}

/// Whether an operand over `domain` reads a val of this shape at the very element
/// that the loops stand at: axis by axis, repeated along trailing axes.
pub(crate) fn element_for_element(arg: &Operand, val: &ValDecl, domain: &Shape) -> bool {
    let Operand::At { offset, strides, .. } = arg else { return matches!(arg, Operand::Splat(_)) };
    if *offset != 0 || !domain.dims().starts_with(val.loops.dims()) {
        return false;
    }
    let mut own = val.strides();
    own.resize(domain.rank(), 0);
    same_strides(strides, &own, domain)
}
