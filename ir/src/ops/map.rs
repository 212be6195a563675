//! A scalar function at every element. All of its rules follow from the
//! function's row in the table.

use std::fmt;

use smallvec::{SmallVec, smallvec};

use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types,
    materialise, mistake, sum_parts,
};
use crate::range::Range;
use crate::scalar::{Partial, Scalar};
use crate::text::{Attrs, ParseError};
use crate::ty::{DType, Type};

/// `f` applied to the elements of operands of one shape.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Map {
    /// The function.
    pub f: Scalar,
}

impl Map {
    /// `partial · d`, where `d` is a cotangent of the result or a tangent of the
    /// argument, and `to` the type of the product.
    fn apply(g: &mut Graph, partial: Partial, d: Value, to: DType) -> Option<Value> {
        match partial {
            Partial::One => Some(d),
            Partial::MinusOne => Some(g.map(Scalar::Neg, &[d])),
            Partial::Times(p) => Some(strong_product(g, d, p)),
            Partial::Where(c) => {
                let zero = g.like(d, 0.0);
                Some(g.map(Scalar::Select, &[c, d, zero]))
            }
            Partial::WhereNot(c) => {
                let zero = g.like(d, 0.0);
                Some(g.map(Scalar::Select, &[c, zero, d]))
            }
            Partial::Cast => Some(g.cast(d, to)),
            Partial::Flat | Partial::None => None,
        }
    }
}

/// `d · p`, a derivative times a partial derivative, such that zero times anything is zero. A
/// plain product where that is known to be the same; where only `p` may be infinite, it is `d`
/// that may win.
pub fn strong_product(g: &mut Graph, d: Value, p: Value) -> Value {
    if g.is_splat(d, 1.0) {
        return p;
    }
    if g.is_splat(p, 1.0) {
        return d;
    }
    let (rd, rp) = (g.range(d), g.range(p));
    let d_wins = !rp.finite && rd.may_be_zero();
    let p_wins = !rd.finite && rp.may_be_zero();
    let product = match (d_wins, p_wins) {
        (false, false) => Scalar::Mul,
        (true, false) => Scalar::MulZLeft,
        (_, true) => Scalar::MulZ,
    };
    g.map(product, &[d, p])
}

impl Primitive for Map {
    fn name(&self) -> &'static str {
        self.f.name()
    }

    fn write(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        let dtypes: SmallVec<[DType; 3]> = args.iter().map(|t| t.dtype).collect();
        let dtype = self.f.infer(&dtypes).map_err(|e| mistake(self.name(), e, args))?;
        if args.iter().any(|t| t.shape != args[0].shape || t.stack > 0) {
            return Err(mistake(self.name(), "operands of one shape", args));
        }
        Ok(smallvec![args[0].with_dtype(dtype)])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        (self.f.def().eval)(args)
    }

    fn range(&self, args: &[Range]) -> Range {
        (self.f.def().range)(args)
    }

    fn jvp(&self, g: &mut Graph, at: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        let to = g.ty(at.results[0]).dtype;
        let parts: SmallVec<[Option<Value>; 3]> = tangents
            .iter()
            .enumerate()
            .map(|(i, &t)| {
                let t = t.filter(|_| to.is_float())?;
                let partial = (self.f.def().partial)(g, at.args, at.results[0], i);
                Self::apply(g, partial, t, to)
            })
            .collect();
        sum_parts(g, parts)
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        let mut cts = Cotangents::new();
        for (i, &x) in at.args.iter().enumerate() {
            let to = g.ty(x).dtype;
            cts.push(if to.is_float() && at.wanted[i] {
                let partial = (self.f.def().partial)(g, at.args, at.results[0], i);
                Self::apply(g, partial, ct, to)
            } else {
                None
            });
        }
        cts
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], n: usize) -> Value {
        let args: SmallVec<[Value; 3]> = args.iter().map(|&a| materialise(g, a, n)).collect();
        g.map(self.f, &args)
    }

    fn structure(&self, _: &[&Type]) -> Structure {
        Structure::Map(self.f)
    }

    fn carries(&self, i: usize) -> Option<bool> {
        match self.f.def().signature {
            crate::scalar::Signature::Compare
            | crate::scalar::Signature::Bits
            | crate::scalar::Signature::Int => None,
            crate::scalar::Signature::To(to) => to.is_float().then_some(true),
            crate::scalar::Signature::Select => (i > 0).then_some(true),
            _ => Some(!self.f.is_flat_in(i)),
        }
    }
}

impl Definition for Map {
    const NAME: &'static str = "map";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        // In text the name of the function stands for the operation.
        let before = attrs.clone();
        let name = attrs.word()?;
        Scalar::from_name(name)
            .map_or_else(|| before.error("a scalar function"), |f| Ok(Self { f }))
    }

    fn samples() -> Vec<Sample> {
        let mut all = Vec::new();
        for &f in Scalar::ALL {
            let domain: Vec<_> = f.def().domain.iter().map(|d| (d.lo, d.hi)).collect();
            for dtypes in f.dtypes() {
                let args = |dims: &[usize]| dtypes.iter().map(|&d| Type::new(d, dims)).collect();
                for dims in [&[2, 3][..], &[], &[0]] {
                    let domain = (0..f.def().arity).map(|i| domain[i.min(domain.len() - 1)]);
                    let sample = Sample {
                        op: Self { f }.into(),
                        args: args(dims),
                        domain: domain.collect(),
                    };
                    all.push(sample);
                }
            }
        }
        all
    }
}
