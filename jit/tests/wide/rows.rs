//! Loops over rows: what is kept for all of them, asked for ahead or done several at a time.

use backstitch_ir::DType;
use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Access, At, Axis, Mode, Monoid, Nest, Range};
use backstitch_jit::{Options, Vectors, testing};

use crate::common::{Rng, compile_with};
use crate::trial::{Taken, along, check_named, check_texts, check_with, plan_of};

/// Rows that are read twice, by a product with something that is the same for all and by a
/// sum over them, in chunks or as a whole.
fn read_twice(dtype: DType, rows: usize, n: usize, size: Option<usize>, lanes: usize) -> Nest {
    let mut b = NestBuilder::new("twice");
    let chunks = size.map_or(3, |size| rows.div_ceil(size));
    let x = b.param(dtype, if size.is_some() { rows * n } else { 3 * rows * n }, Access::In);
    let w = b.param(dtype, n + 1, Access::In);
    let products = b.param(dtype, chunks * rows, Access::Out);
    let sums = b.param(dtype, chunks * n, Access::Out);
    let zero = b.int(dtype, 0);
    let c = b.axis(chunks);
    let range = size.map_or(Range::Whole, |size| Range::Chunk { of: c, size });
    let at = |i: Axis, j: Axis| {
        let apart = (c, (rows * n) as i64);
        let strides = [(i, n as i64), (j, 1)].into_iter().chain(size.is_none().then_some(apart));
        At { strides: strides.collect(), ..At::default() }
    };
    b.open(c, Range::Whole, Mode::Parallel);
    let j = b.axis(n);
    b.open(j, Range::Whole, Mode::Vector { lanes: 8 });
    b.store(sums, along(&[(c, n as i64), (j, 1)], 0), zero);
    b.close(&[]);
    let (i, j) = (b.axis(rows), b.axis(n));
    b.open(i, range, Mode::Sequential);
    b.open(j, Range::Whole, Mode::Vector { lanes });
    let (v, u) = (b.load(x, at(i, j)), b.load(w, along(&[(j, 1)], 1)));
    let product = b.mul(v, u);
    let sum = b.close(&[(Monoid::Sum, product)])[0];
    b.store(products, along(&[(c, rows as i64), (i, 1)], 0), sum);
    b.close(&[]);
    let (i, j) = (b.axis(rows), b.axis(n));
    b.open(i, range, Mode::Sequential);
    b.open(j, Range::Whole, Mode::Vector { lanes: 8 });
    let r = b.load(products, along(&[(c, rows as i64), (i, 1)], 0));
    let v = b.load(x, at(i, j));
    let product = b.mul(v, r);
    b.accumulate(sums, along(&[(c, n as i64), (j, 1)], 0), Monoid::Sum, product);
    b.close(&[]);
    b.close(&[]);
    b.close(&[]);
    b.finish()
}

#[test]
fn vectors_kept_for_all_rows() {
    let (mut rng, mut taken) = (Rng::new(11), Taken::default());
    for dtype in [DType::F32, DType::F64, DType::I32, DType::I64] {
        // From less than a vector to more of them than are kept, and than there are registers.
        for (k, n) in [3, 8, 15, 16, 17, 33, 63, 100, 130, 200, 321, 500].into_iter().enumerate() {
            let (rows, lanes) = ([1, 2, 5, 17][k % 4], [32, 16, 8][k % 3]);
            let size = [None, Some(4), Some(1), Some(20)][k % 4];
            let nest = read_twice(dtype, rows, n, size, lanes);
            if lanes * dtype.size() >= 32 {
                taken.see(&nest);
            }
            check_named(&|| format!("{dtype}, {rows} rows of {n}, {size:?}"), &nest, &mut rng);
        }
    }
    taken.insist(90);
}

/// Large arrays, of which rows are asked for before they are read: up to the end and beyond.
#[test]
fn rows_asked_for_ahead() {
    let (mut rng, mut taken) = (Rng::new(12), Taken::default());
    for (dtype, rows, n, size) in [
        (DType::F32, 2700, 100, Some(64)),
        (DType::F32, 950, 100, None),
        (DType::F64, 1900, 70, Some(37)),
        (DType::I64, 5000, 33, Some(1000)),
    ] {
        let nest = read_twice(dtype, rows, n, size, 16);
        taken.see(&nest);
        check_named(&|| format!("{dtype}, {rows} rows of {n}, {size:?}"), &nest, &mut rng);
    }
    taken.insist(100);
}

/// Running sums and the like: variables that rows hand on, some of them exchanged.
#[test]
fn carried_around_vector_loops() {
    let (mut rng, mut taken) = (Rng::new(5), Taken::default());
    for dtype in [DType::F32, DType::F64, DType::I32, DType::I64] {
        for n in [2, 8, 16, 23, 70] {
            let mut b = NestBuilder::new("carried");
            let (i, r) = (b.axis(n), b.axis(5));
            let x = b.param(dtype, 5 * n, Access::In);
            let out = b.param(dtype, 5 * n, Access::Out);
            let last = b.param(dtype, 5, Access::Out);
            let [zero, one] = [b.int(dtype, 0), b.int(dtype, 1)];
            b.open(r, Range::Whole, Mode::Sequential);
            let [p, q] = [b.carry(zero), b.carry(one)];
            b.open(i, Range::Whole, Mode::Vector { lanes: 16 });
            let v = b.load(x, along(&[(r, n as i64), (i, 1)], 0));
            let w = b.mul(v, q);
            let w = b.sub(w, p);
            b.store(out, along(&[(r, n as i64), (i, 1)], 0), w);
            let most = b.close(&[(Monoid::Max, w), (Monoid::Sum, v)]);
            let next = b.add(p, most[1]);
            b.store(last, along(&[(r, 1)], 0), next);
            b.hand_on(p, q);
            b.hand_on(q, most[0]);
            b.close(&[]);
            let nest = b.finish();
            taken.see(&nest);
            check_named(&|| format!("{dtype}, {n}"), &nest, &mut rng);
        }
    }
    taken.insist(90);
}

/// Rows that are done together hold their stores back, unless somebody looks.
#[test]
fn transposed_elements_read_after_they_were_stored() {
    check_texts(&[
        "kernel @added(p0: in f32[1024], p1: in f32[1024], p2: out f32[1024]) {
  for i0:32 {
    for i1:32 vector 8 {
      v0 = load p0[i0*32 + i1] : f32
      p2[i0 + i1*32] = v0
      v1 = load p1[i0*32 + i1] : f32
      p2[i0 + i1*32] sum= v1
    }
  }
}
",
        "kernel @read(p0: in f64[1024], p1: out f64[1024], p2: out f64[1024]) {
  for i0:32 {
    for i1:32 vector 8 {
      v0 = load p0[i0*32 + i1] : f64
      p1[i0 + i1*32] = v0
      v1 = load p1[i0 + i1*32] : f64
      v2 = add v1, v0 : f64
      p2[i0*32 + i1] = v2
    }
  }
}
",
    ]);
}

#[test]
fn transposed_booleans_beside_transposed_numbers() {
    check_texts(&[
        "kernel @chosen(p0: in bool[1024], p1: in f32[1024], p2: out f32[1024]) {
  v0 = const 0.0 : f32
  for i0:32 {
    for i1:32 vector 8 {
      v1 = load p0[i0 + i1*32] : bool
      v2 = load p1[i0 + i1*32] : f32
      v3 = select v1, v2, v0 : f32
      p2[i0*32 + i1] = v3
    }
  }
}
",
        "kernel @compared(p0: in f32[1024], p1: out bool[1024], p2: out f32[1024]) {
  v0 = const 0.0 : f32
  for i0:32 {
    for i1:32 vector 8 {
      v1 = load p0[i0*32 + i1] : f32
      v2 = lt v0, v1 : bool
      p1[i0 + i1*32] = v2
      p2[i0 + i1*32] = v1
    }
  }
}
",
    ]);
}

/// Rows of a matrix, or one in chunks: what they become, twice, and their sums.
fn large(dtype: DType, n: usize, chunk: Option<usize>) -> Nest {
    let mut b = NestBuilder::new("large");
    let rows = chunk.map_or(3, |size| n.div_ceil(size));
    let (i, r) = (b.axis(n), b.axis(rows));
    let step = n.next_multiple_of(4);
    let x = b.param(dtype, n * rows, Access::In);
    let outs = [(); 2].map(|()| b.param(dtype, (step + 8) * rows, Access::Out));
    let sums = b.param(dtype, rows, Access::Out);
    let along_rows = |step: usize, offset: i64| match chunk {
        None => along(&[(r, step as i64), (i, 1)], offset),
        Some(_) => along(&[(i, 1)], offset),
    };
    b.open(r, Range::Whole, Mode::Parallel);
    let range = chunk.map_or(Range::Whole, |size| Range::Chunk { of: r, size });
    b.open(i, range, Mode::Vector { lanes: 32 });
    let v = b.load(x, along_rows(n, 0));
    let w = b.mul(v, v);
    b.store(outs[0], along_rows(step, 0), w);
    b.store(outs[1], along_rows(step, 4), v);
    let sum = b.close(&[(Monoid::Sum, w)])[0];
    b.store(sums, along(&[(r, 1)], 0), sum);
    b.close(&[]);
    b.finish()
}

/// Results that are stored past the caches where they lie at multiples of 16 bytes.
#[test]
fn large_results() {
    let mut rng = Rng::new(10);
    let streamed = Options { large: 1, ..Options::default() };
    let plain = Options { large: usize::MAX, ..Options::default() };
    let mut checked = |nest: &Nest| {
        check_with(nest, &mut rng, &streamed);
        let bytes = |options| compile_with(&plan_of(nest), options).code_bytes();
        let twice = bytes(&streamed) > bytes(&plain);
        assert_eq!(twice, testing::has_wide(Vectors::Widest), "{nest}");
    };
    for dtype in [DType::F32, DType::F64, DType::I32, DType::I64] {
        for n in [2048, 4096, 5001, 5002, 5003] {
            checked(&large(dtype, n, None));
            checked(&large(dtype, n, Some(1024)));
        }
    }
    for text in [
        // Numbers of 32 bits that are half as wide as others.
        "kernel @mixed(p0: in f64[2100], p1: out f64[2100], p2: out f32[2100]) {
  for i0:2100 vector 8 {
    v0 = load p0[i0] : f64
    v1 = mul v0, v0 : f64
    p1[i0] = v1
    v2 = convert v1 : f32
    p2[i0] = v2
  }
}
",
        "kernel @filled(p0: out i64[3000]) {
  for i0:3000 vector 8 {
    v0 = index i0 : i64
    p0[i0] = v0
  }
}
",
    ] {
        checked(&backstitch_ir::text::parse_nest(text).unwrap_or_else(|e| panic!("{e}\n{text}")));
    }
}

/// Rows of a large array that several loops of an iteration read, the last row too.
#[test]
fn rows_asked_for_while_one_is_read_again() {
    check_texts(&["kernel @rows(p0: in f32[270000], p1: out f32[300], p2: out f32[270000]) {
          for i0:3 parallel {
            for i1:300 chunk 100 of i0 {
              for i2:900 vector 32 (v1 = sum v0 : f32) {
                v0 = load p0[i1*900 + i2] : f32
              }
              for i3:900 vector 32 (v5 = max v4 : f32) {
                v2 = load p0[i1*900 + i3] : f32
                v3 = sub v2, v1 : f32
                v4 = mul v3, v3 : f32
              }
              p1[i1] = v5
              for i4:900 vector 8 {
                v6 = load p0[i1*900 + i4] : f32
                v7 = sub v6, v5 : f32
                p2[i1*900 + i4] = v7
              }
            }
          }
        }"]);
}

/// Truth values that each row reduces begin anew, although all rows take the same mask.
#[test]
fn truths_reduced_in_each_row() {
    check_texts(&[
        "kernel @some(p0: in f32[700], p1: in f32[100], p2: out bool[7], p3: out bool[7], p4: out f32[700]) {
          for i0:7 {
            v0 = const 0.5 : f32
            for i1:100 (v3 = any v2 : bool, v5 = all v4 : bool) {
              v1 = load p0[i0*100 + i1] : f32
              v2 = lt v0, v1 : bool
              v4 = lt v1, v0 : bool
            }
            p2[i0] = v3
            p3[i0] = v5
            for i2:100 vector 16 {
              v6 = load p0[i0*100 + i2] : f32
              v7 = load p1[i2] : f32
              v8 = mul v6, v7 : f32
              v9 = select v3, v8, v6 : f32
              p4[i0*100 + i2] = v9
            }
          }
        }
",
    ]);
}
