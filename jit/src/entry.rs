//! The steps of a plan as functions.
//!
//! All of a plan is one function if it is small: kernels without loops stand in
//! it as straight-line code, others are functions that it calls with a table of
//! pointers. Of longer lists of steps, runs are put into functions of their own
//! with the signature of the entry, so that no function grows beyond what the
//! register allocator is quick at. Branches and loops over steps are branches
//! and loops of the machine.

use backstitch_ir::index::Idx;
use backstitch_ir::nest::Access;
use backstitch_ir::plan::{Buffer, BufferRef, Gemm, Kernel, Place, Plan, Step};
use backstitch_ir::{Array, with_array};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, Block, FuncRef, InstBuilder, Signature, StackSlot, Type, Value, types,
};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::asm::{Addr, Asm, Memory, WORD};
use crate::code::Pinned;
use crate::error::JitError;
use crate::forward::Forward;
use crate::link::{FunctionId, Linker, part_name};
use crate::nest::{self, NestEmitter};
use crate::scalar::clif_type;
use crate::{Externs, host};

/// About how many statements a function of steps may have.
const LIMIT: usize = 600;

/// Straight-line kernels used more than once are functions from this size on.
const SHARED: usize = 48;

/// Buffers up to this size are copied without a call.
const SMALL_COPY: usize = 128;

/// How many values later a pointer is loaded again.
const POINTER_REACH: usize = 128;

/// A step, or a call of a function made of steps.
enum Node<'p> {
    Step(&'p Step),
    Part(FunctionId),
    If { pred: Buffer, then: Vec<Self>, els: Vec<Self> },
    While { head: Vec<Self>, pred: Buffer, body: Vec<Self> },
    Repeat { count: Buffer, body: Vec<Self> },
}

/// Where a kernel's instructions go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Inline,
    Function(Option<FunctionId>),
}

/// Writes the functions of a plan.
pub(crate) struct Steps<'p> {
    plan: &'p Plan,
    externs: &'p Externs,
    linker: Linker,
    forms: Vec<Form>,
    /// The constants, by buffer.
    constants: Vec<Option<*const u8>>,
    pinned: Pinned,
}

impl<'p> Steps<'p> {
    pub fn new(plan: &'p Plan, externs: &'p Externs, linker: Linker) -> Self {
        let mut uses = vec![0usize; plan.kernels.len()];
        count_uses(&plan.steps, &mut uses);
        let form = |(kernel, &uses): (_, &usize)| {
            let nest = &plan.kernels[Kernel::new(kernel)];
            let apart = nest::has_loops(nest) || (uses > 1 && nest.body.len() > SHARED);
            if apart { Form::Function(None) } else { Form::Inline }
        };
        let forms = uses.iter().enumerate().map(form).collect();
        let mut pinned = Pinned::default();
        let constants = plan
            .buffers
            .iter()
            .map(|b| match &b.place {
                Place::Constant(array) => {
                    let array = array.standard();
                    let at = data(&array);
                    pinned.constants.push(array);
                    Some(at)
                }
                _ => None,
            })
            .collect();
        Self { plan, externs, linker, forms, constants, pinned }
    }

    /// Writes everything.
    pub fn compile(mut self) -> Result<crate::Code, JitError> {
        let (nodes, _) = self.arrange(&self.plan.steps)?;
        let entry = self.part(&nodes)?;
        self.linker.finish(entry, self.pinned)
    }

    // ---- Functions of bounded size ----

    /// The steps as nodes for one function, and about how many statements they
    /// are: at most [`LIMIT`].
    fn arrange(&mut self, steps: &'p [Step]) -> Result<(Vec<Node<'p>>, usize), JitError> {
        let mut nodes = Vec::with_capacity(steps.len());
        let mut total = 0;
        for step in steps {
            let (node, cost) = self.node(step)?;
            total += cost;
            nodes.push((node, cost));
        }
        while total > LIMIT && nodes.len() > 1 {
            (nodes, total) = self.bundle(nodes)?;
        }
        Ok((nodes.into_iter().map(|n| n.0).collect(), total))
    }

    fn node(&mut self, step: &'p Step) -> Result<(Node<'p>, usize), JitError> {
        Ok(match step {
            Step::If { pred, then, els } => {
                let (then, a) = self.arrange(then)?;
                let (els, b) = self.arrange(els)?;
                (Node::If { pred: *pred, then, els }, 4 + a + b)
            }
            Step::While { head, pred, body } => {
                let (head, a) = self.arrange(head)?;
                let (body, b) = self.arrange(body)?;
                (Node::While { head, pred: *pred, body }, 4 + a + b)
            }
            Step::Repeat { count, body } => {
                let (body, a) = self.arrange(body)?;
                (Node::Repeat { count: *count, body }, 4 + a)
            }
            Step::Run { kernel, args } => {
                let cost = match self.forms[kernel.index()] {
                    Form::Inline => self.plan.kernels[*kernel].body.len(),
                    Form::Function(_) => 4 + args.len(),
                };
                (Node::Step(step), cost)
            }
            _ => (Node::Step(step), 8),
        })
    }

    /// Puts runs of nodes into functions.
    fn bundle(
        &mut self,
        nodes: Vec<(Node<'p>, usize)>,
    ) -> Result<(Vec<(Node<'p>, usize)>, usize), JitError> {
        const CALL: usize = 4;
        let mut bundles = Vec::new();
        let (mut run, mut size) = (Vec::new(), 0);
        for (node, cost) in nodes {
            if size + cost > LIMIT && !run.is_empty() {
                bundles.push((Node::Part(self.part(&run)?), CALL));
                run.clear();
                size = 0;
            }
            run.push(node);
            size += cost;
        }
        bundles.push((Node::Part(self.part(&run)?), CALL));
        let total = CALL * bundles.len();
        Ok((bundles, total))
    }

    /// A function that runs these nodes.
    fn part(&mut self, nodes: &[Node<'p>]) -> Result<FunctionId, JitError> {
        let id = self.linker.declare();
        let signature = self.part_signature();
        let mut func = self.linker.function(id, signature);
        let mut asm = Asm::new(&mut func, self.linker.features());
        let start = asm.block(&[WORD; 4]);
        asm.place(start);
        let params = asm.params(start);
        let mut body = PartEmitter {
            steps: self,
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
        };
        body.nodes(nodes)?;
        body.finish();
        let name = part_name(self.plan, id);
        self.linker.define(id, &name, func)?;
        Ok(id)
    }

    fn part_signature(&self) -> Signature {
        let mut signature = self.linker.signature();
        signature.params.extend([AbiParam::new(WORD); 4]);
        signature.returns.push(AbiParam::new(types::I32));
        signature
    }

    /// The function of a kernel: it takes a table of pointers to its
    /// parameters, and which part of its outermost parallel loop to run.
    fn kernel(&mut self, kernel: Kernel) -> Result<FunctionId, JitError> {
        if let Form::Function(Some(id)) = self.forms[kernel.index()] {
            return Ok(id);
        }
        let nest = &self.plan.kernels[kernel];
        let id = self.linker.declare();
        self.forms[kernel.index()] = Form::Function(Some(id));
        let mut func = self.linker.function(id, self.kernel_signature());
        let mut asm = Asm::new(&mut func, self.linker.features());
        let start = asm.block(&[WORD; 3]);
        asm.place(start);
        let args = asm.params(start);
        let params = (0..nest.params.len() as i64)
            .map(|i| {
                let at = Addr { base: args[0], disp: 8 * i };
                Addr { base: asm.load(WORD, at, Memory::Fixed), disp: 0 }
            })
            .collect();
        let mut emitter = NestEmitter::new(&mut asm, nest, params);
        if nest::splits(nest) {
            emitter = emitter.part(args[1], args[2]);
        }
        emitter.emit();
        asm.ins().return_(&[]);
        self.linker.define(id, &nest.name, func)?;
        Ok(id)
    }

    fn kernel_signature(&self) -> Signature {
        let mut signature = self.linker.signature();
        signature.params.extend([AbiParam::new(WORD); 3]);
        signature
    }
}

/// Where an array's elements are.
fn data(array: &Array) -> *const u8 {
    with_array!(array, a => a.as_ptr().cast())
}

fn count_uses(steps: &[Step], uses: &mut [usize]) {
    for step in steps {
        match step {
            Step::Run { kernel, .. } => uses[kernel.index()] += 1,
            Step::If { then: a, els: b, .. } | Step::While { head: a, body: b, .. } => {
                count_uses(a, uses);
                count_uses(b, uses);
            }
            Step::Repeat { body, .. } => count_uses(body, uses),
            _ => {}
        }
    }
}

/// A function of steps being written.
struct PartEmitter<'s, 'p, 'f> {
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

impl<'p> PartEmitter<'_, 'p, '_> {
    fn nodes(&mut self, nodes: &[Node<'p>]) -> Result<(), JitError> {
        nodes.iter().try_for_each(|n| self.node(n))
    }

    fn finish(mut self) {
        let zero = self.asm.ins().iconst(types::I32, 0);
        self.asm.ins().return_(&[zero]);
        if let Some(fail) = self.fail {
            self.asm.place(fail);
            let one = self.asm.ins().iconst(types::I32, 1);
            self.asm.ins().return_(&[one]);
        }
    }

    fn node(&mut self, node: &Node<'p>) -> Result<(), JitError> {
        match node {
            Node::Step(Step::Run { kernel, args }) => self.run(*kernel, args)?,
            Node::Step(Step::Gemm(gemm)) => self.gemm(gemm),
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
            Node::Step(Step::If { .. } | Step::While { .. } | Step::Repeat { .. }) => {
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
                    self.nodes(nodes)?;
                    self.asm.jump(after, &[]);
                }
                self.place(after);
            }
            Node::While { head, pred, body } => {
                let [test, again, after] = [(); 3].map(|()| self.asm.block(&[]));
                self.asm.jump(test, &[]);
                self.place(test);
                self.nodes(head)?;
                let pred = self.scalar(*pred);
                self.asm.branch(pred, (again, &[]), (after, &[]));
                self.place(again);
                self.nodes(body)?;
                self.asm.jump(test, &[]);
                self.place(after);
            }
            Node::Repeat { count, body } => {
                let count = self.scalar(*count);
                let (again, after) = (self.asm.block(&[WORD]), self.asm.block(&[]));
                let zero = self.asm.int(0);
                let some = self.asm.ins().icmp(IntCC::SignedGreaterThan, count, zero);
                self.asm.branch(some, (again, &[count]), (after, &[]));
                self.place(again);
                let left = self.asm.params(again)[0];
                self.nodes(body)?;
                let left = self.asm.add_int(left, -1);
                self.asm.branch(left, (again, &[left]), (after, &[]));
                self.place(after);
            }
        }
        Ok(())
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

    fn run(&mut self, kernel: Kernel, args: &[BufferRef]) -> Result<(), JitError> {
        let nest = &self.steps.plan.kernels[kernel];
        if self.steps.forms[kernel.index()] == Form::Inline {
            let params = args.iter().map(|&a| self.element(a)).collect();
            self.forward.begin(args);
            NestEmitter::new(&mut self.asm, nest, params).forward(&mut self.forward).emit();
            return Ok(());
        }
        let id = self.steps.kernel(kernel)?;
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
        Ok(())
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

    fn copy(&mut self, from: Buffer, to: Buffer) {
        let decl = &self.steps.plan.buffers[to];
        let bytes = decl.len * decl.dtype.size();
        if bytes <= SMALL_COPY {
            let (source, target) = (self.buffer(from), self.buffer(to));
            let pieces: SmallVec<[(Value, i64); 8]> = pieces(bytes)
                .into_iter()
                .map(|(at, ty)| (self.asm.load(ty, source.plus(at), Memory::Changing), at))
                .collect();
            for (value, at) in pieces {
                self.asm.store(value, target.plus(at));
            }
        } else {
            let (source, target) = (self.pointer(from), self.pointer(to));
            let bytes = self.asm.int(bytes as i64);
            self.asm.call_host(host::copy as *const (), &[target, source, bytes], None);
        }
        self.forward.forget(to);
    }
}

fn outer_extent(nest: &backstitch_ir::nest::Nest) -> i64 {
    match &nest.body[..] {
        [backstitch_ir::nest::Stmt::For(l)] => nest.axes[l.axis] as i64,
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
