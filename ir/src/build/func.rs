//! Functions: making them, and calling them.

use std::sync::Arc;

use smallvec::SmallVec;

use super::finish::{rename, sweep};
use super::{Def, NestBuilder, Pure};
use crate::index::IndexVec;
use crate::nest::{Func, FuncDecl, Stmt, Var};
use crate::ty::DType;

impl FuncDecl {
    /// A function of parameters of these types, as `body` writes it out.
    pub fn new(
        name: impl Into<String>,
        params: &[DType],
        body: impl FnOnce(&mut NestBuilder, &[Var]) -> Var,
    ) -> Self {
        let mut b = NestBuilder::new(name);
        let args: Vec<Var> = params.iter().map(|&d| b.define(d, 0, Def::Other)).collect();
        let result = body(&mut b, &args);
        let top = b.blocks.pop().expect("a block");
        assert!(b.blocks.is_empty(), "{}: a loop in a function", b.name);
        let mut body = top.stmts;
        let mut live = IndexVec::filled(false, b.vars.len());
        live[result] = true;
        sweep(&mut body, &mut live);
        let mut names = IndexVec::filled(None, b.vars.len());
        let mut vars = IndexVec::new();
        args.iter().for_each(|&a| names[a] = Some(vars.push(b.vars[a].dtype)));
        rename(&mut body, &mut |var, defined| {
            if defined {
                names[var] = Some(vars.push(b.vars[var].dtype));
            }
            names[var].expect("defined before it is used")
        });
        let result = names[result].expect("it is live");
        Self { name: b.name, params: params.len(), vars, body, result }
    }

    /// Types of its parameters.
    pub fn param_types(&self) -> impl ExactSizeIterator<Item = DType> + '_ {
        self.vars.iter().copied().take(self.params)
    }

    /// Type of what it gives.
    pub fn dtype(&self) -> DType {
        self.vars[self.result]
    }
}

impl NestBuilder {
    /// Whether a loop is open.
    pub fn in_loop(&self) -> bool {
        self.blocks.len() > 1
    }

    /// What a function gives for these arguments. No loop is open.
    pub fn call(&mut self, func: &Arc<FuncDecl>, args: &[Var]) -> Var {
        assert!(!self.in_loop(), "{}: a call in a loop", self.name);
        let types = args.iter().map(|&a| self.dtype(a));
        debug_assert!(
            types.eq(func.param_types()),
            "{}: {} takes other operands",
            self.name,
            func.name
        );
        let dtype = func.dtype();
        let known = self.funcs.entries().find(|(_, f)| Arc::ptr_eq(f, func)).map(|(f, _)| f);
        let func: Func = known.unwrap_or_else(|| self.funcs.push(func.clone()));
        let args: SmallVec<[Var; 3]> = SmallVec::from_slice(args);
        let key = Pure::Call(func, args.clone());
        self.pure(key, dtype, 0, Def::Other, |var| Stmt::Call { var, func, args })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Idx;
    use crate::nest::{Access, At};

    #[test]
    fn equal_calls_are_one() {
        let double = Arc::new(FuncDecl::new("double", &[DType::F64], |b, x| {
            let unused = b.mul(x[0], x[0]);
            b.sqrt(unused);
            b.add(x[0], x[0])
        }));
        assert_eq!((double.body.len(), double.vars.len(), double.result.index()), (1, 2, 1));
        let mut b = NestBuilder::new("t");
        let x = b.param(DType::F64, 1, Access::In);
        let y = b.param(DType::F64, 1, Access::Out);
        let v = b.load(x, At::default());
        let (p, q) = (b.call(&double, &[v]), b.call(&double, &[v]));
        assert_eq!(p, q);
        b.call(&double, &[p]);
        b.store(y, At::default(), p);
        let nest = b.finish();
        assert_eq!((nest.body.len(), nest.funcs.len()), (3, 1));
    }
}
