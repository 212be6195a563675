//! Elements of parameters: where they are loaded, and how they are written down.

use crate::nest::{Access, At, Monoid, Param, ParamDecl, Stmt, Term, Var};
use crate::ty::DType;

use super::{Def, NestBuilder, Pure};

impl NestBuilder {
    /// Reads an element.
    pub fn load(&mut self, param: Param, at: At) -> Var {
        let at = self.normal(at);
        let ParamDecl { dtype, access, .. } = self.params[param];
        if access != Access::In {
            let var = self.define(dtype, self.blocks.len() - 1, Def::Other);
            self.emit(Stmt::Load { var, param, at });
            return var;
        }
        let axes = at.strides.iter().map(|&(axis, _)| self.axes[axis].open.unwrap_or(0));
        let index = at.index.map(|v| self.block_of(v));
        let block = axes.chain(index).fold(self.innermost().pinned, usize::max);
        self.pure(Pure::Load(param, at.clone()), dtype, block, Def::Other, |var| Stmt::Load {
            var,
            param,
            at,
        })
    }

    /// Writes an element.
    pub fn store(&mut self, param: Param, at: At, value: Var) {
        self.assert_written(param, value);
        let at = self.normal(at);
        self.emit(Stmt::Store { param, at, value });
    }

    /// Combines a value into an element.
    pub fn accumulate(&mut self, param: Param, at: At, op: Monoid, value: Var) {
        self.assert_written(param, value);
        debug_assert!(
            op.takes(self.dtype(value)),
            "{}: {} of {}",
            self.name,
            op.name(),
            self.dtype(value)
        );
        let at = self.normal(at);
        self.sums_products |= self.is_summed_product(op, value);
        self.emit(Stmt::Accumulate { param, at, term: Term::One(op, value) });
    }

    /// The element in its one form: strides merged, sorted, none 0, none of an
    /// axis that has but one value; no constant index.
    fn normal(&self, at: At) -> At {
        let mut offset = at.offset;
        let index = at.index.filter(|&v| match self.const_of(v) {
            Some(c) => {
                offset += c.bits as i64;
                false
            }
            None => true,
        });
        if let Some(v) = index {
            self.assert_visible(v);
            debug_assert!(self.dtype(v) == DType::I64, "{}: index {v} is no i64", self.name);
        }
        let mut strides = at.strides;
        for &(axis, _) in &strides {
            debug_assert!(self.axes[axis].open.is_some(), "{}: {axis} is not open", self.name);
        }
        strides.retain(|s| self.axes[s.0].extent != 1);
        strides.sort_unstable();
        strides.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        strides.retain(|s| s.1 != 0);
        At { offset, strides, index }
    }

    fn assert_written(&self, param: Param, value: Var) {
        self.assert_visible(value);
        let decl = &self.params[param];
        debug_assert!(decl.access.writes(), "{}: {param} is only read", self.name);
        debug_assert!(
            decl.dtype == self.dtype(value),
            "{}: a {} for {param}, which holds {}",
            self.name,
            self.dtype(value),
            decl.dtype
        );
    }
}
