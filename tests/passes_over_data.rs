//! How often compiled programs go over their data in memory.
//!
//! Read off the plan: for each kernel and each large array, how many of its loops
//! run over all of the array. Loops that go over a piece of it again and again count
//! once if the piece stays in the cache that is next to the core.

use backstitch::ir::nest::{At, Axis, Nest, Param, Stmt};
use backstitch::ir::plan::{Plan, Step};
use backstitch::prelude::*;

/// What is taken to stay in the first cache, in bytes.
const CACHE: usize = 32 << 10;

/// Reads and writes of arrays as large as the data, in units of the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Traffic {
    reads: usize,
    writes: usize,
}

fn traffic(plan: &Plan, data: usize) -> Traffic {
    let mut all = Traffic::default();
    let units = |buffer| plan.buffers[buffer].len / data;
    for step in &plan.steps {
        match step {
            Step::Run { kernel, args } => {
                let nest = &plan.kernels[*kernel];
                for (param, arg) in nest.params.keys().zip(args) {
                    all.reads += units(arg.buffer) * passes(nest, &nest.body, param, true);
                    all.writes += units(arg.buffer) * passes(nest, &nest.body, param, false);
                }
            }
            Step::Copy { from, to } => {
                all.reads += units(*from);
                all.writes += units(*to);
            }
            other => panic!("these programs are kernels alone, not {other:?}"),
        }
    }
    all
}

/// How many loops over all of a parameter there are, that read it or that write it.
fn passes(nest: &Nest, body: &[Stmt], param: Param, reads: bool) -> usize {
    let touches = |stmt: &Stmt| match stmt {
        Stmt::Load { param: p, .. } => reads && *p == param,
        Stmt::Store { param: p, .. } => !reads && *p == param,
        Stmt::Accumulate { param: p, .. } => *p == param,
        _ => false,
    };
    let here = usize::from(body.iter().any(touches));
    let inside = body.iter().map(|stmt| match stmt {
        Stmt::For(l) => match passes(nest, &l.body, param, reads) {
            n if n > 1 && piece(nest, &l.body, param) * 8 <= CACHE => 1,
            n => n,
        },
        _ => 0,
    });
    here + inside.sum::<usize>()
}

/// How many elements of a parameter these statements touch at most.
fn piece(nest: &Nest, body: &[Stmt], param: Param) -> usize {
    fn visit(nest: &Nest, body: &[Stmt], param: Param, around: &mut Vec<Axis>, most: &mut usize) {
        for stmt in body {
            let at: &At = match stmt {
                Stmt::For(l) => {
                    around.push(l.axis);
                    visit(nest, &l.body, param, around, most);
                    around.pop();
                    continue;
                }
                Stmt::Load { param: p, at, .. }
                | Stmt::Store { param: p, at, .. }
                | Stmt::Accumulate { param: p, at, .. }
                    if *p == param =>
                {
                    at
                }
                _ => continue,
            };
            let extents = around.iter().filter(|&&a| at.stride(a) != 0).map(|&a| nest.axes[a]);
            *most = (*most).max(extents.product());
        }
    }
    let mut most = 0;
    visit(nest, body, param, &mut Vec::new(), &mut most);
    most
}

const ROWS: usize = 512;
const COLUMNS: usize = 1024;

type Program = for<'t> fn(&'t Trace, Tensor<'t>) -> Tensor<'t>;

/// Traffic of a program of `[ROWS, COLUMNS]` alone, and of the sum of the squares of
/// its results with their gradient.
fn measure(f: Program) -> (Traffic, Traffic) {
    let spec = || Spec::f64([ROWS, COLUMNS]);
    let forward = trace(spec(), (), move |t, x, ()| f(t, x)).unwrap();
    let loss = trace(spec(), (), move |t, x, ()| f(t, x).square().sum()).unwrap();
    let of = |plan: &Plan| traffic(plan, ROWS * COLUMNS);
    let alone = of(forward.compile().unwrap().executable().plan());
    let both = of(loss.value_and_grad().unwrap().compile().unwrap().executable().plan());
    (alone, both)
}

fn labels<'t>(t: &'t Trace) -> Tensor<'t> {
    t.full(backstitch::DType::F64, [ROWS, COLUMNS], 1.0 / COLUMNS as f64)
}

fn parameters<'t>(t: &'t Trace) -> [Tensor<'t>; 2] {
    [t.ones(backstitch::DType::F64, [COLUMNS]), t.zeros(backstitch::DType::F64, [COLUMNS])]
}

/// At most so many reads and writes alone, reads and writes with the gradient. Of the
/// latter, one write is the gradient itself.
const PROGRAMS: [(&str, Program, [usize; 4]); 14] = [
    ("softmax", |_, x| x.softmax(1), [1, 1, 1, 1]),
    ("log_softmax", |_, x| x.log_softmax(1), [1, 1, 1, 1]),
    ("logsumexp of rows", |_, x| x.logsumexp_over(1), [1, 0, 1, 1]),
    ("logsumexp of all", |_, x| x.logsumexp(), [2, 0, 3, 2]),
    ("layer_norm", |t, x| x.layer_norm(parameters(t)[0], parameters(t)[1], 1e-5), [1, 1, 1, 1]),
    ("rms_norm", |t, x| x.rms_norm(parameters(t)[0], 1e-5), [1, 1, 1, 1]),
    ("cross_entropy", |t, x| x.cross_entropy(labels(t)), [1, 0, 1, 1]),
    (
        "sparse_cross_entropy",
        |t, x| x.sparse_cross_entropy(t.zeros(backstitch::DType::I64, [ROWS])),
        [1, 0, 1, 1],
    ),
    ("variance of rows", |_, x| x.var_over(1), [1, 0, 1, 1]),
    ("variance of all", |_, x| x.var(), [2, 0, 3, 1]),
    ("deviation of columns", |_, x| x.std_over(0), [2, 0, 3, 1]),
    ("norm of rows", |_, x| x.norm_over(1), [1, 0, 1, 1]),
    ("norm of all", |_, x| x.norm(), [2, 0, 3, 1]),
    ("normalize", |_, x| x.normalize(1, 1e-9), [1, 1, 1, 1]),
];

#[test]
fn programs_go_over_their_data_at_most_twice_before_the_gradient() {
    let mut wrong = Vec::new();
    for (name, f, most) in PROGRAMS {
        let (alone, both) = measure(f);
        let found = [alone.reads, alone.writes, both.reads, both.writes];
        assert!(most[0] <= 2 && found[0] > 0, "{name}");
        if found.iter().zip(most).any(|(&found, most)| found > most) {
            wrong.push(format!("{name}: {found:?}, more than {most:?}"));
        }
    }
    assert!(wrong.is_empty(), "reads and writes, with the gradient:\n{}", wrong.join("\n"));
}

/// Loops over all columns.
fn row_loops(nest: &Nest, body: &[Stmt]) -> usize {
    let loops = body.iter().map(|stmt| match stmt {
        Stmt::For(l) => usize::from(nest.axes[l.axis] == COLUMNS) + row_loops(nest, &l.body),
        _ => 0,
    });
    loops.sum()
}

#[test]
fn the_derivative_of_a_normalisation_adds_one_loop_to_each_row() {
    // Mean, variance, and the result with all sums that its derivative needs; the gradient.
    let loss = trace(Spec::f64([ROWS, COLUMNS]), (), |t, x, ()| {
        x.layer_norm(parameters(t)[0], parameters(t)[1], 1e-5).exp().sum()
    });
    let compiled = loss.unwrap().grad().unwrap().compile().unwrap();
    let plan = compiled.executable().plan();
    let loops = plan.kernels.iter().map(|nest| row_loops(nest, &nest.body));
    assert_eq!(loops.collect::<Vec<_>>(), [4], "{plan}");
}
