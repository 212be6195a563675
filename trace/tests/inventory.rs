//! What there is, read from the sources: every operation is in the index of
//! operations, has an example that runs, and is called wrongly by the tests of
//! mistakes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use backstitch_ir::{Op, Scalar};

/// A public method, as `Tensor` and `exp`.
type Method = (String, String);

/// The sources where operations are.
fn sources() -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![src.join("ops.rs"), src.join("random.rs"), src.join("control.rs")];
    for folder in ["ops", "random", "control"] {
        let entries = fs::read_dir(src.join(folder)).expect("a folder of sources");
        files.extend(entries.map(|e| e.expect("an entry").path()));
    }
    // What a loop of the host is written into is not called by name.
    files.retain(|f| f.extension().is_some_and(|e| e == "rs") && !f.ends_with("host.rs"));
    files.sort();
    files
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).expect("a source")
}

/// The word at the start of a line.
fn word(line: &str) -> &str {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The methods of a file, each with the comment above it: written out, or a row of a
/// macro (`exp Exp: …`, `lt Lt;`, `sum, sum_over, sum_keep => …`).
fn methods(source: &str) -> Vec<(Method, String)> {
    let (mut owner, mut all, mut above) = (String::new(), Vec::new(), String::new());
    for line in source.lines().map(str::trim).take_while(|line| *line != "#[cfg(test)]") {
        if line.starts_with("///") || line.starts_with("#[") {
            above.push_str(line);
            above.push('\n');
            continue;
        }
        let comment = std::mem::take(&mut above);
        if let Some(rest) = line.strip_prefix("impl") {
            let rest = rest.strip_prefix("<'t>").unwrap_or(rest).trim_start();
            owner = word(rest).to_owned();
            continue;
        }
        if let Some(name) = line.strip_prefix("pub fn ").map(word).filter(|name| !name.is_empty()) {
            all.push(((owner.clone(), name.to_owned()), comment));
            continue;
        }
        let name = word(line);
        let rest = &line[name.len()..];
        let function = rest.strip_prefix(' ').is_some_and(|rest| {
            let of = word(rest);
            let end = &rest[of.len()..];
            let row = end == ";" || end.starts_with(": \"");
            of.starts_with(|c: char| c.is_ascii_uppercase()) && row && name != "return"
        });
        let lower = name.starts_with(|c: char| c.is_ascii_lowercase());
        if lower && (function || rest.starts_with(&format!(", {name}_over, {name}_keep =>"))) {
            all.push((("Tensor".to_owned(), name.to_owned()), comment + line));
        }
    }
    all.retain(|((owner, _), _)| ["Tensor", "Trace", "Key"].contains(&owner.as_str()));
    all
}

fn commented_methods() -> Vec<(Method, String)> {
    sources().iter().flat_map(|f| methods(&read(f))).collect()
}

fn all_methods() -> BTreeSet<Method> {
    let all: BTreeSet<Method> = commented_methods().into_iter().map(|(m, _)| m).collect();
    let tensor = |name: &str| all.contains(&("Tensor".to_owned(), name.to_owned()));
    assert!(["exp", "lt", "sum", "norm", "conv", "solve"].into_iter().all(tensor), "{all:?}");
    assert!(all.contains(&("Trace".to_owned(), "scan".to_owned())));
    all
}

#[test]
fn the_index_of_operations_is_complete() {
    let index = include_str!("../src/operations.rs");
    let missing: Vec<String> = all_methods()
        .iter()
        // The same from the other end is said in the row.
        .filter(|(_, name)| !name.ends_with("_reverse"))
        .map(|(owner, name)| format!("{owner}::{name})"))
        .filter(|link| !index.contains(link))
        .collect();
    assert!(missing.is_empty(), "not in `operations.rs`: {missing:?}");
}

/// Whether the comment of an operation has an example (or its row an argument and a
/// value, of which the macro makes one), or says by a link that it is
/// another form (`cumsum_reverse`) of one that has (`cumsum`).
fn has_example(name: &str, comment: &str) -> bool {
    let form = ["_reverse", "_with"].iter().find_map(|end| name.strip_suffix(end));
    let refers = form.is_some_and(|base| comment.contains(&format!("](Self::{base})")));
    comment.contains("/// ```") || comment.ends_with("\";") || refers
}

#[test]
fn every_operation_has_an_example() {
    let missing: Vec<Method> = commented_methods()
        .into_iter()
        .filter(|((_, name), comment)| !has_example(name, comment))
        .map(|(method, _)| method)
        .collect();
    assert!(missing.is_empty(), "{} without an example: {missing:?}", missing.len());
}

#[test]
fn an_example_is_in_the_comment_right_above() {
    let source = "impl<'t> Tensor<'t> {
        /// One.
        ///
        /// ```
        /// ```
        #[track_caller]
        pub fn one(self) {}
        /// Two.
        pub fn two(self) {}
        /// [`one`](Self::one) backwards.
        pub fn one_reverse(self) {}
    }";
    let seen: Vec<bool> = methods(source).iter().map(|((_, n), c)| has_example(n, c)).collect();
    assert_eq!(seen, [true, false, true]);
}

#[test]
fn every_operation_is_called_wrongly() {
    let calls = include_str!("no_panic/tables.rs");
    let missing: Vec<Method> = all_methods()
        .into_iter()
        .filter(|(_, name)| {
            let called = [format!(".{name}("), format!("::{name}("), format!(".{name}::<")];
            let row = format!("        {name} {name}_over {name}_keep;");
            !called.iter().any(|call| calls.contains(call)) && !calls.contains(&row)
        })
        .collect();
    assert!(missing.is_empty(), "not in `no_panic/tables.rs`: {missing:?}");
}

/// Median and maximum.
fn middle_and_most(mut lines: Vec<usize>) -> (usize, usize) {
    lines.sort_unstable();
    (lines[lines.len() / 2], lines[lines.len() - 1])
}

#[test]
fn few_definitions_and_many_operations() {
    let ir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ir/src");
    let files = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(ir.join(folder)).expect("a folder of sources");
        let paths = entries.map(|e| e.expect("an entry").path());
        paths.filter(|p| p.is_file()).map(read).collect()
    };
    // A row of the table of functions goes from its name to the brace that ends it.
    let rows: Vec<usize> = files("scalar/rows").iter().flat_map(|s| row_lengths(s)).collect();
    let primitives: Vec<usize> = files("ops").iter().map(|s| length(s)).collect();
    let definitions = Scalar::ALL.len() + Op::NAMES.len();
    let methods = all_methods();
    let of_scalars: BTreeSet<&str> = Scalar::ALL.iter().map(|f| f.name()).collect();
    let composed = methods
        .iter()
        .filter(|(_, name)| {
            !of_scalars.contains(name.as_str()) && !Op::NAMES.contains(&name.as_str())
        })
        .count();
    println!("{} scalar functions and {} primitives", Scalar::ALL.len(), Op::NAMES.len());
    println!("{} public operations, {composed} composed of others", methods.len());
    let (middle, most) = middle_and_most(rows);
    println!("lines of a scalar function: {middle} as a rule, {most} at most");
    let (middle, most) = middle_and_most(primitives);
    println!("lines of a file of primitives: {middle} as a rule, {most} at most");
    assert!(composed > definitions, "{composed} operations of {definitions} definitions");
}

/// Lines that are code, without tests.
fn length(source: &str) -> usize {
    let lines = source.lines().map(str::trim).take_while(|l| *l != "#[cfg(test)]");
    lines.filter(|l| !l.is_empty() && !l.starts_with("//")).count()
}

/// The lengths of the rows of a file of scalar functions.
fn row_lengths(source: &str) -> Vec<usize> {
    let rows = source.split(": Def = Def {").skip(1);
    rows.map(|row| row.lines().take_while(|line| *line != "};").count() + 1).collect()
}
