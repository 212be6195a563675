//! Calls whose arrays come one by one.
//!
//! A structure of arguments is walked leaf by leaf; a [`Binding`] takes each as it
//! comes, compares it with the plan, and keeps its address in the workspace. No
//! list of views is made on the way.

use backstitch_ir::{DType, Type};

use crate::error::{Error, Side};
use crate::executable::Executable;
use crate::workspace::Workspace;

/// A call in the making: made by [`Executable::bind`].
pub struct Binding<'a> {
    executable: &'a Executable,
    ws: &'a mut Workspace,
    inputs: usize,
    outputs: usize,
    wrong: Option<Error>,
}

impl<'a> Binding<'a> {
    pub(crate) fn new(executable: &'a Executable, ws: &'a mut Workspace) -> Self {
        Self { executable, ws, inputs: 0, outputs: 0, wrong: None }
    }

    /// The next input.
    ///
    /// # Safety
    /// The address is that of all elements of that type, row-major, and nobody
    /// writes them until the call is over.
    #[inline]
    pub unsafe fn input(&mut self, dtype: DType, dims: &[usize], at: *const u8) {
        let (i, types) = (self.inputs, self.executable.inputs());
        self.inputs += 1;
        if types.get(i).is_some_and(|ty| same(ty, dtype, dims)) {
            self.ws.inputs[i] = at;
        } else {
            self.refuse(Side::Input, i, dtype, dims);
        }
    }

    /// The next output.
    ///
    /// # Safety
    /// The address is that of all elements of that type, row-major, and nobody
    /// else reads or writes them until the call is over.
    #[inline]
    pub unsafe fn output(&mut self, dtype: DType, dims: &[usize], at: *mut u8) {
        let (i, types) = (self.outputs, self.executable.outputs());
        self.outputs += 1;
        if types.get(i).is_some_and(|ty| same(ty, dtype, dims)) {
            self.ws.outputs[i] = at;
        } else {
            self.refuse(Side::Output, i, dtype, dims);
        }
    }

    /// Makes the call fail with this error, unless it has failed before.
    #[cold]
    pub fn fail(&mut self, error: Error) {
        self.wrong.get_or_insert(error);
    }

    #[cold]
    fn refuse(&mut self, side: Side, index: usize, dtype: DType, dims: &[usize]) {
        let types = match side {
            Side::Input => self.executable.inputs(),
            Side::Output => self.executable.outputs(),
        };
        // Too many arrays are reported once they have been counted.
        if let Some(want) = types.get(index) {
            let types = Box::new((want.clone(), Type::new(dtype, dims)));
            self.fail(Error::Type { side, index, types });
        }
    }

    /// Calls the executable.
    ///
    /// # Errors
    /// If an array was missing, superfluous, or of another type; or if the run
    /// fails. After an error during the run, outputs hold anything.
    #[inline]
    pub fn call(self) -> Result<(), Error> {
        let (inputs, outputs) = (self.executable.inputs().len(), self.executable.outputs().len());
        if self.wrong.is_some() || self.inputs != inputs || self.outputs != outputs {
            return Err(self.error());
        }
        // SAFETY: every address was promised to be that of an array of its type.
        unsafe { self.executable.run(self.ws) }
    }

    #[cold]
    fn error(self) -> Error {
        let count = |side, got, types: &[Type]| {
            let expected = types.len();
            (got != expected).then_some(Error::Count { side, expected, got })
        };
        count(Side::Input, self.inputs, self.executable.inputs())
            .or_else(|| count(Side::Output, self.outputs, self.executable.outputs()))
            .or(self.wrong)
            .expect("a call is refused for a reason")
    }
}

#[inline]
fn same(ty: &Type, dtype: DType, dims: &[usize]) -> bool {
    let want = ty.dims();
    ty.dtype == dtype && want.len() == dims.len() && want.iter().zip(dims).all(|(a, b)| a == b)
}
