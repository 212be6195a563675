//! Printing graphs.

use std::fmt::{self, Write};

use smallvec::SmallVec;

use super::attrs::Commas;
use super::names::{Names, sanitized};
use crate::graph::{Graph, Node, Value};
use crate::index::Idx;
use crate::op::{Family, Op};
use crate::ops::{Cond, FixedPoint, Loop, Region, Rows, Rule, Trip, Unroll};
use crate::ty::Type;

/// Columns give way where a line is longer than this.
const MAX_NAMES: usize = 16;
const MAX_BODY: usize = 48;
const MAX_TYPES: usize = 20;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&graph(self, 0))
    }
}

/// The parameters of an operation, as they stand after the operands: empty, or
/// a space and the parameters.
pub(crate) struct Params<'a>(pub &'a Op);

impl fmt::Display for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut params = String::new();
        match self.0.family() {
            Family::Array(p) => {
                struct Written<'a>(&'a dyn crate::op::Primitive);
                impl fmt::Display for Written<'_> {
                    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        self.0.write(f)
                    }
                }
                write!(params, "{}", Written(p))?;
            }
            Family::Cond(_) => {}
            Family::Region(r) => match &r.rule {
                Rule::Checkpoint { kept: 0 } => write!(params, "checkpoint")?,
                Rule::Checkpoint { kept } => write!(params, "checkpoint kept {kept}")?,
                Rule::Recompute => write!(params, "recompute")?,
                Rule::Custom { wrt, .. } => write!(params, "wrt {wrt}")?,
                Rule::FixedPoint(FixedPoint { tolerance, limit, .. }) => {
                    write!(params, "tolerance {tolerance} limit {limit}")?;
                }
            },
            Family::Loop(l) => {
                write!(params, "carries {} consts {} pops {}", l.carries, l.consts, l.pops)?;
                if l.trip == Trip::Entries {
                    write!(params, " entries")?;
                }
                match l.unroll {
                    Unroll::Auto => {}
                    Unroll::Never => write!(params, " unroll never")?,
                    Unroll::Fully => write!(params, " unroll fully")?,
                    Unroll::UpTo(operations) => write!(params, " unroll upto {operations}")?,
                    Unroll::By(factor) => write!(params, " unroll by {factor}")?,
                }
            }
            Family::Rows(r) => {
                let back = match r {
                    Rows::ToStack { back } => back,
                    Rows::FromStack { ty, back } => {
                        write!(params, "{ty}")?;
                        back
                    }
                };
                if *back {
                    write!(params, "{}back", if params.is_empty() { "" } else { " " })?;
                }
            }
        }
        let space = if params.is_empty() { "" } else { " " };
        write!(f, "{space}{params}")
    }
}

/// The columns of one line. Only `body` may be several lines.
struct Row {
    names: String,
    body: String,
    types: String,
    comment: String,
}

fn graph(g: &Graph, indent: usize) -> String {
    let names = Names::new(g);
    let leading = leading_inputs(g);
    let rows: Vec<Row> = g.nodes().skip(leading).map(|n| row(g, &names, n, indent + 2)).collect();
    let width = |column: fn(&Row) -> &str, most: usize| {
        let widths = rows.iter().map(|r| column(r).chars().count());
        widths.filter(|&w| w <= most).max().unwrap_or(0)
    };
    let widths = [
        width(|r| &r.names, MAX_NAMES),
        width(|r| if r.body.contains('\n') { "" } else { &r.body }, MAX_BODY),
        width(|r| &r.types, MAX_TYPES),
    ];
    let pad = " ".repeat(indent);
    let mut out = header(g, &names, leading);
    out.push_str(" {\n");
    for row in &rows {
        out.push_str(&format!("{pad}  {}\n", aligned(row, widths)));
    }
    let outputs = names.list(g.outputs());
    out.push_str(format!("{pad}  return {outputs}").trim_end());
    out.push_str(&format!("\n{pad}}}"));
    out
}

/// Inputs that come before all other nodes; only these need no line.
fn leading_inputs(g: &Graph) -> usize {
    let in_order = g.nodes().enumerate().take_while(|&(i, n)| match g.op(n) {
        Op::Input(input) => input.index == i,
        _ => false,
    });
    in_order.count()
}

fn header(g: &Graph, names: &Names, leading: usize) -> String {
    let typed = |&v: &Value| format!("{}: {}", names.get(v), g.ty(v));
    let (first, later) = g.inputs().split_at(leading.min(g.inputs().len()));
    let mut out = format!("graph @{}({}", sanitized(&g.name), Commas(first.iter().map(typed)));
    if !later.is_empty() {
        let space = if first.is_empty() { "" } else { " " };
        out.push_str(&format!(";{space}{}", Commas(later.iter().map(typed))));
    }
    let known = g.outputs().iter().filter(|v| v.index() < g.value_count());
    out.push_str(&format!(") -> ({})", Commas(known.map(|&v| g.ty(v)))));
    out
}

fn aligned(row: &Row, [names, body, types]: [usize; 3]) -> String {
    let several = row.body.contains('\n');
    let (names, body) = if several { (0, 0) } else { (names, body) };
    let line = format!("{:names$} = {:body$} : {:types$}", row.names, row.body, row.types);
    match row.comment.as_str() {
        "" => line.trim_end().into(),
        comment => format!("{line}  # {comment}"),
    }
}

fn row(g: &Graph, names: &Names, n: Node, indent: usize) -> Row {
    let results = g.results(n);
    let types: Vec<&Type> = results.iter().map(|&v| g.ty(v)).collect();
    let mut body = head(g, names, n);
    let pad = " ".repeat(indent);
    let inner = inner_graphs(g.op(n));
    if !inner.is_empty() {
        body.push_str(" {\n");
        for (word, inner) in inner {
            body.push_str(&format!("{pad}  {word} {}\n", graph(inner, indent + 2)));
        }
        body.push_str(&format!("{pad}}}"));
    }
    let or_none = |s: String| if s.is_empty() { "()".into() } else { s };
    Row {
        names: or_none(names.list(&results)),
        body,
        types: or_none(Commas(types).to_string()),
        comment: origin_of(g, names, n),
    }
}

/// The graphs that an operation holds, and the words before them in text.
pub(crate) fn inner_graphs(op: &Op) -> SmallVec<[(&'static str, &Graph); 2]> {
    let mut graphs = SmallVec::<[(_, &Graph); 2]>::new();
    match op {
        Op::Cond(Cond { then, els }) => graphs.extend([("then", &**then), ("else", els)]),
        Op::Loop(l) => {
            let Loop { trip, body, .. } = &**l;
            if let Trip::While(cond) = trip {
                graphs.push(("while", cond));
            }
            graphs.push(("do", body));
        }
        Op::Region(r) => {
            let Region { body, rule } = &**r;
            graphs.push(("do", body));
            if let Rule::Custom { jvp, vjp, .. } = rule {
                graphs.extend(jvp.as_deref().map(|g| ("jvp", g)));
                graphs.extend(vjp.as_deref().map(|g| ("vjp", g)));
            }
            if let Rule::FixedPoint(FixedPoint { step, .. }) = rule {
                graphs.push(("step", step));
            }
        }
        _ => {}
    }
    graphs
}

/// Operation, operands and parameters.
fn head(g: &Graph, names: &Names, n: Node) -> String {
    let op = g.op(n);
    let args = names.list(&g.args(n));
    let space = if args.is_empty() { "" } else { " " };
    format!("{}{space}{args}{}", op.name(), Params(op))
}

/// Where a node comes from, in words.
pub(super) fn origin_of(g: &Graph, names: &Names, n: Node) -> String {
    let origin = g.origin(n);
    let place = origin.place.map(|p| format!("{}:{}:{}", p.file(), p.line(), p.column()));
    let primal = origin.primal.filter(|p| p.index() < g.node_count());
    let primal = primal.and_then(|p| g.results(p).first().map(|&v| names.get(v)));
    let primal = primal.map(|name| format!("from {name}"));
    Commas(place.iter().chain(&primal)).to_string()
}

/// One line that says what a node is, without the graphs inside.
pub(crate) fn node_line(g: &Graph, names: &Names, n: Node) -> String {
    let results = g.results(n);
    let types: Vec<&Type> = results.iter().map(|&v| g.ty(v)).collect();
    format!("{} = {} : {}", names.list(&results), head(g, names, n), Commas(types))
}
