//! The reports of a running job: messages to its client, its progress, and the status messages of its history
//! entry.

use serde_json::{Map, Value, json};

use super::queue::QueuedPrompt;
use super::server::ServerLife;
use super::ws::{Recipient, plain_preview, progress_text, rich_preview};

/// A node as messages name it. Nodes of an expansion have a parent, which is displayed instead of them.
#[derive(Debug, Clone)]
pub(super) struct DisplayedNode {
    pub(super) id: String,
    pub(super) display: String,
    pub(super) parent: Option<String>,
}

impl DisplayedNode {
    /// A node of the prompt itself.
    pub(super) fn plain(id: &str) -> Self {
        Self { id: id.to_owned(), display: id.to_owned(), parent: None }
    }

    /// A node that `parent` put in its place.
    pub(super) fn child(id: &str, parent: &Self) -> Self {
        Self { id: id.to_owned(), display: parent.display.clone(), parent: Some(parent.id.clone()) }
    }

    /// The entry of `meta` in history.
    pub(super) fn meta(&self) -> Value {
        json!({
            "node_id": self.id, "display_node": self.display, "parent_node": self.parent,
            "real_node_id": self.display,
        })
    }
}

/// The reporter of one running job.
#[derive(Debug)]
pub(super) struct RunVoice<'a> {
    server: &'a ServerLife,
    job: &'a QueuedPrompt,
    to: Recipient,
    nodes: Map<String, Value>,
    messages: Vec<Value>,
}

impl<'a> RunVoice<'a> {
    pub(super) fn new(server: &'a ServerLife, job: &'a QueuedPrompt) -> Self {
        let to = job.client_id.clone().map_or(Recipient::Everybody, Recipient::Client);
        Self { server, job, to, nodes: Map::new(), messages: Vec::new() }
    }

    /// The messages for the history entry.
    pub(super) fn into_messages(self) -> Vec<Value> {
        self.messages
    }

    /// A stage of the whole job: kept for history, and sent to the job's client. Without a client, `loud`
    /// ones go to everybody and the others to nobody.
    pub(super) fn stage(&mut self, kind: &str, fields: Value, loud: bool) {
        let mut data = Map::new();
        data.insert("prompt_id".to_owned(), json!(self.job.id));
        if let Value::Object(fields) = fields {
            data.extend(fields);
        }
        // The order of fields is ComfyUI's.
        if let Some(id) = data.get("nodes").is_some().then(|| data.shift_remove("prompt_id")).flatten() {
            data.insert("prompt_id".to_owned(), id);
        }
        data.insert("timestamp".to_owned(), json!(self.server.world.clock.now().as_millis()));
        let data = Value::Object(data);
        if loud || self.job.client_id.is_some() {
            self.server.sockets.send(self.to.clone(), kind, &data);
        }
        self.messages.push(json!([kind, data]));
    }

    /// A message about one node, to the job's client or, without one, to everybody.
    pub(super) fn send(&self, kind: &str, data: &Value) {
        self.server.sockets.send(self.to.clone(), kind, data);
    }

    /// A message that only a client of one's own gets.
    fn send_to_client(&self, kind: &str, data: &Value) {
        if self.job.client_id.is_some() {
            self.send(kind, data);
        }
    }

    /// The node begins.
    pub(super) fn running(&mut self, who: &DisplayedNode) {
        self.state(who, &json!(0.0), &json!(1.0), "running");
        self.server.now_running(self.job.client_id.as_deref(), Some(&who.id));
        let data = json!({ "node": who.id, "display_node": who.display, "prompt_id": self.job.id });
        self.send_to_client("executing", &data);
    }

    /// The node is done. One that was cached was never running.
    pub(super) fn finished(&mut self, who: &DisplayedNode) {
        let (value, max) = match self.nodes.get(&who.id) {
            None => (json!(1), json!(1)),
            Some(state) => (state["max"].clone(), state["max"].clone()),
        };
        self.state(who, &value, &max, "finished");
    }

    /// The node shows something.
    pub(super) fn executed(&self, who: &DisplayedNode, output: &Value) {
        let data = json!({ "node": who.id, "display_node": who.display, "output": output, "prompt_id": self.job.id });
        self.send_to_client("executed", &data);
    }

    /// The node has made `done` of `all` steps, and perhaps shows a picture (PNG).
    pub(super) fn progress(&mut self, who: &DisplayedNode, done: u32, all: u32, preview: Option<&[u8]>) {
        self.state(who, &json!(done), &json!(all), "running");
        let rich = self.server.sockets.takes_metadata(&self.to);
        if let Some(png) = preview.filter(|_| rich) {
            let about = json!({
                "node_id": who.id, "prompt_id": self.job.id, "display_node_id": who.display,
                "parent_node_id": who.parent, "real_node_id": who.display, "image_type": "image/png",
            });
            self.server.sockets.send_raw(self.to.clone(), rich_preview(&about, png));
        }
        self.send(
            "progress",
            &json!({ "value": done, "max": all, "prompt_id": self.job.id, "node": who.id }),
        );
        if let Some(png) = preview.filter(|_| !rich) {
            self.server.sockets.send_raw(self.to.clone(), plain_preview(png));
        }
    }

    /// Text beside the node.
    pub(super) fn text(&self, who: &DisplayedNode, text: &str) {
        self.server.sockets.send_raw(self.to.clone(), progress_text(&who.id, text));
    }

    /// The last word about the job.
    pub(super) fn over(&self) {
        self.send_to_client("executing", &json!({ "node": null, "prompt_id": self.job.id }));
    }

    fn state(&mut self, who: &DisplayedNode, value: &Value, max: &Value, state: &str) {
        let entry = json!({
            "value": value, "max": max, "state": state, "node_id": who.id, "prompt_id": self.job.id,
            "display_node_id": who.display, "parent_node_id": who.parent, "real_node_id": who.display,
        });
        self.nodes.insert(who.id.clone(), entry);
        self.send("progress_state", &json!({ "prompt_id": self.job.id, "nodes": self.nodes }));
    }
}
