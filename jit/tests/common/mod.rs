//! Running a nest both ways: interpreted, and compiled.

// Each test binary uses a part of this.
#![allow(dead_code, reason = "shared by several test binaries")]

mod rng;

use std::ffi::c_void;
use std::ptr;

use backstitch_ir::DType;
use backstitch_ir::array::Array;
use backstitch_ir::eval_nest::{self, cells};
use backstitch_ir::index::{Idx, IndexVec};
use backstitch_ir::nest::{Access, Nest, Param};
use backstitch_ir::plan::{
    ALIGN, Buffer, BufferDecl, BufferRef, Call, Gemm, Kernel, Place, Plan, Step,
};
use backstitch_jit::{Code, Cpu, Externs, KernelFn, Options, Store, Vectors};

pub use self::rng::Rng;

unsafe extern "C" fn no_gemm(_: *const Gemm, _: *const u8, _: *const u8, _: *mut u8, _: u32) {
    unreachable!("no matrix products here")
}

/// Parts on threads of their own, the last one first.
unsafe extern "C" fn fork(kernel: KernelFn, table: *const *mut u8, count: i64, threads: u32) {
    let table = table.expose_provenance();
    std::thread::scope(|scope| {
        let parts = i64::from(threads);
        for i in (0..parts).rev() {
            scope.spawn(move || {
                let table = ptr::with_exposed_provenance(table);
                // SAFETY: machine code passes a table that fits, and waits.
                unsafe { kernel(table, i * count / parts, (i + 1) * count / parts) }
            });
        }
    });
}

unsafe extern "C" fn no_call(_: *const Call, _: *const *mut u8) {
    unreachable!("no routines here")
}

unsafe extern "C" fn grow(ctx: *mut c_void, store: u32, more: usize) -> i32 {
    // SAFETY: tests pass `Stores` as context.
    let stores = unsafe { &mut *ctx.cast::<Stores>() };
    stores.grown += 1;
    let (record, memory) =
        (&mut stores.records[store as usize], &mut stores.memory[store as usize]);
    assert!(record.len + more <= record.room, "more than there was room for");
    if record.room >= stores.most {
        return 7;
    }
    if record.len + more == record.room {
        record.room = (2 * record.room + 3).min(stores.most);
        // Moved, so that whoever still uses the old memory is found out.
        let mut new = vec![0xa5u8; record.room * record.entry];
        new[..memory.len()].copy_from_slice(memory);
        memory.fill(0xa5);
        *memory = new;
        record.data = memory.as_mut_ptr();
    }
    0
}

unsafe extern "C" fn push(ctx: *mut c_void, handle: *mut i64, from: *const u8) -> i32 {
    // SAFETY: handles have three elements, and an entry as many bytes as the store says.
    unsafe {
        let (stores, handle) = (&mut *ctx.cast::<Stores>(), &mut *handle.cast::<[i64; 3]>());
        let store = handle[0] as usize;
        stores.called += 1;
        if stores.records[store].len == stores.records[store].room {
            let status = grow(ctx, store as u32, 0);
            if status != 0 {
                return status;
            }
        }
        let record = &mut stores.records[store];
        assert_eq!(record.len as i64, handle[1] + handle[2], "the last stack of its store");
        ptr::copy_nonoverlapping(from, record.data.add(record.len * record.entry), record.entry);
        record.len += 1;
        handle[2] += 1;
        0
    }
}

unsafe extern "C" fn pop(ctx: *mut c_void, handle: *mut i64, to: *mut u8) {
    // SAFETY: as in `push`.
    unsafe {
        let (stores, handle) = (&mut *ctx.cast::<Stores>(), &mut *handle.cast::<[i64; 3]>());
        stores.called += 1;
        let record = &stores.records[handle[0] as usize];
        handle[2] -= 1;
        let at = (handle[1] + handle[2]) as usize;
        assert!(at < record.len, "an entry of the store");
        ptr::copy_nonoverlapping(record.data.add(at * record.entry), to, record.entry);
    }
}

unsafe extern "C" fn refuse(ctx: *mut c_void) {
    // SAFETY: as in `grow`.
    unsafe { (*ctx.cast::<Stores>()).refused += 1 }
}

/// Stores of a plan, for tests.
#[repr(C)]
pub struct Stores {
    table: *const Store,
    pub records: Vec<Store>,
    memory: Vec<Vec<u8>>,
    /// Most entries of a store.
    pub most: usize,
    /// How often stores grew, pushes and pops were calls, and plans were refused.
    pub grown: usize,
    pub called: usize,
    pub refused: usize,
}

impl Stores {
    pub fn new(plan: &Plan) -> Self {
        let record = |&entry: &usize| Store { data: ptr::dangling_mut(), len: 0, room: 0, entry };
        let records: Vec<Store> = plan.stores.iter().map(record).collect();
        let memory = vec![vec![]; records.len()];
        let most = usize::MAX / 4;
        Self { table: ptr::null(), records, memory, most, grown: 0, called: 0, refused: 0 }
    }

    pub fn context(&mut self) -> *mut c_void {
        self.table = self.records.as_ptr();
        ptr::from_mut(self).cast()
    }
}

pub const EXTERNS: Externs =
    Externs { gemm: no_gemm, fork, call: no_call, grow, push, pop, refuse };

/// All code generators.
pub const GENERATORS: [(Cpu, Vectors); 4] = [
    (Cpu::Host, Vectors::Widest),
    (Cpu::Host, Vectors::Bits256),
    (Cpu::Host, Vectors::Bits128),
    (Cpu::Baseline, Vectors::Bits128),
];

/// Options for tests: everything checked.
pub fn options(cpu: Cpu) -> Options {
    let vectors = Vectors::default();
    Options { cpu, vectors, verify: true, ..Options::default() }
}

/// Memory aligned as arenas are.
pub struct Arena(Vec<u128>);

impl Arena {
    pub fn new(bytes: usize) -> Self {
        Self(vec![0; bytes.div_ceil(16) + 1])
    }

    pub fn at(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        let len = self.0.len() * 16;
        // SAFETY: all of the vector, as bytes.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), len) }
    }
}

/// A plan without steps, to be filled.
pub fn empty_plan() -> Plan {
    Plan {
        name: "test".to_owned(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        buffers: IndexVec::new(),
        kernels: IndexVec::new(),
        stores: IndexVec::new(),
        steps: Vec::new(),
        arena_bytes: 0,
    }
}

/// Adds a buffer in the arena.
pub fn in_arena(plan: &mut Plan, dtype: DType, len: usize) -> Buffer {
    let at = plan.arena_bytes;
    plan.arena_bytes += (len * dtype.size()).next_multiple_of(ALIGN) + ALIGN;
    plan.buffers.push(BufferDecl { dtype, len, place: Place::Arena(at) })
}

/// All of a buffer.
pub fn whole(buffer: Buffer) -> BufferRef {
    BufferRef { buffer, offset: 0 }
}

/// A plan that runs one nest, with every parameter a buffer in the arena.
pub fn plan_of(nest: &Nest) -> Plan {
    let mut plan = empty_plan();
    let args = nest.params.iter().map(|p| whole(in_arena(&mut plan, p.dtype, p.len))).collect();
    plan.kernels.push(nest.clone());
    plan.steps.push(Step::Run { kernel: Kernel::new(0), args });
    plan
}

/// Compiles, with checks.
pub fn compile(plan: &Plan, cpu: Cpu) -> Code {
    compile_with(plan, &options(cpu))
}

/// Compiles with these options.
pub fn compile_with(plan: &Plan, options: &Options) -> Code {
    match backstitch_jit::compile(plan, &EXTERNS, options) {
        Ok(code) => code,
        Err(e) => panic!("{e}"),
    }
}

/// The same, or both NaN.
pub fn same(dtype: DType, a: &[u8], b: &[u8]) -> bool {
    match dtype {
        DType::F32 => {
            let x = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("4 bytes"));
            a == b || (x(a).is_nan() && x(b).is_nan())
        }
        DType::F64 => {
            let x = |b: &[u8]| f64::from_le_bytes(b.try_into().expect("8 bytes"));
            a == b || (x(a).is_nan() && x(b).is_nan())
        }
        _ => a == b,
    }
}

/// Runs the nest both ways on random data and compares all memory.
pub fn check_nest(nest: &Nest, rng: &mut Rng) {
    let data: Vec<Vec<u8>> = nest.params.iter().map(|p| rng.elements(p.dtype, p.len)).collect();
    check_nest_on(nest, &data);
}

/// Runs the nest both ways on this data and compares all memory.
pub fn check_nest_on(nest: &Nest, data: &[Vec<u8>]) {
    let mut expected = data.to_vec();
    let cells: Vec<_> = expected.iter_mut().map(|b| cells(b)).collect();
    eval_nest::eval(nest, &cells);
    let plan = plan_of(nest);
    for (cpu, vectors) in GENERATORS {
        let code = compile_with(&plan, &Options { vectors, ..options(cpu) });
        let mut arena = Arena::new(plan.arena_bytes);
        let guard = 0xa5;
        arena.bytes().fill(guard);
        let place = |i: usize| match plan.buffers[Buffer::new(i)].place {
            Place::Arena(at) => at,
            _ => unreachable!("all in the arena"),
        };
        for (i, bytes) in data.iter().enumerate() {
            arena.bytes()[place(i)..][..bytes.len()].copy_from_slice(bytes);
        }
        // SAFETY: the plan has no inputs or outputs, and the arena is as long
        // as it says.
        let status = unsafe { code.call(ptr::null(), ptr::null(), arena.at(), ptr::null_mut()) };
        assert_eq!(status, 0);
        for (i, expected) in expected.iter().enumerate() {
            let decl = &nest.params[Param::new(i)];
            let size = decl.dtype.size();
            let got = &arena.bytes()[place(i)..];
            for (j, e) in expected.chunks_exact(size).enumerate() {
                let g = &got[j * size..][..size];
                assert!(
                    same(decl.dtype, g, e),
                    "{cpu:?}, {vectors:?}: p{i}[{j}] is {g:?}, not {e:?}\n{nest}"
                );
            }
            let after = expected.len()..expected.len() + ALIGN;
            assert!(got[after].iter().all(|&b| b == guard), "wrote past the end of p{i}\n{nest}");
            assert!(decl.access != Access::In || data[i] == *expected);
        }
    }
}

/// A plan's buffer that holds constants.
pub fn constant(plan: &mut Plan, array: Array) -> Buffer {
    let (dtype, len) = (array.dtype(), array.dims().iter().product());
    plan.buffers.push(BufferDecl { dtype, len, place: Place::Constant(array) })
}
