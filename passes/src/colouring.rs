//! Colourings of sparse matrices: which columns one derivative can find together.
//!
//! A forward sweep along a direction `s` gives the product `J·s`. Columns that share no
//! row can be one direction: each row of the product is the entry of one of them. So a
//! partition of the columns into such groups, *colours*, finds a Jacobian by as many
//! sweeps as there are colours (A. Curtis, M. Powell and J. Reid, "On the estimation of
//! sparse Jacobian matrices", 1974). By reverse sweeps the same holds of rows.
//!
//! Of a symmetric matrix each entry can be read on either side of the diagonal, so
//! fewer colours do: a *star colouring*, where neighbours differ and no path of four
//! has two colours only (T. Coleman and J. Moré, 1984; A. Gebremedhin, F. Manne and
//! A. Pothen, "What color is your Jacobian?", SIAM Review 47, 2005). Arrows take two
//! colours, however long they are.
//!
//! Both are greedy: the least number of colours is NP-hard to find. Columns are taken
//! as they stand, which is the best order for bands, and those of most entries first;
//! the result with fewer colours counts. Same pattern, same colouring.

use rustc_hash::FxHashMap;

use crate::sparsity::Pattern;

/// By which sweeps a derivative is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Forward: a colour is a group of columns.
    Forward,
    /// Reverse: a colour is a group of rows.
    Reverse,
}

/// A colour for each column that has entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Colouring {
    of: Vec<Option<u32>>,
    count: usize,
}

impl Colouring {
    /// How many colours there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The colour of a column; `None` if it has no entries.
    ///
    /// # Panics
    /// If there is no such column.
    pub fn of(&self, column: usize) -> Option<usize> {
        self.of[column].map(|c| c as usize)
    }

    fn none(columns: usize) -> Self {
        Self { of: vec![None; columns], count: 0 }
    }

    fn set(&mut self, column: usize, colour: u32) {
        self.of[column] = Some(colour);
        self.count = self.count.max(colour as usize + 1);
    }
}

/// Colours such that no row has two entries in columns of one colour.
///
/// Time is proportional to the entries times the most entries that a row has, which is
/// a bound from below on the number of colours.
///
/// ```
/// use backstitch_passes::{Pattern, colour_columns};
/// let band = Pattern::from_rows(9, (0..8).map(|i| vec![i, i + 1]));
/// assert_eq!(colour_columns(&band).count(), 2);
/// ```
pub fn colour_columns(p: &Pattern) -> Colouring {
    let columns = p.transposed();
    best(p, &columns, p.widest(), greedy_columns)
}

/// Colours such that of a symmetric matrix every entry can be read off the products
/// with the colours' columns: see [`symmetric_places`].
///
/// Time is proportional to the entries times the number of colours.
///
/// ```
/// use backstitch_passes::{Pattern, colour_symmetric};
/// let arrow = Pattern::from_rows(9, (0..9).map(|i| match i {
///     0 => (0..9).collect(),
///     _ => vec![0, i],
/// }));
/// assert_eq!(colour_symmetric(&arrow).count(), 2);
/// ```
///
/// # Panics
/// If the pattern is not square. It has to be symmetric.
pub fn colour_symmetric(p: &Pattern) -> Colouring {
    assert_eq!(p.rows(), p.columns(), "a square matrix");
    best(p, p, 1, greedy_star)
}

/// The colouring and the direction that find a matrix by the fewest sweeps.
pub fn colour(p: &Pattern) -> (Direction, Colouring) {
    let transposed = p.transposed();
    // No direction can do with fewer colours than its widest row has entries.
    let (forward, reverse) = (p.widest(), transposed.widest());
    let by_columns = || (Direction::Forward, best(p, &transposed, forward, greedy_columns));
    let by_rows = || (Direction::Reverse, best(&transposed, p, reverse, greedy_columns));
    let (first, other, bound) = if forward <= reverse {
        (by_columns(), &by_rows as &dyn Fn() -> (Direction, Colouring), reverse)
    } else {
        (by_rows(), &by_columns as _, forward)
    };
    if first.1.count <= bound {
        return first;
    }
    let second = other();
    if second.1.count < first.1.count { second } else { first }
}

/// Where each entry of a symmetric matrix, in order, is in the products with the
/// colours' columns: the colour, and the row.
pub fn symmetric_places(p: &Pattern, colouring: &Colouring) -> Vec<(usize, usize)> {
    let near = Neighbours::of(p, colouring);
    let colour = |k: usize| colouring.of(k).expect("a column with an entry has a colour");
    let place = |(i, j): (usize, usize)| {
        if i == j || near.count(i, colour(j)) == 1 {
            return (colour(j), i);
        }
        debug_assert_eq!(near.count(j, colour(i)), 1, "a star colouring");
        (colour(i), j)
    };
    p.entries().map(place).collect()
}

type Greedy = fn(&Pattern, &Pattern, &[usize]) -> Colouring;

/// The better of two orders.
fn best(p: &Pattern, columns: &Pattern, bound: usize, greedy: Greedy) -> Colouring {
    let n = p.columns();
    let mut order: Vec<usize> = (0..n).filter(|&j| !columns.row(j).is_empty()).collect();
    let first = greedy(p, columns, &order);
    if first.count <= bound {
        return first;
    }
    order.sort_by_key(|&j| std::cmp::Reverse(columns.row(j).len()));
    let second = greedy(p, columns, &order);
    if second.count < first.count { second } else { first }
}

fn greedy_columns(p: &Pattern, columns: &Pattern, order: &[usize]) -> Colouring {
    let mut colouring = Colouring::none(p.columns());
    if p.widest() == order.len() {
        // All are together in one row.
        order.iter().zip(0..).for_each(|(&j, colour)| colouring.set(j, colour));
        return colouring;
    }
    // By colour: the last column that could not have it.
    let mut taken: Vec<Option<usize>> = vec![None; p.columns()];
    for &j in order {
        for &i in columns.row(j) {
            for colour in p.row(i).iter().filter_map(|&k| colouring.of[k]) {
                taken[colour as usize] = Some(j);
            }
        }
        colouring.set(j, first_free(&taken, j));
    }
    colouring
}

fn first_free(taken: &[Option<usize>], j: usize) -> u32 {
    let free = taken.iter().position(|&by| by != Some(j));
    free.expect("no more colours than columns are needed") as u32
}

/// How many neighbours of each colour every vertex of the graph of a symmetric matrix
/// has.
struct Neighbours {
    /// The colours next to each vertex.
    colours: Vec<Vec<u32>>,
    /// By vertex and colour: how many neighbours, and the last of them.
    of: FxHashMap<(u32, u32), (u32, u32)>,
}

impl Neighbours {
    fn none(vertices: usize) -> Self {
        Self { colours: vec![Vec::new(); vertices], of: FxHashMap::default() }
    }

    /// What a colouring of a symmetric matrix makes of its columns' neighbours.
    fn of(p: &Pattern, colouring: &Colouring) -> Self {
        let mut all = Self::none(p.columns());
        for j in 0..p.columns() {
            if let Some(colour) = colouring.of[j] {
                all.add(p, j, colour);
            }
        }
        all
    }

    fn add(&mut self, p: &Pattern, v: usize, colour: u32) {
        for &w in p.row(v).iter().filter(|&&w| w != v) {
            let entry = self.of.entry((w as u32, colour)).or_insert((0, 0));
            *entry = (entry.0 + 1, v as u32);
            if entry.0 == 1 {
                self.colours[w].push(colour);
            }
        }
    }

    /// The number of neighbours of that colour.
    fn count(&self, v: usize, colour: usize) -> usize {
        self.of.get(&(v as u32, colour as u32)).map_or(0, |n| n.0 as usize)
    }
}

fn greedy_star(p: &Pattern, _: &Pattern, order: &[usize]) -> Colouring {
    let mut colouring = Colouring::none(p.columns());
    let mut near = Neighbours::none(p.columns());
    let mut taken: Vec<Option<usize>> = vec![None; p.columns()];
    for &v in order {
        for &w in p.row(v).iter().filter(|&&w| w != v) {
            let Some(own) = colouring.of[w] else { continue };
            taken[own as usize] = Some(v);
            let twice = near.count(v, own as usize) > 1;
            for &colour in &near.colours[w] {
                let (count, x) = near.of[&(w as u32, colour)];
                // A path of two colours: `v w x y`, or `x w v` and another like `w`.
                let beyond = || count == 1 && near.count(x as usize, own as usize) > 1;
                if twice || beyond() {
                    taken[colour as usize] = Some(v);
                }
            }
        }
        let colour = first_free(&taken, v);
        colouring.set(v, colour);
        near.add(p, v, colour);
    }
    colouring
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row's entries are in columns of different colours.
    fn assert_columns(p: &Pattern, c: &Colouring) {
        for i in 0..p.rows() {
            let mut colours: Vec<_> = p.row(i).iter().map(|&j| c.of(j).unwrap()).collect();
            colours.sort_unstable();
            assert!(colours.is_sorted_by(|a, b| a < b), "row {i} of {p:?}: {c:?}");
        }
    }

    /// Every entry can be read where no other column of its colour adds to it.
    fn assert_star(p: &Pattern, c: &Colouring) {
        for ((i, j), (colour, row)) in p.entries().zip(symmetric_places(p, c)) {
            let adds = p.row(row).iter().filter(|&&k| c.of(k) == Some(colour));
            let other = i + j - row;
            assert_eq!(adds.copied().collect::<Vec<_>>(), [other], "{p:?}: {c:?}");
        }
    }

    fn random(rows: usize, columns: usize, per_row: usize, seed: u64) -> Pattern {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize
        };
        Pattern::from_rows(
            columns,
            (0..rows).map(|_| {
                let mut row: Vec<usize> =
                    (0..next() % (per_row + 1)).map(|_| next() % columns).collect();
                row.sort_unstable();
                row.dedup();
                row
            }),
        )
    }

    #[test]
    fn random_matrices() {
        for seed in 0..60 {
            let p = random(1 + seed % 17, 1 + seed % 13, seed % 5, seed as u64);
            assert_columns(&p, &colour_columns(&p));
            let (direction, c) = colour(&p);
            match direction {
                Direction::Forward => assert_columns(&p, &c),
                Direction::Reverse => assert_columns(&p.transposed(), &c),
            }
            let n = 2 + seed % 23;
            let s = random(n, n, seed % 4, seed as u64).symmetric();
            assert_star(&s, &colour_symmetric(&s));
        }
    }

    #[test]
    fn bands_take_as_many_colours_as_they_are_wide() {
        for n in [3, 10, 1000] {
            let band = |i: usize| (i.saturating_sub(1)..n.min(i + 2)).collect();
            let p = Pattern::from_rows(n, (0..n).map(band));
            assert_eq!(colour_columns(&p).count(), 3);
            assert_eq!(colour_symmetric(&p).count(), if n == 3 { 2 } else { 3 });
        }
    }

    #[test]
    fn a_dense_row_takes_the_other_direction() {
        let p = Pattern::from_rows(50, [(0..50).collect(), vec![3], vec![4]]);
        let (direction, c) = colour(&p);
        assert_eq!((direction, c.count()), (Direction::Reverse, 2));
    }

    #[test]
    fn columns_without_entries_have_no_colour() {
        let p = Pattern::from_rows(4, [vec![1], vec![3]]);
        let c = colour_columns(&p);
        assert_eq!([0, 1, 2, 3].map(|j| c.of(j)), [None, Some(0), None, Some(0)]);
        assert_eq!(colour(&Pattern::from_rows(0, [vec![], vec![]])).1.count(), 0);
        assert_eq!(colour(&Pattern::from_rows(3, [])).1.count(), 0);
    }
}
