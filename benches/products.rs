//! Who multiplies matrices: the numbers from which the compiler chooses.
//!
//!     cargo bench --bench products -- [nests] [rows] [layers] [threads]
//!
//! `nests`: small products by the library, and as nests with their loops in several orders;
//! nanoseconds per product, of a batch that is one program. `passes/src/legalise.rs` takes from
//! these numbers which product is a nest.
//!
//! `rows`: many rows with one small matrix, by the library and as columns; how many times as
//! long the library takes. `passes/src/columns/choice.rs` takes from it what is small.
//!
//! `layers`: a product alone, and with what a layer adds to it in a pass of its own; what of the
//! time the pass is: more could not be saved by doing it piece by piece, behind the product,
//! and a product in pieces takes longer.
//!
//! `threads`: products on one thread beside two, in calls that follow each other and in calls
//! with a pause between them, in which helpers go to sleep. From it are `PRODUCT` and
//! `PRODUCT_RATE` in `jit/src/work.rs`, and how `runtime/src/matmul.rs` cuts products.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use backstitch::ir::text::parse_plan;
use backstitch::ir::{Const, Type};
use backstitch::prelude::*;
use backstitch::runtime::{ArrayRef, Executable};
use backstitch::{Array, Backend, DType, Options};

/// Products in a program of nests.
const BATCH: usize = 16;

/// The order of the loops of a nest.
#[derive(Clone, Copy)]
enum Form {
    Mnk,
    Mkn,
    Kmn,
}

/// The library's products, whatever their size.
fn library(dtype: DType, batch: usize, [m, n, k]: [usize; 3], turned: [bool; 2]) -> Executable {
    let (mk, kn, mn) = (m * k, k * n, m * n);
    let [a, b, c] = [mk, kn, mn].map(|len| batch * len);
    let strides = |rows, cols, turned| if turned { [1, rows] } else { [cols, 1] };
    let ([ai, ak], [bk, bj]) = (strides(m, k, turned[0]), strides(k, n, turned[1]));
    let text = format!(
        "plan @product arena 0 {{
          inputs {dtype}[{a}], {dtype}[{b}]
          outputs {dtype}[{c}]
          buffer b0 : {dtype}[{a}] input 0
          buffer b1 : {dtype}[{b}] input 1
          buffer b2 : {dtype}[{c}] output 0
          gemm {dtype} b2[{n}, 1] = b0[{ai}, {ak}] * b1[{bk}, {bj}] over m {m} n {n} k {k} batch ({batch}: {mk}, {kn}, {mn})
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

/// `x · W`, or a layer's function of it, as the compiler does it.
fn layer(
    dtype: DType,
    [m, n, k]: [usize; 3],
    f: for<'t> fn(Tensor<'t>, Tensor<'t>) -> Tensor<'t>,
) -> Executable {
    let specs = (Spec::new(dtype, [m, k]), Spec::new(dtype, [k, n]), Spec::new(dtype, [n]));
    let f = trace(specs, (), |_, (x, w, b), ()| f(x.matmul(w), b));
    let program = f.expect("a layer").compile().expect("a program");
    Executable::new(program.executable().plan().clone(), Backend::Cpu).expect("a program")
}

/// The least of some means, in nanoseconds per call.
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
            least = least.min(time * 1e9 / calls as f64);
        }
    }
    least
}

/// A table, and its name.
type Table = (&'static str, fn());

const TABLES: [Table; 4] =
    [("nests", nests), ("rows", rows), ("layers", layers), ("threads", threads)];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    for (name, table) in TABLES {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            table();
        }
    }
}

fn nests() {
    let mut shapes: Vec<[usize; 3]> =
        [2, 3, 4, 6, 8, 12, 16, 24, 32].into_iter().map(|n| [n, n, n]).collect();
    shapes.extend([[2, 32, 2], [32, 2, 2], [2, 2, 32], [4, 32, 4], [32, 4, 4], [4, 4, 32]]);
    shapes.extend([[2, 64, 64], [64, 2, 64], [64, 64, 2], [3, 16, 16], [16, 3, 16], [16, 16, 3]]);
    for dtype in [DType::F32, DType::F64] {
        for shape in shapes.iter().copied() {
            for turned in [[false, false], [true, false], [false, true]] {
                let each = |f: &Executable| time(f) / BATCH as f64;
                let nests = [Form::Mnk, Form::Mkn, Form::Kmn];
                let nests = nests.map(|form| each(&nest(dtype, shape, turned, form)));
                let library = each(&library(dtype, BATCH, shape, turned));
                let [m, n, k] = shape;
                let [a, b] = turned.map(|t| if t { "ᵀ" } else { "" });
                println!(
                    "{dtype} {m:2}·{n:2}·{k:2} x{a}·y{b}: library {library:6.1}, nests \
                     mnk {:6.1} mkn {:6.1} kmn {:6.1}",
                    nests[0], nests[1], nests[2],
                );
            }
        }
    }
}

fn rows() {
    for dtype in [DType::F32, DType::F64] {
        for m in [300, 3000, 30_000] {
            for [k, n] in
                [[2, 2], [3, 3], [4, 4], [3, 8], [8, 8], [10, 10], [15, 15], [10, 2], [2, 10]]
            {
                let shape = [m, n, k];
                let library = time(&library(dtype, 1, shape, [false; 2]));
                let ours = time(&layer(dtype, shape, |x, _| x));
                println!(
                    "{dtype} {m:5}·{k:2} with {k:2}·{n:2}: {:5.2} ({ours:.0} ns)",
                    library / ours
                );
            }
        }
    }
}

fn layers() {
    let shapes =
        [[128, 784, 512], [128, 512, 512], [512, 64, 64], [4096, 512, 512], [8192, 64, 64]];
    for dtype in [DType::F32, DType::F64] {
        for [m, k, n] in shapes {
            let shape = [m, n, k];
            let product = time(&layer(dtype, shape, |x, _| x));
            let relu = time(&layer(dtype, shape, |x, b| (x + b).relu()));
            let part = 100.0 * (1.0 - product / relu);
            println!(
                "{dtype} {m:4}·{k:3} with {k:3}·{n:3}: {product:9.0} ns, the pass {part:4.1} % of all"
            );
        }
    }
}

/// Longer than helpers stay awake.
const PAUSE: Duration = Duration::from_micros(300);

/// The least time of a call, in microseconds, on one thread and on two; in a row, and after
/// a pause. They take turns.
fn side_by_side(batch: usize, [m, n, k]: [usize; 3], turned: [bool; 2]) -> [[f64; 2]; 2] {
    let dims = |rows, cols, turned| if turned { [batch, cols, rows] } else { [batch, rows, cols] };
    let [a, b] = [dims(m, k, turned[0]), dims(k, n, turned[1])];
    let programs = [1, 2].map(|threads| {
        let f = trace((Spec::f32(a), Spec::f32(b)), (), |_, (a, b), ()| {
            let a = if turned[0] { a.swap_axes(1, 2) } else { a };
            let b = if turned[1] { b.swap_axes(1, 2) } else { b };
            a.matmul(b)
        });
        let mut options = Options::default().threads(threads);
        options.share_all = true;
        f.expect("a product").compile_with(&options).expect("a program")
    });
    let ones = |dims: [usize; 3]| ndarray::Array::<f32, _>::ones(dims);
    let (x, mut c) = ((ones(a), ones(b)), ones([batch, m, n]));
    let mut spaces = programs.each_ref().map(|f| f.workspace().expect("memory"));
    let mut least = [[f64::INFINITY; 2]; 2];
    for round in 0..160 {
        let (which, pause) = (round % 2, round / 2 % 2);
        let mut call = || {
            let start = Instant::now();
            programs[which].call_into(&mut spaces[which], &x, &(), &mut c).expect("fits");
            start.elapsed().as_secs_f64() * 1e6
        };
        // In a row, the first calls wake whoever sleeps.
        if pause == 1 {
            call();
            std::thread::sleep(PAUSE);
        }
        let best = (0..[20, 1][pause]).map(|_| call()).fold(f64::INFINITY, f64::min);
        least[pause][which] = least[pause][which].min(best);
    }
    least
}

fn threads() {
    println!("microseconds:                      in a row                  after a pause");
    println!("                                 1       2   ratio           1       2   ratio");
    let cubes = [32, 48, 64, 80, 96, 128, 192, 256, 300, 512].map(|n| (1, [n; 3]));
    let others = [
        (32, [16, 16, 16]),
        (512, [16, 16, 16]),
        (16, [32, 32, 32]),
        (64, [32, 32, 32]),
        (2, [300, 300, 300]),
        (3, [128, 128, 64]),
        (4, [128, 128, 64]),
        (4, [128, 64, 128]),
        (1, [512, 64, 64]),
        (1, [64, 64, 512]),
        (1, [64, 256, 1600]),
        (1, [1600, 256, 64]),
        (1, [16, 256, 64]),
        (1, [16, 64, 256]),
        (1, [128, 10, 512]),
        (1, [8192, 4, 64]),
        (1, [4, 8192, 64]),
        (1, [20_000, 16, 16]),
        (1, [128, 512, 784]),
        (1, [784, 512, 128]),
    ];
    for (batch, [m, n, k]) in cubes.into_iter().chain(others) {
        for turned in [[false, false], [true, false], [false, true]] {
            let [row, paused] = side_by_side(batch, [m, n, k], turned);
            let text = |[one, two]: [f64; 2]| format!("{one:8.1}{two:8.1}{:8.2}", one / two);
            let [a, b] = turned.map(|t| if t { "ᵀ" } else { "" });
            let what = format!("{batch} of {m}·{k}{a}, {k}·{n}{b}");
            println!("{what:26}{}    {}", text(row), text(paused));
        }
    }
}
