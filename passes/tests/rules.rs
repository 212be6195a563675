//! Both sides of every rewrite rule, on ordinary numbers and on awkward ones.
#![allow(missing_docs)]

use backstitch_ir::eval::eval_arrays;
use backstitch_ir::ops::{Axes, Broadcast, Pad, PadAxis, Permute, ScatterAdd, Slice, SliceAxis};
use backstitch_ir::{Array, DType, Graph, Monoid, Scalar, Shape, Type, Value};
use backstitch_passes::{Class, RULES};

const AWKWARD: [f64; 12] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -2.75,
    1e-310,
    1e300,
    -1e300,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
];

/// The left side of the rule of that name: a graph with one output.
fn left_side(rule: &str) -> Graph {
    let mut g = Graph::new(rule);
    let ty = Type::new(DType::F64, [3, 4]);
    let x = g.input(ty.clone(), Some("x"));
    let y = g.input(ty.clone(), Some("y"));
    let c = g.map(Scalar::Lt, &[x, y]);
    let swap = || Permute { perm: Axes::from_slice(&[1, 0]) };
    let spread = |g: &mut Graph, v: Value| {
        let shape = Shape::from([3, 4, 2]);
        g.push(Broadcast { shape, dims: Axes::from_slice(&[0, 1]) }, &[v])
    };
    let out = match rule {
        "mul_by_one" => {
            let one = g.like(x, 1.0);
            g.map(Scalar::Mul, &[one, x])
        }
        "mul_by_minus_one" => {
            let minus = g.like(x, -1.0);
            g.map(Scalar::Mul, &[x, minus])
        }
        "mul_twice" => {
            let (c, twice) = (g.like(x, 0.75), g.map(Scalar::Add, &[x, x]));
            g.map(Scalar::Mul, &[c, twice])
        }
        "div_by_one" => {
            let one = g.like(x, 1.0);
            g.map(Scalar::Div, &[x, one])
        }
        "sub_zero" => {
            let zero = g.like(x, 0.0);
            g.map(Scalar::Sub, &[x, zero])
        }
        "neg_neg" => {
            let n = g.map(Scalar::Neg, &[x]);
            g.map(Scalar::Neg, &[n])
        }
        "mul_neg" => {
            let n = g.map(Scalar::Neg, &[y]);
            g.map(Scalar::Mul, &[x, n])
        }
        "add_neg" => {
            let n = g.map(Scalar::Neg, &[x]);
            g.map(Scalar::Add, &[n, y])
        }
        "sub_neg" => {
            let n = g.map(Scalar::Neg, &[y]);
            g.map(Scalar::Sub, &[x, n])
        }
        "select_same" => g.map(Scalar::Select, &[c, x, x]),
        "select_known" => {
            let no = g.constant(false);
            let no = g.broadcast(no, &ty.shape, &[]);
            g.map(Scalar::Select, &[no, x, y])
        }
        "cast_same" => g.map(Scalar::ToF64, &[x]),
        "not_not" => {
            let n = g.map(Scalar::Not, &[c]);
            g.map(Scalar::Not, &[n])
        }
        "pow_one" => {
            let one = g.like(x, 1.0);
            g.map(Scalar::Pow, &[x, one])
        }
        "pow_two" => {
            let two = g.like(x, 2.0);
            g.map(Scalar::Pow, &[x, two])
        }
        "fold" => {
            let (a, b) = (g.like(x, 2.5), g.like(x, 0.75));
            g.map(Scalar::Pow, &[a, b])
        }
        "map_of_broadcasts" => {
            let (a, b) = (spread(&mut g, x), spread(&mut g, y));
            g.map(Scalar::Add, &[a, b])
        }
        "broadcast_of_broadcast" => {
            let a = spread(&mut g, x);
            let shape = Shape::from([5, 3, 4, 2]);
            g.push(Broadcast { shape, dims: Axes::from_slice(&[1, 2, 3]) }, &[a])
        }
        "reshape_of_reshape" => {
            let a = g.reshape(x, [12]);
            g.reshape(a, [2, 6])
        }
        "permute_of_permute" => {
            let a = g.push(swap(), &[x]);
            g.push(swap(), &[a])
        }
        "permute_nothing" => g.push(Permute { perm: Axes::from_slice(&[0, 1]) }, &[x]),
        "slice_all" => {
            let axis = |len| SliceAxis { start: 0, len, step: 1 };
            g.push(Slice { axes: [axis(3), axis(4)].into_iter().collect() }, &[x])
        }
        "reduce_of_one" => {
            let a = g.reshape(x, [3, 1, 4]);
            g.reduce(Monoid::Max, a, &[1])
        }
        "add_padded" => {
            let zero = g.constant(0.0);
            let zero = g.as_splat(zero).expect("a constant");
            let mut part = |x, start: usize, len: usize| {
                let axes =
                    [SliceAxis { start: 0, len: 3, step: 1 }, SliceAxis { start, len, step: 1 }];
                let x = g.push(Slice { axes: axes.into_iter().collect() }, &[x]);
                let at = PadAxis { lo: start, hi: 4 - start - len, inner: 0 };
                let axes = [PadAxis::NONE, at].into_iter().collect();
                g.push(Pad { axes, value: zero }, &[x])
            };
            let (a, b, c) = (part(x, 3, 1), part(y, 0, 2), part(x, 2, 1));
            let sum = g.map(Scalar::Add, &[a, b]);
            g.map(Scalar::Add, &[sum, c])
        }
        "add_scattered" => {
            let zero = g.like(x, 0.0);
            let index = g.constant(Array::from(ndarray::arr1(&[2i64, 0])));
            let u = g.push(
                Slice {
                    axes: [(0, 2), (0, 4)]
                        .map(|(start, len)| SliceAxis { start, len, step: 1 })
                        .into_iter()
                        .collect(),
                },
                &[y],
            );
            let scattered = g.push(ScatterAdd { axis: 0 }, &[zero, index, u]);
            g.map(Scalar::Add, &[x, scattered])
        }
        _ => panic!("no instance of rule `{rule}`: write one here"),
    };
    g.set_outputs([out]);
    g
}

/// Pairs of awkward numbers, twelve at a time.
fn inputs() -> Vec<[Array; 2]> {
    let n = AWKWARD.len();
    (0..n)
        .map(|shift| {
            let at = |i: usize, by: usize| AWKWARD[(i + by) % n];
            let a = ndarray::Array2::from_shape_fn((3, 4), |(i, j)| at(4 * i + j, 0));
            let b = ndarray::Array2::from_shape_fn((3, 4), |(i, j)| at(4 * i + j, shift));
            [a.into(), b.into()]
        })
        .collect()
}

#[test]
fn both_sides_of_each_rule_mean_the_same() {
    for rule in RULES {
        let left = left_side(rule.name);
        let mut right = left.clone();
        let v = left.outputs()[0];
        let args = left.args(left.source(v).0);
        let to = (rule.apply)(&mut right, v, &args);
        let to = to.unwrap_or_else(|| panic!("`{}` does not apply to\n{left}", rule.name));
        assert_ne!(to, v, "`{}` changes nothing", rule.name);
        assert_eq!(right.ty(to), left.ty(v), "`{}` changes the type", rule.name);
        right.set_outputs([to]);
        for x in inputs() {
            let (a, b) = (eval_arrays(&left, &x), eval_arrays(&right, &x));
            for (a, b) in a[0].to_f64_vec().into_iter().zip(b[0].to_f64_vec()) {
                let same = match rule.class {
                    Class::Exact => a.to_bits() == b.to_bits(),
                    Class::Rounds => (a - b).abs() <= 4.0 * f64::EPSILON * a.abs() || a == b,
                };
                assert!(same || (a.is_nan() && b.is_nan()), "`{}`: {a:e} and {b:e}", rule.name);
            }
        }
    }
}

#[test]
fn a_sum_with_zero_is_left_alone() {
    // -0 + 0 is +0: replacing it with its operand would change a bit.
    let mut g = Graph::new("g");
    let x = g.input(Type::new(DType::F64, [2]), None);
    let zero = g.like(x, 0.0);
    let sum = g.map(Scalar::Add, &[x, zero]);
    g.set_outputs([sum]);
    let simple = backstitch_passes::simplify(&g);
    let got = eval_arrays(&simple, &[ndarray::arr1(&[-0.0, 1.0]).into()]);
    assert_eq!(got[0].to_f64_vec()[0].to_bits(), 0.0f64.to_bits());
}
