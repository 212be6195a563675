//! Lengths of vectors, and vectors divided by them.
//!
//! The square of a large number is infinite and that of a small one 0, even where
//! the length is an ordinary number. So the sum of squares is looked at first, as a
//! constant to derivatives: where it is infinite or tiny, the elements are scaled by
//! a power of two, which is exact, and summed again. That is two passes over the
//! data, of which the second is the one that is differentiated; where no scale is
//! needed, results are those of the plain formula, to the bit.
//!
//! At the zero vector the derivative of a length is taken as 0, and so is that of
//! the vector divided by its length.

use backstitch_ir::{DType, Monoid, Type};

use super::reduce::reductions;
use crate::mistake::Problem;
use crate::tensor::Tensor;

reductions! {
    /// The root of the sum of squares, of floats; its derivatives at 0 are 0. Neither
    /// overflows nor underflows inside.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(ndarray::arr1(&[3.0, 4.0])).norm().item::<f64>()?, 5.0);
    /// assert_eq!(t.constant(ndarray::arr1(&[3e300, 4e300])).norm().item::<f64>()?, 5e300);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "frobenius")]
    #[doc(alias = "l2_norm")]
    norm, norm_over, norm_keep => |x, axes| match x.floats("norm") {
        Ok(()) => {
            let scaled = x.scaled(&axes);
            scaled.length * scaled.back
        }
        Err(poisoned) => poisoned.reduce(Monoid::Sum, &axes),
    };
    /// The sum of the absolute values; its derivative at 0 is 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(ndarray::arr1(&[3.0, -4.0])).norm1().item::<f64>()?, 7.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "l1_norm")]
    norm1, norm1_over, norm1_keep => |x, axes| x.abs().reduce(Monoid::Sum, &axes);
    /// The largest absolute value. Equal ones share the derivative.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(ndarray::arr1(&[3.0, -4.0])).norm_inf().item::<f64>()?, 4.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "max_norm")]
    norm_inf, norm_inf_over, norm_inf_keep => |x, axes| x.abs().extreme(Monoid::Max, &axes);
}

/// Elements times a power of two for each length, so that their squares can be
/// summed.
struct Scaled<'t> {
    x: Tensor<'t>,
    /// The length of what is scaled.
    length: Tensor<'t>,
    /// What it was scaled by, and what that is undone by.
    by: Tensor<'t>,
    back: Tensor<'t>,
}

impl<'t> Tensor<'t> {
    #[track_caller]
    fn scaled(self, axes: &[usize]) -> Scaled<'t> {
        // Squares below `tiny` have lost digits. Scaled, the squares of all numbers
        // are far from both ends of the range.
        let (tiny, power) = match self.dtype() {
            DType::F32 => (2f64.powi(-80), 90),
            _ => (2f64.powi(-960), 600),
        };
        let squares = self.stop_gradient().square().reduce(Monoid::Sum, axes);
        let (large, small) = (squares.eq(f64::INFINITY), squares.lt(tiny));
        let choose = |up, down| large.select(down, small.select(self.number(up), 1));
        let (up, down) = (2f64.powi(power), 2f64.powi(-power));
        let (by, back) = (choose(up, down), choose(down, up));
        let x = self * by.unreduce(&self.shape(), axes);
        let length = x.square().reduce(Monoid::Sum, axes).root_or_zero();
        Scaled { x, length, by, back }
    }

    /// Divided by its 2-norm along an axis, or by `eps` if that is larger (where it
    /// is, the norm has no derivative). The derivative at the zero vector is 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[3.0, 4.0])).normalize(0, 1e-12);
    /// assert_eq!(x.array()?.to_f64_vec(), [0.6, 0.8]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "l2_normalize")]
    pub fn normalize(self, axis: i32, eps: f64) -> Self {
        let _line = self.trace.line();
        let axis = match self.float_axis("normalize", axis) {
            Ok(axis) => axis,
            Err(poisoned) => return poisoned,
        };
        let scaled = self.scaled(&[axis]);
        let shape = self.shape();
        let length = scaled.at_least(eps).unreduce(&shape, &[axis]);
        let zero = scaled.length.eq(0).unreduce(&shape, &[axis]);
        zero.select(0, scaled.x / length)
    }

    /// The cosine of the angle between vectors of floats along an axis, which goes
    /// away. Norms below `eps` count as `eps`. Other axes are stretched.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let (x, y) = (t.constant(ndarray::arr1(&[1.0, 0.0])), t.constant(ndarray::arr1(&[3.0, 4.0])));
    /// assert_eq!(x.cosine_similarity(y, 0, 1e-12).item::<f64>()?, 0.6);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn cosine_similarity(self, other: Tensor<'t>, axis: i32, eps: f64) -> Self {
        let _line = self.trace.line();
        let a = match self.float_axis("cosine_similarity", axis) {
            Ok(a) => a,
            Err(poisoned) => return poisoned,
        };
        let (xt, yt) = (self.ty(), other.ty());
        let fits = xt.rank() == yt.rank() && xt.dims()[a] == yt.dims()[a];
        if !fits || xt.dtype != yt.dtype {
            let message = format!("expected two of one length along axis {a}, got {xt} and {yt}");
            let guess: Type = xt.with_shape(xt.shape.without(&[a]));
            let operands = [self, other];
            return self.trace.mistake(
                "cosine_similarity",
                Problem::Shape,
                message,
                &operands,
                guess,
            );
        }
        let (x, y) = (self.scaled(&[a]), other.scaled(&[a]));
        let product = (x.x * y.x).reduce(Monoid::Sum, &[a]);
        product / (x.at_least(eps) * y.at_least(eps))
    }
}

impl<'t> Scaled<'t> {
    /// The length, or `eps` if that is larger, both scaled.
    #[track_caller]
    fn at_least(&self, eps: f64) -> Tensor<'t> {
        let eps = self.by * eps;
        self.length.le(eps).select(eps, self.length)
    }
}
