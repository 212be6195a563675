//! Programs of the files through the public API, node by node.
//!
//! In eager mode loops and branches are Rust's own, on values; in a program that
//! is compiled they are the trace's.

use backstitch::{Array, Tensor, Trace};

use super::program::{Arg, Body, Ref};

/// All values of a program.
pub struct Values<'t> {
    inputs: Vec<Tensor<'t>>,
    nodes: Vec<Vec<Tensor<'t>>>,
}

/// Runs the nodes of a program on these inputs. A mistake is told by
/// [`Trace::check`].
pub fn run<'t>(t: &'t Trace, body: &Body, inputs: &[Tensor<'t>]) -> Values<'t> {
    run_moved(t, body, inputs, &[])
}

/// Runs the nodes of a program, with something added to some of their results.
pub fn run_moved<'t>(
    t: &'t Trace,
    body: &Body,
    inputs: &[Tensor<'t>],
    moved: &[(Ref, Tensor<'t>)],
) -> Values<'t> {
    let mut values = Values { inputs: inputs.to_vec(), nodes: Vec::new() };
    for (k, node) in body.nodes.iter().enumerate() {
        let args: Vec<Tensor<'t>> = node.args.iter().map(|arg| values.arg(t, arg)).collect();
        let mut results = node.op.apply(t, &args);
        for (j, result) in results.iter_mut().enumerate() {
            for &(_, by) in moved.iter().filter(|(name, _)| *name == Ref::Node(k, j)) {
                *result = *result + by;
            }
        }
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
        match arg {
            Arg::Ref(name) => self.get(*name),
            Arg::Const(constant) => t.constant(constant.array()),
        }
    }
}

/// The results of a body.
fn call<'t>(t: &'t Trace, body: &Body, inputs: &[Tensor<'t>]) -> Vec<Tensor<'t>> {
    run(t, body, inputs).all(&body.outputs)
}

/// One of two bodies.
pub fn cond<'t>(
    t: &'t Trace,
    (then, other): (&Body, &Body),
    predicate: Tensor<'t>,
    args: &[Tensor<'t>],
) -> Vec<Tensor<'t>> {
    if !t.is_eager() {
        return t.cond(predicate, || call(t, then, args), || call(t, other, args));
    }
    if holds(predicate) { call(t, then, args) } else { call(t, other, args) }
}

/// Repeats a body while another one says so.
pub fn while_loop<'t>(
    t: &'t Trace,
    (test, body): (&Body, &Body),
    carry: &[Tensor<'t>],
) -> Vec<Tensor<'t>> {
    let test = |carry: Vec<Tensor<'t>>| call(t, test, &carry)[0];
    let body = |carry: Vec<Tensor<'t>>| call(t, body, &carry);
    let mut carry = carry.to_vec();
    if !t.is_eager() {
        return t.while_loop(carry, test, body);
    }
    while holds(test(carry.clone())) {
        carry = body(carry);
    }
    carry
}

/// Repeats a body a number of times; it takes the number of repetitions before.
pub fn for_loop<'t>(
    t: &'t Trace,
    body: &Body,
    trips: i64,
    carry: &[Tensor<'t>],
) -> Vec<Tensor<'t>> {
    let body = |i: Tensor<'t>, carry: Vec<Tensor<'t>>| call(t, body, &[vec![i], carry].concat());
    let carry = carry.to_vec();
    if !t.is_eager() {
        return t.for_loop(trips, carry, body);
    }
    (0..trips).fold(carry, |carry, i| body(t.constant(Array::from(i)), carry))
}

/// Runs a body over rows; gives the last carries and the rows it gave.
pub fn scan<'t>(
    t: &'t Trace,
    body: &Body,
    (length, reverse): (usize, bool),
    carry: &[Tensor<'t>],
    rows: &[Tensor<'t>],
) -> Vec<Tensor<'t>> {
    let n = carry.len();
    let step = |carry: Vec<Tensor<'t>>, row: Vec<Tensor<'t>>| {
        let mut carry = call(t, body, &[carry, row].concat());
        let given = carry.split_off(n);
        (carry, given)
    };
    let (mut carry, rows) = (carry.to_vec(), rows.to_vec());
    if !t.is_eager() {
        let (carry, given) =
            if reverse { t.scan_back(carry, rows, step) } else { t.scan(carry, rows, step) };
        return [carry, given].concat();
    }
    let mut given = vec![Vec::new(); length];
    for i in 0..length {
        let i = if reverse { length - 1 - i } else { i };
        let row = rows.iter().map(|x| x.index(0, i as i64)).collect();
        (carry, given[i]) = step(carry, row);
    }
    let outputs = given[0].len();
    let column = |k: usize| given.iter().map(|row: &Vec<Tensor<'t>>| row[k]).collect::<Vec<_>>();
    carry.extend((0..outputs).map(|k| t.stack(column(k), 0)));
    carry
}

/// Whether a value is true. The result of a mistake is not; the mistake itself is
/// kept by the trace.
fn holds(predicate: Tensor<'_>) -> bool {
    predicate.is_true().is_ok_and(|holds| holds)
}
