//! A call whose arguments come one by one.

use backstitch_ir::{DType, Type};

use crate::error::{Error, Side};
use crate::executable::Inner;
use crate::view::{ArrayMut, ArrayRef};
use crate::workspace::Workspace;

/// A call that is being prepared: inputs in order, outputs in order, then `run`.
///
/// This is for callers whose arrays are in a structure that is walked: nothing
/// need be collected. Arguments that do not fit are reported by [`run`](Self::run).
///
/// ```no_run
/// # fn f(exe: &backstitch_runtime::Executable) -> Result<(), backstitch_runtime::Error> {
/// let mut ws = exe.workspace()?;
/// let (x, mut y) = (1.0f64, 0.0f64);
/// let mut call = exe.begin(&mut ws)?;
/// call.input((&x).into());
/// call.output((&mut y).into());
/// call.run()
/// # }
/// ```
#[must_use = "a call does nothing until it is run"]
pub struct Call<'a> {
    pub(crate) exe: &'a Inner,
    pub(crate) ws: &'a mut Workspace,
    /// How many there were.
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// The first mistake.
    pub(crate) wrong: Option<Box<Error>>,
}

impl<'a> Call<'a> {
    /// The next input.
    #[inline]
    pub fn input(&mut self, view: ArrayRef<'a>) {
        let types = &self.exe.plan.inputs;
        match types.get(self.inputs).zip(self.ws.inputs.get_mut(self.inputs)) {
            Some((ty, place)) if view.fits(ty) && self.exe.donated.is_empty() => {
                *place = view.as_ptr();
            }
            Some((ty, place)) if view.fits(ty) => match self.exe.donated[self.inputs] {
                None => *place = view.as_ptr(),
                Some(_) => self.fail(Error::Donated { index: self.inputs }),
            },
            _ => self.misfit(Side::Input, self.inputs, (view.dtype(), view.dims())),
        }
        self.inputs += 1;
    }

    /// The next input, which the program may change: if it is donated, it holds an output
    /// when the call is over.
    #[inline]
    pub fn donate(&mut self, mut view: ArrayMut<'a>) {
        let i = self.inputs;
        match self.exe.plan.inputs.get(i).zip(self.ws.inputs.get_mut(i)) {
            Some((ty, place)) if view.fits(ty) => {
                let at = view.as_mut_ptr();
                *place = at.cast_const();
                if let Some(&Some(output)) = self.exe.donated.get(i) {
                    self.ws.outputs[output] = at;
                }
            }
            _ => self.misfit(Side::Input, i, (view.dtype(), view.dims())),
        }
        self.inputs += 1;
    }

    /// The next output that takes no input's place.
    #[inline]
    pub fn output(&mut self, mut view: ArrayMut<'a>) {
        let i = match self.exe.donated.is_empty() {
            true => self.outputs,
            false => self.exe.free.get(self.outputs).copied().unwrap_or(usize::MAX),
        };
        match self.exe.plan.outputs.get(i).zip(self.ws.outputs.get_mut(i)) {
            Some((ty, place)) if view.fits(ty) => *place = view.as_mut_ptr(),
            _ => self.misfit(Side::Output, i, (view.dtype(), view.dims())),
        }
        self.outputs += 1;
    }

    /// What does not fit, unless there is one too many: `run` counts.
    #[cold]
    fn misfit(&mut self, side: Side, i: usize, (dtype, dims): (DType, &[usize])) {
        let plan = &self.exe.plan;
        let types = match side {
            Side::Input => &plan.inputs,
            Side::Output => &plan.outputs,
        };
        if let Some(ty) = types.get(i) {
            self.fail(mismatch(side, i, ty, Type::new(dtype, dims)));
        }
    }

    /// Makes the call fail with this error, unless it has failed before: for
    /// callers who find out for themselves that an argument does not fit.
    #[cold]
    pub fn fail(&mut self, error: Error) {
        self.wrong.get_or_insert_with(|| Box::new(error));
    }

    /// Runs it.
    #[inline]
    pub fn run(self) -> Result<(), Error> {
        let plan = &self.exe.plan;
        let complete = self.inputs == plan.inputs.len() && self.outputs == self.wanted();
        if !complete || self.wrong.is_some() {
            return Err(self.mistake());
        }
        let Self { exe, ws, .. } = self;
        // SAFETY: the views were as many as the plan has, of its types; what they
        // borrow, outputs exclusively, is borrowed for `'a`. The workspace fits.
        unsafe { exe.program.run(&mut ws.memory, &ws.inputs, &ws.outputs) }
    }

    /// How many outputs are passed apart from inputs.
    #[inline]
    fn wanted(&self) -> usize {
        match self.exe.donated.is_empty() {
            true => self.exe.plan.outputs.len(),
            false => self.exe.free.len(),
        }
    }

    #[cold]
    fn mistake(self) -> Error {
        let plan = &self.exe.plan;
        let count =
            |side, expected, got| (expected != got).then_some(Error::Count { side, expected, got });
        let count = count(Side::Input, plan.inputs.len(), self.inputs)
            .or_else(|| count(Side::Output, self.wanted(), self.outputs));
        // Where one is missing, all after it are of other types: say the former.
        match (self.wrong.map(|e| *e), count) {
            (Some(Error::Type { .. }), Some(count)) => count,
            (Some(wrong), _) => wrong,
            (None, count) => count.expect("a call is refused for a reason"),
        }
    }
}

#[cold]
pub(crate) fn mismatch(side: Side, index: usize, want: &Type, got: Type) -> Error {
    Error::Type { side, index, types: Box::new((want.clone(), got)) }
}
