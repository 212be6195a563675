//! What a primitive operation is.
//!
//! An array primitive is one file in `ops/` with one `impl` of [`Primitive`],
//! whose methods have no defaults: a new primitive does not compile until every
//! rule is written. The list below has one more word; tests loop over it.
//!
//! Structured control flow ([`Cond`](ops::Cond), [`Loop`](ops::Loop)) and regions
//! ([`Region`](ops::Region)) hold graphs. Their derivatives need whole passes, so they
//! stand in the passes.
//! [`Rows`](ops::Rows) stands between arrays and the stacks of loops.
//! [`Op::family`] tells them apart.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::array::Array;
use crate::eval::Datum;
use crate::graph::{Graph, Node, Value, Values};
use crate::nest::{Const, Monoid};
use crate::ops;
use crate::range::Range;
use crate::routine::Routine;
use crate::scalar::Scalar;
use crate::text::{Attrs, ParseError};
use crate::ty::Type;

/// Types of the results of an operation.
pub type Types = SmallVec<[Type; 1]>;

/// Cotangents of the operands of an operation; `None` is zero.
pub type Cotangents = SmallVec<[Option<Value>; 4]>;

/// Why an operation does not take its operands.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{op}: expected {expected}, got {}", List(.got))]
pub struct TypeError {
    /// Name of the operation.
    pub op: String,
    /// What it takes, in words.
    pub expected: String,
    /// The types of the operands.
    pub got: Vec<Type>,
}

struct List<'a>(&'a [Type]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (i, t) in self.0.iter().enumerate() {
            write!(f, "{}{t}", if i > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// A node as its rules see it.
pub struct Site<'a> {
    /// The node.
    pub node: Node,
    /// Its operands.
    pub args: &'a [Value],
    /// Its results.
    pub results: &'a [Value],
    /// Of which operands a derivative is asked for. A rule may leave out the
    /// others: eager mode computes whatever a rule adds.
    pub wanted: &'a [bool],
}

/// An operand of an operation that is being vectorised over a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lane {
    /// The value.
    pub value: Value,
    /// Whether its first axis is the batch; else all lanes share it.
    pub batched: bool,
}

/// What loops an operation stands for: all that lowering and fusion ask of it.
#[derive(Clone, PartialEq, Debug)]
pub enum Structure {
    /// No loops: an input, a constant.
    Source,
    /// Element `i` of the result is `i[axis]`.
    Iota {
        /// The axis that is counted.
        axis: usize,
    },
    /// A scalar function at each element.
    Map(Scalar),
    /// Element `i` of the result is an element of the operand.
    View(View),
    /// The same elements in the same order in another shape.
    Reshape,
    /// Combination of elements along some axes.
    Reduce {
        /// The combination.
        monoid: Monoid,
        /// The axes, ascending.
        axes: SmallVec<[usize; 4]>,
    },
    /// A generalised matrix product.
    Contract(ops::Contract),
    /// The result is put together from pieces, each copied to a place.
    Assemble {
        /// Fills what no piece covers.
        fill: Option<Const>,
        /// Where each operand goes.
        pieces: SmallVec<[Piece; 2]>,
    },
    /// Result `[a, i, b] = x[a, clamp(index[i]), b]`.
    Gather {
        /// The axis of `x` that is indexed.
        axis: usize,
    },
    /// A recurrence along an axis.
    Cumulate {
        /// What an element and the running value before it make.
        by: ops::Recurrence,
        /// The axis.
        axis: usize,
        /// Whether it runs from the last element to the first.
        reverse: bool,
    },
    /// Result is `x` with `[a, clamp(index[i]), b] += u[a, i, b]`.
    ScatterAdd {
        /// The axis of `x` that is indexed.
        axis: usize,
    },
    /// No loops of ours: a routine takes operands and gives the result, all
    /// contiguous and row-major.
    Call {
        /// The routine.
        routine: Routine,
        /// Which of the operands it takes.
        operands: SmallVec<[usize; 3]>,
    },
}

/// Element `i` of an operand goes to element `offset + steps·i` of the result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Where element (0, …, 0) goes.
    pub offset: SmallVec<[usize; 4]>,
    /// From one element to the next, along each axis; at least 1.
    pub steps: SmallVec<[usize; 4]>,
}

/// Element `i` of a view is element `offset + Σ strides[a]·i[a]` of its operand,
/// counted in row-major order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Where element (0, …, 0) is.
    pub offset: isize,
    /// One stride per axis of the result, in elements of the operand.
    pub strides: SmallVec<[isize; 4]>,
}

/// An instance to test a primitive with.
pub struct Sample {
    /// The operation.
    pub op: Op,
    /// Types of its operands.
    pub args: Vec<Type>,
    /// Range of each operand's elements.
    pub domain: Vec<(f64, f64)>,
}

/// The rules of an array primitive.
pub trait Primitive {
    /// Its name in text.
    fn name(&self) -> &'static str;
    /// Its parameters in text, after the operands.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// Types of its results, or why the operands do not fit.
    ///
    /// # Errors
    /// A [`TypeError`] that says what was expected.
    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError>;
    /// What it means. Obvious rather than fast, but no slower than plain
    /// ndarray code: eager mode runs it.
    fn eval(&self, args: &[&Array]) -> Array;
    /// What is known of the result's elements.
    fn range(&self, args: &[Range]) -> Range;
    /// Tangent of the result; `None` is zero.
    fn jvp(&self, g: &mut Graph, at: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value>;
    /// Cotangents of the operands, given that of the result.
    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents;
    /// The operation on all lanes of a batch of `n` at once; at least one
    /// operand is batched, and so is the result.
    fn vmap(&self, g: &mut Graph, args: &[Lane], n: usize) -> Value;
    /// Its loops.
    fn structure(&self, args: &[&Type]) -> Structure;
    /// Whether operand `i` passes a derivative on: `Some(true)` if it does,
    /// `Some(false)` if the result changes with it but the derivative is zero
    /// almost everywhere, `None` if it does not.
    fn carries(&self, i: usize) -> Option<bool>;
}

/// Construction from text and sample instances: what needs no instance.
pub trait Definition: Primitive + Sized {
    /// Its name in text; for families such as `map`, none.
    const NAME: &'static str;
    /// Reads the parameters that [`Primitive::write`] wrote.
    ///
    /// # Errors
    /// If they are not of its form.
    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError>;
    /// Instances to test it with: odd shapes, empty axes, rank 0, each dtype
    /// where it matters.
    fn samples() -> Vec<Sample>;
}

/// How an operation is treated by passes.
pub enum Family<'a> {
    /// An array primitive: ask its rules.
    Array(&'a dyn Primitive),
    /// A conditional.
    Cond(&'a ops::Cond),
    /// A loop.
    Loop(&'a ops::Loop),
    /// Between arrays and stacks.
    Rows(&'a ops::Rows),
    /// A part with a rule of its own.
    Region(&'a ops::Region),
}

/// Shared ones are large, and most nodes of most graphs are none of them: what is copied from
/// graph to graph is small.
macro_rules! primitives {
    ($($name:ident),*; shared: $($large:ident),* $(,)?) => {
        /// An operation. Large ones are shared by the graphs that hold them.
        #[derive(Clone, PartialEq, Eq, Hash, Debug)]
        pub enum Op {
            $(#[doc = concat!("See [`", stringify!($name), "`](ops::", stringify!($name), ").")]
            $name(ops::$name),)*
            $(#[doc = concat!("See [`", stringify!($large), "`](ops::", stringify!($large), ").")]
            $large(Arc<ops::$large>),)*
            /// See [`Cond`](ops::Cond).
            Cond(ops::Cond),
            /// See [`Loop`](ops::Loop).
            Loop(Arc<ops::Loop>),
            /// See [`Rows`](ops::Rows).
            Rows(ops::Rows),
            /// See [`Region`](ops::Region).
            Region(Arc<ops::Region>),
        }

        $(impl From<ops::$name> for Op {
            fn from(op: ops::$name) -> Self {
                Self::$name(op)
            }
        })*

        $(impl From<ops::$large> for Op {
            fn from(op: ops::$large) -> Self {
                Self::$large(Arc::new(op))
            }
        })*

        $(impl From<Arc<ops::$large>> for Op {
            fn from(op: Arc<ops::$large>) -> Self {
                Self::$large(op)
            }
        })*

        impl Op {
            /// Which rules apply.
            pub fn family(&self) -> Family<'_> {
                match self {
                    $(Self::$name(op) => Family::Array(op),)*
                    $(Self::$large(op) => Family::Array(&**op),)*
                    Self::Cond(op) => Family::Cond(op),
                    Self::Loop(op) => Family::Loop(op),
                    Self::Rows(op) => Family::Rows(op),
                    Self::Region(op) => Family::Region(op),
                }
            }

            /// Names of all array primitives.
            pub const NAMES: &'static [&'static str] =
                &[$(<ops::$name as Definition>::NAME,)* $(<ops::$large as Definition>::NAME),*];

            /// Instances of all array primitives.
            pub fn samples() -> Vec<Sample> {
                let mut all = Vec::new();
                $(all.extend(<ops::$name as Definition>::samples());)*
                $(all.extend(<ops::$large as Definition>::samples());)*
                all
            }

            /// Reads the parameters of the primitive of that name.
            pub(crate) fn parse(
                name: &str,
                attrs: &mut Attrs<'_>,
            ) -> Option<Result<Self, ParseError>> {
                $(if name == <ops::$name as Definition>::NAME {
                    return Some(<ops::$name as Definition>::parse(attrs).map(Self::from));
                })*
                $(if name == <ops::$large as Definition>::NAME {
                    return Some(<ops::$large as Definition>::parse(attrs).map(Self::from));
                })*
                None
            }
        }
    };
}

primitives! {
    Map, Concat, Gather, ScatterAdd, Cumulate, Argsort, Cholesky, TriangularSolve, Lu, LuSolve,
    Det, Cofactors, LoopLimit, StopGradient;
    shared: Input, Literal, Iota, Reshape, Permute, Broadcast, Window, Slice, Pad, Reduce, Contract,
}

impl From<ops::Cond> for Op {
    fn from(op: ops::Cond) -> Self {
        Self::Cond(op)
    }
}

impl From<ops::Loop> for Op {
    fn from(op: ops::Loop) -> Self {
        Self::Loop(Arc::new(op))
    }
}

impl From<ops::Rows> for Op {
    fn from(op: ops::Rows) -> Self {
        Self::Rows(op)
    }
}

impl From<ops::Region> for Op {
    fn from(op: ops::Region) -> Self {
        Self::Region(Arc::new(op))
    }
}

impl Op {
    /// Its name in text.
    pub fn name(&self) -> &'static str {
        match self.family() {
            Family::Array(p) => p.name(),
            Family::Cond(_) => ops::Cond::NAME,
            Family::Loop(_) => ops::Loop::NAME,
            Family::Rows(r) => r.name(),
            Family::Region(_) => ops::Region::NAME,
        }
    }

    /// Types of its results.
    ///
    /// # Errors
    /// A [`TypeError`] that says what was expected.
    pub fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        let types = match self.family() {
            Family::Array(p) => p.infer(args)?,
            Family::Cond(c) => c.infer(args)?,
            Family::Loop(l) => l.infer(args)?,
            Family::Rows(r) => r.infer(args)?,
            Family::Region(r) => r.infer(args)?,
        };
        if types.iter().any(|ty| ty.checked_bytes().is_none()) {
            return Err(self.mistake("a result that can be addressed in memory", args));
        }
        Ok(types)
    }

    /// What it means.
    pub fn eval(&self, args: &[&Datum]) -> Vec<Datum> {
        match self.family() {
            Family::Array(p) => {
                let arrays: SmallVec<[&Array; 4]> = args.iter().map(|d| d.array()).collect();
                vec![Datum::Array(p.eval(&arrays))]
            }
            Family::Cond(c) => c.eval(args),
            Family::Loop(l) => l.eval(args),
            Family::Rows(r) => vec![r.eval(args)],
            Family::Region(r) => r.eval(args),
        }
    }

    /// What is known of its results' elements.
    pub fn range(&self, args: &[Range], types: &[Type]) -> SmallVec<[Range; 1]> {
        match self.family() {
            Family::Array(p) => SmallVec::from_elem(p.range(args), 1),
            Family::Cond(_) | Family::Loop(_) | Family::Region(_) => crate::graph::unknown(types),
            Family::Rows(_) => args.iter().copied().collect(),
        }
    }

    /// Whether it is an input: the only operation that is never shared.
    pub const fn is_input(&self) -> bool {
        matches!(self, Self::Input(_))
    }

    /// Whether it is a conditional, a loop or a region.
    pub const fn holds_graphs(&self) -> bool {
        matches!(self, Self::Cond(_) | Self::Loop(_) | Self::Region(_))
    }

    fn mistake(&self, expected: impl Into<String>, got: &[&Type]) -> TypeError {
        mistake(self.name(), expected, got)
    }
}

/// A [`TypeError`].
pub(crate) fn mistake(op: &str, expected: impl Into<String>, got: &[&Type]) -> TypeError {
    TypeError {
        op: op.into(),
        expected: expected.into(),
        got: got.iter().map(|&t| t.clone()).collect(),
    }
}

/// Checks the number of operands.
pub(crate) fn arity(op: &str, n: usize, got: &[&Type]) -> Result<(), TypeError> {
    if got.len() == n && got.iter().all(|t| t.stack == 0) {
        return Ok(());
    }
    let arrays = if n == 1 { "array" } else { "arrays" };
    Err(mistake(op, format!("{n} {arrays}"), got))
}

/// The sum of the parts that are there.
pub fn sum_parts(g: &mut Graph, parts: impl IntoIterator<Item = Option<Value>>) -> Option<Value> {
    let add = |a, b| g.map(Scalar::Add, &[a, b]);
    parts.into_iter().flatten().reduce(add)
}

/// Makes every lane batched: what is shared is repeated.
pub fn materialise(g: &mut Graph, lane: Lane, n: usize) -> Value {
    if lane.batched {
        return lane.value;
    }
    let shape = &g.ty(lane.value).shape;
    let dims: SmallVec<[usize; 4]> = (1..=shape.rank()).collect();
    let shape = std::iter::once(n).chain(shape.dims().iter().copied()).collect();
    g.broadcast(lane.value, &shape, &dims)
}

/// Used in rules that no derivative ever reaches.
pub(crate) fn no_cotangents(n: usize) -> Cotangents {
    SmallVec::from_elem(None, n)
}

/// The operands of a node as a short list.
pub fn list(args: &[Value]) -> Values {
    SmallVec::from_slice(args)
}
