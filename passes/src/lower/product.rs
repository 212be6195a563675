//! Matrix products as library calls.
//!
//! The library reads and writes matrices of any strides. So a product of which only a
//! transpose is wanted is written as that, and factors are copied only where several axes
//! that are one to the library do not lie in memory as one.
//!
//! A sum of products that nothing else wants is one array, to which each product is added
//! where it is.

use std::ops::Range;

use backstitch_ir::ops::Contract;
use backstitch_ir::plan::{BatchAxis, BufferRef, Gemm, Matrix, Step};
use backstitch_ir::ty::{DType, Shape, Type};
use backstitch_ir::{Graph, Node, Op, Scalar, Value};
use rustc_hash::FxHashSet;

use super::Planner;
use super::operand::{Operand, Strides, Val, contiguous};
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

/// `x · y`.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    dtype: DType,
    batch: Vec<usize>,
    /// How many axes the rows are.
    row_axes: usize,
    m: usize,
    n: usize,
    k: usize,
    sides: [Side; 2],
}

/// What becomes of products: which values are sums of them, and their terms, products and
/// sums that are wanted for nothing else. Without fusion, nothing is known.
#[derive(Default)]
pub(crate) struct Uses {
    outputs: Option<FxHashSet<Value>>,
    sums: FxHashSet<Value>,
    terms: FxHashSet<Value>,
}

impl Uses {
    /// Of these nodes, which are in order.
    pub fn of(g: &Graph, nodes: impl Iterator<Item = Node>) -> Self {
        let outputs: FxHashSet<Value> = g.outputs().iter().copied().collect();
        let mut found = Self::default();
        for n in nodes {
            if !matches!(g.op(n), Op::Map(map) if map.f == Scalar::Add) {
                continue;
            }
            let is_term = |&v: &Value| {
                let is_sum = matches!(g.op_of(v), Op::Contract(_)) || found.sums.contains(&v);
                is_sum && !outputs.contains(&v) && g.users(g.source(v).0).take(2).count() == 1
            };
            let args = g.args(n);
            if args.iter().all(is_term) {
                found.terms.extend(args);
                found.sums.insert(g.results(n)[0]);
            }
        }
        Self { outputs: Some(outputs), ..found }
    }

    /// Whether all terms of a value are products.
    pub fn is_sum(&self, v: Value) -> bool {
        self.sums.contains(&v)
    }

    /// Whether a value is nothing but a term of a sum.
    pub fn is_term(&self, v: Value) -> bool {
        self.terms.contains(&v)
    }

    /// The order of axes in which all that use a value want it, if that is another than its
    /// own.
    pub fn wanted_order<'g>(&self, g: &'g Graph, v: Value) -> Option<&'g [usize]> {
        let outputs = self.outputs.as_ref()?;
        let mut users = g.users(g.source(v).0).map(|user| match g.op(user) {
            Op::Permute(p) => Some(&p.perm[..]),
            _ => None,
        });
        let first = users.next()??;
        (users.all(|other| other == Some(first)) && !outputs.contains(&v)).then_some(first)
    }
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
                    Operand::Joined(_) => unreachable!("only maps read a piece at a time"),
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
        let row_axes = free_axes(c, 0, types[0].rank()).len();
        Self { dtype: types[0].dtype, batch, row_axes, m, n, k, sides }
    }

    /// What it reads.
    pub fn reads(&self) -> [Val; 2] {
        [self.sides[0].val, self.sides[1].val]
    }

    /// How the library can write its result over an array of this shape: strides along the
    /// batch, between rows, and between columns. `None` if axes that are one to the library
    /// do not lie in memory as one.
    fn target(&self, dims: &[usize], strides: &[i64]) -> Option<(Vec<i64>, i64, i64)> {
        let (batch, columns) = (self.batch.len(), self.batch.len() + self.row_axes);
        let joint = |axes: Range<usize>| joint_stride(&Vec::from_iter(axes), dims, strides);
        let (row, col) = (joint(batch..columns)?, joint(columns..dims.len())?);
        Some((strides[..batch].to_vec(), row, col))
    }

    /// Whether the library can write its result like this.
    pub fn fits(&self, dims: &[usize], strides: &[i64]) -> bool {
        self.target(dims, strides).is_some()
    }

    /// The step `out = x · y`, or, with `add`, `out += x · y`.
    pub fn emit(
        &self,
        scope: &mut Scope<'_>,
        planner: &mut Planner,
        out: &Written,
        add: bool,
    ) -> Step {
        let mut at = |val: Val, offset: i64| BufferRef {
            buffer: scope.buffer(planner, val),
            offset: offset as usize,
        };
        let [x, y] = &self.sides;
        let (steps, row, col) = self.target(out.shape.dims(), &out.strides).expect("it fits");
        let batch = (0..self.batch.len()).map(|i| BatchAxis {
            extent: self.batch[i],
            strides: [x.batch[i], y.batch[i], steps[i]].map(|s| s as isize),
        });
        let batch = batch.collect();
        let a = Matrix { at: at(x.val, x.offset), row: x.free as isize, col: x.over as isize };
        let b = Matrix { at: at(y.val, y.offset), row: y.over as isize, col: y.free as isize };
        let c = Matrix { at: at(out.val, 0), row: row as isize, col: col as isize };
        let Self { dtype, m, n, k, .. } = *self;
        Step::Gemm(Gemm { dtype, m, n, k, add, batch, a, b, c })
    }
}

/// Where a result goes: a val, and the strides of the result in it.
pub(crate) struct Written {
    pub val: Val,
    pub shape: Shape,
    pub strides: Strides,
}
