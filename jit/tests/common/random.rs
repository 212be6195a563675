//! Random nests: loops in loops, all types and operations, accesses of all
//! kinds, reductions. All are in bounds and obey the rules of parallel and
//! vector loops.

// Each user takes a part of this.
#![allow(dead_code, reason = "shared by several test binaries")]

use backstitch_ir::DType;
use backstitch_ir::apply;
use backstitch_ir::index::IndexVec;
use backstitch_ir::nest::{
    Acc, Access, At, Axis, Carry, Cmp, Const, For, Mode, Monoid, Nest, Param, ParamDecl, Range,
    ScalarOp, Stmt, Term, Var,
};
use smallvec::{SmallVec, smallvec};

use super::Rng;

/// Axes that are bound, with the largest value each can take.
#[derive(Clone)]
struct Scope {
    axes: Vec<Axis>,
    /// Variables by type.
    vars: Vec<(Var, DType)>,
    /// Bits of these may be looked at: no operation that could make a NaN has
    /// touched them.
    exact: Vec<Var>,
}

/// What random nests are made of.
#[derive(Clone)]
pub struct Taste {
    /// Types of values; computed indices are `i64` all the same.
    dtypes: Vec<DType>,
    /// Binary logarithms of lanes are below this.
    lanes: usize,
    /// How many in a hundred of the innermost loops are vector loops, are long, load their
    /// index, have accesses in odd steps.
    vectors: usize,
    long: usize,
    indices: usize,
    strided: usize,
    /// Most loops inside each other.
    depth: usize,
    /// Most iterations of a loop around others.
    outer: usize,
}

impl Taste {
    /// A bit of everything.
    pub fn anything() -> Self {
        Self {
            dtypes: DType::ALL.to_vec(),
            lanes: 6,
            vectors: 75,
            long: 4,
            indices: 50,
            strided: 60,
            depth: 3,
            outer: 70,
        }
    }

    /// Vector loops on few types, which full-width code can do.
    pub fn vectors(rng: &mut Rng) -> Self {
        const FEW: [&[DType]; 12] = [
            &[DType::F32],
            &[DType::F64],
            &[DType::I32],
            &[DType::I64],
            &[DType::F32, DType::Bool],
            &[DType::F64, DType::Bool],
            &[DType::I64, DType::Bool],
            &[DType::F32, DType::I32],
            &[DType::F64, DType::I64],
            &[DType::F32, DType::F64],
            &[DType::F32, DType::I32, DType::Bool],
            &DType::ALL,
        ];
        Self {
            dtypes: rng.pick(&FEW).to_vec(),
            lanes: 7,
            vectors: 95,
            long: 6,
            indices: 15,
            strided: rng.pick(&[0, 20, 60]),
            depth: 2 + rng.below(2),
            outer: 9,
        }
    }
}

struct Maker<'r> {
    rng: &'r mut Rng,
    taste: Taste,
    nest: Nest,
}

/// A random nest.
pub fn nest(rng: &mut Rng) -> Nest {
    nest_of(rng, Taste::anything())
}

/// A random nest of this taste.
pub fn nest_of(rng: &mut Rng, taste: Taste) -> Nest {
    let nest = Nest {
        name: "random".to_owned(),
        params: IndexVec::new(),
        axes: IndexVec::new(),
        funcs: IndexVec::new(),
        vars: IndexVec::new(),
        body: Vec::new(),
    };
    let mut maker = Maker { rng, taste, nest };
    let scope = Scope { axes: Vec::new(), vars: Vec::new(), exact: Vec::new() };
    let mut body = Vec::new();
    let depth = maker.rng.below(maker.taste.depth + 1);
    maker.fill(&mut body, scope, depth, true);
    maker.nest.body = body;
    maker.nest
}

impl Maker<'_> {
    fn extent(&mut self, depth: usize) -> usize {
        let most = if depth == 1 { 70 } else { self.taste.outer };
        let extent = match self.rng.below(10) {
            0 => 0,
            1 => 1,
            2..=7 if self.taste.outer > 14 => self.rng.below(14),
            _ => self.rng.below(71),
        };
        extent.min(most)
    }

    /// Statements at one level: operations, perhaps loops, stores.
    fn fill(&mut self, body: &mut Vec<Stmt>, mut scope: Scope, depth: usize, order: bool) -> Scope {
        let long = self.rng.chance(self.taste.long);
        let count = if long { 150 + self.rng.below(150) } else { 2 + self.rng.below(8) };
        for _ in 0..count {
            self.operation(body, &mut scope);
        }
        if depth > 0 {
            for _ in 0..1 + self.rng.below(2) {
                self.any_loop(body, &mut scope, depth, order);
                self.operation(body, &mut scope);
            }
        }
        for _ in 0..1 + self.rng.below(2) {
            self.write(body, &mut scope);
        }
        scope
    }

    fn any_loop(&mut self, body: &mut Vec<Stmt>, scope: &mut Scope, depth: usize, order: bool) {
        let extent = self.extent(depth);
        let axis = self.nest.axes.push(extent);
        let vector = depth == 1 && self.rng.chance(self.taste.vectors);
        let mode = match vector {
            true => Mode::Vector { lanes: 1 << self.rng.below(self.taste.lanes) },
            false if self.rng.chance(30) => Mode::Parallel,
            false => Mode::Sequential,
        };
        if self.rng.chance(35) {
            // A loop over chunks around it.
            let size = 1 + self.rng.below(20);
            let chunks = extent.div_ceil(size) + usize::from(self.rng.chance(10));
            let of = self.nest.axes.push(chunks);
            let range = Range::Chunk { of, size };
            let mut inner = Vec::new();
            let mut inside = scope.clone();
            self.one_loop(&mut inner, &mut inside, axis, range, mode, depth, order);
            // What the inner loop made is not visible after the outer one.
            let outer = if self.rng.chance(50) { Mode::Parallel } else { Mode::Sequential };
            body.push(Stmt::For(Box::new(For {
                axis: of,
                range: Range::Whole,
                mode: outer,
                carries: Vec::new(),
                accs: Vec::new(),
                body: inner,
            })));
        } else {
            self.one_loop(body, scope, axis, Range::Whole, mode, depth, order);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a test's recursion")]
    fn one_loop(
        &mut self,
        body: &mut Vec<Stmt>,
        scope: &mut Scope,
        axis: Axis,
        range: Range,
        mode: Mode,
        depth: usize,
        order: bool,
    ) {
        let mut inside = scope.clone();
        inside.axes.push(axis);
        let mut inner = Vec::new();
        let mut carries = Vec::new();
        if mode == Mode::Sequential && !scope.vars.is_empty() {
            for _ in 0..self.rng.below(3) {
                let (init, dtype) = self.rng.pick(&scope.vars);
                let var = self.nest.vars.push(dtype);
                carries.push(Carry { var, init, next: var });
                inside.vars.push((var, dtype));
            }
        }
        if self.rng.chance(self.taste.indices) {
            let var = self.nest.vars.push(DType::I64);
            inner.push(Stmt::Index { var, axis });
            inside.vars.push((var, DType::I64));
            inside.exact.push(var);
        }
        let below = if matches!(mode, Mode::Vector { .. }) { 0 } else { depth - 1 };
        let inside = self.fill(&mut inner, inside, below, order && mode == Mode::Sequential);
        for c in &mut carries {
            let dtype = self.nest.vars[c.var];
            let same: Vec<_> = inside.vars.iter().filter(|v| v.1 == dtype).collect();
            c.next = self.rng.pick(&same).0;
        }
        let mut accs = Vec::new();
        if mode != Mode::Parallel {
            for _ in 0..self.rng.below(4) {
                let (value, dtype) = self.rng.pick(&inside.vars);
                let term = self.term(&inside.vars, value, dtype);
                if term.takes(dtype) {
                    let result = self.nest.vars.push(dtype);
                    accs.push(Acc { result, term });
                    scope.vars.push((result, dtype));
                }
            }
        }
        body.push(Stmt::For(Box::new(For { axis, range, mode, carries, accs, body: inner })));
    }

    /// What a reduction takes in: this value, or its product with another.
    fn term(&mut self, known: &[(Var, DType)], value: Var, dtype: DType) -> Term {
        if dtype.is_float() && self.rng.chance(50) {
            let same: Vec<Var> = known.iter().filter(|v| v.1 == dtype).map(|v| v.0).collect();
            return Term::Product([value, self.rng.pick(&same)]);
        }
        Term::One(self.rng.pick(&Monoid::ALL), value)
    }

    /// A variable of that type, loaded or made if there is none, or not enough.
    fn var(&mut self, body: &mut Vec<Stmt>, scope: &mut Scope, dtype: DType) -> Var {
        let known: Vec<Var> = scope.vars.iter().filter(|v| v.1 == dtype).map(|v| v.0).collect();
        if !known.is_empty() && self.rng.chance(85) {
            return self.rng.pick(&known);
        }
        let var = self.nest.vars.push(dtype);
        if self.rng.chance(40) {
            let c = Const { dtype, bits: self.rng.element(dtype) };
            body.push(Stmt::Let { var, op: ScalarOp::Const(c), args: smallvec![] });
        } else {
            let (param, at) = self.read(body, scope, dtype);
            body.push(Stmt::Load { var, param, at });
        }
        scope.vars.push((var, dtype));
        scope.exact.push(var);
        var
    }

    fn operation(&mut self, body: &mut Vec<Stmt>, scope: &mut Scope) {
        let op = self.rng.pick(&ScalarOp::ALL);
        let (from, to) = (self.rng.pick(&self.taste.dtypes), self.rng.pick(&self.taste.dtypes));
        let to = match op {
            ScalarOp::Bitcast | ScalarOp::Convert => to,
            ScalarOp::Cmp(_) => DType::Bool,
            _ => from,
        };
        if apply::function(op, from, to).is_none() {
            return;
        }
        if self.rng.chance(10) && from.is_float() {
            return self.extremum(body, scope, from);
        }
        let mut args: SmallVec<[Var; 3]> = SmallVec::new();
        for i in 0..op.arity() {
            let dtype = if op == ScalarOp::Select && i == 0 { DType::Bool } else { from };
            args.push(self.var(body, scope, dtype));
        }
        if op == ScalarOp::Bitcast && from.is_float() && !scope.exact.contains(&args[0]) {
            return;
        }
        let var = self.nest.vars.push(to);
        body.push(Stmt::Let { var, op, args });
        scope.vars.push((var, to));
        if !to.is_float() {
            scope.exact.push(var);
        }
    }

    /// `x < y ? x : y` and its like.
    fn extremum(&mut self, body: &mut Vec<Stmt>, scope: &mut Scope, dtype: DType) {
        let (x, y) = (self.var(body, scope, dtype), self.var(body, scope, dtype));
        let (cond, var) = (self.nest.vars.push(DType::Bool), self.nest.vars.push(dtype));
        let cmp = ScalarOp::Cmp(self.rng.pick(&Cmp::ALL));
        let (a, b) = if self.rng.chance(50) { (x, y) } else { (y, x) };
        body.push(Stmt::Let { var: cond, op: cmp, args: smallvec![x, y] });
        body.push(Stmt::Let { var, op: ScalarOp::Select, args: smallvec![cond, a, b] });
        scope.vars.extend([(cond, DType::Bool), (var, dtype)]);
    }

    /// A new parameter to read from, and a place in it.
    fn read(&mut self, body: &mut Vec<Stmt>, scope: &mut Scope, dtype: DType) -> (Param, At) {
        let mut at = At { offset: self.rng.below(3) as i64, ..At::default() };
        let mut len = at.offset as usize + 1;
        for &axis in &scope.axes {
            let last = self.nest.axes[axis].saturating_sub(1);
            let stride = match self.rng.chance(self.taste.strided) {
                true => self.rng.pick(&[0, 0, 1, 2, 2, 3, 7, -1, -1, -2]),
                false => self.rng.below(11).min(1) as i64,
            };
            if stride == 0 {
                continue;
            }
            at.strides.push((axis, stride));
            len += stride.unsigned_abs() as usize * last;
            if stride < 0 {
                at.offset -= stride * last as i64;
            }
        }
        let ints: Vec<Var> = scope.vars.iter().filter(|v| v.1 == DType::I64).map(|v| v.0).collect();
        if !ints.is_empty() && self.rng.chance(self.taste.indices / 2) {
            let mask = self.rng.pick(&[0, 3, 15, 31]);
            let (limit, index) = (self.nest.vars.push(DType::I64), self.nest.vars.push(DType::I64));
            let c = Const::of_int(DType::I64, mask);
            body.push(Stmt::Let { var: limit, op: ScalarOp::Const(c), args: smallvec![] });
            let args = smallvec![self.rng.pick(&ints), limit];
            body.push(Stmt::Let { var: index, op: ScalarOp::And, args });
            at.index = Some(index);
            len += mask as usize;
        }
        let param = self.nest.params.push(ParamDecl { dtype, len, access: Access::In });
        (param, at)
    }

    /// A store or an accumulation of something, each in a parameter of its own
    /// in which every iteration of all loops has an element of its own.
    fn write(&mut self, body: &mut Vec<Stmt>, scope: &mut Scope) {
        let dtype = self.rng.pick(&self.taste.dtypes);
        let value = self.var(body, scope, dtype);
        let mut at = At { offset: self.rng.below(4) as i64, ..At::default() };
        let mut axes = scope.axes.clone();
        for i in (1..axes.len()).rev() {
            if self.rng.chance(5 + self.taste.strided / 3) {
                axes.swap(i, self.rng.below(i + 1));
            }
        }
        let odd = self.rng.chance(self.taste.strided / 3);
        let mut step = if odd { 1 + self.rng.below(3) as i64 } else { 1 };
        let mut len = at.offset as usize + 1;
        for &axis in axes.iter().rev() {
            let extent = self.nest.axes[axis] as i64;
            let backwards = self.rng.chance(self.taste.strided / 4);
            at.strides.push((axis, if backwards { -step } else { step }));
            if backwards {
                at.offset += step * (extent - 1).max(0);
            }
            len += (step * (extent - 1).max(0)) as usize;
            // The verifier tells axes apart by their strides alone.
            step *= extent.max(2);
        }
        let term = self.term(&scope.vars, value, dtype);
        if term.takes(dtype) && self.rng.chance(50) {
            let param = self.nest.params.push(ParamDecl { dtype, len, access: Access::InOut });
            if self.rng.chance(40) {
                let var = self.nest.vars.push(dtype);
                body.push(Stmt::Load { var, param, at: at.clone() });
                scope.vars.push((var, dtype));
            }
            body.push(Stmt::Accumulate { param, at, term });
        } else {
            let param = self.nest.params.push(ParamDecl { dtype, len, access: Access::InOut });
            body.push(Stmt::Store { param, at: at.clone(), value });
            if self.rng.chance(30) {
                let var = self.nest.vars.push(dtype);
                body.push(Stmt::Load { var, param, at });
                scope.vars.push((var, dtype));
            }
        }
    }
}

/// How many of a nest's loops are of each kind: vector, chunked, with
/// reductions.
pub fn census(body: &[Stmt], count: &mut [usize; 3]) {
    for s in body {
        if let Stmt::For(l) = s {
            count[0] += usize::from(matches!(l.mode, Mode::Vector { .. }));
            count[1] += usize::from(l.range != Range::Whole);
            count[2] += usize::from(!l.accs.is_empty());
            census(&l.body, count);
        }
    }
}

/// How many iterations all loops together have.
pub fn iterations(nest: &Nest) -> usize {
    fn of(nest: &Nest, body: &[Stmt]) -> usize {
        let each = body.iter().map(|s| match s {
            Stmt::For(l) => {
                let count = match l.range {
                    Range::Whole => nest.axes[l.axis],
                    Range::Chunk { size, .. } => size.min(nest.axes[l.axis]),
                };
                count.saturating_mul(1 + of(nest, &l.body))
            }
            _ => 0,
        });
        each.fold(0, usize::saturating_add)
    }
    of(nest, &nest.body)
}
