//! Pointers that each loop computes for the loops inside, whoever generates the code.
//!
//! The place of an element is `param + Σ stride·axis` in order of the loops' depth, plus a
//! displacement known when compiling. Each prefix of that sum is computed once, in the loop of
//! its last axis: so an inner loop adds one term to a pointer that is ready, and the
//! processor's addressing modes do that for free. Before a loop begins, the pointers that its
//! body is going to ask for are made.
//!
//! Which sums there are, and where, is said here; how a term is added, by [`Arithmetic`].

use backstitch_ir::index::Idx;
use backstitch_ir::nest::{At, Axis, Nest, Param, Stmt};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// A number that is partly known when compiling: `base + offset`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int<V> {
    pub base: Option<V>,
    pub offset: i64,
}

impl<V> Int<V> {
    pub fn known(offset: i64) -> Self {
        Self { base: None, offset }
    }

    pub fn of(base: V) -> Self {
        Self { base: Some(base), offset: 0 }
    }

    pub fn plus(self, n: i64) -> Self {
        Self { offset: self.offset.wrapping_add(n), ..self }
    }
}

/// What writes the instructions of a sum.
pub(crate) trait Arithmetic {
    /// A number at run time.
    type Value: Copy;

    /// `base + axis·step`, if that can be written. `products` are those of this axis that its
    /// loop has, by their step.
    fn add(
        &mut self,
        base: Self::Value,
        axis: Self::Value,
        step: i64,
        products: &mut FxHashMap<i64, Self::Value>,
    ) -> Option<Self::Value>;
}

/// `stride·axis` in bytes, for each axis that is only known at run time.
pub(crate) type Terms = SmallVec<[(Axis, i64); 4]>;

/// What a loop has computed for its axis.
struct Frame<V> {
    /// `axis · bytes`, by bytes.
    products: FxHashMap<i64, V>,
    /// Sums that end in this axis.
    sums: FxHashMap<(Param, Terms), V>,
}

/// Where loops stand, and the pointers known there.
pub(crate) struct Pointers<V> {
    /// Where parameters begin: a base, and a displacement in bytes.
    params: Vec<(V, i64)>,
    sizes: Vec<i64>,
    /// Depth and position of each axis that is bound.
    axes: Vec<Option<(usize, Int<V>)>>,
    frames: Vec<Frame<V>>,
}

impl<V: Copy> Pointers<V> {
    /// For the nest's parameters, which begin at these bases, so many bytes further.
    pub fn new(nest: &Nest, params: Vec<(V, i64)>) -> Self {
        let sizes = nest.params.iter().map(|p| p.dtype.size() as i64).collect();
        Self { params, sizes, axes: vec![None; nest.axes.len()], frames: Vec::new() }
    }

    /// Enters the body of a loop over `axis`.
    pub fn enter(&mut self, axis: Axis, at: Int<V>) {
        self.axes[axis.index()] = Some((self.frames.len(), at));
        self.frames.push(Frame { products: FxHashMap::default(), sums: FxHashMap::default() });
    }

    /// Leaves it.
    pub fn leave(&mut self, axis: Axis) {
        self.axes[axis.index()] = None;
        self.frames.pop();
    }

    /// Where the axis stands.
    pub fn position(&self, axis: Axis) -> Int<V> {
        self.axes[axis.index()].expect("an axis of an enclosing loop").1
    }

    /// Moves the axis by a known distance without a new loop iteration.
    pub fn shift(&mut self, axis: Axis, by: i64) {
        let (_, at) = self.axes[axis.index()].as_mut().expect("an axis of an enclosing loop");
        *at = at.plus(by);
    }

    /// Bytes of an element of a parameter.
    pub fn size(&self, param: Param) -> i64 {
        self.sizes[param.index()]
    }

    /// How far one step along `axis` is, in bytes.
    pub fn step(&self, param: Param, at: &At, axis: Axis) -> i64 {
        at.stride(axis).wrapping_mul(self.size(param))
    }

    /// Which element of its parameter that is, if that is known now.
    pub fn element(&self, at: &At) -> Option<i64> {
        if at.index.is_some() {
            return None;
        }
        at.strides.iter().try_fold(at.offset, |sum, &(axis, stride)| {
            let (_, position) = self.axes[axis.index()]?;
            position.base.is_none().then(|| sum + stride * position.offset)
        })
    }

    /// The terms of a place over axes bound now, outermost first, and the displacement.
    /// Addresses are numbers modulo 2⁶⁴, and so are these.
    pub fn terms(&self, param: Param, at: &At) -> (Terms, i64) {
        let size = self.size(param);
        let known = at.offset.wrapping_mul(size);
        let mut bytes = self.params[param.index()].1.wrapping_add(known);
        let mut terms: SmallVec<[(usize, Axis, i64); 4]> = SmallVec::new();
        for &(axis, stride) in &at.strides {
            let Some((depth, position)) = self.axes[axis.index()] else { continue };
            let step = stride.wrapping_mul(size);
            bytes = bytes.wrapping_add(position.offset.wrapping_mul(step));
            if position.base.is_some() {
                terms.push((depth, axis, step));
            }
        }
        terms.sort_unstable_by_key(|t| t.0);
        (terms.into_iter().map(|(_, axis, step)| (axis, step)).collect(), bytes)
    }

    /// A parameter's base and these terms. In the loop of the last of them it is computed
    /// once.
    pub fn sum<A>(&mut self, code: &mut A, param: Param, terms: &[(Axis, i64)]) -> Option<V>
    where
        A: Arithmetic<Value = V>,
    {
        let Some((&(axis, step), outer)) = terms.split_last() else {
            return Some(self.params[param.index()].0);
        };
        let (depth, position) = self.axes[axis.index()].expect("a bound axis");
        let key = (param, Terms::from_slice(terms));
        if let Some(&sum) = self.frames[depth].sums.get(&key) {
            return Some(sum);
        }
        let outer = self.sum(code, param, outer)?;
        let axis = position.base.expect("an axis known at run time only");
        let sum = code.add(outer, axis, step, &mut self.frames[depth].products)?;
        self.frames[depth].sums.insert(key, sum);
        Some(sum)
    }

    /// Makes what the body of a loop that is about to begin takes from outside.
    pub fn prepare<A>(&mut self, code: &mut A, body: &[Stmt]) -> Option<()>
    where
        A: Arithmetic<Value = V>,
    {
        for s in body {
            match s {
                Stmt::Load { param, at, .. }
                | Stmt::Store { param, at, .. }
                | Stmt::Accumulate { param, at, .. } => {
                    let (terms, _) = self.terms(*param, at);
                    self.sum(code, *param, &terms)?;
                }
                Stmt::For(inner) => self.prepare(code, &inner.body)?,
                Stmt::Let { .. } | Stmt::Call { .. } | Stmt::Index { .. } => {}
            }
        }
        Some(())
    }
}
