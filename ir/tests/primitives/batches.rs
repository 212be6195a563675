//! Batches against their lanes.

use backstitch_ir::op::{Lane, Sample};
use backstitch_ir::{Array, Graph, Shape, Type, with_dtype};
use ndarray::Axis;

use super::samples::{Random, assert_close, describe, primitive, run, samples, tolerance};

/// Operands for a batch of `n`; those in `batched` have `n` lanes.
fn lanes(random: &mut Random, s: &Sample, batched: &[bool], n: usize) -> Vec<Vec<Array>> {
    let mut lanes: Vec<Vec<Array>> = (0..n.max(1)).map(|_| random.operands(s)).collect();
    let first = lanes[0].clone();
    for lane in &mut lanes {
        for (k, a) in lane.iter_mut().enumerate().filter(|&(k, _)| !batched[k]) {
            a.clone_from(&first[k]);
        }
    }
    lanes
}

fn stack(arrays: &[&Array], n: usize) -> Array {
    with_dtype!(arrays[0].dtype(), T => {
        let views: Vec<_> = arrays.iter().map(|a| a.view::<T>().expect("one type")).collect();
        if n == 0 {
            let dims: Vec<usize> = std::iter::once(0).chain(arrays[0].dims().iter().copied()).collect();
            return Array::from_vec::<T>(&Shape::from(dims), Vec::new()).expect("empty");
        }
        ndarray::stack(Axis(0), &views).expect("one shape").into()
    })
}

#[test]
fn batches_are_loops_over_lanes() {
    for (i, s) in samples().filter(|(_, s)| !s.args.is_empty()) {
        let p = primitive(&s.op);
        let args: Vec<&Type> = s.args.iter().collect();
        let ty = &s.op.infer(&args).expect("a sample")[0];
        for mask in 1..1usize << s.args.len() {
            let batched: Vec<bool> = (0..s.args.len()).map(|k| mask >> k & 1 == 1).collect();
            for n in [0, 1, 3] {
                let what = format!("{} batched {batched:?} by {n}", describe(i, &s));
                let lanes = lanes(&mut Random::for_sample(i), &s, &batched, n);
                let x: Vec<Array> = (0..s.args.len())
                    .map(|k| match batched[k] {
                        true => stack(&lanes.iter().map(|l| &l[k]).collect::<Vec<_>>(), n),
                        false => lanes[0][k].clone(),
                    })
                    .collect();
                let mut g = Graph::new("batch");
                let inputs: Vec<Lane> = x
                    .iter()
                    .zip(&batched)
                    .map(|(x, &batched)| Lane { value: g.input(x.ty(), None), batched })
                    .collect();
                let out = p.vmap(&mut g, &inputs, n);
                g.set_outputs([out]);
                let each: Vec<Array> =
                    lanes.iter().map(|l| p.eval(&l.iter().collect::<Vec<_>>())).collect();
                let want = stack(&each.iter().collect::<Vec<_>>(), n);
                assert_close(&run(&g, &x)[0], &want, tolerance(ty.dtype), &what);
            }
        }
    }
}
