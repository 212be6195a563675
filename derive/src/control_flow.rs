//! The expansion of `#[control_flow]`.
//!
//! Each construct becomes one text that is right for the host and for tracing; the types of
//! the conditions choose, see `control_support` of the trace crate. Conditions that can only
//! be the host's (comparisons by operators, `let`, literals, those marked `#[host]`) leave
//! their construct as it is.

use std::collections::HashSet;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Arm, Attribute, BinOp, Block, Error, Expr, ExprIf, Ident, Item, ItemFn, Lifetime, Lit, Pat,
    PatLit, Path, Result, Stmt, UnOp, parse_quote_spanned,
};

mod branch;
mod carries;
mod count;
mod exits;
mod names;
mod repeat;

use exits::Target;
use names::Names;

/// The function, rewritten.
pub fn expand(krate: Path, mut function: ItemFn) -> Result<TokenStream> {
    if let Some(token) = &function.sig.asyncness {
        let message = "`#[control_flow]` takes no `async fn`: tracing is done at once; \
                       write a plain function and call it from the `async` one";
        return Err(Error::new(token.span(), message));
    }
    if let Some(token) = &function.sig.constness {
        return Err(Error::new(token.span(), "`#[control_flow]` takes no `const fn`"));
    }
    let mutable = names::mutable(&function);
    let mut lower = Lower { krate, mutable, frames: Vec::new(), made: 0, error: None };
    lower.function(&mut function.block);
    match lower.error {
        Some(error) => Err(error),
        None => Ok(quote! {
            #[allow(unreachable_code, unused_assignments, clippy::diverging_sub_expression)]
            #function
        }),
    }
}

/// A construct around what is being rewritten.
struct Frame {
    /// The variable that holds its mode; none of what is the host's for certain.
    mode: Option<Ident>,
    /// What has to be so for its body to be right.
    demands: Vec<TokenStream>,
    target: Option<LoopTarget>,
}

/// A loop or a labelled block, to be left by `break`.
struct LoopTarget {
    label: Lifetime,
    is_loop: bool,
    is_used: bool,
    /// The flag and the conditions of traced breaks.
    flag: Option<Ident>,
    guards: Vec<Ident>,
}

struct Lower {
    krate: Path,
    mutable: HashSet<String>,
    frames: Vec<Frame>,
    made: usize,
    error: Option<Error>,
}

/// Whether a condition can only be a `bool`.
fn is_host(e: &Expr) -> bool {
    match e {
        Expr::Lit(_) | Expr::Let(_) | Expr::Macro(_) => true,
        Expr::Paren(e) => is_host(&e.expr),
        Expr::Group(e) => is_host(&e.expr),
        Expr::Unary(e) => matches!(e.op, UnOp::Not(_)) && is_host(&e.expr),
        Expr::Binary(e) => match e.op {
            BinOp::Lt(_)
            | BinOp::Le(_)
            | BinOp::Gt(_)
            | BinOp::Ge(_)
            | BinOp::Eq(_)
            | BinOp::Ne(_) => true,
            // A chain with `let` in it is no expression that could be taken apart.
            BinOp::And(_) | BinOp::Or(_) => {
                has_let(&e.left) || has_let(&e.right) || (is_host(&e.left) && is_host(&e.right))
            }
            _ => false,
        },
        _ => false,
    }
}

fn has_let(e: &Expr) -> bool {
    match e {
        Expr::Let(_) => true,
        Expr::Binary(e) => has_let(&e.left) || has_let(&e.right),
        _ => false,
    }
}

fn is_mark(attr: &Attribute) -> bool {
    attr.path().is_ident("host")
}

/// Whether an `if` is the host's for certain.
fn stays(e: &ExprIf) -> bool {
    e.attrs.iter().any(is_mark) || is_host(&e.cond)
}

impl Lower {
    // ---- names ----

    /// A name that no other has. Other tokens have the span of the user's keyword itself, so
    /// that what they call is called from the user's line.
    fn name(&mut self, base: &str, span: Span) -> Ident {
        self.made += 1;
        format_ident!("__{}_{}", base, self.made, span = Span::mixed_site().located_at(span))
    }

    fn label(&mut self, span: Span) -> Lifetime {
        self.made += 1;
        Lifetime::new(&format!("'__l{}", self.made), Span::mixed_site().located_at(span))
    }

    /// The support module, as if its path stood there.
    fn support(&self, span: Span) -> TokenStream {
        let krate = respan(self.krate.to_token_stream(), span);
        quote_spanned!(span=> #krate::control_support)
    }

    // ---- functions ----

    fn function(&mut self, block: &mut Block) {
        if let Err(error) = Target::Function.normalise(block) {
            self.error.get_or_insert(error);
        }
        self.tail(block);
    }

    /// A block whose value is the function's.
    fn tail(&mut self, block: &mut Block) {
        let last = block.stmts.len().wrapping_sub(1);
        for (i, stmt) in block.stmts.iter_mut().enumerate() {
            match stmt {
                Stmt::Expr(e @ Expr::If(_), None) if i == last => self.branch(e, true),
                _ => self.visit_stmt_mut(stmt),
            }
        }
    }

    // ---- frames ----

    /// Runs `f` inside of a construct; gives what the construct's body has to begin with.
    fn within(&mut self, frame: Frame, f: impl FnOnce(&mut Self)) -> Frame {
        self.frames.push(frame);
        f(self);
        self.frames.pop().expect("pushed above")
    }

    /// Something that leaves all constructs from this one on inwards: all have to be the host's.
    fn demand(&mut self, from: usize, what: &str, span: Span) {
        for at in from..self.frames.len() {
            if let Some(mode) = self.frames[at].mode.clone() {
                let demand = self.demanded(&mode, what, span);
                self.frames[at].demands.push(demand);
            }
        }
    }

    fn demanded(&self, mode: &Ident, what: &str, span: Span) -> TokenStream {
        let (support, function) = (self.support(span), Ident::new(what, span));
        // A name of the user's position alone, for it is what the message points to.
        quote_spanned!(span=> { let __here = &#mode; #support::#function(__here); })
    }

    /// A frame for a construct in which these are assigned.
    fn frame(&self, mode: &Ident, names: &Names, target: Option<LoopTarget>) -> Frame {
        let through = names.through.iter();
        let demands = through.map(|name| self.demanded(mode, "writes", name.span())).collect();
        Frame { mode: Some(mode.clone()), demands, target }
    }

    /// The `break` or `continue` of the host, with its label.
    fn leave(&mut self, label: &mut Option<Lifetime>, span: Span) {
        let found = self.frames.iter().rposition(|f| match (&f.target, &*label) {
            (Some(target), None) => target.is_loop,
            (Some(target), Some(label)) => target.label == *label,
            (None, _) => false,
        });
        let Some(at) = found else { return };
        self.demand(at, "breaks", span);
        if let Some(target) = &mut self.frames[at].target {
            target.is_used = true;
            *label = Some(target.label.clone());
        }
    }
}

impl VisitMut for Lower {
    fn visit_item_mut(&mut self, _: &mut Item) {}

    fn visit_expr_mut(&mut self, e: &mut Expr) {
        match e {
            Expr::If(_) => self.branch(e, false),
            Expr::While(_) => self.while_loop(e),
            Expr::Loop(_) => self.endless_loop(e),
            Expr::ForLoop(_) => self.for_loop(e),
            Expr::Closure(this) => {
                // Its returns are its own.
                let frames = std::mem::take(&mut self.frames);
                match &mut *this.body {
                    Expr::Block(body) => self.function(&mut body.block),
                    body => self.visit_expr_mut(body),
                }
                self.frames = frames;
            }
            Expr::Match(this) => {
                visit_mut::visit_expr_match_mut(self, this);
                let truth =
                    |arm: &Arm| matches!(&arm.pat, Pat::Lit(PatLit { lit: Lit::Bool(_), .. }));
                if this.arms.iter().any(truth) {
                    let (of, span) = (&this.expr, this.match_token.span);
                    let support = self.support(span);
                    *this.expr = parse_quote_spanned!(span=> #support::matched(#of));
                }
            }
            Expr::Async(_) | Expr::Const(_) => {}
            Expr::Block(this) if this.label.is_some() => {
                let label = this.label.as_ref().expect("it has one").name.clone();
                let target =
                    LoopTarget { label, is_loop: false, is_used: true, flag: None, guards: vec![] };
                let frame = Frame { mode: None, demands: vec![], target: Some(target) };
                self.within(frame, |s| s.visit_block_mut(&mut this.block));
            }
            Expr::Return(this) => {
                self.demand(0, "returns", this.return_token.span);
                visit_mut::visit_expr_return_mut(self, this);
            }
            Expr::Try(this) => {
                self.demand(0, "questions", this.question_token.span());
                visit_mut::visit_expr_try_mut(self, this);
            }
            Expr::Break(this) => {
                self.leave(&mut this.label, this.break_token.span);
                visit_mut::visit_expr_break_mut(self, this);
            }
            Expr::Continue(this) => self.leave(&mut this.label, this.continue_token.span),
            Expr::Assign(this) if matches!(*this.right, Expr::Break(_)) => {
                if let Some(set) = self.set_flag(this) {
                    *e = set;
                }
            }
            Expr::Binary(this) if matches!(this.op, BinOp::And(_) | BinOp::Or(_)) => {
                if is_host(e) {
                    return visit_mut::visit_expr_mut(self, e);
                }
                *e = Expr::Verbatim(self.condition(e));
            }
            _ => visit_mut::visit_expr_mut(self, e),
        }
    }
}

fn respan(tokens: TokenStream, span: Span) -> TokenStream {
    let respan = |mut token: TokenTree| {
        token.set_span(span);
        token
    };
    tokens.into_iter().map(respan).collect()
}
