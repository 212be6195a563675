//! Folding an array along some of its axes, as quickly as memory can be read.
//!
//! Axes are taken in the order they have in memory, not in the array; what is
//! neighbouring and reduced is one axis. So a reduction is a few passes, each
//! over the middle one of three axes of a row-major array, and only the first
//! sees all the data.

use std::borrow::Cow;
use std::cmp::Reverse;

use ndarray::{ArcArray, ArrayD, IxDyn};
use smallvec::SmallVec;

use crate::array::{Array, Element};
use crate::ops::Axes;

/// `f` over the elements, in eight strands that a processor can run at once,
/// and in halves above a block's length, so that rounding errors stay small.
fn fold_slice<T: Copy>(s: &[T], identity: T, f: impl Fn(T, T) -> T + Copy) -> T {
    const STRANDS: usize = 8;
    const BLOCK: usize = 1 << 10;
    if s.len() > BLOCK {
        let (a, b) = s.split_at((s.len() / 2).next_multiple_of(STRANDS));
        return f(fold_slice(a, identity, f), fold_slice(b, identity, f));
    }
    let (strands, rest) = s.as_chunks::<STRANDS>();
    let mut acc = [identity; STRANDS];
    for chunk in strands {
        for (a, &x) in acc.iter_mut().zip(chunk) {
            *a = f(*a, x);
        }
    }
    let ends = [f(acc[0], acc[4]), f(acc[1], acc[5]), f(acc[2], acc[6]), f(acc[3], acc[7])];
    let all = f(f(ends[0], ends[2]), f(ends[1], ends[3]));
    rest.iter().fold(all, |a, &x| f(a, x))
}

/// `f` over the middle one of three axes of a row-major array.
fn fold_middle<T: Copy>(
    data: &[T],
    [outer, n, inner]: [usize; 3],
    identity: T,
    f: impl Fn(T, T) -> T + Copy,
) -> Vec<T> {
    if inner == 1 {
        return (0..outer).map(|i| fold_slice(&data[i * n..][..n], identity, f)).collect();
    }
    let mut out = vec![identity; outer * inner];
    for (i, row) in out.chunks_exact_mut(inner.max(1)).enumerate() {
        for x in data[i * n * inner..][..n * inner].chunks_exact(inner) {
            for (a, &x) in row.iter_mut().zip(x) {
                *a = f(*a, x);
            }
        }
    }
    out
}

/// `f` over some axes (ascending). Runs over memory in its own order, whatever
/// the order of the axes.
pub(super) fn fold_axes<T: Element>(
    a: &ArcArray<T, IxDyn>,
    axes: &[usize],
    identity: T,
    f: impl Fn(T, T) -> T + Copy,
) -> Array {
    // Line the axes up as they are in memory.
    let mut order: Axes = (0..a.ndim()).collect();
    order.sort_by_key(|&i| Reverse(a.strides()[i].unsigned_abs()));
    let lined_up = a.view().permuted_axes(IxDyn(&order));
    let standard = lined_up.as_standard_layout();
    let mut data: Cow<'_, [T]> = standard.as_slice().expect("standard layout is contiguous").into();

    // Runs of axes that are reduced, the innermost first; each is one axis.
    let mut dims: Axes = standard.shape().into();
    let reduced: SmallVec<[bool; 4]> = order.iter().map(|i| axes.contains(i)).collect();
    let mut end = dims.len();
    while let Some(last) = reduced[..end].iter().rposition(|&r| r) {
        let first = reduced[..last].iter().rposition(|&r| !r).map_or(0, |i| i + 1);
        let extent = |of: &[usize]| of.iter().product::<usize>();
        let sizes =
            [extent(&dims[..first]), extent(&dims[first..=last]), extent(&dims[last + 1..])];
        data = fold_middle(&data, sizes, identity, f).into();
        dims[first..=last].fill(1);
        end = first;
    }

    // What is left of the axes, back in their own order.
    let kept = |i: usize| !axes.contains(&i);
    let left: Axes = (0..dims.len()).filter(|&j| kept(order[j])).collect();
    let shape: Axes = left.iter().map(|&j| dims[j]).collect();
    let out = ArrayD::from_shape_vec(IxDyn(&shape), data.into_owned());
    let out = out.expect("reduce: as many elements as the shape has");
    let mut back: Axes = (0..left.len()).collect();
    back.sort_by_key(|&j| order[left[j]]);
    T::wrap(out.permuted_axes(IxDyn(&back)).into_shared())
}

#[cfg(test)]
mod tests {
    use ndarray::Axis;

    use super::*;
    use crate::ops::permute::inverse;
    use crate::ops::testing::{elements, whole};
    use crate::ty::{DType, Shape, Type};

    #[test]
    fn every_set_of_axes_in_every_order_of_memory() {
        let ty = Type::new(DType::F64, [2, 3, 1, 5]);
        let orders: [[usize; 4]; 4] = [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]];
        for order in orders {
            let permuted: Shape = order.iter().map(|&i| ty.dims()[i]).collect();
            let a = elements(&whole(&ty.with_shape(permuted), 0)).into_shared();
            let a = a.permuted_axes(IxDyn(&inverse(&order)));
            for set in 0..16usize {
                let axes: Axes = (0..4).filter(|axis| set >> axis & 1 == 1).collect();
                let want = axes.iter().rev().fold(a.to_owned(), |a, &axis| a.sum_axis(Axis(axis)));
                let got = elements(&fold_axes(&a, &axes, 0.0, |x, y| x + y));
                assert_eq!(got, want, "over {axes:?}, memory {order:?}");
            }
        }
    }

    #[test]
    fn long_sums_stay_accurate() {
        let x = ndarray::Array1::from_elem(1 << 20, 0.1f32);
        let x = x.into_dyn().into_shared();
        let sum = fold_axes(&x, &[0], 0.0, |a, b| a + b).item::<f32>().expect("one element");
        // One after the other would be off by thousands.
        assert!((sum - 104_857.6).abs() < 0.5, "{sum}");
    }
}
