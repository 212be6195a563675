//! `if`, and conditions.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::visit_mut::VisitMut;
use syn::{BinOp, Block, Expr, ExprIf, Ident, UnOp, parse_quote_spanned};

use super::carries::{carry, places};
use super::{Lower, is_host, is_mark, names, stays};

impl Lower {
    /// An `if`; whether its value is the function's.
    pub(super) fn branch(&mut self, e: &mut Expr, tail: bool) {
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
    pub(super) fn condition(&mut self, e: &mut Expr) -> TokenStream {
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
}
