//! The steps of a traced `if`.

use std::panic::Location;

use super::Never;
use super::carry::{copy, tensors};
use crate::control::Body;
use crate::tensor::Tensor;
use crate::trace::Trace;
use crate::tree::Tree;

/// Records a traced `if`, by its condition.
#[derive(Clone, Copy)]
pub struct Branching<'t>(pub(super) Tensor<'t>);

/// The branch that is recorded first, with the names of its results.
pub struct Half {
    body: Body,
    names: Vec<String>,
}

/// Steps of a traced `if` that carries or gives a `T`; in host mode, of any.
pub trait Branch<T>: Sized {
    /// Opens the first branch. What is carried twice: to be kept, and to go on with.
    fn open(self, carried: T) -> (T, T);
    /// Closes the first branch with its results and opens the second.
    fn turn(self, results: T) -> Half;
    /// What is carried, as it was before the first branch.
    fn again(self, kept: &T) -> T;
    /// Closes the second branch; the results of the one or the other.
    fn close(self, first: Half, results: T) -> T;
}

impl<T> Branch<T> for Never {
    fn open(self, _: T) -> (T, T) {
        match self {}
    }
    fn turn(self, _: T) -> Half {
        match self {}
    }
    fn again(self, _: &T) -> T {
        match self {}
    }
    fn close(self, _: Half, _: T) -> T {
        match self {}
    }
}

impl<'t, T: Tree<Tensor<'t>, With<Tensor<'t>> = T>> Branch<T> for Branching<'t> {
    #[track_caller]
    fn open(self, carried: T) -> (T, T) {
        self.0.trace().open_body("then", &[], &[], Location::caller());
        (copy(&carried), carried)
    }

    #[track_caller]
    fn turn(self, results: T) -> Half {
        turn(self.0.trace(), &results)
    }

    fn again(self, kept: &T) -> T {
        copy(kept)
    }

    #[track_caller]
    fn close(self, first: Half, results: T) -> T {
        close(self.0, first, &results)
    }
}

/// Closes the first branch and opens the second.
#[track_caller]
pub(super) fn turn<'t>(t: &'t Trace, results: &impl Tree<Tensor<'t>>) -> Half {
    let body = t.close_body(tensors(results), Location::caller());
    t.open_body("else", &[], &body.scope.captures, Location::caller());
    Half { body, names: results.leaf_names() }
}

/// Closes the second branch.
#[track_caller]
pub(super) fn close<'t, T: Tree<Tensor<'t>>>(
    predicate: Tensor<'t>,
    first: Half,
    results: &T,
) -> T::With<Tensor<'t>> {
    let t = predicate.trace();
    let second = t.close_body(tensors(results), Location::caller());
    let names = [first.names, results.leaf_names()];
    t.branch(predicate, (first.body, second), names, results, Location::caller())
}
