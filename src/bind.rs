//! Programs as solvers want them: one vector in, a value and one vector out.
//!
//! An optimiser, a line search or a sampler knows nothing of layers and biases: to it the
//! parameters are a vector. [`Compiled::bind`] lays the leaves of the parameters one after
//! another, fixes the data, and gives an object that is called with such a vector. Machine
//! code reads the parameters where they are in it and writes the gradient to where it
//! belongs, so nothing is copied from one layout to the other.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use backstitch_ir::{Array, Const, DType, Element, Type, with_array};
use backstitch_runtime::{Error as RuntimeError, Executable, Side, Workspace};
use backstitch_trace::{Args, Spec, Tree, View};

use crate::compile::Compiled;
use crate::error::Error;

/// Why a program cannot be called with one vector, or a call could not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A parameter has another element type than the vector.
    #[error("parameter{} has elements of {got}, the vector of {expected}", Name(.name))]
    Element {
        /// Which one: its path.
        name: String,
        /// What the vector has.
        expected: DType,
        /// What the program has.
        got: DType,
    },
    /// The structure of the parameters has other leaves than the program was traced with.
    #[error("the parameters say they are {expected}, the program takes {got}")]
    Parameters {
        /// Types of the leaves.
        expected: String,
        /// Types of the program's first inputs.
        got: String,
    },
    /// The direction of a product with a Hessian is not like the parameters.
    #[error("the direction is to be {expected} like the parameters, and is {got}")]
    Direction {
        /// Types of all parameters.
        expected: String,
        /// Types of the program's last inputs.
        got: String,
    },
    /// The outputs are not a value and its gradient, or not a product with a Hessian.
    #[error("outputs are to be {expected}, and are {got}")]
    Outputs {
        /// Types of a scalar and of all parameters, or of all parameters.
        expected: String,
        /// Types of what the program gives.
        got: String,
    },
    /// Two programs that are to be of the same parameters are not.
    #[error("the product with the Hessian is of parameters {got}, the value of {expected}")]
    OtherParameters {
        /// Types of the parameters of the value.
        expected: String,
        /// Types of those of the product.
        got: String,
    },
    /// The program changes its parameters.
    #[error("the parameters are donated; what is bound leaves them as they are")]
    Donated,
    /// A vector of the wrong length.
    #[error("expected a vector of {expected} elements, got {got}")]
    Length {
        /// What all parameters have together.
        expected: usize,
        /// What was passed.
        got: usize,
    },
}

/// The name of a leaf, unless it is the whole.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " {}", self.0) }
    }
}

/// Where a parameter is in the vector: its elements in row-major order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    name: String,
    offset: usize,
    ty: Type,
}

impl Part {
    /// The path of the parameter in its structure: `layers.0.w`. Empty if it is all there is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The place of its first element.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Its extents.
    pub fn dims(&self) -> &[usize] {
        self.ty.dims()
    }

    /// The places of its elements.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.ty.len()
    }
}

/// What flat functions have in common.
struct Flat<'a, P, T> {
    executable: Executable,
    workspace: Workspace,
    params: P,
    layout: Vec<Part>,
    len: usize,
    /// Addresses for a call: those of parameters are written anew each time.
    inputs: Vec<*const u8>,
    outputs: Vec<*mut u8>,
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
    fn new<D, O, B: Args + ?Sized>(
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
    unsafe fn with_data<D, O, B: Args + ?Sized>(
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
            layout.push(Part { name, offset, ty });
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
    fn check_outputs(&self, value: bool) -> Result<(), Error> {
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
    fn check_len(&self, vector: &[T]) -> Result<(), Error> {
        let (expected, got) = (self.len, vector.len());
        if expected == got { Ok(()) } else { Err(BindError::Length { expected, got }.into()) }
    }

    /// Says where the parameters are.
    #[inline]
    fn at(&mut self, x: &[T]) {
        for (place, part) in self.inputs.iter_mut().zip(&self.layout) {
            *place = x[part.offset..].as_ptr().cast();
        }
    }

    /// Says where the direction is, which comes last.
    #[inline]
    fn along(&mut self, v: &[T]) {
        let first = self.inputs.len() - self.layout.len();
        for (place, part) in self.inputs[first..].iter_mut().zip(&self.layout) {
            *place = v[part.offset..].as_ptr().cast();
        }
    }

    /// Says where to put what has the types of the parameters, behind so many outputs.
    #[inline]
    fn to(&mut self, first: usize, out: &mut [T]) {
        for (place, part) in self.outputs[first..].iter_mut().zip(&self.layout) {
            *place = out[part.offset..].as_mut_ptr().cast();
        }
    }

    /// # Safety
    ///
    /// All addresses have been said, of vectors that are borrowed meanwhile, those of
    /// outputs exclusively.
    #[inline]
    unsafe fn run(&mut self) -> Result<(), Error> {
        // SAFETY: as required; the vectors have the length of all parameters, which are in
        // them one after another, data and outputs have the types of the program's.
        Ok(unsafe {
            self.executable.call_unchecked(&mut self.workspace, &self.inputs, &self.outputs)
        }?)
    }

    fn flatten<A: Args + ?Sized>(&self, params: &A) -> Result<Vec<T>, Error> {
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

    fn unflatten(&self, x: &[T]) -> Result<P::With<Array>, Error> {
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
fn check_inputs(inputs: &[Type], layout: &[Part], direction: bool) -> Result<(), BindError> {
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

fn zero<T: Element>() -> T {
    T::from_const(Const { dtype: T::DTYPE, bits: 0 })
}

fn listed(types: &[&Type]) -> String {
    let texts: Vec<String> = types.iter().map(ToString::to_string).collect();
    format!("({})", texts.join(", "))
}

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

/// A Hessian times a vector as a function of two vectors: what [`Compiled::bind_hvp`] gives.
pub struct BoundHvp<'a, P, T> {
    flat: Flat<'a, P, T>,
    product: Vec<T>,
}

impl<P: Tree<Spec> + Clone, T: Element> BoundHvp<'_, P, T> {
    /// Whether the products are of the same parameters as a value.
    #[cfg(feature = "argmin")]
    pub(crate) fn check_parameters(&self, value: &Bound<'_, P, T>) -> Result<(), Error> {
        let types = |layout: &[Part]| listed(&layout.iter().map(|p| &p.ty).collect::<Vec<_>>());
        let (expected, got) = (value.layout(), self.layout());
        if expected == got {
            return Ok(());
        }
        Err(BindError::OtherParameters { expected: types(expected), got: types(got) }.into())
    }

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

macro_rules! layouts {
    ($($t:ident)*) => {$(
        impl<P: Tree<Spec> + Clone, T: Element> $t<'_, P, T> {
            /// Where each parameter is in the vector, in order.
            pub fn layout(&self) -> &[Part] {
                &self.flat.layout
            }

            /// Elements of the vector.
            #[allow(clippy::len_without_is_empty, reason = "it is no collection")]
            pub fn len(&self) -> usize {
                self.flat.len
            }

            /// Parameters as a vector.
            ///
            /// # Errors
            /// If they are not of the program's types.
            #[doc(alias = "ravel_pytree")]
            pub fn flatten<A: Args + ?Sized>(&self, params: &A) -> Result<Vec<T>, Error> {
                self.flat.flatten(params)
            }

            /// A vector as parameters.
            ///
            /// # Errors
            /// If it has another length than all parameters together.
            #[doc(alias = "unravel")]
            pub fn unflatten(&self, x: &[T]) -> Result<P::With<Array>, Error> {
                self.flat.unflatten(x)
            }
        }

        impl<P, T> fmt::Debug for $t<'_, P, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let program = self.flat.executable.name();
                f.debug_struct(stringify!($t))
                    .field("program", &program)
                    .field("layout", &self.flat.layout)
                    .finish_non_exhaustive()
            }
        }
    )*};
}
layouts!(Bound BoundHvp);

impl<P: Tree<Spec> + Clone, D, O> Compiled<P, D, O> {
    /// This program of a value and its gradient as a function of one vector, for solvers:
    /// all parameters one after another, the data fixed, and the gradient in the order of
    /// the parameters. All parameters are of one element type.
    ///
    /// Data is borrowed, and copied only where it is not contiguous.
    ///
    /// # Errors
    /// [`BindError`] if a parameter has another element type, or the outputs are not a
    /// scalar and an array like each parameter; [`Error::Runtime`] if the data is not what
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
