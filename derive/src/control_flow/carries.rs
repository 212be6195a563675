//! What a construct carries, and what it holds still.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Ident;

use super::Lower;
use super::names::Names;

/// The variables as one tree.
pub fn carry(span: Span, support: &TokenStream, names: &[Ident]) -> TokenStream {
    names.iter().rev().fold(quote_spanned!(span=> ()), |rest, name| {
        let text = name.to_string();
        let text = if text.starts_with("__left_") { "break" } else { &text };
        quote_spanned!(span=> #support::Carried { name: #text, value: #name, rest: #rest })
    })
}

/// The places that such a tree is assigned to.
pub fn places(span: Span, support: &TokenStream, names: &[Ident]) -> TokenStream {
    names.iter().rev().fold(
        quote_spanned!(span=> ()),
        |rest, name| quote_spanned!(span=> #support::Carried { value: #name, rest: #rest, .. }),
    )
}

/// Borrows variables while a construct is recorded, so that no method changes them there.
pub struct Hold {
    /// Its declaration.
    pub declare: TokenStream,
    /// Where the recording begins.
    pub take: TokenStream,
    /// Where it ends.
    pub release: TokenStream,
}

impl Lower {
    /// Borrows those of the variables that methods could change.
    pub(super) fn hold(&mut self, names: &Names, span: Span) -> Hold {
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
