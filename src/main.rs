//! The command line of comfy-gateway: parses it, loads the configuration and hands over to the command.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use comfy_gateway::check;
use comfy_gateway::cli::{Cli, Command};
use comfy_gateway::clock::{Clock, SystemClock};
use comfy_gateway::config::{Config, Flags};

fn main() -> ExitCode {
    match run(Cli::parse().command()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("comfy-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match command {
        Command::Check { flags } => run_check(&flags),
        Command::Serve { .. } | Command::Demo { .. } | Command::Simulate(_) | Command::Openapi { .. } => {
            Err("this build does not have that command".into())
        }
    }
}

fn configuration(flags: &Flags) -> Result<Config, Box<dyn std::error::Error>> {
    Ok(Config::load(flags, std::env::vars_os())?)
}

fn run_check(flags: &Flags) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let config = configuration(flags)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(check::check(&config, &clock));
    print!("{}", report.text);
    Ok(if report.usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
