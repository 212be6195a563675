//! Graphs as Graphviz text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use super::graph::{Params, inner_graphs, origin_of};
use super::names::Names;
use crate::graph::{Graph, Node, Value};
use crate::op::Op;

/// Parameters longer than this (constants) are cut in labels.
const MAX_PARAMS: usize = 32;

/// What [`to_dot`] shows.
#[derive(Clone, Debug, Default)]
pub struct DotOptions {
    /// Number of the fusion group of each node; nodes of no group stand outside.
    /// Without any, forward and backward part are the groups.
    pub groups: BTreeMap<Node, usize>,
}

/// The graph for Graphviz. Forward nodes are blue, backward nodes are orange,
/// inputs and constants are grey, outputs have a double border; groups are
/// boxes. A label says operation, name, type, and the user's line.
pub fn to_dot(g: &Graph, options: &DotOptions) -> String {
    let mut dot = Dot { out: String::new(), clusters: 0 };
    match dot.document(g, options) {
        Ok(()) => dot.out,
        Err(fmt::Error) => unreachable!("writing to a string"),
    }
}

struct Dot {
    out: String,
    clusters: usize,
}

impl Dot {
    fn document(&mut self, g: &Graph, options: &DotOptions) -> fmt::Result {
        writeln!(self.out, "digraph {} {{", quoted(&g.name))?;
        writeln!(self.out, "  node [shape=box, style=\"filled,rounded\", fontname=monospace];")?;
        writeln!(self.out, "  edge [fontname=monospace, fontsize=9];")?;
        let by_group = !options.groups.is_empty();
        let group = |n: Node| match by_group {
            true => options.groups.get(&n).copied(),
            false => Some(g.origin(n).adjoint.into()),
        };
        let title = |group: usize| match (by_group, group) {
            (true, _) => format!("group {group}"),
            (false, 0) => "forward".into(),
            (false, _) => "backward".into(),
        };
        let mut groups = BTreeMap::<Option<usize>, Vec<Node>>::new();
        g.nodes().for_each(|n| groups.entry(group(n)).or_default().push(n));
        self.graph(g, "", groups, title)?;
        self.out.push_str("}\n");
        Ok(())
    }

    /// Nodes and edges of a graph, whose node `n3` is `{prefix}n3`.
    fn graph(
        &mut self,
        g: &Graph,
        prefix: &str,
        groups: BTreeMap<Option<usize>, Vec<Node>>,
        title: impl Fn(usize) -> String,
    ) -> fmt::Result {
        let names = Names::new(g);
        let outputs: BTreeSet<Value> = g.outputs().iter().copied().collect();
        for (group, nodes) in groups {
            if let Some(group) = group {
                self.open(&title(group))?;
            }
            for n in nodes {
                let is_output = g.results(n).iter().any(|v| outputs.contains(v));
                self.node(g, &names, prefix, n, is_output)?;
            }
            if group.is_some() {
                self.out.push_str("  }\n");
            }
        }
        for n in g.nodes() {
            for arg in g.args(n) {
                let (from, result) = g.source(arg);
                let several = g.results(from).len() > 1;
                let label = if several { format!(" [label={result}]") } else { String::new() };
                writeln!(self.out, "  {prefix}{from} -> {prefix}{n}{label};")?;
            }
        }
        Ok(())
    }

    fn open(&mut self, label: &str) -> fmt::Result {
        let id = self.clusters;
        self.clusters += 1;
        writeln!(self.out, "  subgraph cluster_{id} {{")?;
        writeln!(self.out, "  label={}; fontname=monospace;", quoted(label))
    }

    fn node(
        &mut self,
        g: &Graph,
        names: &Names,
        prefix: &str,
        n: Node,
        is_output: bool,
    ) -> fmt::Result {
        let color = match g.op(n) {
            Op::Input(_) | Op::Literal(_) => "gray90",
            _ if g.origin(n).adjoint => "orange",
            _ => "lightblue",
        };
        let border = if is_output { ", peripheries=2" } else { "" };
        let label = quoted(&label(g, names, n));
        writeln!(self.out, "  {prefix}{n} [label={label}, fillcolor={color}{border}];")?;
        for (word, inner) in inner_graphs(g.op(n)) {
            self.open(&format!("{n} {word}"))?;
            let all = BTreeMap::from([(None, inner.nodes().collect())]);
            self.graph(inner, &format!("{prefix}{n}_{word}_"), all, |_| String::new())?;
            self.out.push_str("  }\n");
        }
        Ok(())
    }
}

fn label(g: &Graph, names: &Names, n: Node) -> String {
    let op = g.op(n);
    let mut params = Params(op).to_string();
    if let Some((cut, _)) = params.char_indices().nth(MAX_PARAMS) {
        params.truncate(cut);
        params.push('…');
    }
    let mut label = format!("{}{params}", op.name());
    for v in g.results(n) {
        label.push_str(&format!("\n{}: {}", names.get(v), g.ty(v)));
    }
    let origin = origin_of(g, names, n);
    if !origin.is_empty() {
        label.push_str(&format!("\n{origin}"));
    }
    label
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
