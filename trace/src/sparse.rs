//! Sparse matrices: the entries of a derivative that may be other than zero.

use std::ops::Range;
use std::sync::Arc;

use backstitch_ir::{Array, with_array};
use backstitch_passes::{Direction, Pattern};
use ndarray::{ArrayD, Axis, IxDyn};

/// A sparse matrix, row by row (CSR), of which only the values are computed: where they
/// belong is known when a program is transformed.
///
/// A row belongs to an element of an output, one output after the other, each in
/// row-major order; a column to an element of a parameter likewise
/// ([`rows_of`](Self::rows_of), [`columns_of`](Self::columns_of)). The values are one
/// array of [`nnz`](Self::nnz) elements, row after row, columns ascending in a row; if
/// the program was vectorised over lanes, of these for each lane.
///
/// It is a structure with one leaf, the values: programs give a `Sparse<Spec>`, calls a
/// `Sparse<Array>`, and [`apply`](crate::Traced::apply) inside of programs a
/// `Sparse<Tensor>`.
///
/// ```
/// use backstitch_trace::{Spec, trace};
/// let traced = trace(Spec::f64([3]), (), |_, x, ()| x.slice(0, 1.., 1) * x.slice(0, ..-1, 1))?;
/// let j = traced.jacobian_sparse()?.eval(&ndarray::arr1(&[2.0, 3.0, 5.0]), &())?;
/// assert_eq!((j.rows(), j.columns(), j.nnz()), (2, 3, 4));
/// assert_eq!(j.offsets(), [0, 2, 4]);
/// assert_eq!(j.indices(), [0, 1, 1, 2]);
/// assert_eq!(j.values().to_f64_vec(), [3.0, 2.0, 5.0, 3.0]);
/// assert_eq!(j.to_dense().to_f64_vec(), [3.0, 2.0, 0.0, 0.0, 5.0, 3.0]);
/// # Ok::<(), backstitch_trace::TraceError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
#[doc(alias = "Csr")]
#[doc(alias = "Coo")]
pub struct Sparse<T> {
    pub(crate) layout: Arc<Layout>,
    pub(crate) values: T,
}

/// Where values belong, and how they are found.
#[derive(PartialEq, Debug)]
pub(crate) struct Layout {
    pub pattern: Pattern,
    pub direction: Direction,
    pub colours: usize,
    /// Where the rows of each output start, and where those of the last end.
    pub rows: Vec<usize>,
    /// The same for columns and parameters.
    pub columns: Vec<usize>,
}

impl<T> Sparse<T> {
    /// The values of the entries, row after row.
    #[doc(alias = "data")]
    pub fn values(&self) -> &T {
        &self.values
    }

    /// The values by themselves.
    pub fn into_values(self) -> T {
        self.values
    }

    /// Number of rows: elements of all outputs.
    pub fn rows(&self) -> usize {
        self.layout.pattern.rows()
    }

    /// Number of columns: elements of all parameters.
    pub fn columns(&self) -> usize {
        self.layout.pattern.columns()
    }

    /// Number of entries.
    pub fn nnz(&self) -> usize {
        self.layout.pattern.nnz()
    }

    /// Where each row starts among the entries, and where the last row ends.
    #[doc(alias = "indptr")]
    pub fn offsets(&self) -> &[usize] {
        self.layout.pattern.offsets()
    }

    /// The column of each entry.
    pub fn indices(&self) -> &[usize] {
        self.layout.pattern.indices()
    }

    /// The row and the column of each entry (COO).
    pub fn coordinates(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.layout.pattern.entries()
    }

    /// The pattern: where the entries are.
    pub fn pattern(&self) -> &Pattern {
        &self.layout.pattern
    }

    /// The rows of an output, by its number among the leaves of the outputs. Of second
    /// derivatives, rows are as columns.
    ///
    /// # Panics
    /// If there is no such output.
    #[track_caller]
    pub fn rows_of(&self, output: usize) -> Range<usize> {
        part(&self.layout.rows, output, "output")
    }

    /// The columns of a parameter, by its number among the leaves of the parameters.
    ///
    /// # Panics
    /// If there is no such parameter.
    #[track_caller]
    pub fn columns_of(&self, parameter: usize) -> Range<usize> {
        part(&self.layout.columns, parameter, "parameter")
    }

    /// How many sweeps find all entries: they are done at once.
    pub fn colours(&self) -> usize {
        self.layout.colours
    }

    /// What kind of sweeps. Second derivatives are swept forward over the gradient.
    pub fn direction(&self) -> Direction {
        self.layout.direction
    }

    /// The same matrix with other values.
    pub(crate) fn with<U>(&self, values: U) -> Sparse<U> {
        Sparse { layout: Arc::clone(&self.layout), values }
    }
}

/// From one start to the next.
#[track_caller]
fn part(starts: &[usize], i: usize, what: &str) -> Range<usize> {
    let n = starts.len() - 1;
    assert!(i < n, "expected the number of one of {n} {what}s, got {i}");
    starts[i]..starts[i + 1]
}

impl Sparse<Array> {
    /// All elements: `[rows, columns]`, behind the axes of lanes if there are any.
    ///
    /// # Panics
    /// If the values were exchanged for others of another length, or if there is no memory
    /// for so many elements.
    #[doc(alias = "todense")]
    pub fn to_dense(&self) -> Array {
        let lanes = self.values.dims().split_last().map_or(&[][..], |(_, lanes)| lanes);
        let (rows, columns) = (self.rows(), self.columns());
        let dims = [lanes, &[rows, columns]].concat();
        with_array!(&self.values, values => {
            let mut dense = ArrayD::from_elem(IxDyn(&dims), Default::default());
            let last = Axis(lanes.len());
            for (k, (i, j)) in self.coordinates().enumerate() {
                let mut to = dense.index_axis_mut(last, i);
                to.index_axis_mut(last, j).assign(&values.index_axis(last, k));
            }
            Array::from(dense.into_shared())
        })
    }
}
