//! Sets of columns, each kept once.

use backstitch_ir::threshold;
use std::hash::BuildHasher;

use rustc_hash::{FxBuildHasher, FxHashMap};
use smallvec::SmallVec;

/// A set of columns. Two are equal if they have the same members.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Set(u32);

impl Set {
    /// The one without members.
    pub const EMPTY: Self = Self(0);
}

/// Unions of sets that are longer than this together are remembered: a look-up is
/// less work than the union.
const REMEMBERED: usize = threshold(32, 2);

/// How many elements loops may compute that are followed through iteration by
/// iteration: some tenths of a second.
const BUDGET: usize = 1 << 22;

/// All sets there are.
pub(super) struct Sets {
    budget: usize,
    /// How many members all sets may have together.
    room: usize,
    full: bool,
    members: Vec<u32>,
    /// Where the members of each set start and end.
    spans: Vec<(usize, usize)>,
    /// By the hash of their members.
    found: FxHashMap<u64, SmallVec<[Set; 1]>>,
    pairs: FxHashMap<(Set, Set), Set>,
    /// When each column was last seen by [`Sets::unite`].
    seen: Vec<u32>,
    now: u32,
    buffer: Vec<u32>,
}

impl Sets {
    /// Sets of so many columns: none yet but the empty one and those of one member.
    pub fn new(columns: usize) -> Self {
        let count = u32::try_from(columns).expect("fewer than 2^32 columns");
        let spans = std::iter::once((0, 0)).chain((0..columns).map(|j| (j, j + 1))).collect();
        Self {
            budget: BUDGET,
            room: usize::MAX,
            full: false,
            members: (0..count).collect(),
            spans,
            found: FxHashMap::default(),
            pairs: FxHashMap::default(),
            seen: vec![0; columns],
            now: 0,
            buffer: Vec::new(),
        }
    }

    /// As [`new`](Self::new), of no more than so many members together. Once there would
    /// be more, all sets that are made are empty.
    pub fn within(columns: usize, room: usize) -> Self {
        Self { room, ..Self::new(columns) }
    }

    /// Whether there would have been more members than there may be.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether loops may be followed through that compute so many elements.
    pub fn can_spend(&self, elements: usize) -> bool {
        elements <= self.budget
    }

    /// Notes that a loop computed so many elements; `None` if it may not.
    pub fn spend(&mut self, elements: usize) -> Option<()> {
        self.budget = self.budget.checked_sub(elements)?;
        Some(())
    }

    /// The set of that column alone.
    pub fn single(&self, column: usize) -> Set {
        debug_assert!(column < self.seen.len());
        Set(column as u32 + 1)
    }

    /// The members of a set, ascending.
    pub fn members(&self, s: Set) -> &[u32] {
        let (start, end) = self.spans[s.0 as usize];
        &self.members[start..end]
    }

    fn len(&self, s: Set) -> usize {
        let (start, end) = self.spans[s.0 as usize];
        end - start
    }

    /// The union of two sets.
    pub fn union(&mut self, a: Set, b: Set) -> Set {
        if a == b || b == Set::EMPTY {
            return a;
        }
        if a == Set::EMPTY {
            return b;
        }
        let (small, large) = if self.len(a) <= self.len(b) { (a, b) } else { (b, a) };
        let all = self.members(large);
        if self.members(small).iter().all(|j| all.binary_search(j).is_ok()) {
            return large;
        }
        let remembered = self.len(a) + self.len(b) > REMEMBERED;
        let pair = (a.min(b), a.max(b));
        if remembered && let Some(&known) = self.pairs.get(&pair) {
            return known;
        }
        let mut merged = std::mem::take(&mut self.buffer);
        merged.clear();
        let (mut x, mut y) = (self.members(a), self.members(b));
        while let (Some(&i), Some(&j)) = (x.first(), y.first()) {
            merged.push(i.min(j));
            x = &x[usize::from(i <= j)..];
            y = &y[usize::from(j <= i)..];
        }
        merged.extend_from_slice(x);
        merged.extend_from_slice(y);
        let set = self.intern(&merged);
        self.buffer = merged;
        if remembered {
            self.pairs.insert(pair, set);
        }
        set
    }

    /// The union of many sets.
    pub fn unite(&mut self, sets: &mut Vec<Set>) -> Set {
        sets.sort_unstable();
        sets.dedup();
        sets.retain(|&s| s != Set::EMPTY);
        match sets[..] {
            [] => return Set::EMPTY,
            [s] => return s,
            [a, b] => return self.union(a, b),
            _ => {}
        }
        let mut merged = std::mem::take(&mut self.buffer);
        merged.clear();
        self.now += 1;
        for &s in sets.iter() {
            let (start, end) = self.spans[s.0 as usize];
            for &j in &self.members[start..end] {
                if std::mem::replace(&mut self.seen[j as usize], self.now) != self.now {
                    merged.push(j);
                }
            }
        }
        merged.sort_unstable();
        let set = self.intern(&merged);
        self.buffer = merged;
        set
    }

    fn intern(&mut self, members: &[u32]) -> Set {
        if let [j] = *members {
            return Set(j + 1);
        }
        if self.full || members.len() > self.room {
            self.full = true;
            return Set::EMPTY;
        }
        let hash = FxBuildHasher.hash_one(members);
        if let Some(candidates) = self.found.get(&hash)
            && let Some(&s) = candidates.iter().find(|&&s| self.members(s) == members)
        {
            return s;
        }
        let set = Set(u32::try_from(self.spans.len()).expect("fewer than 2^32 sets"));
        self.room -= members.len();
        let start = self.members.len();
        self.members.extend_from_slice(members);
        self.spans.push((start, self.members.len()));
        self.found.entry(hash).or_default().push(set);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_kept_once() {
        let mut sets = Sets::new(5);
        let [a, b, c] = [0, 2, 4].map(|j| sets.single(j));
        let ab = sets.union(a, b);
        assert_eq!(sets.members(ab), [0, 2]);
        assert_eq!(sets.union(b, a), ab);
        assert_eq!(sets.union(ab, a), ab);
        assert_eq!(sets.union(ab, Set::EMPTY), ab);
        let bc = sets.union(b, c);
        let all = sets.union(ab, bc);
        assert_eq!(sets.unite(&mut vec![c, ab, Set::EMPTY, c, a]), all);
        assert_eq!(sets.members(all), [0, 2, 4]);
        assert_eq!(sets.unite(&mut vec![b, b]), b);
    }
}
