//! Programs of the file through the public API, node by node.
//!
//! In eager mode loops and branches are Rust's own `while` and `if` on values; in a
//! program that is compiled they are `while_loop` and `cond`.

use backstitch::{Array, Tensor, Trace};

use super::golden::{Arg, Body, Node, Op, Over, Ref};

/// All values of a program.
pub struct Values<'t> {
    inputs: Vec<Tensor<'t>>,
    nodes: Vec<Vec<Tensor<'t>>>,
}

/// Runs the nodes of a program on these inputs. A mistake is told by
/// [`Trace::check`].
pub fn run<'t>(t: &'t Trace, body: &Body, inputs: &[Tensor<'t>]) -> Values<'t> {
    let mut values = Values { inputs: inputs.to_vec(), nodes: Vec::new() };
    for Node { op, args } in &body.nodes {
        let args: Vec<Tensor<'t>> = args.iter().map(|arg| values.arg(t, arg)).collect();
        let results = node(t, op, &args);
        values.nodes.push(results);
    }
    values
}

impl<'t> Values<'t> {
    /// A value by its name.
    pub fn get(&self, name: Ref) -> Tensor<'t> {
        match name {
            Ref::Input(k) => self.inputs[k],
            Ref::Node(k, j) => self.nodes[k][j],
        }
    }

    /// Values by their names.
    pub fn all(&self, names: &[Ref]) -> Vec<Tensor<'t>> {
        names.iter().map(|&name| self.get(name)).collect()
    }

    fn arg(&self, t: &'t Trace, arg: &Arg) -> Tensor<'t> {
        match *arg {
            Arg::Ref(name) => self.get(name),
            Arg::Const { r#const, dtype } => t.constant(Array::from(r#const)).cast(dtype.into()),
        }
    }
}

/// The results of a body.
fn call<'t>(t: &'t Trace, body: &Body, inputs: &[Tensor<'t>]) -> Vec<Tensor<'t>> {
    run(t, body, inputs).all(&body.outputs)
}

fn node<'t>(t: &'t Trace, op: &Op, args: &[Tensor<'t>]) -> Vec<Tensor<'t>> {
    let x = args[0];
    let one = match op {
        Op::Add {} => x + args[1],
        Op::Sub {} => x - args[1],
        Op::Mul {} => x * args[1],
        Op::Pow {} => x.pow(args[1]),
        Op::Lt {} => x.lt(args[1]),
        Op::Gt {} => x.gt(args[1]),
        Op::Matmul {} => x.matmul(args[1]),
        Op::Tensordot { axes: [left, right] } => x.tensordot(args[1], left, right),
        Op::Identity {} => x,
        Op::Square {} => x.square(),
        Op::Sigmoid {} => x.sigmoid(),
        Op::Relu {} => x.relu(),
        Op::StopGradient {} => x.stop_gradient(),
        Op::IntegerPow { n } => x.powi(*n),
        Op::Cast { dtype } => x.cast((*dtype).into()),
        Op::Sum(over) => reduce(over, |axes| x.sum_keep(axes), |axes| x.sum_over(axes)),
        Op::Mean(over) => reduce(over, |axes| x.mean_keep(axes), |axes| x.mean_over(axes)),
        Op::Norm(over) => reduce(over, |axes| x.norm_keep(axes), |axes| x.norm_over(axes)),
        Op::Index { axis, index } => x.index(*axis, *index),
        Op::Stack { axis } => t.stack(args, *axis),
        Op::While { cond, body } => return while_(t, cond, body, args),
        Op::Cond { then, r#else } => return cond(t, then, r#else, args),
    };
    vec![one]
}

fn reduce<'t>(
    over: &Over,
    keep: impl FnOnce(backstitch::Axes) -> Tensor<'t>,
    drop: impl FnOnce(backstitch::Axes) -> Tensor<'t>,
) -> Tensor<'t> {
    let axes = over.axes.as_ref().map_or(().into(), Into::into);
    if over.keepdims { keep(axes) } else { drop(axes) }
}

fn while_<'t>(t: &'t Trace, test: &Body, body: &Body, carry: &[Tensor<'t>]) -> Vec<Tensor<'t>> {
    if !t.is_eager() {
        return t.while_loop(
            carry.to_vec(),
            |carry| call(t, test, &carry)[0],
            |carry| call(t, body, &carry),
        );
    }
    let mut carry = carry.to_vec();
    while holds(call(t, test, &carry)[0]) {
        carry = call(t, body, &carry);
    }
    carry
}

fn cond<'t>(t: &'t Trace, then: &Body, other: &Body, args: &[Tensor<'t>]) -> Vec<Tensor<'t>> {
    let (predicate, args) = (args[0], &args[1..]);
    if !t.is_eager() {
        return t.cond(predicate, || call(t, then, args), || call(t, other, args));
    }
    if holds(predicate) { call(t, then, args) } else { call(t, other, args) }
}

/// Whether a value is true. The result of a mistake is not; the mistake itself is
/// kept by the trace.
fn holds(predicate: Tensor<'_>) -> bool {
    predicate.is_true().is_ok_and(|holds| holds)
}
