//! The handle that users compute with.

use std::fmt;
use std::panic::Location;

use backstitch_ir::{Array, DType, Element, Shape, Type};
use ndarray::ArrayD;

use crate::mistake::{Mistake, Problem, TraceError};
use crate::spec::{Spec, Typed};
use crate::trace::{Absent, Kind, Trace};
use crate::tree::leaf;

/// An array in a program. A `Copy` handle that cannot outlive its [`Trace`].
///
/// Operations are methods and operators; they take tensors and numbers, stretch
/// shapes as NumPy does, never convert element types by themselves, and never
/// fail: see [`TraceError`] for how mistakes are told.
#[derive(Clone, Copy)]
pub struct Tensor<'t> {
    pub(crate) trace: &'t Trace,
    pub(crate) id: u32,
}

leaf!(['t] Tensor<'t>);

impl Typed for Tensor<'_> {
    fn spec(&self) -> Spec {
        self.ty().into()
    }
}

impl<'t> Tensor<'t> {
    /// The trace it belongs to.
    pub fn trace(self) -> &'t Trace {
        self.trace
    }

    /// Element type and shape.
    pub(crate) fn ty(self) -> Type {
        self.trace.state().type_of(self.id)
    }

    /// Element type.
    pub fn dtype(self) -> DType {
        self.ty().dtype
    }

    /// Extents.
    pub fn shape(self) -> Shape {
        self.ty().shape
    }

    /// Number of axes.
    pub fn rank(self) -> usize {
        self.ty().rank()
    }

    /// Number of elements.
    pub fn size(self) -> usize {
        self.ty().len()
    }

    /// Records a mistake of which this is the only operand.
    #[track_caller]
    pub(crate) fn mistake(
        self,
        operation: &'static str,
        problem: Problem,
        message: impl Into<String>,
        guess: Type,
    ) -> Self {
        self.trace.mistake(operation, problem, message, &[self], guess)
    }

    // ---- reading ----

    /// Its value, in eager mode.
    ///
    /// # Errors
    /// If it is the result of a mistake: the mistakes so far. If the trace is not
    /// eager: values are known only when the compiled program runs. Then it is a
    /// mistake of the trace, too.
    #[track_caller]
    pub fn array(self) -> Result<Array, TraceError> {
        self.read("array")
    }

    /// The only element of its value, in eager mode.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!((t.constant(2.0f32) + 1.0).item::<f32>()?, 3.0);
    /// assert!(t.constant(2.0f32).item::<f64>().is_err());
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// As [`array`](Self::array), and if there is not exactly one element of that
    /// type.
    #[track_caller]
    pub fn item<T: Element>(self) -> Result<T, TraceError> {
        let array = self.read("item")?;
        array.item().ok_or_else(|| {
            let message = format!("this is no single {}", T::DTYPE);
            self.error("item", Problem::Read, message)
        })
    }

    /// Its value as an array of that element type, in eager mode.
    ///
    /// # Errors
    /// As [`array`](Self::array), and if elements are not of that type.
    #[track_caller]
    pub fn to_array<T: Element>(self) -> Result<ArrayD<T>, TraceError> {
        let array = self.read("to_array")?;
        array.to_array().ok_or_else(|| {
            let message = format!("elements are no {}", T::DTYPE);
            self.error("to_array", Problem::Read, message)
        })
    }

    /// The truth value that it is, for `if` and `while` in eager mode.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let mut b = t.constant(1.5);
    /// while b.norm().lt(1000.0).is_true()? {
    ///     b = b * 2.0;
    /// }
    /// assert_eq!(b.item::<f64>()?, 1536.0);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// As [`item`](Self::item). Programs that are compiled use
    /// [`Trace::while_loop`] and [`Trace::cond`] instead.
    #[track_caller]
    pub fn is_true(self) -> Result<bool, TraceError> {
        let array = self.read("is_true")?;
        array.item().ok_or_else(|| {
            self.error("is_true", Problem::Read, "this is no single truth value".to_owned())
        })
    }

    #[track_caller]
    fn read(self, operation: &'static str) -> Result<Array, TraceError> {
        let place = Location::caller();
        let mut state = self.trace.state();
        let slot = state.slots[self.id as usize];
        if slot.kind == Kind::Poisoned {
            return Err(TraceError::new(state.mistakes.clone()));
        }
        if !self.trace.is_eager() || state.scopes.len() > 1 {
            let message = "the value is known only when the program runs; \
                           use `while_loop` or `cond` to decide by it"
                .to_owned();
            let operands = self.trace.describe(&state, &[self]);
            let problem = Problem::Read;
            let mistake = Mistake { place, operation, problem, message, operands };
            state.mistakes.push(mistake.clone());
            return Err(mistake.into());
        }
        match state.resolve(self.id) {
            Ok(v) if state.failed.contains(&v) => Err(TraceError::new(state.mistakes.clone())),
            Ok(v) => Ok(state.datum(v)),
            Err(absent) => {
                let operands = self.trace.describe(&state, &[self]);
                if !matches!(absent, Absent::Poisoned) {
                    state.refuse(operation, absent, operands, place);
                }
                Err(TraceError::new(state.mistakes.clone()))
            }
        }
    }

    #[track_caller]
    fn error(self, operation: &'static str, problem: Problem, message: String) -> TraceError {
        let state = self.trace.state();
        let operands = self.trace.describe(&state, &[self]);
        let place = Location::caller();
        Mistake { place, operation, problem, message, operands }.into()
    }

    /// Gives a variable of an eager trace another value of the same type. Tapes
    /// that are recording see the old value before and the new one afterwards: a
    /// gradient with respect to the variable is one with respect to both, but not
    /// through the assignment.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let w = t.variable(1.0);
    /// for _ in 0..100 {
    ///     let tape = t.tape();
    ///     let loss = (w - 4.0).square();
    ///     let dw = tape.gradient(&loss, &w).expect_connected();
    ///     w.assign(w - 0.1 * dw);
    /// }
    /// assert!((w.item::<f64>()? - 4.0).abs() < 1e-6);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn assign(self, value: Tensor<'_>) {
        let place = Location::caller();
        let (old, new) = (self.ty(), value.ty());
        let wrong = {
            let state = self.trace.state();
            if state.slots[self.id as usize].kind == Kind::Poisoned {
                return;
            }
            if state.slots[self.id as usize].kind != Kind::Variable {
                Some((Problem::Parameter, "only variables can be assigned to".to_owned()))
            } else if !self.trace.is_eager() || state.scopes.len() > 1 {
                let message = "variables of a compiled program cannot be assigned to: \
                               make the new value an output";
                Some((Problem::Control, message.to_owned()))
            } else if old != new {
                Some((Problem::Shape, format!("a variable {old} cannot become a {new}")))
            } else {
                None
            }
        };
        if let Some((problem, message)) = wrong {
            self.trace.mistake("assign", problem, message, &[self, value], old);
            return;
        }
        let mut state = self.trace.state();
        match self.trace.resolve(&mut state, value) {
            Ok(v) => {
                let array = state.datum(v);
                let leaf = state.leaf(array, place, true);
                state.replace(self.id, leaf);
            }
            Err(absent) => {
                let operands = self.trace.describe(&state, &[self, value]);
                state.refuse("assign", absent, operands, place);
            }
        }
    }
}

impl fmt::Display for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.trace.state();
        let slot = state.slots[self.id as usize];
        let ty = state.type_of(self.id);
        if slot.kind == Kind::Poisoned {
            return write!(f, "{ty} (the result of a mistake)");
        }
        match state.data.get(backstitch_ir::Idx::index(slot.value)) {
            Some(d) if self.trace.is_eager() && state.is_outermost(self.id) => {
                write!(f, "{}", d.array())
            }
            _ => write!(f, "{} {ty}", slot.value),
        }
    }
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({self})")
    }
}
