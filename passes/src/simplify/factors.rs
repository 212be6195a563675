//! Constant factors leave sums.
//!
//! ```text
//! r = c · y; sum (x · r), sum (x · -r)     r = y; c · sum (x · r), c · sum (x · -r)
//! ```
//!
//! The cotangent of a mean is a constant, with which all that follows is multiplied, element
//! by element. Where everything that depends on such a product is a factor of sums in the
//! end, the constant is a factor of the sums. Adding up other numbers, a rounding apart
//! ([`Class::Rounds`](crate::Class::Rounds)).
//!
//! Only what derivatives multiply with: a factor that a program has may be there so that
//! nothing overflows. And only factors that are no larger or smaller than extents are, so
//! that sums are finite but at the end of the range, where derivatives need not be.

use backstitch_ir::{Graph, IndexVec, Monoid, Node, Op, Scalar, Value, threshold};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::{SmallVec, smallvec};

use crate::rebuild::{live, rebuild, same};

/// Products of fewer elements stay as they are.
const LEAST: usize = threshold(256, 2);

/// So many times the elements of the sums are those of the product.
const GAIN: usize = 4;

/// Values that depend on a product, and sums of these, at most.
const MOST: usize = 64;

/// The largest factor, and one over the smallest; of a sum, its square.
const FAR: f64 = 4e9;

/// Whether there may be something to do.
pub(crate) fn may_factor(g: &Graph) -> bool {
    let sums = |n| matches!(g.op(n), Op::Reduce(r) if r.monoid == Monoid::Sum);
    g.nodes().any(sums) && g.nodes().any(|n| scaled(g, n).is_some())
}

/// The same program, where constant factors of terms are factors of their sums.
pub fn factor_sums(g: &Graph) -> Graph {
    let users = Users::new(g);
    // Products that are their other operand, and what sums are multiplied with.
    let mut left: FxHashMap<Node, Value> = FxHashMap::default();
    let mut factors: FxHashMap<Node, f64> = FxHashMap::default();
    for n in g.nodes().filter(|&n| users.live[n]) {
        let Some((y, c)) = scaled(g, n) else { continue };
        let Some(sums) = users.sums(g, g.results(n)[0]) else { continue };
        let of = |sum: &Node| c * factors.get(sum).copied().unwrap_or(1.0);
        if sums.iter().all(|sum| is_near(of(sum), FAR * FAR)) {
            left.insert(n, y);
            sums.into_iter().for_each(|sum| *factors.entry(sum).or_insert(1.0) *= c);
        }
    }
    if left.is_empty() {
        return g.clone();
    }
    rebuild(g, |to, n, args| {
        if let Some(&y) = left.get(&n) {
            let place = g.args(n).iter().position(|&a| a == y).expect("its operand");
            return smallvec![args[place]];
        }
        let results = same(to, g, n, args);
        let Some(&c) = factors.get(&n) else { return results };
        let c = to.like(results[0], c);
        smallvec![to.map(Scalar::Mul, &[results[0], c])]
    })
}

/// What a large product of a derivative multiplies with a constant, and the constant.
fn scaled(g: &Graph, n: Node) -> Option<(Value, f64)> {
    let Op::Map(m) = g.op(n) else { return None };
    let v = g.results(n)[0];
    let large = g.ty(v).is_float() && g.ty(v).len() >= LEAST;
    if m.f != Scalar::Mul || !large || !g.origin(n).adjoint {
        return None;
    }
    let args = g.args(n);
    let constant = |v: Value| {
        let c = g.as_splat(v)?.to_f64();
        (is_near(c, FAR) && c.abs() != 1.0).then_some(c)
    };
    match (constant(args[0]), constant(args[1])) {
        (None, Some(c)) => Some((args[0], c)),
        (Some(c), None) => Some((args[1], c)),
        _ => None,
    }
}

/// Whether a factor is neither larger than that nor as much smaller than 1.
fn is_near(c: f64, far: f64) -> bool {
    (1.0 / far..=far).contains(&c.abs())
}

/// Who uses values.
struct Users {
    live: IndexVec<Node, bool>,
    of: IndexVec<Value, SmallVec<[Node; 2]>>,
    outputs: FxHashSet<Value>,
}

impl Users {
    fn new(g: &Graph) -> Self {
        let live = live(g, g.outputs(), None);
        let mut of: IndexVec<Value, SmallVec<[Node; 2]>> =
            IndexVec::filled(SmallVec::new(), g.value_count());
        for n in g.nodes().filter(|&n| live[n]) {
            for a in g.args(n) {
                if of[a].last() != Some(&n) {
                    of[a].push(n);
                }
            }
        }
        Self { live, of, outputs: g.outputs().iter().copied().collect() }
    }

    /// The sums of which this value is a factor, if that is all it is for, and they are much
    /// smaller.
    fn sums(&self, g: &Graph, v: Value) -> Option<Vec<Node>> {
        let (mut sums, mut open) = (Vec::new(), vec![v]);
        let mut inside: FxHashSet<Value> = open.iter().copied().collect();
        let mut products = Vec::new();
        while let Some(v) = open.pop() {
            if self.outputs.contains(&v) {
                return None;
            }
            for &n in &self.of[v] {
                if inside.len() + sums.len() > MOST {
                    return None;
                }
                match g.op(n) {
                    Op::Reduce(r) if r.monoid == Monoid::Sum => {
                        sums.push(n);
                        continue;
                    }
                    Op::Map(m) if m.f == Scalar::Neg => {}
                    Op::Map(m) if is_product(m.f) => products.push(n),
                    Op::Permute(_) | Op::Reshape(_) => {}
                    _ => return None,
                }
                let result = g.results(n)[0];
                if inside.insert(result) {
                    open.push(result);
                }
            }
        }
        // A square of it would have the factor twice.
        let linear = |&n: &Node| g.args(n).iter().filter(|a| inside.contains(a)).count() == 1;
        let elements: usize = sums.iter().map(|&n| g.ty(g.results(n)[0]).len()).sum();
        let gains = !sums.is_empty() && elements.saturating_mul(GAIN) <= g.ty(v).len();
        (gains && products.iter().all(linear)).then_some(sums)
    }
}

fn is_product(f: Scalar) -> bool {
    matches!(f, Scalar::Mul | Scalar::MulZ | Scalar::MulZLeft)
}

#[cfg(test)]
mod tests {
    use backstitch_ir::eval::eval_arrays;
    use backstitch_ir::graph::Origin;
    use backstitch_ir::{Array, DType, Type};

    use super::*;

    fn both(g: &Graph) -> (Graph, Vec<[f64; 2]>) {
        let next = factor_sums(g);
        let x = ndarray::Array1::from_shape_fn(1000, |i| (i as f64 * 0.7).sin() + 0.25);
        let inputs: Vec<Array> =
            g.inputs().iter().enumerate().map(|(i, _)| (&x * (1.0 + i as f64)).into()).collect();
        let (a, b) = (eval_arrays(g, &inputs), eval_arrays(&next, &inputs));
        let pairs = a
            .iter()
            .zip(&b)
            .flat_map(|(a, b)| a.to_f64_vec().into_iter().zip(b.to_f64_vec()).map(|(a, b)| [a, b]));
        let pairs = pairs.collect();
        (next, pairs)
    }

    fn products(g: &Graph) -> usize {
        let g = crate::prune(g);
        let large = |n: Node| g.ty(g.results(n)[0]).len() > 1;
        let is = |n: Node| matches!(g.op(n), Op::Map(m) if is_product(m.f));
        g.nodes().filter(|&n| is(n) && large(n)).count()
    }

    /// What follows is a derivative's.
    fn inputs(g: &mut Graph) -> [Value; 2] {
        let inputs = [0, 1].map(|_| g.input(Type::new(DType::F64, [1000]), None));
        g.set_origin(Origin { adjoint: true, ..g.current_origin() });
        inputs
    }

    #[test]
    fn a_factor_of_all_terms_leaves_each_sum() {
        let mut g = Graph::new("g");
        let [x, y] = inputs(&mut g);
        let c = g.like(y, 1e-3);
        let r = g.map(Scalar::Mul, &[c, y]);
        let rx = g.map(Scalar::MulZLeft, &[r, x]);
        let rxx = g.map(Scalar::Mul, &[x, rx]);
        let minus = g.map(Scalar::Neg, &[r]);
        let sums = [r, rx, rxx, minus].map(|v| g.reduce(Monoid::Sum, v, &[0]));
        g.set_outputs(sums);
        let (next, pairs) = both(&g);
        assert_eq!((products(&g), products(&next)), (3, 2));
        for [a, b] in pairs {
            assert!((a - b).abs() < 1e-13 * a.abs().max(1e-3), "{a} and {b}");
        }
    }

    #[test]
    fn factors_of_factors_are_multiplied() {
        let mut g = Graph::new("g");
        let [x, y] = inputs(&mut g);
        let (two, third) = (g.like(y, 2.5), g.like(y, 1.0 / 3.0));
        let a = g.map(Scalar::Mul, &[two, y]);
        let ax = g.map(Scalar::Mul, &[a, x]);
        let b = g.map(Scalar::Mul, &[ax, third]);
        let sum = g.reduce(Monoid::Sum, b, &[0]);
        g.set_outputs([sum]);
        let (next, pairs) = both(&g);
        assert_eq!((products(&g), products(&next)), (3, 1));
        assert!(pairs.iter().all(|[a, b]| (a - b).abs() < 1e-12 * a.abs()), "{pairs:?}");
    }

    #[test]
    fn what_is_used_otherwise_keeps_its_factor() {
        let mut g = Graph::new("g");
        let [x, y] = inputs(&mut g);
        let c = g.like(y, 0.5);
        // A square, an output, a sum with something else.
        let a = g.map(Scalar::Mul, &[c, y]);
        let aa = g.map(Scalar::Mul, &[a, a]);
        let cx = g.like(y, 0.3);
        let b = g.map(Scalar::Mul, &[cx, x]);
        let cs = g.like(y, 0.7);
        let s = g.map(Scalar::Mul, &[cs, x]);
        let with = g.map(Scalar::Add, &[s, y]);
        let sums = [aa, b, with].map(|v| g.reduce(Monoid::Sum, v, &[0]));
        g.set_outputs(sums.into_iter().chain([b]));
        let (next, pairs) = both(&g);
        assert_eq!(products(&g), products(&next));
        assert!(pairs.iter().all(|[a, b]| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn what_a_program_scales_with_stays_where_it_is() {
        let mut g = Graph::new("g");
        let x = g.input(Type::new(DType::F64, [1000]), None);
        let c = g.like(x, 1e-3);
        let scaled = g.map(Scalar::Mul, &[x, c]);
        // So does what is far from 1, of a derivative too.
        g.set_origin(Origin { adjoint: true, ..g.current_origin() });
        let far = g.like(x, 1e-20);
        let small = g.map(Scalar::Mul, &[x, far]);
        let sums = [scaled, small].map(|v| g.reduce(Monoid::Sum, v, &[0]));
        g.set_outputs(sums);
        assert_eq!(products(&factor_sums(&g)), 2);
    }
}
