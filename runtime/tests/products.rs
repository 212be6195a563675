//! Matrix products of all shapes and layouts, on both devices.

mod common;

use backstitch_ir::Array;
use backstitch_jit::Options;
use backstitch_runtime::{ArrayMut, ArrayRef, Backend, Executable};
use common::plan;

/// A product with these strides; buffers are as long as they need be.
#[derive(Clone, Debug)]
struct Product {
    dtype: &'static str,
    size: [usize; 3],
    /// Row and column stride of a, b, c.
    strides: [[isize; 2]; 3],
    /// Where element (0, 0) of a, b, c is.
    offsets: [usize; 3],
    batch: Vec<(usize, [isize; 3])>,
    /// Added to what is there.
    add: bool,
}

impl Product {
    fn new(dtype: &'static str, m: usize, n: usize, k: usize) -> Self {
        let (n1, k1) = (n as isize, k as isize);
        let strides = [[k1, 1], [n1, 1], [n1, 1]];
        Self { dtype, size: [m, n, k], strides, offsets: [0; 3], batch: vec![], add: false }
    }

    /// The `i`th matrix stored by columns.
    fn transposed(mut self, i: usize) -> Self {
        let [m, n, k] = self.size;
        let rows = [m, k, m][i] as isize;
        let _ = n;
        self.strides[i] = [1, rows];
        self
    }

    fn extents(&self, i: usize) -> [usize; 2] {
        let [m, n, k] = self.size;
        [[m, k], [k, n], [m, n]][i]
    }

    /// Elements that buffer `i` must have.
    fn len(&self, i: usize) -> usize {
        let up = |n: usize, s: isize| if s > 0 { n.saturating_sub(1) as isize * s } else { 0 };
        let [rows, cols] = self.extents(i);
        let [row, col] = self.strides[i];
        let batch: isize = self.batch.iter().map(|(n, s)| up(*n, s[i])).sum();
        self.offsets[i] + (up(rows, row) + up(cols, col) + batch) as usize + 1
    }

    fn text(&self) -> String {
        let Self { dtype, size: [m, n, k], .. } = self;
        let lens = [0, 1, 2].map(|i| self.len(i));
        let [a, b, c] = [0, 1, 2].map(|i| {
            let [row, col] = self.strides[i];
            match self.offsets[i] {
                0 => format!("b{i}[{row}, {col}]"),
                at => format!("b{i}+{at}[{row}, {col}]"),
            }
        });
        let axes: Vec<String> =
            self.batch.iter().map(|(n, [a, b, c])| format!("({n}: {a}, {b}, {c})")).collect();
        let batch =
            if axes.is_empty() { String::new() } else { format!(" batch {}", axes.join(" ")) };
        let set = if self.add { "+=" } else { "=" };
        format!(
            "plan @product arena 0 {{
              inputs {dtype}[{}], {dtype}[{}]
              outputs {dtype}[{}]
              buffer b0 : {dtype}[{}] input 0
              buffer b1 : {dtype}[{}] input 1
              buffer b2 : {dtype}[{}] output 0
              kernel k0 @fill(p0: out {dtype}[{}]) {{
                v0 = const 7.0 : {dtype}
                for i0:{} vector 4 {{
                  p0[i0] = v0
                }}
              }}
              run k0(b2)
              gemm {dtype} {c} {set} {a} * {b} over m {m} n {n} k {k}{batch}
            }}",
            lens[0], lens[1], lens[2], lens[0], lens[1], lens[2], lens[2], lens[2],
        )
    }

    /// Small numbers: sums are exact in any order.
    fn input(&self, i: usize) -> Array {
        let number = |j: usize| ((j * (7 + i) + j / 5) % 17) as f64 - 8.0;
        let numbers = (0..self.len(i)).map(number);
        if self.dtype == "f32" {
            numbers.map(|x| x as f32).collect::<ndarray::Array1<f32>>().into()
        } else {
            numbers.collect::<ndarray::Array1<f64>>().into()
        }
    }

    /// Alone, and added to what is there.
    fn check(&self) {
        [false, true].into_iter().for_each(|add| Self { add, ..self.clone() }.check_one());
    }

    fn check_one(&self) {
        let inputs = [self.input(0), self.input(1)];
        let views = [0, 1].map(|i| ArrayRef::try_from(&inputs[i]).unwrap());
        let run = |backend| {
            let exe = Executable::new(plan(&self.text()), backend).unwrap();
            let ty = exe.outputs()[0].clone();
            // What was there before must not matter.
            let nan = backstitch_ir::Const::of_float(ty.dtype, f64::NAN);
            let mut out = Array::full(&ty.shape, nan);
            let mut ws = exe.workspace().unwrap();
            let mut places: [ArrayMut<'_>; 1] = [(&mut out).try_into().unwrap()];
            exe.call_into(&mut ws, &views, &mut places).unwrap();
            out
        };
        let (got, want) = (run(Backend::Cpu), run(Backend::Interpreter));
        assert_eq!(got.to_f64_vec(), want.to_f64_vec(), "{self:?}");
    }
}

const SIZES: [[usize; 3]; 19] = [
    [1, 1, 1],
    [2, 3, 4],
    [8, 8, 8],
    [16, 16, 16],
    [17, 5, 33],
    [1, 40, 9],
    [40, 1, 9],
    [1, 1, 100],
    [33, 65, 1],
    [33, 65, 2],
    [64, 64, 64],
    [70, 90, 110],
    [3, 200, 7],
    [200, 3, 7],
    [0, 4, 3],
    [4, 0, 3],
    [4, 5, 0],
    [0, 0, 0],
    [1, 1, 0],
];

#[test]
fn every_shape_in_every_order() {
    for dtype in ["f32", "f64"] {
        for [m, n, k] in SIZES {
            for order in 0..8 {
                let product = (0..3)
                    .filter(|i| order >> i & 1 == 1)
                    .fold(Product::new(dtype, m, n, k), Product::transposed);
                product.check();
            }
        }
    }
}

#[test]
fn gaps_and_offsets() {
    for [m, n, k] in SIZES {
        let mut p = Product::new("f32", m, n, k);
        let (n1, k1) = (n as isize, k as isize);
        p.strides = [[2 * k1 + 3, 2], [n1 + 5, 1], [3 * n1 + 1, 3]];
        p.offsets = [3, 5, 2];
        p.check();
        let mut p = p.transposed(0).transposed(1);
        p.check();
        // One row of `a` for all rows, one column of `b` for all columns.
        p.strides[0] = [0, 1];
        p.strides[1] = [1, 0];
        p.check();
    }
}

#[test]
fn backwards() {
    for [m, n, k] in [[5, 4, 3], [1, 9, 8], [70, 20, 30]] {
        let mut p = Product::new("f64", m, n, k);
        let (n1, k1) = (n as isize, k as isize);
        p.strides = [[-k1, 1], [n1, -1], [-n1, 1]];
        p.offsets = [(m - 1) * k, n - 1, (m - 1) * n];
        p.check();
    }
}

#[test]
fn batches() {
    for dtype in ["f32", "f64"] {
        for [m, n, k] in [[3, 4, 5], [16, 16, 16], [1, 7, 3], [20, 30, 0], [0, 3, 2]] {
            let (m1, n1, k1) = (m as isize, n as isize, k as isize);
            for extents in [[2, 3], [1, 1], [0, 3], [4, 0]] {
                let mut p = Product::new(dtype, m, n, k);
                let inner = [m1 * k1, k1 * n1, m1 * n1];
                let outer = inner.map(|s| s * extents[1] as isize);
                p.batch = vec![(extents[0], outer), (extents[1], inner)];
                p.check();
                // The same right factor for all, and heads between the rows.
                p.batch[0].1[1] = 0;
                p.batch[1].1[1] = 0;
                p.check();
                let heads = extents[1].max(1) as isize;
                p.strides[2] = [n1 * heads, 1];
                p.batch[1].1[2] = n1;
                p.check();
            }
        }
    }
}

/// Large and small, odd, and such that a part of the product would be a row or a column.
const SHARED: [[usize; 3]; 12] = [
    [270, 250, 260],
    [131, 1101, 128],
    [1101, 131, 128],
    [97, 140, 1300],
    [97, 90, 80],
    [20, 193, 140],
    [289, 2, 1000],
    [2, 289, 1000],
    [97, 97, 97],
    [100, 33, 700],
    [33, 100, 513],
    [384, 3, 515],
];

/// Numbers whose sums are rounded, so that their order shows.
fn rounded(product: &Product) -> [Array; 2] {
    [0, 1].map(|i| {
        let numbers = (0..product.len(i)).map(|j| ((j * 7 + i) % 1013) as f64 / 997.0);
        match product.dtype {
            "f32" => numbers.map(|x| x as f32).collect::<ndarray::Array1<f32>>().into(),
            _ => Array::from(numbers.collect::<ndarray::Array1<f64>>()),
        }
    })
}

/// The same bits on so many threads as on one.
fn check_threads(product: &Product, threads: &[u32]) {
    let inputs = rounded(product);
    let views = [0, 1].map(|i| ArrayRef::try_from(&inputs[i]).unwrap());
    let on = |workers: u32| {
        let options = Options { workers, share_all: true, ..Options::default() };
        let plan = plan(&product.text());
        let exe = Executable::with_options(plan, Backend::Cpu, options).unwrap();
        exe.call(&views).unwrap().remove(0).to_f64_vec()
    };
    let one = on(1);
    for &workers in threads {
        assert!(one == on(workers), "{product:?} on {workers} threads");
    }
}

#[test]
fn threads_change_no_bit() {
    for dtype in ["f32", "f64"] {
        for [m, n, k] in SHARED {
            for order in 0..16 {
                let mut product = (0..3)
                    .filter(|i| order >> i & 1 == 1)
                    .fold(Product::new(dtype, m, n, k), Product::transposed);
                product.add = order >= 8;
                check_threads(&product, &[2, 3]);
            }
        }
    }
}

/// More products than threads, fewer, and such that some are cut; also where one factor is
/// that of all.
#[test]
fn threads_change_no_bit_of_batches() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build().unwrap();
    pool.install(|| {
        for dtype in ["f32", "f64"] {
            for [m, n, k] in
                [[128, 64, 128], [97, 130, 33], [2, 200, 520], [2, 48, 107], [1, 7, 3], [0, 3, 2]]
            {
                for batch in [[1, 1], [2, 1], [3, 1], [2, 2], [1, 5], [3, 7], [0, 3]] {
                    let (m1, n1, k1) = (m as isize, n as isize, k as isize);
                    let mut product = Product::new(dtype, m, n, k);
                    let inner = [m1 * k1, k1 * n1, m1 * n1];
                    let outer = inner.map(|s| s * batch[1] as isize);
                    product.batch = vec![(batch[0], outer), (batch[1], inner)];
                    check_threads(&product, &[2, 3, 8]);
                    product.batch[0].1[1] = 0;
                    product.add = true;
                    check_threads(&product, &[2, 3, 8]);
                }
            }
        }
    });
}

#[test]
fn what_is_not_finite_arrives() {
    let exe = Executable::new(plan(&Product::new("f32", 2, 2, 2).text()), Backend::Cpu).unwrap();
    let a = [f32::NAN, 0.0, f32::INFINITY, 1.0];
    let b = [0.0, 1.0, 1.0, f32::NEG_INFINITY];
    let mut c = [0f32; 4];
    let mut ws = exe.workspace().unwrap();
    let inputs = [a[..].into(), b[..].into()];
    exe.call_into(&mut ws, &inputs, &mut [(&mut c[..]).into()]).unwrap();
    assert!(c.iter().all(|x| x.is_nan()), "{c:?}");
}
