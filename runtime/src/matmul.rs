//! Matrix products, by crate `gemm`.

use backstitch_ir::DType;
use backstitch_ir::plan::{BatchAxis, Gemm};

use crate::guard;
use crate::threads::parts;

/// `c = a · b` as described. The library takes and returns scratch memory for
/// shapes beyond a few dozen; nothing is kept.
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
trait Real: Copy + 'static {
    const ZERO: Self;
    const ONE: Self;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
}

impl Real for f64 {
    const ZERO: Self = 0.0;
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

unsafe fn single<T: Real>(desc: &Gemm, threads: u32, Places { a, b, c }: Places<T>) {
    let &Gemm { m, n, k, .. } = desc;
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        for i in 0..m as isize {
            for j in 0..n as isize {
                // SAFETY: it is an element of `c`.
                unsafe { c.offset(i * desc.c.row + j * desc.c.col).write(T::ZERO) };
            }
        }
        return;
    }
    let parallelism = match threads {
        0 | 1 => gemm::Parallelism::None,
        n => gemm::Parallelism::Rayon(n as usize),
    };
    // SAFETY: as required. The library takes column strides before row strides,
    // and does not read `c` when told so.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c,
            desc.c.col,
            desc.c.row,
            false,
            a,
            desc.a.col,
            desc.a.row,
            b,
            desc.b.col,
            desc.b.row,
            T::ZERO,
            T::ONE,
            false,
            false,
            false,
            parallelism,
        );
    }
}
