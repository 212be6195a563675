//! Trees: walking, mapping, naming; derived and built in.

use std::collections::{BTreeMap, HashMap};

use backstitch_trace::{Args, Leaf, Path, Spec, Tensor, Trace, Tree, specs, trace, trace_tree};
use ndarray::{Array2, arr1};

#[derive(Tree, Clone, Debug, PartialEq)]
#[tree(crate = backstitch_trace)]
struct Linear<T> {
    w: T,
    b: T,
}

#[derive(Tree, Clone, Debug, PartialEq)]
#[tree(crate = backstitch_trace)]
struct Mlp<T> {
    layers: Vec<Linear<T>>,
    scale: Option<T>,
    #[tree(skip)]
    name: String,
}

#[derive(Tree, Clone, Copy, Debug, PartialEq)]
#[tree(crate = backstitch_trace)]
struct Pair<T>(T, [T; 2]);

#[derive(Tree, Clone, Debug, PartialEq)]
#[tree(crate = backstitch_trace, leaf = T)]
struct Tagged<'a, T, C, const N: usize>
where
    C: Clone,
{
    values: [T; N],
    #[tree(skip)]
    tag: C,
    #[tree(skip)]
    text: &'a str,
}

fn mlp() -> Mlp<f64> {
    let layers = vec![Linear { w: 1.0, b: 2.0 }, Linear { w: 3.0, b: 4.0 }];
    Mlp { layers, scale: Some(5.0), name: "net".into() }
}

#[test]
fn leaves_come_in_the_order_of_the_fields() {
    let leaves: Vec<f64> = mlp().leaves().into_iter().copied().collect();
    assert_eq!(leaves, [1.0, 2.0, 3.0, 4.0, 5.0]);
    let names = mlp().leaf_names();
    assert_eq!(names, ["layers.0.w", "layers.0.b", "layers.1.w", "layers.1.b", "scale"]);
}

#[test]
fn mapping_keeps_structure_and_skipped_fields() {
    let m: Mlp<bool> = mlp().map_leaves(&mut |x: &f64| *x > 2.5);
    assert_eq!(m.layers[1], Linear { w: true, b: true });
    assert_eq!((m.layers[0].clone(), m.name.as_str()), (Linear { w: false, b: false }, "net"));
    let tagged = Tagged { values: [1.0, 2.0], tag: 'x', text: "y" };
    let mapped: Tagged<'_, i64, char, 2> = tagged.map_leaves(&mut |x: &f64| *x as i64);
    assert_eq!(mapped, Tagged { values: [1, 2], tag: 'x', text: "y" });
}

#[test]
fn a_leaf_can_become_a_tree() {
    let p = Pair(1.0, [2.0, 3.0]);
    let nested: Pair<Linear<f64>> = p.nest_leaves(&mut |&x: &f64| Linear { w: x, b: -x });
    assert_eq!(nested.1[1], Linear { w: 3.0, b: -3.0 });
    assert_eq!(nested.leaf_names(), ["0.w", "0.b", "1.0.w", "1.0.b", "1.1.w", "1.1.b"]);
}

#[test]
fn maps_are_visited_by_key() {
    let map: HashMap<String, f64> = (0..20).map(|i| (format!("k{i:02}"), f64::from(i))).collect();
    let leaves: Vec<f64> = map.leaves().into_iter().copied().collect();
    assert_eq!(leaves, (0..20).map(f64::from).collect::<Vec<_>>());
    let mut seen = Vec::new();
    let _: HashMap<String, f64> = map.map_leaves(&mut |&x: &f64| {
        seen.push(x);
        x
    });
    assert_eq!(seen, leaves);
    let sorted: BTreeMap<&str, (f64, Option<f64>)> =
        [("b", (1.0, None)), ("a", (2.0, Some(3.0)))].into();
    assert_eq!(sorted.leaf_names(), ["a.0", "a.1", "b.0"]);
}

#[test]
fn the_empty_tree_has_no_leaf() {
    let mut leaves = 0;
    Tree::<f64>::visit(&(), &mut Path::root(), &mut |_, _| leaves += 1);
    assert_eq!(leaves, 0);
    let two: ((), Vec<f64>) = ((), vec![1.0]);
    assert_eq!(two.leaves(), [&1.0]);
}

fn count<L: Leaf, T: Tree<L>>(tree: &T) -> usize {
    tree.leaves().len()
}

#[test]
fn references_and_boxes_are_trees() {
    let p = Pair(1.0, [2.0, 3.0]);
    assert_eq!(count::<f64, _>(&&p), 3);
    assert_eq!(count::<f64, _>(&Box::new(p)), 3);
}

#[test]
fn a_struct_of_arrays_is_a_spec_an_argument_and_a_result() {
    let params = Mlp {
        layers: vec![Linear { w: Array2::<f32>::ones((2, 2)), b: Array2::ones((1, 2)) }],
        scale: None,
        name: "net".into(),
    };
    let spec = specs(&params);
    assert_eq!(spec.layers[0].b, Spec::f32([1, 2]));
    let traced = trace(spec, Spec::f32([1, 2]), |_, m, x| {
        assert_eq!(m.name, "net");
        m.layers.iter().fold(x, |x, l| x.matmul(l.w) + l.b).sum()
    });
    let traced = traced.unwrap();
    let names: Vec<_> =
        traced.graph().inputs().iter().map(|&v| traced.graph().name_of(v).unwrap()).collect();
    assert_eq!(names, ["layers.0.w", "layers.0.b", "data"]);
    let x = Array2::<f32>::ones((1, 2));
    let gradient = traced.grad().unwrap().eval(&params, &x).unwrap();
    assert_eq!(gradient.layers[0].w.to_f64_vec(), [1.0; 4]);
    assert!(gradient.scale.is_none());
    let mut views = 0;
    params.views(&mut |_| views += 1);
    assert_eq!(views, 2);
}

#[test]
fn results_can_be_any_tree() {
    let traced = trace_tree(Spec::f64([2]), (), |t, x, ()| {
        let named: BTreeMap<String, Vec<Tensor<'_>>> =
            [("a".to_owned(), vec![x, -x]), ("b".to_owned(), vec![])].into();
        t.outputs(&(named, Pair(x.sum(), [x, x])))
    });
    let (named, pair) = traced.unwrap().eval(&arr1(&[1.0, 2.0]), &()).unwrap();
    assert_eq!(named["a"][1].to_f64_vec(), [-1.0, -2.0]);
    assert_eq!(pair.0.item::<f64>(), Some(3.0));
}

#[test]
fn carries_can_be_any_tree() {
    let t = Trace::eager();
    let start = Pair(t.constant(1.0), [t.constant(1.0), t.constant(0.0)]);
    let end = t.while_loop(start, |p| p.0.lt(100.0), |p| Pair(p.0 + p.1[0], [p.0, p.1[1] + 1.0]));
    assert_eq!(end.0.item::<f64>().unwrap(), 144.0);
    assert_eq!(end.1[1].item::<f64>().unwrap(), 10.0);
}
