//! Matrix products, by crate `gemm`.

use backstitch_ir::DType;
use backstitch_ir::plan::{BatchAxis, Gemm};

use crate::guard;

/// `c = a · b` as described. The library takes and returns scratch memory for
/// shapes beyond a few dozen; nothing is kept.
///
/// # Safety
///
/// At `a`, `b` and `c` are the matrices described, the elements (0, 0) of the
/// first of the batch; `c` overlaps neither factor, nor its elements each other.
pub(crate) unsafe extern "C" fn gemm(desc: *const Gemm, a: *const u8, b: *const u8, c: *mut u8) {
    // SAFETY: as required.
    let desc = unsafe { &*desc };
    // SAFETY: as required.
    guard::catch(|| unsafe {
        match desc.dtype {
            DType::F32 => batched::<f32>(desc, &desc.batch, a.cast(), b.cast(), c.cast()),
            DType::F64 => batched::<f64>(desc, &desc.batch, a.cast(), b.cast(), c.cast()),
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

unsafe fn batched<T: Real>(desc: &Gemm, batch: &[BatchAxis], a: *const T, b: *const T, c: *mut T) {
    let Some((axis, inner)) = batch.split_first() else {
        // SAFETY: as required.
        return unsafe { single(desc, a, b, c) };
    };
    for i in 0..axis.extent as isize {
        let [sa, sb, sc] = axis.strides;
        // Wrapping, because an empty matrix need not be anywhere.
        let (a, b, c) =
            (a.wrapping_offset(i * sa), b.wrapping_offset(i * sb), c.wrapping_offset(i * sc));
        // SAFETY: as required.
        unsafe { batched(desc, inner, a, b, c) };
    }
}

unsafe fn single<T: Real>(desc: &Gemm, a: *const T, b: *const T, c: *mut T) {
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
            gemm::Parallelism::None,
        );
    }
}
