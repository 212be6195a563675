//! `lstm`: the loss of a network of LSTM layers with diagonal weights, over a sequence of
//! characters.
//!
//! A scan over the characters carries each layer's output and cell. What the network
//! answers is computed for all characters at once, before and after.

use backstitch::prelude::*;
use ndarray::Array2;
use serde::Deserialize;

use super::input::{Rows, matrix, output, positive};
use super::run::{Function, Recorded, Result};

/// What can be asked for.
pub const FUNCTIONS: &[(&str, Function)] = &[
    ("objective", |line, run| {
        let Parts { network, data, sizes } = run.input::<Input>(line)?.parts()?;
        Ok(output(&run.call(|| program(sizes), &network, &data)?))
    }),
    ("jacobian", |line, run| {
        let Parts { network, data, sizes } = run.input::<Input>(line)?.parts()?;
        let (main, extra) = run.call(|| program(sizes)?.grad(), &network, &data)?;
        Ok(main.iter().chain(&extra).copied().collect())
    }),
];

#[derive(Deserialize)]
struct Input {
    main_params: Rows,
    extra_params: Rows,
    state: Rows,
    sequence: Rows,
}

/// Layers, bits of a character, characters.
#[derive(Clone, Copy)]
struct Sizes {
    layers: usize,
    bits: usize,
    length: usize,
}

struct Parts {
    network: (Array2<f64>, Array2<f64>),
    data: (Array2<f64>, Array2<f64>),
    sizes: Sizes,
}

impl Input {
    fn parts(&self) -> Result<Parts> {
        let layers = positive("the number of layers", self.main_params.len() / 2)?;
        let bits = positive("the number of bits", self.extra_params.first().map_or(0, Vec::len))?;
        let length = self.sequence.len();
        if length < 2 {
            return Err("a sequence has at least two characters".into());
        }
        let main = matrix("main_params", &self.main_params, [2 * layers, 4 * bits])?;
        let extra = matrix("extra_params", &self.extra_params, [3, bits])?;
        let state = matrix("state", &self.state, [2 * layers, bits])?;
        let sequence = matrix("sequence", &self.sequence, [length, bits])?;
        let sizes = Sizes { layers, bits, length };
        Ok(Parts { network: (main, extra), data: (state, sequence), sizes })
    }
}

type Two<T> = (T, T);

fn program(sizes: Sizes) -> Recorded<Two<Spec>, Two<Spec>, Spec> {
    let Sizes { layers, bits, length } = sizes;
    let network = (Spec::f64([2 * layers, 4 * bits]), Spec::f64([3, bits]));
    let data = (Spec::f64([2 * layers, bits]), Spec::f64([length, bits]));
    trace(network, data, |t, (main, extra), (state, sequence)| {
        let gates = |i| row(main, i).split_into(0, 4);
        let layers: Vec<_> = (0..layers).map(|i| (gates(2 * i), gates(2 * i + 1))).collect();
        let start: Vec<_> =
            (0..layers.len()).map(|i| (row(state, 2 * i), row(state, 2 * i + 1))).collect();
        let inputs = sequence.slice(0, ..-1, 1) * row(extra, 0);
        let (_, hidden) = t.scan(start, inputs, |mut states: Vec<(_, _)>, input: Tensor<'_>| {
            let mut below = input;
            for (state, (weights, biases)) in states.iter_mut().zip(&layers) {
                *state = step(weights, biases, *state, below);
                below = state.0;
            }
            (states, below)
        });
        let answers = hidden * row(extra, 1) + row(extra, 2);
        let scores = answers - (answers.exp().sum_keep(1) + 2.0).log();
        let count = ((length - 1) * bits) as f64;
        (sequence.slice(0, 1.., 1) * scores).sum() / -count
    })
}

fn row(x: Tensor<'_>, i: usize) -> Tensor<'_> {
    x.index(0, i as i64)
}

/// A layer's next output and cell.
fn step<'t>(
    weights: &[Tensor<'t>],
    biases: &[Tensor<'t>],
    (hidden, cell): Two<Tensor<'t>>,
    input: Tensor<'t>,
) -> Two<Tensor<'t>> {
    let gate = |i: usize, x: Tensor<'t>| x * weights[i] + biases[i];
    let (forget, out) = (gate(0, input).sigmoid(), gate(2, input).sigmoid());
    let (take, change) = (gate(1, hidden).sigmoid(), gate(3, hidden).tanh());
    let cell = cell * forget + take * change;
    (out * cell.tanh(), cell)
}
