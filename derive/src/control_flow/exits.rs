//! Early exits, brought to the ends of branches.
//!
//! A traced branch is recorded to its end, so an exit has to stand there. What follows an
//! `if` with an exit in it moves into its branches that go on:
//!
//! ```text
//! if a { break; }  rest          if a { break; } else { rest }
//! ```
//!
//! Then `return x` at an end of the function is its result `x`, `continue` at an end of a
//! loop's body is nothing, and `break` there sets a flag. For the host this is the same
//! program. Where a branch may go on or not, what follows is written twice.

use std::collections::HashSet;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Block, Error, Expr, ExprBreak, ExprIf, ExprReturn, Ident, Lifetime, Local, Result, Stmt,
    parse_quote,
};

use super::names::bound;

/// Where exits lead to.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    /// Out of the function.
    Function,
    /// Out of a loop with this label, or to its next step. `break` becomes an assignment
    /// of itself to the flag.
    Loop { label: Option<&'a Lifetime>, flag: &'a Ident },
}

enum Exit {
    Return(Option<Box<Expr>>),
    Break(Expr),
    Continue,
}

impl Target<'_> {
    fn names(&self, label: Option<&Lifetime>) -> bool {
        match (self, label) {
            (Self::Function, _) => false,
            (Self::Loop { .. }, None) => true,
            (Self::Loop { label: own, .. }, Some(label)) => *own == Some(label),
        }
    }

    /// The exit that a statement is.
    fn exit(&self, stmt: &Stmt) -> Option<Exit> {
        let Stmt::Expr(e, _) = stmt else { return None };
        match e {
            Expr::Return(ExprReturn { expr, .. }) if matches!(self, Self::Function) => {
                Some(Exit::Return(expr.clone()))
            }
            Expr::Break(ExprBreak { label, expr: None, .. }) if self.names(label.as_ref()) => {
                Some(Exit::Break(e.clone()))
            }
            Expr::Continue(e) if self.names(e.label.as_ref()) => Some(Exit::Continue),
            _ => None,
        }
    }

    /// Whether there is an exit at the end of a branch of this, or would be.
    fn may_exit(&self, e: &ExprIf) -> bool {
        self.in_block(&e.then_branch)
            || match e.else_branch.as_ref().map(|e| &*e.1) {
                Some(Expr::If(e)) => self.may_exit(e),
                Some(Expr::Block(e)) => self.in_block(&e.block),
                _ => false,
            }
    }

    fn in_block(&self, block: &Block) -> bool {
        block.stmts.iter().any(|stmt| {
            self.exit(stmt).is_some()
                || matches!(stmt, Stmt::Expr(Expr::If(e), _) if self.may_exit(e))
        })
    }

    /// Whether control never comes to the end of a block.
    fn diverges(&self, block: &Block) -> bool {
        block.stmts.iter().any(|stmt| match stmt {
            Stmt::Expr(Expr::Return(_) | Expr::Break(_) | Expr::Continue(_), _) => true,
            Stmt::Expr(Expr::If(e), _) => {
                self.diverges(&e.then_branch)
                    && match e.else_branch.as_ref().map(|e| &*e.1) {
                        Some(Expr::Block(e)) => self.diverges(&e.block),
                        Some(e @ Expr::If(_)) => self.diverges(&parse_quote!({ #e })),
                        _ => false,
                    }
            }
            Stmt::Macro(m) => diverging(&m.mac),
            Stmt::Expr(Expr::Macro(m), _) => diverging(&m.mac),
            _ => false,
        })
    }

    /// Whether there is an exit by a condition that may be traced.
    pub fn may_be_traced(&self, block: &Block) -> bool {
        block.stmts.iter().any(|stmt| matches!(stmt, Stmt::Expr(Expr::If(e), _) if self.by(e)))
    }

    fn by(&self, e: &ExprIf) -> bool {
        self.may_exit(e)
            && (!super::stays(e)
                || self.may_be_traced(&e.then_branch)
                || match e.else_branch.as_ref().map(|e| &*e.1) {
                    Some(Expr::If(e)) => self.by(e),
                    Some(Expr::Block(e)) => self.may_be_traced(&e.block),
                    _ => false,
                })
    }

    /// The block with all exits at its ends.
    pub fn normalise(&self, block: &mut Block) -> Result<()> {
        for i in 0..block.stmts.len() {
            if let Some(exit) = self.exit(&block.stmts[i]) {
                block.stmts.truncate(i);
                match (exit, self) {
                    (Exit::Return(Some(e)), _) => block.stmts.push(Stmt::Expr(*e, None)),
                    (Exit::Break(e), Self::Loop { flag, .. }) => {
                        block.stmts.push(parse_quote!(#flag = #e;));
                    }
                    _ => {}
                }
                return Ok(());
            }
            let Stmt::Expr(Expr::If(e), _) = &block.stmts[i] else { continue };
            let needed = self.by(e);
            if !self.may_exit(e) || (!needed && matches!(self, Self::Function)) {
                continue;
            }
            let mut moved = e.clone();
            match self.move_into(&mut moved, &block.stmts[i + 1..]) {
                // Exits of the host may stand anywhere.
                Err(_) if !needed => continue,
                result => result?,
            }
            block.stmts.truncate(i);
            block.stmts.push(Stmt::Expr(Expr::If(moved), None));
            return Ok(());
        }
        Ok(())
    }

    /// Moves what follows an `if` into it.
    fn move_into(&self, e: &mut ExprIf, rest: &[Stmt]) -> Result<()> {
        self.append(&mut e.then_branch, rest)?;
        match e.else_branch.as_mut().map(|e| &mut *e.1) {
            Some(Expr::If(e)) => self.move_into(e, rest),
            Some(Expr::Block(e)) => self.append(&mut e.block, rest),
            _ if rest.is_empty() => Ok(()),
            _ => {
                let mut block =
                    Block { brace_token: e.then_branch.brace_token, stmts: rest.to_vec() };
                self.normalise(&mut block)?;
                e.else_branch = Some((parse_quote!(else), parse_quote!(#block)));
                Ok(())
            }
        }
    }

    /// Moves what follows a branch behind its end.
    fn append(&self, block: &mut Block, rest: &[Stmt]) -> Result<()> {
        if rest.is_empty() || self.diverges(block) {
            return self.normalise(block);
        }
        if !self.in_block(block) {
            let inner = std::mem::replace(block, parse_quote!({}));
            block.stmts.push(Stmt::Expr(parse_quote!(#inner), Some(parse_quote!(;))));
        } else {
            if let Some(Stmt::Expr(_, semi @ None)) = block.stmts.last_mut() {
                *semi = Some(parse_quote!(;));
            }
            clash(block, rest)?;
        }
        block.stmts.extend_from_slice(rest);
        self.normalise(block)
    }
}

/// What moves into a branch must not meet another variable of the same name there.
fn clash(block: &Block, rest: &[Stmt]) -> Result<()> {
    let mut used = HashSet::new();
    rest.iter().for_each(|stmt| identifiers(stmt.to_token_stream(), &mut used));
    for stmt in &block.stmts {
        let Stmt::Local(Local { pat, .. }) = stmt else { continue };
        if let Some(name) = bound(pat).into_iter().find(|name| used.contains(&name.to_string())) {
            let message = format!(
                "`{name}` is declared in a branch that may be left early, and used after it: \
                 give one of the two another name"
            );
            return Err(Error::new(name.span(), message));
        }
    }
    Ok(())
}

fn identifiers(tokens: TokenStream, all: &mut HashSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(name) => {
                all.insert(name.to_string());
            }
            TokenTree::Group(group) => identifiers(group.stream(), all),
            _ => {}
        }
    }
}

fn diverging(mac: &syn::Macro) -> bool {
    ["panic", "unreachable", "todo", "unimplemented"].iter().any(|name| mac.path.is_ident(name))
}
