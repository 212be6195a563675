//! The classifier: three layers, 64–64–32–10. One struct for the types of its
//! parameters, for the arrays, for the tensors while it runs, and for gradients.

use backstitch::prelude::*;
use backstitch::{Activation, DType, TraceError};
use ndarray::ArrayD;

use crate::data::{CLASSES, PIXELS};

const HIDDEN: [usize; 2] = [64, 32];

/// A perceptron of three layers.
#[derive(Tree, Clone)]
pub struct Mlp<T> {
    first: Dense<T>,
    second: Dense<T>,
    last: Dense<T>,
}

impl Mlp<Spec> {
    /// The types of its parameters.
    pub fn specs() -> Self {
        let layer = |inputs, outputs, f| Dense::spec(DType::F32, inputs, outputs, f);
        Self {
            first: layer(PIXELS, HIDDEN[0], Activation::Tanh),
            second: layer(HIDDEN[0], HIDDEN[1], Activation::Relu),
            last: layer(HIDDEN[1], CLASSES, Activation::Linear),
        }
    }
}

impl Mlp<ArrayD<f32>> {
    /// The parameters to start with. The same seed gives the same ones.
    pub fn init(seed: u64) -> Result<Self, TraceError> {
        let t = Trace::eager();
        let mut keys = t.key(seed).split::<3>().into_iter();
        let mut layer = |of: Dense<Spec>| {
            let &[inputs, outputs] = of.kernel.dims() else { unreachable!("kernels are matrices") };
            let key = keys.next().expect("one key per layer");
            Dense::init(key, DType::F32, inputs, outputs, of.activation)
        };
        let Mlp { first, second, last } = Mlp::specs();
        let model = Mlp { first: layer(first), second: layer(second), last: layer(last) };
        let arrays = model.leaves().into_iter().map(|x| x.to_array());
        let mut arrays = arrays.collect::<Result<Vec<ArrayD<f32>>, _>>()?.into_iter();
        Ok(model.map_leaves(&mut |_| arrays.next().expect("one array per parameter")))
    }
}

impl<'t> Mlp<Tensor<'t>> {
    /// For each row of pixels, how much speaks for each class.
    pub fn logits(&self, pixels: Tensor<'t>) -> Tensor<'t> {
        self.last.call(self.second.call(self.first.call(pixels)))
    }
}

/// The mean cross entropy over a batch.
pub fn loss<'t>(
    _: &'t Trace,
    model: Mlp<Tensor<'t>>,
    (pixels, labels): (Tensor<'t>, Tensor<'t>),
) -> Tensor<'t> {
    model.logits(pixels).sparse_cross_entropy(labels).mean()
}
