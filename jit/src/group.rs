//! Statements on a group: four iterations of a vector loop at a time.
//!
//! Each variable of the loop's body is a [`Lanes`]; what has no vector form is
//! done lane by lane.

use backstitch_ir::nest::{At, Axis, Cmp, Param, ScalarOp, Stmt, Var};
use backstitch_ir::{DType, threshold};
use cranelift_codegen::ir::{InstBuilder, StackSlot, Value};
use smallvec::SmallVec;

use crate::asm::{Addr, Memory};
use crate::nest::{Binding, KEPT, NestEmitter};
use crate::scalar::{self, clif_type};
use crate::vector::{self, GROUP, Lanes};

/// How many values later a constant is made again.
const CONSTANT_REACH: usize = threshold(48, 4);

impl NestEmitter<'_, '_> {
    pub(crate) fn group_stmt(&mut self, axis: Axis, s: &Stmt) {
        match s {
            Stmt::Let { var, op: ScalarOp::Const(c), .. } => self.bind_constant(*var, *c),
            Stmt::Let { var, op, args } => {
                let x = self.group_let(*var, *op, args);
                let cmp = match op {
                    ScalarOp::Cmp(c) if self.nest.vars[args[0]].is_float() => {
                        Some((*c, args[0], args[1]))
                    }
                    _ => None,
                };
                self.bind_lanes(*var, x);
                self.bindings[*var].cmp = cmp;
            }
            Stmt::Index { var, .. } => {
                let first = self.at.position(axis).value(self.asm);
                let x = vector::iota(self.asm, first);
                self.bind_lanes(*var, x);
            }
            Stmt::Load { var, param, at } => {
                let x = match self.load_of_piece(axis) {
                    Some(x) => x,
                    None => self.group_load(axis, *param, at),
                };
                self.bind_lanes(*var, x);
            }
            Stmt::Store { param, at, value } => {
                let x = self.lanes(*value);
                if !self.store_of_piece(axis, x) {
                    self.group_store(axis, *param, at, x);
                }
            }
            Stmt::Accumulate { param, at, term } => {
                let x = term.map(|v| self.lanes(v));
                let old = match self.sums.remove(&self.now) {
                    Some(sum) => sum,
                    None => self.group_load(axis, *param, at),
                };
                let new = vector::take(self.asm, x, self.dtype(*param), old);
                if self.is_summed_further(at) {
                    self.sums.insert(self.now, new);
                } else {
                    self.group_store(axis, *param, at, new);
                }
            }
            Stmt::Call { .. } | Stmt::For(_) => {
                unreachable!("{}: a loop or a call inside a vector loop", self.nest.name)
            }
        }
    }

    fn bind_lanes(&mut self, var: Var, x: Lanes) {
        let wide_mask = self.nest.vars[var] == DType::Bool && x.is_wide();
        let (lanes, mask) = if wide_mask { (None, Some(x)) } else { (Some(x), None) };
        self.bindings[var] = Binding { lanes, mask, seen: self.now, ..Binding::default() };
    }

    /// Stores the current group of a variable in the frame.
    pub(crate) fn keep_lanes(&mut self, var: Var, slot: StackSlot) {
        let x = self.lanes(var);
        let at = self.asm.slot_address(slot);
        for (part, &v) in x.parts().iter().enumerate() {
            self.asm.store(v, at.plus(16 * part as i64));
        }
        self.bindings[var].home = Some(slot);
    }

    /// Takes it from there, if it was in a register too long ago.
    fn reload_lanes(&mut self, var: Var) {
        let b = self.bindings[var];
        let Some(slot) = b.home.filter(|_| self.now > b.seen + KEPT) else { return };
        let dtype = self.nest.vars[var];
        let at = self.asm.slot_address(slot);
        let x = vector::load_vectors(self.asm, dtype, at, Memory::Changing);
        let b = &mut self.bindings[var];
        (b.lanes, b.mask, b.seen) = (Some(x), None, self.now);
    }

    /// Whether lanes may differ.
    fn varies(&self, var: Var) -> bool {
        let b = &self.bindings[var];
        b.constant.is_none() && b.scalar.is_none()
    }

    /// The values of a variable; `bool` as a narrow mask.
    pub(crate) fn lanes(&mut self, var: Var) -> Lanes {
        if self.nest.vars[var] == DType::Bool {
            return self.mask(var, false);
        }
        self.reload_lanes(var);
        let b = self.bindings[var];
        let Some(c) = b.constant else { return b.lanes.expect("a value in all lanes") };
        let now = self.asm.values();
        match b.lanes {
            Some(x) if b.made >= self.fresh && now - b.made < CONSTANT_REACH => x,
            _ => {
                let x = vector::constant(self.asm, c, false);
                let b = &mut self.bindings[var];
                (b.lanes, b.made) = (Some(x), now);
                x
            }
        }
    }

    /// The mask of a `bool`, with lanes of either width.
    fn mask(&mut self, var: Var, wide: bool) -> Lanes {
        self.reload_lanes(var);
        let b = self.bindings[var];
        if let Some(c) = b.constant {
            return vector::constant(self.asm, c, wide);
        }
        let (this, other) = if wide { (b.mask, b.lanes) } else { (b.lanes, b.mask) };
        if let Some(x) = this {
            return x;
        }
        let x = vector::mask_of_width(self.asm, other.expect("a value in all lanes"), wide);
        let b = &mut self.bindings[var];
        *(if wide { &mut b.mask } else { &mut b.lanes }) = Some(x);
        x
    }

    /// The width that the first varying mask has already.
    fn mask_width(&self, masks: &[Var]) -> bool {
        let first = masks.iter().find(|&&m| self.varies(m));
        first.is_some_and(|&m| self.bindings[m].lanes.is_none())
    }

    pub(crate) fn lane(&mut self, var: Var, i: usize) -> Value {
        if !self.varies(var) {
            return self.scalar(var);
        }
        let x = self.lanes(var);
        vector::extract(self.asm, self.nest.vars[var], x, i)
    }

    fn group_let(&mut self, var: Var, op: ScalarOp, args: &[Var]) -> Lanes {
        let (from, to) = (self.nest.vars[args[0]], self.nest.vars[var]);
        let masks = |this: &mut Self| {
            let wide = this.mask_width(args);
            args.iter().map(|&a| this.mask(a, wide)).collect::<SmallVec<[Lanes; 3]>>()
        };
        match op {
            ScalarOp::Cmp(c) if from == DType::Bool => {
                let m = masks(self);
                vector::compare_masks(self.asm, c, m[0], m[1])
            }
            ScalarOp::Select if to == DType::Bool => {
                let m = masks(self);
                vector::select(self.asm, m[0], m[1], m[2])
            }
            ScalarOp::Select => self.group_select(to, args[0], args[1], args[2]),
            ScalarOp::Shl | ScalarOp::ShrU | ScalarOp::ShrS if !self.varies(args[1]) => {
                let x = self.lanes(args[0]);
                let by = self.scalar(args[1]);
                x.map(|v| scalar::apply(self.asm, op, from, to, &[v, by]))
            }
            ScalarOp::Shl | ScalarOp::ShrU | ScalarOp::ShrS => self.by_lane(op, from, to, args),
            _ => {
                let values = match (from, to) {
                    (DType::Bool, DType::Bool) => masks(self),
                    (DType::Bool, _) => {
                        SmallVec::from_slice(&[self.mask(args[0], vector::is_wide(to))])
                    }
                    _ => args.iter().map(|&a| self.lanes(a)).collect(),
                };
                match vector::apply(self.asm, op, from, to, &values) {
                    Some(x) => x,
                    None => self.by_lane(op, from, to, args),
                }
            }
        }
    }

    fn group_select(&mut self, to: DType, c: Var, a: Var, b: Var) -> Lanes {
        let less = self.bindings[c].cmp.and_then(|(cmp, x, y)| match cmp {
            Cmp::Lt => Some((x, y)),
            Cmp::Gt => Some((y, x)),
            _ => None,
        });
        let (x, y) = (self.lanes(a), self.lanes(b));
        if to.is_float() && less == Some((a, b)) {
            return vector::select_less(self.asm, x, y, x, y);
        }
        if to.is_float() && less == Some((b, a)) {
            return vector::select_less(self.asm, y, x, x, y);
        }
        let mask = self.mask(c, vector::is_wide(to));
        let zero = |v: Var| self.bindings[v].constant.is_some_and(|c| c.bits == 0);
        if zero(a) {
            return vector::without(self.asm, mask, y);
        }
        vector::select(self.asm, mask, x, y)
    }

    /// Lane by lane, for what has no vector form.
    fn by_lane(&mut self, op: ScalarOp, from: DType, to: DType, args: &[Var]) -> Lanes {
        let xs = std::array::from_fn(|i| {
            let args: SmallVec<[Value; 3]> = args.iter().map(|&a| self.lane(a, i)).collect();
            scalar::apply(self.asm, op, from, to, &args)
        });
        vector::gather(self.asm, to, xs)
    }

    // ---- Memory ----

    /// Where the group is, if its elements are consecutive or one.
    fn group_address(&mut self, axis: Axis, param: Param, at: &At) -> (Addr, i64, Option<Var>) {
        let varying = at.index.filter(|&v| self.varies(v));
        let index = match varying {
            Some(_) => None,
            None => at.index.map(|v| self.scalar(v)),
        };
        let addr = self.at.address(self.asm, param, at, index);
        (addr, self.at.step(param, at, axis), varying)
    }

    fn lane_address(
        &mut self,
        addr: Addr,
        i: usize,
        step: i64,
        size: i64,
        index: Option<Var>,
    ) -> Addr {
        let addr = addr.plus(step.wrapping_mul(i as i64));
        match index {
            None => addr,
            Some(index) => {
                let index = self.lane(index, i);
                let bytes = self.asm.mul_int(index, size);
                Addr { base: self.asm.ins().iadd(addr.base, bytes), ..addr }
            }
        }
    }

    fn group_load(&mut self, axis: Axis, param: Param, at: &At) -> Lanes {
        let (dtype, memory) = (self.dtype(param), self.memory(param));
        let (size, ty) = (dtype.size() as i64, clif_type(dtype));
        let (addr, step, index) = self.group_address(axis, param, at);
        if index.is_none() && step == size {
            return vector::load(self.asm, dtype, addr, memory);
        }
        if index.is_none() && step == 0 {
            let x = self.asm.load(ty, addr, memory);
            return vector::splat(self.asm, dtype, false, x);
        }
        let xs = std::array::from_fn(|i| {
            let addr = self.lane_address(addr, i, step, size, index);
            self.asm.load(ty, addr, memory)
        });
        vector::gather(self.asm, dtype, xs)
    }

    fn group_store(&mut self, axis: Axis, param: Param, at: &At, x: Lanes) {
        let dtype = self.dtype(param);
        let size = dtype.size() as i64;
        let (addr, step, index) = self.group_address(axis, param, at);
        if index.is_none() && step == size {
            return vector::store(self.asm, dtype, x, addr);
        }
        for i in 0..GROUP {
            let addr = self.lane_address(addr, i, step, size, index);
            let value = vector::extract(self.asm, dtype, x, i);
            self.asm.store(value, addr);
        }
    }
}
