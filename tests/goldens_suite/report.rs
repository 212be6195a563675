//! What was compared, and how it came out.

use std::fmt;

use backstitch::runtime::Error as RuntimeError;
use backstitch::{Array, DType, Error, Problem, Status};

use super::modes::Results;
use super::program::{Literal, Program, Tolerance};

/// All comparisons.
#[derive(Default)]
pub struct Report {
    /// In order.
    pub rows: Vec<Row>,
}

/// One comparison.
pub struct Row {
    program: String,
    mode: &'static str,
    what: String,
    got: String,
    wanted: String,
    ok: bool,
}

/// A result of a program.
#[derive(Clone, Copy)]
pub enum What {
    /// An output.
    Output(usize),
    /// The gradient with respect to a source.
    Gradient(usize),
    /// How a target moves along the tangents.
    Jvp(usize),
    /// Second derivatives with respect to a source, times the vectors.
    Hvp(usize),
    /// The derivative of a target with respect to a source.
    Jacobian(usize, usize),
    /// A second derivative.
    Hessian(usize, usize),
}

impl Report {
    /// Compares all results of a program.
    pub fn compare(
        &mut self,
        program: &Program,
        mode: &'static str,
        results: Result<Results<Array>, Error>,
    ) {
        let expect = &program.expect;
        let results = match (results, &expect.error) {
            (Ok(results), None) => results,
            (Ok(_), Some(refusal)) => return self.failed(&program.name, mode, "none", refusal),
            (Err(error), Some(refusal)) if is_refused(&error, refusal) => return,
            (Err(error), Some(refusal)) => {
                return self.failed(&program.name, mode, &error, refusal);
            }
            (Err(error), None) => return self.failed(&program.name, mode, &error, ""),
        };
        let lists = [
            (expect.outputs.len(), results.outputs.len(), "outputs"),
            (expect.grads.len(), results.gradients.len(), "gradients"),
            (expect.status.len(), results.statuses.len(), "statuses"),
            (expect.jvp.len(), results.jvp.len(), "tangents"),
            (expect.hvp.len(), results.hvp.len(), "products with second derivatives"),
            (expect.jacobian.len(), results.jacobian.len(), "rows of Jacobians"),
            (expect.hessian.len(), results.hessian.len(), "rows of second derivatives"),
        ];
        for (wanted, got, what) in lists {
            if wanted != got {
                let (got, wanted) = (format!("{got} {what}"), wanted.to_string());
                return self.failed(&program.name, mode, &got, &wanted);
            }
        }
        for (i, got) in results.outputs.iter().enumerate() {
            self.check(program, mode, What::Output(i), Some(got));
        }
        for (k, got) in results.gradients.iter().enumerate() {
            self.check(program, mode, What::Gradient(k), got.as_ref());
            self.check_status(program, mode, k, &results.statuses[k]);
        }
        for (t, got) in results.jvp.iter().enumerate() {
            self.check(program, mode, What::Jvp(t), got.as_ref());
        }
        for (k, got) in results.hvp.iter().enumerate() {
            self.check(program, mode, What::Hvp(k), got.as_ref());
        }
        for (t, row) in results.jacobian.iter().enumerate() {
            for (k, got) in row.iter().enumerate() {
                self.check(program, mode, What::Jacobian(t, k), got.as_ref());
            }
        }
        for (k, row) in results.hessian.iter().enumerate() {
            for (j, got) in row.iter().enumerate() {
                self.check(program, mode, What::Hessian(k, j), got.as_ref());
            }
        }
    }

    /// Compares a result with what the file says.
    pub fn check(
        &mut self,
        program: &Program,
        mode: &'static str,
        what: What,
        got: Option<&Array>,
    ) {
        let expect = &program.expect;
        let wanted = match what {
            What::Output(i) => expect.outputs.get(i),
            What::Gradient(k) => expect.grads.get(k).and_then(Option::as_ref),
            What::Jvp(t) => expect.jvp.get(t),
            What::Hvp(k) => expect.hvp.get(k),
            What::Jacobian(t, k) => expect.jacobian.get(t).and_then(|row| row.get(k)),
            What::Hessian(k, j) => expect.hessian.get(k).and_then(|row| row.get(j)),
        };
        let ok = match (got, wanted) {
            (Some(got), Some(wanted)) => agree(got, wanted, &program.tol),
            // Zeros that nobody computed; only gradients tell the two apart.
            (None, Some(wanted)) if !matches!(what, What::Output(_) | What::Gradient(_)) => {
                wanted.numbers().iter().all(|&x| x == 0.0)
            }
            (got, wanted) => got.is_none() && wanted.is_none(),
        };
        self.rows.push(Row {
            program: program.name.clone(),
            mode,
            what: what.name(program),
            got: got.map_or("none".into(), |a| show(a.dtype(), a.dims(), &a.to_f64_vec())),
            wanted: wanted.map_or("none".into(), |a| show(a.dtype.into(), &a.shape, &a.numbers())),
            ok,
        });
    }

    /// Compares how a source is connected.
    pub fn check_status(
        &mut self,
        program: &Program,
        mode: &'static str,
        source: usize,
        got: &Status,
    ) {
        let got = match got {
            Status::Connected => "connected",
            Status::Flat(_) => "flat",
            _ => "unconnected",
        };
        let wanted = program.expect.status.get(source).cloned().unwrap_or_default();
        let what = format!("status of {}", program.sources()[source]);
        let ok = got == wanted;
        let (program, got) = (program.name.clone(), got.to_owned());
        self.rows.push(Row { program, mode, what, got, wanted, ok });
    }

    /// A program could not be run, or not be refused.
    pub fn failed(
        &mut self,
        program: &str,
        mode: &'static str,
        got: &(impl fmt::Display + ?Sized),
        wanted: &str,
    ) {
        let (program, what, wanted) = (program.to_owned(), "program".to_owned(), wanted.to_owned());
        self.rows.push(Row { program, mode, what, got: got.to_string(), wanted, ok: false });
    }

    /// What came out otherwise than it should.
    pub fn wrong(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.ok)
    }
}

impl What {
    fn name(self, program: &Program) -> String {
        let (targets, sources) = (program.targets(), program.sources());
        let all = || {
            let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
            names.join("+")
        };
        match self {
            Self::Output(i) => program.body.outputs[i].to_string(),
            Self::Gradient(k) => format!("d({})/d({})", all(), sources[k]),
            Self::Jvp(t) => format!("jvp({})", targets[t]),
            Self::Hvp(k) => format!("hvp({})", sources[k]),
            Self::Jacobian(t, k) => format!("J({}, {})", targets[t], sources[k]),
            Self::Hessian(k, j) => format!("H({}, {})", sources[k], sources[j]),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, mode, what, got, wanted, ok } = self;
        let verdict = if *ok { "ok" } else { "DIFFERS" };
        write!(f, "{program:<39} {mode:<17} {what:<16} {got:<34} {wanted:<34} {verdict}")
    }
}

/// Whether an error is the one that the file names.
fn is_refused(error: &Error, refusal: &str) -> bool {
    let problem = match error {
        Error::Trace(error) => Some(error.first().problem),
        _ => None,
    };
    match refusal {
        "integer_source" => problem == Some(Problem::Gradient),
        "not_positive_definite" => {
            let compiled =
                matches!(error, Error::Runtime(RuntimeError::NotPositiveDefinite { .. }));
            compiled || problem == Some(Problem::Value)
        }
        _ => false,
    }
}

/// Same shape and element type, and no element too far off.
fn agree(got: &Array, wanted: &Literal, tol: &Tolerance) -> bool {
    let dtype: DType = wanted.dtype.into();
    let near = |(&x, w): (&f64, f64)| {
        let close = dtype.is_float() && (x - w).abs() <= tol.atol + tol.rtol * w.abs();
        close || x == w || (x.is_nan() && w.is_nan())
    };
    got.dims() == wanted.shape
        && got.dtype() == dtype
        && got.to_f64_vec().iter().zip(wanted.numbers()).all(near)
}

/// As many elements as fit in a line.
fn show(dtype: DType, shape: &[usize], elements: &[f64]) -> String {
    const SHOWN: usize = 12;
    // An `f32` without the digits that mean nothing.
    let element = |&x: &f64| match dtype {
        DType::F32 => (x as f32).to_string(),
        _ => x.to_string(),
    };
    let mut shown: Vec<String> = elements.iter().take(SHOWN).map(element).collect();
    if elements.len() > SHOWN {
        shown.push("…".to_owned());
    }
    match shape.len() {
        0 => shown.join(" "),
        1 => format!("[{}]", shown.join(" ")),
        _ => format!("{shape:?} {}", shown.join(" ")),
    }
}
