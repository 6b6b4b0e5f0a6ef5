//! Checks of the documents against the code: settings, commands, codes, links, file names and line lengths.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use std::path::{Path, PathBuf};

use comfy_gateway::api::problem::KINDS;
use comfy_gateway::config;
use comfy_gateway::demo;
use comfy_gateway::domain::failure::FailureCode;

/// The document with the generated tables, and the lines around them.
const CONFIGURATION: &str = "docs/CONFIGURATION.md";
const BEGIN: &str = "<!-- generated: UPDATE_DOCS=1 cargo test --test docs -->\n";
const END: &str = "<!-- end of the generated part -->\n";

/// The longest line of a document, in characters.
const COLUMNS: usize = 100;

/// Folders whose files documents name.
const NAMED_FOLDERS: [&str; 6] = ["src/", "tests/", "examples/", "docs/", "migrations/", "docker/"];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// The Markdown documents of the project, relative to its root.
fn documents() -> Vec<String> {
    let mut found = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    let mut folders = vec!["docs".to_owned(), "examples".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(path(&folder)).unwrap().flatten() {
            let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                folders.push(name);
            } else if entry.path().extension().is_some_and(|extension| extension == "md") {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_configuration_page_lists_every_setting_as_the_code_defines_it() {
    let page = text(CONFIGURATION);
    let (before, rest) = page.split_once(BEGIN).expect("the page has the first line of the generated part");
    let (_, after) = rest.split_once(END).expect("the page has the last line of the generated part");
    let expected = format!("{before}{BEGIN}\n{}\n{END}{after}", config::markdown_reference());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path(CONFIGURATION), &expected).unwrap();
        return;
    }
    assert!(page == expected, "{CONFIGURATION} is out of date: UPDATE_DOCS=1 cargo test --test docs");
}

#[test]
fn ci_runs_the_commands_of_the_readme() {
    let (readme, run) = (text("README.md"), text(".ci/run"));
    for command in ["cargo run --release -- demo", "cargo test"] {
        assert!(readme.contains(&format!("\n{command} ")), "README.md: {command}");
        assert!(run.lines().any(|line| line.starts_with(command)), ".ci/run: {command}");
    }
}

#[test]
fn the_demo_prints_the_commands_of_the_round_trip() {
    let readme = text("README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with("A round trip")).unwrap();
    let blocks = section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    assert_eq!(
        blocks.collect::<Vec<_>>().join("\n"),
        demo::COMMANDS,
        "assets/round-trip.sh differs from the README"
    );
}

#[test]
fn the_first_screen_of_the_readme_says_that_there_is_no_authentication() {
    let first_screen = text("README.md").lines().take(40).collect::<Vec<_>>().join("\n");
    assert!(first_screen.contains("no authentication"), "{first_screen}");
}

/// The table rows of a document that begin with a code, each as its cells.
fn code_rows(document: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).skip(1).collect();
    document.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

#[test]
fn every_code_is_explained_with_its_status_and_whether_to_retry() {
    let yes_no = |yes| if yes { "yes" } else { "no" };
    let rows = code_rows(&text("docs/API-DESIGN.md"));
    for kind in KINDS {
        let (code, status) = (format!("`{}`", kind.code), kind.status.as_u16().to_string());
        let found = rows.iter().any(|row| row[..3] == [&*code, &*status, yes_no(kind.retryable)]);
        assert!(found, "docs/API-DESIGN.md: {code} {status}");
    }
    for failure in FailureCode::ALL {
        let code = format!("`{}`", failure.as_str());
        let found = rows.iter().any(|row| row[..2] == [&*code, yes_no(failure.is_retryable())]);
        assert!(found, "docs/API-DESIGN.md: the failure {code}");
    }
}

/// The targets of a document's links, except those to other sites.
fn links(document: &str) -> impl Iterator<Item = &str> {
    let targets = document.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://"))
}

/// The anchors of a document's headings.
fn anchors(document: &str) -> impl Iterator<Item = String> {
    let headings = document.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let heading = line.trim_start_matches('#').trim_start();
        let is_kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
        heading.to_lowercase().chars().filter(is_kept).map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in documents() {
        let folder = Path::new(&document).parent().unwrap();
        for link in links(&text(&document)) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { path(&document) } else { path(folder.to_str().unwrap()).join(file) };
            assert!(target.exists(), "{document} links to {link}");
            if !anchor.is_empty() {
                let found = anchors(&std::fs::read_to_string(target).unwrap()).any(|known| known == anchor);
                assert!(found, "{document} links to the heading {link}");
            }
        }
    }
}

#[test]
fn every_decision_is_in_the_index() {
    let index = text("docs/decisions/README.md");
    for document in documents() {
        let Some(name) = document.strip_prefix("docs/decisions/") else { continue };
        if name == "README.md" {
            continue;
        }
        assert!(index.contains(&format!("]({name})")), "{document} is not in docs/decisions/README.md");
        let lines = text(&document).lines().count();
        assert!(lines <= 40, "{document} has {lines} lines: a decision has at most 40");
    }
}

/// The files and folders of the project that a document names, such as `src/lib.rs`.
fn named_paths(document: &str) -> Vec<&str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    let words = document.split(|letter: char| !is_part(letter));
    let named = words.filter(|word| NAMED_FOLDERS.iter().any(|folder| word.starts_with(folder)));
    named.map(|word| word.trim_end_matches('.')).collect()
}

#[test]
fn every_file_that_a_document_names_exists() {
    let mut missing = Vec::new();
    for document in documents() {
        let text = text(&document);
        let absent = named_paths(&text).into_iter().filter(|name| !path(name).exists());
        missing.extend(absent.map(|name| format!("{document}: {name}")));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The text of all source files, with whitespace and line continuations of string literals removed.
fn sources() -> String {
    let mut all = String::new();
    let mut folders = vec![path("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                all.push_str(&squeezed(&std::fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    all
}

fn squeezed(text: &str) -> String {
    text.replace("\\\n", "").split_whitespace().collect()
}

#[test]
fn every_log_message_that_the_page_on_logging_shows_is_in_the_code() {
    let sources = sources();
    let page = text("docs/LOGGING.md");
    let levels = page.split("\n## ").find(|section| section.starts_with("Levels")).unwrap();
    let examples = levels
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|row| row.split('`').skip(3).step_by(2));
    for message in examples {
        assert!(sources.contains(&squeezed(message)), "docs/LOGGING.md shows {message:?}");
    }
}

#[test]
fn every_message_that_the_page_on_reliability_quotes_is_in_the_code() {
    let sources = sources();
    let page = text("docs/RELIABILITY.md");
    let rows = page.lines().filter(|line| line.starts_with('|') && !line.contains("cargo "));
    for quote in rows.flat_map(|row| row.split(" \"").skip(1).filter_map(|rest| rest.split('"').next())) {
        // A quote may leave out values, and numbers and names are inserted at run time.
        let parts =
            quote.split(['…', '`', ':']).flat_map(|part| part.split(|letter: char| letter.is_ascii_digit()));
        for part in parts.map(str::trim).filter(|part| part.len() > 5) {
            assert!(sources.contains(&squeezed(part)), "docs/RELIABILITY.md quotes {part:?} of {quote:?}");
        }
    }
}

/// The lines that must wrap, with their numbers: all but code blocks, table rows and lines that are one link.
fn wrapped_lines(document: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    document.lines().enumerate().map(|(index, line)| (index + 1, line)).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !(is_code || is_fence || line.starts_with('|') || is_bare_link(line))
    })
}

/// Whether the line holds one link or image and nothing else, apart from a list marker and a full stop.
fn is_bare_link(line: &str) -> bool {
    let content = line.trim().trim_start_matches("- ").trim_start_matches('!').trim_end_matches('.');
    let is_link = content.starts_with('[') && content.ends_with(')') && content.matches("](").count() == 1;
    let is_url = !content.contains(' ') && content.contains("://");
    is_link || is_url
}

#[test]
fn documents_wrap_at_100_columns() {
    let mut long = Vec::new();
    for document in documents() {
        let text = text(&document);
        let over = wrapped_lines(&text).filter(|(_, line)| line.chars().count() > COLUMNS);
        long.extend(
            over.map(|(number, line)| format!("{document}:{number}: {} columns", line.chars().count())),
        );
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn the_checks_of_documents_find_what_they_look_for() {
    let long = "x".repeat(COLUMNS + 1);
    let document = format!("{long}\n| {long} |\n```\n{long}\n```\n- [{long}](a)\nSee [{long}](a).\n");
    let found: Vec<_> = wrapped_lines(&document).map(|(number, _)| number).collect();
    assert_eq!(found, [1, 7]);
    let named = named_paths("In `src/api/mod.rs`, tests/docs.rs. See https://h/src/x and mysrc/y.");
    assert_eq!(named, ["src/api/mod.rs", "tests/docs.rs"]);
    assert_eq!(anchors("# A title\n### It's `x_y`").collect::<Vec<_>>(), ["a-title", "its-x_y"]);
}
