//! The error function, the gamma function, and their kin.
//!
//! Each is a row of the table of scalar functions, differentiable to any order.
//! Eager mode and compiled code use different formulas, which agree to a few units
//! in the last place.

use backstitch_ir::Scalar;

use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// The error function, `2/√π · ∫₀ˣ e⁻ᵗ² dt`. Floats of any shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let y = t.constant(ndarray::arr1(&[-1e9, 0.0, 0.5])).erf();
    /// assert_eq!(y.array()?.to_f64_vec(), [-1.0, 0.0, 0.5204998778130465]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn erf(self) -> Self {
        self.unary(Scalar::Erf)
    }

    /// `1 - erf x`, whose digits are right for large `x` too, until it underflows.
    /// Floats of any shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let y = t.constant(10.0).erfc().item::<f64>()?;
    /// assert!((y / 2.088487583762545e-45 - 1.0).abs() < 1e-14);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn erfc(self) -> Self {
        self.unary(Scalar::Erfc)
    }

    /// The inverse of [`erf`](Self::erf): ±∞ at ±1, where its slope is ∞ too, and NaN
    /// beyond. Floats of any shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(0.25).erf().erfinv().item::<f64>()?;
    /// assert!((x - 0.25).abs() < 1e-15);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "erf_inv")]
    #[track_caller]
    pub fn erfinv(self) -> Self {
        self.unary(Scalar::Erfinv)
    }

    /// The probability that a normally distributed number is less than `x`,
    /// `½ · erfc(-x/√2)`, whose digits are right for very negative `x` too.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(0.0).ndtr().item::<f64>()?, 0.5);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "normal_cdf")]
    #[track_caller]
    pub fn ndtr(self) -> Self {
        (self * -std::f64::consts::FRAC_1_SQRT_2).erfc() * 0.5
    }

    /// `log |Γ(x)|`: ∞ at 0, at negative integers, and at ±∞. Floats of any shape.
    ///
    /// Its derivative is [`digamma`](Self::digamma). Compiled, it keeps its digits next
    /// to its zeros 1 and 2; next to those left of 0 only the absolute error is
    /// small.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let y = t.constant(ndarray::arr1(&[0.0, 1.0, 5.0])).lgamma();
    /// assert_eq!(y.array()?.to_f64_vec(), [f64::INFINITY, 0.0, 24f64.ln()]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "gammaln")]
    #[doc(alias = "log_gamma")]
    #[track_caller]
    pub fn lgamma(self) -> Self {
        self.unary(Scalar::Lgamma)
    }

    /// The derivative of `log Γ`: -∞ at 0, +∞ at -0, and NaN at negative integers and
    /// at -∞. Floats of any shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(1.0);
    /// let tape = t.tape();
    /// tape.watch(&x);
    /// let y = x.lgamma();
    /// let euler = 0.5772156649015329;
    /// assert!((tape.gradient(&y, &x).or_zeros().item::<f64>()? + euler).abs() < 1e-15);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "psi")]
    #[track_caller]
    pub fn digamma(self) -> Self {
        self.unary(Scalar::Digamma)
    }

    /// The derivative of [`digamma`](Self::digamma) of order `n`, digamma itself for
    /// `n = 0`. Floats of any shape.
    ///
    /// Up to order 1 (trigamma) it is defined for all `x` but the poles, where trigamma is
    /// ∞. Higher orders are for positive `x`: they are ±∞ at 0 and NaN below. In orders
    /// above 170 `n!` is no longer finite, and they mean nothing.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let y = t.constant(1.0).polygamma(1).item::<f64>()?;
    /// assert!((y - std::f64::consts::PI.powi(2) / 6.0).abs() < 1e-15);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "trigamma")]
    #[track_caller]
    pub fn polygamma(self, n: u32) -> Self {
        if let Err(poisoned) = self.floats("polygamma") {
            return poisoned;
        }
        if n == 0 {
            return self.digamma();
        }
        let order = self.number(f64::from(n));
        self.trace.map(Scalar::Polygamma, &[order, self])
    }
}

#[cfg(test)]
mod tests {
    use crate::{DType, Tensor, Trace};

    /// The derivatives of `f` at `x` of orders 0, 1, ….
    fn derivatives<const N: usize>(f: fn(Tensor<'_>) -> Tensor<'_>, x: f64) -> [f64; N] {
        let t = Trace::eager();
        let x = t.constant(x);
        let tapes: Vec<_> = (1..N).map(|_| t.tape()).collect();
        tapes.iter().for_each(|tape| tape.watch(&x));
        let mut y = f(x);
        let mut all = vec![y];
        for tape in tapes.into_iter().rev() {
            y = tape.gradient(&y, &x).or_zeros();
            all.push(y);
        }
        std::array::from_fn(|i| all[i].item().unwrap())
    }

    fn close(got: &[f64], want: &[f64]) {
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            assert!((g - w).abs() <= 1e-13 * w.abs().max(1e-3), "order {i}: {g} is not {w}");
        }
    }

    #[test]
    fn derivatives_go_on() {
        close(
            &derivatives::<5>(|x| x.erf(), 0.7),
            &[
                0.6778011938374184,
                0.6912748604105386,
                -0.967784804574754,
                -0.027650994416421718,
                3.9098506104820063,
            ],
        );
        close(
            &derivatives::<4>(|x| x.erfc(), 1.25),
            &[0.07709987174354177, -0.2365211224472908, 0.5913028061182269, -1.005214770400986],
        );
        close(
            &derivatives::<4>(|x| x.erfinv(), 0.4),
            &[0.37080715859355795, 1.0168562004306123, 0.766826632315692, 3.2594026810227996],
        );
        close(
            &derivatives::<6>(|x| x.lgamma(), 2.75),
            &[
                0.47521466691493713,
                0.8189010249754326,
                0.43757125764893073,
                -0.18871463303130123,
                0.16061612748946938,
                -0.2025554733715731,
            ],
        );
        close(
            &derivatives::<3>(|x| x.lgamma(), -1.3),
            &[1.2024757863901114, 2.8825405488661673, 14.53687624413708],
        );
        close(
            &derivatives::<4>(|x| x.digamma(), 0.6),
            &[-1.5406192138931905, 3.6362096709023577, -9.96283153714346, 47.407041045345785],
        );
        close(
            &derivatives::<4>(|x| x.gelu(), -1.5),
            &[-0.1002108019032871, -0.12746919222997952, -0.03237939891647293, 0.3399836886229658],
        );
        close(
            &derivatives::<3>(|x| x.ndtr(), -3.0),
            &[0.0013498980316300946, 0.0044318484119380075, 0.013295545235814022],
        );
    }

    #[test]
    fn gelu_is_flat_far_out() {
        for x in [-60.0, -1e6, -1e300] {
            let [y, slope, bend] = derivatives(|x| x.gelu(), x);
            assert!(y.abs() < 1e-300 && slope.abs() < 1e-300 && bend.abs() < 1e-300);
        }
        for x in [60.0, 1e6, 1e300] {
            assert_eq!(derivatives(|x| x.gelu(), x), [x, 1.0, 0.0]);
        }
    }

    #[test]
    fn integers_have_no_polygamma() {
        let t = Trace::eager();
        let y = t.zeros(DType::I32, [2]).polygamma(1);
        assert!(y.array().unwrap_err().to_string().contains("expected floats"));
    }
}
