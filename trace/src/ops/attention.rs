//! Scaled dot-product attention.
//!
//! Each query takes the mean of the values, weighted by the soft-max of its products
//! with the keys (Vaswani et al., 2017). A key that is masked has weight 0, and
//! nothing of its score reaches a derivative. A query whose keys are all masked gets
//! zeros, and gives zeros to derivatives.

use backstitch_ir::{DType, Monoid, Shape};

use crate::mistake::Problem;
use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// Of queries `[…, T, D]`, keys `[…, S, D]` and values `[…, S, E]`, which share
    /// their leading axes (those of extent 1 are stretched): `softmax(q·kᵀ/√D)·v`,
    /// `[…, T, E]`. A mask of truth values, stretched to `[…, T, S]`, holds where a query
    /// may look at a key. A query that may look at none gets zeros.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let q = t.constant(ndarray::arr2(&[[1.0, 0.0]]));
    /// let k = t.constant(ndarray::arr2(&[[0.0, 1.0], [0.0, 2.0]]));
    /// let v = t.constant(ndarray::arr2(&[[1.0], [3.0]]));
    /// assert_eq!(q.attention(k, v, None).item::<f64>()?, 2.0);
    /// let mask = t.constant(ndarray::arr1(&[false, true]));
    /// assert_eq!(q.attention(k, v, mask).item::<f64>()?, 3.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Mistakes
    /// Fewer than two axes, shapes that do not fit, a mask that is not of truth values.
    #[track_caller]
    #[doc(alias = "scaled_dot_product_attention")]
    #[doc(alias = "dot_product_attention")]
    pub fn attention(
        self,
        keys: Tensor<'t>,
        values: Tensor<'t>,
        mask: impl Into<Option<Tensor<'t>>>,
    ) -> Self {
        let _line = self.trace.line();
        let (q, k, v) = (self.ty(), keys.ty(), values.ty());
        let operands = [self, keys, values];
        let wrong = |problem, message: String| {
            self.trace.mistake("attention", problem, message, &operands, q.clone())
        };
        if let Err(poisoned) = self.floats("attention") {
            return poisoned;
        }
        let ends = |dims: &[usize]| match *dims {
            [.., rows, columns] => Some((rows, columns)),
            _ => None,
        };
        match (ends(q.dims()), ends(k.dims()), ends(v.dims())) {
            (Some((_, d)), Some((s, also_d)), Some((also_s, _))) if d == also_d && s == also_s => {}
            _ => {
                let shapes = format!("{}, {} and {}", q.shape, k.shape, v.shape);
                let message = format!("expected […,T,D], […,S,D] and […,S,E], got {shapes}");
                return wrong(Problem::Shape, message);
            }
        }
        let scale = (q.dims()[q.rank() - 1].max(1) as f64).sqrt().recip();
        let scores = (self * scale).matmul(keys.swap_axes(-2, -1));
        let Some(mask) = mask.into() else { return scores.softmax(-1).matmul(values) };
        let shape = scores.shape();
        // Without an axis they are what a mistake left.
        let Some(last) = shape.rank().checked_sub(1) else { return scores };
        if mask.dtype() != DType::Bool || mask.shape().broadcast(&shape).as_ref() != Some(&shape) {
            let message =
                format!("expected a mask that stretches to bool{shape}, got {}", mask.ty());
            return wrong(Problem::Shape, message);
        }
        let e = mask.select(scores, f64::NEG_INFINITY).below_max(&[last]).0.exp();
        let sum = e.reduce(Monoid::Sum, &[last]);
        let some = sum.eq(0).select(1, sum).unreduce(&shape, &[last]);
        (e / some).matmul(values)
    }

    /// [`attention`](Self::attention) where query `i` may look at the keys up to `i`.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.zeros(DType::F64, [3, 2]);
    /// let v = t.constant(ndarray::arr2(&[[2.0], [4.0], [9.0]]));
    /// assert_eq!(x.causal_attention(x, v).array()?.to_f64_vec(), [2.0, 3.0, 5.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn causal_attention(self, keys: Tensor<'t>, values: Tensor<'t>) -> Self {
        let rows = |x: Self| x.ty().dims().iter().rev().nth(1).copied().unwrap_or(1);
        let shape: Shape = [rows(self), rows(keys)].into();
        let i = self.trace.iota(DType::I64, shape.clone(), 0);
        let j = self.trace.iota(DType::I64, shape, 1);
        self.attention(keys, values, j.le(i))
    }
}
