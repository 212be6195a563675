//! The vector instructions that the generator uses, one row each.
//!
//! A row holds what VEX and EVEX encodings have in common (opcode map, mandatory prefix,
//! opcode), the bit `W`, how an operand in memory is scaled, and how far it reaches back:
//! instructions that only AVX-512 has are marked.

/// How much memory an operand is, which is the unit of EVEX's short displacements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tuple {
    /// A whole register.
    Full,
    /// Half a register: conversions between widths.
    Half,
    /// 128 bits.
    Part,
    /// One element.
    Element,
    /// No memory: masks and general registers.
    General,
}

/// Which processors have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Since {
    /// Both, with one row.
    Avx2,
    Avx512,
    /// AVX2 alone: AVX-512 does this with masks.
    Avx2Only,
}

/// An instruction.
#[derive(Debug)]
pub(crate) struct Row {
    /// As in the manual.
    pub name: &'static str,
    /// Mandatory prefix: none, 66, F3, F2.
    pub prefix: u8,
    /// Opcode map: 0F, 0F38, 0F3A.
    pub map: u8,
    pub opcode: u8,
    /// The bit `W` in EVEX: mostly, whether elements have 64 bits.
    pub w: u8,
    pub tuple: Tuple,
    pub since: Since,
    /// Particular properties.
    pub kind: Kind,
}

/// What is particular about an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Plain,
    /// Works on mask registers, and is encoded in VEX on all processors; with the bit `L`
    /// or without.
    Mask {
        long: bool,
    },
    /// The index in memory operands is a vector register.
    Indexed,
    /// `W` matters in VEX too.
    W,
    /// A fourth register is named in the immediate.
    Blend,
}

impl Row {
    pub fn is_mask_op(&self) -> bool {
        matches!(self.kind, Kind::Mask { .. })
    }

    pub fn long(&self) -> bool {
        self.kind == Kind::Mask { long: true }
    }

    pub fn by_vector(&self) -> bool {
        self.kind == Kind::Indexed
    }

    /// The bit `W` in VEX.
    pub fn vex_w(&self) -> u8 {
        match self.kind {
            Kind::Plain | Kind::Blend => 0,
            Kind::Mask { .. } | Kind::Indexed | Kind::W => self.w,
        }
    }

    /// Bytes of an element.
    pub fn element(&self) -> usize {
        if self.w == 1 { 8 } else { 4 }
    }
}

const NP: u8 = 0;
const P66: u8 = 1;
const PF3: u8 = 2;
const PF2: u8 = 3;

const M0F: u8 = 1;
const M38: u8 = 2;
const M3A: u8 = 3;

macro_rules! rows {
    ($($name:ident = $text:literal $prefix:ident $map:ident $opcode:literal $w:literal $tuple:ident $since:ident $kind:expr;)*) => {
        $(
            pub(crate) static $name: Row = Row {
                name: $text,
                prefix: $prefix,
                map: $map,
                opcode: $opcode,
                w: $w,
                tuple: Tuple::$tuple,
                since: Since::$since,
                kind: $kind,
            };
        )*

        /// All of them.
        #[cfg(test)]
        pub(crate) static ALL: &[&Row] = &[$(&$name),*];
    };
}

const PLAIN: Kind = Kind::Plain;
const W: Kind = Kind::W;
const K: Kind = Kind::Mask { long: false };
const KL: Kind = Kind::Mask { long: true };
const INDEXED: Kind = Kind::Indexed;
const BLEND: Kind = Kind::Blend;

rows! {
    // Floats.
    ADDPS = "vaddps" NP M0F 0x58 0 Full Avx2 PLAIN;
    ADDPD = "vaddpd" P66 M0F 0x58 1 Full Avx2 PLAIN;
    SUBPS = "vsubps" NP M0F 0x5c 0 Full Avx2 PLAIN;
    SUBPD = "vsubpd" P66 M0F 0x5c 1 Full Avx2 PLAIN;
    MULPS = "vmulps" NP M0F 0x59 0 Full Avx2 PLAIN;
    MULPD = "vmulpd" P66 M0F 0x59 1 Full Avx2 PLAIN;
    DIVPS = "vdivps" NP M0F 0x5e 0 Full Avx2 PLAIN;
    DIVPD = "vdivpd" P66 M0F 0x5e 1 Full Avx2 PLAIN;
    MINPS = "vminps" NP M0F 0x5d 0 Full Avx2 PLAIN;
    MINPD = "vminpd" P66 M0F 0x5d 1 Full Avx2 PLAIN;
    MAXPS = "vmaxps" NP M0F 0x5f 0 Full Avx2 PLAIN;
    MAXPD = "vmaxpd" P66 M0F 0x5f 1 Full Avx2 PLAIN;
    SQRTPS = "vsqrtps" NP M0F 0x51 0 Full Avx2 PLAIN;
    SQRTPD = "vsqrtpd" P66 M0F 0x51 1 Full Avx2 PLAIN;
    ROUNDPS = "vrndscaleps" P66 M3A 0x08 0 Full Avx2 PLAIN;
    ROUNDPD = "vrndscalepd" P66 M3A 0x09 1 Full Avx2 PLAIN;
    FMA132PS = "vfmadd132ps" P66 M38 0x98 0 Full Avx2 W;
    FMA132PD = "vfmadd132pd" P66 M38 0x98 1 Full Avx2 W;
    FMA213PS = "vfmadd213ps" P66 M38 0xa8 0 Full Avx2 W;
    FMA213PD = "vfmadd213pd" P66 M38 0xa8 1 Full Avx2 W;
    FMA231PS = "vfmadd231ps" P66 M38 0xb8 0 Full Avx2 W;
    FMA231PD = "vfmadd231pd" P66 M38 0xb8 1 Full Avx2 W;
    CMPPS = "vcmpps" NP M0F 0xc2 0 Full Avx2 PLAIN;
    CMPPD = "vcmppd" P66 M0F 0xc2 1 Full Avx2 PLAIN;

    // Integers and bits.
    ANDD = "vpandd" P66 M0F 0xdb 0 Full Avx2 PLAIN;
    ANDQ = "vpandq" P66 M0F 0xdb 1 Full Avx2 PLAIN;
    ORD = "vpord" P66 M0F 0xeb 0 Full Avx2 PLAIN;
    ORQ = "vporq" P66 M0F 0xeb 1 Full Avx2 PLAIN;
    XORD = "vpxord" P66 M0F 0xef 0 Full Avx2 PLAIN;
    XORQ = "vpxorq" P66 M0F 0xef 1 Full Avx2 PLAIN;
    PADDD = "vpaddd" P66 M0F 0xfe 0 Full Avx2 PLAIN;
    PADDQ = "vpaddq" P66 M0F 0xd4 1 Full Avx2 PLAIN;
    PSUBD = "vpsubd" P66 M0F 0xfa 0 Full Avx2 PLAIN;
    PSUBQ = "vpsubq" P66 M0F 0xfb 1 Full Avx2 PLAIN;
    PMULLD = "vpmulld" P66 M38 0x40 0 Full Avx2 PLAIN;
    PMULLQ = "vpmullq" P66 M38 0x40 1 Full Avx512 PLAIN;
    PABSD = "vpabsd" P66 M38 0x1e 0 Full Avx2 PLAIN;
    PABSQ = "vpabsq" P66 M38 0x1f 1 Full Avx512 PLAIN;
    PABSB = "vpabsb" P66 M38 0x1c 0 Full Avx2 PLAIN;
    PMINSD = "vpminsd" P66 M38 0x39 0 Full Avx2 PLAIN;
    PMINSQ = "vpminsq" P66 M38 0x39 1 Full Avx512 PLAIN;
    PMAXSD = "vpmaxsd" P66 M38 0x3d 0 Full Avx2 PLAIN;
    PMAXSQ = "vpmaxsq" P66 M38 0x3d 1 Full Avx512 PLAIN;
    PSLLVD = "vpsllvd" P66 M38 0x47 0 Full Avx2 W;
    PSLLVQ = "vpsllvq" P66 M38 0x47 1 Full Avx2 W;
    PSRLVD = "vpsrlvd" P66 M38 0x45 0 Full Avx2 W;
    PSRLVQ = "vpsrlvq" P66 M38 0x45 1 Full Avx2 W;
    PSRAVD = "vpsravd" P66 M38 0x46 0 Full Avx2 W;
    PSRAVQ = "vpsravq" P66 M38 0x46 1 Full Avx512 W;
    PCMPD = "vpcmpd" P66 M3A 0x1f 0 Full Avx512 PLAIN;
    PCMPQ = "vpcmpq" P66 M3A 0x1f 1 Full Avx512 PLAIN;
    ANDND = "vpandnd" P66 M0F 0xdf 0 Full Avx2 PLAIN;
    PMULUDQ = "vpmuludq" P66 M0F 0xf4 1 Full Avx2 PLAIN;
    PCMPEQD = "vpcmpeqd" P66 M0F 0x76 0 Full Avx2Only PLAIN;
    PCMPEQQ = "vpcmpeqq" P66 M38 0x29 1 Full Avx2Only PLAIN;
    PCMPGTD = "vpcmpgtd" P66 M0F 0x66 0 Full Avx2Only PLAIN;
    PCMPGTQ = "vpcmpgtq" P66 M38 0x37 1 Full Avx2Only PLAIN;
    PTESTMB = "vptestmb" P66 M38 0x26 0 Full Avx512 PLAIN;

    // Choosing and moving.
    BLENDMPS = "vblendmps" P66 M38 0x65 0 Full Avx512 PLAIN;
    BLENDMPD = "vblendmpd" P66 M38 0x65 1 Full Avx512 PLAIN;
    BLENDVPS = "vblendvps" P66 M3A 0x4a 0 Full Avx2Only BLEND;
    BLENDVPD = "vblendvpd" P66 M3A 0x4b 1 Full Avx2Only BLEND;
    LOADPS = "vmovups" NP M0F 0x10 0 Full Avx2 PLAIN;
    LOADPD = "vmovupd" P66 M0F 0x10 1 Full Avx2 PLAIN;
    STOREPS = "vmovups" NP M0F 0x11 0 Full Avx2 PLAIN;
    STOREPD = "vmovupd" P66 M0F 0x11 1 Full Avx2 PLAIN;
    MOVAPS = "vmovaps" NP M0F 0x28 0 Full Avx2 PLAIN;
    MOVAPD = "vmovapd" P66 M0F 0x28 1 Full Avx2 PLAIN;
    STREAMPS = "vmovntps" NP M0F 0x2b 0 Full Avx2 PLAIN;
    STOREB = "vmovdqu8" PF2 M0F 0x7f 0 Full Avx512 PLAIN;
    LOADB = "vmovdqu8" PF2 M0F 0x6f 0 Full Avx512 PLAIN;
    MASKLOADPS = "vmaskmovps" P66 M38 0x2c 0 Full Avx2Only PLAIN;
    MASKLOADPD = "vmaskmovpd" P66 M38 0x2d 1 Full Avx2Only PLAIN;
    MASKSTOREPS = "vmaskmovps" P66 M38 0x2e 0 Full Avx2Only PLAIN;
    MASKSTOREPD = "vmaskmovpd" P66 M38 0x2f 1 Full Avx2Only PLAIN;
    STORESS = "vmovss" PF3 M0F 0x11 0 Element Avx2 PLAIN;
    STORESD = "vmovsd" PF2 M0F 0x11 1 Element Avx2 PLAIN;
    LOADQ = "vmovq" PF3 M0F 0x7e 1 Element Avx2 PLAIN;
    STOREQ = "vmovq" P66 M0F 0xd6 1 Element Avx2 PLAIN;
    INSERTB = "vpinsrb" P66 M3A 0x20 0 Element Avx2Only PLAIN;
    EXTRACTB = "vpextrb" P66 M3A 0x14 0 Element Avx2Only PLAIN;
    FROM_R64 = "vmovq" P66 M0F 0x6e 1 Element Avx2 W;
    TO_R64 = "vmovq" P66 M0F 0x7e 1 Element Avx2 W;
    REPEATD = "vpbroadcastd" P66 M38 0x58 0 Element Avx2 PLAIN;
    REPEATQ = "vpbroadcastq" P66 M38 0x59 1 Element Avx2 PLAIN;
    REPEATD_R = "vpbroadcastd" P66 M38 0x7c 0 General Avx512 PLAIN;
    REPEATQ_R = "vpbroadcastq" P66 M38 0x7c 1 General Avx512 PLAIN;
    PERMUTE2_PS = "vpermt2ps" P66 M38 0x7f 0 Full Avx512 PLAIN;
    PERMUTE2_PD = "vpermt2pd" P66 M38 0x7f 1 Full Avx512 PLAIN;
    INSERT128 = "vinsertf32x4" P66 M3A 0x18 0 Part Avx2 PLAIN;
    UNPACK_LOW_PS = "vunpcklps" NP M0F 0x14 0 Full Avx2 PLAIN;
    UNPACK_HIGH_PS = "vunpckhps" NP M0F 0x15 0 Full Avx2 PLAIN;
    UNPACK_LOW_PD = "vunpcklpd" P66 M0F 0x14 1 Full Avx2 PLAIN;
    UNPACK_HIGH_PD = "vunpckhpd" P66 M0F 0x15 1 Full Avx2 PLAIN;
    STORE_HIGH = "vmovhpd" P66 M0F 0x17 1 Element Avx2 PLAIN;
    STORE_LANE = "vextractps" P66 M3A 0x17 0 Element Avx2 PLAIN;
    EXTRACT128 = "vextractf32x4" P66 M3A 0x19 0 Part Avx2 PLAIN;
    EXTRACT256 = "vextractf64x4" P66 M3A 0x1b 1 Half Avx512 PLAIN;
    PSHUFD = "vpshufd" P66 M0F 0x70 0 Full Avx2 PLAIN;
    SHUFPS = "vshufps" NP M0F 0xc6 0 Full Avx2 PLAIN;
    PACKSSDW = "vpackssdw" P66 M0F 0x6b 0 Full Avx2Only PLAIN;
    PACKSSWB = "vpacksswb" P66 M0F 0x63 0 Full Avx2Only PLAIN;
    BYTES_TO_D = "vpmovzxbd" P66 M38 0x31 0 Part Avx2Only PLAIN;
    BYTES_TO_Q = "vpmovzxbq" P66 M38 0x32 0 Part Avx2Only PLAIN;
    MOVMSKPS = "vmovmskps" NP M0F 0x50 0 General Avx2Only PLAIN;
    MOVMSKPD = "vmovmskpd" P66 M0F 0x50 1 General Avx2Only PLAIN;
    MASK_TO_BYTES = "vpmovm2b" PF3 M38 0x28 0 General Avx512 PLAIN;
    GATHER_PS_D = "vgatherdps" P66 M38 0x92 0 Element Avx2 INDEXED;
    GATHER_PD_D = "vgatherdpd" P66 M38 0x92 1 Element Avx2 INDEXED;
    GATHER_PS_Q = "vgatherqps" P66 M38 0x93 0 Element Avx2 INDEXED;
    GATHER_PD_Q = "vgatherqpd" P66 M38 0x93 1 Element Avx2 INDEXED;
    SCATTER_PS_D = "vscatterdps" P66 M38 0xa2 0 Element Avx512 INDEXED;
    SCATTER_PD_D = "vscatterdpd" P66 M38 0xa2 1 Element Avx512 INDEXED;

    // Conversions.
    PS_TO_PD = "vcvtps2pd" NP M0F 0x5a 0 Half Avx2 PLAIN;
    PD_TO_PS = "vcvtpd2ps" P66 M0F 0x5a 1 Full Avx2 PLAIN;
    PS_TO_D = "vcvttps2dq" PF3 M0F 0x5b 0 Full Avx2 PLAIN;
    PD_TO_D = "vcvttpd2dq" P66 M0F 0xe6 1 Full Avx2 PLAIN;
    PS_TO_Q = "vcvttps2qq" P66 M0F 0x7a 0 Half Avx512 PLAIN;
    PD_TO_Q = "vcvttpd2qq" P66 M0F 0x7a 1 Full Avx512 PLAIN;
    D_TO_PS = "vcvtdq2ps" NP M0F 0x5b 0 Full Avx2 PLAIN;
    D_TO_PD = "vcvtdq2pd" PF3 M0F 0xe6 0 Half Avx2 PLAIN;
    Q_TO_PS = "vcvtqq2ps" NP M0F 0x5b 1 Full Avx512 PLAIN;
    Q_TO_PD = "vcvtqq2pd" PF3 M0F 0xe6 1 Full Avx512 PLAIN;
    D_TO_Q = "vpmovsxdq" P66 M38 0x25 0 Half Avx2 PLAIN;
    Q_TO_D = "vpmovqd" PF3 M38 0x35 0 Half Avx512 PLAIN;

    // Masks.
    KMOV = "kmovw" NP M0F 0x90 0 General Avx512 K;
    KLOAD_R = "kmovw" NP M0F 0x92 0 General Avx512 K;
    KSTORE_R = "kmovw" NP M0F 0x93 0 General Avx512 K;
    KSTORE = "kmovw" NP M0F 0x91 0 General Avx512 K;
    KAND = "kandw" NP M0F 0x41 0 General Avx512 KL;
    KANDN = "kandnw" NP M0F 0x42 0 General Avx512 KL;
    KOR = "korw" NP M0F 0x45 0 General Avx512 KL;
    KXNOR = "kxnorw" NP M0F 0x46 0 General Avx512 KL;
    KXOR = "kxorw" NP M0F 0x47 0 General Avx512 KL;
    KNOT = "knotw" NP M0F 0x44 0 General Avx512 K;
}
