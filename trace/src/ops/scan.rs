//! Running sums and products along an axis.
//!
//! By doubling: after step `k` each element holds the combination of the `2ᵏ`
//! elements up to it. That is log n element-wise steps, without a loop.

use crate::number::Number;
use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// Element `i` is the sum of the elements up to `i`.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0, 4.0]));
    /// assert_eq!(x.cumsum(0).array()?.to_f64_vec(), [1.0, 3.0, 6.0, 10.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn cumsum(self, axis: i32) -> Self {
        self.running("cumsum", axis, 0, |a, b| a + b)
    }

    /// Element `i` is the product of the elements up to `i`.
    #[track_caller]
    pub fn cumprod(self, axis: i32) -> Self {
        self.running("cumprod", axis, 1, |a, b| a * b)
    }

    /// Element `i` is `log Σ eˣ` over the elements up to `i`, without overflow.
    #[track_caller]
    pub fn logcumsumexp(self, axis: i32) -> Self {
        self.running("logcumsumexp", axis, f64::NEG_INFINITY, |a, b| a.logaddexp(b))
    }

    #[track_caller]
    fn running(
        self,
        operation: &'static str,
        axis: i32,
        identity: impl Into<Number>,
        combine: impl Fn(Self, Self) -> Self,
    ) -> Self {
        let _line = self.trace.line();
        let identity = identity.into();
        let a = match self.axis(operation, axis) {
            Ok(a) => a,
            Err(poisoned) => return poisoned,
        };
        let extent = self.ty().dims()[a];
        let mut x = self;
        let mut reach = 1;
        while reach < extent {
            let mut margins = vec![(0, 0); x.rank()];
            margins[a] = (reach, 0);
            let earlier = x.slice(axis, ..-(reach as i64), 1).pad(margins, identity);
            x = combine(x, earlier);
            reach *= 2;
        }
        x
    }
}
