//! candle: operations one by one, and its backward pass.

use candle_core::{D, DType, Device, Result, Tensor, Var};

use crate::arrays::{Array, Arrays};
use crate::{Program, program as timed};

/// A loss of parameters and data.
type Loss = fn(&[Var], &[Tensor]) -> Result<Tensor>;

/// Value and gradients of a workload.
pub fn program<'a>(number: &str, arrays: &'a Arrays) -> Option<Box<dyn Program + 'a>> {
    const MLP: &[&str] = &["W1", "b1", "W2", "b2", "W3", "b3"];
    let (params, data, loss): (&[&str], &[&str], Loss) = match number {
        "W01" => (&["w1", "w2"], &[], scalar),
        "W02" => (&["a"], &[], doubling),
        "W03" | "W04" => (&["W", "b"], &["X", "y"], linear_regression),
        "W05" => (&["w", "b"], &["X", "t"], logistic_regression),
        "W06a" | "W06b" | "W06c" | "W06d" => (&["x"], &[], elementwise),
        "W07" | "W07b" => (&["a", "b", "c"], &["x", "y"], polynomial),
        "W08" => (MLP, &["x", "y"], perceptron),
        "W09" => (MLP, &["x", "labels"], classifier),
        "W10" => (&["x", "g", "b"], &[], normalised),
        "W11" => (&["Wq", "Wk", "Wv", "Wo"], &["x"], attention),
        "W12" => (&["Wx", "Wh", "b"], &["xs"], lstm),
        "W13b" => (&["x"], &[], rosenbrock),
        _ => return None,
    };
    let dtype = if matches!(number, "W06d" | "W13b") { DType::F64 } else { DType::F32 };
    let var = |name: &&str| Var::from_tensor(&tensor(arrays.get(name), dtype).expect("numbers"));
    let vars: Vec<Var> = params.iter().map(|n| var(n).expect("numbers")).collect();
    let of = |name: &&str| match *name {
        "labels" => tensor(arrays.get(name), DType::U32),
        _ => tensor(arrays.get(name), dtype),
    };
    let data: Vec<Tensor> = data.iter().map(|n| of(n).expect("numbers")).collect();
    let call = move || -> Result<(Tensor, Vec<Tensor>)> {
        let loss = loss(&vars, &data)?;
        let mut grads = loss.backward()?;
        let grads = vars.iter().map(|v| grads.remove(v).expect("a gradient")).collect();
        Ok((loss, grads))
    };
    let list = |t: &Tensor| -> Result<Vec<f64>> {
        t.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()
    };
    let read = move |(value, grads): &(Tensor, Vec<Tensor>)| {
        let grads = grads.iter().map(|g| list(g).expect("numbers")).collect();
        (list(value).expect("a number")[0], grads)
    };
    Some(timed(move || call().expect("a program that runs"), read))
}

fn tensor(array: &Array, dtype: DType) -> Result<Tensor> {
    Tensor::from_slice(&array.values, array.dims.as_slice(), &Device::Cpu)?.to_dtype(dtype)
}

fn scalar(p: &[Var], _: &[Tensor]) -> Result<Tensor> {
    (p[0].sqr()? * 3.0)? + (p[0].mul(&p[1])? * 2.0)?
}

fn doubling(p: &[Var], _: &[Tensor]) -> Result<Tensor> {
    let mut b = (p[0].as_tensor() * 2.0)?;
    while b.to_scalar::<f32>()?.abs() < 1000.0 {
        b = (b * 2.0)?;
    }
    if b.to_scalar::<f32>()? > 0.0 { Ok(b) } else { b * 100.0 }
}

fn linear_regression(p: &[Var], d: &[Tensor]) -> Result<Tensor> {
    d[0].matmul(&p[0])?.broadcast_add(&p[1])?.sub(&d[1])?.sqr()?.mean_all()
}

fn logistic_regression(p: &[Var], d: &[Tensor]) -> Result<Tensor> {
    let z = d[0].matmul(&p[0].unsqueeze(1)?)?.squeeze(1)?.broadcast_add(&p[1])?;
    let softplus = (z.relu()? + (z.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    (softplus - d[1].mul(&z)?)?.mean_all()
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}

fn elementwise(p: &[Var], _: &[Tensor]) -> Result<Tensor> {
    let x = p[0].as_tensor();
    let bell = x.sqr()?.neg()?.exp()?;
    (x.tanh()?.mul(&bell)? + x.sin()?.sqr()?.mul(&sigmoid(x)?)?)?.sum_all()
}

fn polynomial(p: &[Var], d: &[Tensor]) -> Result<Tensor> {
    let (x, y) = (&d[0], &d[1]);
    let square = x.sqr()?.broadcast_mul(&p[0])?;
    (square + x.broadcast_mul(&p[1])?)?.broadcast_add(&p[2])?.sub(y)?.sqr()?.mean_all()
}

fn layer(x: &Tensor, w: &Var, b: &Var) -> Result<Tensor> {
    x.matmul(w)?.broadcast_add(b)
}

fn perceptron(p: &[Var], d: &[Tensor]) -> Result<Tensor> {
    let h = layer(&d[0], &p[0], &p[1])?.tanh()?;
    let h = layer(&h, &p[2], &p[3])?.tanh()?;
    layer(&h, &p[4], &p[5])?.sub(&d[1])?.sqr()?.mean_all()
}

fn classifier(p: &[Var], d: &[Tensor]) -> Result<Tensor> {
    let h = layer(&d[0], &p[0], &p[1])?.relu()?;
    let h = layer(&h, &p[2], &p[3])?.relu()?;
    let z = layer(&h, &p[4], &p[5])?;
    let right = z.gather(&d[1].unsqueeze(1)?, 1)?.squeeze(1)?;
    (log_sum_exp(&z)? - right)?.mean_all()
}

fn log_sum_exp(z: &Tensor) -> Result<Tensor> {
    let most = z.max_keepdim(D::Minus1)?.detach();
    let sum = z.broadcast_sub(&most)?.exp()?.sum_keepdim(D::Minus1)?;
    (sum.log()? + most)?.squeeze(D::Minus1)
}

fn normalised(p: &[Var], _: &[Tensor]) -> Result<Tensor> {
    let x = p[0].as_tensor();
    let centred = x.broadcast_sub(&x.mean_keepdim(1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(1)? + 1e-5)?.sqrt()?;
    let y = centred.broadcast_div(&deviation)?.broadcast_mul(&p[1])?.broadcast_add(&p[2])?;
    (log_sum_exp(&y)? - y.narrow(1, 0, 1)?.squeeze(1)?)?.mean_all()
}

fn attention(p: &[Var], d: &[Tensor]) -> Result<Tensor> {
    let of = |w: &Var| d[0].broadcast_matmul(w);
    let (q, k, v) = (of(&p[0])?, of(&p[1])?, of(&p[2])?);
    let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * 0.125)?;
    let e = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    let weights = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
    weights.matmul(&v)?.broadcast_matmul(&p[3])?.sqr()?.mean_all()
}

fn lstm(p: &[Var], d: &[Tensor]) -> Result<Tensor> {
    let (steps, batch, _) = d[0].dims3()?;
    let hidden = p[1].dim(0)?;
    let mut h = Tensor::zeros((batch, hidden), DType::F32, &Device::Cpu)?;
    let mut c = h.clone();
    for t in 0..steps {
        let gates = (d[0].get(t)?.matmul(&p[0])? + h.matmul(&p[1])?)?.broadcast_add(&p[2])?;
        let part = |i: usize| gates.narrow(1, i * hidden, hidden);
        let keep = sigmoid(&part(1)?)?.mul(&c)?;
        c = (keep + sigmoid(&part(0)?)?.mul(&part(2)?.tanh()?)?)?;
        h = sigmoid(&part(3)?)?.mul(&c.tanh()?)?;
    }
    h.sqr()?.mean_all()
}

fn rosenbrock(p: &[Var], _: &[Tensor]) -> Result<Tensor> {
    let n = p[0].dim(0)?;
    let (x, next) = (p[0].narrow(0, 0, n - 1)?, p[0].narrow(0, 1, n - 1)?);
    ((next - x.sqr()?)?.sqr()? * 100.0)?.add(&(1.0 - &x)?.sqr()?)?.sum_all()
}
