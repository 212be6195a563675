//! Places for blocks of memory, each of which is there for a time.
//!
//! The best there is is hard to find. Two quick ways are tried: in the order in which
//! blocks begin, each in the smallest hole it fits, and the same from the end of time
//! back. Where both leave too much unused and not too many blocks are there at once, a
//! third: the largest first, each in the lowest gap among those placed that are there at
//! the same time (Y. Pisarchyk and J. Lee, "Efficient memory management for deep neural net
//! inference", 2020). The best of them is taken. Holes are kept by size and by
//! address, so that placing costs a logarithm per block.

use backstitch_ir::threshold;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Some bytes from one time to another, both included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub first: usize,
    pub last: usize,
    pub bytes: usize,
}

/// Blocks are placed by size if so many pairs of them, and so many more for each block, are
/// there at the same time, or fewer: each pair is looked at.
const PAIRS: usize = threshold(1 << 19, 4);
const MORE: usize = threshold(64, 1);

/// The bytes of all blocks that are there at the worst moment.
pub(super) fn most(blocks: &[Block]) -> usize {
    let mut events: Vec<(usize, bool, usize)> = Vec::with_capacity(2 * blocks.len());
    for b in blocks {
        events.push((b.first, false, b.bytes));
        events.push((b.last, true, b.bytes));
    }
    // What begins at a time is there together with what ends then.
    events.sort_unstable();
    let (mut now, mut most) = (0usize, 0usize);
    for (_, ends, bytes) in events {
        now = if ends { now.saturating_sub(bytes) } else { now.saturating_add(bytes) };
        most = most.max(now);
    }
    most
}

/// A place for each block, and how much memory they take together.
pub(super) fn fit(blocks: &[Block]) -> (Vec<usize>, usize) {
    let least = most(blocks);
    let mut best = in_order(blocks);
    if best.1 > least {
        let turn = blocks.iter().map(|b| b.last).max().unwrap_or(0);
        let back = |b: &Block| Block { first: turn - b.last, last: turn - b.first, ..*b };
        let turned: Vec<Block> = blocks.iter().map(back).collect();
        better(&mut best, in_order(&turned));
    }
    if best.1 > least
        && let Some(meets) = meetings(blocks, PAIRS + MORE * blocks.len())
    {
        better(&mut best, by_size(blocks, &meets));
    }
    best
}

fn better(best: &mut (Vec<usize>, usize), other: (Vec<usize>, usize)) {
    if other.1 < best.1 {
        *best = other;
    }
}

/// In the order in which they begin, each in the smallest hole it fits.
fn in_order(blocks: &[Block]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&i| (blocks[i].first, Reverse(blocks[i].bytes), i));
    let mut holes = Holes::default();
    let mut ending: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut places = vec![0; blocks.len()];
    for i in order {
        let block = &blocks[i];
        while let Some(&(last, over)) = ending.first().filter(|e| e.0 < block.first) {
            ending.remove(&(last, over));
            holes.insert(places[over], blocks[over].bytes);
        }
        places[i] = holes.take(block.bytes);
        ending.insert((block.last, i));
    }
    (places, holes.end)
}

/// For each block those that are there at the same time, if all together are no more pairs
/// than that.
fn meetings(blocks: &[Block], most: usize) -> Option<Vec<Vec<u32>>> {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&i| (blocks[i].first, i));
    let mut meets = vec![Vec::new(); blocks.len()];
    let (mut there, mut pairs): (Vec<usize>, usize) = (Vec::new(), 0);
    for i in order {
        there.retain(|&other| blocks[other].last >= blocks[i].first);
        pairs += there.len();
        if pairs > most {
            return None;
        }
        for &other in &there {
            meets[i].push(other as u32);
            meets[other].push(i as u32);
        }
        there.push(i);
    }
    Some(meets)
}

/// The largest first, each in the lowest gap.
fn by_size(blocks: &[Block], meets: &[Vec<u32>]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&i| (Reverse(blocks[i].bytes), blocks[i].first, i));
    let mut places = vec![0usize; blocks.len()];
    let mut placed = vec![false; blocks.len()];
    let mut end = 0;
    let mut around: Vec<usize> = Vec::new();
    for i in order {
        let bytes = blocks[i].bytes;
        around.clear();
        around.extend(meets[i].iter().map(|&other| other as usize).filter(|&other| placed[other]));
        around.sort_unstable_by_key(|&other| places[other]);
        let mut at = 0usize;
        for &other in &around {
            if places[other].saturating_sub(at) >= bytes && places[other] >= at {
                break;
            }
            at = at.max(places[other].saturating_add(blocks[other].bytes));
        }
        places[i] = at;
        placed[i] = true;
        end = end.max(at.saturating_add(bytes));
    }
    (places, end)
}

/// Free parts of the memory.
#[derive(Default)]
struct Holes {
    by_start: BTreeMap<usize, usize>,
    by_size: BTreeSet<(usize, usize)>,
    end: usize,
}

impl Holes {
    fn insert(&mut self, mut start: usize, mut len: usize) {
        if let Some((&s, &l)) = self.by_start.range(..start).next_back()
            && s + l == start
        {
            self.remove(s, l);
            start = s;
            len += l;
        }
        if let Some(&l) = self.by_start.get(&(start + len)) {
            self.remove(start + len, l);
            len += l;
        }
        self.by_start.insert(start, len);
        self.by_size.insert((len, start));
    }

    fn remove(&mut self, start: usize, len: usize) {
        self.by_start.remove(&start);
        self.by_size.remove(&(len, start));
    }

    /// A place for `len` bytes.
    fn take(&mut self, len: usize) -> usize {
        if let Some(&(l, start)) = self.by_size.range((len, 0)..).next() {
            self.remove(start, l);
            if l > len {
                self.insert(start + len, l - len);
            }
            return start;
        }
        // A hole at the end grows.
        let last = self.by_start.last_key_value().map(|(&s, &l)| (s, l));
        let start = match last {
            Some((s, l)) if s + l == self.end => {
                self.remove(s, l);
                s
            }
            _ => self.end,
        };
        self.end = start.saturating_add(len);
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(all: &[(usize, usize, usize)]) -> Vec<Block> {
        all.iter().map(|&(first, last, bytes)| Block { first, last, bytes }).collect()
    }

    fn check(blocks: &[Block], (places, end): &(Vec<usize>, usize)) {
        for (i, a) in blocks.iter().enumerate() {
            assert!(places[i] + a.bytes <= *end);
            for (j, b) in blocks.iter().enumerate().take(i) {
                let meet = a.first <= b.last && b.first <= a.last;
                let apart = places[i] + a.bytes <= places[j] || places[j] + b.bytes <= places[i];
                assert!(!meet || apart, "{a:?} at {} and {b:?} at {}", places[i], places[j]);
            }
        }
    }

    #[test]
    fn what_is_there_at_once_is_apart() {
        let mut state = 7u64;
        let mut next = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 33) % n) as usize
        };
        let (mut worst, mut all) = (1.0f64, 0);
        for round in 0..300 {
            let n = 1 + next(60);
            let all_blocks: Vec<Block> = (0..n)
                .map(|_| {
                    let first = next(40);
                    let bytes = if round % 2 == 0 { 1 + next(100) } else { 1 << next(8) };
                    Block { first, last: first + next(12), bytes }
                })
                .collect();
            let meets = meetings(&all_blocks, usize::MAX).expect("any number of pairs");
            let largest_first = by_size(&all_blocks, &meets);
            for found in [in_order(&all_blocks), largest_first, fit(&all_blocks)] {
                check(&all_blocks, &found);
                assert!(found.1 >= most(&all_blocks));
            }
            worst = worst.max(fit(&all_blocks).1 as f64 / most(&all_blocks) as f64);
            all += 1;
        }
        assert!(all == 300 && worst <= 1.25, "{worst}");
    }

    #[test]
    fn the_largest_first_leaves_no_hole() {
        // In order: a hole of 1 under the 2 that is too small for the 3 later on.
        let all = blocks(&[(0, 1, 1), (0, 4, 2), (2, 4, 3)]);
        assert_eq!((fit(&all).1, most(&all)), (5, 5));
    }

    #[test]
    fn many_blocks_are_placed_by_size_if_few_are_there_at_once() {
        // The same again and again, each time a little later.
        let again = |k: usize| {
            [(0, 1, 1), (0, 4, 2), (2, 4, 3)]
                .map(|(first, last, b)| (first + 5 * k, last + 5 * k, b))
        };
        let all = blocks(&(0..20_000).flat_map(again).collect::<Vec<_>>());
        assert_eq!((fit(&all).1, most(&all)), (5, 5));
        let meets = meetings(&all, MORE * all.len()).expect("few pairs");
        assert_eq!(meets.iter().map(Vec::len).sum::<usize>(), 2 * 40_000);
        // All at once: too many pairs to look at.
        let all: Vec<Block> = (0..5000).map(|i| Block { first: 0, last: i, bytes: 1 }).collect();
        assert!(meetings(&all, PAIRS + MORE * all.len()).is_none());
    }

    #[test]
    fn nothing_takes_no_memory() {
        assert_eq!(fit(&[]), (vec![], 0));
        assert_eq!(most(&[]), 0);
    }
}
