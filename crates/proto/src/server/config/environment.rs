//! The environment variables of a server: one for each key.
//!
//! It depends on `builder` and `suggestion`, and does not read the process environment itself.

use std::ffi::{OsStr, OsString};

use super::builder::{ConfigBuilder, Configuration, Source};
use super::suggestion::{did_you_mean, similar_names};

/// The end of the name of the variable that has the path of the configuration file.
const CONFIG: &str = "CONFIG";

/// The end of the name of a variable that `config/deploy/compose.yaml` reads. It is not for the server, but users
/// export it in the shell from which they may start a server too.
const IMAGE: &str = "IMAGE";

/// Returns the variable of `program` for a key or argument: in capitals, with `_` for `.` and `-`. So `power-server`
/// and `limits.backlog` make `POWER_SERVER_LIMITS_BACKLOG`.
pub(super) fn variable(program: &str, name: &str) -> String {
    format!("{program}_{name}").to_uppercase().replace(['-', '.'], "_")
}

/// Returns the variable that has the path of the configuration file.
pub(super) fn config_variable(program: &str) -> String {
    variable(program, CONFIG)
}

/// Applies the variables of `program` among `variables`, and adds an error for each that has its prefix but is unknown.
pub(super) fn add_variables<C: Configuration>(
    builder: &mut ConfigBuilder<C>,
    program: &str,
    variables: impl Iterator<Item = (OsString, OsString)>,
) {
    let prefix = variable(program, "");
    let [config, image] = [CONFIG, IMAGE].map(|name| variable(program, name));
    let keys: Vec<_> = builder.keys().into_iter().map(|key| (variable(program, &key), key)).collect();
    let mut own: Vec<_> = variables
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| name.starts_with(&prefix))
        .collect();
    // The order of the environment is that of its creation. Errors are in a stable order.
    own.sort();
    for (name, value) in own {
        if let Some((_, key)) = keys.iter().find(|(variable, _)| *variable == name) {
            add_variable(builder, key, name, &value);
        } else if name != config && name != image && !is_service_variable(&name, &value) {
            let hint = if builder.has_enough_errors() { String::new() } else { hint(&name, &prefix, &keys) };
            builder.add_error(Source::Variable(name), format!("unknown variable{hint}"));
        }
    }
}

/// Returns the end of the error for an unknown variable: similar ones, or else an example.
fn hint(name: &str, prefix: &str, keys: &[(String, String)]) -> String {
    let known: Vec<_> = keys.iter().filter_map(|(variable, _)| variable.strip_prefix(prefix)).chain([CONFIG]).collect();
    let similar = similar_names(name.strip_prefix(prefix).unwrap_or(name), &known, '_');
    if similar.is_empty() {
        let example = keys.first().map(|(variable, key)| format!(", such as {variable} for {key}"));
        format!("; each key has one{}", example.unwrap_or_default())
    } else {
        did_you_mean(similar.into_iter().map(|similar| format!("{prefix}{similar}")))
    }
}

/// Whether Kubernetes or Docker sets the variable, for a Service or a linked container. If that has the name of the
/// server, its variables begin like those of the server.
///
/// The names are those of the Kubernetes documentation (*Service*, *Environment variables*) and of Docker (*Legacy
/// container links*, and `links.go` of moby):
///
/// - `*_SERVICE_HOST`, `*_SERVICE_PORT` and `*_SERVICE_PORT_NAME`;
/// - `*_PORT_80_TCP`, and the same with `_PROTO`, `_PORT` or `_ADDR`, and for a range of ports with `_START`, `_END`,
///   `_PORT_START` or `_PORT_END`;
/// - `*_PORT` with a URL, such as `tcp://10.0.0.11:5000`. Without a URL, it is the mistake of a user who wants to set
///   the port;
/// - `*_NAME` with a path, such as `/app/power-server`;
/// - `*_ENV_*`, with a variable of the linked container.
fn is_service_variable(name: &str, value: &OsStr) -> bool {
    const PARTS: [&str; 7] = ["PROTO", "PORT", "ADDR", "START", "END", "PORT_START", "PORT_END"];
    let is_of_service = name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.split_once("_SERVICE_PORT_").is_some_and(|(_, port)| !port.is_empty());
    let is_of_port = name.match_indices("_PORT_").any(|(start, separator)| {
        let mut words = name[start + separator.len()..].splitn(3, '_');
        let is_number = words.next().is_some_and(|word| word.parse::<u16>().is_ok());
        let is_protocol = words.next().is_some_and(|word| matches!(word, "TCP" | "UDP" | "SCTP"));
        let is_part = words.next().is_none_or(|part| PARTS.contains(&part));
        is_number && is_protocol && is_part
    });
    let has = |text: &str| value.to_str().is_some_and(|value| value.contains(text));
    let has_value = (name.ends_with("_PORT") && has("://")) || (name.ends_with("_NAME") && has("/"));
    is_of_service || is_of_port || has_value || name.contains("_ENV_")
}

/// Applies one variable. Where the key takes a text, the value is that text; otherwise it is a TOML value, as in
/// `--set KEY=VALUE`.
pub(super) fn add_variable<C: Configuration>(builder: &mut ConfigBuilder<C>, key: &str, name: String, value: &OsStr) {
    match value.to_str() {
        Some(value) if ConfigBuilder::<C>::is_text(key) => builder.set_string(key, value, Source::Variable(name)),
        Some(value) => builder.set(key, value.trim(), Source::Variable(name)),
        None => builder.add_error(Source::Variable(name), format!("{key}: not valid UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_services_are_those_of_kubernetes_and_docker() {
        for (name, value) in [
            ("POWER_SERVER_SERVICE_HOST", "10.0.0.11"),
            ("POWER_SERVER_SERVICE_PORT", "5000"),
            ("POWER_SERVER_SERVICE_PORT_POWER", "5000"),
            ("POWER_SERVER_PORT", "tcp://10.0.0.11:5000"),
            ("POWER_SERVER_PORT_5000_TCP", "tcp://10.0.0.11:5000"),
            ("POWER_SERVER_PORT_5000_TCP_PROTO", "tcp"),
            ("POWER_SERVER_PORT_5000_UDP_PORT", "5000"),
            ("POWER_SERVER_PORT_5000_SCTP_ADDR", "10.0.0.11"),
            // Those of a Service with the name power-server-metrics.
            ("POWER_SERVER_METRICS_SERVICE_HOST", "10.0.0.11"),
            ("POWER_SERVER_METRICS_PORT_9500_TCP_ADDR", "10.0.0.11"),
            // Those of a linked container.
            ("POWER_SERVER_NAME", "/app/power-server"),
            ("POWER_SERVER_ENV_FOO", "1"),
            ("POWER_SERVER_PORT_5000_TCP_START", "tcp://10.0.0.11:5000"),
            ("POWER_SERVER_PORT_5000_TCP_END", "tcp://10.0.0.11:5001"),
            ("POWER_SERVER_PORT_5000_TCP_PORT_START", "5000"),
            ("POWER_SERVER_PORT_5000_UDP_PORT_END", "5001"),
        ] {
            assert!(is_service_variable(name, value.as_ref()), "{name}");
        }
        for name in [
            "POWER_SERVER_PORT",
            "POWER_SERVER_LISTEN_PORT",
            "POWER_SERVER_HOST",
            "POWER_SERVER_SERVICE",
            "POWER_SERVER_SERVICE_PORT_",
            "POWER_SERVER_PORT_5000",
            "POWER_SERVER_PORT_X_TCP",
            "POWER_SERVER_PORT_5000_HTTP",
            "POWER_SERVER_PORT_5000_TCP_NAME",
            "POWER_SERVER_PORT_5000_TCP_ADDR_2",
            "POWER_SERVER_PORT_5000_TCP_PORT_",
            "POWER_SERVER_PORT_5000_TCP_",
            "POWER_SERVER_NAME",
            "POWER_SERVER_ENV",
            "POWER_SERVER_ENVIRONMENT",
            "POWER_SERVER_PORT_99999_TCP",
        ] {
            assert!(!is_service_variable(name, "5000".as_ref()), "{name}");
        }
    }
}
