//! The same bits on any number of threads: all golden programs, with everything that can
//! be shared shared, in chunks of a few elements.
#![allow(missing_docs)]

#[allow(dead_code, reason = "the golden tests use the rest of it")]
mod goldens_suite;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use backstitch::prelude::*;
use backstitch::runtime::testing;
use backstitch::{Array, Options};

use goldens_suite::modes::{Results, transformed};
use goldens_suite::program::{Program, read};

/// Programs without results to compare: they end with an error, as they are to.
const REFUSED: [&str; 2] =
    ["convention/cholesky_not_positive_definite", "convention/integer_input"];

/// The bits of all results; `None` where the program is one that cannot be run.
fn bits(program: &Program, threads: usize) -> Option<Vec<Array>> {
    let options = Options::default().threads(threads).share_all(2);
    let run = || transformed(program, &options);
    let results: Results<Array> = catch_unwind(AssertUnwindSafe(run)).ok()?.ok()?.0;
    Some(results.leaves().into_iter().cloned().collect())
}

fn programs() -> Vec<Program> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let mut paths: Vec<_> = (std::fs::read_dir(folder).expect("a folder"))
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    paths.sort();
    let texts = paths.into_iter().map(|path| std::fs::read_to_string(path).expect("a text"));
    texts.flat_map(|text| read(&text)).map(|p| p.expect("a program")).collect()
}

#[test]
fn golden_programs_give_the_same_bits_on_any_number_of_threads() {
    testing::insist_on_helpers();
    let all = programs();
    let (mut refused, mut shared) = (vec![], 0);
    // A pool of the test's own: as many helpers as are asked for, on whatever machine.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build().expect("a pool");
    pool.install(|| {
        for program in &all {
            let Some(one) = bits(program, 1) else {
                refused.push(program.name.as_str());
                continue;
            };
            let mut helped = 0;
            for threads in [2, 3, 8] {
                let before = testing::helped();
                let many = bits(program, threads).expect("what runs on one thread");
                assert_eq!(one.len(), many.len(), "{}", program.name);
                let same = one.iter().zip(&many).all(|(a, b)| a.same_bits(b));
                assert!(same, "{} on {threads} threads", program.name);
                helped += testing::helped() - before;
            }
            shared += usize::from(helped > 0);
        }
    });
    assert_eq!(refused, REFUSED);
    assert_eq!(all.len(), 1041);
    // How many depends on how they are cut into kernels.
    assert!(shared > 450, "{shared} programs were shared");
}
