//! Programs on many lanes at once.
//!
//! A program on one lane becomes a program on `n`: each leaf of what it takes has an
//! additional axis that counts lanes, or is shared by all of them. What depends on
//! shared leaves alone is computed once. It is a transformation of graphs like
//! derivatives are, so that both compose in any order.

#![expect(
    clippy::type_complexity,
    reason = "result types spell out what a program takes and gives"
)]

use std::sync::Arc;

use backstitch_ir::op::{self, materialise};
use backstitch_ir::{Graph, Type, Value, ops};
use backstitch_passes::batch;

use crate::axes::axis;
use crate::mistake::{Problem, TraceError};
use crate::spec::Spec;
use crate::traced::Traced;
use crate::tree::{Tree, leaf};

/// Where the lanes of an array are; see [`Traced::vmap_with`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lane {
    /// Along this axis of the array with all lanes. Negative ones count from the end.
    Axis(i32),
    /// All lanes have the same.
    Shared,
}

leaf!(Lane);

/// Where the lanes of a structure of arrays are; see [`Traced::vmap_with`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lanes<T> {
    /// Along this axis of each leaf.
    Axis(i32),
    /// All lanes have the same leaves.
    Shared,
    /// As each [`Lane`] of this structure says.
    Each(T),
}

impl<P: Tree<Spec>, D: Tree<Spec>, O: Tree<Spec>> Traced<P, D, O> {
    /// The program on `n` lanes at once. Each leaf of parameters, data and outputs gets
    /// a first axis of extent `n`, in front of its own.
    ///
    /// Loops run as long as any lane does; lanes that are done keep what they carry.
    /// Branches by something that differs between lanes are both computed, and the
    /// right one is taken for each lane.
    ///
    /// ```
    /// use backstitch_trace::{Spec, trace};
    /// // How many steps it takes to 1, of x/2 where x is even and of 3x + 1 elsewhere.
    /// let steps = trace(Spec::f64([]), (), |t, x, ()| {
    ///     let end = t.while_loop(
    ///         (x, t.scalar(0.0)),
    ///         |(x, _)| x.gt(1.0),
    ///         |(x, n)| {
    ///             let even = x.modulo(2.0).eq(0.0);
    ///             (t.cond(even, || x / 2.0, || 3.0 * x + 1.0), n + 1.0)
    ///         },
    ///     );
    ///     end.1
    /// })?;
    /// let counts = steps.vmap(4)?.eval(&ndarray::arr1(&[1.0, 2.0, 3.0, 6.0]), &())?;
    /// assert_eq!(counts.to_f64_vec(), [0.0, 1.0, 7.0, 8.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// If an array with all lanes has more elements than there can be.
    #[track_caller]
    pub fn vmap(
        &self,
        n: usize,
    ) -> Result<Traced<P::With<Spec>, D::With<Spec>, O::With<Spec>>, TraceError> {
        self.vmap_with(n, &Lanes::Axis(0), &Lanes::Axis(0), &Lanes::Axis(0))
    }

    /// The program on `n` lanes at once, with lanes along an axis of each leaf or
    /// shared by all lanes, as is said for parameters, data and outputs.
    ///
    /// The gradient of each example by itself:
    ///
    /// ```
    /// use backstitch_trace::{Lanes, Spec, trace};
    /// let loss = trace(Spec::f64([2]), (Spec::f64([2]), Spec::f64([])), |_, w, (x, y)| {
    ///     (x.dot(w) - y).square()
    /// })?;
    /// let each = loss.grad()?.vmap_with(3, &Lanes::Shared, &Lanes::Axis(0), &Lanes::Axis(0))?;
    /// let x = ndarray::arr2(&[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]);
    /// let y = ndarray::arr1(&[0.0, 0.0, 1.0]);
    /// let gradients = each.eval(&ndarray::arr1(&[1.0, 2.0]), &(x, y))?;
    /// assert_eq!(gradients.dims(), [3, 2]);
    /// assert_eq!(gradients.to_f64_vec(), [2.0, 0.0, 0.0, 4.0, 4.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// Leaf by leaf, with [`Lanes::Each`]:
    ///
    /// ```
    /// use backstitch_trace::{Lane, Lanes, Spec, trace};
    /// let f = trace(Spec::f64([2]), (Spec::f64([2]), Spec::f64([])), |_, w, (x, y)| w * x + y)?;
    /// let data = Lanes::Each((Lane::Axis(-1), Lane::Shared));
    /// let f = f.vmap_with(3, &Lanes::Shared, &data, &Lanes::Axis(1))?;
    /// assert_eq!(*f.data(), (Spec::f64([2, 3]), Spec::f64([])));
    /// assert_eq!(*f.outputs(), Spec::f64([2, 3]));
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such axis, if lanes are given for another structure, if an output
    /// is said to be shared that differs between lanes, or if an array with all lanes
    /// has more elements than there can be.
    #[track_caller]
    pub fn vmap_with(
        &self,
        n: usize,
        params: &Lanes<P::With<Lane>>,
        data: &Lanes<D::With<Lane>>,
        outputs: &Lanes<O::With<Lane>>,
    ) -> Result<Traced<P::With<Spec>, D::With<Spec>, O::With<Spec>>, TraceError> {
        let found = (|| {
            let of = |what: &'static str| move |why: String| format!("{what}: {why}");
            let params = places(&self.params, params, n).map_err(of("parameters"))?;
            let data = places(&self.data, data, n).map_err(of("data"))?;
            let outputs = places(&self.outputs, outputs, n).map_err(of("outputs"))?;
            Ok((params, data, outputs))
        })();
        let (params, data, outputs) = match found {
            Ok(found) => found,
            Err(message) => return Err(self.error("vmap", Problem::Parameter, message)),
        };

        let mut graph = Graph::new(format!("{}.vmap", self.graph.name));
        let mut lanes = Vec::with_capacity(self.graph.inputs().len());
        for (&v, &at) in self.graph.inputs().iter().zip(params.iter().chain(&data)) {
            graph.set_origin(self.graph.origin(self.graph.source(v).0));
            let ty = wider(self.graph.ty(v), at, n);
            let value = graph.input(ty, self.graph.name_of(v));
            lanes.push((value, at));
        }
        let front = |(value, at): (Value, Option<usize>)| match at {
            Some(at) => op::Lane { value: to_front(&mut graph, value, at), batched: true },
            None => op::Lane { value, batched: false },
        };
        let lanes: Vec<op::Lane> = lanes.into_iter().map(front).collect();
        let found = batch(&mut graph, &self.graph, &lanes, n);
        let mut results = Vec::with_capacity(found.len());
        for ((lane, &at), name) in found.into_iter().zip(&outputs).zip(self.outputs.leaf_names()) {
            results.push(match at {
                Some(at) => {
                    let all = materialise(&mut graph, lane, n);
                    from_front(&mut graph, all, at)
                }
                None if lane.batched => {
                    let name = if name.is_empty() { name } else { format!(" `{name}`") };
                    let message = format!("the output{name} differs between lanes");
                    return Err(self.error("vmap", Problem::Parameter, message));
                }
                None => lane.value,
            });
        }
        graph.set_outputs(results);
        Ok(Traced {
            graph: Arc::new(backstitch_passes::prune(&graph)),
            params: all_lanes(&self.params, &params, n),
            data: all_lanes(&self.data, &data, n),
            outputs: all_lanes(&self.outputs, &outputs, n),
        })
    }
}

/// For each leaf the axis of its lanes, or why there is none.
fn places<T: Tree<Spec>>(
    tree: &T,
    lanes: &Lanes<T::With<Lane>>,
    n: usize,
) -> Result<Vec<Option<usize>>, String> {
    let (specs, names) = (tree.leaves(), tree.leaf_names());
    let lanes: Vec<Lane> = match lanes {
        Lanes::Axis(a) => vec![Lane::Axis(*a); specs.len()],
        Lanes::Shared => vec![Lane::Shared; specs.len()],
        Lanes::Each(each) if each.leaf_names() == names => {
            each.leaves().into_iter().copied().collect()
        }
        Lanes::Each(each) => {
            let (given, wanted) = (each.leaf_names().join("`, `"), names.join("`, `"));
            return Err(format!("expected lanes for the leaves `{wanted}`, not for `{given}`"));
        }
    };
    let place = |((&spec, name), lane): ((&&Spec, &String), Lane)| {
        let Lane::Axis(at) = lane else { return Ok(None) };
        let what = if name.is_empty() { spec.to_string() } else { format!("`{name}`, {spec}") };
        let at = axis(at, spec.dims().len() + 1)
            .map_err(|why| format!("{what} on all lanes has no {why}"))?;
        let room = isize::MAX as usize / spec.dtype().size().max(1);
        match spec.ty().len().checked_mul(n) {
            Some(len) if len <= room => Ok(Some(at)),
            _ => Err(format!("{n} lanes of {what} are more than memory can hold")),
        }
    };
    specs.iter().zip(&names).zip(lanes).map(place).collect()
}

/// The type with an axis of lanes.
fn wider(ty: &Type, at: Option<usize>, n: usize) -> Type {
    let Some(at) = at else { return ty.clone() };
    let mut dims = ty.dims().to_vec();
    dims.insert(at, n);
    ty.with_shape(dims)
}

fn all_lanes<T: Tree<Spec>>(tree: &T, at: &[Option<usize>], n: usize) -> T::With<Spec> {
    let mut at = at.iter();
    tree.map_leaves(&mut |spec| wider(spec.ty(), *at.next().expect("one per leaf"), n).into())
}

fn to_front(g: &mut Graph, v: Value, at: usize) -> Value {
    let rest = (0..g.ty(v).rank()).filter(|&a| a != at);
    let perm: ops::Axes = std::iter::once(at).chain(rest).collect();
    if at == 0 { v } else { g.push(ops::Permute { perm }, &[v]) }
}

fn from_front(g: &mut Graph, v: Value, at: usize) -> Value {
    let perm: ops::Axes = (1..=at).chain([0]).chain(at + 1..g.ty(v).rank()).collect();
    if at == 0 { v } else { g.push(ops::Permute { perm }, &[v]) }
}
