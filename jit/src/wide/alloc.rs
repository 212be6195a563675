//! Registers for virtual registers, by linear scan.
//!
//! Every virtual register has one interval, from its first definition to its last use,
//! stretched to the end of each loop that it is needed again by; and one home for all of
//! it, a register or a place in the frame. Intervals are met in the order in which they
//! begin (Poletto and Sarkar, *Linear scan register allocation*, 1999). Where registers run
//! out, the interval goes to the frame that costs the least there: uses, weighted by how
//! deep in loops they are, over the time for which a register becomes free. On x86-64 most
//! instructions take one operand from memory, so a home in the frame costs little more
//! than a load. Constants need none: they are read from where they are.

use super::code::Encoding;
use super::inst::{Class, Inst, Program, Reg, Role, Source, Vector};

/// Where a virtual register lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Home {
    /// It is never mentioned.
    Nowhere,
    Register(u8),
    /// A numbered place in the frame, of the size of its class.
    Slot(u32),
    /// None: the constant that this instruction loads.
    Constant(u32),
}

/// Where all virtual registers live.
pub(crate) struct Allocation {
    pub homes: Vec<Home>,
    /// Vectors and words in the frame.
    pub vectors: u32,
    pub words: u32,
}

/// General registers that code may use as it likes within one instruction: for a base, an
/// index, and data.
pub(crate) const SCRATCH: [u8; 3] = [0, 1, 11];
/// The same for masks: one that can be a mask, one that cannot.
pub(crate) const SCRATCH_MASKS: [u8; 2] = [7, 0];

/// The same for vectors.
pub(crate) fn scratch_vectors(encoding: Encoding) -> [u8; 2] {
    match encoding {
        Encoding::Evex => [30, 31],
        Encoding::Vex => [14, 15],
    }
}

/// The registers in which the function's parameters come.
pub(crate) const PARAMS: [u8; 3] = [7, 6, 2];

const GENERAL: [u8; 12] = [2, 6, 7, 8, 9, 10, 3, 5, 12, 13, 14, 15];
const MASKS: [u8; 6] = [1, 2, 3, 4, 5, 6];
const VECTORS: [u8; 30] = {
    let mut all = [0; 30];
    let mut i = 0;
    while i < 30 {
        all[i] = i as u8;
        i += 1;
    }
    all
};

pub(super) fn registers(class: Class, encoding: Encoding) -> &'static [u8] {
    match class {
        Class::General => &GENERAL,
        Class::Mask => &MASKS,
        Class::Vector => &VECTORS[..scratch_vectors(encoding)[0] as usize],
    }
}

/// The time for which a register is needed. Instruction `i` reads at `2 i` and writes at
/// `2 i + 1`.
#[derive(Clone, Copy)]
pub(super) struct Interval {
    pub start: usize,
    pub end: usize,
    /// Uses and definitions, weighted.
    cost: f32,
}

/// Finds homes.
pub(crate) fn allocate(program: &Program, encoding: Encoding) -> Allocation {
    let (intervals, constants) = (intervals(program), constants(program));
    let mut order: Vec<u32> = (0..intervals.len() as u32)
        .filter(|&r| intervals[r as usize].start != usize::MAX)
        .collect();
    order.sort_by_key(|&r| intervals[r as usize].start);
    let mut out = Allocation { homes: vec![Home::Nowhere; intervals.len()], vectors: 0, words: 0 };
    let mut pools = [Class::Vector, Class::Mask, Class::General].map(|class| Pool {
        class,
        free: registers(class, encoding).iter().fold(0, |free, &r| free | 1 << r),
        active: Vec::new(),
    });
    for (&param, &register) in program.params.iter().zip(&PARAMS) {
        if intervals[param.0 as usize].start != usize::MAX {
            let pool = &mut pools[Class::General as usize];
            out.homes[param.0 as usize] = Home::Register(register);
            pool.free &= !(1 << register);
            pool.active.push(param);
        }
    }
    for r in order {
        if out.homes[r as usize] != Home::Nowhere {
            continue;
        }
        let pool = &mut pools[program.classes[r as usize] as usize];
        pool.expire(intervals[r as usize].start, &intervals, &out);
        let hint = hint(program, Reg(r), &intervals, &out);
        pool.place(Reg(r), hint, &intervals, &constants, &mut out);
    }
    out
}

/// The registers of one class.
struct Pool {
    class: Class,
    /// A bit for each that is free.
    free: u32,
    /// Those in registers now.
    active: Vec<Reg>,
}

impl Pool {
    fn expire(&mut self, now: usize, intervals: &[Interval], out: &Allocation) {
        let free = &mut self.free;
        self.active.retain(|r| {
            let ends = intervals[r.0 as usize].end < now;
            if ends && let Home::Register(n) = out.homes[r.0 as usize] {
                *free |= 1 << n;
            }
            !ends
        });
    }

    fn place(
        &mut self,
        reg: Reg,
        hint: Option<u8>,
        intervals: &[Interval],
        constants: &[Option<u32>],
        out: &mut Allocation,
    ) {
        if self.free != 0 {
            let register = match hint.filter(|&h| self.free & (1 << h) != 0) {
                Some(hint) => hint,
                None => self.free.trailing_zeros() as u8,
            };
            self.free &= !(1 << register);
            self.active.push(reg);
            out.homes[reg.0 as usize] = Home::Register(register);
            return;
        }
        let now = intervals[reg.0 as usize].start;
        let worth = |r: Reg| {
            let Interval { end, cost, .. } = intervals[r.0 as usize];
            let cost = if constants[r.0 as usize].is_some() { 0.25 * cost } else { cost };
            cost / (end - now + 1) as f32
        };
        let (least, _) = self
            .active
            .iter()
            .enumerate()
            .min_by(|a, b| worth(*a.1).total_cmp(&worth(*b.1)))
            .expect("some register is taken");
        let home = |r: Reg, out: &mut Allocation| match (constants[r.0 as usize], self.class) {
            (Some(inst), _) => Home::Constant(inst),
            (None, Class::Vector) => {
                out.vectors += 1;
                Home::Slot(out.vectors - 1)
            }
            (None, Class::Mask | Class::General) => {
                out.words += 1;
                Home::Slot(out.words - 1)
            }
        };
        let other = self.active[least];
        if worth(other) < worth(reg) {
            self.active[least] = reg;
            out.homes[reg.0 as usize] = out.homes[other.0 as usize];
            out.homes[other.0 as usize] = home(other, out);
        } else {
            out.homes[reg.0 as usize] = home(reg, out);
        }
    }
}

/// The instructions that load constants which can just as well be read when they are
/// wanted: as a factor or summand, or as the operand in the prefix.
pub(super) fn constants(program: &Program) -> Vec<Option<u32>> {
    let mut out = vec![None; program.classes.len()];
    let mut other = vec![0u32; program.classes.len()];
    for (i, inst) in program.insts.iter().enumerate() {
        match inst {
            Inst::Vector(Vector {
                reg: Some((def, Role::Def)),
                source: Source::Pool(_),
                second: None,
                mask: None,
                immediate: None,
                ..
            }) => {
                out[def.0 as usize] = Some(i as u32);
                other[def.0 as usize] += 1;
            }
            Inst::Fma(fma) => other[fma.def.0 as usize] += 2,
            _ => {
                inst.visit(|r, _| other[r.0 as usize] += 2);
                if let Inst::Vector(Vector { second: Some(second), .. }) = inst {
                    other[second.0 as usize] -= 2;
                }
            }
        }
    }
    for ((constant, other), class) in out.iter_mut().zip(other).zip(&program.classes) {
        if other > 1 || *class != Class::Vector {
            *constant = None;
        }
    }
    out
}

/// The register of an operand that ends where this one begins, if the instruction would
/// rather write over it.
fn hint(program: &Program, reg: Reg, intervals: &[Interval], out: &Allocation) -> Option<u8> {
    let at = intervals[reg.0 as usize].start / 2;
    let dying = |s: &Source| match s {
        Source::Reg(r) if intervals[r.0 as usize].end == 2 * at => match out.homes[r.0 as usize] {
            Home::Register(n) => Some(n),
            _ => None,
        },
        _ => None,
    };
    match &program.insts[at] {
        Inst::Fma(fma) => fma.args.iter().rev().find_map(dying),
        Inst::Vector(v) if v.second.is_none() => dying(&v.source),
        _ => None,
    }
}

pub(super) fn intervals(program: &Program) -> Vec<Interval> {
    let loops = Loops::of(program);
    let none = Interval { start: usize::MAX, end: 0, cost: 0.0 };
    let mut out = vec![none; program.classes.len()];
    for &param in &program.params {
        out[param.0 as usize].start = 0;
    }
    for (i, inst) in program.insts.iter().enumerate() {
        let weight = 8f32.powi(loops.depth(i).min(6));
        let gathers = matches!(inst, Inst::Vector(v) if v.gathers);
        inst.visit(|r, role| {
            let interval = &mut out[r.0 as usize];
            let at = if role == Role::Def { 2 * i + 1 } else { 2 * i };
            interval.start = interval.start.min(at);
            let until = loops.until(i, interval.start / 2).map_or(at, |end| 2 * end + 1);
            // A mask that a gather uses up, or an early result, is written at the end.
            let written = if role == Role::Use { at } else { 2 * i + 1 };
            interval.end = interval.end.max(until).max(written);
            interval.cost += weight;
            // Short, and more of them than there are scratch registers.
            if gathers && role == Role::Change {
                interval.cost = f32::INFINITY;
            }
        });
    }
    for interval in &mut out {
        if interval.start == usize::MAX || interval.cost > 0.0 {
            continue;
        }
        interval.start = usize::MAX;
    }
    out
}

/// Loops as ranges of instructions.
struct Loops {
    /// First and last instruction, and the loop around.
    ranges: Vec<(usize, usize, Option<usize>)>,
    /// The innermost loop of each instruction.
    inner: Vec<Option<usize>>,
    depths: Vec<i32>,
}

impl Loops {
    fn of(program: &Program) -> Self {
        let mut out = Self { ranges: Vec::new(), inner: Vec::new(), depths: Vec::new() };
        let mut now = None;
        for (i, inst) in program.insts.iter().enumerate() {
            if matches!(inst, Inst::LoopStart(_)) {
                let depth = now.map_or(0, |l: usize| out.depths[l]) + 1;
                out.ranges.push((i, i, now));
                out.depths.push(depth);
                now = Some(out.ranges.len() - 1);
            }
            out.inner.push(now);
            if matches!(inst, Inst::LoopEnd) {
                let open = now.expect("a loop that has begun");
                out.ranges[open].1 = i;
                now = out.ranges[open].2;
            }
        }
        out
    }

    fn depth(&self, at: usize) -> i32 {
        self.inner[at].map_or(0, |l| self.depths[l])
    }

    /// The end of the outermost loop around `at` that does not contain `start`.
    fn until(&self, at: usize, start: usize) -> Option<usize> {
        let mut end = None;
        let mut next = self.inner[at];
        while let Some(l) = next {
            let (first, last, around) = self.ranges[l];
            if first <= start {
                break;
            }
            end = Some(last);
            next = around;
        }
        end
    }
}
