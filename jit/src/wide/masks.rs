//! Truth values.
//!
//! AVX-512 keeps them in mask registers, a bit for each lane. In AVX2 they are vectors whose
//! lanes are all ones or all zeros, as wide as the lanes of the comparison that made them;
//! where lanes of the other width are chosen by them, they are widened or narrowed first.
//! What is the same in all lanes, whatever their width, needs neither.

use backstitch_ir::DType;
use backstitch_ir::nest::{Cmp, Const, Monoid};

use super::code::{Alu, Cond, Encoding, Width};
use super::inst::{Class, Inst, Place, Reg, Source, Value, Vector};
use super::ops::{Arg, Ops, sized, unary_inst, unary_vector};
use super::places::Int;
use super::table::{self as t, Row};

/// Lanes that count, if not all do.
pub(crate) type Mask = Option<Reg>;

/// The lanes of a vector that may not be full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail {
    pub mask: Reg,
    /// How many there are, at least one; more than a vector has are all of them.
    pub left: Int,
}

/// An operation on truth values: on mask registers, and on vectors.
pub(super) type Logic = [&'static Row; 2];
pub(super) const AND: Logic = [&t::KAND, &t::ANDD];
pub(super) const AND_NOT: Logic = [&t::KANDN, &t::ANDND];
pub(super) const OR: Logic = [&t::KOR, &t::ORD];
pub(super) const XOR: Logic = [&t::KXOR, &t::XORD];

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
    pub fn class_of(&self, dtype: DType) -> Class {
        match (dtype, self.encoding) {
            (DType::Bool, Encoding::Evex) => Class::Mask,
            _ => Class::Vector,
        }
    }

    // ---- Widths ----

    /// Says how wide the lanes of a truth value are, in bytes. What nothing is said of is the
    /// same in all lanes.
    pub(super) fn mark(&mut self, mask: Reg, size: Option<usize>) -> Reg {
        if let Some(size) = size {
            self.lanes_of.insert(mask, size);
        }
        mask
    }

    /// A truth value for lanes of so many bytes.
    pub(super) fn mask_for(&mut self, mask: Reg, size: usize, lanes: usize) -> Option<Reg> {
        let out = match (self.lanes_of.get(&mask), size) {
            (None, _) => return Some(mask),
            (Some(&has), _) if has == size => return Some(mask),
            (Some(8), _) if lanes == 1 => return Some(mask),
            (Some(4), _) => self.unary(&t::D_TO_Q, Width::of(8 * lanes), Source::Reg(mask))?,
            _ => self.low_halves(mask, lanes)?,
        };
        Some(self.mark(out, Some(size)))
    }

    /// The lower half of each 64-bit lane.
    pub(super) fn low_halves(&mut self, x: Reg, lanes: usize) -> Option<Reg> {
        match lanes {
            1 => return Some(x),
            4 => {}
            _ => return None,
        }
        let high = self.part(&t::EXTRACT128, Width::Y256, x, 1)?;
        let def = self.program.reg(Class::Vector);
        let inst = unary_vector(&t::SHUFPS, Width::X128, def, Source::Reg(high));
        self.push(Inst::Vector(Vector { second: Some(x), immediate: Some(0x88), ..inst }));
        Some(def)
    }

    /// The width that several truth values can have in common.
    fn common<const N: usize>(&mut self, masks: [Reg; N], lanes: usize) -> Option<[Reg; N]> {
        let Some(size) = masks.iter().filter_map(|m| self.lanes_of.get(m)).max().copied() else {
            return Some(masks);
        };
        let mut out = masks;
        for mask in &mut out {
            *mask = self.mask_for(*mask, size, lanes)?;
        }
        Some(out)
    }

    // ---- Constants and scalars ----

    /// The same truth value in all lanes.
    pub(super) fn truth(&mut self, value: bool) -> Reg {
        match self.encoding {
            Encoding::Evex => self.mask_constant(if value { 0xffff } else { 0 }),
            Encoding::Vex => self.constant(Const::of_int(DType::I32, -i64::from(value))),
        }
    }

    /// A mask register of these lanes.
    pub(super) fn mask_constant(&mut self, bits: u16) -> Reg {
        if let Some(&reg) = self.hoist.as_ref().and_then(|h| h.masks.get(&bits)) {
            return reg;
        }
        let word = self.program.reg(Class::General);
        let def = self.program.reg(Class::Mask);
        let from = Value::Known(bits.into());
        let both = [
            Inst::Alu { op: Alu::Mov, to: word, from },
            unary_inst(&t::KLOAD_R, Width::X128, def, Source::Reg(word)),
        ];
        match &mut self.hoist {
            Some(hoist) => {
                hoist.insts.extend(both);
                hoist.masks.insert(bits, def);
            }
            None => both.into_iter().for_each(|inst| self.push(inst)),
        }
        def
    }

    /// All of so many lanes, as a mask register.
    pub(super) fn all_lanes(&mut self, lanes: usize) -> Reg {
        self.mask_constant(((1u32 << lanes) - 1) as u16)
    }

    /// The first so many of all lanes of `size` bytes.
    pub fn tail(&mut self, left: Int, lanes: usize, size: usize) -> Option<Tail> {
        let mask = match (self.encoding, left.base) {
            (Encoding::Evex, None) => self.mask_constant((1u16 << left.offset) - 1),
            (Encoding::Evex, Some(_)) => {
                let count = left.read(&mut self.program);
                let from = Int::known((1 << lanes) - 1).copy(&mut self.program);
                let to = self.program.reg(Class::General);
                self.push(Inst::LowBits { to, from, count });
                let mask = self.program.reg(Class::Mask);
                self.push(unary_inst(&t::KLOAD_R, Width::X128, mask, Source::Reg(to)));
                mask
            }
            (Encoding::Vex, None) => {
                let lane = |i| if i < left.offset { 0xff } else { 0 };
                let bytes = (0..lanes as i64).flat_map(|i| vec![lane(i); size]).collect::<Vec<_>>();
                let mask = self.lanes_constant(&bytes);
                self.mark(mask, Some(size))
            }
            (Encoding::Vex, Some(_)) => {
                let count = left.read(&mut self.program);
                let (of, compare) = match size {
                    8 => (DType::I64, &t::PCMPGTQ),
                    _ => (DType::I32, &t::PCMPGTD),
                };
                let width = Width::of(lanes * size);
                let count = self.repeat_word(of, count, width)?;
                let numbers: Vec<u8> =
                    (0..lanes as u64).flat_map(|i| i.to_le_bytes()[..size].to_vec()).collect();
                let numbers = self.lanes_constant(&numbers);
                let mask = self.binary(compare, width, Arg::Reg(count), Arg::Reg(numbers))?;
                self.mark(mask, Some(size))
            }
        };
        Some(Tail { mask, left })
    }

    /// The first lane in all lanes.
    pub(super) fn repeat_mask(&mut self, x: Reg) -> Option<Reg> {
        if self.encoding == Encoding::Vex {
            return self.unary(&t::REPEATD, Width::Y256, Source::Reg(x));
        }
        let word = self.first_bits(x);
        self.push(Inst::Alu { op: Alu::And, to: word, from: Value::Known(1) });
        self.push(Inst::Negate { to: word });
        self.mask_of_word(word)
    }

    /// A `bool` of memory in all lanes.
    pub(super) fn load_mask(&mut self, place: Place) -> Option<Reg> {
        let word = self.program.reg(Class::General);
        self.push(Inst::LoadByte { to: word, place });
        self.push(Inst::Negate { to: word });
        self.mask_of_word(word)
    }

    /// Stores the first lane.
    pub(super) fn store_mask(&mut self, place: Place, x: Reg) {
        let word = self.first_bits(x);
        self.push(Inst::Alu { op: Alu::And, to: word, from: Value::Known(1) });
        self.push(Inst::StoreByte { place, from: word });
    }

    /// A word whose lowest bit is the first lane.
    fn first_bits(&mut self, x: Reg) -> Reg {
        if self.encoding == Encoding::Vex {
            return self.word(x);
        }
        let word = self.program.reg(Class::General);
        self.push(unary_inst(&t::KSTORE_R, Width::X128, word, Source::Reg(x)));
        word
    }

    /// The truth value, in all lanes, of a word that is 0 or all ones.
    fn mask_of_word(&mut self, word: Reg) -> Option<Reg> {
        if self.encoding == Encoding::Vex {
            let x = self.unary(&t::FROM_R64, Width::X128, Source::Reg(word))?;
            return self.unary(&t::REPEATQ, Width::Y256, Source::Reg(x));
        }
        let def = self.program.reg(Class::Mask);
        self.push(unary_inst(&t::KLOAD_R, Width::X128, def, Source::Reg(word)));
        Some(def)
    }

    // ---- Operations ----

    pub(super) fn masks(&mut self, op: Logic, lanes: usize, a: Arg, b: Arg) -> Option<Reg> {
        let (a, b) = (self.reg(a), self.reg(b));
        let [a, b] = self.common([a, b], lanes)?;
        let def = self.program.reg(self.class_of(DType::Bool));
        self.masks_into(op, lanes, def, a, b);
        Some(def)
    }

    /// The same into a register, where all have the same width.
    fn masks_into(&mut self, [masks, vectors]: Logic, lanes: usize, def: Reg, a: Reg, b: Reg) {
        let size = self.lanes_of.get(&a).or(self.lanes_of.get(&b)).copied();
        let (row, width) = match self.encoding {
            Encoding::Evex => (masks, Width::X128),
            Encoding::Vex => (vectors, size.map_or(Width::Y256, |size| Width::of(size * lanes))),
        };
        let inst = unary_vector(row, width, def, Source::Reg(b));
        self.push(Inst::Vector(Vector { second: Some(a), ..inst }));
        self.mark(def, size);
    }

    pub(super) fn not(&mut self, a: Arg, lanes: usize) -> Option<Reg> {
        let a = self.reg(a);
        if self.encoding == Encoding::Vex {
            let ones = self.truth(true);
            return self.masks(XOR, lanes, Arg::Reg(a), Arg::Reg(ones));
        }
        let def = self.program.reg(Class::Mask);
        self.push(unary_inst(&t::KNOT, Width::X128, def, Source::Reg(a)));
        Some(def)
    }

    /// `acc = acc ⊕ x`, where `acc` is written again.
    pub(super) fn combine_masks(
        &mut self,
        acc: Reg,
        op: Monoid,
        lanes: usize,
        x: Reg,
    ) -> Option<()> {
        // A result begins as a constant, and is as wide from the start as what comes first.
        let x = match self.lanes_of.get(&acc) {
            Some(&size) => self.mask_for(x, size, lanes)?,
            None => x,
        };
        let op = if op == Monoid::Any { OR } else { AND };
        self.masks_into(op, lanes, acc, acc, x);
        Some(())
    }

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

    /// Whether any lane, or every lane, is true.
    pub(super) fn finish_mask(&mut self, op: Monoid, lanes: usize, acc: Reg) -> Option<Reg> {
        let all = (1 << lanes) - 1;
        let word = self.program.reg(Class::General);
        match self.encoding {
            Encoding::Evex => {
                self.push(unary_inst(&t::KSTORE_R, Width::X128, word, Source::Reg(acc)));
            }
            Encoding::Vex => {
                let size = self.lanes_of.get(&acc).copied().unwrap_or(4);
                let row = if size == 8 { &t::MOVMSKPD } else { &t::MOVMSKPS };
                self.push(unary_inst(row, Width::of(lanes * size), word, Source::Reg(acc)));
            }
        }
        let (yes, out) = (self.program.reg(Class::General), self.program.reg(Class::General));
        let mov = |to, n| Inst::Alu { op: Alu::Mov, to, from: Value::Known(n) };
        self.push(mov(yes, -1));
        self.push(mov(out, 0));
        self.push(Inst::Alu { op: Alu::And, to: word, from: Value::Known(all) });
        let (against, cond) = match op {
            Monoid::Any => (0, Cond::NotEqual),
            _ => (all, Cond::Equal),
        };
        self.push(Inst::Alu { op: Alu::Cmp, to: word, from: Value::Known(against) });
        self.push(Inst::MoveIf { cond, to: out, from: yes });
        self.mask_of_word(out)
    }
}
