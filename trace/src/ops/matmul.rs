//! Products of matrices and their relatives, all as one `contract`.

use backstitch_ir::{Shape, ops};
use smallvec::{SmallVec, smallvec};

use crate::mistake::Problem;
use crate::tensor::Tensor;

type List = SmallVec<[usize; 4]>;

impl<'t> Tensor<'t> {
    /// The matrix product. Vectors are rows on the left and columns on the right;
    /// leading axes are stacks of matrices, stretched as NumPy does.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let a = t.constant(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// let x = t.constant(ndarray::arr1(&[1.0, -1.0]));
    /// assert_eq!(a.matmul(x).array()?.to_f64_vec(), [-1.0, -1.0]);
    /// assert_eq!(x.matmul(a).array()?.to_f64_vec(), [-2.0, -2.0]);
    /// assert_eq!(x.matmul(x).item::<f64>()?, 2.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn matmul(self, other: Tensor<'t>) -> Self {
        let _line = self.trace.line();
        let (x, y) = (self, other);
        let (xt, yt) = (x.ty(), y.ty());
        let wrong = |problem, message: String, guess| {
            x.trace.mistake("matmul", problem, message, &[x, y], guess)
        };
        if xt.rank() == 0 || yt.rank() == 0 {
            let message = format!("{} and {}: a scalar has no axis to sum over; use `*`", xt, yt);
            let guess = if xt.rank() == 0 { yt } else { xt };
            return wrong(Problem::Shape, message, guess);
        }
        let (x_lead, x_row, x_over) = parts(xt.rank(), true);
        let (y_lead, y_column, y_over) = parts(yt.rank(), false);
        let lead: (Shape, Shape) = (xt.dims()[..x_lead].into(), yt.dims()[..y_lead].into());
        let stretched = lead.0.broadcast(&lead.1);
        let rows = x_row.map(|a| xt.dims()[a]);
        let columns = y_column.map(|a| yt.dims()[a]);
        let result = |lead: &Shape| {
            let dims = lead.dims().iter().copied().chain(rows).chain(columns);
            xt.with_shape(dims.collect::<Shape>())
        };
        let Some(stretched) = stretched else {
            let message = format!("leading axes {} and {} do not fit together", lead.0, lead.1);
            return wrong(Problem::Shape, message, result(&lead.0));
        };
        let (k, l) = (xt.dims()[x_over], yt.dims()[y_over]);
        if k != l {
            let message = format!(
                "shapes {} and {} do not fit: the inner extents {k} and {l} differ",
                xt.shape, yt.shape
            );
            return wrong(Problem::Shape, message, result(&stretched));
        }
        if xt.dtype != yt.dtype {
            let message =
                format!("element types {} and {} differ; `cast` one of them", xt.dtype, yt.dtype);
            return wrong(Problem::DType, message, result(&stretched));
        }

        // Leading axes that both have run together. Those that one has alone (the
        // other's is missing or has extent 1) are free axes of that one.
        let rank = stretched.rank();
        let at = |i: usize, lead: usize| (i + lead).checked_sub(rank);
        let mut batch: [ops::Axes; 2] = Default::default();
        let (mut x_ones, mut y_ones) = (List::new(), List::new());
        let (mut both, mut only_x, mut only_y) = (List::new(), List::new(), List::new());
        for i in 0..rank {
            let (a, b) = (at(i, x_lead), at(i, y_lead));
            let extent = |a: Option<usize>, dims: &[usize]| a.map_or(1, |a| dims[a]);
            match (extent(a, xt.dims()), extent(b, yt.dims())) {
                (m, n) if m == n && a.is_some() && b.is_some() => {
                    batch[0].extend(a);
                    batch[1].extend(b);
                    both.push(i);
                }
                (_, 1) => {
                    only_x.push(i);
                    y_ones.extend(b);
                }
                _ => {
                    only_y.push(i);
                    x_ones.extend(a);
                }
            }
        }
        let x = x.reshape(xt.shape.without(&x_ones));
        let y = y.reshape(yt.shape.without(&y_ones));
        let without = |axes: &[usize], gone: &[usize]| -> ops::Axes {
            axes.iter().map(|&a| a - gone.iter().filter(|&&g| g < a).count()).collect()
        };
        let over = [without(&[x_over], &x_ones), without(&[y_over], &y_ones)];
        let batch = [without(&batch[0], &x_ones), without(&batch[1], &y_ones)];
        let product = self.trace.apply(ops::Contract { batch, over }, &[x, y]);

        // Axes of the product: batch, those of x alone, rows, those of y alone, columns.
        let mut order: List = both;
        order.extend(only_x);
        order.extend(x_row.map(|_| rank));
        order.extend(only_y);
        order.extend(y_column.map(|_| rank + rows.iter().len()));
        let mut perm: List = smallvec![0; order.len()];
        for (from, &to) in order.iter().enumerate() {
            perm[to] = from;
        }
        product.reorder(perm)
    }

    /// The sum of products of the elements of two vectors.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0]));
    /// assert_eq!(x.dot(x).item::<f64>()?, 5.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "inner")]
    #[doc(alias = "vdot")]
    pub fn dot(self, other: Tensor<'t>) -> Self {
        self.contract("dot", other, &[0], &[0], [1, 1])
    }

    /// All products of an element of one vector and one of another: `[n]` and `[m]`
    /// give `[n, m]`.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.range(1, 3, 1);
    /// assert_eq!(x.outer(x).array()?.to_f64_vec(), [1.0, 2.0, 2.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn outer(self, other: Tensor<'t>) -> Self {
        self.contract("outer", other, &[], &[], [1, 1])
    }

    /// The Kronecker product: along each axis, each element of this array replaced by
    /// the whole other array times it. Missing leading axes have extent 1.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let (x, y) = (t.range(1, 3, 1), t.range(0, 3, 1));
    /// assert_eq!(x.kron(y).array()?.to_f64_vec(), [0.0, 1.0, 2.0, 0.0, 2.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn kron(self, other: Tensor<'t>) -> Self {
        let _line = self.trace.line();
        let (xt, yt) = (self.ty(), other.ty());
        let rank = xt.rank().max(yt.rank());
        let extent =
            |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |a| dims[a]);
        let both = |i| (extent(xt.dims(), i), extent(yt.dims(), i));
        let x = self.reshape((0..rank).flat_map(|i| [both(i).0, 1]).collect::<Shape>());
        let y = other.reshape((0..rank).flat_map(|i| [1, both(i).1]).collect::<Shape>());
        let flat: Option<Vec<usize>> =
            (0..rank).map(|i| both(i).0.checked_mul(both(i).1)).collect();
        match flat.map(Shape::from_iter).filter(|s| s.checked_len().is_some()) {
            Some(flat) => (x * y).reshape(flat),
            None => {
                let message =
                    format!("the product of {} and {} does not fit in memory", xt.shape, yt.shape);
                self.trace.mistake("kron", Problem::Shape, message, &[self, other], xt)
            }
        }
    }

    /// The cross product of vectors of three numbers along the last axis.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 0.0, 0.0]));
    /// let y = t.constant(ndarray::arr1(&[0.0, 1.0, 0.0]));
    /// assert_eq!(x.cross(y).array()?.to_f64_vec(), [0.0, 0.0, 1.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn cross(self, other: Tensor<'t>) -> Self {
        let _line = self.trace.line();
        let types = [self.ty(), other.ty()];
        if types.iter().any(|ty| ty.dims().last() != Some(&3)) {
            let message = format!("expected a last axis of 3, got {} and {}", types[0], types[1]);
            let [guess, _] = types;
            return self.trace.mistake("cross", Problem::Shape, message, &[self, other], guess);
        }
        // Component i is x[i+1]·y[i+2] - x[i+2]·y[i+1].
        let (x, y) = (|by| self.roll(by, -1), |by| other.roll(by, -1));
        x(-1) * y(-2) - x(-2) * y(-1)
    }

    /// Summed over pairs of axes, one of each; the axes that are left are those of
    /// this array, then those of the other.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let x = t.ones(DType::F64, [2, 3, 4]);
    /// let y = t.ones(DType::F64, [4, 3, 5]);
    /// assert_eq!(x.tensordot(y, [1, 2], [1, 0]).shape().dims(), [2, 5]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn tensordot(
        self,
        other: Tensor<'t>,
        axes: impl AsRef<[i32]>,
        others: impl AsRef<[i32]>,
    ) -> Self {
        let ranks = [self.rank(), other.rank()];
        self.contract("tensordot", other, axes.as_ref(), others.as_ref(), ranks)
    }

    #[track_caller]
    fn contract(
        self,
        operation: &'static str,
        other: Tensor<'t>,
        of_x: &[i32],
        of_y: &[i32],
        ranks: [usize; 2],
    ) -> Self {
        let _line = self.trace.line();
        let (xt, yt) = (self.ty(), other.ty());
        let wrong = |problem, message: String| {
            self.trace.mistake(operation, problem, message, &[self, other], xt.clone())
        };
        if [xt.rank(), yt.rank()] != ranks {
            return wrong(Problem::Shape, format!("expected vectors, got {xt} and {yt}"));
        }
        let mut over: [ops::Axes; 2] = Default::default();
        for (list, out, ty) in [(of_x, 0, &xt), (of_y, 1, &yt)] {
            for &a in list {
                match crate::axes::axis(a, ty.rank()) {
                    Ok(a) if over[out].contains(&a) => {
                        return wrong(Problem::Axis, format!("axis {a} is listed twice"));
                    }
                    Ok(a) => over[out].push(a),
                    Err(message) => return wrong(Problem::Axis, message),
                }
            }
        }
        let extents =
            |axes: &[usize], dims: &[usize]| axes.iter().map(|&a| dims[a]).collect::<Shape>();
        let (m, n) = (extents(&over[0], xt.dims()), extents(&over[1], yt.dims()));
        if m != n {
            let message = format!("axes of extents {m} and {n} cannot be summed over together");
            return wrong(Problem::Shape, message);
        }
        if xt.dtype != yt.dtype {
            let message =
                format!("element types {} and {} differ; `cast` one of them", xt.dtype, yt.dtype);
            return wrong(Problem::DType, message);
        }
        if of_x.is_empty() {
            // Nothing to sum over: element by element, so that it fuses.
            let shape: Shape = xt.dims().iter().chain(yt.dims()).copied().collect();
            if shape.checked_len().is_none() {
                let message = format!("a result {shape} does not fit in memory");
                return wrong(Problem::Shape, message);
            }
            let (left, right): (List, List) =
                ((0..xt.rank()).collect(), (xt.rank()..shape.rank()).collect());
            return self.spread(&shape, &left) * other.spread(&shape, &right);
        }
        let batch = Default::default();
        self.trace.apply(ops::Contract { batch, over }, &[self, other])
    }
}

/// Of a matrix operand of that rank: number of leading axes, the free axis, and
/// the axis that is summed over.
fn parts(rank: usize, left: bool) -> (usize, Option<usize>, usize) {
    match rank {
        1 => (0, None, 0),
        _ if left => (rank - 2, Some(rank - 2), rank - 1),
        _ => (rank - 2, Some(rank - 1), rank - 2),
    }
}
