//! How the sources of a configuration are laid over one another: defaults, then a file, the environment, arguments.
//!
//! The defaults, as a TOML table, say which keys there are. Each setting replaces one value of that table, and the
//! whole is read again at once: so an error belongs to exactly one setting, whose source is known.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// A server's whole configuration.
pub trait Configuration: Serialize + DeserializeOwned + Default {
    /// Settings that are right each on its own, but not together.
    fn conflicts(&self) -> Vec<Conflict>;
}

/// Two settings that cannot both hold.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// The two keys; the first is the one to blame where both have the same source.
    pub keys: [&'static str; 2],
    /// What is wrong with them.
    pub problem: String,
    /// What would be right.
    pub remedy: &'static str,
}

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A line of a file.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// An argument, as it was given.
    Argument(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Argument(argument) => f.write_str(argument),
        }
    }
}

/// What is wrong with a configuration: one line a problem, each with its source, the key, and what would be right.
#[derive(Clone, Debug, Default, PartialEq, Eq, Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(Vec<String>);

impl ConfigErrors {
    /// A configuration with one problem.
    #[must_use]
    pub fn one(problem: String) -> Self {
        Self::all([problem])
    }

    /// Texts of the sources are quoted in problems as they stand there. What in them would end the line, or do more to
    /// a terminal than write on it, is escaped.
    fn all(problems: impl IntoIterator<Item = String>) -> Self {
        let printable = |problem: String| {
            problem.chars().fold(String::new(), |mut line, character| {
                if character.is_control() {
                    line.extend(character.escape_default());
                } else {
                    line.push(character);
                }
                line
            })
        };
        Self(problems.into_iter().map(printable).collect())
    }
}

/// A configuration in the making.
#[derive(Debug)]
pub struct ConfigBuilder<C> {
    values: Table,
    sources: BTreeMap<String, Source>,
    problems: Vec<(Source, String)>,
    configuration: PhantomData<C>,
}

impl<C: Configuration> ConfigBuilder<C> {
    /// The lowest layer, the built-in defaults.
    ///
    /// # Panics
    ///
    /// If the defaults are no TOML table, which each server's tests rule out.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the defaults are constant, and a test of each server builds them")]
    pub fn from_defaults() -> Self {
        let values = Table::try_from(C::default()).expect("the defaults are a TOML table");
        Self { values, sources: BTreeMap::new(), problems: Vec::new(), configuration: PhantomData }
    }

    /// Lays a file's text over what there is.
    pub fn add_file(&mut self, path: &Path, text: &str) {
        let line = |span: Range<usize>| text[..span.start].matches('\n').count() + 1;
        match DeTable::parse(text) {
            Ok(table) => {
                let mut settings = Vec::new();
                flatten("", table.get_ref(), &mut settings);
                settings.sort_by_key(|(_, span, _)| span.start);
                for (key, span, value) in settings {
                    self.set_value(&key, value, Source::File(path.to_owned(), line(span)));
                }
            }
            Err(error) => {
                let source = Source::File(path.to_owned(), error.span().map_or(1, line));
                self.problems.push((source, format!("not valid TOML: {}", error.message())));
            }
        }
    }

    /// Lays one setting over what there is. The text is a TOML value; what is none is taken as a string, so that a
    /// shell need not quote twice.
    pub fn set(&mut self, key: &str, text: &str, source: Source) {
        let value = DeValue::parse(text).map_or_else(|_| Value::from(text), |value| plain(value.get_ref()));
        self.set_value(key, value, source);
    }

    /// Lays a text over what there is that is a string whatever it looks like.
    pub fn set_string(&mut self, key: &str, text: &str, source: Source) {
        self.set_value(key, Value::from(text), source);
    }

    /// Notes what is wrong with a source as a whole.
    pub fn add_error(&mut self, source: Source, problem: String) {
        self.problems.push((source, problem));
    }

    fn set_value(&mut self, key: &str, value: Value, source: Source) {
        let problem = match (look_up(&self.values, key), value) {
            (None, _) => unknown_key(&self.values, key),
            // A table sets each of its keys; one that is empty says nothing that the defaults do not.
            (Some(Value::Table(_)), Value::Table(inner)) => {
                for (name, value) in inner {
                    self.set_value(&format!("{key}.{name}"), value, source.clone());
                }
                return;
            }
            (Some(Value::Table(table)), _) => {
                let keys: Vec<_> = table.keys().map(|inner| format!("{key}.{inner}")).collect();
                format!("{key}: this is a table, not one value: set {}", keys.join(", "))
            }
            (Some(_), Value::Table(_)) => format!("{key}: this is one value, not a table"),
            (Some(_), value) => match self.with(key, value) {
                Ok(values) => {
                    self.values = values;
                    self.sources.insert(key.to_owned(), source);
                    return;
                }
                Err(error) => format!("{key}: {}", error.message()),
            },
        };
        self.problems.push((source, problem));
    }

    /// The values with one of them replaced, if they still read as a configuration.
    fn with(&self, key: &str, value: Value) -> Result<Table, toml::de::Error> {
        let mut values = self.values.clone();
        if let Some(place) = look_up_mut(&mut values, key) {
            *place = value;
        }
        values.clone().try_into::<C>()?;
        Ok(values)
    }

    /// The configuration that the builder make together.
    ///
    /// # Errors
    ///
    /// All problems of all builder, or else what in them contradicts itself.
    pub fn build(self) -> Result<C, ConfigErrors> {
        if !self.problems.is_empty() {
            return Err(ConfigErrors::all(
                self.problems.iter().map(|(source, problem)| format!("{source}: {problem}")),
            ));
        }
        let configuration: C = self.values.try_into().map_err(|error| ConfigErrors::one(error.to_string()))?;
        let conflicts = configuration.conflicts();
        if conflicts.is_empty() {
            return Ok(configuration);
        }
        let show = |Conflict { keys, problem, remedy }: &Conflict| {
            let source = |key: &str| self.sources.get(key).map_or("the default".to_owned(), Source::to_string);
            let [first, second] = keys.map(source);
            format!("{first}: {}: {problem} ({}: {second}); {remedy}", keys[0], keys[1])
        };
        Err(ConfigErrors::all(conflicts.iter().map(show)))
    }
}

/// A file's settings, each with its dotted key and where the key stands.
fn flatten(prefix: &str, table: &DeTable<'_>, settings: &mut Vec<(String, Range<usize>, Value)>) {
    for (key, value) in table {
        // A quoted key with a point in it is one key, which no path leads to.
        let name = key.get_ref();
        let name = if name.contains('.') { format!("\"{name}\"") } else { name.to_string() };
        let dotted = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => flatten(&dotted, inner, settings),
            value => settings.push((dotted, key.span(), plain(value))),
        }
    }
}

/// A parsed value without its places.
fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            // A number that no TOML integer can hold is shown as what it is, a text, and refused as that.
            i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Value::String(number.to_string()), Value::Integer)
        }
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::String(number.to_string()), Value::Float)
        }
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(datetime) => Value::Datetime(*datetime),
        DeValue::Array(array) => Value::Array(array.iter().map(|value| plain(Spanned::get_ref(value))).collect()),
        DeValue::Table(table) => {
            Value::Table(table.iter().map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref()))).collect())
        }
    }
}

fn look_up<'a>(values: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => values.get(key),
        Some((table, rest)) => look_up(values.get(table)?.as_table()?, rest),
    }
}

fn look_up_mut<'a>(values: &'a mut Table, key: &str) -> Option<&'a mut Value> {
    match key.split_once('.') {
        None => values.get_mut(key),
        Some((table, rest)) => look_up_mut(values.get_mut(table)?.as_table_mut()?, rest),
    }
}

/// Says that there is no such key, and which there are where it was looked for.
fn unknown_key(values: &Table, key: &str) -> String {
    let (table, prefix) = key
        .rsplit_once('.')
        .and_then(|(table, _)| Some((look_up(values, table)?.as_table()?, format!("{table}."))))
        .unwrap_or((values, String::new()));
    let known: Vec<_> = table
        .iter()
        .map(|(known, value)| format!("{prefix}{known}{}", if value.is_table() { ".*" } else { "" }))
        .collect();
    format!("{key}: unknown key; the keys here are {}", known.join(", "))
}

#[cfg(test)]
mod tests;
