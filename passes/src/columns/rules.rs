//! Columns of the results of operations, from columns of their operands.

use backstitch_ir::ops::{Contract, Gather, Iota, PadAxis, SliceAxis};
use backstitch_ir::{Array, Graph, Monoid, Node, Op, Scalar, Shape, Type, Value};
use smallvec::smallvec;

use super::{Columns, Index, MOST_PRODUCTS, cut, indices};

impl Columns<'_> {
    /// Whether columns of the result are functions of columns of the operands.
    pub(super) fn takes(&self, n: Node) -> bool {
        let g = self.g;
        let args = g.args(n);
        let Some(row) = self.rows[g.results(n)[0]] else { return false };
        let narrow = |v: Value| self.rows[v].is_some();
        let before = |v: Value| -> usize {
            let row = self.rows[v].expect("it is narrow");
            g.ty(v).dims()[..row].iter().product()
        };
        match g.op(n) {
            Op::Map(_) | Op::StopGradient(_) | Op::Permute(_) => narrow(args[0]),
            Op::Broadcast(_) => true,
            Op::Iota(_) => true,
            Op::Reshape(_) => narrow(args[0]) && before(args[0]) == before(g.results(n)[0]),
            Op::Slice(s) => narrow(args[0]) && s.axes[row] == SliceAxis::all(self.n),
            Op::Pad(p) => narrow(args[0]) && p.axes[row] == PadAxis::NONE,
            Op::Concat(c) => c.axis != row && args.iter().all(|&a| narrow(a)),
            Op::Reduce(r) => {
                let of = self.rows[args[0]];
                of.is_some_and(|of| !r.axes.contains(&of)) && !g.ty(args[0]).is_empty()
            }
            Op::Gather(p) => {
                let of_index = p.axis..p.axis + g.ty(args[1]).rank();
                of_index.contains(&row) && narrow(args[1])
            }
            Op::Contract(c) => {
                let rows = [self.rows[args[0]], self.rows[args[1]]];
                let pairs = c.batch[0].iter().zip(&c.batch[1]);
                let together = pairs.into_iter().any(|(&a, &b)| rows == [Some(a), Some(b)]);
                together && self.products(n) <= MOST_PRODUCTS
            }
            _ => false,
        }
    }

    /// Products of columns that a product becomes.
    fn products(&self, n: Node) -> usize {
        let Op::Contract(c) = self.g.op(n) else { return 0 };
        let dims = self.g.ty(self.g.args(n)[0]).dims();
        let over: usize = c.over[0].iter().map(|&a| dims[a]).product();
        over * (self.g.ty(self.g.results(n)[0]).len() / self.n)
    }

    /// How many functions of columns a node becomes.
    pub(super) fn work(&self, n: Node) -> usize {
        let g = self.g;
        match g.op(n) {
            Op::Map(_) | Op::Gather(_) => g.ty(g.results(n)[0]).len() / self.n,
            Op::Reduce(_) => g.ty(g.args(n)[0]).len() / self.n,
            Op::Contract(_) => 2 * self.products(n),
            _ => 0,
        }
    }

    /// The columns of what a node makes.
    pub(super) fn of_node(&mut self, to: &mut Graph, n: Node) -> Vec<Value> {
        let g = self.g;
        let result = g.results(n)[0];
        let row = self.rows[result].expect("it is narrow");
        let dims = g.ty(result).dims();
        let all = indices(dims, Some(row));
        all.iter().map(|at| self.of_index(to, n, row, at)).collect()
    }

    /// The column at an index.
    fn of_index(&mut self, to: &mut Graph, n: Node, row: usize, at: &Index) -> Value {
        let g = self.g;
        let args = g.args(n);
        let adjoint = g.origin(n).adjoint;
        let ty = g.ty(g.results(n)[0]);
        let column = Type::new(ty.dtype, [self.n]);
        match g.op(n) {
            Op::Map(m) => {
                let args: Vec<Value> = args.iter().map(|&a| self.column(to, a, at)).collect();
                function(to, m.f, &args, adjoint)
            }
            Op::StopGradient(_) => {
                let x = self.column(to, args[0], at);
                to.push(g.op(n).clone(), &[x])
            }
            Op::Permute(p) => {
                let mut from: Index = smallvec![0; at.len()];
                p.perm.iter().zip(at).for_each(|(&axis, &i)| from[axis] = i);
                self.column(to, args[0], &from)
            }
            Op::Broadcast(b) => {
                let from = g.ty(args[0]).dims();
                let index = b.dims.iter().zip(from);
                let from: Index =
                    index.map(|(&axis, &extent)| if extent == 1 { 0 } else { at[axis] }).collect();
                match self.rows[args[0]] {
                    Some(_) => self.column(to, args[0], &from),
                    None => self.element(to, args[0], &from),
                }
            }
            Op::Iota(i) if i.axis == row => to.push(Iota { ty: column, axis: 0 }, &[]),
            Op::Iota(i) => to.splat(&column, at[i.axis] as f64),
            Op::Reshape(_) => {
                // As many columns before the rows, and in the same order.
                let number = super::number(ty.dims(), row, at);
                let from = g.ty(args[0]).dims();
                let index = index_of(from, self.rows[args[0]].expect("it is narrow"), number);
                self.column(to, args[0], &index)
            }
            Op::Slice(s) => {
                let moved = |(axis, &i): (usize, &usize)| match s.axes[axis] {
                    _ if axis == row => 0,
                    SliceAxis { start, step, .. } => start.wrapping_add_signed(i as isize * step),
                };
                let from: Index = at.iter().enumerate().map(moved).collect();
                self.column(to, args[0], &from)
            }
            Op::Pad(p) => {
                let dims = g.ty(args[0]).dims();
                let place = |(axis, &i): (usize, &usize)| {
                    let PadAxis { lo, inner, .. } = p.axes[axis];
                    let i = i.checked_sub(lo)?;
                    let inside = i % (inner + 1) == 0 && i / (inner + 1) < dims[axis];
                    inside.then_some(i / (inner + 1))
                };
                match at.iter().enumerate().map(place).collect::<Option<Index>>() {
                    Some(from) => self.column(to, args[0], &from),
                    None => {
                        let c = to.constant(Array::scalar(p.value));
                        to.broadcast(c, &column.shape, &[])
                    }
                }
            }
            Op::Concat(c) => {
                let mut from = at.clone();
                let part = args.iter().find(|&&a| {
                    let extent = g.ty(a).dims()[c.axis];
                    let here = from[c.axis] < extent;
                    from[c.axis] -= if here { 0 } else { extent };
                    here
                });
                self.column(to, *part.expect("an index of one of the parts"), &from)
            }
            Op::Reduce(r) => {
                let dims = g.ty(args[0]).dims();
                let of = self.rows[args[0]].expect("it is narrow");
                let left: Vec<usize> = (0..dims.len()).filter(|a| !r.axes.contains(a)).collect();
                let fixed = |a: usize| left.iter().position(|&l| l == a).map(|i| at[i]);
                let all = indices(dims, Some(of)).into_iter();
                let over =
                    all.filter(|i| (0..dims.len()).all(|a| fixed(a).is_none_or(|at| at == i[a])));
                let columns: Vec<Value> = over.map(|i| self.column(to, args[0], &i)).collect();
                let f = combination(r.monoid);
                folded(to, f, columns, adjoint)
            }
            Op::Gather(p) => {
                let rank = g.ty(args[1]).rank();
                let index = self.column(to, args[1], &at[p.axis..p.axis + rank]);
                let mut from: Index = at[..p.axis].into();
                from.push(0);
                from.extend(at[p.axis + rank..].iter().copied());
                let extent = g.ty(args[0]).dims()[p.axis];
                let x = self.array(to, args[0]);
                let x = cut(to, x, &from, Some(p.axis), [extent]);
                to.push(Gather { axis: 0 }, &[x, index])
            }
            Op::Contract(c) => self.product(to, c, [args[0], args[1]], at, adjoint),
            _ => unreachable!("only what is taken becomes columns"),
        }
    }

    /// A sum of products.
    fn product(
        &mut self,
        to: &mut Graph,
        c: &Contract,
        args: [Value; 2],
        at: &[usize],
        adjoint: bool,
    ) -> Value {
        let g = self.g;
        let ranks = args.map(|a| g.ty(a).rank());
        let free = [c.free(0, ranks[0]), c.free(1, ranks[1])];
        let (batch, rest) = at.split_at(c.batch[0].len());
        let (first, second) = rest.split_at(free[0].len());
        let extents: Vec<usize> = c.over[0].iter().map(|&a| g.ty(args[0]).dims()[a]).collect();
        let mut terms = Vec::new();
        for k in indices(&extents, None) {
            let mut side = |i: usize, own: &[usize]| {
                let mut from: Index = smallvec![0; ranks[i]];
                let places = c.batch[i].iter().zip(batch).chain(free[i].iter().zip(own));
                places.chain(c.over[i].iter().zip(&k)).for_each(|(&axis, &at)| from[axis] = at);
                self.column(to, args[i], &from)
            };
            let factors = [side(0, first), side(1, second)];
            terms.push(function(to, Scalar::Mul, &factors, adjoint));
        }
        if terms.is_empty() {
            let column = Type { shape: Shape::from([self.n]), ..g.ty(args[0]).clone() };
            return to.splat(&column, 0.0);
        }
        folded(to, Scalar::Add, terms, adjoint)
    }
}

/// The index of the column of that number.
fn index_of(dims: &[usize], row: usize, mut number: usize) -> Index {
    let mut at: Index = smallvec![0; dims.len()];
    for axis in (0..dims.len()).rev().filter(|&a| a != row) {
        at[axis] = number % dims[axis];
        number /= dims[axis];
    }
    at
}

/// One after the other.
fn folded(to: &mut Graph, f: Scalar, columns: Vec<Value>, adjoint: bool) -> Value {
    let next = |a, b| function(to, f, &[a, b], adjoint);
    columns.into_iter().reduce(next).expect("a reduction of something")
}

fn combination(monoid: Monoid) -> Scalar {
    match monoid {
        Monoid::Sum => Scalar::Add,
        Monoid::Prod => Scalar::Mul,
        Monoid::Max => Scalar::Max,
        Monoid::Min => Scalar::Min,
        Monoid::Any => Scalar::Or,
        Monoid::All => Scalar::And,
    }
}

/// A function of columns, simplified. In a derivative zero times anything is zero, and
/// nothing is added to zero.
fn function(to: &mut Graph, f: Scalar, args: &[Value], adjoint: bool) -> Value {
    let is = |x: f64| -> [bool; 2] {
        let at = |i: usize| args.get(i).and_then(|&a| to.as_splat(a));
        [at(0), at(1)].map(|c| c.is_some_and(|c| c.to_f64() == x))
    };
    if adjoint && to.ty(args[0]).is_float() {
        match (f, is(0.0), is(1.0)) {
            (Scalar::Mul | Scalar::MulZ, [true, _], _) | (Scalar::Div, [true, _], _) => {
                return args[0];
            }
            (Scalar::Mul | Scalar::MulZ, [_, true], _) => return args[1],
            (Scalar::Add, [true, _], _) | (Scalar::MulZ, _, [true, _]) => return args[1],
            (Scalar::Add | Scalar::Sub, [_, true], _) | (Scalar::MulZ, _, [_, true]) => {
                return args[0];
            }
            (Scalar::Sub, [true, _], _) => {
                let negated = to.map(Scalar::Neg, &args[1..]);
                return crate::simplify::normal(to, negated);
            }
            _ => {}
        }
    }
    let v = to.map(f, args);
    crate::simplify::normal(to, v)
}
