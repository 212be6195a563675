//! Stacks in loops: as in the interpreter, however often stores move; and nothing out of
//! bounds, whatever the plan says.

mod common;

use backstitch_ir::Array;
use backstitch_ir::eval_plan::eval_plan;
use backstitch_ir::plan::Plan;
use backstitch_ir::text::parse_plan;
use backstitch_jit::Cpu;
use common::{Arena, Stores, compile};

/// Two loops after each other, each of which leaves stacks of entries of several sizes;
/// then one loop pops some of both, and another what is left of one of these.
const IN_A_ROW: &str = "\
plan @in_a_row arena 1024 {
  inputs f64[], i64[], i64[]
  outputs f64[], f64[3], i64[]
  buffer b0 : f64[1] input 0
  buffer b1 : i64[1] input 1
  buffer b2 : i64[1] input 2
  buffer b3 : f64[1] output 0
  buffer b4 : f64[3] output 1
  buffer b5 : i64[1] output 2
  buffer b6 : f64[1] at 0
  buffer b7 : f64[3] at 64
  buffer b8 : bool[1] at 8
  buffer b9 : i64[3] at 128
  buffer b10 : i64[3] at 192
  buffer b11 : i64[3] at 256
  buffer b12 : i64[3] at 320
  buffer b13 : i64[3] at 384
  buffer b14 : f64[1] at 16
  buffer b15 : f64[3] at 448
  buffer b16 : bool[1] at 24
  buffer b17 : f64[1] at 32
  buffer b18 : i64[3] at 512
  store s0 : 8
  store s1 : 24
  store s2 : 1
  store s3 : 8
  kernel k0 @begin(p0: in f64[1], p1: out f64[1], p2: out f64[3], p3: out f64[1], p4: out f64[3], p5: out i64[1]) {
    v0 = load p0[0] : f64
    p1[0] = v0
    v1 = const 0.0 : f64
    p3[0] = v1
    for i0:3 {
      v2 = index i0 : i64
      v3 = convert v2 : f64
      p2[i0] = v3
      p4[i0] = v1
    }
    v4 = const 0 : i64
    p5[0] = v4
  }
  kernel k1 @step(p0: inout f64[1], p1: inout f64[3], p2: out bool[1]) {
    v0 = load p0[0] : f64
    v1 = const 1.5 : f64
    v2 = const 3.0 : f64
    for i0:3 {
      v3 = load p1[i0] : f64
      v4 = add v3, v0 : f64
      p1[i0] = v4
    }
    v5 = lt v2, v0 : bool
    p2[0] = v5
    v6 = div v0, v1 : f64
    v7 = add v6, v1 : f64
    p0[0] = v7
  }
  kernel k2 @add(p0: in f64[1], p1: in f64[3], p2: in bool[1], p3: in f64[1], p4: inout f64[1], p5: inout f64[3], p6: inout i64[1]) {
    v0 = load p0[0] : f64
    v1 = const 0.75 : f64
    v2 = load p4[0] : f64
    v3 = mul v2, v1 : f64
    v4 = load p3[0] : f64
    v5 = add v3, v0 : f64
    v6 = sub v5, v4 : f64
    p4[0] = v6
    for i0:3 {
      v7 = load p1[i0] : f64
      p5[i0] sum= v7
    }
    v8 = load p2[0] : bool
    v9 = convert v8 : i64
    p6[0] sum= v9
  }
  kernel k3 @left(p0: in i64[3], p1: inout i64[1]) {
    v0 = load p0[2] : i64
    p1[0] sum= v0
  }
  kernel k4 @one(p0: in f64[1], p1: inout f64[1]) {
    v0 = load p0[0] : f64
    p1[0] sum= v0
  }
  run k0(b0, b6, b7, b3, b4, b5)
  open b9 in s0
  open b10 in s1
  open b11 in s2
  repeat b1 {
    push b9 b6
    run k1(b6, b7, b8)
    push b10 b7
    push b11 b8
  }
  open b12 in s3
  repeat b1 {
    run k1(b6, b7, b8)
    push b12 b6
  }
  copy b9 to b13
  copy b12 to b18
  repeat b2 {
    pop b13 b14
    pop b10 b15
    pop b11 b16
    pop b18 b17
    run k2(b14, b15, b16, b17, b3, b4, b5)
  }
  run k3(b13, b5)
  run k3(b9, b5)
  run k3(b10, b5)
  repeat b2 {
    pop b13 b14
    run k4(b14, b3)
  }
  run k3(b13, b5)
}";

fn plan(text: &str) -> Plan {
    let plan = parse_plan(text).expect("a plan");
    backstitch_ir::verify::verify_plan(&plan).unwrap_or_else(|e| panic!("{e}"));
    plan
}

/// Runs machine code for scalars `x`, `n` and `m`.
fn run(plan: &Plan, (x, n, m): (f64, i64, i64), stores: &mut Stores) -> (i32, Vec<Vec<f64>>) {
    let code = compile(plan, Cpu::Host);
    let ins = [(&raw const x).cast(), (&raw const n).cast(), (&raw const m).cast()];
    let mut results: Vec<Vec<u64>> = plan.outputs.iter().map(|t| vec![0; t.len()]).collect();
    let outs: Vec<*mut u8> = results.iter_mut().map(|r| r.as_mut_ptr().cast()).collect();
    let mut arena = Arena::new(plan.arena_bytes);
    // SAFETY: inputs and outputs are of the plan's types, and the arena of its size.
    let status = unsafe { code.call(ins.as_ptr(), outs.as_ptr(), arena.at(), stores.context()) };
    let number = |(i, r): (usize, Vec<u64>)| -> Vec<f64> {
        let is_float = plan.outputs[i].is_float();
        r.into_iter().map(|b| if is_float { f64::from_bits(b) } else { b as f64 }).collect()
    };
    (status, results.into_iter().enumerate().map(number).collect())
}

fn expected(plan: &Plan, (x, n, m): (f64, i64, i64)) -> Vec<Vec<f64>> {
    let outputs = eval_plan(plan, &[Array::from(x), Array::from(n), Array::from(m)]);
    outputs.iter().map(Array::to_f64_vec).collect()
}

#[test]
fn stacks_in_a_row_of_several_sizes() {
    let plan = plan(IN_A_ROW);
    for (n, m) in [(0, 0), (1, 0), (1, 0), (2, 1), (3, 1), (4, 2), (100, 50), (1000, 3)] {
        let mut stores = Stores::new(&plan);
        let got = run(&plan, (0.7, n, m), &mut stores);
        assert_eq!(got, (0, expected(&plan, (0.7, n, m))), "{n} and {m}");
        assert_eq!((stores.called, stores.refused), (0, 0), "{n} and {m}");
        // 3, 9, 21, 45, … entries.
        assert_eq!(stores.grown > 0, n > 0);
        assert_eq!(stores.records[1].len as i64, n);
    }
}

#[test]
fn loops_longer_than_their_stacks_are_refused() {
    let plan = plan(IN_A_ROW);
    for (n, m) in [(0, 1), (3, 4), (3, 2), (5, i64::MAX)] {
        let mut stores = Stores::new(&plan);
        let (status, _) = run(&plan, (0.7, n, m), &mut stores);
        assert_eq!((status, stores.refused, stores.called), (1, 1, 0), "{n} and {m}");
    }
}

#[test]
fn no_memory_ends_the_call() {
    let plan = plan(IN_A_ROW);
    for most in [0, 1, 3, 10] {
        let mut stores = Stores::new(&plan);
        stores.most = most;
        let (status, _) = run(&plan, (0.7, 11, 0), &mut stores);
        assert_eq!((status, stores.refused), (1, 0), "{most}");
        assert!(stores.records.iter().all(|r| r.room <= most));
    }
}

#[test]
fn handles_of_any_kind_are_refused_before_they_are_used() {
    // A kernel that makes a handle: store, start, count.
    for handle in [
        [1, 0, 1],
        [-1, 0, 1],
        [1 << 59, 0, 1],
        [0, -1, 2],
        [0, 1, 2],
        [0, 0, 3],
        [0, 2, i64::MAX],
        [0, i64::MIN, i64::MIN],
        [0, i64::MAX, -i64::MAX + 1],
        [2, 0, 1],
    ] {
        let [store, start, count] = handle;
        let text = format!(
            "plan @broken arena 256 {{
  inputs f64[], i64[], i64[]
  outputs f64[]
  buffer b0 : f64[1] input 0
  buffer b1 : i64[1] input 1
  buffer b2 : i64[1] input 2
  buffer b3 : f64[1] output 0
  buffer b4 : i64[3] at 0
  buffer b5 : i64[3] at 64
  store s0 : 8
  store s1 : 16
  kernel k0 @forge(p0: out i64[3]) {{
    v0 = const {store} : i64
    p0[0] = v0
    v1 = const {start} : i64
    p0[1] = v1
    v2 = const {count} : i64
    p0[2] = v2
  }}
  open b4 in s0
  repeat b1 {{
    push b4 b0
  }}
  copy b0 to b3
  run k0(b5)
  repeat b2 {{
    pop b5 b3
  }}
}}"
        );
        let plan = parse_plan(&text).expect("a plan");
        let mut stores = Stores::new(&plan);
        assert_eq!(run(&plan, (0.5, 2, 0), &mut stores).0, 0, "nothing is popped");
        let mut stores = Stores::new(&plan);
        let (status, _) = run(&plan, (0.5, 2, 1), &mut stores);
        assert_eq!((status, stores.refused), (1, 1), "{handle:?}");
    }
}

/// A loop in a loop, each with stacks: handles are entries. The inner one has no known
/// length; the loop back pops in a `while`, too.
const NESTED: &str = "\
plan @nested arena 1024 {
  inputs f64[], i64[], i64[]
  outputs f64[], i64[]
  buffer b0 : f64[1] input 0
  buffer b1 : i64[1] input 1
  buffer b2 : i64[1] input 2
  buffer b3 : f64[1] output 0
  buffer b4 : i64[1] output 1
  buffer b5 : f64[1] at 0
  buffer b6 : bool[1] at 8
  buffer b7 : i64[3] at 128
  buffer b8 : i64[3] at 192
  buffer b9 : i64[3] at 256
  buffer b10 : f64[1] at 16
  buffer b11 : i64[1] at 24
  buffer b12 : i64[3] at 320
  store s0 : 8
  store s1 : 24
  kernel k0 @begin(p0: in f64[1], p1: out f64[1], p2: out f64[1], p3: out i64[1]) {
    v0 = load p0[0] : f64
    p1[0] = v0
    v1 = const 0.0 : f64
    p2[0] = v1
    v2 = const 0 : i64
    p3[0] = v2
  }
  kernel k1 @above(p0: in f64[1], p1: out bool[1]) {
    v0 = load p0[0] : f64
    v1 = const 0.5 : f64
    v2 = lt v1, v0 : bool
    p1[0] = v2
  }
  kernel k2 @less(p0: inout f64[1]) {
    v0 = load p0[0] : f64
    v1 = const 0.75 : f64
    v2 = mul v0, v1 : f64
    p0[0] = v2
  }
  kernel k3 @more(p0: inout f64[1]) {
    v0 = load p0[0] : f64
    v1 = const 3.25 : f64
    v2 = mul v0, v1 : f64
    p0[0] = v2
  }
  kernel k4 @count(p0: in i64[3], p1: out i64[1], p2: inout i64[1]) {
    v0 = load p0[2] : i64
    p1[0] = v0
    p2[0] sum= v0
  }
  kernel k5 @some(p0: in i64[1], p1: in i64[1], p2: out bool[1]) {
    v0 = load p0[0] : i64
    v1 = load p1[0] : i64
    v2 = lt v1, v0 : bool
    p2[0] = v2
  }
  kernel k6 @add(p0: in f64[1], p1: inout f64[1], p2: inout i64[1]) {
    v0 = load p0[0] : f64
    v1 = load p1[0] : f64
    v2 = const 0.875 : f64
    v3 = mul v1, v2 : f64
    v4 = add v3, v0 : f64
    p1[0] = v4
    v5 = const -1 : i64
    p2[0] sum= v5
  }
  run k0(b0, b5, b3, b4)
  open b7 in s1
  repeat b1 {
    run k3(b5)
    open b8 in s0
    while {
      run k1(b5, b6)
    } b6 {
      push b8 b5
      run k2(b5)
    }
    push b7 b8
  }
  copy b7 to b9
  repeat b1 {
    pop b9 b12
    run k4(b12, b11, b4)
    while {
      run k5(b11, b2, b6)
    } b6 {
      pop b12 b10
      run k6(b10, b3, b11)
    }
  }
}";

#[test]
fn stacks_of_stacks() {
    let plan = plan(NESTED);
    for n in [0, 1, 2, 50] {
        let mut stores = Stores::new(&plan);
        let got = run(&plan, (0.7, n, 0), &mut stores);
        assert_eq!(got, (0, expected(&plan, (0.7, n, 0))), "{n}");
        assert_eq!((stores.called, stores.refused), (0, 0), "{n}");
    }
}

#[test]
fn a_while_that_pops_too_often_is_refused() {
    let plan = plan(NESTED);
    let mut stores = Stores::new(&plan);
    let (status, outputs) = run(&plan, (0.7, 2, -1), &mut stores);
    assert_eq!((status, stores.refused), (1, 1));
    // It got as far as it could.
    assert_eq!(outputs[0], [0.0], "outputs in registers are written at the end");
}

/// What is no orderly stack is the runtime's to push to: here one that is opened in
/// either branch.
#[test]
fn stacks_opened_in_two_places() {
    let text = IN_A_ROW.replace(
        "  open b9 in s0\n",
        "  run k1(b6, b7, b8)\n  if b8 {\n    open b9 in s0\n  } else {\n    open b9 in s0\n  }\n",
    );
    let plan = plan(&text);
    for x in [0.7, 70.0] {
        let mut stores = Stores::new(&plan);
        let got = run(&plan, (x, 40, 20), &mut stores);
        assert_eq!(got, (0, expected(&plan, (x, 40, 20))));
        assert_eq!((stores.called, stores.refused), (160, 0));
    }
}

/// A loop that pops from a store into which it pushes elsewhere: the store moves.
#[test]
fn stores_that_move_while_they_are_popped() {
    let text = "\
plan @moving arena 512 {
  inputs f64[], i64[], i64[]
  outputs f64[]
  buffer b0 : f64[1] input 0
  buffer b1 : i64[1] input 1
  buffer b2 : i64[1] input 2
  buffer b3 : f64[1] output 0
  buffer b4 : i64[3] at 0
  buffer b5 : i64[3] at 64
  buffer b6 : f64[1] at 128
  buffer b7 : f64[1] at 136
  store s0 : 8
  kernel k0 @begin(p0: in f64[1], p1: out f64[1], p2: out f64[1]) {
    v0 = load p0[0] : f64
    p1[0] = v0
    v1 = const 0.0 : f64
    p2[0] = v1
  }
  kernel k1 @step(p0: in f64[1], p1: inout f64[1], p2: inout f64[1]) {
    v0 = load p0[0] : f64
    v1 = load p1[0] : f64
    v2 = const 0.5 : f64
    v3 = mul v0, v2 : f64
    v4 = add v3, v2 : f64
    p1[0] = v4
    v5 = load p2[0] : f64
    v6 = add v5, v1 : f64
    p2[0] = v6
  }
  run k0(b0, b6, b3)
  open b4 in s0
  copy b4 to b5
  repeat b1 {
    push b4 b6
    run k1(b0, b6, b3)
  }
  copy b4 to b5
  repeat b2 {
    pop b5 b7
    run k1(b7, b6, b3)
    repeat b1 {
      run k1(b7, b6, b3)
      push b4 b6
    }
  }
}";
    let plan = plan(text);
    let mut stores = Stores::new(&plan);
    let got = run(&plan, (0.7, 30, 30), &mut stores);
    assert_eq!(got, (0, expected(&plan, (0.7, 30, 30))));
    assert_eq!((stores.called, stores.refused), (0, 0));
    assert!(stores.grown >= 6, "{}", stores.grown);
}
