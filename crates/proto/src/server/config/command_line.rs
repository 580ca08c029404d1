//! The arguments that both servers take, and how they become a configuration.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::server::config::builder::{ConfigBuilder, ConfigErrors, Configuration, Source};

/// The arguments of both servers; each adds those for its own listeners.
///
/// The values that set a key are plain texts here, and the configuration parses them: it reports all wrong values of all
/// sources at once, each with its source. clap stops at the first one and does not name its environment variable.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Read the configuration from this file
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,

    /// The least important log lines to write: error, warn, info, debug or trace, or directives as in `RUST_LOG`
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// How to write the log: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// Where to listen for health checks and metrics ("" for off)
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,

    /// Set any key of the configuration, as in `--set limits.max_connections=100`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Print the effective configuration as TOML and exit
    #[arg(long)]
    pub check_config: bool,

    /// Ask the running server a question over its own protocol; exit with 0 if it answers right, 1 if not
    #[arg(long, conflicts_with = "check_config")]
    pub healthcheck: bool,
}

/// An argument that sets one key. An environment variable of the same name sets it too.
#[derive(Clone, Debug)]
pub struct Override {
    /// The argument without its dashes: `solo-listen`.
    pub argument: &'static str,
    /// The key: `solo.listen`.
    pub key: &'static str,
    /// The value of the argument.
    pub value: Option<String>,
}

/// The command line of a server's program.
#[derive(Clone, Debug)]
pub struct CommandLine {
    /// The program's name. It also names the environment variables and the default file.
    pub program: &'static str,
    /// The arguments that both servers take.
    pub options: Options,
    /// The arguments of this server alone.
    pub overrides: Vec<Override>,
}

/// A configuration, and whether a file had a part in it.
#[derive(Debug)]
pub struct Loaded<C> {
    /// The configuration.
    pub config: C,
    /// The file; `None` where the default file is missing, and the built-in defaults serve.
    pub file: Option<PathBuf>,
}

/// The variable for the filter of the log that every Rust program reads. The one named after the program goes over it.
const RUST_LOG: &str = "RUST_LOG";

/// A configuration file larger than this is none.
const MAX_FILE_BYTES: u64 = 1 << 20;

impl CommandLine {
    /// Loads the configuration: the defaults, then the file, the environment and the arguments.
    ///
    /// # Errors
    ///
    /// All problems that were found.
    pub fn load<C: Configuration>(&self) -> Result<Loaded<C>, ConfigErrors> {
        let Options { log_level, log_format, admin_listen, set, .. } = &self.options;
        let mut builder = ConfigBuilder::from_defaults();

        let file = self.add_file(&mut builder)?;
        let shared = [
            Override { argument: "log-level", key: "log.level", value: log_level.clone() },
            Override { argument: "log-format", key: "log.format", value: log_format.clone() },
            Override { argument: "admin-listen", key: "admin.listen", value: admin_listen.clone() },
        ];
        let overrides = || self.overrides.iter().chain(&shared);
        // Other programs share this variable: an empty one counts as unset, and it is read only in place of our own.
        if let Some(value) = env::var_os(RUST_LOG).filter(|value| !value.is_empty())
            && env::var_os(self.variable("log-level")).is_none()
        {
            add_variable(&mut builder, "log.level", RUST_LOG.to_owned(), &value);
        }
        for Override { argument, key, .. } in overrides() {
            let name = self.variable(argument);
            if let Some(value) = env::var_os(&name) {
                add_variable(&mut builder, key, name, &value);
            }
        }
        for argument in set {
            let source = Source::Argument(format!("--set {argument}"));
            match argument.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => builder.set(key.trim(), value.trim(), source),
                _ => builder.add_error(source, "write KEY=VALUE, as in limits.max_connections=100".to_owned()),
            }
        }
        for Override { argument, key, value } in overrides() {
            if let Some(value) = value {
                builder.set_string(key, value, Source::Argument(format!("--{argument}")));
            }
        }
        Ok(Loaded { config: builder.build()?, file })
    }

    /// Lays the file over the defaults; only the one at the default path may be missing.
    fn add_file<C: Configuration>(&self, builder: &mut ConfigBuilder<C>) -> Result<Option<PathBuf>, ConfigErrors> {
        let variable = self.variable("config");
        let (path, named_by) = match (&self.options.config, env::var_os(&variable).filter(|path| !path.is_empty())) {
            (Some(path), _) => (path.clone(), Some("--config".to_owned())),
            (None, Some(path)) => (path.into(), Some(format!("environment variable {variable}"))),
            (None, None) => (Path::new("config").join(self.program).with_extension("toml"), None),
        };
        match read(&path) {
            Ok(text) => {
                builder.add_file(&path, &text);
                Ok(Some(path))
            }
            Err(error) if named_by.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let named_by = named_by.map(|by| format!("{by}: ")).unwrap_or_default();
                Err(ConfigErrors::one(format!("{named_by}cannot read {}: {error}", path.display())))
            }
        }
    }

    /// The name of the environment variable for `argument`.
    fn variable(&self, argument: &str) -> String {
        format!("{}-{argument}", self.program).to_uppercase().replace('-', "_")
    }
}

fn add_variable<C: Configuration>(builder: &mut ConfigBuilder<C>, key: &str, name: String, value: &OsStr) {
    match value.to_str() {
        Some(value) => builder.set_string(key, value, Source::Variable(name)),
        None => builder.add_error(Source::Variable(name), format!("{key}: this is no UTF-8 text")),
    }
}

/// Says on standard error what is wrong with the configuration of `program`, and gives the exit code for it: 2, as for
/// any wrong use.
#[expect(clippy::print_stderr, reason = "there is no log yet: its configuration is part of what is wrong")]
#[must_use]
pub(crate) fn report_errors(program: &str, problems: &ConfigErrors) -> ExitCode {
    eprintln!("{program}: invalid configuration:\n{problems}");
    ExitCode::from(2)
}

/// Prints a configuration to standard output as TOML; a reader that has gone is no error.
pub(crate) fn print_config<C: Configuration>(config: &C) -> ExitCode {
    let printed =
        toml::to_string(config).map_err(io::Error::other).and_then(|text| io::stdout().write_all(text.as_bytes()));
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}
