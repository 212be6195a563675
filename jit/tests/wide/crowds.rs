//! More values at once than there are registers.

use backstitch_ir::DType;
use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Access, At, Cmp, Mode, Monoid, Nest, Param, Range, Var};

use crate::common::Rng;
use crate::trial::{Taken, along, check, check_named};

/// More values at once than there are registers: each is made before the first is used.
/// Vectors and masks within a loop, numbers and words around one.
fn crowd(dtype: DType, count: usize, n: usize, lanes: usize) -> Nest {
    let mut b = NestBuilder::new("crowd");
    let (i, r) = (b.axis(n), b.axis(3));
    let each = n * 3;
    let xs: Vec<Param> = (0..count).map(|_| b.param(dtype, each + 64, Access::In)).collect();
    let out = b.param(dtype, each, Access::Out);
    let yes = b.param(DType::Bool, each, Access::Out);
    let sums = b.param(dtype, 3 * count, Access::Out);
    let place = along(&[(r, n as i64), (i, 1)], 0);
    b.open(r, Range::Whole, Mode::Sequential);
    // One for each row: the word that an address is made of, and the number there.
    let words: Vec<Var> = (0..count)
        .map(|k| {
            let row = b.index(r);
            let by = b.int(DType::I64, k as i64 + 1);
            let product = b.mul(row, by);
            let limit = b.int(DType::I64, 63);
            b.and(product, limit)
        })
        .collect();
    let numbers: Vec<Var> = words
        .iter()
        .zip(&xs)
        .map(|(&w, &x)| b.load(x, At { index: Some(w), ..At::default() }))
        .collect();
    b.open(i, Range::Whole, Mode::Vector { lanes });
    let values: Vec<Var> = xs.iter().map(|&x| b.load(x, place.clone())).collect();
    let masks: Vec<Var> = (0..count)
        .map(|k| b.cmp(Cmp::Lt, values[k], values[(k + 1) % count.max(2) % count]))
        .collect();
    let mixed: Vec<Var> = (0..count)
        .map(|k| {
            let sum = b.add(values[k], numbers[k]);
            b.select(masks[count - 1 - k], sum, values[(k + 7) % count])
        })
        .collect();
    let total = mixed.iter().copied().reduce(|x, y| b.sub(x, y)).expect("some");
    let any = masks.iter().copied().reduce(|x, y| b.xor(x, y)).expect("some");
    let again = values.iter().copied().fold(total, |x, y| b.add(x, y));
    b.store(out, place.clone(), again);
    b.store(yes, place, any);
    let accs: Vec<_> = mixed.iter().map(|&v| (Monoid::Sum, v)).collect();
    for (k, sum) in b.close(&accs).into_iter().enumerate() {
        // Used again behind the loop.
        let more = b.add(sum, numbers[k]);
        b.store(sums, along(&[(r, count as i64)], k as i64), more);
    }
    b.close(&[]);
    b.finish()
}

#[test]
fn more_values_than_registers() {
    let (mut rng, mut taken) = (Rng::new(4), Taken::default());
    for dtype in [DType::F32, DType::F64, DType::I32, DType::I64] {
        for (count, n, lanes) in [(3, 70, 16), (9, 37, 8), (17, 64, 32), (40, 21, 8), (220, 19, 16)]
        {
            let nest = crowd(dtype, count, n, lanes);
            taken.see(&nest);
            check_named(&|| format!("{count} values of {dtype}"), &nest, &mut rng);
        }
    }
    taken.insist(90);
}

/// Gathers whose places and results both live in the frame.
#[test]
fn many_gathers_at_once() {
    let count = 36;
    let mut b = NestBuilder::new("gathers");
    let i = b.axis(33);
    let ins: Vec<Param> = (0..count).map(|_| b.param(DType::F32, 33 * 7, Access::In)).collect();
    let out = b.param(DType::F32, 33, Access::Out);
    b.open(i, Range::Whole, Mode::Vector { lanes: 16 });
    let all: Vec<Var> = ins.iter().map(|&p| b.load(p, along(&[(i, 7)], 0))).collect();
    let mut sum = all[count - 1];
    for &x in all.iter().rev() {
        let product = b.mul(sum, x);
        sum = b.sub(product, x);
    }
    b.store(out, along(&[(i, 1)], 0), sum);
    b.close(&[]);
    check(&b.finish(), &mut Rng::new(9));
}
