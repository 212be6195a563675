//! The programs of five gradient-tape tutorials, with TensorFlow's own numbers.
//!
//!     cargo run --release --example seeds
//!
//! Each program runs in eager mode with a tape, compiled with the tape inside, and
//! compiled through transformations. The most telling ones are also written by
//! hand, as one would write them: read `suite/by_hand`. One line per number that is
//! compared; the exit status is 1 if any differs.

mod suite;

use std::process::ExitCode;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let seeds = suite::read(include_str!("../data/seeds.jsonl"))?;
    let report = suite::run(&seeds);
    report.rows.iter().for_each(|row| println!("{row}"));
    let wrong = report.wrong().count();
    println!("{} programs, {} comparisons, {wrong} differ", seeds.len(), report.rows.len());
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
