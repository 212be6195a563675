//! How long it takes from a closure to a program that can be called, by stages, for
//! programs of growing size.
//!
//!     cargo bench --bench compile -- [--json] [--sizes N,N,…] [--rounds N] [NAMES…]
//!
//! The least time of some rounds, in milliseconds, on as many threads as there are; and the
//! least time of a call of what was compiled.

#[path = "../../tests/common/sizes.rs"]
mod sizes;

use std::time::{Duration, Instant};

use backstitch::prelude::*;
use backstitch::{Array, Compiled};
use clap::Parser;
use serde::Serialize;

use sizes::{SIZED, Sized};

/// Times compilation.
#[derive(Parser)]
struct Args {
    /// Print a JSON object per line.
    #[arg(long)]
    json: bool,
    /// How large; without, small, ten times that, and a hundred times.
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<usize>,
    /// How often each is compiled.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Programs: beginnings of names. Without, all.
    names: Vec<String>,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One line: milliseconds, and how large everything was.
#[derive(Serialize)]
struct Row {
    program: &'static str,
    size: usize,
    nodes: usize,
    kernels: usize,
    functions: usize,
    code_bytes: usize,
    trace: f64,
    differentiate: f64,
    passes: f64,
    lower: f64,
    code: f64,
    /// From before tracing to after compilation.
    total: f64,
    /// A call of what was compiled, in microseconds.
    call: f64,
    /// Each pass.
    each: Vec<(&'static str, f64)>,
}

fn main() {
    let args = Args::parse();
    if !args.json {
        println!(
            "{:18} {:>7} {:>7} {:>6} {:>6} {:>8} | {:>8} {:>8} {:>8} {:>8} {:>8} | {:>8} {:>9} {:>9}",
            "program",
            "size",
            "nodes",
            "kernel",
            "funcs",
            "code B",
            "trace",
            "diff",
            "passes",
            "lower",
            "code",
            "total ms",
            "µs/node",
            "call µs"
        );
    }
    let wanted = |p: &&Sized| {
        args.names.is_empty() || args.names.iter().any(|n| p.name.starts_with(n.as_str()))
    };
    for program in SIZED.iter().filter(wanted) {
        let sizes = match &args.sizes[..] {
            [] => [1, 10, 100].map(|k| k * program.least).to_vec(),
            sizes => sizes.to_vec(),
        };
        for n in sizes {
            let rows = (0..args.rounds.max(1)).map(|_| measure(program, n));
            let row = rows.reduce(least).expect("a round");
            if args.json {
                println!("{}", serde_json::to_string(&row).expect("numbers"));
            } else {
                print(&row);
            }
        }
    }
}

fn print(r: &Row) {
    println!(
        "{:18} {:7} {:7} {:6} {:6} {:8} | {:8.3} {:8.3} {:8.3} {:8.3} {:8.3} | {:8.3} {:9.3} {:9.2}",
        r.program,
        r.size,
        r.nodes,
        r.kernels,
        r.functions,
        r.code_bytes,
        r.trace,
        r.differentiate,
        r.passes,
        r.lower,
        r.code,
        r.total,
        r.total * 1e3 / r.nodes as f64,
        r.call
    );
}

/// Compiles once.
fn measure(program: &Sized, n: usize) -> Row {
    let ms = |t: Duration| t.as_secs_f64() * 1e3;
    let start = Instant::now();
    let forward = program.forward(n);
    let traced = start.elapsed();
    let gradient = forward.value_and_grad().expect("floats");
    let differentiated = start.elapsed();
    let compiled = gradient.compile().expect("it compiles");
    let total = start.elapsed();
    let each: Vec<_> = compiled.pass_times().iter().map(|&(name, t)| (name, ms(t))).collect();
    let of = |lower: bool| -> f64 {
        each.iter().filter(|e| (e.0 == "lower") == lower).map(|e| e.1).sum()
    };
    let (passes, lower) = (of(false), of(true));
    let stats = compiled.executable().stats();
    Row {
        program: program.name,
        size: n,
        nodes: compiled.graph().node_count(),
        kernels: stats.kernels,
        functions: stats.functions,
        code_bytes: stats.code_bytes,
        trace: ms(traced),
        differentiate: ms(differentiated - traced),
        passes,
        lower,
        code: ms(total - differentiated) - passes - lower,
        total: ms(total),
        call: ms(call(&compiled, program.arguments(n))) * 1e3,
        each,
    }
}

/// Value and gradient.
type Gradient = Compiled<Vec<Spec>, (), (Spec, Vec<Spec>)>;

/// The least time of a call.
fn call(compiled: &Gradient, arguments: Vec<Array>) -> Duration {
    let mut workspace = compiled.workspace().expect("memory");
    let mut results = compiled.call(&arguments, &()).expect("it runs");
    let calls = (0..7).map(|_| {
        let start = Instant::now();
        compiled.call_into(&mut workspace, &arguments, &(), &mut results).expect("it runs");
        start.elapsed()
    });
    calls.min().expect("some")
}

/// The least of each time.
fn least(a: Row, b: Row) -> Row {
    let each = a.each.iter().zip(&b.each).map(|(a, b)| (a.0, a.1.min(b.1))).collect();
    Row {
        trace: a.trace.min(b.trace),
        differentiate: a.differentiate.min(b.differentiate),
        passes: a.passes.min(b.passes),
        lower: a.lower.min(b.lower),
        code: a.code.min(b.code),
        total: a.total.min(b.total),
        call: a.call.min(b.call),
        each,
        ..a
    }
}
