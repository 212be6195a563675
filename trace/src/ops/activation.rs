//! Activations: functions at each element that bend.
//!
//! Each is a choice between smooth pieces, so that derivatives of every order are
//! those of the piece chosen. At a kink that is the flatter piece, but for those
//! that say otherwise: [`relu`](Tensor::relu), [`relu6`](Tensor::relu6) and the hard
//! functions have slope 0 there.

use crate::mistake::Problem;
use crate::number::Operand;
use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// `max(x, 0)`, whose derivative at 0 is 0. Any numbers.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-1.0, 0.0, 2.0]));
    /// assert_eq!(x.relu().array()?.to_f64_vec(), [0.0, 0.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn relu(self) -> Self {
        self.le(0).select(0, self)
    }

    /// `x` if positive, else `slope · x`, also for derivatives at 0. Floats of any shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-2.0, 0.0, 3.0]));
    /// assert_eq!(x.leaky_relu(0.25).array()?.to_f64_vec(), [-0.5, 0.0, 3.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn leaky_relu(self, slope: f64) -> Self {
        let _line = self.trace.line();
        self.of_floats("leaky_relu", |x| x.gt(0).select(x, x * slope))
    }

    /// `x` if positive, else `slope · x`, where the slope is learnt: a tensor that is
    /// stretched.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[-1.0, 2.0], [3.0, -4.0]]));
    /// let slope = t.constant(ndarray::arr1(&[0.5, 0.25]));
    /// assert_eq!(x.prelu(slope).array()?.to_f64_vec(), [-0.5, 2.0, 3.0, -1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn prelu(self, slope: impl Into<Operand<'t>>) -> Self {
        let [x, slope] = self.trace.tensors("prelu", [self.into(), slope.into()]);
        x.gt(0).select(x, x * slope)
    }

    /// `x` if not negative, else `alpha · (eˣ - 1)`. At 0 its derivatives are those of
    /// `x`: 1, then 0. Floats of any shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[f64::NEG_INFINITY, 0.0, 3.0]));
    /// assert_eq!(x.elu(2.0).array()?.to_f64_vec(), [-2.0, 0.0, 3.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn elu(self, alpha: f64) -> Self {
        let _line = self.trace.line();
        self.of_floats("elu", |x| x.ge(0).select(x, x.expm1() * alpha))
    }

    /// `x` if not negative, else `alpha · (e^(x/alpha) - 1)`. At 0 its derivatives are
    /// those of `x`. Floats of any shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[f64::NEG_INFINITY, 0.0, 3.0]));
    /// assert_eq!(x.celu(2.0).array()?.to_f64_vec(), [-2.0, 0.0, 3.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn celu(self, alpha: f64) -> Self {
        let _line = self.trace.line();
        self.of_floats("celu", |x| x.ge(0).select(x, (x / alpha).expm1() * alpha))
    }

    /// The scaled exponential unit, whose constants keep mean 0 and variance 1
    /// (Klambauer et al., 2017). At 0 its derivatives are those of the right side. Floats of
    /// any shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let y = t.constant(ndarray::arr1(&[-800.0, 0.0, 1.0])).selu().array()?.to_f64_vec();
    /// assert!((y[0] + 1.7580993408473766).abs() < 1e-15);
    /// assert_eq!(y[1..], [0.0, 1.0507009873554805]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn selu(self) -> Self {
        let _line = self.trace.line();
        self.of_floats("selu", |x| x.elu(1.673_263_242_354_377_2) * 1.050_700_987_355_480_5)
    }

    /// `log(1 + eˣ)`, accurate everywhere. Its derivative is the sigmoid. Floats of any
    /// shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-800.0, 0.0, 800.0]));
    /// let y = x.softplus().array()?.to_f64_vec();
    /// assert_eq!(y, [0.0, std::f64::consts::LN_2, 800.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn softplus(self) -> Self {
        if let Err(poisoned) = self.floats("softplus") {
            return poisoned;
        }
        // A choice rather than max and abs, whose kinks at 0 would be those of the
        // derivatives from the second on.
        let low = self.le(0);
        low.select(0, self) + low.select(self, -self).exp().log1p()
    }

    /// `log(sigmoid(x))`, accurate everywhere. Floats of any shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-800.0, 0.0, 800.0]));
    /// assert_eq!(x.log_sigmoid().array()?.to_f64_vec(), [-800.0, -std::f64::consts::LN_2, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "logsigmoid")]
    pub fn log_sigmoid(self) -> Self {
        let _line = self.trace.line();
        self.of_floats("log_sigmoid", |x| -(-x).softplus())
    }

    /// A composed function of floats: what is none is a mistake of this one, not of an
    /// operation inside.
    #[track_caller]
    fn of_floats(self, operation: &'static str, f: impl FnOnce(Self) -> Self) -> Self {
        match self.floats(operation) {
            Ok(()) => f(self),
            Err(poisoned) => poisoned,
        }
    }

    /// `x · gate(x)`, where the gate opens from 0 to 1 faster than any power of `x`:
    /// 0 at -∞ and `x` at ∞, with the derivatives of these.
    #[track_caller]
    pub(crate) fn gated(self, operation: &'static str, gate: impl FnOnce(Self) -> Self) -> Self {
        if let Err(poisoned) = self.floats(operation) {
            return poisoned;
        }
        let finite = self.is_finite();
        let x = finite.select(self, 0);
        finite.select(x * gate(x), self.relu())
    }

    /// `x · sigmoid(x)`; 0 at -∞. Floats of any shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[f64::NEG_INFINITY, 0.0, 50.0]));
    /// assert_eq!(x.silu().array()?.to_f64_vec(), [0.0, 0.0, 50.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "swish")]
    pub fn silu(self) -> Self {
        let _line = self.trace.line();
        self.gated("silu", |x| x.sigmoid())
    }

    /// `x · tanh(softplus(x))`; 0 at -∞. Floats of any shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[f64::NEG_INFINITY, 0.0, 50.0]));
    /// assert_eq!(x.mish().array()?.to_f64_vec(), [0.0, 0.0, 50.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn mish(self) -> Self {
        let _line = self.trace.line();
        self.gated("mish", |x| x.softplus().tanh())
    }

    /// `x / (1 + |x|)`; ±1 at ±∞. Floats of any shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[f64::NEG_INFINITY, -1.0, 3.0]));
    /// assert_eq!(x.softsign().array()?.to_f64_vec(), [-1.0, -0.5, 0.75]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn softsign(self) -> Self {
        if let Err(poisoned) = self.floats("softsign") {
            return poisoned;
        }
        let largest = self.largest();
        let x = self.clip(-largest, largest);
        let size = x.lt(0).select(-x, x);
        x / (size + 1.0)
    }

    /// `x` between 0 and 6, else the nearer of the two; flat at both ends. Any
    /// numbers.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-1.0, 2.0, 7.0]));
    /// assert_eq!(x.relu6().array()?.to_f64_vec(), [0.0, 2.0, 6.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn relu6(self) -> Self {
        let relu = self.relu();
        relu.ge(6).select(6, relu)
    }

    /// `x` between -1 and 1, else the nearer of the two; flat at both ends. Any numbers.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-3.0, 0.5, 2.0]));
    /// assert_eq!(x.hard_tanh().array()?.to_f64_vec(), [-1.0, 0.5, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn hard_tanh(self) -> Self {
        let raised = self.le(-1).select(-1, self);
        raised.ge(1).select(1, raised)
    }

    /// `relu6(x + 3) / 6`, flat at both ends. Floats of any shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-4.0, 0.0, 3.0]));
    /// assert_eq!(x.hard_sigmoid().array()?.to_f64_vec(), [0.0, 0.5, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn hard_sigmoid(self) -> Self {
        let _line = self.trace.line();
        self.of_floats("hard_sigmoid", |x| (x + 3.0).relu6() / 6.0)
    }

    /// `x · hard_sigmoid(x)`; 0 at -∞. Floats of any shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-4.0, 0.0, 3.0]));
    /// assert_eq!(x.hard_silu().array()?.to_f64_vec(), [0.0, 0.0, 3.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "hard_swish")]
    pub fn hard_silu(self) -> Self {
        let _line = self.trace.line();
        self.gated("hard_silu", |x| x.hard_sigmoid())
    }

    /// The first half along an axis times the sigmoid of the second half.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[3.0, 4.0, 0.0, 0.0]));
    /// assert_eq!(x.glu(0).array()?.to_f64_vec(), [1.5, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn glu(self, axis: i32) -> Self {
        let _line = self.trace.line();
        let ty = self.ty();
        let a = match self.float_axis("glu", axis) {
            Ok(a) => a,
            Err(poisoned) => return poisoned,
        };
        if ty.dims()[a] % 2 == 1 {
            let message = format!("axis {a} of extent {} has no halves", ty.dims()[a]);
            return self.mistake("glu", Problem::Shape, message, ty);
        }
        let half = (ty.dims()[a] / 2) as i64;
        self.slice(axis, ..half, 1) * self.slice(axis, half.., 1).sigmoid()
    }
}
