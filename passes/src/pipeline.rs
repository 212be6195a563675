//! The pipeline: which passes run, in which order, and why.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backstitch_ir::graph::Values;
use backstitch_ir::ops::{Cond, Loop, Region, Rule, Trip};
use backstitch_ir::{Graph, Op};
use rustc_hash::FxHashMap;

use crate::budget::{self, Memory};
use crate::columns::may_have_columns;
use crate::invert::has_late_predicates;
use crate::legalise::{is_illegal, legalise};
use crate::lower::{CHUNK, Lowered, lower_as};
use crate::rebuild::{live, prune, rebuild, same};
use crate::simplify::{may_factor, may_have_deviations};
use crate::unroll::has_short_loops;
use crate::{
    batch_rows, columns, drop_deviations, factor_sums, hoist_invariants, inline_regions,
    invert_loops, map_sums, merge_conds, merge_loops, simplify, start_sums, sum_products, unroll,
};

/// A pass from graph to graph.
#[derive(Clone, Copy)]
pub struct Pass {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&Graph, &Options) -> Graph,
    /// Whether it would find something to do in a graph (its bodies aside).
    pub applies: fn(&Graph, &Options) -> bool,
    /// Whether programs are right without it.
    pub optional: bool,
    /// Which programs it is for, bodies and all.
    pub programs: Programs,
}

/// Some programs, or all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Programs {
    /// All.
    All,
    /// Those with branches, loops or regions, and those that are not optimised. Programs of
    /// arrays alone are simplified at once, which leaves dead code behind just as well.
    Control,
}

impl Programs {
    fn include(self, g: &Graph, options: &Options) -> bool {
        self == Self::All || g.has_control() || !options.optimise
    }
}

/// All passes before lowering, in order.
pub const PIPELINE: &[Pass] = &[
    // Differentiation leaves dead code behind: gradients nobody asked for.
    Pass {
        name: "prune",
        run: |g, _| prune(g),
        applies: always,
        optional: false,
        programs: Programs::Control,
    },
    // Derivatives have been taken: what had a rule of its own is like the rest.
    Pass {
        name: "inline_regions",
        run: |g, _| inline_regions(g),
        applies: has_regions,
        optional: false,
        programs: Programs::All,
    },
    // Before anything changes one of two loops that are to be one.
    Pass {
        name: "merge_loops",
        run: |g, _| merge_loops(g),
        applies: has_loops,
        optional: true,
        programs: Programs::All,
    },
    // After loops: a body that keeps residuals of a branch differs from one that does not.
    Pass {
        name: "merge_conds",
        run: |g, _| merge_conds(g),
        applies: has_conds,
        optional: true,
        programs: Programs::All,
    },
    // Before simplification, which then sees the iterations side by side.
    Pass {
        name: "unroll",
        run: |g, o| unroll(g, o.unroll),
        applies: |g, o| has_short_loops(g, o.unroll),
        optional: true,
        programs: Programs::All,
    },
    // What stays a loop; once short ones are gone, and before what leaves it is simplified
    // with the rest.
    Pass {
        name: "hoist_invariants",
        run: |g, _| hoist_invariants(g),
        applies: has_loops,
        optional: true,
        programs: Programs::All,
    },
    Pass {
        name: "batch_rows",
        run: |g, _| batch_rows(g),
        applies: may_keep_rows,
        optional: true,
        programs: Programs::All,
    },
    Pass {
        name: "map_sums",
        run: |g, _| map_sums(g),
        applies: has_loops,
        optional: true,
        programs: Programs::All,
    },
    Pass {
        name: "start_sums",
        run: |g, _| start_sums(g),
        applies: has_loops,
        optional: true,
        programs: Programs::All,
    },
    Pass {
        name: "sum_products",
        run: |g, _| sum_products(g),
        applies: may_keep_rows,
        optional: true,
        programs: Programs::All,
    },
    // What leaves loops has left them, and simplification is yet to see what predicate and
    // body have in common.
    Pass {
        name: "invert_loops",
        run: |g, _| invert_loops(g),
        applies: |g, _| has_late_predicates(g),
        optional: true,
        programs: Programs::All,
    },
    Pass {
        name: "simplify",
        run: |g, _| simplify(g),
        applies: always,
        optional: true,
        programs: Programs::All,
    },
    // Means and what they are taken from are in their normal form.
    Pass {
        name: "drop_deviations",
        run: |g, _| drop_deviations(g),
        applies: |g, _| may_have_deviations(g),
        optional: true,
        programs: Programs::All,
    },
    // Products of constants are one constant, and sums are not yet part of anything else.
    Pass {
        name: "factor_sums",
        run: |g, _| factor_sums(g),
        applies: |g, _| may_factor(g),
        optional: true,
        programs: Programs::All,
    },
    // All derivatives and loops that are written out are there, and products are not yet
    // sums, nor pads choices.
    Pass {
        name: "columns",
        run: |g, _| columns(g),
        applies: |g, _| may_have_columns(g),
        optional: true,
        programs: Programs::All,
    },
    // Lowering takes no `stop_gradient`, and only products worth a call.
    Pass {
        name: "legalise",
        run: |g, _| legalise(g),
        applies: |g, _| is_illegal(g),
        optional: false,
        programs: Programs::All,
    },
    // Products have become maps of broadcasts.
    Pass {
        name: "simplify",
        run: |g, _| simplify(g),
        applies: has_broadcasts,
        optional: true,
        programs: Programs::All,
    },
];

fn always(_: &Graph, _: &Options) -> bool {
    true
}

fn has_regions(g: &Graph, _: &Options) -> bool {
    g.has_control()
        && g.nodes().any(|n| matches!(g.op(n), Op::Region(r) if r.rule != Rule::Recompute))
}

fn has_loops(g: &Graph, _: &Options) -> bool {
    g.has_control() && g.nodes().any(|n| matches!(g.op(n), Op::Loop(_)))
}

fn may_keep_rows(g: &Graph, o: &Options) -> bool {
    o.rows && has_loops(g, o)
}

fn has_conds(g: &Graph, _: &Options) -> bool {
    g.has_control() && g.nodes().filter(|&n| matches!(g.op(n), Op::Cond(_))).nth(1).is_some()
}

fn has_broadcasts(g: &Graph, _: &Options) -> bool {
    g.nodes().any(|n| matches!(g.op(n), Op::Broadcast(_)))
}

/// Sees the graph after each pass.
pub type Observer = Arc<dyn Fn(&str, &Graph) + Send + Sync>;

/// How a program is prepared.
#[derive(Clone)]
pub struct Options {
    /// Run optional passes, and fuse. Without, each operation is a kernel.
    pub optimise: bool,
    /// Verify after each pass. On in debug builds.
    pub verify: bool,
    /// How many operations a loop of known length may become when its iterations are
    /// written out one after the other; 0 leaves all loops as they are.
    pub unroll: usize,
    /// Whether products may leave a loop where that takes an array of one row for each
    /// iteration: faster, in more memory.
    pub rows: bool,
    /// Elements of a chunk of a long loop, about; loops of twice as many are long. It says in
    /// which order sums are added up, so other chunks are other bits: for tests.
    #[doc(hidden)]
    pub chunk: usize,
    /// Which input and which output are one array that the program changes: their numbers.
    /// They have the same type, and no two pairs share either.
    pub donate: Vec<(usize, usize)>,
    /// Called with a pass's name and the graph after it.
    pub observe: Option<Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            optimise: true,
            verify: cfg!(debug_assertions),
            unroll: 96,
            rows: true,
            chunk: CHUNK,
            donate: Vec::new(),
            observe: None,
        }
    }
}

/// A program, ready for a device.
pub struct Prepared {
    /// The graph as it was lowered.
    pub graph: Graph,
    /// The plan, and the kernel of each node of that graph.
    pub lowered: Lowered,
    /// Time spent in each pass, lowering last.
    pub times: Vec<(&'static str, Duration)>,
    /// The memory it works in.
    pub memory: Memory,
}

/// Runs the pipeline and lowers.
///
/// # Panics
/// If a pass makes an invalid graph (with verification on): a bug, reported with
/// the name of the pass and the graph.
pub fn prepare(g: &Graph, options: &Options) -> Prepared {
    let mut times = Vec::new();
    let mut graph: Option<Graph> = None;
    let wanted = |p: &&Pass| (options.optimise || !p.optional) && p.programs.include(g, options);
    for pass in PIPELINE.iter().filter(wanted) {
        let start = Instant::now();
        let Some(next) = everywhere(graph.as_ref().unwrap_or(g), pass, options) else { continue };
        times.push((pass.name, start.elapsed()));
        if options.verify
            && let Err(errors) = backstitch_ir::verify::verify_graph(&next)
        {
            panic!("{}: {errors}\n{next}", pass.name);
        }
        if let Some(observe) = &options.observe {
            observe(pass.name, &next);
        }
        graph = Some(next);
    }
    let graph = graph.unwrap_or_else(|| prune(g));
    let start = Instant::now();
    let lowered = lower_as(&graph, options);
    times.push(("lower", start.elapsed()));
    if options.verify
        && let Err(errors) = backstitch_ir::verify::verify_plan(&lowered.plan)
    {
        panic!("lower: {errors}\n{graph}\n{}", lowered.plan);
    }
    let memory = budget::memory(&graph, &lowered);
    Prepared { graph, lowered, times, memory }
}

/// Runs a pass on a graph and, before that, on the bodies inside. `None` if it
/// finds nothing to do.
fn everywhere(g: &Graph, pass: &Pass, options: &Options) -> Option<Graph> {
    let inside = inside(g, pass, options);
    let g = inside.as_ref().unwrap_or(g);
    if (pass.applies)(g, options) { Some((pass.run)(g, options)) } else { inside }
}

/// Runs a pass on the bodies inside a graph.
fn inside(g: &Graph, pass: &Pass, options: &Options) -> Option<Graph> {
    if !g.has_control() {
        return None;
    }
    // A body may occur in several places: it is worked on once, and stays one.
    let mut done: FxHashMap<*const Graph, Option<Arc<Graph>>> = FxHashMap::default();
    let mut work = |b: &Arc<Graph>| {
        let made = done.entry(Arc::as_ptr(b));
        made.or_insert_with(|| everywhere(b, pass, options).map(Arc::new)).is_some()
    };
    let mut changed = false;
    for (n, _) in live(g, g.outputs(), None).entries().filter(|(_, live)| **live) {
        changed |= match g.op(n) {
            Op::Cond(c) => work(&c.then) | work(&c.els),
            Op::Region(r) => work(&r.body),
            Op::Loop(l) => match &l.trip {
                Trip::Count | Trip::Entries => work(&l.body),
                Trip::While(c) => work(c) | work(&l.body),
            },
            _ => false,
        };
    }
    if !changed {
        return None;
    }
    let body = |b: &Arc<Graph>| done[&Arc::as_ptr(b)].as_ref().unwrap_or(b).clone();
    Some(rebuild(g, |to, n, args| -> Values {
        let op: Op = match g.op(n) {
            Op::Cond(c) => Cond { then: body(&c.then), els: body(&c.els) }.into(),
            Op::Region(r) => Region { body: body(&r.body), rule: r.rule.clone() }.into(),
            Op::Loop(l) => {
                let trip = match &l.trip {
                    Trip::Count | Trip::Entries => l.trip.clone(),
                    Trip::While(c) => Trip::While(body(c)),
                };
                Loop { trip, body: body(&l.body), ..Loop::clone(l) }.into()
            }
            _ => return same(to, g, n, args),
        };
        to.add(op, args).unwrap_or_else(|e| panic!("{} in a body: {e}\n{g}", pass.name))
    }))
}
