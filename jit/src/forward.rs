//! What straight-line code knows of memory: the value last loaded from or
//! stored to an element, so that one kernel's result reaches the next in a
//! register.
//!
//! Only recent values are forwarded. A value kept in a register over hundreds
//! of instructions is spilled anyway, and makes register allocation slow.

use backstitch_ir::index::Idx;
use backstitch_ir::nest::{At, Param};
use backstitch_ir::plan::{Buffer, BufferRef};
use cranelift_codegen::ir::Value;
use rustc_hash::FxHashMap;

/// How many values later a value is not forwarded any more.
const REACH: usize = 64;

/// Elements with known values.
#[derive(Default)]
pub(crate) struct Forward {
    /// By buffer and element; the number is when it became known.
    known: FxHashMap<Buffer, FxHashMap<i64, (Value, usize)>>,
    /// What the parameters of the current kernel are.
    params: Vec<BufferRef>,
}

impl Forward {
    /// Begins a kernel with these arguments.
    pub fn begin(&mut self, args: &[BufferRef]) {
        self.params.clear();
        self.params.extend_from_slice(args);
    }

    /// The value of an element of a parameter, if it is known.
    pub fn get(&self, param: Param, at: &At, now: usize) -> Option<Value> {
        let (buffer, element) = self.element(param, at)?;
        self.get_element(buffer, element, now)
    }

    /// The value of an element of a buffer, if it is known.
    pub fn get_element(&self, buffer: Buffer, element: i64, now: usize) -> Option<Value> {
        let &(value, made) = self.known.get(&buffer)?.get(&element)?;
        (now - made < REACH).then_some(value)
    }

    /// An element was loaded.
    pub fn loaded(&mut self, param: Param, at: &At, value: Value, now: usize) {
        if let Some((buffer, element)) = self.element(param, at) {
            self.known.entry(buffer).or_default().insert(element, (value, now));
        }
    }

    /// An element was stored.
    pub fn stored(&mut self, param: Param, at: &At, value: Value, now: usize) {
        match self.element(param, at) {
            Some(_) => self.loaded(param, at, value, now),
            None => self.forget(self.params[param.index()].buffer),
        }
    }

    /// A buffer was written by something else.
    pub fn forget(&mut self, buffer: Buffer) {
        self.known.remove(&buffer);
    }

    /// Another block begins.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    fn element(&self, param: Param, at: &At) -> Option<(Buffer, i64)> {
        let arg = self.params[param.index()];
        (at.index.is_none() && at.strides.is_empty())
            .then(|| (arg.buffer, arg.offset as i64 + at.offset))
    }
}
