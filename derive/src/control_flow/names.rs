//! Which variables a construct assigns that are declared outside of it.
//!
//! Blocks, closures, arms and loops have scopes; what is declared in one and assigned there is
//! nobody else's. A variable whose mutable reference is taken counts as assigned.

use std::collections::HashSet;

use syn::visit::{self, Visit};
use syn::{
    Arm, Block, Expr, ExprAssign, ExprAsync, ExprBinary, ExprClosure, ExprForLoop, ExprIf, ExprLet,
    ExprMethodCall, ExprReference, ExprWhile, Ident, Item, ItemFn, Local, Pat, PatIdent, PatType,
    Type, UnOp,
};

/// The variables that are assigned in what is visited.
pub fn find(visit: impl FnOnce(&mut Names)) -> Names {
    let mut names = Names::default();
    names.scopes.push(HashSet::new());
    visit(&mut names);
    names
}

/// The names that a pattern binds.
pub fn bound(pat: &Pat) -> Vec<Ident> {
    struct Bound(Vec<Ident>);
    impl Visit<'_> for Bound {
        fn visit_pat_ident(&mut self, pat: &PatIdent) {
            self.0.push(pat.ident.clone());
            visit::visit_pat_ident(self, pat);
        }
    }
    let mut names = Bound(Vec::new());
    names.visit_pat(pat);
    names.0
}

/// The names that can be changed anywhere in a function: those bound by `mut`, and arguments
/// that are `&mut`.
pub fn mutable(function: &ItemFn) -> HashSet<String> {
    struct Mutable(HashSet<String>);
    impl Visit<'_> for Mutable {
        fn visit_pat_ident(&mut self, pat: &PatIdent) {
            if pat.mutability.is_some() {
                self.0.insert(pat.ident.to_string());
            }
            visit::visit_pat_ident(self, pat);
        }
        fn visit_pat_type(&mut self, pat: &PatType) {
            if matches!(&*pat.ty, Type::Reference(ty) if ty.mutability.is_some()) {
                self.0.extend(bound(&pat.pat).iter().map(Ident::to_string));
            }
            visit::visit_pat_type(self, pat);
        }
    }
    let mut names = Mutable(HashSet::new());
    names.visit_item_fn(function);
    names.0
}

/// The variable whose place this expression is or lies in; `None` if that is behind a
/// reference or no variable's.
pub fn root(e: &Expr) -> Option<&Ident> {
    match e {
        Expr::Path(path) if path.qself.is_none() => path.path.get_ident(),
        Expr::Field(e) => root(&e.base),
        Expr::Index(e) => root(&e.expr),
        Expr::Paren(e) => root(&e.expr),
        Expr::Group(e) => root(&e.expr),
        _ => None,
    }
}

/// The variable behind whose reference this place is.
fn behind(e: &Expr) -> Option<&Ident> {
    match e {
        Expr::Unary(e) if matches!(e.op, UnOp::Deref(_)) => root(&e.expr).or(behind(&e.expr)),
        Expr::Field(e) => behind(&e.base),
        Expr::Index(e) => behind(&e.expr),
        Expr::Paren(e) => behind(&e.expr),
        Expr::Group(e) => behind(&e.expr),
        _ => None,
    }
}

/// Finds them.
#[derive(Default)]
pub struct Names {
    scopes: Vec<HashSet<String>>,
    /// In the order of their first assignment.
    pub assigned: Vec<Ident>,
    /// References through which is assigned.
    pub through: Vec<Ident>,
    /// Variables of which methods are called.
    receivers: Vec<Ident>,
}

impl Names {
    fn scope(&mut self, f: impl FnOnce(&mut Self)) {
        self.scopes.push(HashSet::new());
        f(self);
        self.scopes.pop();
    }

    /// Goes over the body of a `for` with this pattern.
    pub fn body_of(&mut self, pat: &Pat, body: &Block) {
        self.scope(|s| {
            s.bind(pat);
            s.visit_block(body);
        });
    }

    fn bind(&mut self, pat: &Pat) {
        let scope = self.scopes.last_mut().expect("one scope is open");
        scope.extend(bound(pat).iter().map(Ident::to_string));
    }

    /// The variables that are assigned, without that one.
    pub fn assigned_but(&self, flag: Option<&Ident>) -> Vec<Ident> {
        self.assigned.iter().filter(|&name| Some(name) != flag).cloned().collect()
    }

    /// Those of the variables `mutable` that methods are called of and that are not assigned:
    /// if the methods change them, that is lost.
    pub fn held<'a>(&'a self, mutable: &'a HashSet<String>) -> impl Iterator<Item = &'a Ident> {
        let held =
            |name: &&Ident| mutable.contains(&name.to_string()) && !self.assigned.contains(name);
        self.receivers.iter().filter(held)
    }

    fn is_outer(&self, name: &Ident) -> bool {
        let text = name.to_string();
        !self.scopes.iter().any(|s| s.contains(&text))
    }

    fn target(&mut self, e: &Expr) {
        match e {
            Expr::Tuple(e) => e.elems.iter().for_each(|e| self.target(e)),
            Expr::Array(e) => e.elems.iter().for_each(|e| self.target(e)),
            Expr::Call(e) => e.args.iter().for_each(|e| self.target(e)),
            Expr::Struct(e) => e.fields.iter().for_each(|f| self.target(&f.expr)),
            _ => {
                if !matches!(e, Expr::Path(_)) {
                    self.visit_expr(e);
                }
                if let Some(name) = root(e) {
                    if self.is_outer(name) && !self.assigned.contains(name) {
                        self.assigned.push(name.clone());
                    }
                } else if let Some(name) = behind(e).filter(|name| self.is_outer(name)) {
                    self.through.push(name.clone());
                }
            }
        }
    }
}

impl Visit<'_> for Names {
    fn visit_block(&mut self, block: &Block) {
        self.scope(|s| visit::visit_block(s, block));
    }

    fn visit_local(&mut self, local: &Local) {
        if let Some(init) = &local.init {
            self.visit_local_init(init);
        }
        self.bind(&local.pat);
    }

    fn visit_expr_let(&mut self, e: &ExprLet) {
        self.visit_expr(&e.expr);
        self.bind(&e.pat);
    }

    fn visit_expr_if(&mut self, e: &ExprIf) {
        self.scope(|s| {
            s.visit_expr(&e.cond);
            s.visit_block(&e.then_branch);
        });
        if let Some((_, e)) = &e.else_branch {
            self.visit_expr(e);
        }
    }

    fn visit_expr_while(&mut self, e: &ExprWhile) {
        self.scope(|s| {
            s.visit_expr(&e.cond);
            s.visit_block(&e.body);
        });
    }

    fn visit_expr_for_loop(&mut self, e: &ExprForLoop) {
        self.visit_expr(&e.expr);
        self.body_of(&e.pat, &e.body);
    }

    fn visit_expr_closure(&mut self, e: &ExprClosure) {
        self.scope(|s| {
            e.inputs.iter().for_each(|pat| s.bind(pat));
            s.visit_expr(&e.body);
        });
    }

    fn visit_arm(&mut self, arm: &Arm) {
        self.scope(|s| {
            s.bind(&arm.pat);
            visit::visit_arm(s, arm);
        });
    }

    fn visit_expr_assign(&mut self, e: &ExprAssign) {
        self.visit_expr(&e.right);
        self.target(&e.left);
    }

    fn visit_expr_binary(&mut self, e: &ExprBinary) {
        self.visit_expr(&e.right);
        use syn::BinOp::*;
        match e.op {
            AddAssign(_) | SubAssign(_) | MulAssign(_) | DivAssign(_) | RemAssign(_)
            | BitXorAssign(_) | BitAndAssign(_) | BitOrAssign(_) | ShlAssign(_) | ShrAssign(_) => {
                self.target(&e.left)
            }
            _ => self.visit_expr(&e.left),
        }
    }

    fn visit_expr_reference(&mut self, e: &ExprReference) {
        match e.mutability {
            Some(_) => self.target(&e.expr),
            None => self.visit_expr(&e.expr),
        }
    }

    fn visit_expr_method_call(&mut self, e: &ExprMethodCall) {
        visit::visit_expr_method_call(self, e);
        if let Some(name) = root(&e.receiver)
            && self.is_outer(name)
            && !self.receivers.contains(name)
        {
            self.receivers.push(name.clone());
        }
    }

    fn visit_expr_async(&mut self, _: &ExprAsync) {}

    fn visit_item(&mut self, _: &Item) {}
}
