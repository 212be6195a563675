//! Library routines: what loops of ours are not the way to compute.
//!
//! Sorting and the factorisations of matrices have data-dependent control flow,
//! or need decades of care to be quick. They are *routines*: a primitive says
//! with [`Structure::Call`](crate::op::Structure::Call) which one computes it,
//! a plan has a step for it, and there is one implementation, here, on slices.
//! The meaning of the primitive ([`Primitive::eval`](crate::op::Primitive::eval),
//! so eager mode), the interpreter of plans and machine code all run it, and so
//! give the same bits.
//!
//! A routine takes contiguous row-major arrays and gives one. Its parameters,
//! element type and extents included, are decided when it is made, so that what
//! it reads, writes and works in is known before it runs ([`Routine::signature`]).

mod argsort;
mod cholesky;
mod dense;
mod fault;
mod loop_limit;
mod lu;
mod slice;
mod triangular;

use std::fmt;
use std::panic::Location;

use smallvec::{SmallVec, smallvec};

pub use argsort::Argsort;
pub use cholesky::Cholesky;
pub use fault::{Fault, Raised, raise, take, watch};
pub use loop_limit::LoopLimit;
pub use lu::{Lu, Task};
pub use slice::{Slice, SliceMut, Sliced};
pub use triangular::{Triangle, TriangularSolve};

use crate::array::{Array, Element};
use crate::nest::Const;
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Shape};
use crate::{with_array, with_dtype};
use dense::with_real;

/// The user's line that asked for something, if known.
pub type Place = Option<&'static Location<'static>>;

/// A routine with all its parameters.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Routine {
    /// Positions of elements in sorted order.
    Argsort(Argsort),
    /// Factors of positive definite matrices.
    Cholesky(Cholesky),
    /// Solutions of triangular systems.
    TriangularSolve(TriangularSolve),
    /// Factors of matrices, and what is computed from them.
    Lu(Lu),
    /// Whether loops have come to their ends.
    LoopLimit(LoopLimit),
}

/// What a routine's memory is measured in: a multiple of the alignment that any
/// routine needs of it.
pub type Word = u128;

/// What a routine reads, writes and works in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    /// Element type and number of elements of each operand.
    pub args: SmallVec<[(DType, usize); 3]>,
    /// Element type and number of elements of the result.
    pub result: (DType, usize),
    /// Memory to work in.
    pub words: usize,
}

impl Routine {
    /// What it reads, writes and works in.
    pub fn signature(&self) -> Signature {
        match self {
            Self::Argsort(sort) => Signature {
                args: smallvec![(sort.dtype, count(&[sort.rows, sort.len]))],
                result: (DType::I64, count(&[sort.rows, sort.take])),
                words: sort.words(),
            },
            Self::Cholesky(c) => {
                let a = (c.dtype, count(&[c.batch, c.n, c.n]));
                Signature { args: smallvec![a], result: a, words: c.words() }
            }
            Self::TriangularSolve(t) => {
                let (a, b) = (count(&[t.batch, t.n, t.n]), count(&[t.batch, t.n, t.k]));
                let args = smallvec![(t.dtype, a), (t.dtype, b)];
                Signature { args, result: (t.dtype, b), words: 0 }
            }
            Self::Lu(lu) => {
                let of = |extents: &[usize]| (lu.dtype, count(extents).saturating_mul(lu.batch));
                let (a, factor) = (of(&[lu.n, lu.n]), of(&[lu.n.saturating_add(1), lu.n]));
                let (args, result) = match lu.task {
                    Task::Factor => (smallvec![a], factor),
                    Task::Solve { k, .. } => (smallvec![factor, of(&[lu.n, k])], of(&[lu.n, k])),
                    Task::Det | Task::LogAbsDet => (smallvec![factor], of(&[])),
                    Task::Cofactors => (smallvec![factor], a),
                };
                Signature { args, result, words: lu.words() }
            }
            Self::LoopLimit(of) => {
                let loops = (DType::Bool, of.len);
                Signature { args: smallvec![loops], result: loops, words: 0 }
            }
        }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Argsort(_) => Argsort::NAME,
            Self::Cholesky(_) => Cholesky::NAME,
            Self::TriangularSolve(_) => TriangularSolve::NAME,
            Self::Lu(_) => Lu::NAME,
            Self::LoopLimit(_) => LoopLimit::NAME,
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// The first fault. What the routine could not compute is NaN.
    ///
    /// # Panics
    /// If the slices are not what [`signature`](Self::signature) says.
    pub fn run(
        &self,
        args: &[Slice<'_>],
        work: &mut [Word],
        result: SliceMut<'_>,
    ) -> Result<(), Fault> {
        match self {
            Self::Argsort(sort) => with_dtype!(sort.dtype, T => {
                sort.run::<T>(operand(args, 0), work, elements(result));
            }),
            Self::Cholesky(c) => with_real!(c.dtype, T => {
                return c.run::<T>(operand(args, 0), work, elements(result));
            }),
            Self::TriangularSolve(t) => with_real!(t.dtype, T => {
                t.run::<T>(operand(args, 0), operand(args, 1), elements(result));
            }),
            Self::Lu(lu) => with_real!(lu.dtype, T => {
                let (x, out) = (operand::<T>(args, 0), elements(result));
                match lu.task {
                    Task::Factor => lu.factor(x, work, out),
                    Task::Solve { k, transpose } => {
                        lu.solve((k, transpose), x, operand(args, 1), out);
                    }
                    Task::Det | Task::LogAbsDet => lu.determinant(x, out),
                    Task::Cofactors => {
                        // SAFETY: any bits are a float.
                        let (_, scratch, _) = unsafe { work.align_to_mut::<T>() };
                        lu.cofactors(x, scratch, out);
                    }
                }
            }),
            Self::LoopLimit(of) => return of.run(operand(args, 0), elements(result)),
        }
        Ok(())
    }

    /// The result on arrays, in memory of its own. A fault is [raised](raise),
    /// as one of an operation in that place.
    pub(crate) fn eval(&self, args: &[&Array], shape: &Shape, place: Place) -> Array {
        let Signature { result: (dtype, len), words, .. } = self.signature();
        let args: SmallVec<[Array; 3]> = args.iter().map(|a| a.standard()).collect();
        let slices: SmallVec<[Slice<'_>; 3]> = args.iter().map(slice_of).collect();
        let mut work = vec![0; words];
        with_dtype!(dtype, T => {
            let mut data = vec![T::from_const(Const::of_int(dtype, 0)); len];
            if let Err(fault) = self.run(&slices, &mut work, T::wrap_mut(&mut data)) {
                raise(Raised { fault, operation: self.name(), place });
            }
            Array::from_vec(shape, data).expect("as many elements as the result has")
        })
    }

    /// Its name and parameters as [`fmt::Display`] writes them.
    ///
    /// # Errors
    /// If they are not of that form.
    pub(crate) fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        if attrs.eat(Argsort::NAME) {
            Argsort::parse(attrs).map(Self::Argsort)
        } else if attrs.eat(Cholesky::NAME) {
            Cholesky::parse(attrs).map(Self::Cholesky)
        } else if attrs.eat(TriangularSolve::NAME) {
            TriangularSolve::parse(attrs).map(Self::TriangularSolve)
        } else if attrs.eat(Lu::NAME) {
            Lu::parse(attrs).map(Self::Lu)
        } else if attrs.eat(LoopLimit::NAME) {
            LoopLimit::parse(attrs).map(Self::LoopLimit)
        } else {
            attrs.error("a routine")
        }
    }
}

impl fmt::Display for Routine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argsort(sort) => sort.fmt(f),
            Self::Cholesky(c) => c.fmt(f),
            Self::TriangularSolve(t) => t.fmt(f),
            Self::Lu(lu) => lu.fmt(f),
            Self::LoopLimit(of) => of.fmt(f),
        }
    }
}

/// A product of extents; of arrays that are too large, more than any memory has.
fn count(extents: &[usize]) -> usize {
    extents.iter().fold(1, |n, &extent| n.saturating_mul(extent))
}

/// A number of rows whose square is a number; above, [`count`] has said enough.
fn representable(n: usize) -> usize {
    n.min(u32::MAX as usize)
}

/// Operand `i`.
fn operand<'a, T: Sliced>(args: &[Slice<'a>], i: usize) -> &'a [T] {
    T::slice(args[i]).expect("an operand of the element type that was checked")
}

/// The result.
fn elements<T: Sliced>(result: SliceMut<'_>) -> &mut [T] {
    T::slice_mut(result).expect("a result of the element type that was checked")
}

/// The elements of a contiguous array.
fn slice_of(array: &Array) -> Slice<'_> {
    with_array!(array, a => Sliced::wrap(a.as_slice().expect("standard layout is contiguous")))
}

/// Reads a word and the number behind it: `rows 4`.
fn extent(attrs: &mut Attrs<'_>, word: &str) -> Result<usize, ParseError> {
    attrs.expect(word)?;
    attrs.digits()
}
