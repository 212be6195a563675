//! Division with a whole quotient, of floats and integers, and its remainders.
//!
//! Integers by 0 give 0, quotient and remainder, in eager mode as compiled; the least
//! integer by -1 wraps to itself. Quotients are flat: derivatives of remainders are those
//! for a constant quotient, `1` and minus the quotient, at the steps as well.
//!
//! The remainder of floats is `x - y·q` with `q` rounded as a float: where the quotient
//! is so large that it has no digits after the point, neither has the remainder.

use backstitch_ir::Scalar;

use crate::number::Operand;
use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// The largest whole number that is at most `x / y`; flat. Of integers by 0 it is 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(-7.0).floor_divide(2.0).item::<f64>()?, -4.0);
    /// assert_eq!(t.constant(-7).floor_divide(2).item::<i32>()?, -4);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "floordiv")]
    #[track_caller]
    pub fn floor_divide(self, y: impl Into<Operand<'t>>) -> Self {
        let [x, y] = self.trace.tensors("floor_divide", [self.into(), y.into()]);
        if !x.dtype().is_int() {
            return (x / y).floor();
        }
        let quotient = x.binary(Scalar::Quot, y);
        let below = x.binary(Scalar::Rem, y).against(y);
        below.select(quotient - 1, quotient)
    }

    /// `x / y` without its fraction; flat. Of integers by 0 it is 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(-7).trunc_divide(2).item::<i32>()?, -3);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "truncatediv")]
    #[track_caller]
    pub fn trunc_divide(self, y: impl Into<Operand<'t>>) -> Self {
        let [x, y] = self.trace.tensors("trunc_divide", [self.into(), y.into()]);
        if x.dtype().is_int() { x.binary(Scalar::Quot, y) } else { (x / y).trunc() }
    }

    /// `x - y·⌊x / y⌋`, which has the sign of `y`. Of integers by 0 it is 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(-7.0).modulo(3.0).item::<f64>()?, 2.0);
    /// assert_eq!(t.constant(7).modulo(-3).item::<i32>()?, -2);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "mod")]
    #[doc(alias = "remainder")]
    #[track_caller]
    pub fn modulo(self, y: impl Into<Operand<'t>>) -> Self {
        let [x, y] = self.trace.tensors("mod", [self.into(), y.into()]);
        let rest = if x.dtype().is_int() {
            x.binary(Scalar::Rem, y)
        } else {
            x - y.binary(Scalar::MulZ, (x / y).floor())
        };
        // Integers are divided towards 0; of floats the quotient may have been rounded up.
        rest.against(y).select(rest + y, rest)
    }

    /// `x - y·trunc(x / y)`, which has the sign of `x`. Of integers by 0 it is 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(-7.0).fmod(3.0).item::<f64>()?, -1.0);
    /// assert_eq!(t.constant(7).fmod(-3).item::<i32>()?, 1);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "rem")]
    #[track_caller]
    pub fn fmod(self, y: impl Into<Operand<'t>>) -> Self {
        let [x, y] = self.trace.tensors("fmod", [self.into(), y.into()]);
        if x.dtype().is_int() {
            return x.binary(Scalar::Rem, y);
        }
        let rest = x - y.binary(Scalar::MulZ, (x / y).trunc());
        // The quotient may have been rounded away from 0.
        let toward_x = x.lt(0).eq(y.lt(0)).select(y, -y);
        rest.against(x).select(rest + toward_x, rest)
    }

    /// Whether it is not 0 and of the other sign.
    #[track_caller]
    fn against(self, other: Self) -> Self {
        self.ne(0).and(self.lt(0).ne(other.lt(0)))
    }
}
