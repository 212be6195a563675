//! The tutorials' most telling programs as one would write them: a module for each
//! tutorial. Most are one function that runs in both modes.

mod autograd;
mod chain;
mod matrices;
mod regression;
mod tapes;

use std::error::Error;

use backstitch::prelude::*;
use backstitch::{Array, Status};

use super::goldens::modes::arrays;
use super::goldens::program::Program;
use super::goldens::report::{Report, What};

const EAGER: &str = "eager, by hand";
const COMPILED: &str = "compiled, by hand";

type Outcome = Result<(), Box<dyn Error>>;
type Tutorial = fn(&mut Check<'_>) -> Outcome;

/// Runs all of them.
pub fn run(report: &mut Report, seeds: &[Program]) {
    let tutorials: [(&str, Tutorial); 5] = [
        ("seed/0", matrices::run),
        ("seed/1", chain::run),
        ("seed/2", tapes::run),
        ("seed/3", autograd::run),
        ("seed/4", regression::run),
    ];
    for (name, tutorial) in tutorials {
        if let Err(error) = tutorial(&mut Check { report, seeds }) {
            report.failed(name, "by hand", &error, "");
        }
    }
}

/// Compares results of programs with numbers of the file.
struct Check<'a> {
    report: &'a mut Report,
    seeds: &'a [Program],
}

impl<'a> Check<'a> {
    fn seed(&self, name: &str) -> Result<&'a Program, String> {
        let seed = self.seeds.iter().find(|seed| seed.name == name);
        seed.ok_or_else(|| format!("there is no `{name}` in the file"))
    }

    /// The inputs of a program of the file.
    fn inputs<const N: usize>(&self, name: &str) -> Result<[Array; N], String> {
        let inputs = arrays(&self.seed(name)?.inputs);
        inputs.try_into().map_err(|_| format!("`{name}` has other inputs"))
    }

    fn that(&mut self, mode: &'static str, name: &str, what: What, got: &Array) -> Outcome {
        self.report.check(self.seed(name)?, mode, what, Some(got));
        Ok(())
    }

    /// That there is no gradient, and that the status says so.
    fn missing(&mut self, mode: &'static str, name: &str, status: &Status) -> Outcome {
        let seed = self.seed(name)?;
        self.report.check(seed, mode, What::Gradient(0), None);
        self.report.check_status(seed, mode, 0, status);
        Ok(())
    }

    /// Runs a program eagerly and compiled.
    fn both<P: Tree<Spec> + Clone, const N: usize>(
        &mut self,
        params: P,
        inputs: &[Array],
        program: impl for<'t> Fn(&'t Trace, P::With<Tensor<'t>>) -> [Tensor<'t>; N],
        wanted: [(&str, What); N],
    ) -> Outcome {
        let t = Trace::eager();
        let mut given = inputs.iter().cloned();
        let tensors = params.map_leaves(&mut |spec| match given.next() {
            Some(array) => t.constant(array),
            None => t.zeros(spec.dtype(), spec.dims()),
        });
        let results = program(&t, tensors);
        for ((name, what), result) in wanted.into_iter().zip(results) {
            self.that(EAGER, name, what, &result.array()?)?;
        }

        let traced = trace_tree(params, (), |t, params, ()| t.outputs(&program(t, params)))?;
        let results = traced.compile()?.call(inputs, &())?;
        for ((name, what), result) in wanted.into_iter().zip(results) {
            self.that(COMPILED, name, what, &result)?;
        }
        Ok(())
    }
}
