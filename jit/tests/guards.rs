//! Zeros that win over NaN in straight-line code, whatever else asks for the comparisons.

mod common;

use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Access, At, Cmp, Nest, Var};
use backstitch_ir::{DType, verify_nest};
use common::{Rng, check_nest_on};

/// What a comparison may meet.
const NUMBERS: [f64; 10] =
    [0.0, -0.0, 1.0, -2.5, 1e-310, 1e-40, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];

/// Numbers of each type.
const EACH: usize = 8;

/// Products, sums and choices of what is known, some of which ask comparisons for more than
/// a zero.
fn nest(rng: &mut Rng, statements: usize) -> Nest {
    let mut b = NestBuilder::new("guards");
    let at = |offset: i64| At { offset, ..At::default() };
    let mut known = [DType::F64, DType::F32].map(|dtype| {
        let x = b.param(dtype, EACH, Access::In);
        (0..EACH as i64).map(|i| b.load(x, at(i))).collect::<Vec<Var>>()
    });
    let mut truths: Vec<Var> = Vec::new();
    for _ in 0..statements {
        let which = rng.below(2);
        let dtype = [DType::F64, DType::F32][which];
        // Mostly of what is recent, as programs are.
        let pick = |rng: &mut Rng| {
            let all = &known[which];
            let back = if rng.chance(70) { all.len().min(12) } else { all.len() };
            all[all.len() - 1 - rng.below(back)]
        };
        let (x, y) = (pick(rng), pick(rng));
        let zero = b.float(dtype, if rng.chance(90) { 0.0 } else { -0.0 });
        let (of_x, of_y) = (b.cmp(Cmp::Eq, x, zero), b.cmp(Cmp::Eq, zero, y));
        let either = b.or(of_x, of_y);
        let product = b.mul(x, y);
        let made = match rng.below(8) {
            0 => b.select(of_x, zero, product),
            1 => b.select(either, product, zero),
            2 => b.select(either, x, product),
            3 => b.add(x, y),
            4 => {
                let other = pick(rng);
                let third = b.cmp(Cmp::Eq, other, y);
                let any = b.or(either, third);
                b.select(any, zero, product)
            }
            5 if !truths.is_empty() => {
                let asked = truths[rng.below(truths.len())];
                b.select(asked, zero, product)
            }
            _ => b.select(either, zero, product),
        };
        if rng.chance(10) {
            truths.push(if rng.chance(50) { either } else { of_y });
        }
        known[which].push(made);
    }
    for v in known.iter().flat_map(|all| &all[EACH..]).chain(&truths).copied() {
        let out = b.param(b.dtype(v), 1, Access::Out);
        b.store(out, At::default(), v);
    }
    b.finish()
}

#[test]
fn machine_code_and_interpreter_agree_on_zeros_that_win() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let statements = if rng.chance(30) { 200 } else { 1 + rng.below(20) };
        let nest = nest(&mut rng, statements);
        verify_nest::verify(&nest).unwrap_or_else(|e| panic!("seed {seed}: {e:?}\n{nest}"));
        let mut elements = |dtype: DType, len: usize| -> Vec<u8> {
            let number = |_| NUMBERS[rng.below(NUMBERS.len())];
            match dtype {
                DType::F64 => (0..len).map(number).flat_map(f64::to_ne_bytes).collect(),
                DType::F32 => (0..len).map(number).flat_map(|x| (x as f32).to_ne_bytes()).collect(),
                _ => vec![0; len * dtype.size()],
            }
        };
        let data: Vec<Vec<u8>> = nest.params.iter().map(|p| elements(p.dtype, p.len)).collect();
        check_nest_on(&nest, &data);
    }
}
