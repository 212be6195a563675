//! Matrix products as library calls.

use backstitch_ir::ops::Contract;
use backstitch_ir::plan::{BatchAxis, BufferRef, Gemm, Matrix, Step};
use backstitch_ir::ty::{DType, Type};

use super::Planner;
use super::operand::{Operand, Val};
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

impl Product {
    /// Whether the library can read this operand as it is.
    pub fn takes(c: &Contract, i: usize, x: &Operand, ty: &Type) -> bool {
        let Operand::At { strides, .. } = x else { return false };
        let joint = |axes: &[usize]| joint_stride(axes, ty.dims(), strides).is_some();
        joint(&free_axes(c, i, ty.rank())) && joint(&c.over[i])
    }

    /// The product of two operands that the library can read.
    pub fn new(c: &Contract, types: [&Type; 2], x: &[Operand; 2], out: Val) -> Self {
        let len = |i: usize, axes: &[usize]| axes.iter().map(|&a| types[i].dims()[a]).product();
        let side = |i: usize| {
            let Operand::At { val, offset, strides } = &x[i] else {
                unreachable!("constants are copied")
            };
            let joint = |axes: &[usize]| {
                joint_stride(axes, types[i].dims(), strides).expect("the library can read it")
            };
            Side {
                val: *val,
                offset: *offset,
                batch: c.batch[i].iter().map(|&a| strides[a]).collect(),
                free: joint(&free_axes(c, i, types[i].rank())),
                over: joint(&c.over[i]),
            }
        };
        Self {
            dtype: types[0].dtype,
            batch: c.batch[0].iter().map(|&a| types[0].dims()[a]).collect(),
            m: len(0, &free_axes(c, 0, types[0].rank())),
            n: len(1, &free_axes(c, 1, types[1].rank())),
            k: len(0, &c.over[0]),
            sides: [side(0), side(1)],
            out,
        }
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
