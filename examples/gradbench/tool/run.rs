//! Running a program as often as was asked for, and how long that takes.
//!
//! Two kinds of times are reported: one `prepare`, from a closure to something that can
//! be called (tracing, derivatives, passes, machine code, memory), and one `evaluate` for
//! each run. Reading inputs and writing outputs is in neither.

use std::error::Error;
use std::time::{Duration, Instant};

use backstitch::prelude::*;
use backstitch::{Args, ArgsMut, Compiled, Options, TraceError};
use ndarray::ArrayD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An output, or why there is none.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A program, or what is wrong with how it is written down.
pub type Recorded<P, D, O> = std::result::Result<Traced<P, D, O>, TraceError>;

/// A function of a module: from the line of a message to an output.
pub type Function = fn(&str, &mut Run) -> Result<Value>;

/// An evaluation: how often its program runs, and how long that took.
pub struct Run {
    options: Options,
    repeat: Repeat,
    timings: Vec<Timing>,
}

/// A time that is reported.
#[derive(Serialize)]
pub struct Timing {
    name: &'static str,
    nanoseconds: u64,
}

/// Two fields that inputs have besides their own: runs go on until both are met.
#[derive(Deserialize, Default)]
struct Repeat {
    #[serde(default)]
    min_runs: u64,
    #[serde(default)]
    min_seconds: f64,
}

/// What is read of a message here.
#[derive(Deserialize)]
struct Message<I> {
    input: I,
}

impl Run {
    /// With programs that may run on so many threads.
    pub fn new(threads: usize) -> Self {
        let options = Options::default().threads(threads);
        Self { options, repeat: Repeat::default(), timings: Vec::new() }
    }

    /// All times, in order.
    pub fn timings(&self) -> &[Timing] {
        &self.timings
    }

    /// The input in a message's line, which also says how often to run.
    pub fn input<I: DeserializeOwned>(&mut self, line: &str) -> Result<I> {
        self.repeat = self.bare_input(line)?;
        self.bare_input(line)
    }

    /// The input in a message's line, to run once.
    pub fn bare_input<I: DeserializeOwned>(&self, line: &str) -> Result<I> {
        let message: Message<I> = serde_json::from_str(line)?;
        Ok(message.input)
    }

    /// Compiles a program and runs it: its results, which are finite numbers.
    pub fn call<P, D, O>(
        &mut self,
        program: impl FnOnce() -> Recorded<P, D, O>,
        params: &impl Args,
        data: &impl Args,
    ) -> Result<O::With<ArrayD<f64>>>
    where
        P: Tree<Spec> + Clone,
        D: Tree<Spec> + Clone,
        O: Tree<Spec> + Clone,
        O::With<ArrayD<f64>>: ArgsMut,
    {
        let (program, mut ws) = self.prepare(program)?;
        let outputs = program.outputs().clone();
        let mut results = outputs.map_leaves(&mut |spec: &Spec| ArrayD::zeros(spec.dims()));
        self.evaluate(|| Ok(program.call_into(&mut ws, params, data, &mut results)?))?;
        finite(results.leaves().into_iter().flatten())?;
        Ok(results)
    }

    /// Compiles a program, and reports how long that took.
    pub fn prepare<P, D, O>(
        &mut self,
        program: impl FnOnce() -> Recorded<P, D, O>,
    ) -> Result<(Compiled<P, D, O>, Workspace)>
    where
        P: Tree<Spec> + Clone,
        D: Tree<Spec> + Clone,
        O: Tree<Spec> + Clone,
    {
        let start = Instant::now();
        let program = program()?.compile_with(&self.options)?;
        let ws = program.workspace()?;
        self.report("prepare", start.elapsed());
        Ok((program, ws))
    }

    /// Runs something as often as was asked for, and reports how long each run took.
    pub fn evaluate(&mut self, mut run: impl FnMut() -> Result<()>) -> Result<()> {
        let (mut runs, mut total) = (0, Duration::ZERO);
        while runs < self.repeat.min_runs.max(1) || total.as_secs_f64() < self.repeat.min_seconds {
            let start = Instant::now();
            run()?;
            let took = start.elapsed();
            self.report("evaluate", took);
            runs += 1;
            total += took;
        }
        Ok(())
    }

    fn report(&mut self, name: &'static str, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.timings.push(Timing { name, nanoseconds });
    }
}

/// JSON has no other numbers, and no answer consists of them.
pub fn finite<'a>(results: impl IntoIterator<Item = &'a f64>) -> Result<()> {
    let all = results.into_iter().all(|x| x.is_finite());
    if all { Ok(()) } else { Err("the result is not finite".into()) }
}
