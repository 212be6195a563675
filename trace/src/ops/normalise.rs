//! Layers that shift and scale to mean 0 and variance 1.
//!
//! They differ in the axes that a mean is taken over. Variances have `n` as their
//! divisor; `eps` is added to them before the root is taken. Scales and shifts are
//! learnt, one number for each place along the axis that they belong to.

use backstitch_ir::{Shape, Type};

use crate::mistake::Problem;
use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// The last axis shifted and scaled to mean 0 and variance 1, then `· scale +
    /// shift`, which have the extent of that axis.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 3.0], [5.0, 5.0]]));
    /// let (one, zero) = (t.ones(DType::F64, [2]), t.zeros(DType::F64, [2]));
    /// let y = x.layer_norm(one, zero, 0.0).index(0, 0);
    /// assert_eq!(y.array()?.to_f64_vec(), [-1.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "LayerNormalization")]
    pub fn layer_norm(self, scale: Tensor<'t>, shift: Tensor<'t>, eps: f64) -> Self {
        let _line = self.trace.line();
        let last = self.rank().wrapping_sub(1);
        match self.per_place("layer_norm", last, &[scale, shift]) {
            Ok(_) => self.standardised(&[-1], eps) * scale + shift,
            Err(poisoned) => poisoned,
        }
    }

    /// The last axis divided by the root of its mean square, then `· scale`, which has
    /// the extent of that axis.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[2.0, -2.0]));
    /// let y = x.rms_norm(t.full(DType::F64, [2], 3.0), 0.0);
    /// assert_eq!(y.array()?.to_f64_vec(), [3.0, -3.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn rms_norm(self, scale: Tensor<'t>, eps: f64) -> Self {
        let _line = self.trace.line();
        let last = self.rank().wrapping_sub(1);
        match self.per_place("rms_norm", last, &[scale]) {
            Ok(_) => self * (self.square().mean_keep(-1) + eps).rsqrt() * scale,
            Err(poisoned) => poisoned,
        }
    }

    /// Of `[N, C, …]`, all axes but axis 1 shifted and scaled to mean 0 and variance
    /// 1, with the statistics of this batch, then `· scale + shift`, one number per
    /// channel. For statistics kept from training,
    /// [`batch_norm_with`](Self::batch_norm_with).
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 5.0], [3.0, 5.0]]));
    /// let (one, zero) = (t.ones(DType::F64, [2]), t.zeros(DType::F64, [2]));
    /// let y = x.batch_norm(one, zero, 1e-300);
    /// assert_eq!(y.array()?.to_f64_vec(), [-1.0, 0.0, 1.0, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "BatchNormalization")]
    pub fn batch_norm(self, scale: Tensor<'t>, shift: Tensor<'t>, eps: f64) -> Self {
        let _line = self.trace.line();
        let channels = match self.per_place("batch_norm", 1, &[scale, shift]) {
            Ok(channels) => channels,
            Err(poisoned) => return poisoned,
        };
        let axes: Vec<i32> = (0..self.rank() as i32).filter(|&a| a != 1).collect();
        let (scale, shift) = (scale.spread(&channels, &[1]), shift.spread(&channels, &[1]));
        self.standardised(&axes, eps) * scale + shift
    }

    /// [`batch_norm`](Self::batch_norm) with a mean and a variance that are given, one
    /// number per channel: those of all data seen, say.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 3.0]]));
    /// let (one, zero) = (t.ones(DType::F64, [2]), t.zeros(DType::F64, [2]));
    /// let (mean, var) = (one, t.full(DType::F64, [2], 4.0));
    /// let y = x.batch_norm_with(mean, var, one, zero, 0.0);
    /// assert_eq!(y.array()?.to_f64_vec(), [0.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn batch_norm_with(
        self,
        mean: Tensor<'t>,
        variance: Tensor<'t>,
        scale: Tensor<'t>,
        shift: Tensor<'t>,
        eps: f64,
    ) -> Self {
        let _line = self.trace.line();
        let given = [mean, variance, scale, shift];
        let channels = match self.per_place("batch_norm", 1, &given) {
            Ok(channels) => channels,
            Err(poisoned) => return poisoned,
        };
        let [mean, factor, shift] =
            [mean, (variance + eps).rsqrt() * scale, shift].map(|x| x.spread(&channels, &[1]));
        (self - mean) * factor + shift
    }

    /// Of `[N, C, …]`, each group of channels of each example shifted and scaled to
    /// mean 0 and variance 1, then `· scale + shift`, one number per channel. The number
    /// of groups divides that of channels; with one group per channel this is
    /// [`instance_norm`](Self::instance_norm).
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr2(&[[1.0, 3.0, 10.0, 30.0]]));
    /// let (one, zero) = (t.ones(DType::F64, [4]), t.zeros(DType::F64, [4]));
    /// let y = x.group_norm(2, one, zero, 0.0);
    /// assert_eq!(y.array()?.to_f64_vec(), [-1.0, 1.0, -1.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn group_norm(self, groups: usize, scale: Tensor<'t>, shift: Tensor<'t>, eps: f64) -> Self {
        self.grouped_norm("group_norm", groups, scale, shift, eps)
    }

    /// Of `[N, C, …]`, each channel of each example shifted and scaled to mean 0 and
    /// variance 1, then `· scale + shift`, one number per channel.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr3(&[[[1.0, 3.0], [10.0, 30.0]]]));
    /// let (one, zero) = (t.ones(DType::F64, [2]), t.zeros(DType::F64, [2]));
    /// let y = x.instance_norm(one, zero, 0.0);
    /// assert_eq!(y.array()?.to_f64_vec(), [-1.0, 1.0, -1.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn instance_norm(self, scale: Tensor<'t>, shift: Tensor<'t>, eps: f64) -> Self {
        match *self.shape().dims() {
            [_, channels, ..] if channels > 0 => {
                self.grouped_norm("instance_norm", channels, scale, shift, eps)
            }
            _ => self.grouped_norm("instance_norm", 1, scale, shift, eps),
        }
    }

    #[track_caller]
    fn grouped_norm(
        self,
        operation: &'static str,
        groups: usize,
        scale: Tensor<'t>,
        shift: Tensor<'t>,
        eps: f64,
    ) -> Self {
        let _line = self.trace.line();
        let channels = match self.per_place(operation, 1, &[scale, shift]) {
            Ok(channels) => channels,
            Err(poisoned) => return poisoned,
        };
        let ty = self.ty();
        if groups == 0 || groups > ty.dims()[1].max(1) || !ty.dims()[1].is_multiple_of(groups) {
            let message = format!("{} channels do not fall into {groups} groups", ty.dims()[1]);
            return self.mistake(operation, Problem::Parameter, message, ty);
        }
        let each = ty.dims()[1] / groups * ty.dims()[2..].iter().product::<usize>();
        let grouped = self.reshape([ty.dims()[0], groups, each]).standardised(&[-1], eps);
        let (scale, shift) = (scale.spread(&channels, &[1]), shift.spread(&channels, &[1]));
        grouped.reshape(ty.shape) * scale + shift
    }

    #[track_caller]
    fn standardised(self, axes: &[i32], eps: f64) -> Self {
        let away = self - self.mean_keep(axes);
        away * (away.square().mean_keep(axes) + eps).rsqrt()
    }

    /// Checks that this is an array of floats with an axis `at`, and that these have a
    /// number for each place along it. The shape that stretches along it alone; `Err`
    /// is the poisoned result.
    #[track_caller]
    fn per_place(
        self,
        operation: &'static str,
        at: usize,
        given: &[Tensor<'t>],
    ) -> Result<Shape, Self> {
        self.floats(operation)?;
        let ty = self.ty();
        let Some(&extent) = ty.dims().get(at) else {
            let message =
                format!("expected an array with more than {} axes, got {ty}", at.min(ty.rank()));
            return Err(self.mistake(operation, Problem::Shape, message, ty));
        };
        let wanted = Type::new(ty.dtype, [extent]);
        if let Some(&other) = given.iter().find(|x| x.ty() != wanted) {
            let message = format!(
                "expected {wanted}, a number for each place along axis {at}, got {}",
                other.ty()
            );
            return Err(self.trace.mistake(operation, Problem::Shape, message, &[self, other], ty));
        }
        Ok((0..ty.rank()).map(|a| if a == at { extent } else { 1 }).collect())
    }
}
