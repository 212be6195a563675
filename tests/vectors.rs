//! The same bits with vectors of any width: all golden programs.
#![allow(missing_docs)]

#[allow(dead_code, reason = "the golden tests use the rest of it")]
mod goldens_suite;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use backstitch::prelude::*;
use backstitch::runtime::jit::testing;
use backstitch::{Array, Options, Vectors};

use goldens_suite::modes::transformed;
use goldens_suite::program::{Program, read};

/// Programs without results to compare: they end with an error, as they are to.
const REFUSED: [&str; 2] =
    ["convention/cholesky_not_positive_definite", "convention/integer_input"];

/// The bits of all results, and how many functions of the program are of full width; `None`
/// where the program is one that cannot be run.
fn bits(program: &Program, vectors: Vectors) -> Option<(Vec<Array>, usize)> {
    let options = Options::default().vectors(vectors);
    let run = || transformed(program, &options);
    let (results, compilation) = catch_unwind(AssertUnwindSafe(run)).ok()?.ok()?;
    let wide = compilation.stats.wide_functions;
    Some((results.leaves().into_iter().cloned().collect(), wide))
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
fn golden_programs_give_the_same_bits_with_vectors_of_any_width() {
    let all = programs();
    let next = AtomicUsize::new(0);
    let refused = Mutex::new(vec![]);
    let wide = [Vectors::Widest, Vectors::Bits256].map(|vectors| (vectors, AtomicUsize::new(0)));
    let work = || {
        while let Some(program) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some((want, _)) = bits(program, Vectors::Bits128) else {
                refused.lock().expect("a list").push(program.name.as_str());
                continue;
            };
            for (vectors, all) in &wide {
                let (got, wide) = bits(program, *vectors).expect("what runs with short vectors");
                all.fetch_add(wide, Ordering::Relaxed);
                assert_eq!(want.len(), got.len(), "{}", program.name);
                let same = want.iter().zip(&got).all(|(a, b)| a.same_bits(b));
                assert!(same, "{} with {vectors:?}", program.name);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let mut refused = refused.into_inner().expect("a list");
    refused.sort_unstable();
    assert_eq!(refused, REFUSED);
    assert_eq!(all.len(), 1041);
    for (vectors, wide) in wide {
        let wide = wide.into_inner();
        println!("{wide} functions with {vectors:?}");
        assert!(wide > 200 || !testing::has_wide(vectors), "{wide} with {vectors:?}");
    }
}
