//! Loops, with stacks between a loop and its reverse.
//!
//! ```text
//! c = c0
//! while cond(c, k)  (or: count times; or: once per entry of the first stack) {
//!     (c, push…) = body(c, k, pop…)
//! }
//! ```
//!
//! Operands: the trip count (only for [`Trip::Count`]), the initial carries `c`,
//! the constants `k`, and the stacks to pop from. Results: the final carries and
//! the stacks that were pushed to. A loop pushes one entry per iteration to each
//! stack it makes, and pops one entry per iteration, the last first, from each
//! stack it is given. So the reverse of a loop is a loop: the adjoint of a push
//! is a pop, the adjoint of a pop is a push.

use std::sync::Arc;

use crate::eval::{self, Datum};
use crate::graph::{Graph, Value};
use crate::op::{TypeError, Types, mistake};
use crate::ty::{DType, Type};

/// When a loop ends.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Trip {
    /// When this graph of carries and constants gives false.
    While(Arc<Graph>),
    /// After as many iterations as the first operand says; negative is none.
    Count,
    /// When the first of the stacks that it pops is used up.
    Entries,
}

/// Whether the iterations of a loop are written out one after the other: a hint to the
/// passes, which changes no result.
///
/// A loop stays as it is where more than 2¹⁸ operations would come of it, whatever it
/// asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Unroll {
    /// As the options of the pipeline say.
    #[default]
    Auto,
    /// Not at all.
    Never,
    /// All of them, if their number is known.
    Fully,
    /// All of them, if their number is known and at most this many operations come of it.
    UpTo(usize),
    /// So many per iteration of a loop that is left, if the loop counts; the rest of them
    /// behind it. 0 and 1 leave the loop as it is.
    By(usize),
}

/// A loop.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Loop {
    /// When it ends.
    pub trip: Trip,
    /// One iteration: from carries, constants and popped entries to carries and
    /// pushed entries.
    pub body: Arc<Graph>,
    /// Number of carries.
    pub carries: usize,
    /// Number of constants: values from outside that do not change.
    pub consts: usize,
    /// Number of stacks to pop from.
    pub pops: usize,
    /// Whether it is written out.
    pub unroll: Unroll,
}

impl Loop {
    /// Name in text.
    pub const NAME: &'static str = "loop";

    /// Number of stacks made.
    pub fn pushes(&self) -> usize {
        self.body.outputs().len() - self.carries
    }

    /// How often it runs on these operands, if its count is a constant.
    pub fn trips(&self, g: &Graph, args: &[Value]) -> Option<usize> {
        if self.trip != Trip::Count {
            return None;
        }
        let count = g.as_splat(args[0])?;
        usize::try_from((count.bits as i64).max(0)).ok()
    }

    /// Number of operands before the carries.
    pub fn lead(&self) -> usize {
        usize::from(self.trip == Trip::Count)
    }

    /// Types of the results.
    ///
    /// # Errors
    /// If the operands do not fit, or a carry changes its type.
    pub fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        let body = &*self.body;
        let wrong = |expected: String| Err(mistake(Self::NAME, expected, args));
        let takes: Vec<&Type> = body.inputs().iter().map(|&v| body.ty(v)).collect();
        let gives: Vec<&Type> = body.outputs().iter().map(|&v| body.ty(v)).collect();
        let steady = self.carries + self.consts;
        if self.trip == Trip::Entries && self.pops == 0 {
            return wrong("a stack to pop from".into());
        }
        if takes.len() != steady + self.pops || gives.len() < self.carries {
            return wrong("a body of as many carries, constants and stacks".into());
        }
        for i in 0..self.carries {
            if takes[i] != gives[i] {
                return wrong(format!(
                    "carry {i} to stay {}, the body gives {}",
                    takes[i], gives[i]
                ));
            }
        }
        let mut wanted: Vec<Type> = Vec::with_capacity(args.len());
        match &self.trip {
            Trip::Count => wanted.push(Type::scalar(DType::I64)),
            Trip::Entries => {}
            Trip::While(cond) => {
                let takes_too = cond.inputs().iter().map(|&v| cond.ty(v));
                let [pred] = cond.outputs() else { return wrong("one predicate".into()) };
                if !takes_too.eq(takes[..steady].iter().copied())
                    || *cond.ty(*pred) != Type::scalar(DType::Bool)
                {
                    return wrong("a predicate of carries and constants, bool[]".into());
                }
            }
        }
        wanted.extend(takes[..steady].iter().map(|&t| t.clone()));
        wanted.extend(takes[steady..].iter().map(|t| t.stacked()));
        if !wanted.iter().eq(args.iter().copied()) {
            return wrong(format!("{wanted:?}"));
        }
        let carries = gives[..self.carries].iter().map(|&t| t.clone());
        Ok(carries.chain(gives[self.carries..].iter().map(|t| t.stacked())).collect())
    }

    /// What it means.
    pub fn eval(&self, args: &[&Datum]) -> Vec<Datum> {
        let lead = self.lead();
        let (carried, rest) = args[lead..].split_at(self.carries);
        let (consts, stacks) = rest.split_at(self.consts);
        let mut carries: Vec<Datum> = carried.iter().map(|&d| d.clone()).collect();
        let consts: Vec<Datum> = consts.iter().map(|&d| d.clone()).collect();
        let mut stacks: Vec<&[Datum]> = stacks.iter().map(|d| d.stack()).collect();
        let mut pushed: Vec<Vec<Datum>> = vec![Vec::new(); self.pushes()];
        let steady = |carries: &[Datum]| [carries, &consts].concat();
        let mut left = match &self.trip {
            Trip::Count => args[0].array().item::<i64>().expect("loop: count was type-checked"),
            Trip::While(_) => i64::MAX,
            Trip::Entries => stacks[0].len() as i64,
        };
        while left > 0
            && match &self.trip {
                Trip::Count | Trip::Entries => true,
                Trip::While(cond) => {
                    let pred = &eval::eval(cond, &steady(&carries))[0];
                    pred.array().item::<bool>().expect("loop: predicate was type-checked")
                }
            }
        {
            let mut inputs = steady(&carries);
            for s in &mut stacks {
                let (last, rest) = s.split_last().expect("loop: one entry per iteration");
                inputs.push(last.clone());
                *s = rest;
            }
            let mut outputs = eval::eval(&self.body, &inputs);
            for (p, d) in pushed.iter_mut().zip(outputs.drain(self.carries..)) {
                p.push(d);
            }
            carries = outputs;
            left -= 1;
        }
        carries.extend(pushed.into_iter().map(|p| Datum::Stack(p.into())));
        carries
    }
}
