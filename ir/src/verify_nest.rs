//! Checks a nest against the invariants of its language:
//!
//! 1. A variable is defined once, before its uses, in their block or in one
//!    around it. The result of an accumulator is visible after its loop, not
//!    inside; what it accumulates is visible in the loop's body.
//! 2. Operations exist for the types of their operands and result
//!    ([`apply::check`]). Indices are `i64`. Loaded, stored and accumulated
//!    values have the type of the parameter; monoids take their operands.
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
//!
//! 9. A function is operations alone, on its parameters and on what it defines; so is its
//!    result. It is called outside loops, with operands of the types of its parameters.
//!
//! Not checked, because it depends on values: that what is read from an
//! [`Out`](crate::nest::Access::Out) parameter was stored before, that an iteration of a vector
//! or parallel loop does not read what another one writes, and that computed
//! indices are in bounds.

use crate::apply;
use crate::build::for_each_result;
use crate::index::IndexVec;
use crate::nest::{At, Axis, For, FuncDecl, Mode, Monoid, Nest, Param, Range, Stmt, Var};
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

/// What is wrong with a function.
fn function(nest: &Nest, func: &FuncDecl) -> Vec<String> {
    let mut mistakes = vec![];
    let mut require = |holds: bool, mistake: &dyn Fn() -> String| {
        if !holds {
            mistakes.push(format!("{}: {}: {}", nest.name, func.name, mistake()));
        }
        holds
    };
    let vars = &func.vars;
    let mut known = IndexVec::filled(false, vars.len());
    require(func.params <= vars.len(), &|| "parameters without types".to_owned());
    known.keys().take(func.params).collect::<Vec<_>>().into_iter().for_each(|v| known[v] = true);
    for stmt in &func.body {
        let Stmt::Let { var, op, args } = stmt else {
            require(false, &|| "something else than operations".to_owned());
            continue;
        };
        let visible = |a: Var| known.get(a).copied().unwrap_or(false);
        let all = args.iter().all(|&a| require(visible(a), &|| format!("{a} is not visible here")));
        let fresh = known.get(*var).is_some_and(|known| !known);
        if require(fresh, &|| format!("{var} is defined twice, or not at all")) && all {
            let types: Vec<DType> = args.iter().map(|&a| vars[a]).collect();
            if let Err(why) = apply::check(*op, &types, vars[*var]) {
                require(false, &|| format!("{var}: {why}"));
            }
        }
        if fresh {
            known[*var] = true;
        }
    }
    let result = func.result;
    require(known.get(result) == Some(&true), &|| format!("{result} is not defined"));
    mistakes
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
            Stmt::Accumulate { param, at, op, value } => {
                self.write(*param, at, *value);
                self.takes(*op, *value);
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
            self.takes(acc.op, acc.value);
            results.push(self.used(acc.value));
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
        for (acc, value) in l.accs.iter().zip(results) {
            let dtype = self.define(acc.result);
            if let Some(value) = value {
                self.expect(acc.result, dtype, value);
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

    fn takes(&mut self, monoid: Monoid, value: Var) {
        if let Some(dtype) = self.used(value) {
            self.require(monoid.takes(dtype), || format!("{} of {dtype}", monoid.name()));
        }
    }

    fn loop_over(&self, axis: Axis) -> Option<&'a For> {
        self.loops.iter().find(|l| l.axis == axis).copied()
    }

    /// Checks an access; gives the type of the parameter.
    fn access(&mut self, param: Param, at: &At) -> Option<DType> {
        let decl = self.nest.params.get(param);
        self.require(decl.is_some(), || format!("there is no parameter {param}"));
        let decl = decl?;
        let mut affine = true;
        for (k, &(axis, stride)) in at.strides.iter().enumerate() {
            let open = self.loop_over(axis).is_some();
            self.require(open, || format!("{param} at {axis}, which is not open"));
            let once = at.strides[..k].iter().all(|s| s.0 != axis);
            self.require(once && stride != 0, || format!("{param} at {axis} twice or times 0"));
            affine &= open && once;
        }
        if let Some(index) = at.index {
            let dtype = self.used(index);
            self.expect(index, dtype, DType::I64);
        }
        if affine && !self.loops.iter().any(|l| self.span(l).is_none()) {
            let (low, high) = self.bounds(at);
            let inside = match at.index {
                None => 0 <= low && usize::try_from(high).is_ok_and(|h| h < decl.len),
                Some(_) => decl.len > 0,
            };
            self.require(inside, || {
                format!("{param} at {low}..={high}, but it has {} elements", decl.len)
            });
        }
        Some(decl.dtype)
    }

    fn write(&mut self, param: Param, at: &At, value: Var) {
        let Some(dtype) = self.access(param, at) else { return };
        let value_type = self.used(value);
        self.expect(value, value_type, dtype);
        let writable = self.nest.params[param].access.writes();
        self.require(writable, || format!("{param} is only read, but written here"));
        for k in 0..self.loops.len() {
            let l = self.loops[k];
            if l.mode == Mode::Sequential || self.nest.axes[l.axis] <= 1 {
                continue;
            }
            let moving = |v: Var| self.nest.vars.get(v).is_some() && self.depth[v] > Some(k);
            let seen = !at.index.is_some_and(moving) && self.distinguished(k, at);
            self.require(seen, || {
                format!("iterations over {} may write the same element of {param}", l.axis)
            });
        }
    }

    /// The last value of a loop's axis over all its runs; `None` if it has none.
    fn span(&self, l: &For) -> Option<i64> {
        let extent = self.nest.axes[l.axis];
        let end = match l.range {
            Range::Whole => extent,
            Range::Chunk { of, size } => {
                extent.min(self.nest.axes.get(of).map_or(0, |n| n.saturating_mul(size)))
            }
        };
        i64::try_from(end).ok()?.checked_sub(1).filter(|&last| last >= 0)
    }

    /// The least and the greatest element that the affine part reaches.
    ///
    /// An axis that is chunked by another one of the access moves with it: for
    /// a given chunk both ends of its range are linear in the number of the
    /// chunk, but in the last chunk. So the first, the last, and the last but
    /// one are all that need be looked at.
    fn bounds(&self, at: &At) -> (i64, i64) {
        let counter = |l: &For| match l.range {
            Range::Chunk { of, size } if at.stride(of) != 0 => Some((of, size)),
            _ => None,
        };
        let (mut low, mut high) = (at.offset, at.offset);
        for l in self.loops.iter().filter(|l| at.stride(l.axis) != 0) {
            let stride = at.stride(l.axis);
            let last = self.span(l).unwrap_or(0);
            if counter(l)
                .is_some_and(|(of, _)| self.loop_over(of).is_some_and(|o| counter(o).is_none()))
            {
                continue;
            }
            let followers = self.loops.iter().filter(|f| counter(f).is_some_and(|c| c.0 == l.axis));
            let at_chunk = |chunk: i64| {
                let mut ends = (stride.saturating_mul(chunk), stride.saturating_mul(chunk));
                for f in followers.clone() {
                    let size = counter(f).map_or(1, |c| c.1 as i64);
                    let (first, end) = (chunk.saturating_mul(size), self.span(f).unwrap_or(0));
                    let last = end.min(first.saturating_add(size - 1)).max(first);
                    let step = at.stride(f.axis);
                    let (a, b) = (step.saturating_mul(first), step.saturating_mul(last));
                    ends = (ends.0.saturating_add(a.min(b)), ends.1.saturating_add(a.max(b)));
                }
                ends
            };
            let ends = [0, (last - 1).max(0), last].map(at_chunk);
            low = low.saturating_add(ends.iter().map(|e| e.0).min().unwrap_or(0));
            high = high.saturating_add(ends.iter().map(|e| e.1).max().unwrap_or(0));
        }
        (low, high)
    }

    /// Whether the element written tells the iteration of loop `k`.
    ///
    /// The axes of this loop and of those inside are the digits of the element,
    /// with the strides as weights. From the greatest down, a digit is told as
    /// long as its weight exceeds what all smaller ones can add up to. Of equal
    /// weights, that of an axis with one value counts as the smaller: it adds
    /// nothing. A chunk is told as well by an axis that it is a chunk of.
    fn distinguished(&self, k: usize, at: &At) -> bool {
        let inside = &self.loops[k..];
        let mut digits: Vec<_> = inside
            .iter()
            .filter(|l| at.stride(l.axis) != 0)
            .map(|l| {
                let last = match l.range {
                    Range::Chunk { of, size } if inside.iter().all(|o| o.axis != of) => {
                        self.span(l).unwrap_or(0).min(size as i64 - 1)
                    }
                    _ => self.span(l).unwrap_or(0),
                };
                (at.stride(l.axis).saturating_abs(), last, *l)
            })
            .collect();
        digits.sort_by_key(|&(weight, last, _)| (weight, last));
        let reach = |&(weight, last, _): &(i64, i64, _)| weight.saturating_mul(last);
        let mut below = digits.iter().map(reach).fold(0, i64::saturating_add);
        let mut told = vec![];
        while let Some(digit) = digits.pop() {
            below = below.saturating_sub(reach(&digit));
            if digit.0 <= below {
                break;
            }
            told.push(digit.2);
        }
        while let Some(l) = told.pop() {
            if l.axis == self.loops[k].axis {
                return true;
            }
            if let Range::Chunk { of, .. } = l.range {
                told.extend(inside.iter().find(|o| o.axis == of));
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::build::NestBuilder;
    use crate::index::Idx;
    use crate::nest::{Access, ScalarOp};

    fn at(strides: &[(Axis, i64)]) -> At {
        At { strides: strides.iter().copied().collect(), ..At::default() }
    }

    /// Stores zeros over two axes, the outer one parallel.
    fn fill(len: usize, extents: [usize; 2], strides: [i64; 2]) -> Nest {
        let mut b = NestBuilder::new("fill");
        let y = b.param(DType::F32, len, Access::Out);
        let (i, j) = (b.axis(extents[0]), b.axis(extents[1]));
        b.open(i, Range::Whole, Mode::Parallel);
        b.open(j, Range::Whole, Mode::Sequential);
        let zero = b.float(DType::F32, 0.0);
        b.store(y, at(&[(i, strides[0]), (j, strides[1])]), zero);
        b.close(&[]);
        b.close(&[]);
        b.finish()
    }

    fn says(nest: &Nest, what: &str) -> bool {
        verify(nest).is_err_and(|m| m.iter().any(|m| m.contains(what)))
    }

    #[test]
    fn accesses_are_in_bounds() {
        assert_eq!(verify(&fill(12, [4, 3], [3, 1])), Ok(()));
        assert!(says(&fill(11, [4, 3], [3, 1]), "11 elements"));
        assert!(says(&fill(12, [4, 3], [-3, 1]), "-9..=2"));
        assert_eq!(verify(&fill(0, [0, 3], [3, 1])), Ok(()));
    }

    #[test]
    fn parallel_iterations_write_apart() {
        assert_eq!(verify(&fill(12, [4, 3], [1, 4])), Ok(()));
        assert!(says(&fill(12, [4, 3], [2, 1]), "same element"));
        assert!(says(&fill(12, [4, 3], [0, 1]), "same element"));
    }

    #[test]
    fn an_axis_with_one_value_shares_a_stride() {
        // Outer and inner loops have the same stride; one of them runs once.
        assert_eq!(verify(&fill(4, [4, 1], [1, 1])), Ok(()));
        assert_eq!(verify(&fill(4, [4, 1], [-1, 1])).map_err(|m| m.len()), Err(1));
        assert_eq!(verify(&fill(4, [1, 4], [1, 1])), Ok(()));
        assert!(says(&fill(5, [4, 2], [1, 1]), "same element"));
    }

    #[test]
    fn chunks_tell_themselves_apart() {
        let chunked = |len: usize, by_chunk: i64| {
            let mut b = NestBuilder::new("chunked");
            let y = b.param(DType::F32, len, Access::Out);
            let (c, i) = (b.axis(3), b.axis(10));
            b.open(c, Range::Whole, Mode::Parallel);
            b.open(i, Range::Chunk { of: c, size: 4 }, Mode::Vector { lanes: 4 });
            let zero = b.float(DType::F32, 0.0);
            b.store(y, at(&[(c, by_chunk), (i, 1)]), zero);
            b.close(&[]);
            b.close(&[]);
            b.finish()
        };
        assert_eq!(verify(&chunked(10, 0)), Ok(()));
        // Positions within a chunk: 0..=3. No two iterations of the vector
        // loop meet, but those of the parallel loop do.
        assert_eq!(verify(&chunked(4, -4)).map_err(|m| m.len()), Err(1));
        assert!(says(&chunked(11, 1), "0..=11"));
    }

    #[test]
    fn variables_are_visible_and_typed() {
        let mut nest = fill(12, [4, 3], [3, 1]);
        let wrong = nest.vars.push(DType::F64);
        let op = ScalarOp::Sqrt;
        nest.body.insert(0, Stmt::Let { var: wrong, op, args: smallvec![Var::new(0)] });
        assert!(says(&nest, "v0 is not visible"));
        nest.body.swap(0, 1);
        assert!(says(&nest, "no sqrt from f32 to f64"));
    }

    #[test]
    fn what_is_only_read_is_not_written() {
        let mut nest = fill(12, [4, 3], [3, 1]);
        nest.params[Param::new(0)].access = Access::In;
        assert!(says(&nest, "only read"));
    }

    #[test]
    fn carried_variables_are_of_loops_in_order() {
        let running = |mode: &str, init: &str, next: &str| {
            let text = format!(
                "kernel @t(p0: out f32[4]) {{\n  v0 = const 1.0 : f32\n  v1 = const 2 : i64\n  \
                 for i0:4{mode} carry (v2 = {init} then {next} : f32) {{\n    v3 = add v2, v0 : f32\n    \
                 p0[i0] = v3\n  }}\n}}"
            );
            crate::text::parse_nest(&text).expect("a nest")
        };
        assert_eq!(verify(&running("", "v0", "v3")), Ok(()));
        assert!(says(&running(" parallel", "v0", "v3"), "carries variables out of order"));
        assert!(says(&running(" vector 4", "v0", "v3"), "carries variables out of order"));
        assert!(says(&running("", "v3", "v3"), "v3 is not visible"));
        assert!(says(&running("", "v0", "v1"), "v1 should be f32"));
    }

    #[test]
    fn vector_loops_are_innermost() {
        let mut nest = fill(12, [4, 3], [3, 1]);
        let Some(Stmt::For(outer)) = nest.body.last_mut() else { panic!() };
        outer.mode = Mode::Vector { lanes: 3 };
        assert!(says(&nest, "inside a vector loop"));
        assert!(says(&nest, "3 lanes"));
    }
}
