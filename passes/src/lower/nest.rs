//! The axes of a nest: those of the domain, in the order that suits memory best, with
//! neighbours merged where every access allows it.
//!
//! The order is chosen by what a step along an axis costs: for each access the bytes that
//! it moves, up to a line of the cache; twice that where it stores. The cheapest axis is
//! the innermost loop. Where an access goes through it in strides, but has neighbours
//! along another axis, that one is the loop around it: then several of its rows are done
//! at a time, and both loops are cut into tiles (see `tiles`).

use backstitch_ir::nest::{At, Axis};
use backstitch_ir::ty::Shape;
use smallvec::SmallVec;

use super::operand::Strides;

/// Bytes of a line of the cache.
const LINE: i64 = 64;

/// One loop: one axis of the domain, or several that are run through as one.
#[derive(Clone, Debug)]
struct Merged {
    extent: usize,
    /// The axes of the domain in it, outermost first. Strides are those of the last.
    axes: SmallVec<[usize; 4]>,
}

impl Merged {
    fn last(&self) -> usize {
        self.axes[self.axes.len() - 1]
    }
}

/// What a nest reads or writes in memory.
#[derive(Clone, Debug)]
pub(crate) struct Touch {
    /// In elements, along the axes of the domain.
    pub strides: Strides,
    /// Bytes of an element.
    pub size: usize,
    pub writes: bool,
}

impl Touch {
    fn stride(&self, axis: usize) -> i64 {
        self.strides.get(axis).copied().unwrap_or(0)
    }

    /// What a step along an axis costs.
    fn cost(&self, axis: usize) -> i64 {
        let bytes = self.stride(axis).saturating_abs().saturating_mul(self.size as i64);
        bytes.min(LINE) * if self.writes { 2 } else { 1 }
    }
}

/// Which axes are alike: only those can become one loop.
#[derive(Clone, Debug)]
pub(crate) struct Kinds(SmallVec<[usize; 6]>);

impl Kinds {
    /// All of so many axes.
    pub fn new(rank: usize) -> Self {
        Self(SmallVec::from_elem(0, rank))
    }

    /// Tells apart the axes that have some property from those that have not.
    pub fn tell(&mut self, has: impl Fn(usize) -> bool) {
        let mut known: SmallVec<[(usize, bool); 6]> = SmallVec::new();
        for (axis, kind) in self.0.iter_mut().enumerate() {
            let key = (*kind, has(axis));
            *kind = known.iter().position(|k| *k == key).unwrap_or(known.len());
            if *kind == known.len() {
                known.push(key);
            }
        }
    }
}

/// The loops over a domain.
#[derive(Clone, Debug)]
pub(crate) struct Loops {
    merged: Vec<Merged>,
    /// Whether some access goes through the innermost loop in strides, and has neighbours
    /// along the one around it.
    pub crossed: bool,
}

impl Loops {
    /// No loop at all.
    pub fn none() -> Self {
        Self { merged: Vec::new(), crossed: false }
    }

    /// Loops over `domain` in the order of its axes. Neighbouring axes are merged unless
    /// there are so many axes before the second, or some access does not go through both
    /// with one stride. Axes of extent 1 need no loop.
    pub fn new<'a>(
        domain: &Shape,
        boundary: usize,
        accesses: impl Iterator<Item = &'a [i64]> + Clone,
    ) -> Self {
        let all: Vec<Strides> = accesses.map(Strides::from_slice).collect();
        let mut kinds = Kinds::new(domain.rank());
        kinds.tell(|a| a < boundary);
        Self::in_order(domain, 0..domain.rank(), &kinds, &all)
    }

    /// Loops over `domain` in the order that suits these accesses best. The first `rows`
    /// axes stay before the others.
    pub fn best(domain: &Shape, rows: usize, mut kinds: Kinds, touches: &[Touch]) -> Self {
        kinds.tell(|a| a < rows);
        // What a row touches, it does for each of its elements.
        let rest = rows..domain.rank();
        let elements = |t: &Touch| {
            let moving = rest.clone().filter(|&a| t.stride(a) != 0);
            moving.map(|a| domain.dims()[a] as i64).product::<i64>()
        };
        let mut order = best_order(domain, 0..rows, touches, elements);
        order.extend(best_order(domain, rest.clone(), touches, |_| 1));
        let all: Vec<Strides> = touches.iter().map(|t| t.strides.clone()).collect();
        let mut loops = Self::in_order(domain, order.into_iter(), &kinds, &all);
        if let [.., around, inner] = &loops.merged[..] {
            let (around, inner) = (around.last(), inner.last());
            loops.crossed = touches.iter().any(|t| crosses(t, around, inner));
        }
        loops
    }

    fn in_order(
        domain: &Shape,
        order: impl Iterator<Item = usize>,
        kinds: &Kinds,
        accesses: &[Strides],
    ) -> Self {
        let dims = domain.dims();
        let mut merged: Vec<Merged> = Vec::new();
        for a in order.filter(|&a| dims[a] != 1) {
            let stride = |s: &Strides, i: usize| s.get(i).copied().unwrap_or(0);
            if let Some(m) = merged.last_mut() {
                let last = m.last();
                let flows = |s: &Strides| stride(s, last) == stride(s, a) * dims[a] as i64;
                if kinds.0[last] == kinds.0[a] && accesses.iter().all(flows) {
                    m.extent *= dims[a];
                    m.axes.push(a);
                    continue;
                }
            }
            merged.push(Merged { extent: dims[a], axes: [a].into_iter().collect() });
        }
        Self { merged, crossed: false }
    }

    /// Number of loops.
    pub fn len(&self) -> usize {
        self.merged.len()
    }

    /// Extent of a loop.
    pub fn extent(&self, depth: usize) -> usize {
        self.merged[depth].extent
    }

    /// Number of loops that run over the first `axes` axes, which are before all others.
    pub fn depth(&self, axes: usize) -> usize {
        self.merged.iter().take_while(|m| m.last() < axes).count()
    }

    /// Whether a loop runs over axes of which this is said; of all of them, or none.
    pub fn is(&self, depth: usize, said: impl Fn(usize) -> bool) -> bool {
        said(self.merged[depth].last())
    }

    /// The stride of an access along a loop.
    pub fn stride(&self, depth: usize, strides: &[i64]) -> i64 {
        strides.get(self.merged[depth].last()).copied().unwrap_or(0)
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
        self.merged.iter().position(|m| m.axes[..] == [axis])
    }
}

/// These axes, outermost first.
fn best_order(
    domain: &Shape,
    axes: std::ops::Range<usize>,
    touches: &[Touch],
    times: impl Fn(&Touch) -> i64,
) -> Vec<usize> {
    let mut order: Vec<usize> = axes.filter(|&a| domain.dims()[a] != 1).collect();
    if domain.is_empty() {
        // Strides say nothing.
        return order;
    }
    let times: Vec<i64> = touches.iter().map(times).collect();
    let cost = |a: usize| touches.iter().zip(&times).map(|(t, n)| t.cost(a) * n).sum::<i64>();
    order.sort_by_key(|&a| std::cmp::Reverse(cost(a)));
    let Some(&inner) = order.last() else { return order };
    let others = order.len() - 1;
    let neighbours = |a: &usize| touches.iter().any(|t| crosses(t, *a, inner));
    if let Some(around) = order[..others].iter().rposition(neighbours) {
        order[around..others].rotate_left(1);
    }
    order
}

/// Whether an access has neighbours along one axis, and strides along another.
fn crosses(touch: &Touch, neighbours: usize, strides: usize) -> bool {
    touch.stride(neighbours).abs() == 1 && touch.stride(strides).abs() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(strides: &[i64], writes: bool) -> Touch {
        Touch { strides: Strides::from_slice(strides), size: 4, writes }
    }

    fn extents(loops: &Loops) -> Vec<usize> {
        (0..loops.len()).map(|d| loops.extent(d)).collect()
    }

    #[test]
    fn what_is_transposed_alike_is_one_loop() {
        let domain = Shape::from([30, 20]);
        let loops = Loops::best(&domain, 0, Kinds::new(2), &[touch(&[1, 30], false)]);
        assert_eq!((extents(&loops), loops.crossed), (vec![600], false));
    }

    #[test]
    fn the_axis_of_neighbours_is_around_the_innermost() {
        // Stored in order, read with the axes turned round.
        let domain = Shape::from([30, 20, 10]);
        let touches = [touch(&[1, 30, 600], false), touch(&[200, 10, 1], true)];
        let loops = Loops::best(&domain, 0, Kinds::new(3), &touches);
        assert_eq!((extents(&loops), loops.crossed), (vec![20, 30, 10], true));
    }

    #[test]
    fn what_every_element_of_a_row_touches_counts_most() {
        // Rows (n, k) of ten elements; one operand has its elements apart, along n together.
        let domain = Shape::from([30, 20, 10]);
        let touches =
            [touch(&[200, 10, 1], false), touch(&[1, 300, 30], false), touch(&[20, 1], true)];
        let loops = Loops::best(&domain, 2, Kinds::new(3), &touches);
        assert_eq!(extents(&loops), [20, 30, 10]);
    }

    #[test]
    fn rows_stay_outside() {
        let domain = Shape::from([30, 20]);
        let loops = Loops::best(&domain, 1, Kinds::new(2), &[touch(&[1, 30], false)]);
        assert_eq!(extents(&loops), [30, 20]);
        assert_eq!((loops.depth(1), loops.crossed), (1, true));
    }

    #[test]
    fn axes_that_are_not_alike_stay_apart() {
        let domain = Shape::from([30, 20]);
        let mut kinds = Kinds::new(2);
        kinds.tell(|a| a == 1);
        let loops = Loops::best(&domain, 0, kinds, &[touch(&[20, 1], false)]);
        assert_eq!(extents(&loops), [30, 20]);
    }
}
