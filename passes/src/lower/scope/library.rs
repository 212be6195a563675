//! What is no loop nest: groups of their own, and the steps of all groups.

use backstitch_ir::plan::{self, BufferRef, Step};
use backstitch_ir::routine::{self, Routine};
use backstitch_ir::ty::DType;

use super::Scope;
use crate::lower::groups::order;
use crate::lower::loops::LoopCall;
use crate::lower::operand::Val;
use crate::lower::product::{Product, Written};
use crate::lower::{Body, Planner, kernels};

/// What runs as a group of its own.
pub(crate) enum Library {
    /// Matrix products that are added up.
    Products {
        terms: Vec<Product>,
        out: Written,
    },
    /// Pieces copied into place, over a fill.
    Assemble(kernels::Assemble),
    /// `out = x; out[index] += u`.
    Scatter(kernels::Scatter),
    /// `out[i] = f(out[i-1], …)` along an axis.
    Cumulate(kernels::Cumulate),
    /// A routine on contiguous arrays.
    Call {
        routine: Routine,
        args: Vec<Val>,
        out: Val,
        place: routine::Place,
    },
    Cond {
        pred: Val,
        then: Body,
        els: Body,
        args: Vec<Val>,
        outs: Vec<Val>,
    },
    Loop(LoopCall),
    /// A body that stands apart.
    Region {
        body: Body,
        args: Vec<Val>,
        outs: Vec<Val>,
    },
    /// The rows of an array are pushed on a stack, or popped from one.
    Rows {
        op: backstitch_ir::ops::Rows,
        arg: Val,
        out: Val,
    },
}

impl Scope<'_> {
    /// A group of its own that reads some vals and makes others.
    pub fn call(&mut self, lib: Library, reads: &[Val], makes: &[Val]) {
        let id = self.groups.barrier(reads.iter().copied());
        for &v in makes {
            self.groups.made_by(v, id);
        }
        self.library.insert(id, lib);
    }

    /// Steps for all groups, in order.
    pub fn emit(&mut self, planner: &mut Planner) -> Vec<Step> {
        let mut steps = Vec::new();
        for id in order(&self.groups) {
            match self.library.remove(&id) {
                None => kernels::group(self, planner, id, &mut steps),
                Some(Library::Products { terms, out }) => {
                    let terms = terms.iter().enumerate();
                    steps.extend(terms.map(|(i, p)| p.emit(self, planner, &out, i > 0)));
                }
                Some(Library::Assemble(a)) => a.emit(self, planner, &mut steps),
                Some(Library::Cumulate(c)) => c.emit(self, planner, &mut steps),
                Some(Library::Scatter(s)) => s.emit(self, planner, &mut steps),
                Some(Library::Call { routine, args, out, place }) => {
                    let call = self.routine(planner, routine, &args, out);
                    steps.push(Step::Call(plan::Call { place, ..call }));
                }
                Some(Library::Cond { pred, then, els, args, outs }) => {
                    self.emit_cond(planner, &mut steps, pred, [&then, &els], &args, &outs);
                }
                Some(Library::Loop(call)) => self.emit_loop(planner, &mut steps, &call),
                Some(Library::Region { body, args, outs }) => {
                    self.emit_region(planner, &mut steps, &body, &args, &outs);
                }
                Some(Library::Rows { op, arg, out }) => {
                    self.emit_rows(planner, &mut steps, &op, arg, out);
                }
            }
        }
        steps
    }

    fn routine(
        &mut self,
        planner: &mut Planner,
        routine: Routine,
        args: &[Val],
        out: Val,
    ) -> plan::Call {
        let mut whole = |val| BufferRef { buffer: self.buffer(planner, val), offset: 0 };
        let args = args.iter().map(|&val| whole(val)).collect();
        let result = whole(out);
        let mut call = plan::Call { routine, args, result, work: None, place: None };
        let len = call.work_len();
        if len > 0 {
            call.work = Some(BufferRef { buffer: planner.scratch(DType::I64, len), offset: 0 });
        }
        call
    }
}
