//! Arrays one after the other.

/// The operands one after the other along `axis`; other extents are the same.
/// At least one operand.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Concat {
    /// The axis along which they follow each other.
    pub axis: usize,
}
