//! Addresses of elements as Cranelift's values, with what does not change in a loop computed
//! outside: see `pointers`.

use backstitch_ir::nest::{At, Param};
use cranelift_codegen::ir::{InstBuilder, Value};
use rustc_hash::FxHashMap;

use crate::asm::{Addr, Asm, WORD};
use crate::pointers::{self, Arithmetic, Pointers};

/// A number that is partly known when compiling.
pub(crate) type Int = pointers::Int<Value>;

impl Int {
    /// As one value.
    pub fn value(self, asm: &mut Asm) -> Value {
        match self.base {
            Some(base) => asm.add_int(base, self.offset),
            None => asm.int(self.offset),
        }
    }
}

/// Where loops stand, and the addresses known there.
pub(crate) type Addresses = Pointers<Value>;

impl Arithmetic for Asm<'_> {
    type Value = Value;

    /// Any sum can be written.
    fn add(
        &mut self,
        base: Value,
        axis: Value,
        step: i64,
        products: &mut FxHashMap<i64, Value>,
    ) -> Option<Value> {
        debug_assert_eq!(self.func().dfg.value_type(base), WORD);
        let product = *products.entry(step).or_insert_with(|| self.mul_int(axis, step));
        Some(self.ins().iadd(base, product))
    }
}

impl Addresses {
    /// The address of `param[at]`; `index` is the value of `at.index`.
    pub fn address(&mut self, asm: &mut Asm, param: Param, at: &At, index: Option<Value>) -> Addr {
        let (terms, disp) = self.terms(param, at);
        let mut base = self.sum(asm, param, &terms).expect("any sum can be written");
        if let Some(index) = index {
            let bytes = asm.mul_int(index, self.size(param));
            base = asm.ins().iadd(base, bytes);
        }
        Addr { base, disp }
    }
}
