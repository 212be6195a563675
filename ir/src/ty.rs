//! Element types, shapes, and the types of values.

use std::fmt;

use smallvec::SmallVec;

/// The type of one element.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DType {
    /// 32-bit IEEE 754.
    F32,
    /// 64-bit IEEE 754.
    F64,
    /// 32-bit two's complement; arithmetic wraps.
    I32,
    /// 64-bit two's complement; arithmetic wraps.
    I64,
    /// One byte, 0 or 1.
    Bool,
}

impl DType {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::F32, Self::F64, Self::I32, Self::I64, Self::Bool];

    /// Bytes of one element in memory.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
            Self::Bool => 1,
        }
    }

    /// Its name in text: `f32`, `f64`, `i32`, `i64`, `bool`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::Bool => "bool",
        }
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == name)
    }

    /// Whether it is `f32` or `f64`: the types that carry derivatives.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// Whether it is `i32` or `i64`.
    pub const fn is_int(self) -> bool {
        matches!(self, Self::I32 | Self::I64)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The extents of an array, outermost first; row-major. Rank 0 is a scalar.
#[derive(PartialEq, Eq, Hash, Default)]
pub struct Shape(SmallVec<[usize; 4]>);

/// Shapes are copied a lot, and extents are numbers.
impl Clone for Shape {
    fn clone(&self) -> Self {
        Self(SmallVec::from_slice(&self.0))
    }
}

impl Shape {
    /// Rank 0.
    pub fn scalar() -> Self {
        Self::default()
    }

    /// The extents.
    #[inline]
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of elements, or `None` where strides do not fit in an `isize`: empty
    /// axes do not make room for others.
    pub fn checked_len(&self) -> Option<usize> {
        let n = self.0.iter().filter(|&&d| d != 0).try_fold(1usize, |n, &d| n.checked_mul(d))?;
        isize::try_from(n).ok().map(|_| if self.0.contains(&0) { 0 } else { n })
    }

    /// Number of elements. Types in a graph have been checked to fit.
    pub fn len(&self) -> usize {
        self.0.iter().product()
    }

    /// Whether it has no element at all.
    pub fn is_empty(&self) -> bool {
        self.0.contains(&0)
    }

    /// Row-major strides in elements.
    pub fn strides(&self) -> SmallVec<[isize; 4]> {
        let mut out = SmallVec::from_elem(0, self.rank());
        let mut step = 1isize;
        for (s, &d) in out.iter_mut().zip(&self.0).rev() {
            *s = step;
            step = step.wrapping_mul(d as isize);
        }
        out
    }

    /// The shape both broadcast to, as NumPy does it: aligned at the end, an
    /// extent of 1 stretches. `None` where they do not fit.
    pub fn broadcast(&self, other: &Self) -> Option<Self> {
        let rank = self.rank().max(other.rank());
        let at = |s: &Self, i: usize| (i + s.rank()).checked_sub(rank).map_or(1, |j| s.0[j]);
        (0..rank)
            .map(|i| match (at(self, i), at(other, i)) {
                (a, b) if a == b => Some(a),
                (1, b) => Some(b),
                (a, 1) => Some(a),
                _ => None,
            })
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Without the axes listed (each in range).
    pub fn without(&self, axes: &[usize]) -> Self {
        let keep = |(i, &d): (usize, &usize)| (!axes.contains(&i)).then_some(d);
        Self(self.0.iter().enumerate().filter_map(keep).collect())
    }
}

impl<D: AsRef<[usize]>> From<D> for Shape {
    fn from(dims: D) -> Self {
        Self(SmallVec::from_slice(dims.as_ref()))
    }
}

impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(dims: I) -> Self {
        Self(dims.into_iter().collect())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { "," } else { "" })?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The type of a value: an array, or a stack of arrays of one type.
///
/// A stack is what a loop leaves behind for its reverse: it is pushed once per
/// iteration and popped once per iteration of a later loop. Only loops and
/// conditionals touch stacks.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Type {
    /// Element type.
    pub dtype: DType,
    /// Shape of the array, or of each array on the stack.
    pub shape: Shape,
    /// How many stacks deep: 0 is an array, 1 a stack of arrays, 2 a stack of
    /// such stacks (a loop inside a loop).
    pub stack: u8,
}

impl Type {
    /// An array type.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> Self {
        Self { dtype, shape: shape.into(), stack: 0 }
    }

    /// A rank-0 type.
    pub fn scalar(dtype: DType) -> Self {
        Self::new(dtype, Shape::scalar())
    }

    /// Number of bytes of its elements, or `None` where that does not fit in an `isize`.
    pub fn checked_bytes(&self) -> Option<usize> {
        let n = self.shape.checked_len()?.checked_mul(self.dtype.size())?;
        isize::try_from(n).ok().map(|_| n)
    }

    /// The type of a stack of these.
    pub fn stacked(&self) -> Self {
        Self { stack: self.stack + 1, ..self.clone() }
    }

    /// The type of what is on this stack.
    pub fn unstacked(&self) -> Self {
        Self { stack: self.stack - 1, ..self.clone() }
    }

    /// The same shape with another element type.
    pub fn with_dtype(&self, dtype: DType) -> Self {
        Self { dtype, ..self.clone() }
    }

    /// The same element type with another shape.
    pub fn with_shape(&self, shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), ..self.clone() }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.rank()
    }

    /// The extents.
    #[inline]
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.len()
    }

    /// Whether it has no element at all.
    pub fn is_empty(&self) -> bool {
        self.shape.is_empty()
    }

    /// Bytes of one array of this type.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype.size()
    }

    /// Whether values of it carry derivatives.
    pub fn is_float(&self) -> bool {
        self.dtype.is_float()
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for _ in 0..self.stack {
            f.write_str("stack ")?;
        }
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
