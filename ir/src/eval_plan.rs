//! Interpreter of plans: the meaning of kernels in order, in memory.
//!
//! Every other device is compared with it. It runs kernels with the interpreter
//! of nests, products as plain loops that add up in ascending order of `k`, and
//! keeps all buffers as bytes, those of the arena in one array as the plan
//! places them. The arena and the outputs begin as bytes of ones, which is NaN
//! (and -1): a plan that reads what nobody wrote, or whose buffers overlap,
//! shows it.
//!
//! Plans come from the compiler and are verified; what is wrong with one panics.

use std::cell::Cell;

use ndarray::Dimension;

use crate::array::{Array, Element};
use crate::eval_nest::{self, Mem, cells, pack, read, unpack, write};
use crate::index::{Idx, IndexVec};
use crate::nest::Const;
use crate::plan::{
    Buffer, BufferRef, Call, Gemm, HANDLE_LEN, Matrix, Place, Plan, RowOf, Step, Store,
};
use crate::ty::{DType, Type};
use crate::{with_array, with_dtype};

/// What is in memory that nobody wrote.
const POISON: u8 = 0xff;

/// The outputs of a plan for these inputs.
///
/// # Panics
/// If the inputs are not of the plan's types, or the plan is not well-formed.
pub fn eval_plan(plan: &Plan, inputs: &[Array]) -> Vec<Array> {
    assert!(
        inputs.iter().map(Array::ty).eq(plan.inputs.iter().cloned()),
        "{}: inputs of types {:?}, not {:?}",
        plan.name,
        inputs.iter().map(Array::ty).collect::<Vec<_>>(),
        plan.inputs
    );
    let mut inputs: Vec<Vec<u8>> = inputs.iter().map(bytes_of).collect();
    let mut outputs: Vec<Vec<u8>> = plan.outputs.iter().map(|t| vec![POISON; t.bytes()]).collect();
    for decl in plan.buffers.iter() {
        if let Place::Donated { input, output } = decl.place {
            // One array: what goes in is overwritten by what comes out.
            outputs[output] = std::mem::take(&mut inputs[input]);
        }
    }
    let mut arena = vec![POISON; plan.arena_bytes];
    let constant = |decl: &crate::plan::BufferDecl| match &decl.place {
        Place::Constant(array) => bytes_of(array),
        _ => vec![],
    };
    let mut constants: Vec<Vec<u8>> = plan.buffers.iter().map(constant).collect();
    {
        let inputs: Vec<Mem<'_>> = inputs.iter_mut().map(|bytes| cells(bytes)).collect();
        let outputs: Vec<Mem<'_>> = outputs.iter_mut().map(|bytes| cells(bytes)).collect();
        let constants: Vec<Mem<'_>> = constants.iter_mut().map(|bytes| cells(bytes)).collect();
        let arena = cells(&mut arena);
        let memory = |(b, decl): (Buffer, &crate::plan::BufferDecl)| match decl.place {
            Place::Input(i) => inputs[i],
            Place::Output(i) => outputs[i],
            Place::Donated { output, .. } => outputs[output],
            Place::Constant(_) => constants[b.index()],
            Place::Arena(at) => &arena[at..at + decl.len * decl.dtype.size()],
        };
        let buffers = plan.buffers.entries().map(memory).collect();
        let stores = plan.stores.iter().map(|_| Entries::default()).collect();
        Machine { plan, buffers, stores }.run(&plan.steps);
    }
    plan.outputs.iter().zip(&outputs).map(|(ty, bytes)| array_of(ty, bytes)).collect()
}

fn bytes_of(array: &Array) -> Vec<u8> {
    with_array!(&array.standard(), a => pack(a.as_slice().expect("standard layout")))
}

fn array_of(ty: &Type, bytes: &[u8]) -> Array {
    let array = with_dtype!(ty.dtype, T => Array::from_vec(&ty.shape, unpack::<T>(bytes)));
    array.expect("as many elements as the type has")
}

struct Machine<'a> {
    plan: &'a Plan,
    buffers: IndexVec<Buffer, Mem<'a>>,
    stores: IndexVec<Store, Entries>,
}

/// What is in a store.
#[derive(Default)]
struct Entries {
    bytes: Vec<u8>,
    len: usize,
}

impl Machine<'_> {
    fn run(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Run { kernel, args } => {
                    let args: Vec<Mem<'_>> = args.iter().map(|&arg| self.from(arg)).collect();
                    eval_nest::eval(&self.plan.kernels[*kernel], &args);
                }
                Step::Gemm(g) => match g.dtype {
                    DType::F32 => self.gemm(g, 0f32, |sum, a, b| sum + a * b),
                    DType::F64 => self.gemm(g, 0f64, |sum, a, b| sum + a * b),
                    other => panic!("{}: a product of {other}", self.plan.name),
                },
                Step::Call(c) => self.call(c),
                Step::Copy { from, to } => copy(self.buffers[*from], self.buffers[*to]),
                Step::If { pred, then, els } => {
                    self.run(if self.truth(*pred) { then } else { els });
                }
                Step::While { head, pred, body } => loop {
                    self.run(head);
                    if !self.truth(*pred) {
                        break;
                    }
                    self.run(body);
                },
                Step::Repeat { count, body } => {
                    let count: i64 = load(self.buffers[*count], 0);
                    (0..count).for_each(|_| self.run(body));
                }
                Step::Scan { count, reads, writes, body } => {
                    for t in 0..*count {
                        for r in reads {
                            copy(self.row(r, t, *count), self.buffers[r.entry]);
                        }
                        self.run(body);
                        for r in writes {
                            copy(self.buffers[r.entry], self.row(r, t, *count));
                        }
                    }
                }
                Step::Open { stack, store } => {
                    let base = self.stores[*store].len;
                    self.set_handle(*stack, Handle { store: *store, base, count: 0 });
                }
                Step::Push { stack, from } => self.push(*stack, *from),
                Step::Pop { stack, to } => self.pop(*stack, *to),
            }
        }
    }

    /// A buffer from an element on.
    fn from(&self, at: BufferRef) -> Mem<'_> {
        &self.buffers[at.buffer][at.offset * self.plan.buffers[at.buffer].dtype.size()..]
    }

    /// The row of iteration `t`.
    fn row(&self, r: &RowOf, t: usize, count: usize) -> Mem<'_> {
        let t = if r.back { count - 1 - t } else { t };
        let bytes = self.buffers[r.entry].len();
        &self.buffers[r.rows][t * bytes..][..bytes]
    }

    fn truth(&self, pred: Buffer) -> bool {
        self.buffers[pred][0].get() != 0
    }

    fn gemm<T: Element>(&self, g: &Gemm, zero: T, add: impl Fn(T, T, T) -> T) {
        let place = |matrix: &Matrix, batch: isize, i: usize, j: usize| {
            let at = matrix.at.offset as isize
                + batch
                + i as isize * matrix.row
                + j as isize * matrix.col;
            usize::try_from(at).expect("elements of matrices are in bounds")
        };
        let [a, b, c] = [&g.a, &g.b, &g.c].map(|m| self.buffers[m.at.buffer]);
        for_each_batch(g, &mut |[at_a, at_b, at_c]| {
            for i in 0..g.m {
                for j in 0..g.n {
                    let to = place(&g.c, at_c, i, j);
                    let start = if g.add { load(c, to) } else { zero };
                    let sum = (0..g.k).fold(start, |sum, k| {
                        add(sum, load(a, place(&g.a, at_a, i, k)), load(b, place(&g.b, at_b, k, j)))
                    });
                    store(c, to, sum);
                }
            }
        });
    }

    fn call(&self, c: &Call) {
        let signature = c.routine.signature();
        let part = |at: BufferRef, dtype: DType, len: usize| &self.from(at)[..len * dtype.size()];
        let args: Vec<Array> = (c.args.iter().zip(&signature.args))
            .map(|(&at, &(dtype, len))| {
                let bytes: Vec<u8> = part(at, dtype, len).iter().map(Cell::get).collect();
                array_of(&Type::new(dtype, [len]), &bytes)
            })
            .collect();
        let (dtype, len) = signature.result;
        let result = c.routine.eval(&args.iter().collect::<Vec<_>>(), &[len].into(), c.place);
        // Whatever was in the memory it may work in is gone.
        if let Some(work) = c.work {
            part(work, DType::I64, c.work_len()).iter().for_each(|byte| byte.set(POISON));
        }
        let bytes = bytes_of(&result);
        part(c.result, dtype, len).iter().zip(bytes).for_each(|(to, byte)| to.set(byte));
    }

    fn handle(&self, stack: Buffer) -> Handle {
        let [store, base, count] = std::array::from_fn(|i| {
            let field: i64 = load(self.buffers[stack], i);
            usize::try_from(field).unwrap_or_else(|_| panic!("{stack} is not a handle"))
        });
        Handle { store: Store::new(store), base, count }
    }

    fn set_handle(&self, stack: Buffer, handle: Handle) {
        let fields: [usize; HANDLE_LEN] = [handle.store.index(), handle.base, handle.count];
        for (i, field) in fields.into_iter().enumerate() {
            store(self.buffers[stack], i, field as i64);
        }
    }

    fn push(&mut self, stack: Buffer, from: Buffer) {
        let handle = self.handle(stack);
        let size = self.plan.stores[handle.store];
        let entry = self.buffers[from];
        assert_eq!(entry.len(), size, "{from} is an entry of {}", handle.store);
        let entries = &mut self.stores[handle.store];
        let end = handle.base + handle.count;
        assert_eq!(end, entries.len, "{stack} is the last stack of {}", handle.store);
        entries.bytes.extend(entry.iter().map(Cell::get));
        entries.len += 1;
        self.set_handle(stack, Handle { count: handle.count + 1, ..handle });
    }

    fn pop(&mut self, stack: Buffer, to: Buffer) {
        let handle = self.handle(stack);
        let size = self.plan.stores[handle.store];
        let count = handle.count.checked_sub(1);
        let count = count.unwrap_or_else(|| panic!("{stack} is empty"));
        let entry = &self.stores[handle.store].bytes[(handle.base + count) * size..][..size];
        let place = self.buffers[to];
        assert_eq!(place.len(), size, "{to} is an entry of {}", handle.store);
        place.iter().zip(entry).for_each(|(cell, &byte)| cell.set(byte));
        self.set_handle(stack, Handle { count, ..handle });
    }
}

/// What the three numbers of a handle say.
#[derive(Clone, Copy)]
struct Handle {
    store: Store,
    base: usize,
    count: usize,
}

/// Calls `f` with the place of each batch in the three matrices.
fn for_each_batch(g: &Gemm, f: &mut impl FnMut([isize; 3])) {
    let extents: Vec<usize> = g.batch.iter().map(|axis| axis.extent).collect();
    for index in ndarray::indices(extents) {
        let place = |i: usize| {
            let steps = g.batch.iter().zip(index.slice());
            steps.map(|(axis, &at)| at as isize * axis.strides[i]).sum()
        };
        f([place(0), place(1), place(2)]);
    }
}

fn copy(from: Mem<'_>, to: Mem<'_>) {
    assert_eq!(from.len(), to.len(), "a copy between buffers of one length");
    to.iter().zip(from).for_each(|(to, from)| to.set(from.get()));
}

fn load<T: Element>(mem: Mem<'_>, i: usize) -> T {
    T::from_const(Const { dtype: T::DTYPE, bits: read(mem, T::DTYPE.size(), i) })
}

fn store<T: Element>(mem: Mem<'_>, i: usize, x: T) {
    write(mem, T::DTYPE.size(), i, x.to_const().bits);
}
