//! Macros of Backstitch.
//!
//! `#[derive(Tree)]` on a struct that is generic over what stands at its leaves
//! makes it a tree of any leaf: a model written once is a tree of types while it
//! is described, of tensors while it is traced, of arrays when it is called, and
//! of gradients afterwards.
//!
//! `#[control_flow]` on a function lets its branches and loops decide by tensors.

use proc_macro::TokenStream;

mod control_flow;
mod tree;

/// Makes a struct with one type parameter a tree whose leaves are of that type.
///
/// ```ignore
/// #[derive(Tree, Clone)]
/// struct Linear<T> {
///     w: T,
///     b: T,
/// }
///
/// #[derive(Tree, Clone)]
/// struct Mlp<T> {
///     layers: Vec<Linear<T>>,
///     #[tree(skip)]
///     name: String,
/// }
/// ```
///
/// Implements `Tree`, `Signature`, and `Args` and `ArgsMut`, with which a struct of arrays is
/// an argument of a call. Each field is the leaf parameter, a tree of it, or
/// marked `#[tree(skip)]`: then it is cloned wherever the tree is mapped.
///
/// # Attributes
///
/// * `#[tree(skip)]` on a field: it holds no leaf.
/// * `#[tree(leaf = T)]` on the struct: which type parameter is the leaf, if there
///   are several.
/// * `#[tree(crate = path)]` on the struct: where the library is, if not at
///   `::backstitch`.
#[proc_macro_derive(Tree, attributes(tree))]
pub fn derive_tree(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    tree::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Lets `if`, `while`, `loop`, `for`, `break`, `continue` and early `return` decide by
/// tensors. What is decided by the host's values stays as it is; the types tell which is which.
///
/// `#[control_flow(crate = path)]` says where the library is, if not at `::backstitch`.
#[proc_macro_attribute]
pub fn control_flow(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut krate: syn::Path = syn::parse_quote!(::backstitch);
    let parser = syn::meta::parser(|meta| {
        if !meta.path.is_ident("crate") {
            return Err(meta.error("expected `crate = path`"));
        }
        krate = meta.value()?.call(syn::Path::parse_mod_style)?;
        Ok(())
    });
    syn::parse_macro_input!(options with parser);
    let function = syn::parse_macro_input!(item as syn::ItemFn);
    control_flow::expand(krate, function).unwrap_or_else(syn::Error::into_compile_error).into()
}
