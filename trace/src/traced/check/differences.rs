//! Slopes by differences, and kinks.
//!
//! The differences are extrapolated to step zero (C. J. F. Ridders, "Accurate
//! computation of F′(x) and F′(x) F″(x)", 1982): steps are halved from one that is far
//! too large down to 1e-5 of the entry, and of all extrapolations the one is taken that
//! agrees best with those before it. That makes them accurate to about ten digits and
//! tells how accurate they are.

use super::probe::Probe;

impl Probe<'_> {
    /// The largest entry that a direction moves: what a step is large in relation to.
    fn scale(&self, leaf: usize, direction: &[f64]) -> f64 {
        let moved = self.point[leaf].iter().zip(direction).filter(|(_, d)| **d != 0.0);
        moved.fold(1.0, |m: f64, (x, _)| m.max(x.abs()))
    }

    /// The derivative along a direction by differences, how uncertain it is, and the
    /// smallest step that it comes from.
    pub(super) fn difference(&self, leaf: usize, direction: &[f64]) -> (f64, f64, f64) {
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
    pub(super) fn kink(&self, leaf: usize, direction: &[f64]) -> Option<(f64, f64)> {
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
