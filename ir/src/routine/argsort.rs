//! Sorting.
//!
//! Each element becomes an unsigned *key* in the same order, NaN after all else,
//! and is packed with its position into one number, the position below. Packed
//! numbers all differ, so that an unstable sort of them is a stable sort of the
//! elements, needs no comparison function, and finds the least few without
//! sorting the rest.

use std::fmt;

use super::{Sliced, Word, extent};
use crate::text::{Attrs, ParseError};
use crate::ty::DType;

/// For each of `rows` rows of `len` elements, the positions of the first `take`
/// in sorted order. See [`ops::Argsort`](crate::ops::Argsort).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Argsort {
    /// Of the elements.
    pub dtype: DType,
    /// How many rows there are.
    pub rows: usize,
    /// Elements of a row.
    pub len: usize,
    /// Positions per row that are asked for; at most `len`.
    pub take: usize,
    /// Whether the largest come first.
    pub descending: bool,
}

impl Argsort {
    pub(super) const NAME: &'static str = "argsort";

    /// Whether key and position fit in 64 bits together.
    fn is_narrow(&self) -> bool {
        self.dtype.size() <= 4 && u32::try_from(self.len).is_ok()
    }

    /// Memory for the packed numbers of one row.
    pub(super) fn words(&self) -> usize {
        if self.rows == 0 || self.take == 0 {
            0
        } else if self.is_narrow() {
            self.len.div_ceil(2)
        } else {
            self.len
        }
    }

    pub(super) fn run<T: Sliced>(&self, x: &[T], work: &mut [Word], out: &mut [i64]) {
        if self.take == 0 || self.rows == 0 {
            return;
        }
        if self.is_narrow() {
            // SAFETY: any bits are a `u64`.
            let (_, packed, _) = unsafe { work.align_to_mut::<u64>() };
            self.rows::<T, u64>(x, &mut packed[..self.len], out);
        } else {
            self.rows::<T, u128>(x, &mut work[..self.len], out);
        }
    }

    fn rows<T: Sliced, P: Packed>(&self, x: &[T], packed: &mut [P], out: &mut [i64]) {
        let key = |x: &T| key(x.to_const().bits, T::DTYPE, self.descending);
        for (x, out) in x.chunks_exact(self.len).zip(out.chunks_exact_mut(self.take)) {
            for (i, (packed, x)) in packed.iter_mut().zip(x).enumerate() {
                *packed = P::pack(key(x), i);
            }
            if self.take < self.len {
                packed.select_nth_unstable(self.take);
            }
            packed[..self.take].sort_unstable();
            for (out, packed) in out.iter_mut().zip(&*packed) {
                *out = packed.position();
            }
        }
    }

    pub(super) fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        let dtype = attrs.dtype()?;
        let rows = extent(attrs, "rows")?;
        let len = extent(attrs, "len")?;
        let take = extent(attrs, "take")?;
        Ok(Self { dtype, rows, len, take, descending: attrs.eat("descending") })
    }
}

impl fmt::Display for Argsort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, rows, len, take, descending } = self;
        let order = if *descending { " descending" } else { "" };
        write!(f, "{} {dtype} rows {rows} len {len} take {take}{order}", Self::NAME)
    }
}

/// A key and a position in one number.
trait Packed: Ord + Copy {
    fn pack(key: u64, position: usize) -> Self;
    fn position(self) -> i64;
}

impl Packed for u64 {
    fn pack(key: u64, position: usize) -> Self {
        key << 32 | position as u64
    }

    fn position(self) -> i64 {
        (self & u64::from(u32::MAX)) as i64
    }
}

impl Packed for u128 {
    fn pack(key: u64, position: usize) -> Self {
        Self::from(key) << 64 | position as Self
    }

    fn position(self) -> i64 {
        self as i64
    }
}

/// The bits of an element as a number in the order of the elements, below
/// 2^32 for types of 4 bytes. Zeros of both signs are equal, and so are all
/// NaNs; these come last whatever the direction.
fn key(bits: u64, dtype: DType, descending: bool) -> u64 {
    let (size, float) = (8 * dtype.size(), dtype.is_float());
    let all = u64::MAX >> (64 - size);
    let top = 1 << (size - 1);
    if dtype == DType::Bool {
        return if descending { 1 - bits } else { bits };
    }
    let magnitude = bits & !top;
    if float {
        let infinity = if dtype == DType::F32 {
            f32::INFINITY.to_bits().into()
        } else {
            f64::INFINITY.to_bits()
        };
        if magnitude > infinity {
            return all;
        }
    }
    let ascending = if !float {
        bits ^ top
    } else if bits & top == 0 || magnitude == 0 {
        magnitude | top
    } else {
        all ^ bits
    };
    if descending { all ^ ascending } else { ascending }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Element;

    /// Sorts one row and compares with a stable sort by comparison.
    fn check<T: Sliced>(
        x: &[T],
        cmp: impl Fn(&T, &T) -> std::cmp::Ordering,
        nan: impl Fn(&T) -> bool,
    ) {
        for descending in [false, true] {
            let mut want: Vec<i64> = (0..x.len() as i64).collect();
            want.sort_by(|&i, &j| {
                let (a, b) = (&x[i as usize], &x[j as usize]);
                let order = if descending { cmp(b, a) } else { cmp(a, b) };
                nan(a).cmp(&nan(b)).then(if nan(a) { std::cmp::Ordering::Equal } else { order })
            });
            for take in 0..=x.len() {
                let sort = Argsort { dtype: T::DTYPE, rows: 1, len: x.len(), take, descending };
                let mut out = vec![-1; take];
                sort.run(x, &mut vec![0; sort.words()], &mut out);
                assert_eq!(out, want[..take], "{sort} of {x:?}");
            }
        }
    }

    macro_rules! check_floats {
        ($t:ident) => {
            let (nan, inf) = ($t::NAN, $t::INFINITY);
            let x = [
                3.0,
                -nan,
                -0.0,
                0.0,
                -inf,
                1e-40,
                nan,
                inf,
                -1.5,
                3.0,
                -1e-40,
                0.0,
                -0.0,
                $t::MAX,
            ];
            check::<$t>(
                &x,
                |a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal),
                |x| x.is_nan(),
            );
        };
    }

    #[test]
    fn elements_of_every_type_are_sorted_stably_with_nan_last() {
        check_floats!(f32);
        check_floats!(f64);
        check(&[3, i32::MIN, -1, i32::MAX, 0, 3, -1], i32::cmp, |_| false);
        check(&[3, i64::MIN, -1, i64::MAX, 0, 3, -1], i64::cmp, |_| false);
        check(&[true, false, false, true, true], bool::cmp, |_| false);
        check::<f32>(&[], |_, _| unreachable!("nothing to compare"), |_| false);
    }

    #[test]
    fn keys_of_small_types_fit_in_half_a_number() {
        for x in [f32::NAN, f32::INFINITY, -f32::INFINITY, 0.0, -0.0] {
            for descending in [false, true] {
                assert!(key(x.to_const().bits, DType::F32, descending) <= u32::MAX.into());
            }
        }
    }

    #[test]
    fn text_is_read_back() {
        for descending in [false, true] {
            let sort = Argsort { dtype: DType::F32, rows: 2, len: 5, take: 3, descending };
            let text = sort.to_string();
            let mut attrs = Attrs::new(text.strip_prefix("argsort").unwrap());
            assert_eq!(Argsort::parse(&mut attrs).unwrap(), sort);
            assert_eq!(attrs.rest(), "");
        }
    }
}
