//! Parts of a program of which little or nothing is kept between forward and reverse.

use std::panic::Location;

use backstitch_ir::Value;
use backstitch_passes::Keep;

use super::rebuild;
use crate::mistake::{Mistake, Problem};
use crate::tensor::Tensor;
use crate::trace::Trace;
use crate::tree::Tree;

/// What a [checkpoint](Trace::checkpoint_with) keeps of its inside for the reverse. The
/// rest is computed again there, from what is kept and from what goes in.
///
/// Values and derivatives are the same with any policy: the same operations are run on
/// the same numbers. (Cotangents of a tensor that is used several times are added in
/// another order if some of the uses are inside.)
#[derive(Clone, Debug, Default)]
#[doc(alias = "checkpoint_policies")]
#[must_use = "it says what `checkpoint_with` keeps"]
pub struct Policy {
    kept: Kept,
    limit: Option<usize>,
}

#[derive(Clone, Debug, Default)]
enum Kept {
    #[default]
    Nothing,
    Named(Vec<String>),
    Products,
    Fewest,
}

impl Policy {
    /// Nothing is kept; least memory, and everything is computed twice.
    #[doc(alias = "nothing_saveable")]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Kept are the values with these names, which [`Tensor::named`] gives. Each name has
    /// to be there.
    #[doc(alias = "save_only_these_names")]
    pub fn keep<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self { kept: Kept::Named(names.into_iter().map(Into::into).collect()), limit: None }
    }

    /// Kept are the results of products (`matmul`, `einsum`, `conv` and their like),
    /// which are dear to compute; not of those inside of loops and branches.
    #[doc(alias = "dots_saveable")]
    #[doc(alias = "checkpoint_dots")]
    pub fn products() -> Self {
        Self { kept: Kept::Products, limit: None }
    }

    /// Kept are the fewest bytes for which nothing dear is computed twice: what is
    /// element by element is; products, sums, sorting, factorisations and loops are not.
    ///
    /// It is a minimum cut of the program between forward and reverse, for a derivative
    /// with respect to everything that goes in.
    #[doc(alias = "min_cut_rematerialization_partition")]
    pub fn fewest_bytes() -> Self {
        Self { kept: Kept::Fewest, limit: None }
    }

    /// The same, and it is a mistake if that is more than so many bytes. The mistake says
    /// how many it takes.
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = Some(bytes);
        self
    }
}

impl Trace {
    /// What the body gives; of what it computes, nothing is kept for the reverse. It is
    /// computed again there: less memory for one more run.
    ///
    /// Values and derivatives are the same with and without (see [`Policy`]). What is to
    /// be kept all the same, [`checkpoint_with`](Self::checkpoint_with) says.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let x = t.constant(2.0);
    /// let tape = t.tape();
    /// tape.watch(&x);
    /// let y = t.checkpoint(|| (x * x).sin().exp());
    /// let slope = tape.gradient(&y, &x).or_zeros().item::<f64>()?;
    /// assert!((slope - 4f64.sin().exp() * 4f64.cos() * 4.0).abs() < 1e-12);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "remat")]
    #[doc(alias = "recompute_grad")]
    pub fn checkpoint<'t, R: Tree<Tensor<'t>>>(
        &'t self,
        body: impl FnOnce() -> R,
    ) -> R::With<Tensor<'t>> {
        self.checkpointed("checkpoint", &Policy::nothing(), body)
    }

    /// A [`checkpoint`](Self::checkpoint) of which something is kept for the reverse, as
    /// the policy says.
    ///
    /// ```
    /// use backstitch_trace::{Policy, Trace};
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[0.5, -1.0]));
    /// let w = t.constant(ndarray::arr2(&[[1.0, 2.0], [0.0, 1.0]]));
    /// let layer = || {
    ///     let attended = x.matmul(w).softmax(0).named("attended");
    ///     (attended * 2.0).tanh().exp()
    /// };
    /// // The reverse has `attended`, and computes what comes after it again.
    /// let y = t.checkpoint_with(Policy::keep(["attended"]), layer);
    /// let z = t.checkpoint_with(Policy::products(), layer);
    /// let all = t.checkpoint_with(Policy::fewest_bytes().limit(64), layer);
    /// assert!(y.array()?.same_bits(&z.array()?));
    /// assert!(y.array()?.same_bits(&all.array()?));
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// A name that no value of the body has is a mistake (values inside of loops,
    /// branches and checkpoints in the body belong to those), and so is more to keep than
    /// the policy's [limit](Policy::limit).
    #[track_caller]
    #[doc(alias = "jax.checkpoint")]
    #[doc(alias = "remat")]
    pub fn checkpoint_with<'t, R: Tree<Tensor<'t>>>(
        &'t self,
        policy: Policy,
        body: impl FnOnce() -> R,
    ) -> R::With<Tensor<'t>> {
        self.checkpointed("checkpoint_with", &policy, body)
    }

    #[track_caller]
    fn checkpointed<'t, R: Tree<Tensor<'t>>>(
        &'t self,
        operation: &'static str,
        policy: &Policy,
        body: impl FnOnce() -> R,
    ) -> R::With<Tensor<'t>> {
        let place = Location::caller();
        let (body, results) = self.body("checkpoint", &[], &[], place, |_| body());
        let types = body.types.clone();
        if body.is_poisoned() {
            return self.guesses(&results, &types, place);
        }
        let captured: Vec<Value> = body.scope.captures.iter().map(|c| c.0).collect();
        let mut named: Vec<Value> = Vec::new();
        let mut missing: Option<String> = None;
        if let Kept::Named(names) = &policy.kept {
            let there = &body.scope.named;
            let is = |name: &String| there.iter().any(|(_, there)| **there == **name);
            missing = names.iter().find(|name| !is(name)).map(|name| {
                let mut known: Vec<String> = Vec::new();
                there.iter().for_each(|(_, name)| known.push(format!("`{name}`")));
                known.sort_unstable();
                known.dedup();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                format!("expected names of values of the checkpoint itself ({known}), got `{name}`")
            });
            let asked = there.iter().filter(|(_, name)| names.iter().any(|n| **n == **name));
            named.extend(asked.map(|(v, _)| *v));
        }
        let keep = match policy.kept {
            Kept::Nothing | Kept::Named(_) => Keep::Values(&named),
            Kept::Products => Keep::Products,
            Kept::Fewest => Keep::Fewest,
        };
        let (region, bytes) = backstitch_passes::checkpoint(&body.seal(), keep);
        let large = policy.limit.filter(|&limit| bytes > limit).map(|limit| match policy.kept {
            Kept::Fewest => format!(
                "expected to keep at most {limit} bytes; the least possible, without \
                 computing twice what is dear, is {bytes}"
            ),
            _ => format!("expected to keep at most {limit} bytes; the policy keeps {bytes}"),
        });
        if let Some(message) = missing.or(large) {
            let (problem, operands) = (Problem::Parameter, Vec::new());
            self.state().mistakes.push(Mistake { place, operation, problem, message, operands });
            return self.guesses(&results, &types, place);
        }
        let kept = region.body.outputs()[types.len()..].iter().map(|&v| region.body.ty(v).clone());
        let all: Vec<_> = types.iter().cloned().chain(kept).collect();
        let found = self.finish(region.into(), &[], &captured, &[], &all, place);
        rebuild(&results, &found[..types.len()])
    }
}

impl<'t> Tensor<'t> {
    /// The same tensor with a name: the program as text has it, and a
    /// [checkpoint](Trace::checkpoint_with) around it may [keep](Policy::keep) it for the
    /// reverse. Several may have one name, and one may have several.
    ///
    /// ```
    /// use backstitch_trace::{Policy, Trace};
    /// let t = Trace::eager();
    /// let x = t.constant(0.5);
    /// let y = t.checkpoint_with(Policy::keep(["sine"]), || x.sin().named("sine").exp());
    /// assert_eq!(y.item::<f64>()?, 0.5f64.sin().exp());
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[doc(alias = "checkpoint_name")]
    #[must_use = "the name is for this value"]
    pub fn named(self, name: &str) -> Self {
        let mut state = self.trace.state();
        // A value that is not to be had is refused where it is used.
        if let Ok(v) = self.trace.resolve(&mut state, self) {
            let top = state.top();
            if top.graph.name_of(v).is_none() {
                top.graph.set_name(v, name);
            }
            if state.scopes.len() > 1 {
                state.top().named.push((v, name.into()));
            }
        }
        self
    }
}
