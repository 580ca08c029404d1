//! Properties of the configuration reader.

use std::fmt::Debug;

use crate::server::config::{ConfigBuilder, ConfigErrors, Configuration, Source, Sources};
use toml::{Table, Value};

/// The name of the configuration file.
const FILE: &str = "a.toml";

/// Checks that valid input is printed and read without loss, and that the errors of invalid input name their source.
///
/// Leading lines of the form `-KEY=VALUE` are command-line arguments, those of the form `$KEY=VALUE` are environment
/// variables. The other lines are the configuration file; no key of a valid file begins with `-` or `$`.
pub fn check<C: Configuration + PartialEq + Debug>(data: &[u8]) {
    let Ok(mut file) = str::from_utf8(data) else { return };
    let mut settings = Vec::new();
    while let Some((setting, rest)) = file.split_once('\n').filter(|(setting, _)| setting.starts_with(['-', '$'])) {
        settings.extend(setting[1..].split_once('=').map(|(key, value)| (setting.starts_with('$'), key, value)));
        file = rest;
    }

    let mut builder = ConfigBuilder::<C>::from_defaults();
    builder.add_file(FILE.as_ref(), file);
    for (from_variable, key, value) in &settings {
        if *from_variable {
            builder.set_string(key, value, Source::Variable("VARIABLE".to_owned()));
        } else {
            builder.set(key, value, Source::Argument("--set".to_owned()));
        }
    }
    match builder.build_with(|_| Ok(())) {
        Ok((config, (), sources)) => {
            assert!(config.conflicts().is_empty());
            check_printed(&config, &sources);
            if settings.is_empty() {
                check_against_toml(&config, file);
            }
        }
        Err(errors) => check_errors(&errors, file),
    }
}

/// Checks that the printed configuration, with the sources as comments, reads as the same configuration.
fn check_printed<C: Configuration + PartialEq + Debug>(config: &C, sources: &Sources) {
    let printed = sources.annotate(&toml::to_string(config).unwrap());
    let mut builder = ConfigBuilder::<C>::from_defaults();
    builder.add_file("printed.toml".as_ref(), &printed);
    assert_eq!(builder.build().unwrap(), *config, "{printed}");
}

/// Checks that a file gives the values that a plain TOML parser finds in it, and that the same settings as arguments
/// give the same configuration.
fn check_against_toml<C: Configuration + PartialEq + Debug>(config: &C, file: &str) {
    let settings: Table = file.parse().unwrap();
    let mut values = Table::try_from(C::default()).unwrap();
    merge(&mut values, settings.clone());
    assert_eq!(values.try_into::<C>().unwrap(), *config);

    let mut arguments = ConfigBuilder::<C>::from_defaults();
    set_as_arguments(&mut arguments, "", &settings);
    assert_eq!(arguments.build().unwrap(), *config);
}

fn merge(values: &mut Table, settings: Table) {
    for (key, value) in settings {
        match (values.get_mut(&key), value) {
            (Some(Value::Table(values)), Value::Table(settings)) => merge(values, settings),
            (_, value) => _ = values.insert(key, value),
        }
    }
}

fn set_as_arguments<C: Configuration>(builder: &mut ConfigBuilder<C>, prefix: &str, settings: &Table) {
    for (key, value) in settings {
        match value {
            Value::Table(settings) => set_as_arguments(builder, &format!("{prefix}{key}."), settings),
            value => {
                builder.set(&format!("{prefix}{key}"), &value.to_string(), Source::Argument("--set".to_owned()));
            }
        }
    }
}

/// Checks that each error is one line that begins with its source. A line after the first 20 has the number of the
/// others. Without control characters in a line, a value cannot fake a second error.
fn check_errors(errors: &ConfigErrors, file: &str) {
    let text = errors.to_string();
    for (index, line) in text.split('\n').enumerate() {
        assert!(!line.contains(char::is_control), "{text:?}");
        if index == 20 && line.starts_with("and ") && line.ends_with(" more") {
            continue;
        }
        let mut sources = ["--set: ", "environment variable VARIABLE: ", "the default: "].into_iter();
        if let Some((number, message)) = line.strip_prefix(FILE).and_then(|rest| rest[1..].split_once(": ")) {
            let number: usize = number.parse().unwrap();
            assert!((1..=file.split('\n').count()).contains(&number) && !message.is_empty(), "{text}");
        } else {
            assert!(sources.any(|source| line.len() > source.len() && line.starts_with(source)), "{text}");
        }
    }
}
