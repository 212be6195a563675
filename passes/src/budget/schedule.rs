//! Which steps of a loop are computed again, and where it is kept from.
//!
//! A loop of `n` steps whose reverse reads `r` bytes of residuals per step, and whose
//! carries take `c` bytes, is divided like this:
//!
//! ```text
//! steps     |  outer segments of u^(R-1)·q steps each        |  tail  |
//! kept      |  the carries before each                       |  residuals
//! computed  |  R times again                                 |  once
//!
//! a segment |  u segments, of these the carries are kept | … |  q steps: residuals
//! ```
//!
//! The tail is reversed first; what it took serves for the segments after that.

/// What a schedule is chosen for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chain {
    /// Number of steps.
    pub steps: usize,
    /// Bytes of the carries that residuals depend on.
    pub carries: usize,
    /// Bytes of the residuals of one step.
    pub residuals: usize,
    /// Bytes that loops over segments take at each level.
    pub level: usize,
}

/// A schedule of a loop of known length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Schedule {
    /// Segments at each level, outermost first.
    pub levels: Vec<usize>,
    /// Steps of an innermost segment.
    pub steps: usize,
    /// Steps at the end of which residuals are kept at once.
    pub tail: usize,
}

/// Levels at most.
const DEEPEST: usize = 24;

impl Schedule {
    /// Steps of a segment of the outermost level.
    pub fn segment(&self) -> usize {
        self.levels[1..].iter().product::<usize>() * self.steps
    }

    /// Steps that are computed again, as often as they are.
    pub fn recomputed(&self) -> usize {
        (self.levels[0] * self.segment()).saturating_mul(self.levels.len())
    }

    /// Bytes of what is kept at the worst moment.
    pub fn bytes(&self, chain: &Chain) -> usize {
        let inner = &self.levels[1..];
        chain.need(self.levels[0], inner.len(), inner.iter().sum(), self.steps, self.tail)
    }
}

impl Chain {
    /// Bytes of all residuals.
    pub fn bytes(&self) -> usize {
        self.steps.saturating_mul(self.residuals)
    }

    /// Bytes kept with so many segments outside, so many levels inside with so many
    /// segments together, and residuals of so many steps in a segment and in the tail.
    fn need(&self, outer: usize, levels: usize, inner: usize, steps: usize, tail: usize) -> usize {
        let residuals = |steps: usize| steps.saturating_mul(self.residuals);
        let inner = inner.saturating_mul(self.carries).saturating_add(residuals(steps));
        let inner = inner.saturating_add(levels.saturating_mul(self.level));
        outer.saturating_mul(self.carries).saturating_add(inner.max(residuals(tail)))
    }
}

/// The schedule that computes the fewest steps again within so many bytes, or, with
/// none, the one that needs the fewest bytes.
pub(super) fn choose(chain: &Chain, bytes: Option<usize>) -> Option<Schedule> {
    // What is compared, and of what.
    let mut best: Option<([usize; 2], [usize; 4])> = None;
    for depth in 1..=DEEPEST {
        let inner = depth - 1;
        // Without inner levels their width makes no difference.
        for width in grid(if inner == 0 { 1..=1 } else { 2..=chain.steps }) {
            let product = width.checked_pow(inner as u32).filter(|&q| q <= chain.steps);
            let Some(product) = product else { break };
            for steps in grid(1..=chain.steps / product) {
                let segment = product * steps;
                let outer = outer(chain, segment, bytes);
                let tail = chain.steps - outer * segment;
                let need = chain.need(outer, inner, inner * width, steps, tail);
                let again = (outer * segment).saturating_mul(depth);
                let cost = match bytes {
                    Some(most) if need > most => continue,
                    Some(_) => [again, need],
                    None => [need, again],
                };
                if best.is_none_or(|b| cost < b.0) {
                    best = Some((cost, [outer, inner, width, steps]));
                }
            }
        }
        // More levels compute more again, or do not find as many segments.
        if (bytes.is_some() && best.is_some()) || 1 << depth.min(62) > chain.steps {
            break;
        }
    }
    best.map(|(_, [outer, inner, width, steps])| {
        let levels: Vec<usize> =
            std::iter::once(outer).chain(std::iter::repeat_n(width, inner)).collect();
        let head = levels.iter().product::<usize>() * steps;
        Schedule { levels, steps, tail: chain.steps - head }
    })
}

/// How many segments of that length to have: as many as the rest needs to fit, or all.
fn outer(chain: &Chain, segment: usize, bytes: Option<usize>) -> usize {
    let all = chain.steps / segment;
    let Some(bytes) = bytes else { return all };
    let over = chain.steps.saturating_mul(chain.residuals).saturating_sub(bytes);
    let saved = segment.saturating_mul(chain.residuals).saturating_sub(chain.carries);
    if saved == 0 { all } else { over.div_ceil(saved).clamp(1, all) }
}

/// Numbers to try: all that are small, fewer and fewer of the others.
fn grid(range: std::ops::RangeInclusive<usize>) -> impl Iterator<Item = usize> {
    let (first, last) = (*range.start(), *range.end());
    std::iter::successors(Some(first), move |&k| (k < last).then(|| (k + 1 + k / 32).min(last)))
        .take_while(move |&k| k <= last)
}

/// Segments at each level of a loop of unknown length, outermost first, whose carries
/// take at most so many bytes; none if not even two do.
///
/// Loops over segments run to their end, be the segments empty. So inside they are short,
/// and there are as few levels as serve a million steps, or as many as there can be.
pub(super) fn open(carries: usize, bytes: usize) -> Option<Vec<usize>> {
    const LONG: usize = 1_000_000;
    const OUTER: usize = 1024;
    const INNER: usize = 32;
    let rows = bytes / carries.max(1);
    let levels = |inner: usize| {
        let width = INNER.min(rows / (inner + 1));
        let outer = (rows - inner * width).min(OUTER);
        (width >= 2).then(|| {
            std::iter::once(outer).chain(std::iter::repeat_n(width, inner)).collect::<Vec<_>>()
        })
    };
    let reach = |levels: &Vec<usize>| levels.iter().product::<usize>();
    let all: Vec<Vec<usize>> = (0..4).filter_map(levels).collect();
    let enough = all.iter().find(|l| reach(l) >= LONG);
    enough.or_else(|| all.iter().max_by_key(|l| reach(l))).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps that are computed again by the binomial schedule, which is the best of
    /// all that keep carries at so many places (Griewank and Walther, 2000), and in how many
    /// sweeps at most: with `r` of them it reaches `C(s + r, r)` steps, and goes
    /// `r n - C(s + r, r - 1)` steps besides those that leave residuals.
    fn binomial(steps: usize, places: usize) -> (usize, usize) {
        let (mut reach, mut sweeps) = (1, 0);
        while reach < steps {
            sweeps += 1;
            reach = reach * (places + sweeps) / sweeps;
        }
        // C(s + r, r - 1) = C(s + r, r) · r / (s + 1)
        (sweeps * steps - reach * sweeps / (places + 1), sweeps)
    }

    #[test]
    fn a_schedule_covers_all_steps_and_keeps_its_word() {
        for steps in [1, 2, 3, 7, 97, 100, 1000, 99_991] {
            for (carries, residuals) in [(8, 8), (8, 64), (64, 8), (0, 8), (1000, 1000)] {
                let chain = Chain { steps, carries, residuals, level: carries / 2 };
                let least = choose(&chain, None).unwrap();
                let floor = least.bytes(&chain);
                let mut before = usize::MAX;
                for bytes in [floor, floor + floor / 10, 2 * floor, 10 * floor, 100 * floor] {
                    let s = choose(&chain, Some(bytes)).unwrap();
                    assert!(s.bytes(&chain) <= bytes, "{chain:?} {bytes} {s:?}");
                    assert_eq!(s.levels[0] * s.segment() + s.tail, steps, "{s:?}");
                    assert!(s.recomputed() <= before, "{chain:?} {bytes} {s:?}");
                    before = s.recomputed();
                }
            }
        }
    }

    #[test]
    fn with_e_times_the_places_no_more_sweeps_than_the_best() {
        let chain = Chain { steps: 100_000, carries: 8, residuals: 8, level: 0 };
        for places in [12, 20, 50, 100, 1000, 10_000] {
            let (best, sweeps) = binomial(chain.steps, places);
            let most = 8.0 * std::f64::consts::E * (places + sweeps) as f64;
            let s = choose(&chain, Some(most as usize)).unwrap();
            assert!(s.recomputed() <= best, "{places}: {s:?}, {best}");
        }
    }

    #[test]
    fn open_levels_fit() {
        assert_eq!(open(8, 8), None);
        for bytes in [16, 100, 1000, 10_000, 1 << 20, usize::MAX] {
            let levels = open(8, bytes).unwrap();
            assert!(levels.iter().sum::<usize>() * 8 <= bytes);
        }
    }
}
