//! Plans that can be called.

use std::alloc::{self, Layout};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use backstitch_ir::plan::Plan;
use backstitch_ir::verify::verify_plan;
use backstitch_ir::{Array, Element, Type, with_dtype};

use backstitch_jit as jit;

use crate::call::{self, Call, Signature};
use crate::device::{Backend, Device, Program};
use crate::error::{Error, Side};
use crate::view::{ArrayMut, ArrayRef};
use crate::workspace::{Needs, Workspace};

/// A plan, loaded on a device.
///
/// Cloning shares it; it can be called from any number of threads at once, each
/// with a [`Workspace`] of its own.
#[derive(Clone)]
pub struct Executable(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    /// What workspaces know it by; never 0.
    id: u64,
    pub(crate) plan: Arc<Plan>,
    pub(crate) program: Box<dyn Program>,
    needs: Needs,
    /// What calls check arguments against.
    pub(crate) signature: Signature,
    /// Of each input, the output that takes its place; empty if there is none at all.
    donated: Vec<Option<usize>>,
    /// Workspaces for callers who bring none.
    spare: Mutex<Vec<Workspace>>,
}

/// Numbers about an executable, all known without running it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes of memory for intermediate values, without stacks.
    pub arena_bytes: usize,
    /// How many kernels there are.
    pub kernels: usize,
    /// Of how many functions the machine code is: kernels that do the same on other arrays
    /// share one.
    pub functions: usize,
    /// How many of these are vector code of full width: AVX-512 or AVX2.
    pub wide_functions: usize,
    /// Bytes of machine code.
    pub code_bytes: usize,
}

/// At most so many spare workspaces are kept.
const SPARE: usize = 8;

impl Executable {
    /// Loads a plan on the device of that kind.
    ///
    /// # Errors
    /// If the plan breaks a rule of its language, there is no such device, no machine code
    /// can be made, or there is no memory for it.
    pub fn new(plan: Plan, backend: Backend) -> Result<Self, Error> {
        Self::with_options(plan, backend, jit::Options::default())
    }

    /// Loads a plan on the device of that kind. What machine code is made, if it is one of
    /// machine code, is as the options say; results are the same bits for any.
    ///
    /// With several `workers`, a call may run on so many threads: the caller's, and those
    /// of the rayon pool that the caller is in, or else of the global one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_options(
        plan: Plan,
        backend: Backend,
        options: jit::Options,
    ) -> Result<Self, Error> {
        Self::load(verified(plan)?, |plan| backend.load(plan, options))
    }

    /// Loads a plan on this device.
    ///
    /// # Errors
    /// As [`new`](Self::new), and whatever the device says.
    pub fn on(device: &dyn Device, plan: Plan) -> Result<Self, Error> {
        Self::load(verified(plan)?, |plan| device.load(plan))
    }

    /// As [`with_options`](Self::with_options), for a plan that is known to be right: only
    /// debug builds look at it.
    ///
    /// # Safety
    /// [`verify_plan`] finds nothing wrong with the plan. Otherwise calls may read and write
    /// any memory.
    ///
    /// # Errors
    /// If no machine code can be made, or there is no memory for it. In debug builds, if the
    /// plan is wrong.
    pub unsafe fn trusted(
        plan: Plan,
        backend: Backend,
        options: jit::Options,
    ) -> Result<Self, Error> {
        let plan = if cfg!(debug_assertions) { verified(plan)? } else { plan };
        Self::load(plan, |plan| backend.load(plan, options))
    }

    fn load(
        plan: Plan,
        load: impl FnOnce(&Arc<Plan>) -> Result<Box<dyn Program>, Error>,
    ) -> Result<Self, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let plan = Arc::new(plan);
        let program = load(&plan)?;
        let needs = program.needs();
        let signature = Signature::new(&plan);
        let mut donated = vec![];
        for (input, output) in plan.donated() {
            donated.resize(plan.inputs.len(), None);
            donated[input] = Some(output);
        }
        let spare = Mutex::default();
        Ok(Self(Arc::new(Inner { id, plan, program, needs, signature, donated, spare })))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.plan.name
    }

    /// What it was loaded from.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// Types of what it takes.
    pub fn inputs(&self) -> &[Type] {
        &self.0.plan.inputs
    }

    /// Types of what it gives.
    pub fn outputs(&self) -> &[Type] {
        &self.0.plan.outputs
    }

    /// Of each input, the number of the output that takes its place, if one does. Empty
    /// if none does.
    pub fn donated(&self) -> &[Option<usize>] {
        &self.0.donated
    }

    /// On what it runs.
    pub fn device(&self) -> &'static str {
        self.0.program.device()
    }

    /// Its size.
    pub fn stats(&self) -> Stats {
        Stats {
            arena_bytes: self.0.plan.arena_bytes,
            kernels: self.0.plan.kernels.len(),
            functions: self.0.program.functions(),
            wide_functions: self.0.program.wide_functions(),
            code_bytes: self.0.program.code_bytes(),
        }
    }

    /// Memory for calls from one thread.
    ///
    /// # Errors
    /// If there is not enough.
    pub fn workspace(&self) -> Result<Workspace, Error> {
        let mut ws = Workspace::new();
        self.fit(&mut ws)?;
        Ok(ws)
    }

    /// Calls it; outputs are new arrays.
    ///
    /// Memory for the work itself is kept from call to call. Inputs are not changed: of
    /// donated ones, a copy is.
    ///
    /// # Errors
    /// If inputs are not as many as it takes, or not of its types; if there is no memory for
    /// outputs or for the work; and what the program itself raises.
    pub fn call(&self, inputs: &[ArrayRef<'_>]) -> Result<Vec<Array>, Error> {
        self.check(inputs)?;
        let mut outputs = self.outputs().iter().map(zeros).collect::<Result<Vec<_>, _>>()?;
        let mut views =
            outputs.iter_mut().map(ArrayMut::try_from).collect::<Result<Vec<_>, _>>()?;
        self.with_workspace(|ws| {
            if self.0.donated.is_empty() {
                return self.call_into(ws, inputs, &mut views);
            }
            let mut call = self.begin(ws)?;
            let mut views: Vec<Option<ArrayMut<'_>>> = views.into_iter().map(Some).collect();
            for (&input, output) in inputs.iter().zip(&self.0.donated) {
                match output.and_then(|j| views[j].take()) {
                    None => call.input(input),
                    Some(mut view) => {
                        view.copy_from(input);
                        call.donate(view);
                    }
                }
            }
            views.into_iter().flatten().for_each(|view| call.output(view));
            call.run()
        })??;
        Ok(outputs)
    }

    /// Runs `f` with a workspace that is kept from call to call: for callers who
    /// have none of their own. Takes a lock, twice and shortly.
    ///
    /// # Errors
    /// If a new one is needed, and there is no memory for it.
    pub fn with_workspace<R>(&self, f: impl FnOnce(&mut Workspace) -> R) -> Result<R, Error> {
        let spare = self.spare().pop();
        let mut ws = match spare {
            Some(ws) => ws,
            None => self.workspace()?,
        };
        let result = f(&mut ws);
        let mut spare = self.spare();
        if spare.len() < SPARE {
            spare.push(ws);
        }
        Ok(result)
    }

    /// Whether these inputs fit: asked before there is memory for outputs.
    fn check(&self, inputs: &[ArrayRef<'_>]) -> Result<(), Error> {
        let (side, types) = (Side::Input, self.inputs());
        if types.len() != inputs.len() {
            return Err(Error::Count { side, expected: types.len(), got: inputs.len() });
        }
        let mut all = types.iter().zip(inputs).enumerate();
        match all.find(|(_, (ty, view))| !view.fits(ty)) {
            Some((i, (ty, view))) => Err(call::mismatch(side, i, ty, view.ty())),
            None => Ok(()),
        }
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<Workspace>> {
        // What a panicking thread left in it are workspaces all the same.
        self.0.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls it; outputs go to where `outputs` says.
    ///
    /// Takes no lock and allocates nothing, but for stacks of loops that are
    /// longer than in any call before and for scratch of large matrix products.
    ///
    /// # Errors
    /// If inputs or outputs are not as many as it has, or not of its types; if an input is
    /// donated, which [`begin`](Self::begin) is for; if there is no memory for the work; and
    /// what the program itself raises. After an error during the run, outputs hold anything.
    #[inline]
    pub fn call_into(
        &self,
        ws: &mut Workspace,
        inputs: &[ArrayRef<'_>],
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), Error> {
        let mut call = self.begin(ws)?;
        for &view in inputs {
            call.input(view);
        }
        for view in outputs {
            call.output(view.reborrow());
        }
        call.run()
    }

    /// Begins a call whose arguments come one by one; see [`Call`].
    ///
    /// # Errors
    /// If the workspace is another program's or new, and there is no memory to make it fit.
    #[inline(always)]
    pub fn begin<'a>(&'a self, ws: &'a mut Workspace) -> Result<Call<'a>, Error> {
        if ws.owner != self.0.id {
            self.fit(ws)?;
        }
        Ok(Call::new(&self.0, ws))
    }

    /// Calls it on addresses: nothing is checked.
    ///
    /// # Safety
    ///
    /// There are as many addresses as [`inputs`](Self::inputs) and
    /// [`outputs`](Self::outputs), each that of all elements of its type,
    /// row-major and aligned for the element. Those of a [donated](Self::donated) input and
    /// of its output are one. For as long as this runs, nobody writes the other inputs, and
    /// nobody else reads or writes the outputs.
    ///
    /// # Errors
    /// If there is no memory for the work, and what the program itself raises.
    #[inline]
    pub unsafe fn call_unchecked(
        &self,
        ws: &mut Workspace,
        inputs: &[*const u8],
        outputs: &[*mut u8],
    ) -> Result<(), Error> {
        if ws.owner != self.0.id {
            self.fit(ws)?;
        }
        // SAFETY: as required. The workspace fits.
        unsafe { self.0.program.run(&mut ws.memory, inputs, outputs) }
    }

    /// Makes a workspace fit.
    #[cold]
    fn fit(&self, ws: &mut Workspace) -> Result<(), Error> {
        ws.owner = 0;
        ws.memory.fit(&self.0.needs)?;
        ws.inputs.clear();
        ws.inputs.resize(self.inputs().len(), std::ptr::null());
        ws.outputs.clear();
        ws.outputs.resize(self.outputs().len(), std::ptr::null_mut());
        ws.owner = self.0.id;
        Ok(())
    }
}

impl fmt::Debug for Executable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executable")
            .field("name", &self.name())
            .field("device", &self.device())
            .field("inputs", &self.inputs())
            .field("outputs", &self.outputs())
            .finish_non_exhaustive()
    }
}

/// The plan, if it keeps to the rules of its language.
fn verified(plan: Plan) -> Result<Plan, Error> {
    match verify_plan(&plan) {
        Ok(()) => Ok(plan),
        Err(mistakes) => Err(Error::Internal { plan: plan.name, reason: mistakes.to_string() }),
    }
}

/// An array of zeros, if there is memory for it.
fn zeros(ty: &Type) -> Result<Array, Error> {
    with_dtype!(ty.dtype, T => {
        let data = zeroed_vec::<T>(ty.len())?;
        Ok(Array::from_vec(&ty.shape, data).expect("as many elements as the type has"))
    })
}

fn zeroed_vec<T: Element>(n: usize) -> Result<Vec<T>, Error> {
    if n == 0 {
        return Ok(vec![]);
    }
    let bytes = n.saturating_mul(size_of::<T>());
    let fail = || Error::Memory { what: "an output", bytes };
    let layout = Layout::array::<T>(n).map_err(|_| fail())?;
    // SAFETY: the size is not 0.
    let block = unsafe { alloc::alloc_zeroed(layout) };
    if block.is_null() {
        return Err(fail());
    }
    // SAFETY: allocated for `n` elements, all bytes 0: a number or `false`.
    Ok(unsafe { Vec::from_raw_parts(block.cast(), n, n) })
}

#[cfg(test)]
mod tests {
    use backstitch_ir::DType;

    use super::*;

    #[test]
    fn threads_share_executables() {
        fn shared<T: Send + Sync + Clone>() {}
        fn sent<T: Send>() {}
        shared::<Executable>();
        sent::<Workspace>();
        sent::<Error>();
        sent::<ArrayRef<'_>>();
        sent::<ArrayMut<'_>>();
    }

    #[test]
    fn zeros_of_every_type() {
        for dtype in DType::ALL {
            let ty = Type::new(dtype, [2, 3]);
            let array = zeros(&ty).unwrap();
            assert_eq!((array.ty(), array.to_f64_vec()), (ty, vec![0.0; 6]));
        }
        assert!(zeros(&Type::new(DType::F32, [0, 3])).unwrap().to_f64_vec().is_empty());
        let e = zeros(&Type::new(DType::F64, [1 << 60])).unwrap_err();
        assert!(e.to_string().starts_with("out of memory: an output"), "{e}");
    }
}
