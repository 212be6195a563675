//! Between arrays and stacks: the rows of an array are the entries of a stack.
//!
//! A loop whose number of iterations is known reads the rows of arrays, and leaves
//! arrays of rows behind: it pops from `to_stack` and pushes to what `from_stack`
//! reads. Each of the two is the adjoint of the other. Lowering makes such pairs of
//! stacks and arrays one and the same memory.

use smallvec::smallvec;

use crate::array::Array;
use crate::eval::Datum;
use crate::graph::{Graph, Value};
use crate::op::{Lane, TypeError, Types, mistake};
use crate::ops::Permute;
use crate::ty::{Shape, Type};
use crate::{with_array, with_dtype};

/// The rows of an array (along its first axis) as a stack, or the other way round.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Rows {
    /// Pushes the rows of an array in order; `back`: from the last to the first.
    ToStack {
        /// Whether the last row is pushed first.
        back: bool,
    },
    /// Row `i` is the `i`-th entry that was pushed; `back`: the `i`-th from the top.
    FromStack {
        /// The type of the array. The stack has to have as many entries as it has rows.
        ty: Type,
        /// Whether the first row was pushed last.
        back: bool,
    },
}

impl Rows {
    /// Names in text.
    pub const NAMES: [&'static str; 2] = ["to_stack", "from_stack"];

    /// Its name in text.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ToStack { .. } => Self::NAMES[0],
            Self::FromStack { .. } => Self::NAMES[1],
        }
    }

    /// Types of the results.
    ///
    /// # Errors
    /// If the operand is no array with rows, or no stack of arrays.
    pub fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        match (self, args) {
            (Self::ToStack { .. }, [x]) if x.stack == 0 && x.rank() > 0 => {
                Ok(smallvec![x.with_shape(&x.dims()[1..]).stacked()])
            }
            (Self::FromStack { ty, .. }, [s])
                if ty.rank() > 0 && ty.with_shape(&ty.dims()[1..]).stacked() == **s =>
            {
                Ok(smallvec![ty.clone()])
            }
            (Self::ToStack { .. }, _) => Err(mistake(self.name(), "an array with rows", args)),
            (Self::FromStack { ty, .. }, _) => {
                Err(mistake(self.name(), format!("a stack of the rows of {ty}"), args))
            }
        }
    }

    /// What it means.
    ///
    /// # Panics
    /// If the stack has another number of entries than rows are asked for.
    pub fn eval(&self, args: &[&Datum]) -> Datum {
        match self {
            Self::ToStack { back } => {
                let x = args[0].array();
                let n = x.dims()[0];
                let row = |i: usize| {
                    let i = if *back { n - 1 - i } else { i };
                    Datum::Array(with_array!(x, a => {
                        let row = a.index_axis(ndarray::Axis(0), i);
                        Array::from(row.to_owned().into_shared())
                    }))
                };
                Datum::Stack((0..n).map(row).collect())
            }
            Self::FromStack { ty, back } => {
                let entries = args[0].stack();
                assert_eq!(entries.len(), ty.dims()[0], "from_stack: a stack of another length");
                let order: Box<dyn Iterator<Item = &Datum>> =
                    if *back { Box::new(entries.iter().rev()) } else { Box::new(entries.iter()) };
                Datum::Array(with_dtype!(ty.dtype, T => {
                    let mut all: Vec<T> = Vec::with_capacity(ty.len());
                    for entry in order {
                        all.extend(entry.array().view::<T>().expect("entries of one type"));
                    }
                    Array::from_vec(&ty.shape, all).expect("as many elements as the type has")
                }))
            }
        }
    }

    /// The operation that gives the cotangent of the operand, which has this type,
    /// from the cotangent of the result.
    pub fn transposed(&self, operand: &Type) -> Self {
        match self {
            Self::ToStack { back } => Self::FromStack { ty: operand.clone(), back: *back },
            Self::FromStack { back, .. } => Self::ToStack { back: *back },
        }
    }

    /// The operation on a batched operand: the batch is the first axis of arrays and
    /// of entries alike.
    pub fn vmap(&self, g: &mut Graph, lane: Lane, n: usize) -> Value {
        let swapped = |g: &mut Graph, x: Value| {
            let perm = [1, 0].into_iter().chain(2..g.ty(x).rank()).collect();
            g.push(Permute { perm }, &[x])
        };
        match self {
            Self::ToStack { .. } => {
                let rows_first = swapped(g, lane.value);
                g.push(self.clone(), &[rows_first])
            }
            Self::FromStack { ty, back } => {
                let (rows, entry) = (ty.dims()[0], &ty.dims()[1..]);
                let dims = [rows, n].into_iter().chain(entry.iter().copied());
                let ty = ty.with_shape(dims.collect::<Shape>());
                let rows_first = g.push(Self::FromStack { ty, back: *back }, &[lane.value]);
                swapped(g, rows_first)
            }
        }
    }
}
