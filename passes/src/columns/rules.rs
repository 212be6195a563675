//! Columns of the results of operations, from columns of their operands.

use backstitch_ir::ops::{Contract, Gather, Iota, PadAxis, Reduce, SliceAxis};
use backstitch_ir::{Array, Graph, Monoid, Node, Op, Scalar, Type, Value};
use smallvec::smallvec;

use super::axes::kept_axes;
use super::choice::MOST_SMALL;
use super::{Columns, Index, Rows, cut, indices, present};

/// Products of columns that a product of a matrix for each row becomes at most.
const MOST_PRODUCTS: usize = 256;

impl Columns<'_> {
    /// Whether columns of the result are functions of columns of the operands.
    pub(super) fn takes(&self, n: Node) -> bool {
        let g = self.g;
        let args = g.args(n);
        let result = g.results(n)[0];
        let Some(rows) = &self.rows[result] else { return false };
        let narrow = |v: Value| self.rows[v].is_some();
        let free = |axis: usize| !rows.contains(&Some(axis));
        // An axis along which something is cut or put together is none of rows before either.
        let alike = |v: Value| self.rows[v].as_ref() == Some(rows);
        if matches!(g.op(n), Op::Reduce(_) | Op::Contract(_)) {
            let some = args.iter().any(|&a| self.has_rows(a));
            return some
                && args.iter().all(|&a| narrow(a))
                && match g.op(n) {
                    Op::Reduce(_) => !g.ty(args[0]).is_empty(),
                    _ => self.takes_product(n),
                };
        }
        if !self.has_rows(result) {
            return false;
        }
        match g.op(n) {
            Op::Map(_) | Op::StopGradient(_) => args.iter().all(|&a| alike(a)),
            Op::Permute(_) | Op::Broadcast(_) => narrow(args[0]),
            Op::Iota(_) => true,
            Op::Reshape(_) => {
                // Each of the rows stands where it stood.
                let kept = kept_axes(g.ty(args[0]).dims(), g.ty(result).dims());
                let stays = |(&a, &i): (&Option<usize>, &Option<usize>)| match (a, i) {
                    (Some(a), Some(i)) => kept.contains(&(a, i)),
                    (None, None) => true,
                    _ => false,
                };
                self.rows[args[0]].as_ref().is_some_and(|of| of.iter().zip(rows).all(stays))
            }
            Op::Slice(s) => {
                let dims = g.ty(args[0]).dims();
                let whole = |&a: &usize| s.axes[a] == SliceAxis::all(dims[a]);
                alike(args[0]) && rows.iter().flatten().all(whole)
            }
            Op::Pad(p) => {
                alike(args[0]) && rows.iter().flatten().all(|&a| p.axes[a] == PadAxis::NONE)
            }
            Op::Concat(c) => free(c.axis) && args.iter().all(|&a| alike(a)),
            Op::Gather(p) => {
                let of_index = p.axis..p.axis + g.ty(args[1]).rank();
                let outside = |a: &usize| !of_index.contains(a);
                match self.has_rows(args[1]) {
                    true => !rows.iter().flatten().any(outside),
                    false => {
                        let known = self.known[args[1]].is_some() && narrow(args[0]);
                        known && !self.rows(args[0]).contains(&Some(p.axis))
                    }
                }
            }
            Op::ScatterAdd(p) => {
                let known = self.known[args[1]].as_ref().is_some_and(|i| !i.ty().is_empty());
                let fixed = known && !self.has_rows(args[1]) && free(p.axis);
                fixed && alike(args[0]) && narrow(args[2])
            }
            _ => false,
        }
    }

    /// Whether a product is one of matrices that differ from row to row, or of a small one.
    fn takes_product(&self, n: Node) -> bool {
        let (g, products) = (self.g, self.products(n));
        let Op::Contract(c) = g.op(n) else { return false };
        let args = g.args(n);
        let is_row = |side: usize, axis: usize| self.rows(args[side]).contains(&Some(axis));
        let mut pairs = c.batch[0].iter().zip(&c.batch[1]);
        match pairs.any(|(&a, &b)| is_row(0, a) && is_row(1, b)) {
            true => products <= MOST_PRODUCTS,
            false => products * g.ty(args[0]).dtype.size() <= MOST_SMALL,
        }
    }

    /// Products of columns that a product becomes.
    pub(super) fn products(&self, n: Node) -> usize {
        let Op::Contract(c) = self.g.op(n) else { return 0 };
        let x = self.g.args(n)[0];
        let over = c.over[0].iter().filter(|&&a| !self.rows(x).contains(&Some(a)));
        let terms: usize = over.map(|&a| self.g.ty(x).dims()[a]).product();
        terms * self.count(self.g.results(n)[0])
    }

    /// The columns of what a node makes.
    pub(super) fn of_node(&mut self, to: &mut Graph, n: Node) -> Vec<Value> {
        let result = self.g.results(n)[0];
        let rows = self.rows(result).clone();
        let all = indices(self.g.ty(result).dims(), &rows);
        match self.g.op(n) {
            Op::ScatterAdd(p) => self.scattered(to, n, p.axis, &all),
            Op::Reduce(r) => self.reduce(to, n, r, &rows),
            _ => all.iter().map(|at| self.of_index(to, n, &rows, at)).collect(),
        }
    }

    /// The columns of a reduction: over columns, and then over the rows of what is left.
    fn reduce(&mut self, to: &mut Graph, n: Node, r: &Reduce, rows: &Rows) -> Vec<Value> {
        let g = self.g;
        let (x, result) = (g.args(n)[0], g.results(n)[0]);
        let (dims, adjoint) = (g.ty(x).dims(), g.origin(n).adjoint);
        let of = self.rows(x).clone();
        let mut columns: Vec<Vec<Value>> = vec![vec![]; self.count(result)];
        for at in indices(dims, &of) {
            let left = at.iter().enumerate().filter(|(a, _)| !r.axes.contains(a));
            let left: Index = left.map(|(_, &i)| i).collect();
            let column = self.column(to, x, &at);
            columns[super::number(g.ty(result).dims(), rows, &left)].push(column);
        }
        let gone = |class: usize| of[class].is_some_and(|a| r.axes.contains(&a));
        let f = combination(r.monoid);
        let mut one = |columns| {
            let x = folded(to, f, columns, adjoint);
            reduced(to, r.monoid, x, &of, gone)
        };
        columns.into_iter().map(&mut one).collect()
    }

    /// The columns of what is added at known places.
    fn scattered(&mut self, to: &mut Graph, n: Node, axis: usize, all: &[Index]) -> Vec<Value> {
        let g = self.g;
        let args = g.args(n);
        let adjoint = g.origin(n).adjoint;
        let extent = g.ty(args[0]).dims()[axis];
        let mut added: Vec<Vec<Index>> = vec![vec![]; extent];
        for i in indices(g.ty(args[1]).dims(), &[]) {
            added[self.place(args[1], &i, extent)].push(i);
        }
        let mut column = |at: &Index| {
            let x = self.column(to, args[0], at);
            added[at[axis]].iter().fold(x, |x, i| {
                let mut from: Index = at[..axis].into();
                from.extend(i.iter().chain(&at[axis + 1..]).copied());
                let u = self.column(to, args[2], &from);
                function(to, Scalar::Add, &[x, u], adjoint)
            })
        };
        all.iter().map(&mut column).collect()
    }

    /// The column at an index.
    fn of_index(&mut self, to: &mut Graph, n: Node, rows: &Rows, at: &Index) -> Value {
        let g = self.g;
        let args = g.args(n);
        let adjoint = g.origin(n).adjoint;
        let ty = g.ty(g.results(n)[0]);
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
                let have = self.rows(args[0]).clone();
                let index = b.dims.iter().zip(g.ty(args[0]).dims());
                let from: Index =
                    index.map(|(&axis, &extent)| if extent == 1 { 0 } else { at[axis] }).collect();
                let x = self.column(to, args[0], &from);
                self.spread(to, x, &have, rows)
            }
            Op::Iota(i) => {
                let column = Type::new(ty.dtype, self.shape(rows));
                match rows.iter().flatten().position(|&a| a == i.axis) {
                    Some(axis) => to.push(Iota { ty: column, axis }, &[]),
                    None => to.splat(&column, at[i.axis] as f64),
                }
            }
            Op::Reshape(_) => {
                // As many columns, and in the same order.
                let number = super::number(ty.dims(), rows, at);
                let index = index_of(g.ty(args[0]).dims(), self.rows(args[0]), number);
                self.column(to, args[0], &index)
            }
            Op::Slice(s) => {
                let moved = |(axis, &i): (usize, &usize)| match s.axes[axis] {
                    _ if rows.contains(&Some(axis)) => 0,
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
                        to.broadcast(c, &self.shape(rows), &[])
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
            Op::Gather(p) if !self.has_rows(args[1]) => {
                let rank = g.ty(args[1]).rank();
                let from = &at[p.axis..p.axis + rank];
                let picked = self.place(args[1], from, g.ty(args[0]).dims()[p.axis]);
                let mut from: Index = at[..p.axis].into();
                from.push(picked);
                from.extend(at[p.axis + rank..].iter().copied());
                self.column(to, args[0], &from)
            }
            Op::Gather(p) => {
                let rank = g.ty(args[1]).rank();
                let index = self.column(to, args[1], &at[p.axis..p.axis + rank]);
                let mut from: Index = at[..p.axis].into();
                from.push(0);
                from.extend(at[p.axis + rank..].iter().copied());
                let x = self.array(to, args[0]);
                let x = cut(to, x, &from, &smallvec![Some(p.axis)]);
                to.push(Gather { axis: 0 }, &[x, index])
            }
            Op::Contract(c) => self.product(to, c, [args[0], args[1]], at, adjoint),
            _ => unreachable!("only what is taken becomes columns"),
        }
    }

    /// What a known index says, clamped as indices are.
    fn place(&self, index: Value, at: &[usize], extent: usize) -> usize {
        let i = at.iter().zip(self.g.ty(index).dims()).fold(0, |i, (&a, &d)| i * d + a);
        let array = self.known[index].as_ref().expect("a known index");
        let i = array.get(i).expect("an index inside").to_f64();
        // The conversion clamps as well.
        (i as usize).min(extent - 1)
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
        let rows = args.map(|a| self.rows(a).clone());
        let both: Rows = rows[0].iter().zip(&rows[1]).map(|(x, y)| x.or(*y)).collect();
        let gone = |a: &Option<usize>| a.is_some_and(|a| c.over[0].contains(&a));
        let summed: Vec<bool> = rows[0].iter().map(gone).collect();
        let column =
            |&a: &usize| if rows[0].contains(&Some(a)) { 1 } else { g.ty(args[0]).dims()[a] };
        let extents: Vec<usize> = c.over[0].iter().map(column).collect();
        let mut terms = Vec::new();
        for k in indices(&extents, &[]) {
            let mut side = |i: usize, own: &[usize]| {
                let mut from: Index = smallvec![0; ranks[i]];
                let places = c.batch[i].iter().zip(batch).chain(free[i].iter().zip(own));
                places.chain(c.over[i].iter().zip(&k)).for_each(|(&axis, &at)| from[axis] = at);
                let x = self.column(to, args[i], &from);
                self.spread(to, x, &rows[i], &both)
            };
            terms.push([side(0, first), side(1, second)]);
        }
        let column = Type::new(g.ty(args[0]).dtype, self.shape(&both));
        let x = sum_of_products(to, &column, terms, adjoint);
        reduced(to, Monoid::Sum, x, &both, |class| summed[class])
    }
}

/// A column reduced over some of its rows.
fn reduced(
    to: &mut Graph,
    monoid: Monoid,
    x: Value,
    rows: &Rows,
    gone: impl Fn(usize) -> bool,
) -> Value {
    let axes = present(rows).enumerate().filter(|&(_, class)| gone(class));
    let axes: Vec<usize> = axes.map(|(axis, _)| axis).collect();
    to.reduce(monoid, x, &axes)
}

/// The index of the column of that number.
fn index_of(dims: &[usize], rows: &Rows, mut number: usize) -> Index {
    let mut at: Index = smallvec![0; dims.len()];
    for axis in (0..dims.len()).rev().filter(|&a| !rows.contains(&Some(a))) {
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

/// The sum of some products, each added by a single rounding as in products of matrices.
fn sum_of_products(to: &mut Graph, ty: &Type, mut terms: Vec<[Value; 2]>, adjoint: bool) -> Value {
    let is = |to: &Graph, v: Value, x: f64| to.as_splat(v).is_some_and(|c| c.to_f64() == x);
    let is_zero = |to: &Graph, t: &[Value; 2]| t.iter().any(|&v| is(to, v, 0.0));
    if adjoint {
        terms.retain(|t| !is_zero(to, t));
    } else {
        // Zero times infinity is to be seen. Rows of a triangle share what they have of that if
        // it comes first, the last of it before all.
        let (mut zeros, others): (Vec<_>, Vec<_>) = terms.into_iter().partition(|t| is_zero(to, t));
        zeros.reverse();
        zeros.extend(others);
        terms = zeros;
    }
    let mut sum: Option<Value> = None;
    for [x, y] in terms {
        let plain = !ty.is_float() || adjoint && (is(to, x, 1.0) || is(to, y, 1.0));
        sum = Some(match sum {
            Some(sum) if plain => {
                let product = function(to, Scalar::Mul, &[x, y], adjoint);
                function(to, Scalar::Add, &[sum, product], adjoint)
            }
            Some(sum) => function(to, Scalar::Fma, &[x, y, sum], adjoint),
            None => function(to, Scalar::Mul, &[x, y], adjoint),
        });
    }
    sum.unwrap_or_else(|| to.splat(ty, 0.0))
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
        let f = if f == Scalar::MulZLeft { Scalar::MulZ } else { f };
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
