//! The steps of a plan as functions.
//!
//! All of a plan is one function if it is small: kernels without loops stand in
//! it as straight-line code, others are functions that it calls with a table of
//! pointers. Of longer lists of steps, runs are put into functions of their own
//! with the signature of the entry, so that no function grows beyond what the
//! register allocator is quick at. Branches and loops over steps are branches
//! and loops of the machine.
//!
//! Inside loops over steps kernels with small loops are straight-line code as well: a
//! call would take longer than what they do.
//!
//! One function is written at a time. Those that a function calls are promised,
//! and written when it is done.

use backstitch_ir::index::IndexVec;
use backstitch_ir::nest::Param;
use backstitch_ir::plan::{Buffer, Kernel, Place, Plan, RowOf, Step};
use backstitch_ir::{Array, threshold, with_array};
use cranelift_codegen::ir::{AbiParam, InstBuilder, Signature, types};
use cranelift_frontend::FunctionBuilderContext;
use rustc_hash::FxHashSet;

use crate::asm::{Addr, Asm, Memory, WORD};
use crate::code::Pinned;
use crate::error::JitError;
use crate::func::Funcs;
use crate::link::{FunctionId, Linker, part_name};
use crate::nest::{self, NestEmitter};
use crate::part::PartEmitter;
use crate::registers::indexed;
use crate::survey::{Span, Survey, written_out};
use crate::work::Sharing;
use crate::{Code, Externs, Options, wide};

/// About how many statements a function of steps may have.
const LIMIT: usize = threshold(600, 12);

/// Straight-line kernels used more than once are functions from this size on.
const SHARED: usize = threshold(48, 6);

/// A step, or a call of a function made of steps.
pub(crate) enum Node<'p> {
    Step(&'p Step),
    Part(FunctionId),
    If { pred: Buffer, then: Vec<Self>, els: Vec<Self> },
    While { span: Span, head: Vec<Self>, pred: Buffer, body: Vec<Self> },
    Repeat { span: Span, count: Buffer, body: Vec<Self> },
    Scan { span: Span, count: usize, reads: &'p [RowOf], writes: &'p [RowOf], body: Vec<Self> },
}

impl Node<'_> {
    /// Whether there are loops in the instructions of this.
    fn has_loops(&self) -> bool {
        match self {
            Self::Step(_) | Self::Part(_) => false,
            Self::If { then, els, .. } => then.iter().chain(els).any(Self::has_loops),
            Self::While { .. } | Self::Repeat { .. } | Self::Scan { .. } => true,
        }
    }
}

/// Where a kernel's instructions go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Inline,
    Function,
}

/// Writes the functions of a plan.
pub(crate) struct Steps<'p> {
    pub plan: &'p Plan,
    pub externs: &'p Externs,
    /// What runs on several threads.
    pub sharing: Sharing,
    pub survey: Survey,
    /// The number of the next step, in the order of the survey.
    clock: usize,
    /// How many loops there are around what is being arranged.
    depth: usize,
    pub linker: Linker,
    /// Room for building a function, used for one after the other.
    context: FunctionBuilderContext,
    pub forms: IndexVec<Kernel, Form>,
    /// The functions of kernels that are promised: of those that do the same, the first's.
    functions: IndexVec<Kernel, Option<FunctionId>>,
    /// How many statements each inline kernel is.
    sizes: IndexVec<Kernel, usize>,
    /// Parameters of inline kernels that are accessed at computed elements.
    indexed: FxHashSet<(Kernel, Param)>,
    /// Kernels whose functions are promised, but not written.
    pending: Vec<(Kernel, FunctionId)>,
    /// What kernels call.
    pub funcs: Funcs<'p>,
    /// The constants, by buffer.
    pub constants: Vec<Option<*const u8>>,
    pub pinned: Pinned,
    /// Of vector code of our own, if there is to be any.
    encoding: Option<wide::Encoding>,
    /// Bytes of results from which on they are stored past the caches.
    large: usize,
}

impl<'p> Steps<'p> {
    pub fn new(plan: &'p Plan, externs: &'p Externs, options: &Options, linker: Linker) -> Self {
        let survey = Survey::of(plan);
        // Outside of loops all that do the same are counted: there code costs more than
        // calls do.
        let mut alike: IndexVec<Kernel, u32> = IndexVec::filled(0, plan.kernels.len());
        for (kernel, &[_, once]) in survey.runs.entries() {
            alike[survey.same[kernel]] += once;
        }
        let sizes: IndexVec<Kernel, Option<usize>> = plan
            .kernels
            .entries()
            .map(|(kernel, nest)| {
                let [repeated, once] = survey.runs[kernel];
                let size = match nest::has_loops(nest) {
                    true if once > 0 => None,
                    true => written_out(nest),
                    false => Some(nest.body.len()),
                };
                let runs = if once > 0 { alike[survey.same[kernel]] } else { 0 };
                size.filter(|&size| runs.max(repeated + once) <= 1 || size <= SHARED)
            })
            .collect();
        let form = |size: &Option<usize>| match size {
            Some(_) => Form::Inline,
            None => Form::Function,
        };
        let forms: IndexVec<Kernel, Form> = sizes.iter().map(form).collect();
        let functions = IndexVec::filled(None, plan.kernels.len());
        let indexed = indexed(plan, |kernel| forms[kernel] == Form::Inline);
        let sizes = sizes.iter().map(|size| size.unwrap_or(0)).collect();
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
        let (context, pending) = (FunctionBuilderContext::new(), Vec::new());
        Self {
            plan,
            externs,
            sharing: Sharing::of(plan, options),
            survey,
            clock: 0,
            depth: 0,
            linker,
            context,
            forms,
            functions,
            sizes,
            indexed,
            pending,
            funcs: Funcs::default(),
            constants,
            pinned,
            encoding: options.vectors.encoding(options.cpu),
            large: options.large,
        }
    }

    /// Writes everything.
    pub fn compile(mut self) -> Result<Code, JitError> {
        let (nodes, _) = self.arrange(&self.plan.steps);
        let entry = self.part(&nodes);
        for (kernel, id) in std::mem::take(&mut self.pending) {
            self.write_kernel(kernel, id);
        }
        self.funcs.write(&mut self.linker, &mut self.context);
        self.linker.finish(entry, self.pinned)
    }

    // ---- Functions of bounded size ----

    /// The steps as nodes for one function, and about how many statements they
    /// are: at most [`LIMIT`].
    fn arrange(&mut self, steps: &'p [Step]) -> (Vec<Node<'p>>, usize) {
        let mut nodes = Vec::with_capacity(steps.len());
        let mut total = 0;
        for step in steps {
            let (node, cost) = self.node(step);
            total += cost;
            nodes.push((node, cost));
        }
        while total > LIMIT && nodes.len() > 1 {
            (nodes, total) = self.bundle(nodes);
        }
        (nodes.into_iter().map(|n| n.0).collect(), total)
    }

    /// The same for a loop's body.
    fn arrange_body(&mut self, steps: &'p [Step]) -> (Vec<Node<'p>>, usize) {
        self.depth += 1;
        let arranged = self.arrange(steps);
        self.depth -= 1;
        arranged
    }

    fn node(&mut self, step: &'p Step) -> (Node<'p>, usize) {
        self.clock += 1;
        let first = self.clock;
        match step {
            Step::If { pred, then, els } => {
                let (then, a) = self.arrange(then);
                let (els, b) = self.arrange(els);
                (Node::If { pred: *pred, then, els }, 4 + a + b)
            }
            Step::While { head, pred, body } => {
                let (head, a) = self.arrange_body(head);
                let (body, b) = self.arrange_body(body);
                let span = Span { first, end: self.clock };
                (Node::While { span, head, pred: *pred, body }, 4 + a + b)
            }
            Step::Repeat { count, body } => {
                let (body, a) = self.arrange_body(body);
                let span = Span { first, end: self.clock };
                (Node::Repeat { span, count: *count, body }, 4 + a)
            }
            Step::Scan { count, reads, writes, body } => {
                let (body, a) = self.arrange_body(body);
                let span = Span { first, end: self.clock };
                let node = Node::Scan { span, count: *count, reads, writes, body };
                (node, 4 + a + 8 * (reads.len() + writes.len()))
            }
            Step::Run { kernel, args } => {
                let cost = match self.forms[*kernel] {
                    Form::Inline => self.sizes[*kernel],
                    Form::Function => 4 + args.len(),
                };
                (Node::Step(step), cost)
            }
            _ => (Node::Step(step), 8),
        }
    }

    /// Puts runs of nodes into functions.
    fn bundle(&mut self, nodes: Vec<(Node<'p>, usize)>) -> (Vec<(Node<'p>, usize)>, usize) {
        const CALL: usize = 4;
        let mut bundles = Vec::new();
        let (mut run, mut size) = (Vec::new(), 0);
        for (node, cost) in nodes {
            if size + cost > LIMIT && !run.is_empty() {
                bundles.push((Node::Part(self.part(&run)), CALL));
                run.clear();
                size = 0;
            }
            run.push(node);
            size += cost;
        }
        bundles.push((Node::Part(self.part(&run)), CALL));
        let total = CALL * bundles.len();
        (bundles, total)
    }

    /// A function that runs these nodes.
    fn part(&mut self, nodes: &[Node<'p>]) -> FunctionId {
        let id = self.linker.declare();
        let mut func = self.linker.function(id, self.part_signature());
        let (features, config) = (self.linker.features(), self.linker.frontend_config());
        let mut context = std::mem::take(&mut self.context);
        let mut asm = Asm::new(&mut func, &mut context, features);
        let params = asm.enter();
        let mut body = PartEmitter::new(self, asm, &params, nodes);
        body.nodes(nodes);
        body.finish().finish(config);
        self.context = context;
        let name = part_name(self.plan, id);
        let repeats = self.depth > 0 || nodes.iter().any(Node::has_loops);
        self.linker.define(id, name, func, repeats);
        id
    }

    /// Whether an inline kernel accesses this parameter at computed elements.
    pub fn is_indexed(&self, kernel: Kernel, param: Param) -> bool {
        self.indexed.contains(&(kernel, param))
    }

    pub fn part_signature(&self) -> Signature {
        let mut signature = self.linker.signature();
        signature.params.extend([AbiParam::new(WORD); 4]);
        signature.returns.push(AbiParam::new(types::I32));
        signature
    }

    /// The function of a kernel, and of all that do the same: it takes a table of
    /// pointers to its parameters, and which part of its outermost parallel loop to run.
    pub fn kernel(&mut self, kernel: Kernel) -> FunctionId {
        let kernel = self.survey.same[kernel];
        if let Some(id) = self.functions[kernel] {
            return id;
        }
        let id = self.linker.declare();
        self.functions[kernel] = Some(id);
        self.pending.push((kernel, id));
        id
    }

    fn write_kernel(&mut self, kernel: Kernel, id: FunctionId) {
        let plan = self.plan;
        let nest = &plan.kernels[kernel];
        if let Some(encoding) = self.encoding
            && let Some(bytes) = wide::compile(nest, encoding, self.large)
        {
            return self.linker.define_bytes(id, &nest.name, bytes, wide::ALIGN);
        }
        let mut func = self.linker.function(id, self.kernel_signature());
        let mut asm = Asm::new(&mut func, &mut self.context, self.linker.features());
        let args = asm.enter();
        let params = (0..nest.params.len() as i64)
            .map(|i| {
                let at = Addr { base: args[0], disp: 8 * i };
                Addr { base: asm.load(WORD, at, Memory::Fixed), disp: 0 }
            })
            .collect();
        let callees = self
            .funcs
            .of(&mut self.linker, nest, |id, signature| Linker::import(&mut asm, id, signature));
        let mut emitter = NestEmitter::new(&mut asm, nest, params, callees);
        if nest::parallel(nest).is_some() {
            emitter = emitter.part(args[1], args[2]);
        }
        emitter.emit();
        asm.ins().return_(&[]);
        asm.finish(self.linker.frontend_config());
        let repeats = nest::has_loops(nest) || self.survey.repeats(kernel);
        self.linker.define(id, nest.name.clone(), func, repeats);
    }

    pub fn kernel_signature(&self) -> Signature {
        let mut signature = self.linker.signature();
        signature.params.extend([AbiParam::new(WORD); 3]);
        signature
    }
}

/// Where an array's elements are.
fn data(array: &Array) -> *const u8 {
    with_array!(array, a => a.as_ptr().cast())
}
