//! Functions at each element that are composed of others.

use backstitch_ir::DType;

use crate::number::Number;
use crate::tensor::Tensor;

/// Terms of the series of sin x / x after the first: for |x| ≤ 1 some more than `f64`
/// has digits for, as derivatives want them.
const SINC_TERMS: u32 = 11;

impl<'t> Tensor<'t> {
    /// `sin(πx) / (πx)`, 1 at 0; smooth there in derivatives of every order.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let y = t.constant(ndarray::arr1(&[0.0, 0.5])).sinc().array()?.to_f64_vec();
    /// assert_eq!(y[0], 1.0);
    /// assert!((y[1] - 2.0 / std::f64::consts::PI).abs() < 1e-15);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn sinc(self) -> Self {
        let _line = self.trace.line();
        let x = self * std::f64::consts::PI;
        // Near 0 the series, where derivatives of the quotient would lose digits. The
        // argument of the side not taken stays small.
        let near = x.abs().lt(1);
        let square = near.select(x, 0).square();
        let series = (1..=SINC_TERMS).rev().fold(self.ones_like(), |sum, k| {
            let step = f64::from(2 * k * (2 * k + 1));
            1.0 - sum * square / step
        });
        let far = near.select(1, x);
        near.select(series, far.sin() / far)
    }

    /// A number in place of each NaN.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, f64::NAN]));
    /// assert_eq!(x.nan_to(-1.0).array()?.to_f64_vec(), [1.0, -1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn nan_to(self, value: impl Into<Number>) -> Self {
        let value = self.number(value);
        self.is_nan().select(value, self)
    }

    /// As `f64`; shorthand for a cast.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.range(0, 3, 1).to_f64().mean().item::<f64>()?, 1.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn to_f64(self) -> Self {
        self.cast(DType::F64)
    }

    /// As `f32`; shorthand for a cast.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(0.1).to_f32().item::<f32>()?, 0.1f32);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn to_f32(self) -> Self {
        self.cast(DType::F32)
    }
}
