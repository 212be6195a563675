//! Functions of scalars: what nests call.
//!
//! Each is a function of its own, with operands and result in registers; those of all
//! kernels that are equal are one.

use std::sync::Arc;

use backstitch_ir::index::{Idx, IndexVec};
use backstitch_ir::nest::{Const, FuncDecl, Nest, ScalarOp, Stmt, Var};
use cranelift_codegen::ir::{AbiParam, FuncRef, Function, InstBuilder, Signature, Value};
use cranelift_frontend::FunctionBuilderContext;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::asm::Asm;
use crate::link::{FunctionId, Linker};
use crate::scalar::{self, clif_type};

/// The functions of a plan that are promised.
#[derive(Default)]
pub(crate) struct Funcs<'p> {
    all: FxHashMap<&'p FuncDecl, FunctionId>,
    /// The same by address: kernels of one program mostly share them.
    known: FxHashMap<*const FuncDecl, FunctionId>,
    /// Those that are not written.
    pending: Vec<(&'p FuncDecl, FunctionId)>,
}

impl<'p> Funcs<'p> {
    /// What a nest calls, as something to call from the function being written.
    pub fn of(
        &mut self,
        linker: &mut Linker,
        nest: &'p Nest,
        mut import: impl FnMut(FunctionId, Signature) -> FuncRef,
    ) -> SmallVec<[FuncRef; 4]> {
        let callee = |func: &'p Arc<FuncDecl>| {
            let id = self.promised(linker, func);
            import(id, signature(linker, func))
        };
        nest.funcs.iter().map(callee).collect()
    }

    fn promised(&mut self, linker: &mut Linker, func: &'p Arc<FuncDecl>) -> FunctionId {
        *self.known.entry(Arc::as_ptr(func)).or_insert_with(|| {
            *self.all.entry(&**func).or_insert_with(|| {
                let id = linker.declare();
                self.pending.push((&**func, id));
                id
            })
        })
    }

    /// Writes those that are promised.
    pub fn write(&mut self, linker: &mut Linker, context: &mut FunctionBuilderContext) {
        for (func, id) in std::mem::take(&mut self.pending) {
            let made = function(linker, context, func, id);
            linker.define(id, func.name.clone(), made, true);
        }
    }
}

fn signature(linker: &Linker, func: &FuncDecl) -> Signature {
    let mut signature = linker.signature();
    signature.params.extend(func.param_types().map(|d| AbiParam::new(clif_type(d))));
    signature.returns.push(AbiParam::new(clif_type(func.dtype())));
    signature
}

/// What is known of a variable.
#[derive(Clone, Copy)]
enum Known {
    Not,
    Constant(Const),
    Value(Value),
}

fn function(
    linker: &Linker,
    context: &mut FunctionBuilderContext,
    func: &FuncDecl,
    id: FunctionId,
) -> Function {
    let mut made = linker.function(id, signature(linker, func));
    let mut asm = Asm::new(&mut made, context, linker.features());
    let mut known = IndexVec::filled(Known::Not, func.vars.len());
    for (i, value) in asm.enter().into_iter().enumerate() {
        known[Var::new(i)] = Known::Value(value);
    }
    // Constants are made anew at each use: that is cheaper than a register.
    let value = |asm: &mut Asm, known: &IndexVec<Var, Known>, var: Var| match known[var] {
        Known::Constant(c) => asm.constant(c),
        Known::Value(value) => value,
        Known::Not => unreachable!("{}: {var} is not defined", func.name),
    };
    for stmt in &func.body {
        let Stmt::Let { var, op, args } = stmt else {
            unreachable!("{}: something else than operations", func.name)
        };
        if let ScalarOp::Const(c) = op {
            known[*var] = Known::Constant(*c);
            continue;
        }
        let values: SmallVec<[Value; 3]> =
            args.iter().map(|&a| value(&mut asm, &known, a)).collect();
        let (from, to) = (func.vars[args[0]], func.vars[*var]);
        known[*var] = Known::Value(scalar::apply(&mut asm, *op, from, to, &values));
    }
    let result = value(&mut asm, &known, func.result);
    asm.ins().return_(&[result]);
    asm.finish(linker.frontend_config());
    made
}
