//! A graph without its dead nodes.
//!
//! What is left is what it was, under other numbers: different nodes stay different, and
//! types and ranges are known, so nothing is looked up or inferred.

use petgraph::graph::{DiGraph, NodeIndex};

use super::{Graph, Node, NodeData, Origin, Value, ValueData, hash_of};
use crate::index::{Idx, IndexVec};

impl Graph {
    /// The nodes that are alive, and all inputs, which come first; dead ones are used by none
    /// of them, and the outputs are alive.
    pub fn pruned(&self, alive: &IndexVec<Node, bool>) -> Self {
        let mut to = self.successor();
        to.types.clone_from(&self.types);
        to.type_numbers.clone_from(&self.type_numbers);
        let mut copy = Copy {
            from: self,
            to,
            nodes: IndexVec::filled(None, self.node_count()),
            values: IndexVec::filled(None, self.value_count()),
        };
        for &v in &self.inputs {
            copy.node(self.source(v).0);
        }
        for n in self.nodes().filter(|&n| alive[n] && !self.op(n).is_input()) {
            copy.node(n);
        }
        let outputs = self.outputs.iter().map(|&v| copy.values[v].expect("outputs are alive"));
        copy.to.outputs = outputs.collect();
        copy.to
    }
}

/// A graph on the way to another one.
struct Copy<'g> {
    from: &'g Graph,
    to: Graph,
    nodes: IndexVec<Node, Option<Node>>,
    values: IndexVec<Value, Option<Value>>,
}

impl Copy<'_> {
    fn node(&mut self, n: Node) {
        let (from, to) = (self.from, &mut self.to);
        let data = from.data(n);
        let node = Node::new(to.node_count());
        let first = Value::new(to.value_count());
        self.nodes[n] = Some(node);
        for r in from.results(n) {
            let ValueData { slot, ty, range, .. } = from.values[r];
            let made = to.values.push(ValueData { node, slot, ty, range });
            self.values[r] = Some(made);
            if let Some(name) = from.names.get(&r) {
                to.names.insert(made, name.clone());
            }
        }
        if data.op.is_input() {
            to.inputs.push(first);
        }
        to.control += usize::from(data.op.holds_graphs());
        let operand = |&v| self.values[v].expect("operands are alive, and come first");
        let args: super::Values = data.args.iter().map(operand).collect();
        let hash = hash_of(&data.op, &args);
        let alike = to.interned.insert(hash, node);
        // What comes from a node that is gone comes from none.
        let primal = data.origin.primal.and_then(|p| self.nodes[p]);
        let origin = Origin { primal, ..data.origin };
        let (op, results) = (data.op.clone(), data.results);
        let sources = args.iter().map(|&v| NodeIndex::new(to.values[v].node.index()));
        let sources: smallvec::SmallVec<[NodeIndex; 4]> = sources.collect();
        let dag: &mut DiGraph<NodeData, ()> = &mut to.dag;
        let at = dag.add_node(NodeData { op, args, first, results, origin, alike });
        for source in sources {
            dag.add_edge(source, at, ());
        }
    }
}
