//! One function of steps: what each step does, and where its buffers are.

use backstitch_ir::index::Idx;
use backstitch_ir::nest::{Access, Nest, Stmt};
use backstitch_ir::plan::{Buffer, BufferRef, Call, Gemm, Kernel, Place, RowOf, Step};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, FuncRef, InstBuilder, Signature, StackSlot, Type, Value, types,
};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::asm::{Addr, Asm, Memory, WORD};
use crate::entry::{Form, Node, Steps};
use crate::forward::Forward;
use crate::host;
use crate::link::{FunctionId, Linker};
use crate::nest::{self, NestEmitter};
use crate::scalar::clif_type;

/// Buffers up to this size are copied without a call.
const SMALL_COPY: usize = 128;

/// How many values later a pointer is loaded again.
const POINTER_REACH: usize = 128;

/// A function of steps being written.
pub(crate) struct PartEmitter<'s, 'p, 'f> {
    steps: &'s mut Steps<'p>,
    asm: Asm<'f>,
    inputs: Value,
    outputs: Value,
    arena: Value,
    ctx: Value,
    /// Returns 1.
    fail: Option<Block>,
    /// Room for the longest table of pointers, and how many it has.
    table: Option<(StackSlot, usize)>,
    forward: Forward,
    /// Pointers to inputs and outputs loaded in this block, and when.
    pointers: FxHashMap<Buffer, (Value, usize)>,
    callees: FxHashMap<FunctionId, FuncRef>,
}

impl<'s, 'p, 'f> PartEmitter<'s, 'p, 'f> {
    /// For a function with these parameters.
    pub fn new(steps: &'s mut Steps<'p>, asm: Asm<'f>, params: &[Value]) -> Self {
        Self {
            steps,
            asm,
            inputs: params[0],
            outputs: params[1],
            arena: params[2],
            ctx: params[3],
            fail: None,
            table: None,
            forward: Forward::default(),
            pointers: FxHashMap::default(),
            callees: FxHashMap::default(),
        }
    }

    /// Writes these nodes.
    pub fn nodes(&mut self, nodes: &[Node<'p>]) {
        nodes.iter().for_each(|n| self.node(n));
    }

    /// Writes the end of the steps; the function has to be finished.
    pub fn finish(mut self) -> Asm<'f> {
        let zero = self.asm.ins().iconst(types::I32, 0);
        self.asm.ins().return_(&[zero]);
        if let Some(fail) = self.fail {
            self.asm.place(fail);
            let one = self.asm.ins().iconst(types::I32, 1);
            self.asm.ins().return_(&[one]);
        }
        self.asm
    }

    fn node(&mut self, node: &Node<'p>) {
        match node {
            Node::Step(Step::Run { kernel, args }) => self.run(*kernel, args),
            Node::Step(Step::Gemm(gemm)) => self.gemm(gemm),
            Node::Step(Step::Call(call)) => self.call(call),
            Node::Step(Step::Copy { from, to }) => self.copy(*from, *to),
            Node::Step(Step::Open { stack, store }) => {
                let store = self.asm.ins().iconst(types::I32, store.index() as i64);
                let handle = self.pointer(*stack);
                let open = self.steps.externs.open as *const ();
                self.asm.call_host(open, &[self.ctx, store, handle], None);
                self.forward.forget(*stack);
            }
            Node::Step(Step::Push { stack, from }) => {
                let (handle, from) = (self.pointer(*stack), self.pointer(*from));
                let push = self.steps.externs.push as *const ();
                let status = self.asm.call_host(push, &[self.ctx, handle, from], Some(types::I32));
                self.forward.forget(*stack);
                self.check(status.expect("a status"));
            }
            Node::Step(Step::Pop { stack, to }) => {
                let (handle, at) = (self.pointer(*stack), self.pointer(*to));
                let pop = self.steps.externs.pop as *const ();
                self.asm.call_host(pop, &[self.ctx, handle, at], None);
                self.forward.forget(*stack);
                self.forward.forget(*to);
            }
            Node::Step(
                Step::If { .. } | Step::While { .. } | Step::Repeat { .. } | Step::Scan { .. },
            ) => {
                unreachable!("control flow has nodes of its own")
            }
            Node::Part(id) => {
                let signature = self.steps.part_signature();
                let callee = self.callee(*id, signature);
                let args = [self.inputs, self.outputs, self.arena, self.ctx];
                let call = self.asm.ins().call(callee, &args);
                let status = self.asm.func().dfg.first_result(call);
                self.check(status);
            }
            Node::If { pred, then, els } => {
                let pred = self.scalar(*pred);
                let [yes, no, after] = [(); 3].map(|()| self.asm.block(&[]));
                self.asm.branch(pred, (yes, &[]), (no, &[]));
                for (block, nodes) in [(yes, then), (no, els)] {
                    self.place(block);
                    self.nodes(nodes);
                    self.asm.jump(after, &[]);
                }
                self.place(after);
            }
            Node::While { head, pred, body } => {
                let [test, again, after] = [(); 3].map(|()| self.asm.block(&[]));
                self.asm.jump(test, &[]);
                self.place(test);
                self.nodes(head);
                let pred = self.scalar(*pred);
                self.asm.branch(pred, (again, &[]), (after, &[]));
                self.place(again);
                self.nodes(body);
                self.asm.jump(test, &[]);
                self.place(after);
            }
            Node::Scan { count, reads, writes, body } => self.scan(*count, reads, writes, body),
            Node::Repeat { count, body } => {
                let count = self.scalar(*count);
                let (again, after) = (self.asm.block(&[WORD]), self.asm.block(&[]));
                let zero = self.asm.int(0);
                let some = self.asm.ins().icmp(IntCC::SignedGreaterThan, count, zero);
                self.asm.branch(some, (again, &[count]), (after, &[]));
                self.place(again);
                let left = self.asm.params(again)[0];
                self.nodes(body);
                let left = self.asm.add_int(left, -1);
                self.asm.branch(left, (again, &[left]), (after, &[]));
                self.place(after);
            }
        }
    }

    /// `t` counts from 0 up; row `t` is that many rows from the first or the last.
    fn scan(&mut self, count: usize, reads: &[RowOf], writes: &[RowOf], body: &[Node<'p>]) {
        if count == 0 {
            return;
        }
        let [again, after] = [self.asm.block(&[WORD]), self.asm.block(&[])];
        let zero = self.asm.int(0);
        self.asm.jump(again, &[zero]);
        self.place(again);
        let t = self.asm.params(again)[0];
        for r in reads {
            let (from, to) = (self.row(r, t, count), self.buffer(r.entry));
            self.copy_bytes(from, to, self.bytes(r.entry));
            self.forward.forget(r.entry);
        }
        self.nodes(body);
        for r in writes {
            let (from, to) = (self.buffer(r.entry), self.row(r, t, count));
            self.copy_bytes(from, to, self.bytes(r.entry));
            self.forward.forget(r.rows);
        }
        let next = self.asm.add_int(t, 1);
        let left = self.asm.add_int(next, -(count as i64));
        self.asm.branch(left, (again, &[next]), (after, &[]));
        self.place(after);
    }

    /// Where the row of iteration `t` is.
    fn row(&mut self, r: &RowOf, t: Value, count: usize) -> Addr {
        let bytes = self.bytes(r.entry) as i64;
        let (first, step) = if r.back { (bytes * (count as i64 - 1), -bytes) } else { (0, bytes) };
        let at = self.buffer(r.rows).plus(first);
        let base = self.asm.address(at);
        let step = self.asm.int(step);
        let offset = self.asm.ins().imul(t, step);
        Addr { base: self.asm.ins().iadd(base, offset), disp: 0 }
    }

    /// Bytes of a buffer.
    fn bytes(&self, buffer: Buffer) -> usize {
        let decl = &self.steps.plan.buffers[buffer];
        decl.len * decl.dtype.size()
    }

    // ---- Blocks ----

    /// Goes on in another block, where nothing is known.
    fn place(&mut self, block: Block) {
        self.asm.place(block);
        self.forward.clear();
        self.pointers.clear();
    }

    /// Returns at once with a status other than 0.
    fn check(&mut self, status: Value) {
        let fail = match self.fail {
            Some(fail) => fail,
            None => *self.fail.insert(self.asm.block(&[])),
        };
        let go_on = self.asm.block(&[]);
        self.asm.branch(status, (fail, &[]), (go_on, &[]));
        self.place(go_on);
    }

    // ---- Buffers ----

    /// Where a buffer is.
    fn buffer(&mut self, buffer: Buffer) -> Addr {
        let plan = self.steps.plan;
        let (table, number) = match plan.buffers[buffer].place {
            Place::Arena(at) => return Addr { base: self.arena, disp: at as i64 },
            Place::Constant(_) => {
                let at = self.steps.constants[buffer.index()].expect("a constant's address");
                return Addr { base: self.asm.int(at as i64), disp: 0 };
            }
            Place::Input(i) => (self.inputs, i),
            Place::Output(i) => (self.outputs, i),
        };
        let now = self.asm.values();
        if let Some(&(base, made)) = self.pointers.get(&buffer)
            && now - made < POINTER_REACH
        {
            return Addr { base, disp: 0 };
        }
        let at = Addr { base: table, disp: 8 * number as i64 };
        let base = self.asm.load(WORD, at, Memory::Fixed);
        self.pointers.insert(buffer, (base, now));
        Addr { base, disp: 0 }
    }

    /// Where an element of a buffer is.
    fn element(&mut self, at: BufferRef) -> Addr {
        let size = self.steps.plan.buffers[at.buffer].dtype.size();
        self.buffer(at.buffer).plus((at.offset * size) as i64)
    }

    fn pointer(&mut self, buffer: Buffer) -> Value {
        let at = self.buffer(buffer);
        self.asm.address(at)
    }

    /// The first element of a buffer.
    fn scalar(&mut self, buffer: Buffer) -> Value {
        let now = self.asm.values();
        if let Some(value) = self.forward.get_element(buffer, 0, now) {
            return value;
        }
        let at = self.buffer(buffer);
        let ty = clif_type(self.steps.plan.buffers[buffer].dtype);
        self.asm.load(ty, at, Memory::Changing)
    }

    // ---- Steps ----

    fn run(&mut self, kernel: Kernel, args: &[BufferRef]) {
        let nest = &self.steps.plan.kernels[kernel];
        if self.steps.forms[kernel.index()] == Form::Inline {
            let params = args.iter().map(|&a| self.element(a)).collect();
            self.forward.begin(args);
            return NestEmitter::new(&mut self.asm, nest, params).forward(&mut self.forward).emit();
        }
        let id = self.steps.kernel(kernel);
        let table = self.table(args);
        let hi = if nest::splits(nest) { outer_extent(nest) } else { 0 };
        let (lo, hi) = (self.asm.int(0), self.asm.int(hi));
        let signature = self.steps.kernel_signature();
        let callee = self.callee(id, signature);
        self.asm.ins().call(callee, &[table, lo, hi]);
        for (arg, decl) in args.iter().zip(nest.params.iter()) {
            if decl.access != Access::In {
                self.forward.forget(arg.buffer);
            }
        }
    }

    /// Fills the table of pointers.
    fn table(&mut self, args: &[BufferRef]) -> Value {
        let slot = match self.table {
            Some((slot, room)) if room >= args.len() => slot,
            Some((slot, _)) => {
                self.asm.func().sized_stack_slots[slot].size = 8 * args.len() as u32;
                self.table = Some((slot, args.len()));
                slot
            }
            None => {
                let slot = self.asm.slot(8 * args.len().max(1));
                self.table = Some((slot, args.len()));
                slot
            }
        };
        let at = self.asm.slot_address(slot);
        for (i, &arg) in args.iter().enumerate() {
            let element = self.element(arg);
            let pointer = self.asm.address(element);
            self.asm.store(pointer, at.plus(8 * i as i64));
        }
        at.base
    }

    fn callee(&mut self, id: FunctionId, signature: Signature) -> FuncRef {
        let asm = &mut self.asm;
        *self.callees.entry(id).or_insert_with(|| Linker::import(asm, id, signature))
    }

    fn gemm(&mut self, gemm: &Gemm) {
        let [a, b, c] = [&gemm.a, &gemm.b, &gemm.c].map(|m| {
            let at = self.element(m.at);
            self.asm.address(at)
        });
        let descriptor = Box::new(gemm.clone());
        let address = self.asm.int(&raw const *descriptor as i64);
        self.steps.pinned.gemms.push(descriptor);
        self.asm.call_host(self.steps.externs.gemm as *const (), &[address, a, b, c], None);
        self.forward.forget(gemm.c.at.buffer);
    }

    fn call(&mut self, call: &Call) {
        let refs: SmallVec<[BufferRef; 8]> = call.refs().collect();
        let table = self.table(&refs);
        let descriptor = Box::new(call.clone());
        let address = self.asm.int(&raw const *descriptor as i64);
        self.steps.pinned.calls.push(descriptor);
        self.asm.call_host(self.steps.externs.call as *const (), &[address, table], None);
        for written in call.work.into_iter().chain([call.result]) {
            self.forward.forget(written.buffer);
        }
    }

    fn copy(&mut self, from: Buffer, to: Buffer) {
        let (source, target) = (self.buffer(from), self.buffer(to));
        self.copy_bytes(source, target, self.bytes(to));
        self.forward.forget(to);
    }

    fn copy_bytes(&mut self, source: Addr, target: Addr, bytes: usize) {
        if bytes <= SMALL_COPY {
            let pieces: SmallVec<[(Value, i64); 8]> = pieces(bytes)
                .into_iter()
                .map(|(at, ty)| (self.asm.load(ty, source.plus(at), Memory::Changing), at))
                .collect();
            for (value, at) in pieces {
                self.asm.store(value, target.plus(at));
            }
        } else {
            let (source, target) = (self.asm.address(source), self.asm.address(target));
            let bytes = self.asm.int(bytes as i64);
            self.asm.call_host(host::copy as *const (), &[target, source, bytes], None);
        }
    }
}

fn outer_extent(nest: &Nest) -> i64 {
    match &nest.body[..] {
        [Stmt::For(l)] => nest.axes[l.axis] as i64,
        _ => unreachable!("one loop"),
    }
}

/// So many bytes as registers, with their offsets.
fn pieces(bytes: usize) -> SmallVec<[(i64, Type); 8]> {
    let mut at = 0;
    let mut out = SmallVec::new();
    for ty in [types::I8X16, types::I64, types::I32, types::I16, types::I8] {
        while bytes - at >= ty.bytes() as usize {
            out.push((at as i64, ty));
            at += ty.bytes() as usize;
        }
    }
    out
}
