//! Axes and ranges as users write them: counted from either end, one or many.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use smallvec::SmallVec;

/// A set of axes: `()` for all of them, a number, or a list of numbers. Negative
/// ones count from the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Axes {
    /// All axes.
    All,
    /// These.
    List(SmallVec<[i32; 4]>),
}

impl Axes {
    /// The axes of an array of that rank, ascending, or why there are no such.
    pub(crate) fn resolve(&self, rank: usize) -> Result<SmallVec<[usize; 4]>, String> {
        let Self::List(list) = self else { return Ok((0..rank).collect()) };
        let mut axes = SmallVec::new();
        for &a in list {
            let axis = axis(a, rank)?;
            if axes.contains(&axis) {
                return Err(format!("axis {a} is listed twice"));
            }
            axes.push(axis);
        }
        axes.sort_unstable();
        Ok(axes)
    }
}

impl From<()> for Axes {
    fn from((): ()) -> Self {
        Self::All
    }
}

impl From<i32> for Axes {
    fn from(axis: i32) -> Self {
        Self::List(SmallVec::from_elem(axis, 1))
    }
}

impl From<&[i32]> for Axes {
    fn from(axes: &[i32]) -> Self {
        Self::List(axes.into())
    }
}

impl From<&Vec<i32>> for Axes {
    fn from(axes: &Vec<i32>) -> Self {
        axes.as_slice().into()
    }
}

impl From<Vec<i32>> for Axes {
    fn from(axes: Vec<i32>) -> Self {
        axes.as_slice().into()
    }
}

impl<const N: usize> From<[i32; N]> for Axes {
    fn from(axes: [i32; N]) -> Self {
        axes.as_slice().into()
    }
}

impl<const N: usize> From<&[i32; N]> for Axes {
    fn from(axes: &[i32; N]) -> Self {
        axes.as_slice().into()
    }
}

/// The axis that `axis` means in an array of that rank.
pub(crate) fn axis(axis: i32, rank: usize) -> Result<usize, String> {
    let signed = i64::from(axis);
    let at = if signed < 0 { signed + rank as i64 } else { signed };
    usize::try_from(at)
        .ok()
        .filter(|&a| a < rank)
        .ok_or_else(|| format!("axis {axis} of an array of rank {rank}"))
}

/// The bounds of a slice, as in Python: negative ones count from the end, a
/// missing one is the end that the step comes from or goes to, and those outside
/// are moved inside.
///
/// Made from ranges, or from a pair where a range would look empty: `(1, -1)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bounds {
    /// First element taken.
    pub start: Option<i64>,
    /// First element no longer taken.
    pub stop: Option<i64>,
}

impl Bounds {
    /// First index and number of indices, in an axis of that extent.
    pub(crate) fn resolve(self, len: usize, step: i64) -> (usize, usize) {
        let n = len as i64;
        let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
        let at = |bound: Option<i64>, missing: i64| match bound {
            None => missing,
            Some(b) if b < 0 => b.saturating_add(n).clamp(low, high),
            Some(b) => b.clamp(low, high),
        };
        let ends = if step > 0 { (low, high) } else { (high, low) };
        let (start, stop) = (at(self.start, ends.0), at(self.stop, ends.1));
        let span = if step > 0 { stop - start } else { start - stop };
        if span <= 0 {
            return (0, 0);
        }
        let count = (span - 1) / step.saturating_abs() + 1;
        (start as usize, count as usize)
    }
}

macro_rules! bounds {
    ($($t:ty)*) => {$(
        impl From<Range<$t>> for Bounds {
            fn from(r: Range<$t>) -> Self {
                Self { start: Some(r.start.into()), stop: Some(r.end.into()) }
            }
        }
        impl From<RangeFrom<$t>> for Bounds {
            fn from(r: RangeFrom<$t>) -> Self {
                Self { start: Some(r.start.into()), stop: None }
            }
        }
        impl From<RangeTo<$t>> for Bounds {
            fn from(r: RangeTo<$t>) -> Self {
                Self { start: None, stop: Some(r.end.into()) }
            }
        }
        impl From<RangeInclusive<$t>> for Bounds {
            fn from(r: RangeInclusive<$t>) -> Self {
                Self { start: Some((*r.start()).into()), stop: past((*r.end()).into()) }
            }
        }
        impl From<RangeToInclusive<$t>> for Bounds {
            fn from(r: RangeToInclusive<$t>) -> Self {
                Self { start: None, stop: past(r.end.into()) }
            }
        }
        impl From<($t, $t)> for Bounds {
            fn from((start, stop): ($t, $t)) -> Self {
                Self { start: Some(start.into()), stop: Some(stop.into()) }
            }
        }
        impl From<(Option<$t>, Option<$t>)> for Bounds {
            fn from((start, stop): (Option<$t>, Option<$t>)) -> Self {
                Self { start: start.map(Into::into), stop: stop.map(Into::into) }
            }
        }
    )*};
}
bounds!(i32 i64);

/// After `end`; after the last there is none.
fn past(end: i64) -> Option<i64> {
    if end == -1 { None } else { Some(end.saturating_add(1)) }
}

impl From<RangeFull> for Bounds {
    fn from(_: RangeFull) -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_follow_pythons_rules() {
        let slice = |bounds: Bounds, len, step| bounds.resolve(len, step);
        assert_eq!(slice((..).into(), 5, 1), (0, 5));
        assert_eq!(slice((..).into(), 5, -1), (4, 5));
        assert_eq!(slice((1, -1).into(), 5, 1), (1, 3));
        assert_eq!(slice((-3..).into(), 5, 2), (2, 2));
        assert_eq!(slice((10, 0).into(), 5, -2), (4, 2));
        assert_eq!(slice((3, 1).into(), 5, 1), (0, 0));
        assert_eq!(slice((-100..100).into(), 5, 1), (0, 5));
        assert_eq!(slice((..=-1).into(), 5, 1), (0, 5));
        assert_eq!(slice((..).into(), 0, -1), (0, 0));
        assert_eq!(slice((..).into(), 5, i64::MIN), (4, 1));
    }

    #[test]
    fn axes_count_from_either_end() {
        assert_eq!(Axes::from([-1, 0]).resolve(3).unwrap().as_slice(), [0, 2]);
        assert_eq!(Axes::from(()).resolve(2).unwrap().as_slice(), [0, 1]);
        assert!(Axes::from([0, -3]).resolve(3).is_err());
        assert!(Axes::from(3).resolve(3).is_err());
        assert!(Axes::from(i32::MIN).resolve(3).is_err());
    }
}
