//! Devices: what a plan can run on.
//!
//! A device takes a whole plan, not one operation at a time, so that what is
//! between operations (memory, order, loops) is the device's to arrange.

use std::sync::Arc;

use backstitch_ir::plan::Plan;
use backstitch_jit::JitError;

use crate::cpu::Cpu;
use crate::error::Error;
use crate::interpreter::Interpreter;
use crate::workspace::{Memory, Needs};

/// Something that runs plans.
pub trait Device {
    /// Makes a plan ready to run.
    fn load(&self, plan: &Arc<Plan>) -> Result<Box<dyn Program>, Error>;
}

/// A plan made ready to run by a device.
pub trait Program: Send + Sync {
    /// On what it runs.
    fn device(&self) -> &'static str;

    /// What memory it works in.
    fn needs(&self) -> Needs;

    /// Bytes of machine code.
    fn code_bytes(&self) -> usize {
        0
    }

    /// How many functions that is.
    fn functions(&self) -> usize {
        0
    }

    /// How many of these are vector code of full width.
    fn wide_functions(&self) -> usize {
        0
    }

    /// Runs it.
    ///
    /// # Safety
    ///
    /// `inputs` and `outputs` are as many as the plan has, each the address of
    /// all elements of its type. Those of a donated input and of its output are one. For as
    /// long as this runs, nobody writes the other inputs, and outputs are neither read nor
    /// written by anybody else. `memory` fits what the program needs.
    unsafe fn run(
        &self,
        memory: &mut Memory,
        inputs: &[*const u8],
        outputs: &[*mut u8],
    ) -> Result<(), Error>;
}

/// Which device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Backend {
    /// Machine code where there is a code generator, otherwise the interpreter.
    #[default]
    Auto,
    /// Machine code for this processor.
    Cpu,
    /// The reference: slow, and the meaning of a plan.
    Interpreter,
}

impl Backend {
    /// Makes a plan ready to run on it.
    pub(crate) fn load(
        self,
        plan: &Arc<Plan>,
        options: backstitch_jit::Options,
    ) -> Result<Box<dyn Program>, Error> {
        let cpu = Cpu { options };
        match self {
            Self::Cpu => cpu.load(plan),
            Self::Interpreter => Interpreter.load(plan),
            Self::Auto => match cpu.load(plan) {
                Err(Error::Compile(JitError::Host(_))) => Interpreter.load(plan),
                loaded => loaded,
            },
        }
    }
}
