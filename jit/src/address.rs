//! Addresses of elements, with what does not change in a loop computed outside.
//!
//! An address is `param + Σ stride·axis` in order of the loops' depth, plus a
//! displacement known when compiling. Each prefix of that sum is computed once,
//! in the loop of its last axis: so an inner loop adds one term to a pointer
//! that is ready, and the processor's addressing modes do that for free. Before
//! a loop begins, the pointers that its body is going to ask for are made.

use backstitch_ir::index::Idx;
use backstitch_ir::nest::{At, Axis, Nest, Param, Stmt};
use cranelift_codegen::ir::{InstBuilder, Value};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::asm::{Addr, Asm, WORD};

/// A number that is partly known when compiling: `base + offset`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int {
    pub base: Option<Value>,
    pub offset: i64,
}

impl Int {
    pub fn known(offset: i64) -> Self {
        Self { base: None, offset }
    }

    pub fn of(base: Value) -> Self {
        Self { base: Some(base), offset: 0 }
    }

    pub fn plus(self, n: i64) -> Self {
        Self { offset: self.offset.wrapping_add(n), ..self }
    }

    /// As one value.
    pub fn value(self, asm: &mut Asm) -> Value {
        match self.base {
            Some(base) => asm.add_int(base, self.offset),
            None => asm.int(self.offset),
        }
    }
}

/// `stride·axis` in bytes, for each axis that is only known at run time.
type Terms = SmallVec<[(Axis, i64); 4]>;

/// What a loop has computed for its axis.
#[derive(Default)]
struct Frame {
    /// `axis · bytes`, by bytes.
    scaled: FxHashMap<i64, Value>,
    /// Sums that end in this axis.
    pointers: FxHashMap<(Param, Terms), Value>,
}

/// Where loops stand, and the addresses known there.
pub(crate) struct Addresses {
    params: Vec<Addr>,
    sizes: Vec<i64>,
    /// Depth and position of each axis that is bound.
    axes: Vec<Option<(usize, Int)>>,
    frames: Vec<Frame>,
}

impl Addresses {
    /// For the nest's parameters at these places.
    pub fn new(nest: &Nest, params: Vec<Addr>) -> Self {
        let sizes = nest.params.iter().map(|p| p.dtype.size() as i64).collect();
        Self { params, sizes, axes: vec![None; nest.axes.len()], frames: Vec::new() }
    }

    /// Enters the body of a loop over `axis`.
    pub fn enter(&mut self, axis: Axis, at: Int) {
        self.axes[axis.index()] = Some((self.frames.len(), at));
        self.frames.push(Frame::default());
    }

    /// Leaves it.
    pub fn leave(&mut self, axis: Axis) {
        self.axes[axis.index()] = None;
        self.frames.pop();
    }

    /// Where the axis stands.
    pub fn position(&self, axis: Axis) -> Int {
        self.axes[axis.index()].expect("an axis of an enclosing loop").1
    }

    /// Moves the axis by a known distance without a new loop iteration.
    pub fn shift(&mut self, axis: Axis, by: i64) {
        let (_, at) = self.axes[axis.index()].as_mut().expect("an axis of an enclosing loop");
        *at = at.plus(by);
    }

    /// The address of `param[at]`; `index` is the value of `at.index`.
    pub fn address(&mut self, asm: &mut Asm, param: Param, at: &At, index: Option<Value>) -> Addr {
        let size = self.sizes[param.index()];
        let (terms, offset) = self.terms(param, at);
        let mut base = self.pointer(asm, param, &terms);
        if let Some(index) = index {
            let bytes = asm.mul_int(index, size);
            base = asm.ins().iadd(base, bytes);
        }
        Addr { base, disp: self.params[param.index()].disp.wrapping_add(offset) }
    }

    /// How far one step along `axis` is, in bytes.
    pub fn step(&self, param: Param, at: &At, axis: Axis) -> i64 {
        at.stride(axis).wrapping_mul(self.sizes[param.index()])
    }

    /// Which element of its parameter that is, if that is known now.
    pub fn element(&self, at: &At) -> Option<i64> {
        if at.index.is_some() {
            return None;
        }
        at.strides.iter().try_fold(at.offset, |sum, &(axis, stride)| {
            let (_, position) = self.axes[axis.index()]?;
            position.base.is_none().then(|| sum + stride * position.offset)
        })
    }

    /// Makes what the body of a loop that is about to begin takes from outside.
    pub fn prepare(&mut self, asm: &mut Asm, body: &[Stmt]) {
        for s in body {
            match s {
                Stmt::Load { param, at, .. }
                | Stmt::Store { param, at, .. }
                | Stmt::Accumulate { param, at, .. } => {
                    let (terms, _) = self.terms(*param, at);
                    self.pointer(asm, *param, &terms);
                }
                Stmt::For(inner) => self.prepare(asm, &inner.body),
                Stmt::Let { .. } | Stmt::Call { .. } | Stmt::Index { .. } => {}
            }
        }
    }

    /// The terms over axes bound now, outermost first, and the known bytes.
    fn terms(&self, param: Param, at: &At) -> (Terms, i64) {
        let size = self.sizes[param.index()];
        let mut bytes = at.offset.wrapping_mul(size);
        let mut terms: SmallVec<[(usize, Axis, i64); 4]> = SmallVec::new();
        for &(axis, stride) in &at.strides {
            let Some((depth, position)) = self.axes[axis.index()] else { continue };
            let step = stride.wrapping_mul(size);
            bytes = bytes.wrapping_add(position.offset.wrapping_mul(step));
            if position.base.is_some() {
                terms.push((depth, axis, step));
            }
        }
        terms.sort_unstable_by_key(|t| t.0);
        (terms.into_iter().map(|(_, axis, step)| (axis, step)).collect(), bytes)
    }

    fn pointer(&mut self, asm: &mut Asm, param: Param, terms: &[(Axis, i64)]) -> Value {
        let Some((&(axis, step), outer)) = terms.split_last() else {
            return self.params[param.index()].base;
        };
        let (depth, position) = self.axes[axis.index()].expect("a bound axis");
        let key = (param, Terms::from_slice(terms));
        if let Some(&pointer) = self.frames[depth].pointers.get(&key) {
            return pointer;
        }
        let outer = self.pointer(asm, param, outer);
        let scaled = match self.frames[depth].scaled.get(&step) {
            Some(&scaled) => scaled,
            None => {
                let base = position.base.expect("an axis known at run time only");
                let scaled = asm.mul_int(base, step);
                self.frames[depth].scaled.insert(step, scaled);
                scaled
            }
        };
        debug_assert_eq!(asm.func().dfg.value_type(outer), WORD);
        let pointer = asm.ins().iadd(outer, scaled);
        self.frames[depth].pointers.insert(key, pointer);
        pointer
    }
}
