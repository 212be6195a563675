//! Value and gradient of small programs: compiled, eager, and by hand.
//!
//!     cargo bench --bench workloads -- [--json] [--limits] [--inputs DIR] [--check FILE] [NAMES…]
//!
//! Prints a line for each workload and mode. Contenders of one workload take
//! turns. What is timed is what a caller sees: arrays in, value and gradients out
//! (in memory of the caller for compiled programs, in new arrays in eager mode).

mod by_hand;
mod formulas;
mod inputs;
mod limits;
mod matrices;
mod programs;
mod report;
mod run;
mod timing;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use backstitch::{Options, Vectors};
use clap::Parser;

use crate::limits::Limits;
use crate::programs::{CHAINS, WORKLOADS};
use crate::report::{Expectations, Row};

/// Times value and gradient of small programs.
#[derive(Parser)]
pub struct Args {
    /// Print a JSON object per line.
    #[arg(long)]
    json: bool,
    /// Threads that a call of a compiled program may run on.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Bits of the vectors of compiled programs, at most.
    #[arg(long, default_value = "512", value_parser = ["128", "256", "512"])]
    vectors: String,
    /// Where inputs are: DIR/WORKLOAD/NAME.npy. Those of a workload without a folder are made up.
    #[arg(long, value_name = "DIR")]
    inputs: Option<PathBuf>,
    /// Compare with these results, which are for given inputs; fail if they differ.
    #[arg(long, value_name = "FILE", requires = "inputs")]
    check: Option<PathBuf>,
    /// Seconds of samples per line.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Measure what the machine can do, and compare compiled programs with the least that
    /// their bytes and operations take.
    #[arg(long)]
    limits: bool,
    /// Print what compiled programs became: their kernels and products, and why there are so many.
    #[arg(long)]
    explain: bool,
    /// Modes to run, of: compiled, eager, handwritten.
    #[arg(long, value_delimiter = ',')]
    modes: Vec<String>,
    /// Workloads to run: beginnings of names. Without, all.
    names: Vec<String>,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    fn wants(&self, workload: &str) -> bool {
        let workload = workload.to_lowercase();
        let begins = |name: &String| workload.starts_with(&name.to_lowercase());
        self.names.is_empty() || self.names.iter().any(begins)
    }

    fn wants_mode(&self, mode: &str) -> bool {
        self.modes.is_empty() || self.modes.iter().any(|m| mode.starts_with(m.as_str()))
    }

    /// How programs are compiled.
    fn options(&self) -> Options {
        let vectors = match self.vectors.as_str() {
            "128" => Vectors::Bits128,
            "256" => Vectors::Bits256,
            _ => Vectors::Widest,
        };
        Options::default().threads(self.threads).vectors(vectors)
    }

    fn each(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn main() -> ExitCode {
    match all(&Args::parse()) {
        Ok(differences) if differences.is_empty() => ExitCode::SUCCESS,
        Ok(differences) => {
            differences.iter().for_each(|d| eprintln!("{d}"));
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(2)
        }
    }
}

/// Runs what is wanted; all that is not as expected.
fn all(args: &Args) -> Result<Vec<String>, String> {
    let expected: Expectations = match &args.check {
        None => Expectations::new(),
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
            serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?
        }
    };
    let limits = args.limits.then(|| Limits::measure(args.threads));
    if let Some(limits) = &limits {
        eprint!("{limits}");
    }
    let limits = limits.as_ref();
    let (mut differences, mut disagreements) = (vec![], vec![]);
    let mut print = |row: Row| -> Result<(), String> {
        differences.extend(report::differences(&expected, &row)?);
        let line = if args.json {
            serde_json::to_string(&row).map_err(|e| e.to_string())?
        } else {
            row.text()
        };
        println!("{line}");
        Ok(())
    };
    for workload in WORKLOADS.iter().filter(|w| args.wants(w.name)) {
        let rows = run::workload(workload, args, limits)?;
        disagreements.extend(report::disagreements(&rows));
        rows.into_iter().try_for_each(&mut print)?;
    }
    let (rows, wrong) = matrices::all(args, limits)?;
    disagreements.extend(wrong);
    rows.into_iter().try_for_each(&mut print)?;
    for (name, length) in CHAINS.into_iter().filter(|c| args.wants(c.0)) {
        print(run::chain(name, length, args, limits)?)?;
    }
    differences.extend(disagreements);
    Ok(differences)
}
