//! Loops of one row: all lengths and types, strides, elements at computed places.

use backstitch_ir::DType;
use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Access, At, Cmp, Mode, Monoid, Nest, Param, Range, ScalarOp};
use backstitch_jit::Options;

use crate::common::{Rng, compile_with};
use crate::trial::{
    ALL, DTYPES, End, Taken, Trial, along, check, check_named, check_texts, plan_of,
};

/// A map and all reductions of its results over an axis, in one loop of so many lanes, whole
/// and in chunks of an unknown number of elements.
fn loops(dtype: DType, n: usize, lanes: usize, size: usize) -> Nest {
    let mut b = NestBuilder::new("loops");
    let monoids: Vec<Monoid> = Monoid::ALL.into_iter().filter(|m| m.takes(dtype)).collect();
    let chunks = n.div_ceil(size);
    let (i, c) = (b.axis(n), b.axis(chunks));
    let [x, y] = [(); 2].map(|()| b.param(dtype, n + 1, Access::In));
    let maps = [(); 2].map(|()| b.param(dtype, n + 3, Access::Out));
    let sums = b.param(dtype, monoids.len(), Access::Out);
    let parts = b.param(dtype, chunks * monoids.len(), Access::Out);
    let body = |b: &mut NestBuilder, out: Param, at: i64| {
        let (x, y) = (b.load(x, along(&[(i, 1)], 1)), b.load(y, along(&[(i, 1)], 0)));
        let op = if dtype == DType::Bool { ScalarOp::Xor } else { ScalarOp::Sub };
        let z = b.op(op, dtype, &[x, y]);
        b.store(out, along(&[(i, 1)], at), z);
        monoids.iter().map(|&m| (m, z)).collect::<Vec<_>>()
    };
    b.open(i, Range::Whole, Mode::Vector { lanes });
    let accs = body(&mut b, maps[0], 3);
    for (k, sum) in b.close(&accs).into_iter().enumerate() {
        b.store(sums, along(&[], k as i64), sum);
    }
    b.open(c, Range::Whole, Mode::Parallel);
    b.open(i, Range::Chunk { of: c, size }, Mode::Vector { lanes });
    let accs = body(&mut b, maps[1], 1);
    for (k, sum) in b.close(&accs).into_iter().enumerate() {
        b.store(parts, along(&[(c, monoids.len() as i64)], k as i64), sum);
    }
    b.close(&[]);
    b.finish()
}

#[test]
fn loops_of_all_lengths() {
    let (mut rng, mut taken) = (Rng::new(1), Taken::default());
    for (k, lanes) in [4, 8, 16, 32, 64, 1, 2].into_iter().enumerate() {
        for n in (0..=70).chain([127, 128, 129, 471, 1000]) {
            let dtype = DTYPES[(n + k) % 5];
            let nest = loops(dtype, n, lanes, [5, 16, 24, 33, 150][(n + 2 * k) % 5]);
            if lanes * dtype.size() >= 16 && lanes >= 8 {
                taken.see(&nest);
            }
            check_named(&|| format!("{lanes} lanes of {dtype}, {n} elements"), &nest, &mut rng);
        }
    }
    // Long sums of 64-bit numbers have more partial results than registers.
    taken.insist(85);
}

/// Sums of products over loops of all lengths, of factors that are infinite in the lanes that
/// are not there, and of products so small that partial results are -0.
#[test]
fn sums_of_products() {
    let (mut rng, mut taken) = (Rng::new(14), Taken::default());
    for n in (0..=70).chain([471]) {
        for (dtype, lanes) in [(DType::F32, 16), (DType::F64, 8), (DType::F32, 32), (DType::F64, 4)]
        {
            let mut b = NestBuilder::new("products");
            let [x, y] = [(); 2].map(|()| b.param(dtype, n, Access::In));
            let out = b.param(dtype, 8, Access::Out);
            let each = b.param(dtype, n, Access::InOut);
            let (one, tiny) = (b.float(dtype, 1.0), b.float(dtype, 1e-30));
            let small = b.float(dtype, if dtype == DType::F32 { -1e-30 } else { -1e-300 });
            for (k, range) in [Range::Whole, Range::Chunk { of: b.axis(2), size: n / 2 + 1 }]
                .into_iter()
                .enumerate()
            {
                if let Range::Chunk { of, .. } = range {
                    b.open(of, Range::Whole, Mode::Sequential);
                }
                let i = b.axis(n);
                b.open(i, range, Mode::Vector { lanes });
                let at = along(&[(i, 1)], 0);
                let (v, w) = (b.load(x, at.clone()), b.load(y, at.clone()));
                let large = b.div(one, v);
                let least = b.mul(tiny, tiny);
                let products = [(large, w), (v, v), (small, least), (w, one), (large, large)];
                let terms = products.map(|(p, q)| (Monoid::Sum, b.mul(p, q)));
                b.accumulate(each, at, Monoid::Sum, terms[0].1);
                for (j, sum) in b.close(&terms[..4 * (1 - k) + k]).into_iter().enumerate() {
                    b.store(out, along(&[], (j + 4 * k) as i64), sum);
                }
                if k == 1 {
                    b.close(&[]);
                }
            }
            let nest = b.finish();
            if lanes * dtype.size() == 64 {
                taken.see(&nest);
            }
            check_named(&|| format!("{lanes} lanes of {dtype}, {n} elements"), &nest, &mut rng);
        }
    }
    taken.insist(98);
}

/// Loops of many statements, whose instructions are put in another order: sums and products of
/// all that came before and of more constants than there are registers, choices, and elements
/// that are stored and read again.
#[test]
fn long_bodies() {
    let mut taken = Taken::default();
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let dtype = if seed % 2 == 0 { DType::F64 } else { DType::F32 };
        let mut b = NestBuilder::new("long");
        let (rows, n) = (3, rng.below(40) + 20);
        let (r, i) = (b.axis(rows), b.axis(n));
        let x = b.param(dtype, rows * n, Access::In);
        let y = b.param(dtype, rows * n, Access::InOut);
        let sums = b.param(dtype, rows, Access::Out);
        let at = along(&[(r, n as i64), (i, 1)], 0);
        b.open(r, Range::Whole, Mode::Parallel);
        b.open(i, Range::Whole, Mode::Vector { lanes: [8, 16, 32][rng.below(3)] });
        let mut all = vec![b.load(x, at.clone()), b.load(y, at.clone())];
        for k in 0..rng.below(200) + 30 {
            let recent = all.len().min([3, 10, 200][rng.below(3)]);
            let mut any = || all[all.len() - 1 - rng.below(recent)];
            let (p, q, s) = (any(), any(), any());
            // Between 1/2 and 1, so that results stay small.
            let c = b.float(dtype, 0.5 + (k % 47) as f64 / 100.0);
            let d = b.float(dtype, 0.25 - (k % 31) as f64 / 100.0);
            all.push(match rng.below(9) {
                0 | 1 => b.fma(p, c, d),
                2 | 3 => {
                    let half = b.float(dtype, 0.5);
                    let q = b.mul(q, half);
                    b.fma(q, c, d)
                }
                4 => b.sub(c, p),
                5 => {
                    let less = b.cmp(Cmp::Lt, p, q);
                    b.select(less, c, s)
                }
                6 => {
                    let bits = if dtype == DType::F64 { DType::I64 } else { DType::I32 };
                    let (p, q) = (b.bitcast(p, bits), b.bitcast(q, bits));
                    let both = b.and(p, q);
                    b.bitcast(both, dtype)
                }
                7 => {
                    b.store(y, at.clone(), p);
                    b.fma(p, d, q)
                }
                _ => b.load(y, at.clone()),
            });
        }
        let last = *all.last().expect("some");
        b.store(y, at, last);
        let sum = b.close(&[(Monoid::Sum, last)])[0];
        b.store(sums, along(&[(r, 1)], 0), sum);
        b.close(&[]);
        let nest = b.finish();
        taken.see(&nest);
        check_named(&|| format!("seed {seed}"), &nest, &mut rng);
    }
    taken.insist(60);
}

/// A maximum and a minimum are NaN where there was one, whatever comes later.
#[test]
fn one_nan_among_numbers() {
    for dtype in [DType::F32, DType::F64] {
        for (n, lanes) in [(70, 32), (70, 8), (1000, 16)] {
            let mut b = NestBuilder::new("extremes");
            let i = b.axis(n);
            let x = b.param(dtype, n, Access::In);
            let out = b.param(dtype, 2, Access::Out);
            b.open(i, Range::Whole, Mode::Vector { lanes });
            let v = b.load(x, along(&[(i, 1)], 0));
            for (k, most) in b.close(&[(Monoid::Max, v), (Monoid::Min, v)]).into_iter().enumerate()
            {
                b.store(out, along(&[], k as i64), most);
            }
            let nest = b.finish();
            let codes = ALL.map(|vectors| {
                compile_with(
                    &plan_of(&nest),
                    &Options { vectors, verify: true, ..Options::default() },
                )
            });
            // Everywhere, and nowhere.
            for at in (0..=n).step_by(n.div_ceil(80)) {
                let number = |k: usize| if k == at { f64::NAN } else { (k * 37 % n) as f64 - 20.0 };
                let bytes = |k: usize| match dtype {
                    DType::F32 => (number(k) as f32).to_le_bytes().to_vec(),
                    _ => number(k).to_le_bytes().to_vec(),
                };
                let data = [(0..n).flat_map(bytes).collect(), vec![0; 2 * dtype.size()]];
                let mut trial = Trial::new(&nest, &data);
                for (code, vectors) in codes.iter().zip(ALL) {
                    trial.run(code, End::Last, &format!("{dtype}, {vectors:?}, NaN at {at}"));
                }
            }
        }
    }
}

/// Loads and stores in steps, within rows of a matrix.
fn steps(dtype: DType, read: i64, write: i64, n: usize, lanes: usize) -> Nest {
    let mut b = NestBuilder::new("steps");
    let (i, r) = (b.axis(n), b.axis(3));
    let last = n as i64 - 1;
    let reach = |step: i64| (step.abs() * last + 1).max(1);
    // Where a row begins, so that all of it is inside.
    let first = |step: i64| if step < 0 { -step * last } else { 0 };
    let x = b.param(dtype, 3 * reach(read) as usize, Access::In);
    let y = b.param(dtype, 3 * reach(write) as usize, Access::InOut);
    let z = b.param(dtype, 3 * reach(write) as usize, Access::InOut);
    let at = |step: i64| along(&[(r, reach(step)), (i, step)], first(step));
    b.open(r, Range::Whole, Mode::Sequential);
    b.open(i, Range::Whole, Mode::Vector { lanes });
    let v = b.load(x, at(read));
    b.store(y, at(write), v);
    let op = if dtype == DType::Bool { Monoid::Any } else { Monoid::Sum };
    b.accumulate(z, at(write), op, v);
    b.close(&[]);
    b.close(&[]);
    b.finish()
}

#[test]
fn steps_forward_and_backward() {
    let (mut rng, mut taken) = (Rng::new(2), Taken::default());
    for dtype in DTYPES {
        for (k, read) in [1, 2, 3, 7, 100, -1, -2, -5].into_iter().enumerate() {
            for write in [1i64, 2, -1, -3, 64] {
                let n = [6, 15, 16, 17, 31, 40, 70][(k + write.unsigned_abs() as usize) % 7];
                let nest = steps(dtype, read, write, n, 8);
                if dtype != DType::Bool {
                    taken.see(&nest);
                }
                let name = || format!("{dtype}, {n} elements from {read} to {write}");
                check_named(&name, &nest, &mut rng);
            }
        }
    }
    taken.insist(90);
}

/// Elements at computed places, that differ by lane or are the same in all.
fn gathers(dtype: DType, n: usize, by_lane: bool, step: i64) -> Nest {
    let mut b = NestBuilder::new("gathers");
    let (i, r) = (b.axis(n), b.axis(2));
    let table = b.param(dtype, 40 + n * step as usize, Access::In);
    let places = b.param(DType::I64, 2 * n + 2, Access::In);
    let out = b.param(dtype, 2 * n, Access::Out);
    b.open(r, Range::Whole, Mode::Sequential);
    let thirty = b.int(DType::I64, 31);
    let outside = (!by_lane).then(|| {
        let raw = b.load(places, along(&[(r, 1)], 0));
        b.and(raw, thirty)
    });
    b.open(i, Range::Whole, Mode::Vector { lanes: 8 });
    let index = outside.unwrap_or_else(|| {
        let raw = b.load(places, along(&[(r, n as i64), (i, 1)], 2));
        b.and(raw, thirty)
    });
    let strides = [(i, step)].into_iter().filter(|s| s.1 != 0).collect();
    let x = b.load(table, At { offset: 2, strides, index: Some(index) });
    b.store(out, along(&[(r, n as i64), (i, 1)], 0), x);
    b.close(&[]);
    b.close(&[]);
    b.finish()
}

#[test]
fn elements_at_computed_places() {
    let (mut rng, mut taken) = (Rng::new(3), Taken::default());
    for dtype in DTYPES {
        for n in [2, 7, 8, 16, 19, 64, 70] {
            for (by_lane, step) in [(true, 0), (true, 1), (true, 3), (false, 1), (false, 2)] {
                let nest = gathers(dtype, n, by_lane, step);
                if dtype != DType::Bool {
                    taken.see(&nest);
                }
                let name = || format!("{dtype}, {n} elements, {by_lane}, {step}");
                check_named(&name, &nest, &mut rng);
            }
        }
    }
    taken.insist(90);
}

/// A constant in all lanes whose bytes are those of the offsets of two lanes' elements.
#[test]
fn a_constant_that_looks_like_offsets() {
    let mut rng = Rng::new(6);
    for step in [2, 3, 5, 9] {
        let mut b = NestBuilder::new("offsets");
        let i = b.axis(37);
        let x = b.param(DType::I64, 37 * step as usize, Access::In);
        let out = b.param(DType::I64, 1, Access::Out);
        let looks = b.int(DType::I64, (8 * step) << 32);
        b.open(i, Range::Whole, Mode::Vector { lanes: 2 });
        let v = b.load(x, along(&[(i, step)], 0));
        let w = b.sub(looks, v);
        let sum = b.close(&[(Monoid::Sum, w)])[0];
        b.store(out, along(&[], 0), sum);
        check(&b.finish(), &mut rng);
    }
}

/// Long loops that hardly repeat: too many statements to be written out, too few vectors for
/// as many at a time as there could be.
#[test]
fn fewer_vectors_than_fit() {
    let chain: String =
        (0..30).map(|k| format!("v{} = fma v{}, v0, v1 : f32\n", k + 3, k + 2)).collect();
    for n in [16, 31, 32, 47, 48, 70, 80, 100, 128, 200] {
        for accs in ["", " (v33 = sum v32 : f32)"] {
            let sum = if accs.is_empty() { "v33 = const 1.0 : f32" } else { "" };
            check_texts(&[&format!(
                "kernel @chain(p0: in f32[{n}], p1: out f32[{n}], p2: out f32[1]) {{
          v0 = const 0.5 : f32
          v1 = const 0.25 : f32
          {sum}
          for i0:{n} vector 16{accs} {{
            v2 = load p0[i0] : f32
            {chain}
            p1[i0] = v32
          }}
          p2[0] = v33
        }}"
            )]);
        }
    }
}

/// A number at one position and another one elsewhere: in loops that are written out or not,
/// for each position in a vector, and with nothing or something else at the end.
#[test]
fn one_position_of_a_row() {
    for (n, lanes) in [(40, 16), (1000, 32), (1003, 8), (2100, 16)] {
        for place in [0, 1, 17, 31, n / 2 + 3, n - 1, n + 7] {
            check_texts(&[&format!(
                "kernel @one(p0: in f32[{n}], p1: out f32[{n}], p2: out f32[1]) {{
          v0 = const {place} : i32
          v1 = const 0.0 : f32
          v2 = const -0.5 : f32
          for i0:{n} vector {lanes} (v9 = sum v8 : f32) {{
            v3 = index i0 : i64
            v4 = convert v3 : i32
            v5 = eq v4, v0 : bool
            v6 = select v5, v2, v1 : f32
            v7 = load p0[i0] : f32
            v8 = add v6, v7 : f32
            p1[i0] = v8
          }}
          p2[0] = v9
        }}"
            )]);
        }
    }
}
