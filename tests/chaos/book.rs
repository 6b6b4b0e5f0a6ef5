//! The content of the backends' run logs: which runs there were, in which life of which backend, and how each
//! ended.

use std::collections::HashMap;

use serde_json::Value;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed,
    Interrupted,
    Dropped,
}

/// One run of one job on one backend. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub server: usize,
    /// The number of the backend's life, from 0.
    pub life: usize,
    /// The job's marker, whatever the attempt's id is.
    pub marker: String,
    pub id: String,
    pub queued: i64,
    /// `None` if it waited in the backend's queue and never began.
    pub started: Option<i64>,
    /// `None` if it ended with its backend, or had not ended.
    pub ended: Option<(i64, Outcome)>,
}

/// One life of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    pub from: i64,
    /// `None` if it lasted to the end.
    pub died: Option<i64>,
}

/// All runs of all backends.
#[derive(Debug, Default)]
pub struct Book {
    pub runs: Vec<Run>,
    /// By backend and number of life.
    pub lives: Vec<Vec<Life>>,
}

impl Book {
    /// Adds the next backend's log. `deaths` tells when each of its lives was killed, if it was.
    pub fn add(&mut self, log: &str, deaths: &[Option<i64>]) {
        let server = self.lives.len();
        let mut lives: Vec<Life> = Vec::new();
        let mut open: HashMap<String, usize> = HashMap::new();
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let at = line["at"].as_i64().unwrap();
            let id = line["id"].as_str().unwrap_or_default();
            match line["event"].as_str().unwrap() {
                "up" => {
                    open.clear();
                    let died = deaths.get(lives.len()).copied().flatten();
                    lives.push(Life { from: at, died });
                }
                "down" => {
                    let last = lives.last_mut().unwrap();
                    last.died = Some(last.died.map_or(at, |killed| killed.min(at)));
                }
                "queued" => {
                    let run = Run {
                        server,
                        life: lives.len() - 1,
                        marker: line["marker"].as_str().unwrap_or(id).to_owned(),
                        id: id.to_owned(),
                        queued: at,
                        started: None,
                        ended: None,
                    };
                    open.insert(id.to_owned(), self.runs.len());
                    self.runs.push(run);
                }
                "started" => self.runs[open[id]].started = Some(at),
                ended => self.runs[open[id]].ended = Some((at, outcome(ended))),
            }
        }
        self.lives.push(lives);
    }

    /// The life that a run belongs to.
    pub fn life(&self, run: &Run) -> Life {
        self.lives[run.server][run.life]
    }

    /// The number of runs that began.
    pub fn begun(&self) -> usize {
        self.runs.iter().filter(|run| run.started.is_some()).count()
    }
}

fn outcome(event: &str) -> Outcome {
    match event {
        "succeeded" => Outcome::Succeeded,
        "failed" => Outcome::Failed,
        "interrupted" => Outcome::Interrupted,
        "dropped" => Outcome::Dropped,
        other => panic!("a run log says {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_belong_to_the_life_they_began_in() {
        let log = r#"{"at":1,"event":"up"}
{"at":2,"event":"queued","id":"a","marker":"m"}
{"at":3,"event":"queued","id":"b","marker":null}
{"at":4,"event":"started","id":"a","marker":"m"}
{"at":9,"event":"up"}
{"at":10,"event":"queued","id":"a","marker":"m"}
{"at":11,"event":"started","id":"a","marker":"m"}
{"at":12,"event":"succeeded","id":"a","marker":"m"}
{"at":13,"event":"down"}
"#;
        let mut book = Book::default();
        book.add("", &[]);
        book.add(log, &[Some(6)]);
        let lives = vec![Life { from: 1, died: Some(6) }, Life { from: 9, died: Some(13) }];
        assert_eq!(book.lives, [vec![], lives]);
        let told: Vec<_> =
            book.runs.iter().map(|run| (run.life, &*run.marker, run.started, run.ended)).collect();
        let end = Some((12, Outcome::Succeeded));
        assert_eq!(told, [(0, "m", Some(4), None), (0, "b", None, None), (1, "m", Some(11), end)]);
        assert_eq!((book.begun(), book.life(&book.runs[2]).died), (2, Some(13)));
    }
}
