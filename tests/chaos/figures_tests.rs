//! The figures of invented values.

use super::*;

#[test]
fn percentiles_are_values_that_were_seen() {
    let values: Vec<i64> = (1..=100).rev().collect();
    assert_eq!(percentile(&values, 0.5), Some(50));
    assert_eq!(percentile(&values, 0.99), Some(99));
    assert_eq!(percentile(&values, 1.0), Some(100));
    assert_eq!((percentile(&[7], 0.01), percentile(&[], 0.5)), (Some(7), None));
}

fn near(share: Option<f64>, expected: f64) {
    assert!(share.is_some_and(|share| (share - expected).abs() < 1e-9), "{share:?} is not {expected}");
}

#[test]
fn a_server_is_idle_only_while_something_waits() {
    let window = (0, 1_000);
    let busy = [vec![(0, 400), (500, 1_000)], vec![(0, 1_000)]];
    near(idle_share(window, &busy, &[(0, 1_000)]), 0.05);
    near(idle_share(window, &busy, &[(0, 200), (100, 400)]), 0.0);
    near(idle_share(window, &busy, &[(400, 450), (450, 500)]), 0.5);
    assert_eq!(gaps(window, &busy, &[(0, 450), (900, 1_200)]), [(0, 400, 50)]);
    assert_eq!(gaps(window, &[vec![(10, 20)]], &[(0, 100)]), [(0, 20, 80), (0, 0, 10)]);
    assert_eq!(idle_share(window, &busy, &[]), None);
    assert_eq!(idle_share(window, &busy, &[(2_000, 3_000)]), None, "outside of the window");
}

#[test]
fn a_server_that_never_ran_anything_was_idle_all_the_time() {
    near(idle_share((0, 100), &[vec![], vec![(0, 100)]], &[(0, 100)]), 0.5);
    near(idle_share((0, 100), &[vec![], vec![]], &[(0, 100)]), 1.0);
}

fn log(lines: &[(i64, &str, &str, &str)]) -> String {
    let line = |(at, event, id, marker): &(i64, &str, &str, &str)| {
        format!("{}\n", serde_json::json!({ "at": at, "event": event, "id": id, "marker": marker }))
    };
    lines.iter().map(line).collect()
}

#[test]
fn a_run_that_ended_with_its_server_was_busy_until_then() {
    let mut book = Book::default();
    let runs = [(0, "up", "", ""), (1, "queued", "a", "a"), (10, "started", "a", "a")];
    book.add(&log(&runs), &[Some(60)]);
    book.add(&log(&runs), &[]);
    assert_eq!(busy(&book, (0, 100)), [vec![(10, 60)], vec![(10, 100)]]);
}

#[test]
fn reruns_are_counted_from_the_death_to_the_next_begin() {
    let mut book = Book::default();
    let first = [
        (0, "up", "", ""),
        (1, "queued", "a1", "a"),
        (1, "queued", "b1", "b"),
        (1, "queued", "c1", "c"),
        (2, "started", "a1", "a"),
        (50, "succeeded", "a1", "a"),
        (51, "started", "b1", "b"),
    ];
    let back = [(9_000, "up", "", "")];
    book.add(&(log(&first) + &log(&back)), &[Some(100)]);
    let second = [
        (0, "up", "", ""),
        (2_999, "queued", "b2", "b"),
        (3_000, "started", "b2", "b"),
        (3_001, "queued", "c2", "c"),
        (3_500, "started", "c2", "c"),
        (3_600, "queued", "a2", "a"),
        (3_700, "started", "a2", "a"),
    ];
    book.add(&log(&second), &[]);
    let found = reruns(&book);
    assert_eq!((found.refused, found.restarted), (vec![2_900, 3_400], vec![]), "a had ended before");
    book.lives[0][1].from = 600;
    assert_eq!(reruns(&book).restarted, [2_900, 3_400]);
}
