//! This processor, through machine code.

use std::ptr;
use std::sync::Arc;

use backstitch_ir::plan::{Plan, Step};
use backstitch_ir::routine;
use backstitch_jit::{Code, Externs, Options};

use crate::device::{Device, Program};
use crate::error::Error;
use crate::stores::{self, Failure};
use crate::workspace::{Memory, Needs};
use crate::{guard, matmul, routines, threads};

/// This processor.
#[derive(Clone, Debug, Default)]
pub struct Cpu {
    /// How to compile.
    pub options: Options,
}

/// The functions that machine code calls.
const EXTERNS: Externs = Externs {
    gemm: matmul::gemm,
    fork: threads::fork,
    call: routines::call,
    grow: stores::grow,
    push: stores::push,
    pop: stores::pop,
    refuse: stores::refuse,
};

struct Compiled {
    plan: Arc<Plan>,
    code: Code,
    /// Whether stacks, matrix products or routines are in it: something may then
    /// go wrong.
    calls: bool,
}

impl Device for Cpu {
    fn load(&self, plan: &Arc<Plan>) -> Result<Box<dyn Program>, Error> {
        let code = backstitch_jit::compile(plan, &EXTERNS, &self.options)?;
        let calls = !plan.stores.is_empty()
            || any(&plan.steps, &|s| matches!(s, Step::Gemm(_) | Step::Call(_)));
        Ok(Box::new(Compiled { plan: plan.clone(), code, calls }))
    }
}

/// Whether a step, or one inside, is so.
fn any(steps: &[Step], is: &impl Fn(&Step) -> bool) -> bool {
    steps.iter().any(|s| {
        is(s)
            || match s {
                Step::If { then, els, .. } => any(then, is) || any(els, is),
                Step::While { head, body, .. } => any(head, is) || any(body, is),
                Step::Repeat { body, .. } | Step::Scan { body, .. } => any(body, is),
                _ => false,
            }
    })
}

impl Program for Compiled {
    fn device(&self) -> &'static str {
        "cpu"
    }

    fn needs(&self) -> Needs {
        Needs {
            arena_bytes: self.plan.arena_bytes,
            stores: self.plan.stores.iter().copied().collect(),
        }
    }

    fn code_bytes(&self) -> usize {
        self.code.code_bytes()
    }

    fn functions(&self) -> usize {
        self.code.functions()
    }

    fn wide_functions(&self) -> usize {
        self.code.wide_functions()
    }

    #[inline]
    unsafe fn run(
        &self,
        memory: &mut Memory,
        inputs: &[*const u8],
        outputs: &[*mut u8],
    ) -> Result<(), Error> {
        if self.calls {
            // SAFETY: as the caller promises.
            return unsafe { self.run_guarded(memory, inputs, outputs) };
        }
        // SAFETY: as the caller promises.
        match unsafe { self.enter(memory, inputs, outputs) } {
            0 => Ok(()),
            status => self.judge(status, memory),
        }
    }
}

impl Compiled {
    /// Runs what may call functions in which something goes wrong. Apart, because programs
    /// that call nothing may take less time than it takes to make room for this.
    ///
    /// # Safety
    ///
    /// As [`Program::run`].
    #[inline(never)]
    unsafe fn run_guarded(
        &self,
        memory: &mut Memory,
        inputs: &[*const u8],
        outputs: &[*mut u8],
    ) -> Result<(), Error> {
        memory.stores.begin();
        guard::begin();
        // SAFETY: as the caller promises.
        let status = unsafe { self.enter(memory, inputs, outputs) };
        self.judge(status, memory)
    }

    /// The machine code.
    ///
    /// # Safety
    ///
    /// As [`Program::run`].
    #[inline(always)]
    unsafe fn enter(&self, memory: &mut Memory, inputs: &[*const u8], outputs: &[*mut u8]) -> i32 {
        let ctx = ptr::from_mut(&mut memory.stores).cast();
        let (inputs, outputs, arena) = (inputs.as_ptr(), outputs.as_ptr(), memory.arena.start());
        // SAFETY: as the caller promises; the arena has the plan's size and
        // alignment, and `ctx` is what the functions above expect.
        unsafe { self.code.call(inputs, outputs, arena, ctx) }
    }

    /// What the functions called have left behind.
    #[inline(never)]
    fn judge(&self, status: i32, memory: &Memory) -> Result<(), Error> {
        let internal = |reason: &str| {
            Err(Error::Internal { plan: self.plan.name.clone(), reason: reason.to_owned() })
        };
        match memory.stores.failure() {
            Some(Failure::Memory(bytes)) => Err(Error::Memory { what: "a stack", bytes }),
            Some(Failure::Limit { bytes, limit }) => Err(Error::StackLimit { bytes, limit }),
            Some(Failure::Plan(reason)) => internal(reason),
            None if guard::panicked() => internal("a library routine panicked"),
            None if status != 0 => internal("the machine code gave up without a reason"),
            None => routine::take().map_or(Ok(()), |raised| Err(raised.into())),
        }
    }
}
