//! Vectors from and to memory.
//!
//! Consecutive elements are one instruction each, with a mask where not all lanes are there:
//! what lies outside is never touched. Elements in steps are gathered and scattered, or, where
//! there are no instructions for that, moved one by one.

use backstitch_ir::DType;
use backstitch_ir::nest::Const;

use super::code::{Alu, Cond, Encoding, Label, Width};
use super::inst::{Class, Inst, Place, Reg, Role, Source, Value, Vector};
use super::masks::{Mask, Tail};
use super::ops::{Arg, Ops, blank, store_inst, unary_inst, unary_vector};
use super::table::{self as t, Row};

/// What is loaded or stored: so many lanes of a type, in a loop whose widest elements have
/// `size` bytes; and how many of the lanes there are.
#[derive(Clone, Copy)]
pub(crate) struct Lanes {
    pub dtype: DType,
    pub lanes: usize,
    pub size: usize,
    pub tail: Option<Tail>,
}

impl Lanes {
    fn width(&self) -> Width {
        Width::of(self.lanes * self.dtype.size())
    }

    fn is_wide(&self) -> bool {
        self.dtype.size() == 8
    }
}

impl Ops {
    // ---- Consecutive elements ----

    pub fn load(&mut self, of: Lanes, place: Place) -> Option<Reg> {
        if of.dtype == DType::Bool {
            return match self.encoding {
                Encoding::Evex => self.load_bits(of, place),
                Encoding::Vex => self.load_bytes(of, place, 1),
            };
        }
        let def = self.program.reg(Class::Vector);
        let inst = |row| unary_vector(row, of.width(), def, Source::Place(place));
        let inst = match (of.tail, self.encoding) {
            (None, _) => inst(if of.is_wide() { &t::LOADPD } else { &t::LOADPS }),
            (Some(tail), Encoding::Evex) => Vector {
                mask: Some((tail.mask, true)),
                ..inst(if of.is_wide() { &t::LOADPD } else { &t::LOADPS })
            },
            (Some(tail), Encoding::Vex) => Vector {
                second: Some(self.mask_for(tail.mask, of.dtype.size(), of.lanes)?),
                ..inst(if of.is_wide() { &t::MASKLOADPD } else { &t::MASKLOADPS })
            },
        };
        self.push(Inst::Vector(inst));
        Some(def)
    }

    pub fn store(&mut self, of: Lanes, place: Place, x: Reg) -> Option<()> {
        if of.dtype == DType::Bool {
            return match self.encoding {
                Encoding::Evex => self.store_bits(of, place, x),
                Encoding::Vex => self.store_bytes(of, place, x),
            };
        }
        let row = if of.is_wide() { &t::STOREPD } else { &t::STOREPS };
        let inst = match (of.tail, self.encoding) {
            (Some(tail), Encoding::Vex) => {
                let mask = self.mask_for(tail.mask, of.dtype.size(), of.lanes)?;
                let row = if of.is_wide() { &t::MASKSTOREPD } else { &t::MASKSTOREPS };
                let inst = unary_vector(row, of.width(), x, Source::Place(place));
                let reg = Some((x, Role::Use));
                Inst::Vector(Vector { reg, second: Some(mask), ..inst })
            }
            (tail, _) => store_inst(row, of.width(), x, place, tail.map(|t| t.mask)),
        };
        self.push(inst);
        Some(())
    }

    // ---- Truth values in mask registers ----

    fn load_bits(&mut self, of: Lanes, place: Place) -> Option<Reg> {
        let row = match (of.tail, of.lanes) {
            (Some(_), _) => &t::LOADB,
            (None, 16) => &t::LOADPS,
            (None, 8) => &t::LOADQ,
            (None, _) => return None,
        };
        let bytes = self.program.reg(Class::Vector);
        let inst = unary_vector(row, Width::X128, bytes, Source::Place(place));
        let mask = of.tail.map(|tail| (tail.mask, true));
        self.push(Inst::Vector(Vector { mask, ..inst }));
        let def = self.program.reg(Class::Mask);
        let inst = unary_vector(&t::PTESTMB, Width::X128, def, Source::Reg(bytes));
        self.push(Inst::Vector(Vector { second: Some(bytes), ..inst }));
        Some(def)
    }

    fn store_bits(&mut self, of: Lanes, place: Place, x: Reg) -> Option<()> {
        let ones = self.unary(&t::MASK_TO_BYTES, Width::X128, Source::Reg(x))?;
        let bytes = self.unary(&t::PABSB, Width::X128, Source::Reg(ones))?;
        let row = match (of.tail, of.lanes) {
            (Some(_), _) => &t::STOREB,
            (None, 16) => &t::STOREPS,
            (None, 8) => &t::STOREQ,
            (None, _) => return None,
        };
        self.push(store_inst(row, Width::X128, bytes, place, of.tail.map(|t| t.mask)));
        Some(())
    }

    // ---- Truth values in vectors ----

    /// Bytes, `step` apart, filled up and compared with zero.
    fn load_bytes(&mut self, of: Lanes, place: Place, step: i64) -> Option<Reg> {
        let size = if of.lanes * of.size <= 32 { of.size } else { 4 };
        let (fill, compare) = match size {
            8 => (&t::BYTES_TO_Q, &t::PCMPGTQ),
            _ => (&t::BYTES_TO_D, &t::PCMPGTD),
        };
        let source = if of.tail.is_none() && step == 1 {
            Source::Place(place)
        } else {
            let bytes = self.zero();
            self.each_lane(of, place, step, |this, place, i| {
                this.push(Inst::Vector(Vector {
                    reg: Some((bytes, Role::Def)),
                    second: Some(bytes),
                    source: Source::Place(place),
                    immediate: Some(i),
                    ..blank(&t::INSERTB)
                }));
                Some(())
            })?;
            Source::Reg(bytes)
        };
        let width = Width::of(of.lanes * size);
        let numbers = self.unary(fill, width, source)?;
        let zero =
            Arg::Const(Const { dtype: if size == 8 { DType::I64 } else { DType::I32 }, bits: 0 });
        let def = self.binary(compare, width, Arg::Reg(numbers), zero)?;
        Some(self.mark(def, Some(size)))
    }

    fn store_bytes(&mut self, of: Lanes, place: Place, x: Reg) -> Option<()> {
        let bytes = self.bytes_of(of.lanes, x)?;
        match (of.tail, of.lanes) {
            (None, 8) => self.push(store_inst(&t::STOREQ, Width::X128, bytes, place, None)),
            (None, 4) => self.push(store_inst(&t::STORESS, Width::X128, bytes, place, None)),
            _ => self.store_each(of, place, 1, bytes)?,
        }
        Some(())
    }

    /// A truth value's lanes as bytes that are 0 or 1.
    fn bytes_of(&mut self, lanes: usize, x: Reg) -> Option<Reg> {
        let x = self.mask_for(x, 4, lanes)?;
        let (low, high) = match lanes {
            8 => (x, self.part(&t::EXTRACT128, Width::Y256, x, 1)?),
            4 => (x, x),
            _ => return None,
        };
        let words = self.binary(&t::PACKSSDW, Width::X128, Arg::Reg(low), Arg::Reg(high))?;
        let bytes = self.binary(&t::PACKSSWB, Width::X128, Arg::Reg(words), Arg::Reg(words))?;
        self.unary(&t::PABSB, Width::X128, Source::Reg(bytes))
    }

    // ---- Elements in steps ----

    /// Elements `step` bytes apart.
    pub fn load_strided(&mut self, of: Lanes, place: Place, step: i64) -> Option<Reg> {
        if of.dtype == DType::Bool {
            self.has(&t::INSERTB)?;
            return self.load_bytes(of, place, step);
        }
        let place = self.flat(place);
        let index = self.offsets(of.lanes, step)?;
        let row = if of.is_wide() { &t::GATHER_PD_D } else { &t::GATHER_PS_D };
        self.gather(of, row, of.width(), Place { index: Some((index, 0)), ..place })
    }

    /// Elements at computed indices, on top of which they are `step` bytes apart.
    pub fn load_indexed(&mut self, of: Lanes, place: Place, index: Reg, step: i64) -> Option<Reg> {
        if of.dtype == DType::Bool {
            return None;
        }
        let width = Width::of(8 * of.lanes);
        let mut index = index;
        if step != 0 {
            let stride = step / of.dtype.size() as i64;
            let steps: Vec<u8> =
                (0..of.lanes as i64).flat_map(|i| (i * stride).to_le_bytes()).collect();
            let steps = self.lanes_constant(&steps);
            index = self.binary(&t::PADDQ, width, Arg::Reg(index), Arg::Reg(steps))?;
        }
        let row = if of.is_wide() { &t::GATHER_PD_Q } else { &t::GATHER_PS_Q };
        let scale = of.dtype.size().trailing_zeros() as u8;
        self.gather(of, row, width, Place { index: Some((index, scale)), ..place })
    }

    pub fn store_strided(&mut self, of: Lanes, place: Place, step: i64, x: Reg) -> Option<()> {
        if step == 0 {
            return None;
        }
        let place = self.flat(place);
        let x = match (of.dtype, self.encoding) {
            (DType::Bool, Encoding::Evex) => return None,
            (DType::Bool, Encoding::Vex) => self.bytes_of(of.lanes, x)?,
            _ => x,
        };
        let known = of.tail.is_none_or(|tail| tail.left.base.is_none());
        if known || self.encoding == Encoding::Vex {
            return self.store_each(of, place, step, x);
        }
        let index = self.offsets(of.lanes, step)?;
        let row = if of.is_wide() { &t::SCATTER_PD_D } else { &t::SCATTER_PS_D };
        let mask = self.spent(of)?;
        self.push(Inst::Vector(Vector {
            width: of.width(),
            reg: Some((x, Role::Use)),
            source: Source::Place(Place { index: Some((index, 0)), ..place }),
            mask: Some((mask, false)),
            gathers: true,
            ..blank(row)
        }));
        Some(())
    }

    fn gather(&mut self, of: Lanes, row: &'static Row, width: Width, place: Place) -> Option<Reg> {
        let mask = self.spent(of)?;
        // Clears what it would otherwise wait for.
        let gathered = self.zero();
        self.push(Inst::Vector(Vector {
            width,
            reg: Some((gathered, Role::Change)),
            source: Source::Place(place),
            mask: Some((mask, false)),
            gathers: true,
            ..blank(row)
        }));
        // Which has to be in a register for that long only.
        let def = self.program.reg(Class::Vector);
        self.push(unary_inst(&t::MOVAPS, self.widest(), def, Source::Reg(gathered)));
        Some(def)
    }

    fn zero(&mut self) -> Reg {
        let def = self.program.reg(Class::Vector);
        let inst = unary_vector(&t::XORD, Width::X128, def, Source::Reg(def));
        self.push(Inst::Vector(Vector { second: Some(def), ..inst }));
        def
    }

    /// A mask that an instruction may use up.
    fn spent(&mut self, of: Lanes) -> Option<Reg> {
        let from = match (of.tail, self.encoding) {
            (Some(tail), _) => self.mask_for(tail.mask, of.dtype.size(), of.lanes)?,
            (None, Encoding::Evex) => self.all_lanes(of.lanes),
            (None, Encoding::Vex) => self.truth(true),
        };
        Some(self.variable(from))
    }

    /// Offsets of the lanes' elements in bytes, as 32-bit integers.
    fn offsets(&mut self, lanes: usize, step: i64) -> Option<Reg> {
        let step = i32::try_from(step).ok()?;
        step.checked_mul(lanes as i32)?;
        let bytes: Vec<u8> = (0..lanes as i32).flat_map(|i| (i * step).to_le_bytes()).collect();
        Some(self.lanes_constant(&bytes))
    }

    /// The same place with one register.
    fn flat(&mut self, place: Place) -> Place {
        if place.index.is_none() {
            return place;
        }
        let to = self.program.reg(Class::General);
        self.push(Inst::Address { to, place: Place { disp: 0, ..place } });
        Place { base: to, index: None, disp: place.disp }
    }

    // ---- One by one ----

    /// Stores each lane; truth values are bytes.
    fn store_each(&mut self, of: Lanes, place: Place, step: i64, x: Reg) -> Option<()> {
        let per = 16 / of.dtype.size();
        let parts = if of.dtype == DType::Bool { 1 } else { of.lanes.div_ceil(per) };
        let parts: Option<Vec<Reg>> = (0..parts).map(|k| self.part_of(x, k)).collect();
        let parts = parts?;
        self.each_lane(of, place, step, |this, place, i| {
            let i = usize::from(i);
            let from = parts[i / per];
            let (row, immediate) = match (of.dtype.size(), i % per) {
                (8, 0) => (&t::STORESD, None),
                (8, _) => (&t::STORE_HIGH, None),
                (4, 0) => (&t::STORESS, None),
                (4, lane) => (&t::STORE_LANE, Some(lane as u8)),
                (_, lane) => (&t::EXTRACTB, Some(lane as u8)),
            };
            let inst = unary_vector(row, Width::X128, from, Source::Place(place));
            let reg = Some((from, Role::Use));
            this.push(Inst::Vector(Vector { reg, immediate, ..inst }));
            Some(())
        })
    }

    /// Does something for each lane that there is, at its place.
    fn each_lane(
        &mut self,
        of: Lanes,
        place: Place,
        step: i64,
        mut f: impl FnMut(&mut Self, Place, u8) -> Option<()>,
    ) -> Option<()> {
        let (count, left) = match of.tail.map(|t| t.left) {
            None => (of.lanes, None),
            Some(left) => match left.base {
                None => (left.offset as usize, None),
                Some(_) => (of.lanes, Some(left.read(&mut self.program))),
            },
        };
        let done: Label = self.program.label();
        for i in 0..count {
            if let Some(left) = left.filter(|_| i > 0) {
                let from = Value::Known(i as i64);
                self.push(Inst::Alu { op: Alu::Cmp, to: left, from });
                self.push(Inst::JumpIf(Cond::LessOrEqual, done));
            }
            let bytes = i32::try_from((i as i64).checked_mul(step)?).ok()?;
            let disp = place.disp.checked_add(bytes)?;
            f(self, Place { disp, ..place }, i as u8)?;
        }
        self.push(Inst::Label(done));
        Some(())
    }
}

/// The mask of a tail.
pub(crate) fn mask_of(tail: Option<Tail>) -> Mask {
    tail.map(|t| t.mask)
}
