//! Code frees what it takes, and can be shared and sent.

mod common;

use std::ptr;

use backstitch_ir::DType;
use backstitch_ir::array::Array;
use backstitch_ir::index::IndexVec;
use backstitch_ir::nest::{Acc, Access, At, For, Mode, Monoid, Nest, ParamDecl, Range, Stmt, Term};
use backstitch_ir::plan::{BufferDecl, Place, Plan, Step};
use backstitch_ir::{Shape, Type};
use backstitch_jit::{Code, Cpu};
use common::{compile, constant, empty_plan, whole};
use smallvec::smallvec;

/// `out = Σ constants`.
fn sum_of_constants(n: usize) -> Plan {
    let mut plan = empty_plan();
    let values = (0..n).map(|i| i as f64).collect();
    let x = constant(&mut plan, Array::from_vec(&Shape::from([n]), values).expect("fits"));
    plan.outputs.push(Type::scalar(DType::F64));
    let out = plan.buffers.push(BufferDecl { dtype: DType::F64, len: 1, place: Place::Output(0) });
    let mut nest = Nest {
        name: "sum".to_owned(),
        params: IndexVec::new(),
        axes: IndexVec::new(),
        funcs: IndexVec::new(),
        vars: IndexVec::new(),
        body: Vec::new(),
    };
    let axis = nest.axes.push(n);
    let from = nest.params.push(ParamDecl { dtype: DType::F64, len: n, access: Access::In });
    let to = nest.params.push(ParamDecl { dtype: DType::F64, len: 1, access: Access::Out });
    let [value, result] = [nest.vars.push(DType::F64), nest.vars.push(DType::F64)];
    let at = At { strides: smallvec![(axis, 1)], ..At::default() };
    nest.body = vec![
        Stmt::For(Box::new(For {
            axis,
            range: Range::Whole,
            mode: Mode::Vector { lanes: 8 },
            carries: Vec::new(),
            accs: vec![Acc { result, term: Term::One(Monoid::Sum, value) }],
            body: vec![Stmt::Load { var: value, param: from, at }],
        })),
        Stmt::Store { param: to, at: At::default(), value: result },
    ];
    let kernel = plan.kernels.push(nest);
    plan.steps.push(Step::Run { kernel, args: vec![whole(x), whole(out)] });
    plan
}

fn call(code: &Code) -> f64 {
    let mut out = 0.0f64;
    let outs = [(&raw mut out).cast::<u8>()];
    // SAFETY: one output of one element; no inputs, no arena.
    let status = unsafe { code.call(ptr::null(), outs.as_ptr(), ptr::null_mut(), ptr::null_mut()) };
    assert_eq!(status, 0);
    out
}

#[test]
fn shared_and_sent() {
    fn is<T: Send + Sync>() {}
    is::<Code>();
    let code = compile(&sum_of_constants(1000), Cpu::Host);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..100).for_each(|_| assert_eq!(call(&code), 499_500.0)));
        }
    });
    let moved = std::thread::spawn(move || call(&code)).join().expect("no panic");
    assert_eq!(moved, 499_500.0);
}

/// The code's constants outlive the plan.
#[test]
fn plans_may_go_first() {
    let code = {
        let plan = sum_of_constants(100);
        compile(&plan, Cpu::Host)
    };
    assert_eq!(call(&code), 4950.0);
}

#[cfg(target_os = "linux")]
#[test]
fn dropped_code_is_freed() {
    fn resident_pages() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
        text.split(' ').nth(1).expect("a second number").parse().expect("a number")
    }
    let plan = sum_of_constants(300);
    let round = || {
        for _ in 0..1000 {
            assert_eq!(call(&compile(&plan, Cpu::Host)), 44850.0);
        }
    };
    round();
    let before = resident_pages();
    (0..4).for_each(|_| round());
    let grown = resident_pages().saturating_sub(before);
    // A leak of one page per program would be 4,000.
    assert!(grown < 400, "{grown} pages more after 4,000 programs");
}
