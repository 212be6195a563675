//! Operations of nests as vector instructions.
//!
//! Every value is a vector register, or a mask register for `bool`: scalars are 128 bits
//! of which the first lane counts. So there is one form of each operation, and a width.

use backstitch_ir::DType;
use backstitch_ir::nest::{Cmp, Const, Monoid, ScalarOp};

use super::code::{Alu, Encoding, Width};
use super::inst::{Class, Fma, Inst, Place, Program, Reg, Role, Source, Value, Vector};
use super::table::{self as t, Row, Since};

/// An operand: in a register, or known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg {
    Reg(Reg),
    Const(Const),
}

/// Lanes that count in stores and sums, if not all do.
pub(crate) type Mask = Option<Reg>;

/// Where constants that a loop needs in registers are made.
#[derive(Default)]
pub(crate) struct Hoist {
    /// Instructions to be put before the loop.
    pub insts: Vec<Inst>,
    known: rustc_hash::FxHashMap<Vec<u8>, Reg>,
    masks: rustc_hash::FxHashMap<u16, Reg>,
}

/// Appends instructions to a program.
pub(crate) struct Ops {
    pub program: Program,
    pub encoding: Encoding,
    /// Whether constants are made before the current loop.
    pub hoist: Option<Hoist>,
}

/// Truth of comparisons of floats by the instructions' number: ordered and quiet, but for
/// `!=`.
fn float_predicate(cmp: Cmp) -> u8 {
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
const ORDERED: u8 = 0x07;
/// Either is NaN.
const UNORDERED: u8 = 0x03;

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

/// The row for elements of a type: 32 or 64 bits.
fn sized(dtype: DType, narrow: &'static Row, wide: &'static Row) -> &'static Row {
    if dtype.size() == 8 { wide } else { narrow }
}

pub(crate) fn class_of(dtype: DType) -> Class {
    if dtype == DType::Bool { Class::Mask } else { Class::Vector }
}

impl Ops {
    pub fn push(&mut self, inst: Inst) {
        self.program.insts.push(inst);
    }

    pub fn has(&self, row: &Row) -> Option<()> {
        (self.encoding == Encoding::Evex || row.since == Since::Avx2).then_some(())
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
            return self.mask_constant(if c.bits == 0 { 0 } else { 0xffff });
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

    /// A mask of these lanes.
    pub fn mask_constant(&mut self, bits: u16) -> Reg {
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

    pub fn reg(&mut self, a: Arg) -> Reg {
        match a {
            Arg::Reg(r) => r,
            Arg::Const(c) => self.constant(c),
        }
    }

    pub fn source(&mut self, a: Arg) -> Source {
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

    fn unary_with(
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

    fn masks(&mut self, row: &'static Row, a: Arg, b: Arg) -> Option<Reg> {
        self.has(row)?;
        let (a, b) = (self.reg(a), self.reg(b));
        let def = self.program.reg(Class::Mask);
        let inst = unary_vector(row, Width::X128, def, Source::Reg(b));
        self.push(Inst::Vector(Vector { second: Some(a), ..inst }));
        Some(def)
    }

    /// A comparison into a mask register; lanes outside `mask` are false.
    pub fn compare_into(
        &mut self,
        row: &'static Row,
        width: Width,
        a: Reg,
        b: Source,
        predicate: u8,
        mask: Mask,
    ) -> Option<Reg> {
        if self.encoding == Encoding::Vex {
            return None;
        }
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

    /// `to = from`.
    pub fn copy(&mut self, to: Reg, from: Reg) {
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
        self.copy(to, from);
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
            let word = self.program.reg(Class::General);
            self.push(unary_inst(&t::KSTORE_R, Width::X128, word, Source::Reg(x)));
            self.push(Inst::Alu { op: Alu::And, to: word, from: Value::Known(1) });
            self.push(Inst::Negate { to: word });
            let def = self.program.reg(Class::Mask);
            self.push(unary_inst(&t::KLOAD_R, Width::X128, def, Source::Reg(word)));
            return Some(def);
        }
        self.unary(sized(dtype, &t::REPEATD, &t::REPEATQ), width, Source::Reg(x))
    }

    /// An element of memory in all lanes.
    pub fn load_repeated(&mut self, dtype: DType, place: Place, width: Width) -> Option<Reg> {
        if dtype == DType::Bool {
            let word = self.program.reg(Class::General);
            self.push(Inst::LoadByte { to: word, place });
            self.push(Inst::Negate { to: word });
            let def = self.program.reg(Class::Mask);
            self.has(&t::KLOAD_R)?;
            self.push(unary_inst(&t::KLOAD_R, Width::X128, def, Source::Reg(word)));
            return Some(def);
        }
        self.unary(sized(dtype, &t::REPEATD, &t::REPEATQ), width, Source::Place(place))
    }

    /// Stores the first lane.
    pub fn store_first(&mut self, dtype: DType, place: Place, x: Reg) {
        if dtype == DType::Bool {
            let word = self.program.reg(Class::General);
            self.push(unary_inst(&t::KSTORE_R, Width::X128, word, Source::Reg(x)));
            self.push(Inst::Alu { op: Alu::And, to: word, from: Value::Known(1) });
            return self.push(Inst::StoreByte { place, from: word });
        }
        let row = sized(dtype, &t::STORESS, &t::STORESD);
        self.push(store_inst(row, Width::X128, x, place, None));
    }

    /// An `i64` of a general register in all lanes.
    pub fn repeat_word(&mut self, from: Reg, width: Width) -> Option<Reg> {
        match self.encoding {
            Encoding::Evex => self.unary(&t::REPEATQ_R, width, Source::Reg(from)),
            Encoding::Vex => {
                let x = self.unary(&t::FROM_R64, Width::X128, Source::Reg(from))?;
                self.unary(&t::REPEATQ, width, Source::Reg(x))
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
        let pick = |narrow: &'static Row, big: &'static Row| sized(to, narrow, big);
        Some(match (op, args) {
            (ScalarOp::Const(c), _) => self.constant(c),
            (ScalarOp::Cmp(c), &[a, b]) => self.compare(c, from, lanes, a, b)?,
            (ScalarOp::And, &[a, b]) if to == DType::Bool => self.masks(&t::KAND, a, b)?,
            (ScalarOp::Or, &[a, b]) if to == DType::Bool => self.masks(&t::KOR, a, b)?,
            (ScalarOp::Xor, &[a, b]) if to == DType::Bool => self.masks(&t::KXOR, a, b)?,
            (ScalarOp::Not, &[a]) if to == DType::Bool => {
                let a = self.reg(a);
                self.has(&t::KNOT)?;
                let def = self.program.reg(Class::Mask);
                self.push(unary_inst(&t::KNOT, Width::X128, def, Source::Reg(a)));
                def
            }
            (ScalarOp::Select, &[c, a, b]) if to == DType::Bool => {
                let yes = self.masks(&t::KAND, c, a)?;
                let no = self.masks(&t::KANDN, c, b)?;
                self.masks(&t::KOR, Arg::Reg(yes), Arg::Reg(no))?
            }
            (ScalarOp::Select, &[c, a, b]) => self.select(to, width, c, a, b)?,
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

    fn fma(&mut self, double: bool, width: Width, args: [Arg; 3]) -> Reg {
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

    fn compare(&mut self, cmp: Cmp, of: DType, lanes: usize, a: Arg, b: Arg) -> Option<Reg> {
        if of == DType::Bool {
            return self.masks(if cmp == Cmp::Eq { &t::KXNOR } else { &t::KXOR }, a, b);
        }
        let (cmp, a, b) = match (a, b) {
            (Arg::Const(_), Arg::Reg(_)) => (mirrored(cmp), b, a),
            _ => (cmp, a, b),
        };
        let width = Width::of(lanes * of.size());
        let (row, predicate) = if of.is_float() {
            (sized(of, &t::CMPPS, &t::CMPPD), float_predicate(cmp))
        } else {
            (sized(of, &t::PCMPD, &t::PCMPQ), int_predicate(cmp))
        };
        let a = self.reg(a);
        let b = self.source(b);
        self.compare_into(row, width, a, b, predicate, None)
    }

    fn select(&mut self, to: DType, width: Width, c: Arg, a: Arg, b: Arg) -> Option<Reg> {
        let c = self.reg(c);
        let row = sized(to, &t::BLENDMPS, &t::BLENDMPD);
        self.has(row)?;
        let b = self.reg(b);
        let a = self.source(a);
        let def = self.program.reg(Class::Vector);
        let inst = unary_vector(row, width, def, a);
        self.push(Inst::Vector(Vector { second: Some(b), mask: Some((c, false)), ..inst }));
        Some(def)
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
            // A broadcast of an element that leaves zeros where the mask does not hold.
            self.has(&t::KMOV)?;
            let mask = self.reg(a);
            let one = self.pattern(Const::of_int(to, 1), Width::X128);
            let slot = self.program.pool.slot(&one);
            let row = sized(to, &t::REPEATD, &t::REPEATQ);
            let def = self.program.reg(Class::Vector);
            let width = Width::of(lanes * to.size());
            let inst = unary_vector(row, width, def, Source::Pool(slot));
            self.push(Inst::Vector(Vector { mask: Some((mask, true)), ..inst }));
            return Some(def);
        }
        let x = self.reg(a);
        let wider = Width::of(lanes * from.size().max(to.size()));
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
        if self.encoding == Encoding::Vex {
            return None;
        }
        let wider = Width::of(lanes * from.size().max(to.size()));
        let row = match (from, to) {
            (DType::F32, DType::I32) => &t::PS_TO_D,
            (DType::F64, DType::I32) => &t::PD_TO_D,
            (DType::F32, _) => &t::PS_TO_Q,
            _ => &t::PD_TO_Q,
        };
        let n = self.unary(row, wider, Source::Reg(x))?;
        let (compare, of) = (sized(from, &t::CMPPS, &t::CMPPD), Width::of(lanes * from.size()));
        let bound = if to == DType::I32 { 2f64.powi(31) } else { 2f64.powi(63) };
        let bound = self.constant_source(Const::of_float(from, bound));
        let over = self.compare_into(compare, of, x, bound, float_predicate(Cmp::Ge), None)?;
        let greatest = Monoid::Min.identity(to);
        let width = Width::of(lanes * to.size());
        let n = self.select(to, width, Arg::Reg(over), Arg::Const(greatest), Arg::Reg(n))?;
        let nan = self.compare_into(compare, of, x, Source::Reg(x), UNORDERED, None)?;
        let zero = Arg::Const(Const::of_int(to, 0));
        self.select(to, width, Arg::Reg(nan), zero, Arg::Reg(n))
    }

    // ---- Combinations ----

    /// `acc = acc ⊕ x` in the lanes of the mask, where `acc` is written again.
    pub fn combine_into(
        &mut self,
        acc: Reg,
        op: Monoid,
        of: DType,
        lanes: usize,
        x: Reg,
        mask: Mask,
    ) -> Option<()> {
        let width = Width::of(lanes * of.size().max(4));
        let row = match (op, of.is_float()) {
            (Monoid::Any, _) => {
                let x = match mask {
                    Some(mask) => self.masks(&t::KAND, Arg::Reg(x), Arg::Reg(mask))?,
                    None => x,
                };
                self.has(&t::KOR)?;
                let inst = unary_vector(&t::KOR, Width::X128, acc, Source::Reg(x));
                self.push(Inst::Vector(Vector { second: Some(acc), ..inst }));
                return Some(());
            }
            (Monoid::All, _) => {
                self.has(&t::KAND)?;
                let inst = match mask {
                    Some(mask) => {
                        let not = self.masks(&t::KANDN, Arg::Reg(x), Arg::Reg(mask))?;
                        let inst = unary_vector(&t::KANDN, Width::X128, acc, Source::Reg(acc));
                        Vector { second: Some(not), ..inst }
                    }
                    None => {
                        let inst = unary_vector(&t::KAND, Width::X128, acc, Source::Reg(x));
                        Vector { second: Some(acc), ..inst }
                    }
                };
                self.push(Inst::Vector(inst));
                return Some(());
            }
            (Monoid::Sum, true) => sized(of, &t::ADDPS, &t::ADDPD),
            (Monoid::Sum, false) => sized(of, &t::PADDD, &t::PADDQ),
            (Monoid::Prod, true) => sized(of, &t::MULPS, &t::MULPD),
            (Monoid::Prod, false) => sized(of, &t::PMULLD, &t::PMULLQ),
            (Monoid::Max, true) => sized(of, &t::MAXPS, &t::MAXPD),
            (Monoid::Max, false) => sized(of, &t::PMAXSD, &t::PMAXSQ),
            (Monoid::Min, true) => sized(of, &t::MINPS, &t::MINPD),
            (Monoid::Min, false) => sized(of, &t::PMINSD, &t::PMINSQ),
        };
        self.has(row)?;
        let mut mask = mask;
        if matches!(op, Monoid::Max | Monoid::Min) && of.is_float() {
            // A NaN stays; one that comes is the instruction's second operand, and wins.
            let compare = sized(of, &t::CMPPS, &t::CMPPD);
            mask = Some(self.compare_into(compare, width, acc, Source::Reg(acc), ORDERED, mask)?);
        }
        let role = if mask.is_some() { Role::Change } else { Role::Def };
        self.push(Inst::Vector(Vector {
            width,
            reg: Some((acc, role)),
            second: Some(acc),
            source: Source::Reg(x),
            mask: mask.map(|k| (k, false)),
            ..blank(row)
        }));
        Some(())
    }

    /// The tree over the lanes of the partial results; the result is the first lane.
    pub fn finish(&mut self, op: Monoid, of: DType, lanes: usize, partials: &[Reg]) -> Option<Reg> {
        let mut partials = partials.to_vec();
        while partials.len() > 1 {
            let half = partials.len() / 2;
            for i in 0..half {
                let (a, b) = (partials[i], partials[i + half]);
                self.combine_into(a, op, of, lanes, b, None)?;
            }
            partials.truncate(half);
        }
        let acc = partials[0];
        if of == DType::Bool {
            return self.finish_mask(op, lanes, acc);
        }
        let mut lanes = lanes;
        while lanes > 1 {
            let bytes = lanes * of.size();
            let high = match bytes {
                64 => self.part(&t::EXTRACT256, Width::Z512, acc, 1)?,
                32 => self.part(&t::EXTRACT128, Width::Y256, acc, 1)?,
                16 => self.unary_with(&t::PSHUFD, Width::X128, Source::Reg(acc), 0xee)?,
                _ => self.unary_with(&t::PSHUFD, Width::X128, Source::Reg(acc), 0x55)?,
            };
            lanes /= 2;
            self.combine_into(acc, op, of, lanes, high, None)?;
        }
        Some(acc)
    }

    /// The upper part of a vector.
    fn part(&mut self, row: &'static Row, width: Width, x: Reg, which: u8) -> Option<Reg> {
        self.has(row)?;
        let def = self.program.reg(Class::Vector);
        self.push(Inst::Vector(Vector {
            width,
            reg: Some((x, Role::Use)),
            source: Source::Reg(def),
            to_source: true,
            immediate: Some(which),
            ..blank(row)
        }));
        Some(def)
    }

    fn finish_mask(&mut self, op: Monoid, lanes: usize, acc: Reg) -> Option<Reg> {
        let all = (1 << lanes) - 1;
        let word = self.program.reg(Class::General);
        let (yes, out) = (self.program.reg(Class::General), self.program.reg(Class::General));
        self.push(unary_inst(&t::KSTORE_R, Width::X128, word, Source::Reg(acc)));
        let mov = |to, n| Inst::Alu { op: Alu::Mov, to, from: Value::Known(n) };
        self.push(mov(yes, 0xffff));
        self.push(mov(out, 0));
        self.push(Inst::Alu { op: Alu::And, to: word, from: Value::Known(all) });
        let (against, cond) = match op {
            Monoid::Any => (0, super::code::Cond::NotEqual),
            _ => (all, super::code::Cond::Equal),
        };
        self.push(Inst::Alu { op: Alu::Cmp, to: word, from: Value::Known(against) });
        self.push(Inst::MoveIf { cond, to: out, from: yes });
        let def = self.program.reg(Class::Mask);
        self.push(unary_inst(&t::KLOAD_R, Width::X128, def, Source::Reg(out)));
        Some(def)
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

fn unary_vector(row: &'static Row, width: Width, def: Reg, source: Source) -> Vector {
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
