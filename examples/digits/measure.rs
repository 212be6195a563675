//! Compiled and eager side by side: the same program on the same batch, in turns,
//! so that whatever disturbs the machine disturbs both.

use std::fmt;
use std::time::{Duration, Instant};

use backstitch::prelude::*;
use backstitch::{Array, Compiled, Error, Gradients};
use ndarray::ArrayD;

use crate::data::Digits;
use crate::model::{Mlp, loss};
use crate::training::{State, training_step};

/// Calls of each before time is taken.
const WARM_UP: usize = 20;
/// Calls of each.
const ROUNDS: usize = 300;

type Model = Mlp<ArrayD<f32>>;
type Batch = (Spec, Spec);

/// Medians over all rounds.
pub struct Measured {
    compiled: Duration,
    eager: Duration,
    /// The largest difference between a number of the one and of the other.
    difference: f64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { compiled, eager, difference } = self;
        let ratio = eager.as_secs_f64() / compiled.as_secs_f64();
        write!(f, "compiled {compiled:.1?}, eager {eager:.1?}: {ratio:.1} times as fast, ")?;
        write!(f, "results differ by at most {difference:.1e}")
    }
}

/// The loss and its gradient.
pub fn gradients(
    compiled: &Compiled<Mlp<Spec>, Batch, (Spec, Mlp<Spec>)>,
    model: &Model,
    digits: &Digits,
) -> Result<Measured, Error> {
    let Digits { pixels, labels } = digits;
    let (mut value, mut gradient) = (0.0f32, model.clone());
    let mut ws = compiled.workspace()?;
    // Arrays as eager mode keeps them: sharing them copies nothing.
    let shared = share(model);
    let batch = (Array::from(pixels.clone()), Array::from(labels.clone()));
    let mut found: Vec<Array> = Vec::new();
    let (fast, slow) = in_turns(
        || {
            let results = &mut (&mut value, &mut gradient);
            compiled.call_into(&mut ws, model, &(pixels, labels), results)
        },
        || {
            let t = Trace::eager();
            let model = shared.map_leaves(&mut |w| t.variable(w.clone()));
            let tape = t.tape();
            let batch = (t.constant(batch.0.clone()), t.constant(batch.1.clone()));
            let value = loss(&t, model.clone(), batch);
            let gradient = tape.gradient(&value, &model).expect_connected();
            found = arrays(&(value, gradient))?;
            Ok(())
        },
    )?;
    let wanted = (Array::from(value), share(&gradient));
    Ok(Measured { compiled: fast, eager: slow, difference: difference(&wanted, &found) })
}

/// A whole step of training.
pub fn steps(
    compiled: &Compiled<State<Spec>, Batch, (State<Spec>, Spec)>,
    state: &State<ArrayD<f32>>,
    digits: &Digits,
) -> Result<Measured, Error> {
    let Digits { pixels, labels } = digits;
    let (mut value, mut changed) = (0.0f32, state.clone());
    let mut ws = compiled.workspace()?;
    let shared = state.map_leaves(&mut |w| Array::from(w.clone()));
    let batch = (Array::from(pixels.clone()), Array::from(labels.clone()));
    let mut found: Vec<Array> = Vec::new();
    let (fast, slow) = in_turns(
        || compiled.update_into(&mut ws, &mut changed, &(pixels, labels), &mut value),
        || {
            let t = Trace::eager();
            let state = shared.map_leaves(&mut |w| t.constant(w.clone()));
            let batch = (t.constant(batch.0.clone()), t.constant(batch.1.clone()));
            found = arrays(&training_step(&t, state, batch))?;
            Ok(())
        },
    )?;
    let wanted = compiled.call(state, &(pixels, labels))?;
    Ok(Measured { compiled: fast, eager: slow, difference: difference(&wanted, &found) })
}

/// Median times of one and the other.
fn in_turns(
    mut one: impl FnMut() -> Result<(), Error>,
    mut other: impl FnMut() -> Result<(), Error>,
) -> Result<(Duration, Duration), Error> {
    let mut times = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    for round in 0..WARM_UP + ROUNDS {
        let start = Instant::now();
        one()?;
        let between = Instant::now();
        other()?;
        let end = Instant::now();
        if round >= WARM_UP {
            times.0.push(between - start);
            times.1.push(end - between);
        }
    }
    Ok((median(times.0), median(times.1)))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn share(model: &Model) -> Mlp<Array> {
    model.map_leaves(&mut |w| Array::from(w.clone()))
}

fn arrays<'t>(results: &impl Tree<Tensor<'t>>) -> Result<Vec<Array>, Error> {
    Ok(results.leaves().into_iter().map(|x| x.array()).collect::<Result<_, _>>()?)
}

fn difference(wanted: &impl Tree<Array>, found: &[Array]) -> f64 {
    let pairs = wanted.leaves().into_iter().zip(found);
    let pairs = pairs.flat_map(|(w, x)| w.to_f64_vec().into_iter().zip(x.to_f64_vec()));
    pairs.map(|(w, x)| (w - x).abs()).fold(0.0, f64::max)
}
