//! Programs under a budget of bytes: the same bits in less memory, for work that is
//! done again.
#![allow(missing_docs)]

#[path = "common/random.rs"]
#[allow(dead_code)]
mod random;

use backstitch::ir::Graph;
use backstitch::passes::{self, Prepared, prepare};
use backstitch::prelude::*;
use backstitch::runtime::{ArrayRef, Executable};
use backstitch::{Array, Backend, DType, Error, Memory, Options};
use random::{Rng, graph_of_loops, with_gradients};

/// Loops as they are: not written out, and no rows kept for products outside.
fn rolled() -> passes::Options {
    passes::Options { unroll: 0, rows: false, ..passes::Options::default() }
}

/// What a program gives, and the bytes of its workspace after the call.
fn run(p: &Prepared, backend: Backend, inputs: &[Array]) -> (Vec<Array>, usize) {
    let f = Executable::new(p.lowered.plan.clone(), backend).expect("it compiles");
    let views: Vec<ArrayRef<'_>> =
        inputs.iter().map(|a| ArrayRef::try_from(a).expect("contiguous")).collect();
    f.with_workspace(|_| ()).expect("memory");
    let outputs = f.call(&views).expect("it runs");
    (outputs, f.with_workspace(|ws| ws.bytes()).expect("memory"))
}

fn same_bits(a: &[Array], b: &[Array]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same_bits(b))
}

/// Steps that are done again for one, of the loop where they are most.
fn again(memory: &Memory) -> f64 {
    memory.loops.iter().map(|l| l.recomputed).fold(0.0, f64::max)
}

/// Compiles with and without a budget, and prints a row of the table.
fn row(name: &str, g: &Graph, inputs: &[Array], budget: usize, most: f64) {
    let whole = prepare(g, &rolled());
    let few = prepare(g, &rolled()).within(budget, &rolled()).unwrap_or_else(|e| panic!("{e}"));
    let (want, before) = run(&whole, Backend::Cpu, inputs);
    let (got, peak) = run(&few, Backend::Cpu, inputs);
    let (same, again) = (same_bits(&want, &got), again(&few.memory));
    println!("{name:<28} {before:>9} {budget:>9} {peak:>9} {again:>9.2}  {same}");
    assert!(same, "{name}: {want:?} and {got:?}");
    assert!(few.memory.bytes == Some(peak) && peak <= budget, "{name}: {peak}\n{}", few.memory);
    assert!(again <= most, "{name}: {again}\n{}", few.memory);
}

/// A vector of n numbers, all different and neither large nor small.
fn wave(shape: &[usize], scale: f64) -> Array {
    let n: usize = shape.iter().product();
    let numbers = (0..n).map(|i| scale * (1.7 * i as f64 + 0.3).sin());
    ndarray::ArrayD::from_shape_vec(shape, numbers.collect()).expect("as many").into()
}

fn logistic<'t>(t: &'t Trace, a: Tensor<'t>, n: i64) -> Tensor<'t> {
    t.for_loop(n, t.scalar(0.5), |_, x| a * x * (1.0 - x))
}

/// A cell with gates, whose hidden states are all asked for.
fn lstm<'t>(t: &'t Trace, w: Tensor<'t>, x: Tensor<'t>) -> Tensor<'t> {
    let n = x.shape().dims()[1];
    let zero = t.zeros(DType::F64, [n]);
    let step = |(h, c): (Tensor<'t>, Tensor<'t>), row: Tensor<'t>| {
        let gate = |k: i64| w.index(0, k).matmul(h + row);
        let (i, f, o, u) =
            (gate(0).sigmoid(), gate(1).sigmoid(), gate(2).sigmoid(), gate(3).tanh());
        let c = f * c + i * u;
        let h = o * c.tanh();
        ((h, c), h)
    };
    let ((h, _), all) = t.scan((zero, zero), x, step);
    h.sum() + (all * all).mean()
}

/// Simple recurrent cells for a batch.
fn recurrent<'t>(t: &'t Trace, w: Tensor<'t>, x: Tensor<'t>) -> Tensor<'t> {
    let dims = x.shape().dims().to_vec();
    let zero = t.zeros(DType::F64, [dims[1], dims[2]]);
    let cell = |h: Tensor<'t>, row: Tensor<'t>| {
        let a = row.matmul(w.index(0, 0));
        let b = (a + h.matmul(w.index(0, 1))).tanh();
        let c = (b * b - h).sigmoid() * (a - b).sin();
        (b * c, b.sum())
    };
    let (h, sums) = t.scan(zero, x, cell);
    (h * h).sum() + sums.sum()
}

/// The Van der Pol oscillator by the classical method of fourth order.
fn oscillator<'t>(t: &'t Trace, mu: Tensor<'t>, steps: i64) -> Tensor<'t> {
    let slope = |(x, v): (Tensor<'t>, Tensor<'t>)| (v, mu * (1.0 - x * x) * v - x);
    let along = |(x, v): (Tensor<'t>, Tensor<'t>), (a, b): (Tensor<'t>, Tensor<'t>), h: f64| {
        (x + h * a, v + h * b)
    };
    let h = 0.01;
    let (x, v) = t.for_loop(steps, (t.scalar(2.0), t.scalar(0.0)), |_, y| {
        let k1 = slope(y);
        let k2 = slope(along(y, k1, h / 2.0));
        let k3 = slope(along(y, k2, h / 2.0));
        let k4 = slope(along(y, k3, h));
        let sum = (k1.0 + 2.0 * k2.0 + 2.0 * k3.0 + k4.0, k1.1 + 2.0 * k2.1 + 2.0 * k3.1 + k4.1);
        along(y, sum, h / 6.0)
    });
    x * x + v
}

/// How long it takes depends on the input.
fn slow_newton<'t>(t: &'t Trace, a: Tensor<'t>) -> Tensor<'t> {
    t.while_loop(t.scalar(50.0), |x| (x * x - a).abs().gt(1e-9), |x| x - 0.01 * (x - a / x))
}

fn nested<'t>(t: &'t Trace, a: Tensor<'t>) -> Tensor<'t> {
    t.for_loop(300, t.scalar(0.4), |_, x| t.for_loop(500, x, |_, y| (a * y).sin()))
}

/// A sum, whose order depends on what is computed beside it.
fn sums<'t>(t: &'t Trace, w: Tensor<'t>) -> Tensor<'t> {
    let n = w.shape().dims()[0] as f64;
    t.for_loop(200, t.scalar(0.7), |_, x| x * (0.97 + (w * x).sin().sum() / n))
}

#[test]
fn table() {
    println!("program                        without    budget      peak     again  same bits");
    let a = [Array::from(3.7)];
    let f = trace(Spec::f64([]), (), |t, a, ()| logistic(t, a, 100_000)).unwrap();
    let f = f.value_and_grad().unwrap();
    row("loop of 100 000 steps", f.graph(), &a, 2_000_000, 0.3);
    row("", f.graph(), &a, 20_000, 1.0);
    row("", f.graph(), &a, 2_000, 2.0);

    let x = [wave(&[4, 16, 16], 0.3), wave(&[200, 16], 1.0)];
    let f = trace(Spec::f64([4, 16, 16]), Spec::f64([200, 16]), lstm).unwrap();
    let f = f.value_and_grad().unwrap();
    row("LSTM, 200 steps", f.graph(), &x, 200_000, 1.0);
    row("", f.graph(), &x, 120_000, 2.0);

    let x = [wave(&[2, 24, 24], 0.3), wave(&[100, 8, 24], 1.0)];
    let f = trace(Spec::f64([2, 24, 24]), Spec::f64([100, 8, 24]), recurrent).unwrap();
    let f = f.value_and_grad().unwrap();
    row("recurrent cells, 100 steps", f.graph(), &x, 700_000, 2.0);

    let mu = [Array::from(1.3)];
    let f = trace(Spec::f64([]), (), |t, mu, ()| oscillator(t, mu, 1000)).unwrap();
    let g = f.value_and_grad().unwrap();
    row("Runge-Kutta, 1000 steps", g.graph(), &mu, 10_000, 1.0);
    row("", g.graph(), &mu, 2_000, 2.0);
    let h = f.hvp().unwrap();
    row("its Hessian times a vector", h.graph(), &[mu[0].clone(), Array::from(1.0)], 20_000, 1.0);

    let f = trace(Spec::f64([]), (), |t, a, ()| slow_newton(t, a)).unwrap();
    let g = f.value_and_grad().unwrap();
    row("Newton, unknown length", g.graph(), &[Array::from(2.0)], 20_000, 5.5);
    row("", g.graph(), &[Array::from(2.0)], 1_000, 6.5);
    let h = f.hvp().unwrap();
    row("its second derivative", h.graph(), &[Array::from(2.0), Array::from(1.0)], 20_000, 6.5);

    let f = trace(Spec::f64([]), (), |t, a, ()| nested(t, a)).unwrap();
    let g = f.value_and_grad().unwrap();
    row("300 times 500 steps", g.graph(), &[Array::from(1.9)], 5_000, 1.0);
    row("", g.graph(), &[Array::from(1.9)], 1_600, 2.0);

    let f = trace(Spec::f64([100]), (), |t, w, ()| sums(t, w)).unwrap();
    let g = f.value_and_grad().unwrap();
    row("sums of 100 numbers", g.graph(), &[wave(&[100], 1.0)], 4_800, 2.0);
}

#[test]
fn random_programs_give_the_same_bits_in_the_fewest_bytes() {
    let (mut tried, mut shrunk) = (0, 0);
    for seed in 0..1200 {
        let mut rng = Rng(seed ^ 0xb4d6e7);
        let dtype = if seed % 2 == 0 { DType::F64 } else { DType::F32 };
        let g = graph_of_loops(&mut rng, dtype, 6 + (seed % 14) as usize, true, 40);
        let mut g = with_gradients(&g);
        if seed % 3 == 0 {
            // Loops that pop and push.
            g = with_gradients(&g);
        }
        let inputs: Vec<Array> =
            g.inputs().iter().map(|&v| rng.array(g.ty(v), -1.5, 1.5)).collect();
        let whole = prepare(&g, &rolled());
        if whole.memory.loops.is_empty() {
            continue;
        }
        tried += 1;
        let least = match prepare(&g, &rolled()).within(0, &rolled()) {
            Ok(_) => 0,
            Err(e) => match e.least {
                Some(least) => least,
                None => continue,
            },
        };
        let backend = if seed % 8 == 0 { Backend::Cpu } else { Backend::Interpreter };
        let (want, _) = run(&whole, backend, &inputs);
        let most = whole.memory.bytes.unwrap_or(2 * least);
        for budget in [least, least.midpoint(most)] {
            let few = prepare(&g, &rolled()).within(budget, &rolled());
            let few = few.unwrap_or_else(|e| panic!("seed {seed}, least {least}: {e}\n{g}"));
            let (got, peak) = run(&few, backend, &inputs);
            assert!(same_bits(&want, &got), "seed {seed}: {want:?} and {got:?}\n{g}");
            assert!(peak <= budget, "seed {seed}: {peak} of {budget}\n{}", few.memory);
            shrunk += usize::from(few.memory.loops.iter().any(|l| !l.levels.is_empty()));
        }
    }
    assert!(tried > 100 && shrunk > 150, "only {shrunk} of {tried} programs had to compute again");
}

#[test]
fn a_budget_that_cannot_be_met_says_what_can() {
    let f = trace(Spec::f64([]), (), |t, a, ()| logistic(t, a, 100_000)).unwrap();
    let f = f.value_and_grad().unwrap();
    let compile = |bytes: usize| f.compile_with(&Options::default().memory(bytes));
    let Err(Error::Memory(e)) = compile(0) else { panic!("there is memory needed") };
    let least = e.least.expect("all lengths are known");
    assert_eq!(
        e.to_string(),
        format!("memory: expected at least {least} bytes of workspace, got 0")
    );
    assert!(least < 1000, "{least}");
    assert!(compile(least).is_ok());
    let Err(Error::Memory(e)) = compile(least - 1) else { panic!("it takes {least} bytes") };
    assert_eq!((e.bytes, e.least), (least - 1, Some(least)));
    // More than enough changes nothing.
    for bytes in [1 << 40, usize::MAX] {
        let all = compile(bytes).unwrap();
        assert_eq!(all.memory(), f.compile().unwrap().memory());
    }
}

#[test]
fn without_loops_there_is_nothing_to_give() {
    let f = trace(Spec::f64([1000]), (), |_, x, ()| x.sin().cumsum(0).exp().sum()).unwrap();
    let f = f.value_and_grad().unwrap();
    let bytes = f.compile().unwrap().memory().bytes.expect("no loops");
    let Err(Error::Memory(e)) = f.compile_with(&Options::default().memory(bytes - 1)) else {
        panic!("it takes {bytes} bytes")
    };
    assert_eq!(e.least, Some(bytes));
    assert!(f.compile_with(&Options::default().memory(bytes)).is_ok());
}

/// The bytes are a promise for any number of iterations.
#[test]
fn a_loop_of_unknown_length_takes_the_same_bytes_however_long_it_runs() {
    let f = trace(Spec::f64([]), Spec::f64([]), |t, a, stop| {
        // Two carries that depend on a number: of one alone the tangent would do.
        let first = (t.scalar(1.0), t.scalar(1.0), t.scalar(0.0));
        t.while_loop(first, |(_, _, i)| i.lt(stop), |(x, y, i)| (x * a + y * 1e-9, y * a, i + 1.0))
            .0
    });
    let f = f.unwrap().value_and_grad().unwrap();
    let few = f.compile_with(&Options::default().memory(1_000)).unwrap();
    let whole = f.compile().unwrap();
    assert_eq!(whole.memory().bytes, None);
    let bytes = few.memory().bytes.unwrap();
    let mut ws = few.workspace().unwrap();
    for steps in [0, 1, 2, 3, 4, 5, 6, 7, 17, 100, 1_000, 12_345, 100_000] {
        let (a, stop) = (1.0 + 1e-5, f64::from(steps));
        let (mut y, mut gradient) = (0f64, 0f64);
        few.call_into(&mut ws, &a, &stop, &mut (&mut y, &mut gradient)).unwrap();
        let want = whole.call(&a, &stop).unwrap();
        let want = (want.0.item::<f64>().unwrap(), want.1.item::<f64>().unwrap());
        assert_eq!((y.to_bits(), gradient.to_bits()), (want.0.to_bits(), want.1.to_bits()));
        assert_eq!(ws.bytes(), bytes, "{steps} steps");
    }
}

#[test]
fn what_is_kept_is_said_loop_by_loop() {
    let f = trace(Spec::f64([]), (), |t, a, ()| nested(t, a)).unwrap();
    let f = f.value_and_grad().unwrap();
    let few = f.compile_with(&Options::default().memory(2_000)).unwrap();
    let text = few.memory().to_string();
    let mut lines = text.lines();
    let first = lines.next().unwrap();
    let (bytes, live) = (few.memory().bytes.unwrap(), few.memory().live.unwrap());
    assert_eq!(first, format!("workspace of {bytes} bytes, {live} of them in use at once"));
    assert!(live <= bytes && bytes as f64 <= 1.2 * live as f64, "{first}");
    assert_eq!(lines.clone().count(), 2, "{text}");
    for (line, steps) in lines.zip([300, 500]) {
        assert!(line.starts_with("tests/memory.rs:"), "{text}");
        assert!(line.contains(&format!("loop of {steps} steps, keeps ")), "{text}");
    }
}

/// The rows of a product outside a loop are kept as long as there is room: with them the
/// bits are the same.
#[test]
fn products_stay_outside_loops_while_they_fit() {
    let f = trace(Spec::f64([2, 24, 24]), Spec::f64([100, 8, 24]), recurrent).unwrap();
    let f = f.value_and_grad().unwrap();
    let (w, x) = (wave(&[2, 24, 24], 0.3), wave(&[100, 8, 24], 1.0));
    let whole = f.compile().unwrap();
    let bytes = whole.memory().bytes.unwrap();
    let want = whole.call(&w, &x).unwrap();
    let mut same = vec![];
    for budget in [bytes - 1000, bytes / 8] {
        let few = f.compile_with(&Options::default().memory(budget)).unwrap();
        assert!(few.memory().bytes <= Some(budget));
        let got = few.call(&w, &x).unwrap();
        same.push(want.0.same_bits(&got.0) && want.1.same_bits(&got.1));
        let pairs = want.1.to_f64_vec().into_iter().zip(got.1.to_f64_vec());
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-9 * (1.0 + a.abs())));
    }
    assert!(same[0]);
}
