//! Elements that a nest touches: inside their parameters (5, 6), written only where they
//! may be (7), and by one iteration alone where iterations have no order (8).

use crate::nest::{At, For, Mode, Param, Range, Var};
use crate::ty::DType;

use super::Verifier;

impl Verifier<'_> {
    /// Checks an access; gives the type of the parameter.
    pub(super) fn access(&mut self, param: Param, at: &At) -> Option<DType> {
        let decl = self.nest.params.get(param);
        self.require(decl.is_some(), || format!("there is no parameter {param}"));
        let decl = decl?;
        let mut affine = true;
        for (k, &(axis, stride)) in at.strides.iter().enumerate() {
            let open = self.loop_over(axis).is_some();
            self.require(open, || format!("{param} at {axis}, which is not open"));
            let once = at.strides[..k].iter().all(|s| s.0 != axis);
            self.require(once && stride != 0, || format!("{param} at {axis} twice or times 0"));
            affine &= open && once;
        }
        if let Some(index) = at.index {
            let dtype = self.used(index);
            self.expect(index, dtype, DType::I64);
        }
        if affine && !self.loops.iter().any(|l| self.span(l).is_none()) {
            let (low, high) = self.bounds(at);
            let inside = match at.index {
                None => 0 <= low && usize::try_from(high).is_ok_and(|h| h < decl.len),
                Some(_) => decl.len > 0,
            };
            self.require(inside, || {
                format!("{param} at {low}..={high}, but it has {} elements", decl.len)
            });
        }
        Some(decl.dtype)
    }

    pub(super) fn write(&mut self, param: Param, at: &At, value: Var) {
        let Some(dtype) = self.access(param, at) else { return };
        let value_type = self.used(value);
        self.expect(value, value_type, dtype);
        let writable = self.nest.params[param].access.writes();
        self.require(writable, || format!("{param} is only read, but written here"));
        for k in 0..self.loops.len() {
            let l = self.loops[k];
            if l.mode == Mode::Sequential || self.nest.axes[l.axis] <= 1 {
                continue;
            }
            let moving = |v: Var| self.nest.vars.get(v).is_some() && self.depth[v] > Some(k);
            let seen = !at.index.is_some_and(moving) && self.distinguished(k, at);
            self.require(seen, || {
                format!("iterations over {} may write the same element of {param}", l.axis)
            });
        }
    }

    /// The last value of a loop's axis over all its runs; `None` if it has none.
    fn span(&self, l: &For) -> Option<i64> {
        let extent = self.nest.axes[l.axis];
        let end = match l.range {
            Range::Whole => extent,
            Range::Chunk { of, size } => {
                extent.min(self.nest.axes.get(of).map_or(0, |n| n.saturating_mul(size)))
            }
        };
        i64::try_from(end).ok()?.checked_sub(1).filter(|&last| last >= 0)
    }

    /// The least and the greatest element that the affine part reaches.
    ///
    /// An axis that is chunked by another one of the access moves with it: for
    /// a given chunk both ends of its range are linear in the number of the
    /// chunk, but in the last chunk. So the first, the last, and the last but
    /// one are all that need be looked at.
    fn bounds(&self, at: &At) -> (i64, i64) {
        let counter = |l: &For| match l.range {
            Range::Chunk { of, size } if at.stride(of) != 0 => Some((of, size)),
            _ => None,
        };
        let (mut low, mut high) = (at.offset, at.offset);
        for l in self.loops.iter().filter(|l| at.stride(l.axis) != 0) {
            let stride = at.stride(l.axis);
            let last = self.span(l).unwrap_or(0);
            if counter(l)
                .is_some_and(|(of, _)| self.loop_over(of).is_some_and(|o| counter(o).is_none()))
            {
                continue;
            }
            let followers = self.loops.iter().filter(|f| counter(f).is_some_and(|c| c.0 == l.axis));
            let at_chunk = |chunk: i64| {
                let mut ends = (stride.saturating_mul(chunk), stride.saturating_mul(chunk));
                for f in followers.clone() {
                    let size = counter(f).map_or(1, |c| c.1 as i64);
                    let (first, end) = (chunk.saturating_mul(size), self.span(f).unwrap_or(0));
                    let last = end.min(first.saturating_add(size - 1)).max(first);
                    let step = at.stride(f.axis);
                    let (a, b) = (step.saturating_mul(first), step.saturating_mul(last));
                    ends = (ends.0.saturating_add(a.min(b)), ends.1.saturating_add(a.max(b)));
                }
                ends
            };
            let ends = [0, (last - 1).max(0), last].map(at_chunk);
            low = low.saturating_add(ends.iter().map(|e| e.0).min().unwrap_or(0));
            high = high.saturating_add(ends.iter().map(|e| e.1).max().unwrap_or(0));
        }
        (low, high)
    }

    /// Whether the element written tells the iteration of loop `k`.
    ///
    /// The axes of this loop and of those inside are the digits of the element,
    /// with the strides as weights. From the greatest down, a digit is told as
    /// long as its weight exceeds what all smaller ones can add up to. Of equal
    /// weights, that of an axis with one value counts as the smaller: it adds
    /// nothing. A chunk is told as well by an axis that it is a chunk of.
    fn distinguished(&self, k: usize, at: &At) -> bool {
        let inside = &self.loops[k..];
        let mut digits: Vec<_> = inside
            .iter()
            .filter(|l| at.stride(l.axis) != 0)
            .map(|l| {
                let last = match l.range {
                    Range::Chunk { of, size } if inside.iter().all(|o| o.axis != of) => {
                        self.span(l).unwrap_or(0).min(size as i64 - 1)
                    }
                    _ => self.span(l).unwrap_or(0),
                };
                (at.stride(l.axis).saturating_abs(), last, *l)
            })
            .collect();
        digits.sort_by_key(|&(weight, last, _)| (weight, last));
        let reach = |&(weight, last, _): &(i64, i64, _)| weight.saturating_mul(last);
        let mut below = digits.iter().map(reach).fold(0, i64::saturating_add);
        let mut told = vec![];
        while let Some(digit) = digits.pop() {
            below = below.saturating_sub(reach(&digit));
            if digit.0 <= below {
                break;
            }
            told.push(digit.2);
        }
        while let Some(l) = told.pop() {
            if l.axis == self.loops[k].axis {
                return true;
            }
            if let Range::Chunk { of, .. } = l.range {
                told.extend(inside.iter().find(|o| o.axis == of));
            }
        }
        false
    }
}
