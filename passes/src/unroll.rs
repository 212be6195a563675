//! Short loops as straight-line programs.
//!
//! A loop whose number of iterations is a constant, and small, is written out: its
//! iterations fuse with each other and with what is around them, its index becomes
//! constants, and no row goes through memory. The cost of a loop that stays is a few
//! copies and jumps per iteration; the cost of one written out is code, which takes
//! time to compile. So the bound is on the number of operations that come of it.

use backstitch_ir::graph::Values;
use backstitch_ir::ops::{Loop, Rows, Slice, SliceAxis, Trip};
use backstitch_ir::{Graph, Node, Op, Value};

use crate::motion::unstacked;
use crate::rebuild::{inline, rebuild, same};

/// What a loop, branch or region inside counts for.
const INNER: usize = 48;

/// Whether a graph has loops short enough.
pub(crate) fn has_short_loops(g: &Graph, limit: usize) -> bool {
    g.nodes().any(|n| short(g, n, limit).is_some())
}

/// The same program with loops written out that become at most `limit` operations. Bits stay the same: the same
/// operations are done on the same numbers, in the same order.
pub fn unroll(g: &Graph, limit: usize) -> Graph {
    rebuild(g, |to, n, args| match g.op(n) {
        Op::Loop(l) => match short(g, n, limit).and_then(|trips| written_out(to, l, args, trips)) {
            Some(results) => results,
            None => same(to, g, n, args),
        },
        // Both ends of a stack that is no more.
        Op::Rows(op) => match unstacked(to, op, args[0]) {
            Some(array) => Values::from_slice(&[array]),
            None => same(to, g, n, args),
        },
        _ => same(to, g, n, args),
    })
}

/// The number of iterations of a loop that is to be written out.
fn short(g: &Graph, n: Node, limit: usize) -> Option<usize> {
    let Op::Loop(l) = g.op(n) else { return None };
    if l.trip != Trip::Count {
        return None;
    }
    let count = g.as_splat(g.args(n)[0])?;
    let trips = usize::try_from((count.bits as i64).max(0)).ok()?;
    let work = |n: Node| match l.body.op(n) {
        Op::Input(_) | Op::Literal(_) => 0,
        Op::Loop(_) | Op::Cond(_) | Op::Region(_) => INNER,
        _ => 1,
    };
    let cost: usize = l.body.nodes().map(work).sum::<usize>().max(1);
    (cost.saturating_mul(trips) <= limit).then_some(trips)
}

/// The results of a loop written out; `None` if it pops what is no array.
fn written_out(to: &mut Graph, l: &Loop, args: &[Value], trips: usize) -> Option<Values> {
    let (steady, stacks) = args[l.lead()..].split_at(l.carries + l.consts);
    let arrays: Option<Vec<(Value, bool)>> = stacks
        .iter()
        .map(|&stack| match to.op_of(stack) {
            Op::Rows(Rows::ToStack { back }) => Some((to.args(to.source(stack).0)[0], *back)),
            _ => None,
        })
        .collect();
    let arrays = arrays?;
    let pushed: Vec<_> = l.body.outputs()[l.carries..].iter().map(|&v| l.body.ty(v)).collect();
    // Without iterations there is nothing to put together; stacks stay on stacks.
    if !pushed.is_empty() && trips == 0 || pushed.iter().any(|ty| ty.stack > 0) {
        return None;
    }
    let (mut carries, consts) = (steady[..l.carries].to_vec(), &steady[l.carries..]);
    let mut rows: Vec<Vec<Value>> = vec![Vec::new(); pushed.len()];
    for t in 0..trips {
        let mut inputs = [&carries[..], consts].concat();
        for &(array, back) in &arrays {
            // What was pushed last comes off first.
            let last = to.ty(array).dims()[0] - 1;
            inputs.push(row(to, array, if back { t } else { last - t }));
        }
        let outputs = inline(to, &l.body, &inputs);
        for (rows, &v) in rows.iter_mut().zip(&outputs[l.carries..]) {
            let dims = std::iter::once(1).chain(to.ty(v).dims().iter().copied());
            let shape = dims.collect::<backstitch_ir::Shape>();
            rows.push(to.reshape(v, shape));
        }
        carries = outputs[..l.carries].to_vec();
    }
    let mut results: Values = carries.into();
    for rows in rows {
        let array = match rows[..] {
            [row] => row,
            _ => to.push(backstitch_ir::ops::Concat { axis: 0 }, &rows),
        };
        results.push(to.push(Rows::ToStack { back: false }, &[array]));
    }
    Some(results)
}

/// Row `i` of an array.
fn row(g: &mut Graph, array: Value, i: usize) -> Value {
    let dims = g.ty(array).dims().to_vec();
    let mut cuts: Vec<SliceAxis> =
        dims.iter().map(|&len| SliceAxis { start: 0, len, step: 1 }).collect();
    cuts[0] = SliceAxis { start: i, len: 1, step: 1 };
    let row = g.push(Slice { axes: cuts.into() }, &[array]);
    g.reshape(row, &dims[1..])
}
