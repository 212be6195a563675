//! Transposes: several rows of an outer loop in one pass of the vector loop inside.
//!
//! ```text
//! for i { for j vector { y[i,j] = x[j,i] } }
//! ```
//!
//! Where neighbouring rows are neighbours in memory, the 128 bits that are read at each
//! place belong to as many rows as they have elements, and rows and lanes change places in
//! registers: see [`strided`](super::strided). [`crate::jam`] has the same for Cranelift,
//! and says when rows may be done together.

use backstitch_ir::index::IndexVec;
use backstitch_ir::nest::{Axis, For, Mode, Stmt, Var};

use super::code::Alu;
use super::inst::{Inst, Value};
use super::lower::{Binding, Lowering, Span};
use super::places::Int;
use crate::jam;
use crate::vector_loop::split;

/// The rows that are done at a time.
pub(super) struct Rows {
    pub axis: Axis,
    /// What is known of variables in each.
    pub tables: Vec<IndexVec<Var, Binding>>,
}

impl Lowering<'_> {
    /// How many rows of a loop are done at a time, if more than one.
    pub(super) fn rows_at_a_time(&self, l: &For) -> Option<usize> {
        let size = jam::transposed(self.nest, l)?;
        Some(16 / size)
    }

    /// A loop whose rows are done `count` at a time.
    pub(super) fn jammed(&mut self, l: &For, span: Span, count: usize) -> Option<()> {
        let by = count as i64;
        self.at.prepare(&mut self.ops.program, &l.body)?;
        let known = span.count;
        let rest = match known {
            Some(n) => {
                let end = span.lo.plus((n - n % count) as i64);
                if n >= count {
                    self.counted(span.lo, end, by, true, |this, i| this.several(l, i, count))?;
                }
                if n % count == 0 {
                    return Some(());
                }
                end
            }
            None => {
                let hi = Int::of(span.hi.read(&mut self.ops.program));
                let i =
                    self.counted(span.lo, hi, by, false, |this, i| this.several(l, i, count))?;
                // The counter is that of the loop that has ended.
                let from = self.ops.program.reg(super::inst::Class::General);
                self.ops.push(Inst::Alu { op: Alu::Mov, to: from, from: Value::Reg(i) });
                self.counted(Int::of(from), hi, 1, false, |this, i| {
                    this.iteration(l, i, &[], &[])
                })?;
                return Some(());
            }
        };
        self.counted(rest, span.hi, 1, true, |this, i| this.iteration(l, i, &[], &[]))?;
        Some(())
    }

    /// So many rows from `at`.
    fn several(&mut self, l: &For, at: Int, count: usize) -> Option<()> {
        let Some((Stmt::For(inner), before)) = l.body.split_last() else { unreachable!("a loop") };
        let Mode::Vector { lanes } = inner.mode else { unreachable!("a vector loop") };
        let around = self.bindings.clone();
        let mut tables = Vec::new();
        self.at.enter(l.axis, at);
        let (uniform, _) = split(inner);
        self.at.prepare(&mut self.ops.program, &inner.body)?;
        for row in 0..count {
            self.bindings = around.clone();
            self.at.shift(l.axis, row as i64);
            self.block(before)?;
            uniform.iter().try_for_each(|s| self.stmt(s))?;
            self.at.shift(l.axis, -(row as i64));
            tables.push(self.bindings.clone());
        }
        self.rows = Some(Rows { axis: l.axis, tables });
        let span = self.span(inner)?;
        self.vector(inner, lanes, span)?;
        self.rows = None;
        self.at.leave(l.axis);
        self.bindings = around;
        Some(())
    }
}
