//! Running a workload in each mode.

use std::hint::black_box;
use std::time::{Duration, Instant};

use backstitch::prelude::*;
use backstitch::{Array, Compiled, DType, Gradients, Options};
use ndarray::ArrayD;

use crate::Args;
use crate::formulas::chain as chained;
use crate::inputs::{Real, arrays};
use crate::limits::Limits;
use crate::programs::Workload;
use crate::report::{Results, Row};
use crate::timing::{Contender, Times, measure, summary};

/// A program of any of the workloads: parameters and data are lists.
type Program = Compiled<Vec<Spec>, Vec<Spec>, (Spec, Vec<Spec>)>;

/// The value alone.
type Forward = Compiled<Vec<Spec>, Vec<Spec>, Spec>;

/// All wanted modes of a workload.
pub fn workload(
    workload: &Workload,
    args: &Args,
    limits: Option<&Limits>,
) -> Result<Vec<Row>, String> {
    match workload.dtype {
        DType::F32 => typed::<f32>(workload, args, limits),
        DType::F64 => typed::<f64>(workload, args, limits),
        other => Err(format!("{}: workloads of {other} are not run", workload.name)),
    }
}

fn typed<T: Real>(
    workload: &Workload,
    args: &Args,
    limits: Option<&Limits>,
) -> Result<Vec<Row>, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", workload.name);
    let (params, data) = arrays::<T>(workload, args.inputs.as_deref())?;

    let compilation = Compilation::of(args.each(), || compile(workload, &args.options()))
        .map_err(|e| failed(&e))?;
    let program = &compilation.program;
    if args.explain {
        eprintln!("{}", program.explain());
    }
    let mut ws = program.workspace().map_err(|e| failed(&e))?;
    let mut compiled = Place::new(&params);
    let mut eager: Option<(Array, Vec<Array>)> = None;
    let with_place = |(mode, f)| (mode, f, Place::new(&params));
    let mut hands: Vec<_> = T::by_hand(workload.name).into_iter().map(with_place).collect();
    let shared: Vec<Array> = params.iter().map(|a| a.clone().into()).collect();
    // The value alone is timed where there is something to compare it with.
    let forward = if hands.iter().any(|h| h.0 == "handwritten_forward") {
        Some(compile_forward(workload).map_err(|e| failed(&e))?)
    } else {
        None
    };
    let mut forward_value = T::of(f64::NAN);
    let mut forward_ws = Workspace::new();

    let mut contenders: Vec<Contender<'_>> = vec![];
    if args.wants_mode("compiled") {
        contenders.push(Contender {
            name: "compiled",
            call: caller(program, &mut ws, &params, &data, &mut compiled),
        });
    }
    if let Some(program) = forward.as_ref().filter(|_| args.wants_mode("compiled_forward")) {
        let (ws, value) = (&mut forward_ws, &mut forward_value);
        contenders.push(Contender {
            name: "compiled_forward",
            call: forward_caller(program, ws, &params, &data, value),
        });
    }
    if args.wants_mode("eager") {
        let call = || eager = Some(run_eagerly(workload, &shared, &data));
        contenders.push(Contender { name: "eager", call: Box::new(call) });
    }
    for (mode, f, place) in &mut hands {
        if args.wants_mode(mode) {
            let call = || f(black_box(&params), &mut place.value, &mut place.grads);
            contenders.push(Contender { name: mode, call: Box::new(call) });
        }
    }
    let times = measure(&mut contenders, args.each());
    let modes: Vec<&'static str> = contenders.iter().map(|c| c.name).collect();
    drop(contenders);

    let names = || workload.params.iter().map(|p| p.name);
    let medians: Vec<(&str, f64)> =
        modes.iter().copied().zip(times.iter().map(|t| t.median)).collect();
    let median_of = |mode: &str| medians.iter().find(|m| m.0 == mode).map(|m| m.1);
    let rows = modes.into_iter().zip(times).map(|(mode, times)| {
        let place = match mode {
            "compiled" => &compiled,
            "compiled_forward" => &Place { value: forward_value, grads: vec![] },
            "eager" => {
                let (value, grads) = eager.as_ref().expect("a result");
                let value = value.item::<T>().expect("a scalar");
                let grads = grads.iter().map(|g| g.to_array().expect("floats"));
                &Place { value, grads: grads.collect() }
            }
            _ => &hands.iter().find(|h| h.0 == mode).expect("a mode").2,
        };
        let grads: &[ArrayD<T>] = if mode.ends_with("_forward") { &[] } else { &place.grads };
        let results = Results::new(place.value.to_f64(), names().zip(grads));
        let mut row = Row::new(workload.name, mode, T::DTYPE.name(), times, results);
        if let Some(what) = mode.strip_prefix("compiled") {
            let by_hand = median_of(&format!("handwritten{what}"));
            row.times_handwritten = by_hand.map(|by_hand| times.median / by_hand);
        }
        if mode == "compiled" {
            row.threads = args.threads;
            compilation.describe(&mut row, limits, T::DTYPE);
        }
        row
    });
    Ok(rows.collect())
}

/// A call of a compiled program: of lists of arrays, or of one or two scalars as they are.
fn caller<'a, T: Real>(
    program: &'a Program,
    ws: &'a mut Workspace,
    params: &'a [ArrayD<T>],
    data: &'a [Array],
    place: &'a mut Place<T>,
) -> Box<dyn FnMut() + 'a> {
    const FITS: &str = "a call that fits";
    let Place { value, grads } = place;
    if params.len() == 1 && data.is_empty() && params[0].ndim() == 0 {
        let (a, da) = (&params[0][[]], &mut grads[0][[]]);
        return Box::new(move || {
            let outputs = &mut (&mut *value, (&mut *da,));
            program.call_into(ws, black_box(&(a,)), &(), outputs).expect(FITS);
            black_box(&outputs);
        });
    }
    if params.len() == 2 && data.is_empty() && params.iter().all(|p| p.ndim() == 0) {
        let [da, db] = &mut grads[..] else { unreachable!("a gradient for each parameter") };
        let (a, b, da, db) = (&params[0][[]], &params[1][[]], &mut da[[]], &mut db[[]]);
        return Box::new(move || {
            let outputs = &mut (&mut *value, (&mut *da, &mut *db));
            program.call_into(ws, black_box(&(a, b)), &(), outputs).expect(FITS);
            black_box(&outputs);
        });
    }
    Box::new(move || {
        let outputs = &mut (&mut *value, &mut *grads);
        program.call_into(ws, black_box(params), data, outputs).expect(FITS);
        black_box(&outputs);
    })
}

/// The same for the value alone.
fn forward_caller<'a, T: Real>(
    program: &'a Forward,
    ws: &'a mut Workspace,
    params: &'a [ArrayD<T>],
    data: &'a [Array],
    value: &'a mut T,
) -> Box<dyn FnMut() + 'a> {
    const FITS: &str = "a call that fits";
    match params {
        [a] if data.is_empty() && a.ndim() == 0 => {
            let a = &a[[]];
            Box::new(move || {
                program.call_into(ws, black_box(&(a,)), &(), &mut *value).expect(FITS);
                black_box(&value);
            })
        }
        [a, b] if data.is_empty() && a.ndim() == 0 && b.ndim() == 0 => {
            let (a, b) = (&a[[]], &b[[]]);
            Box::new(move || {
                program.call_into(ws, black_box(&(a, b)), &(), &mut *value).expect(FITS);
                black_box(&value);
            })
        }
        _ => Box::new(move || {
            program.call_into(ws, black_box(params), data, &mut *value).expect(FITS);
            black_box(&value);
        }),
    }
}

/// Where results go.
struct Place<T> {
    value: T,
    grads: Vec<ArrayD<T>>,
}

impl<T: Real> Place<T> {
    fn new(params: &[ArrayD<T>]) -> Self {
        let nan = T::of(f64::NAN);
        Self { value: nan, grads: params.iter().map(|p| p.map(|_| nan)).collect() }
    }
}

/// With the time of each stage.
type Staged = (Program, Vec<(&'static str, f64)>);

fn traced(
    workload: &Workload,
) -> Result<Traced<Vec<Spec>, Vec<Spec>, Spec>, backstitch::TraceError> {
    let (params, data) = workload.specs();
    trace(params, data, |t, p, d| (workload.loss)(t, &p, &d))
}

fn compile(workload: &Workload, options: &Options) -> Result<Staged, backstitch::Error> {
    staged(options, || traced(workload))
}

fn compile_forward(workload: &Workload) -> Result<Forward, backstitch::Error> {
    traced(workload)?.compile()
}

fn staged(
    options: &Options,
    trace: impl FnOnce() -> Result<Traced<Vec<Spec>, Vec<Spec>, Spec>, backstitch::TraceError>,
) -> Result<Staged, backstitch::Error> {
    let mut stages = vec![];
    let mut start = Instant::now();
    let mut stage = |name| {
        stages.push((name, ms(start.elapsed())));
        start = Instant::now();
    };
    let traced = trace()?;
    stage("trace");
    let traced = traced.value_and_grad()?;
    stage("differentiate");
    let program = traced.compile_with(options)?;
    stage("compile");
    stages.extend(program.pass_times().iter().map(|&(name, time)| (name, ms(time))));
    Ok((program, stages))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A program, and how long it took to make, several times.
struct Compilation {
    program: Program,
    stages: Vec<(&'static str, f64)>,
    first: f64,
    times: Times,
}

impl Compilation {
    /// Compiles several times, for at most about so long.
    fn of<E>(at_most: Duration, mut compile: impl FnMut() -> Result<Staged, E>) -> Result<Self, E> {
        let mut samples = vec![];
        let begin = Instant::now();
        loop {
            let start = Instant::now();
            let (program, stages) = compile()?;
            samples.push(ms(start.elapsed()));
            if samples.len() == 20 || begin.elapsed() > at_most {
                let first = samples[0];
                return Ok(Self { program, stages, first, times: summary(samples) });
            }
        }
    }

    fn describe(&self, row: &mut Row, limits: Option<&Limits>, dtype: DType) {
        row.compile_ms = Some(self.times.median);
        row.first_compile_ms = Some(self.first);
        row.stages_ms.clone_from(&self.stages);
        row.describe(self.program.executable());
        row.bound(limits.map(|limits| limits.of(&self.program.explain(), dtype)));
    }
}

/// The value and all gradients, each operation at once.
fn run_eagerly(workload: &Workload, params: &[Array], data: &[Array]) -> (Array, Vec<Array>) {
    let t = Trace::eager();
    let params: Vec<Tensor<'_>> = params.iter().map(|p| t.variable(p.clone())).collect();
    let data: Vec<Tensor<'_>> = data.iter().map(|d| t.constant(d.clone())).collect();
    let tape = t.tape();
    let loss = (workload.loss)(&t, &params, &data);
    let grads = tape.gradient(&loss, &params).or_zeros();
    let read = |x: Tensor<'_>| x.array().expect("a value");
    (read(loss), grads.into_iter().map(read).collect())
}

/// A chain of scalar operations, which is about compiling.
pub fn chain(
    name: &'static str,
    length: usize,
    args: &Args,
    limits: Option<&Limits>,
) -> Result<Row, String> {
    let compile = || {
        let spec = vec![Spec::f64([])];
        staged(&args.options(), || {
            trace(spec, Vec::new(), |_, p: Vec<Tensor<'_>>, _| chained(p[0], length))
        })
    };
    let compilation = Compilation::of(args.each(), compile).map_err(|e| format!("{name}: {e}"))?;
    let program = &compilation.program;
    let mut ws = program.workspace().map_err(|e| format!("{name}: {e}"))?;
    let params = vec![ArrayD::from_elem(vec![], 0.3)];
    let mut place = Place::new(&params);
    let call = caller(program, &mut ws, &params, &[], &mut place);
    let times = measure(&mut [Contender { name: "compiled", call }], args.each());
    let results = Results::new(place.value, [("x", &place.grads[0])]);
    let mut row = Row::new(name, "compiled", "f64", times[0], results);
    compilation.describe(&mut row, limits, DType::F64);
    Ok(row)
}
