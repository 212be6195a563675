//! Sums of products: one operation for a multiplication and an addition.
//!
//! A product of floats that is added to a sum is not rounded: the sum takes its factors. One
//! that something else is computed from too stays what it is, for the sum would multiply once
//! more. (That it is stored does not count, so that bits do not depend on what is kept for
//! later.) The same holds for sums that the builder has written out
//! ([`NestBuilder::take`](super::NestBuilder::take)).

use rustc_hash::FxHashMap;

use super::VarInfo;
use crate::index::IndexVec;
use crate::nest::{Acc, Monoid, ScalarOp, Stmt, Term, Var};

/// Lets sums take the factors of products. `steps` are additions written out, and the product
/// that each adds.
pub(super) fn fuse(
    body: &mut Vec<Stmt>,
    steps: &FxHashMap<Var, Var>,
    vars: &IndexVec<Var, VarInfo>,
) {
    let (uses, stored) = (IndexVec::filled(0, vars.len()), IndexVec::filled(false, vars.len()));
    let mut fusion = Fusion { steps, vars, uses, stored };
    body.iter().for_each(|s| fusion.count(s));
    fusion.block(body, &mut []);
}

struct Fusion<'a> {
    steps: &'a FxHashMap<Var, Var>,
    vars: &'a IndexVec<Var, VarInfo>,
    /// By all but stores.
    uses: IndexVec<Var, u32>,
    stored: IndexVec<Var, bool>,
}

impl Fusion<'_> {
    fn count(&mut self, stmt: &Stmt) {
        let mut used = |v: Var| self.uses[v] += 1;
        match stmt {
            Stmt::Let { args, .. } | Stmt::Call { args, .. } => args.iter().copied().for_each(used),
            Stmt::Index { .. } => {}
            Stmt::Load { at, .. } => at.index.into_iter().for_each(used),
            Stmt::Store { at, value, .. } => {
                at.index.into_iter().for_each(used);
                self.stored[*value] = true;
            }
            Stmt::Accumulate { at, term, .. } => {
                at.index.iter().chain(term.values()).copied().for_each(used);
            }
            Stmt::For(l) => {
                l.accs.iter().flat_map(|a| a.term.values()).copied().for_each(&mut used);
                l.carries.iter().flat_map(|c| [c.init, c.next]).for_each(used);
                l.body.iter().for_each(|s| self.count(s));
            }
        }
    }

    /// One block, and the reductions of the loop whose body it is.
    fn block(&self, stmts: &mut Vec<Stmt>, accs: &mut [Acc]) {
        // Products that nothing else is computed from; what has been taken is gone.
        let mut products: FxHashMap<Var, Option<[Var; 2]>> = FxHashMap::default();
        for stmt in stmts.iter_mut() {
            match stmt {
                Stmt::Let { var, op, args } => {
                    let is_float = self.vars[*var].dtype.is_float();
                    if *op == ScalarOp::Mul && is_float && self.uses[*var] == 1 {
                        products.insert(*var, Some([args[0], args[1]]));
                    }
                    if let Some(&value) = self.steps.get(var)
                        && let Some(factors) = products.get_mut(&value).and_then(Option::take)
                    {
                        *op = ScalarOp::Fma;
                        args.retain(|a| *a != value);
                        args.insert_from_slice(0, &factors);
                    }
                }
                Stmt::Accumulate { term, .. } => take(term, &mut products),
                Stmt::For(l) => self.block(&mut l.body, &mut l.accs),
                Stmt::Call { .. } | Stmt::Index { .. } | Stmt::Load { .. } | Stmt::Store { .. } => {
                }
            }
        }
        accs.iter_mut().for_each(|a| take(&mut a.term, &mut products));
        let taken = |v: Var| !self.stored[v] && products.get(&v) == Some(&None);
        stmts.retain(|s| !matches!(s, Stmt::Let { var, .. } if taken(*var)));
    }
}

/// Takes the factors of the product that a term adds, if they are to be had.
fn take(term: &mut Term, products: &mut FxHashMap<Var, Option<[Var; 2]>>) {
    if let Term::One(Monoid::Sum, value) = *term
        && let Some(factors) = products.get_mut(&value).and_then(Option::take)
    {
        *term = Term::Product(factors);
    }
}
