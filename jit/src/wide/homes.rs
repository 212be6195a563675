//! The frame, and virtual registers as operands: where they live, or a scratch register that
//! holds what lives elsewhere.

use super::alloc::{Home, PARAMS, SCRATCH, SCRATCH_MASKS, scratch_vectors};
use super::code::{self, Alu, Encoding, Mem, Operand, PoolSlot, RSP, Width};
use super::emit::Emitter;
use super::inst::{Class, Inst, Place, Reg, Source, Value, Vector};
use super::table::{self, Row};

/// Bytes that are less than a page apart, with room for what aligning takes.
const PAGE: i32 = 4096 - 128;

/// Registers that a function leaves as they were.
const SAVED: [u8; 6] = [3, 5, 12, 13, 14, 15];

impl Emitter<'_> {
    // ---- The frame ----

    fn slot_bytes(&self) -> u32 {
        match self.code.encoding {
            Encoding::Evex => 64,
            Encoding::Vex => 32,
        }
    }

    fn frame(&self) -> u32 {
        let bytes = self.allocation.vectors * self.slot_bytes() + 8 * self.allocation.words + 8;
        bytes.next_multiple_of(64)
    }

    fn has_frame(&self) -> bool {
        self.allocation.vectors + self.allocation.words > 0
    }

    pub(super) fn enter(&mut self) {
        let used = |r: &&u8| {
            let classes = self.program.classes.iter();
            classes
                .zip(&self.allocation.homes)
                .any(|(class, home)| *class == Class::General && *home == Home::Register(**r))
        };
        self.saved = SAVED.iter().filter(used).copied().collect();
        for &r in &self.saved {
            self.code.push(r);
        }
        if self.has_frame() {
            // The stack pointer as it was goes to the frame's last word.
            let frame = self.frame() as i32;
            self.code.alu(Alu::Mov, SCRATCH[0], Operand::Register(RSP));
            let mut left = frame;
            // Each page is touched in order, so that the guard page behind the stack is.
            while left > PAGE {
                self.code.alu_immediate(Alu::Sub, RSP, PAGE);
                self.code.store(at_stack(0), SCRATCH[0]);
                left -= PAGE;
            }
            self.code.alu_immediate(Alu::Sub, RSP, left);
            self.code.alu_immediate(Alu::And, RSP, -64);
            self.code.store(at_stack(frame - 8), SCRATCH[0]);
        }
        for (&param, &register) in self.program.params.iter().zip(&PARAMS) {
            if let Home::Slot(_) = self.home(param) {
                let to = self.slot(param);
                self.code.store(to, register);
            }
        }
    }

    pub(super) fn leave(&mut self) {
        self.code.zero_upper();
        if self.has_frame() {
            let saved = at_stack(self.frame() as i32 - 8);
            self.code.alu(Alu::Mov, RSP, Operand::Memory(saved));
        }
        for &r in self.saved.clone().iter().rev() {
            self.code.pop(r);
        }
        self.code.ret();
    }

    pub(super) fn home(&self, reg: Reg) -> Home {
        self.allocation.homes[reg.0 as usize]
    }

    pub(super) fn slot(&self, reg: Reg) -> Mem {
        let Home::Slot(n) = self.home(reg) else { unreachable!("a place in the frame") };
        let at = match self.program.classes[reg.0 as usize] {
            Class::Vector => n * self.slot_bytes(),
            Class::Mask | Class::General => self.allocation.vectors * self.slot_bytes() + 8 * n,
        };
        at_stack(at as i32)
    }

    // ---- Operands ----

    /// A general register that holds this one now.
    pub(super) fn general(&mut self, reg: Reg, scratch: usize) -> u8 {
        match self.home(reg) {
            Home::Register(n) => n,
            _ => {
                let from = Operand::Memory(self.slot(reg));
                self.code.alu(Alu::Mov, SCRATCH[scratch], from);
                SCRATCH[scratch]
            }
        }
    }

    /// The general register that a result goes to first.
    pub(super) fn target(&self, reg: Reg) -> u8 {
        match self.home(reg) {
            Home::Register(n) => n,
            _ => SCRATCH[2],
        }
    }

    /// Puts a result where it lives.
    pub(super) fn put(&mut self, reg: Reg) {
        if let Home::Slot(_) = self.home(reg) {
            let to = self.slot(reg);
            self.code.store(to, SCRATCH[2]);
        }
    }

    pub(super) fn place(&mut self, place: &Place) -> Mem {
        let base = self.general(place.base, 0);
        let index = place.index.map(|(index, scale)| {
            let register = match self.program.classes[index.0 as usize] {
                Class::General => self.general(index, 1),
                // What is gathered or scattered has the other scratch register.
                _ => self.vector_register(index, 0),
            };
            (register, scale)
        });
        Mem { base, index, disp: place.disp }
    }

    /// A vector that has no register, as an operand.
    pub(super) fn memory(&self, reg: Reg) -> Operand {
        match self.home(reg) {
            Home::Constant(inst) => match self.load_of(inst) {
                (row, _, slot) if std::ptr::eq(row, &table::LOADPS) => Operand::Pool(slot),
                (_, _, slot) => Operand::Repeated(slot),
            },
            _ => Operand::Memory(self.slot(reg)),
        }
    }

    /// Loads a vector that has no register.
    pub(super) fn load(&mut self, reg: Reg, to: u8) {
        let Home::Constant(inst) = self.home(reg) else {
            let from = self.slot(reg);
            return self.move_vector(to, Operand::Memory(from));
        };
        let (row, width, slot) = self.load_of(inst);
        if self.program.pool.is_zero(slot) {
            return self.zero(to);
        }
        let (operand, second) = (Operand::Pool(slot), None);
        let (immediate, mask) = (None, None);
        self.code.vector(&code::Vector { row, width, reg: to, second, operand, immediate, mask });
    }

    /// Zero in all lanes, for which the processor reads nothing.
    pub(super) fn zero(&mut self, to: u8) {
        self.code.vector(&code::Vector {
            row: &table::XORD,
            width: Width::X128,
            reg: to,
            second: Some(to),
            operand: Operand::Register(to),
            immediate: None,
            mask: None,
        });
    }

    /// The instruction that loads a constant.
    fn load_of(&self, inst: u32) -> (&'static Row, Width, PoolSlot) {
        match self.program.insts[inst as usize] {
            Inst::Vector(Vector { row, width, source: Source::Pool(slot), .. }) => {
                (row, width, slot)
            }
            _ => unreachable!("no constant is loaded there"),
        }
    }

    /// A vector register that holds this one now.
    pub(super) fn vector_register(&mut self, reg: Reg, scratch: usize) -> u8 {
        match self.home(reg) {
            Home::Register(n) => n,
            _ => {
                let register = scratch_vectors(self.code.encoding)[scratch];
                self.load(reg, register);
                register
            }
        }
    }

    pub(super) fn widest(&self) -> Width {
        match self.code.encoding {
            Encoding::Evex => Width::Z512,
            Encoding::Vex => Width::Y256,
        }
    }

    pub(super) fn move_vector(&mut self, to: u8, from: Operand) {
        if matches!(from, Operand::Register(n) if n == to) {
            return;
        }
        let row = match from {
            Operand::Repeated(_) => &table::REPEATD,
            _ => &table::LOADPS,
        };
        self.simple(row, to, from);
    }

    pub(super) fn simple(&mut self, row: &Row, reg: u8, operand: Operand) {
        let width = self.widest();
        let (second, immediate, mask) = (None, None, None);
        self.code.vector(&code::Vector { row, width, reg, second, operand, immediate, mask });
    }

    pub(super) fn mask_register(&mut self, reg: Reg, scratch: usize) -> u8 {
        match self.home(reg) {
            Home::Register(n) => n,
            _ => {
                let from = Operand::Memory(self.slot(reg));
                self.simple(&table::KMOV, SCRATCH_MASKS[scratch], from);
                SCRATCH_MASKS[scratch]
            }
        }
    }

    pub(super) fn class(&self, reg: Reg) -> Class {
        self.program.classes[reg.0 as usize]
    }

    pub(super) fn value(&mut self, value: &Value, scratch: usize) -> Operand {
        match value {
            Value::Reg(r) => match self.home(*r) {
                Home::Register(n) => Operand::Register(n),
                _ => Operand::Memory(self.slot(*r)),
            },
            Value::Place(p) => Operand::Memory(self.place(p)),
            Value::Known(n) => {
                self.code.set(SCRATCH[scratch], *n);
                Operand::Register(SCRATCH[scratch])
            }
        }
    }
}

fn at_stack(disp: i32) -> Mem {
    Mem { base: RSP, index: None, disp }
}
