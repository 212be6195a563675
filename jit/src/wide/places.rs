//! Where elements are: pointers in registers.
//!
//! The axis of a vector loop is an index register instead of a term, where its step is one that
//! addresses can scale by.

use backstitch_ir::nest::{At, Axis, Param};
use rustc_hash::FxHashMap;

use super::code::Alu;
use super::inst::{Class, Inst, Place, Program, Reg, Value};
use crate::pointers::{self, Arithmetic, Pointers};

/// A number that is partly known when compiling.
pub(crate) type Int = pointers::Int<Reg>;

impl Int {
    /// In a register that nobody else writes.
    pub fn copy(self, program: &mut Program) -> Reg {
        let to = program.reg(Class::General);
        let from = self.base.map_or(Value::Known(self.offset), Value::Reg);
        program.insts.push(Inst::Alu { op: Alu::Mov, to, from });
        if self.base.is_some() && self.offset != 0 {
            program.insts.push(Inst::Alu { op: Alu::Add, to, from: Value::Known(self.offset) });
        }
        to
    }

    /// In a register that is only to be read.
    pub fn read(self, program: &mut Program) -> Reg {
        match self {
            Self { base: Some(base), offset: 0 } => base,
            _ => self.copy(program),
        }
    }

    /// As an operand.
    pub fn value(self, program: &mut Program) -> Value {
        match self.base {
            None => Value::Known(self.offset),
            Some(_) => Value::Reg(self.read(program)),
        }
    }
}

/// Where loops stand, and the pointers known there.
pub(crate) type Places = Pointers<Reg>;

impl Arithmetic for Program {
    type Value = Reg;

    fn add(
        &mut self,
        base: Reg,
        axis: Reg,
        step: i64,
        products: &mut FxHashMap<i64, Reg>,
    ) -> Option<Reg> {
        let index = match (step, products.get(&step)) {
            (1 | 2 | 4 | 8, _) => (axis, step.trailing_zeros() as u8),
            (_, Some(&product)) => (product, 0),
            (_, None) => {
                let to = self.reg(Class::General);
                let by = i32::try_from(step).ok()?;
                self.insts.push(Inst::Multiply { to, from: axis, by });
                products.insert(step, to);
                (to, 0)
            }
        };
        let to = self.reg(Class::General);
        let place = Place { base, index: Some(index), disp: 0 };
        self.insts.push(Inst::Address { to, place });
        Some(to)
    }
}

impl Places {
    /// The place of `param[at]` without its computed part. The axis that is `direct` is an
    /// index register, if its step allows it.
    pub fn place(
        &mut self,
        program: &mut Program,
        param: Param,
        at: &At,
        direct: Option<Axis>,
    ) -> Option<Place> {
        let (mut terms, disp) = self.terms(param, at);
        let disp = i32::try_from(disp).ok()?;
        let mut index = None;
        if let Some(&(axis, step)) = terms.last()
            && direct == Some(axis)
            && [1, 2, 4, 8].contains(&step)
        {
            let position = self.position(axis);
            index = Some((position.base?, step.trailing_zeros() as u8));
            terms.pop();
        }
        let base = self.sum(program, param, &terms)?;
        Some(Place { base, index, disp })
    }
}
