//! Golden programs: numbers from other systems, in eager mode, compiled, and
//! compiled without optimisation. `tests/goldens/README.md` says what is in the
//! files.
//!
//!     cargo test --release --test goldens -- [part of a name]
//!
//! The files are those in `tests/goldens`, or in the folder that the environment
//! variable `BACKSTITCH_GOLDENS` names. Each program is run, however many fail. The
//! last line counts them; skipped are programs with branches or loops that cannot
//! be built.
#![allow(missing_docs)]

#[allow(dead_code, reason = "the tutorials use the rest of it")]
mod goldens_suite;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backstitch::{Array, Error, Options};

use goldens_suite::modes::{Results, eager, transformed};
use goldens_suite::program::{Body, Program, Unread, read};
use goldens_suite::report::Report;
use goldens_suite::second;

/// A file and its programs.
struct File {
    name: String,
    /// Whether second derivatives are checked by differences.
    smooth: bool,
    programs: Vec<Result<Program, Unread>>,
    /// How many are left out, being conventions of other systems.
    foreign: usize,
}

/// How a program came out.
struct Tested {
    name: String,
    verdict: Verdict,
    compile: Option<Duration>,
    second: Option<second::Outcome>,
}

enum Verdict {
    Passed,
    Failed(Vec<String>),
    Unsupported(String),
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    let pattern = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!("{}:{}: ", at.file(), at.line()));
        let text = info.payload_as_str().unwrap_or("a panic");
        let message = format!("panic at {}{text}", place.unwrap_or_default());
        PANIC.with(|last| *last.borrow_mut() = message);
    }));
    let files: Vec<File> = paths().iter().map(|path| open(path, &pattern)).collect();
    let all: Vec<(usize, usize)> = (files.iter().enumerate())
        .flat_map(|(f, file)| (0..file.programs.len()).map(move |p| (f, p)))
        .collect();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<((usize, usize), Tested)>> = Mutex::new(Vec::new());
    let work = || {
        while let Some(&(f, p)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let tested = test(&files[f], &files[f].programs[p]);
            done.lock().expect("no panic leaves a test").push(((f, p), tested));
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().expect("no panic leaves a test");
    done.sort_by_key(|(at, _)| *at);
    summarise(&files, &done)
}

fn paths() -> Vec<PathBuf> {
    let folder = std::env::var_os("BACKSTITCH_GOLDENS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens"), PathBuf::from);
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect();
    paths.sort();
    paths
}

/// Reads the programs of a file whose names contain the pattern.
fn open(path: &Path, pattern: &str) -> File {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut programs = read(&text);
    programs.retain(|program| match program {
        Ok(program) => program.name.contains(pattern),
        Err((name, _)) => name.contains(pattern),
    });
    let all = programs.len();
    programs.retain(|program| match program {
        Ok(program) => program.profile.as_deref().is_none_or(|profile| profile == "default"),
        Err(_) => true,
    });
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    File { smooth: name == "ops.jsonl", name, foreign: all - programs.len(), programs }
}

thread_local! {
    /// What the last panic of this thread said.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The result, or what the panic said.
fn caught<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|_| PANIC.with(|last| last.borrow_mut().split_off(0)))
}

fn test(file: &File, program: &Result<Program, Unread>) -> Tested {
    let program = match program {
        Ok(program) => program,
        Err((name, error)) => {
            let verdict = Verdict::Failed(vec![format!("cannot be read: {error}")]);
            return Tested { name: name.clone(), verdict, compile: None, second: None };
        }
    };
    let mut compile = None;
    let mut compiled = |optimise: bool| {
        let (results, compilation) = transformed(program, &Options::default().optimise(optimise))?;
        compile.get_or_insert(compilation.time);
        Ok(results)
    };
    let mut report = Report::default();
    let mut unsupported = None;
    let mut run = |mode, f: &mut dyn FnMut() -> Result<Results<Array>, Error>| match caught(f) {
        Ok(Err(error)) if program.expect.error.is_none() && branches_or_loops(&program.body) => {
            unsupported.get_or_insert(format!("{mode}: {error}"));
        }
        Ok(results) => report.compare(program, mode, results),
        Err(panic) => report.failed(&program.name, mode, &panic, ""),
    };
    run("eager", &mut || eager(program));
    run("compiled", &mut || compiled(true));
    run("unoptimised", &mut || compiled(false));
    let mut wrong: Vec<String> = report.wrong().map(ToString::to_string).collect();
    let mut second = None;
    if file.smooth && wrong.is_empty() && unsupported.is_none() {
        match caught(|| second::check(program)) {
            Ok(Ok(outcome)) => second = outcome,
            Ok(Err(error)) => wrong.push(format!("second derivatives: {error}")),
            Err(panic) => wrong.push(format!("second derivatives: {panic}")),
        }
        if let Some(second::Outcome::Differs(how)) = &second {
            wrong.push(how.clone());
        }
    }
    let verdict = match unsupported {
        _ if !wrong.is_empty() => Verdict::Failed(wrong),
        Some(why) => Verdict::Unsupported(why),
        None => Verdict::Passed,
    };
    Tested { name: program.name.clone(), verdict, compile, second }
}

fn branches_or_loops(body: &Body) -> bool {
    body.nodes.iter().any(|node| node.op.is_control_flow())
}

fn summarise(files: &[File], done: &[((usize, usize), Tested)]) -> ExitCode {
    let mut totals = [0; 3];
    for (f, file) in files.iter().enumerate() {
        let tested = || done.iter().filter(move |((of, _), _)| *of == f).map(|(_, tested)| tested);
        let count = |is: fn(&Verdict) -> bool| tested().filter(|t| is(&t.verdict)).count();
        let counts = [
            count(|v| matches!(v, Verdict::Passed)),
            count(|v| matches!(v, Verdict::Failed(_))),
            count(|v| matches!(v, Verdict::Unsupported(_))),
        ];
        totals.iter_mut().zip(counts).for_each(|(total, n)| *total += n);
        let [passed, failed, unsupported] = counts;
        print!("{}: {passed} passed, {failed} failed, {unsupported} unsupported", file.name);
        match file.foreign {
            0 => println!(),
            n => println!(" ({n} conventions of other systems left out)"),
        }
        for Tested { name, verdict, .. } in tested() {
            match verdict {
                Verdict::Passed => {}
                Verdict::Failed(why) => {
                    println!("  failed: {name}");
                    why.iter().take(4).for_each(|line| println!("    {line}"));
                }
                Verdict::Unsupported(why) => println!("  unsupported: {name}\n    {why}"),
            }
        }
    }
    let second = |is: fn(&second::Outcome) -> bool| {
        done.iter().filter(|(_, t)| t.second.as_ref().is_some_and(is)).count()
    };
    println!(
        "second derivatives: {} checked, {} too close to a kink",
        second(|o| !matches!(o, second::Outcome::Unclear)),
        second(|o| matches!(o, second::Outcome::Unclear)),
    );
    let mut times: Vec<(Duration, &str)> =
        done.iter().filter_map(|(_, t)| Some((t.compile?, t.name.as_str()))).collect();
    times.sort();
    if let Some(&(worst, name)) = times.last() {
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].0.as_secs_f64() * 1e3;
        println!(
            "trace to callable with gradient: median {:.2} ms, 95th percentile {:.2} ms, worst {:.2} ms ({name})",
            at(50),
            at(95),
            worst.as_secs_f64() * 1e3,
        );
    }
    let [passed, failed, skipped] = totals;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
