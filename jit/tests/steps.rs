//! Plans of several steps: branches, loops, stacks, copies, matrix products,
//! constants, and long ones.

mod common;

use std::ptr;

use backstitch_ir::array::Array;
use backstitch_ir::index::{Idx, IndexVec};
use backstitch_ir::nest::{Access, At, Cmp, Const, Nest, ParamDecl, ScalarOp, Stmt};
use backstitch_ir::plan::{
    Buffer, BufferDecl, BufferRef, Gemm, HANDLE_LEN, Kernel, Matrix, Place, Plan, Step,
};
use backstitch_ir::{DType, Shape, Type};
use backstitch_jit::{Code, Cpu, Externs};
use common::{
    Arena, EXTERNS, Rng, Stores, compile, constant, empty_plan, in_arena, options, whole,
};
use smallvec::smallvec;

/// `out[0] = op(a[0], b[0], …)`.
fn scalar_kernel(op: ScalarOp, from: DType, to: DType) -> Nest {
    let mut nest = Nest {
        name: op.name().to_owned(),
        params: IndexVec::new(),
        axes: IndexVec::new(),
        funcs: IndexVec::new(),
        vars: IndexVec::new(),
        body: Vec::new(),
    };
    let mut args = smallvec![];
    for _ in 0..op.arity() {
        let param = nest.params.push(ParamDecl { dtype: from, len: 1, access: Access::In });
        let var = nest.vars.push(from);
        nest.body.push(Stmt::Load { var, param, at: At::default() });
        args.push(var);
    }
    let var = nest.vars.push(to);
    nest.body.push(Stmt::Let { var, op, args });
    let param = nest.params.push(ParamDecl { dtype: to, len: 1, access: Access::Out });
    nest.body.push(Stmt::Store { param, at: At::default(), value: var });
    nest
}

fn run(plan: &mut Plan, op: ScalarOp, from: DType, to: DType, args: &[Buffer]) -> Step {
    let kernel = plan.kernels.push(scalar_kernel(op, from, to));
    Step::Run { kernel, args: args.iter().map(|&b| whole(b)).collect() }
}

fn i64_input(plan: &mut Plan) -> Buffer {
    plan.inputs.push(Type::scalar(DType::I64));
    let place = Place::Input(plan.inputs.len() - 1);
    plan.buffers.push(BufferDecl { dtype: DType::I64, len: 1, place })
}

fn i64_output(plan: &mut Plan) -> Buffer {
    plan.outputs.push(Type::scalar(DType::I64));
    let place = Place::Output(plan.outputs.len() - 1);
    plan.buffers.push(BufferDecl { dtype: DType::I64, len: 1, place })
}

fn set(plan: &mut Plan, buffer: Buffer, n: i64) -> Step {
    let c = ScalarOp::Const(Const::of_int(DType::I64, n));
    run(plan, c, DType::I64, DType::I64, &[buffer])
}

/// Runs a plan whose inputs and outputs are `i64` scalars.
fn call(code: &Code, plan: &Plan, inputs: &[i64], stores: &mut Stores) -> (i32, Vec<i64>) {
    let ins: Vec<*const u8> = inputs.iter().map(|x| ptr::from_ref(x).cast()).collect();
    let mut results = vec![0i64; plan.outputs.len()];
    let outs: Vec<*mut u8> = results.iter_mut().map(|x| ptr::from_mut(x).cast()).collect();
    let mut arena = Arena::new(plan.arena_bytes);
    // SAFETY: one element for each input and output, and an arena of the size.
    let status = unsafe { code.call(ins.as_ptr(), outs.as_ptr(), arena.at(), stores.context()) };
    (status, results)
}

/// Both processors give this.
fn check(plan: &Plan, inputs: &[i64], expected: &[i64]) {
    for cpu in [Cpu::Host, Cpu::Baseline] {
        let code = compile(plan, cpu);
        let got = call(&code, plan, inputs, &mut Stores::new(plan));
        assert_eq!(got, (0, expected.to_vec()), "{cpu:?} on {inputs:?}");
    }
}

#[test]
fn empty() {
    check(&empty_plan(), &[], &[]);
}

#[test]
fn branches() {
    let mut plan = empty_plan();
    let (x, y) = (i64_input(&mut plan), i64_input(&mut plan));
    let out = i64_output(&mut plan);
    let pred = in_arena(&mut plan, DType::Bool, 1);
    let less = run(&mut plan, ScalarOp::Cmp(Cmp::Lt), DType::I64, DType::Bool, &[x, y, pred]);
    let add = run(&mut plan, ScalarOp::Add, DType::I64, DType::I64, &[x, y, out]);
    let sub = run(&mut plan, ScalarOp::Sub, DType::I64, DType::I64, &[x, y, out]);
    let twice = run(&mut plan, ScalarOp::Add, DType::I64, DType::I64, &[out, out, out]);
    plan.steps = vec![less, Step::If { pred, then: vec![add], els: vec![sub] }, twice];
    check(&plan, &[3, 4], &[14]);
    check(&plan, &[4, 3], &[2]);
}

/// Greatest common divisor by subtraction.
#[test]
fn while_loops() {
    let mut plan = empty_plan();
    let (x, y) = (i64_input(&mut plan), i64_input(&mut plan));
    let out = i64_output(&mut plan);
    let [a, b] = [(); 2].map(|()| in_arena(&mut plan, DType::I64, 1));
    let [go_on, less] = [(); 2].map(|()| in_arena(&mut plan, DType::Bool, 1));
    let ne = run(&mut plan, ScalarOp::Cmp(Cmp::Ne), DType::I64, DType::Bool, &[a, b, go_on]);
    let lt = run(&mut plan, ScalarOp::Cmp(Cmp::Lt), DType::I64, DType::Bool, &[a, b, less]);
    let b_less = run(&mut plan, ScalarOp::Sub, DType::I64, DType::I64, &[b, a, b]);
    let a_less = run(&mut plan, ScalarOp::Sub, DType::I64, DType::I64, &[a, b, a]);
    plan.steps = vec![
        Step::Copy { from: x, to: a },
        Step::Copy { from: y, to: b },
        Step::While {
            head: vec![ne],
            pred: go_on,
            body: vec![lt, Step::If { pred: less, then: vec![b_less], els: vec![a_less] }],
        },
        Step::Copy { from: a, to: out },
    ];
    check(&plan, &[12, 18], &[6]);
    check(&plan, &[7, 7], &[7]);
    check(&plan, &[1071, 462], &[21]);
}

#[test]
fn repeats() {
    let mut plan = empty_plan();
    let (x, n) = (i64_input(&mut plan), i64_input(&mut plan));
    let out = i64_output(&mut plan);
    let twice = run(&mut plan, ScalarOp::Add, DType::I64, DType::I64, &[out, out, out]);
    plan.steps =
        vec![Step::Copy { from: x, to: out }, Step::Repeat { count: n, body: vec![twice] }];
    check(&plan, &[3, 5], &[96]);
    check(&plan, &[3, 0], &[3]);
    check(&plan, &[3, -4], &[3]);
}

/// Pushes `x, 2x, 4x, …` and pops them into a polynomial, twice from a copy of
/// the handle.
#[test]
fn stacks() {
    let mut plan = empty_plan();
    let (x, n) = (i64_input(&mut plan), i64_input(&mut plan));
    let (out, again) = (i64_output(&mut plan), i64_output(&mut plan));
    let store = plan.stores.push(8);
    let value = in_arena(&mut plan, DType::I64, 1);
    let [stack, copy] = [(); 2].map(|()| in_arena(&mut plan, DType::I64, HANDLE_LEN));
    let three = constant(&mut plan, Array::from(3i64));
    let twice = run(&mut plan, ScalarOp::Add, DType::I64, DType::I64, &[value, value, value]);
    let clear = [set(&mut plan, out, 0), set(&mut plan, again, 0)];
    let horner = |plan: &mut Plan, out| {
        [
            run(plan, ScalarOp::Mul, DType::I64, DType::I64, &[out, three, out]),
            run(plan, ScalarOp::Add, DType::I64, DType::I64, &[out, value, out]),
        ]
    };
    let (first, second) = (horner(&mut plan, out), horner(&mut plan, again));
    let pops = |stack, rest: [Step; 2]| {
        let body = std::iter::once(Step::Pop { stack, to: value }).chain(rest).collect();
        Step::Repeat { count: n, body }
    };
    plan.steps = vec![
        Step::Copy { from: x, to: value },
        Step::Open { stack, store },
        Step::Repeat { count: n, body: vec![Step::Push { stack, from: value }, twice] },
        Step::Copy { from: stack, to: copy },
    ];
    plan.steps.extend(clear);
    plan.steps.extend([pops(stack, first), pops(copy, second)]);
    let expected = |x: i64, n: i64| (0..n).rev().fold(0, |sum, k| sum * 3 + (x << k));
    for (x, n) in [(1, 0), (5, 1), (7, 10)] {
        check(&plan, &[x, n], &[expected(x, n); 2]);
    }

    let code = compile(&plan, Cpu::Host);
    let mut stores = Stores::new(&plan);
    stores.most = 3;
    assert_eq!(call(&code, &plan, &[1, 4], &mut stores).0, 1, "a push that fails ends the call");
    assert_eq!((stores.records[0].room, stores.called), (3, 0));
}

/// Copies of all small sizes and a large one move exactly their bytes.
#[test]
fn copies() {
    for len in (0..70).chain([128, 129, 1000]) {
        let mut plan = empty_plan();
        let from = in_arena(&mut plan, DType::Bool, len);
        let to = in_arena(&mut plan, DType::Bool, len + 1);
        let target = plan.buffers[to].clone();
        plan.buffers[to].len = len;
        plan.steps = vec![Step::Copy { from, to }];
        let code = compile(&plan, Cpu::Host);
        let mut arena = Arena::new(plan.arena_bytes);
        for (i, b) in arena.bytes()[..len].iter_mut().enumerate() {
            *b = i as u8 | 1;
        }
        let before = arena.bytes().to_vec();
        // SAFETY: no inputs or outputs, and an arena of the size.
        let status = unsafe { code.call(ptr::null(), ptr::null(), arena.at(), ptr::null_mut()) };
        assert_eq!(status, 0);
        let Place::Arena(at) = target.place else { unreachable!("in the arena") };
        let mut expected = before.clone();
        expected.copy_within(0..len, at);
        assert_eq!(arena.bytes(), expected, "{len} bytes");
    }
}

/// Constants are read where they are, also those that were not row-major.
#[test]
fn constants() {
    let mut plan = empty_plan();
    let matrix = backstitch_ir::ndarray::arr2(&[[1i64, 2, 3], [4, 5, 6]]);
    let table = constant(&mut plan, Array::from(matrix.t().to_owned()));
    let transposed = constant(&mut plan, Array::from(matrix.reversed_axes()));
    let out = i64_output(&mut plan);
    let mul = scalar_kernel(ScalarOp::Mul, DType::I64, DType::I64);
    let kernel = plan.kernels.push(mul);
    let at = |buffer, offset| BufferRef { buffer, offset };
    plan.steps =
        vec![Step::Run { kernel, args: vec![at(table, 3), at(transposed, 4), whole(out)] }];
    // Row-major, both are 1 4 2 5 3 6.
    check(&plan, &[], &[5 * 3]);
}

unsafe extern "C" fn small_gemm(desc: *const Gemm, a: *const u8, b: *const u8, c: *mut u8, _: u32) {
    // SAFETY: the test passes matrices of these extents.
    unsafe {
        let g = &*desc;
        let (a, b, c) = (a.cast::<f64>(), b.cast::<f64>(), c.cast::<f64>());
        for i in 0..g.m as isize {
            for j in 0..g.n as isize {
                let product = |k: isize| {
                    *a.offset(i * g.a.row + k * g.a.col) * *b.offset(k * g.b.row + j * g.b.col)
                };
                *c.offset(i * g.c.row + j * g.c.col) = (0..g.k as isize).map(product).sum();
            }
        }
    }
}

#[test]
fn matrix_products() {
    let mut plan = empty_plan();
    let array =
        |rows: &[f64]| Array::from_vec(&Shape::from([rows.len()]), rows.to_vec()).expect("fits");
    let a = constant(&mut plan, array(&[0.0, 1.0, 2.0, 3.0, 4.0]));
    let b = constant(&mut plan, array(&[10.0, 20.0]));
    plan.outputs.push(Type::new(DType::F64, [2usize]));
    let c = plan.buffers.push(BufferDecl { dtype: DType::F64, len: 2, place: Place::Output(0) });
    let at = |buffer, offset| BufferRef { buffer, offset };
    plan.steps = vec![Step::Gemm(Gemm {
        dtype: DType::F64,
        m: 2,
        n: 1,
        k: 2,
        add: false,
        batch: Vec::new(),
        a: Matrix { at: at(a, 1), row: 2, col: 1 },
        b: Matrix { at: at(b, 0), row: 1, col: 1 },
        c: Matrix { at: at(c, 0), row: 1, col: 1 },
    })];
    let externs = Externs { gemm: small_gemm, ..EXTERNS };
    let code = backstitch_jit::compile(&plan, &externs, &options(Cpu::Host)).expect("compiles");
    let mut out = [0.0f64; 2];
    let outs = [out.as_mut_ptr().cast()];
    // SAFETY: one output of two elements; no arena.
    let status = unsafe { code.call(ptr::null(), outs.as_ptr(), ptr::null_mut(), ptr::null_mut()) };
    assert_eq!((status, out), (0, [1.0 * 10.0 + 2.0 * 20.0, 3.0 * 10.0 + 4.0 * 20.0]));
}

/// Thousands of scalar kernels, some of them in loops and branches, are split
/// into functions and still give what an interpreter gives.
#[test]
fn long_plans() {
    let ops = [ScalarOp::Add, ScalarOp::Sub, ScalarOp::Mul, ScalarOp::Xor];
    for (seed, count) in [(1, 50), (2, 3_000), (3, 12_000)] {
        let mut rng = Rng::new(seed);
        let mut plan = empty_plan();
        let out = i64_output(&mut plan);
        let cells: Vec<Buffer> = (0..40).map(|_| in_arena(&mut plan, DType::I64, 1)).collect();
        for op in ops {
            plan.kernels.push(scalar_kernel(op, DType::I64, DType::I64));
        }
        let mut memory = vec![0i64; 40];
        for (i, m) in memory.iter_mut().enumerate() {
            *m = i as i64 * 1_000_003 + 1;
            let step = set(&mut plan, cells[i], *m);
            plan.steps.push(step);
        }
        let yes = constant(&mut plan, Array::from(true));
        let three = constant(&mut plan, Array::from(3i64));
        let mut left = count;
        while left > 0 {
            let size = 1 + rng.below(left.min(2_000));
            left -= size;
            let times = rng.below(3);
            let mut body = Vec::new();
            let mut trace = Vec::new();
            for _ in 0..size {
                let (op, a, b, c) = (rng.below(4), rng.below(40), rng.below(40), rng.below(40));
                let args = [a, b, c].map(|i| whole(cells[i])).to_vec();
                body.push(Step::Run { kernel: Kernel::new(op), args });
                trace.push((op, a, b, c));
            }
            for _ in 0..[1, 1, 3][times] {
                for &(op, a, b, c) in &trace {
                    let (x, y) = (memory[a], memory[b]);
                    memory[c] = match op {
                        0 => x.wrapping_add(y),
                        1 => x.wrapping_sub(y),
                        2 => x.wrapping_mul(y),
                        _ => x ^ y,
                    };
                }
            }
            match times {
                0 => plan.steps.extend(body),
                1 => plan.steps.push(Step::If { pred: yes, then: body, els: Vec::new() }),
                _ => plan.steps.push(Step::Repeat { count: three, body }),
            }
        }
        let mut sum = 0i64;
        let total = in_arena(&mut plan, DType::I64, 1);
        let step = set(&mut plan, total, 0);
        plan.steps.push(step);
        for (i, &m) in memory.iter().enumerate() {
            sum = sum.wrapping_mul(31).wrapping_add(m);
            let c = constant(&mut plan, Array::from(31i64));
            let mul = run(&mut plan, ScalarOp::Mul, DType::I64, DType::I64, &[total, c, total]);
            let add =
                run(&mut plan, ScalarOp::Add, DType::I64, DType::I64, &[total, cells[i], total]);
            plan.steps.extend([mul, add]);
        }
        plan.steps.push(Step::Copy { from: total, to: out });
        check(&plan, &[], &[sum]);
    }
}

#[test]
fn texts_on_request() {
    let mut plan = empty_plan();
    let out = i64_output(&mut plan);
    let step = set(&mut plan, out, 42);
    plan.steps.push(step);
    let options = backstitch_jit::Options { text: true, ..options(Cpu::Host) };
    let code = backstitch_jit::compile(&plan, &EXTERNS, &options).expect("compiles");
    assert!(code.texts().iter().any(|(_, text)| text.contains("iconst.i64 42")));
    assert!(code.code_bytes() > 0);
    assert!(compile(&plan, Cpu::Host).texts().is_empty());
}
