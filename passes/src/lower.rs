//! From a graph to a plan.
//!
//! 1. Views ([`operand`]): every value of the graph becomes an operand, a strided
//!    look at a *val* (something that is computed or passed in). Permutations,
//!    broadcasts, slices and most reshapes cost nothing from here on.
//! 2. Fusion ([`groups`]): what has loops becomes *items*, and each item joins a
//!    group, a set of items that share one loop nest. Matrix products, loops and
//!    conditionals are groups of their own.
//! 3. Nests ([`nest`], [`kernels`]): each group becomes a kernel (or two, where a
//!    reduction is combined over chunks); scalar functions are written out in
//!    machine operations, or called ([`calls`]).
//! 4. Memory ([`buffers`]): lifetimes and offsets.
//!
//! All of it is linear in the graph.

mod again;
mod calls;
mod control;
mod groups;
mod joined;
mod kernels;
mod loops;
mod nearby;
mod nest;
mod operand;
mod origin;
mod pieces;
mod product;
mod scope;

use std::sync::Arc;

use backstitch_ir::index::IndexVec;
use backstitch_ir::nest::Nest;
use backstitch_ir::plan::{Buffer, BufferDecl, Kernel, Place, Plan, Step, Store};
use backstitch_ir::{DType, Graph, Node, Type, Value, threshold};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::buffers;
use crate::pipeline::Options;
use calls::Functions;
pub use origin::{Cut, KernelOrigin, Operation};
use scope::Scope;

/// A plan, and which kernel each node of the graph went to.
pub struct Lowered {
    /// The plan.
    pub plan: Plan,
    /// Bytes of the arena that are in use at the worst moment: it cannot be smaller.
    pub live_bytes: usize,
    /// The same, with each array filled up to a multiple of its alignment.
    pub padded_bytes: usize,
    /// For nodes that became part of a kernel, its number.
    pub kernel_of: FxHashMap<Node, usize>,
    /// What each kernel computes, and why it begins where it does.
    pub origins: IndexVec<Kernel, KernelOrigin>,
}

/// What all scopes of a program share: buffers, kernels, stores.
#[derive(Default)]
pub(crate) struct Planner {
    pub buffers: IndexVec<Buffer, BufferDecl>,
    pub kernels: IndexVec<Kernel, Nest>,
    pub origins: IndexVec<Kernel, KernelOrigin>,
    pub stores: IndexVec<Store, usize>,
    pub kernel_of: FxHashMap<Node, usize>,
    pub functions: Functions,
    /// Whether items share kernels.
    pub fuse: bool,
    /// Elements of a chunk of a long loop, about.
    pub chunk: usize,
}

/// Elements of a chunk: long enough to pay for itself, short enough to stay in cache.
pub(crate) const CHUNK: usize = threshold(8192, 16);

impl Planner {
    /// A kernel, and where it comes from.
    pub fn kernel(&mut self, nest: Nest, origin: KernelOrigin) -> Kernel {
        self.origins.push(origin);
        self.kernels.push(nest)
    }

    /// A buffer of the arena; its offset is decided last.
    pub fn scratch(&mut self, dtype: DType, len: usize) -> Buffer {
        self.buffers.push(BufferDecl { dtype, len, place: Place::Arena(0) })
    }

    /// A buffer of the arena for a value of this type; stacks are handles.
    pub fn scratch_for(&mut self, ty: &Type) -> Buffer {
        if ty.stack > 0 {
            self.scratch(DType::I64, backstitch_ir::plan::HANDLE_LEN)
        } else {
            self.scratch(ty.dtype, ty.len())
        }
    }
}

/// Lowers a graph of arrays (no stack among its inputs and outputs).
///
/// Without `fuse`, each item is a kernel of its own: slower, and what fusion is
/// compared with. The graph has no matrix product left that is better a loop nest (see
/// [`legalise`](crate::legalise())), and no `stop_gradient`.
pub fn lower(g: &Graph, fuse: bool) -> Lowered {
    lower_as(g, &Options { optimise: fuse, ..Options::default() })
}

/// The same, as options say: with chunks of long loops of other lengths, and with inputs and
/// outputs that are one array, which is written when the input is wanted no more.
pub(crate) fn lower_as(g: &Graph, options: &Options) -> Lowered {
    let (fuse, donate) = (options.optimise, &options.donate[..]);
    let mut planner = Planner { fuse, chunk: options.chunk.max(1), ..Planner::default() };
    let types = |vs: &[Value]| vs.iter().map(|&v| g.ty(v).clone()).collect::<Vec<Type>>();
    let (inputs, outputs) = (types(g.inputs()), types(g.outputs()));
    let mut buffer =
        |t: &Type, place| planner.buffers.push(BufferDecl { dtype: t.dtype, len: t.len(), place });
    let taken: FxHashMap<usize, usize> = donate.iter().copied().collect();
    let ins: Vec<Buffer> = (inputs.iter().enumerate())
        .map(|(i, t)| match taken.get(&i) {
            Some(&output) => buffer(t, Place::Donated { input: i, output }),
            None => buffer(t, Place::Input(i)),
        })
        .collect();
    let taken: FxHashSet<usize> = donate.iter().map(|d| d.1).collect();
    let outs: Vec<Option<Buffer>> = (outputs.iter().enumerate())
        .map(|(j, t)| (!taken.contains(&j)).then(|| buffer(t, Place::Output(j))))
        .collect();
    let mut scope = Scope::new(g, true, fuse, &ins);
    scope.build();
    scope.bind_outputs(&outs);
    let mut steps = match donate {
        [] => scope.emit(&mut planner),
        pairs => donated(&mut scope, &mut planner, pairs, &ins),
    };
    let arena = buffers::place(&mut planner.buffers, &mut planner.kernels, &mut steps);
    let Planner { buffers, kernels, stores, kernel_of, origins, .. } = planner;
    let plan = Plan {
        name: g.name.clone(),
        inputs,
        outputs,
        buffers,
        kernels,
        stores,
        steps,
        arena_bytes: arena.bytes,
    };
    Lowered { plan, live_bytes: arena.live, padded_bytes: arena.padded, kernel_of, origins }
}

/// Steps for all groups, and for what goes from outputs to the inputs whose place they
/// take. What can be made there to begin with is found out with the memory.
fn donated(
    scope: &mut Scope<'_>,
    planner: &mut Planner,
    pairs: &[(usize, usize)],
    ins: &[Buffer],
) -> Vec<Step> {
    let to: Vec<Buffer> = pairs.iter().map(|&(input, _)| ins[input]).collect();
    let all = scope.output_vals();
    for (&b, &(_, output)) in to.iter().zip(pairs) {
        scope.update_in_place(&all, output, b);
    }
    let mut steps = scope.emit(planner);
    let from: Vec<Buffer> =
        pairs.iter().map(|&(_, output)| scope.buffer(planner, all[output])).collect();
    control::assign(planner, &mut steps, &from, &to);
    steps
}

/// A graph that several places hold.
type Body = Arc<Graph>;
