//! Scalar functions that are called instead of written out.
//!
//! In loops functions are written out: there the operations of several iterations, and of
//! several functions, overlap. Straight-line code that uses many of them would be mostly
//! copies of the same operations, more than the processor holds near it, each run once; it
//! takes longer to make, and to run, than calls of one. The bits are the same.

use std::sync::Arc;

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{FuncDecl, Var};
use backstitch_ir::op::Op;
use backstitch_ir::{DType, Graph, Node, Scalar, threshold};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::math;

/// Functions that cost so much or less are written out everywhere.
const SHORT: usize = threshold(24, 8);

/// What functions of single elements may cost in a graph, all together, so that they are
/// written out: about what makes as many bytes of code as the nearest cache holds.
const MOST: usize = threshold(8192, 64);

/// Whether the functions of single elements among these nodes are to be called.
pub(super) fn are_worthwhile(g: &Graph, nodes: impl Iterator<Item = Node>) -> bool {
    let cost = |n: Node| match g.op(n) {
        Op::Map(m) if m.f.cost() > SHORT && g.ty(g.results(n)[0]).len() == 1 => m.f.cost(),
        _ => 0,
    };
    nodes.map(cost).sum::<usize>() > MOST
}

/// A function, and the types of its result and arguments.
type Key = (Scalar, DType, SmallVec<[DType; 3]>);

/// Functions that are called.
#[derive(Default)]
pub(crate) struct Functions(FxHashMap<Key, Arc<FuncDecl>>);

impl Functions {
    /// `f(args)`: a call outside loops, if `f` is not short. Where an argument is a constant,
    /// not all of the function may be left.
    pub fn apply(&mut self, b: &mut NestBuilder, f: Scalar, dtype: DType, args: &[Var]) -> Var {
        if f.cost() <= SHORT || b.in_loop() || args.iter().any(|&a| b.const_of(a).is_some()) {
            return math::legalise(b, f, dtype, args);
        }
        let types: SmallVec<[DType; 3]> = args.iter().map(|&a| b.dtype(a)).collect();
        let made = self.0.entry((f, dtype, types));
        let func = made
            .or_insert_with_key(|(f, dtype, types)| Arc::new(math::function(*f, *dtype, types)));
        b.call(func, args)
    }
}
