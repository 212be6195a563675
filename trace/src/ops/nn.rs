//! What networks are made of.

use backstitch_ir::Monoid;

use crate::mistake::Problem;
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
        let x = self.above_least();
        x * x.ndtr()
    }

    /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`; 0 at -∞.
    #[track_caller]
    pub fn gelu_tanh(self) -> Self {
        let scale = (2.0 / std::f64::consts::PI).sqrt();
        let x = self.above_least();
        // Beyond ±20 the tangent is ±1 in every digit, and cubes might overflow.
        let near = x.clip(-20.0, 20.0);
        let inner = (near + near.powi(3) * 0.044715) * scale;
        0.5 * x * (1.0 + inner.tanh())
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
}
