//! What is done to a nest once it is whole: dead code out, variables renumbered.

use crate::index::IndexVec;
use crate::nest::{Stmt, Var};

/// Removes what does not reach memory. Uses come after definitions, so one walk
/// backwards knows them all.
pub(super) fn sweep(stmts: &mut Vec<Stmt>, live: &mut IndexVec<Var, bool>) {
    stmts.reverse();
    stmts.retain_mut(|stmt| {
        let keep = match stmt {
            Stmt::Let { var, .. }
            | Stmt::Call { var, .. }
            | Stmt::Index { var, .. }
            | Stmt::Load { var, .. } => live[*var],
            Stmt::Store { .. } | Stmt::Accumulate { .. } => true,
            Stmt::For(l) => {
                l.accs.retain(|a| live[a.result]);
                l.accs.iter().flat_map(|a| a.term.values()).for_each(|&v| live[v] = true);
                l.carries.iter().for_each(|c| live[c.next] = true);
                sweep(&mut l.body, live);
                !l.accs.is_empty() || !l.body.is_empty()
            }
        };
        if keep {
            match stmt {
                Stmt::Let { args, .. } | Stmt::Call { args, .. } => {
                    args.iter().for_each(|&a| live[a] = true);
                }
                Stmt::Index { .. } => {}
                Stmt::For(l) => l.carries.iter().for_each(|c| live[c.init] = true),
                Stmt::Load { at, .. } => at.index.iter().for_each(|&v| live[v] = true),
                Stmt::Store { at, value, .. } => {
                    at.index.iter().for_each(|&v| live[v] = true);
                    live[*value] = true;
                }
                Stmt::Accumulate { at, term, .. } => {
                    at.index.iter().chain(term.values()).for_each(|&v| live[v] = true);
                }
            }
        }
        keep
    });
    stmts.reverse();
}

/// Replaces every variable by `name(variable, whether it is being defined)`, in
/// order.
pub(super) fn rename(stmts: &mut [Stmt], name: &mut impl FnMut(Var, bool) -> Var) {
    for stmt in stmts {
        match stmt {
            Stmt::Let { var, args, .. } | Stmt::Call { var, args, .. } => {
                args.iter_mut().for_each(|a| *a = name(*a, false));
                *var = name(*var, true);
            }
            Stmt::Index { var, .. } => *var = name(*var, true),
            Stmt::Load { var, at, .. } => {
                at.index.iter_mut().for_each(|v| *v = name(*v, false));
                *var = name(*var, true);
            }
            Stmt::Store { at, value, .. } => {
                at.index.iter_mut().for_each(|v| *v = name(*v, false));
                *value = name(*value, false);
            }
            Stmt::Accumulate { at, term, .. } => {
                at.index.iter_mut().for_each(|v| *v = name(*v, false));
                *term = term.map(|v| name(v, false));
            }
            Stmt::For(l) => {
                l.carries.iter_mut().for_each(|c| c.init = name(c.init, false));
                l.carries.iter_mut().for_each(|c| c.var = name(c.var, true));
                rename(&mut l.body, name);
                l.carries.iter_mut().for_each(|c| c.next = name(c.next, false));
                l.accs.iter_mut().for_each(|a| a.term = a.term.map(|v| name(v, false)));
                l.accs.iter_mut().for_each(|a| a.result = name(a.result, true));
            }
        }
    }
}

/// Calls `f` on each variable that a statement defines in its own block.
pub(crate) fn for_each_result(stmt: &Stmt, mut f: impl FnMut(Var)) {
    match stmt {
        Stmt::Let { var, .. }
        | Stmt::Call { var, .. }
        | Stmt::Index { var, .. }
        | Stmt::Load { var, .. } => f(*var),
        Stmt::Store { .. } | Stmt::Accumulate { .. } => {}
        Stmt::For(l) => l.accs.iter().for_each(|a| f(a.result)),
    }
}
