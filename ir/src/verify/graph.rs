//! The verifier of graphs.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{VerifyError, VerifyErrors, result};
use crate::graph::{Graph, Node, Value, Values};
use crate::index::Idx;
use crate::op::Op;
use crate::text::{Commas, Names, inner_graphs, node_line};
use crate::ty::Type;

/// Whether a graph is well-formed.
///
/// # Errors
/// All that is wrong.
pub fn verify_graph(g: &Graph) -> Result<(), VerifyErrors> {
    let mut errors = Vec::new();
    check(g, "", &mut errors);
    result(errors)
}

/// Checks a graph; `inside` says where it is, if not at the top.
fn check(g: &Graph, inside: &str, errors: &mut Vec<VerifyError>) {
    let mut c = Checker { g, inside, names: None, errors };
    let mut known = FxHashMap::<(&Op, Values), Node>::default();
    let mut values = 0;
    for n in g.nodes() {
        let (op, args, results) = (g.op(n), g.args(n), g.results(n));
        let in_order = results.iter().all(|v| {
            values += 1;
            v.index() + 1 == values
        });
        c.require(in_order, n, || format!("its results are {}", Commas(&results)));
        let first = results.first().map_or(values, |v| v.index());
        let late = args.iter().find(|a| a.index() >= first);
        if let Some(late) = late {
            c.report(n, format!("the operand {late} is not defined before"));
            continue;
        }
        let arg_types: SmallVec<[&Type; 4]> = args.iter().map(|&a| g.ty(a)).collect();
        match op.infer(&arg_types) {
            Ok(types) => {
                let same = results.iter().map(|&v| g.ty(v)).eq(&types);
                c.require(same, n, || format!("its type should be {}", Commas(&types)));
            }
            Err(e) => c.report(n, e.to_string()),
        }
        if !op.is_input() {
            let twin = *known.entry((op, args)).or_insert(n);
            c.require(twin == n, n, || format!("it is {twin} once more"));
        }
        c.input(n, op);
        for (word, inner) in inner_graphs(op) {
            check(inner, &format!("{inside}{n} {word}: "), c.errors);
        }
    }
    for (i, v) in g.outputs().iter().enumerate() {
        if v.index() >= g.value_count() {
            let message = format!("output {i} is {v}, which does not exist");
            let entity = format!("{inside}graph");
            c.errors.push(VerifyError { entity, line: String::new(), message });
        }
    }
}

struct Checker<'a> {
    g: &'a Graph,
    inside: &'a str,
    names: Option<Names>,
    errors: &'a mut Vec<VerifyError>,
}

impl Checker<'_> {
    fn require(&mut self, holds: bool, n: Node, message: impl FnOnce() -> String) {
        if !holds {
            self.report(n, message());
        }
    }

    fn report(&mut self, n: Node, message: String) {
        let names = self.names.get_or_insert_with(|| Names::new(self.g));
        let line = node_line(self.g, names, n);
        self.errors.push(VerifyError { entity: format!("{}{n}", self.inside), line, message });
    }

    /// An input is listed at the place it names.
    fn input(&mut self, n: Node, op: &Op) {
        if let Op::Input(input) = op {
            let listed = self.g.inputs().get(input.index).map(|&v: &Value| self.g.source(v).0);
            self.require(listed == Some(n), n, || {
                format!("input {} of the graph is another node", input.index)
            });
        }
    }
}
