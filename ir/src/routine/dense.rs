//! What the factorisations share: blocks, and products of blocks.
//!
//! Factorisations run over blocks of columns. Within a block they go row by row,
//! over slices that are contiguous; what a block needs from all before it is one
//! matrix product, where nearly all of the time goes for large matrices.

use std::ops::{Add, Div, Mul, Neg, Sub};

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, LinalgScalar};

use super::Sliced;

/// Columns per block.
pub(super) const BLOCK: usize = 32;

/// Numbers that matrices are made of: `f32`, `f64`.
pub(super) trait Real:
    Sliced
    + LinalgScalar
    + PartialOrd
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    const NAN: Self;
    fn sqrt(self) -> Self;
    fn abs(self) -> Self;
    fn ln(self) -> Self;
    fn of_index(i: usize) -> Self;
    fn index(self) -> usize;
}

macro_rules! reals {
    ($($t:ident)*) => {$(
        impl Real for $t {
            const NAN: Self = $t::NAN;
            fn sqrt(self) -> Self {
                $t::sqrt(self)
            }
            fn abs(self) -> Self {
                $t::abs(self)
            }
            fn ln(self) -> Self {
                $t::ln(self)
            }
            fn of_index(i: usize) -> Self {
                i as $t
            }
            fn index(self) -> usize {
                self as usize
            }
        }
    )*};
}
reals!(f32 f64);

/// Runs the expression with `$T` bound to a float type.
macro_rules! with_real {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
            other => unreachable!("a matrix of {other}"),
        }
    };
}
pub(super) use with_real;

/// `Σ x·y`, in eight partial sums.
pub(super) fn dot<T: Real>(x: &[T], y: &[T]) -> T {
    const LANES: usize = 8;
    let mut sums = [T::zero(); LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest = xs.remainder().iter().zip(ys.remainder());
    let rest = rest.fold(T::zero(), |sum, (&x, &y)| sum + x * y);
    for (x, y) in xs.zip(ys) {
        for i in 0..LANES {
            sums[i] = sums[i] + x[i] * y[i];
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + e) + (c + g)) + ((b + f) + (d + h)) + rest
}

/// `x -= a·y`.
pub(super) fn subtract_multiple<T: Real>(x: &mut [T], a: T, y: &[T]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x = *x - a * y;
    }
}

/// `c -= a·b`.
pub(super) fn subtract_product<T: Real>(
    c: &mut ArrayViewMut2<'_, T>,
    a: &ArrayView2<'_, T>,
    b: &ArrayView2<'_, T>,
) {
    if !c.is_empty() && a.ncols() > 0 {
        general_mat_mul(-T::one(), a, b, T::one(), c);
    }
}

/// The matrices of a stack, `n` by `m`.
pub(super) fn matrices<T>(x: &[T], n: usize, m: usize) -> impl Iterator<Item = &[T]> {
    x.chunks_exact((n * m).max(1))
}

/// The matrices of a stack, `n` by `m`, to be written.
pub(super) fn matrices_mut<T>(x: &mut [T], n: usize, m: usize) -> impl Iterator<Item = &mut [T]> {
    x.chunks_exact_mut((n * m).max(1))
}

/// A contiguous matrix.
pub(super) fn view<T>(x: &[T], n: usize, m: usize) -> ArrayView2<'_, T> {
    ArrayView2::from_shape((n, m), x).expect("as many elements as the matrix has")
}

/// A contiguous matrix to be written.
pub(super) fn view_mut<T>(x: &mut [T], n: usize, m: usize) -> ArrayViewMut2<'_, T> {
    ArrayViewMut2::from_shape((n, m), x).expect("as many elements as the matrix has")
}
