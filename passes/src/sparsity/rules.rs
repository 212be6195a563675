//! From the sets of operands to those of a result: a rule for each structure of loops.

use std::rc::Rc;

use backstitch_ir::op::{Primitive, Structure, View};
use backstitch_ir::ops::{Contract, Map, Recurrence};
use backstitch_ir::routine::Routine;
use backstitch_ir::{Array, Node, Op, Scalar, Shape, Type, Value};

use super::flow::{Elements, Frame, elements};
use super::sets::{Set, Sets};

/// The sets of the result of an array primitive.
pub(super) fn array(
    frame: &mut Frame<'_>,
    sets: &mut Sets,
    n: Node,
    p: &dyn Primitive,
) -> Elements {
    let g = frame.g;
    let (args, result) = (g.args(n), g.results(n)[0]);
    let from: Vec<Elements> = args
        .iter()
        .enumerate()
        .map(|(i, &a)| frame.get(a).elements().filter(|_| p.carries(i) == Some(true)))
        .collect();
    let ty = g.ty(result);
    if !ty.is_float() || from.iter().all(Option::is_none) {
        return None;
    }
    let types: Vec<&Type> = args.iter().map(|&a| g.ty(a)).collect();
    match p.structure(&types) {
        Structure::Source | Structure::Iota { .. } => None,
        Structure::Map(_) => map(frame, sets, g.op(n), &args, &from, ty.len()),
        Structure::View(View { offset, strides }) => {
            let from = from[0].as_ref()?;
            let places = places(ty.dims(), &strides, offset);
            elements(places.into_iter().map(|i| from[i]).collect())
        }
        Structure::Reshape => from[0].clone(),
        Structure::Reduce { axes, .. } => {
            let keep: Vec<usize> = (0..types[0].rank()).filter(|i| !axes.contains(i)).collect();
            let own = [along(types[0], &keep), along(types[0], &axes)];
            elements(united(sets, from[0].as_ref()?, &own[0], &own[1]))
        }
        Structure::Contract(c) => contract(frame, sets, &c, &args, &types, &from),
        Structure::Assemble { pieces, .. } => {
            let mut to = vec![Set::EMPTY; ty.len()];
            let strides = ty.shape.strides();
            for ((piece, from), part) in pieces.iter().zip(&from).zip(&types) {
                let Some(from) = from else { continue };
                let each = || strides.iter().zip(&piece.offset).zip(&piece.steps);
                let offset = each().map(|((&s, &o), _)| s * o as isize).sum();
                let steps: Vec<isize> = each().map(|((&s, _), &step)| s * step as isize).collect();
                let places = places(part.dims(), &steps, offset);
                places.into_iter().zip(from.iter()).for_each(|(i, &s)| to[i] = s);
            }
            elements(to)
        }
        Structure::Gather { axis } => {
            let index = frame.known(args[1]);
            gather(sets, from[0].as_ref()?, index.as_ref(), types[1].len(), types[0], axis)
        }
        Structure::ScatterAdd { axis } => {
            let index = frame.known(args[1]);
            let to = from[0].as_ref().map_or_else(|| vec![Set::EMPTY; ty.len()], |s| s.to_vec());
            match &from[2] {
                None => elements(to),
                Some(from) => scatter(sets, to, from, index.as_ref(), types[1].len(), ty, axis),
            }
        }
        Structure::Cumulate { by, axis, reverse } => {
            elements(cumulate(sets, by, &from, ty, axis, reverse))
        }
        Structure::Call { routine, .. } => {
            let batch = match &routine {
                // Their results are no floats.
                Routine::Argsort(_) | Routine::LoopLimit(_) => return None,
                Routine::Cholesky(c) => c.batch,
                Routine::TriangularSolve(t) => t.batch,
                Routine::Lu(lu) => lu.batch,
            };
            elements(lanes(sets, &from, batch, ty.len()))
        }
    }
}

/// Where the elements of an array are in memory of these strides.
fn places(dims: &[usize], strides: &[isize], offset: isize) -> Vec<usize> {
    let mut all = vec![offset];
    for (&n, &stride) in dims.iter().zip(strides) {
        let step = |&at: &isize| (0..n as isize).map(move |i| at + i * stride);
        all = all.iter().flat_map(step).collect();
    }
    all.into_iter().map(|at| at as usize).collect()
}

/// Where the elements along some axes of an array are, from the first.
fn along(ty: &Type, axes: &[usize]) -> Vec<usize> {
    let strides = ty.shape.strides();
    let dims: Vec<usize> = axes.iter().map(|&i| ty.dims()[i]).collect();
    let strides: Vec<isize> = axes.iter().map(|&i| strides[i]).collect();
    places(&dims, &strides, 0)
}

/// The union of the elements `over` each of the places.
fn united(sets: &mut Sets, from: &[Set], each: &[usize], over: &[usize]) -> Vec<Set> {
    let mut all = Vec::with_capacity(over.len());
    let mut unite = |&at: &usize| {
        all.clear();
        all.extend(over.iter().map(|k| from[at + k]));
        sets.unite(&mut all)
    };
    each.iter().map(&mut unite).collect()
}

fn map(
    frame: &mut Frame<'_>,
    sets: &mut Sets,
    op: &Op,
    args: &[Value],
    from: &[Elements],
    n: usize,
) -> Elements {
    let Op::Map(Map { f }) = op else { unreachable!("a map") };
    let mut from = from.to_vec();
    match f {
        Scalar::Mul | Scalar::MulZ | Scalar::MulZLeft => {
            for (own, other) in [(0, 1), (1, 0)] {
                if from[own].is_some() {
                    let factor = factor(frame, args[other]);
                    from[own] = from[own].take().and_then(|own| masked(own, factor, |x| x != 0.0));
                }
            }
        }
        Scalar::Select => {
            let choice = frame.known(args[0]).map(|c| c.to_f64_vec());
            if choice.is_some() {
                from[1] = from[1].take().and_then(|x| masked(x, choice.clone(), |c| c != 0.0));
                from[2] = from[2].take().and_then(|y| masked(y, choice, |c| c == 0.0));
            }
        }
        _ => {}
    }
    let mut parts = from.into_iter().flatten();
    let first = parts.next()?;
    let rest: Vec<Rc<[Set]>> = parts.collect();
    if rest.is_empty() {
        return Some(first);
    }
    let at = |i: usize| rest.iter().fold(first[i], |all, part| sets.union(all, part[i]));
    elements((0..n).map(at).collect())
}

/// The elements of a constant factor, if one of them is zero.
fn factor(frame: &mut Frame<'_>, v: Value) -> Option<Vec<f64>> {
    let g = frame.g;
    if g.as_splat(v).is_some_and(|c| c.to_f64() != 0.0) {
        return None;
    }
    let elements = frame.known(v)?.to_f64_vec();
    elements.contains(&0.0).then_some(elements)
}

/// What is left where a constant says so.
fn masked(from: Rc<[Set]>, mask: Option<Vec<f64>>, keep: fn(f64) -> bool) -> Elements {
    let Some(mask) = mask else { return Some(from) };
    let kept = from.iter().zip(mask).map(|(&s, m)| if keep(m) { s } else { Set::EMPTY });
    elements(kept.collect())
}

fn contract(
    frame: &mut Frame<'_>,
    sets: &mut Sets,
    c: &Contract,
    args: &[Value],
    types: &[&Type],
    from: &[Elements],
) -> Elements {
    // Of each operand: where a batch, a row and an element of a row are.
    let part = |side: usize| {
        let free = c.free(side, types[side].rank());
        [&c.batch[side], &free, &c.over[side]].map(|axes| along(types[side], axes))
    };
    let parts = [part(0), part(1)];
    let [rows, columns] = [0, 1].map(|side| parts[side][1].len());
    let mut all = vec![Set::EMPTY; parts[0][0].len() * rows * columns];
    for side in [0, 1] {
        let Some(own) = &from[side] else { continue };
        let [batch, free, over] = &parts[side];
        let [batch_other, free_other, over_other] = &parts[1 - side];
        let factor = factor(frame, args[1 - side]);
        for b in 0..batch.len() {
            let each: Vec<usize> = free.iter().map(|at| batch[b] + at).collect();
            let mut found = Vec::new();
            if factor.is_none() {
                found = united(sets, own, &each, over);
            }
            for (j, at) in free_other.iter().enumerate() {
                if let Some(factor) = &factor {
                    let counts = |&k: &usize| factor[batch_other[b] + at + over_other[k]] != 0.0;
                    let over: Vec<usize> =
                        (0..over.len()).filter(counts).map(|k| over[k]).collect();
                    found = united(sets, own, &each, &over);
                }
                for (i, &set) in found.iter().enumerate() {
                    let (row, column) = if side == 0 { (i, j) } else { (j, i) };
                    let to = &mut all[(b * rows + row) * columns + column];
                    *to = sets.union(*to, set);
                }
            }
        }
    }
    elements(all)
}

/// The extents before, along and after an axis.
fn split(shape: &Shape, axis: usize) -> [usize; 3] {
    let dims = shape.dims();
    [dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product()]
}

/// The places that indices stand for.
fn clamped(index: &Array, extent: usize) -> Vec<usize> {
    let clamp = |i: f64| (i.max(0.0) as usize).min(extent.saturating_sub(1));
    index.to_f64_vec().into_iter().map(clamp).collect()
}

fn gather(
    sets: &mut Sets,
    from: &[Set],
    index: Option<&Array>,
    picked: usize,
    x: &Type,
    axis: usize,
) -> Elements {
    let [before, extent, after] = split(&x.shape, axis);
    let index = index.map(|index| clamped(index, extent));
    let mut to = Vec::with_capacity(before * picked * after);
    for a in 0..before {
        let block = &from[a * extent * after..][..extent * after];
        match &index {
            Some(index) => {
                index.iter().for_each(|&i| to.extend_from_slice(&block[i * after..][..after]));
            }
            None => {
                let each: Vec<usize> = (0..after).collect();
                let over: Vec<usize> = (0..extent).map(|i| i * after).collect();
                let any = united(sets, block, &each, &over);
                (0..picked).for_each(|_| to.extend_from_slice(&any));
            }
        }
    }
    elements(to)
}

fn scatter(
    sets: &mut Sets,
    mut to: Vec<Set>,
    from: &[Set],
    index: Option<&Array>,
    added: usize,
    x: &Type,
    axis: usize,
) -> Elements {
    let [before, extent, after] = split(&x.shape, axis);
    let index = index.map(|index| clamped(index, extent));
    let each: Vec<usize> = (0..after).collect();
    let over: Vec<usize> = (0..added).map(|i| i * after).collect();
    for a in 0..before {
        let to = &mut to[a * extent * after..][..extent * after];
        let from = &from[a * added * after..][..added * after];
        match &index {
            Some(index) => {
                // All that goes to one place at once: one after the other is quadratic.
                let mut goes: Vec<(usize, usize)> = index.iter().copied().zip(0..).collect();
                goes.sort_unstable();
                for group in goes.chunk_by(|a, b| a.0 == b.0) {
                    let over: Vec<usize> = group.iter().map(|g| g.1 * after).collect();
                    let sums = united(sets, from, &each, &over);
                    for (to, sum) in to[group[0].0 * after..].iter_mut().zip(sums) {
                        *to = sets.union(*to, sum);
                    }
                }
            }
            None => {
                let sums = united(sets, from, &each, &over);
                for (to, sum) in to.iter_mut().zip(sums.into_iter().cycle()) {
                    *to = sets.union(*to, sum);
                }
            }
        }
    }
    elements(to)
}

fn cumulate(
    sets: &mut Sets,
    by: Recurrence,
    from: &[Elements],
    ty: &Type,
    axis: usize,
    reverse: bool,
) -> Vec<Set> {
    let [before, extent, after] = split(&ty.shape, axis);
    // The first factor of a linear recurrence is not read.
    let factors = by.arity() == 2;
    let at = |of: &Elements, i: usize| of.as_ref().map_or(Set::EMPTY, |s| s[i]);
    let mut to = vec![Set::EMPTY; ty.len()];
    for (a, b) in (0..before).flat_map(|a| (0..after).map(move |b| (a, b))) {
        let mut running = Set::EMPTY;
        for step in 0..extent {
            let i = if reverse { extent - 1 - step } else { step };
            let place = (a * extent + i) * after + b;
            if step > 0 || !factors {
                running = sets.union(running, at(&from[0], place));
            }
            if factors {
                running = sets.union(running, at(&from[1], place));
            }
            to[place] = running;
        }
    }
    to
}

/// Each element of a lane depends on all that the lane reads.
fn lanes(sets: &mut Sets, from: &[Elements], batch: usize, n: usize) -> Vec<Set> {
    if batch == 0 || n == 0 {
        return vec![Set::EMPTY; n];
    }
    let mut to = Vec::with_capacity(n);
    for lane in 0..batch {
        let mut all: Vec<Set> = Vec::new();
        for part in from.iter().flatten() {
            let len = part.len() / batch;
            all.extend_from_slice(&part[lane * len..][..len]);
        }
        let any = sets.unite(&mut all);
        to.extend(std::iter::repeat_n(any, n / batch));
    }
    to
}
