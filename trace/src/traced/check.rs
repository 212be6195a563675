//! Derivatives compared with differences, and forward mode with reverse.
//!
//! All outputs are summed with random weights `w`, so that one number `s = w·f(p)`
//! stands for them. What reverse mode says of `s` is compared with central differences
//! of it, entry by entry or along random directions, and with what forward mode says.
//!
//! The differences are extrapolated to step zero (C. J. F. Ridders, "Accurate
//! computation of F′(x) and F′(x) F″(x)", 1982): steps are halved from one that is far
//! too large down to 1e-5 of the entry, and of all extrapolations the one is taken that
//! agrees best with those before it. That makes them accurate to about ten digits and
//! tells how accurate they are.

use std::fmt;

use backstitch_ir::eval::eval_arrays;
use backstitch_ir::{Array, DType, Graph};

use crate::args::{Args, to_arrays};
use crate::mistake::{Problem, TraceError};
use crate::spec::Spec;
use crate::traced::Traced;
use crate::tree::Tree;

/// How [`Traced::check_gradients_with`] compares.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GradientCheck {
    tolerance: f64,
    entries: usize,
    directions: usize,
    seed: u64,
}

impl Default for GradientCheck {
    fn default() -> Self {
        Self { tolerance: 1e-6, entries: 64, directions: 3, seed: 0 }
    }
}

impl GradientCheck {
    /// The greatest relative error that passes; 1e-6 if nothing is said.
    #[must_use]
    pub fn tolerance(self, tolerance: f64) -> Self {
        Self { tolerance, ..self }
    }

    /// Up to how many elements an array is checked entry by entry; 64 if nothing is
    /// said. Larger ones are checked along random directions; where these disagree,
    /// the entry is searched for.
    #[must_use]
    pub fn entries(self, entries: usize) -> Self {
        Self { entries, ..self }
    }

    /// How many random directions there are for each array, at least one; 3 if nothing
    /// is said.
    #[must_use]
    pub fn directions(self, directions: usize) -> Self {
        Self { directions: directions.max(1), ..self }
    }

    /// What the random numbers depend on.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }
}

/// What two numbers were compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Comparison {
    /// Reverse mode with differences.
    ReverseWithDifferences,
    /// Forward mode with reverse mode.
    ForwardWithReverse,
}

/// A derivative in two ways.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct GradientEntry {
    /// Which.
    pub comparison: Comparison,
    /// The parameter's name: its path in the structure of parameters.
    pub leaf: String,
    /// The index in that array.
    pub index: Vec<usize>,
    /// The derivative in question: of the outputs summed with random weights.
    pub derivative: f64,
    /// What it should be.
    pub reference: f64,
    /// Their distance in relation to the larger one, less what the reference itself is
    /// uncertain by.
    pub error: f64,
    /// The slopes to the left and to the right, if there is a kink.
    pub kink: Option<(f64, f64)>,
}

/// What [`Traced::check_gradients`] finds.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct GradientReport {
    /// The entry with the greatest error, if anything was compared.
    pub worst: Option<GradientEntry>,
    /// How many pairs of numbers were compared.
    pub compared: usize,
    /// The greatest error that passes.
    pub tolerance: f64,
}

impl GradientReport {
    /// Whether no error is beyond the tolerance.
    pub fn is_ok(&self) -> bool {
        self.worst.as_ref().is_none_or(|w| w.error <= self.tolerance)
    }

    /// The report as an error, if one is beyond the tolerance.
    ///
    /// # Errors
    /// See [`is_ok`](Self::is_ok).
    pub fn into_result(self) -> Result<Self, Self> {
        if self.is_ok() { Ok(self) } else { Err(self) }
    }
}

impl std::error::Error for GradientReport {}

impl fmt::Display for GradientReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, n) = (if self.is_ok() { "agree" } else { "disagree" }, self.compared);
        write!(f, "derivatives {verdict} ({n} compared, tolerance {:e})", self.tolerance)?;
        self.worst.as_ref().map_or(Ok(()), |worst| write!(f, "; the worst: {worst}"))
    }
}

impl fmt::Display for GradientEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.leaf.is_empty() { "params" } else { &self.leaf };
        let (this, that) = match self.comparison {
            Comparison::ReverseWithDifferences => ("reverse mode", "differences"),
            Comparison::ForwardWithReverse => ("forward mode", "reverse mode"),
        };
        let Self { index, derivative, reference, error, .. } = self;
        write!(
            f,
            "`{name}` at {index:?}: {derivative} by {this}, {reference} by {that}, \
             relative error {error:.1e}"
        )?;
        if let Some((left, right)) = self.kink {
            write!(f, " (a kink: the slope is {left} to the left and {right} to the right)")?;
        }
        Ok(())
    }
}

impl<P, D, O> Traced<P, D, O>
where
    P: Tree<Spec> + Clone,
    D: Tree<Spec> + Clone,
    O: Tree<Spec> + Clone,
{
    /// Compares the derivatives of the program at a point with differences, and forward
    /// mode with reverse mode: a test of [`custom`](crate::Trace::custom) rules, and of
    /// programs that may not be as smooth as they should. Parameters and outputs are `f64`.
    ///
    /// At a kink, such as that of `abs` at 0, a derivative is a convention, and
    /// differences give the mean of the slopes on both sides: the report says so of
    /// the worst entry, and the point is better moved. A jump within 1e-5 of the point
    /// and what is hidden by [`stop_gradient`](crate::Tensor::stop_gradient) is reported as
    /// a disagreement, too: differences see them.
    ///
    /// ```
    /// use backstitch_trace::{Spec, trace};
    /// let right = trace(Spec::f64([3]), (), |_, x, ()| x.sin() * x.sum())?;
    /// let x = ndarray::arr1(&[0.1, 1.0, 2.0]);
    /// assert!(right.check_gradients(&x, &())?.is_ok());
    ///
    /// let wrong = trace(Spec::f64([3]), (), |t, x, ()| {
    ///     t.custom(x, |x| x.square()).vjp(|x, ct| ct * x).call()
    /// })?;
    /// let report = wrong.check_gradients(&x, &())?;
    /// let worst = report.worst.as_ref().unwrap();
    /// assert!(!report.is_ok() && (worst.reference / worst.derivative - 2.0).abs() < 1e-6);
    /// assert!(report.to_string().starts_with("derivatives disagree"));
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// If a parameter or an output is not `f64`, or if the arguments are not those the
    /// program takes. What is found is in the report.
    #[track_caller]
    pub fn check_gradients<A, B>(&self, params: &A, data: &B) -> Result<GradientReport, TraceError>
    where
        A: Args + ?Sized,
        B: Args + ?Sized,
    {
        self.check_gradients_with(&GradientCheck::default(), params, data)
    }

    /// As [`check_gradients`](Self::check_gradients), with another tolerance and so on.
    ///
    /// ```
    /// use backstitch_trace::{GradientCheck, Spec, trace};
    /// let f = trace(Spec::f64([100]), (), |_, x, ()| x.cumsum(0).tanh())?;
    /// let x = ndarray::Array1::linspace(-1.0, 1.0, 100);
    /// let how = GradientCheck::default().tolerance(1e-8).directions(10).seed(7);
    /// assert!(f.check_gradients_with(&how, &x, &())?.is_ok());
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// As [`check_gradients`](Self::check_gradients).
    #[track_caller]
    pub fn check_gradients_with<A, B>(
        &self,
        how: &GradientCheck,
        params: &A,
        data: &B,
    ) -> Result<GradientReport, TraceError>
    where
        A: Args + ?Sized,
        B: Args + ?Sized,
    {
        let names = self.params.leaf_names();
        let given = names.iter().zip(self.params.leaves()).map(|leaf| ("parameter", leaf));
        let made = self.outputs.leaf_names();
        let made = made.iter().zip(self.outputs.leaves()).map(|leaf| ("output", leaf));
        for (what, (name, spec)) in given.chain(made) {
            if spec.dtype() != DType::F64 {
                let name = if name.is_empty() { name } else { &format!(" `{name}`") };
                let message = format!(
                    "the {what}{name} is {spec}, and differences are only accurate for f64"
                );
                return Err(self.error("check_gradients", Problem::Gradient, message));
            }
        }
        let (point, data) = (to_arrays(params), to_arrays(data));
        self.check(&point.iter().chain(&data).map(Array::ty).collect::<Vec<_>>())?;

        let mut random = Random(how.seed);
        let weights = |spec: &&Spec| random_array(&mut random, spec.dims());
        let weights: Vec<Array> = self.outputs.leaves().iter().map(weights).collect();
        let outputs = weights.len();
        let arguments: Vec<Array> = point.iter().chain(&data).chain(&weights).cloned().collect();
        let found = eval_arrays(self.vjp()?.graph(), &arguments);
        let terms = found[..outputs].iter().zip(&weights).flat_map(|(y, w)| {
            y.to_f64_vec().into_iter().zip(w.to_f64_vec()).map(|(y, w)| (y * w).abs())
        });
        let magnitude = terms.filter(|t| t.is_finite()).sum();
        let gradient = found[outputs..].iter().map(Array::to_f64_vec).collect();
        let forward = self.jvp()?;
        let probe = Probe {
            graph: &self.graph,
            forward: forward.graph(),
            shapes: self.params.leaves().iter().map(|s| s.dims().to_vec()).collect(),
            point: point.iter().map(Array::to_f64_vec).collect(),
            data,
            weights: weights.iter().map(Array::to_f64_vec).collect(),
            magnitude,
            gradient,
            tolerance: how.tolerance,
        };
        Ok(probe.run(how, &names, &mut random))
    }
}

/// What is compared, at which point.
struct Probe<'a> {
    graph: &'a Graph,
    forward: &'a Graph,
    shapes: Vec<Vec<usize>>,
    point: Vec<Vec<f64>>,
    data: Vec<Array>,
    weights: Vec<Vec<f64>>,
    /// Of the terms of the weighted sum: how large its rounding may be.
    magnitude: f64,
    /// By reverse mode.
    gradient: Vec<Vec<f64>>,
    tolerance: f64,
}

/// Two numbers, and their relative error.
#[derive(Clone, Copy)]
struct Pair {
    derivative: f64,
    reference: f64,
    error: f64,
}

impl Probe<'_> {
    fn run(&self, how: &GradientCheck, names: &[String], random: &mut Random) -> GradientReport {
        let mut report = GradientReport { worst: None, compared: 0, tolerance: self.tolerance };
        for (leaf, name) in names.iter().enumerate() {
            let n = self.point[leaf].len();
            if n == 0 {
                continue;
            }
            let mut compare = |comparison: Comparison, direction: &[f64]| {
                report.compared += 1;
                let pair = self.compare(comparison, leaf, direction);
                let least = report.worst.as_ref().map_or(-1.0, |w| w.error);
                if pair.error > least {
                    let at = self.narrow(comparison, leaf, direction);
                    report.worst = Some(self.entry(comparison, (leaf, name), at, pair));
                }
            };
            for i in 0..if n <= how.entries { n } else { 0 } {
                compare(Comparison::ReverseWithDifferences, &unit(n, i));
            }
            for _ in 0..how.directions {
                let direction = random.numbers(n);
                if n > how.entries {
                    compare(Comparison::ReverseWithDifferences, &direction);
                }
                compare(Comparison::ForwardWithReverse, &direction);
            }
        }
        report
    }

    fn compare(&self, comparison: Comparison, leaf: usize, direction: &[f64]) -> Pair {
        let terms = self.gradient[leaf].iter().zip(direction).map(|(g, d)| g * d);
        let (reverse, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
        let (derivative, reference, slack) = match comparison {
            Comparison::ReverseWithDifferences => {
                let largest = self.gradient.iter().flatten().fold(size, |m, g| g.abs().max(m));
                let (slope, uncertain, step) = self.difference(leaf, direction);
                let rounding = 8.0 * f64::EPSILON * self.magnitude / step;
                (reverse, slope, uncertain.min(self.tolerance * largest) + rounding)
            }
            // Up to rounding, both are the same sum.
            Comparison::ForwardWithReverse => {
                (self.tangent(leaf, direction), reverse, 1e-10 * size)
            }
        };
        let scale = derivative.abs().max(reference.abs());
        let distance = (derivative - reference).abs();
        let error = match distance {
            _ if derivative == reference => 0.0,
            d if d.is_finite() => (d - slack).max(0.0) / scale,
            _ => f64::INFINITY,
        };
        Pair { derivative, reference, error }
    }

    /// The entry that contributes most to the distance along a direction, by bisection.
    fn narrow(&self, comparison: Comparison, leaf: usize, direction: &[f64]) -> usize {
        let mut support: Vec<usize> =
            (0..direction.len()).filter(|&i| direction[i] != 0.0).collect();
        while support.len() > 1 {
            let right = support.split_off(support.len() / 2);
            let distance = |half: &[usize]| {
                let mut part = vec![0.0; direction.len()];
                half.iter().for_each(|&i| part[i] = direction[i]);
                let pair = self.compare(comparison, leaf, &part);
                let distance = (pair.derivative - pair.reference).abs();
                if distance.is_nan() { f64::INFINITY } else { distance }
            };
            if distance(&right) > distance(&support) {
                support = right;
            }
        }
        support.first().copied().unwrap_or(0)
    }

    fn entry(
        &self,
        comparison: Comparison,
        (leaf, name): (usize, &str),
        at: usize,
        found: Pair,
    ) -> GradientEntry {
        let direction = unit(self.point[leaf].len(), at);
        let pair = self.compare(comparison, leaf, &direction);
        let error = pair.error.max(found.error);
        let kink = if error > self.tolerance { self.kink(leaf, &direction) } else { None };
        let mut index = vec![0; self.shapes[leaf].len()];
        let mut rest = at;
        for (i, &extent) in index.iter_mut().zip(&self.shapes[leaf]).rev() {
            *i = rest % extent;
            rest /= extent;
        }
        let Pair { derivative, reference, .. } = pair;
        GradientEntry {
            comparison,
            leaf: name.to_owned(),
            index,
            derivative,
            reference,
            error,
            kink,
        }
    }

    /// The weighted sum of the outputs, away from the point along a direction.
    fn value(&self, leaf: usize, direction: &[f64], step: f64) -> f64 {
        let moved = |i: usize| {
            let mut x = self.point[i].clone();
            if i == leaf {
                x.iter_mut().zip(direction).for_each(|(x, d)| *x += step * d);
            }
            array(&self.shapes[i], x)
        };
        let mut arguments: Vec<Array> = (0..self.point.len()).map(moved).collect();
        arguments.extend(self.data.iter().cloned());
        self.weigh(&eval_arrays(self.graph, &arguments))
    }

    fn weigh(&self, outputs: &[Array]) -> f64 {
        let sums = outputs
            .iter()
            .zip(&self.weights)
            .map(|(y, w)| -> f64 { y.to_f64_vec().iter().zip(w).map(|(y, w)| y * w).sum() });
        sums.sum()
    }

    /// The derivative along a direction by forward mode.
    fn tangent(&self, leaf: usize, direction: &[f64]) -> f64 {
        let at = self.point.iter().enumerate();
        let dots = at.clone().map(|(i, x)| {
            array(&self.shapes[i], if i == leaf { direction.to_vec() } else { vec![0.0; x.len()] })
        });
        let point = at.map(|(i, x)| array(&self.shapes[i], x.clone()));
        let arguments: Vec<Array> = point.chain(self.data.iter().cloned()).chain(dots).collect();
        let found = eval_arrays(self.forward, &arguments);
        self.weigh(&found[self.weights.len()..])
    }

    /// The largest entry that a direction moves: what a step is large in relation to.
    fn scale(&self, leaf: usize, direction: &[f64]) -> f64 {
        let moved = self.point[leaf].iter().zip(direction).filter(|(_, d)| **d != 0.0);
        moved.fold(1.0, |m: f64, (x, _)| m.max(x.abs()))
    }

    /// The derivative along a direction by differences, how uncertain it is, and the
    /// smallest step that it comes from.
    fn difference(&self, leaf: usize, direction: &[f64]) -> (f64, f64, f64) {
        let mut step = self.scale(leaf, direction) / 32.0;
        let (mut best, mut error, mut from) = (f64::NAN, f64::INFINITY, step);
        // Extrapolations of increasing order, from the steps so far.
        let mut before: Vec<f64> = Vec::new();
        for _ in 0..12 {
            let (right, left) =
                (self.value(leaf, direction, step), self.value(leaf, direction, -step));
            let slope = (right - left) / (2.0 * step);
            step /= 2.0;
            if !slope.is_finite() {
                before.clear();
                continue;
            }
            let mut row = vec![slope];
            let mut factor = 4.0;
            for (j, &coarse) in before.iter().enumerate() {
                let next = (factor * row[j] - coarse) / (factor - 1.0);
                let uncertain = (next - row[j]).abs().max((next - coarse).abs());
                if uncertain <= error {
                    (best, error, from) = (next, uncertain, 2.0 * step);
                }
                row.push(next);
                factor *= 4.0;
            }
            if best.is_nan() {
                best = slope;
            }
            before = row;
            if error <= 1e-4 * self.tolerance * best.abs() {
                break;
            }
        }
        (best, error, from)
    }

    /// The slopes on both sides, if they differ no less on a step half as long.
    fn kink(&self, leaf: usize, direction: &[f64]) -> Option<(f64, f64)> {
        let middle = self.value(leaf, direction, 0.0);
        let slopes = |step: f64| {
            let left = middle - self.value(leaf, direction, -step);
            (left / step, (self.value(leaf, direction, step) - middle) / step)
        };
        let step = 1e-6 * self.scale(leaf, direction);
        let (wide, (left, right)) = (slopes(step), slopes(step / 2.0));
        let jump = (right - left).abs();
        let large = jump > 1e-3 * left.abs().max(right.abs());
        (large && jump > 0.75 * (wide.1 - wide.0).abs()).then_some((left, right))
    }
}

fn unit(n: usize, i: usize) -> Vec<f64> {
    let mut unit = vec![0.0; n];
    unit[i] = 1.0;
    unit
}

fn array(dims: &[usize], elements: Vec<f64>) -> Array {
    Array::from_vec(&dims.into(), elements).expect("as many elements as the shape has")
}

fn random_array(random: &mut Random, dims: &[usize]) -> Array {
    array(dims, random.numbers(dims.iter().product()))
}

/// Numbers that look random (G. L. Steele, D. Lea, C. H. Flood, "Fast splittable
/// pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    /// Between 1/2 and 1 in size, so that each counts, of either sign.
    fn numbers(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.number()).collect()
    }

    fn number(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = z ^ (z >> 31);
        let size = 0.5 + (z >> 12) as f64 / (1u64 << 53) as f64;
        if z & 1 == 0 { size } else { -size }
    }
}
