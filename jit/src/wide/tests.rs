//! Whole kernels: what is taken at all, and whether each byte of it makes sense to a
//! decoder that is not ours. That the results are right is shown by `jit/tests/wide`,
//! on the same nests.

#[path = "../../tests/common/random.rs"]
mod random;
#[path = "../../tests/common/rng.rs"]
mod rng;

use backstitch_ir::nest::Nest;
use backstitch_ir::verify_nest;
use iced_x86::{
    Code, CpuidFeature, Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};
use rng::Rng;
use rustc_hash::FxHashSet;

use super::*;

fn nests(count: u64) -> impl Iterator<Item = (u64, Nest)> {
    (0..count).map(|seed| {
        let mut rng = Rng::new(seed);
        let taste = random::Taste::vectors(&mut rng);
        let nest = random::nest_of(&mut rng, taste);
        if let Err(e) = verify_nest::verify(&nest) {
            panic!("seed {seed}: {e:?}");
        }
        (seed, nest)
    })
}

#[test]
fn most_nests_with_vector_loops_are_taken() {
    for encoding in [Encoding::Evex, Encoding::Vex] {
        let (mut all, mut taken) = (0, 0);
        for (_, nest) in nests(1000) {
            all += usize::from(has_vectors(&nest.body));
            taken += usize::from(compile(&nest, encoding, LARGE).is_some());
        }
        println!("{encoding:?}: {taken} of {all}");
        assert!(all > 500);
        assert!(taken > all / 2, "{encoding:?}: {taken} of {all}");
    }
}

/// The registers that a caller wants back.
const KEPT: [Register; 6] =
    [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

/// Code up to its `ret`, and what can be said of it without running it.
struct Walk<'c> {
    bytes: &'c [u8],
    insts: Vec<Instruction>,
    /// Where code ends and the pool may begin.
    end: usize,
}

impl<'c> Walk<'c> {
    fn of(bytes: &'c [u8]) -> Self {
        let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
        let mut insts = Vec::new();
        while insts.last().is_none_or(|i: &Instruction| i.mnemonic() != Mnemonic::Ret) {
            assert!(decoder.can_decode(), "code without an end");
            let inst = decoder.decode();
            assert!(!inst.is_invalid(), "no instruction at {:#x}", inst.ip());
            insts.push(inst);
        }
        Self { bytes, insts, end: decoder.position() }
    }

    fn features(&self, encoding: Encoding) {
        use CpuidFeature as F;
        for inst in &self.insts {
            for f in inst.cpuid_features() {
                let everywhere = [F::INTEL8086, F::INTEL186, F::INTEL386, F::X64, F::CMOV];
                let common = [F::MULTIBYTENOP, F::SSE, F::AVX, F::AVX2, F::FMA, F::BMI2];
                let more = [F::AVX512F, F::AVX512VL, F::AVX512DQ, F::AVX512BW, F::AVX512CD];
                let known = everywhere.contains(f)
                    || common.contains(f)
                    || encoding == Encoding::Evex && more.contains(f);
                assert!(known, "{inst} needs {f:?}");
            }
        }
    }

    fn jumps(&self) {
        let starts: FxHashSet<u64> = self.insts.iter().map(Instruction::ip).collect();
        for inst in &self.insts {
            if inst.is_jcc_short_or_near() || inst.is_jmp_short_or_near() {
                let to = inst.near_branch_target();
                assert!(starts.contains(&to), "{inst} at {:#x} goes nowhere", inst.ip());
            }
        }
    }

    /// After the code there is nothing but the pool, at an aligned place, and constants are
    /// read there.
    fn pool(&self) {
        let start = self.end.next_multiple_of(ALIGN).min(self.bytes.len());
        assert!(self.bytes[self.end..start].iter().all(|&b| b == 0xcc));
        for inst in self.insts.iter().filter(|i| i.is_ip_rel_memory_operand()) {
            let at = inst.ip_rel_memory_address() as usize;
            let size = inst.memory_size().size();
            assert!(at >= start && at + size <= self.bytes.len(), "{inst} reads {at:#x}");
            assert!(at.is_multiple_of(size), "{inst} reads across");
        }
    }

    /// Registers and the stack pointer are at the end what they were, and the upper halves
    /// of vector registers are clear.
    fn frame(&self) {
        let all = &self.insts;
        let pushes = all.iter().take_while(|i| i.mnemonic() == Mnemonic::Push).count();
        let saved: Vec<Register> = all[..pushes].iter().map(|i| i.op0_register()).collect();
        let last = all.len() - 1;
        let pops: Vec<Register> =
            all[last - pushes..last].iter().map(|i| i.op0_register()).rev().collect();
        assert_eq!(saved, pops);
        let count = |m| all.iter().filter(|i| i.mnemonic() == m).count();
        assert_eq!((count(Mnemonic::Push), count(Mnemonic::Pop)), (pushes, pushes));
        assert!(saved.iter().all(|r| KEPT.contains(r)));
        let clear = all.iter().rposition(|i| i.mnemonic() == Mnemonic::Vzeroupper);
        let after = &all[clear.expect("a clear upper half") + 1..];
        assert!(after.len() <= pushes + 2);
        let vector =
            |i: &Instruction| (0..i.op_count()).any(|n| i.op_register(n).is_vector_register());
        assert!(!after.iter().any(vector));

        let frame = all[pushes..].iter().take(4).collect::<Vec<_>>();
        let size = frame
            .iter()
            .find(|i| i.code() == Code::Sub_rm64_imm32 || i.code() == Code::Sub_rm64_imm8)
            .filter(|i| i.op0_register() == Register::RSP)
            .map(|i| i.immediate(1) as usize);
        let mut info = InstructionInfoFactory::new();
        let mut stack_writes = 0;
        for (n, inst) in all.iter().enumerate() {
            let used = info.info(inst);
            for r in used.used_registers() {
                let written =
                    !matches!(r.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None);
                let full = r.register().full_register();
                if written && KEPT.contains(&full) {
                    assert!(saved.contains(&full), "{inst} writes what is not saved");
                }
                let own = matches!(inst.mnemonic(), Mnemonic::Push | Mnemonic::Pop | Mnemonic::Ret);
                if written && full == Register::RSP && !own {
                    stack_writes += 1;
                }
            }
            if inst.memory_base() == Register::RSP && n >= pushes && n < last - pushes {
                let size = size.expect("a frame");
                let at = inst.memory_displacement64() as usize;
                assert_eq!(inst.memory_index(), Register::None, "{inst}");
                assert!(at + inst.memory_size().size() <= size, "{inst} in a frame of {size}");
            }
        }
        // Down, aligned, and back to what was kept at the frame's end.
        assert_eq!(stack_writes, if size.is_some() { 3 } else { 0 });
        if let Some(size) = size {
            assert_eq!(size % 64, 0);
            let (first, back) = (all[pushes], all[last - pushes - 1]);
            assert_eq!((first.mnemonic(), first.op1_register()), (Mnemonic::Mov, Register::RSP));
            assert_eq!((back.mnemonic(), back.op0_register()), (Mnemonic::Mov, Register::RSP));
            assert_eq!(back.memory_displacement64() as usize, size - 8);
            let keeps = |i: &Instruction| {
                i.op0_kind() == OpKind::Memory
                    && i.memory_base() == Register::RSP
                    && i.memory_displacement64() as usize == size - 8
            };
            assert_eq!(
                all.iter().filter(|i| keeps(i)).count(),
                1,
                "the place of the stack pointer"
            );
        }
    }

    /// No register is read that nothing before has written.
    fn definitions(&self) {
        use Register as R;
        let mut defined: FxHashSet<R> = [R::RDI, R::RSI, R::RDX, R::RSP].into_iter().collect();
        let mut info = InstructionInfoFactory::new();
        for inst in &self.insts {
            let own = matches!(
                inst.mnemonic(),
                Mnemonic::Push | Mnemonic::Pop | Mnemonic::Ret | Mnemonic::Vzeroupper
            );
            // What is combined with itself to be cleared.
            let clears =
                matches!(inst.mnemonic(), Mnemonic::Vpxor | Mnemonic::Vpxord | Mnemonic::Vpxorq)
                    && inst.op1_register() == inst.op2_register();
            let used = info.info(inst);
            for r in used.used_registers() {
                let reads =
                    !matches!(r.access(), OpAccess::Write | OpAccess::CondWrite | OpAccess::None);
                let full = r.register().full_register();
                assert!(
                    own || clears || !reads || defined.contains(&full),
                    "{inst} at {:#x} reads {full:?}",
                    inst.ip()
                );
            }
            for r in used.used_registers() {
                if !matches!(r.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None) {
                    defined.insert(r.register().full_register());
                }
            }
        }
    }
}

#[test]
fn code_is_what_the_decoder_reads() {
    let (mut frames, mut loops) = (0, 0);
    for (seed, nest) in nests(400) {
        for encoding in [Encoding::Evex, Encoding::Vex] {
            let Some(bytes) = compile(&nest, encoding, LARGE) else { continue };
            let check = || {
                let walk = Walk::of(&bytes);
                walk.features(encoding);
                walk.jumps();
                walk.pool();
                walk.frame();
                walk.definitions();
                frames += usize::from(walk.insts.iter().any(|i| i.memory_base() == Register::RSP));
                loops += usize::from(walk.insts.iter().any(Instruction::is_jcc_near));
            };
            if let Err(e) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)) {
                eprintln!("seed {seed}, {encoding:?}\n{nest}");
                std::panic::resume_unwind(e);
            }
        }
    }
    println!("{frames} {loops}");
    assert!(frames > 20 && loops > 50, "{frames} with frames, {loops} with loops");
}

/// A kernel of one output, past the caches or not.
fn streams(text: &str) -> bool {
    let nest = backstitch_ir::text::parse_nest(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify_nest::verify(&nest).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
    let streams = [Encoding::Evex, Encoding::Vex].map(|encoding| {
        let bytes = compile(&nest, encoding, 1 << 12).expect("a kernel with vectors");
        let walk = Walk::of(&bytes);
        walk.features(encoding);
        walk.jumps();
        walk.pool();
        walk.frame();
        walk.definitions();
        let at = |m| walk.insts.iter().position(|i: &Instruction| i.mnemonic() == m);
        let last = walk.insts.iter().rposition(|i| i.mnemonic() == Mnemonic::Vmovntps);
        // What was stored past the caches is there when the kernel returns.
        assert_eq!(last.is_some(), at(Mnemonic::Sfence).is_some());
        assert!(last <= at(Mnemonic::Sfence));
        last.is_some()
    });
    assert_eq!(streams[0], streams[1]);
    streams[0]
}

#[test]
fn large_results_are_stored_past_the_caches() {
    let map = |x: &str, y: &str, n: usize, place: &str| {
        format!(
            "kernel @map(p0: {x} f32[{n}], p1: {y} f32[99999]) {{
  for i1:3 {{
    for i0:{n} vector 16 {{
      v0 = load p0[i0] : f32
      p1[{place}] = v0
    }}
  }}
}}
"
        )
    };
    assert!(streams(&map("in", "out", 2048, "i0 + i1*2048")));
    assert!(streams(&map("in", "out", 2050, "i0 + i1*4096 + 4")));
    for (x, y, n, place) in [
        // In place.
        ("last", "out", 2048, "i0 + i1*2048"),
        ("in", "inout", 2048, "i0 + i1*2048"),
        // Several times.
        ("in", "out", 2048, "i0"),
        // Not at multiples of 16 bytes.
        ("in", "out", 2048, "i0 + i1*2048 + 1"),
        ("in", "out", 2048, "i0 + i1*2050"),
        // Not in rows, or in short ones.
        ("in", "out", 2048, "i0*2 + i1*4096"),
        ("in", "out", 1000, "i0 + i1*1000"),
    ] {
        assert!(!streams(&map(x, y, n, place)), "{x} {y} {n} {place}");
    }
}

#[test]
fn results_that_are_read_again_many_or_much_work_are_not() {
    let several = |count: usize, again: &str| {
        let mut text = "kernel @several(p0: in f64[2048]".to_owned();
        (1..=count).for_each(|k| text += &format!(", p{k}: out f64[2048]"));
        text += ") {\n  for i0:2048 vector 8 {\n    v0 = load p0[i0] : f64\n";
        (1..=count).for_each(|k| text += &format!("    p{k}[i0] = v0\n"));
        text + again + "  }\n}\n"
    };
    assert!(streams(&several(4, "")));
    assert!(!streams(&several(5, "")));
    assert!(!streams(&several(1, "    v1 = load p1[i0] : f64\n")));
    assert!(!streams(&several(1, "    p1[i0] sum= v0\n")));
    let much: String = (1..20).map(|k| format!("    v{k} = add v0, v0 : f64\n")).collect();
    assert!(!streams(&several(1, &much)));
}

/// A chunk of rows that two loops read, of which the first multiplies with what is the same
/// for all.
fn rows(n: usize, rows: usize, dtype: &str) -> String {
    let (all, chunks) = (n * rows, rows / 50);
    let sums = n * chunks;
    format!(
        "kernel @rows(p0: in {dtype}[{all}], p1: in {dtype}[{n}], p2: out {dtype}[{rows}], \
         p3: inout {dtype}[{sums}]) {{
  for i0:{chunks} parallel {{
    for i1:{rows} chunk 50 of i0 {{
      for i2:{n} vector 16 (v2 = sum v3 : {dtype}) {{
        v0 = load p0[i1*{n} + i2] : {dtype}
        v1 = load p1[i2] : {dtype}
        v3 = mul v0, v1 : {dtype}
      }}
      p2[i1] = v2
    }}
    for i3:{rows} chunk 50 of i0 {{
      for i4:{n} vector 8 {{
        v4 = load p2[i3] : {dtype}
        v5 = load p0[i3*{n} + i4] : {dtype}
        v6 = mul v4, v5 : {dtype}
        p3[i0*{n} + i4] sum= v6
      }}
    }}
  }}
}}
"
    )
}

/// The two loops over rows of a kernel.
fn row_loops(text: &str, encoding: Encoding) -> [Vec<Instruction>; 2] {
    let nest = backstitch_ir::text::parse_nest(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify_nest::verify(&nest).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
    let bytes = compile(&nest, encoding, 1 << 30).expect("a kernel with vectors");
    let walk = Walk::of(&bytes);
    walk.features(encoding);
    // Loops over rows are those that jump back and have none inside.
    let ends = walk.insts.iter().filter(|i| i.is_jcc_near() && i.near_branch_target() < i.ip());
    let mut loops = ends.map(|i| i.near_branch_target()..i.ip());
    [(); 2].map(|()| {
        let range = loops.next().expect("two loops over rows");
        walk.insts.iter().filter(|i| range.contains(&i.ip())).copied().collect()
    })
}

/// How many instructions of each loop over rows read vectors other than constants.
fn reads(text: &str, encoding: Encoding) -> [usize; 2] {
    let reads = |i: &&Instruction| {
        i.op0_register().is_vector_register()
            && i.op_kind(i.op_count() - 1) == OpKind::Memory
            && i.memory_size().size() >= 16
            && !i.is_ip_rel_memory_operand()
    };
    row_loops(text, encoding).map(|insts| insts.iter().filter(reads).count())
}

#[test]
fn what_rows_share_is_kept_in_registers() {
    // Seven vectors of each row, and nothing of what all rows are multiplied with.
    assert_eq!(reads(&rows(100, 100, "f32"), Encoding::Evex), [7, 7]);
    assert_eq!(reads(&rows(50, 100, "f64"), Encoding::Evex), [7, 7]);
    assert_eq!(reads(&rows(64, 100, "f32"), Encoding::Vex), [8, 8]);
    // 24 vectors; 25, of which 24 are kept where they are only read.
    assert_eq!(reads(&rows(384, 100, "f32"), Encoding::Evex), [24, 24]);
    assert_eq!(reads(&rows(400, 100, "f32"), Encoding::Evex)[0], 25 + 1);
}

#[test]
fn what_is_far_away_is_asked_for() {
    let asks = |n, all, dtype, encoding| {
        row_loops(&rows(n, all, dtype), encoding).map(|insts| {
            let all = insts.iter().filter(|i| i.mnemonic() == Mnemonic::Prefetcht0);
            all.map(|i| i.memory_displacement64() as i64).collect::<Vec<_>>()
        })
    };
    // Of rows of 400 bytes, the second loop asks for three lines each, from a little behind
    // the end of 50 rows on, and the first for the rest, up to there.
    let lines = |from: i64, count: i64| (0..count).map(|k| from + 64 * k).collect::<Vec<_>>();
    let end = 50 * 400 + 2048;
    for encoding in [Encoding::Evex, Encoding::Vex] {
        let expected = [lines(end - 50 * (400 - 192), 4), lines(end, 3)];
        assert_eq!(asks(100, 10_000, "f32", encoding), expected);
    }
    let end = 50 * 832 + 2048;
    let expected = [lines(end - 50 * (832 - 384), 7), lines(end, 6)];
    assert_eq!(asks(104, 10_000, "f64", Encoding::Evex), expected);
    // Near enough, or in long rows.
    assert_eq!(asks(100, 1000, "f32", Encoding::Evex), [[]; 2]);
    assert_eq!(asks(520, 10_000, "f32", Encoding::Evex), [[]; 2]);
}

#[test]
fn masks_are_made_before_rows() {
    for insts in row_loops(&rows(100, 100, "f32"), Encoding::Evex) {
        assert!(insts.iter().any(|i| i.op_mask() != Register::None));
        assert!(insts.iter().all(|i| i.mnemonic() != Mnemonic::Kmovw));
    }
}

#[test]
fn vectors_that_are_read_once_are_operands() {
    // But for the last vector of a row, which is not whole.
    let is_load = |i: &&Instruction| {
        i.op0_register().is_vector_register()
            && matches!(i.mnemonic(), Mnemonic::Vmovups | Mnemonic::Vmovupd)
            && i.op_mask() == Register::None
    };
    for (n, dtype) in [(100, "f32"), (50, "f64")] {
        for insts in row_loops(&rows(n, 100, dtype), Encoding::Evex) {
            assert_eq!(insts.iter().filter(is_load).count(), 0, "{dtype}");
        }
    }
    // Of two operands one; none that is read again, or that is stored to in between.
    let loads = |body: &str| {
        let text = format!(
            "kernel @once(p0: in f64[800], p1: inout f64[800], p2: out f64[800]) {{
  for i0:800 vector 8 {{
    v0 = load p0[i0] : f64
    v1 = load p1[i0] : f64
{body}    p2[i0] = v2
  }}
}}
"
        );
        let insts = first_loop(&text, Encoding::Evex);
        let vectors = insts.iter().filter(|i| i.mnemonic() == Mnemonic::Vsubpd).count();
        insts.iter().filter(is_load).count() as f64 / vectors as f64
    };
    assert_eq!(loads("    v2 = sub v0, v1 : f64\n"), 1.0);
    assert_eq!(loads("    v3 = sub v0, v1 : f64\n    v2 = mul v3, v1 : f64\n"), 2.0);
    assert_eq!(loads("    p1[i0] = v0\n    v2 = sub v0, v1 : f64\n"), 2.0);
}

/// So many polynomials with coefficients of their own, one after the other, and their sum.
fn polynomials(count: usize, degree: usize) -> String {
    let mut body = String::from("    v0 = load p0[i0] : f64\n");
    let mut next = 1;
    let mut let_ = |body: &mut String, text: String| {
        *body += &format!("    v{next} = {text} : f64\n");
        next += 1;
        next - 1
    };
    let mut coefficient = 1.0;
    let mut sum = 0;
    for _ in 0..count {
        let mut p = 0;
        for step in 0..=degree {
            coefficient += 1.0;
            let c = let_(&mut body, format!("const {coefficient:?}"));
            p = if step == 0 { c } else { let_(&mut body, format!("fma v{p}, v0, v{c}")) };
        }
        sum = let_(&mut body, format!("add v{sum}, v{p}"));
    }
    format!(
        "kernel @polynomials(p0: in f64[1000], p1: out f64[1000]) {{
  for i0:1000 vector 8 {{
{body}    p1[i0] = v{sum}
  }}
}}
"
    )
}

/// The instructions of the first loop.
fn first_loop(text: &str, encoding: Encoding) -> Vec<Instruction> {
    let nest = backstitch_ir::text::parse_nest(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let bytes = compile(&nest, encoding, LARGE).expect("a kernel with vectors");
    let walk = Walk::of(&bytes);
    let mut ends = walk.insts.iter();
    let end = ends.find(|i| i.is_jcc_near() && i.near_branch_target() < i.ip()).expect("a loop");
    let range = end.near_branch_target()..end.ip();
    walk.insts.into_iter().filter(|i| range.contains(&i.ip())).collect()
}

#[test]
fn chains_run_side_by_side() {
    for encoding in [Encoding::Evex, Encoding::Vex] {
        let insts = first_loop(&polynomials(5, 12), encoding);
        let is_fma = |i: &Instruction| format!("{:?}", i.mnemonic()).starts_with("Vfmadd");
        let steps: Vec<&Instruction> = insts.iter().filter(|i| is_fma(i)).collect();
        let vectors = steps.len() / 60;
        assert!(vectors > 0 && steps.len() == 60 * vectors);
        // Each step changes a register.
        let waits = |w: &&[&Instruction]| w[0].op0_register() == w[1].op0_register();
        let waiting = steps.windows(2).filter(waits).count();
        assert!(waiting < 6 * vectors, "{encoding:?}: {waiting} steps wait for the one before");
    }
}

#[test]
fn constants_have_no_place_in_the_frame() {
    // Each begins with two constants, of which an instruction takes one from memory.
    for encoding in [Encoding::Evex, Encoding::Vex] {
        let insts = first_loop(&polynomials(40, 2), encoding);
        let in_frame = |i: &&Instruction| i.memory_base() == Register::RSP;
        assert_eq!(insts.iter().filter(in_frame).count(), 0, "{encoding:?}");
    }
}
