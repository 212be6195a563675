//! A fully connected layer.

use backstitch_ir::DType;

use crate as backstitch_trace;
use crate::random::Key;
use crate::spec::Spec;
use crate::tensor::Tensor;
use crate::tree::Tree as _;

/// `activation(x · kernel + bias)`. A tree: its leaves are the kernel and the
/// bias, as specs, tensors, arrays or gradients.
///
/// ```
/// # use backstitch_trace::{Activation, Dense, DType, Trace};
/// let t = Trace::eager();
/// let layer = Dense::init(t.key(0), DType::F64, 3, 2, Activation::Relu);
/// let x = t.ones(DType::F64, [5, 3]);
/// assert_eq!(layer.call(x).shape().dims(), [5, 2]);
/// ```
#[derive(Clone, Copy, PartialEq, Debug, backstitch_derive::Tree)]
#[tree(crate = backstitch_trace)]
pub struct Dense<T> {
    /// The weights, inputs × outputs.
    pub kernel: T,
    /// What is added, one number per output.
    pub bias: T,
    /// What is applied to the sums.
    #[tree(skip)]
    pub activation: Activation,
}

/// A function applied to each element.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Activation {
    /// The identity.
    #[default]
    Linear,
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `log(1 + eˣ)`.
    Softplus,
}

impl Activation {
    /// Applies it.
    #[track_caller]
    pub fn apply(self, x: Tensor<'_>) -> Tensor<'_> {
        match self {
            Self::Linear => x,
            Self::Relu => x.relu(),
            Self::Sigmoid => x.sigmoid(),
            Self::Tanh => x.tanh(),
            Self::Softplus => x.softplus(),
        }
    }
}

impl Dense<Spec> {
    /// The types of its parameters.
    pub fn spec(dtype: DType, inputs: usize, outputs: usize, activation: Activation) -> Self {
        let (kernel, bias) = (Spec::new(dtype, [inputs, outputs]), Spec::new(dtype, [outputs]));
        Self { kernel, bias, activation }
    }
}

impl<'t> Dense<Tensor<'t>> {
    /// Weights that keep the variance of what passes (uniform, after Glorot and
    /// Bengio), and a bias of zeros.
    #[track_caller]
    pub fn init(
        key: Key<'t>,
        dtype: DType,
        inputs: usize,
        outputs: usize,
        activation: Activation,
    ) -> Self {
        let limit = (6.0 / (inputs as f64 + outputs as f64).max(1.0)).sqrt();
        let kernel = key.uniform(dtype, [inputs, outputs]) * (2.0 * limit) - limit;
        let bias = kernel.trace().zeros(dtype, [outputs]);
        Self { kernel, bias, activation }
    }

    /// The layer with its parameters as variables of an eager trace.
    ///
    /// # Errors
    /// If a parameter has no value.
    #[track_caller]
    pub fn variables(&self) -> Result<Self, crate::TraceError> {
        let _line = self.kernel.trace().line();
        let place = |x: Tensor<'t>| x.array().map(|a| x.trace().variable(a));
        let (kernel, bias) = (place(self.kernel)?, place(self.bias)?);
        Ok(Self { kernel, bias, activation: self.activation })
    }

    /// The layer's result. The last axis of `x` counts its inputs.
    #[track_caller]
    pub fn call(&self, x: Tensor<'t>) -> Tensor<'t> {
        self.activation.apply(x.matmul(self.kernel) + self.bias)
    }

    /// Its parameters, named.
    pub fn parameters(&self) -> Vec<(String, Tensor<'t>)> {
        let tensors = self.leaves().into_iter().copied();
        self.leaf_names().into_iter().zip(tensors).collect()
    }
}
