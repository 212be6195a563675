//! The table of scalar functions: name, signature, meaning, partial
//! derivatives, range, and where to test it.
//!
//! A scalar function is one variant of [`Scalar`] and one row of
//! [`Scalar::def`]; the compiler asks for the row, and for the machine-level
//! expansion in the lowering. Everything else (forward and reverse rules of
//! `map`, text, tests, eager mode) is derived from the row.
//!
//! Partial derivatives are written in terms of the arguments `x` and the result
//! `out`. What a partial mentions is what the adjoint keeps. Conventions at
//! points where a function is not smooth stand in the row.

use smallvec::SmallVec;

use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::range::Range;
use crate::ty::DType;

mod cost;
mod eval;
mod rows;
mod special;

/// Declares the enum and the list of its variants.
macro_rules! scalars {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A scalar function, applied to arrays element by element by `map`.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Scalar { $($(#[$doc])* $name),* }

        impl Scalar {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

scalars! {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a - b`, but 0 where they are equal, also if both are infinite.
    SubZ,
    /// `a · b`
    Mul,
    /// `a / b`
    Div,
    /// `-a`
    Neg,
    /// `a · b`, but 0 where either is 0 (strong zero).
    MulZ,
    /// `a · b`, but 0 where `a` is 0: a strong zero where `a` is finite.
    MulZLeft,
    /// `a · b + c`, rounded once
    Fma,
    /// `a` to the power `b`
    Pow,
    /// `a²`
    Square,
    /// `√a`
    Sqrt,
    /// `1 / √a`
    Rsqrt,
    /// `∛a`
    Cbrt,
    /// `√(a² + b²)`
    Hypot,
    /// `1 / a`
    Reciprocal,
    /// `eᵃ`
    Exp,
    /// `eᵃ - 1`
    Expm1,
    /// `2ᵃ`
    Exp2,
    /// natural logarithm
    Log,
    /// logarithm to base 2
    Log2,
    /// logarithm to base 10
    Log10,
    /// `log(1 + a)`
    Log1p,
    /// sine
    Sin,
    /// cosine
    Cos,
    /// tangent
    Tan,
    /// inverse sine, in [-π/2, π/2]
    Asin,
    /// inverse cosine, in [0, π]
    Acos,
    /// inverse tangent, in [-π/2, π/2]
    Atan,
    /// the angle of the point `(b, a)`, in [-π, π]
    Atan2,
    /// hyperbolic sine
    Sinh,
    /// hyperbolic cosine
    Cosh,
    /// hyperbolic tangent
    Tanh,
    /// inverse hyperbolic sine
    Asinh,
    /// inverse hyperbolic cosine, at least 0
    Acosh,
    /// inverse hyperbolic tangent
    Atanh,
    /// `1 / (1 + e⁻ᵃ)`
    Sigmoid,
    /// error function, `2/√π · ∫₀ᵃ e⁻ᵗ² dt`
    Erf,
    /// `1 - erf a`
    Erfc,
    /// inverse of `erf`
    Erfinv,
    /// `log |Γ(a)|`
    Lgamma,
    /// derivative of `log Γ`
    Digamma,
    /// derivative of `digamma` of order `a` (rounded) at `b`
    Polygamma,
    /// `|a|`
    Abs,
    /// -1, 0 or 1
    Sign,
    /// towards -∞
    Floor,
    /// towards +∞
    Ceil,
    /// to the nearest, ties to even
    Round,
    /// towards 0
    Trunc,
    /// the larger; NaN if either is
    Max,
    /// the smaller; NaN if either is
    Min,
    /// `a < b`
    Lt,
    /// `a <= b`
    Le,
    /// `a > b`
    Gt,
    /// `a >= b`
    Ge,
    /// `a == b`
    Eq,
    /// `a != b`
    Ne,
    /// both; bitwise on integers
    And,
    /// either; bitwise on integers
    Or,
    /// one of the two; bitwise on integers
    Xor,
    /// negation; bitwise on integers
    Not,
    /// `a << b`, `b` modulo the width
    Shl,
    /// `a >> b` filling with zeros, `b` modulo the width
    Shr,
    /// `a / b` towards 0; the least number by -1 is itself, and anything by 0 is 0
    Quot,
    /// `a - b · quot(a, b)`, which has the sign of `a`; 0 where `b` is 0
    Rem,
    /// `if a { b } else { c }`
    Select,
    /// to `f32`
    ToF32,
    /// to `f64`
    ToF64,
    /// to `i32`; floats truncate and saturate, NaN becomes 0
    ToI32,
    /// to `i64`; floats truncate and saturate, NaN becomes 0
    ToI64,
    /// to `bool`: `a != 0`
    ToBool,
}

/// What a scalar function takes and gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signature {
    /// Floats to the same float type.
    Float,
    /// Numbers (floats or integers) to the same type.
    Number,
    /// Two numbers or two booleans of one type to `bool`.
    Compare,
    /// Integers or booleans to the same type.
    Bits,
    /// Integers to the same type.
    Int,
    /// A `bool` and two of one type to that type.
    Select,
    /// Anything to this type.
    To(DType),
}

/// The derivative of a result with respect to one argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Partial {
    /// 1.
    One,
    /// -1.
    MinusOne,
    /// The value given, with strong zero.
    Times(Value),
    /// 1 where the condition holds, 0 elsewhere. The side not taken never leaks.
    Where(Value),
    /// 0 where the condition holds, 1 elsewhere.
    WhereNot(Value),
    /// A cast: 1, and the derivative is cast to the type of the other side.
    Cast,
    /// 0 almost everywhere although the value changes: `floor` and its like.
    Flat,
    /// There is none: a truth value, an integer.
    None,
}

/// Arguments to test one operand with.
#[derive(Clone, Copy, Debug)]
pub struct Domain {
    /// Least argument.
    pub lo: f64,
    /// Greatest argument.
    pub hi: f64,
}

/// Meaning of a function on whole arrays of one shape, already type-checked.
pub type Eval = fn(&[&Array]) -> Array;

/// A row of the table.
pub struct Def {
    /// Name in text.
    pub name: &'static str,
    /// Number of arguments.
    pub arity: usize,
    /// Types.
    pub signature: Signature,
    /// Meaning.
    pub eval: Eval,
    /// Partial derivative with respect to argument `i`.
    pub partial: fn(g: &mut Graph, x: &[Value], out: Value, i: usize) -> Partial,
    /// Range of the result.
    pub range: fn(&[Range]) -> Range,
    /// Where derivatives are compared with differences: inside the domain, away
    /// from `kinks`.
    pub domain: &'static [Domain],
    /// Is this argument tuple at or next to a point where it is not smooth?
    pub kink: fn(&[f64]) -> bool,
}

impl Scalar {
    /// Its row.
    pub fn def(self) -> &'static Def {
        rows::row(self)
    }

    /// Name in text.
    pub fn name(self) -> &'static str {
        self.def().name
    }

    /// The function of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.name() == name)
    }

    /// The cast to that type.
    pub const fn cast_to(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Self::ToF32,
            DType::F64 => Self::ToF64,
            DType::I32 => Self::ToI32,
            DType::I64 => Self::ToI64,
            DType::Bool => Self::ToBool,
        }
    }

    /// Whether it changes its value while its derivative is 0 almost everywhere.
    pub const fn is_flat(self) -> bool {
        matches!(self, Self::Sign | Self::Floor | Self::Ceil | Self::Round | Self::Trunc)
    }

    /// The same of operand `i` alone: the order of `polygamma` too.
    pub const fn is_flat_in(self, i: usize) -> bool {
        self.is_flat() || (matches!(self, Self::Polygamma) && i == 0)
    }

    /// Element type of the result, or what was expected.
    pub fn infer(self, args: &[DType]) -> Result<DType, &'static str> {
        let def = self.def();
        if args.len() != def.arity {
            return Err("another number of operands");
        }
        let same = |xs: &[DType]| xs.windows(2).all(|w| w[0] == w[1]);
        let all = |xs: &[DType], ok: fn(DType) -> bool| xs.iter().all(|&d| ok(d));
        match def.signature {
            Signature::Float if !all(args, DType::is_float) => Err("floats"),
            Signature::Number if !all(args, |d| d != DType::Bool) => Err("numbers"),
            Signature::Bits if !all(args, |d| !d.is_float()) => Err("integers or booleans"),
            Signature::Int if !all(args, DType::is_int) => Err("integers"),
            Signature::Select if args[0] != DType::Bool => Err("bool as first operand"),
            Signature::Select if !same(&args[1..]) => Err("one element type in both branches"),
            Signature::Select => Ok(args[1]),
            Signature::To(to) => Ok(to),
            _ if !same(args) => Err("operands of one element type"),
            Signature::Compare => Ok(DType::Bool),
            _ => Ok(args[0]),
        }
    }

    /// Element types to test it with: one list of argument types per instance.
    pub fn dtypes(self) -> Vec<SmallVec<[DType; 3]>> {
        let def = self.def();
        let lists = DType::ALL.into_iter().map(|d| {
            let mut args = SmallVec::from_elem(d, def.arity);
            if def.signature == Signature::Select {
                args[0] = DType::Bool;
            }
            args
        });
        lists.filter(|args: &SmallVec<[DType; 3]>| self.infer(args).is_ok()).collect()
    }
}
