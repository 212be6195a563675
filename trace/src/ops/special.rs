//! Functions at each element that are composed of others.
//!
//! Odd functions are computed on one side and mirrored by a choice, not by
//! `sign` or `abs`, so that their derivatives of every order are right at 0.

use backstitch_ir::DType;

use crate::number::Number;
use crate::tensor::Tensor;

impl<'t> Tensor<'t> {
    /// `2ˣ`.
    #[track_caller]
    pub fn exp2(self) -> Self {
        self.number(2).pow(self)
    }

    /// Logarithm to base 2.
    #[track_caller]
    pub fn log2(self) -> Self {
        self.log() * std::f64::consts::LOG2_E
    }

    /// Logarithm to base 10.
    #[track_caller]
    pub fn log10(self) -> Self {
        self.log() * std::f64::consts::LOG10_E
    }

    /// Cube root.
    #[track_caller]
    pub fn cbrt(self) -> Self {
        let (negative, x) = self.folded();
        let root = x.pow(1.0 / 3.0);
        negative.select(-root, root)
    }

    /// Hyperbolic sine.
    #[track_caller]
    pub fn sinh(self) -> Self {
        0.5 * (self.expm1() - (-self).expm1())
    }

    /// Hyperbolic cosine.
    #[track_caller]
    pub fn cosh(self) -> Self {
        0.5 * (self.exp() + (-self).exp())
    }

    /// Inverse hyperbolic sine.
    #[track_caller]
    pub fn asinh(self) -> Self {
        let (negative, x) = self.folded();
        let y = (x + x.square() / ((x.square() + 1.0).sqrt() + 1.0)).log1p();
        negative.select(-y, y)
    }

    /// Inverse hyperbolic cosine.
    #[track_caller]
    pub fn acosh(self) -> Self {
        let above = self - 1.0;
        (above + (above * (above + 2.0)).sqrt()).log1p()
    }

    /// Inverse hyperbolic tangent.
    #[track_caller]
    pub fn atanh(self) -> Self {
        0.5 * (self.log1p() - (-self).log1p())
    }

    /// Whether it is negative, and the number without its sign.
    #[track_caller]
    fn folded(self) -> (Self, Self) {
        let negative = self.lt(0);
        (negative, negative.select(-self, self))
    }

    /// `sin(πx) / (πx)`, 1 at 0.
    #[track_caller]
    pub fn sinc(self) -> Self {
        let x = self * std::f64::consts::PI;
        // Near 0 a polynomial, for the derivatives as well.
        let near = x.square().lt(1e-6);
        let far = near.select(1, x);
        let series = 1.0 - x.square() / 6.0 + x.square().square() / 120.0;
        near.select(series, far.sin() / far)
    }

    /// A number in place of each NaN.
    #[track_caller]
    pub fn nan_to(self, value: impl Into<Number>) -> Self {
        let value = self.number(value);
        self.is_nan().select(value, self)
    }

    /// As `f64`; shorthand for a cast.
    #[track_caller]
    pub fn to_f64(self) -> Self {
        self.cast(DType::F64)
    }

    /// As `f32`; shorthand for a cast.
    #[track_caller]
    pub fn to_f32(self) -> Self {
        self.cast(DType::F32)
    }
}
