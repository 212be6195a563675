//! Explanations in words and numbers.

use std::fmt::{self, Write};

use backstitch_ir::nest::{Mode, Nest, Range, Stmt};

use super::{ArrayUse, Bytes, Explained, Explanation, Storage, Work};
use crate::lower::{Cut, KernelOrigin};

/// The loops of a nest in a line: extents, in braces what is inside.
pub(super) fn loops(nest: &Nest, body: &[Stmt]) -> String {
    let mut out = String::new();
    for stmt in body {
        let Stmt::For(l) = stmt else { continue };
        if !out.is_empty() {
            out.push_str(", ");
        }
        out.push_str(match l.mode {
            Mode::Sequential => "",
            Mode::Parallel => "parallel ",
            Mode::Vector { .. } => "vector ",
        });
        let extent = match l.range {
            Range::Whole => nest.axes[l.axis],
            Range::Chunk { size, .. } => size.min(nest.axes[l.axis]),
        };
        write!(out, "{extent}").expect("strings take all");
        let inside = loops(nest, &l.body);
        if !inside.is_empty() {
            write!(out, " {{ {inside} }}").expect("strings take all");
        }
    }
    out
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernels = self.kernels();
        writeln!(f, "{}: {kernels} kernel{}", self.name, if kernels == 1 { "" } else { "s" })?;
        write_steps(f, &self.steps, 0)?;
        let (moved, least) = (self.total.bytes(), self.least);
        let bound = if self.exact {
            ""
        } else {
            ", where loops of unknown length run once and the longer branches"
        };
        writeln!(f, "total  {moved}, {} flops{bound}", Count(self.total.flops))?;
        write!(f, "least  {least}: inputs once, outputs once")?;
        if least.sum() > 0 {
            write!(f, " (total is {:.2} times that)", moved.sum() as f64 / least.sum() as f64)?;
        }
        write!(f, "\nworkspace  {}", Count(self.workspace))?;
        match self.live {
            Some(live) => write!(f, " bytes, {} of them in use at once", Count(live)),
            None => write!(f, " bytes"),
        }
    }
}

fn write_steps(f: &mut fmt::Formatter<'_>, steps: &[Explained], indent: usize) -> fmt::Result {
    for step in steps {
        match step {
            Explained::Kernel { kernel, origin, loops, work } => {
                writeln!(f, "{:indent$}{kernel}  {}", "", Operations(origin))?;
                if !loops.is_empty() {
                    writeln!(f, "{:indent$}    loops  {loops}", "")?;
                }
                write_work(f, work, indent + 4)?;
                write!(f, "{:indent$}    begins ", "")?;
                match (&origin.cut, origin.not_joined) {
                    (Cut::First | Cut::Unfused | Cut::Alone | Cut::Chunks, _) | (_, None) => {
                        writeln!(f, "here: {}", origin.cut)?;
                    }
                    (cut, Some(other)) => writeln!(f, "here and not in {other}: {cut}")?,
                }
            }
            Explained::Call { what, work } => {
                writeln!(f, "{:indent$}{what}", "")?;
                write_work(f, work, indent + 4)?;
            }
            Explained::Branch { then, els } => {
                writeln!(f, "{:indent$}if so", "")?;
                write_steps(f, then, indent + 2)?;
                writeln!(f, "{:indent$}if not", "")?;
                write_steps(f, els, indent + 2)?;
            }
            Explained::Loop { times, rows, body } => {
                match times {
                    Some(n) => writeln!(f, "{:indent$}{n} times, each:", "")?,
                    None => writeln!(f, "{:indent$}as often as it takes, each time:", "")?,
                }
                write_work(f, rows, indent + 2)?;
                write_steps(f, body, indent + 2)?;
            }
        }
    }
    Ok(())
}

fn write_work(f: &mut fmt::Formatter<'_>, work: &Work, indent: usize) -> fmt::Result {
    let mut line = |word: &str, of: fn(&Bytes) -> u64| -> fmt::Result {
        let mut arrays = work.arrays.iter().filter(|a| of(&a.bytes) > 0).peekable();
        if arrays.peek().is_none() {
            return Ok(());
        }
        write!(f, "{:indent$}{word} ", "")?;
        for (i, a) in arrays.enumerate() {
            write!(f, "{}{}", if i > 0 { ", " } else { "" }, Moved(a, of(&a.bytes)))?;
        }
        writeln!(f)
    };
    line("reads ", |b| b.read)?;
    line("writes", |b| b.written)?;
    if work.flops > 0 {
        writeln!(f, "{:indent$}flops  {}", "", Count(work.flops))?;
    }
    Ok(())
}

/// The operations of a kernel, equal ones together.
struct Operations<'a>(&'a KernelOrigin);

impl fmt::Display for Operations<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counted: Vec<(&str, usize)> = Vec::new();
        for o in &self.0.operations {
            match counted.iter_mut().find(|c| c.0 == o.name) {
                Some(c) => c.1 += 1,
                None => counted.push((o.name, 1)),
            }
        }
        for (i, (name, n)) in counted.iter().enumerate() {
            f.write_str(if i > 0 { " " } else { "" })?;
            if *n > 1 {
                write!(f, "{n}×")?;
            }
            f.write_str(name)?;
        }
        let adjoint = self.0.operations.iter().filter(|o| o.adjoint).count();
        if adjoint > 0 {
            write!(f, "  ({adjoint} of {} for derivatives)", self.0.operations.len())?;
        }
        Ok(())
    }
}

/// So many bytes of an array.
struct Moved<'a>(&'a ArrayUse, u64);

impl fmt::Display for Moved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(a, bytes) = self;
        match a.storage {
            Storage::Workspace => write!(f, "{} ", a.buffer)?,
            other => write!(f, "{other} ")?,
        }
        write!(f, "{}", Size(*bytes))?;
        if *bytes > a.size + a.size / 20 && a.size > 0 {
            write!(f, " ({:.1} times)", *bytes as f64 / a.size as f64)?;
        }
        Ok(())
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(i) => write!(f, "input {i}"),
            Self::Output(i) => write!(f, "output {i}"),
            Self::Constant => f.write_str("constant"),
            Self::Workspace => f.write_str("workspace"),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} read, {} written", Size(self.read), Size(self.written))
    }
}

/// A number of bytes, as people say it.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, &["B", "kB", "MB", "GB", "TB"])
    }
}

/// A large number.
struct Count(u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, &["", "k", "M", "G", "T"])
    }
}

fn write_scaled(f: &mut fmt::Formatter<'_>, n: u64, units: &[&str]) -> fmt::Result {
    let mut unit = 0;
    let mut x = n as f64;
    while x >= 1000.0 && unit + 1 < units.len() {
        x /= 1000.0;
        unit += 1;
    }
    let space = if units[unit].is_empty() { "" } else { " " };
    if unit == 0 {
        write!(f, "{n}{space}{}", units[0])
    } else {
        write!(f, "{x:.2}{space}{}", units[unit])
    }
}
