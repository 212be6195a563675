//! Every differentiable operation, on odd shapes: eager mode against compiled code,
//! gradients against differences, forward against reverse, second order against
//! differences of gradients, Jacobians (batched) against gradients.
#![allow(missing_docs)]

use backstitch::DType;
use backstitch::ir::Type;
#[path = "operations/table.rs"]
mod table;

use backstitch::Array;
use backstitch::prelude::*;
use backstitch::{Backend, Options};
use ndarray::ArrayD;
use table::Operation;

/// Numbers in (-1, 1) that look random.
fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..10).for_each(|_| _ = next());
    (0..n).map(|_| next()).collect()
}

fn random(dims: &[usize], seed: u64) -> ArrayD<f64> {
    let data = numbers(dims.iter().product(), seed);
    ArrayD::from_shape_vec(dims, data).unwrap()
}

/// A sum of all elements that gives each another weight.
fn weighed<'t>(t: &'t Trace, y: Tensor<'t>) -> Tensor<'t> {
    let n = y.shape().len();
    let w = (t.iota(y.dtype(), [n], 0) * 1.7 + 0.3).sin().reshape(y.shape());
    (y * w).sum()
}

/// The first elements that differ by more than a part of the largest.
fn close(a: &[f64], b: &[f64], tol: f64) -> Option<String> {
    if a.len() != b.len() {
        return Some(format!("{} and {} elements", a.len(), b.len()));
    }
    let scale = a.iter().chain(b).filter(|x| x.is_finite()).fold(1.0, |m: f64, x| m.max(x.abs()));
    a.iter().zip(b).enumerate().find_map(|(i, (&x, &y))| {
        let same = (x - y).abs() <= tol * scale || x == y || (x.is_nan() && y.is_nan());
        (!same).then(|| format!("element {i}: {x:e} and {y:e}"))
    })
}

fn to_vec(arrays: &[Array]) -> Vec<f64> {
    arrays.iter().flat_map(|a| a.to_f64_vec()).collect()
}

/// The ways to compile.
fn modes() -> [(&'static str, Options); 3] {
    let o = Options::default();
    [
        ("compiled", o.clone().backend(Backend::Cpu)),
        ("interpreted", o.clone().backend(Backend::Interpreter)),
        ("unoptimised", o.optimise(false).backend(Backend::Cpu)),
    ]
}

/// What is wrong with an operation on arrays of these shapes.
fn check(name: &str, shapes: &[&[usize]], dtype: DType, op: Operation) -> Vec<String> {
    let mut wrong = Vec::new();
    let f32s = dtype == DType::F32;
    let make = |seed: u64| -> Vec<ArrayD<f64>> {
        shapes.iter().enumerate().map(|(i, d)| random(d, seed + i as u64)).collect()
    };
    let (x, d) = (make(7), make(1007));
    let cast = |x: &[ArrayD<f64>]| -> Vec<Array> {
        x.iter()
            .map(|x| if f32s { Array::from(x.mapv(|x| x as f32)) } else { Array::from(x.clone()) })
            .collect()
    };
    let (ax, ad) = (cast(&x), cast(&d));
    let specs: Vec<Spec> = shapes.iter().map(|s| Spec::from(Type::new(dtype, *s))).collect();
    macro_rules! say {
        ($($t:tt)*) => { wrong.push(format!("{name} {shapes:?} {dtype}: {}", format!($($t)*))) };
    }
    let whole = match trace(specs.clone(), (), |t, v: Vec<Tensor<'_>>, ()| op(t, &v)) {
        Ok(f) => f,
        Err(e) => {
            say!("trace: {e}");
            return wrong;
        }
    };
    let f = trace(specs, (), |t, v: Vec<Tensor<'_>>, ()| weighed(t, op(t, &v))).unwrap();
    let tol = if f32s { 3e-5 } else { 1e-10 };
    let y = whole.eval(&ax, &()).unwrap();
    let g = f.value_and_grad().unwrap();
    let (loss, grad) = g.eval(&ax, &()).unwrap();
    let (loss, grad) = (loss.to_f64_vec(), to_vec(&grad));
    if grad.iter().chain(&loss).any(|x| !x.is_finite()) {
        say!("not finite: {loss:?} {grad:?}");
    }
    let tried = if f32s { 1 } else { 3 };
    for (mode, o) in modes().into_iter().take(tried) {
        let c = whole.compile_with(&o).unwrap().call(&ax, &()).unwrap();
        if let Some(e) = close(&y.to_f64_vec(), &c.to_f64_vec(), tol) {
            say!("{mode} value: {e}");
        }
        let (l, c) = g.compile_with(&o).unwrap().call(&ax, &()).unwrap();
        if let Some(e) = close(&loss, &l.to_f64_vec(), tol * 10.0) {
            say!("{mode} loss: {e}");
        }
        if let Some(e) = close(&grad, &to_vec(&c), tol * 10.0) {
            say!("{mode} gradient: {e}");
        }
    }
    let along: Vec<f64> = to_vec(&ad);
    let slope: f64 = grad.iter().zip(&along).map(|(g, d)| g * d).sum();
    let (_, t) = f.jvp().unwrap().eval(&ax, &((), &ad)).unwrap();
    if let Some(e) = close(&[slope], &t.to_f64_vec(), tol * 30.0) {
        say!("jvp and vjp: {e}");
    }
    if f32s {
        return wrong;
    }
    let h = 1e-5;
    let moved = |s: f64| -> Vec<Array> {
        x.iter().zip(&d).map(|(x, d)| Array::from(x + s * h * d)).collect()
    };
    let (up, down) = (moved(1.0), moved(-1.0));
    let value = |x: &Vec<Array>| f.eval(x, &()).unwrap().to_f64_vec()[0];
    let want = (value(&up) - value(&down)) / (2.0 * h);
    if let Some(e) = close(&[want], &[slope], 1e-6) {
        say!("differences and gradient: {e}");
    }
    let hvp = f.hvp().unwrap();
    let got = to_vec(&hvp.eval(&ax, &((), &ad)).unwrap());
    let at = |x: &Vec<Array>| to_vec(&g.eval(x, &()).unwrap().1);
    let want: Vec<f64> = at(&up).iter().zip(at(&down)).map(|(a, b)| (a - b) / (2.0 * h)).collect();
    if let Some(e) = close(&want, &got, 1e-5) {
        say!("differences of gradients and hvp: {e}");
    }
    for (mode, o) in modes() {
        let c = to_vec(&hvp.compile_with(&o).unwrap().call(&ax, &((), &ad)).unwrap());
        if let Some(e) = close(&got, &c, 1e-9) {
            say!("{mode} hvp: {e}");
        }
    }
    // Jacobian: each row is a gradient; weighed, it is the gradient of the loss.
    let n: usize = y.ty().len();
    let total: usize = shapes.iter().map(|s| s.iter().product::<usize>()).sum();
    if n * total <= 2_000 {
        match whole.jacobian() {
            Ok(j) => {
                let rows = j.eval(&ax, &()).unwrap();
                let w: Vec<f64> = (0..n).map(|i| (i as f64 * 1.7 + 0.3).sin()).collect();
                let weigh = |rows: &Vec<Array>| -> Vec<f64> {
                    let mut all = Vec::new();
                    for (a, s) in rows.iter().zip(shapes) {
                        let m: usize = s.iter().product();
                        let a = a.to_f64_vec();
                        all.extend(
                            (0..m).map(|k| (0..n).map(|i| w[i] * a[i * m + k]).sum::<f64>()),
                        );
                    }
                    all
                };
                if let Some(e) = close(&grad, &weigh(&rows), 1e-9) {
                    say!("jacobian: {e}");
                }
                for (mode, o) in modes() {
                    let c = j.compile_with(&o).unwrap().call(&ax, &()).unwrap();
                    if let Some(e) = close(&to_vec(&rows), &to_vec(&c), 1e-9) {
                        say!("{mode} jacobian: {e}");
                    }
                }
            }
            Err(e) => say!("jacobian: {e}"),
        }
    }
    if total <= 30 {
        match f.hessian() {
            Ok(h) => {
                let rows = h.eval(&ax, &()).unwrap();
                let mut want = vec![0.0; total];
                let mut first = 0;
                for (row, s) in rows.iter().zip(shapes) {
                    let m: usize = s.iter().product();
                    let mut column = 0;
                    for (a, s) in row.iter().zip(shapes) {
                        let p: usize = s.iter().product();
                        let a = a.to_f64_vec();
                        for i in 0..m {
                            for j in 0..p {
                                want[first + i] += a[i * p + j] * along[column + j];
                            }
                        }
                        column += p;
                    }
                    first += m;
                }
                if let Some(e) = close(&want, &got, 1e-8) {
                    say!("hessian and hvp: {e}");
                }
            }
            Err(e) => say!("hessian: {e}"),
        }
    }
    wrong
}

/// Tries all of them, and tells what is wrong with any.
fn sweep(cases: impl IntoIterator<Item = (String, Vec<&'static [usize]>, Operation)>) {
    let cases = cases.into_iter();
    let one = |(name, shapes, op): (String, Vec<&[usize]>, Operation)| {
        let mut wrong = check(&name, &shapes, DType::F64, op);
        wrong.extend(check(&name, &shapes, DType::F32, op));
        wrong
    };
    let wrong: Vec<String> = cases.flat_map(one).collect();
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

type Cases = &'static [(&'static str, Operation)];

fn on(
    ops: Cases,
    shapes: &'static [&'static [usize]],
    arity: usize,
) -> impl Iterator<Item = (String, Vec<&'static [usize]>, Operation)> {
    let each = move |&(name, op): &'static (&'static str, Operation)| {
        shapes.iter().map(move |&s| (name.to_owned(), vec![s; arity], op))
    };
    ops.iter().flat_map(each)
}

#[test]
fn functions_of_any_array() {
    sweep(on(table::UNARY, table::ANY, 1));
    sweep(on(table::BINARY, table::ANY, 2));
}

#[test]
fn functions_along_axes() {
    sweep(on(table::REDUCE, table::SOME, 1));
    sweep(on(table::ROWS, table::SOME, 2));
}

#[test]
fn loops_and_parts() {
    sweep(on(table::CONTROL, table::SOME, 1));
}

#[test]
fn functions_of_two_shapes() {
    let pair = |(i, &(a, b, op)): (usize, &(&'static [usize], &'static [usize], Operation))| {
        (format!("pair {i}"), vec![a, b], op)
    };
    sweep(table::PAIRS.iter().enumerate().map(pair));
}
