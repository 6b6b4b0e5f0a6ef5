//! A DNS server whose answers a test decides, and a resolver that asks it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use comfy_gateway::fetch::NameLookup;
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Name, Packet, Question, ResourceRecord, TYPE};
use tokio::net::UdpSocket;
use tokio_util::task::AbortOnDropHandle;

use crate::scene::background;

/// The answer when a name is asked for the nth time, from 0; `None` for silence.
pub type Zone = dyn Fn(&str, usize) -> Option<Vec<IpAddr>> + Send + Sync;

pub struct Dns {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl Dns {
    pub async fn new(zone: Arc<Zone>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let task = background(async move {
            let mut bytes = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut bytes).await {
                if let Some(reply) = answer(&bytes[..length], &*zone, &seen) {
                    socket.send_to(&reply, peer).await.unwrap();
                }
            }
        });
        Self { address, asked, _task: task }
    }

    pub fn lookup(&self) -> Arc<DnsLookup> {
        Arc::new(DnsLookup(self.address))
    }

    /// The names that were asked for, in order, each question once.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Each lookup asks for A first and then for AAAA, and both get the same answer of the zone.
fn answer(question: &[u8], zone: &Zone, seen: &Mutex<Vec<String>>) -> Option<Vec<u8>> {
    let packet = Packet::parse(question).unwrap();
    let asked = &packet.questions[0];
    let name = asked.qname.to_string();
    let first = asked.qtype == TYPE::A.into();
    let times = {
        let mut seen = seen.lock().unwrap();
        if first {
            seen.push(name.clone());
        }
        seen.iter().filter(|known| **known == name).count() - 1
    };
    let mut reply = Packet::new_reply(packet.id());
    reply.questions.push(asked.clone());
    for address in zone(&name, times)? {
        let data = match address {
            IpAddr::V4(address) if first => RData::A(A::from(address)),
            IpAddr::V6(address) if !first => RData::AAAA(AAAA::from(address)),
            _ => continue,
        };
        reply.answers.push(ResourceRecord::new(asked.qname.clone(), CLASS::IN, 0, data));
    }
    Some(reply.build_bytes_vec().unwrap())
}

/// Asks the server at this address.
#[derive(Debug)]
pub struct DnsLookup(SocketAddr);

#[async_trait]
impl NameLookup for DnsLookup {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(self.0).await?;
        let mut found = Vec::new();
        for kind in [TYPE::A, TYPE::AAAA] {
            let mut query = Packet::new_query(7);
            let name = Name::new(name).map_err(io::Error::other)?;
            query.questions.push(Question::new(name, kind.into(), CLASS::IN.into(), false));
            socket.send(&query.build_bytes_vec().map_err(io::Error::other)?).await?;
            let mut bytes = [0; 512];
            let length = socket.recv(&mut bytes).await?;
            let reply = Packet::parse(&bytes[..length]).map_err(io::Error::other)?;
            found.extend(reply.answers.iter().filter_map(|record| match &record.rdata {
                RData::A(data) => Some(IpAddr::V4(data.address.into())),
                RData::AAAA(data) => Some(IpAddr::V6(data.address.into())),
                _ => None,
            }));
        }
        Ok(found)
    }
}
