//! Printing nests.

use std::fmt::{self, Write};

use super::attrs::{Commas, Constant};
use super::names::sanitized;
use crate::build::for_each_result;
use crate::index::IndexVec;
use crate::nest::{Access, At, Axis, For, FuncDecl, Mode, Nest, Range, ScalarOp, Stmt, Term, Var};
use crate::ty::DType;

impl fmt::Display for Nest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_nest(f, self, "kernel", 0)
    }
}

/// Name in text of the use of a parameter.
pub(super) const fn access_name(access: Access) -> &'static str {
    match access {
        Access::In => "in",
        Access::Last => "last",
        Access::Out => "out",
        Access::InOut => "inout",
    }
}

/// Writes a nest whose first line begins with `title`.
pub(super) fn write_nest(
    f: &mut impl Write,
    nest: &Nest,
    title: &str,
    indent: usize,
) -> fmt::Result {
    let pad = " ".repeat(indent);
    let params = nest
        .params
        .entries()
        .map(|(p, decl)| format!("{p}: {} {}[{}]", access_name(decl.access), decl.dtype, decl.len));
    let params: Vec<String> = params.collect();
    writeln!(f, "{title} @{}({}) {{", sanitized(&nest.name), Commas(&params))?;
    let mut defined = Defined {
        vars: IndexVec::filled(false, nest.vars.len()),
        axes: IndexVec::filled(false, nest.axes.len()),
    };
    nest.body.iter().for_each(|stmt| defined.visit(stmt));
    for (axis, extent) in nest.axes.entries().filter(|&(axis, _)| !defined.axes[axis]) {
        writeln!(f, "{pad}  axis {axis}:{extent}")?;
    }
    for (var, dtype) in nest.vars.entries().filter(|&(var, _)| !defined.vars[var]) {
        writeln!(f, "{pad}  var {var} : {dtype}")?;
    }
    for (number, func) in nest.funcs.entries() {
        let FuncDecl { name, params, vars, body, result } = &**func;
        let params = vars.entries().take(*params).map(|(var, dtype)| format!("{var}: {dtype}"));
        let params: Vec<String> = params.collect();
        writeln!(
            f,
            "{pad}  func {number} @{}({}) = {result} {{",
            sanitized(name),
            Commas(&params)
        )?;
        Printer { vars, nest, f }.stmts(body, indent + 4)?;
        writeln!(f, "{pad}  }}")?;
    }
    Printer { vars: &nest.vars, nest, f }.stmts(&nest.body, indent + 2)?;
    write!(f, "{pad}}}")
}

/// What has a definition, and so needs no declaration.
struct Defined {
    vars: IndexVec<Var, bool>,
    axes: IndexVec<Axis, bool>,
}

impl Defined {
    fn visit(&mut self, stmt: &Stmt) {
        for_each_result(stmt, &mut |var| {
            if self.vars.get(var).is_some() {
                self.vars[var] = true;
            }
        });
        if let Stmt::For(l) = stmt {
            for c in &l.carries {
                if self.vars.get(c.var).is_some() {
                    self.vars[c.var] = true;
                }
            }
            if self.axes.get(l.axis).is_some() {
                self.axes[l.axis] = true;
            }
            l.body.iter().for_each(|stmt| self.visit(stmt));
        }
    }
}

struct Printer<'a, F> {
    /// Those of the nest, or of a function.
    vars: &'a IndexVec<Var, DType>,
    nest: &'a Nest,
    f: &'a mut F,
}

impl<F: Write> Printer<'_, F> {
    fn stmts(&mut self, stmts: &[Stmt], indent: usize) -> fmt::Result {
        stmts.iter().try_for_each(|stmt| self.stmt(stmt, indent))
    }

    fn stmt(&mut self, stmt: &Stmt, indent: usize) -> fmt::Result {
        write!(self.f, "{:indent$}", "")?;
        match stmt {
            Stmt::Let { var, op, args } => {
                write!(self.f, "{var} = {}", op.name())?;
                if let ScalarOp::Const(c) = op {
                    // The type of a constant is that of its variable.
                    write!(self.f, " {}", Constant(*c))?;
                }
                let space = if args.is_empty() { "" } else { " " };
                writeln!(self.f, "{space}{} : {}", Commas(args), self.ty(*var))
            }
            Stmt::Call { var, func, args } => {
                let space = if args.is_empty() { "" } else { " " };
                writeln!(self.f, "{var} = call {func}{space}{} : {}", Commas(args), self.ty(*var))
            }
            Stmt::Index { var, axis } => {
                writeln!(self.f, "{var} = index {axis} : {}", self.ty(*var))
            }
            Stmt::Load { var, param, at } => {
                writeln!(self.f, "{var} = load {param}[{at}] : {}", self.ty(*var))
            }
            Stmt::Store { param, at, value } => writeln!(self.f, "{param}[{at}] = {value}"),
            Stmt::Accumulate { param, at, term } => {
                writeln!(self.f, "{param}[{at}] {}= {}", term.op().name(), Factors(term))
            }
            Stmt::For(l) => self.repeat(l, indent),
        }
    }

    fn repeat(&mut self, l: &For, indent: usize) -> fmt::Result {
        match self.nest.axes.get(l.axis) {
            Some(extent) => write!(self.f, "for {}:{extent}", l.axis)?,
            None => write!(self.f, "for {}", l.axis)?,
        }
        if let Range::Chunk { of, size } = l.range {
            write!(self.f, " chunk {size} of {of}")?;
        }
        match l.mode {
            Mode::Sequential => {}
            Mode::Parallel => self.f.write_str(" parallel")?,
            Mode::Vector { lanes } => write!(self.f, " vector {lanes}")?,
        }
        if !l.carries.is_empty() {
            let carry = |c: &crate::nest::Carry| {
                format!("{} = {} then {} : {}", c.var, c.init, c.next, self.ty(c.var))
            };
            let carries: Vec<String> = l.carries.iter().map(carry).collect();
            write!(self.f, " carry ({})", Commas(&carries))?;
        }
        if !l.accs.is_empty() {
            let acc = |a: &crate::nest::Acc| {
                let (op, of) = (a.term.op().name(), Factors(&a.term));
                format!("{} = {op} {of} : {}", a.result, self.ty(a.result))
            };
            let accs: Vec<String> = l.accs.iter().map(acc).collect();
            write!(self.f, " ({})", Commas(&accs))?;
        }
        self.f.write_str(" {\n")?;
        self.stmts(&l.body, indent + 2)?;
        writeln!(self.f, "{:indent$}}}", "")
    }

    fn ty(&self, var: Var) -> &'static str {
        // Also of nests that do not verify.
        self.vars.get(var).map_or("?", |dtype| dtype.name())
    }
}

/// What a term takes: `v0`, or `v0 * v1`.
struct Factors<'a>(&'a Term);

impl fmt::Display for Factors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Term::One(_, value) => write!(f, "{value}"),
            Term::Product([a, b]) => write!(f, "{a} * {b}"),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        let mut sign = |f: &mut fmt::Formatter<'_>, negative: bool| {
            f.write_str(match (std::mem::replace(&mut first, false), negative) {
                (true, false) => "",
                (true, true) => "-",
                (false, false) => " + ",
                (false, true) => " - ",
            })
        };
        for &(axis, stride) in &self.strides {
            sign(f, stride < 0)?;
            match stride.unsigned_abs() {
                1 => write!(f, "{axis}")?,
                n => write!(f, "{axis}*{n}")?,
            }
        }
        if let Some(index) = self.index {
            sign(f, false)?;
            write!(f, "{index}")?;
        }
        if self.offset != 0 || (self.strides.is_empty() && self.index.is_none()) {
            sign(f, self.offset < 0)?;
            write!(f, "{}", self.offset.unsigned_abs())?;
        }
        Ok(())
    }
}
