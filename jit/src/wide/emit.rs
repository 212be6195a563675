//! Bytes of a program whose virtual registers have homes.
//!
//! What lives in the frame is an operand in memory where the instruction takes one, and
//! otherwise passes through a scratch register: see [`homes`](super::homes).

use super::alloc::{Allocation, Home, SCRATCH, SCRATCH_MASKS, allocate, scratch_vectors};
use super::code::{self, Alu, Code, Encoding, Operand};
use super::inst::{Class, Fma, Inst, Program, Reg, Role, Source, Value, Vector};
use super::table::{self, Kind, Row, Tuple};

/// Loops begin at a multiple of this.
const LOOP_ALIGN: usize = 32;

/// Machine code of a program; its calling convention is System V's.
pub(crate) fn emit(program: &Program, encoding: Encoding) -> Vec<u8> {
    let allocation = allocate(program, encoding);
    let code = Code::new(encoding, program.labels as usize);
    let mut emitter = Emitter { program, allocation, code, saved: Vec::new() };
    emitter.enter();
    program.insts.iter().for_each(|inst| emitter.inst(inst));
    emitter.leave();
    emitter.code.finish(&program.pool)
}

/// A program being written.
pub(super) struct Emitter<'p> {
    pub program: &'p Program,
    pub allocation: Allocation,
    pub code: Code,
    /// Registers that go back to what they were.
    pub saved: Vec<u8>,
}

impl Emitter<'_> {
    fn inst(&mut self, inst: &Inst) {
        match inst {
            Inst::Vector(v) => self.vector(v),
            Inst::Fma(fma) => self.fma(fma),
            Inst::Alu { op, to, from } => self.alu(*op, *to, from),
            Inst::Multiply { to, from, by } => {
                let from = self.value(&Value::Reg(*from), 0);
                let target = self.target(*to);
                self.code.multiply(target, from, *by);
                self.put(*to);
            }
            Inst::Address { to, place } => {
                let mem = self.place(place);
                let target = self.target(*to);
                self.code.lea(target, mem);
                self.put(*to);
            }
            Inst::Negate { to } => {
                let register = self.general(*to, 2);
                self.code.negate(register);
                self.put(*to);
            }
            Inst::MoveIf { cond, to, from } => {
                let from = self.value(&Value::Reg(*from), 0);
                let register = self.general(*to, 2);
                self.code.move_if(*cond, register, from);
                self.put(*to);
            }
            Inst::LowBits { to, from, count } => {
                let from = self.general(*from, 0);
                let count = self.general(*count, 1);
                let target = self.target(*to);
                self.code.low_bits(target, from, count);
                self.put(*to);
            }
            Inst::LoadByte { to, place } => {
                let mem = self.place(place);
                let target = self.target(*to);
                self.code.load_byte(target, mem);
                self.put(*to);
            }
            Inst::StoreByte { place, from } => {
                let mem = self.place(place);
                let from = self.general(*from, 2);
                self.code.store_byte(mem, from);
            }
            Inst::Prefetch { place } => {
                let mem = self.place(place);
                self.code.prefetch(mem);
            }
            Inst::Jump(label) => self.code.jump(*label),
            Inst::JumpIf(cond, label) => self.code.jump_if(*cond, *label),
            Inst::Label(label) => self.code.place(*label),
            Inst::LoopStart(label) => {
                self.code.align(LOOP_ALIGN);
                self.code.place(*label);
            }
            Inst::LoopEnd => {}
            Inst::Fence => self.code.fence(),
        }
    }

    fn alu(&mut self, op: Alu, to: Reg, from: &Value) {
        match (op, from) {
            (Alu::Mov, Value::Known(n)) => {
                let target = self.target(to);
                self.code.set(target, *n);
                self.put(to);
            }
            (Alu::Mov, _) => {
                let operand = self.value(from, 0);
                let target = self.target(to);
                if !matches!(operand, Operand::Register(n) if n == target) {
                    self.code.alu(Alu::Mov, target, operand);
                }
                self.put(to);
            }
            (_, Value::Known(n)) if i32::try_from(*n).is_ok() => {
                let register = self.general(to, 2);
                self.code.alu_immediate(op, register, *n as i32);
                self.changed(op, to);
            }
            _ => {
                let operand = self.value(from, 0);
                let register = self.general(to, 2);
                self.code.alu(op, register, operand);
                self.changed(op, to);
            }
        }
    }

    fn changed(&mut self, op: Alu, to: Reg) {
        if op != Alu::Cmp {
            self.put(to);
        }
    }

    fn source(&mut self, v: &Vector) -> Operand {
        match v.source {
            Source::Reg(r) => match (self.home(r), self.class(r)) {
                (Home::Register(n), _) => Operand::Register(n),
                (_, Class::Mask) => Operand::Register(self.mask_register(r, 1)),
                (_, Class::General) if v.row.tuple == Tuple::General => {
                    Operand::Register(self.general(r, 2))
                }
                _ if v.row.tuple == Tuple::General => Operand::Register(self.vector_register(r, 1)),
                _ => Operand::Memory(self.slot(r)),
            },
            Source::Place(ref p) => Operand::Memory(self.place(p)),
            Source::Pool(slot) => Operand::Pool(slot),
            Source::Repeated(slot) => Operand::Repeated(slot),
        }
    }

    fn vector(&mut self, v: &Vector) {
        if let Some((r, Role::Def)) = v.reg
            && let Home::Constant(_) = self.home(r)
        {
            return;
        }
        if let Vector {
            reg: Some((r, Role::Def)), source: Source::Pool(slot), second: None, ..
        } = *v
            && let (Class::Vector, Home::Register(to)) = (self.class(r), self.home(r))
            && self.program.pool.is_zero(slot)
            && v.mask.is_none()
            && v.immediate.is_none()
        {
            return self.zero(to);
        }
        let written = match v.source {
            Source::Reg(r) if v.to_source => Some(r),
            _ => None,
        };
        let operand = match written {
            // A general register that is written, but cannot be memory.
            Some(r) if matches!(self.home(r), Home::Slot(_)) && v.row.tuple == Tuple::General => {
                Operand::Register(SCRATCH[2])
            }
            _ => self.source(v),
        };
        let mut second = v.second.map(|r| match self.class(r) {
            Class::Mask => self.mask_register(r, 0),
            _ => self.vector_register(r, 0),
        });
        let (mut mask, mut immediate) = (None, v.immediate);
        match (self.code.encoding, v.mask) {
            (_, None) => {}
            (Encoding::Evex, Some((k, zero))) => mask = Some((self.mask_register(k, 0), zero)),
            (Encoding::Vex, Some((k, _))) if v.row.kind == Kind::Blend => {
                immediate = Some(self.vector_register(k, 1) << 4);
            }
            (Encoding::Vex, Some((k, _))) => second = Some(self.vector_register(k, 0)),
        }
        let reg = v.reg.map_or(0, |(r, role)| self.reg_field(r, role));
        // A move to itself.
        let moves = std::ptr::eq(v.row, &table::MOVAPS) || std::ptr::eq(v.row, &table::KMOV);
        if moves && mask.is_none() && matches!(operand, Operand::Register(n) if n == reg) {
            return self.put_field(v);
        }
        self.code.vector(&code::Vector {
            row: v.row,
            width: v.width,
            reg,
            second,
            operand,
            immediate,
            mask,
        });
        if let Some(r) = written
            && matches!(operand, Operand::Register(n) if n == SCRATCH[2])
            && self.class(r) == Class::General
        {
            self.put(r);
        }
        self.put_field(v);
    }

    /// The register of the field `reg`, holding what is read there.
    fn reg_field(&mut self, r: Reg, role: Role) -> u8 {
        let reads = matches!(role, Role::Use | Role::Change);
        match (self.class(r), self.home(r)) {
            (_, Home::Register(n)) => n,
            (Class::Vector, _) if reads => self.vector_register(r, 1),
            (Class::Vector, _) => scratch_vectors(self.code.encoding)[1],
            (Class::Mask, _) if reads => self.mask_register(r, 0),
            (Class::Mask, _) => SCRATCH_MASKS[0],
            (Class::General, _) if reads => self.general(r, 2),
            (Class::General, _) => SCRATCH[2],
        }
    }

    fn put_field(&mut self, v: &Vector) {
        let Some((r, role)) = v.reg.filter(|(_, role)| *role != Role::Use) else { return };
        let Home::Slot(_) = self.home(r) else { return };
        debug_assert!(role != Role::Use);
        let to = Operand::Memory(self.slot(r));
        match self.class(r) {
            Class::Vector => {
                let scratch = scratch_vectors(self.code.encoding)[1];
                self.simple(&table::STOREPS, scratch, to);
            }
            Class::Mask => self.simple(&table::KSTORE, SCRATCH_MASKS[0], to),
            Class::General => self.put(r),
        }
    }

    fn fma(&mut self, fma: &Fma) {
        if let Some(mask) = fma.mask {
            return self.fma_inside(fma, mask);
        }
        let scratch = scratch_vectors(self.code.encoding);
        let to = match self.home(fma.def) {
            Home::Register(n) => n,
            _ => scratch[0],
        };
        // What has to be loaded goes to the result's register where that is free.
        let is_there =
            |a: &Source| matches!(a, Source::Reg(r) if self.home(*r) == Home::Register(to));
        let mut room = to != scratch[0] && !fma.args.iter().any(is_there);
        let mut next = 0;
        let mut in_memory = false;
        let mut args = [Operand::Register(0); 3];
        // What is in memory anyway goes first, so that what lives in the frame makes room.
        let outside = fma.args.iter().any(|a| !matches!(a, Source::Reg(_)));
        for (arg, source) in args.iter_mut().zip(&fma.args) {
            *arg = match source {
                Source::Reg(r) => match self.home(*r) {
                    Home::Register(n) => Operand::Register(n),
                    _ if !in_memory && !outside => {
                        in_memory = true;
                        self.memory(*r)
                    }
                    _ if std::mem::take(&mut room) => {
                        self.load(*r, to);
                        Operand::Register(to)
                    }
                    _ => {
                        next += 1;
                        Operand::Register(self.vector_register(*r, next - 1))
                    }
                },
                Source::Place(p) => Operand::Memory(self.place(p)),
                Source::Pool(slot) => Operand::Pool(*slot),
                Source::Repeated(slot) => Operand::Repeated(*slot),
            };
        }
        self.fma_into(fma, to, args);
        if let Home::Slot(_) = self.home(fma.def) {
            let at = self.slot(fma.def);
            self.simple(&table::STOREPS, to, Operand::Memory(at));
        }
    }

    /// `c = a · b + c` in the lanes of a mask.
    fn fma_inside(&mut self, fma: &Fma, mask: Reg) {
        let [mut a, mut b, _] = fma.args;
        if !matches!(a, Source::Reg(_)) {
            std::mem::swap(&mut a, &mut b);
        }
        let Source::Reg(a) = a else { unreachable!("one factor in a register") };
        let to = self.vector_register(fma.def, 0);
        let a = self.vector_register(a, 1);
        let operand = match b {
            Source::Reg(r) => match self.home(r) {
                Home::Register(n) => Operand::Register(n),
                _ => self.memory(r),
            },
            Source::Place(ref p) => Operand::Memory(self.place(p)),
            Source::Pool(slot) => Operand::Pool(slot),
            Source::Repeated(slot) => Operand::Repeated(slot),
        };
        let mask = Some((self.mask_register(mask, 0), false));
        let row = if fma.double { &table::FMA231PD } else { &table::FMA231PS };
        self.code.vector(&code::Vector {
            row,
            width: fma.width,
            reg: to,
            second: Some(a),
            operand,
            immediate: None,
            mask,
        });
        if let Home::Slot(_) = self.home(fma.def) {
            let at = self.slot(fma.def);
            self.simple(&table::STOREPS, to, Operand::Memory(at));
        }
    }

    /// `to = a · b + c` in the form that overwrites the operand which is there already.
    fn fma_into(&mut self, fma: &Fma, to: u8, [a, b, c]: [Operand; 3]) {
        let register = |o: Operand| match o {
            Operand::Register(n) => Some(n),
            _ => None,
        };
        let [f132, f213, f231]: [&Row; 3] = if fma.double {
            [&table::FMA132PD, &table::FMA213PD, &table::FMA231PD]
        } else {
            [&table::FMA132PS, &table::FMA213PS, &table::FMA231PS]
        };
        let (row, second, operand) = match (register(a), register(b), register(c)) {
            (Some(a), Some(b), None) => {
                if to == b && to != a {
                    (f213, a, c)
                } else {
                    self.move_vector(to, Operand::Register(a));
                    (f213, b, c)
                }
            }
            (Some(f), None, Some(c)) | (None, Some(f), Some(c)) => {
                let m = if register(a).is_none() { a } else { b };
                if to == f && to != c {
                    (f132, c, m)
                } else {
                    self.move_vector(to, Operand::Register(c));
                    (f231, f, m)
                }
            }
            (Some(x), Some(y), Some(z)) => {
                if to == x && to != z {
                    (f213, y, c)
                } else if to == y && to != z {
                    (f213, x, c)
                } else {
                    self.move_vector(to, Operand::Register(z));
                    (f231, x, b)
                }
            }
            _ => unreachable!("at most one operand in memory"),
        };
        self.code.vector(&code::Vector {
            row,
            width: fma.width,
            reg: to,
            second: Some(second),
            operand,
            immediate: None,
            mask: None,
        });
    }
}
