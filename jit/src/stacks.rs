//! Stacks, in loops.
//!
//! A loop that pushes does so once per iteration on each of its stacks. So one number,
//! how many were pushed since it began, says where all the entries go, and one
//! comparison per iteration whether there is room for them; where there is none, the
//! runtime makes some. The lengths of the stores and the handles of the stacks are
//! brought up to date when the loop ends. A loop that pops reads its stacks from the last
//! entry to the first, and how many iterations are left says where it is.
//!
//! # What is checked
//!
//! Nothing in a handle is trusted. Before the first iteration of a loop that pops, its
//! stacks are looked at: that the store exists and has entries of that size, that
//! the stack lies inside what was pushed, and, where the number of iterations is known,
//! that there is an entry for each; a `while` compares in each iteration. A loop that
//! pushes knows its stores when it is compiled (a stack that is opened in one place, and is
//! alone in its store: see [`Survey::pushed`](crate::survey::Survey::pushed)), and checks
//! that each stack is the last in its store, and that nothing is written beyond the room
//! there is. So no entry outside a store is ever read or written, whatever the plan does;
//! and a plan that breaks the rules is refused.
//!
//! While a loop runs, what it has pushed is beyond the length of its stores: nobody reads
//! it, as a loop has no other use of a stack it pushes to. Stores move when they grow, so
//! that where anything is pushed in a loop, its pops ask each time where the store is.
//!
//! Pushes and pops elsewhere, which lowering makes only where a loop's body is too long
//! for one function, are calls of the runtime.

use backstitch_ir::index::Idx;
use backstitch_ir::plan::{Buffer, HANDLE_LEN, Step, Store};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::Variable;
use smallvec::SmallVec;
use std::mem::offset_of;

use crate::Store as Record;
use crate::asm::{Addr, Memory, WORD};
use crate::entry::Node;
use crate::part::PartEmitter;
use crate::survey::Span;

/// What a loop pushes and pops.
pub(crate) struct LoopStacks {
    pushed: SmallVec<[Pushed; 4]>,
    popped: SmallVec<[Popped; 4]>,
    /// How many iterations have been pushed, and for how many there is room.
    done: Option<(Variable, Variable)>,
    /// Whether this iteration has made sure of room, and that there is something to pop.
    sure: [bool; 2],
    /// How many iterations are left, this one among them.
    pub left: Option<Left>,
    /// Whether stores may grow inside.
    grows: bool,
}

/// How many iterations are left, or, in a `while`, how many entries.
#[derive(Clone, Copy)]
pub(crate) enum Left {
    Value(Value),
    Entries(Variable),
}

struct Pushed {
    stack: Buffer,
    store: Store,
    /// Where the loop's first entry is.
    base: Variable,
}

struct Popped {
    stack: Buffer,
    entry: usize,
    /// Where the entry before the first that is popped would be; from the beginning of
    /// the store, if that is loaded from the record each time.
    base: Option<Value>,
    record: Option<Value>,
}

impl<'p> PartEmitter<'_, 'p, '_> {
    /// The stacks that a loop with this body handles by itself.
    pub(crate) fn stacks(&mut self, span: Span, body: &[Node<'p>]) -> LoopStacks {
        let (mut pushed, mut popped) = (SmallVec::new(), SmallVec::new());
        for node in body {
            match node {
                Node::Step(Step::Push { stack, from }) => {
                    let bytes = self.bytes(*from);
                    let store = self.steps.survey.pushed(*stack, span);
                    if let Some(store) = store.filter(|&s| self.steps.plan.stores[s] == bytes) {
                        let base = self.asm.variable(WORD);
                        pushed.push(Pushed { stack: *stack, store, base });
                    }
                }
                Node::Step(Step::Pop { stack, to }) if self.steps.survey.popped(*stack, span) => {
                    let entry = self.bytes(*to);
                    popped.push(Popped { stack: *stack, entry, base: None, record: None });
                }
                _ => {}
            }
        }
        let done = (!pushed.is_empty()).then(|| (self.asm.variable(WORD), self.asm.variable(WORD)));
        let grows = self.steps.survey.grows(span);
        LoopStacks { pushed, popped, done, sure: [false; 2], left: None, grows }
    }

    /// Before it is known whether there is an iteration.
    pub(crate) fn begin_stacks(&mut self, stacks: &mut LoopStacks) {
        if let Some((done, _)) = stacks.done {
            let zero = self.asm.int(0);
            self.asm.define(done, zero);
        }
    }

    /// Before the first iteration of so many, if that is known.
    pub(crate) fn enter_stacks(&mut self, stacks: &mut LoopStacks, trips: Option<Value>) {
        if let Some((_, room)) = stacks.done {
            let table = self.stores();
            for p in &stacks.pushed {
                let end = self.end(p.stack);
                let at = record(table, p.store);
                let len = self.asm.load(WORD, at.plus(LEN), Memory::Changing);
                let is_last = self.asm.ins().icmp(IntCC::Equal, end, len);
                self.ensure(is_last);
            }
            self.measure(&stacks.pushed, room);
        }
        if stacks.popped.is_empty() {
            return;
        }
        let table = self.stores();
        let mut ends: SmallVec<[Value; 4]> = SmallVec::new();
        let mut fewest = trips;
        for p in &mut stacks.popped {
            let [store, start, count] = std::array::from_fn(|i| self.read(p.stack, i));
            let stores = self.asm.int(self.steps.plan.stores.len() as i64);
            let exists = self.asm.ins().icmp(IntCC::UnsignedLessThan, store, stores);
            self.ensure(exists);
            let offset = self.asm.mul_int(store, size_of::<Record>() as i64);
            let at = self.asm.ins().iadd(table.base, offset);
            let record = Addr { base: at, disp: 0 };
            let len = self.asm.load(WORD, record.plus(LEN), Memory::Changing);
            let entry = self.asm.load(WORD, record.plus(ENTRY), Memory::Changing);
            let expected = self.asm.int(p.entry as i64);
            let fits = self.asm.ins().icmp(IntCC::Equal, entry, expected);
            let end = self.asm.ins().iadd(start, count);
            let forward = self.asm.ins().icmp(IntCC::UnsignedLessThanOrEqual, start, end);
            let inside = self.asm.ins().icmp(IntCC::UnsignedLessThanOrEqual, end, len);
            let sound = self.asm.ins().band(fits, forward);
            let mut sound = self.asm.ins().band(sound, inside);
            match (trips, fewest) {
                (Some(trips), _) => {
                    let enough = self.asm.ins().icmp(IntCC::SignedGreaterThanOrEqual, count, trips);
                    sound = self.asm.ins().band(sound, enough);
                    let rest = self.asm.ins().isub(count, trips);
                    self.ensure(sound);
                    self.write(p.stack, HANDLE_LEN - 1, rest);
                }
                (None, so_far) => {
                    self.ensure(sound);
                    let least = so_far.map(|so_far| self.asm.ins().smin(so_far, count));
                    fewest = Some(least.unwrap_or(count));
                }
            }
            p.record = Some(at);
            ends.push(end);
        }
        let fewest = fewest.expect("a stack at least");
        for (p, end) in stacks.popped.iter_mut().zip(ends) {
            let first = self.asm.ins().isub(end, fewest);
            let first = self.asm.add_int(first, -1);
            let offset = self.asm.mul_int(first, p.entry as i64);
            let at = p.record.expect("found above");
            p.base = Some(if stacks.grows {
                offset
            } else {
                let data = self.asm.load(WORD, Addr { base: at, disp: DATA }, Memory::Changing);
                p.record = None;
                self.asm.ins().iadd(data, offset)
            });
        }
        if trips.is_none() {
            let left = self.asm.variable(WORD);
            self.asm.define(left, fewest);
            stacks.left = Some(Left::Entries(left));
        }
    }

    /// Writes the body of a loop with these stacks.
    pub(crate) fn iteration(&mut self, stacks: LoopStacks, body: &[Node<'p>]) {
        self.loops.push(stacks);
        self.nodes(body);
        let stacks = self.loops.last().expect("the loop");
        if let Some((done, _)) = stacks.done {
            let n = self.asm.read(done);
            let next = self.asm.add_int(n, 1);
            self.asm.define(done, next);
        }
        let stacks = self.loops.last().expect("the loop");
        if let Some(Left::Entries(left)) = stacks.left {
            let handles: SmallVec<[Buffer; 4]> = stacks.popped.iter().map(|p| p.stack).collect();
            let n = self.asm.read(left);
            let next = self.asm.add_int(n, -1);
            self.asm.define(left, next);
            for stack in handles {
                let count = self.read(stack, HANDLE_LEN - 1);
                let rest = self.asm.add_int(count, -1);
                self.write(stack, HANDLE_LEN - 1, rest);
            }
        }
    }

    /// After the loop.
    pub(crate) fn end_stacks(&mut self) {
        let stacks = self.loops.pop().expect("a loop that ends");
        let Some((done, _)) = stacks.done else { return };
        let done = self.asm.read(done);
        let table = self.stores();
        for p in &stacks.pushed {
            let at = record(table, p.store).plus(LEN);
            let len = self.asm.load(WORD, at, Memory::Changing);
            let len = self.asm.ins().iadd(len, done);
            self.asm.store(len, at);
            let count = self.read(p.stack, HANDLE_LEN - 1);
            let count = self.asm.ins().iadd(count, done);
            self.write(p.stack, HANDLE_LEN - 1, count);
        }
    }

    // ---- Steps ----

    pub(crate) fn open(&mut self, stack: Buffer, store: Store) {
        let table = self.stores();
        let len = self.asm.load(WORD, record(table, store).plus(LEN), Memory::Changing);
        let (number, none) = (self.asm.int(store.index() as i64), self.asm.int(0));
        for (i, word) in [number, len, none].into_iter().enumerate() {
            self.write(stack, i, word);
        }
    }

    pub(crate) fn push(&mut self, stack: Buffer, from: Buffer) {
        let pushed = |l: &LoopStacks| l.pushed.iter().position(|p| p.stack == stack);
        let Some(i) = self.loops.last().and_then(pushed) else {
            self.spill(&[stack, from]);
            let (handle, from) = (self.pointer(stack), self.pointer(from));
            let push = self.steps.externs.push as *const ();
            let status = self.asm.call_host(push, &[self.ctx, handle, from], Some(types::I32));
            self.written(stack);
            return self.check(status.expect("a status"));
        };
        let mut stacks = self.loops.pop().expect("just seen");
        let (done, room) = stacks.done.expect("a loop that pushes");
        if !std::mem::replace(&mut stacks.sure[0], true) {
            let (n, most) = (self.asm.read(done), self.asm.read(room));
            let full = self.asm.ins().icmp(IntCC::Equal, n, most);
            let [grow, go_on] = [(); 2].map(|()| self.asm.block(&[]));
            self.asm.branch(full, (grow, &[]), (go_on, &[]));
            self.place_sealed(grow);
            self.asm.cold(grow);
            for p in &stacks.pushed {
                let store = self.asm.ins().iconst(types::I32, p.store.index() as i64);
                let grow = self.steps.externs.grow as *const ();
                let status = self.asm.call_host(grow, &[self.ctx, store, n], Some(types::I32));
                self.check(status.expect("a status"));
            }
            self.measure(&stacks.pushed, room);
            self.asm.jump(go_on, &[]);
            self.place_sealed(go_on);
        }
        let (base, n) = (self.asm.read(stacks.pushed[i].base), self.asm.read(done));
        let offset = self.asm.mul_int(n, self.bytes(from) as i64);
        let base = self.asm.ins().iadd(base, offset);
        self.save(from, Addr { base, disp: 0 });
        self.loops.push(stacks);
    }

    pub(crate) fn pop(&mut self, stack: Buffer, to: Buffer) {
        let popped = |l: &LoopStacks| l.popped.iter().position(|p| p.stack == stack);
        let Some(i) = self.loops.last().and_then(popped) else {
            self.spill(&[stack, to]);
            let (handle, at) = (self.pointer(stack), self.pointer(to));
            let pop = self.steps.externs.pop as *const ();
            self.asm.call_host(pop, &[self.ctx, handle, at], None);
            self.written(stack);
            return self.written(to);
        };
        let mut stacks = self.loops.pop().expect("just seen");
        let left = match stacks.left.expect("a loop that pops") {
            Left::Value(left) => left,
            Left::Entries(left) => {
                let left = self.asm.read(left);
                if !std::mem::replace(&mut stacks.sure[1], true) {
                    self.ensure(left);
                }
                left
            }
        };
        let Popped { entry, base, record, .. } = stacks.popped[i];
        let mut base = base.expect("a loop that has been entered");
        if let Some(at) = record {
            let data = self.asm.load(WORD, Addr { base: at, disp: DATA }, Memory::Changing);
            base = self.asm.ins().iadd(data, base);
        }
        let offset = self.asm.mul_int(left, entry as i64);
        let base = self.asm.ins().iadd(base, offset);
        self.set(to, Addr { base, disp: 0 });
        self.loops.push(stacks);
    }

    // ---- Stores ----

    /// The table of stores.
    fn stores(&mut self) -> Addr {
        let at = Addr { base: self.ctx, disp: 0 };
        Addr { base: self.asm.load(WORD, at, Memory::Fixed), disp: 0 }
    }

    /// Where in its store a stack ends.
    fn end(&mut self, stack: Buffer) -> Value {
        let (start, count) = (self.read(stack, 1), self.read(stack, 2));
        self.asm.ins().iadd(start, count)
    }

    /// Where stores end, and for how many entries all of them have room.
    fn measure(&mut self, pushed: &[Pushed], most: Variable) {
        let table = self.stores();
        let mut least = None;
        for p in pushed {
            let at = record(table, p.store);
            let [data, len, room] =
                [DATA, LEN, ROOM].map(|i| self.asm.load(WORD, at.plus(i), Memory::Changing));
            let offset = self.asm.mul_int(len, self.steps.plan.stores[p.store] as i64);
            let base = self.asm.ins().iadd(data, offset);
            self.asm.define(p.base, base);
            let free = self.asm.ins().isub(room, len);
            least = Some(match least {
                None => free,
                Some(least) => self.asm.ins().umin(least, free),
            });
        }
        self.asm.define(most, least.expect("a stack at least"));
    }

    /// Refuses to go on unless that is so.
    fn ensure(&mut self, sound: Value) {
        let refuse = match self.refuse {
            Some(refuse) => refuse,
            None => *self.refuse.insert(self.asm.block(&[])),
        };
        let go_on = self.asm.block(&[]);
        self.asm.branch(sound, (go_on, &[]), (refuse, &[]));
        self.place_sealed(go_on);
    }
}

const DATA: i64 = offset_of!(Record, data) as i64;
const LEN: i64 = offset_of!(Record, len) as i64;
const ROOM: i64 = offset_of!(Record, room) as i64;
const ENTRY: i64 = offset_of!(Record, entry) as i64;

/// A store's record in the table.
fn record(table: Addr, store: Store) -> Addr {
    table.plus((store.index() * size_of::<Record>()) as i64)
}
