//! Running combinations in logarithmic depth.
//!
//! Neighbours are combined, the scan of the pairs is taken, and what lies between is
//! filled in: `2n` combinations in `2 log n` steps, each of them one operation over many
//! rows. (G. Blelloch, "Prefix sums and their applications", 1990.)

use backstitch_ir::Type;

use super::rebuild;
use crate::mistake::Problem;
use crate::tensor::Tensor;
use crate::trace::Trace;
use crate::tree::Tree;

impl Trace {
    /// Row `i` of the result is the combination of the rows up to `i`, along the first
    /// axis of each leaf, by an associative function of two trees of rows.
    ///
    /// The function is traced about `2 log n` times, on several rows at once: it takes
    /// and gives leaves with a first axis of some length. For sums, products, extremes
    /// and linear recurrences there are [`cumsum`](Tensor::cumsum) and its like, which
    /// are faster.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// // Composition of affine maps x -> a·x + b, first to last.
    /// let t = Trace::eager();
    /// let a = t.constant(ndarray::arr1(&[1.0, 2.0, 3.0]));
    /// let b = t.constant(ndarray::arr1(&[1.0, 0.0, 1.0]));
    /// let (a, b) = t.associative_scan((a, b), |(a, b), (c, d)| (a * c, b * c + d));
    /// assert_eq!(a.array()?.to_f64_vec(), [1.0, 2.0, 6.0]);
    /// assert_eq!(b.array()?.to_f64_vec(), [1.0, 2.0, 7.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Errors
    /// Leaves without rows or of several lengths, and a function that gives other types
    /// than it takes, are mistakes.
    #[track_caller]
    pub fn associative_scan<'t, X: Tree<Tensor<'t>>>(
        &'t self,
        rows: X,
        combine: impl Fn(X::With<Tensor<'t>>, X::With<Tensor<'t>>) -> X::With<Tensor<'t>>,
    ) -> X::With<Tensor<'t>> {
        let _line = self.line();
        let leaves: Vec<Tensor<'t>> = rows.leaves().into_iter().copied().collect();
        let types: Vec<Type> = leaves.iter().map(|x| x.ty()).collect();
        let length = types.first().and_then(|ty| ty.dims().first().copied());
        let mistaken = |message: String| {
            let guess = types.first().cloned().unwrap_or_else(|| Type::scalar(crate::DType::F64));
            self.mistake("associative_scan", Problem::Control, message, &leaves, guess);
            self.guesses(&rows, &types, self.place())
        };
        let same = types.iter().all(|ty| ty.dims().first().copied() == length);
        let (Some(length), true) = (length, same) else {
            return mistaken("expected arrays with the same number of rows".to_owned());
        };
        // `Err` says what the function gave.
        let both = |x: &[Tensor<'t>], y: &[Tensor<'t>]| -> Result<Vec<Tensor<'t>>, String> {
            let found = combine(rebuild(&rows, x), rebuild(&rows, y));
            let found: Vec<Tensor<'t>> = found.leaves().into_iter().copied().collect();
            match x.iter().zip(&found).find(|(x, y)| x.ty() != y.ty()) {
                None if x.len() == found.len() => Ok(found),
                None => Err(format!("{} leaves go in, {} come out", x.len(), found.len())),
                Some((x, y)) => Err(format!("the function takes {} and gives {}", x.ty(), y.ty())),
            }
        };
        match scan(self, &leaves, length, &both) {
            Ok(found) => rebuild(&rows, &found),
            Err(message) => mistaken(message),
        }
    }
}

type Combine<'a, 't> = dyn Fn(&[Tensor<'t>], &[Tensor<'t>]) -> Result<Vec<Tensor<'t>>, String> + 'a;

fn scan<'t>(
    t: &'t Trace,
    x: &[Tensor<'t>],
    n: usize,
    combine: &Combine<'_, 't>,
) -> Result<Vec<Tensor<'t>>, String> {
    if n < 2 {
        return Ok(x.to_vec());
    }
    let every_other = |x: &[Tensor<'t>], start: usize, count: usize| -> Vec<Tensor<'t>> {
        let stop = (start + 2 * count) as i64;
        x.iter().map(|x| x.slice(0, start as i64..stop, 2)).collect()
    };
    let pairs = n / 2;
    let reduced = combine(&every_other(x, 0, pairs), &every_other(x, 1, pairs))?;
    // Rows 1, 3, 5, … of the result.
    let odd = scan(t, &reduced, pairs, combine)?;
    // Rows 2, 4, …: each the one before it and one more.
    let rest = (n - 1) / 2;
    let before: Vec<Tensor<'t>> = odd.iter().map(|x| x.slice(0, ..rest as i64, 1)).collect();
    let later = match rest {
        0 => before,
        _ => combine(&before, &every_other(x, 2, rest))?,
    };
    let woven = x.iter().zip(&later).zip(&odd).map(|((x, later), odd)| {
        let even = t.concat([x.slice(0, ..1, 1), *later], 0);
        weave(t, even, *odd, n)
    });
    Ok(woven.collect())
}

/// Rows of the one and the other in turn, `n` in all.
fn weave<'t>(t: &'t Trace, even: Tensor<'t>, odd: Tensor<'t>, n: usize) -> Tensor<'t> {
    let ty = even.ty();
    let pairs = n / 2;
    let pair = t.stack([even.slice(0, ..pairs as i64, 1), odd], 1);
    let shape: backstitch_ir::Shape =
        std::iter::once(2 * pairs).chain(ty.dims()[1..].iter().copied()).collect();
    let all = pair.reshape(shape);
    if n.is_multiple_of(2) { all } else { t.concat([all, even.slice(0, -1.., 1)], 0) }
}
