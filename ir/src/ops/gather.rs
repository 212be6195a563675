//! Elements picked by index.

/// `r[a…, i…, b…] = x[a…, clamp(index[i…]), b…]`: NumPy's `take` along `axis`, where an
/// index below 0 is taken as 0 and one above the last as the last. Operands:
/// `x`, and an `i32` or `i64` array of any rank. The axis indexed is not empty
/// unless there is no index.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Gather {
    /// The axis of `x` that is indexed; replaced by the axes of the index.
    pub axis: usize,
}
