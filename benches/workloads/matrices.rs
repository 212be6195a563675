//! Workloads whose derivative is a matrix: dense, sparse, and what the gradient costs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use backstitch::prelude::*;
use backstitch::{Array, Compiled, DType};
use ndarray::ArrayD;

use crate::Args;
use crate::inputs::{Real, arrays};
use crate::limits::Limits;
use crate::programs::{Loss, MATRICES, Workload};
use crate::report::{Results, Row, disagreements};
use crate::timing::{Contender, Times, measure, summary};

/// Which matrix of derivatives.
#[derive(Clone, Copy)]
pub enum Matrix {
    /// Second derivatives of a scalar.
    Hessian,
    /// Derivatives of an array.
    Jacobian,
    /// Derivatives of rows by rows of the parameters, which stand beside each other.
    Rows {
        /// The same in operations on vectors instead of their components.
        vectors: Loss,
    },
}

/// What is computed besides the value.
#[derive(Clone, Copy)]
enum Form {
    Dense,
    Sparse,
    Gradient,
    Vectors,
}

impl Form {
    /// Of this matrix, each of these.
    fn of(matrix: Matrix) -> &'static [Self] {
        match matrix {
            Matrix::Hessian => &[Self::Dense, Self::Sparse, Self::Gradient],
            Matrix::Jacobian => &[Self::Dense, Self::Sparse],
            Matrix::Rows { .. } => &[Self::Dense, Self::Vectors],
        }
    }

    fn mode(self) -> &'static str {
        match self {
            Self::Dense => "compiled",
            Self::Sparse => "compiled_sparse",
            Self::Gradient => "compiled_gradient",
            Self::Vectors => "compiled_vectors",
        }
    }
}

/// Before it is compiled.
type Recorded = Result<Traced<Vec<Spec>, Vec<Spec>, Vec<Spec>>, backstitch::TraceError>;

/// What is computed from parameters and data.
type Derivative<'d> =
    dyn for<'t> Fn(&'t Trace, Vec<Tensor<'t>>, Vec<Tensor<'t>>) -> Tensor<'t> + 'd;

/// A program that gives the value and a derivative.
type Program = Compiled<Vec<Spec>, Vec<Spec>, Vec<Spec>>;

/// All wanted modes of all wanted workloads, and in what they do not agree.
pub fn all(args: &Args, limits: Option<&Limits>) -> Result<(Vec<Row>, Vec<String>), String> {
    let (mut rows, mut wrong) = (vec![], vec![]);
    for (workload, matrix) in MATRICES.iter().filter(|w| args.wants(w.0.name)) {
        let found = match workload.dtype {
            DType::F32 => typed::<f32>(workload, *matrix, args, limits)?,
            DType::F64 => typed::<f64>(workload, *matrix, args, limits)?,
            other => return Err(format!("{}: workloads of {other} are not run", workload.name)),
        };
        // A sparse matrix is in another form.
        let (dense, others): (Vec<Row>, Vec<Row>) = found
            .into_iter()
            .partition(|row| !matches!(row.mode, "compiled_sparse" | "compiled_gradient"));
        wrong.extend(disagreements(&dense));
        rows.extend(dense.into_iter().chain(others));
    }
    Ok((rows, wrong))
}

fn typed<T: Real>(
    workload: &Workload,
    matrix: Matrix,
    args: &Args,
    limits: Option<&Limits>,
) -> Result<Vec<Row>, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", workload.name);
    let (params, data) = arrays::<T>(workload, args.inputs.as_deref())?;
    let forms = Form::of(matrix).iter().filter(|form| args.wants_mode(form.mode()));
    let mut places = vec![];
    for &form in forms {
        let (program, times) = compile(workload, matrix, form, args).map_err(|e| failed(&e))?;
        if args.explain {
            eprintln!("{}", program.explain());
        }
        let new = |spec: &Spec| ArrayD::from_elem(spec.dims(), T::of(f64::NAN));
        let outputs: Vec<ArrayD<T>> = program.outputs().iter().map(new).collect();
        let ws = program.workspace().map_err(|e| failed(&e))?;
        places.push((form, program, times, ws, outputs));
    }
    let shared: Vec<Array> = params.iter().map(|a| a.clone().into()).collect();
    let mut eager = None;
    let mut contenders = vec![];
    for (form, program, _, ws, outputs) in &mut places {
        let (params, data) = (&params, &data);
        let call = move || {
            program.call_into(ws, black_box(params), data, outputs).expect("a call that fits");
            black_box(&outputs);
        };
        contenders.push(Contender { name: form.mode(), call: Box::new(call) });
    }
    if args.wants_mode("eager") {
        let call = || eager = Some(run_eagerly(workload, matrix, &shared, &data));
        contenders.push(Contender { name: "eager", call: Box::new(call) });
    }
    let times = measure(&mut contenders, args.each());
    drop(contenders);
    let wrt = match matrix {
        Matrix::Rows { .. } => "",
        _ => workload.params[0].name,
    };
    let results = |value: &ArrayD<T>, matrix: &ArrayD<T>| {
        Results::new(value.iter().map(|x| x.to_f64()).sum(), [(wrt, matrix)])
    };
    let gradient =
        places.iter().zip(&times).find(|(p, _)| matches!(p.0, Form::Gradient)).map(|p| p.1.median);
    let mut rows = vec![];
    for ((form, program, compile, _, outputs), &times) in places.iter().zip(&times) {
        // What is expected of the gradient, the other workload says.
        let name = match form {
            Form::Gradient => "W13b_rosen_grad",
            _ => workload.name,
        };
        let results = results(&outputs[0], &outputs[1]);
        let mut row = Row::new(name, form.mode(), T::DTYPE.name(), times, results);
        row.times_gradient = gradient.map(|gradient| times.median / gradient);
        row.threads = args.threads;
        row.compile_ms = Some(compile.times.median);
        row.first_compile_ms = Some(compile.first);
        row.describe(program.executable());
        row.bound(limits.map(|limits| limits.of(&program.explain(), T::DTYPE)));
        rows.push(row);
    }
    if let Some((value, matrix)) = eager {
        let array = |x: Array| x.to_array::<T>().expect("floats");
        let results = results(&array(value), &array(matrix));
        rows.push(Row::new(workload.name, "eager", T::DTYPE.name(), times[places.len()], results));
    }
    Ok(rows)
}

/// How long it took to get from a closure to a program, in milliseconds.
struct Compilation {
    first: f64,
    times: Times,
}

/// Compiles several times, for at most about so long.
fn compile(
    workload: &Workload,
    matrix: Matrix,
    form: Form,
    args: &Args,
) -> Result<(Program, Compilation), backstitch::Error> {
    let (begin, mut samples) = (Instant::now(), vec![]);
    let options = args.options();
    loop {
        let start = Instant::now();
        let program = build(workload, matrix, form)?.compile_with(&options)?;
        samples.push(start.elapsed().as_secs_f64() * 1e3);
        if samples.len() == 20 || begin.elapsed() > args.each().min(Duration::from_secs(1)) {
            let first = samples[0];
            return Ok((program, Compilation { first, times: summary(samples) }));
        }
    }
}

fn build(workload: &Workload, matrix: Matrix, form: Form) -> Recorded {
    let f = match (matrix, form) {
        (Matrix::Rows { vectors }, Form::Vectors) => vectors,
        _ => workload.loss,
    };
    let (params, data) = workload.specs();
    if let Matrix::Rows { .. } = matrix {
        let n = params[0].dims()[0];
        let width: usize = params.iter().map(|p| p.dims().iter().skip(1).product::<usize>()).sum();
        let beside = vec![Spec::new(workload.dtype, [n, width])];
        let traced = trace(beside, data.clone(), |t, p, d| f(t, &p, &d))?;
        let jacobian = traced.batch_jacobian()?;
        return trace_tree(params, data, |t, p: Vec<Tensor<'_>>, d: Vec<Tensor<'_>>| {
            let p = vec![beside_each_other(t, &p)];
            let value = traced.apply(t, p.clone(), d.clone());
            t.outputs(&vec![value, jacobian.apply(t, p, d)[0]])
        });
    }
    let traced = trace(params.clone(), data.clone(), |t, p, d| f(t, &p, &d))?;
    let with_value = |derivative: &Derivative<'_>| {
        trace_tree(params.clone(), data.clone(), |t, p: Vec<Tensor<'_>>, d: Vec<Tensor<'_>>| {
            let value = f(t, &p, &d);
            t.outputs(&vec![value, derivative(t, p, d)])
        })
    };
    match (form, matrix) {
        (Form::Gradient, _) => {
            let gradient = traced.grad()?;
            with_value(&|t, p, d| gradient.apply(t, p, d)[0])
        }
        (Form::Sparse, Matrix::Hessian) => {
            let hessian = traced.hessian_sparse()?;
            with_value(&|t, p, d| hessian.apply(t, p, d).into_values())
        }
        (_, Matrix::Hessian) => {
            let hessian = traced.hessian()?;
            with_value(&|t, p, d| hessian.apply(t, p, d)[0][0])
        }
        (Form::Sparse, _) => {
            let jacobian = traced.jacobian_sparse()?;
            with_value(&|t, p, d| jacobian.apply(t, p, d).into_values())
        }
        _ => {
            let jacobian = traced.jacobian()?;
            with_value(&|t, p, d| jacobian.apply(t, p, d)[0])
        }
    }
}

/// Rows of all these, or elements of arrays of one axis, as one row.
fn beside_each_other<'t>(t: &'t Trace, parts: &[Tensor<'t>]) -> Tensor<'t> {
    let row = |&x: &Tensor<'t>| if x.shape().rank() == 1 { x.expand_dims(1) } else { x };
    t.concat(parts.iter().map(row).collect::<Vec<_>>(), 1)
}

/// The value and the matrix, each operation at once.
fn run_eagerly(
    workload: &Workload,
    matrix: Matrix,
    params: &[Array],
    data: &[Array],
) -> (Array, Array) {
    let t = Trace::eager();
    let params: Vec<Tensor<'_>> = params.iter().map(|p| t.variable(p.clone())).collect();
    let data: Vec<Tensor<'_>> = data.iter().map(|d| t.constant(d.clone())).collect();
    let tape = t.tape();
    let (value, matrix) = match matrix {
        Matrix::Hessian => {
            let inner = t.tape();
            let value = (workload.loss)(&t, &params, &data);
            let gradient = inner.gradient(&value, &params[0]).or_zeros();
            (value, tape.jacobian(&gradient, &params[0]))
        }
        Matrix::Jacobian => {
            let value = (workload.loss)(&t, &params, &data);
            (value, tape.jacobian(&value, &params[0]))
        }
        Matrix::Rows { .. } => {
            let beside = beside_each_other(&t, &params);
            let value = (workload.loss)(&t, &[beside], &data);
            (value, tape.batch_jacobian(&value, &beside))
        }
    };
    let read = |x: Tensor<'_>| x.array().expect("a value");
    (read(value), read(matrix.or_zeros()))
}
