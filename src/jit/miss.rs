//! What a cache says of itself: its counts, and why calls had to compile.

use std::fmt;

use backstitch_trace::Spec;

/// Why a call had to compile.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CacheMiss {
    /// There was nothing to compare with.
    First,
    /// These arrays are of other types than in the call before.
    Types(Vec<TypeChange>),
    /// There are other arrays, by their paths, than in the call before.
    Structure {
        /// What there was.
        before: Vec<String>,
        /// What there is.
        now: Vec<String>,
    },
    /// Something that is not an array is different.
    Static,
}

/// An array of another type.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TypeChange {
    /// Where it is: `params` or `data`, and its path there.
    pub path: String,
    /// What it was.
    pub before: Spec,
    /// What it is.
    pub now: Spec,
}

/// What a cache has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CacheInfo {
    /// Calls that found their executable.
    pub hits: u64,
    /// Calls that had to compile it.
    pub misses: u64,
    /// Executables that were given up for others.
    pub evictions: u64,
    /// Executables there are.
    pub len: usize,
    /// At most so many.
    pub limit: usize,
}

impl fmt::Display for CacheMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("the first call"),
            Self::Types(changes) => {
                for (i, TypeChange { path, before, now }) in changes.iter().enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    write!(f, "{comma}{path}: {before} before, now {now}")?;
                }
                Ok(())
            }
            Self::Structure { before, now } => {
                write!(f, "arrays {} before, now {}", before.join(", "), now.join(", "))
            }
            Self::Static => f.write_str("a part that is not an array is different"),
        }
    }
}
