//! A value and its gradient as a function of one vector.

use std::fmt;

use backstitch_ir::{Array, Element};
use backstitch_trace::{Args, Spec, Tree};

use super::flat::{Flat, zero};
use super::layout::{FlatParameter, layouts};
use crate::compiled::Compiled;
use crate::error::Error;

/// Value and gradient as a function of one vector: what [`Compiled::bind`] gives.
///
/// It has a workspace of its own, so it is called by one thread at a time; bind the
/// program again, which is cheap, for another.
pub struct Bound<'a, P, T> {
    flat: Flat<'a, P, T>,
    value: T,
    gradient: Vec<T>,
}

impl<'a, P: Tree<Spec> + Clone, T: Element> Bound<'a, P, T> {
    fn new(flat: Flat<'a, P, T>) -> Result<Self, Error> {
        flat.check_outputs(true)?;
        let gradient = vec![zero(); flat.len];
        Ok(Self { flat, value: zero(), gradient })
    }

    /// The value at `x`, and the gradient there, in memory that the next call overwrites.
    /// Copies nothing and allocates nothing.
    ///
    /// # Errors
    /// If the vector has another length than all parameters together; or what a call of
    /// the program may end with.
    #[inline]
    pub fn call(&mut self, x: &[T]) -> Result<(T, &mut [T]), Error> {
        self.flat.check_len(x)?;
        self.flat.at(x);
        self.flat.to(1, &mut self.gradient);
        self.flat.outputs[0] = (&raw mut self.value).cast();
        // SAFETY: all has been said; `x` is borrowed, the others are ours.
        unsafe { self.flat.run()? };
        Ok((self.value, &mut self.gradient))
    }

    /// The value at `x`; the gradient goes to where `gradient` says.
    ///
    /// # Errors
    /// As for [`call`](Self::call), of both vectors.
    #[inline]
    pub fn call_into(&mut self, x: &[T], gradient: &mut [T]) -> Result<T, Error> {
        self.flat.check_len(x)?;
        self.flat.check_len(gradient)?;
        self.flat.at(x);
        self.flat.to(1, gradient);
        self.flat.outputs[0] = (&raw mut self.value).cast();
        // SAFETY: all has been said; `x` is borrowed, `gradient` exclusively, the value is
        // ours.
        unsafe { self.flat.run()? };
        Ok(self.value)
    }

    /// Whether a vector has as many elements as all parameters together.
    #[inline]
    pub(crate) fn check_len(&self, vector: &[T]) -> Result<(), Error> {
        self.flat.check_len(vector)
    }

    /// The gradient of the latest call of [`call`](Self::call).
    pub(crate) fn last_gradient(&self) -> &[T] {
        &self.gradient
    }
}

layouts!(Bound);

impl<P: Tree<Spec> + Clone, D, O> Compiled<P, D, O> {
    /// This program of a value and its gradient as a function of one vector, for solvers:
    /// all parameters one after another, the data fixed, and the gradient in the order of
    /// the parameters. All parameters are of one element type.
    ///
    /// Data is borrowed, and copied only where it is not contiguous.
    ///
    /// # Errors
    /// [`BindError`](crate::BindError) if a parameter has another element type, or the outputs are
    /// not a scalar and an array like each parameter; [`Error::Runtime`] if the data is not what
    /// the program takes.
    ///
    /// ```
    /// use backstitch::prelude::*;
    /// use ndarray::{arr1, arr2};
    ///
    /// #[derive(Tree, Clone)]
    /// struct Line<T> {
    ///     slope: T,
    ///     intercept: T,
    /// }
    ///
    /// let line = Line { slope: Spec::f64([2]), intercept: Spec::f64([]) };
    /// let data = (Spec::f64([4, 2]), Spec::f64([4]));
    /// let loss = trace(line, data, |_, p: Line<Tensor<'_>>, (x, y)| {
    ///     (x.matmul(p.slope) + p.intercept - y).square().mean()
    /// })?;
    /// let x = arr2(&[[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [2.0, 0.5]]);
    /// let y = x.dot(&arr1(&[3.0, -1.0])) + 0.5;
    ///
    /// // Gradient descent, of a solver that knows only vectors.
    /// let data = (&x, &y);
    /// let program = loss.value_and_grad()?.compile()?;
    /// let mut f = program.bind::<f64, _>(&data)?;
    /// let mut w = vec![0.0; f.len()];
    /// for _ in 0..2000 {
    ///     let (_, gradient) = f.call(&w)?;
    ///     w.iter_mut().zip(gradient).for_each(|(w, g)| *w -= 0.2 * *g);
    /// }
    /// assert!(f.call(&w)?.0 < 1e-12);
    ///
    /// let names: Vec<&str> = f.layout().iter().map(|part| part.name()).collect();
    /// assert_eq!(names, ["slope", "intercept"]);
    /// let line = f.unflatten(&w)?;
    /// assert!((line.intercept.item::<f64>().unwrap() - 0.5).abs() < 1e-5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "jac=True")]
    #[doc(alias = "minimize")]
    #[doc(alias = "ravel")]
    #[doc(alias = "flat")]
    pub fn bind<'a, T: Element, B: Args + ?Sized>(
        &self,
        data: &'a B,
    ) -> Result<Bound<'a, P, T>, Error> {
        Bound::new(Flat::new(self, data, false)?)
    }

    /// The same with a copy of the data, so that it borrows nothing: for solvers that own what
    /// they call.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    ///
    /// ```
    /// use backstitch::prelude::*;
    ///
    /// let f = trace(Spec::f64([2]), Spec::f64([2]), |_, x, a| (a * x).sum())?;
    /// let program = f.value_and_grad()?.compile()?;
    /// let mut f = program.bind_copy::<f64, _>(&ndarray::arr1(&[1.0, 2.0]))?;
    /// let thread = std::thread::spawn(move || f.call(&[3.0, 4.0]).map(|(value, _)| value));
    /// assert_eq!(thread.join().unwrap()?, 11.0);
    /// # Ok::<(), backstitch::Error>(())
    /// ```
    pub fn bind_copy<T: Element, B: Args + ?Sized>(
        &self,
        data: &B,
    ) -> Result<Bound<'static, P, T>, Error> {
        // SAFETY: all data is copied.
        Bound::new(unsafe { Flat::with_data(self, data, false, true)? })
    }
}
