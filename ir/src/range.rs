//! What is known of the numbers in a value: an interval, and whether all are finite.
//!
//! Ranges decide where an adjoint needs a guard. The product of a cotangent and
//! a partial derivative has to be zero where either is zero, even if the other
//! is infinite (*strong zero*); a plain product will do wherever both are known
//! to be finite, or the finite one is known not to be zero.
//!
//! The analysis assumes that inputs are finite and that sums and products of
//! finite numbers do not overflow; it does not assume so of functions that leave
//! the finite numbers at moderate arguments (`exp`, `log`, division, …). It runs
//! once per value, when the value enters the graph.

use crate::array::Array;
use crate::ty::DType;

/// All elements lie in `[lo, hi]`; if `finite`, none is infinite or NaN.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Range {
    /// Lower bound of the elements that are not NaN.
    pub lo: f64,
    /// Upper bound of the elements that are not NaN.
    pub hi: f64,
    /// Whether no element is infinite or NaN.
    pub finite: bool,
}

#[expect(clippy::should_implement_trait, reason = "the range of a sum is no sum of ranges")]
impl Range {
    /// Finite numbers of which nothing else is known.
    pub const FINITE: Self = Self { lo: f64::NEG_INFINITY, hi: f64::INFINITY, finite: true };
    /// Nothing is known.
    pub const ANY: Self = Self { finite: false, ..Self::FINITE };
    /// Truth values as numbers.
    pub const BOOL: Self = Self { lo: 0.0, hi: 1.0, finite: true };

    /// Finite numbers between two bounds.
    pub const fn between(lo: f64, hi: f64) -> Self {
        Self { lo, hi, finite: true }
    }

    /// One number.
    pub fn exactly(x: f64) -> Self {
        if x.is_nan() { Self::ANY } else { Self { lo: x, hi: x, finite: x.is_finite() } }
    }

    /// Of the elements of an array.
    pub fn of_array(array: &Array) -> Self {
        let all = array.to_f64_vec().into_iter().map(Self::exactly).reduce(Self::union);
        all.unwrap_or(Self::exactly(0.0))
    }

    /// Where nothing is known but the element type.
    pub fn of_dtype(dtype: DType) -> Self {
        if dtype == DType::Bool { Self::BOOL } else { Self::FINITE }
    }

    /// Whether 0 may be among the elements.
    pub fn may_be_zero(self) -> bool {
        self.lo <= 0.0 && self.hi >= 0.0
    }

    /// The same bounds, with finiteness as given.
    pub fn with_finite(self, finite: bool) -> Self {
        Self { finite, ..self }
    }

    /// Elements of either.
    pub fn union(self, o: Self) -> Self {
        Self { lo: self.lo.min(o.lo), hi: self.hi.max(o.hi), finite: self.finite && o.finite }
    }

    /// Where a non-decreasing function takes it; finite as before.
    pub fn monotone(self, f: impl Fn(f64) -> f64) -> Self {
        Self { lo: f(self.lo), hi: f(self.hi), finite: self.finite }
    }

    /// Of `a + b`.
    pub fn add(self, o: Self) -> Self {
        let bound = |x: f64, worst: f64| if x.is_nan() { worst } else { x };
        Self {
            lo: bound(self.lo + o.lo, f64::NEG_INFINITY),
            hi: bound(self.hi + o.hi, f64::INFINITY),
            finite: self.finite && o.finite,
        }
    }

    /// Of a sum of any number of elements, or of none.
    pub fn sum(self) -> Self {
        Self {
            lo: if self.lo >= 0.0 { 0.0 } else { f64::NEG_INFINITY },
            hi: if self.hi <= 0.0 { 0.0 } else { f64::INFINITY },
            finite: self.finite,
        }
    }

    /// Of `-a`.
    pub fn neg(self) -> Self {
        Self { lo: -self.hi, hi: -self.lo, finite: self.finite }
    }

    /// Of `a · b`.
    pub fn mul(self, o: Self) -> Self {
        // A bound of ±∞ stands for "as large as you like", so 0 times it is 0.
        let p = |x: f64, y: f64| if x == 0.0 || y == 0.0 { 0.0 } else { x * y };
        let c = [p(self.lo, o.lo), p(self.lo, o.hi), p(self.hi, o.lo), p(self.hi, o.hi)];
        Self {
            lo: c.into_iter().fold(f64::INFINITY, f64::min),
            hi: c.into_iter().fold(f64::NEG_INFINITY, f64::max),
            finite: self.finite && o.finite,
        }
    }

    /// Of `a · a`.
    pub fn square(self) -> Self {
        let m = self.abs();
        Self { lo: m.lo * m.lo, hi: m.hi * m.hi, finite: self.finite }
    }

    /// Of `|a|`.
    pub fn abs(self) -> Self {
        let lo = if self.may_be_zero() { 0.0 } else { self.lo.abs().min(self.hi.abs()) };
        Self { lo, hi: self.lo.abs().max(self.hi.abs()), finite: self.finite }
    }

    /// Of `1 / a`.
    pub fn recip(self) -> Self {
        if self.lo > 0.0 || self.hi < 0.0 {
            // Bounded away from zero by more than the reciprocal can stand.
            let finite = self.finite && self.abs().lo > 1e-30;
            Self { lo: 1.0 / self.hi, hi: 1.0 / self.lo, finite }
        } else if self.lo >= 0.0 {
            Self { lo: 0.0, hi: f64::INFINITY, finite: false }
        } else {
            Self::ANY
        }
    }
}
