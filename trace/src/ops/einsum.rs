//! Sums of products, written as Einstein did.
//!
//! An equation names the axes of each operand by letters, and those of the
//! result after `->`. What it means: at each place of the result, the sum over
//! all letters that the result has not of the product of the operands. What is
//! done:
//!
//! 1. A letter twice in one operand takes the diagonal of the two axes, a view.
//! 2. A letter of one operand alone that the result has not is summed over at
//!    once.
//! 3. The pair of operands is contracted whose product takes the least memory
//!    beyond what the two take; then the next pair, until one is left (the greedy
//!    order of `opt_einsum`). A pair that shares a letter no one else needs is a
//!    `contract`, which is a matrix product; one that shares none is multiplied
//!    element by element, stretched but not in memory.
//! 4. The axes are put in the order of the result.

use backstitch_ir::{DType, Monoid, Shape, Type, ops};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::mistake::Problem;
use crate::tensor::Tensor;
use crate::trace::Trace;

/// A name of axes: a letter of the equation, or an axis of the ellipsis, counted
/// from the last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Label {
    Ellipsis(usize),
    Letter(char),
}

type Labels = SmallVec<[Label; 6]>;
type Extents = FxHashMap<Label, usize>;

/// Pairs are looked for among this many operands, so that the order of a long
/// product is found in a time linear in its length.
const WINDOW: usize = 16;

/// An operand or an intermediate product; each label once.
struct Term<'t> {
    x: Tensor<'t>,
    labels: Labels,
}

impl Trace {
    /// The sum of products that an equation describes: `"ij,jk->ik"` is the matrix
    /// product. Any number of operands of one type, at least one.
    ///
    /// - A letter that the result has not is summed over; one that is repeated
    ///   within an operand takes the diagonal: `"ii->"` is the trace.
    /// - `...` stands for all axes that have no letter; they are stretched as NumPy
    ///   does. Letters have one extent throughout.
    /// - Without `->` the result has the axes of the ellipsis and then, in
    ///   alphabetical order, the letters that occur once.
    /// - Spaces mean nothing.
    ///
    /// Operands are contracted in pairs, smallest products first, so the result may
    /// differ in the last digits from another order.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let a = t.constant(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// let x = t.constant(ndarray::arr1(&[1.0, -1.0]));
    /// assert_eq!(t.einsum("ij,j->i", [a, x]).array()?.to_f64_vec(), [-1.0, -1.0]);
    /// assert_eq!(t.einsum("ii", [a]).item::<f64>()?, 5.0);
    /// assert_eq!(t.einsum("i,ij,j", [x, a, x]).item::<f64>()?, 0.0);
    /// assert_eq!(t.einsum("...j->j...", [a]).array()?.to_f64_vec(), [1.0, 3.0, 2.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    ///
    /// # Mistakes
    /// An equation that cannot be read or does not fit the operands; the message
    /// points at the place. Truth values, or operands of several types.
    #[track_caller]
    pub fn einsum<'t>(&'t self, equation: &str, operands: impl AsRef<[Tensor<'t>]>) -> Tensor<'t> {
        let _line = self.line();
        let operands = operands.as_ref();
        let types: Vec<Type> = operands.iter().map(|x| x.ty()).collect();
        let dtype = types.first().map_or(DType::F64, |ty| ty.dtype);
        let wrong = |problem, message: String| {
            self.mistake("einsum", problem, message, operands, Type::scalar(dtype))
        };
        let ranks: Vec<usize> = types.iter().map(Type::rank).collect();
        let (inputs, output) = match parse(equation, &ranks) {
            Ok(parsed) => parsed,
            Err(message) => return wrong(Problem::Parameter, message),
        };
        if let Some(other) = types.iter().find(|ty| ty.dtype != dtype) {
            let message =
                format!("element types {dtype} and {} differ; `cast` one of them", other.dtype);
            return wrong(Problem::DType, message);
        }
        if dtype == DType::Bool {
            return wrong(Problem::DType, "expected numbers, got bool; `cast` it".to_owned());
        }
        let extents = match extents(equation, &inputs, &types) {
            Ok(extents) => extents,
            Err(message) => return wrong(Problem::Shape, message),
        };

        // Number of terms that have each label, the result being one.
        let mut users: FxHashMap<Label, usize> = output.iter().map(|&l| (l, 1)).collect();
        let mut terms: Vec<Term<'t>> = Vec::with_capacity(operands.len());
        for (&x, labels) in operands.iter().zip(inputs) {
            let term = Term { x, labels }.without_repeats().without_stretched(&extents);
            term.labels.iter().for_each(|&l| *users.entry(l).or_default() += 1);
            terms.push(term);
        }
        for term in &mut terms {
            term.sum_alone(&users);
        }
        while terms.len() > 1 {
            let (i, j) = cheapest(&terms, &users, &extents);
            let (b, a) = (terms.remove(j), terms.remove(i));
            terms.insert(i, a.times(b, &mut users, &extents));
        }
        let last = terms.pop().expect("the equation has as many terms as there are operands");
        let axis = |l: &Label| last.labels.iter().position(|have| have == l);
        let perm = output.iter().map(|l| axis(l).expect("labels of the result are kept")).collect();
        last.x.reorder(perm)
    }
}

impl<'t> Term<'t> {
    /// The diagonals of axes that have one letter.
    fn without_repeats(mut self) -> Self {
        let repeat = |labels: &Labels| {
            (0..labels.len())
                .find_map(|j| Some((labels[..j].iter().position(|&l| l == labels[j])?, j)))
        };
        while let Some((i, j)) = repeat(&self.labels) {
            self.x = self.x.diagonal_view(0, i, j);
            let label = self.labels.remove(j);
            self.labels.remove(i);
            self.labels.push(label);
        }
        self
    }

    /// Without axes of extent 1 that are to be stretched: as good as not there.
    fn without_stretched(mut self, extents: &Extents) -> Self {
        let shape = self.x.shape();
        let gone: SmallVec<[usize; 4]> = (0..shape.rank())
            .filter(|&a| shape.dims()[a] == 1 && extents[&self.labels[a]] != 1)
            .collect();
        self.x = self.x.reshape(shape.without(&gone));
        for &a in gone.iter().rev() {
            self.labels.remove(a);
        }
        self
    }

    /// Sums over what no one else has.
    fn sum_alone(&mut self, users: &FxHashMap<Label, usize>) {
        let alone: SmallVec<[usize; 4]> =
            (0..self.labels.len()).filter(|&a| users[&self.labels[a]] == 1).collect();
        self.x = self.x.reduce(Monoid::Sum, &alone);
        self.labels.retain(|l| users[l] > 1);
    }

    /// The product of two terms, summed over what no one else has.
    fn times(self, other: Self, users: &mut FxHashMap<Label, usize>, extents: &Extents) -> Self {
        let mut batch: [ops::Axes; 2] = Default::default();
        let mut over: [ops::Axes; 2] = Default::default();
        let mut kept = Labels::new();
        for (a, label) in self.labels.iter().enumerate() {
            let Some(b) = other.labels.iter().position(|l| l == label) else { continue };
            let count = users.get_mut(label).expect("labels of terms are counted");
            *count -= 1;
            let list = if *count == 1 { &mut over } else { &mut batch };
            list[0].push(a);
            list[1].push(b);
            if *count > 1 {
                kept.push(*label);
            }
        }
        let trace = self.x.trace;
        if over[0].is_empty() {
            let mut labels = self.labels.clone();
            labels.extend(other.labels.iter().copied().filter(|l| !self.labels.contains(l)));
            let shape: Shape = labels.iter().map(|l| extents[l]).collect();
            let stretch = |term: &Self| {
                // Axes in the order of the result, then in their places.
                let mut dims: SmallVec<[(usize, usize); 4]> = SmallVec::new();
                for (a, l) in term.labels.iter().enumerate() {
                    dims.push((labels.iter().position(|m| m == l).expect("of both"), a));
                }
                dims.sort_unstable();
                let x = term.x.reorder(dims.iter().map(|&(_, a)| a).collect());
                let dims: SmallVec<[usize; 4]> = dims.iter().map(|&(at, _)| at).collect();
                x.spread(&shape, &dims)
            };
            return Self { x: stretch(&self) * stretch(&other), labels };
        }
        let free = |term: &Self, side: usize| -> Labels {
            let taken = |a: &usize| batch[side].contains(a) || over[side].contains(a);
            (0..term.labels.len()).filter(|a| !taken(a)).map(|a| term.labels[a]).collect()
        };
        let mut labels = kept;
        labels.extend(free(&self, 0));
        labels.extend(free(&other, 1));
        let x = trace.apply(ops::Contract { batch, over }, &[self.x, other.x]);
        Self { x, labels }
    }
}

/// The pair of terms whose product takes the least memory beyond their own.
fn cheapest(
    terms: &[Term<'_>],
    users: &FxHashMap<Label, usize>,
    extents: &Extents,
) -> (usize, usize) {
    let terms = &terms[..terms.len().min(WINDOW)];
    let size = |labels: &mut dyn Iterator<Item = Label>| -> f64 {
        labels.map(|l| extents[&l] as f64).product()
    };
    let own = |t: &Term<'_>| size(&mut t.labels.iter().copied());
    let cost = |a: &Term<'_>, b: &Term<'_>| {
        let of_a = a.labels.iter().copied().filter(|l| users[l] > 2 || !b.labels.contains(l));
        let of_b = b.labels.iter().copied().filter(|l| !a.labels.contains(l));
        size(&mut of_a.chain(of_b)) - own(a) - own(b)
    };
    let pairs = (0..terms.len()).flat_map(|i| (i + 1..terms.len()).map(move |j| (i, j)));
    let costs = pairs.map(|(i, j)| (cost(&terms[i], &terms[j]), (i, j)));
    let least = costs.reduce(|a, b| if b.0 < a.0 { b } else { a });
    least.expect("there are two terms at least").1
}

/// The labels of each operand and of the result.
fn parse(equation: &str, ranks: &[usize]) -> Result<(Vec<Labels>, Labels), String> {
    let symbols: Vec<char> = equation.chars().collect();
    let at = |i: usize, what: String| {
        let rest: String = symbols[i..].iter().take(12).collect();
        if rest.is_empty() {
            format!("at the end of \"{equation}\": {what}")
        } else {
            format!("in \"{equation}\", at \"{rest}\": {what}")
        }
    };
    let arrow = (0..symbols.len()).find(|&i| symbols[i..].starts_with(&['-', '>']));
    let inputs_end = arrow.unwrap_or(symbols.len());

    let mut inputs: Vec<Labels> = Vec::new();
    let mut start = 0;
    for end in (0..=inputs_end).filter(|&i| i == inputs_end || symbols[i] == ',') {
        let Some(&rank) = ranks.get(inputs.len()) else {
            return Err(at(start, format!("there are only {} operands", ranks.len())));
        };
        inputs.push(term(&symbols, start, end, Some(rank), &at)?);
        start = end + 1;
    }
    if inputs.len() != ranks.len() {
        let message = format!("{} operands were given, {} are named", ranks.len(), inputs.len());
        return Err(at(inputs_end, message));
    }

    let mut counts: FxHashMap<Label, usize> = FxHashMap::default();
    inputs.iter().flatten().for_each(|&l| *counts.entry(l).or_default() += 1);
    let hidden = counts.keys().filter(|l| matches!(l, Label::Ellipsis(_))).count();
    let ellipsis = (0..hidden).rev().map(Label::Ellipsis);
    let Some(arrow) = arrow else {
        let mut once: Labels = counts
            .iter()
            .filter(|&(l, &n)| n == 1 && matches!(l, Label::Letter(_)))
            .map(|(&l, _)| l)
            .collect();
        once.sort_unstable();
        return Ok((inputs, ellipsis.chain(once).collect()));
    };
    let start = arrow + 2;
    let mut output = Labels::new();
    for label in term(&symbols, start, symbols.len(), None, &at)? {
        match label {
            Label::Ellipsis(_) => output.extend(ellipsis.clone()),
            Label::Letter(c) if !counts.contains_key(&label) => {
                return Err(at(start, format!("`{c}` of the result is in no operand")));
            }
            Label::Letter(c) if output.contains(&label) => {
                return Err(at(start, format!("`{c}` is twice in the result")));
            }
            letter => output.push(letter),
        }
    }
    if hidden > 0 && !output.iter().any(|l| matches!(l, Label::Ellipsis(_))) {
        return Err(at(start, "the result has no `...` for that of the operands".to_owned()));
    }
    Ok((inputs, output))
}

/// One side of a comma or arrow: labels in order. Of the result, whose rank is not
/// known, the ellipsis is one label.
fn term(
    symbols: &[char],
    start: usize,
    end: usize,
    rank: Option<usize>,
    at: &dyn Fn(usize, String) -> String,
) -> Result<Labels, String> {
    let mut labels = Labels::new();
    let mut dots = None;
    let mut i = start;
    while i < end {
        match symbols[i] {
            ' ' => {}
            '.' if dots.is_none() && symbols[i..end].starts_with(&['.', '.', '.']) => {
                dots = Some(labels.len());
                i += 2;
            }
            c if c.is_alphabetic() => labels.push(Label::Letter(c)),
            c => return Err(at(i, format!("`{c}` is neither a letter nor a single `...`"))),
        }
        i += 1;
    }
    let Some(rank) = rank else {
        if let Some(place) = dots {
            labels.insert(place, Label::Ellipsis(0));
        }
        return Ok(labels);
    };
    let named = labels.len();
    match dots {
        Some(place) if named <= rank => {
            let hidden = (0..rank - named).rev().map(Label::Ellipsis);
            hidden.rev().for_each(|l| labels.insert(place, l));
            Ok(labels)
        }
        None if named == rank => Ok(labels),
        _ => {
            let letters = if named == 1 { "letter" } else { "letters" };
            Err(at(start, format!("{named} {letters} for an operand of {rank} axes")))
        }
    }
}

/// How long the axes of each label are.
fn extents(equation: &str, inputs: &[Labels], types: &[Type]) -> Result<Extents, String> {
    let mut extents = Extents::default();
    for (i, (labels, ty)) in inputs.iter().zip(types).enumerate() {
        for (&label, &extent) in labels.iter().zip(ty.dims()) {
            let known = *extents.entry(label).or_insert(extent);
            match label {
                _ if known == extent => {}
                Label::Ellipsis(_) if known == 1 => {
                    extents.insert(label, extent);
                }
                Label::Ellipsis(_) if extent == 1 => {}
                Label::Ellipsis(_) => {
                    return Err(format!(
                        "in \"{equation}\": the axes of `...` do not fit together: {known} and {extent}"
                    ));
                }
                Label::Letter(c) => {
                    return Err(format!(
                        "in \"{equation}\": `{c}` is {known} at first and {extent} in operand {i}"
                    ));
                }
            }
        }
    }
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(equation: &str, ranks: &[usize]) -> String {
        parse(equation, ranks).expect_err("this equation is wrong")
    }

    #[test]
    fn equations_are_read() {
        let letters = |s: &str| -> Labels { s.chars().map(Label::Letter).collect() };
        let (inputs, output) = parse("ij, jk -> ik", &[2, 2]).unwrap();
        assert_eq!((inputs[0].clone(), inputs[1].clone()), (letters("ij"), letters("jk")));
        assert_eq!(output, letters("ik"));
        assert_eq!(parse("ba", &[2]).unwrap().1, letters("ab"));
        assert_eq!(parse("", &[0]).unwrap(), (vec![letters("")], letters("")));
        let (inputs, output) = parse("a...,...->...a", &[3, 1]).unwrap();
        let axis = Label::Ellipsis;
        assert_eq!(inputs[0][..], [Label::Letter('a'), axis(1), axis(0)]);
        assert_eq!(inputs[1][..], [axis(0)]);
        assert_eq!(output[..], [axis(1), axis(0), Label::Letter('a')]);
    }

    #[test]
    fn what_cannot_be_read_is_pointed_at() {
        assert_eq!(
            wrong("i1->i", &[2]),
            "in \"i1->i\", at \"1->i\": `1` is neither a letter nor a single `...`"
        );
        assert_eq!(
            wrong("ij->", &[3]),
            "in \"ij->\", at \"ij->\": 2 letters for an operand of 3 axes"
        );
        assert_eq!(
            wrong("ij->ik", &[2]),
            "in \"ij->ik\", at \"ik\": `k` of the result is in no operand"
        );
        assert_eq!(wrong("i->ii", &[1]), "in \"i->ii\", at \"ii\": `i` is twice in the result");
        assert_eq!(wrong("i,i", &[1]), "in \"i,i\", at \"i\": there are only 1 operands");
        assert_eq!(wrong("i", &[1, 1]), "at the end of \"i\": 2 operands were given, 1 are named");
        assert!(wrong("...i->i", &[2]).contains("the result has no `...`"));
        assert!(wrong("......", &[2]).contains("neither a letter"));
        assert!(wrong("i->i->i", &[1]).contains("neither a letter"));
        assert!(wrong("..i", &[1]).contains("neither a letter"));
        assert!(wrong("...ij", &[1]).contains("2 letters for an operand of 1 axes"));
        assert!(wrong("i", &[]).contains("only 0 operands"));
    }
}
