//! Random well-typed graphs and inputs.

use std::sync::Arc;

use backstitch_ir::ops::{
    Argsort, Axes, Broadcast, Cholesky, Concat, Cond, Contract, Cumulate, Det, Gather, Iota, Loop,
    LoopLimit, Lu, LuSolve, Pad, PadAxis, Permute, Recurrence, Reduce, ScatterAdd, Slice,
    SliceAxis, StopGradient, TriangularSolve, Trip, Unroll, Window,
};
use backstitch_ir::routine::Triangle;
use backstitch_ir::{Array, Const, DType, Graph, Monoid, Op, Scalar, Shape, Type, Value};

/// A small, fast, reproducible generator (SplitMix64, Steele et al. 2014).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Between two numbers.
    pub fn float(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * ((self.next() >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// An array of this type with elements between two numbers.
    pub fn array(&mut self, ty: &Type, lo: f64, hi: f64) -> Array {
        let data: Vec<f64> = (0..ty.len()).map(|_| self.float(lo, hi)).collect();
        filled(ty, &data)
    }
}

/// An array of this type with these elements, rounded to its element type.
pub fn filled(ty: &Type, data: &[f64]) -> Array {
    backstitch_ir::with_dtype!(ty.dtype, T => {
        let data: Vec<T> = data
            .iter()
            .map(|&x| <T as backstitch_ir::Element>::from_const(Const::of_float(ty.dtype, x)))
            .collect();
        Array::from_vec(&ty.shape, data).expect("as many elements as the shape has")
    })
}

const EXTENTS: [usize; 9] = [1, 2, 3, 4, 5, 8, 1, 3, 17];

struct Gen<'a> {
    rng: &'a mut Rng,
    g: Graph,
    dtype: DType,
    /// Float values to build on.
    pool: Vec<Value>,
    /// Above the number of iterations of loops.
    trips: usize,
}

/// Functions that keep numbers small and smooth.
const UNARY: &[Scalar] = &[
    Scalar::Neg,
    Scalar::Square,
    Scalar::Sin,
    Scalar::Cos,
    Scalar::Tanh,
    Scalar::Sigmoid,
    Scalar::Abs,
    Scalar::Exp,
    Scalar::Expm1,
];
const BINARY: &[Scalar] =
    &[Scalar::Add, Scalar::Sub, Scalar::Mul, Scalar::Max, Scalar::Min, Scalar::Add, Scalar::Mul];

/// What loops that count may ask for.
const UNROLL: [Unroll; 5] =
    [Unroll::Auto, Unroll::Never, Unroll::Fully, Unroll::By(2), Unroll::By(3)];

impl Gen<'_> {
    fn any(&mut self) -> Value {
        // Recent values more often: deep graphs rather than broad ones.
        let n = self.pool.len();
        let back = self.rng.below(n).min(self.rng.below(n));
        self.pool[n - 1 - back]
    }

    fn shape(&self, v: Value) -> Shape {
        self.g.ty(v).shape.clone()
    }

    /// Squashed, so that chains of products do not overflow.
    fn tame(&mut self, v: Value) -> Value {
        self.g.map(Scalar::Tanh, &[v])
    }

    /// A value spread to a shape of which its own is a part, if it is.
    fn spread_to(&mut self, v: Value, shape: &Shape) -> Option<Value> {
        let own = self.shape(v);
        if own == *shape {
            return Some(v);
        }
        let lead = shape.rank().checked_sub(own.rank())?;
        let suffix = own.dims().iter().zip(&shape.dims()[lead..]).all(|(&a, &b)| a == b || a == 1);
        let prefix = own.dims().iter().zip(shape.dims()).all(|(&a, &b)| a == b || a == 1);
        let dims: Axes = if suffix && (!prefix || self.rng.once_in(2)) {
            (lead..shape.rank()).collect()
        } else if prefix {
            (0..own.rank()).collect()
        } else {
            return None;
        };
        Some(self.g.push(Broadcast { shape: shape.clone(), dims }, &[v]))
    }

    fn step(&mut self, control: bool) -> Option<Value> {
        let x = self.any();
        let shape = self.shape(x);
        let rank = shape.rank();
        let axis = |rng: &mut Rng| rng.below(rank.max(1));
        match self.rng.below(if control { 23 } else { 21 }) {
            0..=2 => {
                let f = self.rng.pick(UNARY);
                let x = if matches!(f, Scalar::Exp | Scalar::Expm1 | Scalar::Square) {
                    self.tame(x)
                } else {
                    x
                };
                Some(self.g.map(f, &[x]))
            }
            3..=6 => {
                let y = self.any();
                let shape = if self.shape(y).rank() > rank { self.shape(y) } else { shape };
                let (x, y) = (self.spread_to(x, &shape)?, self.spread_to(y, &shape)?);
                let f = self.rng.pick(BINARY);
                let (x, y) = if f == Scalar::Mul { (self.tame(x), y) } else { (x, y) };
                Some(self.g.map(f, &[x, y]))
            }
            7 => {
                let y = self.any();
                let y = self.spread_to(y, &shape)?;
                let zero = self.g.like(x, 0.1);
                let c = self.g.map(self.rng.pick(&[Scalar::Lt, Scalar::Ge]), &[x, zero]);
                Some(self.g.map(Scalar::Select, &[c, x, y]))
            }
            8 | 9 if rank > 0 => {
                let axes: Axes = (0..rank).filter(|_| self.rng.once_in(2)).collect();
                let axes =
                    if axes.is_empty() { [axis(self.rng)].into_iter().collect() } else { axes };
                let monoid = self.rng.pick(&[Monoid::Sum, Monoid::Sum, Monoid::Max, Monoid::Min]);
                let r = self.g.push(Reduce { monoid, axes: axes.clone() }, &[x]);
                let r = self.tame(r);
                if self.rng.once_in(2) {
                    // Back to where it came from, as soft-max does.
                    let dims: Axes = (0..rank).filter(|a| !axes.contains(a)).collect();
                    let back = self.g.broadcast(r, &shape, &dims);
                    return Some(self.g.map(Scalar::Sub, &[x, back]));
                }
                Some(r)
            }
            10 if rank > 1 => {
                let mut perm: Axes = (0..rank).collect();
                for i in (1..rank).rev() {
                    perm.swap(i, self.rng.below(i + 1));
                }
                Some(self.g.push(Permute { perm }, &[x]))
            }
            11 => {
                let flat = self.g.reshape(x, [shape.len()]);
                if self.rng.once_in(2) && shape.len().is_multiple_of(2) && !shape.is_empty() {
                    return Some(self.g.reshape(flat, [2, shape.len() / 2]));
                }
                Some(flat)
            }
            12 if rank > 0 && !shape.is_empty() => {
                let axes = shape
                    .dims()
                    .iter()
                    .map(|&d| {
                        let len = 1 + self.rng.below(d);
                        let step = if len * 2 - 1 <= d && self.rng.once_in(2) { 2 } else { 1 };
                        let reach = (len - 1) * step;
                        let start = self.rng.below(d - reach);
                        if self.rng.once_in(3) {
                            SliceAxis { start: start + reach, len, step: -(step as isize) }
                        } else {
                            SliceAxis { start, len, step: step as isize }
                        }
                    })
                    .collect();
                Some(self.g.push(Slice { axes }, &[x]))
            }
            13 if rank > 0 && shape.len() < 500 => {
                let axes = (0..rank)
                    .map(|_| PadAxis {
                        lo: self.rng.below(2),
                        hi: self.rng.below(3),
                        inner: self.rng.below(2),
                    })
                    .collect();
                let value = Const::of_float(self.dtype, 0.5);
                Some(self.g.push(Pad { axes, value }, &[x]))
            }
            14 if rank > 0 && shape.len() < 500 => {
                let axis = axis(self.rng);
                Some(self.g.push(Concat { axis }, &[x, x]))
            }
            15 => {
                let y = self.any();
                let (a, b) = (self.shape(x), self.shape(y));
                let pair = (0..a.rank())
                    .flat_map(|i| (0..b.rank()).map(move |j| (i, j)))
                    .find(|&(i, j)| a.dims()[i] == b.dims()[j])?;
                if a.len().saturating_mul(b.len()) > 100_000 {
                    return None;
                }
                let over = [[pair.0].into_iter().collect(), [pair.1].into_iter().collect()];
                let y = self.tame(y);
                let op = Contract { batch: Default::default(), over };
                let r = self.g.push(op, &[x, y]);
                Some(self.tame(r))
            }
            16 if rank > 0 && !shape.is_empty() => {
                let axis = axis(self.rng);
                let d = shape.dims()[axis];
                let n = self.rng.below(4) + 1;
                let index: Vec<i64> = (0..n).map(|_| self.rng.below(d) as i64).collect();
                let mut index = self.g.constant(ndarray::Array1::from(index));
                if self.rng.once_in(2) {
                    let (take, descending) = (self.rng.below(n) + 1, self.rng.once_in(2));
                    index = self.g.push(Argsort { descending, take }, &[index]);
                }
                let taken = self.g.push(Gather { axis }, &[x, index]);
                if self.rng.once_in(2) {
                    return Some(self.g.push(ScatterAdd { axis }, &[x, index, taken]));
                }
                Some(taken)
            }
            17 if rank > 0 => {
                let ty = self.g.ty(x).clone();
                let i = self.g.push(Iota { ty, axis: axis(self.rng) }, &[]);
                let i = self.tame(i);
                let r = self.g.map(Scalar::Add, &[x, i]);
                Some(if self.rng.once_in(3) { self.g.push(StopGradient, &[r]) } else { r })
            }
            18 if rank > 0 => {
                let by = self.rng.pick(&Recurrence::ALL);
                let op = Cumulate { by, axis: axis(self.rng), reverse: self.rng.once_in(2) };
                let tame = self.tame(x);
                Some(match by {
                    Recurrence::Linear | Recurrence::LinearZ => self.g.push(op, &[tame, x]),
                    Recurrence::Prod => self.g.push(op, &[tame]),
                    _ => self.g.push(op, &[x]),
                })
            }
            19 if rank > 0 && shape.len() < 500 && !shape.is_empty() => {
                let axis = axis(self.rng);
                let d = shape.dims()[axis];
                let size = 1 + self.rng.below(d.min(3));
                let dilation = if (size - 1) * 2 < d { 1 + self.rng.below(2) } else { 1 };
                let stride = 1 + self.rng.below(3);
                Some(self.g.push(Window { axis, size, stride, dilation }, &[x]))
            }
            20 => self.matrices(x),
            21 => self.cond(x),
            22 => self.repeat(x),
            _ => None,
        }
    }

    /// Linear algebra with a positive definite matrix made of `x`.
    fn matrices(&mut self, x: Value) -> Option<Value> {
        let n = *self.shape(x).dims().last()?;
        let len = self.shape(x).len();
        if n == 0 || n > 5 || len > 500 {
            return None;
        }
        let x = self.tame(x);
        let rows = self.g.reshape(x, [len / n, n]);
        let over = [[0].into_iter().collect(), [0].into_iter().collect()];
        let a = self.g.push(Contract { batch: Default::default(), over }, &[rows, rows]);
        let a = self.tame(a);
        let shift = ndarray::Array2::<f64>::eye(n) * (n as f64 + 1.0);
        let shift = self.g.constant(shift);
        let shift = self.g.cast(shift, self.dtype);
        let a = self.g.map(Scalar::Add, &[a, shift]);
        let right = self.g.push(Permute { perm: [1, 0].into_iter().collect() }, &[rows]);
        let r = match self.rng.below(4) {
            0 => self.g.push(Cholesky, &[a]),
            1 => {
                let [lower, transpose, unit_diagonal] = [(); 3].map(|()| self.rng.once_in(2));
                let triangle = Triangle { lower, transpose, unit_diagonal };
                let a = if unit_diagonal { self.tame(a) } else { a };
                self.g.push(TriangularSolve { triangle }, &[a, right])
            }
            2 => {
                let (factor, transpose) = (self.g.push(Lu, &[a]), self.rng.once_in(2));
                self.g.push(LuSolve { transpose }, &[a, factor, right])
            }
            _ => {
                let (factor, log) = (self.g.push(Lu, &[a]), self.rng.once_in(2));
                self.g.push(Det { log }, &[a, factor])
            }
        };
        Some(self.tame(r))
    }

    fn body(&mut self, x: Value, extra: &[Value], nodes: usize) -> Graph {
        let mut g = Graph::new("body");
        let x = g.input(self.g.ty(x).clone(), None);
        let extra: Vec<Value> =
            extra.iter().map(|&v| g.input(self.g.ty(v).clone(), None)).collect();
        let mut inner =
            Gen { rng: self.rng, g, dtype: self.dtype, pool: vec![x], trips: self.trips };
        inner.pool.extend(extra);
        inner.grow(nodes, inner.rng.0.is_multiple_of(3));
        // What comes out has the type of what went in.
        let shape = inner.shape(x);
        let outs = inner.pool.clone();
        let out = outs.iter().rev().find_map(|&v| inner.spread_to(v, &shape)).unwrap_or(x);
        let out = inner.tame(out);
        let mut g = inner.g;
        g.set_outputs([out]);
        g
    }

    fn cond(&mut self, x: Value) -> Option<Value> {
        let y = self.any();
        let (then, els) = (self.body(x, &[y], 4), self.body(x, &[y], 3));
        let pred = self.scalar_predicate(x);
        let op = Cond { then: Arc::new(then), els: Arc::new(els) };
        Some(self.g.push(op, &[pred, x, y]))
    }

    fn scalar_predicate(&mut self, x: Value) -> Value {
        let axes: Axes = (0..self.shape(x).rank()).collect();
        let s = self.g.reduce(Monoid::Sum, x, &axes);
        let zero = self.g.like(s, 0.0);
        self.g.map(Scalar::Gt, &[s, zero])
    }

    /// `for _ in 0..n { x = body(x, y) }`, as a counted loop or as a while loop.
    fn repeat(&mut self, x: Value) -> Option<Value> {
        let y = self.any();
        let n = self.rng.below(self.trips) as i64;
        let body = self.body(x, &[y], 3);
        if self.rng.once_in(2) {
            let count = self.g.constant(n);
            let (trip, body, unroll) = (Trip::Count, Arc::new(body), self.rng.pick(&UNROLL));
            let op = Loop { trip, body, carries: 1, consts: 1, pops: 0, unroll };
            return Some(self.g.push(op, &[count, x, y]));
        }
        let mut b = Graph::new("while");
        let types = [self.g.ty(x).clone(), Type::scalar(DType::I64), self.g.ty(y).clone()];
        let inputs: Vec<Value> = types.iter().map(|t| b.input(t.clone(), None)).collect();
        let next = backstitch_passes::inline(&mut b, &body, &[inputs[0], inputs[2]]);
        let one = b.constant(1i64);
        let i = b.map(Scalar::Add, &[inputs[1], one]);
        b.set_outputs([next[0], i]);
        let mut c = Graph::new("until");
        let inputs: Vec<Value> = types.iter().map(|t| c.input(t.clone(), None)).collect();
        let most = c.constant(n);
        let go = c.map(Scalar::Lt, &[inputs[1], most]);
        c.set_outputs([go]);
        let trip = Trip::While(Arc::new(c));
        let (body, unroll) = (Arc::new(b), Unroll::Auto);
        let op = Loop { trip, body, carries: 2, consts: 1, pops: 0, unroll };
        let zero = self.g.constant(0i64);
        let made = self.g.add(op, &[x, zero, y]).expect("a loop is well typed");
        // It does not run into its limit.
        let limit = self.g.constant(n + 1);
        let stopped = self.g.map(Scalar::Ge, &[made[1], limit]);
        let stopped = self.g.push(LoopLimit { limit: n as u64 + 1 }, &[stopped]);
        let nothing = self.g.like(made[0], f64::NAN);
        let stopped = self.g.broadcast(stopped, &self.shape(made[0]), &[]);
        Some(self.g.map(Scalar::Select, &[stopped, nothing, made[0]]))
    }

    fn grow(&mut self, nodes: usize, control: bool) {
        for _ in 0..nodes {
            if let Some(v) = self.step(control)
                && self.g.ty(v).len() <= 5000
            {
                self.pool.push(v);
            }
        }
    }
}

/// A random graph over floats of one type, with one to three outputs.
pub fn graph(rng: &mut Rng, dtype: DType, nodes: usize, control: bool) -> Graph {
    graph_of_loops(rng, dtype, nodes, control, 6)
}

/// One whose loops make fewer than `trips` iterations.
pub fn graph_of_loops(
    rng: &mut Rng,
    dtype: DType,
    nodes: usize,
    control: bool,
    trips: usize,
) -> Graph {
    let mut g = Graph::new("random");
    let mut pool = Vec::new();
    for i in 0..1 + rng.below(3) {
        let rank = rng.below(4);
        let shape: Shape = (0..rank).map(|_| rng.pick(&EXTENTS)).collect();
        let shape = if rng.once_in(40) { Shape::from([3, 0]) } else { shape };
        pool.push(g.input(Type::new(dtype, shape), Some(&format!("x{i}"))));
    }
    let mut made = Gen { rng, g, dtype, pool, trips };
    made.grow(nodes, control);
    let n = 1 + made.rng.below(3);
    let outs: Vec<Value> = (0..n).map(|_| made.any()).collect();
    made.g.set_outputs(outs);
    made.g
}

/// The graph that also gives the gradients of the sum of its outputs (weighted,
/// so that symmetric mistakes show) with respect to its inputs.
pub fn with_gradients(g: &Graph) -> Graph {
    let mut g = g.clone();
    let outs = g.outputs().to_vec();
    let targets: Vec<(Value, Option<Value>)> = outs
        .iter()
        .map(|&v| {
            let ty = g.ty(v).clone();
            let w = if ty.rank() == 0 {
                g.like(v, 0.7)
            } else {
                let i = g.push(Iota { ty, axis: 0 }, &[]);
                g.map(Scalar::Cos, &[i])
            };
            (v, Some(w))
        })
        .collect();
    let inputs = g.inputs().to_vec();
    let grads = backstitch_passes::reverse(&mut g, &targets, &inputs);
    let grads: Vec<Value> = grads
        .into_iter()
        .zip(&inputs)
        .map(|(ct, &x)| ct.unwrap_or_else(|| g.like(x, 0.0)))
        .collect();
    g.set_outputs(outs.into_iter().chain(grads));
    g
}

/// Which operations a graph uses, bodies included.
pub fn operations(g: &Graph, seen: &mut std::collections::BTreeMap<&'static str, usize>) {
    for n in g.nodes() {
        *seen.entry(g.op(n).name()).or_default() += 1;
        match g.op(n) {
            Op::Cond(c) => {
                operations(&c.then, seen);
                operations(&c.els, seen);
            }
            Op::Loop(l) => operations(&l.body, seen),
            _ => {}
        }
    }
}
