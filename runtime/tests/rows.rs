//! What loops read, write and carry: worked on where it is, or copied, with the same result.

mod common;

use backstitch_ir::Array;
use backstitch_runtime::{ArrayRef, Backend, Executable};
use common::plan;

/// Steps of work on 40 numbers; the last in place.
const KERNELS: &str = "
  kernel k0 @scale(p0: in f64[40], p1: out f64[40]) {
    v0 = const 0.5 : f64
    for i0:40 vector 4 {
      v1 = load p0[i0] : f64
      v2 = mul v0, v1 : f64
      p1[i0] = v2
    }
  }
  kernel k1 @add(p0: in f64[40], p1: in f64[40], p2: out f64[40]) {
    for i0:40 vector 4 {
      v0 = load p0[i0] : f64
      v1 = load p1[i0] : f64
      v2 = add v0, v1 : f64
      p2[i0] = v2
    }
  }
  kernel k2 @onto(p0: last f64[40], p1: in f64[40], p2: out f64[40]) {
    for i0:40 vector 4 {
      v0 = load p0[i0] : f64
      v1 = load p1[i0] : f64
      v2 = add v0, v1 : f64
      p2[i0] = v2
    }
  }";

/// Both devices give the same for a loop of so many rows: input 0 is a vector, input 1 the
/// rows; the outputs are a vector and rows.
fn check(rows: usize, buffers: &str, steps: &str) {
    let n = 40 * rows;
    let text = format!(
        "plan @rows arena 4096 {{
  inputs f64[40], f64[{n}]
  outputs f64[40], f64[{n}]
  buffer b0 : f64[40] input 0
  buffer b1 : f64[{n}] input 1
  buffer b2 : f64[40] output 0
  buffer b3 : f64[{n}] output 1
{buffers}{KERNELS}
{steps}
}}"
    );
    let text = text.replace("scan N", &format!("scan {rows}"));
    let numbers = |len: usize| -> Array {
        (0..len).map(|i| (i * 7 % 23) as f64 - 9.0).collect::<ndarray::Array1<f64>>().into()
    };
    let inputs = [numbers(40), numbers(n)];
    let views = [0, 1].map(|i| ArrayRef::try_from(&inputs[i]).unwrap());
    let [got, want] = [Backend::Cpu, Backend::Interpreter].map(|backend| {
        let exe = Executable::new(plan(&text), backend).unwrap();
        let outputs = exe.call(&views).unwrap();
        outputs.iter().map(Array::to_f64_vec).collect::<Vec<_>>()
    });
    assert_eq!(got, want, "{rows} rows: {text}");
    assert_eq!(inputs[1].to_f64_vec(), numbers(n).to_f64_vec(), "inputs are as they were");
}

const LENGTHS: [usize; 5] = [0, 1, 2, 3, 6];

#[test]
fn rows_and_carries_that_nobody_else_looks_at() {
    for back in ["", " back"] {
        for rows in LENGTHS {
            check(
                rows,
                "  buffer b4 : f64[40] at 0
  buffer b5 : f64[40] at 320
  buffer b6 : f64[40] at 640
  buffer b7 : f64[40] at 960",
                &format!(
                    "  copy b0 to b4
  scan N read b5 of b1{back} write b7 of b3 {{
    run k0(b4, b7)
    run k1(b7, b5, b6)
    copy b6 to b4
  }}
  copy b4 to b2"
                ),
            );
        }
    }
}

#[test]
fn a_carry_does_not_move_to_where_something_else_is_in_between() {
    for rows in LENGTHS {
        check(
            rows,
            "  buffer b4 : f64[40] at 0
  buffer b5 : f64[40] at 320
  buffer b6 : f64[40] at 640
  buffer b7 : f64[40] at 960
  buffer b8 : f64[40] at 640",
            "  copy b0 to b4
  scan N read b5 of b1 write b7 of b3 {
    run k0(b5, b8)
    run k1(b8, b4, b7)
    run k1(b7, b4, b6)
    copy b6 to b4
  }
  copy b4 to b2",
        );
    }
}

#[test]
fn a_row_that_is_changed_is_changed_in_a_copy() {
    for rows in LENGTHS {
        check(
            rows,
            "  buffer b4 : f64[40] at 0
  buffer b5 : f64[40] at 320
  buffer b6 : f64[40] at 640",
            "  copy b0 to b4
  scan N read b5 of b1 write b5 of b3 {
    run k0(b5, b6)
    run k1(b6, b4, b5)
    copy b5 to b4
  }
  copy b4 to b2",
        );
    }
}

#[test]
fn carries_that_change_places_with_each_other() {
    for rows in LENGTHS {
        check(
            rows,
            "  buffer b4 : f64[40] at 0
  buffer b5 : f64[40] at 320
  buffer b6 : f64[40] at 640
  buffer b7 : f64[40] at 960
  buffer b8 : f64[40] at 1280
  buffer b9 : f64[40] at 1600",
            "  copy b0 to b4
  run k0(b0, b5)
  scan N read b9 of b1 write b8 of b3 {
    run k1(b4, b9, b6)
    run k1(b6, b5, b8)
    copy b4 to b7
    copy b6 to b4
    copy b7 to b5
  }
  run k1(b4, b5, b2)",
        );
    }
}

#[test]
fn loops_inside_loops_carry_the_same() {
    for rows in LENGTHS {
        check(
            rows,
            "  buffer b4 : f64[40] at 0
  buffer b5 : f64[40] at 320
  buffer b6 : f64[40] at 640
  buffer b7 : f64[40] at 960
  buffer b8 : f64[40] at 1280
  buffer b9 : i64[1] const i64[1] [3]",
            "  copy b0 to b4
  scan N read b5 of b1 write b7 of b3 {
    repeat b9 {
      run k1(b4, b5, b6)
      copy b6 to b4
    }
    run k0(b4, b7)
    run k1(b5, b4, b8)
    copy b8 to b4
  }
  copy b4 to b2",
        );
    }
}

#[test]
fn a_carry_is_in_the_row_that_keeps_it() {
    for (back, rows) in ["", " back"].into_iter().flat_map(|b| LENGTHS.map(|n| (b, n))) {
        let n = 40 * rows;
        // What is next is where something else was before.
        let buffers = format!(
            "  buffer b4 : f64[40] at 0
  buffer b5 : f64[40] at 320
  buffer b6 : f64[40] at 640
  buffer b7 : f64[40] at 960
  buffer b8 : f64[40] at 640
  buffer b9 : f64[{n}] at 1280"
        );
        let steps = |body: &str| {
            format!(
                "  copy b0 to b4
  scan N read b5 of b1 write b7 of b9{back} {{
{body}
  }}
  copy b4 to b2
  copy b9 to b3"
            )
        };
        let kept = "    run k0(b4, b8)
    run k2(b8, b5, b6)
    copy b4 to b7
    copy b6 to b4";
        check(rows, &buffers, &steps(kept));
        // Not where the carry changes before it is kept, nor where that is after it has changed.
        let changed = "    run k1(b5, b4, b6)
    copy b6 to b4
    run k0(b4, b6)
    copy b4 to b7
    copy b6 to b4";
        check(rows, &buffers, &steps(changed));
        let after = "    run k0(b4, b8)
    run k2(b8, b5, b6)
    copy b6 to b4
    copy b4 to b7";
        check(rows, &buffers, &steps(after));
    }
}

#[test]
fn a_carry_that_two_rows_keep_is_in_one_of_them() {
    for rows in LENGTHS {
        let n = 40 * rows;
        check(
            rows,
            &format!(
                "  buffer b4 : f64[40] at 0
  buffer b5 : f64[40] at 320
  buffer b6 : f64[40] at 640
  buffer b7 : f64[40] at 960
  buffer b8 : f64[40] at 1280
  buffer b9 : f64[{n}] at 1600"
            ),
            "  copy b0 to b4
  scan N read b5 of b1 write b7 of b9 write b8 of b3 back {
    run k1(b4, b5, b6)
    copy b4 to b7
    copy b4 to b8
    copy b6 to b4
  }
  scan N read b7 of b9 {
    run k1(b4, b7, b6)
    run k0(b6, b4)
  }
  copy b4 to b2",
        );
    }
}
