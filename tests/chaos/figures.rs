//! Figures from many values: percentiles, the idle share, and how soon a dead backend's jobs ran elsewhere.

use crate::book::{Book, Life, Run};

/// A time span in milliseconds, without its end.
pub type Span = (i64, i64);

/// The value at `share` (0 to 1) of all values, by nearest rank; `None` if there are none.
pub fn percentile(values: &[i64], share: f64) -> Option<i64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "counts are small, shares are in 0..=1"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Merges overlapping spans, in order.
fn merged(spans: &[Span], within: Span) -> Vec<Span> {
    let mut spans: Vec<Span> = spans
        .iter()
        .map(|(from, to)| ((*from).max(within.0), (*to).min(within.1)))
        .filter(|(from, to)| from < to)
        .collect();
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::new();
    for (from, to) in spans {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

fn length(spans: &[Span]) -> i64 {
    spans.iter().map(|(from, to)| to - from).sum()
}

/// The share of time, from 0 to 1 and over all backends, in which a backend was idle while work was queued.
/// `busy` has each backend's runs, `queued` when each job waited in the gateway. `None` if no job ever
/// waited.
pub fn idle_share(window: Span, busy: &[Vec<Span>], queued: &[Span]) -> Option<f64> {
    let queued = merged(queued, window);
    let mut idle = 0;
    for server in busy {
        for waiting in &queued {
            idle += (waiting.1 - waiting.0) - length(&merged(server, *waiting));
        }
    }
    let all = length(&queued) * i64::try_from(busy.len()).unwrap();
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a test")]
    (all > 0).then(|| idle as f64 / all as f64)
}

/// When backends were idle although work was queued: backend, milliseconds since the start of the window, and
/// duration; the longest first.
pub fn gaps(window: Span, busy: &[Vec<Span>], queued: &[Span]) -> Vec<(usize, i64, i64)> {
    let mut gaps = Vec::new();
    for (server, runs) in busy.iter().enumerate() {
        for waiting in merged(queued, window) {
            let mut since = waiting.0;
            for (from, to) in merged(runs, waiting).into_iter().chain([(waiting.1, waiting.1)]) {
                gaps.push((server, since - window.0, from - since));
                since = to;
            }
        }
    }
    gaps.retain(|(_, _, length)| *length > 0);
    gaps.sort_by_key(|(_, _, length)| std::cmp::Reverse(*length));
    gaps
}

/// Each backend's runs within `window`. A run without an end lasts until the backend's death or the window's
/// end.
pub fn busy(book: &Book, window: Span) -> Vec<Vec<Span>> {
    let mut busy = vec![Vec::new(); book.lives.len()];
    for run in &book.runs {
        let Some(started) = run.started else { continue };
        let until = run.ended.map(|(at, _)| at).or(book.life(run).died).unwrap_or(window.1);
        busy[run.server].push((started, until));
    }
    busy
}

/// How long it took, in milliseconds, until the jobs of dead backends ran again.
#[derive(Debug, Default)]
pub struct Reruns {
    /// The backend's port refused connections for at least [`REFUSED`].
    pub refused: Vec<i64>,
    /// The backend was back before.
    pub restarted: Vec<i64>,
}

/// A backend that is away for this long, in milliseconds, is noticed by refused connections and not by a
/// forgotten run.
pub const REFUSED: i64 = 4_000;

/// Examines every job that ran, or waited for its backend's GPU, when the backend died, and was run again.
pub fn reruns(book: &Book) -> Reruns {
    let mut found = Reruns::default();
    for run in &book.runs {
        let life = book.life(run);
        let Some(died) = life.died.filter(|died| was_there(run, *died)) else { continue };
        let again = book.runs.iter().filter(|other| other.marker == run.marker);
        let Some(again) = again.filter_map(|other| other.started).filter(|at| *at > died).min() else {
            continue;
        };
        let back = book.lives[run.server].get(run.life + 1).map(|next: &Life| next.from);
        let refused = back.is_none_or(|back| back - died >= REFUSED);
        let times = if refused { &mut found.refused } else { &mut found.restarted };
        times.push(again - died);
    }
    found
}

fn was_there(run: &Run, died: i64) -> bool {
    run.queued <= died && run.ended.is_none_or(|(ended, _)| ended > died)
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
