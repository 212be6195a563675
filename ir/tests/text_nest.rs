//! Nests in text: what is printed is read back as it was.

use backstitch_ir::build::NestBuilder;
use backstitch_ir::index::{Idx, IndexVec};
use backstitch_ir::nest::{
    Access, At, Cmp, Const, Mode, Monoid, Nest, Param, ParamDecl, Range, ScalarOp, Stmt, Term, Var,
};
use backstitch_ir::text::parse_nest;
use backstitch_ir::{DType, verify_nest};

#[track_caller]
fn round_trip(nest: &Nest) -> String {
    let text = nest.to_string();
    let read = parse_nest(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(read, *nest, "{text}");
    assert_eq!(read.to_string(), text);
    text
}

/// Text that is what it prints.
#[track_caller]
fn canonical(text: &str) -> Nest {
    let nest = parse_nest(text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(nest.to_string(), text);
    nest
}

#[test]
fn a_nest_reads_like_a_program() {
    let text = "\
kernel @rows(p0: in f32[1200], p1: inout f32[3], p2: out f32[1], p3: in i64[3]) {
  v0 = const 2.0 : f32
  for i0:3 parallel {
    v1 = load p3[i0] : i64
    for i1:10 chunk 4 of i0 vector 8 (v6 = max v4 : f32, v7 = sum v5 : f32) {
      v2 = load p0[i0*40 + i1*4 + v1 - 3] : f32
      v3 = index i1 : i64
      v4 = mul v0, v2 : f32
      v5 = convert v3 : f32
    }
    v8 = add v6, v7 : f32
    p1[-i0 + 2] sum= v8
  }
  p2[0] = v0
}";
    let nest = canonical(text);
    round_trip(&nest);
    assert_eq!(nest.vars.len(), 9);
}

#[test]
fn what_the_builder_makes_is_read_back() {
    let mut b = NestBuilder::new("sum_of_squares");
    let x = b.param(DType::F64, 8, Access::In);
    let out = b.param(DType::F64, 1, Access::Out);
    let i = b.axis(8);
    b.open(i, Range::Whole, Mode::Vector { lanes: 4 });
    let v = b.load(x, At { strides: [(i, 1)].into_iter().collect(), ..At::default() });
    let v2 = b.mul(v, v);
    let sum = b.close(&[(Monoid::Sum, v2)])[0];
    b.store(out, At::default(), sum);
    let text = round_trip(&b.finish());
    assert!(text.contains("  for i0:8 vector 4 (v1 = sum v0 * v0 : f64) {\n"), "{text}");
}

#[test]
fn products_are_summed_where_they_are_floats() {
    let text = |dtype: &str| {
        format!(
            "\
kernel @dot(p0: in {dtype}[8], p1: in {dtype}[8], p2: inout {dtype}[9]) {{
  for i0:8 vector 4 (v2 = sum v0 * v1 : {dtype}) {{
    v0 = load p0[i0] : {dtype}
    v1 = load p1[i0] : {dtype}
    p2[i0 + 1] sum= v0 * v1
  }}
  p2[0] = v2
}}"
        )
    };
    round_trip(&canonical(&text("f32")));
    let nest = parse_nest(&text("i32")).unwrap();
    let mistakes = verify_nest::verify(&nest).unwrap_err();
    assert_eq!(
        mistakes.iter().filter(|m| m.contains("products of i32")).count(),
        2,
        "{mistakes:?}"
    );
    assert!(parse_nest(&text("f32").replace("sum", "max")).is_err());
}

#[test]
fn carried_variables_are_named_in_the_head_of_their_loop() {
    let text = "\
kernel @running(p0: in f32[8], p1: out f32[8]) {
  v0 = load p0[0] : f32
  p1[0] = v0
  for i0:7 carry (v1 = v0 then v3 : f32) (v4 = sum v1 : f32) {
    v2 = load p0[i0 + 1] : f32
    v3 = add v1, v2 : f32
    p1[i0 + 1] = v3
  }
  p1[0] = v4
}";
    round_trip(&canonical(text));
}

#[test]
fn functions_stand_before_what_calls_them() {
    let text = "\
kernel @calls(p0: in f64[2], p1: out f64[1]) {
  func f0 @hypot(v0: f64, v1: f64) = v3 {
    v2 = mul v0, v0 : f64
    v3 = fma v1, v1, v2 : f64
  }
  func f1 @one() = v0 {
    v0 = const 1.0 : f64
  }
  v0 = load p0[0] : f64
  v1 = load p0[1] : f64
  v2 = call f0 v0, v1 : f64
  v3 = call f1 : f64
  v4 = call f0 v2, v3 : f64
  p1[0] = v4
}";
    let nest = canonical(text);
    round_trip(&nest);
    assert_eq!(verify_nest::verify(&nest), Ok(()));
    let refused = [
        ("= v3 {", "= v4 {", "v4 is not defined"),
        ("v3 = fma v1, v1, v2", "v3 = fma v1, v4, v2", "v4 is not visible here"),
        ("v3 = fma v1, v1, v2", "v1 = fma v1, v1, v2", "v1 is defined twice"),
        ("v3 = fma v1, v1, v2", "v3 = and v1, v1", "no and"),
        ("call f0 v0, v1", "call f0 v0", "takes other operands"),
        ("call f0 v0, v1", "call f2 v0, v1", "there is no function f2"),
        ("v0 = const 1.0 : f64\n  }", "v0 = index i0 : f64\n  }", "something else than operations"),
    ];
    for (old, new, want) in refused {
        let text = text.replacen(old, new, 1);
        let mistakes = verify_nest::verify(&parse_nest(&text).unwrap()).unwrap_err().join("\n");
        assert!(mistakes.contains(want), "{mistakes}\nis not\n{want}");
    }
}

#[test]
fn what_has_no_definition_is_declared() {
    canonical(
        "kernel @(p0: out bool[0]) {
  axis i1:7
  var v1 : i32
  v0 = const true : bool
  for i0:0 {
  }
}",
    );
}

#[test]
fn every_operation_and_constant_is_read_back() {
    let constants = [
        Const::of_float(DType::F32, f64::NAN),
        Const { dtype: DType::F32, bits: 0x7f80_0001 },
        Const { dtype: DType::F64, bits: 0xfff0_0000_0000_0001 },
        Const::of_float(DType::F32, -0.0),
        Const::of_float(DType::F64, f64::NEG_INFINITY),
        Const::of_float(DType::F64, 5e-324),
        Const::of_int(DType::I32, -1),
        Const::of_int(DType::I64, i64::MIN),
        Const::of_int(DType::Bool, 1),
    ];
    use ScalarOp::{
        Abs, Add, And, Bitcast, Ceil, Convert, Div, Floor, Fma, Mul, Nearest, Neg, Not, Or, Select,
        Shl, ShrS, ShrU, Sqrt, Sub, Trunc, Xor,
    };
    let plain = [
        Add, Sub, Mul, Div, Neg, Abs, Sqrt, Fma, Floor, Ceil, Trunc, Nearest, And, Or, Xor, Not,
        Shl, ShrU, ShrS, Select, Bitcast, Convert,
    ];
    let comparisons = Cmp::ALL.map(ScalarOp::Cmp);
    let mut vars = IndexVec::new();
    let mut body = vec![];
    for op in constants.map(ScalarOp::Const).into_iter().chain(plain).chain(comparisons) {
        let dtype = if let ScalarOp::Const(c) = op { c.dtype } else { DType::F32 };
        let var = vars.push(dtype);
        body.push(Stmt::Let { var, op, args: (0..op.arity()).map(Var::new).collect() });
    }
    for (i, &op) in Monoid::ALL.iter().enumerate() {
        let at = At { offset: i as i64 - 3, ..At::default() };
        let term = Term::One(op, Var::new(0));
        body.push(Stmt::Accumulate { param: Param::new(0), at, term });
    }
    let term = Term::Product([Var::new(0), Var::new(1)]);
    body.push(Stmt::Accumulate { param: Param::new(0), at: At::default(), term });
    let at = At { offset: i64::MIN, ..At::default() };
    body.push(Stmt::Load { var: vars.push(DType::F32), param: Param::new(0), at });
    let decl = ParamDecl { dtype: DType::F32, len: usize::MAX, access: Access::InOut };
    let params = [decl].into_iter().collect();
    round_trip(&Nest {
        name: "all".into(),
        params,
        axes: IndexVec::new(),
        funcs: IndexVec::new(),
        vars,
        body,
    });
}

#[test]
fn mistakes_are_found_at_their_line() {
    let cases = [
        ("v0 = load p0[i0 : f32", "line 3: expected `+`, found `: f32`"),
        ("v0 = load p0[v0 + v1] : f32", "line 3: expected one index"),
        ("v0 = load p0[i0] : f33", "line 3: expected an element type, found `f33`"),
        ("v0 = expo v1 : f32", "line 3: expected a scalar operation, found `expo v1 : f32`"),
        ("v0 = const 1.5 : i32", "line 3: expected a i32, found `1.5 : i32`"),
        ("v1 = neg v1 : f32", "line 5: expected a type of v0"),
        ("for i0:4 {\n}", "line 3: expected 3 as before, found `4 {`"),
        ("v0 = neg v0 : f32\nv0 = neg v0 : f64", "line 4: expected f32 as before"),
        ("p0[i0] total= v0", "line 3: expected a combination such as `sum`"),
        ("p0[i0*99999999999999999999] = v0", "line 3: expected a smaller number"),
        ("p0[9223372036854775808] = v0", "line 3: expected a smaller number"),
        ("v4294967296 = neg v0 : f32", "line 3: expected `v` and a number"),
    ];
    for (line, want) in cases {
        let text = format!("kernel @k(p0: inout f32[3]) {{\nfor i0:3 {{\n{line}\n}}\n}}");
        let error = parse_nest(&text).unwrap_err().to_string();
        assert!(error.starts_with(want), "{error}\nis not\n{want}");
    }
    assert!(parse_nest("kernel @k(p1: in f32[3]) {\n}").is_err());
    assert!(parse_nest("kernel @k(p0: f32[3]) {\n}").is_err());
}

#[test]
fn ill_formed_nests_can_be_written_and_are_refused_by_the_verifier() {
    let nest = parse_nest(
        "kernel @bad(p0: in f32[3]) {
  v1 = neg v0 : f32
  v0 = load p0[i0] : f64
  for i0:3 {
    p0[i0] = v1
  }
}",
    );
    let mistakes = verify_nest::verify(&nest.unwrap()).unwrap_err().join("\n");
    for part in ["v0 is not visible here", "p0 at i0, which is not open", "p0 is only read"] {
        assert!(mistakes.contains(part), "{mistakes}");
    }
}
