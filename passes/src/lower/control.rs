//! Loops and conditionals as steps.
//!
//! A body is lowered like a program of its own, into the same plan. The carries
//! of a loop live in buffers: the results of one iteration are copied to them at
//! its end.

use backstitch_ir::Graph;
use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Access, At};
use backstitch_ir::ops::{Loop, Trip};
use backstitch_ir::plan::{Buffer, BufferDecl, BufferRef, HANDLE_LEN, Place, Step};
use backstitch_ir::ty::{DType, Type};

use super::operand::Val;
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
        let [then, els] = branches.map(|g| body(planner, g, &args, Some(&outs)).0);
        steps.push(Step::If { pred, then, els });
    }

    pub(super) fn emit_loop(
        &mut self,
        planner: &mut Planner,
        steps: &mut Vec<Step>,
        l: &Loop,
        args: &[Val],
        outs: &[Val],
    ) {
        let args: Vec<Buffer> = args.iter().map(|&v| self.buffer(planner, v)).collect();
        let outs: Vec<Buffer> = outs.iter().map(|&v| self.buffer(planner, v)).collect();
        let lead = l.lead();
        let (inits, rest) = args[lead..].split_at(l.carries);
        let (consts, stacks) = rest.split_at(l.consts);
        let (carries, pushed) = outs.split_at(l.carries);
        for (&from, &to) in inits.iter().zip(carries) {
            steps.push(Step::Copy { from, to });
        }
        // A stack is popped through a copy of its handle: whoever made it keeps it.
        let cursors: Vec<Buffer> = stacks
            .iter()
            .map(|&from| {
                let to = planner.scratch(DType::I64, HANDLE_LEN);
                steps.push(Step::Copy { from, to });
                to
            })
            .collect();
        let entry = |i: usize| l.body.ty(l.body.outputs()[l.carries + i]);
        for (i, &stack) in pushed.iter().enumerate() {
            let store = planner.stores.push(entry_bytes(entry(i)));
            steps.push(Step::Open { stack, store });
        }
        let mut inner: Vec<Step> = Vec::new();
        let popped: Vec<Buffer> = cursors
            .iter()
            .enumerate()
            .map(|(i, &stack)| {
                let v = l.body.inputs()[l.carries + l.consts + i];
                let to = planner.scratch_for(l.body.ty(v));
                inner.push(Step::Pop { stack, to });
                to
            })
            .collect();
        let inputs = [carries, consts, &popped].concat();
        let (steps_of_body, results) = body(planner, &l.body, &inputs, None);
        inner.extend(steps_of_body);
        for (&stack, &from) in pushed.iter().zip(&results[l.carries..]) {
            inner.push(Step::Push { stack, from });
        }
        assign(planner, &mut inner, &results[..l.carries], carries);
        match &l.trip {
            Trip::Count => steps.push(Step::Repeat { count: args[0], body: inner }),
            Trip::Entries => {
                let count = entries(planner, steps, stacks[0]);
                steps.push(Step::Repeat { count, body: inner });
            }
            Trip::While(cond) => {
                let inputs = [carries, consts].concat();
                let (head, pred) = body(planner, cond, &inputs, None);
                steps.push(Step::While { head, pred: pred[0], body: inner });
            }
        }
    }
}

/// A buffer with the number of entries of a stack, the last word of its handle.
fn entries(planner: &mut Planner, steps: &mut Vec<Step>, stack: Buffer) -> Buffer {
    let count = planner.scratch(DType::I64, 1);
    let mut b = NestBuilder::new("entries");
    let from = b.param(DType::I64, 1, Access::In);
    let to = b.param(DType::I64, 1, Access::Out);
    let n = b.load(from, At::default());
    b.store(to, At::default(), n);
    let kernel = planner.kernels.push(b.finish());
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

/// The steps of a body, and where its outputs are: in `outs`, if given.
fn body(
    planner: &mut Planner,
    g: &Graph,
    inputs: &[Buffer],
    outs: Option<&[Buffer]>,
) -> (Vec<Step>, Vec<Buffer>) {
    let mut scope = Scope::new(g, false, planner.fuse, inputs);
    scope.build();
    if let Some(outs) = outs {
        let plain = scope.bind_body_outputs(outs);
        let mut steps = scope.emit(planner);
        for (from, to) in plain {
            let from = scope.buffer(planner, from);
            steps.push(Step::Copy { from, to });
        }
        return (steps, outs.to_vec());
    }
    let vals = scope.output_vals();
    let steps = scope.emit(planner);
    let results = vals.into_iter().map(|v| scope.buffer(planner, v)).collect();
    (steps, results)
}

/// `to = from`, all at once: a carry may become what another one was.
fn assign(planner: &mut Planner, steps: &mut Vec<Step>, from: &[Buffer], to: &[Buffer]) {
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
