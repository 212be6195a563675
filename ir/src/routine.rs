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
mod slice;

use std::fmt;

use smallvec::{SmallVec, smallvec};

pub use argsort::Argsort;
pub use slice::{Slice, SliceMut, Sliced};

use crate::array::{Array, Element};
use crate::nest::Const;
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Shape};
use crate::{with_array, with_dtype};

/// A routine with all its parameters.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Routine {
    /// Positions of elements in sorted order.
    Argsort(Argsort),
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
        }
    }

    /// Runs it.
    ///
    /// # Panics
    /// If the slices are not what [`signature`](Self::signature) says.
    pub fn run(&self, args: &[Slice<'_>], work: &mut [Word], result: SliceMut<'_>) {
        match self {
            Self::Argsort(sort) => with_dtype!(sort.dtype, T => {
                sort.run::<T>(operand(args, 0), work, i64::slice_mut(result).expect("an index is i64"));
            }),
        }
    }

    /// The result on arrays, in memory of its own.
    pub(crate) fn eval(&self, args: &[&Array], shape: &Shape) -> Array {
        let Signature { result: (dtype, len), words, .. } = self.signature();
        let args: SmallVec<[Array; 3]> = args.iter().map(|a| a.standard()).collect();
        let slices: SmallVec<[Slice<'_>; 3]> = args.iter().map(slice_of).collect();
        let mut work = vec![0; words];
        with_dtype!(dtype, T => {
            let mut data = vec![T::from_const(Const::of_int(dtype, 0)); len];
            self.run(&slices, &mut work, T::wrap_mut(&mut data));
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
        } else {
            attrs.error("a routine")
        }
    }
}

impl fmt::Display for Routine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argsort(sort) => sort.fmt(f),
        }
    }
}

/// A product of extents; of arrays that are too large, more than any memory has.
fn count(extents: &[usize]) -> usize {
    extents.iter().fold(1, |n, &extent| n.saturating_mul(extent))
}

/// Operand `i`.
fn operand<'a, T: Sliced>(args: &[Slice<'a>], i: usize) -> &'a [T] {
    T::slice(args[i]).expect("an operand of the element type that was checked")
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
