//! `while` and `loop`, and how loops are left.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::visit::Visit;
use syn::visit_mut::VisitMut;
use syn::{
    Block, Expr, ExprAssign, ExprBreak, ExprClosure, ExprLoop, ExprWhile, Ident, Item, Label,
    parse_quote, parse_quote_spanned,
};

use super::carries::{carry, places};
use super::exits::Target;
use super::names::{self, Names};
use super::{Frame, LoopTarget, Lower, is_host, is_mark};

/// A `while` or a `loop`.
struct While {
    label: Option<Label>,
    condition: Expr,
    body: Block,
    flag: Option<Ident>,
    span: Span,
}

impl Lower {
    /// A `while`.
    pub(super) fn while_loop(&mut self, e: &mut Expr) {
        let Expr::While(this) = e else { unreachable!("matched before") };
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

    /// A `loop`.
    pub(super) fn endless_loop(&mut self, e: &mut Expr) {
        let Expr::Loop(this) = e else { unreachable!("matched before") };
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

    /// What a loop is to those inside of it.
    pub(super) fn target(
        &mut self,
        label: Option<&Label>,
        span: Span,
        flag: Option<Ident>,
    ) -> LoopTarget {
        let is_used = label.is_some();
        let label = match label {
            Some(label) => label.name.clone(),
            None => self.label(span),
        };
        LoopTarget { label, is_loop: true, is_used, flag, guards: vec![] }
    }

    /// A loop that stays as it is.
    pub(super) fn plain_loop(&mut self, label: &mut Option<Label>, body: &mut Block, span: Span) {
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
    pub(super) fn prepare(
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
    pub(super) fn loop_body(
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
        let assigned = names::find(|names| names.visit_expr(&condition)).assigned;
        let assigns = assigned.iter().map(|name| self.demanded(&mode, "assigns", name.span()));
        let assigns: Vec<TokenStream> = assigns.collect();
        // A `break` in the condition is one of this loop.
        let target = self.target(label.as_ref(), span, flag.clone());
        let label = target.label.clone();
        let outer = LoopTarget { label, is_loop: true, is_used: true, flag: None, guards: vec![] };
        let frame = Frame { mode: Some(mode.clone()), demands: vec![], target: Some(outer) };
        let mut tokens = quote!();
        let before = self.within(frame, |s| tokens = s.condition(&mut condition));
        let frame = self.loop_body(target, &mode, &names, &mut body);
        let demands = before.demands.into_iter().chain(frame.demands).chain(assigns);
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

    /// A `break` at the end of a branch: a flag when traced, itself for the host.
    pub(super) fn set_flag(&mut self, e: &ExprAssign) -> Option<Expr> {
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

/// The flag of a loop before it begins.
pub fn start_flag(
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
