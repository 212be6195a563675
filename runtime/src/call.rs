//! A call whose arguments come one by one.

use backstitch_ir::plan::Plan;
use backstitch_ir::{DType, Shape, Type};

use crate::error::{Error, Side};
use crate::executable::Inner;
use crate::view::{ArrayMut, ArrayRef, Dims};
use crate::workspace::{Memory, Workspace};

/// A call that is being prepared: inputs in order, outputs in order, then `run`.
///
/// This is for callers whose arrays are in a structure that is walked: nothing
/// need be collected. Arguments that do not fit are reported by [`run`](Self::run).
///
/// Small programs take less time than it takes to hand them their arguments. So all of this
/// is inlined where it is used, and what is known of a call stays in registers there: what
/// does not fit is noted, and made an error of by `run`.
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
    exe: &'a Inner,
    memory: &'a mut Memory,
    /// The tables of addresses.
    inputs: &'a mut [*const u8],
    outputs: &'a mut [*mut u8],
    /// How many arguments there were.
    taken: usize,
    given: usize,
    /// The first mistake.
    wrong: Option<Wrong<'a>>,
}

/// An argument that was refused.
#[derive(Clone, Copy)]
enum Wrong<'a> {
    Type { side: Side, index: usize, dtype: DType, dims: Dims<'a> },
    Donated { index: usize },
    Layout { dims: &'a [usize], strides: &'a [isize] },
}

/// What an argument has to be, and where its address goes.
pub(crate) struct Slot {
    dtype: DType,
    dims: Box<[usize]>,
    /// The output: of an input, that which takes its place.
    output: usize,
}

/// What a program takes and gives, in the order in which arguments come.
pub(crate) struct Signature {
    /// All inputs.
    takes: Box<[Slot]>,
    /// The outputs that take no input's place.
    gives: Box<[Slot]>,
}

impl Signature {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut to = vec![usize::MAX; plan.inputs.len()];
        let mut taken = vec![false; plan.outputs.len()];
        for (input, output) in plan.donated() {
            to[input] = output;
            taken[output] = true;
        }
        let slot = |ty: &Type, output| Slot { dtype: ty.dtype, dims: ty.dims().into(), output };
        let free = plan.outputs.iter().enumerate().filter(|&(j, _)| !taken[j]);
        Self {
            takes: plan.inputs.iter().zip(to).map(|(ty, to)| slot(ty, to)).collect(),
            gives: free.map(|(j, ty)| slot(ty, j)).collect(),
        }
    }
}

impl Slot {
    #[inline(always)]
    fn fits(&self, dtype: DType, dims: &[usize]) -> bool {
        // Extents one by one: most shapes are too short for a call of `memcmp`.
        let all = |(a, b): (&usize, &usize)| a == b;
        self.dtype == dtype && self.dims.len() == dims.len() && self.dims.iter().zip(dims).all(all)
    }
}

impl<'a> Call<'a> {
    /// Of a program in a workspace that fits it.
    #[inline(always)]
    pub(crate) fn new(exe: &'a Inner, ws: &'a mut Workspace) -> Self {
        let Workspace { memory, inputs, outputs, .. } = ws;
        Call { exe, memory, inputs, outputs, taken: 0, given: 0, wrong: None }
    }

    /// The next input.
    #[inline(always)]
    pub fn input(&mut self, view: ArrayRef<'a>) {
        let (dtype, dims, i) = (view.dtype(), view.extents(), self.taken);
        match self.exe.signature.takes.get(i).zip(self.inputs.get_mut(i)) {
            Some((slot, place)) if slot.fits(dtype, dims.get()) => {
                *place = view.as_ptr();
                if slot.output != usize::MAX {
                    self.refuse(Wrong::Donated { index: i });
                }
            }
            _ => self.refuse(Wrong::Type { side: Side::Input, index: i, dtype, dims }),
        }
        self.taken += 1;
    }

    /// The next input, which the program may change: if it is donated, it holds an output
    /// when the call is over.
    #[inline(always)]
    pub fn donate(&mut self, mut view: ArrayMut<'a>) {
        let (at, dtype, i) = (view.as_mut_ptr(), view.dtype(), self.taken);
        let dims = view.extents();
        match self.exe.signature.takes.get(i).zip(self.inputs.get_mut(i)) {
            Some((slot, place)) if slot.fits(dtype, dims.get()) => {
                *place = at.cast_const();
                if let Some(output) = self.outputs.get_mut(slot.output) {
                    *output = at;
                }
            }
            _ => self.refuse(Wrong::Type { side: Side::Input, index: i, dtype, dims }),
        }
        self.taken += 1;
    }

    /// The next output that takes no input's place.
    #[inline(always)]
    pub fn output(&mut self, mut view: ArrayMut<'a>) {
        let (at, dtype, i) = (view.as_mut_ptr(), view.dtype(), self.given);
        let dims = view.extents();
        match self.exe.signature.gives.get(i) {
            Some(slot) if slot.fits(dtype, dims.get()) => {
                if let Some(output) = self.outputs.get_mut(slot.output) {
                    *output = at;
                }
            }
            _ => self.refuse(Wrong::Type { side: Side::Output, index: i, dtype, dims }),
        }
        self.given += 1;
    }

    /// The next input is an array that is not contiguous, of these extents and strides, in
    /// elements: the call will fail.
    #[inline(always)]
    pub fn strided_input(&mut self, dims: &'a [usize], strides: &'a [isize]) {
        self.refuse(Wrong::Layout { dims, strides });
        self.taken += 1;
    }

    /// The same of the next output.
    #[inline(always)]
    pub fn strided_output(&mut self, dims: &'a [usize], strides: &'a [isize]) {
        self.refuse(Wrong::Layout { dims, strides });
        self.given += 1;
    }

    #[inline(always)]
    fn refuse(&mut self, wrong: Wrong<'a>) {
        if self.wrong.is_none() {
            self.wrong = Some(wrong);
        }
    }

    /// Runs it.
    #[inline(always)]
    pub fn run(self) -> Result<(), Error> {
        let Self { exe, memory, inputs, outputs, taken, given, wrong } = self;
        let Signature { takes, gives } = &exe.signature;
        if taken != takes.len() || given != gives.len() || wrong.is_some() {
            return Err(mistake(exe, [taken, given], wrong));
        }
        // SAFETY: the views were as many as the plan has, of its types; what they
        // borrow, outputs exclusively, is borrowed for `'a`. The workspace fits.
        unsafe { exe.program.run(memory, inputs, outputs) }
    }
}

/// Why a call is refused.
#[cold]
#[inline(never)]
fn mistake(exe: &Inner, [taken, given]: [usize; 2], wrong: Option<Wrong<'_>>) -> Error {
    let Signature { takes, gives } = &exe.signature;
    let count =
        |side, expected, got| (expected != got).then_some(Error::Count { side, expected, got });
    let count =
        count(Side::Input, takes.len(), taken).or_else(|| count(Side::Output, gives.len(), given));
    // Where one is missing, all after it are of other types: say the former.
    if let (None | Some(Wrong::Type { .. }), Some(count)) = (wrong, count) {
        return count;
    }
    match wrong.expect("a call is refused for a reason") {
        Wrong::Type { side, index, dtype, dims } => {
            let slot = match side {
                Side::Input => &takes[index],
                Side::Output => &gives[index],
            };
            let want = Type::new(slot.dtype, &slot.dims[..]);
            mismatch(side, index, &want, Type::new(dtype, dims.get()))
        }
        Wrong::Donated { index } => Error::Donated { index },
        Wrong::Layout { dims, strides } => {
            Error::Layout { shape: Shape::from(dims), strides: strides.into() }
        }
    }
}

#[cold]
pub(crate) fn mismatch(side: Side, index: usize, want: &Type, got: Type) -> Error {
    Error::Type { side, index, types: Box::new((want.clone(), got)) }
}
