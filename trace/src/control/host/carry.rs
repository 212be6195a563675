//! The variables that a construct assigns.

use crate::tensor::Tensor;
use crate::trace::Trace;
use crate::tree::{Leaf, Path, Tree};

/// Variables with their names, as a tree.
pub struct Carried<A, B> {
    /// The variable's name.
    pub name: &'static str,
    /// Its value.
    pub value: A,
    /// Further ones, or `()`.
    pub rest: B,
}

impl<L: Leaf, A: Tree<L>, B: Tree<L>> Tree<L> for Carried<A, B> {
    type With<U: Leaf> = Carried<A::With<U>, B::With<U>>;
    type Nest<M: Leaf, V: Tree<M>> = Carried<A::Nest<M, V>, B::Nest<M, V>>;

    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a L))
    where
        L: 'a,
    {
        path.enter(self.name, |path| self.value.visit(path, f));
        self.rest.visit(path, f);
    }

    fn map_leaves<U: Leaf>(&self, f: &mut dyn FnMut(&L) -> U) -> Self::With<U> {
        let value = self.value.map_leaves(f);
        Carried { name: self.name, value, rest: self.rest.map_leaves(f) }
    }

    fn nest_leaves<M: Leaf, V: Tree<M>>(&self, f: &mut dyn FnMut(&L) -> V) -> Self::Nest<M, V> {
        let value = self.value.nest_leaves(f);
        Carried { name: self.name, value, rest: self.rest.nest_leaves(f) }
    }
}

pub(super) fn copy<'t, T: Tree<Tensor<'t>, With<Tensor<'t>> = T>>(tree: &T) -> T {
    tree.map_leaves(&mut |x| *x)
}

pub(super) fn tensors<'t>(tree: &impl Tree<Tensor<'t>>) -> Vec<Tensor<'t>> {
    tree.leaves().into_iter().copied().collect()
}

/// The trace of a carry. A loop that carries no tensor cannot be traced, for nothing
/// in it can change.
pub(super) fn trace_of<'t>(tree: &impl Tree<Tensor<'t>>) -> &'t Trace {
    let first = tree.leaves().first().map(|x| x.trace());
    first.expect("a traced loop assigns at least one tensor")
}
