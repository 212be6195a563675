//! Short arrays that the iterations of a loop add to, in registers for as long as it runs.
//!
//! ```text
//! for i { …; for j vector { y[j] += r · x[i,j] } }
//! ```
//!
//! In memory, each row would wait for what the row before has stored. What is added to each
//! element follows in the same order in registers, so bits are the same.

use backstitch_ir::DType;
use backstitch_ir::nest::{At, For, Mode, Param, Range, Stmt};

use super::code::Encoding;
use super::inst::Reg;
use super::lower::Lowering;
use super::places::Int;
use super::vector::Shape;
use crate::vector_loop::split;

/// Vectors that are held at most.
fn most(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Evex => 14,
        Encoding::Vex => 8,
    }
}

/// Statements of a loop that is written out for it at most.
const WRITTEN_OUT: usize = 128;

/// An array that is held.
pub(super) struct Held<'n> {
    inner: &'n For,
    stmt: &'n Stmt,
    shape: Shape,
    regs: Vec<Reg>,
}

impl Lowering<'_> {
    /// Loads what the iterations of a loop that is about to begin add to.
    pub(super) fn hold<'l>(&mut self, l: &'l For) -> Option<Vec<Held<'l>>> {
        let mut out = Vec::new();
        if l.mode != Mode::Sequential {
            return Some(out);
        }
        let mut room = most(self.ops.encoding);
        for s in &l.body {
            let Stmt::For(inner) = s else { continue };
            let Mode::Vector { lanes: partial } = inner.mode else { continue };
            if inner.range != Range::Whole {
                continue;
            }
            let (_, stmts) = split(inner);
            let Some(shape) = self.shape(inner, partial, &stmts) else { continue };
            let count = self.nest.axes[inner.axis];
            let vectors = count.div_ceil(shape.lanes);
            if vectors == 0 || vectors * stmts.len() > WRITTEN_OUT {
                continue;
            }
            for stmt in stmts {
                let Stmt::Accumulate { param, at, .. } = stmt else { continue };
                if vectors > room || !self.is_holdable(l, inner, *param, at) {
                    continue;
                }
                room -= vectors;
                let mut held = Held { inner, stmt, shape, regs: Vec::new() };
                self.each_vector(inner, shape, count, |this| {
                    held.regs.push(this.vector_load(*param, at)?);
                    Some(())
                })?;
                self.held.insert(std::ptr::from_ref(stmt), held.regs.clone());
                out.push(held);
            }
        }
        Some(out)
    }

    /// Stores it.
    pub(super) fn release(&mut self, all: Vec<Held<'_>>) -> Option<()> {
        for held in all {
            let Stmt::Accumulate { param, at, .. } = held.stmt else { unreachable!("a sum") };
            self.held.remove(&std::ptr::from_ref(held.stmt));
            let count = self.nest.axes[held.inner.axis];
            let mut regs = held.regs.iter();
            self.each_vector(held.inner, held.shape, count, |this| {
                this.vector_store(*param, at, *regs.next()?)
            })?;
        }
        Some(())
    }

    /// Does something for each vector of an array.
    fn each_vector(
        &mut self,
        inner: &For,
        shape: Shape,
        count: usize,
        mut f: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        let axis = inner.axis;
        for number in 0..count.div_ceil(shape.lanes) {
            let first = number * shape.lanes;
            let left = count - first;
            let tail = match left < shape.lanes {
                true => Some(self.ops.tail(Int::known(left as i64), shape.lanes, shape.size)?),
                false => None,
            };
            self.at.enter(axis, Int::known(first as i64));
            self.current = Some(shape.current(axis, 0, number, tail));
            f(self)?;
            self.current = None;
            self.at.leave(axis);
        }
        Some(())
    }

    /// Whether nothing in the loop touches the array but this sum, which adds the same
    /// elements in each iteration.
    fn is_holdable(&self, l: &For, inner: &For, param: Param, at: &At) -> bool {
        let dtype = self.dtype(param);
        dtype != DType::Bool
            && at.index.is_none()
            && at.stride(l.axis) == 0
            && at.stride(inner.axis) == 1
            && mentions(&l.body, param) == 1
    }
}

/// How many statements touch a parameter.
fn mentions(body: &[Stmt], p: Param) -> usize {
    let count = |s: &Stmt| match s {
        Stmt::Load { param, .. } | Stmt::Store { param, .. } | Stmt::Accumulate { param, .. } => {
            usize::from(*param == p)
        }
        Stmt::For(l) => mentions(&l.body, p),
        Stmt::Let { .. } | Stmt::Index { .. } | Stmt::Call { .. } => 0,
    };
    body.iter().map(count).sum()
}
