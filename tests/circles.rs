//! No more than two files of a room import each other in a circle.
//!
//! An import counts for the file that defines the item: a `mod.rs` that only re-exports is looked through.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::{self, Visit};

/// A module's path below the crate: `["pool", "health"]`.
type ModulePath = Vec<String>;

/// The paths that one file mentions: `use` declarations with whether they re-export, and paths in code.
#[derive(Default)]
struct MentionedPaths {
    imports: Vec<(bool, ModulePath)>,
}

impl MentionedPaths {
    fn add_tree(&mut self, tree: &syn::UseTree, before: &[String], is_public: bool) {
        let with = |ident: &syn::Ident| {
            let mut path = before.to_vec();
            path.push(ident.to_string());
            path
        };
        match tree {
            syn::UseTree::Path(next) => self.add_tree(&next.tree, &with(&next.ident), is_public),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_tree(tree, before, is_public));
            }
            syn::UseTree::Name(name) if name.ident == "self" => {
                self.imports.push((is_public, before.to_vec()));
            }
            syn::UseTree::Name(name) => self.imports.push((is_public, with(&name.ident))),
            syn::UseTree::Rename(name) => self.imports.push((is_public, with(&name.ident))),
            syn::UseTree::Glob(_) => self.imports.push((is_public, before.to_vec())),
        }
    }
}

impl<'ast> Visit<'ast> for MentionedPaths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&item.tree, &[], !matches!(item.vis, syn::Visibility::Inherited));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.imports.push((false, path.segments.iter().map(|segment| segment.ident.to_string()).collect()));
        visit::visit_path(self, path);
    }

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // Tests may import what they like.
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }
}

/// The modules of the crate and what each mentions.
#[derive(Default)]
struct CrateModules {
    mentioned: BTreeMap<ModulePath, MentionedPaths>,
    folders: BTreeSet<ModulePath>,
    re_exports: BTreeMap<ModulePath, ModulePath>,
}

impl CrateModules {
    fn read() -> Self {
        let mut modules = Self::default();
        modules.read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[]);
        let re_exported: Vec<(ModulePath, ModulePath)> = modules
            .mentioned
            .iter()
            .flat_map(|(module, paths)| paths.imports.iter().map(move |import| (module, import)))
            .filter(|(_, (is_public, _))| *is_public)
            .filter_map(|(module, (_, path))| {
                let target = modules.absolute(module, path)?;
                let name = target.last()?.clone();
                Some(([module.clone(), vec![name]].concat(), target))
            })
            .collect();
        modules.re_exports.extend(re_exported);
        modules
    }

    fn read_folder(&mut self, folder: &Path, module: &[String]) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let child = [module, std::slice::from_ref(&name)].concat();
            if path.is_dir() {
                self.read_folder(&path, &child);
            } else if !(name.ends_with("tests") || name == "lib" || name == "main") {
                let own = if name == "mod" { module.to_vec() } else { child };
                if name == "mod" {
                    self.folders.insert(own.clone());
                }
                let mut paths = MentionedPaths::default();
                paths.visit_file(&syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap());
                self.mentioned.insert(own, paths);
            }
        }
    }

    /// A path of `module` from the crate's root; `None` if it leads to another crate or an item of the same file.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<ModulePath> {
        let first = path.first()?;
        let rest = &path[1..];
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let parent = &module[..module.len().checked_sub(1)?];
                if rest.first().is_some_and(|next| next == "super") {
                    return self.absolute(parent, rest);
                }
                Some([parent, rest].concat())
            }
            _ => {
                let child = [module, std::slice::from_ref(first)].concat();
                self.mentioned.contains_key(&child).then(|| [module, path].concat())
            }
        }
    }

    /// The file that defines the item at an absolute path.
    fn defining(&self, path: &[String], steps: usize) -> Option<ModulePath> {
        for length in (1..=path.len()).rev() {
            let (module, rest) = path.split_at(length);
            if !self.mentioned.contains_key(module) {
                continue;
            }
            let item = rest.first().map(|name| [module, std::slice::from_ref(name)].concat());
            if let Some(target) = item.and_then(|item| self.re_exports.get(&item))
                && target != path
                && steps > 0
            {
                return self.defining(target, steps - 1);
            }
            return Some(module.to_vec());
        }
        None
    }

    /// For each file, the files of the same room that it imports from.
    fn imports(&self) -> BTreeMap<ModulePath, BTreeSet<ModulePath>> {
        let mut imports: BTreeMap<ModulePath, BTreeSet<ModulePath>> = BTreeMap::new();
        for (module, paths) in &self.mentioned {
            let own = imports.entry(module.clone()).or_default();
            for (is_public, path) in &paths.imports {
                if *is_public && self.folders.contains(module) {
                    continue;
                }
                let target = self.absolute(module, path).and_then(|path| self.defining(&path, 5));
                own.extend(target.filter(|target| target != module && target.first() == module.first()));
            }
        }
        imports
    }
}

fn reachable<'a>(
    imports: &'a BTreeMap<ModulePath, BTreeSet<ModulePath>>,
    from: &'a ModulePath,
) -> BTreeSet<&'a ModulePath> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        for target in imports.get(module).into_iter().flatten() {
            if seen.insert(target) {
                next.push(target);
            }
        }
    }
    seen
}

#[test]
fn circles_of_imports_have_two_files_at_most() {
    let modules = CrateModules::read();
    assert!(modules.mentioned.len() > 200, "only {} files were found", modules.mentioned.len());
    let imports = modules.imports();
    let edges: usize = imports.values().map(BTreeSet::len).sum();
    assert!(edges > 300, "only {edges} imports were found");
    let reach: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> =
        imports.keys().map(|module| (module, reachable(&imports, module))).collect();
    let mut circles = BTreeSet::new();
    for (module, targets) in &reach {
        let circle: BTreeSet<&ModulePath> =
            targets.iter().filter(|target| reach[*target].contains(*module)).copied().collect();
        if circle.len() > 2 {
            circles.insert(circle.iter().map(|module| module.join("/")).collect::<Vec<_>>());
        }
    }
    assert!(circles.is_empty(), "{circles:#?}");
}
