//! What the routines on matrices share: numbers, and faer's views of memory.
//!
//! The numerical work on matrices is faer's, on one thread. It works in place in
//! our row-major arrays, and in memory that the routine declares; besides, the
//! products inside of it have one buffer per thread, which is made when a thread
//! first needs it and then stays.

use std::mem::MaybeUninit;
use std::ops::Neg;

use faer::dyn_stack::{MemStack, StackReq};
use faer::traits::RealField;
use faer::{MatMut, MatRef};

use super::{Sliced, Word};

/// Numbers that matrices are made of: `f32`, `f64`.
pub(super) trait Real: Sliced + RealField + Neg<Output = Self> {
    const NAN: Self;
    fn abs(self) -> Self;
    fn ln(self) -> Self;
    fn recip(self) -> Self;
    fn is_infinite(self) -> bool;
    fn of_index(i: usize) -> Self;
    fn index(self) -> usize;
}

macro_rules! reals {
    ($($t:ident)*) => {$(
        impl Real for $t {
            const NAN: Self = $t::NAN;
            fn abs(self) -> Self {
                $t::abs(self)
            }
            fn ln(self) -> Self {
                $t::ln(self)
            }
            fn recip(self) -> Self {
                $t::recip(self)
            }
            fn is_infinite(self) -> bool {
                $t::is_infinite(self)
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

/// `x -= a·y`.
pub(super) fn subtract_multiple<T: Real>(x: &mut [T], a: T, y: &[T]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x -= a * y;
    }
}

/// Exchanges two different rows of a matrix of `m` columns.
pub(super) fn swap_rows<T>(x: &mut [T], m: usize, i: usize, j: usize) {
    let (top, bottom) = x.split_at_mut(i.max(j) * m);
    top[i.min(j) * m..][..m].swap_with_slice(&mut bottom[..m]);
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
pub(super) fn view<T>(x: &[T], n: usize, m: usize) -> MatRef<'_, T> {
    MatRef::from_row_major_slice(x, n, m)
}

/// A contiguous matrix to be written.
pub(super) fn view_mut<T>(x: &mut [T], n: usize, m: usize) -> MatMut<'_, T> {
    MatMut::from_row_major_slice_mut(x, n, m)
}

/// How many words hold what faer asks for, wherever they begin.
pub(super) fn words(need: StackReq) -> usize {
    need.unaligned_bytes_required().div_ceil(size_of::<Word>())
}

/// Memory for faer.
pub(super) fn stack(work: &mut [Word]) -> &mut MemStack {
    let work: *mut [Word] = work;
    // SAFETY: the same memory, exclusively borrowed. Only what has no undefined
    // bytes (floats and indices) is written there, so the words stay words.
    MemStack::new_any(unsafe { &mut *(work as *mut [MaybeUninit<Word>]) })
}
