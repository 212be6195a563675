//! One graph (the program, or a body) on its way to steps.

use backstitch_ir::index::IndexVec;
use backstitch_ir::op::Structure;
use backstitch_ir::plan::{self, Buffer, BufferDecl, BufferRef, Place, Step};
use backstitch_ir::routine::{self, Routine};
use backstitch_ir::ty::{DType, Shape, Type};
use backstitch_ir::{Array, Const, Graph, Node, Op, Value};
use rustc_hash::FxHashMap;
use smallvec::{SmallVec, smallvec};

use super::groups::{GroupId, Groups, Item, ItemOp, order};
use super::loops::{Known, LoopCall, StackRows};
use super::operand::{Operand, Strides, Val, ValDecl, contiguous};
use super::product::{Product, Uses, Written};
use super::{Body, Planner, calls, kernels};

/// What runs as a group of its own.
pub(crate) enum Library {
    /// Matrix products that are added up.
    Products {
        terms: Vec<Product>,
        out: Written,
    },
    /// Pieces copied into place, over a fill.
    Assemble(kernels::Assemble),
    /// `out = x; out[index] += u`.
    Scatter(kernels::Scatter),
    /// `out[i] = f(out[i-1], …)` along an axis.
    Cumulate(kernels::Cumulate),
    /// A routine on contiguous arrays.
    Call {
        routine: Routine,
        args: Vec<Val>,
        out: Val,
        place: routine::Place,
    },
    Cond {
        pred: Val,
        then: Body,
        els: Body,
        args: Vec<Val>,
        outs: Vec<Val>,
    },
    Loop(LoopCall),
    /// A body that stands apart.
    Region {
        body: Body,
        args: Vec<Val>,
        outs: Vec<Val>,
    },
    /// The rows of an array are pushed on a stack, or popped from one.
    Rows {
        op: backstitch_ir::ops::Rows,
        arg: Val,
        out: Val,
    },
}

/// Where the memory of a val is, once it has any.
#[derive(Clone, Debug)]
pub(crate) enum Home {
    /// Not decided: a buffer of the arena, when it is stored.
    Open,
    Buffer(Buffer),
    Constant(Array),
}

pub(crate) struct Scope<'g> {
    pub g: &'g Graph,
    /// Whether functions of single elements are called.
    pub calls: bool,
    /// Whether nodes are those of the program (and can be named to the user).
    pub top: bool,
    pub vals: IndexVec<Val, ValDecl>,
    pub homes: IndexVec<Val, Home>,
    /// Stack depth of vals that are stacks.
    stacks: FxHashMap<Val, Type>,
    pub operands: IndexVec<Value, Option<Operand>>,
    /// Stacks that are arrays.
    pub rows: FxHashMap<Value, StackRows>,
    /// What is known of loops.
    pub known: FxHashMap<Node, Known>,
    /// What becomes of matrix products.
    uses: Uses,
    /// Terms of sums that have not been met.
    terms: FxHashMap<Value, Vec<Product>>,
    /// Copies of what is a view, or a constant, made for whoever takes no views.
    copies: FxHashMap<Value, Val>,
    /// The first kernel that stores a part of a val.
    pub begun: FxHashMap<Val, usize>,
    pub groups: Groups,
    pub library: FxHashMap<GroupId, Library>,
}

impl<'g> Scope<'g> {
    /// For a graph whose inputs are in these buffers.
    pub fn new(g: &'g Graph, top: bool, fuse: bool, inputs: &[Buffer]) -> Self {
        let mut scope = Self {
            g,
            calls: false,
            top,
            vals: IndexVec::new(),
            homes: IndexVec::new(),
            stacks: FxHashMap::default(),
            operands: IndexVec::filled(None, g.value_count()),
            rows: FxHashMap::default(),
            known: FxHashMap::default(),
            uses: Uses::default(),
            terms: FxHashMap::default(),
            copies: FxHashMap::default(),
            begun: FxHashMap::default(),
            groups: Groups::new(fuse),
            library: FxHashMap::default(),
        };
        for (&v, &b) in g.inputs().iter().zip(inputs) {
            let val = scope.val(g.ty(v), Home::Buffer(b));
            scope.operands[v] = Some(Operand::whole(val, &g.ty(v).shape));
        }
        scope
    }

    pub fn val(&mut self, ty: &Type, home: Home) -> Val {
        let val = self.vals.push(ValDecl::new(ty.dtype, ty.shape.clone()));
        if ty.stack > 0 {
            self.stacks.insert(val, ty.clone());
        }
        self.homes.push(home);
        self.groups.made.push(None);
        self.groups.stored.push(false);
        self.groups.last_read.push(None);
        val
    }

    /// A value as an operand of what reads it element by element.
    pub(super) fn look(&self, v: Value) -> Operand {
        self.operands[v].clone().expect("operands come before their users")
    }

    /// A value as an operand of anything.
    pub(super) fn operand(&mut self, v: Value) -> Operand {
        match self.look(v) {
            Operand::Joined(_) => self.put_together(v),
            x => x,
        }
    }

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
                        let val = self.val(&ty, Home::Constant(c.array().clone()));
                        Operand::whole(val, &ty.shape)
                    }
                };
                self.operands[result] = Some(operand);
                return;
            }
            op => op.family(),
        };
        let backstitch_ir::op::Family::Array(p) = family else { unreachable!("handled above") };
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

    /// A new item; gives all of its result.
    fn item(
        &mut self,
        n: Node,
        ty: &Type,
        op: ItemOp,
        domain: &Shape,
        args: SmallVec<[Operand; 3]>,
    ) -> Operand {
        // What is gathered from is looked at elsewhere than its operand says.
        let args = match op {
            ItemOp::Gather { .. } => args,
            _ => args.into_iter().map(|x| self.or_again(x, domain)).collect(),
        };
        let out = self.val(ty, Home::Open);
        let (node, adjoint) = (self.top.then_some(n), self.g.origin(n).adjoint);
        let values = self.g.args(n);
        self.add(Item { op, domain: domain.clone(), args, out, node, adjoint }, &values);
        Operand::whole(out, &ty.shape)
    }

    /// The operand as a contiguous val.
    pub fn copy(&mut self, n: Node, ty: &Type, x: Operand) -> Operand {
        self.item(n, ty, ItemOp::Copy, &ty.shape, smallvec![x])
    }

    /// A val with exactly these contents: the same one each time.
    pub fn whole(&mut self, n: Node, v: Value) -> Val {
        if let Some(&val) = self.copies.get(&v) {
            return val;
        }
        let x = self.operand(v);
        let ty = self.g.ty(v).clone();
        let x = if x.is_whole(&self.shape_of(&x)) && self.same_len(&x, &ty) {
            x
        } else {
            let copy = self.copy(n, &ty, x);
            self.copies.insert(v, copy.val().expect("a copy is a val"));
            copy
        };
        x.val().expect("a copy is a val")
    }

    /// A val with these contents in order, whatever its shape.
    fn in_order(&mut self, n: Node, v: Value) -> Val {
        if let x @ Operand::At { val, .. } = self.operand(v)
            && self.vals[val].shape.len() == self.g.ty(v).len()
            && x.is_whole(&self.g.ty(v).shape)
        {
            return val;
        }
        self.whole(n, v)
    }

    fn shape_of(&self, x: &Operand) -> Shape {
        x.val().map(|v| self.vals[v].shape.clone()).unwrap_or_default()
    }

    fn same_len(&self, x: &Operand, ty: &Type) -> bool {
        x.val().is_some_and(|v| self.vals[v].shape == ty.shape)
    }

    /// A group of its own that reads some vals and makes others.
    pub fn call(&mut self, lib: Library, reads: &[Val], makes: &[Val]) {
        let id = self.groups.barrier(reads.iter().copied());
        for &v in makes {
            self.groups.made_by(v, id);
        }
        self.library.insert(id, lib);
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

    fn product(
        &mut self,
        n: Node,
        c: &backstitch_ir::ops::Contract,
        types: [&Type; 2],
        x: [Operand; 2],
    ) -> Operand {
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

    fn cond(&mut self, n: Node, c: &backstitch_ir::ops::Cond) {
        let args = self.g.args(n);
        let pred = self.whole(n, args[0]);
        let args: Vec<Val> = args[1..].iter().map(|&a| self.whole(n, a)).collect();
        let outs = self.results(n);
        let reads: Vec<Val> = std::iter::once(pred).chain(args.iter().copied()).collect();
        let (then, els) = (c.then.clone(), c.els.clone());
        let lib = Library::Cond { pred, then, els, args, outs: outs.clone() };
        self.call(lib, &reads, &outs);
    }

    fn region_node(&mut self, n: Node, r: &backstitch_ir::ops::Region) {
        let args: Vec<Val> = self.g.args(n).iter().map(|&a| self.whole(n, a)).collect();
        let outs = self.results(n);
        let body = r.body.clone();
        self.call(Library::Region { body, args: args.clone(), outs: outs.clone() }, &args, &outs);
    }

    /// A val for a result.
    pub fn result(&mut self, r: Value) -> Val {
        let ty = self.g.ty(r).clone();
        let val = self.val(&ty, Home::Open);
        self.operands[r] = Some(Operand::whole(val, &ty.shape));
        val
    }

    fn results(&mut self, n: Node) -> Vec<Val> {
        self.g.results(n).into_iter().map(|r| self.result(r)).collect()
    }

    /// Decides that the outputs of the graph are in these buffers, as far as they are
    /// given.
    pub fn bind_outputs(&mut self, outs: &[Option<Buffer>]) {
        let bound = self.g.outputs().iter().zip(outs);
        for (&v, b) in bound.filter_map(|(v, b)| Some((v, (*b)?))) {
            let n = self.g.source(v).0;
            let mut val = self.in_order(n, v);
            if !matches!(self.homes[val], Home::Open) {
                // An input, a constant, or another output as well.
                let ty = self.g.ty(v).clone();
                let x = Operand::whole(val, &ty.shape);
                val = self.copy(n, &ty, x).val().expect("a copy is a val");
            }
            self.homes[val] = Home::Buffer(b);
            self.groups.stored[val] = true;
        }
    }

    /// Decides that the outputs of a branch are in these buffers, and gives those
    /// that have to be copied there: inputs, constants, repeated outputs, stacks.
    pub fn bind_body_outputs(&mut self, outs: &[Buffer]) -> Vec<(Val, Buffer)> {
        let mut copies = Vec::new();
        for (val, &b) in self.output_vals().into_iter().zip(outs) {
            if matches!(self.homes[val], Home::Open) {
                self.homes[val] = Home::Buffer(b);
            } else {
                copies.push((val, b));
            }
        }
        copies
    }

    /// The outputs of a body as vals in memory, wherever they are.
    pub fn output_vals(&mut self) -> Vec<Val> {
        let g = self.g;
        let vals: Vec<Val> = g.outputs().iter().map(|&v| self.in_order(g.source(v).0, v)).collect();
        for &v in &vals {
            self.groups.stored[v] = true;
        }
        vals
    }

    /// The buffer of a val that is in memory.
    pub fn buffer(&mut self, planner: &mut Planner, val: Val) -> Buffer {
        if let Some(part) = &self.vals[val].part {
            let of = part.of;
            return self.buffer(planner, of);
        }
        match &self.homes[val] {
            Home::Buffer(b) => *b,
            home => {
                let decl = &self.vals[val];
                let b = match home {
                    Home::Constant(array) => planner.buffers.push(BufferDecl {
                        dtype: decl.dtype,
                        len: decl.shape.len(),
                        place: Place::Constant(array.clone()),
                    }),
                    _ => match self.stacks.get(&val) {
                        Some(ty) => planner.scratch_for(ty),
                        None => planner.scratch(decl.dtype, decl.shape.len()),
                    },
                };
                self.homes[val] = Home::Buffer(b);
                b
            }
        }
    }

    /// Steps for all groups, in order.
    pub fn emit(&mut self, planner: &mut Planner) -> Vec<Step> {
        let mut steps = Vec::new();
        for id in order(&self.groups) {
            match self.library.remove(&id) {
                None => kernels::group(self, planner, id, &mut steps),
                Some(Library::Products { terms, out }) => {
                    let terms = terms.iter().enumerate();
                    steps.extend(terms.map(|(i, p)| p.emit(self, planner, &out, i > 0)));
                }
                Some(Library::Assemble(a)) => a.emit(self, planner, &mut steps),
                Some(Library::Cumulate(c)) => c.emit(self, planner, &mut steps),
                Some(Library::Scatter(s)) => s.emit(self, planner, &mut steps),
                Some(Library::Call { routine, args, out, place }) => {
                    let call = self.routine(planner, routine, &args, out);
                    steps.push(Step::Call(plan::Call { place, ..call }));
                }
                Some(Library::Cond { pred, then, els, args, outs }) => {
                    self.emit_cond(planner, &mut steps, pred, [&then, &els], &args, &outs);
                }
                Some(Library::Loop(call)) => self.emit_loop(planner, &mut steps, &call),
                Some(Library::Region { body, args, outs }) => {
                    self.emit_region(planner, &mut steps, &body, &args, &outs);
                }
                Some(Library::Rows { op, arg, out }) => {
                    self.emit_rows(planner, &mut steps, &op, arg, out);
                }
            }
        }
        steps
    }

    fn routine(
        &mut self,
        planner: &mut Planner,
        routine: Routine,
        args: &[Val],
        out: Val,
    ) -> plan::Call {
        let mut whole = |val| BufferRef { buffer: self.buffer(planner, val), offset: 0 };
        let args = args.iter().map(|&val| whole(val)).collect();
        let result = whole(out);
        let mut call = plan::Call { routine, args, result, work: None, place: None };
        let len = call.work_len();
        if len > 0 {
            call.work = Some(BufferRef { buffer: planner.scratch(DType::I64, len), offset: 0 });
        }
        call
    }

    /// Element type of a val.
    pub fn dtype(&self, val: Val) -> DType {
        self.vals[val].dtype
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
