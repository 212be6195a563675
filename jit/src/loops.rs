//! Branches and loops over steps.
//!
//! What a loop carries is in variables (see [`registers`](crate::registers)), what does
//! not change in it is loaded before it, and it is tested at its end: one jump for each
//! iteration. For that the head of a `while` is written twice if it is short.
//!
//! Loops that count count down, so that the counter is also the place in the rows and
//! stacks that are read from the last entry to the first.

use backstitch_ir::plan::{Buffer, RowOf, Step};
use backstitch_ir::threshold;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, Value};
use smallvec::SmallVec;

use crate::asm::{Addr, Memory, WORD};
use crate::entry::{Form, Node};
use crate::moving::Inside;
use crate::part::PartEmitter;
use crate::registers::Steady;
use crate::scalar::clif_type;
use crate::stacks::Left;
use crate::survey::Span;

/// Some of the rows of a scan.
type Rows<'a> = SmallVec<[&'a RowOf; 8]>;

/// Heads of so many steps at most are written twice.
const SHORT: usize = threshold(6, 1);

impl<'p> PartEmitter<'_, 'p, '_> {
    /// Writes one of two lists of nodes.
    pub(crate) fn branch(&mut self, pred: Buffer, then: &[Node<'p>], els: &[Node<'p>]) {
        let pred = self.scalar(pred);
        let [yes, no, after] = [(); 3].map(|()| self.asm.block(&[]));
        self.asm.branch(pred, (yes, &[]), (no, &[]));
        for (block, nodes) in [(yes, then), (no, els)] {
            self.place_sealed(block);
            self.nodes(nodes);
            self.asm.jump(after, &[]);
        }
        self.place_sealed(after);
    }

    /// Writes a loop.
    pub(crate) fn repeated(&mut self, node: &Node<'p>) {
        if self.depth == 0 {
            self.hold(node);
        }
        self.depth += 1;
        match node {
            Node::While { span, head, pred, body } => self.while_loop(*span, head, *pred, body),
            Node::Repeat { span, count, body } => self.repeat(*span, *count, body),
            Node::Scan { span, count, reads, writes, body } => {
                self.scan(*span, *count, (reads, writes), body);
            }
            Node::Step(_) | Node::Part(_) | Node::If { .. } => unreachable!("not a loop"),
        }
        self.depth -= 1;
        if self.depth == 0 {
            self.held.clear();
            self.forward.registers.release();
        }
    }

    /// Loads what does not change in a loop.
    fn hold(&mut self, node: &Node<'p>) {
        let steady = Steady::of(self.steps, node, &self.forward.registers);
        for buffer in steady.arrays {
            let base = self.buffer(buffer).base;
            self.held.insert(buffer, base);
        }
        for (buffer, i) in steady.elements {
            let decl = &self.steps.plan.buffers[buffer];
            let at = self.buffer(buffer).plus((i * decl.dtype.size()) as i64);
            let value = self.asm.load(clif_type(decl.dtype), at, Memory::Fixed);
            self.forward.registers.hold(buffer, i as i64, value);
        }
        for c in steady.constants {
            let value = self.asm.constant(c);
            self.forward.registers.hold_constant(c, value);
        }
    }

    fn while_loop(&mut self, span: Span, head: &[Node<'p>], pred: Buffer, body: &[Node<'p>]) {
        let mut stacks = self.stacks(span, body);
        self.begin_stacks(&mut stacks);
        let swapped = self.begin_swaps(body, &Inside::of(self.steps.plan, head, body), &[], None);
        let [enter, again, after] = [(); 3].map(|()| self.asm.block(&[]));
        if self.is_short(head) {
            self.nodes(head);
            let go_on = self.scalar(pred);
            self.asm.branch(go_on, (enter, &[]), (after, &[]));
            self.place_sealed(enter);
            self.enter_stacks(&mut stacks, None);
            self.asm.jump(again, &[]);
            self.place(again);
            self.iteration(stacks, body);
            self.nodes(head);
            let go_on = self.scalar(pred);
            self.asm.branch(go_on, (again, &[]), (after, &[]));
            self.asm.seal(again);
        } else {
            self.enter_stacks(&mut stacks, None);
            let test = self.asm.block(&[]);
            self.asm.jump(test, &[]);
            self.place(test);
            self.nodes(head);
            let go_on = self.scalar(pred);
            self.asm.branch(go_on, (again, &[]), (after, &[]));
            self.place_sealed(again);
            self.iteration(stacks, body);
            self.asm.jump(test, &[]);
            self.asm.seal(test);
        }
        self.place_sealed(after);
        self.end_swaps(swapped);
        self.end_stacks();
    }

    /// Whether some nodes are few, and nothing but straight-line code.
    fn is_short(&self, nodes: &[Node<'p>]) -> bool {
        let is_plain = |node: &Node<'p>| match node {
            Node::Step(Step::Run { kernel, .. }) => self.steps.forms[*kernel] == Form::Inline,
            Node::Step(Step::Copy { .. }) => true,
            _ => false,
        };
        nodes.len() <= SHORT && nodes.iter().all(is_plain)
    }

    fn repeat(&mut self, span: Span, count: Buffer, body: &[Node<'p>]) {
        let count = self.scalar(count);
        let mut stacks = self.stacks(span, body);
        self.begin_stacks(&mut stacks);
        let swapped = self.begin_swaps(body, &Inside::of(self.steps.plan, &[], body), &[], None);
        let [enter, after] = [(); 2].map(|()| self.asm.block(&[]));
        let zero = self.asm.int(0);
        let some = self.asm.ins().icmp(IntCC::SignedGreaterThan, count, zero);
        self.asm.branch(some, (enter, &[]), (after, &[]));
        self.place_sealed(enter);
        self.enter_stacks(&mut stacks, Some(count));
        let again = self.countdown(count);
        let left = self.asm.params(again)[0];
        stacks.left = Some(Left::Value(left));
        self.iteration(stacks, body);
        self.count(again, left, after);
        self.place_sealed(after);
        self.end_swaps(swapped);
        self.end_stacks();
    }

    fn scan(
        &mut self,
        span: Span,
        count: usize,
        (reads, writes): (&[RowOf], &[RowOf]),
        body: &[Node<'p>],
    ) {
        if count == 0 {
            return;
        }
        let all = self.asm.int(count as i64);
        let mut stacks = self.stacks(span, body);
        self.begin_stacks(&mut stacks);
        self.enter_stacks(&mut stacks, Some(all));
        let inside = Inside::of(self.steps.plan, &[], body);
        let (mut in_place, copied): (Rows<'_>, Rows<'_>) =
            reads.iter().partition(|r| self.reads_in_place(r, &inside));
        let (written, saved): (Rows<'_>, Rows<'_>) =
            writes.iter().partition(|r| self.writes_in_place(r, &inside));
        in_place.extend(written);
        let swapped = self.begin_swaps(body, &inside, &in_place, Some((all, count)));
        let again = self.countdown(all);
        let left = self.asm.params(again)[0];
        stacks.left = Some(Left::Value(left));
        for r in copied {
            let from = self.row(r, left, count);
            self.set(r.entry, from);
        }
        for r in &in_place {
            let at = self.row(r, left, count);
            self.bind(r, at);
        }
        self.next_rows(&swapped, left, count);
        self.iteration(stacks, body);
        for r in saved {
            let to = self.row(r, left, count);
            self.save(r.entry, to);
        }
        in_place.iter().for_each(|r| self.unbind(r));
        writes.iter().for_each(|r| self.forward.forget(r.rows));
        let after = self.asm.block(&[]);
        self.count(again, left, after);
        self.place_sealed(after);
        self.end_swaps(swapped);
        self.end_stacks();
    }

    /// Begins a loop that counts down from a number that is not 0.
    fn countdown(&mut self, from: Value) -> Block {
        let again = self.asm.block(&[WORD]);
        self.asm.jump(again, &[from]);
        self.place(again);
        again
    }

    /// Ends it.
    fn count(&mut self, again: Block, left: Value, after: Block) {
        let left = self.asm.add_int(left, -1);
        self.asm.branch(left, (again, &[left]), (after, &[]));
        self.asm.seal(again);
    }

    /// Where the row is that belongs to an iteration: there are `left`, this one among
    /// them.
    pub(crate) fn row(&mut self, r: &RowOf, left: Value, count: usize) -> Addr {
        let bytes = self.bytes(r.entry) as i64;
        let rows = self.buffer(r.rows);
        let offset = self.asm.mul_int(left, if r.back { bytes } else { -bytes });
        let disp = if r.back { -bytes } else { bytes.wrapping_mul(count as i64) };
        Addr { base: self.asm.ins().iadd(rows.base, offset), disp: rows.disp.wrapping_add(disp) }
    }
}
