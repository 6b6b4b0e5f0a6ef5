//! The measures of names: few types are called by one word, and fewer names are defined twice.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The most names of one word, in percent of all type names.
const ONE_WORD: usize = 25;
/// The most names that are defined more than once, in percent of all type names.
const DOUBLED: usize = 3;

/// The names of the types and traits that a file defines, those in functions and test modules included.
#[derive(Default)]
struct TypeNames(Vec<String>);

impl<'ast> Visit<'ast> for TypeNames {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.0.push(item.ident.to_string());
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.0.push(item.ident.to_string());
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.0.push(item.ident.to_string());
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.0.push(item.ident.to_string());
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Every type name below `src`, with the number of its definitions.
fn type_names() -> BTreeMap<String, usize> {
    let mut names = TypeNames::default();
    for path in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        names.visit_file(&syn::parse_file(&std::fs::read_to_string(path).unwrap()).unwrap());
    }
    let mut counts = BTreeMap::new();
    for name in names.0 {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn assert_share(found: &[&str], all: usize, most: usize) {
    assert!(all > 400, "only {all} type names were found");
    assert!(found.len() * 100 <= all * most, "{} of {all} names, at most {most} %: {found:?}", found.len());
}

#[test]
fn few_types_are_called_by_one_word() {
    let names = type_names();
    let is_one_word = |name: &&str| name.chars().filter(char::is_ascii_uppercase).count() == 1;
    let one_word: Vec<&str> = names.keys().map(String::as_str).filter(is_one_word).collect();
    assert_share(&one_word, names.len(), ONE_WORD);
}

#[test]
fn few_names_are_defined_twice() {
    let names = type_names();
    let doubled: Vec<&str> = names.iter().filter(|(_, n)| **n > 1).map(|(name, _)| name.as_str()).collect();
    assert_share(&doubled, names.len(), DOUBLED);
}
