//! Plans written by hand, as text.

#![allow(dead_code, reason = "each test uses some of them")]

use backstitch_ir::plan::Plan;
use backstitch_ir::text::parse_plan;
use backstitch_ir::verify::verify_plan;

/// `3·w1² + 2·w1·w2`, and its derivatives in `w1` and `w2`.
pub const SCALAR: &str = "
plan @scalar arena 0 {
  inputs f32[], f32[]
  outputs f32[], f32[], f32[]
  buffer b0 : f32[1] input 0
  buffer b1 : f32[1] input 1
  buffer b2 : f32[1] output 0
  buffer b3 : f32[1] output 1
  buffer b4 : f32[1] output 2
  kernel k0 @loss(p0: in f32[1], p1: in f32[1], p2: out f32[1], p3: out f32[1], p4: out f32[1]) {
    v0 = load p0[0] : f32
    v1 = load p1[0] : f32
    v2 = const 3.0 : f32
    v3 = const 2.0 : f32
    v4 = mul v0, v2 : f32
    v5 = mul v1, v3 : f32
    v6 = add v4, v5 : f32
    v7 = mul v0, v6 : f32
    p2[0] = v7
    v8 = add v4, v6 : f32
    p3[0] = v8
    v9 = mul v0, v3 : f32
    p4[0] = v9
  }
  run k0(b0, b1, b2, b3, b4)
}";

/// The mean of `(x - c)²`, through an array in the arena, and its gradient; `c`
/// is a constant array.
pub const MEAN: &str = "
plan @mean arena 192 {
  inputs f64[2,5]
  outputs f64[], f64[2,5]
  buffer b0 : f64[10] input 0
  buffer b1 : f64[1] output 0
  buffer b2 : f64[10] output 1
  buffer b3 : f64[10] const f64[10] [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
  buffer b4 : f64[10] at 64
  buffer b5 : f64[1] at 0
  kernel k0 @difference(p0: in f64[10], p1: in f64[10], p2: out f64[10], p3: out f64[1]) {
    for i0:10 vector 4 (v4 = sum v3 : f64) {
      v0 = load p0[i0] : f64
      v1 = load p1[i0] : f64
      v2 = sub v0, v1 : f64
      p2[i0] = v2
      v3 = mul v2, v2 : f64
    }
    p3[0] = v4
  }
  kernel k1 @scaled(p0: in f64[10], p1: in f64[1], p2: out f64[10], p3: out f64[1]) {
    v0 = const 0.2 : f64
    for i0:10 vector 4 {
      v1 = load p0[i0] : f64
      v2 = mul v1, v0 : f64
      p2[i0] = v2
    }
    v3 = load p1[0] : f64
    v4 = const 10.0 : f64
    v5 = div v3, v4 : f64
    p3[0] = v5
  }
  run k0(b0, b3, b4, b5)
  run k1(b4, b5, b2, b1)
}";

/// `x` squared until it is at least `limit`, and the derivative of the result:
/// the loop leaves what it saw on a stack, whose entries its reverse takes.
pub const SQUARING: &str = "
plan @squaring arena 256 {
  inputs f64[], f64[]
  outputs f64[], f64[], i64[]
  buffer b0 : f64[1] input 0
  buffer b1 : f64[1] input 1
  buffer b2 : f64[1] output 0
  buffer b3 : f64[1] output 1
  buffer b4 : i64[1] output 2
  buffer b5 : bool[1] at 0
  buffer b6 : i64[3] at 64
  buffer b7 : f64[1] at 128
  store s0 : 8
  kernel k0 @start(p0: in f64[1], p1: out f64[1], p2: out f64[1], p3: out i64[1]) {
    v0 = load p0[0] : f64
    p1[0] = v0
    v1 = const 1.0 : f64
    p2[0] = v1
    v2 = const 0 : i64
    p3[0] = v2
  }
  kernel k1 @small(p0: in f64[1], p1: in f64[1], p2: out bool[1]) {
    v0 = load p0[0] : f64
    v1 = load p1[0] : f64
    v2 = lt v0, v1 : bool
    p2[0] = v2
  }
  kernel k2 @square(p0: inout f64[1], p1: inout i64[1]) {
    v0 = load p0[0] : f64
    v1 = mul v0, v0 : f64
    p0[0] = v1
    v2 = load p1[0] : i64
    v3 = const 1 : i64
    v4 = add v2, v3 : i64
    p1[0] = v4
  }
  kernel k3 @chain(p0: in f64[1], p1: inout f64[1]) {
    v0 = load p0[0] : f64
    v1 = load p1[0] : f64
    v2 = add v0, v0 : f64
    v3 = mul v2, v1 : f64
    p1[0] = v3
  }
  run k0(b0, b2, b3, b4)
  open b6 in s0
  while {
    run k1(b2, b1, b5)
  } b5 {
    push b6 b2
    run k2(b2, b4)
  }
  repeat b4 {
    pop b6 b7
    run k3(b7, b3)
  }
}";

/// A loop that leaves a stack per iteration on a stack of stacks: `n` times, a
/// stack of 0, 1, … m-1 scaled by the iteration; what is popped is added up.
pub const NESTED: &str = "
plan @nested arena 512 {
  inputs i64[], i64[]
  outputs i64[]
  buffer b0 : i64[1] input 0
  buffer b1 : i64[1] input 1
  buffer b2 : i64[1] output 0
  buffer b3 : i64[3] at 0
  buffer b4 : i64[3] at 64
  buffer b5 : i64[1] at 128
  buffer b6 : i64[1] at 192
  buffer b7 : i64[1] at 256
  store s0 : 24
  store s1 : 8
  kernel k0 @zero(p0: out i64[1]) {
    v0 = const 0 : i64
    p0[0] = v0
  }
  kernel k1 @next(p0: inout i64[1], p1: in i64[1]) {
    v0 = load p0[0] : i64
    v1 = load p1[0] : i64
    v2 = add v0, v1 : i64
    p0[0] = v2
  }
  kernel k2 @one(p0: inout i64[1]) {
    v0 = load p0[0] : i64
    v1 = const 1 : i64
    v2 = add v0, v1 : i64
    p0[0] = v2
  }
  kernel k3 @add(p0: inout i64[1], p1: in i64[1]) {
    v0 = load p0[0] : i64
    v1 = load p1[0] : i64
    v2 = const 3 : i64
    v3 = mul v0, v2 : i64
    v4 = add v3, v1 : i64
    p0[0] = v4
  }
  run k0(b2)
  run k0(b5)
  open b3 in s0
  repeat b0 {
    run k2(b5)
    open b4 in s1
    run k0(b6)
    repeat b1 {
      push b4 b6
      run k1(b6, b5)
    }
    push b3 b4
  }
  repeat b0 {
    pop b3 b4
    repeat b1 {
      pop b4 b7
      run k3(b2, b7)
    }
  }
}";

/// `if flags[1] { x } else { -x }` and the other flags flipped.
pub const BRANCH: &str = "
plan @branch arena 64 {
  inputs f32[3], bool[4]
  outputs f32[3], bool[4]
  buffer b0 : f32[3] input 0
  buffer b1 : bool[4] input 1
  buffer b2 : f32[3] output 0
  buffer b3 : bool[4] output 1
  buffer b4 : bool[1] at 0
  kernel k0 @pick(p0: in bool[4], p1: out bool[1], p2: out bool[4]) {
    v0 = load p0[1] : bool
    p1[0] = v0
    for i0:4 {
      v1 = load p0[i0] : bool
      v2 = not v1 : bool
      p2[i0] = v2
    }
  }
  kernel k1 @negate(p0: in f32[3], p1: out f32[3]) {
    for i0:3 vector 4 {
      v0 = load p0[i0] : f32
      v1 = neg v0 : f32
      p1[i0] = v1
    }
  }
  run k0(b1, b4, b3)
  if b4 {
    copy b0 to b2
  } else {
    run k1(b0, b2)
  }
}";

/// The plan in a text; it is well-formed.
pub fn plan(text: &str) -> Plan {
    let plan = parse_plan(text.trim()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    if let Err(e) = verify_plan(&plan) {
        panic!("{e}");
    }
    plan
}

/// The positions of the ten least.
pub const SORTED: &str = "
plan @sorted arena 16000 {
  inputs f64[1000]
  outputs i64[10]
  buffer b0 : f64[1000] input 0
  buffer b1 : i64[10] output 0
  buffer b2 : i64[2000] at 0
  call b1 = argsort f64 rows 1 len 1000 take 10 (b0) work b2
}";

/// A Cholesky factor, and the solution of a system through its LU factor.
pub const FACTORED: &str = "
plan @factored arena 77696 {
  inputs f64[96, 96], f64[96, 3]
  outputs f64[96, 96], f64[96, 3]
  buffer b0 : f64[9216] input 0
  buffer b1 : f64[288] input 1
  buffer b2 : f64[9216] output 0
  buffer b3 : f64[288] output 1
  buffer b4 : f64[9312] at 0
  buffer b5 : i64[104] at 74496
  buffer b6 : i64[290] at 75328
  call b2 = cholesky f64 batch 1 n 96 (b0) work b5
  call b4 = lu f64 batch 1 n 96 factor (b0) work b6
  call b3 = lu f64 batch 1 n 96 solve 3 (b4, b1)
}";
