//! `for`.

use proc_macro2::Span;
use quote::{quote, quote_spanned};
use syn::visit_mut::VisitMut;
use syn::{Block, Expr, ExprForLoop, Ident, Label, Pat, RangeLimits, parse_quote_spanned};

use super::carries::{carry, places};
use super::repeat::start_flag;
use super::{Lower, is_mark, names};

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

impl Lower {
    /// A `for`.
    pub(super) fn for_loop(&mut self, e: &mut Expr) {
        let Expr::ForLoop(this) = e else { unreachable!("matched before") };
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
