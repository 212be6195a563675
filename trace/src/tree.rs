//! Trees: structures with leaves of one type.
//!
//! A model's parameters, a batch, a set of gradients are structures that differ
//! only in what stands at their leaves. [`Tree<L>`] says how to walk over the
//! leaves `L` of a structure and how to build the same structure with other
//! leaves. Leaves are visited in a fixed order: fields as written, elements by
//! index, map entries by key.
//!
//! `T::With<U>` is the structure `T` with leaves `U`. `T::Nest<M, V>` is `T` with a
//! whole tree `V` (of leaves `M`) in place of each leaf: the shape of a Jacobian.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{Display, Write};
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;

use crate::sparse::Sparse;

/// A type that can stand at the leaves of a tree; itself a tree of one leaf.
pub trait Leaf: Tree<Self> + Sized {}

/// A structure with leaves `L`. Derive it for your structs:
///
/// ```
/// use backstitch_trace::Tree;
///
/// #[derive(Tree, Clone, Debug, PartialEq)]
/// #[tree(crate = backstitch_trace)] // not needed by users of the crate `backstitch`
/// struct Linear<T> {
///     w: T,
///     b: T,
/// }
///
/// let p = Linear { w: 1.0, b: 2.0 };
/// let q = p.map_leaves(&mut |x: &f64| (2.0 * x) as i64);
/// assert_eq!(q, Linear { w: 2, b: 4 });
/// assert_eq!(vec![q.clone(), q].leaf_names(), ["0.w", "0.b", "1.w", "1.b"]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tree with leaves `{L}`",
    note = "trees are leaves, tuples, arrays, `Vec`, `Option`, maps, and structs with `#[derive(Tree)]`",
    note = "what a traced branch or loop assigns is a tree of tensors: begin with `t.scalar(0)`, not `0`"
)]
pub trait Tree<L: Leaf> {
    /// The same structure with leaves `U`.
    type With<U: Leaf>: Tree<U>;
    /// The same structure with a tree `V` in place of each leaf.
    type Nest<M: Leaf, V: Tree<M>>: Tree<M>;

    /// Calls `f` with each leaf and its path, in order.
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a L))
    where
        L: 'a;

    /// The same structure with leaves made from these, in order.
    fn map_leaves<U: Leaf>(&self, f: &mut dyn FnMut(&L) -> U) -> Self::With<U>;

    /// The same structure with a tree made from each leaf, in order.
    fn nest_leaves<M: Leaf, V: Tree<M>>(&self, f: &mut dyn FnMut(&L) -> V) -> Self::Nest<M, V>;

    /// The leaves, in order.
    fn leaves<'a>(&'a self) -> Vec<&'a L>
    where
        L: 'a,
    {
        let mut all = Vec::new();
        self.visit(&mut Path::root(), &mut |_, leaf| all.push(leaf));
        all
    }

    /// The paths of the leaves, in order: `layers.0.w`. The path of a leaf that
    /// is the whole tree is empty.
    fn leaf_names(&self) -> Vec<String> {
        let mut all = Vec::new();
        self.visit(&mut Path::root(), &mut |path, _| all.push(path.as_str().to_owned()));
        all
    }
}

/// Where a leaf is in its tree.
#[derive(Clone, Debug, Default)]
pub struct Path(String);

impl Path {
    /// The path of the whole tree: empty.
    pub fn root() -> Self {
        Self::default()
    }

    /// A path that starts at this name.
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The parts with dots between them.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Runs `f` one step deeper.
    pub fn enter<R>(&mut self, step: impl Display, f: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.0.len();
        let dot = if before > 0 { "." } else { "" };
        write!(self.0, "{dot}{step}").expect("writing to a string");
        let result = f(self);
        self.0.truncate(before);
        result
    }
}

/// Implements [`Tree`] for a type that is a leaf.
macro_rules! leaf {
    ([$($generics:tt)*] $t:ty) => {
        impl<$($generics)*> $crate::tree::Leaf for $t {}
        impl<$($generics)*> $crate::tree::Tree<$t> for $t {
            type With<U: $crate::tree::Leaf> = U;
            type Nest<M: $crate::tree::Leaf, V: $crate::tree::Tree<M>> = V;
            fn visit<'a>(
                &'a self,
                path: &mut $crate::tree::Path,
                f: &mut dyn FnMut(&$crate::tree::Path, &'a $t),
            ) where $t: 'a {
                f(path, self);
            }
            fn map_leaves<U: $crate::tree::Leaf>(&self, f: &mut dyn FnMut(&$t) -> U) -> U {
                f(self)
            }
            fn nest_leaves<M: $crate::tree::Leaf, V: $crate::tree::Tree<M>>(
                &self,
                f: &mut dyn FnMut(&$t) -> V,
            ) -> V {
                f(self)
            }
        }
    };
    ($t:ty) => {
        $crate::tree::leaf!([] $t);
    };
}
pub(crate) use leaf;

leaf!(f32);
leaf!(f64);
leaf!(i32);
leaf!(i64);
leaf!(bool);
leaf!(backstitch_ir::Array);
leaf!([S: ndarray::RawData, D: ndarray::Dimension] ndarray::ArrayBase<S, D>);

/// A structure whose parts are trees: what differs is how they are walked over.
macro_rules! structure {
    (
        [$($generics:tt)*] $t:ty, [$l:ident, $u:ident, $m:ident, $v:ident]
        with $with:ty, nest $nest:ty,
        |$s:ident, $path:ident, $f:ident| $visit:expr,
        |$ms:ident, $each:ident| $map:expr
    ) => {
        #[allow(unused_variables, reason = "there may be no part")]
        impl<$l: Leaf, $($generics)*> Tree<$l> for $t {
            type With<$u: Leaf> = $with;
            type Nest<$m: Leaf, $v: Tree<$m>> = $nest;
            fn visit<'a>(&'a self, $path: &mut Path, $f: &mut dyn FnMut(&Path, &'a $l))
            where
                $l: 'a,
            {
                let $s = self;
                $visit
            }
            fn map_leaves<$u: Leaf>(&self, f: &mut dyn FnMut(&$l) -> $u) -> Self::With<$u> {
                let $ms = self;
                #[allow(unused_macros, reason = "there may be no part")]
                macro_rules! $each {
                    ($x:expr) => {
                        Tree::map_leaves($x, f)
                    };
                }
                $map
            }
            fn nest_leaves<$m: Leaf, $v: Tree<$m>>(
                &self,
                f: &mut dyn FnMut(&$l) -> $v,
            ) -> Self::Nest<$m, $v> {
                let $ms = self;
                #[allow(unused_macros, reason = "there may be no part")]
                macro_rules! $each {
                    ($x:expr) => {
                        Tree::nest_leaves($x, f)
                    };
                }
                $map
            }
        }
    };
}

structure! {
    [T: Tree<L> + ?Sized] &T, [L, U, M, V]
    with T::With<U>, nest T::Nest<M, V>,
    |s, path, f| (**s).visit(path, f),
    |s, each| each!(&**s)
}

structure! {
    [T: Tree<L>] Box<T>, [L, U, M, V]
    with Box<T::With<U>>, nest Box<T::Nest<M, V>>,
    |s, path, f| (**s).visit(path, f),
    |s, each| Box::new(each!(&**s))
}

structure! {
    [T: Tree<L>] Option<T>, [L, U, M, V]
    with Option<T::With<U>>, nest Option<T::Nest<M, V>>,
    |s, path, f| if let Some(x) = s { x.visit(path, f) },
    |s, each| s.as_ref().map(|x| each!(x))
}

structure! {
    [T: Tree<L>] Vec<T>, [L, U, M, V]
    with Vec<T::With<U>>, nest Vec<T::Nest<M, V>>,
    |s, path, f| for (i, x) in s.iter().enumerate() { path.enter(i, |path| x.visit(path, f)) },
    |s, each| s.iter().map(|x| each!(x)).collect()
}

structure! {
    [T: Tree<L>] [T], [L, U, M, V]
    with Vec<T::With<U>>, nest Vec<T::Nest<M, V>>,
    |s, path, f| for (i, x) in s.iter().enumerate() { path.enter(i, |path| x.visit(path, f)) },
    |s, each| s.iter().map(|x| each!(x)).collect()
}

structure! {
    [T: Tree<L>, const N: usize] [T; N], [L, U, M, V]
    with [T::With<U>; N], nest [T::Nest<M, V>; N],
    |s, path, f| for (i, x) in s.iter().enumerate() { path.enter(i, |path| x.visit(path, f)) },
    |s, each| std::array::from_fn(|i| each!(&s[i]))
}

structure! {
    [K: Ord + Clone + Display, T: Tree<L>] BTreeMap<K, T>, [L, U, M, V]
    with BTreeMap<K, T::With<U>>, nest BTreeMap<K, T::Nest<M, V>>,
    |s, path, f| for (k, x) in s { path.enter(k, |path| x.visit(path, f)) },
    |s, each| s.iter().map(|(k, x)| (k.clone(), each!(x))).collect()
}

structure! {
    [K: Ord + Hash + Clone + Display, T: Tree<L>, H: BuildHasher + Default + Clone]
    HashMap<K, T, H>, [L, U, M, V]
    with HashMap<K, T::With<U>, H>, nest HashMap<K, T::Nest<M, V>, H>,
    |s, path, f| for (k, x) in by_key(s) { path.enter(k, |path| x.visit(path, f)) },
    |s, each| by_key(s).into_iter().map(|(k, x)| (k.clone(), each!(x))).collect()
}

structure! {
    [T: Tree<L>] PhantomData<T>, [L, U, M, V]
    with PhantomData<T::With<U>>, nest PhantomData<T::Nest<M, V>>,
    |_s, _path, _f| (),
    |_s, each| PhantomData
}

structure! {
    [T: Tree<L>] Sparse<T>, [L, U, M, V]
    with Sparse<T::With<U>>, nest Sparse<T::Nest<M, V>>,
    |s, path, f| s.values.visit(path, f),
    |s, each| s.with(each!(&s.values))
}

/// The entries of a map in an order that does not depend on the hasher.
pub(crate) fn by_key<K: Ord, T, H>(map: &HashMap<K, T, H>) -> Vec<(&K, &T)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by(|a, b| a.0.cmp(b.0));
    entries
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),*))*) => {$(
        structure! {
            [$($name: Tree<L>),*] ($($name,)*), [L, U, M, V]
            with ($($name::With<U>,)*), nest ($($name::Nest<M, V>,)*),
            |_s, _path, _f| { $(_path.enter($index, |path| _s.$index.visit(path, _f));)* },
            |_s, each| ($(each!(&_s.$index),)*)
        }
    )*};
}

tuples! {
    ()
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9)
}
