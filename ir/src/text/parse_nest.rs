//! Reading nests.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::source::Source;
use super::{Attrs, ParseError};
use crate::index::{Idx, IndexVec};
use crate::nest::{
    Acc, Access, At, Axis, Carry, For, Func, FuncDecl, Mode, Monoid, Nest, Param, ParamDecl, Range,
    ScalarOp, Stmt, Term, Var,
};
use crate::ty::DType;

/// Reads a nest. It need not be well-formed: see
/// [`verify_nest`](crate::verify_nest::verify).
///
/// ```
/// let text = "kernel @negate(p0: in f32[8], p1: out f32[8]) {
///   for i0:8 vector 4 {
///     v0 = load p0[i0] : f32
///     v1 = neg v0 : f32
///     p1[i0] = v1
///   }
/// }";
/// let nest = backstitch_ir::text::parse_nest(text).unwrap();
/// assert_eq!(nest.to_string(), text);
/// ```
///
/// # Errors
/// If the text is of another form, or a variable or axis has no type or extent.
pub fn parse_nest(text: &str) -> Result<Nest, ParseError> {
    Source::read(text, |s| {
        s.at.expect("kernel")?;
        nest(s)
    })
}

/// Reads a nest from its name on.
pub(super) fn nest(s: &mut Source<'_>) -> Result<Nest, ParseError> {
    let name = s.title()?;
    let mut params = IndexVec::new();
    s.at.list("(", ")", |at| {
        param(at, params.len()).map(|decl| {
            params.push(decl);
        })
    })?;
    let mut reader = Reader::default();
    let body = reader.block(s)?;
    let at = &s.at;
    let vars = complete(reader.vars).or_else(|v: Var| at.error(format!("a type of {v}")))?;
    let axes = complete(reader.axes).or_else(|i: Axis| at.error(format!("an extent of {i}")))?;
    Ok(Nest { name, params, axes, funcs: reader.funcs, vars, body })
}

fn param(at: &mut Attrs<'_>, count: usize) -> Result<ParamDecl, ParseError> {
    let start = at.clone();
    if at.index::<Param>('p')?.index() != count {
        return start.error(format!("p{count}"));
    }
    at.expect(":")?;
    let uses = [Access::InOut, Access::In, Access::Last, Access::Out];
    let access = uses.into_iter().find(|&a| at.eat(super::nest::access_name(a)));
    let Some(access) = access else { return at.error("`in`, `last`, `out` or `inout`") };
    let dtype = at.dtype()?;
    at.expect("[")?;
    let len = at.digits()?;
    at.expect("]")?;
    Ok(ParamDecl { dtype, len, access })
}

/// What text says about variables or axes.
type Table<I, T> = FxHashMap<I, T>;

/// The table as a vector, or what is missing in it.
fn complete<I: Idx, T>(mut table: Table<I, T>) -> Result<IndexVec<I, T>, I> {
    (0..table.len()).map(I::new).map(|i| table.remove(&i).ok_or(i)).collect()
}

#[derive(Default)]
struct Reader {
    vars: Table<Var, DType>,
    axes: Table<Axis, usize>,
    funcs: IndexVec<Func, Arc<FuncDecl>>,
}

impl Reader {
    fn block(&mut self, s: &mut Source<'_>) -> Result<Vec<Stmt>, ParseError> {
        let mut stmts = Vec::new();
        s.block(|s| {
            if s.at.eat("axis") {
                self.axis(&mut s.at)?;
            } else if s.at.eat("var") {
                let var = s.at.index('v')?;
                self.typed(&mut s.at, var)?;
            } else if s.at.eat("func") {
                self.func(s)?;
            } else {
                stmts.push(self.stmt(s)?);
            }
            Ok(())
        })?;
        Ok(stmts)
    }

    /// Reads a function from its number on.
    fn func(&mut self, s: &mut Source<'_>) -> Result<(), ParseError> {
        let start = s.at.clone();
        if s.at.index::<Func>('f')?.index() != self.funcs.len() {
            return start.error(format!("f{}", self.funcs.len()));
        }
        let name = s.title()?;
        let mut inside = Self::default();
        let mut params = 0;
        s.at.list("(", ")", |at| {
            let start = at.clone();
            let var: Var = at.index('v')?;
            if var.index() != params {
                return start.error(format!("v{params}"));
            }
            params += 1;
            inside.typed(at, var)
        })?;
        s.at.expect("=")?;
        let result = s.at.index('v')?;
        let body = inside.block(s)?;
        let vars = complete(inside.vars).or_else(|v: Var| s.at.error(format!("a type of {v}")))?;
        self.funcs.push(Arc::new(FuncDecl { name, params, vars, body, result }));
        Ok(())
    }

    fn stmt(&mut self, s: &mut Source<'_>) -> Result<Stmt, ParseError> {
        if s.at.eat("for") {
            return Ok(Stmt::For(Box::new(self.repeat(s)?)));
        }
        let at = &mut s.at;
        if at.rest().starts_with('p') {
            return write(at);
        }
        let var = at.index('v')?;
        at.expect("=")?;
        if at.eat("index") {
            let axis = at.index('i')?;
            self.typed(at, var)?;
            return Ok(Stmt::Index { var, axis });
        }
        if at.eat("load") {
            let (param, place) = element(at)?;
            self.typed(at, var)?;
            return Ok(Stmt::Load { var, param, at: place });
        }
        if at.eat("call") {
            let func = at.index('f')?;
            let args = self.operands(at)?;
            self.typed(at, var)?;
            return Ok(Stmt::Call { var, func, args });
        }
        if at.eat("const") {
            let mut value = at.clone();
            at.take("a constant", |c| c != ' ')?;
            let dtype = self.typed(at, var)?;
            let op = ScalarOp::Const(value.constant(dtype)?);
            return Ok(Stmt::Let { var, op, args: SmallVec::new() });
        }
        let start = at.clone();
        let name = at.word()?;
        let Some(&op) = ScalarOp::ALL.iter().find(|op| op.name() == name) else {
            return start.error("a scalar operation");
        };
        let args = self.operands(at)?;
        self.typed(at, var)?;
        Ok(Stmt::Let { var, op, args })
    }

    /// Reads variables up to a colon.
    fn operands(&mut self, at: &mut Attrs<'_>) -> Result<SmallVec<[Var; 3]>, ParseError> {
        let mut args = SmallVec::new();
        while !at.rest().starts_with(':') {
            if !args.is_empty() {
                at.expect(",")?;
            }
            args.push(at.index('v')?);
        }
        Ok(args)
    }

    fn repeat(&mut self, s: &mut Source<'_>) -> Result<For, ParseError> {
        let axis = self.axis(&mut s.at)?;
        let at = &mut s.at;
        let range = if at.eat("chunk") {
            let size = at.digits()?;
            at.expect("of")?;
            Range::Chunk { of: at.index('i')?, size }
        } else {
            Range::Whole
        };
        let mode = if at.eat("parallel") {
            Mode::Parallel
        } else if at.eat("vector") {
            Mode::Vector { lanes: at.digits()? }
        } else {
            Mode::Sequential
        };
        let carries = if at.eat("carry") {
            at.list("(", ")", |at| {
                let var = at.index('v')?;
                at.expect("=")?;
                let init = at.index('v')?;
                at.expect("then")?;
                let next = at.index('v')?;
                self.typed(at, var)?;
                Ok(Carry { var, init, next })
            })?
        } else {
            vec![]
        };
        let accs = if at.rest().starts_with('(') {
            at.list("(", ")", |at| {
                let result = at.index('v')?;
                at.expect("=")?;
                let op = monoid(at)?;
                let term = term(at, op)?;
                self.typed(at, result)?;
                Ok(Acc { result, term })
            })?
        } else {
            vec![]
        };
        let body = self.block(s)?;
        Ok(For { axis, range, mode, carries, accs, body })
    }

    /// Reads `i0:1000`.
    fn axis(&mut self, at: &mut Attrs<'_>) -> Result<Axis, ParseError> {
        let axis = at.index('i')?;
        at.expect(":")?;
        let start = at.clone();
        let extent = at.digits()?;
        match *self.axes.entry(axis).or_insert(extent) {
            known if known == extent => Ok(axis),
            known => start.error(format!("{known} as before")),
        }
    }

    /// Reads `: f32`, the type of `var`.
    fn typed(&mut self, at: &mut Attrs<'_>, var: Var) -> Result<DType, ParseError> {
        at.expect(":")?;
        let start = at.clone();
        let dtype = at.dtype()?;
        match *self.vars.entry(var).or_insert(dtype) {
            known if known == dtype => Ok(dtype),
            known => start.error(format!("{known} as before")),
        }
    }
}

/// Reads `p0[i0] = v1`, `p0[i0] sum= v1` or `p0[i0] sum= v1 * v2`.
fn write(at: &mut Attrs<'_>) -> Result<Stmt, ParseError> {
    let (param, place) = element(at)?;
    if at.eat("=") {
        return Ok(Stmt::Store { param, at: place, value: at.index('v')? });
    }
    let op = monoid(at)?;
    at.expect("=")?;
    Ok(Stmt::Accumulate { param, at: place, term: term(at, op)? })
}

/// Reads `v1` or, in a sum, `v1 * v2`.
fn term(at: &mut Attrs<'_>, op: Monoid) -> Result<Term, ParseError> {
    let value = at.index('v')?;
    let product = op == Monoid::Sum && at.eat("*");
    Ok(if product { Term::Product([value, at.index('v')?]) } else { Term::One(op, value) })
}

fn monoid(at: &mut Attrs<'_>) -> Result<Monoid, ParseError> {
    let start = at.clone();
    let name = at.word()?;
    Monoid::from_name(name).map_or_else(|| start.error("a combination such as `sum`"), Ok)
}

/// Reads `p0[i0*4 + i1 + v2 - 3]`.
fn element(at: &mut Attrs<'_>) -> Result<(Param, At), ParseError> {
    let param = at.index('p')?;
    at.expect("[")?;
    let mut place = At::default();
    let mut first = true;
    while !at.eat("]") {
        let start = at.clone();
        let sign = match (at.eat("-"), std::mem::replace(&mut first, false)) {
            (true, _) => -1,
            (false, true) => 1,
            (false, false) => at.expect("+").map(|()| 1)?,
        };
        let signed = |n: u64| {
            let n = i64::try_from(i128::from(n) * sign);
            n.or_else(|_| start.error("a smaller number"))
        };
        if at.rest().starts_with('i') {
            let axis = at.index('i')?;
            let stride = if at.eat("*") { at.digits()? } else { 1 };
            place.strides.push((axis, signed(stride)?));
        } else if at.rest().starts_with('v') {
            if sign < 0 || place.index.is_some() {
                return start.error("one index, which is added");
            }
            place.index = Some(at.index('v')?);
        } else {
            place.offset = signed(at.digits()?)?;
        }
    }
    Ok((param, place))
}
