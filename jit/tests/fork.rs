//! Kernels that are handed to several threads: which, and what comes of it.

mod common;

use std::cell::Cell;
use std::ptr;

use backstitch_ir::text::parse_plan;
use backstitch_jit::{Cpu, Externs, KernelFn, Options};
use common::{EXTERNS, options};

thread_local! {
    /// What the last fork on this thread was asked for: iterations, threads.
    static ASKED: Cell<Option<(i64, u32)>> = const { Cell::new(None) };
}

unsafe extern "C" fn fork(kernel: KernelFn, table: *const *mut u8, count: i64, threads: u32) {
    ASKED.set(Some((count, threads)));
    // SAFETY: machine code passes a table that fits, and waits.
    unsafe { (EXTERNS.fork)(kernel, table, count, threads) };
}

/// `out[i] = 3·x[i]`, in chunks, of so many elements; with what the fork was asked for.
fn tripled(n: usize, workers: u32) -> (Vec<f64>, Option<(i64, u32)>) {
    let text = format!(
        "plan @main arena 0 {{
           inputs f64[{n}]
           outputs f64[{n}]
           buffer b0 : f64[{n}] input 0
           buffer b1 : f64[{n}] output 0
           kernel k0 @k0(p0: in f64[{n}], p1: out f64[{n}]) {{
             v0 = const 3.0 : f64
             for i0:{chunks} parallel {{
               for i1:{n} chunk 1000 of i0 vector 4 {{
                 v1 = load p0[i1] : f64
                 v2 = mul v1, v0 : f64
                 p1[i1] = v2
               }}
             }}
           }}
           run k0(b0, b1)
         }}",
        chunks = n.div_ceil(1000),
    );
    let plan = parse_plan(&text).expect("a plan");
    let externs = Externs { fork, ..EXTERNS };
    let options = Options { workers, ..options(Cpu::Host) };
    let code = backstitch_jit::compile(&plan, &externs, &options).expect("compiles");
    let x: Vec<f64> = (0..n).map(|i| i as f64).collect();
    let mut out = vec![f64::NAN; n];
    let (ins, outs) = ([x.as_ptr().cast()], [out.as_mut_ptr().cast()]);
    ASKED.set(None);
    // SAFETY: an input and an output of so many elements; no arena, no stacks.
    let status =
        unsafe { code.call(ins.as_ptr(), outs.as_ptr(), ptr::null_mut(), ptr::null_mut()) };
    assert_eq!(status, 0);
    (out, ASKED.get())
}

#[test]
fn long_kernels_are_shared_and_whole() {
    let n = 4_000_007;
    let expected: Vec<f64> = (0..n).map(|i| 3.0 * i as f64).collect();
    for workers in [2, 3, 8, 40] {
        let (out, asked) = tripled(n, workers);
        assert_eq!(asked, Some((4001, workers)));
        assert!(out == expected, "{workers} threads");
    }
}

#[test]
fn short_kernels_and_single_threads_are_not() {
    for (n, workers) in [(10_000, 8), (4_000_007, 1), (4_000_007, 0)] {
        let (out, asked) = tripled(n, workers);
        assert_eq!(asked, None, "{n} elements, {workers} threads");
        assert_eq!(out[n - 1], 3.0 * (n - 1) as f64);
    }
}
