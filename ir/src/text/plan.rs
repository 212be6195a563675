//! Printing plans.

use std::fmt::{self, Write};

use super::attrs::Commas;
use super::graph::Params;
use super::names::sanitized;
use super::nest::write_nest;
use crate::op::Op;
use crate::ops::Literal;
use crate::plan::{Buffer, BufferRef, Call, Gemm, Matrix, Place, Plan, Step};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan @{} arena {} {{", sanitized(&self.name), self.arena_bytes)?;
        for (word, types) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            if !types.is_empty() {
                writeln!(f, "  {word} {}", Commas(types))?;
            }
        }
        for buffer in self.buffers.keys() {
            writeln!(f, "  {}", buffer_line(self, buffer))?;
        }
        for (store, bytes) in self.stores.entries() {
            writeln!(f, "  store {store} : {bytes}")?;
        }
        for (kernel, nest) in self.kernels.entries() {
            f.write_str("  ")?;
            write_nest(f, nest, &format!("kernel {kernel}"), 2)?;
            f.write_str("\n")?;
        }
        write_steps(f, &self.steps, 2)?;
        f.write_str("}")
    }
}

/// The declaration of a buffer.
pub(crate) fn buffer_line(plan: &Plan, buffer: Buffer) -> String {
    let decl = &plan.buffers[buffer];
    let place = match &decl.place {
        Place::Input(i) => format!("input {i}"),
        Place::Output(i) => format!("output {i}"),
        Place::Donated { input, output } => format!("donated {input} to {output}"),
        Place::Arena(offset) => format!("at {offset}"),
        Place::Constant(array) => {
            let literal = Op::from(Literal::new(array.clone()));
            format!("const{}", Params(&literal))
        }
    };
    format!("buffer {buffer} : {}[{}] {place}", decl.dtype, decl.len)
}

/// The line of a step, without the steps inside.
pub(crate) fn step_line(step: &Step) -> String {
    match step {
        Step::Run { kernel, args } => format!("run {kernel}({})", Commas(args)),
        Step::Gemm(g) => g.to_string(),
        Step::Call(c) => c.to_string(),
        Step::Copy { from, to } => format!("copy {from} to {to}"),
        Step::If { pred, .. } => format!("if {pred}"),
        Step::While { .. } => "while".into(),
        Step::Repeat { count, .. } => format!("repeat {count}"),
        Step::Scan { count, reads, writes, .. } => {
            let mut line = format!("scan {count}");
            for (word, rows) in [("read", reads), ("write", writes)] {
                for r in rows {
                    let back = if r.back { " back" } else { "" };
                    line.push_str(&format!(" {word} {} of {}{back}", r.entry, r.rows));
                }
            }
            line
        }
        Step::Open { stack, store } => format!("open {stack} in {store}"),
        Step::Push { stack, from } => format!("push {stack} {from}"),
        Step::Pop { stack, to } => format!("pop {stack} {to}"),
    }
}

fn write_steps(f: &mut impl Write, steps: &[Step], indent: usize) -> fmt::Result {
    for step in steps {
        write!(f, "{:indent$}{}", "", step_line(step))?;
        match step {
            Step::If { then, els, .. } => {
                f.write_str(" {\n")?;
                write_steps(f, then, indent + 2)?;
                writeln!(f, "{:indent$}}} else {{", "")?;
                write_steps(f, els, indent + 2)?;
                writeln!(f, "{:indent$}}}", "")?;
            }
            Step::While { head, pred, body } => {
                f.write_str(" {\n")?;
                write_steps(f, head, indent + 2)?;
                writeln!(f, "{:indent$}}} {pred} {{", "")?;
                write_steps(f, body, indent + 2)?;
                writeln!(f, "{:indent$}}}", "")?;
            }
            Step::Repeat { body, .. } | Step::Scan { body, .. } => {
                f.write_str(" {\n")?;
                write_steps(f, body, indent + 2)?;
                writeln!(f, "{:indent$}}}", "")?;
            }
            _ => f.write_str("\n")?,
        }
    }
    Ok(())
}

impl fmt::Display for BufferRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            0 => write!(f, "{}", self.buffer),
            n => write!(f, "{}+{n}", self.buffer),
        }
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}, {}]", self.at, self.row, self.col)
    }
}

impl fmt::Display for Gemm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, m, n, k, add, batch, a, b, c } = self;
        let set = if *add { "+=" } else { "=" };
        write!(f, "gemm {dtype} {c} {set} {a} * {b} over m {m} n {n} k {k}")?;
        if !batch.is_empty() {
            f.write_str(" batch ")?;
        }
        for (i, axis) in batch.iter().enumerate() {
            let space = if i > 0 { " " } else { "" };
            write!(f, "{space}({}: {})", axis.extent, Commas(&axis.strides))?;
        }
        Ok(())
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { routine, args, result, work, place } = self;
        write!(f, "call {result} = {routine} ({})", Commas(args))?;
        if let Some(work) = work {
            write!(f, " work {work}")?;
        }
        match place {
            Some(place) => write!(f, "  # {place}"),
            None => Ok(()),
        }
    }
}
