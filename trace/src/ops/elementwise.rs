//! Functions at each element.

use backstitch_ir::{DType, Scalar, ops};

use crate::number::{Number, Operand};
use crate::tensor::Tensor;

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident $f:ident;)*) => {
        impl<'t> Tensor<'t> {
            $($(#[$doc])*
            #[track_caller]
            pub fn $name(self) -> Self {
                self.unary(Scalar::$f)
            })*
        }
    };
}

unary! {
    /// `1 / √x` of floats; ∞ at 0, NaN of negative numbers.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[4.0, 0.0]));
    /// assert_eq!(x.rsqrt().array()?.to_f64_vec(), [0.5, f64::INFINITY]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    rsqrt Rsqrt;
    /// `1 / x` of floats; ±∞ at ±0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[4.0, 0.0]));
    /// assert_eq!(x.reciprocal().array()?.to_f64_vec(), [0.25, f64::INFINITY]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    reciprocal Reciprocal;
    /// `1 / (1 + e⁻ˣ)` of floats, without overflow.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-800.0, 0.0, 800.0]));
    /// assert_eq!(x.sigmoid().array()?.to_f64_vec(), [0.0, 0.5, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    sigmoid Sigmoid;
    /// `|x|` of any numbers; its derivative at 0 is 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-2.0, 0.0, 3.0]));
    /// let tape = t.tape();
    /// tape.watch(&x);
    /// let y = x.abs();
    /// assert_eq!(y.array()?.to_f64_vec(), [2.0, 0.0, 3.0]);
    /// let slope = tape.gradient(&y.sum(), &x).or_zeros();
    /// assert_eq!(slope.array()?.to_f64_vec(), [-1.0, 0.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "absolute")]
    abs Abs;
    /// -1, 0 or 1, of any numbers; flat.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-2.0, 0.0, 3.0]));
    /// assert_eq!(x.sign().array()?.to_f64_vec(), [-1.0, 0.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    sign Sign;
    /// The nearest whole number towards -∞, as a float; flat.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-1.5, 0.5, 2.0]));
    /// assert_eq!(x.floor().array()?.to_f64_vec(), [-2.0, 0.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    floor Floor;
    /// The nearest whole number towards +∞, as a float; flat.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-1.5, 0.5, 2.0]));
    /// assert_eq!(x.ceil().array()?.to_f64_vec(), [-1.0, 1.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ceil Ceil;
    /// The nearest whole number, halves to even, as a float; flat.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[0.5, 1.5, 2.5, -0.7]));
    /// assert_eq!(x.round().array()?.to_f64_vec(), [0.0, 2.0, 2.0, -1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "rint")]
    round Round;
    /// The nearest whole number towards 0, as a float; flat.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-1.5, 0.5, 2.0]));
    /// assert_eq!(x.trunc().array()?.to_f64_vec(), [-1.0, 0.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "fix")]
    trunc Trunc;
}

impl<'t> Tensor<'t> {
    /// `x²` of any numbers; integers wrap.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-3, 0, 2]));
    /// assert_eq!(x.square().array()?.to_f64_vec(), [9.0, 0.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn square(self) -> Self {
        if self.dtype().is_float() { self.unary(Scalar::Square) } else { self * self }
    }

    /// `√x`. Its slope at 0 is infinite, but a zero factor stays zero: the
    /// derivative of `√x²` is 0 at 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(0.0);
    /// let tape = t.tape();
    /// tape.watch(&x);
    /// let y = (x * x).sqrt();
    /// assert_eq!(tape.gradient(&y, &x).or_zeros().item::<f64>()?, 0.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn sqrt(self) -> Self {
        self.unary(Scalar::Sqrt)
    }

    /// `xⁿ` by multiplication; ones for `n = 0`, whose derivative is 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(2.0).powi(10).item::<f64>()?, 1024.0);
    /// assert_eq!(t.constant(2.0).powi(-2).item::<f64>()?, 0.25);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn powi(self, n: i32) -> Self {
        // Powers of the reciprocal: the derivative of the reciprocal of a power would
        // square it, and leave the range where neither value nor derivative does.
        let x = if n < 0 { self.reciprocal() } else { self };
        x.power(n.unsigned_abs())
    }

    #[track_caller]
    fn power(self, mut n: u32) -> Self {
        if n == 0 {
            // Never chosen, `x` is there to be connected.
            let never = self.trace.zeros(DType::Bool, self.shape());
            return never.select(self, self.ones_like());
        }
        let mut square = self;
        let mut product: Option<Self> = None;
        loop {
            if n & 1 == 1 {
                product = Some(match product {
                    Some(p) => p * square,
                    None => square,
                });
            }
            n >>= 1;
            if n == 0 {
                return product.expect("n was not 0");
            }
            square = square.square();
        }
    }

    /// `xʸ`. A small whole number `y` is done by multiplication.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(3.0).pow(2.0).item::<f64>()?, 9.0);
    /// assert_eq!(t.constant(4.0).pow(0.5).item::<f64>()?, 2.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "power")]
    pub fn pow(self, exponent: impl Into<Operand<'t>>) -> Self {
        let exponent = exponent.into();
        if let Operand::Number(n) = exponent
            && let Some(n) = n.to(DType::I32)
            && let n = n.bits as u32 as i32
            && (-4..=4).contains(&n)
            && (self.dtype().is_float() || n >= 0)
        {
            return self.powi(n);
        }
        self.binary(Scalar::Pow, exponent)
    }

    /// The larger of the two; the derivative of equal ones goes half to each.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0]));
    /// let tape = t.tape();
    /// tape.watch(&x);
    /// let y = x.maximum(2.0);
    /// assert_eq!(y.array()?.to_f64_vec(), [2.0, 2.0, 3.0]);
    /// let slope = tape.gradient(&y.sum(), &x).or_zeros();
    /// assert_eq!(slope.array()?.to_f64_vec(), [0.0, 0.5, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "fmax")]
    pub fn maximum(self, other: impl Into<Operand<'t>>) -> Self {
        self.binary(Scalar::Max, other)
    }

    /// The smaller of the two; the derivative of equal ones goes half to each.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0]));
    /// let tape = t.tape();
    /// tape.watch(&x);
    /// let y = x.minimum(2.0);
    /// assert_eq!(y.array()?.to_f64_vec(), [1.0, 2.0, 2.0]);
    /// let slope = tape.gradient(&y.sum(), &x).or_zeros();
    /// assert_eq!(slope.array()?.to_f64_vec(), [1.0, 0.5, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "fmin")]
    pub fn minimum(self, other: impl Into<Operand<'t>>) -> Self {
        self.binary(Scalar::Min, other)
    }

    /// Limited to `[lo, hi]`. At a bound the derivative is 1, outside it is 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-2.0, 0.5, 3.0]));
    /// assert_eq!(x.clip(-1.0, 1.0).array()?.to_f64_vec(), [-1.0, 0.5, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "clip_by_value")]
    #[doc(alias = "clamp")]
    pub fn clip(self, lo: impl Into<Number>, hi: impl Into<Number>) -> Self {
        let (lo, hi) = (self.number(lo), self.number(hi));
        let raised = self.lt(lo).select(lo, self);
        self.gt(hi).select(hi, raised)
    }

    /// With another element type. Between floats it carries the derivative.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-1.5, 0.0, 2.5]));
    /// assert_eq!(x.cast(DType::I32).array()?.to_f64_vec(), [-1.0, 0.0, 2.0]);
    /// assert_eq!(x.cast(DType::Bool).array()?.to_f64_vec(), [1.0, 0.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "astype")]
    pub fn cast(self, dtype: DType) -> Self {
        if self.dtype() == dtype { self } else { self.unary(Scalar::cast_to(dtype)) }
    }

    /// The same values, as constants to derivatives of any order.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(3.0);
    /// let tape = t.tape();
    /// tape.watch(&x);
    /// let y = x * x.stop_gradient();
    /// assert_eq!(y.item::<f64>()?, 9.0);
    /// assert_eq!(tape.gradient(&y, &x).or_zeros().item::<f64>()?, 3.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn stop_gradient(self) -> Self {
        self.trace.apply(ops::StopGradient, &[self])
    }

    /// The largest finite number of its type.
    pub(crate) fn largest(self) -> f64 {
        match self.dtype() {
            DType::F32 => f32::MAX.into(),
            _ => f64::MAX,
        }
    }

    /// The square root whose derivative at 0 is taken as 0.
    #[track_caller]
    pub(crate) fn root_or_zero(self) -> Self {
        let zero = self.eq(0);
        zero.select(0, zero.select(1, self).unary(Scalar::Sqrt))
    }

    /// Whether it is neither infinite nor NaN.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, f64::INFINITY, f64::NAN]));
    /// assert_eq!(x.is_finite().array()?.to_f64_vec(), [1.0, 0.0, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "isfinite")]
    pub fn is_finite(self) -> Self {
        match self.floats("is_finite") {
            Ok(()) => self.abs().lt(f64::INFINITY),
            Err(poisoned) => poisoned.ne(poisoned),
        }
    }

    /// Whether it is NaN.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, f64::INFINITY, f64::NAN]));
    /// assert_eq!(x.is_nan().array()?.to_f64_vec(), [0.0, 0.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "isnan")]
    pub fn is_nan(self) -> Self {
        self.ne(self)
    }

    /// Zeros of the same type.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.range(1, 4, 1).zeros_like();
    /// assert_eq!(x.to_array::<i32>()?, ndarray::arr1(&[0, 0, 0]).into_dyn());
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn zeros_like(self) -> Self {
        self.filled_like(0)
    }

    /// Ones of the same type.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.range(1, 4, 1).ones_like();
    /// assert_eq!(x.to_array::<i32>()?, ndarray::arr1(&[1, 1, 1]).into_dyn());
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn ones_like(self) -> Self {
        self.filled_like(1)
    }

    #[track_caller]
    fn filled_like(self, x: i32) -> Self {
        let ty = self.ty();
        let x: Number = if ty.dtype == DType::Bool { (x != 0).into() } else { x.into() };
        self.trace.number(x, ty.dtype, "constant").stretch(&ty.shape)
    }
}
