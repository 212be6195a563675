//! Small programs reach what is for large ones where thresholds are tiny, and only there:
//! `backstitch::ir::threshold` says how to compile them so.
#![allow(missing_docs)]

use backstitch::ir::plan::{Plan, Step};
use backstitch::ir::threshold::TINY;
use backstitch::prelude::*;
use backstitch::{Error, Options};

/// What has a threshold, and a program that is larger than the tiny one.
struct Case {
    what: &'static str,
    shapes: &'static [&'static [usize]],
    f: for<'t> fn(&[Tensor<'t>]) -> Tensor<'t>,
    /// Whether it came about.
    reached: fn(&Plan) -> bool,
}

fn loops(plan: &Plan, what: &str) -> usize {
    plan.to_string().matches(what).count()
}

fn products(plan: &Plan) -> usize {
    plan.steps.iter().filter(|s| matches!(s, Step::Gemm(_))).count()
}

const CASES: [Case; 6] = [
    Case {
        what: "chunks of a sum",
        shapes: &[&[50]],
        f: |p| p[0].sin().sum(),
        reached: |plan| loops(plan, "parallel") > 0,
    },
    Case {
        what: "chunks for threads",
        shapes: &[&[100]],
        f: |p| p[0].sin(),
        reached: |plan| loops(plan, "parallel") > 0,
    },
    Case {
        what: "tiles of a transposition",
        shapes: &[&[9, 12]],
        f: |p| p[0].transpose(),
        // Loops over tiles beside those over what is in one.
        reached: |plan| loops(plan, "for ") > 2,
    },
    Case {
        what: "vectors over narrow rows",
        shapes: &[&[8, 3]],
        f: |p| p[0].sin().sum_over(1),
        reached: |plan| loops(plan, "vector") == 1,
    },
    Case {
        what: "columns in the place of a product",
        shapes: &[&[24, 3], &[3, 3]],
        f: |p| p[0].matmul(p[1]).tanh().matmul(p[1]),
        reached: |plan| products(plan) == 0 && loops(plan, "contract") == 0,
    },
    Case {
        what: "the library's product",
        shapes: &[&[5, 4], &[4, 5]],
        f: |p| p[0].matmul(p[1]),
        reached: |plan| products(plan) > 0,
    },
];

fn plan(case: &Case) -> Result<Plan, Error> {
    let specs: Vec<Spec> = case.shapes.iter().map(|dims| Spec::f32(*dims)).collect();
    let f = trace(specs, (), |_, p: Vec<Tensor<'_>>, ()| (case.f)(&p))?;
    Ok(f.compile_with(&Options::default())?.executable().plan().clone())
}

#[test]
fn small_programs_reach_what_is_for_large_ones_if_thresholds_are_tiny() -> Result<(), Error> {
    for case in &CASES {
        let plan = plan(case)?;
        assert_eq!((case.reached)(&plan), TINY, "{}\n{plan}", case.what);
    }
    Ok(())
}

#[test]
fn thresholds_are_what_the_environment_says() {
    assert_eq!(TINY, std::env::var_os("BACKSTITCH_TINY").is_some());
}
