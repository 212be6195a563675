//! The expansion of `#[derive(Tree)]`.
//!
//! For `struct S<T> { a: T, b: Vec<T>, #[tree(skip)] c: C }` and any leaf `L` of
//! which `T` is a tree, `S<T>` is a tree of `L`, and mapping its leaves to `U`
//! gives `S<T::With<U>>`. The derived code names every trait in full, so that it
//! depends on no import.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::spanned::Spanned;
use syn::{
    Data, DeriveInput, Error, Field, Fields, GenericParam, Generics, Ident, Index, Member, Path,
    Result, parse_quote,
};

/// The attributes of the struct.
struct Options {
    leaf: Option<Ident>,
    krate: Path,
}

/// A field of the struct.
struct Part<'a> {
    member: Member,
    field: &'a Field,
    skip: bool,
}

/// The derived implementations.
pub fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(
            input.ident.span(),
            "`Tree` can be derived for structs only: the leaves of a tree do not depend on its value",
        ));
    };
    let options = options(input)?;
    let leaf = leaf_parameter(input, &options)?;
    let parts = parts(&data.fields)?;
    for part in &parts {
        check(part, &leaf)?;
    }
    let tree = tree_impl(input, &options.krate, &leaf, &parts);
    let args = args_impls(input, &options.krate, &leaf, &parts);
    Ok(quote!(#tree #args))
}

fn options(input: &DeriveInput) -> Result<Options> {
    let mut options = Options { leaf: None, krate: parse_quote!(::backstitch) };
    for attr in input.attrs.iter().filter(|a| a.path().is_ident("tree")) {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("leaf") {
                options.leaf = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("crate") {
                options.krate = meta.value()?.call(Path::parse_mod_style)?;
            } else {
                return Err(meta.error("expected `leaf = T` or `crate = path`"));
            }
            Ok(())
        })?;
    }
    Ok(options)
}

fn leaf_parameter(input: &DeriveInput, options: &Options) -> Result<Ident> {
    let types: Vec<_> = input.generics.type_params().collect();
    let found = match (&options.leaf, types.as_slice()) {
        (Some(leaf), _) => types.iter().find(|t| t.ident == *leaf).ok_or_else(|| {
            Error::new(leaf.span(), format!("`{leaf}` is no type parameter of this struct"))
        })?,
        (None, [one]) => one,
        (None, []) => {
            let message = "a tree is generic over what stands at its leaves: \
                           give the struct a type parameter, as in `struct Linear<T> { w: T, b: T }`";
            return Err(Error::new(input.ident.span(), message));
        }
        (None, _) => {
            let message = "which type parameter stands at the leaves? Say `#[tree(leaf = T)]`";
            return Err(Error::new(input.generics.span(), message));
        }
    };
    if let Some(bound) = found.bounds.first() {
        let message = format!(
            "the leaf parameter `{0}` takes every leaf type, so it can have no bounds; \
             put them on functions instead",
            found.ident
        );
        return Err(Error::new(bound.span(), message));
    }
    Ok(found.ident.clone())
}

fn parts(fields: &Fields) -> Result<Vec<Part<'_>>> {
    let mut all = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        let member = match &field.ident {
            Some(name) => Member::Named(name.clone()),
            None => Member::Unnamed(Index { index: i as u32, span: field.span() }),
        };
        let mut skip = false;
        for attr in field.attrs.iter().filter(|a| a.path().is_ident("tree")) {
            attr.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    skip = true;
                    return Ok(());
                }
                Err(meta.error("expected `skip`"))
            })?;
        }
        all.push(Part { member, field, skip });
    }
    Ok(all)
}

/// A field either holds leaves or is skipped.
fn check(part: &Part<'_>, leaf: &Ident) -> Result<()> {
    let holds = mentions(part.field.ty.to_token_stream(), leaf);
    let name = match &part.member {
        Member::Named(name) => name.to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    };
    let message = match (holds, part.skip) {
        (false, false) => format!("field `{name}` holds no leaf `{leaf}`: mark it `#[tree(skip)]`"),
        (true, true) => format!("field `{name}` holds leaves `{leaf}`, so it cannot be skipped"),
        _ => return Ok(()),
    };
    Err(Error::new(part.field.ty.span(), message))
}

fn mentions(tokens: TokenStream, name: &Ident) -> bool {
    tokens.into_iter().any(|t| match t {
        TokenTree::Ident(i) => i == *name,
        TokenTree::Group(g) => mentions(g.stream(), name),
        _ => false,
    })
}

/// The struct's generic arguments with the leaf parameter replaced.
fn arguments(generics: &Generics, leaf: &Ident, by: &TokenStream) -> TokenStream {
    let args = generics.params.iter().map(|p| match p {
        GenericParam::Type(t) if t.ident == *leaf => by.clone(),
        GenericParam::Type(t) => t.ident.to_token_stream(),
        GenericParam::Lifetime(l) => l.lifetime.to_token_stream(),
        GenericParam::Const(c) => c.ident.to_token_stream(),
    });
    quote!(<#(#args),*>)
}

fn tree_impl(input: &DeriveInput, krate: &Path, leaf: &Ident, parts: &[Part<'_>]) -> TokenStream {
    let name = &input.ident;
    let of = format_ident!("__L", span = Span::mixed_site());
    let (to, over) = (format_ident!("__U"), format_ident!("__V"));
    let support = quote!(#krate::derive_support);
    let tree = quote!(#support::Tree);

    let mut generics = input.generics.clone();
    generics.params.push(parse_quote!(#of: #support::Leaf));
    let held = || parts.iter().filter(|p| !p.skip);
    generics.make_where_clause().predicates.push(parse_quote!(#leaf: #tree<#of>));
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let (_, self_generics, _) = input.generics.split_for_impl();
    let with = arguments(&input.generics, leaf, &quote!(<#leaf as #tree<#of>>::With<#to>));
    let nest = arguments(&input.generics, leaf, &quote!(<#leaf as #tree<#of>>::Nest<#to, #over>));

    let build = |method: &TokenStream| {
        let fields = parts.iter().map(|p| {
            let member = &p.member;
            if p.skip {
                return quote!(#member: ::core::clone::Clone::clone(&self.#member));
            }
            let ty = &p.field.ty;
            quote!(#member: <#ty as #tree<#of>>::#method(&self.#member, f))
        });
        quote!(#name { #(#fields),* })
    };
    let mapped = build(&quote!(map_leaves));
    let nested = build(&quote!(nest_leaves));
    let visits = held().map(|p| {
        let (member, ty) = (&p.member, &p.field.ty);
        let label = match member {
            Member::Named(name) => name.to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        };
        quote!(path.enter(&#label, |path| <#ty as #tree<#of>>::visit(&self.#member, path, f));)
    });

    quote! {
        #[automatically_derived]
        impl #impl_generics #tree<#of> for #name #self_generics #where_clause {
            type With<#to: #support::Leaf> = #name #with;
            type Nest<#to: #support::Leaf, #over: #tree<#to>> = #name #nest;

            fn visit<'__a>(
                &'__a self,
                path: &mut #support::Path,
                f: &mut dyn ::core::ops::FnMut(&#support::Path, &'__a #of),
            ) where #of: '__a {
                #(#visits)*
            }

            fn map_leaves<#to: #support::Leaf>(
                &self,
                f: &mut dyn ::core::ops::FnMut(&#of) -> #to,
            ) -> Self::With<#to> {
                #mapped
            }

            fn nest_leaves<#to: #support::Leaf, #over: #tree<#to>>(
                &self,
                f: &mut dyn ::core::ops::FnMut(&#of) -> #over,
            ) -> Self::Nest<#to, #over> {
                #nested
            }
        }
    }
}

fn args_impls(input: &DeriveInput, krate: &Path, leaf: &Ident, parts: &[Part<'_>]) -> TokenStream {
    let name = &input.ident;
    let support = quote!(#krate::derive_support);
    let (_, self_generics, _) = input.generics.split_for_impl();
    let bounded = |bound: TokenStream| {
        let mut generics = input.generics.clone();
        generics.make_where_clause().predicates.push(parse_quote!(#leaf: #bound));
        generics
    };
    let held: Vec<_> = parts.iter().filter(|p| !p.skip).map(|p| &p.member).collect();

    let args = bounded(quote!(#support::Args));
    let (args_generics, _, args_where) = args.split_for_impl();
    let args_mut = bounded(quote!(#support::ArgsMut));
    let (mut_generics, _, mut_where) = args_mut.split_for_impl();
    let signed = bounded(quote!(#support::Signature));
    let (signed_generics, _, signed_where) = signed.split_for_impl();
    let specs = arguments(&input.generics, leaf, &quote!(<#leaf as #support::Signature>::Specs));
    let signatures = parts.iter().map(|p| {
        let member = &p.member;
        if p.skip {
            return quote!(#member: ::core::clone::Clone::clone(&self.#member));
        }
        quote!(#member: #support::Signature::signature(&self.#member))
    });
    quote! {
        #[automatically_derived]
        impl #signed_generics #support::Signature for #name #self_generics #signed_where {
            type Specs = #name #specs;

            fn signature(&self) -> Self::Specs {
                #name { #(#signatures),* }
            }
        }

        #[automatically_derived]
        impl #args_generics #support::Args for #name #self_generics #args_where {
            fn views<'__a>(&'__a self, f: &mut dyn ::core::ops::FnMut(#support::View<'__a>)) {
                #(#support::Args::views(&self.#held, f);)*
            }
        }

        #[automatically_derived]
        impl #mut_generics #support::ArgsMut for #name #self_generics #mut_where {
            fn views_mut<'__a>(
                &'__a mut self,
                f: &mut dyn ::core::ops::FnMut(#support::ViewMut<'__a>),
            ) {
                #(#support::ArgsMut::views_mut(&mut self.#held, f);)*
            }
        }
    }
}
