//! Workloads whose derivative is a matrix: dense, sparse, and what the gradient costs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use backstitch::prelude::*;
use backstitch::{Compiled, DType};
use ndarray::ArrayD;

use crate::Args;
use crate::inputs::{Real, arrays};
use crate::programs::{Loss, MATRICES, Workload};
use crate::report::{Results, Row};
use crate::timing::{Contender, measure, summary};

/// Which matrix of derivatives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Matrix {
    /// Second derivatives of a scalar.
    Hessian,
    /// Derivatives of an array.
    Jacobian,
}

/// What is computed besides the value.
#[derive(Clone, Copy)]
enum Form {
    Dense,
    Sparse,
    Gradient,
}

impl Form {
    fn mode(self) -> &'static str {
        match self {
            Self::Dense => "compiled",
            Self::Sparse => "compiled_sparse",
            Self::Gradient => "compiled_gradient",
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

/// All wanted modes of all wanted workloads.
pub fn all(args: &Args) -> Result<Vec<Row>, String> {
    let mut rows = vec![];
    for (workload, matrix) in MATRICES.iter().filter(|w| args.wants(w.0.name)) {
        rows.extend(match workload.dtype {
            DType::F32 => typed::<f32>(workload, *matrix, args)?,
            DType::F64 => typed::<f64>(workload, *matrix, args)?,
            other => return Err(format!("{}: workloads of {other} are not run", workload.name)),
        });
    }
    Ok(rows)
}

fn typed<T: Real>(workload: &Workload, matrix: Matrix, args: &Args) -> Result<Vec<Row>, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", workload.name);
    let folder = args.inputs.as_deref();
    let params = arrays::<T>(workload, workload.params, folder)?;
    let data = arrays::<T>(workload, workload.data, folder)?;
    let mut forms = vec![Form::Dense, Form::Sparse];
    if matrix == Matrix::Hessian {
        forms.push(Form::Gradient);
    }
    forms.retain(|form| args.wants_mode(form.mode()));
    let mut places = vec![];
    for form in forms {
        let (program, times) =
            compile(workload, matrix, form, args.each()).map_err(|e| failed(&e))?;
        let new = |spec: &Spec| ArrayD::from_elem(spec.dims(), T::of(f64::NAN));
        let outputs: Vec<ArrayD<T>> = program.outputs().iter().map(new).collect();
        let ws = program.workspace().map_err(|e| failed(&e))?;
        places.push((form, program, times, ws, outputs));
    }
    let mut contenders = vec![];
    for (form, program, _, ws, outputs) in &mut places {
        let (params, data) = (&params, &data);
        let call = move || {
            program.call_into(ws, black_box(params), data, outputs).expect("a call that fits");
            black_box(&outputs);
        };
        contenders.push(Contender { name: form.mode(), call: Box::new(call) });
    }
    let times = measure(&mut contenders, args.each());
    drop(contenders);
    let gradient =
        places.iter().zip(&times).find(|(p, _)| matches!(p.0, Form::Gradient)).map(|p| p.1.median);
    let mut rows = vec![];
    for ((form, program, compile, _, outputs), times) in places.iter().zip(times) {
        let value = outputs[0].iter().map(|x| x.to_f64()).sum();
        let results = Results::new(value, [(workload.params[0].name, &outputs[1])]);
        // What is expected of the gradient, the other workload says.
        let name = match form {
            Form::Gradient => "W13b_rosen_grad",
            Form::Dense | Form::Sparse => workload.name,
        };
        let mut row = Row::new(name, form.mode(), T::DTYPE.name(), times, results);
        row.times_gradient = gradient.map(|gradient| times.median / gradient);
        let stats = program.executable().stats();
        row.compile_ms = Some(compile.median);
        row.kernels = Some(stats.kernels);
        row.arena_bytes = Some(stats.arena_bytes);
        row.code_bytes = Some(stats.code_bytes);
        rows.push(row);
    }
    Ok(rows)
}

/// Compiles several times, for at most about so long.
fn compile(
    workload: &Workload,
    matrix: Matrix,
    form: Form,
    at_most: Duration,
) -> Result<(Program, crate::timing::Times), backstitch::Error> {
    let (begin, mut samples) = (Instant::now(), vec![]);
    loop {
        let start = Instant::now();
        let program = build(workload, matrix, form)?.compile()?;
        samples.push(start.elapsed().as_secs_f64() * 1e3);
        if samples.len() == 20 || begin.elapsed() > at_most {
            return Ok((program, summary(samples)));
        }
    }
}

fn build(workload: &Workload, matrix: Matrix, form: Form) -> Recorded {
    let specs = |inputs: &[crate::programs::Input]| -> Vec<Spec> {
        inputs.iter().map(|i| Spec::new(workload.dtype, i.dims)).collect()
    };
    let f: Loss = workload.loss;
    let (params, data) = (specs(workload.params), specs(workload.data));
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
        (Form::Dense, Matrix::Hessian) => {
            let hessian = traced.hessian()?;
            with_value(&|t, p, d| hessian.apply(t, p, d)[0][0])
        }
        (Form::Dense, Matrix::Jacobian) => {
            let jacobian = traced.jacobian()?;
            with_value(&|t, p, d| jacobian.apply(t, p, d)[0])
        }
        (Form::Sparse, Matrix::Hessian) => {
            let hessian = traced.hessian_sparse()?;
            with_value(&|t, p, d| hessian.apply(t, p, d).into_values())
        }
        (Form::Sparse, Matrix::Jacobian) => {
            let jacobian = traced.jacobian_sparse()?;
            with_value(&|t, p, d| jacobian.apply(t, p, d).into_values())
        }
    }
}
