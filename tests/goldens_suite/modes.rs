//! The ways to run a program of the files.
//!
//! *Eager* and *taped* share one function, [`differentiate`]: the tape that gives
//! derivatives in eager mode gives them inside a program that is compiled.
//! *Transformed* has no tape: the program is traced and then differentiated.
//!
//! A derivative with respect to a node is one with respect to something that is
//! added to its result. Tapes take results themselves as sources, but to them two
//! nodes that compute the same are one, and a second derivative follows uses of a
//! result in the first one too.

use std::time::{Duration, Instant};

use backstitch::ir::Graph;
use backstitch::passes::prepare;
use backstitch::prelude::*;
use backstitch::runtime::Stats;
use backstitch::{Array, Error, Gradient, Options, Status, specs};

use super::interpret::{Values, run, run_moved};
use super::program::{Literal, Program, Ref};

/// All that a program is asked for, as tensors, types or arrays.
#[derive(Tree, Clone)]
pub struct Results<T> {
    /// Its outputs.
    pub outputs: Vec<T>,
    /// The gradient with respect to each source, where there is one.
    pub gradients: Vec<Option<T>>,
    /// How each source is connected.
    #[tree(skip)]
    pub statuses: Vec<Status>,
    /// How each target moves along the tangents.
    pub jvp: Vec<Option<T>>,
    /// Second derivatives times the vectors, for each source.
    pub hvp: Vec<Option<T>>,
    /// A row for each target, a block for each source.
    pub jacobian: Vec<Vec<Option<T>>>,
    /// A row and a column for each source.
    pub hessian: Vec<Vec<Option<T>>>,
}

/// A program's arguments beside its inputs: what sources are moved by, weights of
/// the targets, and directions.
#[derive(Tree, Clone)]
pub struct Extra<T> {
    /// Zeros, to be added to sources that are nodes.
    moved: Vec<T>,
    /// One for each target.
    cotangents: Vec<T>,
    /// One for each source, if the targets' tangents are asked for.
    pub tangents: Vec<T>,
    /// One for each source, if second derivatives are asked for.
    pub vectors: Vec<T>,
}

/// Runs a program with a tape.
fn differentiate<'t>(
    t: &'t Trace,
    program: &Program,
    inputs: &[Tensor<'t>],
    extra: &Extra<Tensor<'t>>,
) -> Results<Tensor<'t>> {
    let floats = inputs.iter().chain(&extra.moved).copied().filter(|x| x.dtype().is_float());
    let floats: Vec<Tensor<'t>> = floats.collect();
    let outer = t.tape().persistent();
    outer.watch(&(&floats, &extra.cotangents));
    let inner = t.tape().persistent();
    inner.watch(&floats);

    let moved: Vec<_> = moved(program).zip(extra.moved.iter().copied()).collect();
    let values = run_moved(t, &program.body, inputs, &moved);
    let source = |&name: &Ref| {
        let by = moved.iter().find(|(node, _)| *node == name);
        by.map_or_else(|| values.get(name), |&(_, by)| by)
    };
    let sources: Vec<Tensor<'t>> = program.sources().iter().map(source).collect();
    let targets = values.all(program.targets());
    let gradients = inner.gradient_with(&targets, &extra.cotangents, &sources);
    let found = |gradients: Vec<Gradient<'t>>| gradients.iter().map(Gradient::value).collect();
    // The sum of all gradients, each multiplied with its direction.
    let along = |directions: &[Tensor<'t>]| {
        let each = gradients.iter().zip(directions);
        let products = each.filter_map(|(g, &v)| Some((g.value()? * v).sum()));
        products.reduce(|a, b| a + b).into_iter().collect::<Vec<_>>()
    };
    let jvp = match extra.tangents.is_empty() {
        true => Vec::new(),
        // The gradient is linear in the cotangents: its slope is the other mode.
        false => found(outer.gradient(&along(&extra.tangents), &extra.cotangents)),
    };
    let hvp = match extra.vectors.is_empty() {
        true => Vec::new(),
        false => found(outer.gradient(&along(&extra.vectors), &sources)),
    };
    let row = |target: &Tensor<'t>| found(outer.jacobian(target, &sources));
    let jacobian = if program.jacobian { targets.iter().map(row).collect() } else { Vec::new() };
    let missing = || vec![None; sources.len()];
    let hessian = match program.hessian {
        true => gradients.iter().map(|g| g.value().map_or_else(missing, |g| row(&g))).collect(),
        false => Vec::new(),
    };
    Results {
        outputs: values.all(&program.body.outputs),
        statuses: gradients.iter().map(|g| g.status().clone()).collect(),
        gradients: found(gradients),
        jvp,
        hvp,
        jacobian,
        hessian,
    }
}

/// The nodes among the sources to whose results something is added.
fn moved(program: &Program) -> impl Iterator<Item = Ref> {
    program.sources().iter().copied().filter(|name| matches!(name, Ref::Node(..)))
}

/// Each operation at once, on ndarray.
pub fn eager(program: &Program) -> Result<Results<Array>, Error> {
    eager_at(program, &arrays(&program.inputs), &Extra::of(program)?)
}

/// The same with other arguments than the file says.
pub fn eager_at(
    program: &Program,
    inputs: &[Array],
    extra: &Extra<Array>,
) -> Result<Results<Array>, Error> {
    let t = Trace::eager();
    let mut place = |a: &Array| t.constant(a.clone());
    let inputs: Vec<Tensor<'_>> = inputs.iter().map(&mut place).collect();
    let extra = extra.map_leaves(&mut place);
    let results = differentiate(&t, program, &inputs, &extra);
    t.check()?;
    let computed = results.leaves().into_iter().map(|x| x.array());
    let mut computed = computed.collect::<Result<Vec<Array>, _>>()?.into_iter();
    Ok(results.map_leaves(&mut |_| computed.next().expect("one array per result")))
}

/// Compiled, with the tape inside. Cotangents are data: so is then every gradient,
/// also those that are the same wherever they are taken. Sources that are nodes are
/// the tape's own, which is enough for first derivatives.
pub fn taped(program: &Program) -> Result<Results<Array>, Error> {
    let inputs = arrays(&program.inputs);
    let mut extra = Extra::of(program)?;
    extra.moved.clear();
    let mut spec = |a: &Array| Spec::from(a.ty());
    let traced = trace_tree(specs(&inputs), extra.map_leaves(&mut spec), |t, inputs, extra| {
        t.outputs(&differentiate(t, program, &inputs, &extra))
    })?;
    traced.compile()?.call(&inputs, &extra)
}

/// How targets and gradients were compiled.
pub struct Compilation {
    /// How long it took, from the trace.
    pub time: Duration,
    /// What came of it.
    pub stats: Stats,
}

/// Traced, transformed and compiled.
pub fn transformed(
    program: &Program,
    options: &Options,
) -> Result<(Results<Array>, Compilation), Error> {
    // Sources are parameters, all other inputs are data.
    let all = arrays(&program.inputs);
    let (params, others) = parameters(program, &all)?;
    let data: Vec<Array> = others.iter().map(|&k| all[k].clone()).collect();
    let traced = |results: &[Ref]| {
        trace_tree(specs(&params), specs(&data), |t, params, data| {
            t.outputs(&values_of(t, program, &others, params, data).all(results))
        })
    };
    let extra = Extra::of(program)?;
    let targets = program.targets();
    let begun = Instant::now();
    let differentiable = traced(targets)?;
    let is_scalar =
        differentiable.outputs().len() == 1 && differentiable.outputs()[0].dims().is_empty();
    let plain = program.grad.as_ref().is_none_or(|grad| grad.cotangent.is_none());
    let (compilation, found, gradients);
    if is_scalar && plain {
        let gradient = differentiable.value_and_grad()?;
        let compiled = gradient.compile_with(options)?;
        let time = begun.elapsed();
        compilation = Compilation { time, stats: compiled.executable().stats() };
        check_workspace(gradient.graph(), options);
        (found, gradients) = compiled.call(&params, &data)?;
    } else {
        let gradient = differentiable.vjp()?;
        let compiled = gradient.compile_with(options)?;
        let time = begun.elapsed();
        compilation = Compilation { time, stats: compiled.executable().stats() };
        check_workspace(gradient.graph(), options);
        (found, gradients) = compiled.call(&params, &(&data, &extra.cotangents))?;
    }
    let statuses = differentiable.gradient_status();
    let there = gradients.into_iter().zip(&statuses);
    let there = there.map(|(g, s)| (!matches!(s, Status::Unconnected(_))).then_some(g));

    let mut results = Results {
        outputs: found,
        gradients: there.collect(),
        statuses: statuses.clone(),
        jvp: Vec::new(),
        hvp: Vec::new(),
        jacobian: Vec::new(),
        hessian: Vec::new(),
    };
    if program.body.outputs != targets {
        let outputs = traced(&program.body.outputs)?.compile_with(options)?;
        results.outputs = outputs.call(&params, &data)?;
    }
    let every = |all: Vec<Array>| all.into_iter().map(Some).collect::<Vec<_>>();
    let blocks = |all: Vec<Vec<Array>>| all.into_iter().map(every).collect();
    if program.jvp.is_some() {
        let jvp = differentiable.jvp()?.compile_with(options)?;
        results.jvp = every(jvp.call(&params, &(&data, &extra.tangents))?.1);
    }
    if program.jacobian {
        let jacobian = differentiable.jacobian()?.compile_with(options)?;
        results.jacobian = blocks(jacobian.call(&params, &data)?);
    }
    if program.hvp.is_none() && !program.hessian {
        return Ok((results, compilation));
    }
    let weighted = trace(specs(&params), specs(&data), |t, params, data| {
        let targets = values_of(t, program, &others, params, data).all(targets).into_iter();
        let terms = targets.zip(&extra.cotangents).map(|(x, c)| (x * t.constant(c.clone())).sum());
        terms.reduce(|a, b| a + b).expect("there is a target")
    })?;
    if program.hvp.is_some() {
        let hvp = weighted.hvp()?.compile_with(options)?;
        results.hvp = every(hvp.call(&params, &(&data, &extra.vectors))?);
    }
    if program.hessian {
        let hessian = weighted.hessian()?.compile_with(options)?;
        results.hessian = blocks(hessian.call(&params, &data)?);
    }
    Ok((results, compilation))
}

/// The workspace is hardly larger than what is in it at once.
fn check_workspace(g: &Graph, options: &Options) {
    let lowered = prepare(g, &options.passes).lowered;
    let (bytes, least) = (lowered.plan.arena_bytes, lowered.padded_bytes);
    assert!(bytes as f64 <= 1.2 * least as f64, "a workspace of {bytes} bytes for {least}");
}

/// A parameter for each source (zeros, to be added, for a node), and which inputs
/// are no sources.
fn parameters(program: &Program, inputs: &[Array]) -> Result<(Vec<Array>, Vec<usize>), Error> {
    let sources = program.sources();
    let others = (0..inputs.len()).filter(|&k| !sources.contains(&Ref::Input(k))).collect();
    let t = Trace::eager();
    let mut values = None;
    let array = |name: &Ref| match *name {
        Ref::Input(k) => Ok(inputs[k].clone()),
        node => values.get_or_insert_with(|| forward(&t, program)).get(node).zeros_like().array(),
    };
    Ok((sources.iter().map(array).collect::<Result<_, _>>()?, others))
}

/// The values of a program whose inputs are parameters and data.
fn values_of<'t>(
    t: &'t Trace,
    program: &Program,
    others: &[usize],
    params: Vec<Tensor<'t>>,
    data: Vec<Tensor<'t>>,
) -> Values<'t> {
    let mut inputs = vec![None; program.inputs.len()];
    let mut moved = Vec::new();
    for (&name, x) in program.sources().iter().zip(params) {
        match name {
            Ref::Input(k) => inputs[k] = Some(x),
            Ref::Node(..) => moved.push((name, x)),
        }
    }
    others.iter().zip(data).for_each(|(&k, x)| inputs[k] = Some(x));
    let inputs: Vec<Tensor<'t>> = inputs.into_iter().flatten().collect();
    run_moved(t, &program.body, &inputs, &moved)
}

impl Extra<Array> {
    /// What the file says, or zeros that sources are moved by, and ones that targets
    /// are weighted with.
    pub fn of(program: &Program) -> Result<Self, Error> {
        let t = Trace::eager();
        let mut values = None;
        let mut value = |name| values.get_or_insert_with(|| forward(&t, program)).get(name);
        let mut moving = Vec::new();
        for name in moved(program) {
            moving.push(value(name).zeros_like().array()?);
        }
        let mut ones = Vec::new();
        let given = program.grad.as_ref().and_then(|grad| grad.cotangent.as_ref());
        for &name in program.targets().iter().filter(|_| given.is_none()) {
            ones.push(value(name).ones_like().array()?);
        }
        Ok(Self {
            moved: moving,
            cotangents: given.map_or(ones, |given| arrays(given.all())),
            tangents: program.jvp.as_ref().map_or(Vec::new(), |jvp| arrays(&jvp.tangents)),
            vectors: program.hvp.as_ref().map_or(Vec::new(), |hvp| arrays(&hvp.vectors)),
        })
    }
}

/// The values of a program in eager mode.
fn forward<'t>(t: &'t Trace, program: &Program) -> Values<'t> {
    let inputs: Vec<Tensor<'t>> =
        program.inputs.iter().map(|literal| t.constant(literal.array())).collect();
    run(t, &program.body, &inputs)
}

/// The arrays of a file.
pub fn arrays(literals: &[Literal]) -> Vec<Array> {
    literals.iter().map(Literal::array).collect()
}
