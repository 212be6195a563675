//! Results: as lines of JSON or text, and compared with what others computed.

use std::collections::BTreeMap;

use backstitch::runtime::Executable;
use ndarray::ArrayD;
use serde::{Deserialize, Serialize};

use crate::inputs::Real;
use crate::limits::Bound;
use crate::timing::Times;

/// One line.
#[derive(Serialize)]
pub struct Row {
    pub workload: &'static str,
    /// `compiled`, `eager`, or `handwritten` with the width of its vectors; with
    /// `_forward`, of the value alone.
    pub mode: &'static str,
    pub dtype: &'static str,
    pub threads: usize,
    pub per_call_ns: PerCall,
    pub samples: usize,
    /// How many times as long as what is written by hand, in medians.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times_handwritten: Option<f64>,
    /// How many times as long as value and gradient, in medians.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times_gradient: Option<f64>,
    /// With `--limits`: the least that it can take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// From before tracing to something that can be called; the median of
    /// several, and the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compile_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_compile_ms: Option<f64>,
    /// The stages of the last compilation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages_ms: Vec<(&'static str, f64)>,
    pub value: f64,
    pub grads: Vec<Norms>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arena_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_bytes: Option<usize>,
}

#[derive(Serialize)]
pub struct PerCall {
    pub median: f64,
    pub min: f64,
    pub p90: f64,
}

/// The least that a program can take, in nanoseconds (see [`Bound`]), and how many times
/// that it takes in the median: with vectors of 128 bits, and with the widest.
#[derive(Serialize)]
pub struct Limit {
    memory_ns: f64,
    arithmetic_128_ns: f64,
    arithmetic_ns: f64,
    times_128: f64,
    times: f64,
}

/// A gradient in short.
#[derive(Clone, Serialize, Deserialize)]
pub struct Norms {
    /// Nothing where it is by all parameters together.
    #[serde(default)]
    pub wrt: String,
    pub sum: f64,
    pub l2: f64,
    /// How many entries it has.
    #[serde(default, skip_deserializing)]
    pub len: usize,
}

/// The results of a call: value, and gradients by name.
pub struct Results {
    pub value: f64,
    pub grads: Vec<Norms>,
}

impl Results {
    pub fn new<'a, T: Real>(
        value: f64,
        grads: impl IntoIterator<Item = (&'static str, &'a ArrayD<T>)>,
    ) -> Self {
        let norms = |(wrt, g): (&str, &ArrayD<T>)| {
            let (sum, squares) = g.iter().fold((0.0, 0.0), |(sum, squares), x| {
                let x = x.to_f64();
                (sum + x, squares + x * x)
            });
            Norms { wrt: wrt.to_owned(), sum, l2: f64::sqrt(squares), len: g.len() }
        };
        Self { value, grads: grads.into_iter().map(norms).collect() }
    }
}

impl Row {
    pub fn new(
        workload: &'static str,
        mode: &'static str,
        dtype: &'static str,
        times: Times,
        results: Results,
    ) -> Self {
        let Times { median, min, p90, samples } = times;
        Self {
            workload,
            mode,
            dtype,
            threads: 1,
            per_call_ns: PerCall { median, min, p90 },
            samples,
            times_handwritten: None,
            times_gradient: None,
            limit: None,
            compile_ms: None,
            first_compile_ms: None,
            stages_ms: vec![],
            value: results.value,
            grads: results.grads,
            kernels: None,
            arena_bytes: None,
            code_bytes: None,
        }
    }

    /// What the program takes up.
    pub fn describe(&mut self, executable: &Executable) {
        let stats = executable.stats();
        self.kernels = Some(stats.kernels);
        self.arena_bytes = Some(stats.arena_bytes);
        self.code_bytes = Some(stats.code_bytes);
    }

    /// The least that it can take.
    pub fn bound(&mut self, bound: Option<Bound>) {
        self.limit = bound.map(|Bound { memory, narrow, wide }| Limit {
            memory_ns: memory,
            arithmetic_128_ns: narrow,
            arithmetic_ns: wide,
            times_128: self.per_call_ns.median / memory.max(narrow),
            times: self.per_call_ns.median / memory.max(wide),
        });
    }

    /// For people.
    pub fn text(&self) -> String {
        let time = |ns: f64| match ns {
            ns if ns < 1e3 => format!("{ns:.1} ns"),
            ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
            ns => format!("{:.2} ms", ns / 1e6),
        };
        let compile = self.compile_ms.map(|ms| format!(", compiled in {}", time(ms * 1e6)));
        let size = self.kernels.map(|n| format!(", {n} kernels"));
        let by_hand = self.times_handwritten.map(|r| format!(", {r:.2} times by hand"));
        let gradient = self.times_gradient.map(|r| format!(", {r:.2} times the gradient"));
        let ratio = by_hand.or(gradient);
        let limit = self.limit.as_ref().map(|limit| {
            let memory = limit.memory_ns >= limit.arithmetic_ns;
            let by = if memory { "memory" } else { "arithmetic" };
            format!(
                ", {:.2} times the limit ({by}; {:.2} with 128 bits)",
                limit.times, limit.times_128
            )
        });
        format!(
            "{:<18} {:<19} {:>10} (least {}, p90 {}){}{}{}{}, value {}",
            self.workload,
            self.mode,
            time(self.per_call_ns.median),
            time(self.per_call_ns.min),
            time(self.per_call_ns.p90),
            ratio.unwrap_or_default(),
            limit.unwrap_or_default(),
            compile.unwrap_or_default(),
            size.unwrap_or_default(),
            self.value,
        )
    }
}

/// What a workload should give.
#[derive(Deserialize)]
struct Expected {
    value: f64,
    grads: Vec<Norms>,
}

/// By workload; those of workloads that are not here may be of any form.
pub type Expectations = BTreeMap<String, serde_json::Value>;

/// All that is not as expected, where something is.
pub fn differences(all: &Expectations, row: &Row) -> Result<Vec<String>, String> {
    let Some(expected) = all.get(row.workload) else { return Ok(vec![]) };
    let expected = Expected::deserialize(expected);
    let expected = expected.map_err(|e| format!("what {} should give: {e}", row.workload))?;
    Ok(expected.differences(row))
}

/// All in which the modes of a workload differ from the first: also where nothing is
/// expected.
pub fn disagreements(rows: &[Row]) -> Vec<String> {
    let Some((first, others)) = rows.split_first() else { return vec![] };
    let first = Expected { value: first.value, grads: first.grads.clone() };
    others.iter().flat_map(|row| first.differences(row)).collect()
}

impl Expected {
    /// All that differs more than rounding can explain.
    ///
    /// Value and norms are compared relatively; a sum can cancel, so that it is
    /// compared with what the errors of that many entries add up to.
    fn differences(&self, row: &Row) -> Vec<String> {
        let tolerance = if row.dtype == "f32" { 1e-4 } else { 1e-9 };
        let mut wrong = vec![];
        let mut compare = |what: String, got: f64, want: f64, scale: f64| {
            let close = (got - want).abs() <= tolerance * scale;
            // NaN is not close to anything.
            if !close {
                wrong.push(format!("{} {}: {what} is {got}, not {want}", row.workload, row.mode));
            }
        };
        compare("value".into(), row.value, self.value, self.value.abs());
        for (got, want) in row.grads.iter().zip(&self.grads) {
            let scale = want.l2 * (got.len as f64).sqrt();
            compare(format!("norm of gradient {}", got.wrt), got.l2, want.l2, want.l2);
            compare(format!("sum of gradient {}", got.wrt), got.sum, want.sum, scale);
        }
        if row.grads.is_empty() {
            return wrong;
        }
        let names = |grads: &[Norms]| grads.iter().map(|g| g.wrt.clone()).collect::<Vec<_>>();
        let (got, want) = (names(&row.grads), names(&self.grads));
        let same = |(got, want): (&String, &String)| want.is_empty() || got == want;
        if got.len() != want.len() || !got.iter().zip(&want).all(same) {
            let at = format!("{} {}", row.workload, row.mode);
            wrong.push(format!("{at}: gradients by {got:?}, not {want:?}"));
        }
        wrong
    }
}
