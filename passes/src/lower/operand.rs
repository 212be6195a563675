//! Operands: strided looks at vals.

use std::sync::Arc;

use backstitch_ir::define_index;
use backstitch_ir::nest::Const;
use backstitch_ir::op::View;
use backstitch_ir::ty::{DType, Shape};
use smallvec::SmallVec;

use super::joined::Joined;

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
    /// Several others; only element by element.
    Joined(Arc<Joined>),
}

impl Operand {
    /// All of a val, as it is.
    pub fn whole(val: Val, shape: &Shape) -> Self {
        Self::At { val, offset: 0, strides: contiguous(shape) }
    }

    /// The val looked at, if it is one.
    pub fn val(&self) -> Option<Val> {
        match self {
            Self::At { val, .. } => Some(*val),
            Self::Splat(_) | Self::Joined(_) => None,
        }
    }

    /// All vals looked at.
    pub fn vals(&self) -> &[Val] {
        match self {
            Self::Splat(_) => &[],
            Self::At { val, .. } => std::slice::from_ref(val),
            Self::Joined(joined) => joined.vals(),
        }
    }

    /// The same, looked at from indices that are larger by so many.
    pub fn moved(&self, by: &[usize]) -> Self {
        match self {
            Self::Splat(_) => self.clone(),
            Self::At { val, offset, strides } => {
                let back = by.iter().zip(strides).map(|(&by, &s)| by as i64 * s).sum::<i64>();
                Self::At { val: *val, offset: offset - back, strides: strides.clone() }
            }
            Self::Joined(_) => unreachable!("pieces of pieces are stored"),
        }
    }

    /// The same over a domain of these extents, without its axes of extent 1.
    pub fn squeezed(&self, dims: &[usize]) -> Self {
        match self {
            Self::Splat(_) => self.clone(),
            Self::At { val, offset, strides } => {
                let kept = strides.iter().zip(dims).filter(|(_, d)| **d != 1);
                let strides: Strides = kept.map(|(&s, _)| s).collect();
                Self::At { val: *val, offset: *offset, strides }
            }
            Self::Joined(joined) => Self::Joined(joined.squeezed(dims).into()),
        }
    }

    /// A view of this operand, which has shape `from`; the view has shape `to`.
    /// `None` if the strides of this operand do not allow it.
    pub fn view(&self, view: &View, from: &Shape, to: &Shape) -> Option<Self> {
        let Self::At { val, offset, strides } = self else {
            return matches!(self, Self::Splat(_)).then(|| self.clone());
        };
        if to.is_empty() {
            let strides = Strides::from_elem(0, to.rank());
            return Some(Self::At { val: *val, offset: 0, strides });
        }
        // The view's strides count elements of a contiguous `from`: take them apart into steps
        // along its axes. All steps together stay inside of each: to go on along the next is no
        // such step.
        let axes = merged(from, strides);
        let start = follow(view.offset as i64, &axes)?;
        let mut reached: Steps = start.iter().map(|&i| [i, i]).collect();
        let mut out = Strides::new();
        for (&s, &extent) in view.strides.iter().zip(to.dims()) {
            if extent <= 1 {
                out.push(0);
                continue;
            }
            let (sign, last) = ((s as i64).signum(), extent as i64 - 1);
            let steps = follow((s as i64).abs(), &axes)?;
            for (reached, &step) in reached.iter_mut().zip(&steps) {
                reached[usize::from(sign > 0)] += sign * step * last;
            }
            out.push(sign * distance(&steps, &axes));
        }
        let inside =
            |([first, last], axis): (&[i64; 2], &Merged)| *first >= 0 && *last < axis.extent;
        if !reached.iter().zip(&axes).all(inside) {
            return None;
        }
        Some(Self::At { val: *val, offset: *offset + distance(&start, &axes), strides: out })
    }

    /// The same elements in another shape, if the strides allow it.
    pub fn reshape(&self, from: &Shape, to: &Shape) -> Option<Self> {
        let Self::At { val, offset, strides } = self else {
            return matches!(self, Self::Splat(_)).then(|| self.clone());
        };
        let out = reshape_strides(from.dims(), strides, to.dims())?;
        Some(Self::At { val: *val, offset: *offset, strides: out })
    }

    /// Whether it is all of a val of this shape, in order.
    pub fn is_whole(&self, shape: &Shape) -> bool {
        match self {
            Self::Splat(_) | Self::Joined(_) => false,
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

/// How far a view goes along each axis: the least index and the greatest.
type Steps = SmallVec<[[i64; 2]; 4]>;

/// Axes that follow each other in memory as well, as one.
struct Merged {
    extent: i64,
    /// Elements from one index to the next, in an array that is contiguous,
    own: i64,
    /// and in memory.
    stride: i64,
}

/// The axes of an array of that shape, merged where its strides allow it.
fn merged(shape: &Shape, strides: &[i64]) -> SmallVec<[Merged; 4]> {
    let mut axes: SmallVec<[Merged; 4]> = SmallVec::new();
    let own = contiguous(shape);
    let all = shape.dims().iter().zip(own).zip(strides).filter(|((d, _), _)| **d != 1);
    for ((&d, own), &stride) in all {
        let extent = d as i64;
        match axes.last_mut().filter(|before| before.stride == stride * extent) {
            Some(before) => *before = Merged { extent: before.extent * extent, own, stride },
            None => axes.push(Merged { extent, own, stride }),
        }
    }
    axes
}

/// Takes a distance in a contiguous array apart into steps along its axes. `None` if a step
/// would leave an axis.
fn follow(distance: i64, axes: &[Merged]) -> Option<SmallVec<[i64; 4]>> {
    let mut left = distance;
    let mut step = |axis: &Merged| {
        let steps = left / axis.own;
        left -= steps * axis.own;
        (steps < axis.extent).then_some(steps)
    };
    let steps = axes.iter().map(&mut step).collect::<Option<_>>()?;
    (left == 0).then_some(steps)
}

/// How far steps along axes go in memory.
fn distance(steps: &[i64], axes: &[Merged]) -> i64 {
    steps.iter().zip(axes).map(|(&n, axis)| n * axis.stride).sum()
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
    pub part: Option<Box<Part>>,
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

    #[test]
    fn a_view_across_rows_is_one_only_where_rows_follow_each_other() {
        let from = Shape::from([2, 5, 4]);
        let at = |strides: [i64; 3]| {
            let from = &from;
            let x = Operand::At {
                val: backstitch_ir::Idx::new(0),
                offset: 7,
                strides: strides.into_iter().collect(),
            };
            move |offset, stride, n: usize| {
                let view = View { offset, strides: [stride].into_iter().collect() };
                match x.view(&view, from, &Shape::from([n])) {
                    Some(Operand::At { offset, strides, .. }) => Some((offset, strides[0])),
                    _ => None,
                }
            }
        };
        let part = at([42, 6, 1]);
        assert_eq!(part(4, 1, 4), Some((13, 1)));
        assert_eq!(part(4, 1, 5), None);
        assert_eq!(part(5, 1, 4), None);
        assert_eq!(part(20, 4, 5), Some((49, 6)));
        assert_eq!(part(16, 4, 2), None);
        assert_eq!(part(7, -1, 4), Some((16, -1)));
        assert_eq!(part(7, -1, 5), None);
        let rows = at([42, 4, 1]);
        assert_eq!(rows(20, 1, 20), Some((49, 1)));
        assert_eq!(rows(19, 1, 2), None);
    }
}
