//! How a tape finds its sources and adds derivatives to the graph.

use std::panic::Location;

use backstitch_ir::op::Family;
use backstitch_ir::{Array, DType, Graph, Idx, IndexVec, Op, Shape, Type, Value, ops};
use backstitch_passes::{Reason, Status, reverse, status};
use smallvec::SmallVec;

use crate::gradient::Gradient;
use crate::mistake::Problem;
use crate::tape::{Tape, TapeState};
use crate::tensor::Tensor;
use crate::trace::{Kind, State, origin};
use crate::tree::Tree;

/// A source as the graph knows it.
enum Source {
    /// Its value; of a variable, also those that it had before while the tape recorded.
    Tracked(SmallVec<[Value; 1]>),
    NotWatched,
    NotFloat,
    Poisoned,
}

impl<'t> Tape<'t> {
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut TapeState) -> R) -> R {
        let mut state = self.trace.state();
        let tape = state.tapes.iter_mut().find(|t| t.id == self.id);
        f(tape.expect("a tape is known to its trace until it is dropped"))
    }

    #[track_caller]
    pub(super) fn watch(&self, tensors: &impl Tree<Tensor<'t>>) {
        let place = Location::caller();
        for &x in &tensors.leaves() {
            let ty = x.ty();
            if !std::ptr::eq(x.trace, self.trace) {
                let message = "a tensor of another trace".to_owned();
                self.trace.mistake("watch", Problem::Scope, message, &[], ty);
                continue;
            }
            if !ty.is_float() {
                let message = format!("only floats have gradients; this is {ty}");
                x.mistake("watch", Problem::Gradient, message, ty);
                continue;
            }
            let slot = self.trace.state().slots[x.id as usize];
            if slot.kind == Kind::Variable {
                self.with(|tape| tape.watch_variable(x.id));
                continue;
            }
            self.separate(*x, place);
            self.with(|tape| tape.watched.insert(x.id));
        }
    }

    /// Equal constants are one value, also those that the program's own operations
    /// use; one that is watched becomes a value of its own.
    fn separate(&self, x: Tensor<'t>, place: &'static Location<'static>) {
        let mut state = self.trace.state();
        let Ok(v) = self.trace.resolve(&mut state, x) else { return };
        let graph = &state.top().graph;
        let array = match (graph.op_of(v), graph.as_splat(v)) {
            (Op::Literal(c), _) => c.array().clone(),
            (_, Some(c)) => Array::full(&graph.ty(v).shape, c),
            _ => return,
        };
        let leaf = state.leaf(array, place, self.trace.is_eager());
        state.rebind_outermost(x.id, leaf);
    }

    pub(super) fn watched_variables(&self) -> Vec<Tensor<'t>> {
        let variables = self.with(|tape| tape.variables.clone());
        variables.into_iter().map(|id| Tensor { trace: self.trace, id }).collect()
    }

    #[track_caller]
    pub(super) fn stop_recording<R>(&self, f: impl FnOnce() -> R) -> R {
        let place = Location::caller();
        let was = self.with(|tape| std::mem::replace(&mut tape.paused, true));
        let first = self.trace.state().slots.len();
        let result = f();
        self.with(|tape| tape.paused = was);
        let mut state = self.trace.state();
        for id in first..state.slots.len() {
            if state.slots[id].kind != Kind::Plain {
                continue;
            }
            // What was made in bodies that are closed by now is not to be had.
            let Ok(v) = state.resolve(id as u32) else { continue };
            if !state.top().graph.ty(v).is_float() {
                continue;
            }
            let eager = self.trace.is_eager();
            let stopped = state.add(ops::StopGradient.into(), &[v], place, eager);
            state.rebind(id as u32, stopped.expect("any array can be stopped")[0]);
        }
        result
    }

    #[track_caller]
    pub(super) fn gradient<T: Tree<Tensor<'t>>, C: Tree<Tensor<'t>>, S: Tree<Tensor<'t>>>(
        &self,
        targets: &T,
        seeds: Option<&C>,
        sources: &S,
    ) -> S::With<Gradient<'t>> {
        let targets: Vec<Tensor<'t>> = targets.leaves().into_iter().copied().collect();
        let seeds: Option<Vec<Tensor<'t>>> =
            seeds.map(|c| c.leaves().into_iter().copied().collect());
        if let Some(seeds) = &seeds {
            let same = |(x, c): (&Tensor<'t>, &Tensor<'t>)| x.ty() == c.ty();
            if seeds.len() != targets.len() || !targets.iter().zip(seeds).all(same) {
                let list = |xs: &[Tensor<'t>]| {
                    xs.iter().map(|x| x.ty().to_string()).collect::<Vec<_>>().join(", ")
                };
                let message = format!(
                    "targets ({}) have output gradients of the same types, not ({})",
                    list(&targets),
                    list(seeds)
                );
                return self.poisoned("gradient", message, sources);
            }
        }
        self.derive(
            "gradient",
            &targets,
            sources,
            |g, values, sources| {
                let (targets, seeds) = values.split_at(targets.len());
                let pair = |(i, &t): (usize, &Value)| (t, seeds.get(i).copied());
                let pairs: Vec<_> = targets.iter().enumerate().map(pair).collect();
                let status = status(g, targets, sources);
                (status, reverse(g, &pairs, sources))
            },
            seeds.as_deref().unwrap_or(&[]),
            |_, source| source.clone(),
        )
    }

    #[track_caller]
    pub(super) fn jacobian<S: Tree<Tensor<'t>>>(
        &self,
        operation: &'static str,
        target: Tensor<'t>,
        sources: &S,
        build: fn(&mut Graph, Value, &[Value]) -> Vec<Option<Value>>,
    ) -> S::With<Gradient<'t>> {
        let ty = target.ty();
        let batched = operation == "batch_jacobian";
        if batched {
            let examples = |ty: &Type| ty.dims().first().copied();
            let first = examples(&ty);
            if first.is_none() || sources.leaves().iter().any(|s| examples(&s.ty()) != first) {
                let message = format!(
                    "expected a target {ty} and sources with a first axis of the same extent"
                );
                return self.poisoned(operation, message, sources);
            }
        }
        self.derive(
            operation,
            &[target],
            sources,
            |g, values, sources| (status(g, values, sources), build(g, values[0], sources)),
            &[],
            |target, source| {
                let lead = target.dims();
                let rest = if batched { &source.dims()[1..] } else { source.dims() };
                let dims = lead.iter().chain(rest).copied();
                source.with_shape(dims.collect::<Shape>())
            },
        )
    }

    /// Derivatives of targets with respect to the sources that are tracked.
    ///
    /// `build` adds them to the graph; `shape` is the type of the derivative of
    /// the first target with respect to a source.
    #[track_caller]
    fn derive<S: Tree<Tensor<'t>>>(
        &self,
        operation: &'static str,
        targets: &[Tensor<'t>],
        sources: &S,
        build: impl FnOnce(&mut Graph, &[Value], &[Value]) -> (Vec<Status>, Vec<Option<Value>>),
        seeds: &[Tensor<'t>],
        shape: impl Fn(&Type, &Type) -> Type,
    ) -> S::With<Gradient<'t>> {
        let place = Location::caller();
        let target_ty = targets.first().map(|x| x.ty());
        let types: Vec<_> = {
            let of = |s: &Tensor<'t>| {
                let ty = s.ty();
                target_ty.as_ref().map_or_else(|| ty.clone(), |t| shape(t, &ty))
            };
            sources.leaves().into_iter().map(of).collect()
        };
        if self.is_computed_outside(targets, sources) {
            let message = "the target was computed outside of this body, where its derivative is \
                           not recorded; ask for the gradient there";
            return self.poisoned(operation, message.to_owned(), sources);
        }
        let mut state = self.trace.state();
        let mut values = Vec::with_capacity(targets.len() + seeds.len());
        for &x in targets.iter().chain(seeds) {
            match self.trace.resolve(&mut state, x) {
                Ok(v) => values.push(v),
                Err(absent) => {
                    let operands = self.trace.describe(&state, &[x]);
                    state.refuse(operation, absent, operands, place);
                    drop(state);
                    return self.all_poisoned(sources, &types, place);
                }
            }
        }
        let mut known = self.sources(&mut state, sources, operation, place);
        let tracked: Vec<Value> = known
            .iter()
            .filter_map(|s| if let Source::Tracked(v) = s { Some(v) } else { None })
            .flatten()
            .copied()
            .collect();
        let graph = &mut state.top().graph;
        graph.set_origin(origin(place));
        let (statuses, found) = build(graph, &values, &tracked);
        if self.trace.is_eager() && state.scopes.len() == 1 {
            state.catch_up();
        }
        drop(state);
        let _line = self.trace.line_at(place);
        let (mut found, mut types) = (statuses.into_iter().zip(found), types.into_iter());
        let mut known = known.drain(..);
        sources.map_leaves(&mut |&source| {
            let ty = types.next().expect("one type per source");
            match known.next().expect("one state per source") {
                Source::NotWatched => Gradient::missing(source, Reason::NotWatched),
                Source::NotFloat => {
                    let message = format!("only floats have gradients; this is {}", source.ty());
                    let x =
                        self.trace.mistake(operation, Problem::Gradient, message, &[source], ty);
                    Gradient::new(source, Some(x), Status::Connected)
                }
                Source::Poisoned => {
                    let x = self.trace.poison(&mut self.trace.state(), ty, place);
                    Gradient::new(source, Some(x), Status::Connected)
                }
                Source::Tracked(values) => {
                    let mut each = found.by_ref().take(values.len()).map(|(status, value)| {
                        let value = match (&status, value) {
                            (Status::Unconnected(_), _) => None,
                            (_, Some(v)) => {
                                let mut state = self.trace.state();
                                Some(self.trace.slot(&mut state, v, Kind::Plain, place))
                            }
                            (_, None) => Some(self.trace.zeros(ty.dtype, ty.dims())),
                        };
                        (status, value)
                    });
                    let now = each.next().expect("one result per tracked value");
                    let (status, value) = each.fold(now, |(status, sum), (before, value)| {
                        let sum = match (sum, value) {
                            (Some(sum), Some(value)) => Some(sum + value),
                            (sum, value) => sum.or(value),
                        };
                        (closer(status, before), sum)
                    });
                    Gradient::new(source, value, status)
                }
            }
        })
    }

    /// What is known of each source.
    fn sources<S: Tree<Tensor<'t>>>(
        &self,
        state: &mut State,
        sources: &S,
        operation: &'static str,
        place: &'static Location<'static>,
    ) -> Vec<Source> {
        let tape = state.tapes.iter().find(|t| t.id == self.id).expect("as in `with`");
        let (watched, automatic) = (tape.watched.clone(), tape.automatic);
        let mut roots: Vec<Value> = Vec::with_capacity(watched.len());
        for &id in &watched {
            // A tensor of a body that is closed cannot lead anywhere.
            roots.extend(state.resolve(id).ok());
        }
        let mut tracked: Option<IndexVec<Value, bool>> = None;
        let mut all = Vec::new();
        for &source in sources.leaves() {
            let value = match self.trace.resolve(state, source) {
                Ok(v) => v,
                Err(absent) => {
                    let operands = self.trace.describe(state, &[source]);
                    state.refuse(operation, absent, operands, place);
                    all.push(Source::Poisoned);
                    continue;
                }
            };
            // A variable that nothing has used is unused rather than not watched.
            let own = watched.contains(&source.id)
                || (automatic && state.slots[source.id as usize].kind == Kind::Variable);
            let graph = &state.top().graph;
            all.push(if !graph.ty(value).is_float() {
                Source::NotFloat
            } else if own
                || roots.contains(&value)
                || tracked.get_or_insert_with(|| reached(graph, &roots))[value]
            {
                let mut values = SmallVec::from_elem(value, 1);
                let versions = state.versions.get(&source.id).into_iter().flatten();
                values.extend(versions.filter(|v| v.tapes > self.id).map(|v| v.value));
                Source::Tracked(values)
            } else {
                Source::NotWatched
            });
        }
        all
    }

    /// Whether a path from a source to a target is outside of the body that is
    /// being recorded.
    fn is_computed_outside<S: Tree<Tensor<'t>>>(
        &self,
        targets: &[Tensor<'t>],
        sources: &S,
    ) -> bool {
        let state = self.trace.state();
        let here = state.top_id();
        let outside = |x: &Tensor<'t>| state.slots[x.id as usize].scope != here;
        let sources = sources.leaves();
        let path = |x: &Tensor<'t>| outside(x) && !sources.iter().any(|s| s.id == x.id);
        state.scopes.len() > 1 && targets.iter().any(path) && sources.iter().any(|s| outside(s))
    }

    #[track_caller]
    fn poisoned<S: Tree<Tensor<'t>>>(
        &self,
        operation: &'static str,
        message: String,
        sources: &S,
    ) -> S::With<Gradient<'t>> {
        let all: Vec<Tensor<'t>> = sources.leaves().into_iter().copied().collect();
        let types: Vec<_> = all.iter().map(|s| s.ty()).collect();
        let guess = types.first().cloned();
        let guess = guess.unwrap_or_else(|| Type::scalar(DType::F64));
        self.trace.mistake(operation, Problem::Gradient, message, &all, guess);
        self.all_poisoned(sources, &types, Location::caller())
    }

    #[track_caller]
    fn all_poisoned<S: Tree<Tensor<'t>>>(
        &self,
        sources: &S,
        types: &[Type],
        place: &'static Location<'static>,
    ) -> S::With<Gradient<'t>> {
        let mut types = types.iter();
        sources.map_leaves(&mut |&source| {
            let ty = types.next().expect("one type per source").clone();
            let x = self.trace.poison(&mut self.trace.state(), ty, place);
            Gradient::new(source, Some(x), Status::Connected)
        })
    }
}

impl Drop for Tape<'_> {
    fn drop(&mut self) {
        let mut state = self.trace.state();
        state.tapes.retain(|t| t.id != self.id);
        if state.tapes.is_empty() {
            state.versions.clear();
        }
    }
}

/// Of two statuses that which lets more through.
fn closer(a: Status, b: Status) -> Status {
    match (&a, &b) {
        (Status::Connected, _) | (Status::Flat(_), Status::Unconnected(_)) => a,
        (Status::Unconnected(_), Status::Unconnected(_)) => a,
        _ => b,
    }
}

/// The values that a derivative path leads to from these.
fn reached(g: &Graph, roots: &[Value]) -> IndexVec<Value, bool> {
    let mut reached = IndexVec::filled(false, g.value_count());
    roots.iter().for_each(|&v| reached[v] = true);
    let start = roots.iter().map(|&v| g.source(v).0.index()).min().unwrap_or(g.node_count());
    for n in g.nodes().skip(start) {
        let args = g.args(n);
        let carries = |i: usize| match g.op(n).family() {
            Family::Array(p) => p.carries(i).is_some(),
            Family::Cond(_) | Family::Loop(_) | Family::Rows(_) => true,
            Family::Region(r) => r.with_derivative().contains(&i),
        };
        if args.iter().enumerate().any(|(i, &a)| reached[a] && carries(i)) {
            for r in g.results(n) {
                reached[r] |= g.ty(r).is_float();
            }
        }
    }
    reached
}
