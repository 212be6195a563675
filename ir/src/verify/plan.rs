//! The verifier of plans: declarations and steps.

use std::ops::Range;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{VerifyError, VerifyErrors, memory, result};
use crate::index::Idx;
use crate::nest::{Access, Param, ParamDecl};
use crate::plan::{
    ALIGN, Buffer, BufferRef, Call, Gemm, HANDLE_LEN, Kernel, Matrix, Place, Plan, SCALAR_ALIGN,
    Step, Store,
};
use crate::text::{buffer_line, step_line};
use crate::ty::{DType, Type};
use crate::verify_nest;

/// Whether a plan is well-formed.
///
/// # Errors
/// All that is wrong. What is read before it is written, and what overlaps, is
/// looked for only if all that is named exists.
pub fn verify_plan(plan: &Plan) -> Result<(), VerifyErrors> {
    let mut v =
        Verifier { plan, errors: vec![], step: 0, line: String::new(), opened: opened(plan) };
    v.declarations();
    let declared = v.errors.len();
    v.steps(&plan.steps);
    if v.errors.len() == declared {
        memory::check(plan, &mut v.errors);
    }
    result(v.errors)
}

/// What a step reads or writes of one buffer.
pub(super) struct Use {
    pub buffer: Buffer,
    pub elements: Range<usize>,
    pub reads: bool,
    pub writes: bool,
}

/// What a step itself reads and writes, not counting the steps inside. What it
/// names exists, and is in bounds.
pub(super) fn uses(plan: &Plan, step: &Step) -> SmallVec<[Use; 4]> {
    let whole = |buffer: Buffer, reads, writes| {
        let elements = 0..plan.buffers[buffer].len;
        Use { buffer, elements, reads, writes }
    };
    match step {
        Step::Run { kernel, args } => {
            let params = plan.kernels[*kernel].params.iter();
            let uses = params.zip(args).map(|(decl, arg)| Use {
                buffer: arg.buffer,
                elements: arg.offset..arg.offset + decl.len,
                reads: decl.access.reads(),
                writes: decl.access.writes(),
            });
            uses.collect()
        }
        Step::Gemm(g) => {
            let matrices = operands(g).into_iter().enumerate();
            let uses = matrices.map(|(i, operand)| Use {
                buffer: operand.matrix.at.buffer,
                elements: operand.span().map_or(0..0, |(lo, hi)| lo as usize..hi as usize + 1),
                reads: i < 2 || g.add,
                writes: i == 2,
            });
            uses.collect()
        }
        Step::Call(c) => {
            let signature = c.routine.signature();
            let part = |at: BufferRef, len, reads| Use {
                buffer: at.buffer,
                elements: at.offset..at.offset + len,
                reads,
                writes: !reads,
            };
            let args = c.args.iter().zip(signature.args).map(|(&at, (_, len))| part(at, len, true));
            let work = c.work.map(|at| part(at, c.work_len(), false));
            args.chain([part(c.result, signature.result.1, false)]).chain(work).collect()
        }
        Step::Copy { from, to } => {
            [whole(*from, true, false), whole(*to, false, true)].into_iter().collect()
        }
        Step::If { pred: only, .. } | Step::While { pred: only, .. } => {
            [whole(*only, true, false)].into_iter().collect()
        }
        Step::Repeat { count, .. } => [whole(*count, true, false)].into_iter().collect(),
        Step::Scan { reads, writes, .. } => {
            let read = reads.iter().map(|r| whole(r.rows, true, false));
            read.chain(writes.iter().map(|r| whole(r.rows, false, true))).collect()
        }
        Step::Open { stack, .. } => [whole(*stack, false, true)].into_iter().collect(),
        Step::Push { stack, from } => {
            [whole(*stack, true, true), whole(*from, true, false)].into_iter().collect()
        }
        Step::Pop { stack, to } => {
            [whole(*stack, true, true), whole(*to, false, true)].into_iter().collect()
        }
    }
}

/// A matrix of a product with all of its axes: extents and strides.
struct Operand<'a> {
    matrix: &'a Matrix,
    axes: SmallVec<[(usize, isize); 4]>,
}

/// The three matrices of a product.
fn operands(g: &Gemm) -> [Operand<'_>; 3] {
    // A factor is not read if the product is empty, so it runs over all axes.
    [
        Operand::new(g, 0, &g.a, &[(g.m, g.a.row), (g.k, g.a.col), (g.n, 0)]),
        Operand::new(g, 1, &g.b, &[(g.k, g.b.row), (g.n, g.b.col), (g.m, 0)]),
        Operand::new(g, 2, &g.c, &[(g.m, g.c.row), (g.n, g.c.col)]),
    ]
}

impl<'a> Operand<'a> {
    fn new(g: &Gemm, i: usize, matrix: &'a Matrix, axes: &[(usize, isize)]) -> Self {
        let batch = g.batch.iter().map(|axis| (axis.extent, axis.strides[i]));
        Self { matrix, axes: batch.chain(axes.iter().copied()).collect() }
    }

    /// The first and the last element; `None` if there is none.
    fn span(&self) -> Option<(i128, i128)> {
        let (mut lo, mut hi) = (self.matrix.at.offset as i128, self.matrix.at.offset as i128);
        for &(extent, stride) in &self.axes {
            let reach = (extent.checked_sub(1)? as i128).saturating_mul(stride as i128);
            lo = lo.saturating_add(reach.min(0));
            hi = hi.saturating_add(reach.max(0));
        }
        Some((lo, hi))
    }

    /// Whether different indices are different elements: from the smallest
    /// stride up, each exceeds what all smaller ones add up to.
    fn is_injective(&self) -> bool {
        let mut axes: SmallVec<[(i128, i128); 4]> = (self.axes.iter())
            .filter(|axis| axis.0 != 1)
            .map(|&(extent, stride)| ((stride as i128).abs(), extent as i128 - 1))
            .collect();
        axes.sort_unstable();
        let mut below = 0i128;
        axes.into_iter().all(|(stride, last)| {
            let told = stride > below;
            below = below.saturating_add(stride.saturating_mul(last));
            told
        }) || self.span().is_none()
    }
}

/// In which stores each handle is opened.
fn opened(plan: &Plan) -> FxHashMap<Buffer, Vec<Store>> {
    fn visit(steps: &[Step], opened: &mut FxHashMap<Buffer, Vec<Store>>) {
        for step in steps {
            match step {
                Step::Open { stack, store } => opened.entry(*stack).or_default().push(*store),
                Step::If { then: first, els: second, .. }
                | Step::While { head: first, body: second, .. } => {
                    visit(first, opened);
                    visit(second, opened);
                }
                Step::Repeat { body, .. } | Step::Scan { body, .. } => visit(body, opened),
                _ => {}
            }
        }
    }
    let mut opened = FxHashMap::default();
    visit(&plan.steps, &mut opened);
    opened
}

struct Verifier<'a> {
    plan: &'a Plan,
    errors: Vec<VerifyError>,
    /// Number of the next step.
    step: usize,
    /// The step before, in text.
    line: String,
    opened: FxHashMap<Buffer, Vec<Store>>,
}

impl Verifier<'_> {
    fn declarations(&mut self) {
        let plan = self.plan;
        for (word, types) in [("input", &plan.inputs), ("output", &plan.outputs)] {
            let size = |ty: &Type| ty.shape.checked_len()?.checked_mul(ty.dtype.size());
            let bad = |ty: &Type| ty.stack > 0 || size(ty).is_none();
            for (i, ty) in types.iter().enumerate().filter(|(_, ty)| bad(ty)) {
                let message = "it should be an array that fits in memory".into();
                self.error(format!("{word} {i}"), ty.to_string(), message);
            }
        }
        let mut output_of = FxHashMap::<usize, Buffer>::default();
        let mut donated = FxHashMap::<usize, Buffer>::default();
        for b in plan.buffers.keys() {
            if let Err(message) = self.buffer(b) {
                self.error(b.to_string(), buffer_line(plan, b), message);
            }
            if let Place::Donated { input, .. } = plan.buffers[b].place
                && let Some(other) = donated.insert(input, b)
            {
                let message = format!("it is the same input as {other}");
                self.error(b.to_string(), buffer_line(plan, b), message);
            }
            if let Place::Output(i) | Place::Donated { output: i, .. } = plan.buffers[b].place
                && let Some(other) = output_of.insert(i, b)
            {
                let message = format!("it is the same output as {other}");
                self.error(b.to_string(), buffer_line(plan, b), message);
            }
        }
        for (b, decl) in plan.buffers.entries() {
            if let Place::Input(i) = decl.place
                && let Some(other) = donated.get(&i)
            {
                let message = format!("it is an input that {other} overwrites");
                self.error(b.to_string(), buffer_line(plan, b), message);
            }
        }
        for (i, ty) in plan.outputs.iter().enumerate() {
            if !ty.is_empty() && !output_of.contains_key(&i) {
                let message = "no buffer is this output".into();
                self.error(format!("output {i}"), ty.to_string(), message);
            }
        }
        for (k, nest) in plan.kernels.entries() {
            for message in verify_nest::verify(nest).err().unwrap_or_default() {
                self.error(k.to_string(), format!("kernel {k} @{}", nest.name), message);
            }
        }
    }

    fn buffer(&self, b: Buffer) -> Result<(), String> {
        let decl = &self.plan.buffers[b];
        let fits = |what: &str, i: usize, ty: Option<&Type>| match ty {
            None => Err(format!("there is no {what} {i}")),
            Some(ty) if ty.dtype == decl.dtype && ty.shape.checked_len() == Some(decl.len) => {
                Ok(())
            }
            Some(ty) => Err(format!("{what} {i} is {ty}")),
        };
        match &decl.place {
            Place::Input(i) => fits("input", *i, self.plan.inputs.get(*i)),
            Place::Output(i) => fits("output", *i, self.plan.outputs.get(*i)),
            Place::Donated { input, output } => {
                fits("input", *input, self.plan.inputs.get(*input))?;
                fits("output", *output, self.plan.outputs.get(*output))
            }
            Place::Constant(array) => fits("constant", b.index(), Some(&array.ty())),
            Place::Arena(at) => {
                let bytes = decl.len.checked_mul(decl.dtype.size());
                let end = bytes.and_then(|bytes| at.checked_add(bytes));
                let align = if decl.len == 1 { SCALAR_ALIGN } else { ALIGN };
                if end.is_none_or(|end| end > self.plan.arena_bytes) {
                    Err(format!("it ends outside the arena of {} bytes", self.plan.arena_bytes))
                } else if decl.len > 0 && at % align != 0 {
                    Err(format!("it should be aligned to {align} bytes"))
                } else {
                    Ok(())
                }
            }
        }
    }

    fn error(&mut self, entity: String, line: String, message: String) {
        self.errors.push(VerifyError { entity, line, message });
    }

    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            self.line = step_line(step);
            let before = self.errors.len();
            self.names(step);
            if self.errors.len() == before {
                self.types(step);
            }
            if self.errors.len() == before {
                self.writes(step);
            }
            self.step += 1;
            match step {
                Step::If { then: first, els: second, .. }
                | Step::While { head: first, body: second, .. } => {
                    self.steps(first);
                    self.steps(second);
                }
                Step::Repeat { body, .. } | Step::Scan { body, .. } => self.steps(body),
                _ => {}
            }
        }
    }

    fn require(&mut self, holds: bool, message: impl FnOnce() -> String) {
        if !holds {
            self.error(format!("step {}", self.step), self.line.clone(), message());
        }
    }

    /// What a step names exists.
    fn names(&mut self, step: &Step) {
        let buffers: SmallVec<[Buffer; 4]> = match step {
            Step::Run { kernel, args } => {
                self.exists("kernel", *kernel, self.plan.kernels.get(*kernel).is_some());
                args.iter().map(|arg| arg.buffer).collect()
            }
            Step::Gemm(g) => [&g.a, &g.b, &g.c].iter().map(|m| m.at.buffer).collect(),
            Step::Call(c) => c.refs().map(|at| at.buffer).collect(),
            Step::Copy { from, to } => [*from, *to].into_iter().collect(),
            Step::If { pred: only, .. }
            | Step::While { pred: only, .. }
            | Step::Repeat { count: only, .. } => [*only].into_iter().collect(),
            Step::Scan { reads, writes, .. } => {
                reads.iter().chain(writes).flat_map(|r| [r.rows, r.entry]).collect()
            }
            Step::Open { stack, store } => {
                self.exists("store", *store, self.plan.stores.get(*store).is_some());
                [*stack].into_iter().collect()
            }
            Step::Push { stack, from: other } | Step::Pop { stack, to: other } => {
                [*stack, *other].into_iter().collect()
            }
        };
        for b in buffers {
            self.exists("buffer", b, self.plan.buffers.get(b).is_some());
        }
    }

    fn exists(&mut self, what: &str, which: impl Idx + std::fmt::Display, exists: bool) {
        self.require(exists, || format!("there is no {what} {which}"));
    }

    /// What a step names is of the right type and size.
    fn types(&mut self, step: &Step) {
        match step {
            Step::Run { kernel, args } => self.run(*kernel, args),
            Step::Gemm(g) => self.gemm(g),
            Step::Call(c) => self.call(c),
            Step::Copy { from, to } => {
                let [from, to] = [from, to].map(|&b| &self.plan.buffers[b]);
                let same = from.dtype == to.dtype && from.len == to.len;
                self.require(same, || "the buffers differ in type or length".into());
            }
            Step::If { pred, .. } | Step::While { pred, .. } => {
                self.holds("the predicate", *pred, DType::Bool, 1);
            }
            Step::Repeat { count, .. } => self.holds("the count", *count, DType::I64, 1),
            Step::Scan { count, reads, writes, .. } => {
                for r in reads.iter().chain(writes) {
                    let [rows, entry] = [r.rows, r.entry].map(|b| &self.plan.buffers[b]);
                    let fits = rows.dtype == entry.dtype
                        && entry.len.checked_mul(*count) == Some(rows.len);
                    self.require(fits, || format!("{} is not {count} times {}", r.rows, r.entry));
                }
                for r in reads {
                    let writable = self.plan.buffers[r.entry].place.is_writable();
                    self.require(writable, || format!("{} cannot be written", r.entry));
                }
            }
            Step::Open { stack, .. } => self.holds("the handle", *stack, DType::I64, HANDLE_LEN),
            Step::Push { stack, from: entry } | Step::Pop { stack, to: entry } => {
                self.holds("the handle", *stack, DType::I64, HANDLE_LEN);
                self.entry(*stack, *entry);
            }
        }
    }

    fn holds(&mut self, what: &str, b: Buffer, dtype: DType, len: usize) {
        let decl = &self.plan.buffers[b];
        let fits = decl.dtype == dtype && decl.len == len;
        self.require(fits, || format!("{what} {b} should be {dtype}[{len}]"));
    }

    fn run(&mut self, kernel: Kernel, args: &[BufferRef]) {
        let plan = self.plan;
        let params = &plan.kernels[kernel].params;
        let (wanted, got) = (params.len(), args.len());
        self.require(wanted == got, || format!("{kernel} takes {wanted} arguments, not {got}"));
        for ((p, param), arg) in params.entries().zip(args) {
            let decl = &plan.buffers[arg.buffer];
            self.require(param.dtype == decl.dtype, || {
                format!("{p} is {}, {} is {}", param.dtype, arg.buffer, decl.dtype)
            });
            let end = arg.offset.checked_add(param.len);
            self.require(end.is_some_and(|end| end <= decl.len), || {
                format!("{p} has {} elements, {arg} of {} has fewer", param.len, decl.len)
            });
        }
    }

    fn gemm(&mut self, g: &Gemm) {
        let dtype = g.dtype;
        self.require(dtype.is_float(), || format!("there is no product of {dtype}"));
        for (name, operand) in ["a", "b", "c"].into_iter().zip(operands(g)) {
            let at = operand.matrix.at;
            let decl = &self.plan.buffers[at.buffer];
            self.require(decl.dtype == dtype, || format!("{name} is {}, not {dtype}", decl.dtype));
            let span = operand.span();
            let inside = span.is_none_or(|(lo, hi)| lo >= 0 && hi < decl.len as i128);
            self.require(inside, || {
                let (lo, hi) = span.unwrap_or_default();
                format!("{name} is elements {lo}..={hi} of {}, which has {}", at.buffer, decl.len)
            });
            let told = name != "c" || operand.is_injective();
            self.require(told, || "two indices of c may be one element".into());
        }
    }

    fn call(&mut self, c: &Call) {
        let signature = c.routine.signature();
        let (wanted, got) = (signature.args.len(), c.args.len());
        self.require(wanted == got, || format!("it takes {wanted} operands, not {got}"));
        for (i, (&at, &of)) in c.args.iter().zip(&signature.args).enumerate() {
            self.part(&format!("operand {i}"), at, of);
        }
        self.part("the result", c.result, signature.result);
        match (c.work, c.work_len()) {
            (Some(at), len) => {
                self.part("the memory it works in", at, (DType::I64, len));
                let whole = at.offset == 0;
                self.require(whole, || format!("it works at the start of a buffer, not at {at}"));
            }
            (None, len) => self.require(len == 0, || format!("it works in i64[{len}]")),
        }
    }

    /// A buffer has so many elements of that type from there on.
    fn part(&mut self, what: &str, at: BufferRef, (dtype, len): (DType, usize)) {
        let decl = &self.plan.buffers[at.buffer];
        let inside = at.offset.checked_add(len).is_some_and(|end| end <= decl.len);
        let fits = decl.dtype == dtype && inside;
        self.require(fits, || format!("{what} {at} should be {dtype}[{len}]"));
    }

    fn entry(&mut self, stack: Buffer, entry: Buffer) {
        let plan = self.plan;
        let decl = &plan.buffers[entry];
        let bytes = decl.len.checked_mul(decl.dtype.size());
        let fits = match self.opened.get(&stack) {
            Some(stores) => stores.iter().any(|&s| plan.stores.get(s).copied() == bytes),
            None => plan.stores.iter().any(|&size| Some(size) == bytes),
        };
        self.require(fits, || format!("{entry} has not the size of an entry of the store"));
    }

    /// What a step writes may be written, and does not overlap anything else.
    fn writes(&mut self, step: &Step) {
        let plan = self.plan;
        let mut uses = uses(plan, step);
        uses.retain(|u| !u.elements.is_empty());
        uses.sort_by_key(|u| (u.buffer, u.elements.start));
        // Where the last use and the last write so far end, in the same buffer.
        let (mut buffer, mut used, mut written) = (None, 0, 0);
        for u in uses {
            if buffer != Some(u.buffer) {
                (buffer, used, written) = (Some(u.buffer), 0, 0);
            }
            let b = u.buffer;
            let writable = plan.buffers[b].place.is_writable();
            self.require(!u.writes || writable, || format!("{b} cannot be written"));
            let overlaps = u.elements.start < if u.writes { used } else { written };
            let overlaps = overlaps && !in_place(plan, step, b);
            self.require(!overlaps, || format!("it writes elements of {b} and uses them as well"));
            used = used.max(u.elements.end);
            if u.writes {
                written = written.max(u.elements.end);
            }
        }
    }
}

/// Whether a step is a kernel that reads a buffer for the last time where it writes to
/// it, each element before.
fn in_place(plan: &Plan, step: &Step, b: Buffer) -> bool {
    let Step::Run { kernel, args } = step else { return false };
    let nest = &plan.kernels[*kernel];
    let params = || nest.params.entries().zip(args).filter(|(_, arg)| arg.buffer == b);
    let meet = |((_, x), at): &((Param, &ParamDecl), &BufferRef),
                ((_, y), to): &((Param, &ParamDecl), &BufferRef)| {
        at.offset < to.offset + y.len && to.offset < at.offset + x.len
    };
    params().enumerate().filter(|(_, to)| to.0.1.access.writes()).all(|(i, to)| {
        let others = params().enumerate().filter(|(k, _)| *k != i).map(|(_, from)| from);
        others.filter(|from| meet(from, &to)).all(|from| {
            let shift = (to.1.offset as i128 - from.1.offset as i128)
                * plan.buffers[b].dtype.size() as i128;
            from.0.1.access == Access::Last
                && to.0.1.access == Access::Out
                && super::in_place::check(nest, from.0.0, to.0.0, shift).is_ok()
        })
    })
}
