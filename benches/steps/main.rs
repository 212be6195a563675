//! Training steps as one call, with parameters that are changed where they are and with
//! parameters that go to and fro between two places.
//!
//!     cargo bench --bench steps
//!
//! Each line: microseconds of one and of the other (least of many rounds, in turns), their
//! ratio, bytes of memory for parameters, results and workspace.

use std::time::{Duration, Instant};

use backstitch::ir::Const;
use backstitch::prelude::*;
use backstitch::{Array, DType, Options, Outputs};

/// How parameters follow their slopes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    Sgd,
    Adam,
}

/// Parameters, their first and their second moments (of `Adam`), and the number of the step.
type State<T> = (Vec<T>, Vec<T>, Vec<T>, T);

fn step<'t>(
    t: &'t Trace,
    rule: Rule,
    (params, first, second, count): State<Tensor<'t>>,
    (x, y): (Tensor<'t>, Tensor<'t>),
) -> Outputs<(State<Spec>, Spec)> {
    let tape = t.tape();
    tape.watch(&params);
    let layers = params.chunks(2);
    let mut h = x;
    for (i, layer) in layers.enumerate() {
        h = h.matmul(layer[0]) + layer[1];
        if 2 * i + 2 < params.len() {
            h = h.tanh();
        }
    }
    let loss = (h - y).square().mean();
    let slopes: Vec<Tensor<'t>> = (tape.gradient(&loss, &params).iter())
        .map(|g| g.value().expect("the loss depends on all"))
        .collect();
    let count = count + 1.0;
    let mut next = (vec![], vec![], vec![]);
    for (i, (&p, &g)) in params.iter().zip(&slopes).enumerate() {
        match rule {
            Rule::Sgd => next.0.push(p - 0.01 * g),
            Rule::Adam => {
                let m = 0.9 * first[i] + 0.1 * g;
                let v = 0.999 * second[i] + 0.001 * g.square();
                let rest = |b: f64| 1.0 - (count * b.ln()).exp();
                let (mean, spread) = (m / rest(0.9), v / rest(0.999));
                next.0.push(p - 0.001 * mean / (spread.sqrt() + 1e-8));
                next.1.push(m);
                next.2.push(v);
            }
        }
    }
    t.outputs(&((next.0, next.1, next.2, count), loss))
}

fn wave(dims: &[usize]) -> Array {
    let all: usize = dims.iter().product();
    let numbers = (0..all).map(|i| 0.2 * (1.7 * i as f32 + 0.3).sin()).collect();
    ndarray::ArrayD::from_shape_vec(dims, numbers).expect("as many").into()
}

fn least(rounds: usize, mut each: [&mut dyn FnMut(); 2]) -> [Duration; 2] {
    let mut best = [Duration::MAX; 2];
    for _ in 0..rounds {
        for (best, run) in best.iter_mut().zip(&mut each) {
            let start = Instant::now();
            run();
            *best = start.elapsed().min(*best);
        }
    }
    best
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("step                    in place    to and fro   ratio       bytes   and bytes");
    for (rule, width, batch) in [
        (Rule::Sgd, 32, 32),
        (Rule::Adam, 32, 32),
        (Rule::Sgd, 256, 32),
        (Rule::Adam, 256, 32),
        (Rule::Adam, 1024, 8),
    ] {
        let sizes = [16, width, width, 1];
        let params: Vec<Array> =
            sizes.windows(2).flat_map(|n| [wave(&[n[0], n[1]]), wave(&[1, n[1]])]).collect();
        let zeros = || -> Vec<Array> {
            let zero = |a: &Array| Array::full(&a.ty().shape, Const::of_float(DType::F32, 0.0));
            if rule == Rule::Adam { params.iter().map(zero).collect() } else { vec![] }
        };
        let state: State<Array> = (params.clone(), zeros(), zeros(), Array::from(0.0f32));
        let data = (wave(&[batch, 16]), wave(&[batch, 1]));
        let specs = (backstitch::specs(&state), backstitch::specs(&data));
        let f = trace_tree(specs.0, specs.1, |t, state, data| step(t, rule, state, data))?;
        let plain = f.compile()?;
        let update = f.compile_with(&Options::default().donate_parameters())?;

        let mut now = state.clone();
        let (mut here, mut there) = (state.clone(), state.clone());
        let (mut ws, mut other) = (update.workspace()?, plain.workspace()?);
        let (mut loss, mut value) = (0.0f32, 0.0f32);
        let times = least(
            3000,
            [
                &mut || update.update_into(&mut ws, &mut now, &data, &mut loss).expect("it runs"),
                &mut || {
                    let results = &mut (&mut there, &mut value);
                    plain.call_into(&mut other, &here, &data, results).expect("it runs");
                    std::mem::swap(&mut here, &mut there);
                },
            ],
        );
        assert_eq!(loss.to_bits(), value.to_bits(), "the same bits");
        let own: usize = state.leaves().iter().map(|a| a.ty().bytes()).sum();
        let [one, two] = times.map(|t| t.as_secs_f64() * 1e6);
        println!(
            "{:<22} {one:>8.1} us {two:>10.1} us {:>7.2} {:>11} {:>11}",
            format!("{rule:?}, {width} wide"),
            two / one,
            own + ws.bytes(),
            2 * own + other.bytes(),
        );
    }
    Ok(())
}
