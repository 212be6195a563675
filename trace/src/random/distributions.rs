//! Distributions, made from uniform numbers.
//!
//! Those with parameters are *reparameterised*: the number is a smooth function of the
//! parameters and of noise that does not depend on them, so that gradients go
//! through. Choices (`bernoulli`, `categorical`, `integers`) have none.

use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

use backstitch_ir::{DType, Shape, Type};

use super::{Key, Use};
use crate::mistake::Problem;
use crate::number::Operand;
use crate::tensor::Tensor;

impl<'t> Key<'t> {
    /// Uniform numbers from `lo` (included) to `hi`, both numbers or tensors that fit
    /// the shape; differentiable with respect to both.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.key(1).uniform_between(-1, 3, DType::F64, [1000]);
    /// assert!(x.min().item::<f64>()? >= -1.0 && x.max().item::<f64>()? <= 3.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn uniform_between(
        self,
        lo: impl Into<Operand<'t>>,
        hi: impl Into<Operand<'t>>,
        dtype: DType,
        shape: impl Into<Shape>,
    ) -> Tensor<'t> {
        let u = self.uniform(dtype, shape);
        let [_, lo, hi] = self.trace.tensors("uniform_between", [u.into(), lo.into(), hi.into()]);
        lo + (hi - lo) * u
    }

    /// Normally distributed numbers with this mean and standard deviation, both numbers
    /// or tensors that fit the shape; differentiable with respect to both.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let mean = t.constant(5.0);
    /// let tape = t.tape();
    /// tape.watch(&mean);
    /// let x = t.key(1).normal_with(mean, 0.1, DType::F64, [10]).mean();
    /// let slope = tape.gradient(&x, &mean).or_zeros().item::<f64>()?;
    /// assert!((slope - 1.0).abs() < 1e-15);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn normal_with(
        self,
        mean: impl Into<Operand<'t>>,
        deviation: impl Into<Operand<'t>>,
        dtype: DType,
        shape: impl Into<Shape>,
    ) -> Tensor<'t> {
        let z = self.normal(dtype, shape);
        let operands = [z.into(), mean.into(), deviation.into()];
        let [_, mean, deviation] = self.trace.tensors("normal_with", operands);
        mean + deviation * z
    }

    /// Normally distributed numbers, of mean 0 and variance 1 before, of which only those
    /// between two bounds are kept. Bounds are numbers or tensors that fit the shape, and
    /// may be infinite; differentiable with respect to both.
    ///
    /// The inverse of the distribution is applied to uniform numbers. If both bounds are on
    /// one side and beyond about 5 (`f32`) or 8 (`f64`), only the bounds come out.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.key(1).truncated_normal(-2, 2, DType::F32, [1000]);
    /// assert!(x.abs().max().item::<f32>()? <= 2.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn truncated_normal(
        self,
        lo: impl Into<Operand<'t>>,
        hi: impl Into<Operand<'t>>,
        dtype: DType,
        shape: impl Into<Shape>,
    ) -> Tensor<'t> {
        let _line = self.trace.line();
        let u = self.uniform(dtype, shape);
        let [_, lo, hi] = self.trace.tensors("truncated_normal", [u.into(), lo.into(), hi.into()]);
        let [from, to] = [lo, hi].map(|x| (x * FRAC_1_SQRT_2).erf());
        let p = from + (to - from) * u;
        // The sum may be rounded to ±1, where the inverse is infinite.
        let last =
            if u.dtype() == DType::F32 { 1.0 - 0.5f64.powi(24) } else { 1.0 - 0.5f64.powi(53) };
        let p = p.ge(last).select(last, p);
        let p = p.le(-last).select(-last, p);
        let x = p.erfinv() * SQRT_2;
        let x = x.lt(lo).select(lo, x);
        x.gt(hi).select(hi, x)
    }

    /// Exponentially distributed numbers with mean 1.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.key(1).exponential(DType::F64, [1000]);
    /// assert!((x.mean().item::<f64>()? - 1.0).abs() < 0.1);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn exponential(self, dtype: DType, shape: impl Into<Shape>) -> Tensor<'t> {
        -(-self.uniform(dtype, shape)).log1p()
    }

    /// Numbers with Gumbel's distribution, `-log(-log u)`: always finite.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.key(1).gumbel(DType::F64, [1000]);
    /// assert!((x.mean().item::<f64>()? - 0.5772).abs() < 0.1);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn gumbel(self, dtype: DType, shape: impl Into<Shape>) -> Tensor<'t> {
        let u = self.uniform(dtype, shape);
        // Half of the least positive one.
        let least = if u.dtype() == DType::F32 { 0.5f64.powi(25) } else { 0.5f64.powi(54) };
        -(-u.eq(0).select(least, u).log()).log()
    }

    /// Truth values that hold with this probability, a number or a tensor that fits the
    /// shape.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.key(1).bernoulli(0.25, [1000]).to_f64();
    /// assert!((x.mean().item::<f64>()? - 0.25).abs() < 0.05);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn bernoulli(
        self,
        probability: impl Into<Operand<'t>>,
        shape: impl Into<Shape>,
    ) -> Tensor<'t> {
        let probability = probability.into();
        let dtype = match probability {
            Operand::Tensor(p) => p.dtype(),
            Operand::Number(_) => DType::F64,
        };
        self.uniform(dtype, shape).lt(probability)
    }

    /// Indices drawn with probabilities `softmax(logits)` along an axis, which goes away;
    /// `i64`. A logit of -∞ is never drawn.
    ///
    /// The index of the greatest logit after Gumbel's noise has been added.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let logits = t.constant(ndarray::arr1(&[f64::NEG_INFINITY, 0.0]));
    /// assert_eq!(t.key(1).categorical(logits, -1).item::<i64>()?, 1);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn categorical(self, logits: Tensor<'t>, axis: i32) -> Tensor<'t> {
        if let Err(poisoned) = logits.floats("categorical") {
            return poisoned;
        }
        (logits + self.gumbel(logits.dtype(), logits.shape())).argmax(axis)
    }

    /// Words of 32 random bits, as `i32`.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let words = t.key(0).bits([2]).to_array::<i32>()?;
    /// assert_eq!(words[[0]], 0x6b20_0159);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn bits(self, shape: impl Into<Shape>) -> Tensor<'t> {
        let _line = self.trace.line();
        let shape = shape.into();
        match self.counters("bits", DType::I32, &shape) {
            Ok(count) => self.rounds(count, Use::Bits)[0],
            Err(poisoned) => poisoned,
        }
    }

    /// Whole numbers from `range`, `i64`, all as often but for one part in
    /// 2³² over the length of the range, which is at most 2³¹.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let dice = t.key(1).integers(1..7, [100]);
    /// assert_eq!(dice.min().item::<i64>()?, 1);
    /// assert_eq!(dice.max().item::<i64>()?, 6);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "randint")]
    #[track_caller]
    pub fn integers(self, range: std::ops::Range<i64>, shape: impl Into<Shape>) -> Tensor<'t> {
        let _line = self.trace.line();
        let shape = shape.into();
        let len = range.end.checked_sub(range.start).filter(|n| (1..=1 << 31).contains(n));
        let Some(len) = len else {
            let message = format!("expected 1 to 2^31 numbers, got {range:?}");
            let guess = Type::new(DType::I64, shape);
            return self.trace.mistake("integers", Problem::Parameter, message, &[], guess);
        };
        let words = self.bits(shape).cast(DType::I64).and(0xFFFF_FFFF_i64);
        (words * len).shift_right(32) + range.start
    }
}

impl<'t> Tensor<'t> {
    /// Each element 0 with probability `rate`, else divided by `1 - rate`, so that the mean
    /// stays. `rate` is at least 0 and less than 1. Floats of any shape; nothing leaks from
    /// elements that are dropped, not even NaN.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.ones(DType::F64, [1000]).dropout(t.key(1), 0.5);
    /// assert!((x.mean().item::<f64>()? - 1.0).abs() < 0.1);
    /// assert_eq!(x.max().item::<f64>()?, 2.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn dropout(self, key: Key<'t>, rate: f64) -> Self {
        let _line = self.trace.line();
        if let Err(poisoned) = self.floats("dropout") {
            return poisoned;
        }
        if !(0.0..1.0).contains(&rate) {
            let message = format!("expected a rate from 0 to less than 1, got {rate}");
            return self.mistake("dropout", Problem::Parameter, message, self.ty());
        }
        let kept = key.uniform(self.dtype(), self.shape()).ge(rate);
        kept.select(self * (1.0 / (1.0 - rate)), 0)
    }
}
