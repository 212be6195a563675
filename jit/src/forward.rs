//! What straight-line code knows of memory: the value last loaded from or
//! stored to an element, so that one kernel's result reaches the next in a
//! register; and what is in registers altogether ([`Registers`]).
//!
//! Only recent values are forwarded. A value kept in a register over hundreds
//! of instructions is spilled anyway, and makes register allocation slow.

use backstitch_ir::index::Idx;
use backstitch_ir::nest::Param;
use backstitch_ir::plan::{Buffer, BufferRef};
use backstitch_ir::threshold;
use cranelift_codegen::ir::Value;
use rustc_hash::FxHashMap;

use crate::asm::Asm;
use crate::registers::Registers;

/// How many values later a value is not forwarded any more.
const REACH: usize = threshold(64, 4);

/// Elements with known values.
pub(crate) struct Forward {
    /// By buffer and element; the number is when it became known.
    known: FxHashMap<Buffer, FxHashMap<i64, (Value, usize)>>,
    /// What the parameters of the current kernel are.
    params: Vec<BufferRef>,
    /// Those that have variables.
    pub registers: Registers,
}

impl Forward {
    pub fn new(registers: Registers) -> Self {
        Self { known: FxHashMap::default(), params: Vec::new(), registers }
    }

    /// Begins a kernel with these arguments.
    pub fn begin(&mut self, args: &[BufferRef]) {
        self.params.clear();
        self.params.extend_from_slice(args);
    }

    /// The value of an element of a parameter, if it is known.
    pub fn get(&mut self, asm: &mut Asm, param: Param, element: Option<i64>) -> Option<Value> {
        let (buffer, element) = self.element(param, element)?;
        self.get_element(asm, buffer, element)
    }

    /// The value of an element of a buffer, if it is known.
    pub fn get_element(&mut self, asm: &mut Asm, buffer: Buffer, element: i64) -> Option<Value> {
        if let Some(value) = self.registers.get(asm, buffer, element) {
            return Some(value);
        }
        let &(value, made) = self.known.get(&buffer)?.get(&element)?;
        (asm.values() - made < REACH).then_some(value)
    }

    /// An element was loaded.
    pub fn loaded(&mut self, param: Param, element: Option<i64>, value: Value, now: usize) {
        if let Some((buffer, element)) = self.element(param, element) {
            self.known.entry(buffer).or_default().insert(element, (value, now));
        }
    }

    /// An element was stored.
    pub fn stored(&mut self, param: Param, element: Option<i64>, value: Value, now: usize) {
        match self.element(param, element) {
            Some(_) => self.loaded(param, element, value, now),
            None => self.forget(self.params[param.index()].buffer),
        }
    }

    /// Sets an element that is in a register; false if it is in memory.
    pub fn set(&mut self, asm: &mut Asm, param: Param, element: Option<i64>, value: Value) -> bool {
        let element = self.element(param, element);
        let variable = element.and_then(|(buffer, i)| self.registers.variable(buffer, i));
        if let Some(variable) = variable {
            asm.define(variable, value);
        }
        variable.is_some()
    }

    /// A buffer was written by something else.
    pub fn forget(&mut self, buffer: Buffer) {
        self.known.remove(&buffer);
    }

    /// Another block begins.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    fn element(&self, param: Param, element: Option<i64>) -> Option<(Buffer, i64)> {
        let arg = self.params[param.index()];
        Some((arg.buffer, arg.offset as i64 + element?))
    }
}
