//! Plans in text, and what they mean: read, verified, printed, run.

use backstitch_ir::Array;
use backstitch_ir::eval_plan::eval_plan;
use backstitch_ir::plan::Plan;
use backstitch_ir::text::parse_plan;
use backstitch_ir::verify::verify_plan;

/// Text that is what it prints, of a plan in which nothing is wrong.
#[track_caller]
fn plan(text: &str) -> Plan {
    let plan = parse_plan(text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(plan.to_string(), text);
    verify_plan(&plan).unwrap_or_else(|e| panic!("{e}"));
    plan
}

/// Powers of `x` up to the first that is at least 100, summed in reverse by a
/// loop that pops them: one stack of arrays, one stack of handles.
const STACKS: &str = "\
plan @powers arena 576 {
  inputs f64[2]
  outputs f64[2], i64[]
  buffer b0 : f64[2] input 0
  buffer b1 : f64[2] output 0
  buffer b2 : i64[1] output 1
  buffer b3 : f64[2] const f64[2] [100.0, nanfff8000000000001]
  buffer b4 : i64[3] at 0
  buffer b5 : i64[3] at 64
  buffer b6 : f64[2] at 128
  buffer b7 : bool[1] at 192
  buffer b8 : i64[3] at 256
  buffer b9 : i64[1] at 200
  buffer b10 : f64[2] at 320
  store s0 : 16
  store s1 : 24
  kernel k0 @below(p0: in f64[2], p1: in f64[2], p2: out bool[1]) {
    v0 = load p0[0] : f64
    v1 = load p1[0] : f64
    v2 = lt v0, v1 : bool
    p2[0] = v2
  }
  kernel k1 @times(p0: in f64[2], p1: inout f64[2], p2: inout i64[1]) {
    v0 = const 1 : i64
    for i0:2 vector 2 {
      v1 = load p0[i0] : f64
      v2 = load p1[i0] : f64
      v3 = mul v1, v2 : f64
      p1[i0] = v3
    }
    p2[0] sum= v0
  }
  kernel k2 @zero(p0: out f64[2], p1: out i64[1]) {
    v0 = const 0.0 : f64
    v1 = const 0 : i64
    for i0:2 {
      p0[i0] = v0
    }
    p1[0] = v1
  }
  kernel k3 @add(p0: in f64[2], p1: inout f64[2]) {
    for i0:2 {
      v0 = load p0[i0] : f64
      p1[i0] sum= v0
    }
  }
  run k2(b1, b2)
  open b5 in s1
  open b4 in s0
  copy b0 to b6
  while {
    run k0(b6, b3, b7)
  } b7 {
    push b4 b6
    run k1(b0, b6, b2)
  }
  push b5 b4
  pop b5 b8
  copy b2 to b9
  repeat b9 {
    pop b8 b10
    run k3(b10, b1)
  }
  if b7 {
    run k3(b0, b1)
  } else {
  }
}";

/// `c = a · b` twice, the second time with `a` transposed and a part of `c`.
const PRODUCTS: &str = "\
plan @products arena 0 {
  inputs f32[2,3], f32[2,3,2]
  outputs f32[3,4], f32[2,4]
  buffer b0 : f32[6] input 0
  buffer b1 : f32[12] input 1
  buffer b2 : f32[12] output 0
  buffer b3 : f32[8] output 1
  gemm f32 b3[4, 1] = b0[3, 1] * b1[2, 1] over m 2 n 2 k 3 batch (2: 0, 6, 2)
  gemm f32 b2[4, 2] = b0[1, 3] * b1+2[0, 1] over m 3 n 2 k 2
  gemm f32 b2+3[4, -2] = b0[1, 0] * b1[1, 0] over m 3 n 2 k 0
}";

#[test]
fn stacks_are_popped_in_reverse() {
    let plan = plan(STACKS);
    let x = Array::from(ndarray::arr1(&[3.0, -1.0]));
    let outputs = eval_plan(&plan, &[x]);
    // 3, 9, 27, 81 were pushed.
    assert_eq!(outputs[0].to_f64_vec(), [120.0, 0.0]);
    assert_eq!(outputs[1].item::<i64>(), Some(4));
    let x = Array::from(ndarray::arr1(&[100.0, 1.0]));
    assert_eq!(eval_plan(&plan, &[x])[0].to_f64_vec(), [0.0, 0.0]);
}

#[test]
fn products_follow_their_strides() {
    let plan = plan(PRODUCTS);
    let a = ndarray::arr2(&[[1f32, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let b = ndarray::Array3::from_shape_fn((2, 3, 2), |(i, j, k)| (6 * i + 2 * j + k) as f32);
    let outputs = eval_plan(&plan, &[a.clone().into(), b.clone().into()]);
    let [first, second] = [0, 1].map(|i| a.dot(&b.index_axis(ndarray::Axis(0), i)));
    let want = ndarray::concatenate![ndarray::Axis(1), first, second];
    assert_eq!(outputs[1].to_array::<f32>().unwrap(), want.into_dyn());
    // Columns 0 and 2 are (a0 + a1) · (2, 3); the last product clears 3 and 1.
    let rows = [[5.0, 0.0], [7.0, 0.0], [9.0, 0.0]].map(|[s, z]| [2.0 * s, z, 3.0 * s, z]);
    assert_eq!(outputs[0].to_f64_vec(), rows.concat());
}

/// The positions of the two largest of each row of the second half.
const SORTED: &str = "\
plan @sorted arena 64 {
  inputs f64[4,3]
  outputs i64[2,2]
  buffer b0 : f64[12] input 0
  buffer b1 : i64[4] output 0
  buffer b2 : i64[6] at 0
  call b1 = argsort f64 rows 2 len 3 take 2 descending (b0+6) work b2
}";

#[test]
fn routines_take_contiguous_parts() {
    let x = ndarray::arr2(&[[9.0; 3], [8.0; 3], [1.0, 3.0, 2.0], [f64::NAN, 5.0, 5.0]]);
    let outputs = eval_plan(&plan(SORTED), &[x.into()]);
    assert_eq!(outputs[0].to_f64_vec(), [1.0, 2.0, 1.0, 2.0]);
}

#[test]
fn memory_that_nobody_wrote_is_nan() {
    let text = "\
plan @hole arena 64 {
  outputs f32[4]
  buffer b0 : f32[4] output 0
  kernel k0 @half(p0: out f32[2]) {
    v0 = const 1.0 : f32
    p0[0] = v0
    p0[1] = v0
  }
  run k0(b0+2)
}";
    let out = eval_plan(&plan(text), &[]).remove(0).to_f64_vec();
    assert!(out[0].is_nan() && out[1].is_nan());
    assert_eq!(out[2..], [1.0, 1.0]);
}

#[test]
#[should_panic(expected = "wrong: inputs of types [f64[2]], not [f32[2]]")]
fn inputs_are_of_the_types_of_the_plan() {
    let plan = parse_plan("plan @wrong arena 0 {\n inputs f32[2]\n}").unwrap();
    eval_plan(&plan, &[Array::from(ndarray::arr1(&[1.0, 2.0]))]);
}

#[test]
fn mistakes_are_found_at_their_line() {
    let cases = [
        ("buffer b1 : f32[2] at 0", "line 2: expected b0, found `b1 : f32[2] at 0`"),
        (
            "buffer b0 : f32[2] on 0",
            "line 2: expected `input`, `output`, `donated`, `at` or `const`",
        ),
        ("buffer b0 : f32[2] const f32[2] [1.0]", "line 2: expected as many elements"),
        ("jump b0", "line 2: expected a step, found `jump b0`"),
        ("if b0 {\n}", "line 3: expected `else`"),
        ("while {\n} {\n}", "line 3: expected `b` and a number, found `{`"),
        ("repeat b0 {", "line 2: expected more text"),
        ("gemm f32 b0[1] = b0[1, 1] * b0[1, 1] over m 1 n 1 k 1", "line 2: expected `,`"),
        ("kernel k0 @k() {\n oops\n}", "line 3: expected `v` and a number, found `oops`"),
    ];
    for (line, want) in cases {
        let error = parse_plan(&format!("plan @p arena 0 {{\n{line}")).unwrap_err().to_string();
        assert!(error.starts_with(want), "{error}\nis not\n{want}");
    }
}

#[test]
fn text_with_anything_in_it_does_no_harm() {
    for text in [STACKS, PRODUCTS] {
        for (at, _) in text.char_indices() {
            for other in ["", "{", "}", "9", "b", "-", "9999999999999999999", "\n"] {
                let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                if let Ok(plan) = parse_plan(&changed) {
                    // Whatever it is, the verifier and the printer take it.
                    let verified = verify_plan(&plan).map_err(|e| e.to_string());
                    let again = parse_plan(&plan.to_string()).unwrap();
                    assert_eq!(verify_plan(&again).map_err(|e| e.to_string()), verified);
                }
            }
        }
    }
}

/// Sums of the rows up to each one, from the last to the first.
const ROWS: &str = "\
plan @rows arena 192 {
  inputs f64[3,2]
  outputs f64[3,2], f64[2]
  buffer b0 : f64[6] input 0
  buffer b1 : f64[6] output 0
  buffer b2 : f64[2] output 1
  buffer b3 : f64[2] at 0
  buffer b4 : f64[2] at 64
  buffer b5 : f64[2] const f64[2] [0.0, 0.0]
  kernel k0 @add(p0: in f64[2], p1: inout f64[2]) {
    for i0:2 {
      v0 = load p0[i0] : f64
      p1[i0] sum= v0
    }
  }
  copy b5 to b2
  scan 3 read b3 of b0 back write b4 of b1 back {
    run k0(b3, b2)
    copy b2 to b4
  }
}";

#[test]
fn a_scan_goes_through_rows() {
    let plan = plan(ROWS);
    let x = Array::from(ndarray::arr2(&[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]));
    let outputs = eval_plan(&plan, &[x]);
    assert_eq!(outputs[0].to_f64_vec(), [6.0, 60.0, 5.0, 50.0, 3.0, 30.0]);
    assert_eq!(outputs[1].to_f64_vec(), [6.0, 60.0]);
}
