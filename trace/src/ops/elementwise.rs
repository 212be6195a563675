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
    /// `1 / √x`.
    rsqrt Rsqrt;
    /// `1 / x`.
    reciprocal Reciprocal;
    /// `1 / (1 + e⁻ˣ)`.
    sigmoid Sigmoid;
    /// `|x|`; its derivative at 0 is 0.
    #[doc(alias = "absolute")]
    abs Abs;
    /// -1, 0 or 1; flat.
    sign Sign;
    /// Towards -∞; flat.
    floor Floor;
    /// Towards +∞; flat.
    ceil Ceil;
    /// To the nearest, halves to even; flat.
    #[doc(alias = "rint")]
    round Round;
    /// Towards 0; flat.
    #[doc(alias = "fix")]
    trunc Trunc;
}

impl<'t> Tensor<'t> {
    /// `x²`.
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
    #[track_caller]
    #[doc(alias = "fmax")]
    pub fn maximum(self, other: impl Into<Operand<'t>>) -> Self {
        self.binary(Scalar::Max, other)
    }

    /// The smaller of the two; the derivative of equal ones goes half to each.
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
    #[track_caller]
    #[doc(alias = "astype")]
    pub fn cast(self, dtype: DType) -> Self {
        if self.dtype() == dtype { self } else { self.unary(Scalar::cast_to(dtype)) }
    }

    /// The same values, as constants to derivatives of any order.
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
    #[track_caller]
    #[doc(alias = "isfinite")]
    pub fn is_finite(self) -> Self {
        match self.floats("is_finite") {
            Ok(()) => self.abs().lt(f64::INFINITY),
            Err(poisoned) => poisoned.ne(poisoned),
        }
    }

    /// Whether it is NaN.
    #[track_caller]
    #[doc(alias = "isnan")]
    pub fn is_nan(self) -> Self {
        self.ne(self)
    }

    /// Zeros of the same type.
    #[track_caller]
    pub fn zeros_like(self) -> Self {
        self.filled_like(0)
    }

    /// Ones of the same type.
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
