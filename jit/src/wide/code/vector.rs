//! Vector and mask instructions, in two encodings.
//!
//! EVEX (AVX-512) names 32 registers of up to 512 bits, a mask, and constants that are
//! repeated in all lanes as they are read; VEX (AVX2) names 16 registers of up to 256 bits.
//! An instruction's row in [`table`](crate::wide::table) says what both have in common.

use super::super::table::{Row, Tuple};
use super::{Code, Encoding, Mem, Operand, Width};

/// A vector instruction on registers that are known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vector<'r> {
    pub row: &'r Row,
    pub width: Width,
    /// The operand in ModRM's `reg` field.
    pub reg: u8,
    /// The operand in the prefix, if there is one.
    pub second: Option<u8>,
    pub operand: Operand,
    pub immediate: Option<u8>,
    /// The mask register, and whether other lanes become zero.
    pub mask: Option<(u8, bool)>,
}

impl Code {
    pub fn vector(&mut self, v: &Vector<'_>) {
        match self.encoding {
            Encoding::Evex if !v.row.is_mask_op() => self.evex(v),
            _ => self.vex(v),
        }
        self.bytes.push(v.row.opcode);
        let unit = match (self.encoding, v.row.tuple) {
            (Encoding::Vex, _) => 1,
            _ if matches!(v.operand, Operand::Repeated(_)) => v.row.element(),
            (_, Tuple::Full) => v.width.bytes(),
            (_, Tuple::Half) => v.width.bytes() / 2,
            (_, Tuple::Part) => 16,
            (_, Tuple::Element) => v.row.element(),
            (_, Tuple::General) => 1,
        };
        self.operand(v.reg, v.operand, unit as i32, usize::from(v.immediate.is_some()));
        self.bytes.extend(v.immediate);
    }

    fn evex(&mut self, v: &Vector<'_>) {
        let bit = |r: u8, n: u8| !(r >> n) & 1;
        let second = v.second.unwrap_or(0);
        let (x, b, mut high) = match v.operand {
            Operand::Register(r) => (bit(r, 4), bit(r, 3), bit(second, 4)),
            Operand::Memory(m) => {
                let index = m.index.map_or(0, |i| i.0);
                (bit(index, 3), bit(m.base, 3), bit(second, 4))
            }
            Operand::Pool(_) | Operand::Repeated(_) => (1, 1, bit(second, 4)),
        };
        if let (true, Operand::Memory(Mem { index: Some((index, _)), .. })) =
            (v.row.by_vector(), v.operand)
        {
            high = bit(index, 4);
        }
        let (mask, zero) = v.mask.map_or((0, 0), |(k, zero)| (k, u8::from(zero)));
        let repeated = u8::from(matches!(v.operand, Operand::Repeated(_)));
        self.bytes.extend([
            0x62,
            (bit(v.reg, 3) << 7) | (x << 6) | (b << 5) | (bit(v.reg, 4) << 4) | v.row.map,
            (v.row.w << 7) | ((!second & 15) << 3) | (1 << 2) | v.row.prefix,
            (zero << 7) | (v.width.code() << 5) | (repeated << 4) | (high << 3) | mask,
        ]);
    }

    fn vex(&mut self, v: &Vector<'_>) {
        debug_assert!(v.mask.is_none(), "{}: there are no masks in VEX", v.row.name);
        debug_assert!(
            !matches!(v.operand, Operand::Repeated(_)),
            "{}: nothing repeats",
            v.row.name
        );
        let bit = |r: u8| !(r >> 3) & 1;
        let (x, b) = match v.operand {
            Operand::Register(r) => (1, bit(r)),
            Operand::Memory(m) => (bit(m.index.map_or(0, |i| i.0)), bit(m.base)),
            Operand::Pool(_) | Operand::Repeated(_) => (1, 1),
        };
        let long = if v.row.is_mask_op() { v.row.long() } else { v.width != Width::X128 };
        self.bytes.extend([
            0xc4,
            (bit(v.reg) << 7) | (x << 6) | (b << 5) | v.row.map,
            (v.row.vex_w() << 7)
                | ((!v.second.unwrap_or(0) & 15) << 3)
                | (u8::from(long) << 2)
                | v.row.prefix,
        ]);
    }
}
