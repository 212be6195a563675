//! Elementary functions, at each element.
//!
//! Each is one scalar function, in eager mode that of the standard library. Compiled, it
//! is within 1 unit in the last place of the exact value unless its documentation says
//! otherwise, subnormal numbers included; zeros keep their signs.

use backstitch_ir::Scalar;

use crate::number::Operand;
use crate::tensor::Tensor;

/// A function of one argument, with an argument and its value for the example.
macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident $f:ident: $x:literal => $y:literal;)*) => {
        impl<'t> Tensor<'t> {
            $($(#[$doc])*
            ///
            /// ```
            /// # use backstitch_trace::Trace;
            /// let t = Trace::eager();
            #[doc = concat!("let y = t.constant(", $x, ").", stringify!($name), "();")]
            #[doc = concat!("assert!((y.item::<f64>()? - ", $y, ").abs() < 1e-15);")]
            /// # Ok::<(), backstitch_trace::TraceError>(())
            /// ```
            #[track_caller]
            pub fn $name(self) -> Self {
                self.unary(Scalar::$f)
            })*
        }
    };
}

functions! {
    /// `eˣ`. Compiled, within 1.5 units in the last place.
    exp Exp: "1.0" => "std::f64::consts::E";
    /// `2ˣ`.
    exp2 Exp2: "-3.0" => "0.125";
    /// `eˣ - 1`, accurate near 0. Compiled, within 1.1 units in the last place.
    expm1 Expm1: "1e-20" => "1e-20";
    /// Natural logarithm; NaN of negative numbers.
    #[doc(alias = "ln")]
    log Log: "1.0" => "0.0";
    /// Logarithm to base 2; NaN of negative numbers.
    log2 Log2: "8.0" => "3.0";
    /// Logarithm to base 10; NaN of negative numbers.
    log10 Log10: "1000.0" => "3.0";
    /// `log(1 + x)`, accurate near 0.
    #[doc(alias = "ln_1p")]
    log1p Log1p: "1e-20" => "1e-20";
    /// Cube root, of negative numbers too. Its slope at 0 is infinite.
    cbrt Cbrt: "-8.0" => "-2.0";
    /// Sine of an angle in radians.
    ///
    /// Compiled, it is within 1.6 units in the last place up to `|x|` of 1e6 (`f32`) or
    /// 1e15 (`f64`), and NaN beyond. Eager mode has no limit.
    sin Sin: "std::f64::consts::FRAC_PI_6" => "0.5";
    /// Cosine of an angle in radians.
    ///
    /// Compiled, it is within 1.6 units in the last place up to `|x|` of 1e6 (`f32`) or
    /// 1e15 (`f64`), and NaN beyond. Eager mode has no limit.
    cos Cos: "std::f64::consts::FRAC_PI_3" => "0.5";
    /// Tangent of an angle in radians.
    ///
    /// Compiled, it is within 1.6 units in the last place up to `|x|` of 1e6 (`f32`) or
    /// 1e15 (`f64`), and NaN beyond. Eager mode has no limit.
    tan Tan: "std::f64::consts::FRAC_PI_4" => "1.0";
    /// Inverse sine, in [-π/2, π/2]; NaN outside [-1, 1]. Its slope at ±1 is infinite.
    #[doc(alias = "arcsin")]
    asin Asin: "0.5" => "std::f64::consts::FRAC_PI_6";
    /// Inverse cosine, in [0, π]; NaN outside [-1, 1]. Its slope at ±1 is infinite.
    #[doc(alias = "arccos")]
    acos Acos: "0.5" => "std::f64::consts::FRAC_PI_3";
    /// Inverse tangent, in [-π/2, π/2].
    #[doc(alias = "arctan")]
    atan Atan: "1.0" => "std::f64::consts::FRAC_PI_4";
    /// Hyperbolic sine.
    sinh Sinh: "1.0" => "1.1752011936438014";
    /// Hyperbolic cosine.
    cosh Cosh: "1.0" => "1.5430806348152437";
    /// Hyperbolic tangent. Compiled, within 2 units in the last place.
    tanh Tanh: "1.0" => "0.7615941559557649";
    /// Inverse hyperbolic sine.
    #[doc(alias = "arcsinh")]
    asinh Asinh: "1.1752011936438014" => "1.0";
    /// Inverse hyperbolic cosine, at least 0; NaN below 1. Its slope at 1 is infinite.
    #[doc(alias = "arccosh")]
    acosh Acosh: "1.5430806348152437" => "1.0";
    /// Inverse hyperbolic tangent; NaN outside [-1, 1].
    #[doc(alias = "arctanh")]
    atanh Atanh: "0.7615941559557649" => "1.0";
}

impl<'t> Tensor<'t> {
    /// The angle of the point `(x, y)`, in [-π, π], where this is `y`. At the origin
    /// both derivatives are 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let y = t.constant(1.0);
    /// assert_eq!(y.atan2(-1.0).item::<f64>()?, 0.75 * std::f64::consts::PI);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "arctan2")]
    #[track_caller]
    pub fn atan2(self, x: impl Into<Operand<'t>>) -> Self {
        self.binary(Scalar::Atan2, x)
    }

    /// `x · factor + term` of floats, rounded once: one instruction where the processor has it.
    /// So what the rounding of a product loses can be had.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let third = t.constant(1.0 / 3.0);
    /// // 3 times that, rounded, is 1; the difference shows that it is not.
    /// assert_eq!((third * 3.0 - 1.0).item::<f64>()?, 0.0);
    /// assert_eq!(third.mul_add(3.0, -1.0).item::<f64>()?, -2f64.powi(-54));
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "fma")]
    #[doc(alias = "addcmul")]
    #[track_caller]
    pub fn mul_add(self, factor: impl Into<Operand<'t>>, term: impl Into<Operand<'t>>) -> Self {
        let operands = [self.into(), factor.into(), term.into()];
        let operands = self.trace.tensors("mul_add", operands);
        self.trace.map(Scalar::Fma, &operands)
    }

    /// `√(x² + y²)`, without overflow. At the origin both derivatives are 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let far = t.constant(3e200).hypot(4e200).item::<f64>()?;
    /// assert!((far / 5e200 - 1.0).abs() < 1e-15);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn hypot(self, other: impl Into<Operand<'t>>) -> Self {
        self.binary(Scalar::Hypot, other)
    }

    /// `log(eˣ + eʸ)`, without overflow. Where the larger is ∞ it takes the whole
    /// derivative; of two -∞ both derivatives are 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let y = t.constant(1000.0).logaddexp(1000.0).item::<f64>()?;
    /// assert_eq!(y, 1000.0 + std::f64::consts::LN_2);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn logaddexp(self, other: impl Into<Operand<'t>>) -> Self {
        let [x, y] = self.trace.tensors("logaddexp", [self.into(), other.into()]);
        let swap = x.lt(y);
        let (large, small) = (swap.select(y, x), swap.select(x, y));
        // large + log(1 + e^(small - large)) but for infinities, whose difference is none.
        let infinite = large.abs().eq(f64::INFINITY).and(small.eq(small));
        let gap = infinite.select(0, small - large);
        let finite = large + gap.exp().log1p();
        let limit = large.lt(0).select(f64::NEG_INFINITY, large);
        infinite.select(limit, finite)
    }

    /// `x · log(y)`, 0 where `x` is 0. Where `x` is 0 and `y` is not positive, both
    /// derivatives are 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(0.0).xlogy(0.0).item::<f64>()?, 0.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn xlogy(self, y: impl Into<Operand<'t>>) -> Self {
        let [x, y] = self.trace.tensors("xlogy", [self.into(), y.into()]);
        let none = x.eq(0).and(y.le(0));
        x.binary(Scalar::MulZ, none.select(1, y).log())
    }

    /// `x · log(1 + y)`, 0 where `x` is 0; accurate for small `y`. Where `x` is 0 and `y`
    /// at most -1, both derivatives are 0.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(2.0).xlog1py(1e-20).item::<f64>()?, 2e-20);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn xlog1py(self, y: impl Into<Operand<'t>>) -> Self {
        let [x, y] = self.trace.tensors("xlog1py", [self.into(), y.into()]);
        let none = x.eq(0).and(y.le(-1));
        x.binary(Scalar::MulZ, none.select(0, y).log1p())
    }
}
