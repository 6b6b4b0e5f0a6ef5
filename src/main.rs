//! The command line of comfy-gateway: parses it, loads the configuration and hands over to the command.

use std::future::Future;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use comfy_gateway::api::openapi;
use comfy_gateway::app::{App, AppSettings};
use comfy_gateway::cli::{Cli, Command, OpenapiFormat, SimulateArgs};
use comfy_gateway::clock::{Clock, SystemClock};
use comfy_gateway::config::{ConfigFlags, GatewayConfig};
use comfy_gateway::random::Random;
use comfy_gateway::reload::ConfigReload;
use comfy_gateway::simulator::{Simulator, SimulatorConfig};
use comfy_gateway::{check, demo, health, signals, telemetry};
use tokio::net::TcpListener;

type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let command = Cli::parse().command().unwrap_or_else(|error| error.exit());
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("comfy-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Serve { flags } => serve(&flags),
        Command::Demo { once, flags } => demonstrate(once, &flags),
        Command::Simulate(args) => simulate(args),
        Command::Openapi { format } => {
            print!("{}", if format == OpenapiFormat::Yaml { openapi::yaml() } else { openapi::json() });
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { flags } => run_check(&flags),
        Command::Health { flags } => ask_health(&flags),
    }
}

fn configuration(flags: &ConfigFlags) -> Result<GatewayConfig, Box<dyn std::error::Error>> {
    Ok(GatewayConfig::load(flags, std::env::vars_os())?)
}

fn system_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// Runs `work` on a runtime of its own. Tasks that are left when it ends are not awaited.
fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(result)
}

fn serve(flags: &ConfigFlags) -> Outcome {
    let config = configuration(flags)?;
    let log = telemetry::init(&config.settings)?;
    block_on(async {
        let shutdown = signals::shutdown()?;
        let mut reloads = signals::reloads()?;
        let address = config.settings.listen;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| format!("cannot listen on {address}: {error}"))?;
        let settings = AppSettings::from(config.clone());
        let app = App::start(settings, listener, system_clock(), Arc::new(Random::from_os())).await?;
        let mut reload = ConfigReload { flags: flags.clone(), config, log, servers: app.servers() };
        let reloading = async move {
            while reloads.recv().await.is_some() {
                reload.reload(std::env::vars_os());
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = app.run_until_stopped(shutdown) => ended?,
            () = reloading => {}
        }
        Ok(ExitCode::SUCCESS)
    })?
}

fn demonstrate(once: bool, flags: &ConfigFlags) -> Outcome {
    let config = configuration(flags)?;
    // The demo shows its own lines; log lines appear between them only on request.
    if config.is_given("log") || config.is_given("log_format") {
        telemetry::init(&config.settings)?;
    }
    block_on(async {
        let shutdown = signals::shutdown()?;
        demo::run(once, flags, std::env::vars_os(), system_clock(), shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })?
}

fn simulate(args: SimulateArgs) -> Outcome {
    let usual = SimulatorConfig::default();
    let config = SimulatorConfig {
        name: args.name.unwrap_or(usual.name),
        version: args.version.unwrap_or_default(),
        exec: args.exec_ms.map_or(usual.exec, Duration::from_millis),
        control: args.control,
        run_log: args.run_log,
        directory: args.directory,
        ..usual
    };
    block_on(async {
        let shutdown = signals::shutdown()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))
            .await
            .map_err(|error| format!("cannot listen on port {}: {error}", args.port))?;
        let simulator = Simulator::start(listener, config, system_clock())?;
        println!("a simulated ComfyUI at {}", simulator.url());
        tokio::select! {
            () = shutdown => {}
            () = simulator.crashed() => {}
        }
        simulator.stop().await;
        Ok(ExitCode::SUCCESS)
    })?
}

fn ask_health(flags: &ConfigFlags) -> Outcome {
    let listen = configuration(flags)?.settings.listen;
    block_on(health::ask(listen))??;
    Ok(ExitCode::SUCCESS)
}

fn run_check(flags: &ConfigFlags) -> Outcome {
    let config = configuration(flags)?;
    let report = block_on(check::check(&config, &system_clock()))?;
    print!("{}", report.text);
    Ok(if report.usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
