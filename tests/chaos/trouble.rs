//! The faults: how each is caused, and how it is repaired.

use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::server::Server;

/// The longest wait for a scripted death, which never comes without jobs.
const SCRIPTED_DEATH: Duration = Duration::from_secs(3);

/// One fault. Faults of backends last until they are repaired, except those of websockets.
#[derive(Debug, Clone, PartialEq)]
pub enum Trouble {
    /// Sends SIGKILL, then starts the next life at once.
    KillGateway,
    /// Sends SIGTERM, then starts the next life at once.
    RestartGateway,
    /// Limits the gateway's files to this many bytes.
    FullDisk { room: u64 },
    /// Sends SIGKILL; the port refuses connections until the repair.
    Kill(usize),
    /// Sends SIGKILL, then starts the next life at once.
    Bounce(usize),
    /// The process dies when its next job has run this many nodes.
    CrashInJob(usize, usize),
    /// Sends SIGSTOP: connections are accepted, nothing is answered, nothing runs.
    Freeze(usize),
    /// The worker takes jobs and does not advance them.
    Stick(usize),
    /// Requests for a route meet a fault.
    Requests { server: usize, route: &'static str, fault: Value, times: u64 },
    /// The websockets break, or receive nothing any more.
    Sockets(usize, &'static str),
}

/// How often requests for a route meet which fault. Faults of `POST /prompt` that leave the arrival of the
/// job open are those that can cause doubles.
const FAULTS: [(&str, &str, u64); 21] = [
    ("prompt", "drop_after", 3),
    ("prompt", "drop_after", 2),
    ("prompt", "truncate", 3),
    ("prompt", "hang_after", 2),
    ("prompt", "hang", 2),
    ("prompt", "drop_before", 3),
    ("prompt", "garbage", 2),
    ("prompt", "500", 3),
    ("history", "truncate", 4),
    ("history", "garbage", 4),
    ("history", "503", 6),
    ("history", "hang", 2),
    ("queue", "500", 6),
    ("queue", "garbage", 3),
    ("view", "truncate", 2),
    ("view", "500", 2),
    ("interrupt", "drop_after", 2),
    ("system_stats", "garbage", 2),
    ("ws", "503", 50),
    ("ws", "deaf", 50),
    ("ws", "hang", 50),
];

/// All faults, the more severe ones several times. The backend is chosen later.
pub fn deck() -> Vec<Trouble> {
    let several = |count: usize, trouble: Trouble| vec![trouble; count];
    let mut deck = [
        several(8, Trouble::KillGateway),
        several(2, Trouble::RestartGateway),
        several(4, Trouble::Kill(0)),
        several(3, Trouble::Bounce(0)),
        several(2, Trouble::Freeze(0)),
        several(2, Trouble::Stick(0)),
        (0..3).map(|nodes| Trouble::CrashInJob(0, nodes)).collect(),
        [0, 4_096, 65_536].map(|room| Trouble::FullDisk { room }).into(),
        ["drop", "deafen"].map(|how| Trouble::Sockets(0, how)).into(),
    ]
    .concat();
    deck.extend(FAULTS.map(|(route, fault, times)| {
        let fault = fault.parse().map_or(json!(fault), |status: u16| json!({ "status": status }));
        Trouble::Requests { server: 0, route, fault, times }
    }));
    deck
}

impl Trouble {
    /// The same fault for this backend, if it concerns a backend.
    pub fn aimed(mut self, at: usize) -> Self {
        match &mut self {
            Self::Kill(server)
            | Self::Bounce(server)
            | Self::CrashInJob(server, _)
            | Self::Freeze(server)
            | Self::Stick(server)
            | Self::Requests { server, .. }
            | Self::Sockets(server, _) => *server = at,
            Self::KillGateway | Self::RestartGateway | Self::FullDisk { .. } => {}
        }
        self
    }

    /// The backend that it concerns until the repair.
    pub const fn server(&self) -> Option<usize> {
        match self {
            Self::Kill(server)
            | Self::CrashInJob(server, _)
            | Self::Freeze(server)
            | Self::Stick(server)
            | Self::Requests { server, .. } => Some(*server),
            _ => None,
        }
    }

    /// Whether it lasts until a repair.
    pub const fn lasts(&self) -> bool {
        self.server().is_some() || matches!(self, Self::FullDisk { .. })
    }

    pub async fn strike(&self, gateway: &mut Gateway, servers: &mut [Server]) {
        match self {
            Self::KillGateway => {
                gateway.kill().await;
                gateway.revive().await;
            }
            Self::RestartGateway => {
                gateway.stop().await;
                gateway.revive().await;
            }
            Self::FullDisk { room } => gateway.room(Some(*room)).await,
            Self::Kill(server) => servers[*server].kill().await,
            Self::Bounce(server) => {
                servers[*server].kill().await;
                servers[*server].revive().await;
            }
            Self::CrashInJob(server, nodes) => {
                servers[*server].order(&json!({ "jobs": { "crash_after": nodes } })).await;
                servers[*server].die(SCRIPTED_DEATH).await;
            }
            Self::Freeze(server) => servers[*server].signal("-STOP").await,
            Self::Stick(server) => servers[*server].order(&json!({ "stuck": true })).await,
            Self::Requests { server, route, fault, times } => {
                let scripted = json!({ "route": route, "fault": fault, "times": times });
                servers[*server].order(&json!({ "requests": [scripted] })).await;
            }
            Self::Sockets(server, how) => servers[*server].order(&json!({ "sockets": how })).await,
        }
    }

    pub async fn mend(&self, gateway: &Gateway, servers: &mut [Server]) {
        match self {
            Self::FullDisk { .. } => gateway.room(None).await,
            Self::Kill(server) | Self::CrashInJob(server, _) => servers[*server].revive().await,
            Self::Freeze(server) => servers[*server].signal("-CONT").await,
            Self::Stick(server) | Self::Requests { server, .. } => {
                servers[*server].order(&json!({ "clear": true })).await;
            }
            _ => {}
        }
    }
}
