//! Making nests.
//!
//! A [`NestBuilder`] writes a [`Nest`] from the outside in: `open` a loop, emit
//! what its body does, `close` it. It does three things on the way, so that
//! whoever lowers to nests need not think of them:
//!
//! * **Placement.** A pure operation goes to the outermost open block in which
//!   all its operands are visible, constants to the top: loop-invariant code
//!   motion without a pass. Pure are scalar operations, axis indices, and loads
//!   from [`Access::In`] parameters (nothing written aliases those). A load never
//!   leaves a loop that may have no iterations, for outside the loop its element
//!   need not exist.
//! * **Sharing.** Pure operations are hash-consed. The block an operation goes to
//!   is a function of its operands, so one table per open block suffices, and
//!   closing the block drops the table together with the visibility of its
//!   variables.
//! * **Folding.** Operations on constants are evaluated with the interpreter's own
//!   functions, and identities that keep every bit are applied.
//!
//! [`NestBuilder::finish`] removes what nobody uses, lets sums take the factors of products
//! that nobody else wants ([`Term::Product`]), and renumbers the variables in order of
//! definition.

mod element;
mod finish;
mod fold;
mod func;
mod ops;
mod products;

use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::{SmallVec, smallvec};

pub(crate) use self::finish::for_each_result;
use self::finish::{rename, sweep};
use self::fold::canonical;
use crate::apply;
use crate::index::IndexVec;
use crate::nest::{
    Acc, Access, At, Axis, Carry, Const, For, Func, FuncDecl, Mode, Monoid, Nest, Param, ParamDecl,
    Range, ScalarOp, Stmt, Term, Var,
};
use crate::ty::DType;

/// Builds one nest.
///
/// ```
/// use backstitch_ir::DType;
/// use backstitch_ir::build::NestBuilder;
/// use backstitch_ir::nest::{Access, At, Mode, Monoid, Range};
///
/// let mut b = NestBuilder::new("sum_of_squares");
/// let x = b.param(DType::F32, 8, Access::In);
/// let out = b.param(DType::F32, 1, Access::Out);
/// let i = b.axis(8);
/// b.open(i, Range::Whole, Mode::Vector { lanes: 4 });
/// let v = b.load(x, At { strides: [(i, 1)].into_iter().collect(), ..At::default() });
/// let v2 = b.mul(v, v);
/// let sum = b.close(&[(Monoid::Sum, v2)])[0];
/// b.store(out, At::default(), sum);
/// let nest = b.finish();
/// assert_eq!(nest.body.len(), 2);
/// ```
pub struct NestBuilder {
    name: String,
    params: IndexVec<Param, ParamDecl>,
    axes: IndexVec<Axis, AxisInfo>,
    funcs: IndexVec<Func, Arc<FuncDecl>>,
    vars: IndexVec<Var, VarInfo>,
    /// The open blocks, outermost first; never empty.
    blocks: Vec<Block>,
    /// Whether a reduction sums products of floats.
    sums_products: bool,
    /// Additions that are steps of sums, and the products that they add.
    steps: FxHashMap<Var, Var>,
}

struct AxisInfo {
    extent: usize,
    /// Number of the block of the open loop over it.
    open: Option<usize>,
}

struct VarInfo {
    dtype: DType,
    /// Number of the block that defines it, while that is open.
    block: Option<usize>,
    def: Def,
}

/// As much of a variable's definition as the identities ask for.
#[derive(Clone, Copy)]
enum Def {
    Const(Const),
    Neg(Var),
    Not(Var),
    Mul,
    Other,
}

/// An open block: the top of the nest, or the body of an open loop.
struct Block {
    of: Option<(Axis, Range, Mode)>,
    /// Number of the innermost block, from here outwards, whose loop may have
    /// no iterations: loads stay inside.
    pinned: usize,
    stmts: Vec<Stmt>,
    known: FxHashMap<Pure, Var>,
    /// What the loop hands from one iteration to the next. Until
    /// [`NestBuilder::hand_on`] says otherwise, that is the variable as it is.
    carries: Vec<Carry>,
}

#[derive(PartialEq, Eq, Hash)]
enum Pure {
    Op(ScalarOp, DType, SmallVec<[Var; 3]>),
    Call(Func, SmallVec<[Var; 3]>),
    Index(Axis),
    Load(Param, At),
}

impl NestBuilder {
    /// An empty nest.
    pub fn new(name: impl Into<String>) -> Self {
        let top = Block {
            of: None,
            pinned: 0,
            stmts: vec![],
            known: FxHashMap::default(),
            carries: vec![],
        };
        Self {
            name: name.into(),
            params: IndexVec::new(),
            axes: IndexVec::new(),
            funcs: IndexVec::new(),
            vars: IndexVec::new(),
            blocks: vec![top],
            sums_products: false,
            steps: FxHashMap::default(),
        }
    }

    /// Adds a parameter of `len` elements.
    pub fn param(&mut self, dtype: DType, len: usize, access: Access) -> Param {
        self.params.push(ParamDecl { dtype, len, access })
    }

    /// Adds an axis. Several loops may run over it, one after the other.
    pub fn axis(&mut self, extent: usize) -> Axis {
        self.axes.push(AxisInfo { extent, open: None })
    }

    /// Extent of an axis.
    pub fn extent(&self, axis: Axis) -> usize {
        self.axes[axis].extent
    }

    /// The declaration of a parameter.
    pub fn param_decl(&self, param: Param) -> &ParamDecl {
        &self.params[param]
    }

    /// Type of a variable.
    pub fn dtype(&self, var: Var) -> DType {
        self.vars[var].dtype
    }

    /// Its value, if it is a constant.
    pub fn const_of(&self, var: Var) -> Option<Const> {
        match self.vars[var].def {
            Def::Const(c) => Some(c),
            _ => None,
        }
    }

    /// Begins a loop. What follows, up to the matching [`close`](Self::close),
    /// is its body.
    pub fn open(&mut self, axis: Axis, range: Range, mode: Mode) {
        let inside_vector = matches!(self.innermost().of, Some((_, _, Mode::Vector { .. })));
        debug_assert!(!inside_vector, "{}: loop over {axis} inside a vector loop", self.name);
        debug_assert!(self.axes[axis].open.is_none(), "{}: {axis} is open already", self.name);
        if let Mode::Vector { lanes } = mode {
            debug_assert!(lanes.is_power_of_two(), "{}: {lanes} lanes", self.name);
        }
        if let Range::Chunk { of, size } = range {
            debug_assert!(self.axes[of].open.is_some(), "{}: {of} is not open", self.name);
            debug_assert!(size > 0, "{}: empty chunks", self.name);
        }
        let number = self.blocks.len();
        let pinned = if self.may_be_empty(axis, range) { number } else { self.innermost().pinned };
        self.axes[axis].open = Some(number);
        self.blocks.push(Block {
            of: Some((axis, range, mode)),
            pinned,
            stmts: vec![],
            known: FxHashMap::default(),
            carries: vec![],
        });
    }

    /// A variable that the innermost open loop, a sequential one, carries: it is
    /// `init` in the first iteration and what is [handed on](Self::hand_on) after.
    pub fn carry(&mut self, init: Var) -> Var {
        let block = self.blocks.len() - 1;
        debug_assert!(self.block_of(init) < block, "{}: {init} is of the loop itself", self.name);
        let in_order = matches!(self.innermost().of, Some((_, _, Mode::Sequential)));
        debug_assert!(in_order, "{}: only a sequential loop carries variables", self.name);
        let var = self.define(self.dtype(init), block, Def::Other);
        self.blocks[block].carries.push(Carry { var, init, next: var });
        var
    }

    /// Says what a carried variable of the innermost loop is in the next iteration.
    pub fn hand_on(&mut self, var: Var, next: Var) {
        self.assert_visible(next);
        debug_assert!(self.dtype(var) == self.dtype(next), "{}: {var} changes type", self.name);
        let carries = &mut self.blocks.last_mut().expect("a block").carries;
        let carry = carries.iter_mut().find(|c| c.var == var).expect("a variable that is carried");
        carry.next = next;
    }

    /// Ends the innermost open loop, which carries these reductions: of each, the
    /// combination and what an iteration contributes. Gives the results.
    pub fn close(&mut self, accs: &[(Monoid, Var)]) -> Vec<Var> {
        for &(op, value) in accs {
            self.assert_visible(value);
            let dtype = self.dtype(value);
            debug_assert!(op.takes(dtype), "{}: {} of {dtype}", self.name, op.name());
        }
        let block = self.blocks.pop().expect("a block");
        let (axis, range, mode) = block.of.expect("close without open");
        debug_assert!(
            accs.is_empty() || mode != Mode::Parallel,
            "{}: the parallel loop over {axis} carries reductions",
            self.name
        );
        self.axes[axis].open = None;
        for stmt in &block.stmts {
            for_each_result(stmt, |var| self.vars[var].block = None);
        }
        for c in &block.carries {
            self.vars[c.var].block = None;
        }
        let outer = self.blocks.len() - 1;
        let accs: Vec<_> = accs
            .iter()
            .map(|&(op, value)| {
                self.sums_products |= self.is_summed_product(op, value);
                let result = self.define(self.dtype(value), outer, Def::Other);
                Acc { result, term: Term::One(op, value) }
            })
            .collect();
        let results = accs.iter().map(|a| a.result).collect();
        let (carries, body) = (block.carries, block.stmts);
        self.emit(Stmt::For(Box::new(For { axis, range, mode, carries, accs, body })));
        results
    }

    /// The current value of an open axis, as `i64`.
    pub fn index(&mut self, axis: Axis) -> Var {
        let Some(block) = self.axes[axis].open else {
            panic!("{}: index of {axis}, which is not open", self.name)
        };
        if self.axes[axis].extent == 1 {
            return self.int(DType::I64, 0);
        }
        self.pure(Pure::Index(axis), DType::I64, block, Def::Other, |var| Stmt::Index { var, axis })
    }

    /// A constant.
    pub fn constant(&mut self, c: Const) -> Var {
        let op = ScalarOp::Const(c);
        let key = Pure::Op(op, c.dtype, smallvec![]);
        self.pure(key, c.dtype, 0, Def::Const(c), |var| Stmt::Let { var, op, args: smallvec![] })
    }

    /// The result of an operation: a new variable, or one that is known to have
    /// the same bits.
    pub fn op(&mut self, op: ScalarOp, dtype: DType, args: &[Var]) -> Var {
        if cfg!(debug_assertions) {
            let types: SmallVec<[DType; 3]> = args.iter().map(|&a| self.dtype(a)).collect();
            if let Err(why) = apply::check(op, &types, dtype) {
                panic!("{}: {why}", self.name);
            }
        }
        if let ScalarOp::Const(c) = op {
            return self.constant(c);
        }
        let (op, args) = canonical(op, args);
        let consts: Option<SmallVec<[u64; 3]>> =
            args.iter().map(|&a| self.const_of(a).map(|c| c.bits)).collect();
        if let Some(bits) = consts {
            let operand = self.dtype(args[args.len() - 1]);
            return self.constant(Const { dtype, bits: apply::apply(op, operand, dtype, &bits) });
        }
        if let Some(same) = self.simplify(op, dtype, &args) {
            return same;
        }
        let block = args.iter().map(|&a| self.block_of(a)).max().unwrap_or(0);
        let def = match op {
            ScalarOp::Neg => Def::Neg(args[0]),
            ScalarOp::Not => Def::Not(args[0]),
            ScalarOp::Mul => Def::Mul,
            _ => Def::Other,
        };
        let key = Pure::Op(op, dtype, args.clone());
        self.pure(key, dtype, block, def, |var| Stmt::Let { var, op, args })
    }

    /// Ends the nest: all loops are closed.
    pub fn finish(mut self) -> Nest {
        let top = self.blocks.pop().expect("a block");
        assert!(top.of.is_none(), "{}: a loop is still open", self.name);
        let mut live = IndexVec::filled(false, self.vars.len());
        let mut body = top.stmts;
        sweep(&mut body, &mut live);
        if self.sums_products {
            products::fuse(&mut body, &self.steps, &self.vars);
        }
        let mut names = IndexVec::filled(None, self.vars.len());
        let mut vars = IndexVec::new();
        rename(&mut body, &mut |var, defined: bool| {
            if defined {
                names[var] = Some(vars.push(self.vars[var].dtype));
            }
            names[var].expect("defined before it is used")
        });
        let axes = self.axes.iter().map(|a| a.extent).collect();
        Nest { name: self.name, params: self.params, axes, funcs: self.funcs, vars, body }
    }

    /// The variable of a pure statement in that open block.
    fn pure(
        &mut self,
        key: Pure,
        dtype: DType,
        block: usize,
        def: Def,
        stmt: impl FnOnce(Var) -> Stmt,
    ) -> Var {
        if let Some(&var) = self.blocks[block].known.get(&key) {
            return var;
        }
        let var = self.define(dtype, block, def);
        self.blocks[block].known.insert(key, var);
        self.blocks[block].stmts.push(stmt(var));
        var
    }

    fn define(&mut self, dtype: DType, block: usize, def: Def) -> Var {
        self.vars.push(VarInfo { dtype, block: Some(block), def })
    }

    fn emit(&mut self, stmt: Stmt) {
        self.blocks.last_mut().expect("a block").stmts.push(stmt);
    }

    fn innermost(&self) -> &Block {
        self.blocks.last().expect("a block")
    }

    /// Number of the block that defines a visible variable.
    fn block_of(&self, var: Var) -> usize {
        match self.vars[var].block {
            Some(block) => block,
            None => panic!("{}: {var} was defined in a loop that is closed", self.name),
        }
    }

    fn may_be_empty(&self, axis: Axis, range: Range) -> bool {
        let extent = self.axes[axis].extent;
        match range {
            Range::Whole => extent == 0,
            Range::Chunk { of, size } => {
                let last = self.axes[of].extent.saturating_sub(1);
                last.saturating_mul(size) >= extent
            }
        }
    }

    fn assert_visible(&self, var: Var) {
        if cfg!(debug_assertions) {
            self.block_of(var);
        }
    }
}

#[cfg(test)]
mod tests;
