//! Functions of ours that machine code calls where the processor has no
//! instruction. Each gives the bits that the instruction would give.

pub(crate) extern "C" fn copy(to: *mut u8, from: *const u8, bytes: usize) {
    // SAFETY: the caller is a `Copy` step: both buffers have that many bytes
    // and do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) }
}

macro_rules! functions {
    ($($name:ident, $t:ty, ($($arg:ident),*), $body:expr;)*) => {$(
        pub(crate) extern "C" fn $name($($arg: $t),*) -> $t {
            $body
        }
    )*};
}

functions! {
    fma_f32, f32, (a, b, c), a.mul_add(b, c);
    fma_f64, f64, (a, b, c), a.mul_add(b, c);
    floor_f32, f32, (a), a.floor();
    floor_f64, f64, (a), a.floor();
    ceil_f32, f32, (a), a.ceil();
    ceil_f64, f64, (a), a.ceil();
    trunc_f32, f32, (a), a.trunc();
    trunc_f64, f64, (a), a.trunc();
    nearest_f32, f32, (a), a.round_ties_even();
    nearest_f64, f64, (a), a.round_ties_even();
}
