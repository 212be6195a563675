//! One function of steps: what each step does, and where its buffers are.

use backstitch_ir::index::Idx;
use backstitch_ir::nest::{Access, Nest, Stmt};
use backstitch_ir::plan::{Buffer, BufferRef, Call, Gemm, Kernel, Place, Step};
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
use crate::registers::Registers;
use crate::scalar::clif_type;
use crate::stacks::LoopStacks;

/// Buffers up to this size are copied without a call.
const SMALL_COPY: usize = 128;

/// How many values later a pointer is loaded again.
const POINTER_REACH: usize = 128;

/// A function of steps being written.
pub(crate) struct PartEmitter<'s, 'p, 'f> {
    pub steps: &'s mut Steps<'p>,
    pub asm: Asm<'f>,
    inputs: Value,
    outputs: Value,
    arena: Value,
    pub ctx: Value,
    /// Returns 1.
    fail: Option<Block>,
    /// The same, having said that stacks are used in a way they cannot be.
    pub refuse: Option<Block>,
    /// Room for the longest table of pointers, and how many it has.
    table: Option<(StackSlot, usize)>,
    pub forward: Forward,
    /// Pointers to inputs and outputs loaded in this block, and when.
    pointers: FxHashMap<Buffer, (Value, usize)>,
    /// Those loaded before the current loop.
    pub held: FxHashMap<Buffer, Value>,
    /// How many loops there are around.
    pub depth: usize,
    /// What the current loops push and pop, the innermost last.
    pub loops: Vec<LoopStacks>,
    callees: FxHashMap<FunctionId, FuncRef>,
}

impl<'s, 'p, 'f> PartEmitter<'s, 'p, 'f> {
    /// For a function with these parameters, of these nodes.
    pub fn new(
        steps: &'s mut Steps<'p>,
        mut asm: Asm<'f>,
        params: &[Value],
        nodes: &[Node<'p>],
    ) -> Self {
        let registers = Registers::choose(steps, nodes, &mut asm);
        Self {
            steps,
            asm,
            inputs: params[0],
            outputs: params[1],
            arena: params[2],
            ctx: params[3],
            fail: None,
            refuse: None,
            table: None,
            forward: Forward::new(registers),
            pointers: FxHashMap::default(),
            held: FxHashMap::default(),
            depth: 0,
            loops: Vec::new(),
            callees: FxHashMap::default(),
        }
    }

    /// Writes these nodes.
    pub fn nodes(&mut self, nodes: &[Node<'p>]) {
        nodes.iter().for_each(|n| self.node(n));
    }

    /// Writes the end of the steps; the function has to be finished.
    pub fn finish(mut self) -> Asm<'f> {
        let outputs = self.forward.registers.outputs(self.steps.plan);
        self.spill(&outputs);
        let zero = self.asm.ins().iconst(types::I32, 0);
        self.asm.ins().return_(&[zero]);
        if let Some(refuse) = self.refuse {
            self.asm.place(refuse);
            self.asm.cold(refuse);
            self.asm.call_host(self.steps.externs.refuse as *const (), &[self.ctx], None);
            let fail = self.failure();
            self.asm.jump(fail, &[]);
        }
        if let Some(fail) = self.fail {
            self.asm.place(fail);
            self.asm.cold(fail);
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
            Node::Step(Step::Open { stack, store }) => self.open(*stack, *store),
            Node::Step(Step::Push { stack, from }) => self.push(*stack, *from),
            Node::Step(Step::Pop { stack, to }) => self.pop(*stack, *to),
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
            Node::If { pred, then, els } => self.branch(*pred, then, els),
            Node::While { .. } | Node::Repeat { .. } | Node::Scan { .. } => self.repeated(node),
        }
    }

    /// Bytes of a buffer.
    pub fn bytes(&self, buffer: Buffer) -> usize {
        let decl = &self.steps.plan.buffers[buffer];
        decl.len * decl.dtype.size()
    }

    // ---- Blocks ----

    /// Goes on in another block, where nothing is known.
    pub fn place(&mut self, block: Block) {
        self.asm.place(block);
        self.forward.clear();
        self.pointers.clear();
    }

    /// The same; all branches to it are there.
    pub fn place_sealed(&mut self, block: Block) {
        self.place(block);
        self.asm.seal(block);
    }

    /// Returns at once if a status is not 0.
    pub fn check(&mut self, status: Value) {
        let fail = self.failure();
        let go_on = self.asm.block(&[]);
        self.asm.branch(status, (fail, &[]), (go_on, &[]));
        self.place_sealed(go_on);
    }

    fn failure(&mut self) -> Block {
        match self.fail {
            Some(fail) => fail,
            None => *self.fail.insert(self.asm.block(&[])),
        }
    }

    // ---- Buffers ----

    /// Where a buffer is.
    pub fn buffer(&mut self, buffer: Buffer) -> Addr {
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
        if let Some(&base) = self.held.get(&buffer) {
            return Addr { base, disp: 0 };
        }
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

    pub fn pointer(&mut self, buffer: Buffer) -> Value {
        let at = self.buffer(buffer);
        self.asm.address(at)
    }

    /// The first element of a buffer.
    pub fn scalar(&mut self, buffer: Buffer) -> Value {
        self.read(buffer, 0)
    }

    /// An element of a buffer.
    pub fn read(&mut self, buffer: Buffer, i: usize) -> Value {
        self.forward.registers.know(self.steps.plan, buffer);
        if let Some(value) = self.forward.get_element(&mut self.asm, buffer, i as i64) {
            return value;
        }
        let at = self.element(BufferRef { buffer, offset: i });
        let ty = clif_type(self.steps.plan.buffers[buffer].dtype);
        self.asm.load(ty, at, Memory::Changing)
    }

    /// Sets an element of a buffer.
    pub fn write(&mut self, buffer: Buffer, i: usize, value: Value) {
        if let Some(variable) = self.forward.registers.variable(buffer, i as i64) {
            return self.asm.define(variable, value);
        }
        let at = self.element(BufferRef { buffer, offset: i });
        self.asm.store(value, at);
        self.forward.forget(buffer);
    }

    fn in_registers(&self, buffer: Buffer) -> bool {
        self.forward.registers.has(buffer)
    }

    /// Stores those of these buffers that are in registers where they are in memory.
    pub fn spill(&mut self, buffers: &[Buffer]) {
        for &buffer in
            buffers.iter().filter(|&&b| self.forward.registers.has(b)).collect::<SmallVec<[_; 8]>>()
        {
            let decl = &self.steps.plan.buffers[buffer];
            let at = self.buffer(buffer);
            for i in 0..decl.len {
                let value = self.read(buffer, i);
                self.asm.store(value, at.plus((i * decl.dtype.size()) as i64));
            }
        }
    }

    /// Loads a buffer that is in registers from where it is in memory.
    pub fn reload(&mut self, buffer: Buffer) {
        if self.in_registers(buffer) {
            let at = self.buffer(buffer);
            self.set(buffer, at);
        }
    }

    /// Sets a buffer to what is at an address.
    pub fn set(&mut self, buffer: Buffer, from: Addr) {
        if self.in_registers(buffer) {
            let decl = &self.steps.plan.buffers[buffer];
            for i in 0..decl.len {
                let at = from.plus((i * decl.dtype.size()) as i64);
                let value = self.asm.load(clif_type(decl.dtype), at, Memory::Changing);
                self.write(buffer, i, value);
            }
        } else {
            let to = self.buffer(buffer);
            self.copy_bytes(from, to, self.bytes(buffer));
            self.forward.forget(buffer);
        }
    }

    /// Stores a buffer at an address.
    pub fn save(&mut self, buffer: Buffer, to: Addr) {
        if self.in_registers(buffer) {
            let decl = &self.steps.plan.buffers[buffer];
            for i in 0..decl.len {
                let value = self.read(buffer, i);
                self.asm.store(value, to.plus((i * decl.dtype.size()) as i64));
            }
        } else {
            let from = self.buffer(buffer);
            self.copy_bytes(from, to, self.bytes(buffer));
        }
    }

    // ---- Steps ----

    fn run(&mut self, kernel: Kernel, args: &[BufferRef]) {
        let plan = self.steps.plan;
        let nest = &plan.kernels[kernel];
        let params =
            || nest.params.entries().zip(args).map(|((p, decl), arg)| (p, decl, arg.buffer));
        if self.steps.forms[kernel.index()] == Form::Inline {
            let indexed: SmallVec<[Buffer; 4]> = params()
                .filter(|&(p, _, buffer)| {
                    self.steps.is_indexed(kernel, p) && self.in_registers(buffer)
                })
                .map(|(_, _, buffer)| buffer)
                .collect();
            self.spill(&indexed);
            for (_, _, buffer) in params() {
                self.forward.registers.know(plan, buffer);
            }
            let places = args.iter().map(|&a| self.element(a)).collect();
            self.forward.begin(args);
            self.forward.registers.set_aside(&indexed);
            NestEmitter::new(&mut self.asm, nest, places).forward(&mut self.forward).emit();
            for buffer in self.forward.registers.take_aside() {
                self.reload(buffer);
            }
            return;
        }
        let id = self.steps.kernel(kernel);
        let buffers: SmallVec<[Buffer; 8]> = args.iter().map(|a| a.buffer).collect();
        self.spill(&buffers);
        let table = self.table(args);
        let hi = if nest::splits(nest) { outer_extent(nest) } else { 0 };
        let (lo, hi) = (self.asm.int(0), self.asm.int(hi));
        let signature = self.steps.kernel_signature();
        let callee = self.callee(id, signature);
        self.asm.ins().call(callee, &[table, lo, hi]);
        for (_, decl, buffer) in params() {
            if decl.access != Access::In {
                self.written(buffer);
            }
        }
    }

    /// A buffer was written in memory.
    pub fn written(&mut self, buffer: Buffer) {
        self.forward.forget(buffer);
        self.reload(buffer);
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
        self.spill(&[&gemm.a, &gemm.b, &gemm.c].map(|m| m.at.buffer));
        let [a, b, c] = [&gemm.a, &gemm.b, &gemm.c].map(|m| {
            let at = self.element(m.at);
            self.asm.address(at)
        });
        let descriptor = Box::new(gemm.clone());
        let address = self.asm.int(&raw const *descriptor as i64);
        self.steps.pinned.gemms.push(descriptor);
        self.asm.call_host(self.steps.externs.gemm as *const (), &[address, a, b, c], None);
        self.written(gemm.c.at.buffer);
    }

    fn call(&mut self, call: &Call) {
        let refs: SmallVec<[BufferRef; 8]> = call.refs().collect();
        self.spill(&refs.iter().map(|at| at.buffer).collect::<SmallVec<[Buffer; 8]>>());
        let table = self.table(&refs);
        let descriptor = Box::new(call.clone());
        let address = self.asm.int(&raw const *descriptor as i64);
        self.steps.pinned.calls.push(descriptor);
        self.asm.call_host(self.steps.externs.call as *const (), &[address, table], None);
        for written in call.work.into_iter().chain([call.result]) {
            self.written(written.buffer);
        }
    }

    fn copy(&mut self, from: Buffer, to: Buffer) {
        if self.in_registers(from) || self.in_registers(to) {
            let len = self.steps.plan.buffers[to].len;
            let values: SmallVec<[Value; 8]> = (0..len).map(|i| self.read(from, i)).collect();
            for (i, value) in values.into_iter().enumerate() {
                self.write(to, i, value);
            }
            return;
        }
        let (source, target) = (self.buffer(from), self.buffer(to));
        self.copy_bytes(source, target, self.bytes(to));
        self.forward.forget(to);
    }

    pub fn copy_bytes(&mut self, source: Addr, target: Addr, bytes: usize) {
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
