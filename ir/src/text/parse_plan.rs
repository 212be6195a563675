//! Reading plans.

use super::parse_nest::nest;
use super::source::Source;
use super::{Attrs, ParseError};
use crate::index::{Idx, IndexVec};
use crate::op::Definition;
use crate::ops::Literal;
use crate::plan::{
    BatchAxis, Buffer, BufferDecl, BufferRef, Call, Gemm, Matrix, Place, Plan, RowOf, Step,
};
use crate::routine::Routine;

/// Reads a plan. It need not be well-formed: see
/// [`verify_plan`](crate::verify::verify_plan).
///
/// ```
/// let text = "plan @copy arena 0 {
///   inputs f32[2]
///   outputs f32[2]
///   buffer b0 : f32[2] input 0
///   buffer b1 : f32[2] output 0
///   copy b0 to b1
/// }";
/// let plan = backstitch_ir::text::parse_plan(text).unwrap();
/// assert_eq!(plan.to_string(), text);
/// ```
///
/// # Errors
/// If the text is of another form; the error names the line.
pub fn parse_plan(text: &str) -> Result<Plan, ParseError> {
    Source::read(text, plan)
}

fn plan(s: &mut Source<'_>) -> Result<Plan, ParseError> {
    s.at.expect("plan")?;
    let name = s.title()?;
    s.at.expect("arena")?;
    let mut plan = Plan {
        name,
        inputs: vec![],
        outputs: vec![],
        buffers: IndexVec::new(),
        kernels: IndexVec::new(),
        stores: IndexVec::new(),
        steps: vec![],
        arena_bytes: s.at.digits()?,
    };
    s.block(|s| {
        let at = &mut s.at;
        if at.eat("inputs") {
            plan.inputs = at.items(Attrs::ty)?;
        } else if at.eat("outputs") {
            plan.outputs = at.items(Attrs::ty)?;
        } else if at.eat("buffer") {
            numbered(at, 'b', plan.buffers.len())?;
            plan.buffers.push(buffer(at)?);
        } else if at.eat("store") {
            numbered(at, 's', plan.stores.len())?;
            at.expect(":")?;
            plan.stores.push(at.digits()?);
        } else if at.eat("kernel") {
            numbered(at, 'k', plan.kernels.len())?;
            plan.kernels.push(nest(s)?);
        } else {
            plan.steps.push(step(s)?);
        }
        Ok(())
    })?;
    Ok(plan)
}

/// Reads the index of a definition: the next one.
fn numbered(at: &mut Attrs<'_>, letter: char, next: usize) -> Result<(), ParseError> {
    let start = at.clone();
    let index: Buffer = at.index(letter)?;
    if index.index() == next { Ok(()) } else { start.error(format!("{letter}{next}")) }
}

fn buffer(at: &mut Attrs<'_>) -> Result<BufferDecl, ParseError> {
    at.expect(":")?;
    let dtype = at.dtype()?;
    at.expect("[")?;
    let len = at.digits()?;
    at.expect("]")?;
    let place = if at.eat("input") {
        Place::Input(at.digits()?)
    } else if at.eat("output") {
        Place::Output(at.digits()?)
    } else if at.eat("donated") {
        let input = at.digits()?;
        at.expect("to")?;
        Place::Donated { input, output: at.digits()? }
    } else if at.eat("at") {
        Place::Arena(at.digits()?)
    } else if at.eat("const") {
        Place::Constant(Literal::parse(at)?.array().clone())
    } else {
        return at.error("`input`, `output`, `donated`, `at` or `const`");
    };
    Ok(BufferDecl { dtype, len, place })
}

fn steps(s: &mut Source<'_>) -> Result<Vec<Step>, ParseError> {
    let mut steps = Vec::new();
    s.block(|s| {
        steps.push(step(s)?);
        Ok(())
    })?;
    Ok(steps)
}

fn step(s: &mut Source<'_>) -> Result<Step, ParseError> {
    let at = &mut s.at;
    if at.eat("run") {
        let kernel = at.index('k')?;
        let args = at.list("(", ")", buffer_ref)?;
        Ok(Step::Run { kernel, args })
    } else if at.eat("gemm") {
        Ok(Step::Gemm(gemm(at)?))
    } else if at.eat("call") {
        Ok(Step::Call(call(at)?))
    } else if at.eat("copy") {
        let from = at.index('b')?;
        at.expect("to")?;
        Ok(Step::Copy { from, to: at.index('b')? })
    } else if at.eat("open") {
        let stack = at.index('b')?;
        at.expect("in")?;
        Ok(Step::Open { stack, store: at.index('s')? })
    } else if at.eat("push") {
        Ok(Step::Push { stack: at.index('b')?, from: at.index('b')? })
    } else if at.eat("pop") {
        Ok(Step::Pop { stack: at.index('b')?, to: at.index('b')? })
    } else if at.eat("if") {
        let pred = at.index('b')?;
        let then = steps(s)?;
        s.at.expect("else")?;
        Ok(Step::If { pred, then, els: steps(s)? })
    } else if at.eat("while") {
        let head = steps(s)?;
        let pred = s.at.index('b')?;
        Ok(Step::While { head, pred, body: steps(s)? })
    } else if at.eat("repeat") {
        let count = at.index('b')?;
        Ok(Step::Repeat { count, body: steps(s)? })
    } else if at.eat("scan") {
        let count = at.digits()?;
        let (reads, writes) = (rows(at, "read")?, rows(at, "write")?);
        Ok(Step::Scan { count, reads, writes, body: steps(s)? })
    } else {
        at.error("a step")
    }
}

/// Reads `read b0 of b1 back` as often as it is there.
fn rows(at: &mut Attrs<'_>, word: &str) -> Result<Vec<RowOf>, ParseError> {
    let mut all = Vec::new();
    while at.eat(word) {
        let entry = at.index('b')?;
        at.expect("of")?;
        all.push(RowOf { rows: at.index('b')?, entry, back: at.eat("back") });
    }
    Ok(all)
}

/// Reads `b0` or `b0+16`.
fn buffer_ref(at: &mut Attrs<'_>) -> Result<BufferRef, ParseError> {
    let buffer = at.index('b')?;
    let offset = if at.eat("+") { at.digits()? } else { 0 };
    Ok(BufferRef { buffer, offset })
}

/// Reads `b0+16[8, 1]`.
fn matrix(at: &mut Attrs<'_>) -> Result<Matrix, ParseError> {
    let place = buffer_ref(at)?;
    at.expect("[")?;
    let row = at.number()?;
    at.expect(",")?;
    let col = at.number()?;
    at.expect("]")?;
    Ok(Matrix { at: place, row, col })
}

fn gemm(at: &mut Attrs<'_>) -> Result<Gemm, ParseError> {
    let dtype = at.dtype()?;
    let c = matrix(at)?;
    let add = at.eat("+=");
    if !add {
        at.expect("=")?;
    }
    let a = matrix(at)?;
    at.expect("*")?;
    let b = matrix(at)?;
    at.expect("over")?;
    let mut extent = |name: &str| at.expect(name).and_then(|()| at.digits());
    let (m, n, k) = (extent("m")?, extent("n")?, extent("k")?);
    let mut batch = Vec::new();
    if at.eat("batch") {
        while at.eat("(") {
            let extent = at.digits()?;
            at.expect(":")?;
            let strides = [at.number()?, comma(at)?, comma(at)?];
            at.expect(")")?;
            batch.push(BatchAxis { extent, strides });
        }
    }
    Ok(Gemm { dtype, m, n, k, add, batch, a, b, c })
}

fn call(at: &mut Attrs<'_>) -> Result<Call, ParseError> {
    let result = buffer_ref(at)?;
    at.expect("=")?;
    let routine = Routine::parse(at)?;
    let args = at.list("(", ")", buffer_ref)?;
    let work = if at.eat("work") { Some(buffer_ref(at)?) } else { None };
    Ok(Call { routine, args, result, work, place: None })
}

/// Reads a number behind a comma.
fn comma(at: &mut Attrs<'_>) -> Result<isize, ParseError> {
    at.expect(",")?;
    at.number()
}
