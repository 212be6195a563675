//! A part of a program that is differentiated by a rule of its own.
//!
//! * [`Rule::Checkpoint`]: what is kept of it for the reverse is said: its last results,
//!   or nothing. The rest is computed again from those and the operands. The adjoint of
//!   such a region is a region whose body runs forward and then backward, with
//!   [`Rule::Recompute`].
//! * [`Rule::Recompute`]: what a checkpoint became. Unlike the others it is not
//!   dissolved before lowering, or its forward part would be found to be there
//!   already and be kept after all.
//! * [`Rule::Custom`]: derivatives are what the rule says. Of two rules that are
//!   missing one, it is derived from the other: both are linear maps, one the
//!   transpose of the other.
//! * [`Rule::FixedPoint`]: the body finds `x = step(x, k)`; it is differentiated by what
//!   it finds, not by how.
//!
//! Checkpoints go back to A. Griewank, "Achieving logarithmic growth of temporal and
//! spatial complexity in reverse automatic differentiation", 1992.

use std::sync::Arc;

use crate::eval::{self, Datum};
use crate::graph::Graph;
use crate::op::{TypeError, Types, mistake};
use crate::ty::Type;

/// `body(x…)`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Region {
    /// What it computes.
    pub body: Arc<Graph>,
    /// How it is differentiated.
    pub rule: Rule,
}

/// How a region is differentiated.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// By its body, of which nothing is kept but some results.
    Checkpoint {
        /// Number of results, the last ones, that are there to be kept. Each is a
        /// value of the body that its adjoint may read.
        kept: usize,
    },
    /// By its body; it is itself the derivative of a checkpoint.
    Recompute,
    /// By graphs. Of the operands only the first `wrt` have derivatives, and of those
    /// only floats; of the results, floats.
    Custom {
        /// Number of operands with derivatives.
        wrt: usize,
        /// From the operands and the tangents of those with derivatives to the
        /// tangents of the results.
        jvp: Option<Arc<Graph>>,
        /// From the operands and the cotangents of the results to the cotangents of
        /// the operands with derivatives.
        vjp: Option<Arc<Graph>>,
    },
    /// By the implicit function theorem. The operands are where the body starts and what
    /// else the step takes; the results have the types of the former.
    FixedPoint(FixedPoint),
}

/// What the results of a region are a fixed point of.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FixedPoint {
    /// From results and the other operands to the same results.
    pub step: Arc<Graph>,
    /// The bits of the tolerance, an `f64`: up to which change of the results, in
    /// relation to the largest element, the derivative is iterated.
    pub tolerance: u64,
    /// How often it is iterated at most.
    pub limit: usize,
}

impl Region {
    /// Name in text.
    pub const NAME: &'static str = "region";

    /// The operands that a rule has derivatives for.
    pub fn with_derivative(&self) -> Vec<usize> {
        let all = self.body.inputs().len();
        let wrt = match self.rule {
            Rule::Custom { wrt, .. } => 0..wrt,
            Rule::FixedPoint(_) => self.body.outputs().len()..all,
            Rule::Checkpoint { .. } | Rule::Recompute => 0..all,
        };
        let float = |&i: &usize| self.body.ty(self.body.inputs()[i]).is_float();
        wrt.filter(float).collect()
    }

    /// The results that have tangents.
    pub fn float_results(&self) -> Vec<usize> {
        let float = |&i: &usize| self.body.ty(self.body.outputs()[i]).is_float();
        (0..self.body.outputs().len()).filter(float).collect()
    }

    /// Types of the results.
    ///
    /// # Errors
    /// If the operands are not those of the body, or a rule does not fit it.
    pub fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        let takes = types(&self.body, self.body.inputs());
        let gives = types(&self.body, self.body.outputs());
        if !takes.iter().eq(args.iter().copied()) {
            return Err(mistake(Self::NAME, format!("{takes:?}"), args));
        }
        if let Rule::FixedPoint(FixedPoint { step, .. }) = &self.rule {
            let fits = types(step, step.inputs()) == takes
                && types(step, step.outputs()) == gives
                && takes.starts_with(&gives)
                && gives.iter().all(Type::is_float);
            let expected = format!("a step from {takes:?} to {gives:?}, floats like the first");
            return if fits { Ok(gives.into()) } else { Err(mistake(Self::NAME, expected, args)) };
        }
        let Rule::Custom { wrt, jvp, vjp } = &self.rule else {
            let fits = !matches!(self.rule, Rule::Checkpoint { kept } if kept > gives.len());
            let expected = "a body with as many results as are kept";
            return if fits { Ok(gives.into()) } else { Err(mistake(Self::NAME, expected, args)) };
        };
        if *wrt > takes.len() || (jvp.is_none() && vjp.is_none()) {
            return Err(mistake(Self::NAME, "a rule for some of the operands", args));
        }
        let inner: Vec<Type> =
            self.with_derivative().into_iter().map(|i| takes[i].clone()).collect();
        let outer: Vec<Type> = self.float_results().into_iter().map(|i| gives[i].clone()).collect();
        for (name, rule, given, made) in
            [("jvp", jvp, &inner, &outer), ("vjp", vjp, &outer, &inner)]
        {
            let Some(rule) = rule else { continue };
            let wanted: Vec<Type> = takes.iter().chain(given).cloned().collect();
            let (from, to) = (types(rule, rule.inputs()), types(rule, rule.outputs()));
            if from != wanted || to != *made {
                let expected = format!(
                    "a {name} rule from {wanted:?} to {made:?}, not from {from:?} to {to:?}"
                );
                return Err(mistake(Self::NAME, expected, args));
            }
        }
        Ok(gives.into())
    }

    /// What it means.
    pub fn eval(&self, args: &[&Datum]) -> Vec<Datum> {
        let args: Vec<Datum> = args.iter().map(|&a| a.clone()).collect();
        eval::eval(&self.body, &args)
    }
}

fn types(g: &Graph, values: &[crate::Value]) -> Vec<Type> {
    values.iter().map(|&v| g.ty(v).clone()).collect()
}
