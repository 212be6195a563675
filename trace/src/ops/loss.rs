//! Losses. Each is left per example; `mean` or `sum` it as you like, but for
//! [`mse`](Tensor::mse) and its like, which are means over everything.

use backstitch_ir::Shape;

use crate::mistake::Problem;
use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// The mean of the squared differences from a target of the same type.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let p = t.constant(ndarray::arr1(&[1.0, 2.0]));
    /// let y = t.constant(ndarray::arr1(&[1.0, 4.0]));
    /// assert_eq!(p.mse(y).item::<f64>()?, 2.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn mse(self, target: Tensor<'t>) -> Self {
        match self.same_type("mse", target) {
            Ok(_) => (self - target).square().mean(),
            Err(poisoned) => poisoned.mean(),
        }
    }

    /// The mean of the absolute differences from a target of the same type.
    #[track_caller]
    pub fn mae(self, target: Tensor<'t>) -> Self {
        match self.same_type("mae", target) {
            Ok(_) => (self - target).abs().mean(),
            Err(poisoned) => poisoned.mean(),
        }
    }

    /// Huber's function of the differences: `r²/2` up to `delta`, a straight line
    /// beyond. Per element.
    #[track_caller]
    pub fn huber(self, target: Tensor<'t>, delta: f64) -> Self {
        let r = (self - target).abs();
        r.le(delta).select(0.5 * r.square(), delta * (r - 0.5 * delta))
    }

    /// `max(0, 1 - score · label)` for labels -1 and 1. Per element.
    #[track_caller]
    pub fn hinge(self, labels: Tensor<'t>) -> Self {
        (1.0 - self * labels).relu()
    }

    /// `Σ p · (log p - log q)` along the last axis. Per row.
    #[track_caller]
    pub fn kl_div(self, other: Tensor<'t>) -> Self {
        (self.xlogy(self) - self.xlogy(other)).sum_over(-1)
    }

    /// Cross entropy of these logits of truth against labels in `[0, 1]`. Per
    /// element.
    #[track_caller]
    pub fn bce_with_logits(self, labels: Tensor<'t>) -> Self {
        self.softplus() - self * labels
    }

    /// Cross entropy of these logits, along the last axis, against probabilities
    /// of the same type. Per row.
    #[track_caller]
    pub fn cross_entropy(self, labels: Tensor<'t>) -> Self {
        match self.same_type("cross_entropy", labels) {
            Ok(_) => -(labels * self.log_softmax(-1)).sum_over(-1),
            Err(poisoned) => poisoned,
        }
    }

    /// Cross entropy of these logits, along the last axis, against the index of
    /// the right class. Per row.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let z = t.constant(ndarray::arr2(&[[0.0, 0.0], [0.0, 0.0]]));
    /// let y = t.constant(ndarray::arr1(&[0, 1]));
    /// let loss = z.sparse_cross_entropy(y).mean();
    /// assert_eq!(loss.item::<f64>()?, std::f64::consts::LN_2);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn sparse_cross_entropy(self, classes: Tensor<'t>) -> Self {
        let (ty, index) = (self.ty(), classes.ty());
        let rows = ty.rank().checked_sub(1).map(|last| Shape::from(&ty.dims()[..last]));
        if rows.as_ref() != Some(&index.shape) {
            let message = format!("expected one class for each row of {}, got {index}", ty.shape);
            let operands = [self, classes];
            return self.trace.mistake(
                "sparse_cross_entropy",
                Problem::Shape,
                message,
                &operands,
                ty,
            );
        }
        let depth = ty.dims()[ty.rank() - 1];
        // A choice rather than a product, so that an infinite logit of another
        // class does no harm.
        let hit = classes.hits("sparse_cross_entropy", depth);
        self.logsumexp_over(-1) - hit.select(self, 0).sum_over(-1)
    }
}
