//! The axes of a nest: those of the domain, with neighbours merged where every
//! access allows it.

use backstitch_ir::nest::{At, Axis};
use backstitch_ir::ty::Shape;
use smallvec::SmallVec;

/// One loop: one axis of the domain, or several that are run through as one.
#[derive(Clone, Debug)]
struct Merged {
    extent: usize,
    /// First axis of the domain in it.
    first: usize,
    /// The axis whose strides count: the innermost of extent other than 1.
    last: usize,
}

/// The loops over a domain.
#[derive(Clone, Debug)]
pub(crate) struct Loops {
    merged: Vec<Merged>,
}

impl Loops {
    /// Loops over `domain`. Neighbouring axes are merged unless a boundary (the
    /// number of axes before it) lies between them, or some access does not
    /// go through both with one stride. Axes of extent 1 need no loop.
    pub fn new<'a>(
        domain: &Shape,
        boundaries: &[usize],
        accesses: impl Iterator<Item = &'a [i64]> + Clone,
    ) -> Self {
        let dims = domain.dims();
        let mut merged: Vec<Merged> = Vec::new();
        for (a, &extent) in dims.iter().enumerate().filter(|(_, d)| **d != 1) {
            let stride = |s: &[i64], i: usize| s.get(i).copied().unwrap_or(0);
            if let Some(m) = merged.last_mut() {
                let cut = boundaries.iter().any(|&b| m.last < b && b <= a);
                let flows = |s: &[i64]| stride(s, m.last) == stride(s, a) * extent as i64;
                if !cut && accesses.clone().all(flows) {
                    m.extent *= extent;
                    m.last = a;
                    continue;
                }
            }
            merged.push(Merged { extent, first: a, last: a });
        }
        Self { merged }
    }

    /// Number of loops.
    pub fn len(&self) -> usize {
        self.merged.len()
    }

    /// Extent of a loop.
    pub fn extent(&self, depth: usize) -> usize {
        self.merged[depth].extent
    }

    /// Number of loops that run over the first `axes` axes.
    pub fn depth(&self, axes: usize) -> usize {
        self.merged.iter().filter(|m| m.first < axes).count()
    }

    /// The stride of an access along a loop.
    pub fn stride(&self, depth: usize, strides: &[i64]) -> i64 {
        strides.get(self.merged[depth].last).copied().unwrap_or(0)
    }

    /// An access as the nest writes it.
    pub fn at(&self, axes: &[Axis], offset: i64, strides: &[i64]) -> At {
        let stride = |(d, &axis): (usize, &Axis)| (axis, self.stride(d, strides));
        let strides: SmallVec<[(Axis, i64); 4]> =
            axes.iter().enumerate().map(stride).filter(|s| s.1 != 0).collect();
        At { offset, strides, index: None }
    }

    /// The loop over one axis of the domain, if it is not merged with others and
    /// not of extent 1.
    pub fn loop_of(&self, axis: usize) -> Option<usize> {
        self.merged.iter().position(|m| m.first == axis && m.last == axis)
    }
}
