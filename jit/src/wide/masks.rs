//! Truth values.
//!
//! AVX-512 keeps them in mask registers, a bit for each lane. In AVX2 they are vectors whose
//! lanes are all ones or all zeros, as wide as the lanes of the comparison that made them;
//! where lanes of the other width are chosen by them, they are widened or narrowed first.
//! What is the same in all lanes, whatever their width, needs neither.

use backstitch_ir::DType;
use backstitch_ir::nest::{Const, Monoid};

use super::code::{Alu, Cond, Encoding, Width};
use super::inst::{Class, Inst, Place, Reg, Source, Value, Vector};
use super::ops::{Arg, Ops, unary_inst, unary_vector};
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
    pub(super) fn common<const N: usize>(
        &mut self,
        masks: [Reg; N],
        lanes: usize,
    ) -> Option<[Reg; N]> {
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
        let mut known = self.hoist.iter().chain(&self.around);
        if let Some(&reg) = known.find_map(|h| h.masks.get(&bits)) {
            return reg;
        }
        let word = self.program.reg(Class::General);
        let def = self.program.reg(Class::Mask);
        let from = Value::Known(bits.into());
        let both = [
            Inst::Alu { op: Alu::Mov, to: word, from },
            unary_inst(&t::KLOAD_R, Width::X128, def, Source::Reg(word)),
        ];
        match self.around.last_mut().or(self.hoist.as_mut()) {
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
