//! Comparisons, truth values, and choice by them.

use backstitch_ir::Scalar;

use crate::number::Operand;
use crate::tensor::Tensor;
use crate::trace::Trace;

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident $f:ident;)*) => {
        impl<'t> Tensor<'t> {
            $($(#[$doc])*
            #[track_caller]
            pub fn $name(self, other: impl Into<Operand<'t>>) -> Self {
                self.binary(Scalar::$f, other)
            })*
        }
    };
}

binary! {
    /// Whether it is less, at each element.
    lt Lt;
    /// Whether it is less or equal.
    le Le;
    /// Whether it is greater.
    gt Gt;
    /// Whether it is greater or equal.
    ge Ge;
    /// Whether it is equal.
    eq Eq;
    /// Whether it is not equal; NaN differs from everything.
    ne Ne;
    /// Both of two truth values; bitwise on integers.
    and And;
    /// Either of two truth values; bitwise on integers.
    or Or;
    /// One of two truth values but not both; bitwise on integers.
    xor Xor;
}

impl<'t> Tensor<'t> {
    /// The opposite truth value; bitwise on integers.
    #[track_caller]
    #[expect(clippy::should_implement_trait, reason = "beside `and` and `or`")]
    pub fn not(self) -> Self {
        self.unary(Scalar::Not)
    }

    /// `x` where this truth value holds, `y` elsewhere. All three are stretched to
    /// one shape. The derivative of what is not chosen is 0, even where it would be
    /// infinite.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[-1.0, 4.0]));
    /// let y = x.gt(0.0).select(x.sqrt(), 0.0);
    /// assert_eq!(y.array()?.to_f64_vec(), [0.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn select(self, x: impl Into<Operand<'t>>, y: impl Into<Operand<'t>>) -> Self {
        let [x, y] = self.trace.tensors("select", [x.into(), y.into()]);
        self.trace.map(Scalar::Select, &[self, x, y])
    }
}

impl Trace {
    /// `x` where `condition` holds, `y` elsewhere: see [`Tensor::select`].
    #[track_caller]
    pub fn where_<'t>(
        &'t self,
        condition: Tensor<'t>,
        x: impl Into<Operand<'t>>,
        y: impl Into<Operand<'t>>,
    ) -> Tensor<'t> {
        condition.select(x, y)
    }
}
