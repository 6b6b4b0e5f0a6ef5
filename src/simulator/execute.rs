//! The worker: takes one job after the other, runs its nodes, tells about it and writes the history entry.
//!
//! The order of messages is ComfyUI's: `execution_success` goes out *before* the history entry is written,
//! `executing {node: null}` after it. It must not know of HTTP.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::cache::{self, Entry, Key};
use super::classes;
use super::faults::JobPlan;
use super::nodes::{self, Data, Expansion, Failure, Inputs, Produced, Stage, out_of_memory, raised};
use super::order::Order;
use super::pyjson;
use super::queue::Job;
use super::report::{Report, Who};
use super::run_log::Happened;
use super::server::Server;

/// Runs jobs until the server's life ends.
pub(super) async fn work(server: Arc<Server>) {
    loop {
        let job = server.queue.take().await;
        server.tell_status();
        tokio::select! {
            () = run(&server, &job) => {}
            () = job.forgotten.cancelled() => {
                server.happened(&job, Happened::Dropped);
                server.now_running(None, None);
            }
        }
    }
}

async fn run(server: &Server, job: &Job) {
    let world = &server.world;
    server.reset_interrupt();
    server.now_running(job.client_id.as_deref(), None);
    server.happened(job, Happened::Started);
    world.recorder.note(|record| record.run(&job.id).started += 1);
    world.faults.unstuck().await;
    let mut execution = Execution::new(server, job);
    let happened = match execution.run().await {
        Ok(()) => {
            execution.report.stage("execution_success", json!({}), false);
            Happened::Succeeded
        }
        Err((Failure::Crashed, _)) => return server.crash().await,
        Err((failure, at)) => {
            let interrupted = matches!(failure, Failure::Interrupted);
            execution.tell_failure(failure, &at);
            if interrupted { Happened::Interrupted } else { Happened::Failed }
        }
    };
    let success = happened == Happened::Succeeded;
    if !world.config.history_gap.is_zero() {
        world.clock.sleep(world.config.history_gap).await;
    }
    let Execution { report, outputs, meta, .. } = execution;
    let over = Report::new(server, job);
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

/// One job on its way.
struct Execution<'a> {
    server: &'a Server,
    job: &'a Job,
    report: Report<'a>,
    graph: Map<String, Value>,
    children: HashMap<String, Who>,
    expanding: HashMap<String, Vec<(String, i64)>>,
    keys: HashMap<String, Key>,
    results: HashMap<String, Arc<Entry>>,
    order: Order,
    executed: Vec<String>,
    outputs: Map<String, Value>,
    meta: Map<String, Value>,
    plan: JobPlan,
    ran: usize,
}

/// What went wrong, and at which node with which inputs.
type Ended<T> = Result<T, (Failure, (String, Value))>;

impl<'a> Execution<'a> {
    fn new(server: &'a Server, job: &'a Job) -> Self {
        Self {
            server,
            job,
            report: Report::new(server, job),
            graph: job.graph.clone(),
            children: HashMap::new(),
            expanding: HashMap::new(),
            keys: cache::keys(&job.graph, &server.world.files),
            results: HashMap::new(),
            order: Order::default(),
            executed: Vec::new(),
            outputs: Map::new(),
            meta: Map::new(),
            plan: server.world.faults.plan(),
            ran: 0,
        }
    }

    async fn run(&mut self) -> Ended<()> {
        self.report.stage("execution_start", json!({}), false);
        self.results = self.server.cache.begin(&self.keys);
        let cached: Vec<_> = self.graph.keys().filter(|id| self.results.contains_key(*id)).collect();
        self.report.stage("execution_cached", json!({ "nodes": cached }), false);
        for id in &self.job.outputs {
            self.order.add(id, &self.graph, |id| self.results.contains_key(id));
        }
        while let Some(id) = self.order.next(&self.graph) {
            let who = self.children.get(&id).cloned().unwrap_or_else(|| Who::plain(&id));
            self.node(&who).await?;
            self.order.done(&id);
        }
        Ok(())
    }

    async fn node(&mut self, who: &Who) -> Ended<()> {
        if let Some(links) = self.expanding.remove(&who.id) {
            let outputs = links.iter().map(|(source, slot)| self.output(source, *slot)).collect();
            let entry = Arc::new(Entry { outputs, ui: None, meta: who.meta() });
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
            Produced { expansion: Some(expansion), .. } => self.expand(who, &expansion),
            Produced { outputs, ui, .. } => {
                if let Some(ui) = &ui {
                    self.show(who, ui, who.meta());
                    self.report.executed(who, ui);
                }
                self.finish(who, Arc::new(Entry { outputs, ui, meta: who.meta() }));
            }
        }
        Ok(())
    }

    async fn produce(&mut self, who: &Who, inputs: &Inputs) -> Result<Produced, Failure> {
        if self.plan.crash_after == Some(self.ran) {
            return Err(Failure::Crashed);
        }
        self.ran += 1;
        if self.server.is_interrupted() {
            return Err(Failure::Interrupted);
        }
        if self.plan.out_of_memory {
            return out_of_memory("Allocation on device 0 would exceed allowed memory. (out of memory)");
        }
        if self.plan.node_error {
            return raised("RuntimeError", "a scripted fault of the simulator");
        }
        let class = pyjson::python(&self.graph[&who.id]["class_type"]);
        let stage = Stage { server: self.server, job: self.job, report: &mut self.report, who };
        let mut produced = nodes::run(&class, inputs, stage).await?;
        if let Some(Value::Object(ui)) = &mut produced.ui
            && self.plan.nan
        {
            ui.insert("nan".to_owned(), json!([pyjson::nan()]));
        }
        Ok(produced)
    }

    /// The node's inputs, links followed.
    fn inputs(&self, id: &str) -> Inputs {
        let fields = self.graph[id]["inputs"].as_object();
        let taken = self.graph[id]["class_type"].as_str().and_then(classes::find);
        let known =
            |name: &str| taken.is_some_and(|class| class.inputs.iter().any(|input| input.name == name));
        let inputs = fields.into_iter().flatten().filter(|(name, _)| known(name)).map(|(name, value)| {
            let data = match cache::link(value) {
                Some((source, slot)) => self.output(source, slot),
                None => Data::Json(value.clone()),
            };
            (name.clone(), data)
        });
        Inputs(inputs.collect())
    }

    fn output(&self, source: &str, slot: i64) -> Data {
        let outputs = self.results.get(source).map_or(&[][..], |entry| &entry.outputs);
        let at = super::validate::output_at(outputs.len(), slot);
        at.map_or(Data::Json(Value::Null), |at| outputs[at].clone())
    }

    fn replay(&mut self, who: &Who, entry: &Entry) {
        let ui = entry.ui.clone();
        self.report.executed(who, ui.as_ref().unwrap_or(&Value::Null));
        if let Some(ui) = &ui {
            self.show(who, ui, entry.meta.clone());
        }
        self.report.finished(who);
    }

    fn show(&mut self, who: &Who, ui: &Value, meta: Value) {
        self.outputs.insert(who.id.clone(), ui.clone());
        self.meta.insert(who.id.clone(), meta);
    }

    fn finish(&mut self, who: &Who, entry: Arc<Entry>) {
        self.server.cache.keep(self.keys.get(&who.id).copied().flatten(), &entry);
        self.results.insert(who.id.clone(), entry);
        self.executed.push(who.id.clone());
        self.report.finished(who);
    }

    /// The node does not run, because something before it was blocked.
    fn block(&mut self, who: &Who, message: Option<&str>) {
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
        let outputs = vec![Data::Blocked(None); class.map_or(0, |class| class.outputs.len())];
        let entry = Arc::new(Entry { outputs, ui: None, meta: who.meta() });
        self.results.insert(who.id.clone(), entry);
        self.executed.push(who.id.clone());
        self.report.finished(who);
    }

    /// Puts new nodes in the node's place; it ends when they have given its outputs.
    fn expand(&mut self, who: &Who, expansion: &Expansion) {
        let named = |id: &str| format!("{}.0.0.{id}", who.id);
        for (id, mut node) in expansion.nodes.iter().cloned() {
            for value in node["inputs"].as_object_mut().into_iter().flat_map(|inputs| inputs.values_mut()) {
                if let Some((source, slot)) = cache::link(value).map(|(source, slot)| (named(source), slot)) {
                    *value = json!([source, slot]);
                }
            }
            let id = named(id);
            self.children.insert(id.clone(), Who::child(&id, who));
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

    fn tell_failure(&mut self, failure: Failure, (id, inputs): &(String, Value)) {
        let class = self.graph[id]["class_type"].clone();
        let about = json!({ "node_id": id, "node_type": class, "executed": self.executed });
        let Failure::Raised { kind, message } = failure else {
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
