//! How many registers instructions need in one order or another.
//!
//! What is needed where a piece begins is known from the intervals of the order as it was;
//! from there on reads are counted down.

use super::super::alloc::{self, Interval};
use super::super::code::Encoding;
use super::super::inst::{Class, Inst, Program, Reg, Role};

/// How many registers are needed while a piece runs.
pub(super) struct Needs {
    intervals: Vec<Interval>,
    /// Which of the limits a register counts for.
    classes: Vec<Option<u8>>,
    /// Registers for vectors and for masks.
    limits: [i32; 2],
    /// How many of these are needed where each instruction begins.
    before: Vec<[i32; 2]>,
    /// How often each register is still to be read in the piece, and whether it is free then.
    reads: Vec<(u32, bool)>,
    /// Whether it is needed from its first definition in the piece on, which is still to come.
    unborn: Vec<bool>,
    /// How many are needed now.
    now: [i32; 2],
    /// How many were missing at the worst moment.
    pub missing: i32,
}

impl Needs {
    pub fn of(program: &Program, encoding: Encoding) -> Self {
        let intervals = alloc::intervals(program);
        let mut classes: Vec<Option<u8>> = program
            .classes
            .iter()
            .map(|class| match class {
                Class::Vector => Some(0),
                Class::Mask => Some(1),
                Class::General => None,
            })
            .collect();
        // Constants can be read from memory.
        for (class, constant) in classes.iter_mut().zip(alloc::constants(program)) {
            if constant.is_some() {
                *class = None;
            }
        }
        let mut before = vec![[0; 2]; program.insts.len() + 1];
        for (interval, class) in intervals.iter().zip(&classes) {
            if let Some(class) = *class
                && interval.start != usize::MAX
            {
                before[interval.start / 2 + 1][class as usize] += 1;
                if let Some(end) = before.get_mut(interval.end / 2 + 1) {
                    end[class as usize] -= 1;
                }
            }
        }
        for i in 1..before.len() {
            let [vectors, masks] = before[i - 1];
            before[i][0] += vectors;
            before[i][1] += masks;
        }
        Self {
            reads: vec![(0, false); intervals.len()],
            unborn: vec![false; intervals.len()],
            limits: [Class::Vector, Class::Mask]
                .map(|class| alloc::registers(class, encoding).len() as i32),
            intervals,
            classes,
            before,
            now: [0; 2],
            missing: 0,
        }
    }

    /// A piece that begins at this instruction of the program; its reads are still to be counted.
    pub fn begin(&mut self, insts: &[Inst], start: usize) {
        self.now = self.before[start];
        self.missing = 0;
        let end = start + insts.len();
        for inst in insts {
            inst.visit(|r, _| {
                let r = r.0 as usize;
                let interval = self.intervals[r];
                self.reads[r] = (0, interval.end < 2 * end);
                self.unborn[r] = interval.start >= 2 * start;
            });
        }
    }

    pub fn count(&mut self, r: Reg, role: Role) {
        self.reads[r.0 as usize].0 += u32::from(role != Role::Def);
    }

    /// An instruction has begun.
    pub fn run(&mut self, inst: &Inst) {
        inst.visit(|r, role| {
            let Some(class) = self.classes[r.0 as usize] else { return };
            let (reads, ends) = &mut self.reads[r.0 as usize];
            let now = &mut self.now[class as usize];
            if role != Role::Def {
                *reads -= 1;
                *now -= i32::from(*reads == 0 && *ends);
            } else if std::mem::take(&mut self.unborn[r.0 as usize]) {
                *now += i32::from(*reads > 0 || !*ends);
            }
        });
        for (now, limit) in self.now.iter().zip(self.limits) {
            self.missing = self.missing.max(now - limit);
        }
    }

    /// Whether no register is left of one kind.
    pub fn tight(&self) -> bool {
        self.now.iter().zip(self.limits).any(|(&now, limit)| now >= limit)
    }

    /// How many more of what is short are needed after an instruction.
    pub fn change(&self, inst: &Inst) -> i32 {
        let (mut change, mut last) = (0, None);
        inst.visit(|r, role| {
            let Some(class) = self.classes[r.0 as usize].map(usize::from) else { return };
            if self.now[class] < self.limits[class] {
                return;
            }
            let (reads, ends) = self.reads[r.0 as usize];
            if role == Role::Def {
                change += i32::from(self.unborn[r.0 as usize] && (reads > 0 || !ends));
            } else if ends && reads == 1 + u32::from(last == Some(r)) {
                change -= 1;
            }
            last = Some(r);
        });
        change
    }
}
