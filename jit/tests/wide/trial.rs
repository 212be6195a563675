//! A nest with all vectors on the same data, in pages of its arrays' own.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;

use backstitch_ir::eval_nest::{self, cells};
use backstitch_ir::index::Idx;
use backstitch_ir::nest::{Access, At, Axis, Nest, Param};
use backstitch_ir::plan::{BufferDecl, Kernel, Place, Plan, Step};
use backstitch_ir::{DType, Type, verify_nest};
use backstitch_jit::{Code, Options, Vectors, testing};

use crate::common::{Rng, compile_with, empty_plan, same, whole};

pub const DTYPES: [DType; 5] = DType::ALL;

pub fn along(axes: &[(Axis, i64)], offset: i64) -> At {
    At { offset, strides: axes.iter().copied().collect(), index: None }
}

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
pub fn plan_of(nest: &Nest) -> Plan {
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
pub enum End {
    First,
    Last,
}

/// A nest to be run with all vectors on the same data.
pub struct Trial<'n> {
    nest: &'n Nest,
    data: &'n [Vec<u8>],
    expected: Vec<Vec<u8>>,
    pages: Vec<Pages>,
}

impl<'n> Trial<'n> {
    pub fn new(nest: &'n Nest, data: &'n [Vec<u8>]) -> Self {
        let mut expected = data.to_vec();
        let mems: Vec<_> = expected.iter_mut().map(|b| cells(b)).collect();
        eval_nest::eval(nest, &mems);
        let pages = data.iter().map(|bytes| Pages::new(bytes.len())).collect();
        Self { nest, data, expected, pages }
    }

    /// Runs it once, and compares all memory with the interpreter's.
    pub fn run(&mut self, code: &Code, end: End, context: &str) {
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

pub const ALL: [Vectors; 3] = [Vectors::Widest, Vectors::Bits256, Vectors::Bits128];

/// Runs the nest with all vectors on random data; with the widest also in parts.
pub fn check(nest: &Nest, rng: &mut Rng) {
    check_with(nest, rng, &Options::default());
}

/// The same with these options otherwise.
pub fn check_with(nest: &Nest, rng: &mut Rng, base: &Options) {
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
pub struct Taken {
    all: usize,
    widest: usize,
    bits256: usize,
}

impl Taken {
    pub fn see(&mut self, nest: &Nest) {
        self.all += 1;
        self.widest += usize::from(testing::is_wide(nest, Vectors::Widest));
        self.bits256 += usize::from(testing::is_wide(nest, Vectors::Bits256));
    }

    /// So many in a hundred must be, where the processor can.
    pub fn insist(&self, percent: usize) {
        println!("{self:?}");
        for (vectors, taken) in [(Vectors::Widest, self.widest), (Vectors::Bits256, self.bits256)] {
            if testing::has_wide(vectors) {
                assert!(taken * 100 >= self.all * percent, "{vectors:?}: {self:?}");
            }
        }
    }
}

/// Checks the nest, and says which one it was if it fails.
pub fn check_named(name: &dyn Fn() -> String, nest: &Nest, rng: &mut Rng) {
    if let Err(e) = catch_unwind(AssertUnwindSafe(|| check(nest, rng))) {
        eprintln!("{}", name());
        resume_unwind(e);
    }
}

/// Kernels in text, with vectors of all widths.
pub fn check_texts(texts: &[&str]) {
    let mut rng = Rng::new(8);
    for text in texts {
        let nest = backstitch_ir::text::parse_nest(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        verify_nest::verify(&nest).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
        check(&nest, &mut rng);
    }
}
