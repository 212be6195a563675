//! A fusion group as loops.

use std::rc::Rc;

use backstitch_ir::Idx;
use backstitch_ir::nest::Var;
use backstitch_ir::plan::{ALIGN, Kernel, Step};
use backstitch_ir::ty::Shape;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::blocked;
use super::chunks::{Choice, Chunks, combine};
use super::emit::{Emit, Stage};
use super::keep::{keep_for_later_phases, operation_cost};
use super::narrow::{Written, at_each, written_out};
use super::nesting::{close_loops, fill, open_loops, settle};
use super::reduction::{Reduction, loops as all_loops, reductions as reductions_of};
use super::tiles::Tiles;
use crate::lower::Planner;
use crate::lower::groups::{Group, GroupId, Item, ItemOp, Level};
use crate::lower::joined::Section;
use crate::lower::nest::Loops;
use crate::lower::operand::{Strides, Val};
use crate::lower::origin::{Cut, KernelOrigin, Operation};
use crate::lower::scope::Scope;

/// Emits the kernels of a group.
pub(crate) fn group(
    scope: &mut Scope<'_>,
    planner: &mut Planner,
    id: GroupId,
    steps: &mut Vec<Step>,
) {
    let group = scope.groups.groups[id].clone();
    let Some(domain) = group.domain.clone() else { return };
    let items: Vec<Rc<Item>> = group.items.iter().map(|&i| scope.groups.items[i].clone()).collect();
    let wanted = |i: &Rc<Item>| scope.groups.stored[i.out] || matches!(i.op, ItemOp::Reduce { .. });
    if !items.iter().any(wanted) {
        return;
    }
    let (mut parts, blocked) = parts(scope, &group, id, &items, &domain);
    // The largest comes last, in a kernel of its own, where its loops are cut into chunks.
    let cut = parts.len() > 1;
    let largest = (0..parts.len()).max_by_key(|&i| parts[i].elements).expect("there is one");
    let row: usize = domain.dims()[group.rows()..].iter().product();
    let kept = items.iter().filter(|i| scope.groups.kept.contains(&i.out)).count() * row;
    let work: usize = items.iter().map(|i| operation_cost(&i.op)).sum();
    let chunks = Some(&parts[largest]).filter(|p| !cut || p.reductions.is_empty()).and_then(|p| {
        let phased = group.phases > 0 && p.rows == 0;
        let (loops, tiles) = (&p.loops, p.tiles.as_ref());
        let choice = Choice { loops, phased, blocked, tiles, kept, work };
        Chunks::choose(planner.chunk, &choice, &p.reductions)
    });
    let kernel = planner.kernels.len();
    for node in items.iter().filter_map(|i| i.node) {
        planner.kernel_of.insert(node, kernel);
    }

    let origin = origin(scope, id, &items);
    scope.groups.groups[id].kernel = Some(Kernel::new(kernel));
    let apart = cut && chunks.is_some();
    if apart {
        let last = parts.remove(largest);
        parts.push(last);
        for out in items.iter().map(|i| i.out) {
            if scope.groups.made[out].is_some_and(|m| m.level != Level::Scalar) {
                scope.begin(out, kernel);
            }
        }
    }
    let mut e = Emit::new(scope, planner, Loops::none(), Some(id), origin);
    e.work = work;
    let chunks = chunks.map(|c| {
        let last = &parts[parts.len() - 1];
        c.allocate(&mut e, &last.loops, &last.reductions)
    });
    // Where one part combines in memory, another may have so few loops that it need not.
    let mut filled: SmallVec<[Val; 4]> = SmallVec::new();
    for r in parts.iter().flat_map(|p| &p.reductions).filter(|r| r.in_memory && r.is_first()) {
        if !chunks.as_ref().is_some_and(|c| c.has_partial(r)) && !filled.contains(&r.out) {
            filled.push(r.out);
            let len = r.len;
            let param = e.memory(r.out);
            fill(&mut e, param, None, len, r);
        }
    }
    let last = parts.pop().expect("there is one");
    for part in parts {
        let mut pending = Vec::new();
        let (reductions, rows) = all_phases(&mut e, &items, part, group.phases, None, &mut pending);
        if rows == 0 {
            per_row(&mut e, &items, &reductions, &mut pending);
            settle(&mut e, &reductions, 0, None, &mut pending);
            forget_rows(&mut e, &reductions);
        }
    }
    if apart && !e.args.is_empty() {
        let next = KernelOrigin { cut: Cut::Largest, not_joined: None, ..e.origin.clone() };
        let step = e.finish_before(next);
        steps.push(step);
    }
    if let Some(c) = &chunks {
        c.begin(&mut e, &last.reductions);
    }
    let mut pending: Vec<(usize, Var)> = Vec::new();
    let (reductions, rows) = match blocked {
        true => {
            e.enter(last.start, last.loops, last.full, last.tiles);
            let (all, phases) = (&last.reductions, group.phases);
            blocked::rows(&mut e, &items, all, phases, last.rows, chunks.as_ref());
            (last.reductions, last.rows)
        }
        false => all_phases(&mut e, &items, last, group.phases, chunks.as_ref(), &mut pending),
    };
    if let Some(chunks) = chunks {
        e.b.close(&[]);
        let step = e.finish();
        steps.push(step);
        combine(&mut e, &chunks, &reductions);
    }
    if rows == 0 && !blocked {
        // There is one row: it is over when all loops are.
        per_row(&mut e, &items, &reductions, &mut pending);
        settle(&mut e, &reductions, 0, None, &mut pending);
    }
    scalars(&mut e, &items);
    if !e.args.is_empty() {
        let step = e.finish();
        steps.push(step);
    }
}

/// How a part of a group's loops is done; mostly there is one, which is all of them.
struct PartLoops {
    /// The first element of the domain in it.
    start: Strides,
    /// How many there are.
    elements: usize,
    loops: Loops,
    /// Loops over rows.
    rows: usize,
    /// Loops that are not written out.
    full: usize,
    reductions: Vec<Reduction>,
    tiles: Option<Tiles>,
}

/// The parts of a group's loops, and whether rows go in blocks; marks what is in memory for
/// later phases.
fn parts(
    scope: &mut Scope<'_>,
    group: &Group,
    id: GroupId,
    items: &[Rc<Item>],
    domain: &Shape,
) -> (Vec<PartLoops>, bool) {
    let sizes = items.iter().map(|i| scope.dtype(i.out).size()).filter(|&size| size > 1);
    let sections = group.cuts.sections(domain, ALIGN / sizes.min().unwrap_or(1));
    let mut all: Vec<Loops> =
        sections.iter().map(|b| all_loops(scope, items, b, group.rows())).collect();
    let short = |l: &Loops| written_out(items, l, l.depth(group.rows()), group.phases);
    let written: SmallVec<[usize; 1]> = all.iter().map(short).collect();
    let mut blocked = false;
    if written.contains(&0) {
        blocked = sections.len() == 1 && blocked::is_worthwhile(&mut scope.groups, id);
        keep_for_later_phases(&mut scope.groups, id, blocked);
        all = sections.iter().map(|b| all_loops(scope, items, b, group.rows())).collect();
    }
    let part = |((b, loops), written): ((Section, Loops), usize)| {
        let (rows, full) = (loops.depth(group.rows()), loops.len() - written);
        let each = |i: &Rc<Item>| reductions_of(scope, i, group, domain, &loops, full);
        let reductions: Vec<Reduction> = items.iter().flat_map(each).collect();
        let tiles = Tiles::choose(&loops, rows, full, &reductions);
        let elements = b.shape.len();
        PartLoops { start: b.start, elements, loops, rows, full, reductions, tiles }
    };
    (sections.into_iter().zip(all).zip(written).map(part).collect(), blocked)
}

/// The loops of a part, phase by phase in each row. Gives back its reductions, and how many
/// loops over rows there were.
fn all_phases(
    e: &mut Emit<'_, '_>,
    items: &[Rc<Item>],
    part: PartLoops,
    phases: u32,
    chunks: Option<&Chunks>,
    pending: &mut Vec<(usize, Var)>,
) -> (Vec<Reduction>, usize) {
    let PartLoops { start, loops, rows, full, reductions, tiles, .. } = part;
    e.enter(start, loops, full, tiles);
    let innermost = rows == e.full;
    open_loops(e, 0, rows, innermost, &reductions, chunks);
    for phase in 0..=phases {
        e.stage = Stage::Full(phase);
        one_phase(e, items, &reductions, phase, rows, chunks, pending);
    }
    if rows > 0 {
        per_row(e, items, &reductions, pending);
        settle(e, &reductions, rows, chunks, pending);
        forget_rows(e, &reductions);
        close_loops(e, 0, rows, &reductions, chunks, pending);
    }
    (reductions, rows)
}

/// What a group computes, and why it is one.
fn origin(scope: &Scope<'_>, id: GroupId, items: &[Rc<Item>]) -> KernelOrigin {
    let operation = |i: &Rc<Item>| Operation { name: i.op.name(), adjoint: i.adjoint };
    let operations = items.iter().map(operation).collect();
    let (cut, other) = scope.groups.groups[id].cut.clone().expect("groups of items say why");
    let not_joined = other.and_then(|g| scope.groups.groups[g].kernel);
    KernelOrigin { operations, cut, not_joined }
}

/// What is known per row is not known any more once the loop over rows is closed.
pub(super) fn forget_rows(e: &mut Emit<'_, '_>, reductions: &[Reduction]) {
    e.env.retain(|&v, _| reductions.iter().any(|r| r.out == v && r.level == Level::Scalar));
}

/// What is done at the end of each row: stores, and reductions over rows.
fn per_row(
    e: &mut Emit<'_, '_>,
    items: &[Rc<Item>],
    reductions: &[Reduction],
    pending: &mut Vec<(usize, Var)>,
) {
    for i in items {
        let is_row = e.scope.groups.made[i.out].is_some_and(|m| m.level == Level::Row);
        if is_row && e.scope.groups.stored[i.out] {
            let v = e.own(i.out);
            e.store(i.out, v);
        }
    }
    for (k, r) in reductions.iter().enumerate().filter(|(_, r)| r.phase.is_none()) {
        let v = e.read(&r.arg);
        pending.push((k, v));
    }
}

/// The inner loops of one phase, with everything that they store and reduce.
pub(super) fn one_phase(
    e: &mut Emit<'_, '_>,
    items: &[Rc<Item>],
    reductions: &[Reduction],
    phase: u32,
    rows: usize,
    chunks: Option<&Chunks>,
    pending: &mut Vec<(usize, Var)>,
) {
    let stores: Vec<Val> = items
        .iter()
        .filter(|i| {
            let made = e.scope.groups.made[i.out].expect("items are made");
            let full = made.level == Level::Full && made.phase == phase;
            let groups = &e.scope.groups;
            // Where loops are written out, nothing is kept.
            let kept = e.full == e.loops.len() && groups.kept.contains(&i.out);
            full && (groups.stored[i.out] || kept)
        })
        .map(|i| i.out)
        .collect();
    let reduced: Vec<usize> =
        (0..reductions.len()).filter(|&k| reductions[k].phase == Some(phase)).collect();
    if stores.is_empty() && reduced.is_empty() {
        return;
    }
    let accs: Vec<Reduction> = reduced.iter().map(|&k| reductions[k].clone()).collect();
    e.work = cost(e, items, phase);
    let depth = e.full;
    let before = e.env.clone();
    open_loops(e, rows, depth, true, &accs, chunks.filter(|_| rows == 0));
    let mut written = Written::default();
    at_each(e, |e| {
        for &val in &stores {
            let v = e.own(val);
            e.store(val, v);
        }
        for &k in &reduced {
            written.add(e, reductions, k);
        }
    });
    let mut now = written.finish();
    settle(e, reductions, depth, chunks, &mut now);
    close_loops(e, rows, depth, reductions, chunks, &mut now);
    pending.extend(now);
    // What was computed inside is not visible any more; what is complete now is.
    let complete = std::mem::replace(&mut e.env, before);
    keep_results(e, &complete, reductions);
}

/// What an iteration of the inner loops of a phase costs.
fn cost(e: &Emit<'_, '_>, items: &[Rc<Item>], phase: u32) -> usize {
    let made = |i: &Rc<Item>| e.scope.groups.made[i.out].expect("items are made");
    let here = items.iter().filter(|i| made(i).level == Level::Full && made(i).phase == phase);
    here.map(|i| operation_cost(&i.op)).sum()
}

/// Keeps only the results of reductions: all else was computed in loops that are
/// closed now.
fn keep_results(e: &mut Emit<'_, '_>, env: &FxHashMap<Val, Var>, reductions: &[Reduction]) {
    for r in reductions {
        if let Some(&v) = env.get(&r.out) {
            e.env.insert(r.out, v);
        }
    }
}

/// Stores what is known once.
fn scalars(e: &mut Emit<'_, '_>, items: &[Rc<Item>]) {
    for i in items {
        let made = e.scope.groups.made[i.out].expect("items are made");
        if made.level == Level::Scalar && e.scope.groups.stored[i.out] {
            let v = e.own(i.out);
            e.store(i.out, v);
        }
    }
}
