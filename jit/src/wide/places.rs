//! Where elements are: pointers that each loop computes for the loops inside.
//!
//! As in [`address`](crate::address), the place of an element is `param + Σ stride·axis`
//! with each prefix of the sum computed in the loop of its last axis. The axis of a vector
//! loop is an index register instead, where its step is one that addresses can scale by.

use backstitch_ir::index::Idx;
use backstitch_ir::nest::{At, Axis, Nest, Param, Stmt};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::code::Alu;
use super::inst::{Class, Inst, Place, Program, Reg, Value};

/// A number that is partly known when compiling: `base + offset`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int {
    pub base: Option<Reg>,
    pub offset: i64,
}

impl Int {
    pub fn known(offset: i64) -> Self {
        Self { base: None, offset }
    }

    pub fn of(base: Reg) -> Self {
        Self { base: Some(base), offset: 0 }
    }

    pub fn plus(self, n: i64) -> Self {
        Self { offset: self.offset.wrapping_add(n), ..self }
    }

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

/// `stride·axis` in bytes, for each axis that is only known at run time.
type Terms = SmallVec<[(Axis, i64); 4]>;

/// What a loop has computed for its axis.
#[derive(Default)]
struct Frame {
    pointers: FxHashMap<(Param, Terms), Reg>,
    /// `axis · bytes`.
    scaled: FxHashMap<i64, Reg>,
}

/// Where loops stand, and the pointers known there.
pub(crate) struct Places {
    params: Vec<Reg>,
    sizes: Vec<i64>,
    /// Depth and position of each axis that is bound.
    axes: Vec<Option<(usize, Int)>>,
    frames: Vec<Frame>,
}

impl Places {
    pub fn new(nest: &Nest, params: Vec<Reg>) -> Self {
        let sizes = nest.params.iter().map(|p| p.dtype.size() as i64).collect();
        Self { params, sizes, axes: vec![None; nest.axes.len()], frames: Vec::new() }
    }

    pub fn enter(&mut self, axis: Axis, at: Int) {
        self.axes[axis.index()] = Some((self.frames.len(), at));
        self.frames.push(Frame::default());
    }

    pub fn leave(&mut self, axis: Axis) {
        self.axes[axis.index()] = None;
        self.frames.pop();
    }

    pub fn position(&self, axis: Axis) -> Int {
        self.axes[axis.index()].expect("an axis of an enclosing loop").1
    }

    pub fn shift(&mut self, axis: Axis, by: i64) {
        let (_, at) = self.axes[axis.index()].as_mut().expect("an axis of an enclosing loop");
        *at = at.plus(by);
    }

    /// How far one step along `axis` is, in bytes.
    pub fn step(&self, param: Param, at: &At, axis: Axis) -> i64 {
        at.stride(axis).wrapping_mul(self.sizes[param.index()])
    }

    /// Makes the pointers that the body of a loop that is about to begin takes from
    /// outside.
    pub fn prepare(&mut self, program: &mut Program, body: &[Stmt]) -> Option<()> {
        for s in body {
            match s {
                Stmt::Load { param, at, .. }
                | Stmt::Store { param, at, .. }
                | Stmt::Accumulate { param, at, .. } => {
                    let (terms, _) = self.terms(*param, at)?;
                    self.pointer(program, *param, &terms)?;
                }
                Stmt::For(inner) => self.prepare(program, &inner.body)?,
                Stmt::Let { .. } | Stmt::Index { .. } | Stmt::Call { .. } => {}
            }
        }
        Some(())
    }

    /// The place of `param[at]` without its computed part. The axis that is `direct` is an
    /// index register, if its step allows it.
    pub fn place(
        &mut self,
        program: &mut Program,
        param: Param,
        at: &At,
        direct: Option<Axis>,
    ) -> Option<Place> {
        let (mut terms, disp) = self.terms(param, at)?;
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
        let base = self.pointer(program, param, &terms)?;
        Some(Place { base, index, disp })
    }

    /// The terms over axes bound now, outermost first, and the known bytes.
    fn terms(&self, param: Param, at: &At) -> Option<(Terms, i64)> {
        let size = self.sizes[param.index()];
        let mut bytes = at.offset.checked_mul(size)?;
        let mut terms: SmallVec<[(usize, Axis, i64); 4]> = SmallVec::new();
        for &(axis, stride) in &at.strides {
            let Some((depth, position)) = self.axes[axis.index()] else { continue };
            let step = stride.checked_mul(size)?;
            bytes = bytes.checked_add(position.offset.checked_mul(step)?)?;
            if position.base.is_some() {
                terms.push((depth, axis, step));
            }
        }
        terms.sort_unstable_by_key(|t| t.0);
        Some((terms.into_iter().map(|(_, axis, step)| (axis, step)).collect(), bytes))
    }

    fn pointer(
        &mut self,
        program: &mut Program,
        param: Param,
        terms: &[(Axis, i64)],
    ) -> Option<Reg> {
        let Some((&(axis, step), outer)) = terms.split_last() else {
            return Some(self.params[param.index()]);
        };
        let (depth, position) = self.axes[axis.index()].expect("a bound axis");
        let key = (param, Terms::from_slice(terms));
        if let Some(&pointer) = self.frames[depth].pointers.get(&key) {
            return Some(pointer);
        }
        let base = self.pointer(program, param, outer)?;
        let from = position.base.expect("an axis known at run time only");
        let (index, scale) = match step {
            1 | 2 | 4 | 8 => (from, step.trailing_zeros() as u8),
            _ => match self.frames[depth].scaled.get(&step) {
                Some(&scaled) => (scaled, 0),
                None => {
                    let to = program.reg(Class::General);
                    let by = i32::try_from(step).ok()?;
                    program.insts.push(Inst::Multiply { to, from, by });
                    self.frames[depth].scaled.insert(step, to);
                    (to, 0)
                }
            },
        };
        let to = program.reg(Class::General);
        let place = Place { base, index: Some((index, scale)), disp: 0 };
        program.insts.push(Inst::Address { to, place });
        self.frames[depth].pointers.insert(key, to);
        Some(to)
    }
}
