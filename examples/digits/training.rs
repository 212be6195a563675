//! A step of training: loss, gradient and update as one program, which runs
//! compiled and eager alike.

use backstitch::prelude::*;
use backstitch::{Gradients, TraceError};
use ndarray::ArrayD;

use crate::model::{Mlp, loss};

const RATE: f64 = 0.05;
const MOMENTUM: f64 = 0.9;

/// What training changes: the model, and how fast it moves.
#[derive(Tree, Clone)]
pub struct State<T> {
    /// The parameters.
    pub model: Mlp<T>,
    velocity: Mlp<T>,
}

impl State<Spec> {
    /// Its types.
    pub fn specs() -> Self {
        Self { model: Mlp::specs(), velocity: Mlp::specs() }
    }
}

impl State<ArrayD<f32>> {
    /// First parameters, at rest.
    pub fn init(seed: u64) -> Result<Self, TraceError> {
        let model = Mlp::init(seed)?;
        let velocity = model.map_leaves(&mut |w| ArrayD::zeros(w.raw_dim()));
        Ok(Self { model, velocity })
    }
}

/// Gradient descent with momentum: the state after, and the loss on a batch. The state comes
/// first, so that it can take the place of the one before.
pub fn training_step<'t>(
    t: &'t Trace,
    State { model, velocity }: State<Tensor<'t>>,
    batch: (Tensor<'t>, Tensor<'t>),
) -> (State<Tensor<'t>>, Tensor<'t>) {
    let tape = t.tape();
    tape.watch(&model);
    let value = loss(t, model.clone(), batch);
    let gradient = tape.gradient(&value, &model).expect_connected();

    let mut slopes = gradient.leaves().into_iter();
    let velocity = velocity.map_leaves(&mut |&v| {
        let slope = *slopes.next().expect("one slope per parameter");
        MOMENTUM * v - RATE * slope
    });
    let mut moves = velocity.leaves().into_iter();
    let model = model.map_leaves(&mut |&w| w + *moves.next().expect("one move per parameter"));
    (State { model, velocity }, value)
}

/// The loss on some digits, and the class that each is taken for.
pub fn evaluate<'t>(
    t: &'t Trace,
    model: Mlp<Tensor<'t>>,
    (pixels, labels): (Tensor<'t>, Tensor<'t>),
) -> (Tensor<'t>, Tensor<'t>) {
    let classes = model.logits(pixels).argmax(-1);
    (loss(t, model, (pixels, labels)), classes)
}
