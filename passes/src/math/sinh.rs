//! `sinh`, `cosh`.
//!
//! `|x| = n·ln 2 + r` with |r| ≤ ln 2 / 2, and
//!
//! ```text
//! sinh |x| = sinh(n·ln 2)·cosh r + cosh(n·ln 2)·sinh r
//! cosh |x| = cosh(n·ln 2)·cosh r + sinh(n·ln 2)·sinh r
//! ```
//!
//! The functions of `n·ln 2` are `(2^n ± 2^-n)/2`, exact or as good as. Leading terms
//! are added such that what is rounded off is known, since they cancel for `n = 1`.
//! All is computed in halves: the largest results are more than the largest `e^x`.

use std::f64::consts::LOG2_E;

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::Var;

use super::float::{Float, at_most, flip, itself_below, polynomial, sign_of};

/// `(sinh r - r)/r³` in powers of `r²`.
const SINH_F32: [f64; 3] = [0.1666666716337204, 0.008333177305758, 0.00019971879373770207];
const SINH_F64: [f64; 5] = [
    0.16666666666666677,
    0.00833333333332117,
    0.00019841269887766087,
    2.755724217296854e-06,
    2.51098606082716e-08,
];

/// `(cosh r - 1)/r²` in powers of `r²`.
const COSH_F32: [f64; 3] = [0.5, 0.04166645184159279, 0.001393627026118338];
const COSH_F64: [f64; 6] = [
    0.5,
    0.041666666666666685,
    0.0013888888888873047,
    2.4801587350090085e-05,
    2.7557250756792544e-07,
    2.0922178864771515e-09,
];

/// What both functions share.
struct Reduced {
    /// Half of `sinh(n·ln 2)`.
    sinh_n: Var,
    /// Half of `cosh(n·ln 2)`.
    cosh_n: Var,
    /// What was rounded off that: up to one half in the last place of the result.
    cosh_n_lost: Var,
    r: Var,
    /// `sinh r - r`, with what was rounded off.
    sinh_tail: Var,
    /// `cosh r - 1`; what was rounded off `r` does not matter here.
    cosh_tail: Var,
}

impl Reduced {
    fn of(b: &mut NestBuilder, x: Var) -> Self {
        let float = Float::of(b, x);
        let Float { dtype, int, mantissa, bias } = float;
        let t = b.abs(x);
        // From here on they are ∞.
        let t = at_most(b, t, float.pick(89.5, 710.5));
        // 2^(n - 2)
        let (n_magic, n) = float.integer(b, t, LOG2_E, bias - 2);
        let power = float.power_of_two(b, n_magic);
        // 2^(-n - 2); past some `n` it makes no difference.
        let enough = float.pick(30.0, 60.0);
        let near = at_most(b, n_magic, float.magic() + (bias - 2) as f64 + enough);
        let near = float.power_of_two(b, near);
        let bits = b.bitcast(near, int);
        let both = b.int(int, (2 * bias - 4) << mantissa);
        let inverse = b.sub(both, bits);
        let inverse = b.bitcast(inverse, dtype);
        let (cosh_n, sinh_n) = (b.add(power, inverse), b.sub(power, inverse));
        let kept = b.sub(cosh_n, power);
        let cosh_n_lost = b.sub(inverse, kept);

        let [first, second] = float.ln_2().map(|c| b.float(dtype, -c));
        let r_first = b.fma(n, first, t);
        let r = b.fma(n, second, r_first);
        let lost = b.sub(r_first, r);
        let lost = b.fma(n, second, lost);
        let r2 = b.mul(r, r);
        let tail = polynomial(b, r2, float.pick(&SINH_F32[..], &SINH_F64[..]));
        let r3 = b.mul(r2, r);
        let sinh_tail = b.fma(r3, tail, lost);
        let tail = polynomial(b, r2, float.pick(&COSH_F32[..], &COSH_F64[..]));
        let cosh_tail = b.mul(r2, tail);
        Self { sinh_n, cosh_n, cosh_n_lost, r, sinh_tail, cosh_tail }
    }

    /// `2·(even·cosh r + odd·sinh r + rest)`
    fn assemble(&self, b: &mut NestBuilder, even: Var, odd: Var, rest: Option<Var>) -> Var {
        let high = b.fma(odd, self.r, even);
        let low = b.sub(even, high);
        let low = b.fma(odd, self.r, low);
        let rest = match rest {
            None => b.mul(odd, self.sinh_tail),
            Some(rest) => b.fma(odd, self.sinh_tail, rest),
        };
        let rest = b.fma(even, self.cosh_tail, rest);
        let low = b.add(low, rest);
        let y = b.add(high, low);
        b.add(y, y)
    }
}

/// The hyperbolic sine.
pub(super) fn sinh(b: &mut NestBuilder, x: Var) -> Var {
    let float = Float::of(b, x);
    let reduced = Reduced::of(b, x);
    let y = reduced.assemble(b, reduced.sinh_n, reduced.cosh_n, None);
    let sign = sign_of(b, x);
    let y = flip(b, y, sign);
    itself_below(b, x, float.pick(2f64.powi(-13), 2f64.powi(-28)), y)
}

/// The hyperbolic cosine.
pub(super) fn cosh(b: &mut NestBuilder, x: Var) -> Var {
    let reduced = Reduced::of(b, x);
    reduced.assemble(b, reduced.cosh_n, reduced.sinh_n, Some(reduced.cosh_n_lost))
}
