//! Choices by whether the position is a certain one: most vectors are nowhere near.
//!
//! ```text
//! i = index; j = convert i; c = eq j, 7; x = select c, a, b
//! ```
//!
//! Adjoints of elements that are taken out of rows are such choices. All vectors but one
//! have `b` in all lanes, so a comparison of the counter, which the processor foresees, is
//! done in place of one of vectors.

use backstitch_ir::nest::{Cmp, ScalarOp, Var};

use super::code::{Alu, Cond, Encoding};
use super::inst::{Inst, Reg, Value};
use super::lower::{Binding, Lowering};

impl Lowering<'_> {
    /// `c ? a : b`, where `c` holds at one position of the current axis at most.
    pub(super) fn at_one_position(
        &mut self,
        var: Var,
        args: &[Var],
        lanes: usize,
    ) -> Option<Option<Reg>> {
        let to = self.nest.vars[var];
        let here = match self.current {
            Some(current)
                if self.ops.encoding == Encoding::Evex && to.is_float() && self.rows.is_none() =>
            {
                current.axis
            }
            _ => return Some(None),
        };
        let Some(place) = self.only_position(args[0]) else { return Some(None) };
        let (block, lane) = (place / lanes as i64 * lanes as i64, place % lanes as i64);
        let other = self.value(args[2]);
        let at = self.at.position(here);
        let Some(counter) = at.base else {
            // Positions are known.
            return Some((at.offset != block).then_some(other));
        };
        let one = self.arg(args[1]);
        let one = self.ops.source(one);
        let mask = self.ops.mask_constant(1 << lane);
        let def = self.ops.variable(other);
        let elsewhere = self.ops.program.label();
        let from = Value::Known(block - at.offset);
        self.ops.push(Inst::Alu { op: Alu::Cmp, to: counter, from });
        self.ops.push(Inst::JumpIf(Cond::NotEqual, elsewhere));
        self.ops.blend(to.size(), lanes, def, mask, one, def);
        self.ops.push(Inst::Label(elsewhere));
        Some(Some(def))
    }

    /// The position that a condition asks for, if that is all it does, and vectors of the
    /// loop begin at multiples of their lanes.
    fn only_position(&self, c: Var) -> Option<i64> {
        let (op, args) = self.definitions.known(c)?;
        let &[j, k] = args else { return None };
        let Binding::Const(k) = self.bindings[k] else { return None };
        let (convert, of) = self.definitions.known(j)?;
        let is_position = op == ScalarOp::Cmp(Cmp::Eq)
            && self.definitions.from_zero
            && convert == ScalarOp::Convert
            && self.narrow.contains(&of[0])
            && !k.dtype.is_float();
        let k = k.to_f64() as i64;
        (is_position && k >= 0).then_some(k)
    }
}
