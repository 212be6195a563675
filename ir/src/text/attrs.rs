//! A cursor over one line of text: what parsers of parameters read from.

use std::fmt;

use crate::array::Element;
use crate::index::Idx;
use crate::nest::Const;
use crate::ty::{DType, Shape, Type};

/// Text that is not of the expected form.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: expected {expected}, found `{found}`")]
pub struct ParseError {
    /// Line, counted from 1; 0 while the line is not known yet.
    pub line: usize,
    /// What would have been right.
    pub expected: String,
    /// The text from there on.
    pub found: String,
}

/// A cursor over one line.
#[derive(Clone, Debug)]
pub struct Attrs<'a> {
    rest: &'a str,
}

impl<'a> Attrs<'a> {
    /// From the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { rest: text.trim_start() }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a str {
        self.rest
    }

    /// An error here.
    pub fn error<T>(&self, expected: impl Into<String>) -> Result<T, ParseError> {
        let found = self.rest.chars().take(40).collect();
        Err(ParseError { line: 0, expected: expected.into(), found })
    }

    /// Reads `token` if it is next.
    pub fn eat(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(token) else { return false };
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        if token.ends_with(is_word) && rest.starts_with(is_word) {
            return false;
        }
        self.rest = rest.trim_start();
        true
    }

    /// Reads `token`.
    ///
    /// # Errors
    /// If something else is next.
    pub fn expect(&mut self, token: &str) -> Result<(), ParseError> {
        if self.eat(token) { Ok(()) } else { self.error(format!("`{token}`")) }
    }

    /// Reads characters as long as they are of a kind; at least one.
    ///
    /// # Errors
    /// If the next one is not.
    pub fn take(&mut self, what: &str, ok: impl Fn(char) -> bool) -> Result<&'a str, ParseError> {
        let end = self.rest.find(|c| !ok(c)).unwrap_or(self.rest.len());
        if end == 0 {
            return self.error(what);
        }
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        Ok(token)
    }

    /// A name: letters, digits, `_`, `.` and `'`.
    ///
    /// # Errors
    /// If there is none.
    pub fn word(&mut self) -> Result<&'a str, ParseError> {
        self.take("a name", |c| c.is_alphanumeric() || matches!(c, '_' | '.' | '\''))
    }

    /// A number of any type that can be read from text.
    ///
    /// # Errors
    /// If there is none.
    pub fn number<T: std::str::FromStr>(&mut self) -> Result<T, ParseError> {
        let before = self.clone();
        let number = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '+');
        let token = self.take("a number", number)?;
        token.parse().or_else(|_| before.error("a number"))
    }

    /// Items in brackets, separated by commas: `open item, item close`.
    ///
    /// # Errors
    /// If it is not of that form.
    pub fn list<T>(
        &mut self,
        open: &str,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        self.expect(open)?;
        let mut items = Vec::new();
        while !self.eat(close) {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Items separated by commas, at least one; `()` is none.
    ///
    /// # Errors
    /// If one is not of its form.
    pub fn items<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        let mut items = Vec::new();
        if self.eat("()") {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if !self.eat(",") {
                return Ok(items);
            }
        }
    }

    /// Numbers in parentheses: `(0, 1)`.
    ///
    /// # Errors
    /// If it is not of that form.
    pub fn numbers<T: std::str::FromStr>(&mut self) -> Result<Vec<T>, ParseError> {
        self.list("(", ")", Self::number)
    }

    /// Digits as a number.
    ///
    /// # Errors
    /// If there are none, or the number is too large.
    pub fn digits<T: std::str::FromStr>(&mut self) -> Result<T, ParseError> {
        let before = self.clone();
        let token = self.take("a number", |c| c.is_ascii_digit())?;
        token.parse().or_else(|_| before.error("a smaller number"))
    }

    /// An index such as `b12`, whose letter is `letter`.
    ///
    /// # Errors
    /// If there is none.
    pub fn index<I: Idx>(&mut self, letter: char) -> Result<I, ParseError> {
        let before = self.clone();
        let missing = || before.error(format!("`{letter}` and a number"));
        let Some(rest) = self.rest.strip_prefix(letter) else { return missing() };
        self.rest = rest;
        match self.take("digits", |c| c.is_ascii_digit()).map(str::parse::<u32>) {
            Ok(Ok(i)) => Ok(I::new(i as usize)),
            _ => missing(),
        }
    }

    /// A constant as [`Constant`] writes it.
    ///
    /// # Errors
    /// If there is none of that type.
    pub(crate) fn constant(&mut self, dtype: DType) -> Result<Const, ParseError> {
        let before = self.clone();
        let token = self.take("a constant", |c| !matches!(c, ',' | ']' | ' '))?;
        let bits = match dtype {
            DType::F32 | DType::F64 if token.starts_with("nan") => {
                let bits = u64::from_str_radix(&token[3..], 16).ok();
                bits.filter(|&b| dtype == DType::F64 || b <= u32::MAX.into())
            }
            DType::F32 => token.parse().ok().map(|x: f32| x.to_const().bits),
            DType::F64 => token.parse().ok().map(|x: f64| x.to_const().bits),
            DType::I32 => token.parse().ok().map(|x: i32| x.to_const().bits),
            DType::I64 => token.parse().ok().map(|x: i64| x.to_const().bits),
            DType::Bool => token.parse().ok().map(|x: bool| x.to_const().bits),
        };
        bits.map_or_else(|| before.error(format!("a {dtype}")), |bits| Ok(Const { dtype, bits }))
    }

    /// An element type.
    ///
    /// # Errors
    /// If there is none.
    pub fn dtype(&mut self) -> Result<DType, ParseError> {
        let before = self.clone();
        let word = self.word()?;
        DType::from_name(word).map_or_else(|| before.error("an element type"), Ok)
    }

    /// A type, such as `f32[2,3]` or `stack f64[]`.
    ///
    /// # Errors
    /// If there is none.
    pub fn ty(&mut self) -> Result<Type, ParseError> {
        let mut stack = 0u8;
        while self.eat("stack") {
            let Some(deeper) = stack.checked_add(1) else { return self.error("fewer stacks") };
            stack = deeper;
        }
        let dtype = self.dtype()?;
        let shape: Shape = self.list("[", "]", Self::number)?.into();
        Ok(Type { stack, ..Type::new(dtype, shape) })
    }
}

/// A constant in text: the shortest decimal that reads back, but bits for NaN,
/// of which there are many.
pub(crate) struct Constant(pub Const);

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.dtype.is_float() && self.0.to_f64().is_nan() {
            write!(f, "nan{:x}", self.0.bits)
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// Items with commas between.
pub(crate) struct Commas<I>(pub I);

impl<I: Clone + IntoIterator<Item: fmt::Display>> fmt::Display for Commas<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, x) in self.0.clone().into_iter().enumerate() {
            write!(f, "{}{x}", if i > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}
