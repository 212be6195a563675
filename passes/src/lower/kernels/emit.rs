//! Values of a group as variables of a nest.
//!
//! Values are asked for where they are used and computed there; the builder
//! places each operation in the outermost loop that knows its operands, and
//! shares what has been computed already.

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Access, At, Axis, Cmp, Param, Range, Var};
use backstitch_ir::plan::{ALIGN, Buffer, BufferRef, Step};
use backstitch_ir::ty::DType;
use rustc_hash::FxHashMap;

use super::narrow::Positions;
use super::tiles::Tiles;
use crate::lower::Planner;
use crate::lower::groups::{GroupId, Item, ItemOp, Level, Made};
use crate::lower::nest::Loops;
use crate::lower::operand::{Operand, Strides, Val};
use crate::lower::origin::{Cut, KernelOrigin};
use crate::lower::scope::Scope;
use crate::math;

/// A nest in the making.
pub(super) struct Emit<'a, 'g> {
    pub scope: &'a mut Scope<'g>,
    pub planner: &'a mut Planner,
    pub b: NestBuilder,
    pub args: Vec<Buffer>,
    params: FxHashMap<Buffer, Param>,
    pub loops: Loops,
    /// The first element of the domain that they run over; all zero if it is empty.
    pub start: Strides,
    /// The open loops, one axis each.
    pub axes: Vec<Axis>,
    /// How many loops are opened; those inside are written out.
    pub full: usize,
    /// Where these stand.
    pub written: Positions,
    /// How the innermost two loops are cut.
    pub tiles: Option<Tiles>,
    /// The columns of the tile, where the loops stand in one.
    pub columns: Option<Range>,
    /// The loop over chunks, if one is open, and how many there are.
    pub chunk: Option<(Axis, usize)>,
    /// Memory of what is kept for a row.
    kept: FxHashMap<Val, Buffer>,
    /// The group whose values are computed here.
    pub group: Option<GroupId>,
    /// Number of axes of its rows.
    rows: usize,
    /// Variables of the group's vals, as far as they are visible.
    pub env: FxHashMap<Val, Var>,
    /// Which loop is open, or was last.
    pub stage: Stage,
    /// Whether rows are gone through by several loops.
    pub blocked: bool,
    /// What an iteration costs, in additions. Where it takes long, a few partial results hide
    /// the latency of adding to them; more would only make more code.
    pub work: usize,
    /// Where the kernel comes from.
    pub origin: KernelOrigin,
}

/// A point in the sequence of loops of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// In the inner loop of this phase, or between it and the next.
    Full(u32),
    /// In a loop over rows of its own, before that inner loop.
    Row(u32),
}

impl<'a, 'g> Emit<'a, 'g> {
    pub fn new(
        scope: &'a mut Scope<'g>,
        planner: &'a mut Planner,
        loops: Loops,
        group: Option<GroupId>,
        origin: KernelOrigin,
    ) -> Self {
        let b = NestBuilder::new(format!("k{}", planner.kernels.len()));
        let full = loops.len();
        let rows = group.map_or(0, |id| scope.groups.groups[id].rows());
        Self {
            scope,
            planner,
            b,
            args: Vec::new(),
            params: FxHashMap::default(),
            loops,
            start: Strides::new(),
            axes: Vec::new(),
            full,
            written: Positions::new(),
            tiles: None,
            columns: None,
            chunk: None,
            kept: FxHashMap::default(),
            group,
            rows,
            env: FxHashMap::default(),
            stage: Stage::Full(0),
            blocked: false,
            work: 0,
            origin,
        }
    }

    /// Ends the kernel and starts another one, which combines what chunks have left; gives
    /// the step that runs it.
    pub fn finish(&mut self) -> Step {
        let next = KernelOrigin { operations: vec![], cut: Cut::Chunks, not_joined: None };
        self.finish_before(next)
    }

    /// Ends the kernel and starts another one, which comes from there; gives the step that
    /// runs it.
    pub fn finish_before(&mut self, next: KernelOrigin) -> Step {
        let empty = NestBuilder::new(format!("k{}", self.planner.kernels.len() + 1));
        let nest = std::mem::replace(&mut self.b, empty).finish();
        let args = std::mem::take(&mut self.args);
        self.params.clear();
        self.env.clear();
        self.axes.clear();
        self.chunk = None;
        let kernel = self.planner.kernel(nest, std::mem::replace(&mut self.origin, next));
        let args = args.into_iter().map(|buffer| BufferRef { buffer, offset: 0 }).collect();
        Step::Run { kernel, args }
    }

    /// From here on, the loops of a part of the domain that begins with this element.
    pub fn enter(&mut self, start: Strides, loops: Loops, full: usize, tiles: Option<Tiles>) {
        (self.start, self.loops, self.full, self.tiles) = (start, loops, full, tiles);
    }

    /// The parameter for a buffer, made when first asked for.
    pub fn param(&mut self, buffer: Buffer, access: Access) -> Param {
        if let Some(&p) = self.params.get(&buffer) {
            return p;
        }
        let decl = &self.planner.buffers[buffer];
        let p = self.b.param(decl.dtype, decl.len, access);
        self.params.insert(buffer, p);
        self.args.push(buffer);
        p
    }

    fn is_own(&self, val: Val) -> bool {
        self.group.is_some() && self.scope.groups.made[val].map(|m| m.group) == self.group
    }

    /// The parameter for the memory of a val.
    pub fn memory(&mut self, val: Val) -> Param {
        let access = match self.is_own(val) {
            true => self.scope.access_to_store(val, self.planner.kernels.len()),
            false => Access::In,
        };
        let buffer = self.scope.buffer(self.planner, val);
        self.param(buffer, access)
    }

    /// The element of an operand at which the loops stand.
    pub fn read(&mut self, operand: &Operand) -> Var {
        let (val, offset, strides) = match operand {
            Operand::Splat(c) => return self.b.constant(*c),
            Operand::At { val, offset, strides } => (*val, *offset, strides),
            Operand::Joined(joined) => return self.read(joined.at(&self.start)),
        };
        if self.is_own(val) { self.own(val) } else { self.load(val, offset, strides, None) }
    }

    /// An access as the nest writes it.
    pub fn at(&self, offset: i64, strides: &[i64]) -> At {
        let written = self.written.iter().enumerate();
        let there = written.map(|(k, at)| at * self.loops.stride(self.full + k, strides));
        let start = self.start.iter().zip(strides).map(|(i, s)| i * s);
        self.loops.at(&self.axes, offset + there.chain(start).sum::<i64>(), strides)
    }

    fn load(&mut self, val: Val, offset: i64, strides: &[i64], index: Option<Var>) -> Var {
        let param = self.memory(val);
        let mut at = self.at(offset, strides);
        at.index = index;
        self.b.load(param, at)
    }

    /// The element of a val of this group at which the loops stand.
    pub fn own(&mut self, val: Val) -> Var {
        if let Some(&v) = self.env.get(&val) {
            return v;
        }
        let made = self.scope.groups.made[val].expect("own vals are made");
        let earlier = self.is_earlier(made);
        let var = if earlier && self.is_in_memory(val) {
            let (param, at) = self.place(val);
            self.b.load(param, at)
        } else {
            let item = made.item.expect("own vals are made by items");
            let item = self.scope.groups.items[item].clone();
            self.compute(&item)
        };
        self.env.insert(val, var);
        var
    }

    /// Whether a loop that is closed now has made the val.
    fn is_earlier(&self, made: Made) -> bool {
        match (made.level, self.stage) {
            // Where loops are written out, the builder knows what is computed already.
            (Level::Full, _) if self.full < self.loops.len() => false,
            (Level::Full, Stage::Full(q) | Stage::Row(q)) => made.phase < q,
            (Level::Row, Stage::Row(q)) => made.phase < q || self.is_reduction(made),
            (Level::Row, Stage::Full(q)) => self.blocked && made.phase <= q,
            _ => false,
        }
    }

    fn is_reduction(&self, made: Made) -> bool {
        let op = |i| &self.scope.groups.items[i].op;
        made.item.is_some_and(|i| matches!(op(i), ItemOp::Reduce { .. }))
    }

    fn compute(&mut self, item: &Item) -> Var {
        let dtype = self.scope.dtype(item.out);
        match &item.op {
            ItemOp::Copy => self.read(&item.args[0]),
            ItemOp::Map(f) => {
                let args: Vec<Var> = item.args.iter().map(|a| self.read(a)).collect();
                if self.scope.calls {
                    self.planner.functions.apply(&mut self.b, *f, dtype, &args)
                } else {
                    math::legalise(&mut self.b, *f, dtype, &args)
                }
            }
            ItemOp::Iota { axis } => {
                let start = self.start.get(*axis).copied().unwrap_or(0);
                match self.loops.loop_of(*axis) {
                    Some(d) if d < self.axes.len() => {
                        let mut i = self.b.index(self.axes[d]);
                        if start > 0 {
                            let start = self.b.int(DType::I64, start);
                            i = self.b.add(i, start);
                        }
                        self.b.convert(i, dtype)
                    }
                    Some(d) => self.b.int(dtype, start + self.written[d - self.full]),
                    None => self.b.int(dtype, start),
                }
            }
            ItemOp::Gather { step, last } => {
                let index = self.read(&item.args[1]);
                let index = clamped(&mut self.b, index, *step, *last);
                let Operand::At { val, offset, strides } = &item.args[0] else {
                    unreachable!("a gather from a constant is that constant")
                };
                self.load(*val, *offset, strides, Some(index))
            }
            ItemOp::Reduce { .. } => panic!("lower: a reduction is read before it is complete"),
        }
    }

    /// Stores the element of a val where the loops stand.
    pub fn store(&mut self, val: Val, value: Var) {
        let (param, at) = self.place(val);
        self.b.store(param, at, value);
    }

    /// Whether a val of this group is in memory, if only for the time of a row.
    fn is_in_memory(&self, val: Val) -> bool {
        self.scope.groups.stored[val] || self.scope.groups.kept.contains(&val)
    }

    /// Where the element of a val of this group is that the loops stand at.
    fn place(&mut self, val: Val) -> (Param, At) {
        if self.scope.groups.stored[val] {
            let (offset, strides) = self.scope.vals[val].stored_at();
            return (self.memory(val), self.at(offset, &strides));
        }
        let mut strides = self.scope.vals[val].strides();
        let decl = &self.scope.vals[val];
        let (dtype, rows) = (decl.dtype, self.rows);
        strides[..rows].fill(0);
        let row: usize = decl.loops.dims()[rows..].iter().product();
        // Rows of several threads share no cache line, and do not all begin at the same
        // place of a page.
        let line = ALIGN / dtype.size();
        let step = (row.div_ceil(line) + 1) * line;
        let count = self.chunk.map_or(1, |c| c.1);
        let planner = &mut *self.planner;
        let buffer = *self.kept.entry(val).or_insert_with(|| planner.scratch(dtype, count * step));
        let param = self.param(buffer, Access::Out);
        let mut at = self.at(0, &strides);
        at.strides.extend(self.chunk.map(|(axis, _)| (axis, step as i64)));
        (param, at)
    }
}

/// `step · min(max(index, 0), last)` as `i64`.
pub(super) fn clamped(b: &mut NestBuilder, index: Var, step: i64, last: i64) -> Var {
    let index = b.convert(index, DType::I64);
    let (zero, last) = (b.int(DType::I64, 0), b.int(DType::I64, last));
    let low = b.cmp(Cmp::Lt, index, zero);
    let index = b.select(low, zero, index);
    let high = b.cmp(Cmp::Gt, index, last);
    let index = b.select(high, last, index);
    let step = b.int(DType::I64, step);
    b.mul(index, step)
}
