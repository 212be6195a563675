//! Each invariant of plans, with a plan that breaks it.

use backstitch_ir::text::parse_plan;
use backstitch_ir::verify::verify_plan;

/// Two inputs, two outputs, a kernel that copies four elements and one that
/// adds them to what is there.
const DECLARATIONS: &str = "
plan @p arena 320 {
  inputs f32[4], f32[2,2]
  outputs f32[4], i32[0]
  buffer b0 : f32[4] input 0
  buffer b1 : f32[4] input 1
  buffer b2 : f32[4] output 0
  buffer b3 : i32[0] output 1
  buffer b4 : f32[4] at 0
  buffer b5 : f32[4] at 64
  buffer b6 : bool[1] at 128
  buffer b7 : i64[1] at 136
  buffer b8 : i64[3] at 192
  buffer b9 : f32[8] at 0
  buffer b10 : f32[1] const f32[] [2.0]
  buffer b11 : i64[4] at 256
  buffer b12 : i64[8] at 256
  store s0 : 16
  store s1 : 4
  kernel k0 @copy(p0: in f32[4], p1: out f32[4]) {
    for i0:4 {
      v0 = load p0[i0] : f32
      p1[i0] = v0
    }
  }
  kernel k1 @add(p0: in f32[4], p1: inout f32[4]) {
    for i0:4 {
      v0 = load p0[i0] : f32
      p1[i0] sum= v0
    }
  }
  kernel k2 @set(p0: out bool[1], p1: out i64[1]) {
    v0 = const true : bool
    v1 = const 3 : i64
    p0[0] = v0
    p1[0] = v1
  }
";

fn verify(text: &str) -> Result<(), String> {
    let plan = parse_plan(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify_plan(&plan).map_err(|e| e.to_string())
}

/// Nothing is wrong with these steps.
#[track_caller]
fn right(steps: &str) {
    assert_eq!(verify(&format!("{DECLARATIONS}{steps}\n}}")), Ok(()), "{steps}");
}

/// These steps have one mistake, which is this; the line is quoted.
#[track_caller]
fn wrong(steps: &str, want: &str) {
    let errors = verify(&format!("{DECLARATIONS}{steps}\n}}")).expect_err(steps);
    assert!(errors.contains(want), "{steps}\ngives\n{errors}\nnot\n{want}");
    assert_eq!(errors.lines().count(), 2, "{errors}");
}

/// A change to the declarations that is a mistake.
#[track_caller]
fn wrong_declaration(from: &str, to: &str, want: &str) {
    assert!(DECLARATIONS.contains(from));
    let text = format!("{}copy b0 to b2\n}}", DECLARATIONS.replacen(from, to, 1));
    let errors = verify(&text).expect_err(to);
    assert!(errors.contains(want), "{to}\ngives\n{errors}\nnot\n{want}");
}

#[test]
fn declarations_fit_each_other() {
    wrong_declaration("inputs f32[4]", "inputs stack f32[4]", "input 0: it should be an array");
    wrong_declaration(
        "f32[4] input 0",
        "f32[4] input 2",
        "b0: there is no input 2\n    buffer b0 :",
    );
    wrong_declaration("f32[4] input 1", "f32[3] input 1", "b1: input 1 is f32[2,2]");
    wrong_declaration("f32[4] output 0", "f64[4] output 0", "b2: output 0 is f32[4]");
    wrong_declaration("f32[1] const", "f32[2] const", "b10: constant 10 is f32[]");
    wrong_declaration("f32[4] at 64", "f32[4] output 0", "b5: it is the same output as b2");
    wrong_declaration("f32[4] output 0", "f32[4] at 64", "output 0: no buffer is this output");
}

#[test]
fn the_arena_holds_its_buffers() {
    wrong_declaration("f32[4] at 64", "f32[4] at 72", "b5: it should be aligned to 64 bytes");
    wrong_declaration("bool[1] at 128", "bool[1] at 129", "b6: it should be aligned to 8 bytes");
    wrong_declaration("i64[3] at 192", "i64[17] at 192", "b8: it ends outside the arena of 320");
    wrong_declaration(
        "f32[4] at 64",
        "f32[4611686018427387904] at 64",
        "b5: it ends outside the arena of 320",
    );
}

#[test]
fn kernels_are_well_formed() {
    wrong_declaration("p1[i0] = v0", "p0[i0] = v0", "k0: copy: for i0: p0 is only read");
}

#[test]
fn steps_name_what_exists() {
    wrong("copy b0 to b2\nrun k3(b0)", "step 1: there is no kernel k3\n    run k3(b0)");
    wrong("copy b0 to b2\ncopy b0 to b13", "step 1: there is no buffer b13\n    copy b0 to b13");
    wrong("copy b0 to b2\nopen b8 in s2", "step 1: there is no store s2");
}

#[test]
fn arguments_fit_parameters() {
    right("copy b0 to b4\nrun k0(b4, b2)");
    right("copy b0 to b5\nrun k0(b5, b9+4)\nrun k0(b9+4, b2)");
    wrong("run k0(b0)", "step 0: k0 takes 2 arguments, not 1");
    wrong("copy b0 to b2\nrun k2(b7, b7)", "step 1: p0 is bool, b7 is i64");
    wrong("run k0(b0, b9+5)", "p1 has 4 elements, b9+5 of 8 has fewer");
    wrong("run k0(b10, b2)", "p0 has 4 elements, b10 of 1 has fewer");
}

#[test]
fn products_are_in_bounds() {
    let gemm = |c: &str, rest: &str| format!("copy b0 to b2\ngemm f32 {c} = {rest}");
    let two = "b0[2, 1] * b1[2, 1] over m 2 n 2 k 2";
    right(&gemm("b2[2, 1]", two));
    right(&gemm("b2+3[-2, -1]", two));
    right(&gemm("b9[2, 1]", &format!("{two} batch (2: 0, 0, 4)")));
    right(&gemm("b2[9, 9]", "b0[9, 9] * b1[9, 9] over m 0 n 7 k 2"));
    wrong(&gemm("b2+1[2, 1]", two), "step 1: c is elements 1..=4 of b2, which has 4");
    wrong(&gemm("b2[2, -1]", two), "c is elements -1..=2 of b2");
    wrong(&gemm("b2[2, 1]", &two.replace("b1[2, 1]", "b1[3, 1]")), "b is elements 0..=4 of b1");
    wrong(&gemm("b2[1, 1]", two), "two indices of c may be one element");
    wrong(&gemm("b2[2, 1]", &format!("{two} batch (2: 0, 0, 0)")), "two indices of c may be");
    wrong(
        &gemm("b2[2, 1]", &two.replace("b1", "b8+0")).replace("b8+0[2, 1]", "b7[0, 0]"),
        "b is i64, not f32",
    );
}

#[test]
fn routines_are_given_what_their_signature_says() {
    let call = |text: &str| format!("copy b0 to b2\ncall {text}");
    let sort = "argsort f32 rows 1 len 4 take 3";
    right(&call(&format!("b8 = {sort} (b0) work b11")));
    right(&call("b12 = argsort f32 rows 0 len 4 take 0 (b0)"));
    wrong(&call(&format!("b8 = {sort} (b0, b1) work b11")), "step 1: it takes 1 operands, not 2");
    wrong(&call(&format!("b8 = {sort} (b0+1) work b11")), "operand 0 b0+1 should be f32[4]");
    wrong(&call(&format!("b2 = {sort} (b0) work b11")), "the result b2 should be i64[3]");
    wrong(&call(&format!("b8 = {sort} (b0) work b7")), "it works in b7 should be i64[4]");
    wrong(&call(&format!("b8 = {sort} (b0)")), "step 1: it works in i64[4]");
    wrong(&call(&format!("b8 = {sort} (b0) work b12+1")), "at the start of a buffer, not at b12+1");
    wrong(&call(&format!("b8 = {sort} (b99) work b11")), "there is no buffer b99");
    wrong(&call(&format!("b11 = {sort} (b0) work b11")), "it writes elements of b11 and uses");
    wrong(&call(&format!("b8 = {sort} (b2) work b2")), "it works in b2 should be i64[4]");
}

#[test]
fn copies_are_of_one_type() {
    wrong("copy b0 to b2\ncopy b0 to b9", "step 1: the buffers differ in type or length");
    wrong("copy b0 to b2\ncopy b10 to b4", "step 1: the buffers differ in type or length");
}

#[test]
fn predicates_counts_and_handles_have_their_types() {
    let set = "copy b0 to b2\nrun k2(b6, b7)\n";
    right(&format!("{set}if b6 {{\n}} else {{\n}}\nwhile {{\n}} b6 {{\n}}\nrepeat b7 {{\n}}"));
    wrong(&format!("{set}if b7 {{\n}} else {{\n}}"), "step 2: the predicate b7 should be bool[1]");
    wrong(&format!("{set}while {{\n}} b7 {{\n}}"), "the predicate b7 should be bool[1]\n    while");
    wrong(&format!("{set}repeat b6 {{\n}}"), "the count b6 should be i64[1]\n    repeat b6");
    wrong(&format!("{set}open b7 in s0"), "the handle b7 should be i64[3]");
    right(&format!("{set}open b8 in s0\npush b8 b0\npop b8 b4"));
    wrong(&format!("{set}open b8 in s1\npush b8 b0"), "step 3: b0 has not the size of an entry");
    wrong(&format!("{set}copy b2 to b9"), "differ");
}

#[test]
fn rows_are_of_one_size_and_all_written() {
    let fill = "scan 2 write b5 of b9 {\ncopy b0 to b5\n}\n";
    right(&format!("{fill}run k0(b9+4, b2)"));
    right(&format!("{fill}scan 2 read b5 of b9 back {{\ncopy b5 to b2\n}}\ncopy b0 to b2"));
    wrong("copy b0 to b2\nscan 3 write b5 of b9 {\ncopy b0 to b5\n}", "b9 is not 3 times b5");
    wrong("copy b0 to b2\nscan 2 write b5 of b9 {\n}", "b5 is read, but not written");
    wrong("copy b0 to b2\nscan 2 read b5 of b9 {\n}", "b9 is read, but not written");
    wrong(&format!("{fill}scan 2 read b0 of b9 {{\n}}\ncopy b0 to b2"), "b0 cannot be written");
    wrong(&format!("{fill}scan 2 read b5 of b9 {{\ncopy b5 to b2\n}}"), "b2: this output is not");
}

#[test]
fn only_outputs_and_the_arena_are_written() {
    wrong("copy b0 to b2\ncopy b0 to b1", "step 1: b1 cannot be written\n    copy b0 to b1");
    wrong("copy b0 to b2\nrun k1(b0, b1)", "step 1: b1 cannot be written");
}

#[test]
fn what_is_written_is_not_used_otherwise() {
    wrong("copy b0 to b2\nrun k1(b2, b2)", "step 1: it writes elements of b2 and uses them");
    wrong("run k0(b0, b9)\ncopy b0 to b2\nrun k0(b9+2, b9+4)", "it writes elements of b9");
    right("run k0(b0, b9)\ncopy b0 to b2\nrun k0(b9, b9+4)");
    right("run k1(b0, b2)".replace("k1", "k0").as_str());
    wrong(
        "copy b0 to b2\ngemm f32 b2[2, 1] = b2[2, 1] * b0[2, 1] over m 2 n 2 k 2",
        "it writes elements of b2 and uses them",
    );
}

#[test]
fn nothing_is_read_before_it_is_written() {
    let read = |what: &str| format!("{what} is read, but not written on each way to here");
    wrong("run k0(b4, b2)", &read("step 0: b4"));
    wrong("run k1(b0, b2)", &read("b2"));
    wrong("copy b0 to b2\nrepeat b7 {\n}", &read("b7"));
    wrong("copy b0 to b2\npush b8 b0", &read("b8"));
    let set = "run k2(b6, b7)\n";
    let one = "if b6 {\ncopy b0 to b4\n} else {\n}\ncopy b4 to b2";
    wrong(&format!("{set}{one}"), &read("step 3: b4"));
    let both = "if b6 {\ncopy b0 to b4\n} else {\ncopy b1 to b4\n}\ncopy b4 to b2";
    right(&format!("{set}{both}"));
    wrong(&format!("{set}repeat b7 {{\ncopy b0 to b4\n}}\ncopy b4 to b2"), &read("step 3: b4"));
    right(&format!("{set}while {{\ncopy b0 to b4\n}} b6 {{\n}}\ncopy b4 to b2"));
    wrong(
        &format!("{set}while {{\n}} b6 {{\ncopy b0 to b4\n}}\ncopy b4 to b2"),
        &read("step 3: b4"),
    );
    wrong("while {\n} b6 {\nrun k2(b6, b7)\n}\ncopy b0 to b2", &read("step 0: b6"));
    // Carried: written before the loop, or earlier in the body.
    right(&format!("{set}copy b0 to b4\nrepeat b7 {{\nrun k1(b0, b4)\n}}\ncopy b4 to b2"));
    right(&format!("{set}copy b0 to b2\nrepeat b7 {{\ncopy b0 to b4\nrun k1(b4, b2)\n}}"));
}

#[test]
fn all_outputs_are_written() {
    wrong("", "b2: this output is not written on each way to the end\n    buffer b2 :");
    wrong("run k2(b6, b7)\nif b6 {\ncopy b0 to b2\n} else {\n}", "b2: this output is not written");
}

#[test]
fn what_lives_at_once_lies_apart() {
    // b4 and b9 begin at the same byte.
    right("copy b0 to b4\ncopy b4 to b2\nrun k0(b0, b9)");
    let both =
        "b9: it overlaps buffer b4 : f32[4] at 0 while both live\n    buffer b9 : f32[8] at 0";
    wrong("copy b0 to b4\nrun k0(b0, b9)\ncopy b4 to b2", both);
    // At the step of its last use a buffer still lives.
    let not_last = both.replace("both live", "both live: p0 is not read for the last time");
    wrong("copy b0 to b4\nrun k0(b4, b9)\ncopy b0 to b2", &not_last);
    let set = "run k2(b6, b7)\n";
    // The next iteration wants b4 again,
    let wanted = "copy b0 to b4\nrepeat b7 {\ncopy b4 to b2\nrun k0(b0, b9)\n}\ncopy b0 to b2";
    wrong(&format!("{set}{wanted}"), both);
    let outer = "copy b0 to b4\nrepeat b7 {\nrepeat b7 {\ncopy b4 to b2\n}\nrun k0(b0, b9)\n}";
    wrong(&format!("{set}copy b0 to b2\n{outer}"), both);
    // but makes it anew if it is made in the loop.
    right(&format!(
        "{set}repeat b7 {{\ncopy b0 to b4\ncopy b4 to b5\nrun k0(b0, b9)\n}}\ncopy b0 to b2"
    ));
    right(&format!("{set}copy b0 to b2\nwhile {{\ncopy b0 to b4\n}} b6 {{\nrun k0(b0, b9)\n}}"));
    // The predicate lives until the head has run.
    let text = DECLARATIONS.replacen("f32[4] at 64", "f32[4] at 128", 1);
    let steps = "copy b0 to b2\nwhile {\nrun k2(b6, b7)\ncopy b0 to b5\n} b6 {\n}\n}";
    let errors = verify(&format!("{text}{steps}")).unwrap_err();
    assert!(errors.contains("b5: it overlaps buffer b6"), "{errors}");
}

#[test]
fn a_kernel_may_store_where_it_reads_for_the_last_time() {
    let with = |store: &str, steps: &str| {
        let text = DECLARATIONS.replacen("p0: in f32[4], p1: out", "p0: last f32[4], p1: out", 1);
        verify(&format!("{}{steps}\n}}", text.replacen("p1[i0] = v0", store, 1)))
    };
    let (one_place, one_buffer) =
        ("copy b0 to b4\nrun k0(b4, b9)\ncopy b0 to b2", "copy b0 to b2\nrun k0(b2, b2)");
    for steps in [one_place, one_buffer] {
        assert_eq!(with("p1[i0] = v0", steps), Ok(()));
        for other in ["p1[-i0 + 3] = v0", "p1[0] = v0"] {
            assert!(with(other, steps).is_err(), "{other}: {steps}");
        }
    }
    // It is read again.
    let steps = "copy b0 to b4\nrun k0(b4, b9)\ncopy b4 to b2";
    assert!(with("p1[i0] = v0", steps).is_err());
    // Elements of another part.
    assert!(with("p1[i0] = v0", "copy b0 to b2\nrun k0(b9, b9+2)").is_err());
}

#[test]
fn what_is_donated_is_input_and_output() {
    let text = DECLARATIONS.replacen("b2 : f32[4] output 0", "b2 : f32[4] donated 1 to 0", 1);
    let with = |text: &str, steps: &str| verify(&format!("{text}{steps}\n}}"));
    let errors = with(&text, "").unwrap_err();
    assert!(errors.contains("b1: it is an input that b2 overwrites"), "{errors}");
    let text = text.replacen("b1 : f32[4] input 1", "b1 : f32[4] at 0", 1);
    // It is there from the start, and may be written.
    for steps in ["", "copy b2 to b4\nrun k1(b0, b2)", "copy b0 to b2"] {
        assert_eq!(with(&text, steps), Ok(()), "{steps}");
    }
    let text = text.replacen("donated 1 to 0", "donated 1 to 1", 1);
    let errors = with(&text, "").unwrap_err();
    assert!(errors.contains("b2: output 1 is i32[0]"), "{errors}");
}

#[test]
fn all_mistakes_are_reported() {
    let steps = "run k9(b0)\nrepeat b6 {\ncopy b0 to b1\n}\n}";
    let errors = verify(&format!("{DECLARATIONS}{steps}")).unwrap_err();
    let want = "step 0: there is no kernel k9
    run k9(b0)
step 1: the count b6 should be i64[1]
    repeat b6
step 2: b1 cannot be written
    copy b0 to b1";
    assert_eq!(errors, want);
}
