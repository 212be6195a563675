//! Results that are put together: pads, concatenations, additions at indices.

use backstitch_ir::nest::{Access, Const, Mode, Monoid, Range};
use backstitch_ir::op::Piece;
use backstitch_ir::plan::Step;
use backstitch_ir::ty::Shape;

use super::emit::{Emit, clamped};
use super::nesting::LEAST_VECTOR;
use crate::lower::Planner;
use crate::lower::nest::{Kinds, Loops, Touch};
use crate::lower::operand::{Operand, Strides, Val, contiguous};
use crate::lower::origin::KernelOrigin;
use crate::lower::scope::Scope;

/// Pieces copied into place.
pub(crate) struct Assemble {
    pub out: Val,
    pub fill: Option<Const>,
    pub pieces: Vec<Piece>,
    pub reads: Vec<(Operand, Shape)>,
}

/// `out = x; out[… + step·clamp(index)] += u`.
pub(crate) struct Scatter {
    pub out: Val,
    pub x: (Operand, Shape),
    pub index: Operand,
    pub u: Operand,
    /// Shape of `u`.
    pub domain: Shape,
    /// Of the result over the domain, 0 along the index's axes.
    pub strides: Strides,
    pub step: i64,
    pub last: i64,
}

impl Assemble {
    pub fn emit(&self, scope: &mut Scope<'_>, planner: &mut Planner, steps: &mut Vec<Step>) {
        let shape = scope.vals[self.out].shape.clone();
        let own = contiguous(&shape);
        let none = Loops::none();
        let mut e = Emit::new(scope, planner, none, None, KernelOrigin::alone("assemble"));
        let buffer = e.scope.buffer(e.planner, self.out);
        let access = e.scope.access_to_store(self.out, e.planner.kernels.len());
        e.param(buffer, access);
        if let Some(c) = self.fill {
            copy(&mut e, self.out, &shape, &Operand::Splat(c), 0, &own);
        }
        for (piece, (x, from)) in self.pieces.iter().zip(&self.reads) {
            let offset = piece.offset.iter().zip(&own).map(|(&o, &s)| o as i64 * s).sum();
            let strides: Strides =
                piece.steps.iter().zip(&own).map(|(&k, &s)| k as i64 * s).collect();
            copy(&mut e, self.out, from, x, offset, &strides);
        }
        let step = e.finish();
        steps.push(step);
    }
}

/// Loops over `domain` that store an operand at a strided place of `out`.
fn copy(
    e: &mut Emit<'_, '_>,
    out: Val,
    domain: &Shape,
    x: &Operand,
    offset: i64,
    strides: &Strides,
) {
    let size = e.scope.dtype(out).size();
    let mut touches = vec![Touch { strides: strides.clone(), size, writes: true }];
    if let Operand::At { strides, .. } = x {
        touches.push(Touch { strides: strides.clone(), size, writes: false });
    }
    e.loops = Loops::best(domain, 0, Kinds::new(domain.rank()), &touches);
    open(e, |_, _| true);
    let v = e.read(x);
    let buffer = e.scope.buffer(e.planner, out);
    let param = e.param(buffer, Access::Out);
    let at = e.loops.at(&e.axes, offset, strides);
    e.b.store(param, at, v);
    close(e);
}

/// Opens all loops, the innermost as a vector loop if it may be.
fn open(e: &mut Emit<'_, '_>, vector: impl Fn(&Loops, usize) -> bool) {
    e.full = e.loops.len();
    for d in 0..e.loops.len() {
        let extent = e.loops.extent(d);
        let axis = e.b.axis(extent);
        let inner = d + 1 == e.full && extent >= LEAST_VECTOR && vector(&e.loops, d);
        let mode = if inner { Mode::Vector { lanes: 8 } } else { Mode::Sequential };
        e.b.open(axis, Range::Whole, mode);
        e.axes.push(axis);
    }
}

fn close(e: &mut Emit<'_, '_>) {
    while e.axes.pop().is_some() {
        e.b.close(&[]);
    }
}

impl Scatter {
    /// The val that is added to, if all of it is and nothing else is read of it: then the
    /// result may stand where that val stood.
    pub fn target(&self, shape: impl Fn(Val) -> Shape) -> Option<Val> {
        let x = self.x.0.val()?;
        let whole = shape(x) == self.x.1 && self.x.0.is_whole(&self.x.1);
        (whole && self.index.val() != Some(x) && self.u.val() != Some(x)).then_some(x)
    }

    pub fn emit(&self, scope: &mut Scope<'_>, planner: &mut Planner, steps: &mut Vec<Step>) {
        let none = Loops::none();
        let mut e = Emit::new(scope, planner, none, None, KernelOrigin::alone("scatter_add"));
        let buffer = e.scope.buffer(e.planner, self.out);
        let in_place = self.x.0.val().is_some_and(|x| e.scope.buffer(e.planner, x) == buffer);
        let param = e.param(buffer, if in_place { Access::InOut } else { Access::Out });
        if !in_place {
            let own = contiguous(&self.x.1);
            copy(&mut e, self.out, &self.x.1, &self.x.0, 0, &own);
        }
        if !self.domain.is_empty() {
            let strides = |x: &Operand| match x {
                Operand::Splat(_) => Strides::new(),
                Operand::At { strides, .. } => strides.clone(),
                Operand::Joined(_) => unreachable!("only maps read a piece at a time"),
            };
            let all = [strides(&self.index), strides(&self.u), self.strides.clone()];
            e.loops = Loops::new(&self.domain, 0, all.iter().map(|s| &s[..]));
            // Indices may repeat: in order, one at a time; what one index adds, in vectors.
            let [index, _, out] = &all;
            open(&mut e, |loops, d| loops.stride(d, index) == 0 && loops.stride(d, out) != 0);
            let index = e.read(&self.index);
            let index = clamped(&mut e.b, index, self.step, self.last);
            let u = e.read(&self.u);
            let mut at = e.loops.at(&e.axes, 0, &self.strides);
            at.index = Some(index);
            e.b.accumulate(param, at, Monoid::Sum, u);
            close(&mut e);
        }
        let step = e.finish();
        steps.push(step);
    }
}
