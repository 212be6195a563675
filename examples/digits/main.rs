//! Trains a classifier of handwritten digits with compiled gradients, and measures
//! the same program in eager mode beside it.
//!
//!     cargo run --release --example digits
//!
//! Into `out/digits` (or where `--out` says) go the loss curve, the fused plan of
//! the gradient, and its graph for Graphviz.

mod data;
mod measure;
mod model;
mod plot;
mod training;

use std::error::Error;
use std::fs;
use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use backstitch::prelude::*;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use data::{Digits, Shuffle};
use model::{Mlp, loss};
use training::{State, evaluate, training_step};

/// Examples in a batch.
const BATCH: usize = 64;
/// The share of test digits that has to be recognised.
const WANTED: f64 = 0.95;
/// Lines about progress when there is no terminal to draw a bar on.
const PROGRESS_LINES: usize = 6;

/// Trains a classifier of handwritten digits, compiled, and measures eager mode beside it.
#[derive(Parser)]
struct Options {
    /// Folder for the loss curve, the plan and the graph.
    #[arg(long, default_value = "out/digits")]
    out: PathBuf,
    /// Times that all training digits are seen.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Start of the random numbers: first weights and order of the digits.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse();
    let (train, test) = data::digits()?;
    println!("{} digits to learn from, {} to be tested with", train.len(), test.len());

    let batch = (Spec::f32([BATCH, data::PIXELS]), Spec::i64([BATCH]));
    let start = Instant::now();
    let traced = trace(Mlp::specs(), batch.clone(), loss)?;
    let traced_in = start.elapsed();
    let differentiated = traced.value_and_grad()?;
    let differentiated_in = start.elapsed() - traced_in;
    let gradient = differentiated.compile()?;
    let total = start.elapsed();
    println!(
        "value and gradient callable after {total:.2?}: traced in {traced_in:.2?}, \
         differentiated in {differentiated_in:.2?}, compiled in {:.2?}",
        total - traced_in - differentiated_in
    );

    let start = Instant::now();
    let step = trace_tree(State::specs(), batch, |t, state, batch| {
        t.outputs(&training_step(t, state, batch))
    })?
    .compile_with(&backstitch::Options::default().donate_parameters())?;
    println!("training step callable after {:.2?}", start.elapsed());
    let examine = trace_tree(Mlp::specs(), test.specs(), |t, model, batch| {
        t.outputs(&evaluate(t, model, batch))
    })?
    .compile()?;

    // Training: each step changes the state where it is.
    let mut state = State::init(options.seed)?;
    let mut workspace = step.workspace()?;
    let mut shuffle = Shuffle::new(options.seed, train.len());
    let mut curves = plot::Curves::default();
    let progress = Progress::new(options.epochs);
    let start = Instant::now();
    let mut accuracy = 0.0;
    for epoch in 1..=options.epochs {
        let mut total = 0.0;
        let batches = shuffle.batches(BATCH);
        let count = batches.len();
        for rows in batches {
            let Digits { pixels, labels } = train.rows(rows);
            let mut value = 0.0f32;
            step.update_into(&mut workspace, &mut state, &(&pixels, &labels), &mut value)?;
            curves.step(value);
            total += f64::from(value);
        }
        let (test_loss, classes) = examine.call(&state.model, &(&test.pixels, &test.labels))?;
        let test_loss = test_loss.item::<f32>().ok_or("the loss is one number")?;
        accuracy = test.accuracy(&classes).ok_or("classes are integers")?;
        curves.epoch(test_loss);
        progress.report(epoch, total / count as f64, accuracy);
    }
    progress.finish();
    println!("trained {} epochs in {:.2?}", options.epochs, start.elapsed());

    let rows: Vec<usize> = (0..BATCH).collect();
    let measured = measure::gradients(&gradient, &state.model, &train.rows(&rows))?;
    println!("{:<20} {measured}", "value and gradient");
    let measured = measure::steps(&step, &state, &train.rows(&rows))?;
    println!("{:<20} {measured}", "training step");

    fs::create_dir_all(&options.out)?;
    curves.draw(&options.out.join("loss.svg"))?;
    fs::write(options.out.join("plan.txt"), gradient.to_string())?;
    fs::write(options.out.join("graph.dot"), gradient.to_dot())?;
    println!("loss.svg, plan.txt and graph.dot are in {}", options.out.display());

    println!("test accuracy: {accuracy:.4}");
    if accuracy < WANTED {
        eprintln!("that is below {WANTED}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// A bar on a terminal, a few lines elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    epochs: u32,
}

impl Progress {
    fn new(epochs: u32) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} epoch {pos}/{len}  {msg}");
            ProgressBar::new(epochs.into()).with_style(style.expect("the template is well-formed"))
        });
        Self { bar, epochs }
    }

    fn report(&self, epoch: u32, loss: f64, accuracy: f64) {
        let message = format!("loss {loss:.4}, test accuracy {accuracy:.4}");
        match &self.bar {
            Some(bar) => {
                bar.set_message(message);
                bar.set_position(epoch.into());
            }
            None => {
                let every = self.epochs.div_ceil(PROGRESS_LINES as u32);
                if epoch.is_multiple_of(every) || epoch == self.epochs {
                    println!("epoch {epoch:>3}: {message}");
                }
            }
        }
    }

    fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish();
        }
    }
}
