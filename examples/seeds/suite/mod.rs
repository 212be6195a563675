//! All comparisons: programs from the file in three modes, and programs by hand.

mod by_hand;
pub mod golden;
mod interpret;
mod modes;
pub mod report;

use golden::Seed;
use modes::Results;
use report::{Report, What};

use backstitch::{Array, Error};

/// Compares all that there is to compare.
pub fn run(seeds: &[Seed]) -> Report {
    let mut report = Report::default();
    for seed in seeds {
        compare(&mut report, seed, "eager", modes::eager(seed));
        compare(&mut report, seed, "compiled", modes::compiled(seed));
        if let Some(results) = modes::transformed(seed) {
            compare(&mut report, seed, "transformed", results);
        }
    }
    by_hand::run(&mut report, seeds);
    report
}

/// Compares all results of a program.
fn compare(
    report: &mut Report,
    seed: &Seed,
    mode: &'static str,
    results: Result<Results<Array>, Error>,
) {
    let results = match results {
        Ok(results) => results,
        Err(error) => return report.failed(&seed.name, mode, &error),
    };
    let expect = &seed.expect;
    for i in 0..expect.outputs.len() {
        report.check(seed, mode, What::Output(i), results.outputs.get(i));
    }
    for k in 0..expect.grads.len() {
        report.check(seed, mode, What::Gradient(k), results.gradients[k].as_ref());
        report.check_status(seed, mode, k, &results.statuses[k]);
    }
    let block = |all: &[Vec<Option<Array>>], row: usize, column: usize| -> Option<Array> {
        all.get(row)?.get(column)?.clone()
    };
    for (t, row) in expect.jacobian.iter().enumerate() {
        for k in 0..row.len() {
            let found = block(&results.jacobian, t, k);
            report.check(seed, mode, What::Jacobian(t, k), found.as_ref());
        }
    }
    for (k, row) in expect.hessian.iter().enumerate() {
        for j in 0..row.len() {
            let found = block(&results.hessian, k, j);
            report.check(seed, mode, What::Hessian(k, j), found.as_ref());
        }
    }
}
