//! The configuration reader.

use std::fmt::Debug;

use crate::server::config::{ConfigBuilder, ConfigErrors, Configuration, Source};
use toml::{Table, Value};

/// What the file is called.
const FILE: &str = "a.toml";

/// Takes leading lines such as `-KEY=VALUE` for settings that arguments give, such as `$KEY=VALUE` for those of
/// variables, and what is left for a file: neither begins what could be right in one.
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
    match builder.build() {
        Ok(config) => {
            assert!(config.conflicts().is_empty());
            prints_as_itself(&config);
            if settings.is_empty() {
                is_what_the_file_says(&config, file);
            }
        }
        Err(problems) => tells_where_each_problem_is(&problems, file),
    }
}

/// What is printed reads as the same again.
fn prints_as_itself<C: Configuration + PartialEq + Debug>(config: &C) {
    let printed = toml::to_string(config).unwrap();
    let mut again = ConfigBuilder::<C>::from_defaults();
    again.add_file("printed.toml".as_ref(), &printed);
    assert_eq!(again.build().unwrap(), *config, "{printed}");
}

/// A file says what another reader of TOML finds in it, and so do arguments that say the same.
fn is_what_the_file_says<C: Configuration + PartialEq + Debug>(config: &C, file: &str) {
    let said: Table = file.parse().unwrap();
    let mut values = Table::try_from(C::default()).unwrap();
    lay_over(&mut values, said.clone());
    assert_eq!(values.try_into::<C>().unwrap(), *config);

    let mut arguments = ConfigBuilder::<C>::from_defaults();
    lay_as_arguments(&mut arguments, "", &said);
    assert_eq!(arguments.build().unwrap(), *config);
}

fn lay_over(values: &mut Table, said: Table) {
    for (key, value) in said {
        match (values.get_mut(&key), value) {
            (Some(Value::Table(values)), Value::Table(said)) => lay_over(values, said),
            (_, value) => _ = values.insert(key, value),
        }
    }
}

fn lay_as_arguments<C: Configuration>(builder: &mut ConfigBuilder<C>, prefix: &str, said: &Table) {
    for (key, value) in said {
        match value {
            Value::Table(said) => lay_as_arguments(builder, &format!("{prefix}{key}."), said),
            value => {
                builder.set(&format!("{prefix}{key}"), &value.to_string(), Source::Argument("--set".to_owned()));
            }
        }
    }
}

/// Each problem is a line of its own that begins with where it came from, and cannot pretend to be another one.
fn tells_where_each_problem_is(problems: &ConfigErrors, file: &str) {
    let text = problems.to_string();
    for line in text.split('\n') {
        assert!(!line.contains(char::is_control), "{text:?}");
        let mut sources = ["--set: ", "environment variable VARIABLE: ", "the default: "].into_iter();
        if let Some((number, problem)) = line.strip_prefix(FILE).and_then(|rest| rest[1..].split_once(": ")) {
            let number: usize = number.parse().unwrap();
            assert!((1..=file.split('\n').count()).contains(&number) && !problem.is_empty(), "{text}");
        } else {
            assert!(sources.any(|source| line.len() > source.len() && line.starts_with(source)), "{text}");
        }
    }
}
