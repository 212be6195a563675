//! What is found out of each value, and the walk over a graph that finds it.

use std::rc::Rc;

use backstitch_ir::op::Family;
use backstitch_ir::{Array, Graph, IndexVec, Node, Value};

use super::control;
use super::rules;
use super::sets::{Set, Sets};
use crate::rebuild::live;

/// The set of each element of an array, in row-major order; `None` if all are empty.
pub(super) type Elements = Option<Rc<[Set]>>;

/// What is known of a value.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Flow {
    /// Of an array. Without sets it stands for any value that depends on nothing.
    Array {
        /// The set of each element.
        sets: Elements,
        /// Its elements, if they are constant.
        known: Option<Known>,
    },
    /// Of a stack, entry by entry, the first pushed first.
    Entries(Rc<[Flow]>),
    /// Of any entry of a stack.
    Any(Rc<Flow>),
}

/// The elements of a constant. Equal if their bits are.
#[derive(Clone, Debug)]
pub(super) struct Known(pub Array);

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.same_bits(&other.0)
    }
}

impl Flow {
    /// Of what depends on nothing.
    pub const NONE: Self = Self::Array { sets: None, known: None };

    /// Of an array of elements with these sets.
    pub fn of(sets: Vec<Set>) -> Self {
        Self::sets(elements(sets))
    }

    /// Of an array that is not constant.
    pub fn sets(sets: Elements) -> Self {
        Self::Array { sets, known: None }
    }

    /// Of a constant.
    pub fn known(array: Array) -> Self {
        Self::Array { sets: None, known: Some(Known(array)) }
    }

    /// The sets of the elements.
    pub fn elements(&self) -> Elements {
        match self {
            Self::Array { sets, .. } => sets.clone(),
            Self::Entries(_) | Self::Any(_) => None,
        }
    }

    /// The set of an element.
    pub fn at(&self, i: usize) -> Set {
        match self {
            Self::Array { sets: Some(sets), .. } => sets[i],
            _ => Set::EMPTY,
        }
    }

    /// The same, as what may change from one iteration to the next.
    pub fn varying(&self) -> Self {
        match self {
            Self::Array { sets, .. } => Self::sets(sets.clone()),
            Self::Entries(entries) => Self::Entries(entries.iter().map(Self::varying).collect()),
            Self::Any(entry) => Self::Any(Rc::new(entry.varying())),
        }
    }

    /// What holds for both.
    pub fn join(&self, other: &Self, sets: &mut Sets) -> Self {
        match (self, other) {
            (Self::Array { sets: None, .. }, x) | (x, Self::Array { sets: None, .. }) => {
                x.varying()
            }
            (Self::Array { sets: Some(a), .. }, Self::Array { sets: Some(b), .. }) => {
                let both = a.iter().zip(b.iter());
                Self::of(both.map(|(&a, &b)| sets.union(a, b)).collect())
            }
            (Self::Entries(a), Self::Entries(b)) if a.len() == b.len() => {
                let both = a.iter().zip(b.iter());
                Self::Entries(both.map(|(a, b)| a.join(b, sets)).collect())
            }
            _ => {
                let any = self.any(sets).join(&other.any(sets), sets);
                Self::Any(Rc::new(any))
            }
        }
    }

    /// What holds for each entry of a stack.
    pub fn any(&self, sets: &mut Sets) -> Self {
        match self {
            Self::Array { .. } => Self::NONE,
            Self::Entries(all) => all.iter().fold(Self::NONE, |any, entry| any.join(entry, sets)),
            Self::Any(entry) => (**entry).clone(),
        }
    }

    /// The entry that is popped as number `t`, the last pushed first; `None` if there
    /// are not as many.
    pub fn popped(&self, t: usize) -> Option<Self> {
        match self {
            Self::Array { .. } => Some(Self::NONE),
            Self::Entries(all) => all.len().checked_sub(t + 1).map(|i| all[i].clone()),
            Self::Any(entry) => Some((**entry).clone()),
        }
    }

    /// Adds all its sets to a list.
    pub fn collect(&self, into: &mut Vec<Set>) {
        match self {
            Self::Array { sets, .. } => into.extend(sets.iter().flat_map(|s| s.iter())),
            Self::Entries(all) => all.iter().for_each(|entry| entry.collect(into)),
            Self::Any(entry) => entry.collect(into),
        }
    }
}

/// The sets as they are kept.
pub(super) fn elements(sets: Vec<Set>) -> Elements {
    sets.iter().any(|&s| s != Set::EMPTY).then(|| sets.into())
}

/// A walk over a graph.
pub(super) struct Frame<'g> {
    pub g: &'g Graph,
    flows: IndexVec<Value, Option<Flow>>,
    /// Whether a value depends on no input whose elements are not known.
    constant: IndexVec<Value, bool>,
}

impl<'g> Frame<'g> {
    /// Nothing is known of the inputs yet.
    pub fn new(g: &'g Graph) -> Self {
        let flows = IndexVec::filled(None, g.value_count());
        Self { g, flows, constant: IndexVec::filled(false, g.value_count()) }
    }

    /// What is known of an input.
    pub fn set(&mut self, v: Value, flow: Flow) {
        self.constant[v] = matches!(flow, Flow::Array { known: Some(_), .. });
        self.flows[v] = Some(flow);
    }

    /// What was found out of a value.
    pub fn get(&self, v: Value) -> &Flow {
        self.flows[v].as_ref().unwrap_or(&Flow::NONE)
    }

    /// Finds out about all that the roots need.
    pub fn run(&mut self, sets: &mut Sets, roots: &[Value]) {
        let live = live(self.g, roots, None);
        for (n, _) in live.entries().filter(|(_, live)| **live) {
            let given = self.g.results(n).iter().all(|&r| self.flows[r].is_some());
            if !given && !self.g.op(n).is_input() {
                self.node(sets, n);
            }
        }
    }

    fn node(&mut self, sets: &mut Sets, n: Node) {
        let g = self.g;
        let Family::Array(p) = g.op(n).family() else {
            let flows = control::node(self, sets, n);
            for (r, flow) in g.results(n).into_iter().zip(flows) {
                self.set(r, flow);
            }
            return;
        };
        let r = g.results(n)[0];
        if g.args(n).iter().all(|&a| self.constant[a]) {
            self.constant[r] = true;
        } else {
            let found = rules::array(self, sets, n, p);
            self.flows[r] = Some(Flow::sets(found));
        }
    }

    /// The elements of a value, if it is constant.
    pub fn known(&mut self, v: Value) -> Option<Array> {
        let g = self.g;
        if !self.constant[v] {
            return None;
        }
        let mut wanted = vec![g.source(v).0];
        let mut nodes: Vec<Node> = Vec::new();
        let mut seen = rustc_hash::FxHashSet::default();
        while let Some(n) = wanted.pop() {
            let done = matches!(self.get(g.results(n)[0]), Flow::Array { known: Some(_), .. });
            let control = !matches!(g.op(n).family(), Family::Array(_));
            if !done && !control && seen.insert(n) {
                nodes.push(n);
                wanted.extend(g.args(n).iter().map(|&a| g.source(a).0));
            }
        }
        nodes.sort_unstable();
        for n in nodes {
            let Family::Array(p) = g.op(n).family() else { continue };
            let args = g.args(n);
            let arrays: Vec<Array> = args.iter().map(|&a| self.held(a).clone()).collect();
            let arrays: Vec<&Array> = arrays.iter().collect();
            // What a routine could not compute is NaN, which decides nothing.
            let (array, _) = backstitch_ir::routine::watch(|| p.eval(&arrays));
            self.flows[g.results(n)[0]] = Some(Flow::known(array));
        }
        Some(self.held(v).clone())
    }

    fn held(&self, v: Value) -> &Array {
        match self.get(v) {
            Flow::Array { known: Some(Known(array)), .. } => array,
            _ => unreachable!("sparsity: a constant that was not computed"),
        }
    }

    /// What was found out of the operands of a node.
    pub fn operands(&mut self, n: Node) -> Vec<Flow> {
        let args = self.g.args(n);
        args.iter()
            .map(|&a| match self.known(a) {
                Some(array) => Flow::known(array),
                None => self.get(a).clone(),
            })
            .collect()
    }
}

/// What is found out of the outputs of a graph, given what is known of its inputs.
pub(super) fn outputs(sets: &mut Sets, g: &Graph, inputs: &[Flow]) -> Vec<Flow> {
    let mut frame = Frame::new(g);
    for (&v, flow) in g.inputs().iter().zip(inputs) {
        frame.set(v, flow.clone());
    }
    frame.run(sets, g.outputs());
    let found = |&v: &Value| match frame.known(v) {
        Some(array) => Flow::known(array),
        None => frame.get(v).clone(),
    };
    g.outputs().iter().map(found).collect()
}
