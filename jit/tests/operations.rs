//! Every scalar operation on every type, alone and in groups, on ordinary and
//! on special values: the same bits as the interpreter.

mod common;

use backstitch_ir::DType;
use backstitch_ir::apply;
use backstitch_ir::index::IndexVec;
use backstitch_ir::nest::{
    Acc, Access, At, Cmp, Const, For, Mode, Monoid, Nest, ParamDecl, Range, ScalarOp, Stmt, Term,
};
use common::{Rng, check_nest, check_nest_on};
use smallvec::smallvec;

/// `out[i] = op(a[i], b[i], c[i])`.
fn elementwise(op: ScalarOp, from: DType, to: DType, n: usize, mode: Mode) -> Nest {
    let mut nest = Nest {
        name: format!("{}_{from}_{to}", op.name()),
        params: IndexVec::new(),
        axes: IndexVec::new(),
        funcs: IndexVec::new(),
        vars: IndexVec::new(),
        body: Vec::new(),
    };
    let axis = nest.axes.push(n);
    let at = At { strides: smallvec![(axis, 1)], ..At::default() };
    let mut body = Vec::new();
    let mut args = smallvec![];
    for i in 0..op.arity() {
        let dtype = if op == ScalarOp::Select && i == 0 { DType::Bool } else { from };
        let param = nest.params.push(ParamDecl { dtype, len: n, access: Access::In });
        let var = nest.vars.push(dtype);
        body.push(Stmt::Load { var, param, at: at.clone() });
        args.push(var);
    }
    let var = nest.vars.push(to);
    body.push(Stmt::Let { var, op, args });
    let param = nest.params.push(ParamDecl { dtype: to, len: n, access: Access::Out });
    body.push(Stmt::Store { param, at, value: var });
    nest.body.push(Stmt::For(Box::new(For {
        axis,
        range: Range::Whole,
        mode,
        carries: Vec::new(),
        accs: Vec::new(),
        body,
    })));
    nest
}

fn modes() -> [Mode; 3] {
    [Mode::Sequential, Mode::Parallel, Mode::Vector { lanes: 4 }]
}

#[test]
fn every_operation_on_every_type() {
    let mut rng = Rng::new(1);
    let mut checked = 0;
    for op in ScalarOp::ALL {
        for from in DType::ALL {
            for to in DType::ALL {
                if apply::function(op, from, to).is_none() {
                    continue;
                }
                for mode in modes() {
                    for n in [0, 1, 3, 4, 7, 16, 61] {
                        check_nest(&elementwise(op, from, to, n, mode), &mut rng);
                        checked += 1;
                    }
                }
            }
        }
    }
    assert!(checked > 1500, "only {checked}");
}

/// Bits of all kinds: the interpreter says which conversions saturate.
#[test]
fn any_bits_at_all() {
    let mut rng = Rng::new(2);
    for op in ScalarOp::ALL {
        for from in DType::ALL {
            for to in DType::ALL {
                if apply::function(op, from, to).is_none() {
                    continue;
                }
                let nest = elementwise(op, from, to, 256, Mode::Vector { lanes: 8 });
                let data: Vec<Vec<u8>> = nest
                    .params
                    .iter()
                    .map(|p| match p.dtype {
                        DType::Bool => rng.elements(DType::Bool, p.len),
                        d => (0..p.len * d.size()).map(|_| rng.bits() as u8).collect(),
                    })
                    .collect();
                check_nest_on(&nest, &data);
            }
        }
    }
}

/// Numbers about the limits of integers, halves, and what rounds twice.
#[test]
fn conversions_at_the_limits() {
    let doubles: Vec<f64> = [
        0.5,
        1.5,
        2.5,
        2147483647.0,
        2147483647.5,
        2147483648.0,
        2147483649.0,
        9.223372036854775e18,
        9.223372036854776e18,
        1e30,
        4503599627370495.5,
        0.49999999999999994,
        1e-320,
        16777217.0,
    ]
    .into_iter()
    .flat_map(|x| [x, -x])
    .chain([f64::NAN, f64::INFINITY, f64::NEG_INFINITY])
    .collect();
    let ints =
        [0, 1, -1, i64::MAX, i64::MIN, (1 << 53) + 1, (1 << 24) + 1, (1 << 62) + (1 << 38) + 1];
    for from in DType::ALL {
        let bits: Vec<u64> = match from {
            DType::F32 | DType::F64 => {
                doubles.iter().map(|&x| Const::of_float(from, x).bits).collect()
            }
            _ => ints.iter().map(|&n| Const::of_int(from, n).bits).collect(),
        };
        let data: Vec<u8> =
            bits.iter().flat_map(|b| b.to_le_bytes()[..from.size()].to_vec()).collect();
        for to in DType::ALL {
            for op in ScalarOp::ALL {
                if op.arity() == 1 && apply::function(op, from, to).is_some() {
                    let nest = elementwise(op, from, to, bits.len(), Mode::Vector { lanes: 4 });
                    check_nest_on(&nest, &[data.clone(), vec![0; bits.len() * to.size()]]);
                }
            }
        }
    }
}

/// Every reduction, over every type, with every number of lanes.
#[test]
fn every_reduction() {
    let mut rng = Rng::new(3);
    let modes = [1, 2, 4, 8, 16, 32, 64].map(|lanes| Mode::Vector { lanes });
    let terms = Monoid::ALL.map(|op| Term::One(op, ())).into_iter();
    for term in terms.chain([Term::Product([(), ()])]) {
        for dtype in DType::ALL {
            if !term.takes(dtype) {
                continue;
            }
            for mode in modes.into_iter().chain([Mode::Sequential]) {
                for n in [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 31, 33, 70] {
                    check_nest(&reduction(term, dtype, n, mode), &mut rng);
                }
            }
        }
    }
}

/// `out[0] = ⊕ a[i]`, or `Σ a[i] · b[i]`.
fn reduction(term: Term<()>, dtype: DType, n: usize, mode: Mode) -> Nest {
    let mut nest = Nest {
        name: format!("{}_{dtype}", term.op().name()),
        params: IndexVec::new(),
        axes: IndexVec::new(),
        funcs: IndexVec::new(),
        vars: IndexVec::new(),
        body: Vec::new(),
    };
    let axis = nest.axes.push(n);
    let mut body = Vec::new();
    let term = term.map(|()| {
        let param = nest.params.push(ParamDecl { dtype, len: n, access: Access::In });
        let (var, at) =
            (nest.vars.push(dtype), At { strides: smallvec![(axis, 1)], ..At::default() });
        body.push(Stmt::Load { var, param, at });
        var
    });
    let out = nest.params.push(ParamDecl { dtype, len: 1, access: Access::Out });
    let result = nest.vars.push(dtype);
    nest.body = vec![
        Stmt::For(Box::new(For {
            axis,
            range: Range::Whole,
            mode,
            carries: Vec::new(),
            accs: vec![Acc { result, term }],
            body,
        })),
        Stmt::Store { param: out, at: At::default(), value: result },
    ];
    nest
}

/// Comparisons, used once so that a load may become their operand, at every
/// alignment: processors without AVX have instructions that fault on some.
#[test]
fn unaligned_operands() {
    let mut rng = Rng::new(4);
    for cmp in Cmp::ALL {
        for dtype in [DType::F32, DType::F64, DType::I32, DType::I64] {
            for offset in 0..4 {
                let vector = Mode::Vector { lanes: 4 };
                let mut nest = elementwise(ScalarOp::Cmp(cmp), dtype, DType::Bool, 16, vector);
                for param in nest.params.keys() {
                    nest.params[param].len += 4;
                }
                let number = nest.vars.push(dtype);
                let Stmt::For(l) = &mut nest.body[0] else { unreachable!("one loop") };
                for s in &mut l.body {
                    match s {
                        Stmt::Load { at, .. } => at.offset = offset,
                        Stmt::Store { param, value, .. } => {
                            nest.params[*param].dtype = dtype;
                            *value = number;
                        }
                        _ => {}
                    }
                }
                let Some(Stmt::Let { var, .. }) = l.body.get(2) else {
                    unreachable!("a comparison")
                };
                let convert =
                    Stmt::Let { var: number, op: ScalarOp::Convert, args: smallvec![*var] };
                l.body.insert(3, convert);
                check_nest(&nest, &mut rng);
            }
        }
    }
}
