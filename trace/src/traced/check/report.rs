//! What a comparison finds: the worst pair of numbers, and whether that is good enough.

use std::fmt;

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

/// What [`Traced::check_gradients`](crate::Traced::check_gradients) finds.
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
