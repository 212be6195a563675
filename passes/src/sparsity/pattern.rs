//! Patterns of matrices: where entries may be other than zero.

/// Where the entries of a matrix may be other than zero, row by row (compressed sparse
/// rows): columns ascend within a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    columns: usize,
    offsets: Vec<usize>,
    indices: Vec<usize>,
}

impl Pattern {
    /// No rows yet, of so many columns.
    pub(super) fn empty(columns: usize) -> Self {
        Self { columns, offsets: vec![0], indices: Vec::new() }
    }

    /// Appends a row with entries in these columns, which ascend.
    pub(super) fn push_row(&mut self, columns: &[u32]) {
        debug_assert!(columns.is_sorted_by(|a, b| a < b));
        self.indices.extend(columns.iter().map(|&j| j as usize));
        self.offsets.push(self.indices.len());
    }

    /// The pattern of so many columns with these entries in each row.
    ///
    /// ```
    /// use backstitch_passes::Pattern;
    /// let p = Pattern::from_rows(3, [vec![0, 2], vec![], vec![1]]);
    /// assert_eq!((p.rows(), p.columns(), p.nnz()), (3, 3, 3));
    /// assert_eq!(p.row(0), [0, 2]);
    /// ```
    ///
    /// # Panics
    /// If the columns of a row do not ascend, or are not below `columns`.
    pub fn from_rows(columns: usize, rows: impl IntoIterator<Item = Vec<usize>>) -> Self {
        let mut pattern = Self::empty(columns);
        for row in rows {
            let i = pattern.rows();
            assert!(row.is_sorted_by(|a, b| a < b), "columns of row {i} do not ascend: {row:?}");
            let last = row.last().copied().filter(|&j| j >= columns);
            assert_eq!(last, None, "row {i} has a column that is not below {columns}");
            pattern.indices.extend(row);
            pattern.offsets.push(pattern.indices.len());
        }
        pattern
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of entries.
    pub fn nnz(&self) -> usize {
        self.indices.len()
    }

    /// Where each row starts in [`indices`](Self::indices), and where the last ends.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The column of each entry, row after row.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// The columns of the entries of a row, ascending.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, i: usize) -> &[usize] {
        &self.indices[self.offsets[i]..self.offsets[i + 1]]
    }

    /// The row and the column of each entry, in order.
    pub fn entries(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.rows()).flat_map(|i| self.row(i).iter().map(move |&j| (i, j)))
    }

    /// Rows and columns exchanged.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let mut offsets = vec![0; self.columns + 1];
        self.indices.iter().for_each(|&j| offsets[j + 1] += 1);
        (0..self.columns).for_each(|j| offsets[j + 1] += offsets[j]);
        let mut next = offsets.clone();
        let mut indices = vec![0; self.nnz()];
        for (i, j) in self.entries() {
            indices[next[j]] = i;
            next[j] += 1;
        }
        Self { columns: self.rows(), offsets, indices }
    }

    /// With an entry wherever there is one on the other side of the diagonal.
    ///
    /// # Panics
    /// If the matrix is not square.
    #[must_use]
    pub fn symmetric(&self) -> Self {
        assert_eq!(self.rows(), self.columns, "a square matrix");
        let other = self.transposed();
        let mut all = Self::empty(self.columns);
        for i in 0..self.rows() {
            let (mut a, mut b) = (self.row(i), other.row(i));
            while let (Some(&x), Some(&y)) = (a.first(), b.first()) {
                all.indices.push(x.min(y));
                a = &a[usize::from(x <= y)..];
                b = &b[usize::from(y <= x)..];
            }
            all.indices.extend_from_slice(a);
            all.indices.extend_from_slice(b);
            all.offsets.push(all.indices.len());
        }
        all
    }

    /// The most entries that any row has.
    pub(crate) fn widest(&self) -> usize {
        (0..self.rows()).map(|i| self.row(i).len()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_changes_nothing() {
        let p = Pattern::from_rows(4, [vec![1, 3], vec![], vec![0, 1, 2]]);
        assert_eq!(p.transposed().row(1), [0, 2]);
        assert_eq!(p.transposed().transposed(), p);
    }

    #[test]
    fn both_sides_of_the_diagonal() {
        let p = Pattern::from_rows(3, [vec![0, 2], vec![], vec![1]]);
        let rows: Vec<&[usize]> = vec![&[0, 2], &[2], &[0, 1]];
        let s = p.symmetric();
        assert_eq!((0..3).map(|i| s.row(i)).collect::<Vec<_>>(), rows);
        assert_eq!(s.symmetric(), s);
    }
}
