//! Kernels with vectors of all widths give the same bits as the interpreter, and touch
//! nothing but the elements of their parameters.
//!
//! Each parameter has pages of its own, between pages that cannot be read or written; its
//! elements end where its pages end, or begin where they begin. So addresses are as little
//! aligned as they can be, and what reads beyond is found out at once.
#![cfg(unix)]

mod common;
#[path = "common/random.rs"]
mod random;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;

use backstitch_ir::build::NestBuilder;
use backstitch_ir::eval_nest::{self, cells};
use backstitch_ir::index::Idx;
use backstitch_ir::nest::{Access, At, Axis, Cmp, Mode, Monoid, Nest, Param, Range, ScalarOp, Var};
use backstitch_ir::plan::{BufferDecl, Kernel, Place, Plan, Step};
use backstitch_ir::{DType, Type, verify_nest};
use backstitch_jit::{Code, Options, Vectors, testing};
use common::{Rng, compile_with, empty_plan, same, whole};

/// Pages for one array, with a page on each side that nobody can touch.
struct Pages {
    base: *mut u8,
    len: usize,
}

/// No page is longer.
const PAGE: usize = 1 << 14;

impl Pages {
    fn new(bytes: usize) -> Self {
        let len = bytes.next_multiple_of(PAGE).max(PAGE) + 2 * PAGE;
        // SAFETY: new memory, of which the inner part is made accessible.
        unsafe {
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let base = libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, kind, -1, 0);
            assert_ne!(base, libc::MAP_FAILED);
            let access = libc::PROT_READ | libc::PROT_WRITE;
            assert_eq!(libc::mprotect(base.byte_add(PAGE), len - 2 * PAGE, access), 0);
            Self { base: base.cast(), len }
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: all of the part that is accessible.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(PAGE), self.len - 2 * PAGE) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: what `new` has made; nothing points there any more.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

/// A plan of one kernel, whose arrays are all somebody else's.
fn plan_of(nest: &Nest) -> Plan {
    let mut plan = empty_plan();
    let mut args = Vec::new();
    for p in nest.params.iter() {
        let ty = Type::new(p.dtype, [p.len]);
        let (input, output) = (plan.inputs.len(), plan.outputs.len());
        let place = match p.access {
            Access::In | Access::Last => Place::Input(input),
            Access::Out => Place::Output(output),
            Access::InOut => Place::Donated { input, output },
        };
        if p.access.reads() {
            plan.inputs.push(ty.clone());
        }
        if p.access.writes() {
            plan.outputs.push(ty);
        }
        args.push(whole(plan.buffers.push(BufferDecl { dtype: p.dtype, len: p.len, place })));
    }
    plan.kernels.push(nest.clone());
    plan.steps.push(Step::Run { kernel: Kernel::new(0), args });
    plan
}

const GUARD: u8 = 0xa5;

/// Where arrays are in their pages.
#[derive(Clone, Copy, Debug)]
enum End {
    First,
    Last,
}

/// A nest to be run with all vectors on the same data.
struct Trial<'n> {
    nest: &'n Nest,
    data: &'n [Vec<u8>],
    expected: Vec<Vec<u8>>,
    pages: Vec<Pages>,
}

impl<'n> Trial<'n> {
    fn new(nest: &'n Nest, data: &'n [Vec<u8>]) -> Self {
        let mut expected = data.to_vec();
        let mems: Vec<_> = expected.iter_mut().map(|b| cells(b)).collect();
        eval_nest::eval(nest, &mems);
        let pages = data.iter().map(|bytes| Pages::new(bytes.len())).collect();
        Self { nest, data, expected, pages }
    }

    /// Runs it once, and compares all memory with the interpreter's.
    fn run(&mut self, code: &Code, end: End, context: &str) {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        let Self { nest, data, expected, pages } = self;
        let arrays = || data.iter().zip(nest.params.iter());
        for (pages, (bytes, p)) in pages.iter_mut().zip(arrays()) {
            let memory = pages.bytes();
            memory.fill(GUARD);
            let range = place(memory.len(), bytes.len(), end);
            memory[range.clone()].copy_from_slice(bytes);
            let at = memory[range].as_mut_ptr();
            if p.access.reads() {
                inputs.push(at.cast_const());
            }
            if p.access.writes() {
                outputs.push(at);
            }
        }
        let (inputs, outputs) = (inputs.as_ptr(), outputs.as_ptr());
        // SAFETY: there are as many arrays as the plan says, of the lengths that it says;
        // it has no arena.
        let status = unsafe { code.call(inputs, outputs, ptr::dangling_mut(), ptr::null_mut()) };
        assert_eq!(status, 0);
        for (i, (pages, expected)) in pages.iter_mut().zip(expected).enumerate() {
            let memory = pages.bytes();
            let range = place(memory.len(), expected.len(), end);
            let mut around = memory[..range.start].iter().chain(&memory[range.end..]);
            let untouched = around.all(|&b| b == GUARD);
            assert!(untouched, "{context}, {end:?}: wrote outside of p{i}\n{nest}");
            let dtype = nest.params[Param::new(i)].dtype;
            let each =
                |bytes: &[u8]| bytes.chunks_exact(dtype.size()).map(<[u8]>::to_vec).collect();
            let (got, want): (Vec<_>, Vec<_>) = (each(&memory[range]), each(expected));
            let differs = got.iter().zip(&want).position(|(g, w)| !same(dtype, g, w));
            if let Some(j) = differs {
                let (g, w) = (&got[j], &want[j]);
                panic!("{context}, {end:?}: p{i}[{j}] is {g:?}, not {w:?}\n{nest}");
            }
        }
    }
}

/// Where an array is in its pages.
fn place(pages: usize, len: usize, end: End) -> std::ops::Range<usize> {
    match end {
        End::First => 0..len,
        End::Last => pages - len..pages,
    }
}

const ALL: [Vectors; 3] = [Vectors::Widest, Vectors::Bits256, Vectors::Bits128];

/// Runs the nest with all vectors on random data; with the widest also in parts.
fn check(nest: &Nest, rng: &mut Rng) {
    check_with(nest, rng, &Options::default());
}

/// The same with these options otherwise.
fn check_with(nest: &Nest, rng: &mut Rng, base: &Options) {
    if let Err(e) = verify_nest::verify(nest) {
        panic!("{e:?}\n{nest}");
    }
    let data: Vec<Vec<u8>> = nest.params.iter().map(|p| rng.elements(p.dtype, p.len)).collect();
    let plan = plan_of(nest);
    let mut trial = Trial::new(nest, &data);
    let parts = ALL.map(|vectors| (vectors, 1));
    for (vectors, workers) in parts.into_iter().chain([(Vectors::Widest, 3)]) {
        let share_all = workers > 1;
        let options = Options { vectors, workers, share_all, verify: true, ..base.clone() };
        let code = compile_with(&plan, &options);
        let context = format!("{vectors:?}, {workers} workers");
        trial.run(&code, End::Last, &context);
        trial.run(&code, End::First, &context);
    }
}

/// How many nests were vector code of our own, by the vectors allowed.
#[derive(Default, Debug)]
struct Taken {
    all: usize,
    widest: usize,
    bits256: usize,
}

impl Taken {
    fn see(&mut self, nest: &Nest) {
        self.all += 1;
        self.widest += usize::from(testing::is_wide(nest, Vectors::Widest));
        self.bits256 += usize::from(testing::is_wide(nest, Vectors::Bits256));
    }

    /// So many in a hundred must be, where the processor can.
    fn insist(&self, percent: usize) {
        println!("{self:?}");
        for (vectors, taken) in [(Vectors::Widest, self.widest), (Vectors::Bits256, self.bits256)] {
            if testing::has_wide(vectors) {
                assert!(taken * 100 >= self.all * percent, "{vectors:?}: {self:?}");
            }
        }
    }
}

/// Checks the nest, and says which one it was if it fails.
fn check_named(name: &dyn Fn() -> String, nest: &Nest, rng: &mut Rng) {
    if let Err(e) = catch_unwind(AssertUnwindSafe(|| check(nest, rng))) {
        eprintln!("{}", name());
        resume_unwind(e);
    }
}

#[test]
fn random_nests() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(500);
    let mut taken = Taken::default();
    for seed in 0..rounds {
        let mut rng = Rng::new(seed);
        let taste = random::Taste::vectors(&mut rng);
        let nest = random::nest_of(&mut rng, taste);
        let mut census = [0; 3];
        random::census(&nest.body, &mut census);
        if census[0] > 0 {
            taken.see(&nest);
        }
        check_named(&|| format!("seed {seed}"), &nest, &mut rng);
    }
    taken.insist(60);
}

const DTYPES: [DType; 5] = DType::ALL;

fn along(axes: &[(Axis, i64)], offset: i64) -> At {
    At { offset, strides: axes.iter().copied().collect(), index: None }
}

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
        for n in (0..=70).chain([127, 128, 129, 1000]) {
            let dtype = DTYPES[(n + k) % 5];
            let nest = loops(dtype, n, lanes, [5, 16, 24, 33][(n + k) % 4]);
            if lanes * dtype.size() >= 16 && lanes >= 8 {
                taken.see(&nest);
            }
            check_named(&|| format!("{lanes} lanes of {dtype}, {n} elements"), &nest, &mut rng);
        }
    }
    // Long sums of 64-bit numbers have more partial results than registers.
    taken.insist(85);
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

/// More values at once than there are registers: each is made before the first is used.
/// Vectors and masks within a loop, numbers and words around one.
fn crowd(dtype: DType, count: usize, n: usize, lanes: usize) -> Nest {
    let mut b = NestBuilder::new("crowd");
    let (i, r) = (b.axis(n), b.axis(3));
    let each = n * 3;
    let xs: Vec<Param> = (0..count).map(|_| b.param(dtype, each + 64, Access::In)).collect();
    let out = b.param(dtype, each, Access::Out);
    let yes = b.param(DType::Bool, each, Access::Out);
    let sums = b.param(dtype, 3 * count, Access::Out);
    let place = along(&[(r, n as i64), (i, 1)], 0);
    b.open(r, Range::Whole, Mode::Sequential);
    // One for each row: the word that an address is made of, and the number there.
    let words: Vec<Var> = (0..count)
        .map(|k| {
            let row = b.index(r);
            let by = b.int(DType::I64, k as i64 + 1);
            let product = b.mul(row, by);
            let limit = b.int(DType::I64, 63);
            b.and(product, limit)
        })
        .collect();
    let numbers: Vec<Var> = words
        .iter()
        .zip(&xs)
        .map(|(&w, &x)| b.load(x, At { index: Some(w), ..At::default() }))
        .collect();
    b.open(i, Range::Whole, Mode::Vector { lanes });
    let values: Vec<Var> = xs.iter().map(|&x| b.load(x, place.clone())).collect();
    let masks: Vec<Var> = (0..count)
        .map(|k| b.cmp(Cmp::Lt, values[k], values[(k + 1) % count.max(2) % count]))
        .collect();
    let mixed: Vec<Var> = (0..count)
        .map(|k| {
            let sum = b.add(values[k], numbers[k]);
            b.select(masks[count - 1 - k], sum, values[(k + 7) % count])
        })
        .collect();
    let total = mixed.iter().copied().reduce(|x, y| b.sub(x, y)).expect("some");
    let any = masks.iter().copied().reduce(|x, y| b.xor(x, y)).expect("some");
    let again = values.iter().copied().fold(total, |x, y| b.add(x, y));
    b.store(out, place.clone(), again);
    b.store(yes, place, any);
    let accs: Vec<_> = mixed.iter().map(|&v| (Monoid::Sum, v)).collect();
    for (k, sum) in b.close(&accs).into_iter().enumerate() {
        // Used again behind the loop.
        let more = b.add(sum, numbers[k]);
        b.store(sums, along(&[(r, count as i64)], k as i64), more);
    }
    b.close(&[]);
    b.finish()
}

#[test]
fn more_values_than_registers() {
    let (mut rng, mut taken) = (Rng::new(4), Taken::default());
    for dtype in [DType::F32, DType::F64, DType::I32, DType::I64] {
        for (count, n, lanes) in [(3, 70, 16), (9, 37, 8), (17, 64, 32), (40, 21, 8), (220, 19, 16)]
        {
            let nest = crowd(dtype, count, n, lanes);
            taken.see(&nest);
            check_named(&|| format!("{count} values of {dtype}"), &nest, &mut rng);
        }
    }
    taken.insist(90);
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

/// Kernels in text, with vectors of all widths.
fn check_texts(texts: &[&str]) {
    let mut rng = Rng::new(8);
    for text in texts {
        let nest = backstitch_ir::text::parse_nest(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        verify_nest::verify(&nest).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
        check(&nest, &mut rng);
    }
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

/// Gathers whose places and results both live in the frame.
#[test]
fn many_gathers_at_once() {
    let count = 36;
    let mut b = NestBuilder::new("gathers");
    let i = b.axis(33);
    let ins: Vec<Param> = (0..count).map(|_| b.param(DType::F32, 33 * 7, Access::In)).collect();
    let out = b.param(DType::F32, 33, Access::Out);
    b.open(i, Range::Whole, Mode::Vector { lanes: 16 });
    let all: Vec<Var> = ins.iter().map(|&p| b.load(p, along(&[(i, 7)], 0))).collect();
    let mut sum = all[count - 1];
    for &x in all.iter().rev() {
        let product = b.mul(sum, x);
        sum = b.sub(product, x);
    }
    b.store(out, along(&[(i, 1)], 0), sum);
    b.close(&[]);
    check(&b.finish(), &mut Rng::new(9));
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
    let mut checked = |nest: &Nest| {
        check_with(nest, &mut rng, &streamed);
        let bytes = |options| compile_with(&plan_of(nest), options).code_bytes();
        let twice = bytes(&streamed) > bytes(&Options::default());
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
