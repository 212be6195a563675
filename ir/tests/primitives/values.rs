//! Values: their types, in any layout, and their ranges.

use backstitch_ir::range::Range;
use backstitch_ir::{Array, DType, Type};

use super::samples::{
    Random, apply, assert_close, describe, other_layouts, primitive, run, samples, tolerance,
};

#[test]
fn results_have_the_inferred_type_in_any_layout() {
    for (i, s) in samples() {
        let what = describe(i, &s);
        let args: Vec<&Type> = s.args.iter().collect();
        let types = s.op.infer(&args).unwrap_or_else(|e| panic!("{what}: {e}"));
        let p = primitive(&s.op);
        let x = Random::for_sample(i).operands(&s);
        let standard = p.eval(&x.iter().collect::<Vec<_>>());
        assert_eq!(standard.ty(), types[0], "{what}");
        for layout in 0..2 {
            let pick = |a: &Array| other_layouts(a).get(layout).unwrap_or(a).clone();
            let x: Vec<Array> = x.iter().map(pick).collect();
            let got = p.eval(&x.iter().collect::<Vec<_>>());
            assert_close(&got, &standard, tolerance(got.dtype()), &what);
        }
    }
}

#[test]
fn ranges_hold() {
    for (i, s) in samples() {
        let what = describe(i, &s);
        let (mut g, _, out) = apply(&s);
        g.set_outputs([out]);
        let x = Random::for_sample(i).operands(&s);
        let y = &run(&g, &x)[0];
        let domain = |(t, &(lo, hi)): (&Type, &(f64, f64))| match t.dtype {
            DType::Bool => Range::BOOL,
            _ => Range::between(lo, hi),
        };
        let domain: Vec<Range> = s.args.iter().zip(&s.domain).map(domain).collect();
        let narrow = primitive(&s.op).range(&domain);
        let empty = s.args.iter().any(Type::is_empty);
        for r in [(!empty).then_some(narrow), Some(g.range(out))].into_iter().flatten() {
            for y in y.to_f64_vec() {
                let slack = 1e-6 * y.abs();
                assert!(!r.finite || y.is_finite(), "{what}: {y} in {r:?}");
                let inside = y >= r.lo - slack && y <= r.hi + slack;
                assert!(y.is_nan() || inside, "{what}: {y} in {r:?}");
            }
        }
    }
}
