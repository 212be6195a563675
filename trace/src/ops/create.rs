//! Arrays from nothing.

use backstitch_ir::{DType, Shape, Type, ops};

use crate::mistake::Problem;
use crate::number::Number;
use crate::tensor::Tensor;
use crate::trace::Trace;

impl Trace {
    /// A scalar of the number's own type.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.scalar(2.5f32).item::<f32>()?, 2.5);
    /// assert_eq!(t.scalar(7).item::<i32>()?, 7);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn scalar(&self, x: impl Into<Number>) -> Tensor<'_> {
        let x = x.into();
        self.number(x, x.dtype(), "scalar")
    }

    /// An array filled with a number.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.full(DType::F32, [2, 2], 0.5);
    /// assert_eq!(x.sum().item::<f32>()?, 2.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn full(
        &self,
        dtype: DType,
        shape: impl Into<Shape>,
        value: impl Into<Number>,
    ) -> Tensor<'_> {
        let (value, shape) = (value.into(), shape.into());
        let ty = Type::new(dtype, shape.clone());
        if ty.checked_bytes().is_none() {
            let message = format!("an array {ty} does not fit in memory");
            return self.mistake("full", Problem::Shape, message, &[], Type::scalar(dtype));
        }
        self.number(value, dtype, "full").stretch(&shape)
    }

    /// Zeros (false, for truth values).
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// assert_eq!(t.zeros(DType::F32, [2, 3]).array()?.to_f64_vec(), [0.0; 6]);
    /// assert!(!t.zeros(DType::Bool, [2]).any().is_true()?);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn zeros(&self, dtype: DType, shape: impl Into<Shape>) -> Tensor<'_> {
        let zero = if dtype == DType::Bool { Number::Bool(false) } else { Number::I32(0) };
        self.full(dtype, shape, zero)
    }

    /// Ones (true, for truth values).
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// assert_eq!(t.ones(DType::F32, [2, 3]).array()?.to_f64_vec(), [1.0; 6]);
    /// assert!(t.ones(DType::Bool, [2]).all().is_true()?);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn ones(&self, dtype: DType, shape: impl Into<Shape>) -> Tensor<'_> {
        let one = if dtype == DType::Bool { Number::Bool(true) } else { Number::I32(1) };
        self.full(dtype, shape, one)
    }

    /// Element `i` is `i[axis]`.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let i = t.iota(DType::I32, [2, 3], 1);
    /// assert_eq!(i.array()?.to_f64_vec(), [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn iota(&self, dtype: DType, shape: impl Into<Shape>, axis: usize) -> Tensor<'_> {
        let ty = Type::new(dtype, shape);
        if axis >= ty.rank() || dtype == DType::Bool {
            let message = format!("no counting along axis {axis} of {ty}");
            return self.mistake("iota", Problem::Axis, message, &[], ty);
        }
        self.apply(ops::Iota { ty, axis }, &[])
    }

    /// The numbers from `start` up to, and without, `stop`, in steps. Of the type
    /// of `start`.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.range(0, 5, 2).array()?.to_f64_vec(), [0.0, 2.0, 4.0]);
    /// assert_eq!(t.range(1.0, 0.0, -0.5).array()?.to_f64_vec(), [1.0, 0.5]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "arange")]
    pub fn range(
        &self,
        start: impl Into<Number>,
        stop: impl Into<Number>,
        step: impl Into<Number>,
    ) -> Tensor<'_> {
        let (start, stop, step) = (start.into(), stop.into(), step.into());
        let dtype = start.dtype();
        let count = match dtype {
            DType::I32 | DType::I64 => {
                let int = |x: Number| x.to(DType::I64).map(|c| i128::from(c.bits as i64));
                match (int(start), int(stop), int(step)) {
                    (Some(a), Some(b), Some(s)) if s != 0 => {
                        let span = if s > 0 { b - a } else { a - b };
                        usize::try_from(((span - 1).div_euclid(s.abs()) + 1).max(0)).ok()
                    }
                    _ => None,
                }
            }
            _ => {
                let float = |x: Number| x.to(DType::F64).map(|c| c.to_f64());
                match (float(start), float(stop), float(step)) {
                    (Some(a), Some(b), Some(s)) => {
                        let count = ((b - a) / s).ceil();
                        let fits = count.is_finite() && s != 0.0 && count < 1e15;
                        fits.then_some(count.max(0.0) as usize)
                    }
                    _ => None,
                }
            }
        };
        let Some(count) = count else {
            let message = format!("from {start} to {stop} in steps of {step} is no range");
            let guess = Type::new(dtype, [0]);
            return self.mistake("range", Problem::Parameter, message, &[], guess);
        };
        let i = self.iota(dtype, [count], 0);
        let scaled = if step.to(dtype) == Number::I32(1).to(dtype) {
            i
        } else {
            i * self.number(step, dtype, "range")
        };
        if start.to(dtype) == Number::I32(0).to(dtype) {
            return scaled;
        }
        scaled + self.number(start, dtype, "range")
    }

    /// `count` numbers from `start` to `stop`, both included, at equal distances.
    /// Of the type of `start`.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.linspace(0.0, 1.0, 3).array()?.to_f64_vec(), [0.0, 0.5, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn linspace(
        &self,
        start: impl Into<Number>,
        stop: impl Into<Number>,
        count: usize,
    ) -> Tensor<'_> {
        let (start, stop) = (start.into(), stop.into());
        let dtype = if start.dtype() == DType::F32 { DType::F32 } else { DType::F64 };
        let i = self.iota(dtype, [count], 0);
        let (a, b) = (self.number(start, dtype, "linspace"), self.number(stop, dtype, "linspace"));
        // Exact at both ends.
        let t = i / (count.max(2) - 1) as f64;
        a * (1.0 - t) + b * t
    }

    /// `rows × columns` with ones on the diagonal.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// assert_eq!(t.eye(DType::F64, 2, 2).array()?.to_f64_vec(), [1.0, 0.0, 0.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn eye(&self, dtype: DType, rows: usize, columns: usize) -> Tensor<'_> {
        let counted = Type::new(DType::I64, [rows, columns]);
        if counted.checked_bytes().is_none() {
            let message = format!("an array {counted} does not fit in memory");
            return self.mistake("eye", Problem::Shape, message, &[], Type::scalar(dtype));
        }
        let i = self.iota(DType::I64, [rows, columns], 0);
        // If there was no memory, that is said once.
        let j = if self.is_poisoned(i) { i } else { self.iota(DType::I64, [rows, columns], 1) };
        i.eq(j).cast(dtype)
    }
}
