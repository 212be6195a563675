//! Instructions whose results nobody reads, such as comparisons that became minima.

use super::inst::{Inst, Program, Role};

/// Takes them out. Operands are made before they are used but for what loops carry, which
/// is used after it is made as well: one pass from the end finds all chains.
pub(crate) fn prune(program: &mut Program) {
    let mut uses = vec![0u32; program.classes.len()];
    for inst in &program.insts {
        inst.visit(|r, role| {
            if role != Role::Def {
                uses[r.0 as usize] += 1;
            }
        });
    }
    let mut keep = vec![true; program.insts.len()];
    for (inst, keep) in program.insts.iter().zip(&mut keep).rev() {
        let (Inst::Vector(_) | Inst::Fma(_)) = inst else { continue };
        let (mut defines, mut read) = (false, false);
        inst.visit(|r, role| match role {
            Role::Def => {
                defines = true;
                read |= uses[r.0 as usize] > 0;
            }
            Role::Change => read = true,
            Role::Use => {}
        });
        if defines && !read {
            *keep = false;
            inst.visit(|r, role| {
                if role == Role::Use {
                    uses[r.0 as usize] -= 1;
                }
            });
        }
    }
    let mut keep = keep.into_iter();
    program.insts.retain(|_| keep.next() == Some(true));
}
