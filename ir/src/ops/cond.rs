//! A choice between two graphs.

use std::hash::Hash;
use std::sync::Arc;

use crate::eval::{self, Datum};
use crate::graph::Graph;
use crate::op::{TypeError, Types, mistake};
use crate::ty::{DType, Type};

/// `if pred { then(x…) } else { els(x…) }`. Operands: the predicate (rank-0
/// `bool`), then what both branches take. Results: what both branches give.
/// Only the branch taken is executed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cond {
    /// If the predicate holds.
    pub then: Arc<Graph>,
    /// If it does not.
    pub els: Arc<Graph>,
}

impl Cond {
    /// Name in text.
    pub const NAME: &'static str = "cond";

    /// Types of the results.
    ///
    /// # Errors
    /// If the operands are not those that both branches take.
    pub fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        let inputs = |g: &Graph| g.inputs().iter().map(|&v| g.ty(v).clone()).collect::<Vec<_>>();
        let outputs = |g: &Graph| g.outputs().iter().map(|&v| g.ty(v).clone()).collect::<Types>();
        let takes = inputs(&self.then);
        let fits = args.len() == takes.len() + 1
            && *args[0] == Type::scalar(DType::Bool)
            && args[1..].iter().zip(&takes).all(|(a, b)| *a == b)
            && inputs(&self.els) == takes;
        if !fits {
            let expected = format!("bool[] and {takes:?}, in both branches");
            return Err(mistake(Self::NAME, expected, args));
        }
        let (then, els) = (outputs(&self.then), outputs(&self.els));
        if then != els {
            let expected = format!("branches with the same results, not {then:?} and {els:?}");
            return Err(mistake(Self::NAME, expected, args));
        }
        Ok(then)
    }

    /// What it means.
    pub fn eval(&self, args: &[&Datum]) -> Vec<Datum> {
        let pred = args[0].array().item::<bool>().expect("cond: predicate was type-checked");
        let branch = if pred { &self.then } else { &self.els };
        let args: Vec<Datum> = args[1..].iter().map(|&a| a.clone()).collect();
        eval::eval(branch, &args)
    }
}
