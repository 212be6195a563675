//! Parameters as text, and operands of wrong types.

use backstitch_ir::text::parse_graph;
use backstitch_ir::{Array, DType, Type};

use super::samples::{apply, array, describe, primitive, samples};

#[test]
fn parameters_survive_text() {
    for (i, s) in samples() {
        let what = describe(i, &s);
        let (mut g, _, out) = apply(&s);
        g.set_outputs([out]);
        let text = g.to_string();
        let back = parse_graph(&text).unwrap_or_else(|e| panic!("{what}: {e}\n{text}"));
        assert_eq!(back, g, "{what}\n{text}");
        assert_eq!(back.to_string(), text, "{what}");
    }
}

/// Operand types that differ from a sample's in one respect.
fn spoiled(args: &[Type]) -> Vec<Vec<Type>> {
    let mut all = Vec::new();
    let mut with = |k: usize, t: Type| {
        let mut types = args.to_vec();
        types[k] = t;
        all.push(types);
    };
    for (k, t) in args.iter().enumerate() {
        DType::ALL.into_iter().for_each(|d| with(k, t.with_dtype(d)));
        with(k, t.stacked());
        for a in 0..t.rank() {
            with(k, t.with_shape(t.shape.without(&[a])));
            for n in [0, 1, t.dims()[a] + 1] {
                let mut dims = t.dims().to_vec();
                dims[a] = n;
                with(k, t.with_shape(dims));
            }
        }
        for n in [0, 1, 2] {
            let mut dims = t.dims().to_vec();
            dims.push(n);
            with(k, t.with_shape(dims));
        }
    }
    all
}

#[test]
fn wrong_operands_are_errors_and_right_ones_work() {
    for (i, s) in samples() {
        let what = describe(i, &s);
        let infer = |types: &[Type]| s.op.infer(&types.iter().collect::<Vec<_>>());
        let more: Vec<Type> = s.args.iter().cloned().chain([Type::scalar(DType::F64)]).collect();
        assert!(infer(&more).is_err(), "{what}");
        if let Some((_, fewer)) = s.args.split_last()
            && (fewer.is_empty() || s.op.name() != "concat")
        {
            let error = infer(fewer).expect_err(&what);
            assert!(!error.expected.is_empty() && error.op == s.op.name(), "{what}: {error}");
        }
        for types in spoiled(&s.args) {
            let Ok(result) = infer(&types) else { continue };
            assert!(types.iter().all(|t| t.stack == 0), "{what} takes {types:?}");
            let arrays: Vec<Array> = types.iter().map(|t| array(t, vec![1.0; t.len()])).collect();
            let y = primitive(&s.op).eval(&arrays.iter().collect::<Vec<_>>());
            assert_eq!(y.ty(), result[0], "{what} of {types:?}");
        }
    }
}
