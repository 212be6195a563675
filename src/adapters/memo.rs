//! Value and gradient for solvers that ask for one, then for the other.
//!
//! A compiled program gives both in one run, and most of the work is common to them. Line
//! searches ask for the value at a point, and for the gradient there if they like the value;
//! the outer solver then asks for both again, where the search has ended. So the last point is
//! enough to remember.

use std::fmt;

use backstitch_ir::Element;
use backstitch_trace::{Spec, Tree};

use crate::bind::Bound;
use crate::error::Error;

/// A value and its gradient as two functions of one vector, which run the program once for
/// each point: what was found at the last one is remembered.
///
/// A point is the same if it has the same bits. Calls allocate nothing.
///
/// ```
/// use backstitch::adapters::Memo;
/// use backstitch::prelude::*;
///
/// let f = trace(Spec::f64([2]), (), |_, x, ()| x.square().sum())?;
/// let program = f.value_and_grad()?.compile()?;
/// let mut f = Memo::new(program.bind::<f64, _>(&())?);
///
/// assert_eq!(f.value(&[3.0, 4.0])?, 25.0);
/// assert_eq!(f.gradient(&[3.0, 4.0])?, [6.0, 8.0]);
/// assert_eq!(f.runs(), 1);
/// assert_eq!(f.gradient(&[0.0, 1.0])?, [0.0, 2.0]);
/// assert_eq!(f.runs(), 2);
/// # Ok::<(), backstitch::Error>(())
/// ```
#[doc(alias = "MemoizeJac")]
pub struct Memo<'a, P, T> {
    bound: Bound<'a, P, T>,
    /// Where `value` and the bound program's gradient are those of.
    point: Vec<T>,
    /// None before the first run, and after one that failed.
    value: Option<T>,
    runs: u64,
}

impl<'a, P: Tree<Spec> + Clone, T: Element> Memo<'a, P, T> {
    /// Of a bound program.
    pub fn new(bound: Bound<'a, P, T>) -> Self {
        Self { point: Vec::with_capacity(bound.len()), bound, value: None, runs: 0 }
    }

    /// Value and gradient at `x`.
    ///
    /// # Errors
    /// If the vector has another length than all parameters together; or what a call of the
    /// program may end with. Errors are not remembered: the next call tries again.
    pub fn value_and_gradient(&mut self, x: &[T]) -> Result<(T, &[T]), Error> {
        if let Some(value) = self.value
            && same_bits(&self.point, x)
        {
            return Ok((value, self.bound.last_gradient()));
        }
        self.bound.check_len(x)?;
        self.value = None;
        self.runs += 1;
        let (value, gradient) = self.bound.call(x)?;
        self.point.clear();
        self.point.extend_from_slice(x);
        self.value = Some(value);
        Ok((value, gradient))
    }

    /// The value at `x`.
    ///
    /// # Errors
    /// As for [`value_and_gradient`](Self::value_and_gradient).
    pub fn value(&mut self, x: &[T]) -> Result<T, Error> {
        Ok(self.value_and_gradient(x)?.0)
    }

    /// The gradient at `x`.
    ///
    /// # Errors
    /// As for [`value_and_gradient`](Self::value_and_gradient).
    pub fn gradient(&mut self, x: &[T]) -> Result<&[T], Error> {
        Ok(self.value_and_gradient(x)?.1)
    }

    /// How often the program has run.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// What runs: where parameters are in the vector, and from one to the other.
    pub fn bound(&self) -> &Bound<'a, P, T> {
        &self.bound
    }

    /// The bound program again.
    pub fn into_bound(self) -> Bound<'a, P, T> {
        self.bound
    }
}

/// Whether the elements are the same, as NaN is the same as itself and 0 is not -0.
fn same_bits<T: Element>(a: &[T], b: &[T]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_const() == b.to_const())
}

impl<P, T> fmt::Debug for Memo<'_, P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo")
            .field("bound", &self.bound)
            .field("runs", &self.runs)
            .finish_non_exhaustive()
    }
}
