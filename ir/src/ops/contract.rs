//! Generalised matrix products.

use crate::ops::Axes;

/// `r[b…, m…, n…] = Σ_k x[b…, m…, k…] · y[b…, n…, k…]`, each operand's axes in any
/// order. The result's axes are the batch axes in the order listed, then `x`'s
/// remaining axes in their order, then `y`'s.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Contract {
    /// Pairs of an axis of `x` and one of `y` that run together and stay.
    pub batch: [Axes; 2],
    /// Pairs of an axis of `x` and one of `y` that are summed over.
    pub over: [Axes; 2],
}
