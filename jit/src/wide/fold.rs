//! Loads that become operands.
//!
//! Most instructions take one operand from memory. A vector that is loaded to be read once
//! needs no register and no instruction of its own: a processor that is given eight a cycle
//! is given too many otherwise, in loops that load, multiply and add.

use smallvec::SmallVec;

use super::code::Width;
use super::inst::{Inst, Place, Program, Reg, Role, Source, Vector};
use super::schedule::memory_role;
use super::table::{self as t, Row};

/// Loads that are looked at again at most: who reads them is not far.
const MOST: usize = 8;

/// Operations whose last operand may be in memory.
static ANY: [&Row; 8] =
    [&t::ADDPS, &t::ADDPD, &t::SUBPS, &t::SUBPD, &t::MULPS, &t::MULPD, &t::DIVPS, &t::DIVPD];

/// Those of them whose operands may change places.
static EITHER: [&Row; 4] = [&t::ADDPS, &t::ADDPD, &t::MULPS, &t::MULPD];

fn is_one_of(row: &Row, rows: &[&'static Row]) -> bool {
    rows.iter().any(|r| std::ptr::eq(*r, row))
}

/// A vector that has been loaded.
#[derive(Clone, Copy)]
struct Load {
    /// By which instruction.
    at: usize,
    reg: Reg,
    place: Place,
    width: Width,
}

/// Takes loads out that an instruction further on can do itself.
pub(crate) fn fold(program: &mut Program) {
    // Once defined and once read, and by what.
    let (mut defined, mut read) =
        (vec![0u32; program.classes.len()], vec![0u32; program.classes.len()]);
    for inst in &program.insts {
        inst.visit(|r, role| match role {
            Role::Use => read[r.0 as usize] += 1,
            Role::Def => defined[r.0 as usize] += 1,
            Role::Change => defined[r.0 as usize] += 2,
        });
    }
    let mut keep = vec![true; program.insts.len()];
    let mut loads: SmallVec<[Load; MOST]> = SmallVec::new();
    for (i, inst) in program.insts.iter_mut().enumerate() {
        if let Some((load, folded)) = folded(inst, &loads) {
            *inst = folded;
            keep[loads.remove(load).at] = false;
        }
        if ends(inst) {
            loads.clear();
        }
        inst.visit(|r, role| {
            if role != Role::Use {
                loads.retain(|l| !l.place.mentions(r));
            }
        });
        if let Some(load) = plain_load(inst, i)
            && (defined[load.reg.0 as usize], read[load.reg.0 as usize]) == (1, 1)
        {
            if loads.len() == MOST {
                loads.remove(0);
            }
            loads.push(load);
        }
    }
    let mut keep = keep.into_iter();
    program.insts.retain(|_| keep.next() == Some(true));
}

/// What an instruction loads, if that is all it does.
fn plain_load(inst: &Inst, at: usize) -> Option<Load> {
    match *inst {
        Inst::Vector(Vector {
            row,
            width,
            reg: Some((reg, Role::Def)),
            source: Source::Place(place),
            mask: None,
            ..
        }) if is_one_of(row, &[&t::LOADPS, &t::LOADPD]) => Some(Load { at, reg, place, width }),
        _ => None,
    }
}

/// An instruction with one of these loads as its operand, and which of them.
fn folded(inst: &Inst, loads: &[Load]) -> Option<(usize, Inst)> {
    let load = |r: Reg, width: Width| loads.iter().position(|l| l.reg == r && l.width == width);
    match *inst {
        Inst::Vector(v) if is_one_of(v.row, &ANY) => {
            let Source::Reg(last) = v.source else { return None };
            let (number, other) = match (load(last, v.width), v.second) {
                (Some(number), _) => (number, v.second),
                (None, Some(second)) if is_one_of(v.row, &EITHER) => {
                    (load(second, v.width)?, Some(last))
                }
                _ => return None,
            };
            let source = Source::Place(loads[number].place);
            Some((number, Inst::Vector(Vector { second: other, source, ..v })))
        }
        Inst::Fma(mut fma) => {
            let (mut all, mut found) = (true, None);
            for (k, arg) in fma.args.iter().enumerate() {
                match arg {
                    Source::Reg(r) => {
                        found = found.or(load(*r, fma.width).map(|number| (k, number)))
                    }
                    _ => all = false,
                }
            }
            let (k, number) = found.filter(|_| all)?;
            fma.args[k] = Source::Place(loads[number].place);
            Some((number, Inst::Fma(fma)))
        }
        _ => None,
    }
}

/// Whether what is loaded after it may be something else, or another path leads there.
fn ends(inst: &Inst) -> bool {
    match inst {
        Inst::Vector(_) | Inst::Fma(_) => memory_role(inst) == Some(Role::Change),
        Inst::Alu { .. }
        | Inst::Multiply { .. }
        | Inst::Address { .. }
        | Inst::Negate { .. }
        | Inst::MoveIf { .. }
        | Inst::LowBits { .. }
        | Inst::LoadByte { .. }
        | Inst::Prefetch { .. } => false,
        Inst::StoreByte { .. }
        | Inst::Jump(_)
        | Inst::JumpIf(..)
        | Inst::Label(_)
        | Inst::LoopStart(_)
        | Inst::LoopEnd
        | Inst::Fence => true,
    }
}
