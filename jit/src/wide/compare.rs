//! Comparisons, and choices by them.

use backstitch_ir::DType;
use backstitch_ir::nest::Cmp;

use super::code::{Encoding, Width};
use super::inst::{Class, Inst, Reg, Source, Vector};
use super::masks::{AND, AND_NOT, Mask, OR, XOR};
use super::ops::{Arg, Ops, sized, unary_vector};
use super::table::{self as t, Row};

/// Truth of comparisons of floats by the instructions' number: ordered and quiet, but for
/// `!=`.
pub(super) fn float_predicate(cmp: Cmp) -> u8 {
    match cmp {
        Cmp::Lt => 0x11,
        Cmp::Le => 0x12,
        Cmp::Gt => 0x1e,
        Cmp::Ge => 0x1d,
        Cmp::Eq => 0x00,
        Cmp::Ne => 0x04,
    }
}

/// Neither is NaN.
pub(super) const ORDERED: u8 = 0x07;
/// Either is NaN.
pub(super) const UNORDERED: u8 = 0x03;

fn int_predicate(cmp: Cmp) -> u8 {
    match cmp {
        Cmp::Eq => 0,
        Cmp::Lt => 1,
        Cmp::Le => 2,
        Cmp::Ne => 4,
        Cmp::Ge => 5,
        Cmp::Gt => 6,
    }
}

/// The comparison with its sides exchanged.
fn mirrored(cmp: Cmp) -> Cmp {
    match cmp {
        Cmp::Lt => Cmp::Gt,
        Cmp::Le => Cmp::Ge,
        Cmp::Gt => Cmp::Lt,
        Cmp::Ge => Cmp::Le,
        Cmp::Eq | Cmp::Ne => cmp,
    }
}

impl Ops {
    pub(super) fn compare(
        &mut self,
        cmp: Cmp,
        of: DType,
        lanes: usize,
        a: Arg,
        b: Arg,
    ) -> Option<Reg> {
        if of == DType::Bool {
            return match (cmp, self.encoding) {
                (Cmp::Ne, _) => self.masks(XOR, lanes, a, b),
                (_, Encoding::Evex) => self.masks([&t::KXNOR; 2], lanes, a, b),
                (_, Encoding::Vex) => {
                    let differ = self.masks(XOR, lanes, a, b)?;
                    self.not(Arg::Reg(differ), lanes)
                }
            };
        }
        let (cmp, a, b) = match (a, b) {
            (Arg::Const(_), Arg::Reg(_)) => (mirrored(cmp), b, a),
            _ => (cmp, a, b),
        };
        if of.is_float() {
            return self.compare_floats(float_predicate(cmp), of, lanes, a, b);
        }
        if self.encoding == Encoding::Vex {
            return self.compare_vectors(cmp, of, lanes, a, b);
        }
        let row = sized(of, &t::PCMPD, &t::PCMPQ);
        self.compare_by(row, int_predicate(cmp), of, lanes, a, b)
    }

    pub(super) fn compare_floats(
        &mut self,
        predicate: u8,
        of: DType,
        lanes: usize,
        a: Arg,
        b: Arg,
    ) -> Option<Reg> {
        self.compare_by(sized(of, &t::CMPPS, &t::CMPPD), predicate, of, lanes, a, b)
    }

    fn compare_by(
        &mut self,
        row: &'static Row,
        predicate: u8,
        of: DType,
        lanes: usize,
        a: Arg,
        b: Arg,
    ) -> Option<Reg> {
        self.has(row)?;
        let a = self.reg(a);
        let b = self.source(b);
        let def = self.program.reg(self.class_of(DType::Bool));
        let inst = unary_vector(row, Width::of(lanes * of.size()), def, b);
        self.push(Inst::Vector(Vector { second: Some(a), immediate: Some(predicate), ..inst }));
        Some(match self.encoding {
            Encoding::Evex => def,
            Encoding::Vex => self.mark(def, Some(of.size())),
        })
    }

    /// A comparison into a mask register; lanes outside `mask` are false.
    pub(super) fn compare_into(
        &mut self,
        row: &'static Row,
        width: Width,
        a: Reg,
        b: Source,
        predicate: u8,
        mask: Mask,
    ) -> Option<Reg> {
        let def = self.program.reg(Class::Mask);
        let inst = unary_vector(row, width, def, b);
        self.push(Inst::Vector(Vector {
            second: Some(a),
            immediate: Some(predicate),
            mask: mask.map(|k| (k, false)),
            ..inst
        }));
        Some(def)
    }

    /// Integers where there are but `=` and `>`.
    fn compare_vectors(
        &mut self,
        cmp: Cmp,
        of: DType,
        lanes: usize,
        a: Arg,
        b: Arg,
    ) -> Option<Reg> {
        let (equal, greater) =
            (sized(of, &t::PCMPEQD, &t::PCMPEQQ), sized(of, &t::PCMPGTD, &t::PCMPGTQ));
        let (row, a, b, not) = match cmp {
            Cmp::Eq => (equal, a, b, false),
            Cmp::Ne => (equal, a, b, true),
            Cmp::Gt => (greater, a, b, false),
            Cmp::Le => (greater, a, b, true),
            Cmp::Lt => (greater, b, a, false),
            Cmp::Ge => (greater, b, a, true),
        };
        let def = self.binary(row, Width::of(lanes * of.size()), a, b)?;
        self.mark(def, Some(of.size()));
        if not { self.not(Arg::Reg(def), lanes) } else { Some(def) }
    }

    /// `c ? a : b`.
    pub(super) fn select(
        &mut self,
        to: DType,
        lanes: usize,
        c: Arg,
        a: Arg,
        b: Arg,
    ) -> Option<Reg> {
        let c = self.reg(c);
        if to == DType::Bool {
            return self.select_mask(lanes, c, a, b);
        }
        let c = self.mask_for(c, to.size(), lanes)?;
        let b = self.reg(b);
        let a = self.source(a);
        let def = self.program.reg(Class::Vector);
        self.blend(to.size(), lanes, def, c, a, b);
        Some(def)
    }

    /// `def = c ? a : b`, where all have the same width.
    pub(super) fn blend(&mut self, size: usize, lanes: usize, def: Reg, c: Reg, a: Source, b: Reg) {
        let row = match (self.encoding, size) {
            (Encoding::Evex, 8) => &t::BLENDMPD,
            (Encoding::Evex, _) => &t::BLENDMPS,
            (Encoding::Vex, 8) => &t::BLENDVPD,
            (Encoding::Vex, _) => &t::BLENDVPS,
        };
        let inst = unary_vector(row, Width::of(lanes * size), def, a);
        self.push(Inst::Vector(Vector { second: Some(b), mask: Some((c, false)), ..inst }));
    }

    fn select_mask(&mut self, lanes: usize, c: Reg, a: Arg, b: Arg) -> Option<Reg> {
        if self.encoding == Encoding::Vex {
            let (a, b) = (self.reg(a), self.reg(b));
            let [c, a, b] = self.common([c, a, b], lanes)?;
            let known = [c, a, b].iter().find_map(|m| self.lanes_of.get(m)).copied();
            let def = self.program.reg(Class::Vector);
            // Of values that are the same in all lanes, as many lanes as there are.
            let (size, lanes) = known.map_or((4, 8), |size| (size, lanes));
            self.blend(size, lanes, def, c, Source::Reg(a), b);
            return Some(self.mark(def, known));
        }
        let yes = self.masks(AND, lanes, Arg::Reg(c), a)?;
        let no = self.masks(AND_NOT, lanes, Arg::Reg(c), b)?;
        self.masks(OR, lanes, Arg::Reg(yes), Arg::Reg(no))
    }
}
