//! The interpreter as a device: the oracle, and the last resort.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::Arc;

use backstitch_ir::eval_plan::eval_plan;
use backstitch_ir::plan::Plan;
use backstitch_ir::routine;
use backstitch_ir::{Array, Element, Type, with_array, with_dtype};

use crate::device::{Device, Program};
use crate::error::Error;
use crate::workspace::{Memory, Needs};

/// Runs plans one operation at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interpreter;

struct Interpreted(Arc<Plan>);

impl Device for Interpreter {
    fn load(&self, plan: &Arc<Plan>) -> Result<Box<dyn Program>, Error> {
        Ok(Box::new(Interpreted(plan.clone())))
    }
}

impl Program for Interpreted {
    fn device(&self) -> &'static str {
        "interpreter"
    }

    /// Nothing: it makes its own memory for each call.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    unsafe fn run(
        &self,
        _memory: &mut Memory,
        inputs: &[*const u8],
        outputs: &[*mut u8],
    ) -> Result<(), Error> {
        let plan = &self.0;
        // SAFETY: inputs are of the plan's types.
        let read = |(ty, &data)| unsafe { read(ty, data) };
        let inputs: Vec<Array> = plan.inputs.iter().zip(inputs).map(read).collect();
        let run = || routine::watch(|| eval_plan(plan, &inputs));
        let (results, raised) =
            catch_unwind(AssertUnwindSafe(run)).map_err(|_| Error::Internal {
                plan: plan.name.clone(),
                reason: "the interpreter panicked".to_owned(),
            })?;
        for (result, &to) in results.iter().zip(outputs) {
            // SAFETY: outputs are of the plan's types, and so are the results.
            unsafe { write(result, to) };
        }
        raised.map_or(Ok(()), |raised| Err(raised.into()))
    }
}

unsafe fn read(ty: &Type, data: *const u8) -> Array {
    with_dtype!(ty.dtype, T => {
        // SAFETY: there are that many elements of that type.
        let data = unsafe { slice::from_raw_parts(data.cast::<T>(), ty.len()) };
        Array::from_vec(&ty.shape, data.to_vec()).expect("as many elements as the type has")
    })
}

unsafe fn write(array: &Array, to: *mut u8) {
    with_array!(&array.standard(), a => {
        let from = a.as_slice().expect("standard layout");
        // SAFETY: there is room for the elements, which are in fresh memory.
        unsafe { copy(from, to) };
    })
}

unsafe fn copy<T: Element>(from: &[T], to: *mut u8) {
    // SAFETY: as required.
    unsafe { to.copy_from_nonoverlapping(from.as_ptr().cast(), size_of_val(from)) };
}
