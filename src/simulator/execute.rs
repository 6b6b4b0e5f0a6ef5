//! The worker: takes one job after the other, runs its nodes, reports events and writes the history entry.
//!
//! The order of messages is ComfyUI's: `execution_success` is sent *before* the history entry is written,
//! `executing {node: null}` after it.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::cache::{self, CacheEntry, CacheKey};
use super::classes;
use super::faults::JobPlan;
use super::nodes::{
    self, LinkData, NodeExpansion, NodeFailure, NodeInputs, NodeResult, NodeStage, out_of_memory, raised,
};
use super::order::ExecutionOrder;
use super::pyjson;
use super::queue::QueuedPrompt;
use super::report::{DisplayedNode, RunVoice};
use super::run_log::RunEvent;
use super::server::ServerLife;

/// Runs jobs until the server's life ends.
pub(super) async fn work(server: Arc<ServerLife>) {
    loop {
        let job = server.queue.take().await;
        server.tell_status();
        tokio::select! {
            () = run(&server, &job) => {}
            () = job.forgotten.cancelled() => {
                server.happened(&job, RunEvent::Dropped);
                server.now_running(None, None);
            }
        }
    }
}

async fn run(server: &ServerLife, job: &QueuedPrompt) {
    let world = &server.world;
    server.reset_interrupt();
    server.now_running(job.client_id.as_deref(), None);
    server.happened(job, RunEvent::Started);
    world.recorder.note(|record| record.run(&job.id).started += 1);
    world.faults.unstuck().await;
    let mut execution = PromptExecution::new(server, job);
    let happened = match execution.run().await {
        Ok(()) => {
            execution.report.stage("execution_success", json!({}), false);
            RunEvent::Succeeded
        }
        Err((NodeFailure::Crashed, _)) => return server.crash().await,
        Err((failure, at)) => {
            let interrupted = matches!(failure, NodeFailure::Interrupted);
            execution.tell_failure(failure, &at);
            if interrupted { RunEvent::Interrupted } else { RunEvent::Failed }
        }
    };
    let success = happened == RunEvent::Succeeded;
    if !world.config.history_gap.is_zero() {
        world.clock.sleep(world.config.history_gap).await;
    }
    let PromptExecution { report, outputs, meta, .. } = execution;
    let over = RunVoice::new(server, job);
    let entry = json!({
        "prompt": job.to_json(),
        "outputs": outputs,
        "status": {
            "status_str": if success { "success" } else { "error" },
            "completed": success,
            "messages": report.into_messages(),
        },
        "meta": meta,
    });
    server.now_running(job.client_id.as_deref(), None);
    let kept = server.queue.done(job, entry);
    server.happened(job, happened);
    server.tell_status();
    if kept {
        over.over();
    }
    world.recorder.note(|record| {
        let runs = record.run(&job.id);
        *(if success { &mut runs.succeeded } else { &mut runs.failed }) += 1;
    });
}

/// One job while it runs.
struct PromptExecution<'a> {
    server: &'a ServerLife,
    job: &'a QueuedPrompt,
    report: RunVoice<'a>,
    graph: Map<String, Value>,
    children: HashMap<String, DisplayedNode>,
    expanding: HashMap<String, Vec<(String, i64)>>,
    keys: HashMap<String, CacheKey>,
    results: HashMap<String, Arc<CacheEntry>>,
    order: ExecutionOrder,
    executed: Vec<String>,
    outputs: Map<String, Value>,
    meta: Map<String, Value>,
    plan: JobPlan,
    ran: usize,
}

/// The exception, its node and the node's inputs.
type FailedNode<T> = Result<T, (NodeFailure, (String, Value))>;

impl<'a> PromptExecution<'a> {
    fn new(server: &'a ServerLife, job: &'a QueuedPrompt) -> Self {
        Self {
            server,
            job,
            report: RunVoice::new(server, job),
            graph: job.graph.clone(),
            children: HashMap::new(),
            expanding: HashMap::new(),
            keys: cache::keys(&job.graph, &server.world.files),
            results: HashMap::new(),
            order: ExecutionOrder::default(),
            executed: Vec::new(),
            outputs: Map::new(),
            meta: Map::new(),
            plan: server.world.faults.plan(),
            ran: 0,
        }
    }

    async fn run(&mut self) -> FailedNode<()> {
        self.report.stage("execution_start", json!({}), false);
        self.results = self.server.cache.begin(&self.keys);
        let cached: Vec<_> = self.graph.keys().filter(|id| self.results.contains_key(*id)).collect();
        self.report.stage("execution_cached", json!({ "nodes": cached }), false);
        for id in &self.job.outputs {
            self.order.add(id, &self.graph, |id| self.results.contains_key(id));
        }
        while let Some(id) = self.order.next(&self.graph) {
            let who = self.children.get(&id).cloned().unwrap_or_else(|| DisplayedNode::plain(&id));
            self.node(&who).await?;
            self.order.done(&id);
        }
        Ok(())
    }

    async fn node(&mut self, who: &DisplayedNode) -> FailedNode<()> {
        if let Some(links) = self.expanding.remove(&who.id) {
            let outputs = links.iter().map(|(source, slot)| self.output(source, *slot)).collect();
            let entry = Arc::new(CacheEntry { outputs, ui: None, meta: who.meta() });
            self.finish(who, entry);
            return Ok(());
        }
        if let Some(entry) = self.results.get(&who.id).cloned() {
            self.replay(who, &entry);
            return Ok(());
        }
        self.report.running(who);
        let inputs = self.inputs(&who.id);
        if let Some(message) = inputs.blocked() {
            self.block(who, message.as_deref());
            return Ok(());
        }
        let failed = |failure| (failure, (who.id.clone(), inputs.shown()));
        let produced = self.produce(who, &inputs).await.map_err(failed)?;
        match produced {
            NodeResult { expansion: Some(expansion), .. } => self.expand(who, &expansion),
            NodeResult { outputs, ui, .. } => {
                if let Some(ui) = &ui {
                    self.show(who, ui, who.meta());
                    self.report.executed(who, ui);
                }
                self.finish(who, Arc::new(CacheEntry { outputs, ui, meta: who.meta() }));
            }
        }
        Ok(())
    }

    async fn produce(&mut self, who: &DisplayedNode, inputs: &NodeInputs) -> Result<NodeResult, NodeFailure> {
        if self.plan.crash_after == Some(self.ran) {
            return Err(NodeFailure::Crashed);
        }
        self.ran += 1;
        if self.server.is_interrupted() {
            return Err(NodeFailure::Interrupted);
        }
        if self.plan.out_of_memory {
            return out_of_memory("Allocation on device 0 would exceed allowed memory. (out of memory)");
        }
        if self.plan.node_error {
            return raised("RuntimeError", "a scripted fault of the simulator");
        }
        let class = pyjson::python(&self.graph[&who.id]["class_type"]);
        let stage = NodeStage { server: self.server, job: self.job, report: &mut self.report, who };
        let mut produced = nodes::run(&class, inputs, stage).await?;
        if let Some(Value::Object(ui)) = &mut produced.ui
            && self.plan.nan
        {
            ui.insert("nan".to_owned(), json!([pyjson::nan()]));
        }
        Ok(produced)
    }

    /// The node's inputs, with links resolved.
    fn inputs(&self, id: &str) -> NodeInputs {
        let fields = self.graph[id]["inputs"].as_object();
        let taken = self.graph[id]["class_type"].as_str().and_then(classes::find);
        let known =
            |name: &str| taken.is_some_and(|class| class.inputs.iter().any(|input| input.name == name));
        let inputs = fields.into_iter().flatten().filter(|(name, _)| known(name)).map(|(name, value)| {
            let data = match cache::link(value) {
                Some((source, slot)) => self.output(source, slot),
                None => LinkData::Json(value.clone()),
            };
            (name.clone(), data)
        });
        NodeInputs(inputs.collect())
    }

    fn output(&self, source: &str, slot: i64) -> LinkData {
        let outputs = self.results.get(source).map_or(&[][..], |entry| &entry.outputs);
        let at = super::validate::output_at(outputs.len(), slot);
        at.map_or(LinkData::Json(Value::Null), |at| outputs[at].clone())
    }

    fn replay(&mut self, who: &DisplayedNode, entry: &CacheEntry) {
        let ui = entry.ui.clone();
        self.report.executed(who, ui.as_ref().unwrap_or(&Value::Null));
        if let Some(ui) = &ui {
            self.show(who, ui, entry.meta.clone());
        }
        self.report.finished(who);
    }

    fn show(&mut self, who: &DisplayedNode, ui: &Value, meta: Value) {
        self.outputs.insert(who.id.clone(), ui.clone());
        self.meta.insert(who.id.clone(), meta);
    }

    fn finish(&mut self, who: &DisplayedNode, entry: Arc<CacheEntry>) {
        self.server.cache.keep(self.keys.get(&who.id).copied().flatten(), &entry);
        self.results.insert(who.id.clone(), entry);
        self.executed.push(who.id.clone());
        self.report.finished(who);
    }

    /// Skips the node, because a node before it is blocked.
    fn block(&mut self, who: &DisplayedNode, message: Option<&str>) {
        if let Some(message) = message {
            let data = json!({
                "prompt_id": self.job.id, "node_id": who.id,
                "node_type": self.graph[&who.id]["class_type"], "executed": self.executed,
                "exception_message": format!("Execution Blocked: {message}"),
                "exception_type": "ExecutionBlocked", "traceback": [], "current_inputs": [],
                "current_outputs": [],
            });
            self.report.send("execution_error", &data);
        }
        let class = self.graph[&who.id]["class_type"].as_str().and_then(classes::find);
        let outputs = vec![LinkData::Blocked(None); class.map_or(0, |class| class.outputs.len())];
        let entry = Arc::new(CacheEntry { outputs, ui: None, meta: who.meta() });
        self.results.insert(who.id.clone(), entry);
        self.executed.push(who.id.clone());
        self.report.finished(who);
    }

    /// Replaces the node by new nodes. It ends once they have made its outputs.
    fn expand(&mut self, who: &DisplayedNode, expansion: &NodeExpansion) {
        let named = |id: &str| format!("{}.0.0.{id}", who.id);
        for (id, mut node) in expansion.nodes.iter().cloned() {
            for value in node["inputs"].as_object_mut().into_iter().flat_map(|inputs| inputs.values_mut()) {
                if let Some((source, slot)) = cache::link(value).map(|(source, slot)| (named(source), slot)) {
                    *value = json!([source, slot]);
                }
            }
            let id = named(id);
            self.children.insert(id.clone(), DisplayedNode::child(&id, who));
            self.graph.insert(id, node);
        }
        let links: Vec<_> = expansion.results.iter().map(|(id, slot)| (named(id), *slot)).collect();
        self.order.again(&who.id);
        for (id, node) in &expansion.nodes {
            let class = node["class_type"].as_str().and_then(classes::find);
            if class.is_some_and(|class| class.output_node) {
                self.order.add(&named(id), &self.graph, |id| self.results.contains_key(id));
            }
        }
        for (source, _) in &links {
            self.order.add(source, &self.graph, |id| self.results.contains_key(id));
            self.order.wait(&who.id, source);
        }
        self.expanding.insert(who.id.clone(), links);
    }

    fn tell_failure(&mut self, failure: NodeFailure, (id, inputs): &(String, Value)) {
        let class = self.graph[id]["class_type"].clone();
        let about = json!({ "node_id": id, "node_type": class, "executed": self.executed });
        let NodeFailure::Raised { kind, message } = failure else {
            return self.report.stage("execution_interrupted", about, true);
        };
        let mut fields = about;
        fields["exception_message"] = json!(format!("{message}\n"));
        fields["exception_type"] = json!(kind);
        fields["traceback"] = json!([format!("  File \"simulator\", in {}\n", pyjson::python(&class))]);
        fields["current_inputs"] = inputs.clone();
        fields["current_outputs"] = json!(self.graph.keys().collect::<Vec<_>>());
        self.report.stage("execution_error", fields, false);
    }
}
