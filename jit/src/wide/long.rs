//! 64-bit integers where there are no instructions for them: AVX2 compares, adds and shifts
//! them, and that is all.

use backstitch_ir::DType;
use backstitch_ir::nest::{Cmp, Const, Monoid};

use super::code::Width;
use super::compare::{UNORDERED, float_predicate};
use super::inst::{Reg, Source};
use super::ops::{Arg, Ops};
use super::table as t;

const fn long(bits: u64) -> Arg {
    Arg::Const(Const { dtype: DType::I64, bits })
}

fn double(x: f64) -> Arg {
    Arg::Const(Const::of_float(DType::F64, x))
}

impl Ops {
    /// `a · b`, from products of halves.
    pub(super) fn multiply_long(&mut self, lanes: usize, a: Arg, b: Arg) -> Option<Reg> {
        let width = Width::of(8 * lanes);
        let [a, b] = [Arg::Reg(self.reg(a)), Arg::Reg(self.reg(b))];
        let low = self.binary(&t::PMULUDQ, width, a, b)?;
        let mut crossed = [low; 2];
        for (out, (a, b)) in crossed.iter_mut().zip([(a, b), (b, a)]) {
            let high = self.binary(&t::PSRLVQ, width, a, long(32))?;
            *out = self.binary(&t::PMULUDQ, width, Arg::Reg(high), b)?;
        }
        let sum = self.binary(&t::PADDQ, width, Arg::Reg(crossed[0]), Arg::Reg(crossed[1]))?;
        let high = self.binary(&t::PSLLVQ, width, Arg::Reg(sum), long(32))?;
        self.binary(&t::PADDQ, width, Arg::Reg(low), Arg::Reg(high))
    }

    /// `a` shifted to the right by less than 64 bits, with its sign.
    pub(super) fn shift_long(&mut self, lanes: usize, a: Arg, by: Arg) -> Option<Reg> {
        let width = Width::of(8 * lanes);
        let shifted = self.binary(&t::PSRLVQ, width, a, by)?;
        let sign = self.binary(&t::PSRLVQ, width, long(1 << 63), by)?;
        let flipped = self.binary(&t::XORQ, width, Arg::Reg(shifted), Arg::Reg(sign))?;
        self.binary(&t::PSUBQ, width, Arg::Reg(flipped), Arg::Reg(sign))
    }

    pub(super) fn abs_long(&mut self, lanes: usize, a: Arg) -> Option<Reg> {
        let width = Width::of(8 * lanes);
        let a = Arg::Reg(self.reg(a));
        let negative = self.binary(&t::PCMPGTQ, width, long(0), a)?;
        let flipped = self.binary(&t::XORQ, width, a, Arg::Reg(negative))?;
        self.binary(&t::PSUBQ, width, Arg::Reg(flipped), Arg::Reg(negative))
    }

    /// To `f64`. Both halves are put into mantissas, the upper one with an exponent that is
    /// greater by 32; what was added is taken off the upper one, which is exact, and the sum
    /// is rounded once.
    pub(super) fn double_of_long(&mut self, lanes: usize, a: Reg) -> Option<Reg> {
        const LOW: u64 = 0x4330_0000_0000_0000;
        const HIGH: u64 = 0x4530_0000_8000_0000;
        const BOTH: u64 = 0x4530_0000_8010_0000;
        let width = Width::of(8 * lanes);
        let low = self.binary(&t::ANDQ, width, Arg::Reg(a), long(0xffff_ffff))?;
        let low = self.binary(&t::ORQ, width, Arg::Reg(low), long(LOW))?;
        let high = self.binary(&t::PSRLVQ, width, Arg::Reg(a), long(32))?;
        let high = self.binary(&t::XORQ, width, Arg::Reg(high), long(HIGH))?;
        let high = self.binary(&t::SUBPD, width, Arg::Reg(high), long(BOTH))?;
        self.binary(&t::ADDPD, width, Arg::Reg(high), Arg::Reg(low))
    }

    /// From `f64`: truncated and saturated, NaN to 0. Halves are made separately.
    pub(super) fn long_of_double(&mut self, lanes: usize, x: Reg) -> Option<Reg> {
        const MANTISSA: u64 = 0x4330_0000_0000_0000;
        let (width, word) = (Width::of(8 * lanes), 2f64.powi(32));
        let whole = self.unary_with(&t::ROUNDPD, width, Source::Reg(x), 11)?;
        let whole = self.binary(&t::MAXPD, width, Arg::Reg(whole), double(-2f64.powi(63)))?;
        let high = self.binary(&t::MULPD, width, Arg::Reg(whole), double(1.0 / word))?;
        let high = self.unary_with(&t::ROUNDPD, width, Source::Reg(high), 9)?;
        let low = self.fma(true, width, [Arg::Reg(high), double(-word), Arg::Reg(whole)]);
        let high = self.unary(&t::PD_TO_D, width, Source::Reg(high))?;
        let high = self.unary(&t::D_TO_Q, width, Source::Reg(high))?;
        let high = self.binary(&t::PSLLVQ, width, Arg::Reg(high), long(32))?;
        let low = self.binary(&t::ADDPD, width, Arg::Reg(low), double(2f64.powi(52)))?;
        let low = self.binary(&t::XORQ, width, Arg::Reg(low), long(MANTISSA))?;
        let out = self.binary(&t::ORQ, width, Arg::Reg(high), Arg::Reg(low))?;
        let (over, greatest) = (double(2f64.powi(63)), Monoid::Min.identity(DType::I64));
        let ge = float_predicate(Cmp::Ge);
        let over = self.compare_floats(ge, DType::F64, lanes, Arg::Reg(x), over)?;
        let (over, greatest) = (Arg::Reg(over), Arg::Const(greatest));
        let out = self.select(DType::I64, lanes, over, greatest, Arg::Reg(out))?;
        let nan = self.compare_floats(UNORDERED, DType::F64, lanes, Arg::Reg(x), Arg::Reg(x))?;
        self.select(DType::I64, lanes, Arg::Reg(nan), long(0), Arg::Reg(out))
    }
}
