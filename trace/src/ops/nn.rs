//! What networks are made of.

use backstitch_ir::Monoid;

use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// `x · P(z < x)` for a normally distributed `z`, that is, `x · ½ · erfc(-x/√2)`.
    /// Far left of 0 its value and slope vanish as they should.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let y = t.constant(ndarray::arr1(&[-50.0, 0.0, 50.0])).gelu();
    /// assert_eq!(y.array()?.to_f64_vec(), [0.0, 0.0, 50.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn gelu(self) -> Self {
        let _line = self.trace.line();
        self.gated("gelu", |x| x.ndtr())
    }

    /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`; 0 at -∞.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[f64::NEG_INFINITY, 0.0, 50.0]));
    /// assert_eq!(x.gelu_tanh().array()?.to_f64_vec(), [0.0, 0.0, 50.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn gelu_tanh(self) -> Self {
        let scale = (2.0 / std::f64::consts::PI).sqrt();
        let _line = self.trace.line();
        self.gated("gelu_tanh", |x| {
            // ½(1 + tanh u) is the sigmoid of 2u, which loses no digit left of 0. Beyond
            // ±25 it is 0 or 1 in every digit, and cubes might overflow.
            let near = x.clip(-25.0, 25.0);
            let inner = (near + near.powi(3) * 0.044715) * scale;
            (2.0 * inner).sigmoid()
        })
    }

    /// `eˣ / Σ eˣ` along an axis.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let p = t.constant(ndarray::arr1(&[1000.0, 1000.0])).softmax(0);
    /// assert_eq!(p.array()?.to_f64_vec(), [0.5, 0.5]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn softmax(self, axis: i32) -> Self {
        match self.float_axis("softmax", axis) {
            Ok(axis) => {
                let e = self.below_max(&[axis]).0.exp();
                let sum = e.reduce(Monoid::Sum, &[axis]);
                e / sum.unreduce(&self.shape(), &[axis])
            }
            Err(poisoned) => poisoned,
        }
    }

    /// `x - log Σ eˣ` along an axis, without overflow.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let p = t.constant(ndarray::arr1(&[1000.0, 1000.0])).log_softmax(0);
    /// assert_eq!(p.array()?.to_f64_vec(), [-std::f64::consts::LN_2; 2]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn log_softmax(self, axis: i32) -> Self {
        match self.float_axis("log_softmax", axis) {
            Ok(axis) => {
                let shifted = self.below_max(&[axis]).0;
                let sum = shifted.exp().reduce(Monoid::Sum, &[axis]).log();
                shifted - sum.unreduce(&self.shape(), &[axis])
            }
            Err(poisoned) => poisoned,
        }
    }

    #[track_caller]
    pub(super) fn float_axis(self, operation: &'static str, axis: i32) -> Result<usize, Self> {
        self.floats(operation)?;
        self.axis(operation, axis)
    }
}
