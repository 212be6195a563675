//! Functions of a nest: operations alone (9).

use crate::apply;
use crate::index::IndexVec;
use crate::nest::{FuncDecl, Nest, Stmt, Var};
use crate::ty::DType;

/// What is wrong with a function.
pub(super) fn function(nest: &Nest, func: &FuncDecl) -> Vec<String> {
    let mut mistakes = vec![];
    let mut require = |holds: bool, mistake: &dyn Fn() -> String| {
        if !holds {
            mistakes.push(format!("{}: {}: {}", nest.name, func.name, mistake()));
        }
        holds
    };
    let vars = &func.vars;
    let mut known = IndexVec::filled(false, vars.len());
    require(func.params <= vars.len(), &|| "parameters without types".to_owned());
    known.keys().take(func.params).collect::<Vec<_>>().into_iter().for_each(|v| known[v] = true);
    for stmt in &func.body {
        let Stmt::Let { var, op, args } = stmt else {
            require(false, &|| "something else than operations".to_owned());
            continue;
        };
        let visible = |a: Var| known.get(a).copied().unwrap_or(false);
        let all = args.iter().all(|&a| require(visible(a), &|| format!("{a} is not visible here")));
        let fresh = known.get(*var).is_some_and(|known| !known);
        if require(fresh, &|| format!("{var} is defined twice, or not at all")) && all {
            let types: Vec<DType> = args.iter().map(|&a| vars[a]).collect();
            if let Err(why) = apply::check(*op, &types, vars[*var]) {
                require(false, &|| format!("{var}: {why}"));
            }
        }
        if fresh {
            known[*var] = true;
        }
    }
    let result = func.result;
    require(known.get(result) == Some(&true), &|| format!("{result} is not defined"));
    mistakes
}
