//! The command line: which command, with which flags. It must not do what the commands do.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::ConfigFlags;
use crate::simulator::ComfyVersion;

/// A durable REST gateway in front of one or more ComfyUI servers.
#[derive(Debug, Parser)]
#[command(name = "comfy-gateway", version)]
#[command(
    after_help = "Settings come from the file, the environment and flags, each outweighing the ones before.\nFlags may stand before or after the command."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: ConfigFlags,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until told to stop; this is done when no command is given
    Serve {
        /// The configuration's flags.
        #[command(flatten)]
        flags: ConfigFlags,
    },
    /// Show the gateway at work on two simulated ComfyUI servers
    Demo {
        /// Exit after the first result: with 0 if all went well
        #[arg(long)]
        once: bool,
        /// The configuration's flags.
        #[command(flatten)]
        flags: ConfigFlags,
    },
    /// Be a ComfyUI server without a GPU
    Simulate(SimulateArgs),
    /// Print the description of the HTTP interface
    Openapi {
        /// Its form
        #[arg(long, value_enum, default_value_t = OpenapiFormat::Yaml)]
        format: OpenapiFormat,
    },
    /// Ask the gateway that listens where the configuration says whether it is alive; exit with 0 if it is
    Health {
        /// The configuration's flags.
        #[command(flatten)]
        flags: ConfigFlags,
    },
    /// Print the effective configuration and ask each ComfyUI server whether it answers
    Check {
        /// The configuration's flags.
        #[command(flatten)]
        flags: ConfigFlags,
    },
}

/// How the simulated server behaves.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SimulateArgs {
    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8188)]
    pub port: u16,
    /// How long each node takes, in milliseconds; the simulator's own choice if not given
    #[arg(long, value_name = "MS")]
    pub exec_ms: Option<u64>,
    /// What the server calls its device
    #[arg(long)]
    pub name: Option<String>,
    /// The version of ComfyUI it behaves as
    #[arg(long, value_enum)]
    pub version: Option<ComfyVersion>,
    /// Let faults be scripted and what was seen be read below `/simulator`
    #[arg(long, hide = true)]
    pub control: bool,
    /// Append the beginning and end of every run to this file
    #[arg(long, hide = true, value_name = "PATH")]
    pub run_log: Option<PathBuf>,
    /// Where its output, temp and input folders are, instead of a temporary folder of its own
    #[arg(long, hide = true, value_name = "PATH")]
    pub directory: Option<PathBuf>,
}

/// The form of the description of the HTTP interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OpenapiFormat {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

impl Cli {
    /// The command, which is to serve when none is named. Flags before the command count like those after it, which
    /// outweigh them.
    ///
    /// # Errors
    /// A flag that the command would ignore.
    pub fn command(self) -> Result<Command, clap::Error> {
        let Self { command, flags: before } = self;
        let command = match command.unwrap_or(Command::Serve { flags: ConfigFlags::default() }) {
            Command::Serve { flags } => Command::Serve { flags: before.merge(flags) },
            Command::Health { flags } => Command::Health { flags: before.merge(flags) },
            Command::Check { flags } => Command::Check { flags: before.merge(flags) },
            Command::Demo { once, flags } => {
                let flags = before.merge(flags);
                let own = flags.names().find(|flag| OF_THE_DEMO.contains(&flag.as_str()));
                refuse(own, "demo, which has two simulated servers and a data directory of its own")?;
                Command::Demo { once, flags }
            }
            Command::Simulate(args) => {
                refuse(before.names().next(), "simulate, which has no configuration")?;
                Command::Simulate(args)
            }
            Command::Openapi { format } => {
                refuse(before.names().next(), "openapi, which has no configuration")?;
                Command::Openapi { format }
            }
        };
        Ok(command)
    }
}

/// Flags that the demo cannot take, because it brings these things itself.
const OF_THE_DEMO: [&str; 2] = ["--backend", "--data-dir"];

fn refuse(flag: Option<String>, command: &str) -> Result<(), clap::Error> {
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
    fn serving_is_what_is_done_without_a_command() {
        assert!(matches!(command("comfy-gateway").unwrap(), Command::Serve { .. }));
        assert_eq!(listen("comfy-gateway --listen 0.0.0.0:1"), "0.0.0.0:1");
    }

    #[test]
    fn flags_count_before_and_after_the_command_and_those_after_it_outweigh() {
        for command in ["serve", "check", "demo"] {
            assert_eq!(listen(&format!("comfy-gateway {command} --listen 0.0.0.0:2")), "0.0.0.0:2");
            assert_eq!(listen(&format!("comfy-gateway --listen=0.0.0.0:3 {command}")), "0.0.0.0:3");
            let both = format!("comfy-gateway --listen 0.0.0.0:4 {command} --listen 0.0.0.0:5");
            assert_eq!(listen(&both), "0.0.0.0:5");
        }
        let servers = config("comfy-gateway --backend http://a check --backend http://b").backends;
        assert_eq!(servers.len(), 2);
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
    fn unknown_flags_and_flags_that_would_be_ignored_are_refused() {
        let unknown = command("comfy-gateway --max-bodi 1MiB").unwrap_err().to_string();
        assert!(unknown.contains("'--max-body'"), "{unknown}");
        assert!(command("comfy-gateway simulate --listen 0.0.0.0:1").is_err());
        for line in [
            "comfy-gateway --listen 0.0.0.0:1 simulate",
            "comfy-gateway --log debug openapi",
            "comfy-gateway --backend http://a demo",
            "comfy-gateway demo --data-dir x",
        ] {
            let refused = command(line).unwrap_err().to_string();
            assert!(refused.contains("cannot be used with"), "{line}: {refused}");
        }
    }

    #[test]
    fn the_help_tells_of_every_setting_its_name_in_the_environment_and_its_default() {
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
