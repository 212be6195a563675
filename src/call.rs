//! Calls of compiled programs: into arrays that are there, in place, or into new ones.

use backstitch_ir::Array;
use backstitch_runtime::{ArrayMut, ArrayRef, Call, Workspace};
use backstitch_trace::{Args, ArgsMut, Spec, Tree, View, ViewMut};

use crate::compiled::Compiled;
use crate::error::Error;

impl<P, D, O> Compiled<P, D, O> {
    /// Calls the program; results go to where `outputs` says, a structure of
    /// mutable arrays in the order of the outputs. Copies nothing, allocates
    /// nothing, takes no lock.
    ///
    /// # Errors
    /// If an array is missing, superfluous, of another type, or not contiguous
    /// and row-major; if parameters are donated; if a loop runs out of memory for its
    /// residuals, or of iterations; or if a matrix cannot be factored.
    #[inline]
    pub fn call_into<A, B, R>(
        &self,
        ws: &mut Workspace,
        params: &A,
        data: &B,
        outputs: &mut R,
    ) -> Result<(), Error>
    where
        A: Args + ?Sized,
        B: Args + ?Sized,
        R: ArgsMut + ?Sized,
    {
        let mut call = self.executable.begin(ws)?;
        params.views(&mut |v| input(&mut call, v));
        data.views(&mut |v| input(&mut call, v));
        outputs.views_mut(&mut |v| output(&mut call, v));
        Ok(call.run()?)
    }

    /// Calls the program, which changes the parameters that are donated
    /// ([`Options::donate`](crate::Options::donate),
    /// [`Options::donate_parameters`](crate::Options::donate_parameters)): they hold their outputs
    /// when the call is over. All other outputs go to where `outputs` says, in their order. Copies
    /// nothing of its own accord, allocates nothing, takes no lock.
    ///
    /// After an error during the run, donated parameters hold anything.
    ///
    /// ```
    /// use backstitch::{Options, prelude::*};
    ///
    /// // Loss, gradient and update of a linear regression: one call.
    /// let step = trace_tree(Spec::f64([2]), (Spec::f64([3, 2]), Spec::f64([3])), |t, w, (x, y)| {
    ///     let tape = t.tape();
    ///     tape.watch(&w);
    ///     let loss = (x.matmul(w) - y).square().mean();
    ///     let slope = tape.gradient(&loss, &w).value().expect("the loss depends on w");
    ///     t.outputs(&(w - 0.1 * slope, loss))
    /// })?;
    /// let step = step.compile_with(&Options::default().donate_parameters())?;
    ///
    /// let x = ndarray::arr2(&[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]);
    /// let (mut w, y) = (ndarray::arr1(&[0.0f64, 0.0]), ndarray::arr1(&[1.0, 2.0, 3.0]));
    /// let (mut loss, mut ws) = (0.0, step.workspace()?);
    /// for _ in 0..400 {
    ///     step.update_into(&mut ws, &mut w, &(&x, &y), &mut loss)?;
    /// }
    /// assert!((w - ndarray::arr1(&[1.0, 2.0])).iter().all(|e| e.abs() < 1e-6) && loss < 1e-12);
    /// # Ok::<(), backstitch::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`call_into`](Self::call_into); that parameters are donated is none.
    #[inline]
    pub fn update_into<A, B, R>(
        &self,
        ws: &mut Workspace,
        params: &mut A,
        data: &B,
        outputs: &mut R,
    ) -> Result<(), Error>
    where
        A: ArgsMut + ?Sized,
        B: Args + ?Sized,
        R: ArgsMut + ?Sized,
    {
        let mut call = self.executable.begin(ws)?;
        params.views_mut(&mut |v| donated(&mut call, v));
        data.views(&mut |v| input(&mut call, v));
        outputs.views_mut(&mut |v| output(&mut call, v));
        Ok(call.run()?)
    }
}

impl<P: Tree<Spec>, D: Tree<Spec>, O: Tree<Spec>> Compiled<P, D, O> {
    /// Calls the program; results are new arrays. Arrays that are not contiguous
    /// are copied first, and so are parameters that are donated: they stay as they are.
    ///
    /// # Errors
    /// If an array is missing, superfluous or of another type; if there is not enough
    /// memory for the work, or a loop has run out of iterations; or if a matrix cannot be
    /// factored.
    pub fn call<A, B>(&self, params: &A, data: &B) -> Result<O::With<Array>, Error>
    where
        A: Args + ?Sized,
        B: Args + ?Sized,
    {
        let mut results: Vec<Array> = Vec::new();
        for ty in self.executable.outputs() {
            let zero = backstitch_ir::Const { dtype: ty.dtype, bits: 0 };
            results.push(Array::full(&ty.shape, zero));
        }
        let mut copies: Vec<Array> = Vec::new();
        let mut copy = |v: View<'_>| {
            if !v.is_contiguous() {
                copies.push(v.to_array());
            }
        };
        params.views(&mut copy);
        data.views(&mut copy);
        // In the order of the arguments, the copies in place of what was copied.
        let mut views: Vec<View<'_>> = Vec::new();
        params.views(&mut |v| views.push(v));
        data.views(&mut |v| views.push(v));
        let mut packed = Vec::new();
        copies.iter().for_each(|a| a.views(&mut |v| packed.push(v)));
        let mut packed = packed.into_iter();
        for v in views.iter_mut().filter(|v| !v.is_contiguous()) {
            *v = packed.next().expect("one copy for each view that needs it");
        }
        if !self.executable.donated().is_empty() {
            let inputs: Vec<ArrayRef<'_>> = (views.iter())
                // SAFETY: the views are of elements of their types, borrowed as long as
                // this takes, and they are contiguous.
                .map(|v| unsafe { ArrayRef::from_raw(v.dtype(), v.dims(), v.as_ptr()) })
                .collect();
            let mut results = self.executable.call(&inputs)?.into_iter();
            let result = &mut |_: &Spec| results.next().expect("one result per output");
            return Ok(self.outputs().map_leaves(result));
        }
        self.executable.with_workspace(|ws| {
            let mut call = self.executable.begin(ws)?;
            views.iter().for_each(|&v| input(&mut call, v));
            results.views_mut(&mut |v| output(&mut call, v));
            call.run()
        })??;
        let mut results = results.into_iter();
        Ok(self.about.outputs.map_leaves(&mut |_| results.next().expect("one result per output")))
    }
}

#[inline(always)]
fn input<'a>(call: &mut Call<'a>, v: View<'a>) {
    if !v.is_contiguous() {
        return call.strided_input(v.dims(), v.strides());
    }
    // SAFETY: the view is of elements of its type that are borrowed for `'a`, and
    // they are contiguous.
    call.input(unsafe { ArrayRef::from_raw(v.dtype(), v.dims(), v.as_ptr()) });
}

/// An input that may be changed.
#[inline(always)]
fn donated<'a>(call: &mut Call<'a>, mut v: ViewMut<'a>) {
    let (dtype, dims, at) = (v.dtype(), v.dims(), v.as_mut_ptr());
    if !v.is_contiguous() {
        return call.strided_input(dims, v.strides());
    }
    // SAFETY: the view is of elements of its type that are borrowed exclusively
    // for `'a`, and they are contiguous.
    call.donate(unsafe { ArrayMut::from_raw(dtype, dims, at) });
}

#[inline(always)]
fn output<'a>(call: &mut Call<'a>, mut v: ViewMut<'a>) {
    let (dtype, dims, at) = (v.dtype(), v.dims(), v.as_mut_ptr());
    if !v.is_contiguous() {
        return call.strided_output(dims, v.strides());
    }
    // SAFETY: the view is of elements of its type that are borrowed exclusively
    // for `'a`, and they are contiguous.
    call.output(unsafe { ArrayMut::from_raw(dtype, dims, at) });
}
