//! Every instruction against a decoder that knows nothing of [`table`](super::super::table):
//! what comes back is one instruction with the name, registers, mask, width, address and
//! immediate that went in.

use std::ptr;

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind, Register};

use super::super::table::{self as t, Row, Since};
use super::*;

/// Operands of each row in the order of the manual's text, which begins with the one that
/// is written.
///
/// An operand begins with its field: `r` is ModRM's `reg`, `s` the one in the prefix, `o`
/// the last. Then comes its kind: a vector of the full width or half of it (`v`, `h`), of
/// 128 or 256 bits (`x`, `y`), a mask (`k`), a general register of 32 or 64 bits (`d`, `q`).
/// The last operand may be memory: as much as the register (`/m`), so many bytes (`/m4`),
/// one element that is repeated (`/b`); or an index register and as much as the operand in
/// `reg` (`gv`, `gh`); or a part of the width (`/w4`). With `m` for `o` it is nothing else.
/// `i` is an immediate, `f` a register that is named in the immediate, `-` says that there is
/// no mask. Numbers at the end are widths, if not all are possible.
type Shape = (&'static Row, &'static str);

static SHAPES: &[Shape] = &[
    (&t::ADDPS, "rv sv ov/m/b"),
    (&t::ADDPD, "rv sv ov/m/b"),
    (&t::SUBPS, "rv sv ov/m/b"),
    (&t::SUBPD, "rv sv ov/m/b"),
    (&t::MULPS, "rv sv ov/m/b"),
    (&t::MULPD, "rv sv ov/m/b"),
    (&t::DIVPS, "rv sv ov/m/b"),
    (&t::DIVPD, "rv sv ov/m/b"),
    (&t::MINPS, "rv sv ov/m/b"),
    (&t::MINPD, "rv sv ov/m/b"),
    (&t::MAXPS, "rv sv ov/m/b"),
    (&t::MAXPD, "rv sv ov/m/b"),
    (&t::SQRTPS, "rv ov/m/b"),
    (&t::SQRTPD, "rv ov/m/b"),
    (&t::ROUNDPS, "rv ov/m/b i"),
    (&t::ROUNDPD, "rv ov/m/b i"),
    (&t::FMA132PS, "rv sv ov/m/b"),
    (&t::FMA132PD, "rv sv ov/m/b"),
    (&t::FMA213PS, "rv sv ov/m/b"),
    (&t::FMA213PD, "rv sv ov/m/b"),
    (&t::FMA231PS, "rv sv ov/m/b"),
    (&t::FMA231PD, "rv sv ov/m/b"),
    (&t::CMPPS, "rk sv ov/m/b i"),
    (&t::CMPPD, "rk sv ov/m/b i"),
    (&t::ANDD, "rv sv ov/m/b"),
    (&t::ANDQ, "rv sv ov/m/b"),
    (&t::ORD, "rv sv ov/m/b"),
    (&t::ORQ, "rv sv ov/m/b"),
    (&t::XORD, "rv sv ov/m/b"),
    (&t::XORQ, "rv sv ov/m/b"),
    (&t::PADDD, "rv sv ov/m/b"),
    (&t::PADDQ, "rv sv ov/m/b"),
    (&t::PSUBD, "rv sv ov/m/b"),
    (&t::PSUBQ, "rv sv ov/m/b"),
    (&t::PMULLD, "rv sv ov/m/b"),
    (&t::PMULLQ, "rv sv ov/m/b"),
    (&t::PABSD, "rv ov/m/b"),
    (&t::PABSQ, "rv ov/m/b"),
    (&t::PABSB, "rv ov/m"),
    (&t::PMINSD, "rv sv ov/m/b"),
    (&t::PMINSQ, "rv sv ov/m/b"),
    (&t::PMAXSD, "rv sv ov/m/b"),
    (&t::PMAXSQ, "rv sv ov/m/b"),
    (&t::PSLLVD, "rv sv ov/m/b"),
    (&t::PSLLVQ, "rv sv ov/m/b"),
    (&t::PSRLVD, "rv sv ov/m/b"),
    (&t::PSRLVQ, "rv sv ov/m/b"),
    (&t::PSRAVD, "rv sv ov/m/b"),
    (&t::PSRAVQ, "rv sv ov/m/b"),
    (&t::PCMPD, "rk sv ov/m/b i"),
    (&t::PCMPQ, "rk sv ov/m/b i"),
    (&t::ANDND, "rv sv ov/m/b"),
    (&t::PMULUDQ, "rv sv ov/m/b"),
    (&t::PCMPEQD, "rv sv ov/m"),
    (&t::PCMPEQQ, "rv sv ov/m"),
    (&t::PCMPGTD, "rv sv ov/m"),
    (&t::PCMPGTQ, "rv sv ov/m"),
    (&t::PTESTMB, "rk sv ov/m"),
    (&t::BLENDMPS, "rv sv ov/m/b"),
    (&t::BLENDMPD, "rv sv ov/m/b"),
    (&t::BLENDVPS, "rv sv ov/m fv"),
    (&t::BLENDVPD, "rv sv ov/m fv"),
    (&t::LOADPS, "rv ov/m"),
    (&t::LOADPD, "rv ov/m"),
    (&t::STOREPS, "ov/m rv"),
    (&t::STOREPD, "ov/m rv"),
    (&t::MOVAPS, "rv ov/m"),
    (&t::MOVAPD, "rv ov/m"),
    (&t::STREAMPS, "mv rv -"),
    (&t::STOREB, "ov/m rv"),
    (&t::LOADB, "rv ov/m"),
    (&t::MASKLOADPS, "rv sv mv"),
    (&t::MASKLOADPD, "rv sv mv"),
    (&t::MASKSTOREPS, "mv sv rv"),
    (&t::MASKSTOREPD, "mv sv rv"),
    (&t::STORESS, "o/m4 rx 128"),
    (&t::STORESD, "o/m8 rx 128"),
    (&t::LOADQ, "rx ox/m8 - 128"),
    (&t::STOREQ, "ox/m8 rx - 128"),
    (&t::STORE_HIGH, "o/m8 rx - 128"),
    (&t::STORE_LANE, "od/m4 rx i - 128"),
    (&t::INSERTB, "rx sx od/m1 i 128"),
    (&t::EXTRACTB, "od/m1 rx i 128"),
    (&t::FROM_R64, "rx oq/m - 128"),
    (&t::TO_R64, "oq/m rx - 128"),
    (&t::REPEATD, "rv ox/m4"),
    (&t::REPEATQ, "rv ox/m8"),
    (&t::REPEATD_R, "rv od"),
    (&t::REPEATQ_R, "rv oq"),
    (&t::EXTRACT128, "ox/m rv i 256 512"),
    (&t::EXTRACT256, "oy/m rv i 512"),
    (&t::INSERT128, "rv sv ox/m i 256 512"),
    (&t::UNPACK_LOW_PS, "rv sv ov/m/b"),
    (&t::UNPACK_LOW_PD, "rv sv ov/m/b"),
    (&t::UNPACK_HIGH_PS, "rv sv ov/m/b"),
    (&t::UNPACK_HIGH_PD, "rv sv ov/m/b"),
    (&t::PERMUTE2_PS, "rv sv ov/m/b"),
    (&t::PERMUTE2_PD, "rv sv ov/m/b"),
    (&t::PSHUFD, "rv ov/m/b i"),
    (&t::SHUFPS, "rv sv ov/m/b i"),
    (&t::PACKSSDW, "rv sv ov/m"),
    (&t::PACKSSWB, "rv sv ov/m"),
    (&t::BYTES_TO_D, "rv ox/w4"),
    (&t::BYTES_TO_Q, "rv ox/w8"),
    (&t::MOVMSKPS, "rd ov"),
    (&t::MOVMSKPD, "rd ov"),
    (&t::MASK_TO_BYTES, "rv ok -"),
    (&t::GATHER_PS_D, "rv ogv"),
    (&t::GATHER_PD_D, "rv ogh"),
    (&t::GATHER_PS_Q, "rh ogv"),
    (&t::GATHER_PD_Q, "rv ogv"),
    (&t::SCATTER_PS_D, "ogv rv"),
    (&t::SCATTER_PD_D, "ogh rv"),
    (&t::PS_TO_PD, "rv oh/m/b"),
    (&t::PD_TO_PS, "rh ov/m/b"),
    (&t::PS_TO_D, "rv ov/m/b"),
    (&t::PD_TO_D, "rh ov/m/b"),
    (&t::PS_TO_Q, "rv oh/m/b"),
    (&t::PD_TO_Q, "rv ov/m/b"),
    (&t::D_TO_PS, "rv ov/m/b"),
    (&t::D_TO_PD, "rv oh/m/b"),
    (&t::Q_TO_PS, "rh ov/m/b"),
    (&t::Q_TO_PD, "rv ov/m/b"),
    (&t::D_TO_Q, "rv oh/m"),
    (&t::Q_TO_D, "oh/m rv"),
    (&t::KMOV, "rk ok/m2 - 128"),
    (&t::KLOAD_R, "rk od - 128"),
    (&t::KSTORE_R, "rd ok - 128"),
    (&t::KSTORE, "o/m2 rk - 128"),
    (&t::KAND, "rk sk ok - 128"),
    (&t::KANDN, "rk sk ok - 128"),
    (&t::KOR, "rk sk ok - 128"),
    (&t::KXNOR, "rk sk ok - 128"),
    (&t::KXOR, "rk sk ok - 128"),
    (&t::KNOT, "rk ok - 128"),
];

/// Where AVX2 differs: the name, and the shape if that does too.
static VEX: &[(&Row, &str, Option<&str>)] = &[
    (&t::ROUNDPS, "vroundps", None),
    (&t::ROUNDPD, "vroundpd", None),
    (&t::CMPPS, "vcmpps", Some("rv sv ov/m i")),
    (&t::CMPPD, "vcmppd", Some("rv sv ov/m i")),
    (&t::ANDD, "vpand", None),
    (&t::ANDQ, "vpand", None),
    (&t::ORD, "vpor", None),
    (&t::ORQ, "vpor", None),
    (&t::XORD, "vpxor", None),
    (&t::XORQ, "vpxor", None),
    (&t::ANDND, "vpandn", None),
    (&t::EXTRACT128, "vextractf128", None),
    (&t::INSERT128, "vinsertf128", None),
    (&t::GATHER_PS_D, "vgatherdps", Some("rv ogv sv")),
    (&t::GATHER_PD_D, "vgatherdpd", Some("rv ogh sv")),
    (&t::GATHER_PS_Q, "vgatherqps", Some("rh ogv sh")),
    (&t::GATHER_PD_Q, "vgatherqpd", Some("rv ogv sv")),
];

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

// ---- General registers ----

const ALL_GENERAL: [Gpr; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn r64(n: Gpr) -> Register {
    Register::RAX + u32::from(n)
}

fn emitted(write: impl FnOnce(&mut Code)) -> Instruction {
    let mut code = Code::new(Encoding::Vex, 0);
    write(&mut code);
    decode(&code.bytes)
}

fn is_register(inst: &Instruction, operand: u32, expected: Register) {
    assert_eq!(inst.op_kind(operand), OpKind::Register, "{inst}");
    assert_eq!(inst.op_register(operand), expected, "{inst}");
}

fn is_place(inst: &Instruction, operand: u32, m: Mem) {
    assert_eq!(inst.op_kind(operand), OpKind::Memory, "{inst}");
    let index = m.index.map_or((Register::None, 1), |(n, scale)| (r64(n), 1 << scale));
    let got = (inst.memory_index(), inst.memory_index_scale());
    assert_eq!((inst.memory_base(), got), (r64(m.base), index), "{inst}");
    assert_eq!(inst.memory_displacement64() as i64, i64::from(m.disp), "{inst}");
}

fn is_immediate(inst: &Instruction, operand: u32, n: i64) {
    assert_eq!(inst.immediate(operand) as i64, n, "{inst}");
}

const ALUS: [(Alu, &str); 5] =
    [(Alu::Add, "add"), (Alu::And, "and"), (Alu::Sub, "sub"), (Alu::Cmp, "cmp"), (Alu::Mov, "mov")];

#[test]
fn arithmetic_on_general_registers() {
    for (op, text) in ALUS {
        for reg in ALL_GENERAL {
            for other in ALL_GENERAL {
                let inst = emitted(|c| c.alu(op, reg, Operand::Register(other)));
                assert_eq!(name(&inst), text);
                is_register(&inst, 0, r64(reg));
                is_register(&inst, 1, r64(other));
            }
            for n in [0, 1, -1, 127, 128, -128, -129, i32::MAX, i32::MIN] {
                if op == Alu::Mov {
                    continue;
                }
                let inst = emitted(|c| c.alu_immediate(op, reg, n));
                assert_eq!(name(&inst), text);
                is_register(&inst, 0, r64(reg));
                is_immediate(&inst, 1, n.into());
            }
        }
        for (i, m) in places(1, &INDICES).into_iter().enumerate() {
            let reg = i as Gpr % 16;
            let inst = emitted(|c| c.alu(op, reg, Operand::Memory(m)));
            assert_eq!(name(&inst), text);
            is_register(&inst, 0, r64(reg));
            is_place(&inst, 1, m);
            assert_eq!(inst.memory_size().size(), 8, "{inst}");
        }
    }
}

#[test]
fn constants_in_general_registers() {
    let near = [0, 1, -1, i32::MAX.into(), i32::MIN.into()];
    let far = [i64::from(i32::MAX) + 1, i64::from(u32::MAX), i64::MAX, i64::MIN];
    for reg in ALL_GENERAL {
        for n in near.into_iter().chain(far) {
            let inst = emitted(|c| c.set(reg, n));
            assert_eq!(name(&inst), "mov");
            is_register(&inst, 0, r64(reg));
            is_immediate(&inst, 1, n);
        }
    }
}

#[test]
fn addresses_and_memory() {
    for (i, m) in places(1, &INDICES).into_iter().enumerate() {
        let reg = i as Gpr % 16;
        let inst = emitted(|c| c.lea(reg, m));
        assert_eq!(name(&inst), "lea");
        is_register(&inst, 0, r64(reg));
        is_place(&inst, 1, m);
        let inst = emitted(|c| c.store(m, reg));
        assert_eq!(name(&inst), "mov");
        is_place(&inst, 0, m);
        is_register(&inst, 1, r64(reg));
        let inst = emitted(|c| c.store_byte(m, reg));
        assert_eq!(name(&inst), "mov");
        is_place(&inst, 0, m);
        assert_eq!(inst.op_register(1).full_register(), r64(reg), "{inst}");
        // The lowest byte, also of registers whose second byte has a name.
        assert!(
            ![Register::AH, Register::CH, Register::DH, Register::BH]
                .contains(&inst.op_register(1))
        );
        assert_eq!(inst.memory_size().size(), 1, "{inst}");
        let inst = emitted(|c| c.load_byte(reg, m));
        assert_eq!(name(&inst), "movzx");
        is_register(&inst, 0, r64(reg));
        is_place(&inst, 1, m);
        assert_eq!(inst.memory_size().size(), 1, "{inst}");
    }
}

#[test]
fn products_and_bits() {
    for reg in ALL_GENERAL {
        let inst = emitted(|c| c.negate(reg));
        assert_eq!(name(&inst), "neg");
        is_register(&inst, 0, r64(reg));
        for (write, text) in [(Code::push as fn(&mut Code, Gpr), "push"), (Code::pop, "pop")] {
            let inst = emitted(|c| write(c, reg));
            assert_eq!(name(&inst), text);
            is_register(&inst, 0, r64(reg));
        }
        for other in ALL_GENERAL {
            for by in [0, 1, -3, 4096, i32::MAX, i32::MIN] {
                let inst = emitted(|c| c.multiply(reg, Operand::Register(other), by));
                assert_eq!(name(&inst), "imul");
                is_register(&inst, 0, r64(reg));
                is_register(&inst, 1, r64(other));
                is_immediate(&inst, 2, by.into());
            }
            for count in ALL_GENERAL {
                let inst = emitted(|c| c.low_bits(reg, other, count));
                assert_eq!(name(&inst), "bzhi");
                is_register(&inst, 0, r64(reg));
                is_register(&inst, 1, r64(other));
                is_register(&inst, 2, r64(count));
            }
        }
    }
    for m in places(1, &INDICES) {
        let inst = emitted(|c| c.multiply(9, Operand::Memory(m), 24));
        assert_eq!(name(&inst), "imul");
        is_place(&inst, 1, m);
        is_immediate(&inst, 2, 24);
    }
}

const CONDITIONS: [(Cond, &str, &str); 4] = [
    (Cond::Equal, "je", "cmove"),
    (Cond::NotEqual, "jne", "cmovne"),
    (Cond::LessOrEqual, "jle", "cmovle"),
    (Cond::Greater, "jg", "cmovg"),
];

#[test]
fn conditions_and_jumps() {
    for (cond, jump, choice) in CONDITIONS {
        for reg in ALL_GENERAL {
            for other in ALL_GENERAL {
                let inst = emitted(|c| c.move_if(cond, reg, Operand::Register(other)));
                assert_eq!(name(&inst), choice);
                is_register(&inst, 0, r64(reg));
                is_register(&inst, 1, r64(other));
            }
        }
        check_jumps(jump, |code, label| code.jump_if(cond, label));
    }
    check_jumps("jmp", Code::jump);
}

/// Forward and backward, over more than a short jump could.
fn check_jumps(jump: &str, emit: impl Fn(&mut Code, Label)) {
    let mut code = Code::new(Encoding::Evex, 2);
    code.place(Label(0));
    emit(&mut code, Label(1));
    (0..100).for_each(|_| code.set(0, 1));
    let back = code.bytes.len();
    emit(&mut code, Label(0));
    code.place(Label(1));
    let end = code.bytes.len();
    let bytes = code.finish(&Pool::default());
    for (at, target) in [(0, end), (back, 0)] {
        let inst = Decoder::with_ip(64, &bytes[at..], at as u64, DecoderOptions::NONE).decode();
        assert_eq!(name(&inst), jump);
        assert_eq!(inst.near_branch64(), target as u64, "{inst}");
    }
}

#[test]
fn ends_and_what_fills_up() {
    assert_eq!(name(&emitted(Code::ret)), "ret");
    assert_eq!(name(&emitted(Code::zero_upper)), "vzeroupper");
    assert_eq!(name(&emitted(Code::fence)), "sfence");
    for start in 0..64 {
        let mut code = Code::new(Encoding::Evex, 0);
        (0..start).for_each(|_| code.ret());
        code.align(32);
        assert_eq!(code.bytes.len() % 32, 0);
        let decoder = Decoder::with_ip(64, &code.bytes[start..], 0, DecoderOptions::NONE);
        assert!(decoder.into_iter().all(|inst| name(&inst) == "nop"));
    }
}
