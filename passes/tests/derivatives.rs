//! Derivatives of whole graphs, control flow included, in several independent
//! ways: differences, forward against reverse, reverse over reverse against
//! forward over reverse, lanes of a batch one by one.
#![allow(missing_docs)]

#[path = "../../tests/common/random.rs"]
#[allow(dead_code)]
mod random;

use std::sync::Arc;

use backstitch_ir::eval::eval_arrays;
use backstitch_ir::op::Lane;
use backstitch_ir::ops::{Loop, Trip, Unroll};
use backstitch_ir::{Array, DType, Graph, Scalar, Shape, Type, Value};
use backstitch_passes::{batch, forward, prune, reverse};
use random::{Rng, filled, graph};

fn zeros_for(g: &mut Graph, found: Vec<Option<Value>>, like: &[Value]) -> Vec<Value> {
    found.into_iter().zip(like).map(|(v, &x)| v.unwrap_or_else(|| g.like(x, 0.0))).collect()
}

/// Inputs of the original, then a cotangent per output; outputs: gradients.
fn vjp(g: &Graph) -> Graph {
    let mut g = g.clone();
    let (inputs, outs) = (g.inputs().to_vec(), g.outputs().to_vec());
    let targets: Vec<(Value, Option<Value>)> =
        outs.iter().map(|&v| (v, Some(g.input(g.ty(v).clone(), None)))).collect();
    let cts = reverse(&mut g, &targets, &inputs);
    let cts = zeros_for(&mut g, cts, &inputs);
    g.set_outputs(cts);
    prune(&g)
}

/// Inputs of the original, then a tangent per input; outputs: tangents.
fn jvp(g: &Graph) -> Graph {
    let mut g = g.clone();
    let (inputs, outs) = (g.inputs().to_vec(), g.outputs().to_vec());
    let sources: Vec<(Value, Value)> =
        inputs.iter().map(|&v| (v, g.input(g.ty(v).clone(), None))).collect();
    let ts = forward(&mut g, &sources, &outs);
    let ts = zeros_for(&mut g, ts, &outs);
    g.set_outputs(ts);
    prune(&g)
}

fn like_inputs(rng: &mut Rng, g: &Graph, lo: f64, hi: f64) -> Vec<Array> {
    g.inputs().iter().map(|&v| rng.array(g.ty(v), lo, hi)).collect()
}

fn like_outputs(rng: &mut Rng, g: &Graph) -> Vec<Array> {
    g.outputs().iter().map(|&v| rng.array(g.ty(v), -1.0, 1.0)).collect()
}

fn dot(a: &[Array], b: &[Array]) -> f64 {
    let products = |(x, y): (&Array, &Array)| -> f64 {
        x.to_f64_vec().iter().zip(y.to_f64_vec()).map(|(x, y)| x * y).sum()
    };
    a.iter().zip(b).map(products).sum()
}

fn close(a: f64, b: f64, tol: f64) -> bool {
    (a - b).abs() <= tol * (1.0 + a.abs().max(b.abs()))
}

fn moved(x: &[Array], along: &[Array], by: f64) -> Vec<Array> {
    let step = |(x, d): (&Array, &Array)| {
        let data: Vec<f64> =
            x.to_f64_vec().iter().zip(d.to_f64_vec()).map(|(x, d)| x + by * d).collect();
        filled(&x.ty(), &data)
    };
    x.iter().zip(along).map(step).collect()
}

fn random_graph(seed: u64) -> (Rng, Graph) {
    let mut rng = Rng(seed ^ 0xd1ff);
    let control = seed.is_multiple_of(2);
    let g = graph(&mut rng, DType::F64, 4 + (seed % 16) as usize, control);
    (rng, g)
}

#[test]
fn forward_and_reverse_are_transposes() {
    for seed in 0..300 {
        let (mut rng, g) = random_graph(seed);
        let x = like_inputs(&mut rng, &g, -1.5, 1.5);
        let (t, ct) = (like_inputs(&mut rng, &g, -1.0, 1.0), like_outputs(&mut rng, &g));
        let y_dot = eval_arrays(&jvp(&g), &[x.clone(), t.clone()].concat());
        let x_ct = eval_arrays(&vjp(&g), &[x, ct.clone()].concat());
        let (a, b) = (dot(&ct, &y_dot), dot(&x_ct, &t));
        assert!(close(a, b, 1e-9), "seed {seed}: <ct, J t> = {a}, <J' ct, t> = {b}\n{g}");
    }
}

#[test]
fn tangents_are_limits_of_differences() {
    let mut tested = 0;
    for seed in 0..300 {
        let (mut rng, g) = random_graph(seed);
        let x = like_inputs(&mut rng, &g, -1.5, 1.5);
        let (t, ct) = (like_inputs(&mut rng, &g, -1.0, 1.0), like_outputs(&mut rng, &g));
        let y_dot = dot(&ct, &eval_arrays(&jvp(&g), &[x.clone(), t.clone()].concat()));
        let along = |by: f64| dot(&ct, &eval_arrays(&g, &moved(&x, &t, by)));
        let slope = |h: f64| (along(h) - along(-h)) / (2.0 * h);
        // Where two step sizes disagree, a kink or a step lies between.
        let (coarse, fine) = (slope(1e-5), slope(2.5e-6));
        if !close(coarse, fine, 1e-6) {
            continue;
        }
        // `stop_gradient` and `floor` hide what differences see.
        if g.to_string().contains("stop_gradient") {
            continue;
        }
        tested += 1;
        assert!(close(fine, y_dot, 1e-5), "seed {seed}: {fine} and {y_dot}\n{g}");
    }
    assert!(tested > 150, "only {tested} graphs were smooth");
}

#[test]
fn reverse_over_reverse_is_forward_over_reverse() {
    for seed in 0..150 {
        let (mut rng, g) = random_graph(seed);
        let first = vjp(&g);
        let n = g.inputs().len();
        // Second derivatives with respect to the inputs alone, the cotangents fixed.
        let args = like_inputs(&mut rng, &first, -1.2, 1.2);
        let v: Vec<Array> =
            first.outputs().iter().map(|&o| rng.array(first.ty(o), -1.0, 1.0)).collect();
        let mut r = first.clone();
        let sources = r.inputs()[..n].to_vec();
        let targets: Vec<(Value, Option<Value>)> = first
            .outputs()
            .iter()
            .map(|&o| (o, Some(r.input(first.ty(o).clone(), None))))
            .collect();
        let cts = reverse(&mut r, &targets, &sources);
        let cts = zeros_for(&mut r, cts, &sources);
        r.set_outputs(cts);
        let mut f = first.clone();
        let pairs: Vec<(Value, Value)> =
            sources.iter().map(|&s| (s, f.input(first.ty(s).clone(), None))).collect();
        let outs = first.outputs().to_vec();
        let ts = forward(&mut f, &pairs, &outs);
        let ts = zeros_for(&mut f, ts, &outs);
        f.set_outputs(ts);
        // The matrix of second derivatives is symmetric: H v either way.
        let args = [args, v].concat();
        let (a, b) = (eval_arrays(&r, &args), eval_arrays(&f, &args));
        for (i, (a, b)) in a.iter().zip(&b).enumerate() {
            for (x, y) in a.to_f64_vec().into_iter().zip(b.to_f64_vec()) {
                assert!(close(x, y, 1e-8), "seed {seed}, input {i}: {x} and {y}\n{g}");
            }
        }
    }
}

#[test]
fn lanes_of_a_batch_are_what_each_would_be_alone() {
    const N: usize = 3;
    for seed in 0..200 {
        let (mut rng, g) = random_graph(seed);
        let g = if seed.is_multiple_of(3) { vjp(&g) } else { g };
        let batched: Vec<bool> = g.inputs().iter().map(|_| !rng.once_in(3)).collect();
        let mut b = Graph::new("batch");
        let mut args = Vec::new();
        let mut values: Vec<Vec<Array>> = Vec::new();
        for (&v, &is) in g.inputs().iter().zip(&batched) {
            let ty = g.ty(v);
            let lanes: Vec<Array> =
                (0..if is { N } else { 1 }).map(|_| rng.array(ty, -1.5, 1.5)).collect();
            values.push(lanes);
            let shape: Shape = is.then_some(N).into_iter().chain(ty.dims().to_vec()).collect();
            let value = b.input(ty.with_shape(shape), None);
            args.push(Lane { value, batched: is });
        }
        let outs = batch(&mut b, &g, &args, N);
        b.set_outputs(outs.iter().map(|l| l.value));
        let inputs: Vec<Array> = values
            .iter()
            .zip(b.inputs())
            .map(|(lanes, &v)| {
                let all: Vec<f64> = lanes.iter().flat_map(Array::to_f64_vec).collect();
                filled(b.ty(v), &all)
            })
            .collect();
        let got = eval_arrays(&b, &inputs);
        for i in 0..N {
            let alone: Vec<Array> =
                values.iter().map(|lanes| lanes[i.min(lanes.len() - 1)].clone()).collect();
            let want = eval_arrays(&g, &alone);
            for ((w, x), lane) in want.iter().zip(&got).zip(&outs) {
                let (w, x) = (w.to_f64_vec(), x.to_f64_vec());
                let part = if lane.batched { &x[i * w.len()..(i + 1) * w.len()] } else { &x[..] };
                for (a, b) in w.iter().zip(part) {
                    let same = close(*a, *b, 1e-9) || (a.is_nan() && b.is_nan());
                    assert!(same, "seed {seed}, lane {i}: {a} and {b}\n{g}");
                }
            }
        }
    }
}

/// `while x < 100 { x = x * a }` with a count that differs between lanes.
fn growing() -> Graph {
    let ty = Type::scalar(DType::F64);
    let mut body = Graph::new("body");
    let (x, a) = (body.input(ty.clone(), None), body.input(ty.clone(), None));
    let y = body.map(Scalar::Mul, &[x, a]);
    body.set_outputs([y]);
    let mut cond = Graph::new("cond");
    let (x, _) = (cond.input(ty.clone(), None), cond.input(ty.clone(), None));
    let most = cond.constant(100.0);
    let go = cond.map(Scalar::Lt, &[x, most]);
    cond.set_outputs([go]);
    let mut g = Graph::new("growing");
    let (x, a) = (g.input(ty.clone(), None), g.input(ty, None));
    let trip = Trip::While(Arc::new(cond));
    let op =
        Loop { trip, body: Arc::new(body), carries: 1, consts: 1, pops: 0, unroll: Unroll::Auto };
    let y = g.push(op, &[x, a]);
    g.set_outputs([y]);
    g
}

#[test]
fn a_while_loop_has_derivatives_of_every_order() {
    // y = x aⁿ with n = 6 at x = 3, a = 2: 3·2⁶ = 192.
    let mut g = growing();
    let args = [Array::from(3.0), Array::from(2.0)];
    assert_eq!(eval_arrays(&g, &args)[0].item::<f64>(), Some(192.0));
    let a = g.inputs()[1];
    let falling = [6.0, 30.0, 120.0, 360.0];
    let mut y = g.outputs()[0];
    for (k, coefficient) in falling.into_iter().enumerate() {
        y = reverse(&mut g, &[(y, None)], &[a])[0].expect("connected");
        g.set_outputs([y]);
        let want = coefficient * 3.0 * 2f64.powi(5 - k as i32);
        assert_eq!(eval_arrays(&g, &args)[0].item::<f64>(), Some(want), "order {}", k + 1);
    }
}

#[test]
fn a_batch_of_gradients_of_loops_of_different_lengths() {
    let g = vjp(&growing());
    let mut b = Graph::new("batch");
    let n = 4;
    let args: Vec<Lane> = (0..3)
        .map(|_| Lane { value: b.input(Type::new(DType::F64, [n]), None), batched: true })
        .collect();
    let outs = batch(&mut b, &g, &args, n);
    b.set_outputs(outs.iter().map(|l| l.value));
    let x = ndarray::arr1(&[3.0, 200.0, 0.1, 50.0]);
    let a = ndarray::arr1(&[2.0, 3.0, 1.5, 1.1]);
    let ct = ndarray::arr1(&[1.0, 1.0, 2.0, -1.0]);
    let got = eval_arrays(&b, &[x.clone().into(), a.clone().into(), ct.clone().into()]);
    for i in 0..n {
        let alone = [x[i].into(), a[i].into(), ct[i].into()];
        for (w, y) in eval_arrays(&g, &alone).iter().zip(&got) {
            let (w, y) = (w.item::<f64>().unwrap(), y.to_f64_vec()[i]);
            assert!(close(w, y, 1e-12), "lane {i}: {w} and {y}");
        }
    }
}
