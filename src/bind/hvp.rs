//! A Hessian times a vector as a function of two vectors.

use std::fmt;

use backstitch_ir::{Array, Element};
use backstitch_trace::{Args, Spec, Tree};

use super::flat::{Flat, zero};
use super::layout::{FlatParameter, layouts};
use crate::compiled::Compiled;
use crate::error::Error;

/// A Hessian times a vector as a function of two vectors: what [`Compiled::bind_hvp`] gives.
pub struct BoundHvp<'a, P, T> {
    flat: Flat<'a, P, T>,
    product: Vec<T>,
}

impl<P: Tree<Spec> + Clone, T: Element> BoundHvp<'_, P, T> {
    /// The Hessian at `x` times `v`, in memory that the next call overwrites. Copies
    /// nothing and allocates nothing.
    ///
    /// # Errors
    /// If a vector has another length than all parameters together; or what a call of the
    /// program may end with.
    #[inline]
    pub fn call(&mut self, x: &[T], v: &[T]) -> Result<&mut [T], Error> {
        self.flat.check_len(x)?;
        self.flat.check_len(v)?;
        self.flat.at(x);
        self.flat.along(v);
        self.flat.to(0, &mut self.product);
        // SAFETY: all has been said; the vectors are borrowed, the product is ours.
        unsafe { self.flat.run()? };
        Ok(&mut self.product)
    }

    /// The Hessian at `x` times `v` goes to where `product` says.
    ///
    /// # Errors
    /// As for [`call`](Self::call), of all three vectors.
    #[inline]
    pub fn call_into(&mut self, x: &[T], v: &[T], product: &mut [T]) -> Result<(), Error> {
        self.flat.check_len(x)?;
        self.flat.check_len(v)?;
        self.flat.check_len(product)?;
        self.flat.at(x);
        self.flat.along(v);
        self.flat.to(0, product);
        // SAFETY: all has been said; `x` and `v` are borrowed, `product` exclusively.
        unsafe { self.flat.run() }
    }
}

layouts!(BoundHvp);

impl<P: Tree<Spec> + Clone, D, O> Compiled<P, (D, P), O> {
    /// This program of products with the Hessian ([`Traced::hvp`](crate::Traced::hvp)) as a
    /// function of two vectors, for solvers: the parameters and the direction, laid out as
    /// in [`bind`](Compiled::bind).
    ///
    /// # Errors
    /// As for [`bind`](Compiled::bind); the direction and the outputs are to be an array
    /// like each parameter.
    ///
    /// ```
    /// use backstitch::prelude::*;
    ///
    /// let f = trace((Spec::f64([]), Spec::f64([2])), (), |_, (a, x), ()| {
    ///     a * x.square().sum()
    /// })?;
    /// let program = f.hvp()?.compile()?;
    /// let mut hvp = program.bind_hvp::<f64, _>(&())?;
    /// // The Hessian at a = 3, x = (1, 2) is [0 2 4; 2 6 0; 4 0 6].
    /// assert_eq!(hvp.call(&[3.0, 1.0, 2.0], &[1.0, 0.0, 0.0])?, [0.0, 2.0, 4.0]);
    /// assert_eq!(hvp.call(&[3.0, 1.0, 2.0], &[0.0, 1.0, 1.0])?, [6.0, 6.0, 6.0]);
    /// # Ok::<(), backstitch::Error>(())
    /// ```
    #[doc(alias = "hessp")]
    pub fn bind_hvp<'a, T: Element, B: Args + ?Sized>(
        &self,
        data: &'a B,
    ) -> Result<BoundHvp<'a, P, T>, Error> {
        let flat = Flat::new(self, data, true)?;
        flat.check_outputs(false)?;
        let product = vec![zero(); flat.len];
        Ok(BoundHvp { flat, product })
    }
}
