//! Instructions on general registers, jumps, and what fills up.

use super::*;

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
