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
//! [`NestBuilder::finish`] removes what nobody uses and renumbers the variables
//! in order of definition.

mod finish;
mod fold;
mod func;
mod ops;

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
    Range, ScalarOp, Stmt, Var,
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
                let dtype = self.dtype(value);
                Acc { result: self.define(dtype, outer, Def::Other), op, value }
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

    /// Reads an element.
    pub fn load(&mut self, param: Param, at: At) -> Var {
        let at = self.normal(at);
        let ParamDecl { dtype, access, .. } = self.params[param];
        if access != Access::In {
            let var = self.define(dtype, self.blocks.len() - 1, Def::Other);
            self.emit(Stmt::Load { var, param, at });
            return var;
        }
        let axes = at.strides.iter().map(|&(axis, _)| self.axes[axis].open.unwrap_or(0));
        let index = at.index.map(|v| self.block_of(v));
        let block = axes.chain(index).fold(self.innermost().pinned, usize::max);
        self.pure(Pure::Load(param, at.clone()), dtype, block, Def::Other, |var| Stmt::Load {
            var,
            param,
            at,
        })
    }

    /// Writes an element.
    pub fn store(&mut self, param: Param, at: At, value: Var) {
        self.assert_written(param, value);
        let at = self.normal(at);
        self.emit(Stmt::Store { param, at, value });
    }

    /// Combines a value into an element.
    pub fn accumulate(&mut self, param: Param, at: At, op: Monoid, value: Var) {
        self.assert_written(param, value);
        debug_assert!(
            op.takes(self.dtype(value)),
            "{}: {} of {}",
            self.name,
            op.name(),
            self.dtype(value)
        );
        let at = self.normal(at);
        self.emit(Stmt::Accumulate { param, at, op, value });
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

    /// The element in its one form: strides merged, sorted, none 0, none of an
    /// axis that has but one value; no constant index.
    fn normal(&self, at: At) -> At {
        let mut offset = at.offset;
        let index = at.index.filter(|&v| match self.const_of(v) {
            Some(c) => {
                offset += c.bits as i64;
                false
            }
            None => true,
        });
        if let Some(v) = index {
            self.assert_visible(v);
            debug_assert!(self.dtype(v) == DType::I64, "{}: index {v} is no i64", self.name);
        }
        let mut strides = at.strides;
        for &(axis, _) in &strides {
            debug_assert!(self.axes[axis].open.is_some(), "{}: {axis} is not open", self.name);
        }
        strides.retain(|s| self.axes[s.0].extent != 1);
        strides.sort_unstable();
        strides.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        strides.retain(|s| s.1 != 0);
        At { offset, strides, index }
    }

    fn assert_visible(&self, var: Var) {
        if cfg!(debug_assertions) {
            self.block_of(var);
        }
    }

    fn assert_written(&self, param: Param, value: Var) {
        self.assert_visible(value);
        let decl = &self.params[param];
        debug_assert!(decl.access.writes(), "{}: {param} is only read", self.name);
        debug_assert!(
            decl.dtype == self.dtype(value),
            "{}: a {} for {param}, which holds {}",
            self.name,
            self.dtype(value),
            decl.dtype
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nest::Cmp;

    fn at(strides: &[(Axis, i64)]) -> At {
        At { strides: strides.iter().copied().collect(), ..At::default() }
    }

    #[test]
    fn invariants_leave_the_loop() {
        let mut b = NestBuilder::new("t");
        let x = b.param(DType::F32, 4, Access::In);
        let y = b.param(DType::F32, 12, Access::Out);
        let (i, j) = (b.axis(4), b.axis(3));
        b.open(i, Range::Whole, Mode::Sequential);
        b.open(j, Range::Whole, Mode::Sequential);
        let v = b.load(x, at(&[(i, 1)]));
        let two = b.float(DType::F32, 2.0);
        let v2 = b.mul(v, two);
        b.store(y, at(&[(i, 3), (j, 1)]), v2);
        b.close(&[]);
        b.close(&[]);
        let nest = b.finish();
        let [Stmt::Let { .. }, Stmt::For(outer)] = &nest.body[..] else { panic!("{nest:#?}") };
        let [Stmt::Load { .. }, Stmt::Let { .. }, Stmt::For(inner)] = &outer.body[..] else {
            panic!("{nest:#?}")
        };
        assert_eq!(inner.body.len(), 1);
    }

    #[test]
    fn loads_stay_in_a_loop_without_iterations() {
        let mut b = NestBuilder::new("t");
        let x = b.param(DType::F32, 0, Access::In);
        let y = b.param(DType::F32, 1, Access::Out);
        let i = b.axis(0);
        b.open(i, Range::Whole, Mode::Sequential);
        let v = b.load(x, At::default());
        let sum = b.close(&[(Monoid::Sum, v)])[0];
        b.store(y, At::default(), sum);
        let nest = b.finish();
        assert!(matches!(&nest.body[..], [Stmt::For(_), Stmt::Store { .. }]));
    }

    #[test]
    fn sharing_ends_with_the_block() {
        let mut b = NestBuilder::new("t");
        let x = b.param(DType::F32, 4, Access::In);
        let y = b.param(DType::F32, 4, Access::Out);
        let i = b.axis(4);
        for _ in 0..2 {
            b.open(i, Range::Whole, Mode::Sequential);
            let v = b.load(x, at(&[(i, 1)]));
            let w = b.load(x, at(&[(i, 1)]));
            assert_eq!(v, w);
            let (p, q) = (b.add(v, w), b.add(w, v));
            assert_eq!(p, q);
            b.store(y, at(&[(i, 1)]), p);
            b.close(&[]);
        }
        let nest = b.finish();
        assert_eq!(nest.vars.len(), 4);
    }

    #[test]
    fn what_nobody_uses_is_removed() {
        let mut b = NestBuilder::new("t");
        let x = b.param(DType::F32, 4, Access::In);
        let y = b.param(DType::F32, 1, Access::Out);
        let i = b.axis(4);
        b.open(i, Range::Whole, Mode::Sequential);
        let v = b.load(x, at(&[(i, 1)]));
        let w = b.exp_like(v);
        let sums = b.close(&[(Monoid::Sum, v), (Monoid::Sum, w)]);
        b.store(y, At::default(), sums[0]);
        let nest = b.finish();
        let Stmt::For(l) = &nest.body[0] else { panic!("{nest:#?}") };
        assert_eq!((l.accs.len(), l.body.len(), nest.vars.len()), (1, 1, 2));
    }

    impl NestBuilder {
        fn exp_like(&mut self, x: Var) -> Var {
            let half = self.float(self.dtype(x), 0.5);
            let y = self.fma(x, half, x);
            self.sqrt(y)
        }
    }

    #[test]
    fn constants_fold() {
        let mut b = NestBuilder::new("t");
        let (two, three) = (b.float(DType::F64, 2.0), b.float(DType::F64, 3.0));
        let six = b.mul(two, three);
        assert_eq!(b.const_of(six), Some(Const::of_float(DType::F64, 6.0)));
        let less = b.cmp(Cmp::Lt, two, three);
        assert_eq!(b.select(less, three, six), three);
    }
}
