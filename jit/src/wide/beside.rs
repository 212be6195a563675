//! How many vectors an iteration of a vector loop does side by side.
//!
//! The processor looks for work only so far ahead: where each operation waits for the one
//! before, as in a polynomial, it finds little of the next iteration. Statement by statement
//! for several vectors, there is something to do at each step, as long as what is known at a
//! time stays in registers.

use backstitch_ir::DType;
use backstitch_ir::nest::{For, ScalarOp, Stmt, Var};
use rustc_hash::FxHashMap;

use super::code::Encoding;
use super::lower::Lowering;
use crate::nest::{result, uses};

/// Vectors in an iteration at most, but for what the number of partial results asks for.
const MOST_VECTORS: usize = 4;

/// Statements of these at most.
const MOST_STATEMENTS: usize = 320;

impl Lowering<'_> {
    /// So many vectors or more, up to [`MOST_VECTORS`], as long as what they compute fits into
    /// registers.
    pub(super) fn more(&self, l: &For, stmts: &[&Stmt], least: usize) -> usize {
        let simple = stmts.iter().all(|s| match s {
            Stmt::Load { at, .. } | Stmt::Store { at, .. } | Stmt::Accumulate { at, .. } => {
                at.index.is_none() && matches!(at.stride(l.axis), 0 | 1)
            }
            _ => true,
        });
        if !simple || self.rows.is_some() {
            return least;
        }
        let (values, truths) = self.pressure(l, stmts);
        let (registers, masks) = match self.ops.encoding {
            Encoding::Evex => (20, 4),
            Encoding::Vex => (8, usize::MAX),
        };
        let mut vectors = least;
        while 2 * vectors <= MOST_VECTORS
            && 2 * vectors * values <= registers
            && 2 * vectors * truths <= masks
            && 2 * vectors * stmts.len() <= MOST_STATEMENTS
        {
            vectors *= 2;
        }
        vectors
    }

    /// How many vectors, and how many truth values in masks, an iteration knows at a time.
    fn pressure(&self, l: &For, stmts: &[&Stmt]) -> (usize, usize) {
        let mut last: FxHashMap<Var, usize> = FxHashMap::default();
        for (i, s) in stmts.iter().enumerate() {
            last.extend(uses(s).into_iter().map(|v| (v, i)));
        }
        let terms = l.accs.iter().flat_map(|a| a.term.values());
        last.extend(terms.map(|&v| (v, stmts.len())));
        let mut over: Vec<[usize; 2]> = vec![[0; 2]; stmts.len() + 1];
        let (mut now, mut most) = ([0; 2], [0; 2]);
        for (i, s) in stmts.iter().enumerate() {
            let in_mask = |v: Var| {
                usize::from(self.nest.vars[v] == DType::Bool && self.ops.encoding == Encoding::Evex)
            };
            (0..2).for_each(|k| now[k] -= over[i][k]);
            let is_constant = matches!(s, Stmt::Let { op: ScalarOp::Const(_), .. });
            if let Some(var) = result(s).filter(|_| !is_constant) {
                let end = last.get(&var).copied().unwrap_or(i).max(i + 1);
                now[in_mask(var)] += 1;
                over[end][in_mask(var)] += 1;
            }
            (0..2).for_each(|k| most[k] = most[k].max(now[k]));
        }
        (most[0], most[1])
    }
}
