//! The reference interpreter of graphs: the meaning of a program.
//!
//! Slow and obvious; what every other way to run a program is compared with.

use std::sync::Arc;

use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::index::IndexVec;
use crate::routine::{self, Raised};

/// A value at run time: an array, or a stack of such.
#[derive(Clone, Debug)]
pub enum Datum {
    /// An array.
    Array(Array),
    /// What a loop pushed, first to last.
    Stack(Arc<[Self]>),
}

impl Datum {
    /// The array.
    ///
    /// # Panics
    /// On a stack; verified graphs use stacks as operands of control flow only.
    pub fn array(&self) -> &Array {
        match self {
            Self::Array(a) => a,
            Self::Stack(_) => panic!("a stack used as an array"),
        }
    }

    /// The entries.
    ///
    /// # Panics
    /// On an array.
    pub fn stack(&self) -> &[Self] {
        match self {
            Self::Stack(s) => s,
            Self::Array(_) => panic!("an array used as a stack"),
        }
    }
}

impl From<Array> for Datum {
    fn from(a: Array) -> Self {
        Self::Array(a)
    }
}

/// The outputs of a graph for these inputs, one for each and of its type. Faults
/// of routines are [raised](routine::raise).
pub fn eval(g: &Graph, inputs: &[Datum]) -> Vec<Datum> {
    let mut env: IndexVec<Value, Option<Datum>> = IndexVec::filled(None, g.value_count());
    for (&v, x) in g.inputs().iter().zip(inputs) {
        env[v] = Some(x.clone());
    }
    for n in g.nodes() {
        if g.op(n).is_input() {
            continue;
        }
        let results = {
            let args = g.args(n);
            let args: Vec<&Datum> =
                args.iter().map(|&a| env[a].as_ref().expect("operands come first")).collect();
            let (results, raised) = routine::watch(|| g.op(n).eval(&args));
            if let Some(raised) = raised {
                let place = raised.place.or(g.origin(n).place);
                routine::raise(Raised { place, ..raised });
            }
            results
        };
        for (v, x) in g.results(n).into_iter().zip(results) {
            env[v] = Some(x);
        }
    }
    g.outputs().iter().map(|&v| env[v].clone().expect("outputs are computed")).collect()
}

/// The outputs of a graph whose inputs and outputs are arrays.
pub fn eval_arrays(g: &Graph, inputs: &[Array]) -> Vec<Array> {
    let inputs: Vec<Datum> = inputs.iter().cloned().map(Datum::Array).collect();
    eval(g, &inputs).iter().map(|d| d.array().clone()).collect()
}
