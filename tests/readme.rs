//! What the documents say of the code is what the code says: settings, commands, codes.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use std::path::PathBuf;

use comfy_gateway::api::problem::KINDS;
use comfy_gateway::config;
use comfy_gateway::demo;
use comfy_gateway::domain::failure::FailureCode;

const BEGIN: &str = "<!-- configuration: made by `UPDATE_README=1 cargo test --test readme` -->\n";
const END: &str = "<!-- end of configuration -->\n";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

#[test]
fn the_readme_has_every_setting_as_the_code_has_it() {
    let readme = text("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("the README has the begin of the configuration");
    let (_, after) = rest.split_once(END).expect("the README has the end of the configuration");
    let right = format!("{before}{BEGIN}\n{}\n{END}{after}", config::markdown_reference());
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(path("README.md"), &right).unwrap();
        return;
    }
    assert!(
        readme == right,
        "the README's settings are out of date: UPDATE_README=1 cargo test --test readme"
    );
}

#[test]
fn the_commands_of_the_readme_are_those_that_are_run_before_each_change() {
    let (readme, run) = (text("README.md"), text(".ci/run"));
    for command in ["cargo run --release -- demo", "cargo test"] {
        assert!(readme.contains(&format!("\n{command} ")), "README.md: {command}");
        assert!(run.lines().any(|line| line.starts_with(command)), ".ci/run: {command}");
    }
}

#[test]
fn the_commands_that_the_demo_prints_are_those_of_the_round_trip() {
    let readme = text("README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with("A round trip")).unwrap();
    let blocks = section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    assert_eq!(
        blocks.collect::<Vec<_>>().join("\n"),
        demo::COMMANDS,
        "assets/round-trip.sh is not the README's"
    );
}

/// The rows of a document that begin with a code, each with the cells that follow.
fn rows(document: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).skip(1).collect();
    document.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

#[test]
fn every_code_is_explained_with_its_status_and_whether_to_try_again() {
    let yes_no = |yes| if yes { "yes" } else { "no" };
    let rows = rows(&text("docs/API-DESIGN.md"));
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

/// Paths that a document links to.
fn links(document: &str) -> impl Iterator<Item = &str> {
    let targets = document.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://"))
}

/// The names under which a document's headings are linked to.
fn headings(document: &str) -> impl Iterator<Item = String> {
    let headings = document.lines().filter_map(|line| line.strip_prefix("## "));
    headings.map(|heading| {
        let known = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
        heading.to_lowercase().chars().filter(known).map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

#[test]
fn links_between_documents_lead_somewhere() {
    for (document, folder) in [
        ("README.md", ""),
        ("CONTRIBUTING.md", ""),
        ("docs/ARCHITECTURE.md", "docs"),
        ("docs/API-DESIGN.md", "docs"),
        ("docs/LOGGING.md", "docs"),
        ("docs/WORKFLOWS.md", "docs"),
        ("docs/CONVERSION.md", "docs"),
        ("docs/RELIABILITY.md", "docs"),
        ("examples/README.md", "examples"),
    ] {
        for link in links(&text(document)) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path(document) } else { path(folder).join(file) };
            assert!(target.exists(), "{document} links to {link}");
            if !heading.is_empty() {
                let found = headings(&std::fs::read_to_string(target).unwrap()).any(|known| known == heading);
                assert!(found, "{document} links to the heading {link}");
            }
        }
    }
}
