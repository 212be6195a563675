//! Loops and branches as a host writes them, by tensors.

use backstitch_trace::{DType, Spec, Tensor, Trace, TraceError, Tree, control_flow, trace};

/// The tutorial's function as it is written.
#[control_flow(crate = backstitch_trace)]
fn tutorial<'t>(_: &'t Trace, a: Tensor<'t>) -> Tensor<'t> {
    let mut b = a * 2.0;
    while b.norm().lt(1000.0) {
        b = b * 2.0;
    }
    if b.sum().gt(0.0) { b } else { b * 100.0 }
}

type Program = for<'t> fn(&'t Trace, Tensor<'t>) -> Tensor<'t>;

/// The value and the slope at a point, eager and recorded, which have to be the same.
fn at(program: Program, a: f64) -> (f64, f64) {
    let t = Trace::eager();
    let x = t.constant(a);
    let tape = t.tape();
    tape.watch(&x);
    let y = program(&t, x);
    t.check().unwrap();
    let eager = (item(y), item(tape.gradient(&y, &x).or_zeros()));
    let traced = trace(Spec::f64([]), (), |t, a, ()| program(t, a)).unwrap();
    let value = traced.eval(&a, &()).unwrap().item::<f64>().unwrap();
    let slope = traced.grad().unwrap().eval(&a, &()).unwrap().item::<f64>().unwrap();
    assert_eq!(eager, (value, slope), "at {a}");
    eager
}

fn divides(by: f64, n: Tensor<'_>) -> Tensor<'_> {
    let quotient = n.cast(DType::F64) / by;
    quotient.floor().eq(quotient)
}

fn item(x: Tensor<'_>) -> f64 {
    x.item().unwrap()
}

#[test]
fn the_function_of_the_tutorial() {
    for (a, want) in [(3.0, 1536.0), (-3.0, -153_600.0)] {
        assert_eq!(at(tutorial, a), (want, want / a));
    }
}

/// Steps of a number that halves when it is even, with an `if` inside of the `while`.
#[control_flow(crate = backstitch_trace)]
fn collatz<'t>(t: &'t Trace, x: Tensor<'t>) -> Tensor<'t> {
    let mut n = x.stop_gradient();
    let (mut steps, mut y) = (t.scalar(0), x);
    while n.gt(1) {
        if divides(2.0, n) {
            n = n / 2.0;
            y = y * 0.5;
        } else {
            n = 3.0 * n + 1.0;
            y = y * 3.0 + 1.0;
        }
        steps = steps + 1;
    }
    y + steps.cast(DType::F64)
}

#[test]
fn a_branch_in_a_loop_with_carries_of_several_types() {
    for n in 1..12u32 {
        let (mut m, mut steps, mut slope) = (n, 0, 1.0);
        while m > 1 {
            slope *= if m % 2 == 0 { 0.5 } else { 3.0 };
            m = if m % 2 == 0 { m / 2 } else { 3 * m + 1 };
            steps += 1;
        }
        assert_eq!(at(collatz, n.into()), (f64::from(m) + f64::from(steps), slope));
    }
}

#[control_flow(crate = backstitch_trace)]
fn nested<'t>(t: &'t Trace, x: Tensor<'t>) -> Tensor<'t> {
    let mut i = t.scalar(0);
    let mut y = x;
    while i.lt(3) {
        let mut j = t.scalar(0);
        while j.lt(i) {
            y = y * x;
            j = j + 1;
        }
        i = i + 1;
    }
    y
}

#[test]
fn loops_in_loops() {
    assert_eq!(at(nested, 2.0), (16.0, 32.0));
}

/// `for` over a range that is traced, whose variable is a tensor.
#[control_flow(crate = backstitch_trace)]
fn factorial<'t>(_: &'t Trace, x: Tensor<'t>) -> Tensor<'t> {
    let n = x.cast(DType::I64);
    let mut y = x;
    for i in 1..n {
        y = y * i.cast(DType::F64);
    }
    y
}

#[test]
fn a_for_over_a_traced_range() {
    assert_eq!(at(factorial, 5.0), (120.0, 24.0));
    assert_eq!(at(factorial, 1.0), (1.0, 1.0));
}

/// The same condition leaves a `while`, a `loop`, a `for` over a traced range, one over a
/// host's, and one over a host's collection.
#[control_flow(crate = backstitch_trace)]
fn breaks<'t>(t: &'t Trace, x: Tensor<'t>) -> Tensor<'t> {
    let mut sum = t.scalar(0.0);

    let (mut y, mut i) = (x, t.scalar(0));
    while i.lt(10) {
        i = i + 1;
        if y.gt(100.0) {
            y = y + 0.5;
            break;
        }
        y = y * 2.0;
    }
    sum = sum + y;

    let mut y = x;
    loop {
        if y.gt(100.0) {
            y = y + 0.5;
            break;
        } else if y.lt(-100.0) {
            break;
        }
        y = y * 2.0;
    }
    sum = sum + y;

    let n = (x * 0.0).cast(DType::I64) + 10;
    let mut y = x;
    for _ in 0..n {
        if y.gt(100.0) {
            y = y + 0.5;
            break;
        }
        y = y * 2.0;
    }
    sum = sum + y;

    let (mut y, n) = (x, 10usize);
    for i in 0..n {
        assert!(i < n);
        if y.gt(100.0) {
            y = y + 0.5;
            break;
        }
        y = y * 2.0;
    }
    sum = sum + y;

    let mut y = x;
    for factor in [2.0; 10].iter() {
        if y.gt(100.0) {
            y = y + 0.5;
            break;
        }
        y = y * *factor;
    }
    sum + y
}

#[test]
fn every_loop_is_left_by_a_traced_condition() {
    for x in [1.0, 3.0, 99.0, 100.0, 101.0f64] {
        let mut y = x;
        while y <= 100.0 {
            y *= 2.0;
        }
        assert_eq!(at(breaks, x), (5.0 * (y + 0.5), 5.0 * y / x));
    }
}

/// `break` deep inside, with more to do after each `if`.
#[control_flow(crate = backstitch_trace)]
fn deep<'t>(t: &'t Trace, x: Tensor<'t>) -> Tensor<'t> {
    let mut y = x;
    let mut i = t.scalar(0);
    while i.lt(20) {
        i = i + 1;
        if divides(2.0, i) {
            if y.gt(50.0) {
                y = y - 1.0;
                break;
            }
            y = y + 1.0;
        } else {
            if divides(3.0, i) {
                continue;
            }
            y = y * 2.0;
        }
        y = y * 1.5;
    }
    y
}

#[test]
fn exits_in_branches_in_branches() {
    for x in [0.5, 1.0, 2.0, 60.0] {
        let (mut y, mut slope, mut i) = (x, 1.0, 0);
        while i < 20 {
            i += 1;
            if i % 2 == 0 {
                if y > 50.0 {
                    y -= 1.0;
                    break;
                }
                y += 1.0;
            } else {
                if i % 3 == 0 {
                    continue;
                }
                y *= 2.0;
                slope *= 2.0;
            }
            y *= 1.5;
            slope *= 1.5;
        }
        assert_eq!(at(deep, x), (y, slope));
    }
}

#[control_flow(crate = backstitch_trace)]
fn early<'t>(_: &'t Trace, x: Tensor<'t>) -> Tensor<'t> {
    if x.lt(0.0) {
        return -x;
    }
    let y = x * x;
    if x.gt(10.0) {
        if x.gt(100.0) {
            return y + 100.0;
        }
        let z = y + 1.0;
        return z;
    }
    let mut z = y;
    if x.gt(5.0) {
        z = z * x;
    }
    z
}

#[test]
fn a_function_returns_early() {
    assert_eq!(at(early, -3.0), (3.0, -1.0));
    assert_eq!(at(early, 2.0), (4.0, 4.0));
    assert_eq!(at(early, 6.0), (216.0, 108.0));
    assert_eq!(at(early, 20.0), (401.0, 40.0));
    assert_eq!(at(early, 200.0), (40_100.0, 400.0));
}

/// Truth values that are kept, and connected.
#[control_flow(crate = backstitch_trace)]
fn flags<'t>(t: &'t Trace, x: Tensor<'t>) -> Tensor<'t> {
    let mut done = t.scalar(false);
    let (mut y, mut turns) = (x, t.scalar(0));
    let limited = true;
    while !done && (turns.lt(100) || !limited) {
        y = y * 2.0;
        done = y.gt(100.0) || y.lt(-100.0);
        turns = turns + 1;
    }
    if limited && y.gt(0.0) { y } else { -y }
}

#[test]
fn truth_values_are_connected_in_conditions() {
    assert_eq!(at(flags, 3.0), (192.0, 64.0));
    assert_eq!(at(flags, -3.0), (192.0, -64.0));
}

#[derive(Tree, Clone)]
#[tree(crate = backstitch_trace)]
struct Particle<T> {
    position: T,
    velocity: T,
}

/// Structs and arrays as carries, parts of which are assigned; and a value of a branch
/// that is a struct.
#[control_flow(crate = backstitch_trace)]
fn structures<'t>(t: &'t Trace, x: Tensor<'t>) -> Tensor<'t> {
    let mut p = Particle { position: x, velocity: t.scalar(1.0) };
    let mut pair = [x, x];
    let mut many = vec![x, x * 2.0];
    while p.position.lt(10.0) {
        p.position = p.position + p.velocity;
        p.velocity = p.velocity * 2.0;
        (pair[0], _) = (pair[0] * 2.0, 1);
        many[1] = many[1] + 1.0;
        let shadow = &mut pair[1];
        *shadow = *shadow + 1.0;
    }
    let q = if p.velocity.gt(4.0) {
        Particle { position: p.velocity, velocity: p.position }
    } else {
        p.clone()
    };
    q.position * 100.0 + q.velocity + pair[0] + pair[1] + many[1] + many[0]
}

#[test]
fn structures_are_carried() {
    // 1, 2, 4, 8, 16; velocities to 16.
    assert_eq!(at(structures, 1.0), (1600.0 + 16.0 + 16.0 + 5.0 + 6.0 + 1.0, 1.0 + 16.0 + 4.0));
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Twice,
    Once,
}

/// What is the host's stays as it is: moves in both branches, `?`, `return`, labels, values
/// of loops, late initialisation, collections.
#[control_flow(crate = backstitch_trace)]
fn host<'t>(
    x: Tensor<'t>,
    mode: Mode,
    names: Option<Vec<String>>,
) -> Result<Vec<Tensor<'t>>, String> {
    let verbose = names.is_some();
    let mut out = Vec::new();
    let (first, text);
    if verbose {
        text = names.ok_or("nothing")?.join("-");
        first = 1;
    } else {
        drop(names);
        text = String::new();
        first = 0;
    }
    let owned = vec![1.0, 2.0];
    let moved: Vec<f64> = if verbose { owned } else { owned.into_iter().rev().collect() };
    let view: &[f64] = if verbose { &moved } else { &moved[..1] };
    for factor in view {
        out.push(x * *factor);
    }
    let n = view.len();
    let mut count = 0usize;
    for i in 0..n {
        if verbose {
            out.push(x + i as f64);
            count += 1;
        }
    }
    if mode == Mode::Once {
        return Ok(out);
    }
    let deciding = |n: usize| n.is_multiple_of(2);
    if n == 7 {
        let moved = 3; // an exit of the host may stand among other variables of its names
        if count > moved {
            return Ok(out);
        }
    }
    out.reserve(moved.len());
    while {
        if count == 3 {
            break;
        }
        !verbose && deciding(count)
    } {
        count += 1;
    }
    if deciding(n + 1) {
        return Err(format!("{n} is odd"));
    }
    let found = 'search: loop {
        for i in first.. {
            if deciding(i) {
                break 'search i;
            }
            if deciding(i + 1) {
                continue;
            }
        }
    };
    let mut left = 3;
    while deciding(left) || left > 0 {
        left -= 1;
        let Some(_) = out.get(left) else { continue };
        match left {
            0 => break,
            _ if verbose => out.push(x * left as f64),
            _ => {}
        }
    }
    let total = (found + count + text.len()) as f64;
    out.push(if total > 3.0 { x * total } else { x });
    // A host's loop around a traced branch.
    let mut y = x;
    for i in 0..n {
        if y.gt(i as f64) {
            y = y * 2.0;
        } else {
            y = y - 1.0;
        }
    }
    out.push(y);
    Ok(out)
}

#[test]
fn what_is_the_hosts_stays_as_it_is() {
    let t = Trace::eager();
    let x = t.constant(1.0);
    let numbers = |found: Result<Vec<Tensor<'_>>, String>| {
        found.map(|all| all.into_iter().map(item).collect::<Vec<_>>())
    };
    let names = || Some(vec!["a".to_owned(), "bc".to_owned()]);
    assert_eq!(numbers(host(x, Mode::Once, None)), Ok(vec![2.0]));
    assert_eq!(numbers(host(x, Mode::Twice, None)), Err("1 is odd".to_owned()));
    // Factors, indices, what is left, the total, and the branch in the loop.
    let want = vec![1.0, 2.0, 1.0, 2.0, 2.0, 1.0, 8.0, 4.0];
    assert_eq!(numbers(host(x, Mode::Twice, names())), Ok(want));
}

/// Marks where types are not known yet; labels of the loop itself; and a break that the host
/// decides in a loop that is traced.
#[control_flow(crate = backstitch_trace)]
fn marked<'t>(t: &'t Trace, x: Tensor<'t>) -> Tensor<'t> {
    let (n, factors) = (3, [1.0, 2.0, 3.0]);
    let (mut y, mut left) = (x, n);
    #[host]
    for i in 0..n {
        y = y * factors[i] * factors[n - 1 - i];
    }
    #[host]
    while left.is_power_of_two() || left > 0 {
        left -= 1;
    }
    #[host]
    if n.is_power_of_two() {
        y = y * 0.0;
    }
    let mut i = t.scalar(0);
    'walk: while i.lt(10) {
        i = i + 1;
        if i.lt(3) {
            continue 'walk;
        }
        if y.gt(100.0) {
            break 'walk;
        }
        y = y * 2.0;
    }
    while y.gt(0.0) {
        y = y + 1.0;
        if left == 0 {
            break;
        }
        y = y * 100.0;
    }
    y
}

#[test]
fn marks_and_labels() {
    assert_eq!(at(marked, 1.0), (145.0, 144.0));
}

/// What a step needs of the one before is taken when the host stops early; what the taken
/// branch does not use has no infinite slope.
#[control_flow(crate = backstitch_trace)]
fn guarded<'t>(_: &'t Trace, x: Tensor<'t>) -> Tensor<'t> {
    let mut y = x;
    for i in 0..3 {
        if y.le(0.0) {
            y = y * 2.0;
            continue;
        }
        y = y.sqrt() - i as f64;
        if y.lt(0.0) {
            break;
        }
    }
    y
}

#[test]
fn branches_not_taken_add_nothing() {
    assert_eq!(at(guarded, 0.0), (0.0, 8.0));
    // 16, 4, 1, and at last -1.
    assert_eq!(at(guarded, 16.0), (-1.0, 1.0 / 8.0 * 0.25 * 0.5));
}

/// Methods, generics, closures, and constructs in the middle of expressions.
struct Limit(f64);

impl Limit {
    #[control_flow(crate = backstitch_trace)]
    fn apply<'t, const N: usize>(&self, mut x: Tensor<'t>, on: bool) -> Tensor<'t> {
        let shrink = |y: Tensor<'t>| {
            if y.gt(10.0) {
                return y * 0.5;
            }
            y
        };
        for _ in 0..N {
            x = x + if on { if x.gt(self.0) { shrink(x) } else { x } } else { x * 0.0 };
        }
        x
    }
}

#[test]
fn methods_and_closures() {
    let t = Trace::eager();
    let limit = Limit(3.0);
    let x = t.constant(2.0);
    assert_eq!(item(limit.apply::<4>(x, true)), 24.0);
    assert_eq!(item(limit.apply::<4>(x, false)), 2.0);
}

/// A variable may take any shape in a branch from which the function ends.
#[control_flow(crate = backstitch_trace)]
fn reshaped<'t>(_: &'t Trace, x: Tensor<'t>) -> Tensor<'t> {
    let mut y = x;
    if x.gt(0.0) {
        y = y.broadcast_to([3]) * 2.0;
        y.sum()
    } else {
        y
    }
}

#[test]
fn what_ends_the_function_is_not_carried() {
    assert_eq!(at(reshaped, 2.0), (12.0, 6.0));
    assert_eq!(at(reshaped, -2.0), (-2.0, 1.0));
}

#[test]
fn mistakes_name_the_variable_and_the_line() {
    let first_line = line!();
    #[control_flow(crate = backstitch_trace)]
    fn grows<'t>(_: &'t Trace, x: Tensor<'t>, (): ()) -> Tensor<'t> {
        let (mut y, mut z) = (x, x);
        while z.lt(3.0) {
            z = z + 1.0;
            y = y.broadcast_to([2]);
        }
        y
    }
    #[control_flow(crate = backstitch_trace)]
    fn many_truths<'t>(_: &'t Trace, x: Tensor<'t>, (): ()) -> Tensor<'t> {
        if x.broadcast_to([2]).gt(0.0) { x } else { -x }
    }
    let told = |found: Result<_, TraceError>| {
        let mistake = found.map(|_: backstitch_trace::Traced<_, _, _>| ()).unwrap_err();
        let first = mistake.first().clone();
        assert!(first.place.file().ends_with("host_like.rs"), "{first}");
        (first.message, first.place.line())
    };
    let (message, line) = told(trace(Spec::f64([]), (), grows));
    assert_eq!(message, "the carry `y` starts as f64[] but the body gives f64[2]");
    assert_eq!(line, first_line + 4);
    let (message, line) = told(trace(Spec::f64([]), (), many_truths));
    assert_eq!(message, "expected one truth value to decide by, got bool[2]");
    assert_eq!(line, first_line + 12);
}
