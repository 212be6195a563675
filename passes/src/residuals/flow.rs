//! Minimum cuts of networks whose nodes mostly hang on the source or the sink themselves.
//!
//! Such a network falls apart once both are taken away: what a node gets from the source
//! and gives to the sink is noted with the node, and each part is a small problem of its
//! own, which E. Dinitz's algorithm (1970) solves: as long as there is a way from the
//! source to the sink, find how far from the source each node is, and fill all shortest
//! ways. All of it together takes about linear time if parts are not large, or ways in them
//! not long.

/// Farther than any node.
const NOWHERE: usize = usize::MAX;

/// A network in the making. Nodes are numbered in the order in which they are added.
#[derive(Default)]
pub(super) struct Network {
    /// Room from the source to each node, and from there to the sink.
    source: Vec<u64>,
    sink: Vec<u64>,
    /// Arcs in pairs, one for each direction: where to, and how much room there is.
    arcs: Vec<(usize, u64)>,
}

/// What a minimum cut is.
pub(super) struct Cut {
    /// The nodes on the side of the source: of all minimum cuts the least set.
    pub near: Vec<bool>,
    /// How many arcs were looked at.
    pub steps: usize,
}

impl Network {
    /// Adds a node with so much room from the source and to the sink.
    pub fn node(&mut self, source: u64, sink: u64) -> usize {
        self.source.push(source);
        self.sink.push(sink);
        self.source.len() - 1
    }

    /// Adds an arc.
    pub fn arc(&mut self, from: usize, to: usize, room: u64) {
        self.arcs.extend([(to, room), (from, 0)]);
    }

    /// The minimum cut nearest to the source.
    pub fn cut(self) -> Cut {
        let nodes = self.source.len();
        // The arcs that leave each node, side by side.
        let mut begin = vec![0; nodes + 1];
        let from = |e: usize, arcs: &[(usize, u64)]| arcs[e ^ 1].0;
        (0..self.arcs.len()).for_each(|e| begin[from(e, &self.arcs) + 1] += 1);
        (0..nodes).for_each(|n| begin[n + 1] += begin[n]);
        let mut next = begin.clone();
        let mut out = vec![0; self.arcs.len()];
        for e in 0..self.arcs.len() {
            let at = &mut next[from(e, &self.arcs)];
            out[*at] = e;
            *at += 1;
        }
        let Self { source, sink, arcs } = self;
        let level = vec![NOWHERE; nodes];
        let mut flow = Flow { source, sink, arcs, begin, out, level, next, steps: 0 };
        let mut seen = vec![false; nodes];
        for n in 0..nodes {
            if !seen[n] {
                let part = flow.part(n, &mut seen);
                flow.fill(&part);
            }
        }
        // Where the last search found no way on.
        let near = flow.level.iter().map(|&l| l != NOWHERE).collect();
        Cut { near, steps: flow.steps }
    }
}

/// A network that is being filled.
struct Flow {
    source: Vec<u64>,
    sink: Vec<u64>,
    arcs: Vec<(usize, u64)>,
    /// Where the arcs of each node begin in `out`.
    begin: Vec<usize>,
    out: Vec<usize>,
    /// How far each node is from the source.
    level: Vec<usize>,
    /// The arc of each node to look at next.
    next: Vec<usize>,
    steps: usize,
}

impl Flow {
    /// All nodes that hang together with this one.
    fn part(&self, first: usize, seen: &mut [bool]) -> Vec<usize> {
        let mut part = vec![first];
        seen[first] = true;
        let mut done = 0;
        while let Some(&n) = part.get(done) {
            done += 1;
            for &e in &self.out[self.begin[n]..self.begin[n + 1]] {
                let to = self.arcs[e].0;
                if !std::mem::replace(&mut seen[to], true) {
                    part.push(to);
                }
            }
        }
        part
    }

    /// Fills a part.
    fn fill(&mut self, part: &[usize]) {
        while self.levels(part) {
            part.iter().for_each(|&n| self.next[n] = self.begin[n]);
            for &n in part {
                if self.source[n] > 0 {
                    self.push(n);
                }
            }
        }
    }

    /// Finds out how far nodes are, and whether the sink can be reached.
    fn levels(&mut self, part: &[usize]) -> bool {
        part.iter().for_each(|&n| self.level[n] = NOWHERE);
        let mut queue: Vec<usize> = part.iter().copied().filter(|&n| self.source[n] > 0).collect();
        queue.iter().for_each(|&n| self.level[n] = 0);
        let (mut done, mut found) = (0, false);
        while let Some(&n) = queue.get(done) {
            done += 1;
            found |= self.sink[n] > 0;
            for i in self.begin[n]..self.begin[n + 1] {
                self.steps += 1;
                let (to, room) = self.arcs[self.out[i]];
                if room > 0 && self.level[to] == NOWHERE {
                    self.level[to] = self.level[n] + 1;
                    queue.push(to);
                }
            }
        }
        found
    }

    /// Pushes on from a node whatever it gets from the source, along shortest ways.
    fn push(&mut self, first: usize) {
        let mut way: Vec<usize> = Vec::new();
        let mut at = first;
        loop {
            if self.sink[at] > 0 {
                let room = way.iter().map(|&e| self.arcs[e].1);
                let amount = room.fold(self.source[first].min(self.sink[at]), u64::min);
                self.source[first] -= amount;
                self.sink[at] -= amount;
                for &e in &way {
                    self.arcs[e].1 -= amount;
                    self.arcs[e ^ 1].1 += amount;
                }
                self.steps += way.len();
                if self.source[first] == 0 {
                    return;
                }
                if let Some(i) = way.iter().position(|&e| self.arcs[e].1 == 0) {
                    at = self.arcs[way[i] ^ 1].0;
                    way.truncate(i);
                }
                continue;
            }
            let end = self.begin[at + 1];
            while self.next[at] < end {
                let (to, room) = self.arcs[self.out[self.next[at]]];
                if room > 0 && self.level[to] == self.level[at] + 1 {
                    break;
                }
                self.next[at] += 1;
                self.steps += 1;
            }
            if self.next[at] < end {
                let e = self.out[self.next[at]];
                way.push(e);
                at = self.arcs[e].0;
            } else if let Some(e) = way.pop() {
                // Nothing leads on from here.
                at = self.arcs[e ^ 1].0;
                self.next[at] += 1;
            } else {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use petgraph::algo::dinics;
    use petgraph::graph::{DiGraph, NodeIndex};
    use petgraph::visit::EdgeRef;

    use super::*;

    struct Rng(u64);

    impl Rng {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) as usize % n
        }
    }

    /// A network given at random, and the same as a graph with a source and a sink.
    fn network(rng: &mut Rng) -> (Network, DiGraph<(), u64>) {
        let (mut net, mut graph) = (Network::default(), DiGraph::new());
        let ends: [NodeIndex; 2] = [graph.add_node(()), graph.add_node(())];
        let room = |rng: &mut Rng| [0, 0, 1, 2, 3, 5, 1 << 62][rng.below(7)];
        let n = 1 + rng.below(12);
        for _ in 0..n {
            let (source, sink) = (room(rng), if rng.below(3) > 0 { 0 } else { 1 + room(rng) / 2 });
            net.node(source, sink);
            let node = graph.add_node(());
            graph.add_edge(ends[0], node, source);
            graph.add_edge(node, ends[1], sink);
        }
        for _ in 0..rng.below(3 * n) {
            let (a, b, room) = (rng.below(n), rng.below(n), room(rng));
            if a != b {
                net.arc(a, b, room);
                graph.add_edge(NodeIndex::new(a + 2), NodeIndex::new(b + 2), room);
            }
        }
        (net, graph)
    }

    #[test]
    fn another_algorithm_finds_the_same_cut() {
        let rng = &mut Rng(5);
        let mut sides = [0, 0];
        for round in 0..5000 {
            let (net, graph) = network(rng);
            let (_, flows) = dinics(&graph, NodeIndex::new(0), NodeIndex::new(1));
            let mut reached = vec![false; graph.node_count()];
            reached[0] = true;
            let mut todo = vec![NodeIndex::new(0)];
            while let Some(at) = todo.pop() {
                let on = graph.edges(at).filter(|e| flows[e.id().index()] < *e.weight());
                let back = graph.edges_directed(at, petgraph::Direction::Incoming);
                let back = back.filter(|e| flows[e.id().index()] > 0);
                for next in on.map(|e| e.target()).chain(back.map(|e| e.source())) {
                    if !std::mem::replace(&mut reached[next.index()], true) {
                        todo.push(next);
                    }
                }
            }
            let near = net.cut().near;
            near.iter().for_each(|&near| sides[usize::from(near)] += 1);
            assert_eq!(near, reached[2..], "round {round}");
        }
        assert!(sides.iter().all(|&n| n > 5000), "{sides:?}");
    }

    /// Values each made of the last for a small price; some are read.
    fn chain(n: usize) -> Network {
        let mut net = Network::default();
        let mut last: Option<usize> = None;
        for i in 0..n {
            let node = net.node(1 + (i * 7 % 5) as u64, if i % 9 == 0 { 32 } else { 0 });
            let result = net.node(0, 0);
            net.arc(node, result, 32);
            if let Some(last) = last.replace(result) {
                net.arc(last, node, 1 << 62);
            }
        }
        net
    }

    #[test]
    fn ten_times_the_network_takes_about_ten_times_the_steps() {
        let [less, more] = [1000, 10_000].map(|n| chain(n).cut().steps);
        assert!(more < 12 * less, "{less} and {more}");
    }
}
