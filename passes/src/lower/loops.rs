//! Loops over rows: where the stacks of a loop are.
//!
//! A loop whose number of iterations is a constant, and whose stacks are the rows of
//! arrays ([`Rows`]), needs no stack: its iterations read and write the rows in
//! place. Any other stack is in a store, and is pushed and popped.

use std::sync::Arc;

use backstitch_ir::op::View;
use backstitch_ir::ops::{Loop, Rows};
use backstitch_ir::plan::Buffer;
use backstitch_ir::{Graph, Node, Op, Type, Value};
use rustc_hash::{FxHashMap, FxHashSet};

use super::operand::{Operand, Val};
use super::scope::{Home, Library, Scope};

/// A loop, with what it pops from and pushes to.
pub(crate) struct LoopCall {
    pub op: Arc<Loop>,
    pub count: Option<Val>,
    pub inits: Vec<Val>,
    pub consts: Vec<Val>,
    pub pops: Vec<Entries>,
    pub carries: Vec<Val>,
    pub pushes: Vec<Entries>,
    /// Number of iterations, if it is known.
    pub trips: Option<usize>,
}

impl LoopCall {
    /// What a carry starts from, if the loop reads that for nothing else: then the carry
    /// may be where that was.
    fn target(&self, carry: Val) -> Option<Val> {
        let i = self.carries.iter().position(|&v| v == carry)?;
        let x = self.inits[i];
        let reads = self.count.iter().chain(&self.inits).chain(&self.consts).copied();
        let reads = reads.chain(self.pops.iter().filter_map(|e| e.val()));
        (reads.filter(|&v| v == x).count() == 1).then_some(x)
    }
}

/// Where the entries of a stack are.
#[derive(Clone, Copy)]
pub(crate) enum Entries {
    /// In a store; the val is a handle.
    Stack(Val),
    /// They are the rows of an array; `back`: the first iteration has the last.
    Rows { array: Val, back: bool },
    /// Nobody asks for them.
    Dead,
}

impl Entries {
    /// The val that holds or names them.
    fn val(self) -> Option<Val> {
        match self {
            Self::Stack(val) | Self::Rows { array: val, .. } => Some(val),
            Self::Dead => None,
        }
    }
}

/// What is known of a loop.
#[derive(Default)]
pub(crate) struct Known {
    trips: Option<usize>,
    held: FxHashSet<Value>,
}

/// Where the entries of a stack are that has become an array.
pub(crate) struct StackRows {
    rows: Operand,
    /// Whether the entry that was pushed last is the first row.
    back: bool,
}

impl Scope<'_> {
    pub fn loop_node(&mut self, n: Node, l: &Loop) {
        let g = self.g;
        let args = g.args(n);
        let (lead, steady) = (l.lead(), l.lead() + l.carries + l.consts);
        let trips = self.known(n).trips;
        let whole = |scope: &mut Self, vs: &[Value]| -> Vec<Val> {
            vs.iter().map(|&v| scope.whole(n, v)).collect()
        };
        let count = if trips.is_none() && lead == 1 { Some(self.whole(n, args[0])) } else { None };
        let inits = whole(self, &args[lead..lead + l.carries]);
        let consts = whole(self, &args[lead + l.carries..steady]);
        let pops = args[steady..].iter().map(|&stack| match g.op_of(stack) {
            Op::Rows(Rows::ToStack { back }) if self.pops_all(n, stack) => {
                let array = self.whole(n, g.args(g.source(stack).0)[0]);
                Entries::Rows { array, back: !back }
            }
            _ => Entries::Stack(self.whole(n, stack)),
        });
        let pops: Vec<Entries> = pops.collect();
        let results = g.results(n);
        let carries = results[..l.carries].iter().map(|&r| self.result(r)).collect();
        let uses = uses(g, n, trips);
        let pushes = results[l.carries..].iter().map(|&stack| match uses.get(&stack) {
            None => Entries::Dead,
            Some(Use::Stack) => Entries::Stack(self.result(stack)),
            Some(Use::Array(ty, back)) => {
                let array = self.val(ty, Home::Open);
                let rows = Operand::whole(array, &ty.shape);
                self.rows.insert(stack, StackRows { rows, back: *back });
                Entries::Rows { array, back: *back }
            }
        });
        let pushes: Vec<Entries> = pushes.collect();
        let op = Arc::new(l.clone());
        let call = LoopCall { op, count, inits, consts, pops, carries, pushes, trips };
        let steady = call.count.iter().chain(&call.inits).chain(&call.consts).copied();
        let reads: Vec<Val> = steady.chain(call.pops.iter().filter_map(|e| e.val())).collect();
        let pushed = call.pushes.iter().filter_map(|e| e.val());
        let makes: Vec<Val> = call.carries.iter().copied().chain(pushed).collect();
        self.call(Library::Loop(call), &reads, &makes);
    }

    /// Lets a carry be changed where it is, if all that happens to it in the body is that
    /// something is added at indices, or that it goes through a loop, and its old value is not read afterwards: then an
    /// iteration costs what it adds, not what the carry has.
    ///
    /// `outs` are the outputs of the body, of which `i` is the carry's; `carry` is where it
    /// is.
    pub fn update_in_place(&mut self, outs: &[Val], i: usize, carry: Buffer) {
        let mut chain = Vec::new();
        let mut at = outs[i];
        while !matches!(self.homes[at], Home::Buffer(_)) {
            let Some(group) = self.groups.made[at].map(|m| m.group) else { return };
            let target = match self.library.get(&group) {
                Some(Library::Scatter(scatter)) => scatter.target(|v| self.vals[v].shape.clone()),
                Some(Library::Loop(call)) => call.target(at),
                _ => None,
            };
            let Some(x) = target else { return };
            // The last to read it is this one; later, it is no longer what it was.
            if self.groups.last_read[x] != Some(group) || outs.contains(&x) {
                return;
            }
            chain.push(at);
            at = x;
        }
        if matches!(self.homes[at], Home::Buffer(b) if b == carry) {
            for val in chain {
                self.homes[val] = Home::Buffer(carry);
            }
        }
    }

    /// How often a loop runs, if that is known, and the stacks that it does something else
    /// with but to pop them: found once, as its operands may be many.
    fn known(&mut self, n: Node) -> &Known {
        let g = self.g;
        self.known.entry(n).or_insert_with(|| {
            let Op::Loop(l) = g.op(n) else { return Known::default() };
            let args = g.args(n);
            let steady = args[..l.lead() + l.carries + l.consts].iter().copied();
            Known {
                trips: l.trips(g, &args),
                held: steady.filter(|&v| g.ty(v).stack > 0).collect(),
            }
        })
    }

    /// Whether `user` is a loop that pops all rows of an array, and does nothing else
    /// with the stack that they are on.
    fn pops_all(&mut self, user: Node, stack: Value) -> bool {
        let g = self.g;
        let rows = g.ty(g.args(g.source(stack).0)[0]).dims()[0];
        let known = self.known(user);
        known.trips == Some(rows) && !known.held.contains(&stack)
    }

    pub fn rows_node(&mut self, n: Node, op: &Rows) {
        let g = self.g;
        let (from, result) = (g.args(n)[0], g.results(n)[0]);
        match op {
            Rows::ToStack { .. }
                if g.users(n).all(|user| self.pops_all(user, result))
                    && !g.outputs().contains(&result) => {}
            Rows::FromStack { ty, back } if self.rows.contains_key(&from) => {
                let StackRows { rows, back: stored_back } = &self.rows[&from];
                let view = |strides, offset| View { strides, offset };
                let own = ty.shape.strides();
                let view = match (back != stored_back, ty.dims()[0].checked_sub(1)) {
                    (true, Some(last)) => {
                        let offset = last as isize * own[0];
                        let mut strides = own;
                        strides[0] = -strides[0];
                        view(strides, offset)
                    }
                    _ => view(own, 0),
                };
                let rows = rows.view(&view, &ty.shape, &ty.shape);
                self.operands[result] = Some(rows.expect("any view of what is contiguous"));
            }
            _ => {
                let (arg, out) = (self.whole(n, from), self.result(result));
                self.call(Library::Rows { op: op.clone(), arg, out }, &[arg], &[out]);
            }
        }
    }
}

/// What is done with a stack.
enum Use {
    /// An array of all entries is made of it, and nothing else; the first time it is, in
    /// this order.
    Array(Type, bool),
    Stack,
}

/// What is done with each result of a loop that is used at all.
fn uses(g: &Graph, n: Node, trips: Option<usize>) -> FxHashMap<Value, Use> {
    let own = |v: &Value| g.source(*v).0 == n;
    let mut uses = FxHashMap::default();
    // A node is among the users once per use, and these stand together.
    let mut last = None;
    for user in g.users(n).filter(|&user| last.replace(user) != Some(user)) {
        for stack in g.args(user).into_iter().filter(own) {
            let array = match g.op(user) {
                Op::Rows(Rows::FromStack { ty, back }) if Some(ty.dims()[0]) == trips => {
                    Some((ty, *back))
                }
                _ => None,
            };
            match (array, uses.get(&stack)) {
                (Some((ty, back)), None) => {
                    uses.insert(stack, Use::Array(ty.clone(), back));
                }
                (Some(_), Some(Use::Array(..))) => {}
                _ => {
                    uses.insert(stack, Use::Stack);
                }
            }
        }
    }
    for v in g.outputs().iter().copied().filter(own) {
        uses.insert(v, Use::Stack);
    }
    uses
}
