//! From functions to executable memory.
//!
//! Functions are compiled one by one and laid out in a single block of memory,
//! so that they reach each other with near calls and a plan takes one mapping.

use backstitch_ir::plan::Plan;
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{
    ExtFuncData, ExternalName, FuncRef, Function, Signature, UserExternalName, UserFuncName,
};
use cranelift_codegen::isa::{OwnedTargetIsa, TargetFrontendConfig};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Module, ModuleReloc, ModuleRelocTarget, default_libcall_names};

use crate::code::{Code, Entry, Memory, Pinned};
use crate::error::JitError;
use crate::isa::{Allocator, Features, target};
use crate::{Options, asm::Asm};

/// Functions with more values than this get the single-pass allocator.
const LONG: usize = 3000;

/// The number of a function of this plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct FunctionId(u32);

/// Collects the functions of a plan.
pub(crate) struct Linker {
    short: OwnedTargetIsa,
    long: OwnedTargetIsa,
    options: Options,
    context: Context,
    bytes: Vec<u8>,
    align: u64,
    /// Where each function begins.
    starts: Vec<Option<u32>>,
    relocs: Vec<ModuleReloc>,
    texts: Vec<(String, String)>,
}

impl Linker {
    pub fn new(options: &Options) -> Result<Self, JitError> {
        Ok(Self {
            short: target(options.cpu, Allocator::Backtracking)?,
            long: target(options.cpu, Allocator::SinglePass)?,
            options: options.clone(),
            context: Context::new(),
            bytes: Vec::new(),
            align: 16,
            starts: Vec::new(),
            relocs: Vec::new(),
            texts: Vec::new(),
        })
    }

    /// What instructions there are.
    pub fn features(&self) -> Features {
        Features::of(&self.short)
    }

    /// A signature with the platform's calling convention.
    pub fn signature(&self) -> Signature {
        Signature::new(self.short.default_call_conv())
    }

    /// What the function builder needs to know of the target.
    pub fn frontend_config(&self) -> TargetFrontendConfig {
        self.short.frontend_config()
    }

    /// Promises a function.
    pub fn declare(&mut self) -> FunctionId {
        self.starts.push(None);
        FunctionId(u32::try_from(self.starts.len() - 1).expect("fewer than 2^32 functions"))
    }

    /// An empty function.
    pub fn function(&self, id: FunctionId, signature: Signature) -> Function {
        Function::with_name_signature(UserFuncName::user(0, id.0), signature)
    }

    /// A promised function as something to call.
    pub fn import(asm: &mut Asm, id: FunctionId, signature: Signature) -> FuncRef {
        let func = asm.func();
        let signature = func.import_signature(signature);
        let name = UserExternalName { namespace: 0, index: id.0 };
        let name = ExternalName::user(func.declare_imported_user_function(name));
        func.import_function(ExtFuncData { name, signature, colocated: true, patchable: false })
    }

    /// Compiles a promised function.
    pub fn define(&mut self, id: FunctionId, name: &str, func: Function) -> Result<(), JitError> {
        let isa = if func.dfg.num_values() > LONG { &self.long } else { &self.short };
        if self.options.text {
            self.texts.push((name.to_owned(), func.display().to_string()));
        }
        let failed = |reason: String| JitError::Function { function: name.to_owned(), reason };
        if self.options.verify {
            cranelift_codegen::verify_function(&func, isa.flags())
                .map_err(|e| failed(format!("{e}\n{}", func.display())))?;
        }
        self.context.clear();
        self.context.func = func;
        self.context
            .compile(&**isa, &mut ControlPlane::default())
            .map_err(|e| failed(format!("{:?}", e.inner)))?;
        let code = self.context.compiled_code().expect("just compiled");
        let align = u64::from(code.buffer.alignment).max(16);
        self.align = self.align.max(align);
        let start = self.bytes.len().next_multiple_of(align as usize);
        self.bytes.resize(start, 0);
        self.bytes.extend_from_slice(code.code_buffer());
        let start = u32::try_from(start).map_err(|_| failed("over 4 GiB of code".to_owned()))?;
        self.starts[id.0 as usize] = Some(start);
        for reloc in code.buffer.relocs() {
            let whole = FuncId::from_u32(0);
            let mut reloc = ModuleReloc::from_mach_reloc(reloc, &self.context.func, whole);
            reloc.offset += start;
            if let ModuleRelocTarget::FunctionOffset(_, offset) = &mut reloc.name {
                *offset += start;
            }
            self.relocs.push(reloc);
        }
        Ok(())
    }

    /// Places everything in executable memory.
    pub fn finish(mut self, entry: FunctionId, pinned: Pinned) -> Result<Code, JitError> {
        let failed = |e: cranelift_module::ModuleError| JitError::Memory(e.to_string());
        let starts = &self.starts;
        let start = |id: u32| starts[id as usize].expect("every promised function is defined");
        let signature = self.signature();
        let builder = JITBuilder::with_isa(self.short.clone(), default_libcall_names());
        let mut memory = Memory::new(JITModule::new(builder));
        let module = memory.module();
        let whole = module.declare_anonymous_function(&signature).map_err(failed)?;
        for reloc in &mut self.relocs {
            match reloc.name {
                ModuleRelocTarget::User { index, .. } => {
                    reloc.name = ModuleRelocTarget::FunctionOffset(whole, start(index));
                }
                ModuleRelocTarget::FunctionOffset(_, offset) => {
                    reloc.name = ModuleRelocTarget::FunctionOffset(whole, offset);
                }
                _ => {}
            }
        }
        module
            .define_function_bytes(whole, self.align, &self.bytes, &self.relocs)
            .map_err(failed)?;
        module.finalize_definitions().map_err(failed)?;
        let address = module.get_finalized_function(whole).wrapping_add(start(entry.0) as usize);
        // SAFETY: at that address is a function made with this signature and
        // the platform's calling convention.
        let entry = unsafe { std::mem::transmute::<*const u8, Entry>(address) };
        Ok(Code {
            entry,
            bytes: self.bytes.len(),
            texts: self.texts,
            _memory: memory,
            _pinned: pinned,
        })
    }
}

/// A name for error messages and texts.
pub(crate) fn part_name(plan: &Plan, id: FunctionId) -> String {
    format!("{}.{}", plan.name, id.0)
}
