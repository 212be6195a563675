//! What was compared, and how it came out.

use std::fmt;

use backstitch::{Array, Status};

use super::golden::{Literal, Seed, Tolerance};

/// All comparisons.
#[derive(Default)]
pub struct Report {
    /// In order.
    pub rows: Vec<Row>,
}

/// One comparison.
pub struct Row {
    seed: String,
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
    /// The derivative of a target with respect to a source.
    Jacobian(usize, usize),
    /// A second derivative.
    Hessian(usize, usize),
}

impl Report {
    /// Compares a result with what the file says.
    pub fn check(&mut self, seed: &Seed, mode: &'static str, what: What, got: Option<&Array>) {
        let expect = &seed.expect;
        let wanted = match what {
            What::Output(i) => expect.outputs.get(i),
            What::Gradient(k) => expect.grads.get(k).and_then(Option::as_ref),
            What::Jacobian(t, k) => expect.jacobian.get(t).and_then(|row| row.get(k)),
            What::Hessian(k, j) => expect.hessian.get(k).and_then(|row| row.get(j)),
        };
        let ok = match (got, wanted) {
            (Some(got), Some(wanted)) => agree(got, wanted, &seed.tol),
            (got, wanted) => got.is_none() && wanted.is_none(),
        };
        self.rows.push(Row {
            seed: seed.name.clone(),
            mode,
            what: what.name(seed),
            got: got.map_or("none".into(), |a| show(a.dims(), &a.to_f64_vec())),
            wanted: wanted.map_or("none".into(), |a| show(&a.shape, &a.data)),
            ok,
        });
    }

    /// Compares how a source is connected.
    pub fn check_status(&mut self, seed: &Seed, mode: &'static str, source: usize, got: &Status) {
        let got = match got {
            Status::Connected => "connected",
            Status::Flat(_) => "flat",
            _ => "unconnected",
        };
        let wanted = seed.expect.status.get(source).cloned().unwrap_or_default();
        let what = format!("status of {}", seed.grad.wrt[source]);
        let ok = got == wanted;
        let (seed, got) = (seed.name.clone(), got.to_owned());
        self.rows.push(Row { seed, mode, what, got, wanted, ok });
    }

    /// A program could not be run.
    pub fn failed(&mut self, seed: &str, mode: &'static str, error: &dyn fmt::Display) {
        let (seed, what, wanted) = (seed.to_owned(), "program".to_owned(), String::new());
        self.rows.push(Row { seed, mode, what, got: error.to_string(), wanted, ok: false });
    }

    /// What came out otherwise than it should.
    pub fn wrong(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.ok)
    }
}

impl What {
    fn name(self, seed: &Seed) -> String {
        let grad = &seed.grad;
        let targets = || {
            let names: Vec<String> = grad.target.all().iter().map(ToString::to_string).collect();
            names.join("+")
        };
        match self {
            Self::Output(i) => seed.body.outputs[i].to_string(),
            Self::Gradient(k) => format!("d({})/d({})", targets(), grad.wrt[k]),
            Self::Jacobian(t, k) => format!("J({}, {})", grad.target.all()[t], grad.wrt[k]),
            Self::Hessian(k, j) => format!("H({}, {})", grad.wrt[k], grad.wrt[j]),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, mode, what, got, wanted, ok } = self;
        let verdict = if *ok { "ok" } else { "DIFFERS" };
        write!(f, "{seed:<39} {mode:<17} {what:<16} {got:<34} {wanted:<34} {verdict}")
    }
}

/// Same shape and element type, and no element too far off.
fn agree(got: &Array, wanted: &Literal, tol: &Tolerance) -> bool {
    let near = |(&x, &w): (&f64, &f64)| (x - w).abs() <= tol.atol + tol.rtol * w.abs();
    got.dims() == wanted.shape
        && got.dtype() == wanted.dtype.into()
        && got.to_f64_vec().iter().zip(&wanted.data).all(near)
}

fn show(shape: &[usize], elements: &[f64]) -> String {
    // As `f32`, which is what they are: without digits that mean nothing.
    let elements: Vec<String> = elements.iter().map(|&x| (x as f32).to_string()).collect();
    match shape.len() {
        0 => elements.join(" "),
        1 => format!("[{}]", elements.join(" ")),
        _ => format!("{shape:?} {}", elements.join(" ")),
    }
}
