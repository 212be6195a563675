//! One of several branches, by a number.

use backstitch_ir::Type;

use crate::mistake::{Mistake, Problem};
use crate::tensor::Tensor;
use crate::trace::Trace;
use crate::tree::Tree;

/// A branch of [`Trace::switch`].
pub type Branch<'a, R> = Box<dyn FnOnce() -> R + 'a>;

impl Trace {
    /// The branch with this number, known when the program runs: an integer scalar. What
    /// is below 0 takes the first, what is too large the last. Only that branch is
    /// executed, forwards and backwards, after a binary search for it. No branch at all does
    /// not compile.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(3.0);
    /// let y = t.switch(
    ///     t.scalar(1),
    ///     [Box::new(|| x), Box::new(|| x * 10.0), Box::new(|| x * 100.0)],
    /// );
    /// assert_eq!(y.item::<f64>()?, 30.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// A number that is no integer scalar, and branches with other results, are mistakes.
    #[track_caller]
    pub fn switch<'t, R, const N: usize>(
        &'t self,
        index: Tensor<'t>,
        branches: [Branch<'_, R>; N],
    ) -> R
    where
        R: Tree<Tensor<'t>, With<Tensor<'t>> = R>,
    {
        const { assert!(N > 0, "switch: expected at least one branch") }
        let _line = self.line();
        let ty = index.ty();
        if ty.rank() > 0 || !ty.dtype.is_int() {
            let place = self.place();
            let message = format!("expected an integer scalar to choose by, got {ty}");
            let (operation, problem, operands) = ("switch", Problem::Control, Vec::new());
            let mistake = Mistake { place, operation, problem, message, operands };
            self.state().mistakes.push(mistake);
            let first = branches.into_iter().next().expect("there is one");
            let result = first();
            let types: Vec<Type> = result.leaves().into_iter().map(|x| x.ty()).collect();
            return self.guesses(&result, &types, place);
        }
        self.pick(index, 0, branches.into())
    }

    /// Of branches numbered from `first` on.
    #[track_caller]
    fn pick<'t, R>(&'t self, index: Tensor<'t>, first: usize, mut branches: Vec<Branch<'_, R>>) -> R
    where
        R: Tree<Tensor<'t>, With<Tensor<'t>> = R>,
    {
        if branches.len() == 1 {
            return branches.pop().expect("there is one")();
        }
        let middle = branches.len() / 2;
        let upper = branches.split_off(middle);
        let from = first + middle;
        self.cond(
            index.lt(from as i64),
            || self.pick(index, first, branches),
            || self.pick(index, from, upper),
        )
    }
}
