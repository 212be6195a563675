//! Every instruction against a decoder that knows nothing of [`table`](super::super::table):
//! what comes back is one instruction with the name, registers, mask, width, address and
//! immediate that went in.

mod general;
mod shapes;

use std::ptr;

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind, Register};

use self::shapes::{SHAPES, Shape, VEX};
use super::super::table::{self as t, Row, Since};
use super::*;

/// How much memory an operand is.
#[derive(Clone, Copy)]
enum Extent {
    /// As much as the register that it could be.
    Register,
    Bytes(usize),
    /// The width, divided by this.
    Part(usize),
}

/// A shape, read.
struct Form {
    name: &'static str,
    /// Field and kind of each operand, and what the last one can be in memory.
    operands: Vec<(char, String)>,
    memory: Option<Extent>,
    /// Whether it can be nothing else.
    memory_only: bool,
    repeats: bool,
    indexed: bool,
    immediate: bool,
    masks: bool,
    widths: Vec<Width>,
}

const WIDTHS: [Width; 3] = [Width::X128, Width::Y256, Width::Z512];

impl Form {
    fn read(row: &Row, name: &'static str, text: &str, encoding: Encoding) -> Self {
        let evex = encoding == Encoding::Evex;
        let mut form = Self {
            name,
            operands: Vec::new(),
            memory: None,
            memory_only: false,
            repeats: false,
            indexed: false,
            immediate: false,
            masks: evex,
            widths: Vec::new(),
        };
        for word in text.split(' ') {
            match word {
                "i" => form.immediate = true,
                "-" => form.masks = false,
                _ if word.starts_with(|c: char| c.is_ascii_digit()) => {
                    let bits: usize = word.parse().expect("a number of bits");
                    form.widths.push(Width::of(bits / 8));
                }
                _ => {
                    let mut parts = word.split('/');
                    let (field, kind) = parts.next().expect("an operand").split_at(1);
                    for place in parts {
                        match place.split_at(1) {
                            ("m", "") => form.memory = Some(Extent::Register),
                            ("m", n) => {
                                form.memory = Some(Extent::Bytes(n.parse().expect("bytes")));
                            }
                            ("w", n) => {
                                form.memory = Some(Extent::Part(n.parse().expect("a part")));
                            }
                            ("b", "") => form.repeats = evex,
                            _ => panic!("{}: {word}", row.name),
                        }
                    }
                    let kind = match kind.strip_prefix('g') {
                        Some(index) => {
                            form.indexed = true;
                            index
                        }
                        None => kind,
                    };
                    let field = match field {
                        "m" => {
                            form.memory = Some(Extent::Register);
                            form.memory_only = true;
                            'o'
                        }
                        "f" => {
                            form.immediate = true;
                            'f'
                        }
                        _ => field.chars().next().expect("a field"),
                    };
                    form.operands.push((field, kind.to_owned()));
                }
            }
        }
        if form.widths.is_empty() {
            form.widths = WIDTHS.to_vec();
        }
        if !evex {
            form.widths.retain(|&w| w != Width::Z512);
        }
        form
    }

    fn kind(&self, field: char) -> Option<&str> {
        self.operands.iter().find(|o| o.0 == field).map(|o| &*o.1)
    }

    /// Whether the last operand is the one that is written.
    fn stores(&self) -> bool {
        self.operands[0].0 == 'o'
    }

    /// Bytes of the last operand in memory.
    fn bytes(&self, width: Width) -> usize {
        match (self.memory, self.kind('o')) {
            (Some(Extent::Register), Some(kind)) => size(kind, width),
            (Some(Extent::Bytes(n)), _) => n,
            (Some(Extent::Part(n)), _) => width.bytes() / n,
            (_, _) => panic!("{} takes no memory", self.name),
        }
    }
}

fn forms(encoding: Encoding) -> Vec<(&'static Row, Form)> {
    let of = |&(row, shape): &Shape| match encoding {
        Encoding::Evex if row.since == Since::Avx2Only => None,
        Encoding::Evex => Some((row, Form::read(row, row.name, shape, encoding))),
        Encoding::Vex if row.since == Since::Avx512 => None,
        Encoding::Vex => {
            let other = VEX.iter().find(|v| ptr::eq(v.0, row));
            let name = other.map_or(row.name, |v| v.1);
            let shape = other.and_then(|v| v.2).unwrap_or(shape);
            Some((row, Form::read(row, name, shape, encoding)))
        }
    };
    SHAPES.iter().filter_map(of).collect()
}

fn size(kind: &str, width: Width) -> usize {
    match kind {
        "v" => width.bytes(),
        "h" => width.bytes() / 2,
        "x" => 16,
        "y" => 32,
        "q" => 8,
        _ => panic!("a {kind} in memory"),
    }
}

/// Numbers of registers of a kind: the first, the last, and those around a new bit.
fn numbers(kind: &str, encoding: Encoding) -> &'static [u8] {
    match (kind, encoding) {
        ("k", _) => &[0, 1, 5, 7],
        ("d" | "q", _) | (_, Encoding::Vex) => &[0, 4, 5, 7, 8, 12, 13, 15],
        _ => &[0, 4, 7, 8, 15, 16, 23, 24, 31],
    }
}

fn register(kind: &str, n: u8, width: Width) -> Register {
    let first = match kind {
        "k" => Register::K0,
        "d" => Register::EAX,
        "q" => Register::RAX,
        _ => match size(kind, width) {
            0..=16 => Register::XMM0,
            32 => Register::YMM0,
            _ => Register::ZMM0,
        },
    };
    first + u32::from(n)
}

/// The only instruction of these bytes.
fn decode(bytes: &[u8]) -> Instruction {
    let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
    let inst = decoder.decode();
    assert!(!inst.is_invalid(), "no instruction: {bytes:02x?}");
    assert_eq!(inst.len(), bytes.len(), "{inst}: {bytes:02x?}");
    inst
}

fn name(inst: &Instruction) -> String {
    format!("{:?}", inst.mnemonic()).to_lowercase()
}

/// Encodes, decodes and compares.
fn check(form: &Form, encoding: Encoding, v: &Vector<'_>) {
    let mut code = Code::new(encoding, 0);
    code.vector(v);
    let inst = decode(&code.bytes);
    let context = || format!("{inst} from {v:?}: {:02x?}", code.bytes);
    assert_eq!(name(&inst), form.name, "{}", context());
    let (mask, zero) = v.mask.unwrap_or((0, false));
    let expected = if mask == 0 { Register::None } else { Register::K0 + u32::from(mask) };
    assert_eq!((inst.op_mask(), inst.zeroing_masking()), (expected, zero), "{}", context());
    let mut operands = form.operands.iter();
    for i in 0..inst.op_count() {
        if inst.op_kind(i) == OpKind::Immediate8 {
            assert_eq!(Some(inst.immediate8()), v.immediate, "{}", context());
            assert_eq!(i, inst.op_count() - 1, "{}", context());
            continue;
        }
        let (field, kind) = operands.next().unwrap_or_else(|| panic!("{}", context()));
        let number = match (field, v.operand) {
            ('r', _) => v.reg,
            ('s', _) => v.second.expect("a second operand"),
            ('f', _) => v.immediate.expect("a fourth operand") >> 4,
            (_, Operand::Register(n)) => n,
            _ => {
                assert_eq!(inst.op_kind(i), OpKind::Memory, "{}", context());
                check_memory(form, v, kind, &inst, &context);
                continue;
            }
        };
        assert_eq!(inst.op_kind(i), OpKind::Register, "{}", context());
        assert_eq!(inst.op_register(i), register(kind, number, v.width), "{}", context());
    }
    assert_eq!(operands.next(), None, "{}", context());
    assert_eq!(v.immediate.is_some(), form.immediate);
}

fn check_memory(
    form: &Form,
    v: &Vector<'_>,
    kind: &str,
    inst: &Instruction,
    context: &dyn Fn() -> String,
) {
    let repeated = matches!(v.operand, Operand::Repeated(_));
    assert_eq!(inst.is_broadcast(), repeated, "{}", context());
    if !form.indexed {
        let bytes = if repeated { v.row.element() } else { form.bytes(v.width) };
        assert_eq!(inst.memory_size().size(), bytes, "{}", context());
    }
    let Operand::Memory(m) = v.operand else { return };
    assert_eq!(inst.memory_base(), Register::RAX + u32::from(m.base), "{}", context());
    assert_eq!(inst.memory_displacement64() as i64, i64::from(m.disp), "{}", context());
    let (index, scale) = match m.index {
        None => (Register::None, 0),
        Some((n, scale)) if form.indexed => (register(kind, n, v.width), scale),
        Some((n, scale)) => (Register::RAX + u32::from(n), scale),
    };
    assert_eq!(inst.memory_index(), index, "{}", context());
    assert_eq!(inst.memory_index_scale(), 1 << scale, "{}", context());
}

/// Places with every kind of base and displacement: those that count in units of so many
/// bytes, and those just outside.
fn places(unit: i32, indices: &[Option<(u8, u8)>]) -> Vec<Mem> {
    let near = [0, 1, -1, 8, 64, 127, 128, -128, -129];
    let scaled = [1, -1, 126, 127, 128, -128, -129].map(|n| n * unit);
    let far = [4096, -8192, i32::MAX, i32::MIN];
    let mut out = Vec::new();
    for base in [0, RSP, 5, 7, 8, 12, 13, 15] {
        for &index in indices {
            out.extend(near.iter().chain(&scaled).chain(&far).map(|&disp| Mem {
                base,
                index,
                disp,
            }));
        }
    }
    out
}

const INDICES: [Option<(u8, u8)>; 8] = [
    None,
    Some((0, 0)),
    Some((5, 1)),
    Some((7, 3)),
    Some((8, 2)),
    Some((12, 3)),
    Some((13, 0)),
    Some((15, 1)),
];

/// An instruction of this form; other operands are to be filled in.
fn plain<'r>(row: &'r Row, form: &Form, width: Width) -> Vector<'r> {
    Vector {
        row,
        width,
        reg: 1,
        second: form.kind('s').map(|_| 2),
        operand: Operand::Register(3),
        immediate: form.immediate.then_some(0x5a),
        mask: None,
    }
}

fn each_form(encoding: Encoding, mut f: impl FnMut(&'static Row, &Form, Width)) {
    for (row, form) in forms(encoding) {
        for &width in &form.widths {
            f(row, &form, width);
        }
    }
}

const BOTH: [Encoding; 2] = [Encoding::Evex, Encoding::Vex];

#[test]
fn shapes_of_all_rows_are_known() {
    for &row in t::ALL {
        let known = SHAPES.iter().filter(|(other, _)| ptr::eq(*other, row)).count();
        assert_eq!(known, 1, "{}", row.name);
    }
    assert_eq!(SHAPES.len(), t::ALL.len());
}

#[test]
fn registers_of_all_numbers() {
    for encoding in BOTH {
        each_form(encoding, |row, form, width| {
            let last = form.kind('o').expect("a last operand");
            if form.indexed || form.memory_only || last.is_empty() {
                return;
            }
            let of = |field| form.kind(field).map_or(&[0][..], |kind| numbers(kind, encoding));
            for &reg in of('r') {
                for &second in of('s') {
                    for &n in of('o') {
                        check(
                            form,
                            encoding,
                            &Vector {
                                reg,
                                second: form.kind('s').map(|_| second),
                                operand: Operand::Register(n),
                                ..plain(row, form, width)
                            },
                        );
                    }
                }
            }
        });
    }
}

#[test]
fn places_in_memory() {
    for encoding in BOTH {
        each_form(encoding, |row, form, width| {
            if form.indexed || form.memory.is_none() {
                return;
            }
            let unit = form.bytes(width) as i32;
            let (regs, seconds) = ["r", "s"]
                .map(|field| field.chars().next().and_then(|c| form.kind(c)))
                .map(|kind| kind.map_or(&[0][..], |kind| numbers(kind, encoding)))
                .into();
            for (i, place) in places(unit, &INDICES).into_iter().enumerate() {
                check(
                    form,
                    encoding,
                    &Vector {
                        reg: regs[i % regs.len()],
                        second: form.kind('s').map(|_| seconds[i / 3 % seconds.len()]),
                        operand: Operand::Memory(place),
                        ..plain(row, form, width)
                    },
                );
            }
        });
    }
}

#[test]
fn places_of_gathers_and_scatters() {
    for encoding in BOTH {
        each_form(encoding, |row, form, width| {
            if !form.indexed {
                return;
            }
            let all = numbers("v", encoding);
            let indices: Vec<_> =
                all.iter().enumerate().map(|(i, &n)| Some((n, i as u8 % 4))).collect();
            for (i, place) in places(row.element() as i32, &indices).into_iter().enumerate() {
                let reg = all[i / 2 % all.len()];
                let index = place.index.map(|i| i.0);
                if index == Some(reg) {
                    continue;
                }
                // The mask, in AVX2.
                let second = all.iter().copied().find(|&n| n != reg && index != Some(n));
                let mask = (encoding == Encoding::Evex).then_some((1 + i as u8 % 7, false));
                check(
                    form,
                    encoding,
                    &Vector {
                        reg,
                        second: form.kind('s').and(second),
                        operand: Operand::Memory(place),
                        mask,
                        ..plain(row, form, width)
                    },
                );
            }
        });
    }
}

#[test]
fn masks_that_merge_or_clear() {
    let encoding = Encoding::Evex;
    each_form(encoding, |row, form, width| {
        if !form.masks || form.indexed {
            return;
        }
        let place = Operand::Memory(Mem { base: 12, index: Some((9, 1)), disp: 192 });
        let operands = [
            form.kind('o').filter(|k| !k.is_empty()).map(|_| Operand::Register(13)),
            form.memory.map(|_| place),
        ];
        for operand in operands.into_iter().flatten() {
            let in_memory = matches!(operand, Operand::Memory(_));
            let clears = form.operands[0].1 != "k" && !(in_memory && form.stores());
            for k in 1..8 {
                for zero in [false, true] {
                    if zero && !clears {
                        continue;
                    }
                    let mask = Some((k, zero));
                    check(form, encoding, &Vector { operand, mask, ..plain(row, form, width) });
                }
            }
        }
    });
}

/// Instructions that read the pool find their constants there, whatever follows them.
#[test]
fn constants_of_the_pool() {
    for encoding in BOTH {
        let mut code = Code::new(encoding, 0);
        let mut pool = Pool::default();
        let mut expected = Vec::new();
        let mut next = 0u8;
        each_form(encoding, |row, form, width| {
            if form.indexed || form.memory.is_none() || form.stores() {
                return;
            }
            for repeated in [false, true] {
                if repeated && !form.repeats {
                    continue;
                }
                let bytes = if repeated { row.element() } else { form.bytes(width) };
                next = next.wrapping_add(41);
                let constant: Vec<u8> = (0..bytes as u8).map(|i| next.wrapping_add(i)).collect();
                let slot = pool.slot(&constant);
                assert_eq!(pool.slot(&constant), slot);
                let operand = if repeated { Operand::Repeated(slot) } else { Operand::Pool(slot) };
                code.vector(&Vector { operand, ..plain(row, form, width) });
                expected.push((form.name, repeated, constant));
            }
        });
        assert!(expected.len() > 50);
        let end = code.bytes.len();
        let bytes = code.finish(&pool);
        let mut decoder = Decoder::with_ip(64, &bytes[..end], 0, DecoderOptions::NONE);
        for (row, repeated, constant) in expected {
            let inst = decoder.decode();
            assert_eq!(name(&inst), row);
            assert_eq!(inst.is_broadcast(), repeated, "{inst}");
            assert!(inst.is_ip_rel_memory_operand(), "{inst}");
            assert_eq!(inst.memory_size().size(), constant.len(), "{inst}");
            let at = inst.ip_rel_memory_address() as usize;
            assert!(at >= end && at.is_multiple_of(constant.len()), "{inst}");
            assert_eq!(bytes[at..][..constant.len()], constant, "{inst}");
        }
        assert!(!decoder.can_decode());
    }
}
