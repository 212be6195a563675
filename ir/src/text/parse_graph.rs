//! Reading graphs.
//!
//! The graph is built through [`Graph::add`], so what is read is well-typed and
//! shares what can be shared; a line that this would change (another type, a
//! node that is there already) is refused, and so text and graph correspond line
//! by line.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::attrs::Commas;
use super::names::AFTER_OPERANDS;
use super::source::Source;
use super::{Attrs, ParseError};
use crate::graph::{Graph, Value};
use crate::op::{Definition, Op, Types};
use crate::ops::{
    Cond, FixedPoint, Input, Iota, Literal, Loop, Map, Region, Rows, Rule, Trip, Unroll,
};
use crate::scalar::Scalar;
use crate::ty::Type;

/// Primitives without operands: parameters come at once.
const SOURCES: [&str; 2] = [Literal::NAME, Iota::NAME];

/// Reads a graph.
///
/// ```
/// let text = "graph @double(x: f32[3]) -> (f32[3]) {
///   y = add x, x : f32[3]
///   return y
/// }";
/// let graph = backstitch_ir::text::parse_graph(text).unwrap();
/// assert_eq!(graph.to_string(), text);
/// ```
///
/// # Errors
/// If the text is not that of a well-typed graph; the error names the line.
pub fn parse_graph(text: &str) -> Result<Graph, ParseError> {
    Source::read(text, |s| Reader::default().graph(s))
}

#[derive(Default)]
struct Reader<'a> {
    graph: Graph,
    values: FxHashMap<&'a str, Value>,
    /// Inputs behind the `;` of the header whose line has not come yet, last
    /// first.
    later: Vec<(&'a str, Type)>,
}

impl<'a> Reader<'a> {
    /// Reads a graph up to its closing brace.
    fn graph(mut self, s: &mut Source<'a>) -> Result<Graph, ParseError> {
        s.at.expect("graph")?;
        self.graph.name = s.title()?;
        self.inputs(&mut s.at)?;
        s.at.expect("->")?;
        let outputs = s.at.list("(", ")", Attrs::ty)?;
        let mut returned = false;
        s.block(|s| {
            if returned {
                return s.at.error("`}`");
            }
            if s.at.eat("return") {
                returned = true;
                return self.outputs(&mut s.at, &outputs);
            }
            self.node(s)
        })?;
        if !returned {
            return s.at.error("`return` before the end of the graph");
        }
        Ok(self.graph)
    }

    fn inputs(&mut self, at: &mut Attrs<'a>) -> Result<(), ParseError> {
        at.expect("(")?;
        let mut first = true;
        let mut later = false;
        while !at.eat(")") {
            if !later && at.eat(";") {
                later = true;
                continue;
            }
            if !std::mem::replace(&mut first, false) && !later | !self.later.is_empty() {
                at.expect(",")?;
            }
            let start = at.clone();
            let name = value_name(at)?;
            at.expect(":")?;
            let ty = at.ty()?;
            if later {
                self.later.push((name, ty));
            } else {
                let input = Input { index: self.graph.inputs().len(), ty };
                self.add(&start, input.into(), &[], &[name])?;
            }
        }
        self.later.reverse();
        Ok(())
    }

    fn outputs(&mut self, at: &mut Attrs<'a>, types: &[Type]) -> Result<(), ParseError> {
        if let Some((name, _)) = self.later.last() {
            return at.error(format!("a line for the input {name}"));
        }
        let start = at.clone();
        let mut outputs = Vec::new();
        while !at.rest().is_empty() {
            if !outputs.is_empty() {
                at.expect(",")?;
            }
            outputs.push(self.value(at)?);
        }
        if !outputs.iter().map(|&v| self.graph.ty(v)).eq(types) {
            return start.error(format!("values of types ({})", Commas(types)));
        }
        self.graph.set_outputs(outputs);
        Ok(())
    }

    /// Reads `names = operation operands parameters : types`.
    fn node(&mut self, s: &mut Source<'a>) -> Result<(), ParseError> {
        let start = s.at.clone();
        let names = s.at.items(value_name)?;
        s.at.expect("=")?;
        let name = s.at.word()?;
        let (op, args): (Op, Vec<Value>) = match name {
            Cond::NAME => {
                let args = self.operands(&mut s.at)?;
                let (then, els) = branches(s)?;
                (Cond { then, els }.into(), args)
            }
            Loop::NAME => {
                let args = self.operands(&mut s.at)?;
                (loop_of(s)?.into(), args)
            }
            Region::NAME => {
                let args = self.operands(&mut s.at)?;
                (region_of(s)?.into(), args)
            }
            _ if Rows::NAMES.contains(&name) => {
                let args = self.operands(&mut s.at)?;
                let at = &mut s.at;
                let ty = if name == Rows::NAMES[1] { Some(at.ty()?) } else { None };
                let back = at.eat("back");
                let op = match ty {
                    Some(ty) => Rows::FromStack { ty, back },
                    None => Rows::ToStack { back },
                };
                (op.into(), args)
            }
            Input::NAME => (self.later_input(&mut s.at, &names)?, vec![]),
            _ => match Scalar::from_name(name) {
                Some(f) => (Map { f }.into(), self.operands(&mut s.at)?),
                None if Op::NAMES.contains(&name) => {
                    let source = SOURCES.contains(&name);
                    let args = if source { vec![] } else { self.operands(&mut s.at)? };
                    match Op::parse(name, &mut s.at) {
                        Some(op) => (op?, args),
                        None => unreachable!("{name} is the name of a primitive"),
                    }
                }
                None => return start.error(format!("an operation, not {name}")),
            },
        };
        s.at.expect(":")?;
        let types = s.at.clone();
        let given = s.at.items(Attrs::ty)?;
        let inferred = self.add(&start, op, &args, &names)?;
        if *given != *inferred {
            return types.error(format!("{}", Commas(&inferred)));
        }
        Ok(())
    }

    /// Adds a node whose line starts at `start`.
    fn add(
        &mut self,
        start: &Attrs<'a>,
        op: Op,
        args: &[Value],
        names: &[&'a str],
    ) -> Result<Types, ParseError> {
        let g = &mut self.graph;
        let count = g.node_count();
        let results = g.add(op, args).map_err(|e| ParseError {
            line: 0,
            expected: format!("{} of {}", e.op, e.expected),
            found: Commas(&e.got).to_string(),
        })?;
        if g.node_count() == count {
            return start.error("a node that is not there already");
        }
        if results.len() != names.len() {
            return start.error(format!("{} names", results.len()));
        }
        for (&v, &name) in results.iter().zip(names) {
            if self.values.insert(name, v).is_some() {
                return start.error(format!("another name than {name}, which is taken"));
            }
            if !name.starts_with('%') {
                g.set_name(v, name);
            }
        }
        Ok(results.iter().map(|&v| g.ty(v).clone()).collect())
    }

    /// Reads what follows `name = input`: the number of an input announced in
    /// the header.
    fn later_input(&mut self, at: &mut Attrs<'a>, names: &[&str]) -> Result<Op, ParseError> {
        let start = at.clone();
        let index: usize = at.digits()?;
        match self.later.pop() {
            Some((name, ty)) if index == self.graph.inputs().len() && names == [name] => {
                Ok(Input { index, ty }.into())
            }
            _ => start.error("the next of the inputs behind `;`"),
        }
    }

    /// Reads the operands of a node, if it has any.
    fn operands(&self, at: &mut Attrs<'a>) -> Result<Vec<Value>, ParseError> {
        // A loop may carry nothing.
        if at.clone().eat(AFTER_OPERANDS) { Ok(vec![]) } else { at.items(|at| self.value(at)) }
    }

    fn value(&self, at: &mut Attrs<'a>) -> Result<Value, ParseError> {
        let start = at.clone();
        let name = value_name(at)?;
        self.values.get(name).map_or_else(|| start.error("a value defined before"), |&v| Ok(v))
    }
}

/// Reads `x` or `%3`.
fn value_name<'a>(at: &mut Attrs<'a>) -> Result<&'a str, ParseError> {
    let is_name = super::names::is_name_char;
    at.take("a value", |c| c == '%' || is_name(c))
}

/// Reads the graphs of a conditional.
fn branches(s: &mut Source<'_>) -> Result<(Arc<Graph>, Arc<Graph>), ParseError> {
    let mut graphs = named_graphs(s, &["then", "else"])?.into_iter();
    match (graphs.next().flatten(), graphs.next().flatten()) {
        (Some(then), Some(els)) => Ok((then, els)),
        _ => s.at.error("`then` and `else` in the block before"),
    }
}

/// Reads the parameters and graphs of a loop.
fn loop_of(s: &mut Source<'_>) -> Result<Loop, ParseError> {
    s.at.expect(AFTER_OPERANDS)?;
    let carries = s.at.digits()?;
    s.at.expect("consts")?;
    let consts = s.at.digits()?;
    s.at.expect("pops")?;
    let pops = s.at.digits()?;
    let unconditional = if s.at.eat("entries") { Trip::Entries } else { Trip::Count };
    let unroll = if s.at.eat("unroll") { unroll_of(s)? } else { Unroll::Auto };
    let mut graphs = named_graphs(s, &["while", "do"])?.into_iter();
    let trip = graphs.next().flatten().map_or(unconditional, Trip::While);
    match graphs.next().flatten() {
        Some(body) => Ok(Loop { trip, body, carries, consts, pops, unroll }),
        None => s.at.error("`do` in the block before"),
    }
}

/// Reads what follows `unroll`.
fn unroll_of(s: &mut Source<'_>) -> Result<Unroll, ParseError> {
    if s.at.eat("never") {
        Ok(Unroll::Never)
    } else if s.at.eat("fully") {
        Ok(Unroll::Fully)
    } else if s.at.eat("upto") {
        s.at.digits().map(Unroll::UpTo)
    } else {
        s.at.expect("by")?;
        s.at.digits().map(Unroll::By)
    }
}

/// Reads the parameters and graphs of a region.
fn region_of(s: &mut Source<'_>) -> Result<Region, ParseError> {
    let mut rule = if s.at.eat("checkpoint") {
        let kept = if s.at.eat("kept") { s.at.digits()? } else { 0 };
        Rule::Checkpoint { kept }
    } else if s.at.eat("recompute") {
        Rule::Recompute
    } else if s.at.eat("tolerance") {
        let tolerance = s.at.digits()?;
        s.at.expect("limit")?;
        let limit = s.at.digits()?;
        // The step is known when its block is read.
        let step = Arc::new(Graph::new(""));
        Rule::FixedPoint(FixedPoint { step, tolerance, limit })
    } else {
        s.at.expect("wrt")?;
        Rule::Custom { wrt: s.at.digits()?, jvp: None, vjp: None }
    };
    let mut graphs = named_graphs(s, &["do", "jvp", "vjp", "step"])?.into_iter();
    let body = graphs.next().flatten();
    if let Rule::Custom { jvp, vjp, .. } = &mut rule {
        (*jvp, *vjp) = (graphs.next().flatten(), graphs.next().flatten());
    }
    if let Rule::FixedPoint(rule) = &mut rule {
        match graphs.nth(2).flatten() {
            Some(step) => rule.step = step,
            None => return s.at.error("`step` in the block before"),
        }
    }
    match body {
        Some(body) if graphs.flatten().next().is_none() => Ok(Region { body, rule }),
        _ => s.at.error("`do` in the block before, and a rule only where one is said to be"),
    }
}

/// Reads a block of graphs, each behind one of these words.
fn named_graphs(s: &mut Source<'_>, words: &[&str]) -> Result<Vec<Option<Arc<Graph>>>, ParseError> {
    let mut graphs = vec![None; words.len()];
    s.block(|s| {
        let next =
            words.iter().zip(&mut graphs).find(|(word, graph)| graph.is_none() && s.at.eat(word));
        let Some((_, graph)) = next else { return s.at.error("`}`") };
        *graph = Some(Arc::new(Reader::default().graph(s)?));
        Ok(())
    })?;
    Ok(graphs)
}
