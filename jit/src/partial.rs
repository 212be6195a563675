//! The partial results of a reduction in a vector loop.
//!
//! A vector loop keeps `lanes` partial results: iteration `t` goes to partial
//! `t mod lanes`, and a fixed tree combines them. Four lanes or more are groups
//! in vector registers; fewer are scalars. The iterations left over at the end
//! of a loop are added one by one: to a known lane, or, where the lane is known
//! only at run time, to partials saved in the frame.

use backstitch_ir::DType;
use backstitch_ir::nest::{Monoid, Term};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use smallvec::SmallVec;

use crate::asm::{Addr, Asm, Memory};
use crate::scalar::{self, clif_type};
use crate::vector::{self, GROUP, Lanes};

/// Partial results, as one list of values.
pub(crate) type Values = SmallVec<[Value; 8]>;

/// One reduction of a vector loop.
#[derive(Clone, Copy)]
pub(crate) struct Partial {
    pub op: Monoid,
    pub dtype: DType,
    pub lanes: usize,
}

impl Partial {
    /// Whether the partials are groups.
    fn grouped(self) -> bool {
        self.lanes >= GROUP
    }

    /// Vectors per group.
    fn parts(self) -> usize {
        if vector::is_wide(self.dtype) { 2 } else { 1 }
    }

    /// How many values there are.
    pub fn count(self) -> usize {
        if self.grouped() { self.lanes / GROUP * self.parts() } else { self.lanes }
    }

    /// All identities.
    pub fn start(self, asm: &mut Asm) -> Values {
        let identity = self.op.identity(self.dtype);
        if !self.grouped() {
            return (0..self.lanes).map(|_| asm.constant(identity)).collect();
        }
        let group = vector::constant(asm, identity, false);
        (0..self.lanes / GROUP).flat_map(|_| group.parts().to_vec()).collect()
    }

    fn group(self, values: &mut [Value], group: usize) -> &mut [Value] {
        &mut values[group * self.parts()..][..self.parts()]
    }

    fn combine(self, asm: &mut Asm, a: Lanes, b: Lanes) -> Lanes {
        vector::combine(asm, self.op, self.dtype, a, b)
    }

    /// Adds four iterations, of which the first belongs to lane `4 · group`.
    pub fn add_group(self, asm: &mut Asm, values: &mut [Value], group: usize, x: Term<Lanes>) {
        if self.grouped() {
            let parts = self.group(values, group);
            let sum = vector::take(asm, x, self.dtype, Lanes::from_parts(parts));
            parts.copy_from_slice(sum.parts());
            return;
        }
        for i in 0..GROUP {
            let x = x.map(|x| vector::extract(asm, self.dtype, x, i));
            let old = &mut values[i % self.lanes];
            *old = scalar::take(asm, x, self.dtype, *old);
        }
    }

    /// Adds one iteration to a known lane.
    pub fn add(self, asm: &mut Asm, values: &mut [Value], lane: usize, x: Term<Value>) {
        if !self.grouped() {
            let old = &mut values[lane % self.lanes];
            *old = scalar::take(asm, x, self.dtype, *old);
            return;
        }
        let x = x.map(|x| self.element(asm, x));
        let parts = self.group(values, lane / GROUP);
        let old = Lanes::from_parts(parts);
        let element = self.element_dtype();
        let sum = vector::extract(asm, element, old, lane % GROUP);
        let sum = scalar::take(asm, x, element, sum);
        parts.copy_from_slice(vector::insert(asm, old, lane % GROUP, sum).parts());
    }

    // ---- In the frame ----

    /// Saves the partials.
    pub fn save(self, asm: &mut Asm, values: &[Value]) -> Addr {
        let slot = asm.slot(self.lanes * self.element_dtype().size());
        let at = asm.slot_address(slot);
        for (i, &v) in values.iter().enumerate() {
            asm.store(v, at.plus(i as i64 * self.value_bytes()));
        }
        at
    }

    /// Adds one iteration to a lane of the saved partials.
    pub fn add_saved(self, asm: &mut Asm, at: Addr, lane: Value, x: Term<Value>) {
        let element = self.element_dtype();
        let x = if self.grouped() { x.map(|x| self.element(asm, x)) } else { x };
        let bytes = asm.mul_int(lane, element.size() as i64);
        let at = Addr { base: asm.ins().iadd(at.base, bytes), ..at };
        let old = asm.load(clif_type(element), at, Memory::Changing);
        let sum = scalar::take(asm, x, element, old);
        asm.store(sum, at);
    }

    /// The saved partials.
    pub fn restore(self, asm: &mut Asm, at: Addr) -> Values {
        let ty = self.value_type();
        (0..self.count())
            .map(|i| asm.load(ty, at.plus(i as i64 * self.value_bytes()), Memory::Changing))
            .collect()
    }

    fn value_type(self) -> Type {
        if self.grouped() { vector::vector_type(self.dtype) } else { clif_type(self.dtype) }
    }

    fn value_bytes(self) -> i64 {
        i64::from(self.value_type().bytes())
    }

    /// What one lane is: masks are integers.
    fn element_dtype(self) -> DType {
        if self.grouped() && self.dtype == DType::Bool { DType::I32 } else { self.dtype }
    }

    /// A scalar as it is in a lane.
    fn element(self, asm: &mut Asm, x: Value) -> Value {
        if self.dtype != DType::Bool {
            return x;
        }
        let x = asm.ins().uextend(types::I32, x);
        asm.ins().ineg(x)
    }

    // ---- The end ----

    /// The result of the tree.
    pub fn finish(self, asm: &mut Asm, values: &[Value]) -> Value {
        if !self.grouped() {
            return match *values {
                [a] => a,
                [a, b] => scalar::combine(asm, self.op, self.dtype, a, b),
                _ => unreachable!("one or two scalars"),
            };
        }
        let mut groups: SmallVec<[Lanes; 8]> =
            values.chunks_exact(self.parts()).map(Lanes::from_parts).collect();
        while groups.len() > 1 {
            let half = groups.len() / 2;
            for i in 0..half {
                groups[i] = self.combine(asm, groups[i], groups[i + half]);
            }
            groups.truncate(half);
        }
        // Lanes 0 and 1 with 2 and 3, then 0 with 1.
        let (low, high) = match groups[0] {
            Lanes::One(v) => (v, vector::high_pair(asm, self.value_type(), v)),
            Lanes::Two([low, high]) => (low, high),
        };
        let pair = self.combine(asm, Lanes::One(low), Lanes::One(high));
        let element = self.element_dtype();
        let a = vector::extract(asm, element, pair, 0);
        let b = vector::extract(asm, element, pair, 1);
        let result = scalar::combine(asm, self.op, element, a, b);
        if self.dtype == DType::Bool { vector::unmask(asm, result) } else { result }
    }
}
