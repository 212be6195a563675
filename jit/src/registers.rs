//! Small buffers that are in registers.
//!
//! Loops over steps hand on what they carry through buffers. Where such a buffer is of
//! few elements and all that mentions it is in one function, its elements are variables
//! of that function instead: they become block parameters where loops and branches
//! meet, and the register allocator has the rest. Around what wants them in memory (a
//! kernel with loops, a library routine) they are stored to the place in the arena that
//! they have all the same, and loaded again.
//!
//! Inputs never change; of those that a loop reads, the elements are loaded before it. So
//! are the constants of floating point that it uses, which are no part of instructions.

use backstitch_ir::nest::{Const, Param, ScalarOp, Stmt};
use backstitch_ir::plan::{Buffer, Kernel, Place, Plan, Step};
use backstitch_ir::{DType, Element, threshold, with_array};
use cranelift_codegen::ir::Value;
use cranelift_frontend::Variable;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::asm::Asm;
use crate::entry::{Form, Node, Steps};
use crate::scalar::clif_type;
use crate::survey::for_each_buffer;

/// Buffers of more elements are in memory.
const FEW: usize = threshold(8, 2);

/// At most so many elements of inputs are loaded before a loop.
const STEADY: usize = threshold(32, 2);

/// At most so many addresses of inputs and outputs are loaded before a loop.
const POINTERS: usize = threshold(12, 2);

/// At most so many constants of floating point are made before a loop.
const CONSTANTS: usize = threshold(24, 2);

/// The elements of small buffers, as values.
#[derive(Default)]
pub(crate) struct Registers {
    variables: FxHashMap<Buffer, SmallVec<[Variable; 4]>>,
    /// Those that are in memory for the moment.
    aside: SmallVec<[Buffer; 4]>,
    /// Elements of inputs that were loaded before the current loop.
    steady: FxHashMap<(Buffer, i64), Value>,
    constants: FxHashMap<Buffer, Vec<Const>>,
    /// Constants that were made before the current loop.
    made: FxHashMap<(DType, u64), Value>,
}

impl Registers {
    /// Chooses buffers for a function of these nodes.
    pub fn choose(steps: &Steps<'_>, nodes: &[Node<'_>], asm: &mut Asm) -> Self {
        let mut uses = FxHashMap::<Buffer, Uses>::default();
        let mut visit = |buffer: Buffer, way: Way| {
            let uses = uses.entry(buffer).or_default();
            uses.mentions += 1;
            uses.repeated |= way == Way::Repeated;
            uses.memory |= way == Way::Memory;
        };
        for_each_use(steps, nodes, false, &mut visit);
        let mut variables = FxHashMap::default();
        let mut chosen: Vec<Buffer> = Vec::new();
        for (&buffer, uses) in &uses {
            let decl = &steps.plan.buffers[buffer];
            let owned = match decl.place {
                Place::Arena(_) | Place::Output(_) => {
                    uses.mentions == steps.survey.mentions[buffer]
                }
                Place::Input(_) | Place::Donated { .. } | Place::Constant(_) => false,
            };
            if owned && uses.repeated && !uses.memory && decl.len <= FEW {
                chosen.push(buffer);
            }
        }
        // In an order of its own: the code is the same each time.
        chosen.sort_unstable();
        for buffer in chosen {
            let decl = &steps.plan.buffers[buffer];
            let ty = clif_type(decl.dtype);
            variables.insert(buffer, (0..decl.len).map(|_| asm.variable(ty)).collect());
        }
        Self { variables, ..Self::default() }
    }

    /// Whether a buffer is in registers.
    pub fn has(&self, buffer: Buffer) -> bool {
        self.variables.contains_key(&buffer)
    }

    /// The outputs that are in registers.
    pub fn outputs(&self, plan: &Plan) -> Vec<Buffer> {
        let is_output = |b: &Buffer| matches!(plan.buffers[*b].place, Place::Output(_));
        let mut outputs: Vec<Buffer> = self.variables.keys().copied().filter(is_output).collect();
        outputs.sort_unstable();
        outputs
    }

    /// The variable of an element.
    pub fn variable(&self, buffer: Buffer, element: i64) -> Option<Variable> {
        if self.aside.contains(&buffer) {
            return None;
        }
        let variables = self.variables.get(&buffer)?;
        Some(variables[usize::try_from(element).expect("an element of the buffer")])
    }

    /// The value of an element that needs no memory.
    pub fn get(&mut self, asm: &mut Asm, buffer: Buffer, element: i64) -> Option<Value> {
        if let Some(variable) = self.variable(buffer, element) {
            return Some(asm.read(variable));
        }
        if let Some(constants) = self.constants.get(&buffer) {
            let c = constants[element as usize];
            return Some(self.made(c).unwrap_or_else(|| asm.constant(c)));
        }
        self.steady.get(&(buffer, element)).copied()
    }

    /// Makes the elements of a small constant known.
    pub fn know(&mut self, plan: &Plan, buffer: Buffer) {
        let decl = &plan.buffers[buffer];
        if let Place::Constant(array) = &decl.place
            && decl.len <= FEW
        {
            self.constants.entry(buffer).or_insert_with(
                || with_array!(array, a => a.iter().map(|x| x.to_const()).collect()),
            );
        }
    }

    /// From here on these are in memory.
    pub fn set_aside(&mut self, buffers: &[Buffer]) {
        self.aside.extend(buffers.iter().copied().filter(|b| self.variables.contains_key(b)));
    }

    /// What is in memory for the moment; it no longer is.
    pub fn take_aside(&mut self) -> SmallVec<[Buffer; 4]> {
        std::mem::take(&mut self.aside)
    }

    /// An element of an input was loaded before the loop.
    pub fn hold(&mut self, buffer: Buffer, element: i64, value: Value) {
        self.steady.insert((buffer, element), value);
    }

    /// A constant was made before the loop.
    pub fn hold_constant(&mut self, c: Const, value: Value) {
        self.made.insert((c.dtype, c.bits), value);
    }

    /// A constant that was.
    pub fn made(&self, c: Const) -> Option<Value> {
        self.made.get(&(c.dtype, c.bits)).copied()
    }

    /// The loop is over.
    pub fn release(&mut self) {
        self.steady.clear();
        self.made.clear();
    }
}

/// What a loop reads that does not change.
pub(crate) struct Steady {
    /// Elements of inputs.
    pub elements: Vec<(Buffer, usize)>,
    /// Inputs and outputs that are accessed in memory.
    pub arrays: Vec<Buffer>,
    /// Constants of floating point.
    pub constants: Vec<Const>,
}

impl Steady {
    /// Of this loop.
    pub fn of(steps: &Steps<'_>, node: &Node<'_>, registers: &Registers) -> Self {
        let mut steady = Self { elements: Vec::new(), arrays: Vec::new(), constants: Vec::new() };
        let mut seen = FxHashSet::default();
        let mut visit = |buffer: Buffer, way: Way| {
            let decl = &steps.plan.buffers[buffer];
            let outside = !matches!(decl.place, Place::Arena(_) | Place::Constant(_));
            if !outside || registers.has(buffer) || !seen.insert(buffer) {
                return;
            }
            let small = matches!(decl.place, Place::Input(_)) && decl.len <= FEW;
            if small && way != Way::Memory && steady.elements.len() + decl.len <= STEADY {
                steady.elements.extend((0..decl.len).map(|i| (buffer, i)));
            } else if steady.arrays.len() < POINTERS {
                steady.arrays.push(buffer);
            }
        };
        for_each_use(steps, std::slice::from_ref(node), false, &mut visit);
        let mut seen = FxHashSet::default();
        for_each_constant(steps, std::slice::from_ref(node), &mut |c| {
            let room = steady.constants.len() < CONSTANTS;
            // Zero is made without reading anything.
            if room && c.dtype.is_float() && c.bits != 0 && seen.insert((c.dtype, c.bits)) {
                steady.constants.push(c);
            }
        });
        steady
    }
}

/// The constants of all kernels that are straight-line code.
fn for_each_constant(steps: &Steps<'_>, nodes: &[Node<'_>], f: &mut impl FnMut(Const)) {
    fn visit(body: &[Stmt], f: &mut impl FnMut(Const)) {
        for s in body {
            match s {
                Stmt::Let { op: ScalarOp::Const(c), .. } => f(*c),
                Stmt::For(l) => visit(&l.body, f),
                _ => {}
            }
        }
    }
    for node in nodes {
        match node {
            Node::Step(Step::Run { kernel, .. }) if steps.forms[*kernel] == Form::Inline => {
                visit(&steps.plan.kernels[*kernel].body, f);
            }
            Node::Step(_) | Node::Part(_) => {}
            Node::If { then: a, els: b, .. } | Node::While { head: a, body: b, .. } => {
                for_each_constant(steps, a, f);
                for_each_constant(steps, b, f);
            }
            Node::Repeat { body, .. } | Node::Scan { body, .. } => {
                for_each_constant(steps, body, f);
            }
        }
    }
}

/// How a buffer is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Element by element, in a loop.
    Repeated,
    /// In a loop, and has to be in memory.
    Memory,
    /// Outside loops.
    Once,
}

/// All uses of a buffer in a function.
#[derive(Default)]
struct Uses {
    mentions: u32,
    repeated: bool,
    memory: bool,
}

fn for_each_use(
    steps: &Steps<'_>,
    nodes: &[Node<'_>],
    in_loop: bool,
    f: &mut impl FnMut(Buffer, Way),
) {
    let plain = if in_loop { Way::Repeated } else { Way::Once };
    let opaque = if in_loop { Way::Memory } else { Way::Once };
    for node in nodes {
        match node {
            Node::Step(Step::Run { kernel, args }) => {
                let inline = steps.forms[*kernel] == Form::Inline;
                for (param, arg) in steps.plan.kernels[*kernel].params.keys().zip(args) {
                    let direct = inline && !steps.is_indexed(*kernel, param);
                    f(arg.buffer, if direct { plain } else { opaque });
                }
            }
            Node::Step(step @ (Step::Gemm(_) | Step::Call(_))) => {
                for_each_buffer(step, &mut |buffer| f(buffer, opaque));
            }
            Node::Step(step) => for_each_buffer(step, &mut |buffer| f(buffer, plain)),
            Node::Part(_) => {}
            Node::If { pred, then, els } => {
                f(*pred, plain);
                for_each_use(steps, then, in_loop, f);
                for_each_use(steps, els, in_loop, f);
            }
            Node::While { head, pred, body, .. } => {
                f(*pred, Way::Repeated);
                for_each_use(steps, head, true, f);
                for_each_use(steps, body, true, f);
            }
            Node::Repeat { count, body, .. } => {
                f(*count, plain);
                for_each_use(steps, body, true, f);
            }
            Node::Scan { reads, writes, body, .. } => {
                for r in reads.iter().chain(*writes) {
                    f(r.rows, Way::Memory);
                    f(r.entry, Way::Repeated);
                }
                for_each_use(steps, body, true, f);
            }
        }
    }
}

/// Parameters of inline kernels that are accessed at an element known only at run time.
pub(crate) fn indexed(
    plan: &Plan,
    is_inline: impl Fn(Kernel) -> bool,
) -> FxHashSet<(Kernel, Param)> {
    fn visit(kernel: Kernel, body: &[Stmt], found: &mut FxHashSet<(Kernel, Param)>) {
        for s in body {
            match s {
                Stmt::Load { param, at, .. }
                | Stmt::Store { param, at, .. }
                | Stmt::Accumulate { param, at, .. } => {
                    if at.index.is_some() {
                        found.insert((kernel, *param));
                    }
                }
                Stmt::For(l) => visit(kernel, &l.body, found),
                Stmt::Let { .. } | Stmt::Call { .. } | Stmt::Index { .. } => {}
            }
        }
    }
    let mut found = FxHashSet::default();
    for (kernel, nest) in plan.kernels.entries().filter(|&(k, _)| is_inline(k)) {
        visit(kernel, &nest.body, &mut found);
    }
    found
}
