//! burn: operations one by one on its ndarray backend, and its backward pass.

use burn_tensor::activation::{log_softmax, relu, sigmoid, softmax, softplus};
use burn_tensor::{DType, Device, Gradients, Int, Tensor, TensorData};

use crate::arrays::Arrays;
use crate::{Program, program as timed};

/// A parameter; ranks are in types.
#[derive(Clone)]
enum Leaf {
    One(Tensor<1>),
    Two(Tensor<2>),
}

impl Leaf {
    fn one(&self) -> Tensor<1> {
        let Self::One(x) = self else { panic!("an array of one axis") };
        x.clone()
    }

    fn two(&self) -> Tensor<2> {
        let Self::Two(x) = self else { panic!("an array of two axes") };
        x.clone()
    }

    fn gradient(&self, all: &Gradients) -> Vec<f64> {
        match self {
            Self::One(x) => list(x.grad(all).expect("a gradient")),
            Self::Two(x) => list(x.grad(all).expect("a gradient")),
        }
    }
}

fn list<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_to_vec().expect("numbers")
}

/// A loss of parameters, of what else it takes.
type Loss<'a> = Box<dyn Fn(&[Leaf]) -> Tensor<1> + 'a>;

/// Value and gradients of a workload.
pub fn program<'a>(number: &str, arrays: &'a Arrays) -> Option<Box<dyn Program + 'a>> {
    const MLP: &[&str] = &["W1", "b1", "W2", "b2", "W3", "b3"];
    #[expect(deprecated, reason = "it is the one on ndarray, as eager mode here is")]
    let device = Device::ndarray().autodiff();
    let dtype = if matches!(number, "W06d" | "W13b") { DType::F64 } else { DType::F32 };
    let data = |name: &str| {
        let array = arrays.get(name);
        // Scalars have one axis here.
        let dims = if array.dims.is_empty() { vec![1] } else { array.dims.clone() };
        TensorData::new(array.values.clone(), dims)
    };
    let vector = |name: &str| Tensor::<1>::from_data(data(name), (&device, dtype));
    let matrix = |name: &str| Tensor::<2>::from_data(data(name), (&device, dtype));
    let cube = |name: &str| Tensor::<3>::from_data(data(name), (&device, dtype));
    let (params, loss): (&[&str], Loss<'a>) = match number {
        "W01" => (&["w1", "w2"], Box::new(scalar)),
        "W02" => (&["a"], Box::new(doubling)),
        "W03" | "W04" => {
            let (x, y) = (matrix("X"), matrix("y"));
            let loss =
                move |p: &[Leaf]| (layer(x.clone(), &p[0], &p[1]) - y.clone()).square().mean();
            (&["W", "b"], Box::new(loss))
        }
        "W05" => {
            let (x, t) = (matrix("X"), vector("t"));
            let loss = move |p: &[Leaf]| {
                let z = x.clone().matmul(p[0].one().unsqueeze_dim(1)).squeeze_dim(1) + p[1].one();
                (softplus(z.clone(), 1.0) - t.clone() * z).mean()
            };
            (&["w", "b"], Box::new(loss))
        }
        "W06a" | "W06b" | "W06c" | "W06d" => (&["x"], Box::new(elementwise)),
        "W07" | "W07b" => {
            let (x, y) = (vector("x"), vector("y"));
            let loss = move |p: &[Leaf]| {
                let (x, y) = (x.clone(), y.clone());
                let fit = p[0].one() * x.clone() * x.clone() + p[1].one() * x + p[2].one();
                (fit - y).square().mean()
            };
            (&["a", "b", "c"], Box::new(loss))
        }
        "W08" => {
            let (x, y) = (matrix("x"), matrix("y"));
            let loss = move |p: &[Leaf]| {
                let h = layer(x.clone(), &p[0], &p[1]).tanh();
                let h = layer(h, &p[2], &p[3]).tanh();
                (layer(h, &p[4], &p[5]) - y.clone()).square().mean()
            };
            (MLP, Box::new(loss))
        }
        "W09" => {
            let x = matrix("x");
            let labels = Tensor::<1, Int>::from_data(data("labels"), &device);
            let labels = labels.unsqueeze_dim::<2>(1);
            let loss = move |p: &[Leaf]| {
                let h = relu(layer(x.clone(), &p[0], &p[1]));
                let h = relu(layer(h, &p[2], &p[3]));
                let logs = log_softmax(layer(h, &p[4], &p[5]), 1);
                -logs.gather(1, labels.clone()).mean()
            };
            (MLP, Box::new(loss))
        }
        "W10" => (&["x", "g", "b"], Box::new(normalised)),
        "W11" => {
            let x = cube("x");
            let loss = move |p: &[Leaf]| {
                let of = |w: &Leaf| x.clone().matmul(w.two().unsqueeze::<3>());
                let (q, k, v) = (of(&p[0]), of(&p[1]), of(&p[2]));
                let weights = softmax(q.matmul(k.swap_dims(1, 2)) * 0.125, 2);
                weights.matmul(v).matmul(p[3].two().unsqueeze::<3>()).square().mean()
            };
            (&["Wq", "Wk", "Wv", "Wo"], Box::new(loss))
        }
        "W12" => {
            let xs = cube("xs");
            let [steps, batch, _] = xs.dims();
            let hidden = arrays.get("Wh").dims[0];
            let zero = Tensor::<2>::zeros([batch, hidden], (&device, dtype));
            let loss = move |p: &[Leaf]| {
                let (mut h, mut c) = (zero.clone(), zero.clone());
                for t in 0..steps {
                    let x: Tensor<2> = xs.clone().narrow(0, t, 1).squeeze_dim(0);
                    let bias = p[2].one().unsqueeze::<2>();
                    let gates = x.matmul(p[0].two()) + h.matmul(p[1].two()) + bias;
                    let [i, f, g, o] = gates.chunk(4, 1).try_into().expect("four parts");
                    c = sigmoid(f) * c + sigmoid(i) * g.tanh();
                    h = sigmoid(o) * c.clone().tanh();
                }
                h.square().mean()
            };
            (&["Wx", "Wh", "b"], Box::new(loss))
        }
        "W13b" => (&["x"], Box::new(rosenbrock)),
        _ => return None,
    };
    let leaf = |name: &&str| match arrays.get(name).dims.len() {
        0 | 1 => Leaf::One(vector(name).require_grad()),
        _ => Leaf::Two(matrix(name).require_grad()),
    };
    let leaves: Vec<Leaf> = params.iter().map(leaf).collect();
    let of = leaves.clone();
    let call = move || {
        let value = loss(&leaves);
        let grads = value.backward();
        (value, grads)
    };
    let read = move |(value, grads): &(Tensor<1>, Gradients)| {
        (list(value.clone())[0], of.iter().map(|leaf| leaf.gradient(grads)).collect())
    };
    Some(timed(call, read))
}

fn layer(x: Tensor<2>, w: &Leaf, b: &Leaf) -> Tensor<2> {
    x.matmul(w.two()) + b.one().unsqueeze::<2>()
}

fn scalar(p: &[Leaf]) -> Tensor<1> {
    let (w1, w2) = (p[0].one(), p[1].one());
    w1.clone().square() * 3.0 + w1 * w2 * 2.0
}

fn doubling(p: &[Leaf]) -> Tensor<1> {
    let mut b = p[0].one() * 2.0;
    while b.clone().into_scalar::<f32>().abs() < 1000.0 {
        b = b * 2.0;
    }
    if b.clone().into_scalar::<f32>() > 0.0 { b } else { b * 100.0 }
}

fn elementwise(p: &[Leaf]) -> Tensor<1> {
    let x = p[0].one();
    let bell = x.clone().square().neg().exp();
    (x.clone().tanh() * bell + x.clone().sin().square() * sigmoid(x)).sum()
}

fn normalised(p: &[Leaf]) -> Tensor<1> {
    let x = p[0].two();
    let centred = x.clone() - x.mean_dim(1);
    let deviation = (centred.clone().square().mean_dim(1) + 1e-5).sqrt();
    let y = centred / deviation * p[1].one().unsqueeze::<2>() + p[2].one().unsqueeze::<2>();
    let most = y.clone().detach().max_dim(1);
    let sums = (y.clone() - most.clone()).exp().sum_dim(1).log() + most;
    (sums - y.narrow(1, 0, 1)).mean()
}

fn rosenbrock(p: &[Leaf]) -> Tensor<1> {
    let n = p[0].one().dims()[0];
    let (x, next) = (p[0].one().narrow(0, 0, n - 1), p[0].one().narrow(0, 1, n - 1));
    ((next - x.clone().square()).square() * 100.0 + (x.neg() + 1.0).square()).sum()
}
