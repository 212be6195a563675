//! All comparisons: programs from the file in three modes, and programs by hand.

mod by_hand;
// One interpreter for these programs and for the golden tests, whose it is.
#[path = "../../../tests/goldens_suite/mod.rs"]
#[allow(dead_code, reason = "the tutorials use a part of it")]
pub mod goldens;

use backstitch::Options;

use goldens::modes;
use goldens::program::{Program, Ref};
use goldens::report::Report;

/// All programs of the file.
///
/// # Errors
/// The name and what is wrong with it, if one cannot be read.
pub fn read(text: &str) -> Result<Vec<Program>, String> {
    let programs = goldens::program::read(text).into_iter();
    programs.map(|p| p.map_err(|(name, error)| format!("{name}: {error}"))).collect()
}

/// Compares all that there is to compare.
pub fn run(programs: &[Program]) -> Report {
    let mut report = Report::default();
    for program in programs {
        report.compare(program, "eager", modes::eager(program));
        report.compare(program, "compiled", modes::taped(program));
        // Sources that are no inputs are what tapes are for.
        if program.sources().iter().all(|name| matches!(name, Ref::Input(_))) {
            let results = modes::transformed(program, &Options::default());
            report.compare(program, "transformed", results.map(|(results, _)| results));
        }
    }
    by_hand::run(&mut report, programs);
    report
}
