//! Numbers of one type as numbers of another.

use backstitch_ir::DType;
use backstitch_ir::nest::{Cmp, Const, Monoid};

use super::code::{Encoding, Width};
use super::compare::{UNORDERED, float_predicate};
use super::inst::{Class, Inst, Reg, Role, Source, Vector};
use super::ops::{Arg, Ops, blank, sized, unary_vector};
use super::table as t;

impl Ops {
    pub(super) fn convert(&mut self, from: DType, to: DType, lanes: usize, a: Arg) -> Option<Reg> {
        if from == to {
            return Some(self.reg(a));
        }
        if from == DType::Bool {
            return self.number_of(to, lanes, a);
        }
        let x = self.reg(a);
        let wider = Width::of(lanes * from.size().max(to.size()));
        if self.encoding == Encoding::Vex {
            match (from, to) {
                (DType::I64, DType::F64) => return self.double_of_long(lanes, x),
                (DType::F64, DType::I64) => return self.long_of_double(lanes, x),
                (DType::F32, DType::I64) => {
                    let x = self.unary(&t::PS_TO_PD, wider, Source::Reg(x))?;
                    return self.long_of_double(lanes, x);
                }
                (DType::I64, DType::I32) => return self.low_halves(x, lanes),
                _ => {}
            }
        }
        let row = match (from, to) {
            (DType::F32, DType::F64) => &t::PS_TO_PD,
            (DType::F64, DType::F32) => &t::PD_TO_PS,
            (DType::I32, DType::F32) => &t::D_TO_PS,
            (DType::I32, DType::F64) => &t::D_TO_PD,
            (DType::I64, DType::F32) => &t::Q_TO_PS,
            (DType::I64, DType::F64) => &t::Q_TO_PD,
            (DType::I32, DType::I64) => &t::D_TO_Q,
            (DType::I64, DType::I32) => {
                self.has(&t::Q_TO_D)?;
                let def = self.program.reg(Class::Vector);
                let inst = Vector { reg: Some((x, Role::Use)), ..blank(&t::Q_TO_D) };
                self.push(Inst::Vector(Vector {
                    width: wider,
                    source: Source::Reg(def),
                    to_source: true,
                    ..inst
                }));
                return Some(def);
            }
            _ => return self.truncate(from, to, lanes, x),
        };
        self.unary(row, wider, Source::Reg(x))
    }

    /// Truncates, saturates, and takes NaN to 0. The instructions make the least integer
    /// of everything that does not fit.
    fn truncate(&mut self, from: DType, to: DType, lanes: usize, x: Reg) -> Option<Reg> {
        let wider = Width::of(lanes * from.size().max(to.size()));
        let row = match (from, to) {
            (DType::F32, DType::I32) => &t::PS_TO_D,
            (DType::F64, DType::I32) => &t::PD_TO_D,
            (DType::F32, _) => &t::PS_TO_Q,
            _ => &t::PD_TO_Q,
        };
        let n = self.unary(row, wider, Source::Reg(x))?;
        let bound = if to == DType::I32 { 2f64.powi(31) } else { 2f64.powi(63) };
        let (ge, bound) = (float_predicate(Cmp::Ge), Arg::Const(Const::of_float(from, bound)));
        let over = self.compare_floats(ge, from, lanes, Arg::Reg(x), bound)?;
        let greatest = Arg::Const(Monoid::Min.identity(to));
        let n = self.select(to, lanes, Arg::Reg(over), greatest, Arg::Reg(n))?;
        let nan = self.compare_floats(UNORDERED, from, lanes, Arg::Reg(x), Arg::Reg(x))?;
        let zero = Arg::Const(Const::of_int(to, 0));
        self.select(to, lanes, Arg::Reg(nan), zero, Arg::Reg(n))
    }

    /// 1 or 0 of another type.
    pub(super) fn number_of(&mut self, to: DType, lanes: usize, a: Arg) -> Option<Reg> {
        let mask = self.reg(a);
        let one = Const::of_int(to, 1);
        let width = Width::of(lanes * to.size());
        if self.encoding == Encoding::Vex {
            let mask = self.mask_for(mask, to.size(), lanes)?;
            return self.binary(&t::ANDD, width, Arg::Reg(mask), Arg::Const(one));
        }
        // A broadcast of an element that leaves zeros where the mask does not hold.
        let one = self.program.pool.slot(&one.bits.to_le_bytes()[..to.size()]);
        let row = sized(to, &t::REPEATD, &t::REPEATQ);
        let def = self.program.reg(Class::Vector);
        let inst = unary_vector(row, width, def, Source::Pool(one));
        self.push(Inst::Vector(Vector { mask: Some((mask, true)), ..inst }));
        Some(def)
    }
}
