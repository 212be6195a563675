//! Bytes of x86-64 instructions: prefixes, operands and labels.
//!
//! [`vector`] has the vector instructions, [`pool`] the constants. Intel's *Software
//! Developer's Manual*, volume 2, chapter 2, describes all of it.

mod pool;
mod vector;

pub(crate) use self::pool::{Pool, PoolSlot};
pub(crate) use self::vector::Vector;

/// A general-purpose register by number.
pub(crate) type Gpr = u8;

/// The stack pointer.
pub(crate) const RSP: Gpr = 4;

/// Bits of a vector register that an instruction uses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Width {
    X128,
    Y256,
    Z512,
}

impl Width {
    pub fn bytes(self) -> usize {
        16 << self as usize
    }

    /// The narrowest register for so many bytes.
    pub fn of(bytes: usize) -> Self {
        match bytes {
            0..=16 => Self::X128,
            17..=32 => Self::Y256,
            _ => Self::Z512,
        }
    }

    fn code(self) -> u8 {
        self as u8
    }
}

/// Which encoding vector instructions have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    Evex,
    Vex,
}

/// A place in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mem {
    pub base: Gpr,
    /// Another register, times `1 << scale`; a vector register for gathers and scatters.
    pub index: Option<(u8, u8)>,
    pub disp: i32,
}

/// The last operand of an instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand {
    /// A register of whatever kind the instruction takes.
    Register(u8),
    Memory(Mem),
    /// A constant of the pool.
    Pool(PoolSlot),
    /// A constant of the pool that is one element, repeated in all lanes.
    Repeated(PoolSlot),
}

/// A place in the code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Label(pub u32);

/// Conditions of jumps and moves, by their number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cond {
    Equal = 4,
    NotEqual = 5,
    GreaterOrEqual = 13,
    LessOrEqual = 14,
    Greater = 15,
}

/// Two-operand instructions on 64-bit registers, by the opcode of `reg, operand`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Alu {
    Add = 0x03,
    And = 0x23,
    Sub = 0x2b,
    Cmp = 0x3b,
    Mov = 0x8b,
}

impl Alu {
    /// Its number among the instructions with an immediate operand.
    fn extension(self) -> u8 {
        self as u8 >> 3
    }
}

/// Machine code being written.
pub(crate) struct Code {
    pub encoding: Encoding,
    pub bytes: Vec<u8>,
    labels: Vec<Option<usize>>,
    /// Where a distance to a label stands.
    jumps: Vec<(usize, Label)>,
    /// Where a distance to a constant stands, and where its instruction ends.
    reads: Vec<(usize, usize, PoolSlot)>,
}

/// Code begins at a multiple of this.
pub(crate) const ALIGN: usize = 64;

impl Code {
    pub fn new(encoding: Encoding, labels: usize) -> Self {
        Self {
            encoding,
            bytes: Vec::with_capacity(4096),
            labels: vec![None; labels],
            jumps: Vec::new(),
            reads: Vec::new(),
        }
    }

    /// The code with all distances filled in, followed by the pool.
    pub fn finish(mut self, pool: &Pool) -> Vec<u8> {
        for (at, label) in std::mem::take(&mut self.jumps) {
            let to = self.labels[label.0 as usize].expect("a label that stands somewhere");
            self.patch(at, to as i64 - (at as i64 + 4));
        }
        let (places, data) = pool.layout();
        if !data.is_empty() {
            self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0xcc);
        }
        let start = self.bytes.len();
        for (at, end, slot) in std::mem::take(&mut self.reads) {
            let to = start + places[slot.0 as usize];
            self.patch(at, to as i64 - end as i64);
        }
        self.bytes.extend(data);
        self.bytes
    }

    fn patch(&mut self, at: usize, distance: i64) {
        let distance = i32::try_from(distance).expect("less than 2 GiB of code");
        self.bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
    }

    // ---- Control ----

    pub fn place(&mut self, label: Label) {
        self.labels[label.0 as usize] = Some(self.bytes.len());
    }

    /// Fills up to a multiple of so many bytes with what does nothing.
    pub fn align(&mut self, to: usize) {
        const NOPS: [&[u8]; 9] = [
            &[0x90],
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0x1f, 0x40, 0x00],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
            &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        ];
        let mut missing = self.bytes.len().next_multiple_of(to) - self.bytes.len();
        while missing > 0 {
            let n = missing.min(NOPS.len());
            self.bytes.extend_from_slice(NOPS[n - 1]);
            missing -= n;
        }
    }

    pub fn jump(&mut self, label: Label) {
        self.bytes.push(0xe9);
        self.distance(label);
    }

    pub fn jump_if(&mut self, cond: Cond, label: Label) {
        self.bytes.extend([0x0f, 0x80 | cond as u8]);
        self.distance(label);
    }

    fn distance(&mut self, label: Label) {
        self.jumps.push((self.bytes.len(), label));
        self.bytes.extend([0; 4]);
    }

    pub fn ret(&mut self) {
        self.bytes.push(0xc3);
    }

    /// Clears the upper halves of vector registers, on which narrow instructions of older
    /// encodings would wait.
    pub fn zero_upper(&mut self) {
        self.bytes.extend([0xc5, 0xf8, 0x77]);
    }

    /// Waits for all stores.
    pub fn fence(&mut self) {
        self.bytes.extend([0x0f, 0xae, 0xf8]);
    }

    pub fn push(&mut self, r: Gpr) {
        self.short(r, 0x50);
    }

    pub fn pop(&mut self, r: Gpr) {
        self.short(r, 0x58);
    }

    fn short(&mut self, r: Gpr, opcode: u8) {
        if r >= 8 {
            self.bytes.push(0x41);
        }
        self.bytes.push(opcode + (r & 7));
    }

    // ---- 64-bit registers ----

    pub fn alu(&mut self, op: Alu, reg: Gpr, operand: Operand) {
        self.general(&[op as u8], reg, operand, 0);
    }

    pub fn alu_immediate(&mut self, op: Alu, reg: Gpr, n: i32) {
        let (extension, operand) = (op.extension(), Operand::Register(reg));
        if let Ok(n) = i8::try_from(n) {
            self.general(&[0x83], extension, operand, 1);
            self.bytes.push(n as u8);
        } else {
            self.general(&[0x81], extension, operand, 4);
            self.bytes.extend(n.to_le_bytes());
        }
    }

    pub fn set(&mut self, reg: Gpr, n: i64) {
        if let Ok(n) = i32::try_from(n) {
            self.general(&[0xc7], 0, Operand::Register(reg), 4);
            self.bytes.extend(n.to_le_bytes());
        } else {
            self.bytes.extend([0x48 | (reg >> 3), 0xb8 + (reg & 7)]);
            self.bytes.extend(n.to_le_bytes());
        }
    }

    pub fn lea(&mut self, reg: Gpr, mem: Mem) {
        self.general(&[0x8d], reg, Operand::Memory(mem), 0);
    }

    pub fn store(&mut self, mem: Mem, reg: Gpr) {
        self.general(&[0x89], reg, Operand::Memory(mem), 0);
    }

    /// Stores the low byte.
    pub fn store_byte(&mut self, mem: Mem, reg: Gpr) {
        self.general(&[0x88], reg, Operand::Memory(mem), 0);
    }

    /// A byte, filled up with zeros.
    pub fn load_byte(&mut self, reg: Gpr, mem: Mem) {
        self.general(&[0x0f, 0xb6], reg, Operand::Memory(mem), 0);
    }

    /// Asks for a line in all caches.
    pub fn prefetch(&mut self, mem: Mem) {
        self.general(&[0x0f, 0x18], 1, Operand::Memory(mem), 0);
    }

    pub fn multiply(&mut self, reg: Gpr, operand: Operand, by: i32) {
        self.general(&[0x69], reg, operand, 4);
        self.bytes.extend(by.to_le_bytes());
    }

    pub fn negate(&mut self, reg: Gpr) {
        self.general(&[0xf7], 3, Operand::Register(reg), 0);
    }

    pub fn move_if(&mut self, cond: Cond, reg: Gpr, operand: Operand) {
        self.general(&[0x0f, 0x40 | cond as u8], reg, operand, 0);
    }

    /// The low `count` bits of `from`, for counts below 256; all if there are fewer.
    pub fn low_bits(&mut self, reg: Gpr, from: Gpr, count: Gpr) {
        let (r, b) = (!(reg >> 3) & 1, !(from >> 3) & 1);
        let second = (1 << 7) | ((!count & 15) << 3);
        self.bytes.extend([0xc4, (r << 7) | (1 << 6) | (b << 5) | 2, second, 0xf5]);
        self.bytes.push(0xc0 | ((reg & 7) << 3) | (from & 7));
    }

    fn general(&mut self, opcode: &[u8], reg: u8, operand: Operand, after: usize) {
        let (x, b) = match operand {
            Operand::Register(r) => (0, r >> 3),
            Operand::Memory(m) => (m.index.map_or(0, |i| i.0 >> 3), m.base >> 3),
            Operand::Pool(_) | Operand::Repeated(_) => (0, 0),
        };
        self.bytes.push(0x48 | ((reg >> 3) << 2) | (x << 1) | b);
        self.bytes.extend_from_slice(opcode);
        self.operand(reg, operand, 1, after);
    }

    // ---- Operands ----

    /// ModRM, SIB and displacement. Short displacements count in `unit`s; so many bytes
    /// of the instruction follow.
    fn operand(&mut self, reg: u8, operand: Operand, unit: i32, after: usize) {
        let reg = (reg & 7) << 3;
        match operand {
            Operand::Register(r) => self.bytes.push(0xc0 | reg | (r & 7)),
            Operand::Memory(m) => self.memory(reg, m, unit),
            Operand::Pool(slot) | Operand::Repeated(slot) => {
                self.bytes.push(reg | 5);
                let at = self.bytes.len();
                self.reads.push((at, at + 4 + after, slot));
                self.bytes.extend([0; 4]);
            }
        }
    }

    fn memory(&mut self, reg: u8, m: Mem, unit: i32) {
        let short = (m.disp % unit == 0).then(|| i8::try_from(m.disp / unit).ok()).flatten();
        // With these bases, no displacement means something else.
        let mode = match short {
            Some(0) if m.base & 7 != 5 => 0,
            Some(_) => 0x40,
            None => 0x80,
        };
        match m.index {
            None if m.base & 7 != 4 => self.bytes.push(mode | reg | (m.base & 7)),
            None => self.bytes.extend([mode | reg | 4, 0x24]),
            Some((index, scale)) => {
                let sib = (scale << 6) | ((index & 7) << 3) | (m.base & 7);
                self.bytes.extend([mode | reg | 4, sib]);
            }
        }
        match (mode, short) {
            (0x40, Some(n)) => self.bytes.push(n as u8),
            (0x80, _) => self.bytes.extend(m.disp.to_le_bytes()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
