//! What becomes of a node: an operand, an item of a group, or a group of its own.

use backstitch_ir::op::{Family, Structure};
use backstitch_ir::ops::{Cond, Contract, Region};
use backstitch_ir::ty::{Shape, Type};
use backstitch_ir::{Const, Node, Op, Value};
use smallvec::{SmallVec, smallvec};

use super::{Home, Library, Scope};
use crate::lower::groups::ItemOp;
use crate::lower::operand::{Operand, Strides, Val, contiguous};
use crate::lower::product::{Product, Uses, Written};
use crate::lower::{calls, kernels};

impl Scope<'_> {
    /// Turns every live node into operands, items and library calls.
    pub fn build(&mut self) {
        let g = self.g;
        let live = crate::rebuild::live(g, g.outputs(), None);
        let live = || live.entries().filter(|(_, live)| **live).map(|(n, _)| n);
        if self.groups.fuse {
            self.uses = Uses::of(g, live());
        }
        self.calls = calls::are_worthwhile(g, live());
        for n in live() {
            if !g.op(n).is_input() {
                self.node(n);
            }
        }
    }

    fn node(&mut self, n: Node) {
        let g = self.g;
        let args = g.args(n);
        let result = g.results(n)[0];
        let ty = g.ty(result).clone();
        let family = match g.op(n) {
            Op::Cond(c) => return self.cond(n, c),
            Op::Loop(l) => return self.loop_node(n, l),
            Op::Rows(r) => return self.rows_node(n, r),
            Op::Region(r) => return self.region_node(n, r),
            Op::Literal(c) => {
                let operand = match g.as_splat(result) {
                    Some(c) => Operand::Splat(c),
                    None => {
                        let val = self.val(&ty, Home::Constant(c.array().clone().into()));
                        Operand::whole(val, &ty.shape)
                    }
                };
                self.operands[result] = Some(operand);
                return;
            }
            op => op.family(),
        };
        let Family::Array(p) = family else { unreachable!("handled above") };
        let types: SmallVec<[&Type; 4]> = args.iter().map(|&a| g.ty(a)).collect();
        let operand = match p.structure(&types) {
            Structure::Source => unreachable!("inputs are bound, literals are handled"),
            Structure::Iota { axis } => {
                self.item(n, &ty, ItemOp::Iota { axis }, &ty.shape, smallvec![])
            }
            Structure::Map(_) if self.uses.is_sum(result) => {
                let mut terms = |i: usize| self.terms.remove(&args[i]).expect("already met");
                let (mut more, mut less) = (terms(0), terms(1));
                if more.len() < less.len() {
                    std::mem::swap(&mut more, &mut less);
                }
                more.extend(less);
                self.products(result, more)
            }
            Structure::Map(f) => {
                let args = self.operands_of_a_map(&args);
                self.item(n, &ty, ItemOp::Map(f), &ty.shape, args)
            }
            Structure::View(view) => {
                let from = types[0].shape.clone();
                let x = self.operand(args[0]);
                x.view(&view, &from, &ty.shape).unwrap_or_else(|| {
                    let x = self.copy(n, types[0], x);
                    x.view(&view, &from, &ty.shape).expect("any view of what is contiguous")
                })
            }
            Structure::Reshape => {
                let x = self.operand(args[0]);
                x.reshape(&types[0].shape, &ty.shape).unwrap_or_else(|| {
                    let x = self.copy(n, types[0], x);
                    x.reshape(&types[0].shape, &ty.shape).expect("it is contiguous")
                })
            }
            Structure::Reduce { axes, .. } if axes.is_empty() => self.operand(args[0]),
            Structure::Reduce { monoid, axes } => {
                let op = ItemOp::Reduce { monoid, axes };
                let x = self.operand(args[0]);
                self.item(n, &ty, op, &types[0].shape, smallvec![x])
            }
            Structure::Gather { axis } => self.gather(n, &ty, &args, axis),
            Structure::Contract(c) => {
                let x = [self.operand(args[0]), self.operand(args[1])];
                self.product(n, &c, [types[0], types[1]], x)
            }
            Structure::Assemble { fill, pieces } => {
                let pieces = self.pieces(pieces, &args);
                match self.joined(n, &ty, fill, &pieces) {
                    Some(joined) => joined,
                    None => self.assemble(n, &ty, fill, pieces),
                }
            }
            Structure::Cumulate { by, axis, reverse } => {
                let args: SmallVec<[Operand; 2]> = args.iter().map(|&a| self.operand(a)).collect();
                let vals: Vec<Val> = args.iter().filter_map(Operand::val).collect();
                let out = self.val(&ty, Home::Open);
                let lib = kernels::Cumulate { out, by, axis, reverse, args };
                self.call(Library::Cumulate(lib), &vals, &[out]);
                Operand::whole(out, &ty.shape)
            }
            Structure::ScatterAdd { axis } => self.scatter(&ty, &args, axis),
            Structure::Call { routine, operands } => {
                let vals: Vec<Val> = operands.iter().map(|&i| self.whole(n, args[i])).collect();
                let out = self.val(&ty, Home::Open);
                let place = g.origin(n).place;
                let lib = Library::Call { routine, args: vals.clone(), out, place };
                self.call(lib, &vals, &[out]);
                Operand::whole(out, &ty.shape)
            }
        };
        self.operands[result] = Some(operand);
    }

    fn gather(&mut self, n: Node, ty: &Type, args: &[Value], axis: usize) -> Operand {
        let (x, index) = (self.operand(args[0]), self.operand(args[1]));
        let (xt, it) = (self.g.ty(args[0]).clone(), self.g.ty(args[1]).clone());
        let Operand::At { val, offset, strides } = x else {
            // A constant everywhere, whatever the index.
            return x;
        };
        let rank = it.rank();
        let mut around: Strides = strides[..axis].iter().copied().collect();
        around.extend(std::iter::repeat_n(0, rank));
        around.extend(strides[axis + 1..].iter().copied());
        let x = Operand::At { val, offset, strides: around };
        let index = spread(index, axis, ty.rank());
        let op = ItemOp::Gather { step: strides[axis], last: xt.dims()[axis] as i64 - 1 };
        self.item(n, ty, op, &ty.shape, smallvec![x, index])
    }

    fn scatter(&mut self, ty: &Type, args: &[Value], axis: usize) -> Operand {
        let [x, index, u] = [0, 1, 2].map(|i| self.operand(args[i]));
        let domain = self.g.ty(args[2]).shape.clone();
        let rank = self.g.ty(args[1]).rank();
        let out = self.val(ty, Home::Open);
        let own = contiguous(&ty.shape);
        let mut strides: Strides = own[..axis].iter().copied().collect();
        strides.extend(std::iter::repeat_n(0, rank));
        strides.extend(own[axis + 1..].iter().copied());
        let index = spread(index, axis, domain.rank());
        let reads: Vec<Val> = [&x, &index, &u].into_iter().filter_map(Operand::val).collect();
        let lib = kernels::Scatter {
            out,
            x: (x, ty.shape.clone()),
            index,
            u,
            domain,
            strides,
            step: own[axis],
            last: ty.dims()[axis] as i64 - 1,
        };
        self.call(Library::Scatter(lib), &reads, &[out]);
        Operand::whole(out, &ty.shape)
    }

    fn product(&mut self, n: Node, c: &Contract, types: [&Type; 2], x: [Operand; 2]) -> Operand {
        let result = self.g.results(n)[0];
        let product = Product::new(c, types, x, |ty, x| self.copy(n, ty, x));
        self.products(result, vec![product])
    }

    /// A value that is the sum of these products.
    fn products(&mut self, v: Value, terms: Vec<Product>) -> Operand {
        let g = self.g;
        let ty = g.ty(v);
        if self.uses.is_term(v) {
            self.terms.insert(v, terms);
            // Nobody but the sum reads it.
            return Operand::Splat(Const::of_float(ty.dtype, 0.0));
        }
        let (mut stored, mut strides) = (ty.clone(), contiguous(&ty.shape));
        if let Some(perm) = self.uses.wanted_order(g, v) {
            let turned: Shape = perm.iter().map(|&a| ty.dims()[a]).collect();
            let mut there = Strides::from_elem(0, perm.len());
            for (&a, stride) in perm.iter().zip(contiguous(&turned)) {
                there[a] = stride;
            }
            if terms.iter().all(|p| p.fits(ty.dims(), &there)) {
                (stored, strides) = (ty.with_shape(turned), there);
            }
        }
        let val = self.val(&stored, Home::Open);
        let reads: Vec<Val> = terms.iter().flat_map(Product::reads).collect();
        let out = Written { val, shape: ty.shape.clone(), strides: strides.clone() };
        self.call(Library::Products { terms, out }, &reads, &[val]);
        Operand::At { val, offset: 0, strides }
    }

    fn cond(&mut self, n: Node, c: &Cond) {
        let args = self.g.args(n);
        let pred = self.whole(n, args[0]);
        let args: Vec<Val> = args[1..].iter().map(|&a| self.whole(n, a)).collect();
        let outs = self.results(n);
        let reads: Vec<Val> = std::iter::once(pred).chain(args.iter().copied()).collect();
        let (then, els) = (c.then.clone(), c.els.clone());
        let lib = Library::Cond { pred, then, els, args, outs: outs.clone() };
        self.call(lib, &reads, &outs);
    }

    fn region_node(&mut self, n: Node, r: &Region) {
        let args: Vec<Val> = self.g.args(n).iter().map(|&a| self.whole(n, a)).collect();
        let outs = self.results(n);
        let body = r.body.clone();
        self.call(Library::Region { body, args: args.clone(), outs: outs.clone() }, &args, &outs);
    }
}

/// An operand over the index's axes, looked at from the result: its axes are
/// `axis..` of the result, and it is repeated along the others.
fn spread(index: Operand, axis: usize, rank: usize) -> Operand {
    match index {
        Operand::Splat(c) => Operand::Splat(c),
        Operand::Joined(_) => unreachable!("only maps read a piece at a time"),
        Operand::At { val, offset, strides } => {
            let mut out = Strides::from_elem(0, rank);
            out[axis..axis + strides.len()].copy_from_slice(&strides);
            Operand::At { val, offset, strides: out }
        }
    }
}
