//! The ways to run a program of the file.
//!
//! *Eager* and *compiled* share one function, [`differentiate`]: the tape that
//! gives gradients in eager mode gives them inside a program that is compiled.
//! *Transformed* has no tape: the program is traced and then differentiated.

use backstitch::prelude::*;
use backstitch::{Array, Error, Gradient, Status, specs};

use super::golden::{Literal, Ref, Seed};
use super::interpret;

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
    /// A row for each target, a block for each source.
    pub jacobian: Vec<Vec<Option<T>>>,
    /// A row and a column for each source.
    pub hessian: Vec<Vec<Option<T>>>,
}

/// Runs a program with a tape.
fn differentiate<'t>(
    t: &'t Trace,
    seed: &Seed,
    inputs: &[Tensor<'t>],
    cotangents: Option<&Vec<Tensor<'t>>>,
) -> Results<Tensor<'t>> {
    let outer = t.tape().persistent();
    outer.watch(&inputs.to_vec());
    let inner = t.tape().persistent();
    inner.watch(&inputs.to_vec());
    let values = interpret::run(t, &seed.body, inputs);
    let sources = values.all(&seed.grad.wrt);
    let targets = values.all(seed.grad.target.all());
    let gradients = match cotangents {
        None => inner.gradient(&targets, &sources),
        Some(cotangents) => inner.gradient_with(&targets, cotangents, &sources),
    };
    let found = |gradients: Vec<Gradient<'t>>| gradients.iter().map(Gradient::value).collect();
    let row = |target: &Tensor<'t>| found(outer.jacobian(target, &sources));
    let jacobian = if seed.jacobian { targets.iter().map(row).collect() } else { Vec::new() };
    let connected = gradients.iter().filter_map(Gradient::value);
    let hessian =
        if seed.hessian { connected.map(|slope| row(&slope)).collect() } else { Vec::new() };
    Results {
        outputs: values.all(&seed.body.outputs),
        statuses: gradients.iter().map(|g| g.status().clone()).collect(),
        gradients: found(gradients),
        jacobian,
        hessian,
    }
}

/// Each operation at once, on ndarray.
pub fn eager(seed: &Seed) -> Result<Results<Array>, Error> {
    let t = Trace::eager();
    let inputs: Vec<Tensor<'_>> = arrays(&seed.inputs).into_iter().map(|a| t.constant(a)).collect();
    let cotangents = seed.grad.cotangent.as_ref().map(|c| arrays([c]));
    let cotangents =
        cotangents.map(|all| all.into_iter().map(|a| t.constant(a)).collect::<Vec<_>>());
    let results = differentiate(&t, seed, &inputs, cotangents.as_ref());
    let computed = results.leaves().into_iter().map(|x| x.array());
    let mut computed = computed.collect::<Result<Vec<Array>, _>>()?.into_iter();
    Ok(results.map_leaves(&mut |_| computed.next().expect("one array per result")))
}

/// Compiled, with the tape inside. Cotangents are data: so is then every gradient,
/// also those that are the same wherever they are taken.
pub fn compiled(seed: &Seed) -> Result<Results<Array>, Error> {
    let inputs = arrays(&seed.inputs);
    let cotangents = cotangents(seed)?;
    let program = trace_tree(specs(&inputs), specs(&cotangents), |t, inputs, cotangents| {
        t.outputs(&differentiate(t, seed, &inputs, Some(&cotangents)))
    })?;
    program.compile()?.call(&inputs, &cotangents)
}

/// Traced, transformed and compiled; `None` if a source is no input, which is what
/// tapes are for.
pub fn transformed(seed: &Seed) -> Option<Result<Results<Array>, Error>> {
    let input = |name: &Ref| match name {
        Ref::Input(k) => Some(*k),
        Ref::Node(..) => None,
    };
    let sources: Vec<usize> = seed.grad.wrt.iter().map(input).collect::<Option<_>>()?;
    Some(transformed_by(seed, &sources))
}

fn transformed_by(seed: &Seed, sources: &[usize]) -> Result<Results<Array>, Error> {
    // Sources are parameters, all other inputs are data.
    let all = arrays(&seed.inputs);
    let others: Vec<usize> = (0..all.len()).filter(|k| !sources.contains(k)).collect();
    let pick = |which: &[usize]| -> Vec<Array> { which.iter().map(|&k| all[k].clone()).collect() };
    let (params, data) = (pick(sources), pick(&others));
    let program = |results: &[Ref]| {
        trace_tree(specs(&params), specs(&data), |t, params, data| {
            let mut inputs = vec![None; all.len()];
            let given = params.into_iter().chain(data);
            for (&k, x) in sources.iter().chain(&others).zip(given) {
                inputs[k] = Some(x);
            }
            let inputs: Vec<Tensor<'_>> = inputs.into_iter().flatten().collect();
            t.outputs(&interpret::run(t, &seed.body, &inputs).all(results))
        })
    };
    let outputs = program(&seed.body.outputs)?.compile()?.call(&params, &data)?;
    let targets = program(seed.grad.target.all())?;
    let statuses = targets.gradient_status();
    let is_scalar = targets.outputs().len() == 1 && targets.outputs()[0].dims().is_empty();
    let gradients = if is_scalar && seed.grad.cotangent.is_none() {
        targets.value_and_grad()?.compile()?.call(&params, &data)?.1
    } else {
        targets.vjp()?.compile()?.call(&params, &(&data, cotangents(seed)?))?.1
    };
    let there = gradients.into_iter().zip(&statuses);
    let gradients = there.map(|(g, s)| (!matches!(s, Status::Unconnected(_))).then_some(g));
    let gradients = gradients.collect();
    let blocks = |all: Vec<Vec<Array>>| {
        all.into_iter().map(|row| row.into_iter().map(Some).collect()).collect()
    };
    let mut results =
        Results { outputs, gradients, statuses, jacobian: Vec::new(), hessian: Vec::new() };
    if seed.jacobian {
        results.jacobian = blocks(targets.jacobian()?.compile()?.call(&params, &data)?);
    }
    if seed.hessian {
        results.hessian = blocks(targets.hessian()?.compile()?.call(&params, &data)?);
    }
    Ok(results)
}

/// What each target is weighted with: what the file says, or ones.
fn cotangents(seed: &Seed) -> Result<Vec<Array>, Error> {
    if let Some(cotangent) = &seed.grad.cotangent {
        return Ok(arrays([cotangent]));
    }
    let t = Trace::eager();
    let inputs: Vec<Tensor<'_>> = arrays(&seed.inputs).into_iter().map(|a| t.constant(a)).collect();
    let targets = interpret::run(&t, &seed.body, &inputs).all(seed.grad.target.all());
    let ones = targets.iter().map(|x| x.ones_like().array());
    Ok(ones.collect::<Result<_, _>>()?)
}

fn arrays<'a>(literals: impl IntoIterator<Item = &'a Literal>) -> Vec<Array> {
    let array = |literal: &Literal| literal.array().expect("as many elements as the shape has");
    literals.into_iter().map(array).collect()
}
