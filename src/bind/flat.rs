//! What functions of one vector have in common: addresses in vectors for a call.

use std::marker::PhantomData;

use backstitch_ir::{Array, Const, Element, Type, with_array};
use backstitch_runtime::{Error as RuntimeError, Executable, Side, Workspace};
use backstitch_trace::{Args, Spec, Tree, View};

use super::error::BindError;
use super::layout::{FlatParameter, listed};
use crate::compiled::Compiled;
use crate::error::Error;

/// What flat functions have in common.
pub(super) struct Flat<'a, P, T> {
    pub(super) executable: Executable,
    workspace: Workspace,
    params: P,
    pub(super) layout: Vec<FlatParameter>,
    pub(super) len: usize,
    /// Addresses for a call: those of parameters are written anew each time.
    pub(super) inputs: Vec<*const u8>,
    pub(super) outputs: Vec<*mut u8>,
    /// Data that was not contiguous, or all of it.
    _copies: Vec<Array>,
    data: PhantomData<(&'a (), T)>,
}

// SAFETY: the addresses are those of data that is borrowed for `'a` and only read, of
// `_copies`, and of what earlier calls borrowed, which is not looked at.
unsafe impl<P: Send, T: Send> Send for Flat<'_, P, T> {}

impl<'a, P: Tree<Spec> + Clone, T: Element> Flat<'a, P, T> {
    /// A program whose parameters are followed by this data and, if it takes a direction,
    /// by as many arrays of the same types.
    pub(super) fn new<D, O, B: Args + ?Sized>(
        program: &Compiled<P, D, O>,
        data: &'a B,
        direction: bool,
    ) -> Result<Self, Error> {
        // SAFETY: the data is borrowed for `'a`.
        unsafe { Self::with_data(program, data, direction, false) }
    }

    /// The same, with a copy of all data if that is wanted.
    ///
    /// # Safety
    /// Data that is not copied is borrowed for `'a`.
    pub(super) unsafe fn with_data<D, O, B: Args + ?Sized>(
        program: &Compiled<P, D, O>,
        data: &B,
        direction: bool,
        copy: bool,
    ) -> Result<Self, Error> {
        let executable = program.executable().clone();
        if !executable.donated().is_empty() {
            return Err(BindError::Donated.into());
        }
        let params = program.params().clone();
        let (mut layout, mut len) = (Vec::new(), 0);
        for (name, spec) in params.leaf_names().into_iter().zip(params.leaves()) {
            if spec.dtype() != T::DTYPE {
                return Err(
                    BindError::Element { name, expected: T::DTYPE, got: spec.dtype() }.into()
                );
            }
            let ty = Type::new(spec.dtype(), spec.dims());
            let offset = len;
            len += ty.len();
            layout.push(FlatParameter { name, offset, ty });
        }
        check_inputs(executable.inputs(), &layout, direction)?;
        let moving = if direction { layout.len() } else { 0 };
        let mut flat = Self {
            workspace: executable.workspace()?,
            inputs: vec![std::ptr::null(); layout.len()],
            outputs: vec![std::ptr::null_mut(); executable.outputs().len()],
            executable,
            params,
            layout,
            len,
            _copies: Vec::new(),
            data: PhantomData,
        };
        flat.take(data, moving, copy)?;
        flat.inputs.resize(flat.inputs.len() + moving, std::ptr::null());
        Ok(flat)
    }

    /// Takes the addresses of the data, before so many inputs that come with each call: no
    /// more than there are behind the parameters.
    fn take<B: Args + ?Sized>(&mut self, data: &B, moving: usize, copy: bool) -> Result<(), Error> {
        let mut views: Vec<View<'_>> = Vec::new();
        data.views(&mut |view| views.push(view));
        let (first, all) = (self.layout.len(), self.executable.inputs());
        let types = &all[first..all.len() - moving];
        if views.len() != types.len() {
            let (side, expected, got) = (Side::Input, types.len(), views.len());
            return Err(RuntimeError::Count { side, expected, got }.into());
        }
        for (i, (view, ty)) in views.into_iter().zip(types).enumerate() {
            let got = Type::new(view.dtype(), view.dims());
            if got != *ty {
                let (side, index, types) = (Side::Input, first + i, Box::new((ty.clone(), got)));
                return Err(RuntimeError::Type { side, index, types }.into());
            }
            if view.is_contiguous() && !copy {
                self.inputs.push(view.as_ptr());
            } else {
                let copy = view.to_array().standard();
                self.inputs.push(with_array!(&copy, a => a.as_ptr().cast()));
                self._copies.push(copy);
            }
        }
        Ok(())
    }

    /// Whether the outputs are a scalar, if one is wanted, and as many arrays as there are
    /// parameters, of their types.
    pub(super) fn check_outputs(&self, value: bool) -> Result<(), Error> {
        let value = value.then(|| Type::new(T::DTYPE, []));
        let expected: Vec<&Type> =
            value.iter().chain(self.layout.iter().map(|part| &part.ty)).collect();
        let got: Vec<&Type> = self.executable.outputs().iter().collect();
        if expected == got {
            return Ok(());
        }
        let (expected, got) = (listed(&expected), listed(&got));
        Err(BindError::Outputs { expected, got }.into())
    }

    #[inline]
    pub(super) fn check_len(&self, vector: &[T]) -> Result<(), Error> {
        let (expected, got) = (self.len, vector.len());
        if expected == got { Ok(()) } else { Err(BindError::Length { expected, got }.into()) }
    }

    /// Says where the parameters are.
    #[inline]
    pub(super) fn at(&mut self, x: &[T]) {
        for (place, part) in self.inputs.iter_mut().zip(&self.layout) {
            *place = x[part.offset..].as_ptr().cast();
        }
    }

    /// Says where the direction is, which comes last.
    #[inline]
    pub(super) fn along(&mut self, v: &[T]) {
        let first = self.inputs.len() - self.layout.len();
        for (place, part) in self.inputs[first..].iter_mut().zip(&self.layout) {
            *place = v[part.offset..].as_ptr().cast();
        }
    }

    /// Says where to put what has the types of the parameters, behind so many outputs.
    #[inline]
    pub(super) fn to(&mut self, first: usize, out: &mut [T]) {
        for (place, part) in self.outputs[first..].iter_mut().zip(&self.layout) {
            *place = out[part.offset..].as_mut_ptr().cast();
        }
    }

    /// # Safety
    ///
    /// All addresses have been said, of vectors that are borrowed meanwhile, those of
    /// outputs exclusively.
    #[inline]
    pub(super) unsafe fn run(&mut self) -> Result<(), Error> {
        // SAFETY: as required; the vectors have the length of all parameters, which are in
        // them one after another, data and outputs have the types of the program's.
        Ok(unsafe {
            self.executable.call_unchecked(&mut self.workspace, &self.inputs, &self.outputs)
        }?)
    }

    pub(super) fn flatten<A: Args + ?Sized>(&self, params: &A) -> Result<Vec<T>, Error> {
        let mut views = Vec::new();
        params.views(&mut |view| views.push(view));
        let (side, expected, got) = (Side::Input, self.layout.len(), views.len());
        if expected != got {
            return Err(RuntimeError::Count { side, expected, got }.into());
        }
        let mut x = Vec::with_capacity(self.len);
        for (index, (view, part)) in views.into_iter().zip(&self.layout).enumerate() {
            let got = Type::new(view.dtype(), view.dims());
            if got != part.ty {
                let types = Box::new((part.ty.clone(), got));
                return Err(RuntimeError::Type { side, index, types }.into());
            }
            let array = view.to_array();
            x.extend(array.view::<T>().expect("elements of its type").iter());
        }
        Ok(x)
    }

    pub(super) fn unflatten(&self, x: &[T]) -> Result<P::With<Array>, Error> {
        self.check_len(x)?;
        let mut parts = self.layout.iter();
        Ok(self.params.map_leaves(&mut |_| {
            let part = parts.next().expect("a part for each parameter");
            Array::from_vec(&part.ty.shape, x[part.range()].to_vec()).expect("its elements")
        }))
    }
}

/// Whether a program's inputs begin with the parameters and, if it takes a direction, end
/// with as many others of their types. What is bound is called on addresses in vectors, so
/// it relies on this; that the structure of the parameters tells the truth, and that the
/// direction was traced with the same extents, is nothing that types of Rust say.
fn check_inputs(
    inputs: &[Type],
    layout: &[FlatParameter],
    direction: bool,
) -> Result<(), BindError> {
    let expected: Vec<&Type> = layout.iter().map(|part| &part.ty).collect();
    let n = expected.len().min(inputs.len());
    let (params, rest) = inputs.split_at(n);
    if !params.iter().eq(expected.iter().copied()) {
        let got: Vec<&Type> = params.iter().collect();
        return Err(BindError::Parameters { expected: listed(&expected), got: listed(&got) });
    }
    let last = &rest[rest.len().saturating_sub(n)..];
    if direction && !last.iter().eq(expected.iter().copied()) {
        let got: Vec<&Type> = last.iter().collect();
        return Err(BindError::Direction { expected: listed(&expected), got: listed(&got) });
    }
    Ok(())
}

/// Zero of any element type.
pub(super) fn zero<T: Element>() -> T {
    T::from_const(Const { dtype: T::DTYPE, bits: 0 })
}
