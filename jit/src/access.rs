//! Buffers in a function of steps: in registers, or where in memory.

use backstitch_ir::index::Idx;
use backstitch_ir::plan::{Buffer, BufferRef, Place};
use backstitch_ir::threshold;
use cranelift_codegen::ir::{Type, Value, types};
use smallvec::SmallVec;

use crate::asm::{Addr, Memory, WORD};
use crate::host;
use crate::moving::Elsewhere;
use crate::part::PartEmitter;
use crate::scalar::clif_type;

/// Buffers up to this size are copied without a call.
pub(crate) const SMALL_COPY: usize = threshold(128, 16);

/// How many values later a pointer is loaded again.
const POINTER_REACH: usize = threshold(128, 4);

impl PartEmitter<'_, '_, '_> {
    // ---- Places ----

    /// Bytes of a buffer.
    pub fn bytes(&self, buffer: Buffer) -> usize {
        let decl = &self.steps.plan.buffers[buffer];
        decl.len * decl.dtype.size()
    }

    /// Where a buffer is.
    pub fn buffer(&mut self, buffer: Buffer) -> Addr {
        match self.elsewhere.get(&buffer) {
            Some(&Elsewhere::At(at)) => return at,
            Some(&Elsewhere::Variable(at)) => return Addr { base: self.asm.read(at), disp: 0 },
            None => {}
        }
        let plan = self.steps.plan;
        let (table, number) = match plan.buffers[buffer].place {
            Place::Arena(at) => return Addr { base: self.arena, disp: at as i64 },
            Place::Constant(_) => {
                let at = self.steps.constants[buffer.index()].expect("a constant's address");
                return Addr { base: self.asm.int(at as i64), disp: 0 };
            }
            Place::Input(i) => (self.inputs, i),
            Place::Output(i) | Place::Donated { output: i, .. } => (self.outputs, i),
        };
        if let Some(&base) = self.held.get(&buffer) {
            return Addr { base, disp: 0 };
        }
        let now = self.asm.values();
        if let Some(&(base, made)) = self.pointers.get(&buffer)
            && now - made < POINTER_REACH
        {
            return Addr { base, disp: 0 };
        }
        let at = Addr { base: table, disp: 8 * number as i64 };
        let base = self.asm.load(WORD, at, Memory::Fixed);
        self.pointers.insert(buffer, (base, now));
        Addr { base, disp: 0 }
    }

    /// Where an element of a buffer is.
    pub fn element(&mut self, at: BufferRef) -> Addr {
        let size = self.steps.plan.buffers[at.buffer].dtype.size();
        self.buffer(at.buffer).plus((at.offset * size) as i64)
    }

    pub fn pointer(&mut self, buffer: Buffer) -> Value {
        let at = self.buffer(buffer);
        self.asm.address(at)
    }

    // ---- Contents ----

    /// The first element of a buffer.
    pub fn scalar(&mut self, buffer: Buffer) -> Value {
        self.read(buffer, 0)
    }

    /// An element of a buffer.
    pub fn read(&mut self, buffer: Buffer, i: usize) -> Value {
        self.forward.registers.know(self.steps.plan, buffer);
        if let Some(value) = self.forward.get_element(&mut self.asm, buffer, i as i64) {
            return value;
        }
        let at = self.element(BufferRef { buffer, offset: i });
        let ty = clif_type(self.steps.plan.buffers[buffer].dtype);
        self.asm.load(ty, at, Memory::Changing)
    }

    /// Sets an element of a buffer.
    pub fn write(&mut self, buffer: Buffer, i: usize, value: Value) {
        if let Some(variable) = self.forward.registers.variable(buffer, i as i64) {
            return self.asm.define(variable, value);
        }
        let at = self.element(BufferRef { buffer, offset: i });
        self.asm.store(value, at);
        self.forward.forget(buffer);
    }

    /// Whether a buffer is in registers.
    pub fn in_registers(&self, buffer: Buffer) -> bool {
        self.forward.registers.has(buffer)
    }

    /// Stores those of these buffers that are in registers where they are in memory.
    pub fn spill(&mut self, buffers: &[Buffer]) {
        for &buffer in
            buffers.iter().filter(|&&b| self.forward.registers.has(b)).collect::<SmallVec<[_; 8]>>()
        {
            let decl = &self.steps.plan.buffers[buffer];
            let at = self.buffer(buffer);
            for i in 0..decl.len {
                let value = self.read(buffer, i);
                self.asm.store(value, at.plus((i * decl.dtype.size()) as i64));
            }
        }
    }

    /// Loads a buffer that is in registers from where it is in memory.
    pub fn reload(&mut self, buffer: Buffer) {
        if self.in_registers(buffer) {
            let at = self.buffer(buffer);
            self.set(buffer, at);
        }
    }

    /// Sets a buffer to what is at an address.
    pub fn set(&mut self, buffer: Buffer, from: Addr) {
        if self.in_registers(buffer) {
            let decl = &self.steps.plan.buffers[buffer];
            for i in 0..decl.len {
                let at = from.plus((i * decl.dtype.size()) as i64);
                let value = self.asm.load(clif_type(decl.dtype), at, Memory::Changing);
                self.write(buffer, i, value);
            }
        } else {
            let to = self.buffer(buffer);
            self.copy_bytes(from, to, self.bytes(buffer));
            self.forward.forget(buffer);
        }
    }

    /// Stores a buffer at an address.
    pub fn save(&mut self, buffer: Buffer, to: Addr) {
        if self.in_registers(buffer) {
            let decl = &self.steps.plan.buffers[buffer];
            for i in 0..decl.len {
                let value = self.read(buffer, i);
                self.asm.store(value, to.plus((i * decl.dtype.size()) as i64));
            }
        } else {
            let from = self.buffer(buffer);
            self.copy_bytes(from, to, self.bytes(buffer));
        }
    }

    /// A buffer was written in memory.
    pub fn written(&mut self, buffer: Buffer) {
        self.forward.forget(buffer);
        self.reload(buffer);
    }

    /// Sets one buffer to another.
    pub fn copy(&mut self, from: Buffer, to: Buffer) {
        if self.in_registers(from) || self.in_registers(to) {
            let len = self.steps.plan.buffers[to].len;
            let values: SmallVec<[Value; 8]> = (0..len).map(|i| self.read(from, i)).collect();
            for (i, value) in values.into_iter().enumerate() {
                self.write(to, i, value);
            }
            return;
        }
        let (source, target) = (self.buffer(from), self.buffer(to));
        self.copy_bytes(source, target, self.bytes(to));
        self.forward.forget(to);
    }

    /// Copies so many bytes.
    pub fn copy_bytes(&mut self, source: Addr, target: Addr, bytes: usize) {
        if bytes <= SMALL_COPY {
            let pieces: SmallVec<[(Value, i64); 8]> = pieces(bytes)
                .into_iter()
                .map(|(at, ty)| (self.asm.load(ty, source.plus(at), Memory::Changing), at))
                .collect();
            for (value, at) in pieces {
                self.asm.store(value, target.plus(at));
            }
        } else {
            let (source, target) = (self.asm.address(source), self.asm.address(target));
            let bytes = self.asm.int(bytes as i64);
            self.asm.call_host(host::copy as *const (), &[target, source, bytes], None);
        }
    }
}

/// So many bytes as registers, with their offsets.
fn pieces(bytes: usize) -> SmallVec<[(i64, Type); 8]> {
    let mut at = 0;
    let mut out = SmallVec::new();
    for ty in [types::I8X16, types::I64, types::I32, types::I16, types::I8] {
        while bytes - at >= ty.bytes() as usize {
            out.push((at as i64, ty));
            at += ty.bytes() as usize;
        }
    }
    out
}
