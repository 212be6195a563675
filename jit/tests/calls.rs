//! Functions that nests call do what their operations would do in their place.

mod common;

use std::sync::Arc;

use backstitch_ir::build::NestBuilder;
use backstitch_ir::eval_nest::{self, cells};
use backstitch_ir::nest::{Access, At, Cmp, FuncDecl, Monoid, Nest, Range, ScalarOp, Stmt, Var};
use backstitch_ir::nest::{Const, Mode};
use backstitch_ir::{DType, verify_nest};
use common::{Rng, check_nest};

/// What a function takes and gives.
#[derive(Clone, Copy)]
struct Kind {
    params: [DType; 3],
    count: usize,
}

impl Kind {
    fn params(&self) -> &[DType] {
        &self.params[..self.count]
    }

    /// Operations at random; the last of the type of the first argument is the result.
    fn body(self, b: &mut NestBuilder, rng: &mut Rng, args: &[Var]) -> Var {
        let dtype = self.params[0];
        let plain: &[ScalarOp] = match dtype {
            DType::F32 | DType::F64 => &[
                ScalarOp::Add,
                ScalarOp::Sub,
                ScalarOp::Mul,
                ScalarOp::Div,
                ScalarOp::Abs,
                ScalarOp::Sqrt,
                ScalarOp::Fma,
                ScalarOp::Nearest,
            ],
            DType::Bool => &[ScalarOp::And, ScalarOp::Xor, ScalarOp::Not],
            _ => &[ScalarOp::Add, ScalarOp::Mul, ScalarOp::Xor, ScalarOp::ShrS, ScalarOp::Neg],
        };
        let mut known: Vec<Var> = args.iter().copied().filter(|&a| b.dtype(a) == dtype).collect();
        let flags: Vec<Var> = args.iter().copied().filter(|&a| b.dtype(a) == DType::Bool).collect();
        for _ in 0..1 + rng.below(40) {
            let pick = |rng: &mut Rng| known[rng.below(known.len())];
            let (x, y, z) = (pick(rng), pick(rng), pick(rng));
            let made = match rng.below(6) {
                0 => b.constant(Const { dtype, bits: rng.element(dtype) }),
                1 if !flags.is_empty() => b.select(flags[0], x, y),
                2 if dtype != DType::Bool => {
                    let less = b.cmp(Cmp::Lt, x, y);
                    b.select(less, y, z)
                }
                _ => {
                    let op = rng.pick(plain);
                    b.op(op, dtype, &[x, y, z][..op.arity()])
                }
            };
            known.push(made);
        }
        known[known.len() - 1]
    }
}

/// Calls some functions, or writes them out, and stores all that they give.
fn nest(seed: u64, call: bool) -> Nest {
    let mut rng = Rng::new(seed);
    let types = [DType::F64, DType::F32, DType::I64, DType::I32, DType::Bool];
    let kinds: Vec<(Kind, Rng)> = (0..1 + rng.below(3))
        .map(|i| {
            let params = [0; 3].map(|_| rng.pick(&types));
            (Kind { params, count: 1 + rng.below(3) }, Rng::new(seed + 1000 * (i as u64 + 1)))
        })
        .collect();
    let decl = |(i, (kind, rng)): (usize, &(Kind, Rng))| {
        let name = format!("f{i}");
        Arc::new(FuncDecl::new(name, kind.params(), |b, x| kind.body(b, &mut rng.clone(), x)))
    };
    let funcs: Vec<Arc<FuncDecl>> = kinds.iter().enumerate().map(decl).collect();
    let mut b = NestBuilder::new("calls");
    let mut known: Vec<Var> = Vec::new();
    for dtype in types {
        let x = b.param(dtype, 4, Access::In);
        known.extend((0..4).map(|offset| b.load(x, At { offset, ..At::default() })));
    }
    let many = if rng.chance(20) { 150 } else { 6 };
    for _ in 0..1 + rng.below(many) {
        let k = rng.below(kinds.len());
        let (kind, inside) = &kinds[k];
        let args: Vec<Var> = (kind.params().iter())
            .map(|&d| {
                let fit: Vec<Var> = known.iter().copied().filter(|&v| b.dtype(v) == d).collect();
                fit[rng.below(fit.len())]
            })
            .collect();
        known.push(match call {
            true => b.call(&funcs[k], &args),
            false => kind.body(&mut b, &mut inside.clone(), &args),
        });
    }
    for &v in &known[20..] {
        let out = b.param(b.dtype(v), 1, Access::Out);
        b.store(out, At::default(), v);
    }
    b.finish()
}

/// What an interpreter gives for some inputs: each output's type and bytes.
fn run(nest: &Nest, seed: u64) -> Vec<(DType, Vec<u8>)> {
    let mut rng = Rng::new(seed);
    let mut memory: Vec<Vec<u8>> =
        nest.params.iter().map(|p| rng.elements(p.dtype, p.len)).collect();
    let args: Vec<_> = memory.iter_mut().map(|bytes| cells(bytes)).collect();
    eval_nest::eval(nest, &args);
    nest.params.iter().map(|p| p.dtype).zip(memory).collect()
}

fn same(dtype: DType, a: &[u8], b: &[u8]) -> bool {
    let nan = |x: &[u8]| match dtype {
        DType::F32 => f32::from_ne_bytes(x.try_into().expect("four bytes")).is_nan(),
        DType::F64 => f64::from_ne_bytes(x.try_into().expect("eight bytes")).is_nan(),
        _ => false,
    };
    let size = dtype.size();
    a.chunks(size).zip(b.chunks(size)).all(|(a, b)| a == b || (nan(a) && nan(b)))
}

#[test]
fn machine_code_and_interpreter_agree_on_calls() {
    let mut calls = 0;
    for seed in 0..400 {
        let nest = nest(seed, true);
        verify_nest::verify(&nest).unwrap_or_else(|e| panic!("seed {seed}: {e:?}\n{nest}"));
        calls += nest.body.iter().filter(|s| matches!(s, Stmt::Call { .. })).count();
        check_nest(&nest, &mut Rng::new(seed + 7));
    }
    assert!(calls > 2000, "{calls}");
}

#[test]
fn a_call_gives_what_the_operations_give() {
    for seed in 0..400 {
        let (called, written) = (run(&nest(seed, true), seed), run(&nest(seed, false), seed));
        let all = called.iter().zip(&written);
        assert!(all.clone().all(|(a, b)| a.0 == b.0 && same(a.0, &a.1, &b.1)), "seed {seed}");
    }
}

#[test]
fn calls_are_outside_loops() {
    let double = Arc::new(FuncDecl::new("double", &[DType::F32], |b, x| b.add(x[0], x[0])));
    let mut b = NestBuilder::new("sums");
    let x = b.param(DType::F32, 8, Access::In);
    let out = b.param(DType::F32, 1, Access::Out);
    let first = b.load(x, At::default());
    let twice = b.call(&double, &[first]);
    let i = b.axis(8);
    b.open(i, Range::Whole, Mode::Vector { lanes: 4 });
    let v = b.load(x, At { strides: [(i, 1)].into_iter().collect(), ..At::default() });
    let v = b.mul(v, twice);
    let sum = b.close(&[(Monoid::Sum, v)])[0];
    let sum = b.call(&double, &[sum]);
    b.store(out, At::default(), sum);
    let mut nest = b.finish();
    check_nest(&nest, &mut Rng::new(3));
    let call = nest.body.remove(1);
    let Some(Stmt::For(l)) = nest.body.get_mut(1) else { panic!("{nest}") };
    l.body.insert(0, call);
    let mistakes = verify_nest::verify(&nest).unwrap_err().join("\n");
    assert!(mistakes.contains("f0 is called in a loop"), "{mistakes}");
}
