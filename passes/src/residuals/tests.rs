//! The cut against all others, and against what is simply read.

use backstitch_ir::{DType, Scalar};

use super::*;
use crate::control::open;
use crate::random;
use crate::vjp::reverse;

/// A random graph with its adjoint behind it; every other input is known.
struct Case {
    graph: Graph,
    primal: usize,
    known: IndexVec<Value, bool>,
    cotangents: Vec<Value>,
    roots: Vec<Value>,
}

impl Case {
    fn new(rng: &mut random::Rng, nodes: usize, control: bool) -> Self {
        let f = random::graph(rng, DType::F64, nodes, control);
        let (mut graph, inputs, outputs) = open(&f);
        let primal = graph.node_count();
        let targets: Vec<(Value, Option<Value>)> = outputs
            .into_iter()
            .map(|v| (v, Some(graph.input(graph.ty(v).clone(), None))))
            .collect();
        let roots = reverse(&mut graph, &targets, &inputs).into_iter().flatten().collect();
        let mut known = IndexVec::filled(false, graph.value_count());
        inputs.iter().step_by(2).for_each(|&v| known[v] = true);
        spread_known(&graph, &mut known, |_| true);
        let cotangents = targets.into_iter().filter_map(|(_, ct)| ct).collect();
        Self { graph, primal, known, cotangents, roots }
    }

    fn joint(&self) -> Joint<'_> {
        let Self { graph, primal, known, cotangents, roots } = self;
        Joint { graph, primal: *primal, known, cotangents, roots, stacks: true }
    }

    fn bytes(&self, kept: &[Value]) -> usize {
        assert!(kept.iter().all(|&v| self.graph.ty(v).stack == 0));
        kept.iter().map(|&v| self.graph.ty(v).bytes()).sum()
    }
}

/// What it costs to have `read` in the reverse, given what is kept; `None` if it
/// takes an input that is not.
fn price(j: &Joint<'_>, parts: &Parts, kept: &[Value], aim: Aim) -> Option<u64> {
    let g = j.graph;
    let mut wanted = parts.read.clone();
    let mut sum: u64 = kept.iter().map(|&v| keep(g.ty(v))).sum();
    for n in g.nodes().rev().filter(|&n| parts.forward[n]) {
        if g.results(n).iter().any(|r| wanted[*r] && !kept.contains(r)) {
            let again = j.again(n, aim);
            if again == NEVER {
                return None;
            }
            sum += again;
            g.args(n).iter().for_each(|&a| wanted[a] = true);
        }
    }
    Some(sum)
}

#[test]
fn no_choice_is_better_than_the_cut() {
    let mut compared = 0;
    for seed in 0..400 {
        let case = Case::new(&mut random::Rng(seed), 5, false);
        let j = case.joint();
        let parts = j.parts();
        let forward = parts.forward.entries().filter(|(_, is)| **is);
        let values: Vec<Value> = forward.flat_map(|(n, _)| case.graph.results(n)).collect();
        if values.len() > 10 {
            continue;
        }
        compared += 1;
        for aim in [Aim::Time, Aim::Bytes] {
            let all = (0..1usize << values.len()).filter_map(|bits| {
                let kept = values.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
                let kept: Vec<Value> = kept.map(|(_, &v)| v).collect();
                price(&j, &parts, &kept, aim)
            });
            let found = price(&j, &parts, &j.residuals(aim), aim);
            assert_eq!(found, all.min(), "seed {seed}\n{}", case.graph);
        }
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn no_more_bytes_are_kept_than_what_is_read() {
    let (mut all, mut cut) = (0, 0);
    for seed in 0..600 {
        let rng = &mut random::Rng(1000 + seed);
        let nodes = 4 + rng.below(24);
        let case = Case::new(rng, nodes, true);
        let has_conds = case.graph.nodes().any(|n| matches!(case.graph.op(n), Op::Cond(_)));
        for aim in [Aim::Time, Aim::Bytes] {
            let j = case.joint();
            let kept = j.residuals(aim);
            assert_eq!(kept, j.residuals(aim), "the same each time");
            assert!(kept.is_sorted() && kept.iter().all(|&v| !case.known[v]));
            let read = j.walk(&j.parts(), Aim::Time);
            let (fewer, more) = (case.bytes(&kept), case.bytes(&read));
            // A branch may be kept rather than what it would be run again from.
            assert!(fewer <= more || has_conds, "seed {seed}: {fewer} and {more} bytes");
            cut += fewer;
            all += more;
        }
    }
    assert!(cut * 4 < all * 3, "{cut} and {all} bytes");
}

/// A body of so many steps, each on the last value or on any, of which some are dear.
fn body(g: &mut Graph, n: usize, step: Step) -> (Value, [Value; 2]) {
    let inputs = [(); 2].map(|()| g.input(Type::scalar(DType::F64), None));
    let rng = &mut random::Rng(7);
    let mut all = vec![inputs[0]];
    for _ in 0..n {
        let last = all[all.len() - 1];
        let any = all[rng.below(all.len())];
        let near = all[all.len() - 1 - rng.below(all.len().min(20))];
        let next = match step {
            Step::Sine => {
                let sum = g.map(Scalar::Add, &[last, inputs[1]]);
                g.map(Scalar::Sin, &[sum])
            }
            Step::Product => {
                let product = g.map(Scalar::Mul, &[last, inputs[1]]);
                let square = g.map(Scalar::Mul, &[product, last]);
                g.map(Scalar::Add, &[square, inputs[1]])
            }
            Step::Any => {
                let f = [Scalar::Add, Scalar::Mul, Scalar::Sub, Scalar::Div][rng.below(4)];
                g.map(f, &[near, any])
            }
        };
        all.push(next);
    }
    let sum = all.iter().copied().reduce(|sum, x| g.map(Scalar::Add, &[sum, x]));
    (if step == Step::Any { sum.expect("an input") } else { all[n] }, inputs)
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Step {
    Sine,
    /// Nothing is dear: it is one network from end to end.
    Product,
    Any,
}

#[test]
fn a_body_ten_times_as_long_takes_about_ten_times_as_long() {
    for step in [Step::Sine, Step::Product, Step::Any] {
        let steps = [100, 1000].map(|n| {
            let mut g = Graph::new("body");
            let (y, inputs) = body(&mut g, n, step);
            let primal = g.node_count();
            let ct = g.input(g.ty(y).clone(), None);
            let roots = reverse(&mut g, &[(y, Some(ct))], &inputs);
            let roots: Vec<Value> = roots.into_iter().flatten().collect();
            let mut known = IndexVec::filled(false, g.value_count());
            known[inputs[1]] = true;
            let (known, cotangents, roots) = (&known, &[ct], &roots);
            let j = Joint { graph: &g, primal, known, cotangents, roots, stacks: true };
            [Aim::Time, Aim::Bytes].map(|aim| j.cut(&j.parts(), aim).1)
        });
        for (less, more) in steps[0].into_iter().zip(steps[1]) {
            assert!(more <= 20 * less + 1000, "{step:?}: {less} and {more} steps");
        }
    }
}

#[test]
fn a_graph_too_large_for_a_flow_keeps_what_is_read() {
    let mut g = Graph::new("long");
    let x = g.input(Type::new(DType::F64, [3]), None);
    let mut y = x;
    for _ in 0..MOST {
        y = g.map(Scalar::Sin, &[y]);
    }
    let primal = g.node_count();
    let ct = g.input(g.ty(y).clone(), None);
    let roots: Vec<Value> = reverse(&mut g, &[(y, Some(ct))], &[x]).into_iter().flatten().collect();
    let known = IndexVec::filled(false, g.value_count());
    let (known, cotangents, roots) = (&known, &[ct], &roots);
    let j = Joint { graph: &g, primal, known, cotangents, roots, stacks: true };
    // Each argument, which its cosine is made of.
    assert_eq!(j.residuals(Aim::Time).len(), MOST);
}
