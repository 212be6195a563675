//! Operations of nests as vector instructions.
//!
//! Every value is a vector register, or a mask register for `bool` (see
//! [`masks`](super::masks)): scalars are 128 bits of which the first lane counts. So there is
//! one form of each operation, and a number of lanes.

use backstitch_ir::DType;
use backstitch_ir::nest::{Cmp, Const, Monoid, ScalarOp};
use rustc_hash::FxHashMap;

use super::code::{Alu, Encoding, Width};
use super::inst::{Class, Fma, Inst, Place, Program, Reg, Role, Source, Value, Vector};
use super::masks::{AND, Mask, OR, UNORDERED, XOR, float_predicate};
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
    /// How wide the lanes of truth values are, in AVX2.
    pub(super) lanes_of: FxHashMap<Reg, usize>,
}

/// The row for elements of a type: 32 or 64 bits.
pub(super) fn sized(dtype: DType, narrow: &'static Row, wide: &'static Row) -> &'static Row {
    if dtype.size() == 8 { wide } else { narrow }
}

impl Ops {
    pub fn new(program: Program, encoding: Encoding) -> Self {
        Self { program, encoding, hoist: None, lanes_of: FxHashMap::default() }
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
    fn commuting(&mut self, row: &'static Row, width: Width, a: Arg, b: Arg) -> Option<Reg> {
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

    // ---- Operations ----

    /// `op args` on vectors of so many lanes, where operands have type `from`.
    pub fn apply(
        &mut self,
        op: ScalarOp,
        from: DType,
        to: DType,
        lanes: usize,
        args: &[Arg],
    ) -> Option<Reg> {
        let width = Width::of(lanes * to.size().max(4));
        let float = to.is_float();
        let wide = to.size() == 8;
        let vex = self.encoding == Encoding::Vex;
        let pick = |narrow: &'static Row, big: &'static Row| sized(to, narrow, big);
        Some(match (op, args) {
            (ScalarOp::Const(c), _) => self.constant(c),
            (ScalarOp::Cmp(c), &[a, b]) => self.compare(c, from, lanes, a, b)?,
            (ScalarOp::And, &[a, b]) if to == DType::Bool => self.masks(AND, lanes, a, b)?,
            (ScalarOp::Or, &[a, b]) if to == DType::Bool => self.masks(OR, lanes, a, b)?,
            (ScalarOp::Xor, &[a, b]) if to == DType::Bool => self.masks(XOR, lanes, a, b)?,
            (ScalarOp::Not, &[a]) if to == DType::Bool => self.not(a, lanes)?,
            (ScalarOp::Select, &[c, a, b]) => self.select(to, lanes, c, a, b)?,
            (ScalarOp::Add, &[a, b]) if float => {
                self.commuting(pick(&t::ADDPS, &t::ADDPD), width, a, b)?
            }
            (ScalarOp::Add, &[a, b]) => self.commuting(pick(&t::PADDD, &t::PADDQ), width, a, b)?,
            (ScalarOp::Sub, &[a, b]) if float => {
                self.binary(pick(&t::SUBPS, &t::SUBPD), width, a, b)?
            }
            (ScalarOp::Sub, &[a, b]) => self.binary(pick(&t::PSUBD, &t::PSUBQ), width, a, b)?,
            (ScalarOp::Mul, &[a, b]) if float => {
                self.commuting(pick(&t::MULPS, &t::MULPD), width, a, b)?
            }
            (ScalarOp::Mul, &[a, b]) if wide && vex => self.multiply_long(lanes, a, b)?,
            (ScalarOp::Mul, &[a, b]) => {
                self.commuting(pick(&t::PMULLD, &t::PMULLQ), width, a, b)?
            }
            (ScalarOp::Div, &[a, b]) => self.binary(pick(&t::DIVPS, &t::DIVPD), width, a, b)?,
            (ScalarOp::Neg, &[a]) if float => {
                let sign = self.bits(to, if wide { 1 << 63 } else { 1 << 31 });
                self.commuting(pick(&t::XORD, &t::XORQ), width, a, sign)?
            }
            (ScalarOp::Neg, &[a]) => {
                let zero = self.bits(to, 0);
                self.binary(pick(&t::PSUBD, &t::PSUBQ), width, zero, a)?
            }
            (ScalarOp::Abs, &[a]) if float => {
                let rest = self.bits(to, if wide { !0 >> 1 } else { 0x7fff_ffff });
                self.commuting(pick(&t::ANDD, &t::ANDQ), width, a, rest)?
            }
            (ScalarOp::Abs, &[a]) if wide && vex => self.abs_long(lanes, a)?,
            (ScalarOp::Abs, &[a]) => {
                let a = self.source(a);
                self.unary(pick(&t::PABSD, &t::PABSQ), width, a)?
            }
            (ScalarOp::Sqrt, &[a]) => {
                let a = self.source(a);
                self.unary(pick(&t::SQRTPS, &t::SQRTPD), width, a)?
            }
            (ScalarOp::Fma, &[a, b, c]) => self.fma(wide, width, [a, b, c]),
            (ScalarOp::Nearest | ScalarOp::Floor | ScalarOp::Ceil | ScalarOp::Trunc, &[a]) => {
                let how = match op {
                    ScalarOp::Nearest => 8,
                    ScalarOp::Floor => 9,
                    ScalarOp::Ceil => 10,
                    _ => 11,
                };
                let a = self.source(a);
                self.unary_with(pick(&t::ROUNDPS, &t::ROUNDPD), width, a, how)?
            }
            (ScalarOp::And, &[a, b]) => self.commuting(pick(&t::ANDD, &t::ANDQ), width, a, b)?,
            (ScalarOp::Or, &[a, b]) => self.commuting(pick(&t::ORD, &t::ORQ), width, a, b)?,
            (ScalarOp::Xor, &[a, b]) => self.commuting(pick(&t::XORD, &t::XORQ), width, a, b)?,
            (ScalarOp::Not, &[a]) => {
                let ones = self.bits(to, !0);
                self.commuting(pick(&t::XORD, &t::XORQ), width, a, ones)?
            }
            (ScalarOp::Shl | ScalarOp::ShrU | ScalarOp::ShrS, &[a, by]) => {
                let row = match op {
                    ScalarOp::Shl => pick(&t::PSLLVD, &t::PSLLVQ),
                    ScalarOp::ShrU => pick(&t::PSRLVD, &t::PSRLVQ),
                    _ => pick(&t::PSRAVD, &t::PSRAVQ),
                };
                let last = if wide { 63 } else { 31 };
                let by = match by {
                    Arg::Const(c) => self.bits(to, c.bits & last),
                    Arg::Reg(_) => {
                        let last = self.bits(to, last);
                        Arg::Reg(self.commuting(pick(&t::ANDD, &t::ANDQ), width, by, last)?)
                    }
                };
                if op == ScalarOp::ShrS && wide && vex {
                    return self.shift_long(lanes, a, by);
                }
                self.binary(row, width, a, by)?
            }
            (ScalarOp::Bitcast, &[a]) => self.reg(a),
            (ScalarOp::Convert, &[a]) => self.convert(from, to, lanes, a)?,
            _ => unreachable!("{} does not take {} operands", op.name(), args.len()),
        })
    }

    /// A constant with these bits.
    fn bits(&self, dtype: DType, bits: u64) -> Arg {
        let bits = if dtype.size() == 8 { bits } else { bits & 0xffff_ffff };
        Arg::Const(Const { dtype, bits })
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
        self.push(Inst::Fma(Fma { double, width, def, args: [a, b, c] }));
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

    fn convert(&mut self, from: DType, to: DType, lanes: usize, a: Arg) -> Option<Reg> {
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
