//! One graph (the program, or a body) on its way to steps: its values as operands, and where
//! these are in memory.

mod library;
mod nodes;

use backstitch_ir::index::IndexVec;
use backstitch_ir::plan::{Buffer, BufferDecl, Place};
use backstitch_ir::ty::{DType, Shape, Type};
use backstitch_ir::{Array, Graph, Node, Value};
use rustc_hash::FxHashMap;
use smallvec::{SmallVec, smallvec};

pub(crate) use self::library::Library;
use super::Planner;
use super::groups::{GroupId, Groups, Item, ItemOp};
use super::loops::{Known, StackRows};
use super::operand::{Operand, Val, ValDecl};
use super::product::{Product, Uses};

/// Where the memory of a val is, once it has any.
#[derive(Clone, Debug)]
pub(crate) enum Home {
    /// Not decided: a buffer of the arena, when it is stored.
    Open,
    Buffer(Buffer),
    Constant(Box<Array>),
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
                        place: Place::Constant(Array::clone(array)),
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

    /// Element type of a val.
    pub fn dtype(&self, val: Val) -> DType {
        self.vals[val].dtype
    }
}
