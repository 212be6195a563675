//! A tool for [GradBench](https://github.com/gradbench/gradbench): answers its evals
//! with programs that Backstitch differentiates and compiles.
//!
//!     cargo run --release --example gradbench
//!
//! One JSON message a line comes in, one a line goes out; the tool ends when its input
//! does. Each module has a file in `tool`, which says how its program is written.

mod tool;

use std::io::{self, BufRead, Write};

use clap::Parser;

use tool::Session;

/// Speaks GradBench's protocol on standard input and output.
#[derive(Parser)]
struct Options {
    /// On how many threads a program may run.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
}

fn main() -> io::Result<()> {
    let session = Session::new(Options::parse().threads as usize);
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        if !line.trim().is_empty() {
            writeln!(out, "{}", session.answer(&line))?;
            out.flush()?;
        }
    }
    Ok(())
}
