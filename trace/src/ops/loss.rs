//! Losses.
//!
//! None is reduced further than its formula says: those of differences are left per
//! element, those of distributions and vectors, which sum over the last axis, per row.
//! `mean()` or `sum()` them, or weigh them before; compiled, that costs no pass over
//! memory. So there is no parameter for it, and `p.squared_error(y).mean()` says what
//! it is.
//!
//! Predictions and targets are floats of one type, not stretched: `[n]` against
//! `[n, 1]` is nearly always a mistake, and is one here. All derivatives are with
//! respect to both. Products with a probability of 0 are 0.

use backstitch_ir::{Scalar, Shape, Type};

use crate::mistake::Problem;
use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// The squared difference from a target. Per element.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let p = t.constant(ndarray::arr1(&[1.0, 2.0]));
    /// let y = t.constant(ndarray::arr1(&[1.0, 4.0]));
    /// assert_eq!(p.squared_error(y).array()?.to_f64_vec(), [0.0, 4.0]);
    /// assert_eq!(p.squared_error(y).mean().item::<f64>()?, 2.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "mse")]
    #[doc(alias = "l2_loss")]
    #[doc(alias = "mean_squared_error")]
    pub fn squared_error(self, target: Tensor<'t>) -> Self {
        match self.like("squared_error", target) {
            Ok(_) => (self - target).square(),
            Err(poisoned) => poisoned,
        }
    }

    /// The absolute difference from a target; the derivative of equal ones is 0. Per
    /// element.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let p = t.constant(ndarray::arr1(&[1.0, 2.0]));
    /// let y = t.constant(ndarray::arr1(&[1.0, 4.0]));
    /// assert_eq!(p.absolute_error(y).sum().item::<f64>()?, 2.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "mae")]
    #[doc(alias = "l1_loss")]
    #[doc(alias = "mean_absolute_error")]
    pub fn absolute_error(self, target: Tensor<'t>) -> Self {
        match self.like("absolute_error", target) {
            Ok(_) => (self - target).abs(),
            Err(poisoned) => poisoned,
        }
    }

    /// Huber's function of the difference `r` from a target: `r²/2` up to `delta`, the
    /// straight line that goes on beyond. Per element.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let p = t.constant(ndarray::arr1(&[1.0, 5.0]));
    /// let y = t.constant(ndarray::arr1(&[2.0, 1.0]));
    /// assert_eq!(p.huber(y, 1.0).array()?.to_f64_vec(), [0.5, 3.5]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "smooth_l1")]
    #[doc(alias = "huber_loss")]
    pub fn huber(self, target: Tensor<'t>, delta: f64) -> Self {
        match self.like("huber", target) {
            Ok(_) => {
                let r = self - target;
                let near = r.abs().le(delta);
                // The side not taken stays small.
                let square = near.select(r, 0).square();
                near.select(0.5 * square, delta * (r.abs() - 0.5 * delta))
            }
            Err(poisoned) => poisoned,
        }
    }

    /// `log cosh` of the difference from a target, without overflow and with all digits
    /// near 0. Per element.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let p = t.constant(ndarray::arr1(&[0.0, 1000.0, 1e-9]));
    /// let loss = p.log_cosh(p.zeros_like()).array()?.to_f64_vec();
    /// assert_eq!(loss[..2], [0.0, 1000.0 - std::f64::consts::LN_2]);
    /// assert!((loss[2] - 5e-19).abs() < 1e-33);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn log_cosh(self, target: Tensor<'t>) -> Self {
        if let Err(poisoned) = self.like("log_cosh", target) {
            return poisoned;
        }
        let r = self - target;
        let near = r.abs().lt(1);
        // log(1 + 2 sinh²(r/2)) loses no digit near 0; |r| + log(1 + e^(-2|r|)) - log 2
        // does not overflow.
        let half = near.select(0.5 * r, 0);
        let sinh = 0.5 * (half.expm1() - (-half).expm1());
        let size = r.abs();
        near.select(
            (2.0 * sinh.square()).log1p(),
            size + (-2.0 * size).exp().log1p() - std::f64::consts::LN_2,
        )
    }

    /// The loss whose least mean is the `q`-quantile of the targets: of the difference
    /// `d` of target and prediction, `q·d` if it is positive, else `(q - 1)·d`. The
    /// derivative of equal ones is 0. Per element.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let p = t.constant(ndarray::arr1(&[1.0, 1.0]));
    /// let y = t.constant(ndarray::arr1(&[3.0, -1.0]));
    /// assert_eq!(p.quantile_loss(y, 0.75).array()?.to_f64_vec(), [1.5, 0.5]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "pinball")]
    pub fn quantile_loss(self, target: Tensor<'t>, q: f64) -> Self {
        let ty = match self.like("quantile_loss", target) {
            Ok(ty) => ty,
            Err(poisoned) => return poisoned,
        };
        if !(0.0..=1.0).contains(&q) {
            let message = format!("the quantile {q} is not between 0 and 1");
            return self.mistake("quantile_loss", Problem::Parameter, message, ty);
        }
        let d = target - self;
        let below = d.eq(0).select(0, (q - 1.0) * d);
        d.gt(0).select(q * d, below)
    }

    /// The negative log-likelihood of counts, up to what does not depend on the rate,
    /// for the logarithms of Poisson rates: `eᶻ - y·z`. Per element.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let (z, y) = (t.constant(0.0), t.constant(3.0));
    /// assert_eq!(z.poisson_nll(y).item::<f64>()?, 1.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn poisson_nll(self, counts: Tensor<'t>) -> Self {
        match self.like("poisson_nll", counts) {
            Ok(_) => self.exp() - counts.binary(Scalar::MulZ, self),
            Err(poisoned) => poisoned,
        }
    }

    /// `max(0, 1 - score · label)` for labels -1 and 1; flat at the kink. Per element.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let s = t.constant(ndarray::arr1(&[0.5, 2.0]));
    /// let y = t.constant(ndarray::arr1(&[-1.0, 1.0]));
    /// assert_eq!(s.hinge(y).array()?.to_f64_vec(), [1.5, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn hinge(self, labels: Tensor<'t>) -> Self {
        match self.like("hinge", labels) {
            Ok(_) => (1.0 - self * labels).relu(),
            Err(poisoned) => poisoned,
        }
    }

    /// The square of the [`hinge`](Self::hinge). Per element.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let s = t.constant(ndarray::arr1(&[0.5, 2.0]));
    /// let y = t.constant(ndarray::arr1(&[-1.0, 1.0]));
    /// assert_eq!(s.squared_hinge(y).array()?.to_f64_vec(), [2.25, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn squared_hinge(self, labels: Tensor<'t>) -> Self {
        match self.like("squared_hinge", labels) {
            Ok(_) => (1.0 - self * labels).relu().square(),
            Err(poisoned) => poisoned,
        }
    }

    /// `Σ p · (log p - log q)` along the last axis, of these probabilities `p` and
    /// others; terms with `p = 0` are 0. Per row.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let p = t.constant(ndarray::arr1(&[1.0, 0.0]));
    /// let q = t.constant(ndarray::arr1(&[0.5, 0.5]));
    /// assert_eq!(p.kl_div(q).item::<f64>()?, std::f64::consts::LN_2);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "kl_divergence")]
    #[doc(alias = "relative_entropy")]
    pub fn kl_div(self, other: Tensor<'t>) -> Self {
        match self.rows("kl_div", other) {
            Ok(_) => (self.xlogy(self) - self.xlogy(other)).sum_over(-1),
            Err(poisoned) => poisoned,
        }
    }

    /// Cross entropy of these logits of truth against labels in `[0, 1]`, without
    /// overflow. Per element.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let z = t.constant(ndarray::arr1(&[0.0, 1000.0]));
    /// let y = t.constant(ndarray::arr1(&[1.0, 1.0]));
    /// assert_eq!(z.bce_with_logits(y).array()?.to_f64_vec(), [std::f64::consts::LN_2, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "sigmoid_cross_entropy")]
    #[doc(alias = "binary_cross_entropy")]
    #[doc(alias = "sigmoid_cross_entropy_with_logits")]
    pub fn bce_with_logits(self, labels: Tensor<'t>) -> Self {
        match self.like("bce_with_logits", labels) {
            Ok(_) => {
                // softplus(z) - z·y with the linear part in one product: nothing cancels
                // for a sure prediction, and an infinite one costs nothing if it is right.
                let low = self.le(0);
                let linear = self.binary(Scalar::MulZ, low.select(-labels, 1.0 - labels));
                linear + low.select(self, -self).exp().log1p()
            }
            Err(poisoned) => poisoned,
        }
    }

    /// Cross entropy of these logits, along the last axis, against probabilities.
    /// They need not add up to 1; a class of probability 0 may have a logit of -∞. Per
    /// row.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let z = t.constant(ndarray::arr1(&[0.0, 0.0, f64::NEG_INFINITY]));
    /// let y = t.constant(ndarray::arr1(&[0.5, 0.5, 0.0]));
    /// assert_eq!(z.cross_entropy(y).item::<f64>()?, std::f64::consts::LN_2);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "softmax_cross_entropy")]
    #[doc(alias = "softmax_cross_entropy_with_logits")]
    pub fn cross_entropy(self, labels: Tensor<'t>) -> Self {
        match self.rows("cross_entropy", labels) {
            Ok(_) => {
                let log = self.log_softmax(-1);
                let never = labels.eq(0).and(log.eq(f64::NEG_INFINITY));
                -never.select(0, labels * log).sum_over(-1)
            }
            Err(poisoned) => poisoned,
        }
    }

    /// Cross entropy of these logits, along the last axis, against the index of
    /// the right class. Per row. Classes that are known are checked; an index that
    /// names no class has no term, and so gives the log of the sum alone.
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
    #[doc(alias = "sparse_softmax_cross_entropy")]
    #[doc(alias = "nll_loss")]
    #[doc(alias = "sparse_softmax_cross_entropy_with_logits")]
    pub fn sparse_cross_entropy(self, classes: Tensor<'t>) -> Self {
        let operation = "sparse_cross_entropy";
        let ty = match self.class_rows(operation, classes) {
            Ok(ty) => ty,
            Err(poisoned) => return poisoned,
        };
        let depth = ty.dims()[ty.rank() - 1];
        if let Some(message) = classes.out_of_range(depth, "the classes") {
            let message = message.replace("which has extent", "of which there are");
            let (guess, operands) = (ty.with_shape(classes.shape()), [self, classes]);
            return self.trace.mistake(operation, Problem::Parameter, message, &operands, guess);
        }
        self.of_class(operation, classes, depth)
    }

    /// [`sparse_cross_entropy`](Self::sparse_cross_entropy) that is 0, and has no
    /// derivative, in rows of one class: padding, say.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let z = t.constant(ndarray::arr2(&[[0.0, 0.0], [0.0, 0.0]]));
    /// let y = t.constant(ndarray::arr1(&[-1, 1]));
    /// let loss = z.sparse_cross_entropy_except(y, -1);
    /// assert_eq!(loss.array()?.to_f64_vec(), [0.0, std::f64::consts::LN_2]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "ignore_index")]
    pub fn sparse_cross_entropy_except(self, classes: Tensor<'t>, ignored: i64) -> Self {
        let _line = self.trace.line();
        let operation = "sparse_cross_entropy_except";
        match self.class_rows(operation, classes) {
            Ok(ty) => {
                let loss = self.of_class(operation, classes, ty.dims()[ty.rank() - 1]);
                classes.eq(ignored).select(0, loss)
            }
            Err(poisoned) => poisoned,
        }
    }

    /// The cross entropy of a class that is there once or not at all.
    #[track_caller]
    fn of_class(self, operation: &'static str, classes: Tensor<'t>, depth: usize) -> Self {
        // A choice rather than a product, so that an infinite logit of another class
        // does no harm. Both terms are those of logits less the largest, whose size
        // would cost digits.
        let hit = classes.hits(operation, depth);
        let shifted = self.below_max(&[self.rank() - 1]).0;
        shifted.exp().sum_over(-1).log() - hit.select(shifted, 0).sum_over(-1)
    }

    /// Probabilities along the last axis moved towards equal ones: `(1 - amount) · p +
    /// amount / n`.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let p = t.constant(ndarray::arr1(&[1.0, 0.0])).smooth_labels(0.5);
    /// assert_eq!(p.array()?.to_f64_vec(), [0.75, 0.25]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "label_smoothing")]
    pub fn smooth_labels(self, amount: f64) -> Self {
        match self.float_axis("smooth_labels", -1) {
            Ok(last) => self * (1.0 - amount) + amount / self.count(&[last]),
            Err(poisoned) => poisoned,
        }
    }

    /// One less the [cosine](Self::cosine_similarity) of the angle between vectors
    /// along the last axis. Per row.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 0.0], [1.0, 0.0]]));
    /// let y = t.constant(ndarray::arr2(&[[0.0, 2.0], [-3.0, 0.0]]));
    /// assert_eq!(x.cosine_distance(y, 1e-12).array()?.to_f64_vec(), [1.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn cosine_distance(self, other: Tensor<'t>, eps: f64) -> Self {
        match self.rows("cosine_distance", other) {
            Ok(_) => 1.0 - self.cosine_similarity(other, -1, eps),
            Err(poisoned) => poisoned,
        }
    }

    /// `max(0, |a - p| - |a - n| + margin)`, of vectors along the last axis: this one is
    /// to be nearer to the one than to the other. Flat at the kink; the distance of equal
    /// vectors has derivative 0. Per row.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let point = |x: [f64; 2]| t.constant(ndarray::arr1(&x));
    /// let loss = point([0.0, 0.0]).triplet(point([3.0, 4.0]), point([0.0, 2.0]), 1.0);
    /// assert_eq!(loss.item::<f64>()?, 4.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn triplet(self, near: Tensor<'t>, far: Tensor<'t>, margin: f64) -> Self {
        let _line = self.trace.line();
        match self.rows("triplet", near).and_then(|_| self.rows("triplet", far)) {
            Ok(_) => {
                let gap = (self - near).norm_over(-1) - (self - far).norm_over(-1);
                (gap + margin).relu()
            }
            Err(poisoned) => poisoned,
        }
    }

    /// Of pairs of vectors along the last axis at a distance `d`: `d²` where they
    /// belong together, `max(0, margin - d)²` elsewhere. One truth value per row. Per row.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[3.0, 4.0], [0.0, 1.0]]));
    /// let together = t.constant(ndarray::arr1(&[true, false]));
    /// let loss = x.contrastive(x.zeros_like(), together, 2.0);
    /// assert_eq!(loss.array()?.to_f64_vec(), [25.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn contrastive(self, other: Tensor<'t>, together: Tensor<'t>, margin: f64) -> Self {
        let _line = self.trace.line();
        let ty = match self.rows("contrastive", other) {
            Ok(ty) => ty,
            Err(poisoned) => return poisoned,
        };
        let rows = Type::new(backstitch_ir::DType::Bool, &ty.dims()[..ty.rank() - 1]);
        if together.ty() != rows {
            let message = format!("expected {rows}, a truth value per row, got {}", together.ty());
            let (guess, operands) = (ty.with_shape(rows.shape), [self, other, together]);
            return self.trace.mistake("contrastive", Problem::Shape, message, &operands, guess);
        }
        let away = self - other;
        let apart = (margin - away.norm_over(-1)).relu();
        together.select(away.square().sum_over(-1), apart.square())
    }

    /// Checks that two are floats of one type, which it gives. `Err` is the poisoned
    /// result.
    #[track_caller]
    fn like(self, operation: &'static str, other: Tensor<'t>) -> Result<Type, Self> {
        let ty = self.same_type(operation, other)?;
        self.floats(operation).map(|()| ty)
    }

    /// As [`like`](Self::like), of arrays with a last axis.
    #[track_caller]
    fn rows(self, operation: &'static str, other: Tensor<'t>) -> Result<Type, Self> {
        let ty = self.like(operation, other)?;
        match ty.rank() {
            0 => {
                let message = format!("expected rows, got {ty}");
                Err(self.mistake(operation, Problem::Shape, message, ty))
            }
            _ => Ok(ty),
        }
    }

    /// Checks that these are logits with one class for each row.
    #[track_caller]
    fn class_rows(self, operation: &'static str, classes: Tensor<'t>) -> Result<Type, Self> {
        let (ty, index) = (self.ty(), classes.ty());
        let rows = ty.rank().checked_sub(1).map(|last| Shape::from(&ty.dims()[..last]));
        if rows.as_ref() == Some(&index.shape) {
            return self.floats(operation).map(|()| ty);
        }
        let message = format!("expected one class for each row of {}, got {index}", ty.shape);
        let guess = ty.with_shape(rows.unwrap_or_else(Shape::scalar));
        Err(self.trace.mistake(operation, Problem::Shape, message, &[self, classes], guess))
    }
}
