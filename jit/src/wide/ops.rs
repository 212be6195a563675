//! Instructions, appended to a program: constants, forms of instructions, and moves.
//!
//! Every value is a vector register, or a mask register for `bool` (see
//! [`masks`](super::masks)): scalars are 128 bits of which the first lane counts. So there is
//! one form of each operation, and a number of lanes. [`apply`](super::apply) has the
//! operations of nests.

use backstitch_ir::DType;
use backstitch_ir::nest::Const;
use rustc_hash::FxHashMap;

use super::code::{Alu, Encoding, Width};
use super::inst::{Class, Inst, Place, Program, Reg, Role, Source, Value, Vector};
use super::masks::Mask;
use super::table::{self as t, Row, Since};

/// An operand: in a register, or known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg {
    Reg(Reg),
    Const(Const),
}

/// Where constants that a loop needs in registers are made.
#[derive(Default)]
pub(crate) struct Hoist {
    /// Instructions to be put before the loop.
    pub insts: Vec<Inst>,
    known: FxHashMap<Vec<u8>, Reg>,
    pub(super) masks: FxHashMap<u16, Reg>,
}

/// Appends instructions to a program.
pub(crate) struct Ops {
    pub program: Program,
    pub encoding: Encoding,
    /// Whether constants are made before the current loop.
    pub hoist: Option<Hoist>,
    /// Masks that are made before loops around it, outermost first.
    pub around: Vec<Hoist>,
    /// How wide the lanes of truth values are, in AVX2.
    pub(super) lanes_of: FxHashMap<Reg, usize>,
}

/// The row for elements of a type: 32 or 64 bits.
pub(super) fn sized(dtype: DType, narrow: &'static Row, wide: &'static Row) -> &'static Row {
    if dtype.size() == 8 { wide } else { narrow }
}

impl Ops {
    pub fn new(program: Program, encoding: Encoding) -> Self {
        Self { program, encoding, hoist: None, around: Vec::new(), lanes_of: FxHashMap::default() }
    }

    pub fn push(&mut self, inst: Inst) {
        self.program.insts.push(inst);
    }

    pub(super) fn has(&self, row: &Row) -> Option<()> {
        let missing = match self.encoding {
            Encoding::Evex => Since::Avx2Only,
            Encoding::Vex => Since::Avx512,
        };
        (row.since != missing).then_some(())
    }

    // ---- Constants ----

    fn pattern(&self, c: Const, width: Width) -> Vec<u8> {
        let element = &c.bits.to_le_bytes()[..c.dtype.size()];
        match self.encoding {
            Encoding::Evex => element.to_vec(),
            Encoding::Vex => element.repeat(width.bytes() / element.len()),
        }
    }

    /// A constant with these bits.
    pub(super) fn bits(&self, dtype: DType, bits: u64) -> Arg {
        let bits = if dtype.size() == 8 { bits } else { bits & 0xffff_ffff };
        Arg::Const(Const { dtype, bits })
    }

    /// A constant as the last operand.
    pub fn constant_source(&mut self, c: Const) -> Source {
        let bytes = self.pattern(c, Width::Y256);
        let slot = self.program.pool.slot(&bytes);
        match self.encoding {
            Encoding::Evex => Source::Repeated(slot),
            Encoding::Vex => Source::Pool(slot),
        }
    }

    /// A constant in a register, in all lanes.
    pub fn constant(&mut self, c: Const) -> Reg {
        if c.dtype == DType::Bool {
            return self.truth(c.bits != 0);
        }
        let element = c.bits.to_le_bytes()[..c.dtype.size()].to_vec();
        if let Some(&reg) = self.hoist.as_ref().and_then(|h| h.known.get(&element)) {
            return reg;
        }
        let slot = self.pattern(c, Width::Y256);
        let slot = self.program.pool.slot(&slot);
        let def = self.program.reg(Class::Vector);
        let (row, width) = match self.encoding {
            Encoding::Evex => (sized(c.dtype, &t::REPEATD, &t::REPEATQ), Width::Z512),
            Encoding::Vex => (&t::LOADPS, Width::Y256),
        };
        let inst = unary_inst(row, width, def, Source::Pool(slot));
        match &mut self.hoist {
            Some(hoist) => {
                hoist.insts.push(inst);
                hoist.known.insert(element, def);
            }
            None => self.push(inst),
        }
        def
    }

    /// Different constants in the lanes of a register.
    pub fn lanes_constant(&mut self, bytes: &[u8]) -> Reg {
        // As much as is loaded: nothing behind the pool is read, and this is not taken for
        // an element that is repeated.
        let width = Width::of(bytes.len());
        let mut filled = bytes.to_vec();
        filled.resize(width.bytes(), 0);
        if let Some(&reg) = self.hoist.as_ref().and_then(|h| h.known.get(&filled)) {
            return reg;
        }
        let slot = self.program.pool.slot(&filled);
        let def = self.program.reg(Class::Vector);
        let inst = unary_inst(&t::LOADPS, width, def, Source::Pool(slot));
        match &mut self.hoist {
            Some(hoist) => {
                hoist.insts.push(inst);
                hoist.known.insert(filled, def);
            }
            None => self.push(inst),
        }
        def
    }

    pub fn reg(&mut self, a: Arg) -> Reg {
        match a {
            Arg::Reg(r) => r,
            Arg::Const(c) => self.constant(c),
        }
    }

    pub(super) fn source(&mut self, a: Arg) -> Source {
        match a {
            Arg::Reg(r) => Source::Reg(r),
            Arg::Const(c) if c.dtype == DType::Bool => Source::Reg(self.constant(c)),
            Arg::Const(c) => self.constant_source(c),
        }
    }

    // ---- Forms of instructions ----

    /// `def = row(source)`.
    pub fn unary(&mut self, row: &'static Row, width: Width, source: Source) -> Option<Reg> {
        self.has(row)?;
        let def = self.program.reg(Class::Vector);
        self.push(unary_inst(row, width, def, source));
        Some(def)
    }

    pub(super) fn unary_with(
        &mut self,
        row: &'static Row,
        width: Width,
        source: Source,
        immediate: u8,
    ) -> Option<Reg> {
        self.has(row)?;
        let def = self.program.reg(Class::Vector);
        let inst = unary_vector(row, width, def, source);
        self.push(Inst::Vector(Vector { immediate: Some(immediate), ..inst }));
        Some(def)
    }

    /// `def = row(a, b)`.
    pub fn binary(&mut self, row: &'static Row, width: Width, a: Arg, b: Arg) -> Option<Reg> {
        self.has(row)?;
        let a = self.reg(a);
        let b = self.source(b);
        let def = self.program.reg(Class::Vector);
        let inst = unary_vector(row, width, def, b);
        self.push(Inst::Vector(Vector { second: Some(a), ..inst }));
        Some(def)
    }

    /// The same where the sides can be exchanged.
    pub(super) fn commuting(
        &mut self,
        row: &'static Row,
        width: Width,
        a: Arg,
        b: Arg,
    ) -> Option<Reg> {
        match a {
            Arg::Const(_) => self.binary(row, width, b, a),
            Arg::Reg(_) => self.binary(row, width, a, b),
        }
    }

    /// `to = from`, where both are scalars.
    pub fn copy(&mut self, to: Reg, from: Reg) -> Option<()> {
        let from = match (self.lanes_of.get(&to), self.lanes_of.get(&from)) {
            (Some(&size), _) => self.mask_for(from, size, 1)?,
            (None, Some(_)) => self.repeat_mask(from)?,
            (None, None) => from,
        };
        self.move_to(to, from);
        Some(())
    }

    fn move_to(&mut self, to: Reg, from: Reg) {
        let class = self.program.classes[to.0 as usize];
        let inst = match class {
            Class::General => Inst::Alu { op: Alu::Mov, to, from: Value::Reg(from) },
            Class::Mask => unary_inst(&t::KMOV, Width::X128, to, Source::Reg(from)),
            Class::Vector => unary_inst(&t::MOVAPS, self.widest(), to, Source::Reg(from)),
        };
        self.push(inst);
    }

    /// A register that is written again, beginning as this one.
    pub fn variable(&mut self, from: Reg) -> Reg {
        let to = self.program.reg(self.program.classes[from.0 as usize]);
        let size = self.lanes_of.get(&from).copied();
        self.mark(to, size);
        self.move_to(to, from);
        to
    }

    pub fn widest(&self) -> Width {
        match self.encoding {
            Encoding::Evex => Width::Z512,
            Encoding::Vex => Width::Y256,
        }
    }

    /// The first lane in all lanes.
    pub fn repeat(&mut self, dtype: DType, x: Reg) -> Option<Reg> {
        let width = self.widest();
        if dtype == DType::Bool {
            return self.repeat_mask(x);
        }
        self.unary(sized(dtype, &t::REPEATD, &t::REPEATQ), width, Source::Reg(x))
    }

    /// An element of memory in all lanes.
    pub fn load_repeated(&mut self, dtype: DType, place: Place, width: Width) -> Option<Reg> {
        if dtype == DType::Bool {
            return self.load_mask(place);
        }
        self.unary(sized(dtype, &t::REPEATD, &t::REPEATQ), width, Source::Place(place))
    }

    /// Stores the first lane.
    pub fn store_first(&mut self, dtype: DType, place: Place, x: Reg) {
        if dtype == DType::Bool {
            return self.store_mask(place, x);
        }
        let row = sized(dtype, &t::STORESS, &t::STORESD);
        self.push(store_inst(row, Width::X128, x, place, None));
    }

    /// An integer of a general register in all lanes.
    pub fn repeat_word(&mut self, dtype: DType, from: Reg, width: Width) -> Option<Reg> {
        match self.encoding {
            Encoding::Evex => {
                let row = sized(dtype, &t::REPEATD_R, &t::REPEATQ_R);
                self.unary(row, width, Source::Reg(from))
            }
            Encoding::Vex => {
                let x = self.unary(&t::FROM_R64, Width::X128, Source::Reg(from))?;
                self.unary(sized(dtype, &t::REPEATD, &t::REPEATQ), width, Source::Reg(x))
            }
        }
    }

    /// The first lane, an `i64`, in a general register.
    pub fn word(&mut self, x: Reg) -> Reg {
        let to = self.program.reg(Class::General);
        let inst = Vector { reg: Some((x, Role::Use)), to_source: true, ..blank(&t::TO_R64) };
        self.push(Inst::Vector(Vector { source: Source::Reg(to), ..inst }));
        to
    }
}

// ---- Instructions ----

/// An instruction to be filled in.
pub(crate) fn blank(row: &'static Row) -> Vector {
    Vector {
        row,
        width: Width::X128,
        reg: None,
        second: None,
        source: Source::Reg(Reg(0)),
        to_source: false,
        immediate: None,
        mask: None,
        gathers: false,
    }
}

pub(super) fn unary_vector(row: &'static Row, width: Width, def: Reg, source: Source) -> Vector {
    Vector { width, reg: Some((def, Role::Def)), source, ..blank(row) }
}

pub(crate) fn unary_inst(row: &'static Row, width: Width, def: Reg, source: Source) -> Inst {
    Inst::Vector(unary_vector(row, width, def, source))
}

pub(crate) fn store_inst(
    row: &'static Row,
    width: Width,
    from: Reg,
    place: Place,
    mask: Mask,
) -> Inst {
    Inst::Vector(Vector {
        width,
        reg: Some((from, Role::Use)),
        source: Source::Place(place),
        mask: mask.map(|k| (k, false)),
        ..blank(row)
    })
}
