//! One of two bodies.

use std::panic::Location;
use std::sync::Arc;

use backstitch_ir::{DType, Type, Value, ops};

use super::body::{Body, list, list_names, rebuild};
use crate::mistake::Problem;
use crate::tensor::Tensor;
use crate::trace::Trace;
use crate::tree::Tree;

impl Trace {
    /// One of two bodies, by a truth value known when the program runs. Only that
    /// body is executed, forwards and backwards. Both give trees of the same types.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(-2.0);
    /// let y = t.cond(x.gt(0.0), || x, || -x * 100.0);
    /// assert_eq!(y.item::<f64>()?, 200.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn cond<'t, A, B>(
        &'t self,
        predicate: Tensor<'t>,
        then: impl FnOnce() -> A,
        otherwise: impl FnOnce() -> B,
    ) -> A::With<Tensor<'t>>
    where
        A: Tree<Tensor<'t>>,
        B: Tree<Tensor<'t>>,
    {
        let place = Location::caller();
        let (left, results) = self.body("then", &[], &[], place, |_| then());
        let (right, others) = self.body("else", &[], &left.scope.captures, place, |_| otherwise());
        let names = [results.leaf_names(), others.leaf_names()];
        self.branch(predicate, (left, right), names, &results, place)
    }

    /// One of two bodies that are recorded; the names are those of their results.
    #[track_caller]
    pub(super) fn branch<'t, R: Tree<Tensor<'t>>>(
        &'t self,
        predicate: Tensor<'t>,
        (mut left, right): (Body, Body),
        [names, other_names]: [Vec<String>; 2],
        like: &R,
        place: &'static Location<'static>,
    ) -> R::With<Tensor<'t>> {
        let (ty, types) = (predicate.ty(), left.types.clone());
        if left.is_poisoned() || right.is_poisoned() {
            return self.guesses(like, &types, place);
        }
        let message = if ty != Type::scalar(DType::Bool) {
            let message = format!("expected one truth value to decide by, got {ty}");
            self.mistake("cond", Problem::Control, message, &[predicate], ty);
            return self.guesses(like, &types, place);
        } else if names != other_names {
            let (names, others) = (list_names(&names), list_names(&other_names));
            Some(format!("the branches give {names} and {others}"))
        } else if left.types != right.types {
            Some(format!("the branches give {} and {}", list(&left.types), list(&right.types)))
        } else {
            None
        };
        if let Some(message) = message {
            self.mistake("cond", Problem::Control, message, &[], ty);
            return self.guesses(like, &types, place);
        }
        // What only the other branch uses is an input of this one as well.
        let extra = &right.scope.captures[left.scope.captures.len()..];
        for &(_, inner) in extra {
            left.scope.graph.input(right.scope.graph.ty(inner).clone(), None);
        }
        let captured: Vec<Value> = right.scope.captures.iter().map(|c| c.0).collect();
        let op = ops::Cond { then: Arc::new(left.seal()), els: Arc::new(right.seal()) };
        rebuild(like, &self.finish(op.into(), &[predicate], &captured, &[], &types, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_branches_take_what_either_uses() {
        let t = Trace::eager();
        let (x, y) = (t.constant(2.0), t.constant(3.0));
        let z = t.cond(x.lt(y), || x * 10.0, || y * x);
        assert_eq!(z.item::<f64>().unwrap(), 20.0);
        let z = t.cond(x.gt(y), || x * 10.0, || y * x);
        assert_eq!(z.item::<f64>().unwrap(), 6.0);
    }
}
