//! Matrix products as library calls.

use backstitch_ir::ops::Contract;
use backstitch_ir::plan::{BatchAxis, BufferRef, Gemm, Matrix, Step};
use backstitch_ir::ty::{DType, Shape, Type};

use super::Planner;
use super::operand::{Operand, Val, contiguous};
use super::scope::Scope;

/// One side of a product: where it starts, and its strides along the batch, the
/// free axes (as one) and the axes summed over (as one).
#[derive(Clone, Debug)]
struct Side {
    val: Val,
    offset: i64,
    batch: Vec<i64>,
    free: i64,
    over: i64,
}

/// `out = x · y`.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    dtype: DType,
    batch: Vec<usize>,
    m: usize,
    n: usize,
    k: usize,
    sides: [Side; 2],
    out: Val,
}

/// The axes that are neither batch nor summed over.
fn free_axes(c: &Contract, i: usize, rank: usize) -> Vec<usize> {
    (0..rank).filter(|a| !c.batch[i].contains(a) && !c.over[i].contains(a)).collect()
}

/// The stride of several axes run through as one (the last fastest), if there is
/// one.
fn joint_stride(axes: &[usize], dims: &[usize], strides: &[i64]) -> Option<i64> {
    let long: Vec<usize> = axes.iter().copied().filter(|&a| dims[a] != 1).collect();
    let joined = long.windows(2).all(|w| strides[w[0]] == strides[w[1]] * dims[w[1]] as i64);
    joined.then(|| long.last().map_or(0, |&a| strides[a]))
}

/// How the library reads an operand: `None` if several axes that are one to the
/// library do not lie in memory as one.
fn side(c: &Contract, i: usize, x: &Operand, ty: &Type) -> Option<Side> {
    let Operand::At { val, offset, strides } = x else { return None };
    let joint = |axes: &[usize]| joint_stride(axes, ty.dims(), strides);
    Some(Side {
        val: *val,
        offset: *offset,
        batch: c.batch[i].iter().map(|&a| strides[a]).collect(),
        free: joint(&free_axes(c, i, ty.rank()))?,
        over: joint(&c.over[i])?,
    })
}

/// The axes of an operand in the order in which the library can always read them.
fn library_order(c: &Contract, i: usize, rank: usize) -> Vec<usize> {
    [&c.batch[i][..], &free_axes(c, i, rank), &c.over[i]].concat()
}

impl Product {
    /// The product of two operands; `copy` makes a contiguous copy of an operand of
    /// that shape, where the library cannot read one as it is.
    pub fn new(
        c: &Contract,
        types: [&Type; 2],
        x: [Operand; 2],
        out: Val,
        mut copy: impl FnMut(&Type, Operand) -> Operand,
    ) -> Self {
        let len = |i: usize, axes: &[usize]| axes.iter().map(|&a| types[i].dims()[a]).product();
        let (m, n) =
            (len(0, &free_axes(c, 0, types[0].rank())), len(1, &free_axes(c, 1, types[1].rank())));
        let k: usize = len(0, &c.over[0]);
        let mut readable = |i: usize| {
            side(c, i, &x[i], types[i]).unwrap_or_else(|| {
                let order = library_order(c, i, types[i].rank());
                let ty = types[i]
                    .with_shape(order.iter().map(|&a| types[i].dims()[a]).collect::<Shape>());
                let x = match &x[i] {
                    Operand::Splat(c) => Operand::Splat(*c),
                    Operand::At { val, offset, strides } => Operand::At {
                        val: *val,
                        offset: *offset,
                        strides: order.iter().map(|&a| strides[a]).collect(),
                    },
                };
                let x = copy(&ty, x);
                let own = contiguous(&ty.shape);
                Side {
                    val: x.val().expect("a copy is a val"),
                    offset: 0,
                    batch: own[..c.batch[i].len()].to_vec(),
                    free: k as i64,
                    over: 1,
                }
            })
        };
        let sides = [readable(0), readable(1)];
        let batch = c.batch[0].iter().map(|&a| types[0].dims()[a]).collect();
        Self { dtype: types[0].dtype, batch, m, n, k, sides, out }
    }

    /// What it reads.
    pub fn reads(&self) -> [Val; 2] {
        [self.sides[0].val, self.sides[1].val]
    }

    pub fn emit(&self, scope: &mut Scope<'_>, planner: &mut Planner, steps: &mut Vec<Step>) {
        let mut at = |val: Val, offset: i64| BufferRef {
            buffer: scope.buffer(planner, val),
            offset: offset as usize,
        };
        let [x, y] = &self.sides;
        // The result is contiguous: batch axes, then m, then n.
        let mut step = (self.m * self.n) as isize;
        let mut batch: Vec<BatchAxis> = (0..self.batch.len())
            .rev()
            .map(|i| {
                let strides = [x.batch[i] as isize, y.batch[i] as isize, step];
                step *= self.batch[i] as isize;
                BatchAxis { extent: self.batch[i], strides }
            })
            .collect();
        batch.reverse();
        let a = Matrix { at: at(x.val, x.offset), row: x.free as isize, col: x.over as isize };
        let b = Matrix { at: at(y.val, y.offset), row: y.over as isize, col: y.free as isize };
        let c = Matrix { at: at(self.out, 0), row: self.n as isize, col: 1 };
        let Self { dtype, m, n, k, .. } = *self;
        steps.push(Step::Gemm(Gemm { dtype, m, n, k, batch, a, b, c }));
    }
}
