//! Checks a nest against the invariants of its language:
//!
//! 1. A variable is defined once, before its uses, in their block or in one
//!    around it. The result of an accumulator is visible after its loop, not
//!    inside; what it accumulates is visible in the loop's body.
//! 2. Operations exist for the types of their operands and result
//!    ([`apply::check`]). Indices are `i64`. Loaded, stored and accumulated
//!    values have the type of the parameter; monoids take their operands, and
//!    products are of floats of one type.
//! 3. The axis of a loop is not that of a loop around it. Chunks are of a
//!    positive size and counted by the axis of a loop around.
//! 4. A vector loop has a power of two of lanes and no loop inside. A parallel
//!    loop carries no accumulators. Only a sequential loop carries variables;
//!    their first values are visible before the loop, the next ones in its body,
//!    and all three have one type.
//! 5. The affine part of an access names axes of enclosing loops, none twice,
//!    none with stride 0.
//! 6. An access without a computed index is inside its parameter for all
//!    iterations of the loops around it. (One with a computed index, only if it
//!    is not empty: the index is clamped by whoever made the nest.)
//! 7. Parameters with [`In`](crate::nest::Access::In) or [`Last`](crate::nest::Access::Last)
//!    are not written.
//! 8. Different iterations of a vector or parallel loop write different
//!    elements, and this can be seen from the strides: see `distinguished`.
//! 9. A function is operations alone, on its parameters and on what it defines; so is its
//!    result. It is called outside loops, with operands of the types of its parameters.
//!
//! Not checked, because it depends on values: that what is read from an
//! [`Out`](crate::nest::Access::Out) parameter was stored before, that an iteration of a vector
//! or parallel loop does not read what another one writes, and that computed
//! indices are in bounds.

mod element;
mod function;

use self::function::function;
use crate::apply;
use crate::build::for_each_result;
use crate::index::IndexVec;
use crate::nest::{Axis, For, Mode, Nest, Range, Stmt, Term, Var};
use crate::ty::DType;

/// Whether the nest is well-formed; if not, all that is wrong.
pub fn verify(nest: &Nest) -> Result<(), Vec<String>> {
    let mut v = Verifier {
        nest,
        defined: IndexVec::filled(false, nest.vars.len()),
        depth: IndexVec::filled(None, nest.vars.len()),
        loops: vec![],
        mistakes: vec![],
    };
    for func in nest.funcs.iter() {
        v.mistakes.extend(function(nest, func));
    }
    for stmt in &nest.body {
        v.stmt(stmt);
    }
    if v.mistakes.is_empty() { Ok(()) } else { Err(v.mistakes) }
}

struct Verifier<'a> {
    nest: &'a Nest,
    defined: IndexVec<Var, bool>,
    /// Number of loops around the definition of each visible variable.
    depth: IndexVec<Var, Option<usize>>,
    /// The loops around, outermost first.
    loops: Vec<&'a For>,
    mistakes: Vec<String>,
}

impl<'a> Verifier<'a> {
    fn require(&mut self, holds: bool, mistake: impl FnOnce() -> String) {
        if !holds {
            let mut text = format!("{}: ", self.nest.name);
            for l in &self.loops {
                text += &format!("for {}: ", l.axis);
            }
            self.mistakes.push(text + &mistake());
        }
    }

    fn stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::Let { var, op, args } => {
                let known: Option<Vec<_>> = args.iter().map(|&a| self.used(a)).collect();
                let result = self.define(*var);
                if let (Some(args), Some(result)) = (known, result)
                    && let Err(why) = apply::check(*op, &args, result)
                {
                    self.require(false, || format!("{var}: {why}"));
                }
            }
            Stmt::Call { var, func, args } => {
                let known: Option<Vec<_>> = args.iter().map(|&a| self.used(a)).collect();
                let result = self.define(*var);
                let outside = self.loops.is_empty();
                self.require(outside, || format!("{var}: {func} is called in a loop"));
                let decl = self.nest.funcs.get(*func);
                self.require(decl.is_some(), || format!("there is no function {func}"));
                if let (Some(args), Some(decl)) = (known, decl) {
                    let takes = args.iter().copied().eq(decl.param_types());
                    self.require(takes, || format!("{var}: {func} takes other operands"));
                    if let Some(&dtype) = decl.vars.get(decl.result) {
                        self.expect(*var, result, dtype);
                    }
                }
            }
            Stmt::Index { var, axis } => {
                let open = self.loop_over(*axis).is_some();
                self.require(open, || format!("{var} is the index of {axis}, which is not open"));
                let dtype = self.define(*var);
                self.expect(*var, dtype, DType::I64);
            }
            Stmt::Load { var, param, at } => {
                let held = self.access(*param, at);
                let dtype = self.define(*var);
                if let Some(held) = held {
                    self.expect(*var, dtype, held);
                }
            }
            Stmt::Store { param, at, value } => {
                self.write(*param, at, *value);
            }
            Stmt::Accumulate { param, at, term } => {
                self.write(*param, at, term.values()[0]);
                self.takes(term);
            }
            Stmt::For(l) => self.repeat(l),
        }
    }

    fn repeat(&mut self, l: &'a For) {
        let axis = l.axis;
        let known = self.nest.axes.get(axis).is_some();
        self.require(known, || format!("there is no axis {axis}"));
        let free = self.loop_over(axis).is_none();
        self.require(free, || format!("a loop over {axis} inside another"));
        let vector = |l: &For| matches!(l.mode, Mode::Vector { .. });
        let inside = self.loops.iter().any(|l| vector(l));
        self.require(!inside, || format!("a loop over {axis} inside a vector loop"));
        if let Range::Chunk { of, size } = l.range {
            let open = self.loop_over(of).is_some();
            self.require(open, || format!("chunks of {axis} counted by {of}, which is not open"));
            self.require(size > 0, || format!("empty chunks of {axis}"));
        }
        if let Mode::Vector { lanes } = l.mode {
            self.require(lanes.is_power_of_two(), || format!("{lanes} lanes over {axis}"));
        }
        let carries = l.mode != Mode::Parallel || l.accs.is_empty();
        self.require(carries, || format!("the parallel loop over {axis} has accumulators"));
        let in_order = l.mode == Mode::Sequential || l.carries.is_empty();
        self.require(in_order, || format!("the loop over {axis} carries variables out of order"));

        if !known {
            return;
        }
        let inits: Vec<_> = l.carries.iter().map(|c| self.used(c.init)).collect();
        self.loops.push(l);
        for (c, init) in l.carries.iter().zip(inits) {
            let dtype = self.define(c.var);
            if let Some(init) = init {
                self.expect(c.var, dtype, init);
            }
        }
        for stmt in &l.body {
            self.stmt(stmt);
        }
        let mut results = vec![];
        for acc in &l.accs {
            results.push(self.takes(&acc.term));
        }
        for c in &l.carries {
            let next = self.used(c.next);
            if let Some(&dtype) = self.nest.vars.get(c.var) {
                self.expect(c.next, next, dtype);
            }
        }
        self.hide(&l.body);
        for c in &l.carries {
            if self.nest.vars.get(c.var).is_some() {
                self.depth[c.var] = None;
            }
        }
        self.loops.pop();
        for (acc, of) in l.accs.iter().zip(results) {
            let dtype = self.define(acc.result);
            if let Some(of) = of {
                self.expect(acc.result, dtype, of);
            }
        }
    }

    fn define(&mut self, var: Var) -> Option<DType> {
        let known = self.nest.vars.get(var).copied();
        self.require(known.is_some(), || format!("there is no variable {var}"));
        known?;
        self.require(!self.defined[var], || format!("{var} is defined twice"));
        self.defined[var] = true;
        self.depth[var] = Some(self.loops.len());
        known
    }

    /// Ends the visibility of what these statements defined.
    fn hide(&mut self, stmts: &[Stmt]) {
        let mut hide = |var: Var| {
            if self.nest.vars.get(var).is_some() {
                self.depth[var] = None;
            }
        };
        stmts.iter().for_each(|stmt| for_each_result(stmt, &mut hide));
    }

    /// Type of a variable, if it is visible.
    fn used(&mut self, var: Var) -> Option<DType> {
        let visible = self.nest.vars.get(var).is_some() && self.depth[var].is_some();
        self.require(visible, || format!("{var} is not visible here"));
        visible.then(|| self.nest.vars[var])
    }

    fn expect(&mut self, var: Var, dtype: Option<DType>, wanted: DType) {
        let fits = dtype.is_none_or(|d| d == wanted);
        self.require(fits, || format!("{var} should be {wanted}"));
    }

    /// Type of a term, if its values are visible.
    fn takes(&mut self, term: &Term) -> Option<DType> {
        let types: Vec<_> = term.values().iter().map(|&v| (v, self.used(v))).collect();
        let dtype = types[0].1?;
        self.require(term.takes(dtype), || match term {
            Term::One(op, _) => format!("{} of {dtype}", op.name()),
            Term::Product(_) => format!("products of {dtype}"),
        });
        for (value, of) in types {
            self.expect(value, of, dtype);
        }
        Some(dtype)
    }

    fn loop_over(&self, axis: Axis) -> Option<&'a For> {
        self.loops.iter().find(|l| l.axis == axis).copied()
    }
}

#[cfg(test)]
mod tests;
