//! Matrix products, by faer.
//!
//! With AVX2 or AVX-512 each element of a product is one sum, in order of `k` with fused
//! multiplications, in pieces of 512: so neither the layout of a matrix nor how it is cut for
//! several threads changes a bit. Elsewhere the extents decide the order: there a product is
//! cut into the same blocks on any number of threads. (Products of a single row, column or
//! `k` are sums of another order. None comes from a graph: those are nests, see `legalise`
//! in passes.)
//!
//! The library keeps memory for repacked factors, per thread, and takes it when a thread
//! first needs it.

use std::ops::Range;

use backstitch_ir::plan::{BatchAxis, Gemm};
use backstitch_ir::{DType, threshold};
use faer::linalg::matmul::matmul;
use faer::traits::ComplexField;
use faer::{Accum, MatMut, MatRef, Par};

use crate::guard;
use crate::threads::parts;

/// A product for several threads is cut at multiples of so many rows or columns: what the
/// library's innermost loops take at once.
const BLOCK: usize = threshold(96, 4);

/// `c = a · b` as described, or `c += a · b`.
///
/// # Safety
///
/// At `a`, `b` and `c` are the matrices described, the elements (0, 0) of the
/// first of the batch; `c` overlaps neither factor, nor its elements each other.
pub(crate) unsafe extern "C" fn gemm(
    desc: *const Gemm,
    a: *const u8,
    b: *const u8,
    c: *mut u8,
    threads: u32,
) {
    // SAFETY: as required.
    let desc = unsafe { &*desc };
    // SAFETY: as required.
    guard::catch(|| unsafe {
        match desc.dtype {
            DType::F32 => shared::<f32>(desc, threads, a.cast(), b.cast(), c.cast()),
            DType::F64 => shared::<f64>(desc, threads, a.cast(), b.cast(), c.cast()),
            other => panic!("matrix product of {other}"),
        }
    });
}

/// The scalars that products are made of.
trait Real: ComplexField + Copy {
    const ONE: Self;
}

impl Real for f32 {
    const ONE: Self = 1.0;
}

impl Real for f64 {
    const ONE: Self = 1.0;
}

/// Where the three matrices are.
#[derive(Clone, Copy)]
struct Places<T> {
    a: *const T,
    b: *const T,
    c: *mut T,
}

// SAFETY: factors are only read, and products of one batch do not overlap: each is
// written by one thread.
unsafe impl<T> Send for Places<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Places<T> {}

impl<T> Places<T> {
    /// Those at an index of a batch axis. Wrapping, because an empty matrix need not be
    /// anywhere.
    fn at(self, axis: &BatchAxis, i: usize) -> Self {
        let [a, b, c] = axis.strides.map(|stride| i as isize * stride);
        let Self { a: a0, b: b0, c: c0 } = self;
        Self { a: a0.wrapping_offset(a), b: b0.wrapping_offset(b), c: c0.wrapping_offset(c) }
    }
}

/// Shares a batch among threads, or else the one product. Which thread makes an element
/// does not change how it is made.
unsafe fn shared<T: Real>(desc: &Gemm, threads: u32, a: *const T, b: *const T, c: *mut T) {
    let places = Places { a, b, c };
    match desc.batch.split_first() {
        Some((axis, inner)) if threads > 1 && axis.extent > 1 => {
            parts(threads, axis.extent, |range| {
                for i in range {
                    // SAFETY: as required.
                    unsafe { batched(desc, inner, 1, places.at(axis, i)) };
                }
            });
        }
        // SAFETY: as required.
        _ => unsafe { batched(desc, &desc.batch, threads, places) },
    }
}

unsafe fn batched<T: Real>(desc: &Gemm, batch: &[BatchAxis], threads: u32, places: Places<T>) {
    let Some((axis, inner)) = batch.split_first() else {
        // SAFETY: as required.
        return unsafe { single(desc, threads, places) };
    };
    for i in 0..axis.extent {
        // SAFETY: as required.
        unsafe { batched(desc, inner, threads, places.at(axis, i)) };
    }
}

/// One product, cut along its longer side for several threads.
unsafe fn single<T: Real>(desc: &Gemm, threads: u32, places: Places<T>) {
    let &Gemm { m, n, .. } = desc;
    let whole = is_one_order();
    if threads <= 1 && whole {
        // SAFETY: as required.
        return unsafe { product(desc, [m, n], places) };
    }
    let by_rows = m > n;
    let long = m.max(n);
    let axis = if by_rows {
        BatchAxis { extent: m, strides: [desc.a.row, 0, desc.c.row] }
    } else {
        BatchAxis { extent: n, strides: [0, desc.b.col, desc.c.col] }
    };
    let last = blocks(long);
    let piece = |blocks: Range<usize>| {
        let end = if blocks.end == last { long } else { blocks.end * BLOCK };
        let (from, to) = (blocks.start * BLOCK, end);
        let part = if by_rows { [to - from, n] } else { [m, to - from] };
        // SAFETY: as required; parts are rows or columns of `c` of their own.
        unsafe { product(desc, part, places.at(&axis, from)) };
    };
    parts(threads, blocks(long), |blocks| match whole {
        true => piece(blocks),
        false => blocks.for_each(|block| piece(block..block + 1)),
    });
}

/// Into how many blocks so many rows or columns are cut. None is a single one: the library
/// has another order for products of one row or column.
fn blocks(long: usize) -> usize {
    let whole = long / BLOCK;
    (if long % BLOCK > 1 { whole + 1 } else { whole }).max(1)
}

/// Whether the library adds up in the same order for any extents.
fn is_one_order() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// So many rows and columns of a product.
unsafe fn product<T: Real>(desc: &Gemm, [m, n]: [usize; 2], Places { a, b, c }: Places<T>) {
    let k = desc.k;
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: as required: these are matrices in bounds, and `c` overlaps neither factor.
    let (a, b, c) = unsafe {
        (
            MatRef::from_raw_parts(a, m, k, desc.a.row, desc.a.col),
            MatRef::from_raw_parts(b, k, n, desc.b.row, desc.b.col),
            MatMut::from_raw_parts_mut(c, m, n, desc.c.row, desc.c.col),
        )
    };
    let accum = if desc.add { Accum::Add } else { Accum::Replace };
    matmul(c, accum, a, b, T::ONE, Par::Seq);
}
