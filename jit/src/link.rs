//! From functions to executable memory.
//!
//! The functions of a plan are compiled apart, and laid out in a single block
//! of memory in the order of their numbers, so that they reach each other
//! with near calls and a plan takes one mapping.

use backstitch_ir::plan::Plan;
use cranelift_codegen::ir::{
    ExtFuncData, ExternalName, FuncRef, Function, Signature, UserExternalName, UserFuncName,
};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Module, ModuleReloc, ModuleRelocTarget, default_libcall_names};

use crate::code::{Code, Entry, Memory, Pinned};
use crate::compile::{Compiled, Crew, Job, whole};
use crate::error::JitError;
use crate::isa::Features;
use crate::{Options, asm::Asm};

/// The number of a function of this plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct FunctionId(u32);

/// Collects the functions of a plan.
pub(crate) struct Linker {
    crew: Crew,
    /// How many functions are promised.
    promised: usize,
    /// Name and text of each function, if they are wanted.
    texts: Option<Vec<(String, String)>>,
    /// How many functions came as machine code.
    wide: usize,
}

impl Linker {
    pub fn new(options: &Options) -> Result<Self, JitError> {
        let texts = options.text.then(Vec::new);
        Ok(Self { crew: Crew::new(options)?, promised: 0, texts, wide: 0 })
    }

    /// What instructions there are.
    pub fn features(&self) -> Features {
        Features::of(self.crew.isa())
    }

    /// A signature with the platform's calling convention.
    pub fn signature(&self) -> Signature {
        Signature::new(self.crew.isa().default_call_conv())
    }

    /// What the function builder needs to know of the target.
    pub fn frontend_config(&self) -> TargetFrontendConfig {
        self.crew.isa().frontend_config()
    }

    /// Promises a function.
    pub fn declare(&mut self) -> FunctionId {
        let id = FunctionId(u32::try_from(self.promised).expect("fewer than 2^32 functions"));
        self.promised += 1;
        id
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

    /// Keeps a promise. `repeats` says whether the function has loops, or is called in one.
    pub fn define(&mut self, id: FunctionId, name: String, func: Function, repeats: bool) {
        if let Some(texts) = &mut self.texts {
            texts.push((name.clone(), func.display().to_string()));
        }
        self.crew.add(Job { number: id.0 as usize, name, func, repeats });
    }

    /// Keeps a promise with machine code that calls nothing.
    pub fn define_bytes(&mut self, id: FunctionId, name: &str, bytes: Vec<u8>, align: usize) {
        if let Some(texts) = &mut self.texts {
            let text = format!("; {} bytes of vector code that is not Cranelift's\n", bytes.len());
            texts.push((name.to_owned(), text));
        }
        self.wide += 1;
        self.crew.put(id.0 as usize, Compiled { bytes, align, relocs: Vec::new() });
    }

    /// Places everything in executable memory.
    pub fn finish(self, entry: FunctionId, pinned: Pinned) -> Result<Code, JitError> {
        let failed = |e: cranelift_module::ModuleError| JitError::Memory(e.to_string());
        let (isa, signature) = (self.crew.isa().clone(), self.signature());
        let (texts, wide) = (self.texts.unwrap_or_default(), self.wide);
        let image = Image::new(self.crew.finish()?, self.promised)?;
        let builder = JITBuilder::with_isa(isa, default_libcall_names());
        let mut memory = Memory::new(JITModule::new(builder));
        let module = memory.module();
        let block = module.declare_anonymous_function(&signature).map_err(failed)?;
        assert_eq!(block, whole(), "the first function of a module");
        module
            .define_function_bytes(block, image.align as u64, &image.bytes, &image.relocs)
            .map_err(failed)?;
        module.finalize_definitions().map_err(failed)?;
        let start = image.starts[entry.0 as usize] as usize;
        let address = module.get_finalized_function(block).wrapping_add(start);
        // SAFETY: at that address is a function made with this signature and
        // the platform's calling convention.
        let entry = unsafe { std::mem::transmute::<*const u8, Entry>(address) };
        let (bytes, functions) = (image.bytes.len(), image.starts.len());
        Ok(Code { entry, bytes, functions, wide, texts, _memory: memory, _pinned: pinned })
    }
}

/// All functions in one block.
struct Image {
    bytes: Vec<u8>,
    align: usize,
    /// Where each function begins.
    starts: Vec<u32>,
    /// Calls between functions are to an offset in the block.
    relocs: Vec<ModuleReloc>,
}

impl Image {
    fn new(codes: Vec<Compiled>, promised: usize) -> Result<Self, JitError> {
        assert_eq!(codes.len(), promised, "every promised function is defined");
        let align = codes.iter().map(|c| c.align).fold(16, usize::max);
        let (mut bytes, mut starts) = (Vec::new(), Vec::with_capacity(codes.len()));
        for code in &codes {
            bytes.resize(bytes.len().next_multiple_of(code.align.max(16)), 0);
            starts.push(bytes.len());
            bytes.extend_from_slice(&code.bytes);
        }
        if u32::try_from(bytes.len()).is_err() {
            return Err(JitError::Memory("over 4 GiB of code".to_owned()));
        }
        let starts: Vec<u32> = starts.into_iter().map(|s| s as u32).collect();
        let mut relocs: Vec<ModuleReloc> = Vec::new();
        for (code, &start) in codes.into_iter().zip(&starts) {
            relocs.extend(code.relocs.into_iter().map(|mut reloc| {
                reloc.offset += start;
                match &mut reloc.name {
                    ModuleRelocTarget::User { index, .. } => {
                        let callee = starts[*index as usize];
                        reloc.name = ModuleRelocTarget::FunctionOffset(whole(), callee);
                    }
                    ModuleRelocTarget::FunctionOffset(_, offset) => *offset += start,
                    _ => {}
                }
                reloc
            }));
        }
        Ok(Self { bytes, align, starts, relocs })
    }
}

/// A name for error messages and texts.
pub(crate) fn part_name(plan: &Plan, id: FunctionId) -> String {
    format!("{}.{}", plan.name, id.0)
}

#[cfg(test)]
mod tests {
    use cranelift_codegen::ir::{AbiParam, InstBuilder, types};
    use cranelift_frontend::FunctionBuilderContext;

    use super::*;

    /// Functions of many lengths, each of which calls the one before.
    fn image(threads: usize) -> Image {
        let options = Options { threads: Some(threads), ..Options::default() };
        let mut linker = Linker::new(&options).expect("a host");
        let mut signature = linker.signature();
        signature.params.push(AbiParam::new(types::F64));
        signature.returns.push(AbiParam::new(types::F64));
        let mut context = FunctionBuilderContext::new();
        let mut last = None;
        for i in 0..60usize {
            let id = linker.declare();
            let mut func = linker.function(id, signature.clone());
            let mut asm = Asm::new(&mut func, &mut context, linker.features());
            let mut x = asm.enter()[0];
            for k in 0..i * 53 % 401 + i / 59 * 4000 {
                let c = asm.ins().f64const(k as f64);
                x = asm.ins().fadd(x, c);
            }
            if let Some(last) = last.replace(id) {
                let callee = Linker::import(&mut asm, last, signature.clone());
                let call = asm.ins().call(callee, &[x]);
                x = asm.func().dfg.first_result(call);
            }
            asm.ins().return_(&[x]);
            asm.finish(linker.frontend_config());
            linker.define(id, format!("f{i}"), func, i % 2 == 0);
        }
        let codes = linker.crew.finish().expect("compiles");
        Image::new(codes, linker.promised).expect("is small")
    }

    #[test]
    fn any_number_of_threads_makes_the_same_code() {
        let relocs = |image: &Image| -> Vec<_> {
            image.relocs.iter().map(|r| (r.offset, r.kind, r.name.to_string(), r.addend)).collect()
        };
        let one = image(1);
        assert!(one.relocs.len() >= 59);
        for threads in [0, 2, 3, 8, 100] {
            let many = image(threads);
            assert_eq!(many.starts, one.starts, "{threads} threads");
            assert_eq!(many.bytes, one.bytes, "{threads} threads");
            assert_eq!(relocs(&many), relocs(&one), "{threads} threads");
        }
    }
}
