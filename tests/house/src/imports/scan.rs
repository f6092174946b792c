//! Reads one parsed file into the tables of its target.
//!
//! The scan notes what each module binds, which paths the code mentions, and which child modules
//! are files of their own. Loading those files is for `walk`. Items under `#[cfg(test)]` and
//! `#[test]` are passed over.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ExprLit, Ident, Item, Lit, Meta, UseTree, Visibility};

use super::module::{Binding, Mention, Target};
use super::tokens::{self, Found};

/// A `mod name;` whose file is to be loaded.
pub(crate) struct Child {
    pub(crate) parent: usize,
    pub(crate) name: String,
    /// The inline modules between the file and the declaration.
    pub(crate) inside: Vec<String>,
    /// The `#[path]` that says where the file is.
    pub(crate) path: Option<String>,
}

/// Reads `file` as `module` of `target`. Returns the modules that are files of their own.
pub(crate) fn scan(target: &mut Target, module: usize, file: &syn::File) -> Vec<Child> {
    let mut scan = Scan { target, module, inside: Vec::new(), children: Vec::new() };
    scan.visit_file(file);
    scan.children
}

struct Scan<'a> {
    target: &'a mut Target,
    module: usize,
    inside: Vec<String>,
    children: Vec<Child>,
}

impl Scan<'_> {
    fn mention(&mut self, path: Vec<String>, line: usize, reexport: bool) {
        self.target.mentions.push(Mention { module: self.module, path, line, reexport });
    }

    fn string(&mut self, value: &str, line: usize) {
        if let Some(odd) = value.chars().find(|c| !c.is_ascii()) {
            let file = self.target.modules[self.module].file.clone();
            self.target.non_ascii.push((file, line, odd));
        }
    }

    fn tokens(&mut self, tokens: proc_macro2::TokenStream) {
        let mut found = Found::default();
        tokens::find(tokens, &mut found);
        for (path, line) in found.paths {
            self.mention(path, line, false);
        }
        for (value, line) in found.strings {
            self.string(&value, line);
        }
    }

    fn module(&mut self, item: &syn::ItemMod) {
        let name = item.ident.to_string();
        let Some((_, items)) = &item.content else {
            self.target.modules[self.module].declares_files = true;
            let (parent, inside) = (self.module, self.inside.clone());
            self.children.push(Child { parent, name, inside, path: path_of(&item.attrs) });
            return;
        };
        let file = self.target.modules[self.module].file.clone();
        let inner = self.target.add(&file, Some(self.module));
        self.target.bind(self.module, name.clone(), Binding::Module(inner));
        self.inside.push(name);
        let outer = std::mem::replace(&mut self.module, inner);
        items.iter().for_each(|item| self.visit_item(item));
        self.module = outer;
        self.inside.pop();
    }

    fn import(&mut self, tree: &UseTree, prefix: &[String], reexport: bool) {
        let line = tree.span().start().line;
        let with = |name: &Ident| {
            let name = Some(name.to_string()).filter(|name| prefix.is_empty() || name != "self");
            prefix.iter().cloned().chain(name).collect::<Vec<_>>()
        };
        let (path, name) = match tree {
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(tree, prefix, reexport));
            }
            UseTree::Path(path) => return self.import(&path.tree, &with(&path.ident), reexport),
            UseTree::Glob(_) => {
                self.target.modules[self.module].globs.push(prefix.to_vec());
                return self.mention(prefix.to_vec(), line, reexport);
            }
            UseTree::Name(name) => (with(&name.ident), None),
            UseTree::Rename(name) => (with(&name.ident), Some(name.rename.to_string())),
        };
        if let Some(name) = name.or_else(|| path.last().cloned()) {
            self.target.bind(self.module, name, Binding::Import(path.clone()));
        }
        self.mention(path, line, reexport);
    }
}

impl<'ast> Visit<'ast> for Scan<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attrs, name) = match item {
            Item::Const(i) => (&i.attrs, Some(&i.ident)),
            Item::Enum(i) => (&i.attrs, Some(&i.ident)),
            Item::Fn(i) => (&i.attrs, Some(&i.sig.ident)),
            Item::Impl(i) => (&i.attrs, None),
            Item::Macro(i) => (&i.attrs, i.ident.as_ref()),
            Item::Static(i) => (&i.attrs, Some(&i.ident)),
            Item::Struct(i) => (&i.attrs, Some(&i.ident)),
            Item::Trait(i) => (&i.attrs, Some(&i.ident)),
            Item::Type(i) => (&i.attrs, Some(&i.ident)),
            Item::Union(i) => (&i.attrs, Some(&i.ident)),
            Item::Mod(i) if is_test(&i.attrs) => return,
            Item::Mod(i) => return self.module(i),
            Item::Use(i) if is_test(&i.attrs) || i.leading_colon.is_some() => return,
            Item::Use(i) => {
                let reexport = !matches!(i.vis, Visibility::Inherited);
                return self.import(&i.tree, &[], reexport);
            }
            _ => return visit::visit_item(self, item),
        };
        if is_test(attrs) {
            return;
        }
        self.target.modules[self.module].holds_code = true;
        if let Some(name) = name {
            self.target.bind(self.module, name.to_string(), Binding::Item);
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.mention(names, path.span().start().line, false);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        match &attribute.meta {
            Meta::List(list) => self.tokens(list.tokens.clone()),
            Meta::NameValue(pair) if !pair.path.is_ident("doc") => self.visit_expr(&pair.value),
            _ => {}
        }
    }

    fn visit_lit_str(&mut self, string: &'ast syn::LitStr) {
        self.string(&string.value(), string.span().start().line);
    }

    // `pub(in path)` takes nothing from there.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

/// Whether an item is only built for tests: `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, …))]`.
fn is_test(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.segments.last().is_some_and(|last| last.ident == "test"),
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string().replace(' ', "");
            condition == "test" || condition.starts_with("all(test,")
        }
        _ => false,
    })
}

/// The value of `#[path = "…"]`.
fn path_of(attrs: &[Attribute]) -> Option<String> {
    attrs.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(path), .. }) => Some(path.value()),
            _ => None,
        },
        _ => None,
    })
}
