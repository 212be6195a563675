//! The order of instructions: what others wait for goes first.
//!
//! Statements become instructions one after the other, and so does each polynomial: a chain
//! in which every step waits for the one before. Processors run ahead to what does not wait,
//! but not far enough to find it behind two or three such chains. So straight pieces of code
//! inside loops are put in the order in which a simple machine would run them that sees all of
//! it, of instructions whose operands are there always the one from which the way to the end
//! takes longest (*list scheduling*; Gibbons and Muchnick, *Efficient instruction scheduling
//! for a pipelined architecture*, 1986). Results stay what they are: whatever reads or writes
//! what another one writes keeps its side of it.
//!
//! Chains side by side need more registers than chains one after the other. Where registers
//! run out, those instructions go first that need no more of them.

mod needs;

use std::ops::Range;

use backstitch_ir::threshold;

use self::needs::Needs;
use super::code::Encoding;
use super::inst::{Inst, Program, Role, Source, Vector};

/// Pieces of fewer instructions stay as they are.
const LEAST: usize = threshold(40, 2);

/// How far ahead of the first instruction that still waits others may go.
const WINDOW: usize = 256;

/// Instructions that begin in one step.
const WIDTH: usize = 2;

/// No instruction.
const NONE: u32 = u32::MAX;

/// Puts all pieces in order.
pub(crate) fn schedule(program: &mut Program, encoding: Encoding) {
    let pieces = pieces(program);
    if pieces.is_empty() {
        return;
    }
    let mut scheduler = Scheduler {
        needs: Needs::of(program, encoding),
        touched: vec![UNTOUCHED; program.classes.len() + 1],
        readers: Vec::new(),
        nodes: Vec::new(),
        edges: Vec::new(),
    };
    for piece in pieces {
        let insts = &mut program.insts[piece.clone()];
        if let Some(order) = scheduler.order(insts, piece.start) {
            let ordered: Vec<Inst> = order.iter().map(|&i| insts[i as usize]).collect();
            insts.copy_from_slice(&ordered);
        }
    }
}

/// Straight pieces of code in loops that have no loop inside.
fn pieces(program: &Program) -> Vec<Range<usize>> {
    let (mut out, mut innermost, mut of_loop, mut first) = (Vec::new(), false, 0, 0);
    for (i, inst) in program.insts.iter().enumerate() {
        match inst {
            Inst::Vector(_) | Inst::Fma(_) | Inst::Prefetch { .. } => continue,
            _ if innermost && i - first >= LEAST => out.push(first..i),
            _ => {}
        }
        first = i + 1;
        match inst {
            Inst::LoopStart(_) => {
                // The loop around it has one inside.
                if innermost {
                    out.truncate(of_loop);
                }
                (innermost, of_loop) = (true, out.len());
            }
            Inst::LoopEnd => innermost = false,
            _ => {}
        }
    }
    out
}

/// An instruction of the piece.
#[derive(Clone, Copy)]
struct Node {
    /// The first of those that wait for it.
    followers: u32,
    /// How many it still waits for.
    waits: u32,
    /// When its operands are there.
    ready: u32,
    /// How long it takes from here to the end.
    height: u32,
}

/// An instruction that waits for no other.
#[derive(Clone, Copy)]
struct Free {
    inst: u32,
    ready: u32,
    height: u32,
}

/// An instruction waits for another one for so long.
#[derive(Clone, Copy)]
struct Edge {
    follower: u32,
    delay: u32,
    /// The next of those that wait for the same one.
    next: u32,
}

/// A register, or memory, in the piece so far.
#[derive(Clone, Copy)]
struct Touched {
    /// Who wrote it last.
    written: u32,
    /// Who has read it since: the last of them.
    read: u32,
}

const UNTOUCHED: Touched = Touched { written: NONE, read: NONE };

struct Scheduler {
    needs: Needs,
    /// Of each register, and of memory.
    touched: Vec<Touched>,
    /// Instructions that read the same thing, and the one before.
    readers: Vec<(u32, u32)>,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

impl Scheduler {
    /// A better order of a piece: positions in it.
    fn order(&mut self, insts: &[Inst], start: usize) -> Option<Vec<u32>> {
        let count = insts.len();
        self.relate(insts, start);
        let (mut order, mut done) = (Vec::with_capacity(count), vec![false; count]);
        // Those in the window that wait for no other.
        let mut free: Vec<Free> = Vec::with_capacity(WINDOW);
        let (mut oldest, mut seen, mut now) = (0, 0, 0);
        while order.len() < count {
            for slot in 0..WIDTH {
                while oldest < count && done[oldest] {
                    oldest += 1;
                }
                while seen < count.min(oldest + WINDOW) {
                    if self.nodes[seen].waits == 0 {
                        free.push(self.free(seen as u32));
                    }
                    seen += 1;
                }
                let Some(at) = self.next(insts, &free, now) else {
                    // Nothing begins before the first of them is ready.
                    if slot == 0 {
                        now = free.iter().map(|f| f.ready - 1).min().unwrap_or(now);
                    }
                    break;
                };
                let Free { inst: i, ready, .. } = free.swap_remove(at);
                let mut followers = self.nodes[i as usize].followers;
                now = now.max(ready);
                done[i as usize] = true;
                order.push(i);
                self.needs.run(&insts[i as usize]);
                while followers != NONE {
                    let Edge { follower, delay, next } = self.edges[followers as usize];
                    let node = &mut self.nodes[follower as usize];
                    node.ready = node.ready.max(now + delay);
                    node.waits -= 1;
                    if node.waits == 0 && (follower as usize) < seen {
                        free.push(self.free(follower));
                    }
                    followers = next;
                }
            }
            now += 1;
        }
        let missing = self.needs.missing;
        if missing > 0 {
            self.needs.begin(insts, start);
            insts.iter().for_each(|inst| inst.visit(|r, role| self.needs.count(r, role)));
            insts.iter().for_each(|inst| self.needs.run(inst));
        }
        (missing <= self.needs.missing).then_some(order)
    }

    fn free(&self, inst: u32) -> Free {
        let Node { ready, height, .. } = self.nodes[inst as usize];
        Free { inst, ready, height }
    }

    /// Which of the free instructions begins now, if one does.
    fn next(&self, insts: &[Inst], free: &[Free], now: u32) -> Option<usize> {
        if self.needs.tight() {
            return self.frugal(insts, free);
        }
        let ready = free.iter().enumerate().filter(|(_, f)| f.ready <= now);
        ready.max_by_key(|(_, f)| (f.height, !f.inst)).map(|(at, _)| at)
    }

    /// The one that needs no more registers and is farthest from the end; if there is none,
    /// the first of those that need the fewest.
    fn frugal(&self, insts: &[Inst], free: &[Free]) -> Option<usize> {
        let mut best: Option<((i32, u32, u32), usize)> = None;
        for (at, f) in free.iter().enumerate() {
            // It is not asked what one needs that is not better even if it needs nothing.
            if best.is_some_and(|(than, _)| than <= (0, !f.height, f.inst)) {
                continue;
            }
            let more = self.needs.change(&insts[f.inst as usize]).max(0);
            let key = (more, if more > 0 { f.inst } else { !f.height }, f.inst);
            if best.is_none_or(|(than, _)| key < than) {
                best = Some((key, at));
            }
        }
        best.map(|(_, at)| at)
    }

    /// Who waits for whom.
    fn relate(&mut self, insts: &[Inst], start: usize) {
        let memory = self.touched.len() - 1;
        self.readers.clear();
        self.edges.clear();
        self.nodes.clear();
        self.nodes.reserve(insts.len());
        self.edges.reserve(2 * insts.len());
        for inst in insts {
            inst.visit(|r, _| self.touched[r.0 as usize] = UNTOUCHED);
        }
        self.touched[memory] = UNTOUCHED;
        self.needs.begin(insts, start);
        for (i, inst) in insts.iter().enumerate() {
            self.nodes.push(Node { followers: NONE, waits: 0, ready: 0, height: 0 });
            inst.visit(|r, role| {
                self.touch(insts, i as u32, r.0 as usize, role);
                self.needs.count(r, role);
            });
            if let Some(role) = memory_role(inst) {
                self.touch(insts, i as u32, memory, role);
            }
        }
        for i in (0..insts.len()).rev() {
            let (mut height, mut next) = (0, self.nodes[i].followers);
            while next != NONE {
                let edge = self.edges[next as usize];
                height = height.max(edge.delay.max(1) + self.nodes[edge.follower as usize].height);
                next = edge.next;
            }
            self.nodes[i].height = height;
        }
    }

    /// Instruction `i` reads or writes something.
    fn touch(&mut self, insts: &[Inst], i: u32, what: usize, role: Role) {
        let Touched { written, mut read } = self.touched[what];
        if written != NONE {
            let delay = if role == Role::Def { 0 } else { latency(&insts[written as usize]) };
            self.wait(i, written, delay);
        }
        if role == Role::Use {
            self.touched[what].read = self.readers.len() as u32;
            self.readers.push((i, read));
            return;
        }
        while read != NONE {
            let (reader, before) = self.readers[read as usize];
            self.wait(i, reader, 0);
            read = before;
        }
        self.touched[what] = Touched { written: i, read: NONE };
    }

    fn wait(&mut self, follower: u32, on: u32, delay: u32) {
        if follower != on {
            let next =
                std::mem::replace(&mut self.nodes[on as usize].followers, self.edges.len() as u32);
            self.nodes[follower as usize].waits += 1;
            self.edges.push(Edge { follower, delay, next });
        }
    }
}

/// What an instruction does with memory, but for constants.
pub(super) fn memory_role(inst: &Inst) -> Option<Role> {
    match inst {
        Inst::Vector(v) if matches!(v.source, Source::Place(_)) => match v.reg {
            Some((_, Role::Def | Role::Change)) => Some(Role::Use),
            _ => Some(Role::Change),
        },
        Inst::Fma(fma) if fma.args.iter().any(|a| matches!(a, Source::Place(_))) => Some(Role::Use),
        _ => None,
    }
}

/// About how many steps pass until a result is there.
fn latency(inst: &Inst) -> u32 {
    let (steps, memory) = match inst {
        Inst::Fma(fma) => (4, fma.args.iter().any(|a| matches!(a, Source::Place(_)))),
        Inst::Vector(v) => (of_row(v), matches!(v.source, Source::Place(_))),
        _ => (1, false),
    };
    if memory { steps + 6 } else { steps }
}

fn of_row(v: &Vector) -> u32 {
    match v.row.name.as_bytes() {
        [b'v', b'd', b'i', b'v', ..] | [b'v', b's', b'q', ..] => 14,
        [b'k', ..] | [b'v', b'c', b'm', ..] | [b'v', b'p', b'c', ..] | [b'v', b'g', ..] => 5,
        [b'v', b'p', b'a' | b'o' | b'x' | b's', ..] | [b'v', b'b', ..] => 1,
        [b'v', b'm', b'a' | b'i' | b'o', ..] => 1,
        _ => 4,
    }
}
