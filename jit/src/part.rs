//! One function of steps: what each step does, and where its buffers are.

use backstitch_ir::plan::{Buffer, BufferRef, Call, Gemm, Kernel, Step};
use cranelift_codegen::ir::{Block, FuncRef, InstBuilder, Signature, StackSlot, Value, types};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::asm::{Asm, WORD};
use crate::entry::{Form, Node, Steps};
use crate::forward::Forward;
use crate::link::{FunctionId, Linker};
use crate::moving::{Elsewhere, Moved};
use crate::nest::{self, NestEmitter};
use crate::registers::Registers;
use crate::stacks::LoopStacks;

/// A function of steps being written.
pub(crate) struct PartEmitter<'s, 'p, 'f> {
    pub steps: &'s mut Steps<'p>,
    pub asm: Asm<'f>,
    pub inputs: Value,
    pub outputs: Value,
    pub arena: Value,
    pub ctx: Value,
    /// Returns 1.
    fail: Option<Block>,
    /// The same, having said that stacks are used in a way they cannot be.
    pub refuse: Option<Block>,
    /// Room for the longest table of pointers, and how many it has.
    table: Option<(StackSlot, usize)>,
    pub forward: Forward,
    /// Pointers to inputs and outputs loaded in this block, and when.
    pub pointers: FxHashMap<Buffer, (Value, usize)>,
    /// Those loaded before the current loop.
    pub held: FxHashMap<Buffer, Value>,
    /// Buffers that are not where the plan says, in the current loops.
    pub elsewhere: FxHashMap<Buffer, Elsewhere>,
    /// Copies of the current loops that copy nothing.
    pub moved: FxHashMap<*const Step, Moved>,
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
            elsewhere: FxHashMap::default(),
            moved: FxHashMap::default(),
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
            Node::Step(step @ Step::Copy { from, to }) => {
                if !self.moves(step, *from, *to) {
                    self.copy(*from, *to);
                }
            }
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

    // ---- Steps ----

    fn run(&mut self, kernel: Kernel, args: &[BufferRef]) {
        let plan = self.steps.plan;
        let nest = &plan.kernels[kernel];
        let params =
            || nest.params.entries().zip(args).map(|((p, decl), arg)| (p, decl, arg.buffer));
        if self.steps.forms[kernel] == Form::Inline {
            let indexed: SmallVec<[Buffer; 4]> = params()
                .filter(|&(p, _, buffer)| {
                    self.steps.is_indexed(kernel, p) && self.in_registers(buffer)
                })
                .map(|(_, _, buffer)| buffer)
                .collect();
            // What is only written may lie where something lies that is read.
            let read = |b: &Buffer| params().any(|(_, p, buffer)| buffer == *b && p.access.reads());
            self.spill(&indexed.iter().copied().filter(read).collect::<SmallVec<[Buffer; 4]>>());
            for (_, _, buffer) in params() {
                self.forward.registers.know(plan, buffer);
            }
            let places = args.iter().map(|&a| self.element(a)).collect();
            self.forward.begin(args);
            self.forward.registers.set_aside(&indexed);
            let (asm, callees) = (&mut self.asm, &mut self.callees);
            let Steps { funcs, linker, .. } = &mut *self.steps;
            let callees = funcs.of(linker, nest, |id, signature| {
                *callees.entry(id).or_insert_with(|| Linker::import(asm, id, signature))
            });
            let emitter = NestEmitter::new(&mut self.asm, nest, places, callees);
            emitter.forward(&mut self.forward).emit();
            for buffer in self.forward.registers.take_aside() {
                self.reload(buffer);
            }
            return;
        }
        let id = self.steps.kernel(kernel);
        let read = params().filter(|(_, decl, _)| decl.access.reads());
        self.spill(&read.map(|(_, _, buffer)| buffer).collect::<SmallVec<[Buffer; 8]>>());
        let table = self.table(args);
        let count = nest::parallel(nest).map_or(0, |l| nest.axes[l.axis] as i64);
        let signature = self.steps.kernel_signature();
        let callee = self.callee(id, signature);
        let end = self.asm.int(count);
        let workers = self.steps.sharing.kernel(kernel);
        if workers > 1 {
            let fork = self.steps.externs.fork as *const ();
            let workers = self.asm.ins().iconst(types::I32, i64::from(workers));
            let kernel = self.asm.ins().func_addr(WORD, callee);
            self.asm.call_host(fork, &[kernel, table, end, workers], None);
        } else {
            let start = self.asm.int(0);
            self.asm.ins().call(callee, &[table, start, end]);
        }
        for (_, decl, buffer) in params() {
            if decl.access.writes() {
                self.written(buffer);
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
        self.spill(&[&gemm.a, &gemm.b, &gemm.c].map(|m| m.at.buffer));
        let [a, b, c] = [&gemm.a, &gemm.b, &gemm.c].map(|m| {
            let at = self.element(m.at);
            self.asm.address(at)
        });
        let descriptor = Box::new(gemm.clone());
        let address = self.asm.int(&raw const *descriptor as i64);
        self.steps.pinned.gemms.push(descriptor);
        let workers = self.steps.sharing.product(gemm);
        let workers = self.asm.ins().iconst(types::I32, i64::from(workers));
        let product = self.steps.externs.gemm as *const ();
        self.asm.call_host(product, &[address, a, b, c, workers], None);
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
}
