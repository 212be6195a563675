//! Rounding and signs: flat functions.

use super::{HALF, INTEGER, SMOOTH_NUMBER, ZERO, rounding};
use crate::range::Range;
use crate::scalar::Partial::Flat;
use crate::scalar::eval::{float, number};
use crate::scalar::{Def, Eval};

pub(super) static SIGN: Def = Def {
    name: "sign",
    arity: 1,
    eval: number!(x => if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x },
                              x.signum()),
    partial: |_, _, _, _| Flat,
    range: |r| Range::between(-1.0, 1.0).with_finite(r[0].finite),
    kink: ZERO,
    ..SMOOTH_NUMBER
};

pub(super) static FLOOR: Def =
    rounding("floor", float!(x => x.floor()), |r| r[0].monotone(f64::floor), INTEGER);

pub(super) static CEIL: Def =
    rounding("ceil", float!(x => x.ceil()), |r| r[0].monotone(f64::ceil), INTEGER);

pub(super) static ROUND: Def = {
    let eval: Eval = float!(x => x.round_ties_even());
    rounding("round", eval, |r| r[0].monotone(f64::round_ties_even), HALF)
};

pub(super) static TRUNC: Def =
    rounding("trunc", float!(x => x.trunc()), |r| r[0].monotone(f64::trunc), INTEGER);
