//! Small matrix products: by the library, and as nests.
//!
//!     cargo bench --bench products
//!
//! Prints nanoseconds per product, of a batch that is one program; nests with their loops in
//! several orders. `passes/src/legalise.rs` takes from these numbers which product is a nest.
#![allow(missing_docs)]

use std::time::Instant;

use backstitch::ir::text::parse_plan;
use backstitch::ir::{Const, Type};
use backstitch::prelude::*;
use backstitch::runtime::{ArrayRef, Executable};
use backstitch::{Array, Backend, DType};

/// Products in a program.
const BATCH: usize = 16;

/// The order of the loops of a nest.
#[derive(Clone, Copy)]
enum Form {
    Mnk,
    Mkn,
    Kmn,
}

/// The library's product, whatever its size.
fn library(dtype: DType, [m, n, k]: [usize; 3], turned: [bool; 2]) -> Executable {
    let (mk, kn, mn) = (m * k, k * n, m * n);
    let [a, b, c] = [mk, kn, mn].map(|len| BATCH * len);
    let strides = |rows, cols, turned| if turned { [1, rows] } else { [cols, 1] };
    let ([ai, ak], [bk, bj]) = (strides(m, k, turned[0]), strides(k, n, turned[1]));
    let text = format!(
        "plan @product arena 0 {{
          inputs {dtype}[{a}], {dtype}[{b}]
          outputs {dtype}[{c}]
          buffer b0 : {dtype}[{a}] input 0
          buffer b1 : {dtype}[{b}] input 1
          buffer b2 : {dtype}[{c}] output 0
          gemm {dtype} b2[{n}, 1] = b0[{ai}, {ak}] * b1[{bk}, {bj}] over m {m} n {n} k {k} batch ({BATCH}: {mk}, {kn}, {mn})
        }}"
    );
    Executable::new(parse_plan(&text).expect("a plan"), Backend::Cpu).expect("a program")
}

fn nest(dtype: DType, [m, n, k]: [usize; 3], turned: [bool; 2], form: Form) -> Executable {
    let dims = |rows, cols, turned| if turned { [BATCH, cols, rows] } else { [BATCH, rows, cols] };
    let specs = (Spec::new(dtype, dims(m, k, turned[0])), Spec::new(dtype, dims(k, n, turned[1])));
    let f = trace(specs, (), |_, (a, b), ()| {
        let a = if turned[0] { a.swap_axes(1, 2) } else { a };
        let b = if turned[1] { b.swap_axes(1, 2) } else { b };
        match form {
            Form::Mnk => (a.expand_dims(2) * b.swap_axes(1, 2).expand_dims(1)).sum_over(3),
            Form::Mkn => (a.expand_dims(3) * b.expand_dims(1)).sum_over(2),
            Form::Kmn => (a.swap_axes(1, 2).expand_dims(3) * b.expand_dims(2)).sum_over(1),
        }
    });
    let program = f.expect("a product").compile().expect("a program");
    Executable::new(program.executable().plan().clone(), Backend::Cpu).expect("a program")
}

/// The least of some means, in nanoseconds per product.
fn time(f: &Executable) -> f64 {
    let ones = |ty: &Type| Array::full(&ty.shape, Const::of_float(ty.dtype, 1.0));
    let inputs: Vec<Array> = f.inputs().iter().map(ones).collect();
    let mut c = ones(&f.outputs()[0]);
    let mut ws = f.workspace().expect("memory");
    let inputs: Vec<ArrayRef<'_>> = inputs.iter().map(|a| a.try_into().expect("whole")).collect();
    let mut call = || {
        f.call_into(&mut ws, &inputs, &mut [(&mut c).try_into().expect("whole")]).expect("a call");
    };
    let mut calls = 1;
    let mut least = f64::INFINITY;
    for _ in 0..60 {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        let time = start.elapsed().as_secs_f64();
        if time < 1e-4 {
            calls *= 2;
        } else {
            least = least.min(time * 1e9 / calls as f64 / BATCH as f64);
        }
    }
    least
}

fn main() {
    let mut shapes: Vec<[usize; 3]> =
        [2, 3, 4, 6, 8, 12, 16, 24, 32].into_iter().map(|n| [n, n, n]).collect();
    shapes.extend([[2, 32, 2], [32, 2, 2], [2, 2, 32], [4, 32, 4], [32, 4, 4], [4, 4, 32]]);
    shapes.extend([[2, 64, 64], [64, 2, 64], [64, 64, 2], [3, 16, 16], [16, 3, 16], [16, 16, 3]]);
    for dtype in [DType::F32, DType::F64] {
        for shape in shapes.iter().copied() {
            for turned in [[false, false], [true, false], [false, true]] {
                let nests = [Form::Mnk, Form::Mkn, Form::Kmn];
                let nests = nests.map(|form| time(&nest(dtype, shape, turned, form)));
                let times = [time(&library(dtype, shape, turned)), nests[0], nests[1], nests[2]];
                let [m, n, k] = shape;
                let [a, b] = turned.map(|t| if t { "ᵀ" } else { "" });
                let library = times[0];
                println!(
                    "{dtype} {m:2}·{n:2}·{k:2} x{a}·y{b}: library {library:6.1}, nests \
                     mnk {:6.1} mkn {:6.1} kmn {:6.1}",
                    times[1], times[2], times[3],
                );
            }
        }
    }
}
