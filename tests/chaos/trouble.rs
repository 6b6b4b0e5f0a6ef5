//! What goes wrong, how it is brought about, and how it is mended.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::server::Server;

/// How long a scripted death may take to come; without jobs it never comes.
const SCRIPTED_DEATH: Duration = Duration::from_secs(3);

/// One thing that goes wrong. Those with a server last until they are mended, but for the sockets.
#[derive(Debug, Clone, PartialEq)]
pub enum Trouble {
    /// SIGKILL, and the next life at once.
    KillGateway,
    /// SIGTERM, and the next life at once.
    RestartGateway,
    /// No file of the gateway may grow beyond so many bytes.
    FullDisk { room: u64 },
    /// SIGKILL; its port refuses until it is mended.
    Kill(usize),
    /// SIGKILL, and the next life at once.
    Bounce(usize),
    /// It dies by itself when its next job has run so many nodes.
    CrashInJob(usize, usize),
    /// SIGSTOP: connections are taken, nothing is answered, nothing runs.
    Freeze(usize),
    /// Its worker takes jobs and does not move them.
    Stick(usize),
    /// Requests for a route meet a fault.
    Requests { server: usize, route: &'static str, fault: Value, times: Option<u64> },
    /// Its websockets break, or get nothing any more.
    Sockets(usize, &'static str),
}

const ROUTES: [&str; 10] = [
    "prompt",
    "prompt",
    "prompt",
    "history",
    "history",
    "queue",
    "view",
    "interrupt",
    "system_stats",
    "object_info",
];

impl Trouble {
    /// The next one; `server` is one that is well.
    pub fn draw(random: &mut StdRng, server: usize) -> Self {
        match random.random_range(0..100) {
            0..14 => Self::KillGateway,
            14..18 => Self::RestartGateway,
            18..26 => Self::FullDisk { room: [0, 4_096, 65_536][random.random_range(0..3)] },
            26..36 => Self::Kill(server),
            36..42 => Self::Bounce(server),
            42..48 => Self::CrashInJob(server, random.random_range(0..3)),
            48..55 => Self::Freeze(server),
            55..59 => Self::Stick(server),
            59..66 => Self::Sockets(server, ["drop", "deafen"][random.random_range(0..2)]),
            66..70 => {
                // Refused, deaf from the beginning, or hanging in the handshake.
                let fault = [json!({ "status": 503 }), json!("deaf"), json!("hang")];
                let fault = fault[random.random_range(0..3)].clone();
                Self::Requests { server, route: "ws", fault, times: None }
            }
            _ => Self::requests(random, server),
        }
    }

    fn requests(random: &mut StdRng, server: usize) -> Self {
        let faults = [
            json!({ "status": 500 }),
            json!({ "status": 503 }),
            json!({ "slow": 300 }),
            json!("hang"),
            json!("hang_after"),
            json!("garbage"),
            json!("truncate"),
            json!("drop_before"),
            json!("drop_after"),
        ];
        let fault = faults[random.random_range(0..faults.len())].clone();
        let times = random.random_bool(0.8).then(|| random.random_range(1..5));
        Self::Requests { server, route: ROUTES[random.random_range(0..ROUTES.len())], fault, times }
    }

    /// The server it troubles until it is mended.
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

    /// Whether it lasts.
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
