//! The arguments that every server takes, and the loading of a configuration.
//!
//! It depends on `builder`, `environment`, `file`, `sections`, `tls` and the process environment. [`CommandLine::load`]
//! defines the precedence of the sources.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::server::config::builder::{ConfigBuilder, ConfigErrors, Configuration, Source, Sources};
use crate::server::config::environment::{add_variable, add_variables, config_variable, variable};
use crate::server::config::file::read_text;
use crate::server::config::sections::ServerConfig;
use crate::server::config::tls::ServerTls;
use crate::server::config::usage::exit_code_of_output;

/// The arguments of every server. Each server adds those for its listeners.
///
/// The values are strings here, and the configuration parses them: it reports all invalid values of all sources
/// together, each with its source. clap stops at the first invalid value and does not name its environment variable.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Read the configuration from this file
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,

    /// Log level: error, warn, info, debug, trace or off, or directives as in `RUST_LOG`
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Log format: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// Endpoints for health checks and metrics, separated by commas ("" for off)
    #[arg(long, value_name = "ENDPOINTS")]
    pub admin_listen: Option<String>,

    /// Set a configuration key, as in `--set limits.max_connections=100`; may be repeated. A specific argument, such as
    /// --log-level, overrides it in any order
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Print the effective configuration as TOML, with the source of each value, and exit
    #[arg(long)]
    pub check_config: bool,

    /// Send a request to the running server; exit with 0 if the reply is correct or the server is full, 1 if not
    #[arg(long, conflicts_with = "check_config")]
    pub healthcheck: bool,
}

/// An argument that sets one key.
#[derive(Clone, Debug)]
pub struct Override {
    /// The argument without its dashes, such as `solo-listen`.
    pub argument: &'static str,
    /// The key, such as `solo.listen`.
    pub key: &'static str,
    /// The argument's value, if it is given.
    pub value: Option<String>,
}

/// The command line of a server.
#[derive(Clone, Debug)]
pub struct CommandLine {
    /// The program's name. The names of the environment variables and of the default file derive from it.
    pub program: &'static str,
    /// The arguments that every server takes.
    pub options: Options,
    /// The arguments that only this server takes.
    pub overrides: Vec<Override>,
}

/// A configuration, its file, and the contents of its TLS files.
#[derive(Debug)]
pub struct Loaded<C> {
    /// The configuration.
    pub config: C,
    /// The contents of the files of `[tls]`.
    pub tls: ServerTls,
    /// The sources of its values.
    pub sources: Sources,
    /// The file, or `None` if the file at the default path is missing.
    pub file: Option<PathBuf>,
}

/// The variable by which Rust programs commonly set their log filter. The variable named after the program has
/// precedence.
const RUST_LOG: &str = "RUST_LOG";

/// The key that it sets.
const LOG_LEVEL: &str = "log.level";

impl CommandLine {
    /// Loads the configuration: the defaults, then the file, the environment and the arguments. Reads the files of
    /// `[tls]`.
    ///
    /// # Errors
    ///
    /// Returns all errors of all sources, or only the file's if it cannot be read. Without any, returns the error of
    /// the files of `[tls]`.
    pub fn load<C: ServerConfig>(&self) -> Result<Loaded<C>, ConfigErrors> {
        let (builder, file) = self.builder()?;
        let (config, tls, sources) = builder.build_with(|config: &C| {
            config.check_files()?;
            ServerTls::read(config.tls(), &config.admin().client_ca)
        })?;
        Ok(Loaded { config, tls, sources, file })
    }

    /// Loads the configuration for a health check, which needs no file of `[tls]`: a running server keeps its
    /// certificate while a bad one is in the file.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load), except for the files of `[tls]`.
    pub(crate) fn load_for_healthcheck<C: ServerConfig>(&self) -> Result<C, ConfigErrors> {
        self.builder()?.0.build()
    }

    /// Merges all sources. Returns the file too.
    fn builder<C: ServerConfig>(&self) -> Result<(ConfigBuilder<C>, Option<PathBuf>), ConfigErrors> {
        let mut builder = ConfigBuilder::from_defaults();

        let file = self.add_file(&mut builder)?;
        // Other programs use this variable too, so an empty value counts as unset, and so does any value if the
        // server's own variable is set.
        if let Some(value) = env::var_os(RUST_LOG).filter(|value| !value.is_empty())
            && env::var_os(variable(self.program, LOG_LEVEL)).is_none()
        {
            add_variable(&mut builder, LOG_LEVEL, RUST_LOG.to_owned(), &value);
        }
        add_variables(&mut builder, self.program, env::vars_os());
        for argument in &self.options.set {
            let source = Source::Argument(format!("--set {argument}"));
            match argument.split_once('=') {
                // The password of a URL without its key can have an `=`. No key has a colon.
                Some((key, value)) if !key.trim().is_empty() && !key.contains(':') => {
                    builder.set(key.trim(), value.trim(), source);
                }
                _ => builder.add_error(source, "write KEY=VALUE, as in limits.max_connections=100".to_owned()),
            }
        }
        for Override { argument, key, value } in self.all_overrides() {
            if let Some(value) = value {
                builder.set_string(key, &value, Source::Argument(format!("--{argument}")));
            }
        }
        Ok((builder, file))
    }

    /// Returns the arguments that set one key each.
    fn all_overrides(&self) -> Vec<Override> {
        let Options { log_level, log_format, admin_listen, .. } = &self.options;
        let shared = [
            Override { argument: "log-level", key: LOG_LEVEL, value: log_level.clone() },
            Override { argument: "log-format", key: "log.format", value: log_format.clone() },
            Override { argument: "admin-listen", key: "admin.listen", value: admin_listen.clone() },
        ];
        self.overrides.iter().cloned().chain(shared).collect()
    }

    /// Returns the argument that sets a key of endpoints, as in `--listen` or `--set KEY=ENDPOINT`.
    pub(crate) fn argument_of(&self, key: &str) -> String {
        let own = self.all_overrides().into_iter().find(|own| own.key == key);
        own.map_or_else(|| format!("--set {key}=ENDPOINT"), |own| format!("--{}", own.argument))
    }

    /// Adds the file. Only the file at the default path may be missing.
    fn add_file<C: Configuration>(&self, builder: &mut ConfigBuilder<C>) -> Result<Option<PathBuf>, ConfigErrors> {
        let variable = config_variable(self.program);
        let (path, set_by) = match (&self.options.config, env::var_os(&variable).filter(|path| !path.is_empty())) {
            (Some(path), _) => (path.clone(), Some("--config".to_owned())),
            (None, Some(path)) => (path.into(), Some(format!("environment variable {variable}"))),
            (None, None) => (Path::new("config").join(self.program).with_extension("toml"), None),
        };
        match read_text(&path) {
            Ok(text) => {
                builder.add_file(&path, &text);
                Ok(Some(path))
            }
            Err(error) if set_by.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let prefix = set_by.map(|source| format!("{source}: ")).unwrap_or_default();
                Err(ConfigErrors::one(format!("{prefix}cannot read {}: {error}", path.display())))
            }
        }
    }
}

/// Prints the errors to standard error, and returns exit code 2, as for any wrong usage.
#[must_use]
pub(crate) fn report_errors(program: &str, errors: &ConfigErrors) -> ExitCode {
    // The log cannot start, because its configuration may be invalid. If standard error is closed, only the exit code
    // remains.
    let _ = writeln!(io::stderr(), "{program}: invalid configuration:\n{errors}");
    ExitCode::from(2)
}

/// Prints a configuration to standard output. A closed pipe is not an error.
pub(crate) fn print_config<C: Configuration>(program: &str, config: &C, sources: &Sources) -> ExitCode {
    let text = config_text(config, sources).map_err(io::Error::other);
    exit_code_of_output(program, text.and_then(|text| io::stdout().write_all(text.as_bytes())))
}

/// Returns a configuration as TOML, with the source of each value, and without secrets.
pub(crate) fn config_text<C: Configuration>(config: &C, sources: &Sources) -> Result<String, toml::ser::Error> {
    toml::to_string(config).map(|text| sources.annotate(&text))
}
