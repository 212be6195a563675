//! Comparisons, truth values, and choice by them.

use backstitch_ir::Scalar;

use crate::number::Operand;
use crate::tensor::Tensor;
use crate::trace::Trace;

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident $f:ident;)*) => {
        impl<'t> Tensor<'t> {
            $($(#[$doc])*
            #[track_caller]
            pub fn $name(self, other: impl Into<Operand<'t>>) -> Self {
                self.binary(Scalar::$f, other)
            })*
        }
    };
}

binary! {
    /// Whether it is less, at each element: a truth value. Two of one type, stretched to
    /// one shape; NaN is neither less, equal nor greater.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0, f64::NAN]));
    /// assert_eq!(x.lt(2.0).array()?.to_f64_vec(), [1.0, 0.0, 0.0, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    lt Lt;
    /// Whether it is less or equal, as [`lt`](Self::lt).
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0, f64::NAN]));
    /// assert_eq!(x.le(2.0).array()?.to_f64_vec(), [1.0, 1.0, 0.0, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    le Le;
    /// Whether it is greater, as [`lt`](Self::lt).
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0, f64::NAN]));
    /// assert_eq!(x.gt(2.0).array()?.to_f64_vec(), [0.0, 0.0, 1.0, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    gt Gt;
    /// Whether it is greater or equal, as [`lt`](Self::lt).
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0, f64::NAN]));
    /// assert_eq!(x.ge(2.0).array()?.to_f64_vec(), [0.0, 1.0, 1.0, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ge Ge;
    /// Whether it is equal, as [`lt`](Self::lt); also of truth values.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0, f64::NAN]));
    /// assert_eq!(x.eq(2.0).array()?.to_f64_vec(), [0.0, 1.0, 0.0, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    eq Eq;
    /// Whether it is not equal, as [`lt`](Self::lt); also of truth values. NaN differs from
    /// everything, itself too.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0, f64::NAN]));
    /// assert_eq!(x.ne(2.0).array()?.to_f64_vec(), [1.0, 0.0, 1.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ne Ne;
    /// Both of two truth values; bitwise on integers.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0]));
    /// assert_eq!(x.lt(3.0).and(x.gt(1.0)).array()?.to_f64_vec(), [0.0, 1.0, 0.0]);
    /// assert_eq!(t.constant(0b1100).and(0b1010).item::<i32>()?, 0b1000);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    and And;
    /// Either of two truth values; bitwise on integers.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0]));
    /// assert_eq!(x.lt(3.0).or(x.gt(1.0)).array()?.to_f64_vec(), [1.0, 1.0, 1.0]);
    /// assert_eq!(t.constant(0b1100).or(0b1010).item::<i32>()?, 0b1110);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    or Or;
    /// One of two truth values but not both; bitwise on integers.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0]));
    /// assert_eq!(x.lt(3.0).xor(x.gt(1.0)).array()?.to_f64_vec(), [1.0, 0.0, 1.0]);
    /// assert_eq!(t.constant(0b1100).xor(0b1010).item::<i32>()?, 0b0110);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    xor Xor;
}

impl<'t> Tensor<'t> {
    /// The opposite truth value; bitwise on integers.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, f64::NAN]));
    /// assert_eq!(x.is_nan().not().array()?.to_f64_vec(), [1.0, 0.0]);
    /// assert_eq!(t.constant(5).not().item::<i32>()?, -6);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[expect(clippy::should_implement_trait, reason = "beside `and` and `or`")]
    pub fn not(self) -> Self {
        self.unary(Scalar::Not)
    }

    /// `x` where this truth value holds, `y` elsewhere. All three are stretched to
    /// one shape. The derivative of what is not chosen is 0, even where it would be
    /// infinite.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-1.0, 4.0]));
    /// let y = x.gt(0.0).select(x.sqrt(), 0.0);
    /// assert_eq!(y.array()?.to_f64_vec(), [0.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn select(self, x: impl Into<Operand<'t>>, y: impl Into<Operand<'t>>) -> Self {
        let [x, y] = self.trace.tensors("select", [x.into(), y.into()]);
        self.trace.map(Scalar::Select, &[self, x, y])
    }
}

impl Trace {
    /// `x` where `condition` holds, `y` elsewhere: see [`Tensor::select`].
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-1.0, 4.0]));
    /// let y = t.where_(x.gt(0.0), x.sqrt(), 0.0);
    /// assert_eq!(y.array()?.to_f64_vec(), [0.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn where_<'t>(
        &'t self,
        condition: Tensor<'t>,
        x: impl Into<Operand<'t>>,
        y: impl Into<Operand<'t>>,
    ) -> Tensor<'t> {
        condition.select(x, y)
    }
}
