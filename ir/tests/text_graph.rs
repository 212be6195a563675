//! Graphs in text: what is printed is read back as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use backstitch_ir::graph::{Graph, Origin, Value};
use backstitch_ir::index::Idx;
use backstitch_ir::ops::{Cond, FixedPoint, Literal, Loop, Region, Rows, Rule, Trip, Unroll};
use backstitch_ir::text::{DotOptions, parse_graph, to_dot};
use backstitch_ir::verify::verify_graph;
use backstitch_ir::{Array, Const, DType, Monoid, Op, Scalar, Type};

/// Prints, reads, and prints again.
#[track_caller]
fn round_trip(g: &Graph) -> String {
    let text = g.to_string();
    let read = parse_graph(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert!(read == *g, "read as\n{read}\nfrom\n{text}");
    let again = read.to_string();
    let without_comments = |t: &str| {
        let lines = t.lines().map(|l| l.split("  #").next().unwrap_or(l).trim_end().to_owned());
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(again, without_comments(&text));
    assert_eq!(verify_graph(&read), Ok(()));
    text
}

fn scalar(dtype: DType) -> Type {
    Type::scalar(dtype)
}

/// `x, n ↦ (n, x, a stack of x, its doubles, …)`: loops in loops and branches.
fn nested() -> Graph {
    let f32s = || scalar(DType::F32);
    let mut inner = Graph::new("inner");
    let (x, k) = (inner.input(f32s(), Some("x")), inner.input(f32s(), Some("k")));
    let y = inner.map(Scalar::Mul, &[x, k]);
    inner.set_outputs([y, x]);

    let mut body = Graph::new("body");
    let (n, x) = (body.input(scalar(DType::I64), Some("n")), body.input(f32s(), Some("x")));
    let count = body.constant(3i64);
    let inner = Loop {
        trip: Trip::Count,
        body: Arc::new(inner),
        carries: 1,
        consts: 1,
        pops: 0,
        unroll: Unroll::Auto,
    };
    let powers = body.add(inner, &[count, x, x]).unwrap();
    let one = body.constant(1i64);
    let next = body.map(Scalar::Add, &[n, one]);
    body.set_outputs([next, powers[0], powers[1], x]);

    let mut cond = Graph::new("cond");
    let (n, _) = (cond.input(scalar(DType::I64), None), cond.input(f32s(), None));
    let most = cond.constant(4i64);
    let less = cond.map(Scalar::Lt, &[n, most]);
    cond.set_outputs([less]);

    let mut pop = Graph::new("pop");
    let (sum, x) = (pop.input(f32s(), None), pop.input(f32s(), None));
    let sum = pop.map(Scalar::Add, &[sum, x]);
    pop.set_outputs([sum]);
    let mut zero = Graph::new("");
    let sum = zero.input(f32s(), None);
    zero.set_outputs([sum]);

    let mut g = Graph::new("nested");
    let n = g.input(scalar(DType::I64), Some("n"));
    let x = g.input(f32s(), Some("x"));
    let trip = Trip::While(Arc::new(cond));
    let outer =
        Loop { trip, body: Arc::new(body), carries: 2, consts: 0, pops: 0, unroll: Unroll::Auto };
    let results = g.add(outer, &[n, x]).unwrap();
    let reverse = |trip| Loop {
        trip,
        body: Arc::new(pop.clone()),
        carries: 1,
        consts: 0,
        pops: 1,
        unroll: Unroll::Auto,
    };
    let sum = g.add(reverse(Trip::Count), &[results[0], results[1], results[3]]).unwrap()[0];
    let sum = g.add(reverse(Trip::Entries), &[sum, results[3]]).unwrap()[0];
    let ty = Type::new(DType::F32, [3]);
    let rows = g.push(Rows::FromStack { ty, back: true }, &[results[3]]);
    let stack = g.push(Rows::ToStack { back: false }, &[rows]);
    let sum = g.add(reverse(Trip::Entries), &[sum, stack]).unwrap()[0];
    let mut double = Graph::new("double");
    let d = double.input(f32s(), None);
    let twice = double.map(Scalar::Add, &[d, d]);
    double.set_outputs([twice]);
    let double = Arc::new(double);
    let mut along = Graph::new("along");
    let (_, dot) = (along.input(f32s(), None), along.input(f32s(), None));
    let twice = along.map(Scalar::Add, &[dot, dot]);
    along.set_outputs([twice]);
    let custom = Rule::Custom { wrt: 1, jvp: Some(Arc::new(along)), vjp: None };
    let mut sum = sum;
    let tolerance = 1e-12f64.to_bits();
    let step = FixedPoint { step: double.clone(), tolerance, limit: 3 };
    let checkpoints = [0, 1].map(|kept| Rule::Checkpoint { kept });
    let rules = [Rule::Recompute, custom, Rule::FixedPoint(step)];
    for rule in checkpoints.into_iter().chain(rules) {
        sum = g.push(Region { body: double.clone(), rule }, &[sum]);
    }
    let pred = g.map(Scalar::Eq, &[x, sum]);
    let branch = Arc::new(zero);
    let cond = Cond { then: Arc::clone(&branch), els: branch };
    let out = g.add(cond, &[pred, sum]).unwrap()[0];
    g.set_name(out, "out");
    g.set_outputs([results[0], out, results[2]]);
    g
}

#[test]
fn every_primitive_is_read_back() {
    for sample in Op::samples() {
        let mut g = Graph::new(sample.op.name());
        let args: Vec<Value> = sample.args.iter().map(|t| g.input(t.clone(), None)).collect();
        let results = g.add(sample.op, &args).unwrap();
        g.set_outputs(results);
        round_trip(&g);
    }
}

#[test]
fn constants_keep_their_bits() {
    let mut g = Graph::new("constants");
    let floats = [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::INFINITY, -0.0, 1e-45];
    let doubles = [f64::NAN, f64::NEG_INFINITY, -0.0, f64::MAX, 0.1, f64::from_bits(1)];
    let arrays = [
        Array::from(ndarray::arr1(&floats)),
        Array::from(ndarray::arr1(&doubles)),
        Array::from(ndarray::arr2(&[[i32::MIN, i32::MAX, 0]])),
        Array::from(ndarray::arr1(&[i64::MIN, i64::MAX])),
        Array::from(ndarray::arr1(&[true, false])),
        Array::full(&[2, 0, 3].into(), Const::of_float(DType::F64, 1.0)),
        Array::from(2.5f32),
    ];
    let values = arrays.map(|a| g.constant(a));
    g.set_outputs(values);
    round_trip(&g);
}

#[test]
fn graphs_inside_graphs_are_read_back() {
    let text = round_trip(&nested());
    assert!(text.contains("while graph @cond"), "{text}");
    assert!(text.contains("      %3, %4 = loop %2, x, x carries 1 consts 1 pops 0 {"), "{text}");
    assert!(text.contains(" carries 1 consts 0 pops 1 entries {"), "{text}");
    assert!(text.contains("  } : i64[], f32[], stack stack f32[], stack f32[]\n"), "{text}");
}

#[test]
fn operations_without_operands_or_results_are_read_back() {
    let nothing = Arc::new(Graph::new("nothing"));
    let mut always = Graph::new("always");
    let t = always.constant(true);
    always.set_outputs([t]);
    let trip = Trip::While(Arc::new(always));
    let mut g = Graph::new("idle");
    g.add(
        Loop {
            trip,
            body: Arc::clone(&nothing),
            carries: 0,
            consts: 0,
            pops: 0,
            unroll: Unroll::Auto,
        },
        &[],
    )
    .unwrap();
    let t = g.constant(true);
    g.add(Cond { then: Arc::clone(&nothing), els: nothing }, &[t]).unwrap();
    round_trip(&g);
}

#[test]
fn names_are_kept_and_made_unique() {
    let mut g = Graph::new("a name");
    let ty = Type::new(DType::F32, [2]);
    let x = g.input(ty.clone(), Some("x"));
    let y = g.input(ty.clone(), Some("x"));
    let z = g.input(ty.clone(), Some("x_2"));
    // These would read as something else.
    let odd = ["f32", "%1", "4", "", "stack", "carries", "a b", "ünï", "x'ct", "#", "return"];
    let inputs = odd.map(|name| g.input(ty.clone(), Some(name)));
    let mut sum = g.map(Scalar::Add, &[x, y]);
    for v in inputs.into_iter().chain([z]) {
        sum = g.map(Scalar::Add, &[sum, v]);
    }
    let c = g.constant(1f32);
    g.set_name(sum, "i64");
    g.set_outputs([sum, c]);
    let text = round_trip(&g);
    assert!(
        text.starts_with("graph @a_name(x: f32[2], x_2: f32[2], x_2_2: f32[2], f32:"),
        "{text}"
    );
    assert!(
        text.contains("stack: f32[2], _carries: f32[2], a_b: f32[2], ünï: f32[2], x'ct:"),
        "{text}"
    );
}

#[test]
fn inputs_may_come_late() {
    let mut g = Graph::new("late");
    let ty = scalar(DType::F64);
    let x = g.input(ty.clone(), Some("x"));
    let y = g.map(Scalar::Exp, &[x]);
    let ct = g.input(ty.clone(), Some("y'ct"));
    let x_ct = g.map(Scalar::Mul, &[ct, y]);
    let unused = g.input(ty, None);
    g.set_outputs([x_ct, unused]);
    let want = "\
graph @late(x: f64[]; y'ct: f64[], %4: f64[]) -> (f64[], f64[]) {
  %1   = exp x        : f64[]
  y'ct = input 1      : f64[]
  %3   = mul y'ct, %1 : f64[]
  %4   = input 2      : f64[]
  return %3, %4
}";
    assert_eq!(round_trip(&g), want);
}

#[test]
fn comments_tell_where_nodes_come_from() {
    let mut g = Graph::new("origins");
    let x = g.input(scalar(DType::F32), Some("x"));
    let place = std::panic::Location::caller();
    let y = {
        g.set_origin(Origin { place: Some(place), ..Origin::default() });
        g.map(Scalar::Tanh, &[x])
    };
    let primal = Some(g.source(y).0);
    g.set_name(y, "y");
    g.set_origin(Origin { adjoint: true, primal, ..Origin::default() });
    let ct = g.map(Scalar::Square, &[y]);
    g.set_outputs([ct]);
    let text = round_trip(&g);
    let line = format!("y  = tanh x   : f32[]  # {}:{}:", place.file(), place.line());
    assert!(text.contains(&line), "{text}");
    assert!(text.contains("%2 = square y : f32[]  # from y"), "{text}");
}

#[test]
fn dead_nodes_are_printed() {
    let mut g = Graph::new("dead");
    let x = g.input(Type::new(DType::F32, [3]), Some("x"));
    g.reduce(Monoid::Sum, x, &[0]);
    g.set_outputs([x]);
    assert!(round_trip(&g).contains("%1 = reduce x by sum over (0) : f32[]"));
}

#[test]
fn hand_written_text_may_look_otherwise() {
    let text = "
        # A comment, then a graph.
        graph @f(x: f32[3] , %7: f32[3]) -> (f32[3]) {   # another
          %3 = add x , %7:f32[3]

          return %3
        }
    ";
    let g = parse_graph(text).unwrap();
    let want = "\
graph @f(x: f32[3], %1: f32[3]) -> (f32[3]) {
  %2 = add x, %1 : f32[3]
  return %2
}";
    assert_eq!(g.to_string(), want);
}

#[test]
fn mistakes_are_found_at_their_line() {
    let cases = [
        ("y = exp z : f32[2]", "line 2: expected a value defined before, found `z : f32[2]`"),
        ("y = expo x : f32[2]", "line 2: expected an operation, not expo, found"),
        ("y = exp x : f32[3]", "line 2: expected f32[2], found `f32[3]`"),
        ("y = exp x, x : f32[2]", "line 2: expected exp of another number of operands"),
        ("y = exp b : bool[]", "line 2: expected exp of floats, found `bool[]`"),
        ("y = exp x : f32[2] x", "line 2: expected the end of the line, found `x`"),
        ("y, z = exp x : f32[2]", "line 2: expected 1 names"),
        ("x = exp x : f32[2]", "line 2: expected another name than x"),
        ("y = input 2 : f32[2]", "line 2: expected the next of the inputs"),
        ("y = exp x : f32[2]\nz = exp x : f32[2]", "line 3: expected a node that is not there"),
        ("return x\nreturn x", "line 3: expected `}`, found `return x`"),
        ("return b", "line 2: expected values of types (f32[2]), found `b`"),
        ("}", "line 2: expected `return` before the end"),
        ("return x\n}\n}", "line 4: expected the end of the text, found `}`"),
        ("y = cond b, x { then graph @() -> () {", "line 2: expected the end of the line"),
        ("y = loop x carries 1 consts 0 pops 0 {\n} : f32[2]", "line 3: expected `do`"),
        ("y = exp", "line 2: expected a value, found ``"),
        ("y = reduce z by sum over (0) : f32[]", "line 2: expected a value defined before"),
        ("y = reduce x by sum over (9) : f32[]", "line 2: expected reduce of"),
        ("y = map exp : f32[]", "line 2: expected a value defined before"),
        ("y = const f32[2] [1.0] : f32[2]", "line 2: expected as many elements"),
    ];
    for (line, want) in cases {
        let text = format!("graph @f(x: f32[2], b: bool[]) -> (f32[2]) {{\n{line}");
        let error = parse_graph(&text).unwrap_err().to_string();
        assert!(error.starts_with(want), "{error}\nis not\n{want}");
    }
}

#[test]
fn text_with_anything_in_it_does_no_harm() {
    let text = nested().to_string();
    for (at, _) in text.char_indices() {
        for other in ["", "{", "}", "9", "%", ",", "99999999999999999999", "\n"] {
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            if let Ok(g) = parse_graph(&changed) {
                assert_eq!(verify_graph(&g), Ok(()), "{changed}");
                assert_eq!(parse_graph(&g.to_string()), Ok(g));
            }
        }
    }
    let deep = "y = cond b { \n then graph @() -> () { \n".repeat(100_000);
    assert!(parse_graph(&format!("graph @f(b: bool[]) -> () {{\n {deep}")).is_err());
    assert!(parse_graph(&format!("graph @f(b: {}f32[]) -> () {{", "stack ".repeat(300))).is_err());
    let large = "graph @f(b: f32[99999999999, 99999999999]) -> () {\n return\n}";
    assert!(parse_graph(large).is_err());
}

#[test]
fn verifying_finds_what_the_builder_cannot() {
    let mut g = Graph::new("bad");
    let x = g.input(scalar(DType::F32), Some("x"));
    let wrong = backstitch_ir::ops::Input { index: 7, ty: scalar(DType::F32) };
    g.push(wrong, &[]);
    g.set_outputs([x, Value::new(9)]);
    let errors = verify_graph(&g).unwrap_err();
    let text = errors.to_string();
    assert!(text.contains("n1: input 7 of the graph is another node\n    %1 = input 7"), "{text}");
    assert!(text.contains("graph: output 1 is %9, which does not exist"), "{text}");
    assert_eq!(errors.0.len(), 2);

    let mut outer = Graph::new("outer");
    let (b, x) = (outer.constant(true), outer.constant(1f32));
    let mut bad = Graph::new("");
    let y = bad.input(scalar(DType::F32), None);
    bad.push(backstitch_ir::ops::Input { index: 3, ty: scalar(DType::F32) }, &[]);
    bad.set_outputs([y]);
    let mut good = Graph::new("");
    for _ in 0..2 {
        let y = good.input(scalar(DType::F32), None);
        good.set_outputs([y]);
    }
    outer.add(Cond { then: Arc::new(bad), els: Arc::new(good) }, &[b, x, x]).unwrap();
    let text = verify_graph(&outer).unwrap_err().to_string();
    assert!(text.starts_with("n2 then: n1: input 3"), "{text}");
}

#[test]
fn pictures_tell_forward_from_backward() {
    let mut g = Graph::new("a \"b\"");
    let x = g.input(Type::new(DType::F32, [64]), Some("x"));
    let y = g.map(Scalar::Tanh, &[x]);
    let long = g.push(Literal::new(Array::from(ndarray::Array1::<f32>::zeros(64))), &[]);
    g.set_origin(Origin { adjoint: true, ..Origin::default() });
    let z = g.map(Scalar::Mul, &[y, long]);
    g.set_outputs([z]);
    let dot = to_dot(&g, &DotOptions::default());
    assert!(dot.starts_with("digraph \"a \\\"b\\\"\" {"), "{dot}");
    assert!(dot.contains("label=\"backward\""), "{dot}");
    assert!(dot.contains("n1 [label=\"tanh\\n%1: f32[64]\", fillcolor=lightblue];"), "{dot}");
    assert!(dot.contains("fillcolor=orange, peripheries=2];"), "{dot}");
    assert!(dot.contains("n1 -> n3;"), "{dot}");
    assert!(dot.lines().all(|line| line.len() < 120), "{dot}");

    let nodes: Vec<_> = g.nodes().collect();
    let groups = BTreeMap::from([(nodes[1], 0), (nodes[3], 12)]);
    let dot = to_dot(&g, &DotOptions { groups });
    assert!(dot.contains("label=\"group 12\""), "{dot}");
    let dot = to_dot(&nested(), &DotOptions::default());
    assert!(dot.contains("n2_do_n3_do_n2 [label=\"mul"), "{dot}");
    assert_eq!(dot.matches('{').count(), dot.matches('}').count());
}
