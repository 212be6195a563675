//! Loops and conditionals as steps.
//!
//! A body is lowered like a program of its own, into the same plan. The carries
//! of a loop live in buffers: the results of one iteration are copied to them at
//! its end.

use backstitch_ir::Graph;
use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Access, At};
use backstitch_ir::ops::{Rows, Trip};
use backstitch_ir::plan::{Buffer, BufferDecl, BufferRef, HANDLE_LEN, Place, RowOf, Step};
use backstitch_ir::ty::{DType, Type};

use super::loops::{Entries, LoopCall};
use super::operand::Val;
use super::origin::KernelOrigin;
use super::scope::Scope;
use super::{Body, Planner};

impl Scope<'_> {
    pub(super) fn emit_cond(
        &mut self,
        planner: &mut Planner,
        steps: &mut Vec<Step>,
        pred: Val,
        branches: [&Body; 2],
        args: &[Val],
        outs: &[Val],
    ) {
        let pred = self.buffer(planner, pred);
        let args: Vec<Buffer> = args.iter().map(|&v| self.buffer(planner, v)).collect();
        let outs: Vec<Buffer> = outs.iter().map(|&v| self.buffer(planner, v)).collect();
        let [then, els] = branches.map(|g| lower_body(planner, g, &args, Outs::At(&outs)).0);
        steps.push(Step::If { pred, then, els });
    }

    pub(super) fn emit_region(
        &mut self,
        planner: &mut Planner,
        steps: &mut Vec<Step>,
        body: &Body,
        args: &[Val],
        outs: &[Val],
    ) {
        let args: Vec<Buffer> = args.iter().map(|&v| self.buffer(planner, v)).collect();
        let outs: Vec<Buffer> = outs.iter().map(|&v| self.buffer(planner, v)).collect();
        steps.extend(lower_body(planner, body, &args, Outs::At(&outs)).0);
    }

    pub(super) fn emit_loop(
        &mut self,
        planner: &mut Planner,
        steps: &mut Vec<Step>,
        call: &LoopCall,
    ) {
        let l = &*call.op;
        let mut buffers = |vals: &[Val]| -> Vec<Buffer> {
            vals.iter().map(|&v| self.buffer(planner, v)).collect()
        };
        let (inits, consts) = (buffers(&call.inits), buffers(&call.consts));
        let carries = buffers(&call.carries);
        for (&from, &to) in inits.iter().zip(&carries).filter(|(from, to)| from != to) {
            steps.push(Step::Copy { from, to });
        }
        let (mut inner, mut reads, mut writes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut popped, mut first) = (Vec::new(), None);
        for (i, &pop) in call.pops.iter().enumerate() {
            let v = l.body.inputs()[l.carries + l.consts + i];
            let entry = planner.scratch_for(l.body.ty(v));
            popped.push(entry);
            match pop {
                Entries::Rows { array, back } => {
                    let rows = self.buffer(planner, array);
                    reads.push(RowOf { rows, entry, back });
                }
                Entries::Stack(handle) => {
                    let from = self.buffer(planner, handle);
                    first.get_or_insert(from);
                    let stack = cursor(planner, steps, from);
                    inner.push(Step::Pop { stack, to: entry });
                }
                Entries::Dead => unreachable!("a loop asks for what it pops"),
            }
        }
        let inputs = [&carries[..], &consts, &popped].concat();
        let (steps_of_body, results) =
            lower_body(planner, &l.body, &inputs, Outs::Carried(&carries));
        inner.extend(steps_of_body);
        for (i, &push) in call.pushes.iter().enumerate() {
            let mut entry = results[l.carries + i];
            match push {
                Entries::Rows { array, back } => {
                    let rows = self.buffer(planner, array);
                    if carries.contains(&entry) {
                        // It is written after the carries have moved on.
                        let decl = &planner.buffers[entry];
                        let to = planner.scratch(decl.dtype, decl.len);
                        inner.push(Step::Copy { from: entry, to });
                        entry = to;
                    }
                    writes.push(RowOf { rows, entry, back });
                }
                Entries::Stack(handle) => {
                    let stack = self.buffer(planner, handle);
                    let ty = l.body.ty(l.body.outputs()[l.carries + i]);
                    let store = planner.stores.push(entry_bytes(ty));
                    steps.push(Step::Open { stack, store });
                    inner.push(Step::Push { stack, from: entry });
                }
                Entries::Dead => {}
            }
        }
        assign(planner, &mut inner, &results[..l.carries], &carries);
        match (&l.trip, call.trips) {
            (_, Some(count)) => steps.push(Step::Scan { count, reads, writes, body: inner }),
            (Trip::Count, None) => {
                let count = self.buffer(planner, call.count.expect("a counted loop has a count"));
                steps.push(Step::Repeat { count, body: inner });
            }
            (Trip::Entries, None) => {
                let stack = first.expect("a loop over entries pops");
                let count = entries(planner, steps, stack);
                steps.push(Step::Repeat { count, body: inner });
            }
            (Trip::While(cond), None) => {
                let inputs = [&carries[..], &consts].concat();
                let (head, pred) = lower_body(planner, cond, &inputs, Outs::Carried(&[]));
                steps.push(Step::While { head, pred: pred[0], body: inner });
            }
        }
    }

    /// Rows on a stack of which not everything is known in advance.
    pub(super) fn emit_rows(
        &mut self,
        planner: &mut Planner,
        steps: &mut Vec<Step>,
        op: &Rows,
        arg: Val,
        out: Val,
    ) {
        let (from, to) = (self.buffer(planner, arg), self.buffer(planner, out));
        let array = match op {
            Rows::ToStack { .. } => &self.vals[arg],
            Rows::FromStack { .. } => &self.vals[out],
        };
        let (count, row) = (array.shape.dims()[0], &array.shape.dims()[1..]);
        let entry_ty = Type::new(array.dtype, row);
        let entry = planner.scratch_for(&entry_ty);
        let step = match *op {
            Rows::ToStack { back } => {
                let store = planner.stores.push(entry_bytes(&entry_ty));
                steps.push(Step::Open { stack: to, store });
                let body = vec![Step::Push { stack: to, from: entry }];
                let reads = vec![RowOf { rows: from, entry, back }];
                Step::Scan { count, reads, writes: vec![], body }
            }
            Rows::FromStack { back, .. } => {
                let stack = cursor(planner, steps, from);
                let body = vec![Step::Pop { stack, to: entry }];
                let writes = vec![RowOf { rows: to, entry, back: !back }];
                Step::Scan { count, reads: vec![], writes, body }
            }
        };
        steps.push(step);
    }
}

/// A copy of a handle to pop through: whoever made the stack keeps it.
fn cursor(planner: &mut Planner, steps: &mut Vec<Step>, from: Buffer) -> Buffer {
    let to = planner.scratch(DType::I64, HANDLE_LEN);
    steps.push(Step::Copy { from, to });
    to
}

/// A buffer with the number of entries of a stack, the last word of its handle.
fn entries(planner: &mut Planner, steps: &mut Vec<Step>, stack: Buffer) -> Buffer {
    let count = planner.scratch(DType::I64, 1);
    let mut b = NestBuilder::new("entries");
    let from = b.param(DType::I64, 1, Access::In);
    let to = b.param(DType::I64, 1, Access::Out);
    let n = b.load(from, At::default());
    b.store(to, At::default(), n);
    let kernel = planner.kernel(b.finish(), KernelOrigin::alone("entries"));
    let args = vec![
        BufferRef { buffer: stack, offset: HANDLE_LEN - 1 },
        BufferRef { buffer: count, offset: 0 },
    ];
    steps.push(Step::Run { kernel, args });
    count
}

/// Bytes of an entry of a stack.
fn entry_bytes(ty: &Type) -> usize {
    if ty.stack > 0 { HANDLE_LEN * DType::I64.size() } else { ty.bytes() }
}

/// Where the outputs of a body are to be.
enum Outs<'a> {
    /// In these buffers.
    At(&'a [Buffer]),
    /// Anywhere; the first of them will be copied to these buffers, which hold the first
    /// inputs.
    Carried(&'a [Buffer]),
}

/// The steps of a body, and where its outputs are.
fn lower_body(
    planner: &mut Planner,
    g: &Graph,
    inputs: &[Buffer],
    outs: Outs<'_>,
) -> (Vec<Step>, Vec<Buffer>) {
    let mut scope = Scope::new(g, false, planner.fuse, inputs);
    scope.build();
    let carries = match outs {
        Outs::At(outs) => {
            let plain = scope.bind_body_outputs(outs);
            let mut steps = scope.emit(planner);
            for (from, to) in plain {
                let from = scope.buffer(planner, from);
                steps.push(Step::Copy { from, to });
            }
            return (steps, outs.to_vec());
        }
        Outs::Carried(carries) => carries,
    };
    let vals = scope.output_vals();
    for (i, &carry) in carries.iter().enumerate() {
        scope.update_in_place(&vals, i, carry);
    }
    let steps = scope.emit(planner);
    let results = vals.into_iter().map(|v| scope.buffer(planner, v)).collect();
    (steps, results)
}

/// `to = from`, all at once: a carry may become what another one was.
pub(super) fn assign(planner: &mut Planner, steps: &mut Vec<Step>, from: &[Buffer], to: &[Buffer]) {
    let moved = |i: usize| from[i] != to[i];
    let mut sources = from.to_vec();
    for (i, source) in sources.iter_mut().enumerate() {
        if moved(i) && to.contains(&from[i]) {
            let decl = &planner.buffers[from[i]];
            let (dtype, len) = (decl.dtype, decl.len);
            let copy = planner.buffers.push(BufferDecl { dtype, len, place: Place::Arena(0) });
            steps.push(Step::Copy { from: from[i], to: copy });
            *source = copy;
        }
    }
    for i in (0..to.len()).filter(|&i| moved(i)) {
        steps.push(Step::Copy { from: sources[i], to: to[i] });
    }
}
