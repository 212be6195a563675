//! Recurrences along an axis.
//!
//! Where the axis has others inside it, each step is a loop over those, which
//! reads the row that was stored before:
//!
//! ```text
//! for outside { for inside vector { y[0] = … }
//!               for steps { for inside vector { y[i] = y[i-1] … } } }
//! ```
//!
//! Where it has none (or only short ones), the running value stays in a register:
//!
//! ```text
//! for outside { y[0] = v; for steps carry v { y[i] = v = v … } }
//! ```
//!
//! The first element is taken out of the loop, so no identity is needed. A
//! recurrence from the end is one from the start with all strides turned round.

use backstitch_ir::nest::{Access, At, Axis, Mode, Param, Range, Var};
use backstitch_ir::ops::Recurrence;
use backstitch_ir::plan::Step;
use backstitch_ir::ty::DType;
use backstitch_ir::{Scalar, threshold};
use smallvec::SmallVec;

use super::emit::Emit;
use super::nesting::LEAST_VECTOR;
use crate::lower::Planner;
use crate::lower::nest::Loops;
use crate::lower::operand::{Operand, Strides, Val, contiguous};
use crate::lower::origin::KernelOrigin;
use crate::lower::scope::Scope;
use crate::math;

/// Chunks from which lines are shared out to threads.
const LEAST_PARALLEL: usize = threshold(4, 1);

/// `out[i] = by(out[i-1], args[i])` along an axis.
pub(crate) struct Cumulate {
    pub out: Val,
    pub by: Recurrence,
    pub axis: usize,
    pub reverse: bool,
    pub args: SmallVec<[Operand; 2]>,
}

/// An access, with the axis that is run along apart from the others.
struct Line {
    /// What is accessed, or the constant that is there.
    from: Result<Param, Var>,
    /// Where the first element of the first line is.
    offset: i64,
    /// From one element to the next.
    step: i64,
    /// Along the other axes.
    strides: Strides,
}

impl Cumulate {
    pub fn emit(&self, scope: &mut Scope<'_>, planner: &mut Planner, steps: &mut Vec<Step>) {
        let (shape, dtype) = (scope.vals[self.out].shape.clone(), scope.dtype(self.out));
        if shape.is_empty() {
            return;
        }
        let (n, others) = (shape.dims()[self.axis], shape.without(&[self.axis]));
        let none = Loops::none();
        let mut e = Emit::new(scope, planner, none, None, KernelOrigin::alone("cumulate"));
        let buffer = e.scope.buffer(e.planner, self.out);
        let param = e.param(buffer, Access::Out);
        let out = self.line(Ok(param), n, 0, &contiguous(&shape));
        let args: SmallVec<[Line; 2]> = self
            .args
            .iter()
            .map(|x| match x {
                Operand::Splat(c) => {
                    let c = e.b.constant(*c);
                    self.line(Err(c), n, 0, &Strides::from_elem(0, shape.rank()))
                }
                Operand::At { val, offset, strides } => {
                    let param = e.memory(*val);
                    self.line(Ok(param), n, *offset, strides)
                }
                Operand::Joined(_) => unreachable!("only maps read a piece at a time"),
            })
            .collect();
        let all = std::iter::once(&out).chain(&args).map(|l| &l.strides[..]);
        e.loops = Loops::new(&others, self.axis, all);
        let (outside, depth) = (e.loops.depth(self.axis), e.loops.len());
        let parallel = shape.len() >= LEAST_PARALLEL * e.planner.chunk;
        if depth > outside && e.loops.extent(depth - 1) >= LEAST_VECTOR {
            open(&mut e, 0, outside, parallel, false);
            open(&mut e, outside, depth, false, true);
            self.first(&mut e, &out, &args);
            close(&mut e, outside);
            let axis = e.b.axis(n - 1);
            e.b.open(axis, Range::Whole, Mode::Sequential);
            open(&mut e, outside, depth, false, true);
            let before = out.read(&mut e, Some(axis), 0);
            self.next(&mut e, dtype, before, &out, &args, axis);
            close(&mut e, outside);
            e.b.close(&[]);
        } else {
            open(&mut e, 0, depth, parallel, false);
            let first = self.first(&mut e, &out, &args);
            let axis = e.b.axis(n - 1);
            e.b.open(axis, Range::Whole, Mode::Sequential);
            let before = e.b.carry(first);
            let next = self.next(&mut e, dtype, before, &out, &args, axis);
            e.b.hand_on(before, next);
            e.b.close(&[]);
        }
        close(&mut e, 0);
        let step = e.finish();
        steps.push(step);
    }

    fn line(&self, from: Result<Param, Var>, n: usize, offset: i64, strides: &[i64]) -> Line {
        let step = strides[self.axis];
        let mut others: Strides = strides.into();
        others.remove(self.axis);
        let (offset, step) = match self.reverse {
            true => (offset + (n as i64 - 1) * step, -step),
            false => (offset, step),
        };
        Line { from, offset, step, strides: others }
    }

    /// Stores and gives the first element of the line at which the loops stand.
    fn first(&self, e: &mut Emit<'_, '_>, out: &Line, args: &[Line]) -> Var {
        let v = args[args.len() - 1].read(e, None, 0);
        out.store(e, None, 0, v);
        v
    }

    /// Stores and gives the element after the one that is `before`.
    fn next(
        &self,
        e: &mut Emit<'_, '_>,
        dtype: DType,
        before: Var,
        out: &Line,
        args: &[Line],
        axis: Axis,
    ) -> Var {
        let x = args[0].read(e, Some(axis), 1);
        let combine = match self.by {
            Recurrence::Sum => Scalar::Add,
            Recurrence::Prod | Recurrence::Linear => Scalar::Mul,
            Recurrence::LinearZ if !dtype.is_float() => Scalar::Mul,
            Recurrence::LinearZ => Scalar::MulZ,
            Recurrence::Max => Scalar::Max,
            Recurrence::Min => Scalar::Min,
        };
        let mut v = math::legalise(&mut e.b, combine, dtype, &[before, x]);
        if let Some(terms) = args.get(1) {
            let term = terms.read(e, Some(axis), 1);
            v = e.b.add(v, term);
        }
        out.store(e, Some(axis), 1, v);
        v
    }
}

impl Line {
    /// The element `ahead` of where the loops stand.
    fn at(&self, e: &Emit<'_, '_>, axis: Option<Axis>, ahead: i64) -> At {
        let mut at = e.loops.at(&e.axes, self.offset + ahead * self.step, &self.strides);
        at.strides.extend(axis.filter(|_| self.step != 0).map(|axis| (axis, self.step)));
        at
    }

    fn read(&self, e: &mut Emit<'_, '_>, axis: Option<Axis>, ahead: i64) -> Var {
        let at = self.at(e, axis, ahead);
        match self.from {
            Ok(param) => e.b.load(param, at),
            Err(c) => c,
        }
    }

    fn store(&self, e: &mut Emit<'_, '_>, axis: Option<Axis>, ahead: i64, v: Var) {
        let at = self.at(e, axis, ahead);
        let param = self.from.expect("a result is in memory");
        e.b.store(param, at, v);
    }
}

/// Opens loops `from..to`: the outermost shared out, the innermost in vectors.
fn open(e: &mut Emit<'_, '_>, from: usize, to: usize, parallel: bool, vector: bool) {
    for d in from..to {
        let extent = e.loops.extent(d);
        let axis = e.b.axis(extent);
        let mode = if vector && d + 1 == to && extent >= LEAST_VECTOR {
            Mode::Vector { lanes: 8 }
        } else if parallel && d == 0 {
            Mode::Parallel
        } else {
            Mode::Sequential
        };
        e.b.open(axis, Range::Whole, mode);
        e.axes.push(axis);
    }
}

/// Closes loops down to that depth.
fn close(e: &mut Emit<'_, '_>, depth: usize) {
    while e.axes.len() > depth {
        e.axes.pop();
        e.b.close(&[]);
    }
}
