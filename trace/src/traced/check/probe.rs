//! Derivatives at a point in two ways, and where they differ most.

use backstitch_ir::eval::eval_arrays;
use backstitch_ir::{Array, Graph};

use super::random::Random;
use super::report::{Comparison, GradientEntry, GradientReport};
use super::{GradientCheck, array};

/// What is compared, at which point.
pub(super) struct Probe<'a> {
    pub(super) graph: &'a Graph,
    pub(super) forward: &'a Graph,
    pub(super) shapes: Vec<Vec<usize>>,
    pub(super) point: Vec<Vec<f64>>,
    pub(super) data: Vec<Array>,
    pub(super) weights: Vec<Vec<f64>>,
    /// Of the terms of the weighted sum: how large its rounding may be.
    pub(super) magnitude: f64,
    /// By reverse mode.
    pub(super) gradient: Vec<Vec<f64>>,
    pub(super) tolerance: f64,
}

/// Two numbers, and their relative error.
#[derive(Clone, Copy)]
struct Pair {
    derivative: f64,
    reference: f64,
    error: f64,
}

impl Probe<'_> {
    pub(super) fn run(
        &self,
        how: &GradientCheck,
        names: &[String],
        random: &mut Random,
    ) -> GradientReport {
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
    pub(super) fn value(&self, leaf: usize, direction: &[f64], step: f64) -> f64 {
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
}

fn unit(n: usize, i: usize) -> Vec<f64> {
    let mut unit = vec![0.0; n];
    unit[i] = 1.0;
    unit
}
