//! A cursor over lines: what parsers of whole graphs, nests and plans read from.

use std::iter::Enumerate;
use std::str::Lines;

use super::{Attrs, ParseError};

/// Graphs inside graphs, loops inside loops: more than anyone writes, and few
/// enough for the stack of any thread.
const MAX_DEPTH: usize = 64;

/// A cursor over a text: the rest of a line, and the lines after it.
pub(super) struct Source<'a> {
    lines: Enumerate<Lines<'a>>,
    number: usize,
    depth: usize,
    /// The rest of the line.
    pub at: Attrs<'a>,
}

impl<'a> Source<'a> {
    /// Reads all of `text` with `parse`. Errors get the line they are in.
    pub fn read<T>(
        text: &'a str,
        parse: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        let mut source =
            Self { lines: text.lines().enumerate(), number: 0, depth: 0, at: Attrs::new("") };
        let read = source.all(parse);
        read.map_err(|e| ParseError { line: source.number, ..e })
    }

    fn all<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        self.advance()?;
        let read = parse(self)?;
        self.end_of_line()?;
        match self.next_line() {
            None => Ok(read),
            Some(_) => self.at.error("the end of the text"),
        }
    }

    /// Goes to the next line that is not empty, once this one is finished.
    pub fn advance(&mut self) -> Result<(), ParseError> {
        self.end_of_line()?;
        self.next_line().map_or_else(|| self.at.error("more text"), Ok)
    }

    fn end_of_line(&self) -> Result<(), ParseError> {
        if self.at.rest().is_empty() { Ok(()) } else { self.at.error("the end of the line") }
    }

    fn next_line(&mut self) -> Option<()> {
        let code = |line: &'a str| line.split('#').next().unwrap_or(line).trim();
        let mut lines = self.lines.by_ref().map(|(i, line)| (i, code(line)));
        let (i, line) = lines.find(|(_, line)| !line.is_empty())?;
        self.number = i + 1;
        self.at = Attrs::new(line);
        Some(())
    }

    /// Reads a block: `{`, lines up to one that starts with `}`, and this brace.
    pub fn block(
        &mut self,
        mut line: impl FnMut(&mut Self) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        self.at.expect("{")?;
        if self.depth == MAX_DEPTH {
            return self.at.error("fewer blocks inside blocks");
        }
        self.depth += 1;
        loop {
            self.advance()?;
            if self.at.eat("}") {
                break;
            }
            line(self)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// A name after `@`; may be empty.
    pub fn title(&mut self) -> Result<String, ParseError> {
        self.at.expect("@")?;
        let named = self.at.rest().starts_with(super::names::is_name_char);
        if named { self.at.word().map(String::from) } else { Ok(String::new()) }
    }
}
