//! Operations of nests as vector instructions.

use backstitch_ir::DType;
use backstitch_ir::nest::ScalarOp;

use super::code::{Encoding, Width};
use super::inst::{Class, Fma, Inst, Reg, Source};
use super::masks::{AND, Logic, OR, XOR};
use super::ops::{Arg, Ops, sized};
use super::table::{self as t, Row};

/// A row for elements of 32 bits, and one for those of 64.
type Rows = [&'static Row; 2];

const ANDS: Rows = [&t::ANDD, &t::ANDQ];
const ORS: Rows = [&t::ORD, &t::ORQ];
const XORS: Rows = [&t::XORD, &t::XORQ];
const SUBTRACTS: Rows = [&t::PSUBD, &t::PSUBQ];

/// What an operation gives: so many lanes of a type.
#[derive(Clone, Copy)]
struct Values {
    dtype: DType,
    lanes: usize,
}

impl Values {
    fn width(self) -> Width {
        Width::of(self.lanes * self.dtype.size().max(4))
    }

    fn is_wide(self) -> bool {
        self.dtype.size() == 8
    }

    fn row(self, [narrow, wide]: Rows) -> &'static Row {
        sized(self.dtype, narrow, wide)
    }

    /// One row for floats, another for integers.
    fn either(self, floats: Rows, integers: Rows) -> &'static Row {
        self.row(if self.dtype.is_float() { floats } else { integers })
    }
}

impl Ops {
    /// `op args` on vectors of so many lanes, where operands have type `from`.
    pub fn apply(
        &mut self,
        op: ScalarOp,
        from: DType,
        to: DType,
        lanes: usize,
        args: &[Arg],
    ) -> Option<Reg> {
        let of = Values { dtype: to, lanes };
        let (row, either) = (|rows| of.row(rows), |f, i| of.either(f, i));
        let width = of.width();
        // 64-bit integers without instructions for them.
        let long = of.is_wide() && !to.is_float() && self.encoding == Encoding::Vex;
        match op {
            ScalarOp::Const(c) => Some(self.constant(c)),
            ScalarOp::Add => {
                let row = either([&t::ADDPS, &t::ADDPD], [&t::PADDD, &t::PADDQ]);
                self.commuting(row, width, args[0], args[1])
            }
            ScalarOp::Sub => {
                let row = either([&t::SUBPS, &t::SUBPD], SUBTRACTS);
                self.binary(row, width, args[0], args[1])
            }
            ScalarOp::Mul if long => self.multiply_long(lanes, args[0], args[1]),
            ScalarOp::Mul => {
                let row = either([&t::MULPS, &t::MULPD], [&t::PMULLD, &t::PMULLQ]);
                self.commuting(row, width, args[0], args[1])
            }
            ScalarOp::Div => self.binary(row([&t::DIVPS, &t::DIVPD]), width, args[0], args[1]),
            ScalarOp::Neg => self.negate(of, args[0]),
            ScalarOp::Abs if long => self.abs_long(lanes, args[0]),
            ScalarOp::Abs => self.abs(of, args[0]),
            ScalarOp::Sqrt => {
                let a = self.source(args[0]);
                self.unary(row([&t::SQRTPS, &t::SQRTPD]), width, a)
            }
            ScalarOp::Fma => Some(self.fma(of.is_wide(), width, [args[0], args[1], args[2]])),
            ScalarOp::Nearest => self.round(of, args[0], 8),
            ScalarOp::Floor => self.round(of, args[0], 9),
            ScalarOp::Ceil => self.round(of, args[0], 10),
            ScalarOp::Trunc => self.round(of, args[0], 11),
            ScalarOp::And => self.bitwise(of, AND, ANDS, args[0], args[1]),
            ScalarOp::Or => self.bitwise(of, OR, ORS, args[0], args[1]),
            ScalarOp::Xor => self.bitwise(of, XOR, XORS, args[0], args[1]),
            ScalarOp::Not if to == DType::Bool => self.not(args[0], lanes),
            ScalarOp::Not => {
                let ones = self.bits(to, !0);
                self.commuting(row(XORS), width, args[0], ones)
            }
            ScalarOp::Shl => self.shift(of, [&t::PSLLVD, &t::PSLLVQ], args[0], args[1]),
            ScalarOp::ShrU => self.shift(of, [&t::PSRLVD, &t::PSRLVQ], args[0], args[1]),
            ScalarOp::ShrS if long => {
                let by = self.shift_count(of, args[1])?;
                self.shift_long(lanes, args[0], by)
            }
            ScalarOp::ShrS => self.shift(of, [&t::PSRAVD, &t::PSRAVQ], args[0], args[1]),
            ScalarOp::Cmp(c) => self.compare(c, from, lanes, args[0], args[1]),
            ScalarOp::Select => self.select(to, lanes, args[0], args[1], args[2]),
            ScalarOp::Bitcast => Some(self.reg(args[0])),
            ScalarOp::Convert => self.convert(from, to, lanes, args[0]),
        }
    }

    fn negate(&mut self, of: Values, a: Arg) -> Option<Reg> {
        if of.dtype.is_float() {
            let sign = self.bits(of.dtype, if of.is_wide() { 1 << 63 } else { 1 << 31 });
            return self.commuting(of.row(XORS), of.width(), a, sign);
        }
        let zero = self.bits(of.dtype, 0);
        self.binary(of.row(SUBTRACTS), of.width(), zero, a)
    }

    fn abs(&mut self, of: Values, a: Arg) -> Option<Reg> {
        if of.dtype.is_float() {
            let rest = self.bits(of.dtype, if of.is_wide() { !0 >> 1 } else { 0x7fff_ffff });
            return self.commuting(of.row(ANDS), of.width(), a, rest);
        }
        let a = self.source(a);
        self.unary(of.row([&t::PABSD, &t::PABSQ]), of.width(), a)
    }

    fn round(&mut self, of: Values, a: Arg, how: u8) -> Option<Reg> {
        let a = self.source(a);
        self.unary_with(of.row([&t::ROUNDPS, &t::ROUNDPD]), of.width(), a, how)
    }

    /// On truth values, and on integers.
    fn bitwise(&mut self, of: Values, masks: Logic, rows: Rows, a: Arg, b: Arg) -> Option<Reg> {
        if of.dtype == DType::Bool {
            return self.masks(masks, of.lanes, a, b);
        }
        self.commuting(of.row(rows), of.width(), a, b)
    }

    fn shift(&mut self, of: Values, rows: Rows, a: Arg, by: Arg) -> Option<Reg> {
        let by = self.shift_count(of, by)?;
        self.binary(of.row(rows), of.width(), a, by)
    }

    /// Modulo the elements' bits.
    fn shift_count(&mut self, of: Values, by: Arg) -> Option<Arg> {
        let last = if of.is_wide() { 63 } else { 31 };
        Some(match by {
            Arg::Const(c) => self.bits(of.dtype, c.bits & last),
            Arg::Reg(_) => {
                let last = self.bits(of.dtype, last);
                Arg::Reg(self.commuting(of.row(ANDS), of.width(), by, last)?)
            }
        })
    }

    pub(super) fn fma(&mut self, double: bool, width: Width, args: [Arg; 3]) -> Reg {
        // One operand may come from memory: rather the summand, rather the second factor.
        let mut rest = true;
        let [c, b, a] = [args[2], args[1], args[0]].map(|arg| match arg {
            Arg::Const(_) if rest => {
                rest = false;
                self.source(arg)
            }
            _ => Source::Reg(self.reg(arg)),
        });
        let def = self.program.reg(Class::Vector);
        self.push(Inst::Fma(Fma { double, width, def, args: [a, b, c], mask: None }));
        def
    }

    /// `x < y ? a : b` where `{a, b} = {x, y}`.
    pub fn select_less(
        &mut self,
        to: DType,
        lanes: usize,
        [x, y]: [Arg; 2],
        least: bool,
    ) -> Option<Reg> {
        let width = Width::of(lanes * to.size());
        if least {
            self.binary(sized(to, &t::MINPS, &t::MINPD), width, x, y)
        } else {
            self.binary(sized(to, &t::MAXPS, &t::MAXPD), width, y, x)
        }
    }
}
