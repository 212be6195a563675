//! Derivatives against differences, forward against reverse, and reverse once more.

use backstitch_ir::nest::Monoid;
use backstitch_ir::op::{Sample, Site};
use backstitch_ir::ops::Reduce;
use backstitch_ir::{Array, DType, Graph, Idx, Op, Scalar, Type, Value};

use super::samples::{
    Random, apply, array, assert_close, describe, primitive, run, samples, settle, tolerance,
};

/// Reverse mode, as plainly as can be: cotangents of `wrt`, given those of some
/// values.
fn reverse(g: &mut Graph, seeds: &[(Value, Value)], wrt: &[Value]) -> Vec<Option<Value>> {
    let mut cts: Vec<Option<Value>> = vec![None; g.value_count()];
    let nodes = g.nodes();
    let add = |g: &mut Graph, slot: &mut Option<Value>, ct| {
        *slot = Some(slot.map_or(ct, |old| g.map(Scalar::Add, &[old, ct])));
    };
    seeds.iter().for_each(|&(v, ct)| add(g, &mut cts[v.index()], ct));
    for n in nodes.rev() {
        let (args, results) = (g.args(n), g.results(n));
        let Some(ct) = cts[results[0].index()] else { continue };
        let op = g.op(n).clone();
        let wanted = vec![true; args.len()];
        let at = Site { node: n, args: &args, results: &results, wanted: &wanted };
        for (&arg, part) in args.iter().zip(primitive(&op).vjp(g, &at, ct)) {
            if let Some(part) = part {
                assert_eq!(g.ty(part), g.ty(arg), "cotangent of an operand of {op:?}");
                add(g, &mut cts[arg.index()], part);
            }
        }
    }
    wrt.iter().map(|v| cts[v.index()]).collect()
}

/// Forward mode: tangent of `of`, given those of some values.
fn forward(g: &mut Graph, seeds: &[(Value, Value)], of: Value) -> Option<Value> {
    let mut tangents: Vec<Option<Value>> = vec![None; g.value_count()];
    seeds.iter().for_each(|&(v, t)| tangents[v.index()] = Some(t));
    for n in g.nodes() {
        let (args, results) = (g.args(n), g.results(n));
        let each: Vec<Option<Value>> = args.iter().map(|a| tangents[a.index()]).collect();
        if each.iter().all(Option::is_none) {
            continue;
        }
        let op = g.op(n).clone();
        let wanted = vec![true; args.len()];
        let at = Site { node: n, args: &args, results: &results, wanted: &wanted };
        let t = primitive(&op).jvp(g, &at, &each);
        if let Some(t) = t {
            assert_eq!(g.ty(t), g.ty(results[0]), "tangent of {op:?}");
        }
        tangents[results[0].index()] = t;
    }
    tangents[of.index()]
}

fn inner(xs: &[Array], ys: &[Array]) -> f64 {
    let all = |a: &[Array]| a.iter().flat_map(Array::to_f64_vec).collect::<Vec<f64>>();
    all(xs).iter().zip(all(ys)).map(|(x, y)| x * y).sum()
}

/// `x + h·t` for the operands that have a tangent.
fn moved(x: &[Array], t: &[Option<Array>], h: f64) -> Vec<Array> {
    let step = |(x, t): (&Array, &Option<Array>)| match t {
        Some(t) => {
            let sums = x.to_f64_vec().into_iter().zip(t.to_f64_vec()).map(|(x, t)| x + h * t);
            array(&x.ty(), sums.collect())
        }
        None => x.clone(),
    };
    x.iter().zip(t).map(step).collect()
}

/// `(f(x + h t) - f(x - h t)) / 2h`, all outputs one after the other.
fn difference(op: &Op, g: &Graph, x: &[Array], t: &[Option<Array>]) -> Vec<f64> {
    let h = 1e-5;
    let at = |h| {
        let mut x = moved(x, t, h);
        settle(op, &mut x);
        run(g, &x).iter().flat_map(Array::to_f64_vec).collect::<Vec<f64>>()
    };
    // What does not change has no slope, even if it is infinite.
    let slope = |(a, b): (f64, f64)| if a == b { 0.0 } else { (a - b) / (2.0 * h) };
    at(h).into_iter().zip(at(-h)).map(slope).collect()
}

/// All floats are `f64`, there are some, and the derivative is meant to be the
/// slope.
fn has_slope(s: &Sample, result: &Type) -> bool {
    result.dtype == DType::F64
        && s.op.name() != "stop_gradient"
        && s.args.iter().any(|t| t.dtype == DType::F64)
        && s.args.iter().all(|t| t.dtype != DType::F32)
}

#[test]
fn forward_rules_agree_with_differences() {
    let mut tested = 0;
    for (i, s) in samples() {
        let (mut g, inputs, out) = apply(&s);
        if !has_slope(&s, g.ty(out)) {
            continue;
        }
        let what = describe(i, &s);
        g.set_outputs([out]);
        let mut random = Random::for_sample(i);
        let x = random.operands(&s);
        let mut tangent = |t: &Type| t.is_float().then(|| random.array(t, (-1.0, 1.0)));
        let t: Vec<Option<Array>> = s.args.iter().map(&mut tangent).collect();
        let want = difference(&s.op, &g, &x, &t);

        let constants: Vec<Option<Value>> =
            t.iter().map(|t| t.as_ref().map(|t| g.constant(t.clone()))).collect();
        let seeds: Vec<(Value, Value)> =
            inputs.iter().zip(constants).filter_map(|(&v, t)| Some((v, t?))).collect();
        let t_out = forward(&mut g, &seeds, out);
        let t_out = t_out.unwrap_or_else(|| g.like(out, 0.0));
        g.set_outputs([t_out]);
        let got = &run(&g, &x)[0];
        assert_close(got, &array(&got.ty(), want), 1e-6, &what);
        tested += 1;
    }
    assert!(tested > 100);
}

#[test]
fn reverse_rules_are_the_transposes_of_forward_rules() {
    for (i, s) in samples() {
        let (mut g, inputs, out) = apply(&s);
        if !g.ty(out).is_float() || !s.args.iter().any(Type::is_float) {
            continue;
        }
        let what = describe(i, &s);
        let mut random = Random::for_sample(i);
        let x = random.operands(&s);
        let ct = random.array(g.ty(out), (-1.0, 1.0));
        let floats: Vec<usize> = (0..s.args.len()).filter(|&k| s.args[k].is_float()).collect();
        let t: Vec<Array> = floats.iter().map(|&k| random.array(&s.args[k], (-1.0, 1.0))).collect();
        let wrt: Vec<Value> = floats.iter().map(|&k| inputs[k]).collect();

        let seeds: Vec<(Value, Value)> =
            wrt.iter().zip(&t).map(|(&v, t)| (v, g.constant(t.clone()))).collect();
        let t_out = forward(&mut g, &seeds, out);
        let seed = g.constant(ct.clone());
        let cts = reverse(&mut g, &[(out, seed)], &wrt);
        assert_eq!(t_out.is_some(), cts.iter().any(Option::is_some), "{what}");
        for (&k, ct) in floats.iter().zip(&cts) {
            let carries = primitive(&s.op).carries(k) == Some(true);
            assert_eq!(ct.is_some(), carries, "{what}: operand {k}");
        }
        let Some(t_out) = t_out else { continue };
        let cts: Vec<Value> =
            cts.iter().zip(&wrt).map(|(c, &v)| c.unwrap_or_else(|| g.like(v, 0.0))).collect();
        g.set_outputs(std::iter::once(t_out).chain(cts));
        let all = run(&g, &x);
        let (a, b) = (inner(&all[..1], &[ct]), inner(&all[1..], &t));
        let slack = tolerance(if s.args.iter().chain([g.ty(out)]).any(|t| t.dtype == DType::F32) {
            DType::F32
        } else {
            DType::F64
        });
        assert!((a - b).abs() <= slack * (1.0 + a.abs()), "{what}: {a} and {b}");
    }
}

#[test]
fn reverse_rules_can_be_differentiated_again() {
    let mut tested = 0;
    for (i, s) in samples() {
        let (mut g, inputs, out) = apply(&s);
        if !has_slope(&s, g.ty(out)) {
            continue;
        }
        let what = describe(i, &s);
        let mut random = Random::for_sample(i);
        let x = random.operands(&s);
        let floats: Vec<usize> = (0..s.args.len()).filter(|&k| s.args[k].is_float()).collect();
        let wrt: Vec<Value> = floats.iter().map(|&k| inputs[k]).collect();
        let ct = g.constant(random.array(&g.ty(out).clone(), (-1.0, 1.0)));
        let cts = reverse(&mut g, &[(out, ct)], &wrt);
        // s = Σ ⟨ct of operand, weight⟩: its gradient, and its slope along t.
        let mut seeds = Vec::new();
        let mut total = g.constant(0.0f64);
        for (&k, ct) in floats.iter().zip(cts) {
            let weight = g.constant(random.array(&s.args[k], (-1.0, 1.0)));
            let Some(ct) = ct else { continue };
            seeds.push((ct, weight));
            let product = g.map(Scalar::Mul, &[ct, weight]);
            let axes: Vec<usize> = (0..s.args[k].rank()).collect();
            let sum = g.reduce(Monoid::Sum, product, &axes);
            total = g.map(Scalar::Add, &[total, sum]);
        }
        let mut primal = g.clone();
        primal.set_outputs([total]);
        let mut t: Vec<Option<Array>> = vec![None; s.args.len()];
        for &k in &floats {
            t[k] = Some(random.array(&s.args[k], (-1.0, 1.0)));
        }
        let want = difference(&s.op, &primal, &x, &t)[0];

        let again = reverse(&mut g, &seeds, &wrt);
        let again = again.iter().zip(&wrt).map(|(c, &v)| c.unwrap_or_else(|| g.like(v, 0.0)));
        let again: Vec<Value> = again.collect();
        g.set_outputs(again);
        let t: Vec<Array> = t.into_iter().flatten().collect();
        let got = inner(&run(&g, &x), &t);
        assert!((got - want).abs() <= 1e-6 * (1.0 + want.abs()), "{what}: {got} and {want}");
        tested += 1;
    }
    assert!(tested > 100);
}

fn product_gradients(x: &[f64]) -> Vec<Vec<f64>> {
    let mut g = Graph::new("product");
    let v = g.input(Type::new(DType::F64, [x.len()]), None);
    let out = g.push(Reduce { monoid: Monoid::Prod, axes: [0].as_slice().into() }, &[v]);
    let one = g.constant(1.0f64);
    let mut outputs = vec![reverse(&mut g, &[(out, one)], &[v])[0].expect("a gradient")];
    for k in 0..x.len() {
        let mut unit = vec![0.0; x.len()];
        unit[k] = 1.0;
        let unit = g.constant(ndarray::arr1(&unit));
        let row = reverse(&mut g, &[(outputs[0], unit)], &[v])[0];
        outputs.push(row.unwrap_or_else(|| g.like(v, 0.0)));
    }
    g.set_outputs(outputs);
    run(&g, &[ndarray::arr1(x).into()]).iter().map(Array::to_f64_vec).collect()
}

#[test]
fn products_have_right_derivatives_at_zeros() {
    // Gradient first, then the rows of the matrix of second derivatives.
    assert_eq!(product_gradients(&[2.0, 3.0]), [[3.0, 2.0], [0.0, 1.0], [1.0, 0.0]]);
    let one = product_gradients(&[2.0, 0.0, 5.0]);
    assert_eq!(one, [[0.0, 10.0, 0.0], [0.0, 5.0, 0.0], [5.0, 0.0, 2.0], [0.0, 2.0, 0.0]]);
    let two = product_gradients(&[0.0, 0.0, 5.0]);
    assert_eq!(two, [[0.0; 3], [0.0, 5.0, 0.0], [5.0, 0.0, 0.0], [0.0; 3]]);
    assert_eq!(product_gradients(&[7.0]), [[1.0], [0.0]]);
    assert_eq!(product_gradients(&[]), [[0.0; 0]]);
}

#[test]
fn ties_share_the_derivative_and_nan_has_none() {
    for (x, want) in [
        ([3.0, 1.0, 3.0], [0.5, 0.0, 0.5]),
        ([2.0, 2.0, 2.0], [1.0 / 3.0; 3]),
        ([f64::INFINITY, 1.0, 0.0], [1.0, 0.0, 0.0]),
        ([f64::NAN, 1.0, 2.0], [0.0; 3]),
    ] {
        let mut g = Graph::new("max");
        let v = g.input(Type::new(DType::F64, [3]), None);
        let out = g.reduce(Monoid::Max, v, &[0]);
        let one = g.constant(1.0f64);
        let ct = reverse(&mut g, &[(out, one)], &[v])[0].expect("a gradient");
        let ones = g.like(v, 1.0);
        let t = forward(&mut g, &[(v, ones)], out).expect("a tangent");
        g.set_outputs([ct, t]);
        let got = run(&g, &[ndarray::arr1(&x).into()]);
        assert_eq!(got[0].to_f64_vec(), want, "{x:?}");
        assert_eq!(got[1].to_f64_vec(), [want.iter().sum::<f64>()], "{x:?}");
    }
}
