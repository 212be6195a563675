//! The programs of five gradient-tape tutorials against TensorFlow's numbers: in
//! eager mode, compiled with the tape inside, through transformations, and written
//! by hand. The code is that of the example of the same name.
#![allow(missing_docs)]

#[path = "../examples/seeds/suite/mod.rs"]
mod suite;

const SEEDS: &str = include_str!("goldens/seeds.jsonl");

#[test]
fn every_program_agrees_in_every_mode() {
    let seeds = suite::read(SEEDS).expect("the file is well-formed");
    assert_eq!(seeds.len(), 51);
    let report = suite::run(&seeds);
    let wrong: Vec<String> = report.wrong().map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), report.rows.len(), wrong.join("\n"));
}

#[test]
fn the_example_reads_the_same_file() {
    assert_eq!(SEEDS, include_str!("../examples/data/seeds.jsonl"));
}
