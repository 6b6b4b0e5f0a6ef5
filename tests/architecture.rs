//! The rules of the structure: the direction of dependencies, the places of crates, and the sizes of files.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The modules of the crate that each module may use, besides itself and [`EVERYWHERE`].
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &["domain"]),
    ("random", &["domain"]),
    ("lifecycle", &[]),
    ("lock", &[]),
    ("metrics", &["domain"]),
    ("disk", &[]),
    ("store", &["disk", "domain"]),
    ("comfy", &["domain"]),
    ("convert", &["domain"]),
    ("media", &["disk", "domain"]),
    ("fetch", &["domain"]),
    ("pool", &["domain", "comfy"]),
    ("hub", &["domain", "pool"]),
    ("core", &["domain", "fetch", "hub", "media", "pool", "store"]),
    ("scheduler", &["core", "domain", "comfy", "fetch", "hub", "media", "store", "pool"]),
    ("service", &["comfy", "convert", "core", "domain", "fetch", "media", "store", "pool"]),
    ("api", &["convert", "domain", "media", "store", "pool", "service"]),
    ("simulator", &[]),
    ("data_dir", &[]),
    ("health", &[]),
    ("signals", &[]),
    ("config", &["domain", "comfy", "fetch", "pool", "scheduler"]),
    ("telemetry", &["config"]),
    ("check", &["domain", "comfy", "config", "data_dir", "pool"]),
    (
        "app",
        &[
            "domain",
            "comfy",
            "core",
            "hub",
            "media",
            "store",
            "pool",
            "scheduler",
            "service",
            "api",
            "config",
            "data_dir",
            "fetch",
        ],
    ),
    ("reload", &["app", "config", "telemetry"]),
    ("demo", &["app", "config", "simulator"]),
    ("cli", &["config", "simulator"]),
    (
        "main",
        &[
            "api",
            "app",
            "check",
            "cli",
            "config",
            "demo",
            "health",
            "reload",
            "signals",
            "simulator",
            "telemetry",
        ],
    ),
];

/// The modules that are passed to all but the domain.
const EVERYWHERE: &[&str] = &["clock", "random", "lifecycle", "lock", "metrics"];

/// Crates that only these modules may use.
const CRATES: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("reqwest", &["comfy", "fetch"]),
    ("tokio_tungstenite", &["comfy"]),
    ("axum", &["api", "simulator"]),
    ("utoipa", &["api"]),
    ("utoipa_axum", &["api"]),
    ("prometheus_client", &["metrics"]),
    ("clap", &["cli", "config", "main", "simulator"]),
];

/// One source file.
struct Source {
    path: PathBuf,
    /// Its top-level module.
    module: String,
    text: String,
}

fn sources(below: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![below.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let first = path.strip_prefix(below).unwrap().components().next().unwrap();
                let module = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(Source { path, module, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn root(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

/// Every path of a file, as its first two segments: `crate::store`, `sqlx::query`.
#[derive(Default)]
struct Paths(Vec<(String, String)>);

impl Paths {
    fn of(text: &str) -> Vec<(String, String)> {
        let mut paths = Self::default();
        paths.visit_file(&syn::parse_file(text).unwrap());
        paths.0
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let step = |ident: &syn::Ident| {
            let mut path = before.to_vec();
            path.push(ident.to_string());
            path
        };
        match tree {
            syn::UseTree::Path(next) => {
                let path = step(&next.ident);
                self.tree(&next.tree, &path);
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, before)),
            syn::UseTree::Name(name) => self.found(&step(&name.ident)),
            syn::UseTree::Rename(name) => self.found(&step(&name.ident)),
            syn::UseTree::Glob(_) => self.found(before),
        }
    }

    fn found(&mut self, path: &[String]) {
        let second = path.get(1).cloned().unwrap_or_default();
        self.0.push((path.first().cloned().unwrap_or_default(), second));
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> =
            path.segments.iter().take(2).map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.found(&segments);
        }
        visit::visit_path(self, path);
    }
}

#[test]
fn dependencies_go_one_way() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut faults = Vec::new();
    for source in sources(&root("src")).iter().filter(|source| source.module != "lib") {
        let Some(allowed) = layers.get(source.module.as_str()) else {
            faults.push(format!("{} is in no layer: add it to LAYERS", source.path.display()));
            continue;
        };
        for (first, second) in Paths::of(&source.text) {
            let inside = if source.module == "main" { first == "comfy_gateway" } else { first == "crate" };
            let own = second == source.module || !layers.contains_key(second.as_str());
            let handed_in = source.module != "domain" && EVERYWHERE.contains(&second.as_str());
            if inside && !own && !handed_in && !allowed.contains(&second.as_str()) {
                faults.push(format!(
                    "{} uses {second}, which {} may not",
                    source.path.display(),
                    source.module
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_layers_themselves_have_no_cycle() {
    let order: Vec<&str> = LAYERS.iter().map(|(module, _)| *module).collect();
    for (at, (module, allowed)) in LAYERS.iter().enumerate() {
        for used in *allowed {
            let below = order.iter().position(|name| name == used).is_some_and(|place| place < at);
            assert!(below, "{module} may use {used}, which comes after it");
        }
    }
}

#[test]
fn crates_stay_in_their_places() {
    let mut faults = Vec::new();
    for source in sources(&root("src")) {
        for (first, second) in Paths::of(&source.text) {
            for (name, places) in CRATES {
                if first == *name && !places.contains(&source.module.as_str()) {
                    faults.push(format!("{} uses {name}::{second}", source.path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_rules_would_notice() {
    let paths = Paths::of("use crate::{store::X, pool}; fn f() { sqlx::query(\"\"); }");
    let expected = [("crate", "store"), ("crate", "pool"), ("sqlx", "query")];
    assert_eq!(paths, expected.map(|(first, second)| (first.to_owned(), second.to_owned())));
}

#[test]
fn files_say_what_they_are_for_and_stay_small() {
    let mut lengths = Vec::new();
    for source in sources(&root("src")).into_iter().chain(sources(&root("tests"))) {
        let path = source.path.display();
        assert!(source.text.starts_with("//! "), "{path} does not open with //!");
        let lines = source.text.lines().count();
        assert!(lines <= 600, "{path} has {lines} lines: split its idea");
        if source.path.starts_with(root("src")) {
            lengths.push(lines);
        }
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= 150, "the median file of src has {median} lines");
}

/// Lines of functions, bodies included.
#[derive(Default)]
struct Functions(Vec<(String, usize)>);

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig.ident, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig.ident, &function.block);
        visit::visit_impl_item_fn(self, function);
    }
}

impl Functions {
    fn measure(&mut self, name: &syn::Ident, block: &syn::Block) {
        let lines = block.brace_token.span.close().end().line - name.span().start().line + 1;
        self.0.push((name.to_string(), lines));
    }
}

#[test]
fn functions_stay_small() {
    for source in sources(&root("src")) {
        let mut functions = Functions::default();
        functions.visit_file(&syn::parse_file(&source.text).unwrap());
        for (name, lines) in functions.0 {
            assert!(lines <= 80, "{}: {name} has {lines} lines", source.path.display());
        }
    }
}

/// Lines of tests: all of `tests/`, and what stands behind `#[cfg(test)]`.
fn tests_and_source() -> (usize, usize) {
    let mut tests: usize = sources(&root("tests")).iter().map(|source| source.text.lines().count()).sum();
    let mut code = 0;
    // The simulator is the ComfyUI of every test and of no production run: it counts on neither side.
    for source in sources(&root("src")).iter().filter(|source| source.module != "simulator") {
        let name = source.path.file_stem().and_then(|name| name.to_str()).unwrap();
        let lines = source.text.lines().count();
        let of_tests = name == "tests" || name.ends_with("_tests") || name == "mutilate";
        let begin = if of_tests {
            0
        } else {
            source.text.lines().position(|line| line == "#[cfg(test)]").unwrap_or(lines)
        };
        code += begin;
        tests += lines - begin;
    }
    (tests, code)
}

#[test]
fn there_are_nine_lines_of_tests_for_ten_of_code() {
    let (tests, code) = tests_and_source();
    assert!(tests * 10 >= code * 9, "{tests} lines of tests for {code} of code");
}
