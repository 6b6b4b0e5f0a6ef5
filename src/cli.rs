//! The command line: commands and their flags. `main` carries the commands out.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::ConfigFlags;
use crate::simulator::ComfyVersion;

/// A durable REST gateway in front of one or more ComfyUI backends.
#[derive(Debug, Parser)]
#[command(name = "comfy-gateway", version)]
#[command(
    after_help = "Settings come from the file, the environment and flags; later ones override earlier ones.\nFlags may stand before or after the command."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: ConfigFlags,
}

/// A command. The doc comments of its variants and fields are the text of `--help`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM or SIGINT (the default command)
    Serve {
        /// The flags of the configuration.
        #[command(flatten)]
        flags: ConfigFlags,
    },
    /// Run one job on two simulated ComfyUI backends, then keep serving
    Demo {
        /// Exit after the first result, with 0 if the job completed
        #[arg(long)]
        once: bool,
        /// The flags of the configuration.
        #[command(flatten)]
        flags: ConfigFlags,
    },
    /// Simulate a ComfyUI without a GPU
    Simulate(SimulateArgs),
    /// Print the OpenAPI document of the HTTP API
    Openapi {
        /// The format of the document
        #[arg(long, value_enum, default_value_t = OpenapiFormat::Yaml)]
        format: OpenapiFormat,
    },
    /// Ask the gateway at the configured `listen` address whether it is alive; exit with 0 if it is
    Health {
        /// The flags of the configuration.
        #[command(flatten)]
        flags: ConfigFlags,
    },
    /// Print the effective configuration, ask each backend whether it answers, and test the data directory
    Check {
        /// The flags of the configuration.
        #[command(flatten)]
        flags: ConfigFlags,
    },
}

/// The flags of `simulate`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SimulateArgs {
    /// The port to listen on; 0 chooses a free one
    #[arg(long, default_value_t = 8188)]
    pub port: u16,
    /// How long each node takes, in milliseconds
    #[arg(long, value_name = "MS")]
    pub exec_ms: Option<u64>,
    /// The name of the simulated device
    #[arg(long)]
    pub name: Option<String>,
    /// The version of ComfyUI to imitate
    #[arg(long, value_enum)]
    pub version: Option<ComfyVersion>,
    /// Serve routes below `/simulator` that script faults and read recorded requests
    #[arg(long, hide = true)]
    pub control: bool,
    /// Append the start and the end of every run to this file
    #[arg(long, hide = true, value_name = "PATH")]
    pub run_log: Option<PathBuf>,
    /// The folder of its output, temp and input folders; a temporary folder by default
    #[arg(long, hide = true, value_name = "PATH")]
    pub directory: Option<PathBuf>,
}

/// The format of the OpenAPI document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OpenapiFormat {
    /// YAML, like the committed `openapi.yaml`.
    Yaml,
    /// JSON, for generators that do not read YAML.
    Json,
}

impl Cli {
    /// Returns the command, or [`Command::Serve`] if none is named. Flags before and after the command are merged; those
    /// after it override.
    ///
    /// # Errors
    /// A configuration flag is given that the command would ignore.
    pub fn command(self) -> Result<Command, clap::Error> {
        let Self { command, flags: before } = self;
        let command = match command.unwrap_or(Command::Serve { flags: ConfigFlags::default() }) {
            Command::Serve { flags } => Command::Serve { flags: before.merge(flags) },
            Command::Health { flags } => Command::Health { flags: before.merge(flags) },
            Command::Check { flags } => Command::Check { flags: before.merge(flags) },
            Command::Demo { once, flags } => {
                let flags = before.merge(flags);
                let conflict = flags.names().find(|flag| DEMO_CONFLICTS.contains(&flag.as_str()));
                reject(conflict, "demo, which has backends and a data directory of its own")?;
                Command::Demo { once, flags }
            }
            Command::Simulate(args) => {
                reject(before.names().next(), "simulate, which reads no configuration")?;
                Command::Simulate(args)
            }
            Command::Openapi { format } => {
                reject(before.names().next(), "openapi, which reads no configuration")?;
                Command::Openapi { format }
            }
        };
        Ok(command)
    }
}

/// Flags that the demo rejects, because it has backends and a data directory of its own.
const DEMO_CONFLICTS: [&str; 2] = ["--backend", "--data-dir"];

fn reject(flag: Option<String>, command: &str) -> Result<(), clap::Error> {
    let Some(flag) = flag else { return Ok(()) };
    let message = format!("the flag {flag} cannot be used with {command}");
    Err(<Cli as CommandFactory>::command().error(ErrorKind::ArgumentConflict, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::GatewayConfig;

    fn command(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split(' ')).and_then(Cli::command)
    }

    fn config(line: &str) -> GatewayConfig {
        let command = command(line).unwrap();
        let (Command::Serve { flags } | Command::Check { flags } | Command::Demo { flags, .. }) = command
        else {
            panic!("{command:?}")
        };
        GatewayConfig::load(&flags, []).unwrap()
    }

    fn listen(line: &str) -> String {
        config(line).settings.listen.to_string()
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command_for_tests().debug_assert();
    }

    impl Cli {
        fn command_for_tests() -> clap::Command {
            <Self as CommandFactory>::command()
        }
    }

    #[test]
    fn the_default_command_is_serve() {
        assert!(matches!(command("comfy-gateway").unwrap(), Command::Serve { .. }));
        assert_eq!(listen("comfy-gateway --listen 0.0.0.0:1"), "0.0.0.0:1");
    }

    #[test]
    fn flags_before_and_after_the_command_are_merged_and_later_ones_override() {
        for command in ["serve", "check", "demo"] {
            assert_eq!(listen(&format!("comfy-gateway {command} --listen 0.0.0.0:2")), "0.0.0.0:2");
            assert_eq!(listen(&format!("comfy-gateway --listen=0.0.0.0:3 {command}")), "0.0.0.0:3");
            let both = format!("comfy-gateway --listen 0.0.0.0:4 {command} --listen 0.0.0.0:5");
            assert_eq!(listen(&both), "0.0.0.0:5");
        }
        let backends = config("comfy-gateway --backend http://a check --backend http://b").backends;
        assert_eq!(backends.len(), 2);
        let missing = command("comfy-gateway --config /nowhere.toml check").unwrap();
        let Command::Check { flags } = missing else { panic!("{missing:?}") };
        assert!(GatewayConfig::load(&flags, []).unwrap_err().to_string().contains("/nowhere.toml"));
    }

    #[test]
    fn every_command_is_understood() {
        assert!(matches!(command("comfy-gateway demo --once").unwrap(), Command::Demo { once: true, .. }));
        let Command::Simulate(args) =
            command("comfy-gateway simulate --port 1 --exec-ms 5 --name a --version 0.3.64").unwrap()
        else {
            panic!()
        };
        let expected = SimulateArgs {
            port: 1,
            exec_ms: Some(5),
            name: Some("a".to_owned()),
            version: Some(ComfyVersion::V0_3_64),
            control: false,
            run_log: None,
            directory: None,
        };
        assert_eq!(args, expected);
        let openapi = command("comfy-gateway openapi --format json").unwrap();
        assert!(matches!(openapi, Command::Openapi { format: OpenapiFormat::Json }));
    }

    #[test]
    fn unknown_flags_and_flags_that_would_be_ignored_are_rejected() {
        let unknown = command("comfy-gateway --max-bodi 1MiB").unwrap_err().to_string();
        assert!(unknown.contains("'--max-body'"), "{unknown}");
        assert!(command("comfy-gateway simulate --listen 0.0.0.0:1").is_err());
        for line in [
            "comfy-gateway --listen 0.0.0.0:1 simulate",
            "comfy-gateway --log debug openapi",
            "comfy-gateway --backend http://a demo",
            "comfy-gateway demo --data-dir x",
        ] {
            let rejected = command(line).unwrap_err().to_string();
            assert!(rejected.contains("cannot be used with"), "{line}: {rejected}");
        }
    }

    #[test]
    fn the_help_lists_every_setting_with_its_environment_variable_and_its_default() {
        let mut command = Cli::command_for_tests();
        let help = command.render_long_help().to_string();
        for text in [
            "--max-body",
            "COMFY_GATEWAY_MAX_BODY",
            "64MiB",
            "--backend",
            "COMFYUI_BASE_URL",
            "--config",
            "from 1s to 365d, such as",
        ] {
            assert!(help.contains(text), "{text} is missing in\n{help}");
        }
    }
}
