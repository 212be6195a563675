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
use syn::visit::Visit;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Arm, Attribute, BinOp, Block, Error, Expr, ExprAssign, ExprBreak, ExprClosure, ExprForLoop,
    ExprIf, ExprLoop, ExprWhile, Ident, Item, ItemFn, Label, Lifetime, Lit, Pat, PatLit, Path,
    RangeLimits, Result, Stmt, UnOp, parse_quote, parse_quote_spanned,
};

mod exits;
mod names;

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

    // ---- `if` ----

    fn branch(&mut self, e: &mut Expr, tail: bool) {
        let Expr::If(this) = e else { unreachable!("an `if`") };
        if stays(this) {
            this.attrs.retain(|a| !is_mark(a));
            self.visit_expr_mut(&mut this.cond);
            self.block(&mut this.then_branch, tail);
            match this.else_branch.as_mut().map(|e| &mut *e.1) {
                Some(e @ Expr::If(_)) => self.branch(e, tail),
                Some(Expr::Block(e)) => self.block(&mut e.block, tail),
                _ => {}
            }
            return;
        }
        let this = this.clone();
        *e = self.traced_if(this, tail);
    }

    fn block(&mut self, block: &mut Block, tail: bool) {
        if tail { self.tail(block) } else { self.visit_block_mut(block) }
    }

    fn traced_if(&mut self, mut this: ExprIf, tail: bool) -> Expr {
        let span = this.if_token.span;
        let names = names::find(|names| {
            names.visit_block(&this.then_branch);
            if let Some((_, e)) = &this.else_branch {
                names.visit_expr(e);
            }
        });
        let carried = &names.assigned;
        let mode = self.name("if", span);
        let (kept, half) = (self.name("kept", span), self.name("half", span));
        let (value, result) = (self.name("value", span), self.name("result", span));
        let hold = self.hold(&names, span);
        let (declare, take, release) = (&hold.declare, &hold.take, &hold.release);
        let label = self.label(span);
        // A break of the loop around makes this one of the conditions that the loop ends by.
        let mut seen = quote!();
        let support = self.support(span);
        let target = self.frames.iter().rposition(|f| f.target.as_ref().is_some_and(|t| t.is_loop));
        if let Some(at) = target
            && let Some(target) = &self.frames[at].target
            && target.flag.as_ref().is_some_and(|flag| carried.contains(flag))
        {
            let guard = self.name("guard", span);
            seen = quote_spanned!(span=> #support::see(&#guard, &#mode););
            let target = self.frames[at].target.as_mut().expect("found above");
            target.guards.push(guard);
        }

        let condition = self.condition(&mut this.cond);
        let frame = self.frame(&mode, &names, None);
        let then = &mut this.then_branch;
        let otherwise = this.else_branch.as_mut().map(|e| &mut *e.1);
        let mut els = quote!({});
        let frame = self.within(frame, |s| {
            s.block(then, tail);
            if let Some(e) = otherwise {
                match e {
                    Expr::If(_) => s.branch(e, tail),
                    Expr::Block(e) => s.block(&mut e.block, tail),
                    _ => {}
                }
                els = quote!(#e);
            }
        });
        let (demands, then) = (frame.demands, this.then_branch);
        let all = carry(span, &support, carried);
        let out = if tail { quote!(()) } else { all.clone() };
        let write = |from: &TokenStream| {
            let places = places(span, &support, carried);
            quote_spanned!(span=> #places = #from;)
        };
        let open = write(&quote_spanned!(span=> __again));
        let again = write(&quote_spanned!(span=>
            #support::Branch::again(#support::tracing(&#mode), &#kept)));
        let finish = if tail { quote!() } else { write(&quote_spanned!(span=> __out)) };
        parse_quote_spanned! {span=>
            #label: {
                let #mode = #support::decide(#condition);
                #seen
                #(#demands)*
                let #kept;
                #declare
                if #support::is_traced(&#mode) {
                    let __again;
                    (#kept, __again) =
                        #support::Branch::open(#support::tracing(&#mode), #all);
                    #open
                    #take
                } else {
                    #support::hosted(&#mode);
                }
                let #half;
                if #support::takes(&#mode) {
                    let #value = #then;
                    if #support::is_traced(&#mode) {
                        #half = #support::Branch::turn(
                            #support::tracing(&#mode), (#out, #value));
                        #again
                    } else {
                        #support::hosted(&#mode);
                        break #label #value;
                    }
                } else {
                    #support::hosted(&#mode);
                }
                let #result = #els;
                if #support::is_traced(&#mode) {
                    let (__out, __result) = #support::Branch::close(
                        #support::tracing(&#mode), #half, (#out, #result));
                    #finish
                    #release
                    break #label __result;
                } else {
                    #support::hosted(&#mode);
                    #result
                }
            }
        }
    }

    /// A condition, with `&&`, `||` and `!` of traced truth values.
    fn condition(&mut self, e: &mut Expr) -> TokenStream {
        match e {
            _ if is_host(e) => {}
            Expr::Paren(e) => return self.condition(&mut e.expr),
            Expr::Unary(e) if matches!(e.op, UnOp::Not(_)) => {
                let span = e.op.span();
                let of = self.condition(&mut e.expr);
                let support = self.support(span);
                return quote_spanned!(span=> #support::Opposite::opposite(#of));
            }
            Expr::Binary(e) if matches!(e.op, BinOp::And(_) | BinOp::Or(_)) => {
                let span = e.op.span();
                let is_and = matches!(e.op, BinOp::And(_));
                let method = Ident::new(if is_and { "and" } else { "or" }, span);
                let decisive = !is_and;
                let (left, right) = (self.condition(&mut e.left), self.condition(&mut e.right));
                let (l, r) = (self.name("left", span), self.name("right", span));
                let other = self.name("other", span);
                let support = self.support(span);
                return quote_spanned! {span=> {
                    let #l = #support::decide(#left);
                    let #other = #support::guard();
                    match #support::Both::short(&#l, &#other, #decisive) {
                        ::core::option::Option::Some(__truth) => __truth,
                        ::core::option::Option::None => {
                            let #r = #support::decide(#right);
                            #support::see(&#other, &#r);
                            #support::Both::#method(#l, #r)
                        }
                    }
                }};
            }
            _ => {}
        }
        self.visit_expr_mut(e);
        quote!(#e)
    }

    // ---- loops ----

    /// What a loop is to those inside of it.
    fn target(&mut self, label: Option<&Label>, span: Span, flag: Option<Ident>) -> LoopTarget {
        let is_used = label.is_some();
        let label = match label {
            Some(label) => label.name.clone(),
            None => self.label(span),
        };
        LoopTarget { label, is_loop: true, is_used, flag, guards: vec![] }
    }

    /// A loop that stays as it is.
    fn plain_loop(&mut self, label: &mut Option<Label>, body: &mut Block, span: Span) {
        let target = self.target(label.as_ref(), span, None);
        let frame = Frame { mode: None, demands: vec![], target: Some(target) };
        let frame = self.within(frame, |s| s.visit_block_mut(body));
        if let Some(target) = frame.target.filter(|t| t.is_used) {
            let name = target.label;
            *label = Some(parse_quote!(#name:));
        }
    }

    /// Brings the exits of a loop's body to its ends, if the loop may be traced or has exits
    /// that may be. The flag, if there are breaks.
    fn prepare(
        &mut self,
        label: Option<&Label>,
        body: &mut Block,
        span: Span,
        may_be_traced: bool,
    ) -> Option<Ident> {
        let flag = self.name("left", span);
        let target = Target::Loop { label: label.map(|l| &l.name), flag: &flag };
        if !may_be_traced && !target.may_be_traced(body) {
            return None;
        }
        if let Err(error) = target.normalise(body) {
            self.error.get_or_insert(error);
        }
        let is_set = names::find(|names| names.visit_block(body)).assigned.contains(&flag);
        is_set.then_some(flag)
    }

    /// The body of a loop that may be traced; the frame tells what was found in it.
    fn loop_body(
        &mut self,
        target: LoopTarget,
        mode: &Ident,
        names: &Names,
        body: &mut Block,
    ) -> Frame {
        let frame = self.frame(mode, names, Some(target));
        self.within(frame, |s| s.visit_block_mut(body))
    }

    fn traced_while(&mut self, parts: While) -> Expr {
        let While { label, condition, mut body, flag, span } = parts;
        let support = self.support(span);
        let names = names::find(|names| {
            names.visit_expr(&condition);
            names.visit_block(&body);
        });
        let carried = names.assigned_but(flag.as_ref());
        let hold = self.hold(&names, span);
        let (declare, take, release) = (&hold.declare, &hold.take, &hold.release);
        let mode = self.name("loop", span);
        let (test, kept) = (self.name("test", span), self.name("kept", span));
        let (by, guard) = (self.name("by", span), self.name("guard", span));
        let mut condition = condition;
        // A `break` in the condition is one of this loop.
        let target = self.target(label.as_ref(), span, None);
        let frame = Frame { mode: Some(mode.clone()), demands: vec![], target: Some(target) };
        let mut tokens = quote!();
        let before = self.within(frame, |s| tokens = s.condition(&mut condition));
        let target = self.target(label.as_ref(), span, flag.clone());
        let frame = self.loop_body(target, &mode, &names, &mut body);
        let demands = before.demands.into_iter().chain(frame.demands);
        let target = frame.target.expect("a loop");
        let (label, guards) = (target.label, target.guards);
        let all: Vec<Ident> = flag.iter().chain(&carried).cloned().collect();
        let (tree, place) = (carry(span, &support, &all), places(span, &support, &all));
        let start = start_flag(span, &support, &mode, flag.as_ref(), &carried);
        let tested = match &flag {
            Some(flag) => quote_spanned!(span=> #support::Tested::test_unless(
                #support::tracing(&#mode), &mut #test, #by, #flag, &#kept)),
            None => quote_spanned!(span=> #support::Tested::test(
                #support::tracing(&#mode), &mut #test, #by, &#kept)),
        };
        parse_quote_spanned! {span=> {
            #(let #guards = #support::guard();)*
            let #guard = #support::guard();
            let #mode = #support::loop_mode();
            let #mode = #support::and_by(#mode, &#guard);
            #(let #mode = #support::and_by(#mode, &#guards);)*
            #(#demands)*
            #start
            #label: loop {
                let mut #test;
                let #kept;
                #declare
                if #support::is_traced(&#mode) {
                    #take
                    let __inside;
                    (#test, #kept, __inside) =
                        #support::Repeat::begin(#support::tracing(&#mode), #tree);
                    #place = __inside;
                } else {
                    #support::hosted(&#mode);
                }
                let #by = #support::decide(#tokens);
                #support::see(&#guard, &#by);
                if #support::is_traced(&#mode) {
                    #place = #tested;
                } else {
                    #support::hosted(&#mode);
                    if !#support::takes(&#by) {
                        break #label;
                    }
                }
                #body
                if #support::is_traced(&#mode) {
                    #place = #support::Repeat::end(
                        #support::tracing(&#mode), #test, #kept, #tree);
                    #release
                    break #label;
                } else {
                    #support::hosted(&#mode);
                }
            }
        }}
    }

    fn traced_for(&mut self, parts: For) -> Expr {
        let For { label, pat, mut over, mut body, flag, span } = parts;
        let support = self.support(span);
        let names = names::find(|names| names.body_of(&pat, &body));
        let carried = names.assigned_but(flag.as_ref());
        let hold = self.hold(&names, span);
        let (declare, take, release) = (&hold.declare, &hold.take, &hold.release);
        let mode = self.name("loop", span);
        let target = self.target(label.as_ref(), span, flag.clone());
        let frame = self.loop_body(target, &mode, &names, &mut body);
        let demands = frame.demands;
        let target = frame.target.expect("a loop");
        let (label, guards) = (target.label, target.guards);
        let all: Vec<Ident> = flag.iter().chain(&carried).cloned().collect();
        let (tree, place) = (carry(span, &support, &all), places(span, &support, &all));
        let start = start_flag(span, &support, &mode, flag.as_ref(), &carried);
        let step = self.name("step", span);
        let (mut open, mut close) = (quote!(), quote!());
        if let Some(flag) = &flag {
            open = quote_spanned! {span=>
                if #support::is_traced(&#mode) {
                    let __inside;
                    (#step, __inside) = #support::Repeat::open_unless(
                        #support::tracing(&#mode), &#flag, #tree);
                    #place = __inside;
                    #take
                } else {
                    #support::hosted(&#mode);
                }
            };
            close = quote_spanned! {span=>
                if #support::is_traced(&#mode) {
                    #place = #support::Repeat::close_unless(
                        #support::tracing(&#mode), #step, #tree);
                    #release
                } else {
                    #support::hosted(&#mode);
                }
            };
        }
        let declared = flag.is_some().then(|| quote_spanned!(span=> let #step;));
        let declare_mode = quote_spanned! {span=>
            #(let #guards = #support::guard();)*
            let #mode = #support::loop_mode();
            #(let #mode = #support::and_by(#mode, &#guards);)*
        };
        let Some((first, end)) = range(&over) else {
            self.visit_expr_mut(&mut over);
            return parse_quote_spanned! {span=> {
                #declare_mode
                #(#demands)*
                #start
                #label: for #pat in #over {
                    #declared
                    #declare
                    #open
                    #body
                    #close
                }
            }};
        };
        let (mut first, mut end) = (first.clone(), end.clone());
        let is_literal = matches!(first, Expr::Lit(_));
        self.visit_expr_mut(&mut first);
        self.visit_expr_mut(&mut end);
        let range = self.name("range", span);
        let made = if is_literal {
            quote_spanned!(span=> #support::range_to(#end, #first))
        } else {
            quote_spanned!(span=> #support::range(#first, #end))
        };
        let (steps, value) = (self.name("steps", span), self.name("value", span));
        let (begun, kept) = (self.name("begun", span), self.name("kept", span));
        let begin = Ident::new(if flag.is_some() { "begin_unless" } else { "begin" }, span);
        parse_quote_spanned! {span=> {
            let #range = #made;
            #declare_mode
            let #mode = #support::and_range(#mode, &#range);
            #(#demands)*
            #start
            let mut #steps = #support::steps(&#range);
            #label: loop {
                let #value;
                let #begun;
                let #kept;
                #declared
                #declare
                if #support::is_traced(&#range) {
                    #take
                    let __inside;
                    (#begun, #kept, __inside) =
                        #support::Count::#begin(#support::tracing(&#range), #tree);
                    #place = __inside;
                    #value = #support::Variable::variable(&#begun);
                } else {
                    #support::hosted(&#range);
                    match ::core::iter::Iterator::next(&mut #steps) {
                        ::core::option::Option::Some(__next) => #value = __next,
                        ::core::option::Option::None => break #label,
                    }
                    #open
                }
                let #pat = #value;
                #body
                if #support::is_traced(&#range) {
                    #place = #support::Count::end(
                        #support::tracing(&#range), #begun, #kept, #tree);
                    #release
                    break #label;
                } else {
                    #support::hosted(&#range);
                    #close
                }
            }
        }}
    }
}

/// Borrows variables while a construct is recorded, so that no method changes them there.
struct Hold {
    declare: TokenStream,
    take: TokenStream,
    release: TokenStream,
}

impl Lower {
    fn hold(&mut self, names: &Names, span: Span) -> Hold {
        let (name, support) = (self.name("held", span), self.support(span));
        let held: Vec<&Ident> = names.held(&self.mutable).collect();
        if held.is_empty() {
            return Hold { declare: quote!(), take: quote!(), release: quote!() };
        }
        let tuple = held
            .iter()
            .rev()
            .fold(quote_spanned!(span=> ()), |rest, name| quote_spanned!(span=> (&#name, #rest)));
        Hold {
            declare: quote_spanned!(span=> let #name;),
            take: quote_spanned!(span=> #name = #tuple;),
            release: quote_spanned!(span=> #support::release(#name);),
        }
    }
}

/// A `while` or a `loop`.
struct While {
    label: Option<Label>,
    condition: Expr,
    body: Block,
    flag: Option<Ident>,
    span: Span,
}

/// A `for`.
struct For {
    label: Option<Label>,
    pat: Pat,
    over: Expr,
    body: Block,
    flag: Option<Ident>,
    span: Span,
}

/// The ends of a half-open range, unless both are literals.
fn range(e: &Expr) -> Option<(&Expr, &Expr)> {
    match e {
        Expr::Paren(e) => range(&e.expr),
        Expr::Range(e) => match (&e.start, &e.limits, &e.end) {
            (Some(a), RangeLimits::HalfOpen(_), Some(b))
                if !(matches!(**a, Expr::Lit(_)) && matches!(**b, Expr::Lit(_))) =>
            {
                Some((a, b))
            }
            _ => None,
        },
        _ => None,
    }
}

/// The flag of a loop before it begins.
fn start_flag(
    span: Span,
    support: &TokenStream,
    mode: &Ident,
    flag: Option<&Ident>,
    carried: &[Ident],
) -> TokenStream {
    let Some(flag) = flag else { return quote!() };
    let (tree, place) = (carry(span, support, carried), places(span, support, carried));
    quote_spanned! {span=>
        let mut #flag;
        if #support::is_traced(&#mode) {
            let __inside;
            (#flag, __inside) = #support::Repeat::flag(#support::tracing(&#mode), #tree);
            #place = __inside;
        } else {
            #support::hosted(&#mode);
        }
    }
}

/// Whether a loop is left with a value.
fn gives_value(body: &Block) -> bool {
    struct Values(bool);
    impl Visit<'_> for Values {
        fn visit_expr_break(&mut self, e: &ExprBreak) {
            self.0 |= e.expr.is_some();
        }
        fn visit_expr_closure(&mut self, _: &ExprClosure) {}
        fn visit_item(&mut self, _: &Item) {}
    }
    let mut values = Values(false);
    values.visit_block(body);
    values.0
}

impl VisitMut for Lower {
    fn visit_item_mut(&mut self, _: &mut Item) {}

    fn visit_expr_mut(&mut self, e: &mut Expr) {
        match e {
            Expr::If(_) => self.branch(e, false),
            Expr::While(this) => {
                let span = this.while_token.span;
                let stays = is_host(&this.cond) || this.attrs.iter().any(is_mark);
                this.attrs.retain(|a| !is_mark(a));
                let flag = self.prepare(this.label.as_ref(), &mut this.body, span, !stays);
                if stays && flag.is_none() {
                    self.visit_expr_mut(&mut this.cond);
                    return self.plain_loop(&mut this.label, &mut this.body, span);
                }
                let ExprWhile { label, cond, body, .. } = this.clone();
                *e = self.traced_while(While { label, condition: *cond, body, flag, span });
            }
            Expr::Loop(this) => {
                let span = this.loop_token.span;
                let mut flag = None;
                if !gives_value(&this.body) && !this.attrs.iter().any(is_mark) {
                    flag = self.prepare(this.label.as_ref(), &mut this.body, span, false);
                }
                this.attrs.retain(|a| !is_mark(a));
                if flag.is_none() {
                    return self.plain_loop(&mut this.label, &mut this.body, span);
                }
                let ExprLoop { label, body, .. } = this.clone();
                let condition = parse_quote_spanned!(span=> true);
                *e = self.traced_while(While { label, condition, body, flag, span });
            }
            Expr::ForLoop(this) => {
                let span = this.for_token.span;
                let marked = this.attrs.iter().any(is_mark);
                this.attrs.retain(|a| !is_mark(a));
                let ranged = !marked && range(&this.expr).is_some();
                let flag = self.prepare(this.label.as_ref(), &mut this.body, span, ranged);
                if flag.is_none() && !ranged {
                    self.visit_expr_mut(&mut this.expr);
                    return self.plain_loop(&mut this.label, &mut this.body, span);
                }
                let ExprForLoop { label, pat, expr, body, .. } = this.clone();
                *e = self.traced_for(For { label, pat: *pat, over: *expr, body, flag, span });
            }
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

impl Lower {
    /// A `break` at the end of a branch: a flag when traced, itself for the host.
    fn set_flag(&mut self, e: &ExprAssign) -> Option<Expr> {
        let Expr::Break(leave) = &*e.right else { return None };
        let span = leave.break_token.span;
        let flag = names::root(&e.left)?.clone();
        let support = self.support(span);
        let frame = self
            .frames
            .iter_mut()
            .rev()
            .find(|f| f.target.as_ref().is_some_and(|t| t.flag.as_ref() == Some(&flag)))?;
        let mode = frame.mode.clone()?;
        let target = frame.target.as_mut()?;
        target.is_used = true;
        let label = &target.label;
        Some(parse_quote_spanned! {span=>
            if #support::is_traced(&#mode) {
                #support::tracing(&#mode);
                #flag = #support::set(#flag);
            } else {
                #support::hosted(&#mode);
                break #label;
            }
        })
    }
}

fn respan(tokens: TokenStream, span: Span) -> TokenStream {
    let respan = |mut token: TokenTree| {
        token.set_span(span);
        token
    };
    tokens.into_iter().map(respan).collect()
}

/// The variables as one tree.
fn carry(span: Span, support: &TokenStream, names: &[Ident]) -> TokenStream {
    names.iter().rev().fold(quote_spanned!(span=> ()), |rest, name| {
        let text = name.to_string();
        let text = if text.starts_with("__left_") { "break" } else { &text };
        quote_spanned!(span=> #support::Carried { name: #text, value: #name, rest: #rest })
    })
}

/// The places that such a tree is assigned to.
fn places(span: Span, support: &TokenStream, names: &[Ident]) -> TokenStream {
    names.iter().rev().fold(
        quote_spanned!(span=> ()),
        |rest, name| quote_spanned!(span=> #support::Carried { value: #name, rest: #rest, .. }),
    )
}
