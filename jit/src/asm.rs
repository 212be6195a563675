//! Appending instructions to a function: a thin layer over Cranelift's builder.
//!
//! Values of kernels are in SSA form from the start, so that no variables need
//! resolving: loops pass what they carry as block parameters. What loops over steps
//! carry is in variables, which Cranelift's builder makes block parameters of. It can do
//! so when a block is sealed: when all that go to it are known, at the latest at the end.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, ConstantData, Function, InstBuilder, MemFlagsData, SigRef,
    Signature, StackSlot, StackSlotData, StackSlotKind, Type, Value, types,
};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FuncInstBuilder, FunctionBuilder, FunctionBuilderContext, Variable};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use backstitch_ir::DType;
use backstitch_ir::nest::Const;

use crate::isa::Features;

/// Pointers and indices.
pub(crate) const WORD: Type = types::I64;

/// A place in memory: a base and a displacement in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addr {
    pub base: Value,
    pub disp: i64,
}

impl Addr {
    /// The place so many bytes further.
    pub fn plus(self, bytes: i64) -> Self {
        Self { disp: self.disp.wrapping_add(bytes), ..self }
    }
}

/// Whether what a load reads can change while the function runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Memory {
    Fixed,
    Changing,
}

/// Argument and result types of functions outside the module.
type Shape = (SmallVec<[Type; 4]>, Option<Type>);

/// A function being written.
pub(crate) struct Asm<'f> {
    builder: FunctionBuilder<'f>,
    shapes: FxHashMap<Shape, SigRef>,
    /// The last vector of zeros, and how many values there were.
    zeros: Option<(Type, Value, usize)>,
    /// What instructions there are.
    pub features: Features,
}

impl<'f> Asm<'f> {
    /// For an empty function. The context is only room to work in: it is empty
    /// before and after.
    pub fn new(
        func: &'f mut Function,
        context: &'f mut FunctionBuilderContext,
        features: Features,
    ) -> Self {
        let builder = FunctionBuilder::new(func, context);
        Self { builder, shapes: FxHashMap::default(), zeros: None, features }
    }

    /// Ends the function: every block is complete.
    pub fn finish(mut self, config: TargetFrontendConfig) {
        self.builder.seal_all_blocks();
        self.builder.finalize(config);
    }

    /// The function itself.
    pub fn func(&mut self) -> &mut Function {
        self.builder.func
    }

    /// Number of values so far: a measure of size and of distance.
    pub fn values(&self) -> usize {
        self.builder.func.dfg.num_values()
    }

    /// Appends an instruction to the current block.
    pub fn ins(&mut self) -> FuncInstBuilder<'_, 'f> {
        self.builder.ins()
    }

    // ---- Blocks ----

    /// A new block with parameters of these types, not yet placed.
    pub fn block(&mut self, params: &[Type]) -> Block {
        let block = self.builder.create_block();
        for &ty in params {
            self.builder.append_block_param(block, ty);
        }
        block
    }

    /// Goes to a new block that takes the function's arguments: the first one.
    pub fn enter(&mut self) -> SmallVec<[Value; 8]> {
        let block = self.builder.create_block();
        self.builder.append_block_params_for_function_params(block);
        self.place(block);
        self.params(block)
    }

    /// A block's parameters.
    pub fn params(&self, block: Block) -> SmallVec<[Value; 8]> {
        SmallVec::from_slice(self.builder.block_params(block))
    }

    /// Places a block and goes on there.
    pub fn place(&mut self, block: Block) {
        self.zeros = None;
        self.builder.switch_to_block(block);
    }

    pub fn jump(&mut self, to: Block, args: &[Value]) {
        let args: SmallVec<[BlockArg; 8]> = args.iter().map(|&v| v.into()).collect();
        self.ins().jump(to, &args);
    }

    pub fn branch(&mut self, cond: Value, then: (Block, &[Value]), els: (Block, &[Value])) {
        let args = |vs: &[Value]| vs.iter().map(|&v| v.into()).collect::<SmallVec<[BlockArg; 8]>>();
        let (a, b) = (args(then.1), args(els.1));
        self.ins().brif(cond, then.0, &a, els.0, &b);
    }

    /// All branches to a block are there.
    pub fn seal(&mut self, block: Block) {
        self.builder.seal_block(block);
    }

    /// A block that is hardly ever run.
    pub fn cold(&mut self, block: Block) {
        self.builder.set_cold_block(block);
    }

    // ---- Variables ----

    /// A new variable.
    pub fn variable(&mut self, ty: Type) -> Variable {
        self.builder.declare_var(ty)
    }

    /// Its value here.
    pub fn read(&mut self, variable: Variable) -> Value {
        self.builder.use_var(variable)
    }

    /// Its value from here on.
    pub fn define(&mut self, variable: Variable, value: Value) {
        self.builder.def_var(variable, value);
    }

    // ---- Integers ----

    pub fn int(&mut self, n: i64) -> Value {
        self.ins().iconst(WORD, n)
    }

    /// `x + n`.
    pub fn add_int(&mut self, x: Value, n: i64) -> Value {
        if n == 0 {
            return x;
        }
        let n = self.int(n);
        self.ins().iadd(x, n)
    }

    /// `x · n`.
    pub fn mul_int(&mut self, x: Value, n: i64) -> Value {
        match n {
            1 => x,
            0 => self.int(0),
            n if n > 0 && n.count_ones() == 1 => {
                let by = self.ins().iconst(types::I8, i64::from(n.trailing_zeros()));
                self.ins().ishl(x, by)
            }
            n => {
                let n = self.int(n);
                self.ins().imul(x, n)
            }
        }
    }

    pub fn less(&mut self, a: Value, b: Value) -> Value {
        self.ins().icmp(IntCC::SignedLessThan, a, b)
    }

    // ---- Constants ----

    /// A scalar constant.
    pub fn constant(&mut self, c: Const) -> Value {
        match c.dtype {
            DType::F32 => self.ins().f32const(Ieee32::with_bits(c.bits as u32)),
            DType::F64 => self.ins().f64const(Ieee64::with_bits(c.bits)),
            DType::I32 => self.ins().iconst(types::I32, c.bits as i64),
            DType::I64 => self.ins().iconst(types::I64, c.bits as i64),
            DType::Bool => self.ins().iconst(types::I8, c.bits as i64),
        }
    }

    /// A vector constant of 16 bytes.
    pub fn vector_constant(&mut self, ty: Type, bytes: [u8; 16]) -> Value {
        let data = ConstantData::from(bytes.as_slice());
        let constant = self.func().dfg.constants.insert(data);
        self.ins().vconst(ty, constant)
    }

    /// A vector of zeros: the last one, if that is near.
    pub fn zeros(&mut self, ty: Type) -> Value {
        const NEAR: usize = 48;
        let now = self.values();
        match self.zeros {
            Some((of, value, made)) if of == ty && now - made < NEAR => value,
            _ => {
                let value = self.vector_constant(ty, [0; 16]);
                self.zeros = Some((ty, value, now));
                value
            }
        }
    }

    /// Lanes chosen byte by byte: 0 to 15 from `a`, 16 to 31 from `b`.
    pub fn shuffle(&mut self, ty: Type, a: Value, b: Value, bytes: [u8; 16]) -> Value {
        let a = self.cast(types::I8X16, a);
        let b = self.cast(types::I8X16, b);
        let mask = self.func().dfg.immediates.push(ConstantData::from(bytes.as_slice()));
        let out = self.ins().shuffle(a, b, mask);
        self.cast(ty, out)
    }

    /// The same bits as another type of the same size.
    pub fn cast(&mut self, ty: Type, x: Value) -> Value {
        let from = self.func().dfg.value_type(x);
        if from == ty {
            return x;
        }
        let mut flags = MemFlagsData::new();
        if from.is_vector() || ty.is_vector() {
            // Lane order has to be named where the number of lanes changes.
            flags = flags.with_endianness(cranelift_codegen::ir::Endianness::Little);
        }
        self.ins().bitcast(ty, flags, x)
    }

    // ---- Memory ----

    pub fn load(&mut self, ty: Type, at: Addr, memory: Memory) -> Value {
        let (base, disp) = self.near(at);
        let mut flags = MemFlagsData::new().with_notrap();
        if memory == Memory::Fixed {
            flags = flags.with_readonly().with_can_move();
        }
        if ty.is_vector() && !self.features.unaligned {
            // A cast in between keeps the load from being folded.
            let bytes = self.ins().load(types::I8X16, flags, base, disp);
            return self.cast(ty, bytes);
        }
        self.ins().load(ty, flags, base, disp)
    }

    pub fn store(&mut self, value: Value, at: Addr) {
        let (base, disp) = self.near(at);
        self.ins().store(MemFlagsData::new().with_notrap(), value, base, disp);
    }

    /// The address as one value.
    pub fn address(&mut self, at: Addr) -> Value {
        self.add_int(at.base, at.disp)
    }

    /// With a displacement that fits in an instruction.
    fn near(&mut self, at: Addr) -> (Value, i32) {
        match i32::try_from(at.disp) {
            Ok(disp) => (at.base, disp),
            Err(_) => (self.add_int(at.base, at.disp), 0),
        }
    }

    /// Memory in the frame.
    pub fn slot(&mut self, bytes: usize) -> StackSlot {
        let size = u32::try_from(bytes).expect("a frame under 4 GiB");
        let align = if bytes <= 8 { 3 } else { 4 };
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, size, align);
        self.builder.create_sized_stack_slot(data)
    }

    /// Where it is.
    pub fn slot_address(&mut self, slot: StackSlot) -> Addr {
        Addr { base: self.ins().stack_addr(WORD, slot, 0), disp: 0 }
    }

    // ---- Calls ----

    /// Calls a function outside the module by its address.
    pub fn call_host(
        &mut self,
        function: *const (),
        args: &[Value],
        result: Option<Type>,
    ) -> Option<Value> {
        let builder = &mut self.builder;
        let dfg = &builder.func.dfg;
        let types: SmallVec<[Type; 4]> = args.iter().map(|&a| dfg.value_type(a)).collect();
        let sig = *self.shapes.entry((types, result)).or_insert_with_key(|(params, result)| {
            let mut sig = Signature::new(builder.func.signature.call_conv);
            sig.params.extend(params.iter().map(|&t| AbiParam::new(t)));
            sig.returns.extend(result.iter().map(|&t| AbiParam::new(t)));
            builder.import_signature(sig)
        });
        let callee = self.int(function as usize as i64);
        let call = self.ins().call_indirect(sig, callee, args);
        self.builder.inst_results(call).first().copied()
    }
}
