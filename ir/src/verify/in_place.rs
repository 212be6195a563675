//! Whether what a nest stores may lie where something lies that it loads.
//!
//! Of each load of the one and each store of the other: no byte is loaded once it has
//! been stored over. Let the loops around both run through iterations `c` (of the load)
//! and `c'` (of the store). Unless they have no byte in common in any of them, three
//! things are shown.
//!
//! 1. In the same iteration, the load stands before the store in the text, and so does
//!    all of the loops around it alone.
//! 2. In different iterations, whichever comes first, they touch different bytes. Each
//!    loop around both moves both by the same stride; the distance between the two is
//!    `Σ stride·(c - c')` and what they may be apart otherwise, by their offsets and by
//!    the loops around one of them alone. From the smallest stride up, each exceeds
//!    all that those below, and that rest, can add up to: then the sum cannot make up
//!    for the rest, unless `c = c'`.
//! 3. The outermost parallel loop around the store is around the load as well. Threads
//!    that share such a loop each repeat what stands before it, when another may have
//!    stored in it already.
//!
//! A loop over a chunk is taken as one over a position in the chunk, its counter moves
//! it by the length of a chunk. But where nothing else of both depends on the counter,
//! the two loops are one over the axis that is cut, of which the last chunk may be short.

use smallvec::SmallVec;

use crate::nest::{At, Axis, For, Mode, Nest, Param, Range, Stmt};

/// One load or store, with the loops around it.
struct Touch<'n> {
    /// Where in the text.
    number: usize,
    at: &'n At,
    loops: SmallVec<[&'n For; 4]>,
}

/// All loads of one parameter and all stores to another.
struct Touches<'n> {
    from: Param,
    to: Param,
    loads: Vec<Touch<'n>>,
    stores: Vec<Touch<'n>>,
    number: usize,
}

impl Touch<'_> {
    /// The first and the last byte at which its element may begin, in any iteration.
    fn span(&self, nest: &Nest, param: Param, width: i128) -> (i128, i128) {
        if self.at.index.is_some() {
            return (0, (nest.params[param].len as i128 - 1).max(0) * width);
        }
        let start = i128::from(self.at.offset) * width;
        self.loops.iter().fold((start, start), |(low, high), l| {
            let last = (nest.axes[l.axis] as i128 - 1).max(0);
            let reach = i128::from(self.at.stride(l.axis)) * width * last;
            (low + reach.min(0), high + reach.max(0))
        })
    }
}

/// Bytes moved by each loop: of one around both, or of one alone.
#[derive(Default)]
struct Moves {
    /// Axis, stride, number of values.
    each: SmallVec<[(Axis, i128, i128); 4]>,
}

/// Whether no element of `from` is loaded once `to` is stored over it, where `to` begins
/// `shift` bytes behind `from`.
///
/// # Errors
/// Why that cannot be seen.
pub(super) fn check(nest: &Nest, from: Param, to: Param, shift: i128) -> Result<(), String> {
    let mut all = Touches { from, to, loads: vec![], stores: vec![], number: 0 };
    all.visit(&nest.body, &mut SmallVec::new());
    for load in &all.loads {
        for store in &all.stores {
            apart(nest, (from, load), (to, store), shift)
                .map_err(|why| format!("{to} takes the place of {from}: {why}"))?;
        }
    }
    Ok(())
}

impl<'n> Touches<'n> {
    fn visit(&mut self, body: &'n [Stmt], loops: &mut SmallVec<[&'n For; 4]>) {
        for stmt in body {
            self.number += 1;
            let touch = |at| Touch { number: self.number, at, loops: loops.clone() };
            match stmt {
                Stmt::Load { param, at, .. } if *param == self.from => self.loads.push(touch(at)),
                Stmt::Store { param, at, .. } | Stmt::Accumulate { param, at, .. }
                    if *param == self.to =>
                {
                    self.stores.push(touch(at));
                }
                Stmt::For(l) => {
                    loops.push(l);
                    self.visit(&l.body, loops);
                    loops.pop();
                }
                _ => {}
            }
        }
    }
}

impl Moves {
    /// `cut`: axes of which chunks and counter are taken as one loop.
    fn of(
        nest: &Nest,
        touch: &Touch<'_>,
        width: i128,
        cut: &[(Axis, Axis)],
    ) -> Result<Self, String> {
        let mut moves = Self::default();
        if touch.at.index.is_some() {
            return Ok(moves);
        }
        for l in &touch.loops {
            let stride = i128::from(touch.at.stride(l.axis)) * width;
            let extent = nest.axes[l.axis] as i128;
            match l.range {
                Range::Whole => moves.add(l.axis, stride, extent),
                Range::Chunk { .. } if cut.iter().any(|c| c.0 == l.axis) => {
                    moves.add(l.axis, stride, extent);
                }
                Range::Chunk { of, size } => {
                    let counter = touch.loops.iter().find(|c| c.axis == of);
                    if counter.is_none_or(|c| c.range != Range::Whole) {
                        return Err(format!("chunks of {} are chunks of chunks", l.axis));
                    }
                    let size = size as i128;
                    moves.add(of, stride * size, nest.axes[of] as i128);
                    moves.add(l.axis, stride, size.min(extent));
                }
            }
        }
        Ok(moves)
    }

    fn add(&mut self, axis: Axis, stride: i128, extent: i128) {
        match self.each.iter_mut().find(|m| m.0 == axis) {
            Some(m) => m.1 += stride,
            None => self.each.push((axis, stride, extent)),
        }
    }

    fn stride(&self, axis: Axis) -> i128 {
        self.each.iter().find(|m| m.0 == axis).map_or(0, |m| m.1)
    }

    /// The first and the last byte at which an element may begin, as loops other than
    /// these move it.
    fn span(&self, nest: &Nest, param: Param, at: &At, common: &[&For]) -> (i128, i128) {
        let decl = &nest.params[param];
        let width = decl.dtype.size() as i128;
        if at.index.is_some() {
            return (0, (decl.len as i128 - 1).max(0) * width);
        }
        let start = i128::from(at.offset) * width;
        let alone = self.each.iter().filter(|m| common.iter().all(|l| l.axis != m.0));
        alone.fold((start, start), |(low, high), &(_, stride, extent)| {
            let reach = stride * (extent - 1).max(0);
            (low + reach.min(0), high + reach.max(0))
        })
    }
}

/// The axis of a loop over a chunk, and its counter, if the loop is all that the counter
/// moves an access by.
fn with_its_counter(l: &For, touch: &Touch<'_>) -> Option<(Axis, Axis)> {
    let Range::Chunk { of, .. } = l.range else { return None };
    let counted = |l: &&&For| matches!(l.range, Range::Chunk { of: other, .. } if other == of);
    let alone = touch.loops.iter().filter(counted).count() == 1;
    (touch.at.stride(of) == 0 && alone).then_some((l.axis, of))
}

fn apart(
    nest: &Nest,
    (from, load): (Param, &Touch<'_>),
    (to, store): (Param, &Touch<'_>),
    shift: i128,
) -> Result<(), String> {
    let [wide, width] = [from, to].map(|p| nest.params[p].dtype.size() as i128);
    let (low, high) = load.span(nest, from, wide);
    let (first, last) = store.span(nest, to, width);
    if high + wide <= first + shift || last + shift + width <= low {
        return Ok(());
    }
    if load.number > store.number {
        return Err("it is loaded after the store".into());
    }
    let both = load.loops.iter().zip(&store.loops);
    let common = both.take_while(|(a, b)| std::ptr::eq::<For>(**a, **b)).count();
    let shared = store.loops.iter().position(|l| l.mode == Mode::Parallel);
    if shared.is_some_and(|outermost| outermost >= common) {
        return Err("threads that share the loop of the store each load it".into());
    }
    let common = &load.loops[..common];
    let cut: SmallVec<[(Axis, Axis); 4]> = (common.iter())
        .filter_map(|l| with_its_counter(l, load).zip(with_its_counter(l, store)))
        .map(|(pair, _)| pair)
        .collect();
    let (loads, stores) =
        (Moves::of(nest, load, wide, &cut)?, Moves::of(nest, store, width, &cut)?);
    let (low, high) = loads.span(nest, from, load.at, common);
    let (first, last) = stores.span(nest, to, store.at, common);
    let (first, last) = (first + shift, last + shift);
    // Bytes are shared where the load begins less than its width before the store, or
    // less than the store's behind it.
    let rest = (high - first + wide - 1).max(last - low + width - 1).max(0);
    let mut strides: SmallVec<[(i128, i128); 4]> = SmallVec::new();
    let is_told = |l: &&&For| cut.iter().any(|c| c.1 == l.axis);
    for l in common.iter().filter(|l| nest.axes[l.axis] > 1 && !is_told(l)) {
        let stride = loads.stride(l.axis);
        if stride != stores.stride(l.axis) {
            return Err(format!("{} moves the load and the store differently", l.axis));
        }
        let extent = loads.each.iter().find(|m| m.0 == l.axis).map_or(1, |m| m.2);
        strides.push((stride.abs(), extent - 1));
    }
    strides.sort_unstable();
    let mut below = rest;
    for (stride, more) in strides.into_iter().filter(|s| s.1 > 0) {
        if stride <= below {
            return Err("another iteration may load what this one stores over".into());
        }
        below += stride * more;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustc_hash::{FxHashMap, FxHashSet};
    use smallvec::SmallVec;

    use super::*;
    use crate::index::{Idx, IndexVec};
    use crate::nest::{Access, ParamDecl, Var};
    use crate::ty::DType;

    struct Rng(u64);

    impl Rng {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            ((self.0 >> 33) % n as u64) as usize
        }
    }

    /// Loads of `p0` and stores to `p1`, in loops.
    fn block(rng: &mut Rng, nest: &mut Nest, open: &mut Vec<(Axis, bool)>) -> Vec<Stmt> {
        let mut body = Vec::new();
        for _ in 0..1 + rng.below(3) {
            if open.len() < 3 && rng.below(3) > 0 {
                let extent = 1 + rng.below(4);
                let chunks: Vec<Axis> =
                    open.iter().filter(|o| !o.1 && o.0.index() > 0).map(|o| o.0).collect();
                let (axis, range) = match chunks.first() {
                    Some(&of) if rng.below(2) == 0 => {
                        let size = 1 + rng.below(3);
                        let all = nest.axes[of] * size;
                        let axis = nest.axes.push(all - rng.below(size));
                        (axis, Range::Chunk { of, size })
                    }
                    _ => (nest.axes.push(extent), Range::Whole),
                };
                open.push((axis, range != Range::Whole));
                let mode = [Mode::Sequential, Mode::Parallel][rng.below(2)];
                let inner = block(rng, nest, open);
                open.pop();
                let (carries, accs) = (vec![], vec![]);
                body.push(Stmt::For(Box::new(For {
                    axis,
                    range,
                    mode,
                    carries,
                    accs,
                    body: inner,
                })));
                continue;
            }
            let mut strides: SmallVec<[(Axis, i64); 4]> = SmallVec::new();
            for &(axis, _) in open.iter() {
                let stride = [0, 1, 2, 3, 4, 8, 12][rng.below(7)];
                if stride != 0 {
                    strides.push((axis, stride));
                }
            }
            let offset = [0, 0, 0, 1][rng.below(4)];
            let at = At { offset, strides, index: None };
            body.push(match rng.below(2) {
                0 => Stmt::Load { var: Var::new(0), param: Param::new(0), at },
                _ => Stmt::Store { param: Param::new(1), at, value: Var::new(0) },
            });
        }
        body
    }

    /// How a nest is run, and where it is.
    #[derive(Clone, Default)]
    struct Run {
        /// Whether parallel loops run backwards.
        back: bool,
        /// How many parallel loops are open.
        shared: usize,
        /// The iteration of each loop that is open.
        at: FxHashMap<Axis, i64>,
        /// The elements stored so far.
        stored: FxHashSet<i64>,
        /// Those stored in a parallel loop of the statement that runs.
        by_threads: FxHashSet<i64>,
    }

    impl Run {
        fn element(&self, a: &At) -> i64 {
            a.offset + a.strides.iter().map(|(axis, s)| s * self.at[axis]).sum::<i64>()
        }

        /// Runs the statements, and gives whether something is loaded that has been stored
        /// over: in the course of one thread, or when another that shares a parallel loop
        /// comes late, and repeats what stands before it.
        fn spoils(&mut self, nest: &Nest, body: &[Stmt]) -> bool {
            body.iter().enumerate().any(|(k, stmt)| {
                let before = std::mem::take(&mut self.by_threads);
                let spoilt = self.step(nest, stmt);
                let is_loop = matches!(stmt, Stmt::For(_)) && self.shared == 0;
                let repeated = is_loop && self.late().spoils(nest, &body[..k]);
                self.by_threads.extend(before);
                spoilt || repeated
            })
        }

        /// A thread that repeats what stands before a loop, once others are through with it.
        fn late(&self) -> Self {
            Self { stored: self.by_threads.clone(), shared: 1, ..self.clone() }
        }

        fn step(&mut self, nest: &Nest, stmt: &Stmt) -> bool {
            match stmt {
                Stmt::Load { at, .. } => self.stored.contains(&self.element(at)),
                Stmt::Store { at, .. } => {
                    let element = self.element(at);
                    self.stored.insert(element);
                    if self.shared > 0 {
                        self.by_threads.insert(element);
                    }
                    false
                }
                Stmt::For(l) => {
                    let extent = nest.axes[l.axis] as i64;
                    let mut values: Vec<i64> = match l.range {
                        Range::Whole => (0..extent).collect(),
                        Range::Chunk { of, size } => {
                            let first = self.at[&of] * size as i64;
                            (first..extent.min(first + size as i64)).collect()
                        }
                    };
                    let parallel = l.mode == Mode::Parallel;
                    if self.back && parallel {
                        values.reverse();
                    }
                    self.shared += usize::from(parallel);
                    let spoilt = values.into_iter().any(|value| {
                        self.at.insert(l.axis, value);
                        self.spoils(nest, &l.body)
                    });
                    self.shared -= usize::from(parallel);
                    spoilt
                }
                _ => false,
            }
        }
    }

    #[test]
    fn what_is_allowed_spoils_nothing() {
        let mut allowed = 0;
        for seed in 0..60_000 {
            let mut rng = Rng(seed * 7919 + 1);
            let decl = |access| ParamDecl { dtype: DType::F64, len: 1000, access };
            let mut nest = Nest {
                name: "t".into(),
                params: [decl(Access::Last), decl(Access::Out)].into_iter().collect(),
                axes: IndexVec::new(),
                funcs: IndexVec::new(),
                vars: [DType::F64].into_iter().collect(),
                body: vec![],
            };
            nest.body = block(&mut rng, &mut nest, &mut vec![]);
            let mut both = Touches {
                from: Param::new(0),
                to: Param::new(1),
                loads: vec![],
                stores: vec![],
                number: 0,
            };
            both.visit(&nest.body, &mut SmallVec::new());
            if both.loads.is_empty() || both.stores.is_empty() {
                continue;
            }
            if check(&nest, Param::new(0), Param::new(1), 0).is_ok() {
                allowed += 1;
                for back in [false, true] {
                    let mut run = Run { back, ..Run::default() };
                    assert!(!run.spoils(&nest, &nest.body), "{nest}");
                }
            }
        }
        assert!(allowed > 1000, "only {allowed} nests may work in place");
    }

    #[test]
    fn what_threads_repeat_loads_nothing_that_one_has_stored_over() {
        let says = |before: &str, mode: &str, inside: &str| {
            let text = format!(
                "kernel @t(p0: last f32[16], p1: out f32[16]) {{\n{before}  for i0:16{mode} {{\n{inside}    \
                 p1[i0] = v0\n  }}\n}}"
            );
            let nest = crate::text::parse_nest(&text).expect("a nest");
            check(&nest, Param::new(0), Param::new(1), 0)
        };
        let (first, own) = ("  v0 = load p0[0] : f32\n", "    v0 = load p0[i0] : f32\n");
        let why = says(first, " parallel", "").expect_err("one thread may have stored p1[0]");
        assert!(why.ends_with("threads that share the loop of the store each load it"), "{why}");
        assert_eq!(says(first, "", ""), Ok(()));
        assert_eq!(says("", " parallel", own), Ok(()));
    }

    #[test]
    fn elements_are_told_apart_by_their_bytes() {
        let text = |load: &str, store: &str| {
            format!(
                "kernel @t(p0: last f32[16], p1: out f32[16]) {{\n  for i0:4 {{\n    for i1:4 {{\n      \
                 v0 = load p0[{load}] : f32\n      p1[{store}] = v0\n    }}\n  }}\n}}"
            )
        };
        let says = |load: &str, store: &str, shift: i128| {
            let nest = crate::text::parse_nest(&text(load, store)).expect("a nest");
            check(&nest, Param::new(0), Param::new(1), shift).is_ok()
        };
        assert!(says("i0*4 + i1", "i0*4 + i1", 0));
        assert!(!says("i0 + i1*4", "i0*4 + i1", 0));
        assert!(!says("i0*4 + i1 + 1", "i0*4 + i1", 0));
        assert!(!says("i0*4 + i1", "i0*4 + i1", 4));
        assert!(!says("i0*4 + i1", "i0*4 + i1", 2));
        assert!(says("i0*4 + i1 + 1", "i0*4 + i1", 4));
        assert!(!says("i0*4", "i0*4 + i1", 0));
    }

    #[test]
    fn tiles_whose_last_is_short_are_told_apart() {
        let text = |load: &str| {
            format!(
                "kernel @t(p0: last f32[100], p1: out f32[100]) {{\n  for i0:3 {{\n    for i1:3 {{\n      \
                 for i2:10 chunk 4 of i0 {{\n        for i3:10 chunk 4 of i1 {{\n          \
                 v0 = load p0[{load}] : f32\n          p1[i2*10 + i3] = v0\n        }}\n      \
                 }}\n    }}\n  }}\n}}"
            )
        };
        let says = |load: &str| {
            let nest = crate::text::parse_nest(&text(load)).expect("a nest");
            check(&nest, Param::new(0), Param::new(1), 0).is_ok()
        };
        assert!(says("i2*10 + i3"));
        assert!(!says("i3*10 + i2"));
        assert!(!says("i2*10 + i3 - i1*4"));
        assert!(!says("i2*9 + i3"));
    }
}
