//! What networks are made of.

use backstitch_ir::{Monoid, Type};

use crate::mistake::Problem;
use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// `max(x, 0)`, whose derivative at 0 is 0.
    #[track_caller]
    pub fn relu(self) -> Self {
        self.le(0).select(0, self)
    }

    /// `x` if positive, else `slope · x` (also the derivative at 0).
    #[track_caller]
    pub fn leaky_relu(self, slope: f64) -> Self {
        self.gt(0).select(self, self * slope)
    }

    /// `x` if positive, else `alpha · (eˣ - 1)`. At 0 its derivatives are those of
    /// `x`.
    #[track_caller]
    pub fn elu(self, alpha: f64) -> Self {
        self.ge(0).select(self, self.expm1() * alpha)
    }

    /// `log(1 + eˣ)`, accurate everywhere. Its derivative is the sigmoid.
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
        // A choice rather than max and abs, whose kinks at 0 would be those of the
        // derivatives from the second on.
        let low = self.le(0);
        low.select(0, self) + low.select(self, -self).exp().log1p()
    }

    /// `log(sigmoid(x))`, accurate everywhere.
    #[track_caller]
    pub fn log_sigmoid(self) -> Self {
        -(-self).softplus()
    }

    /// `x · sigmoid(x)`.
    #[track_caller]
    pub fn silu(self) -> Self {
        self * self.sigmoid()
    }

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
        self * self.ndtr()
    }

    /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
    #[track_caller]
    pub fn gelu_tanh(self) -> Self {
        let scale = (2.0 / std::f64::consts::PI).sqrt();
        let inner = (self + self.powi(3) * 0.044715) * scale;
        0.5 * self * (1.0 + inner.tanh())
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

    /// `x - log Σ eˣ` along an axis.
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

    /// The last axis shifted and scaled to mean 0 and variance 1, then `· scale +
    /// shift`.
    #[track_caller]
    pub fn layer_norm(self, scale: Tensor<'t>, shift: Tensor<'t>, eps: f64) -> Self {
        let away = self - self.mean_keep(-1);
        let var = away.square().mean_keep(-1);
        away * (var + eps).rsqrt() * scale + shift
    }

    /// All axes but axis 1 shifted and scaled to mean 0 and variance 1, with the
    /// statistics of this batch, then `· scale + shift`, one number per channel.
    #[track_caller]
    pub fn batch_norm(self, scale: Tensor<'t>, shift: Tensor<'t>, eps: f64) -> Self {
        let ty = self.ty();
        let axes: Vec<i32> = (0..ty.rank() as i32).filter(|&a| a != 1).collect();
        if ty.rank() < 2 || scale.rank() != 1 || shift.rank() != 1 {
            let message = format!("expected [N,C,…] and one number per channel, got {ty}");
            return self.mistake("batch_norm", Problem::Shape, message, ty);
        }
        let away = self - self.mean_keep(&axes);
        let var = away.square().mean_keep(&axes);
        let channels: backstitch_ir::Shape =
            (0..ty.rank()).map(|a| if a == 1 { ty.dims()[1] } else { 1 }).collect();
        let (scale, shift) = (scale.spread(&channels, &[1]), shift.spread(&channels, &[1]));
        away * (var + eps).rsqrt() * scale + shift
    }

    /// The last axis divided by the root of its mean square, then `· scale`.
    #[track_caller]
    pub fn rms_norm(self, scale: Tensor<'t>, eps: f64) -> Self {
        self * (self.square().mean_keep(-1) + eps).rsqrt() * scale
    }

    /// Correlation of `[N, C, spatial…]` with kernels `[O, C, kernel…]`, without
    /// flipping them. One stride and one `(before, after)` margin per spatial axis.
    #[track_caller]
    pub fn conv(
        self,
        kernels: Tensor<'t>,
        strides: impl AsRef<[usize]>,
        margins: impl AsRef<[(usize, usize)]>,
    ) -> Self {
        let _line = self.trace.line();
        let (xt, kt) = (self.ty(), kernels.ty());
        let (strides, margins) = (strides.as_ref(), margins.as_ref());
        let spatial = xt.rank().saturating_sub(2);
        let wrong = |message: String| {
            self.trace.mistake("conv", Problem::Shape, message, &[self, kernels], xt.clone())
        };
        if xt.rank() < 3 || kt.rank() != xt.rank() || xt.dims()[1] != kt.dims()[1] {
            return wrong(format!(
                "expected [N,C,…] and [O,C,…], got {} and {}",
                xt.shape, kt.shape
            ));
        }
        if strides.len() != spatial || margins.len() != spatial || strides.contains(&0) {
            return wrong(format!("expected a stride and a margin for each of {spatial} axes"));
        }
        let mut all = vec![(0, 0), (0, 0)];
        all.extend_from_slice(margins);
        let padded = self.pad(all, 0);
        let mut counts = Vec::with_capacity(spatial);
        for (i, &stride) in strides.iter().enumerate() {
            let (extent, kernel) = (padded.ty().dims()[i + 2], kt.dims()[i + 2]);
            if kernel == 0 || kernel > extent {
                return wrong(format!(
                    "a kernel of extent {kernel} over an axis of extent {extent}"
                ));
            }
            counts.push((extent - kernel) / stride + 1);
        }
        // One matrix product for each place in the kernel, all summed.
        let places: usize = kt.dims()[2..].iter().product();
        let product = |place: usize| {
            let (mut window, mut kernel) = (padded, kernels);
            let mut rest = place;
            for i in (0..spatial).rev() {
                let extent = kt.dims()[i + 2];
                let start = (rest % extent) as i64;
                rest /= extent;
                let stop = start + ((counts[i] - 1) * strides[i]) as i64 + 1;
                window = window.slice(i as i32 + 2, start..stop, strides[i] as i64);
                kernel = kernel.index(i as i32 + 2, start);
            }
            window.tensordot(kernel, [1], [1])
        };
        let Some(sum) = (0..places).map(product).reduce(|a, b| a + b) else {
            return wrong("the kernel is empty".to_owned());
        };
        // [N, spatial…, O] to [N, O, spatial…].
        let last = sum.rank() as i32 - 1;
        let order: Vec<i32> = [0, last].into_iter().chain(1..last).collect();
        sum.permute(order)
    }

    /// The type that all of a reduction's callers agree on; used by losses.
    #[track_caller]
    pub(crate) fn same_type(
        self,
        operation: &'static str,
        other: Tensor<'t>,
    ) -> Result<Type, Self> {
        let (a, b) = (self.ty(), other.ty());
        if a == b {
            return Ok(a);
        }
        let message = format!("expected two of one type, got {a} and {b}");
        Err(self.trace.mistake(operation, Problem::Shape, message, &[self, other], a))
    }
}
