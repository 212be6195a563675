//! Operands: strided looks at vals.

use backstitch_ir::define_index;
use backstitch_ir::nest::Const;
use backstitch_ir::op::View;
use backstitch_ir::ty::{DType, Shape};
use smallvec::SmallVec;

define_index! {
    /// Something that is computed or passed in: an array, contiguous once stored.
    Val, "x";
}

/// Strides of a look at a val, in elements, one per axis of the operand.
pub(crate) type Strides = SmallVec<[i64; 4]>;

/// What an item reads.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Operand {
    /// The same constant everywhere.
    Splat(Const),
    /// Element `i` is element `offset + Σ strides·i` of the val.
    At { val: Val, offset: i64, strides: Strides },
}

impl Operand {
    /// All of a val, as it is.
    pub fn whole(val: Val, shape: &Shape) -> Self {
        Self::At { val, offset: 0, strides: contiguous(shape) }
    }

    /// The val looked at, if it is not a constant.
    pub fn val(&self) -> Option<Val> {
        match self {
            Self::Splat(_) => None,
            Self::At { val, .. } => Some(*val),
        }
    }

    /// A view of this operand, which has shape `from`; the view has shape `to`.
    /// `None` if the strides of this operand do not allow it.
    pub fn view(&self, view: &View, from: &Shape, to: &Shape) -> Option<Self> {
        let Self::At { val, offset, strides } = self else { return Some(self.clone()) };
        if to.is_empty() {
            let strides = Strides::from_elem(0, to.rank());
            return Some(Self::At { val: *val, offset: 0, strides });
        }
        // The view's strides count elements of a contiguous `from`: take them
        // apart into steps along its axes.
        let own = contiguous(from);
        let at = *offset + follow(view.offset as i64, &own, from, strides)?;
        let mut out = Strides::new();
        for (&s, &extent) in view.strides.iter().zip(to.dims()) {
            if extent <= 1 {
                out.push(0);
                continue;
            }
            out.push(if s < 0 {
                -follow(-s as i64, &own, from, strides)?
            } else {
                follow(s as i64, &own, from, strides)?
            });
        }
        Some(Self::At { val: *val, offset: at, strides: out })
    }

    /// The same elements in another shape, if the strides allow it.
    pub fn reshape(&self, from: &Shape, to: &Shape) -> Option<Self> {
        let Self::At { val, offset, strides } = self else { return Some(self.clone()) };
        let out = reshape_strides(from.dims(), strides, to.dims())?;
        Some(Self::At { val: *val, offset: *offset, strides: out })
    }

    /// Whether it is all of a val of this shape, in order.
    pub fn is_whole(&self, shape: &Shape) -> bool {
        match self {
            Self::Splat(_) => false,
            Self::At { offset, strides, .. } => {
                *offset == 0 && same_strides(strides, &contiguous(shape), shape)
            }
        }
    }
}

/// Row-major strides.
pub(crate) fn contiguous(shape: &Shape) -> Strides {
    shape.strides().iter().map(|&s| s as i64).collect()
}

/// Whether two lists of strides visit the same elements: they may differ where
/// the extent is 1, or anywhere if there is no element.
pub(crate) fn same_strides(a: &[i64], b: &[i64], shape: &Shape) -> bool {
    shape.is_empty() || a.iter().zip(b).zip(shape.dims()).all(|((a, b), &d)| d == 1 || a == b)
}

/// Takes a distance in a contiguous array of shape `from` apart into steps along
/// its axes, and measures them with other strides. `None` if a step would leave an
/// axis: never the case for views of whole axes.
fn follow(distance: i64, own: &[i64], from: &Shape, strides: &[i64]) -> Option<i64> {
    let mut left = distance;
    let mut out = 0;
    for ((&o, &s), &d) in own.iter().zip(strides).zip(from.dims()) {
        if o == 0 || d <= 1 {
            continue;
        }
        let steps = left / o;
        if steps >= d as i64 {
            return None;
        }
        left -= steps * o;
        out += steps * s;
    }
    (left == 0).then_some(out)
}

/// Strides of the same elements in another shape: axes are merged and split as
/// NumPy does it without copying.
fn reshape_strides(from: &[usize], strides: &[i64], to: &[usize]) -> Option<Strides> {
    if from.contains(&0) {
        return Some(to.iter().map(|_| 0).collect());
    }
    let mut out = Strides::from_elem(0, to.len());
    let axes: SmallVec<[(usize, i64); 4]> =
        from.iter().copied().zip(strides.iter().copied()).filter(|a| a.0 != 1).collect();
    let (mut i, mut j) = (0, 0);
    while i < axes.len() {
        // The least runs of axes on both sides with the same number of elements.
        let (first, start) = (i, j);
        let (mut a, mut b) = (axes[i].0, 1);
        i += 1;
        while a != b || b == 1 {
            if a > b || b == 1 {
                b *= *to.get(j)?;
                j += 1;
            } else {
                a *= axes[i].0;
                i += 1;
            }
        }
        let run = &axes[first..i];
        if run.windows(2).any(|w| w[0].1 != w[1].1 * w[1].0 as i64) {
            return None;
        }
        let mut s = run[run.len() - 1].1;
        for k in (start..j).rev() {
            out[k] = s;
            s *= to[k] as i64;
        }
    }
    Some(out)
}

/// What is known of a val.
#[derive(Clone, Debug)]
pub(crate) struct ValDecl {
    pub dtype: DType,
    pub shape: Shape,
    /// The shape as loops see it: without axes of extent 1.
    pub loops: Shape,
    /// Where it is stored, if that is in another val. Such a val is never read.
    pub part: Option<Part>,
}

/// A place in a val.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub of: Val,
    pub offset: i64,
    /// Strides there, over the axes that loops see.
    pub strides: Strides,
}

impl ValDecl {
    pub fn new(dtype: DType, shape: Shape) -> Self {
        let loops = squeezed(&shape);
        Self { dtype, shape, loops, part: None }
    }

    /// Strides of its elements over the axes that loops see.
    pub fn strides(&self) -> Strides {
        contiguous(&self.loops)
    }

    /// Where its elements are stored: the first, and strides over the axes that loops see.
    pub fn stored_at(&self) -> (i64, Strides) {
        match &self.part {
            Some(part) => (part.offset, part.strides.clone()),
            None => (0, self.strides()),
        }
    }
}

/// A shape without axes of extent 1.
pub(crate) fn squeezed(shape: &Shape) -> Shape {
    shape.dims().iter().copied().filter(|&d| d != 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_merges_and_splits_without_copying() {
        assert_eq!(reshape_strides(&[2, 3], &[3, 1], &[6]).unwrap().as_slice(), [1]);
        assert_eq!(reshape_strides(&[6], &[2], &[2, 3]).unwrap().as_slice(), [6, 2]);
        assert_eq!(reshape_strides(&[2, 3], &[1, 2], &[6]), None);
        assert_eq!(reshape_strides(&[2, 1, 3], &[3, 9, 1], &[1, 2, 3, 1]).unwrap()[1..3], [3, 1]);
        assert_eq!(reshape_strides(&[], &[], &[1, 1]).unwrap().len(), 2);
        assert_eq!(reshape_strides(&[4, 4], &[0, 0], &[16]).unwrap().as_slice(), [0]);
    }

    #[test]
    fn a_view_of_a_broadcast_keeps_its_zero_strides() {
        let from = Shape::from([2, 3]);
        let x = Operand::At {
            val: backstitch_ir::Idx::new(0),
            offset: 0,
            strides: [0, 1].into_iter().collect(),
        };
        let view = View { offset: 2, strides: [-1, 3].into_iter().collect() };
        let Some(Operand::At { offset, strides, .. }) = x.view(&view, &from, &Shape::from([3, 2]))
        else {
            panic!("a permutation of a broadcast is a view")
        };
        assert_eq!((offset, strides.as_slice()), (2, &[-1, 0][..]));
    }
}
