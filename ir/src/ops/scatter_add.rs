//! Addition at places picked by index: the adjoint of gather.

/// `x` with `[a…, clamp(index[i…]), b…] += u[a…, i…, b…]`, in the order of `i`.
/// Operands: `x`, index (`i32` or `i64`, any rank), `u` of the type that `gather`
/// would give.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ScatterAdd {
    /// The axis of `x` that is indexed.
    pub axis: usize,
}
