//! Merges the sources of a configuration: the defaults, then a file, the environment and the arguments.
//!
//! It depends on `serde`, `thiserror`, `toml`, `suggestion` and [`quoted`](crate::wire::quoted) only. The defaults, as
//! a TOML table, define the valid keys. Each setting replaces one value of that table, and the whole table is
//! deserialized after each: an error thus belongs to exactly one setting, whose source is known.

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

use super::suggestion::{did_you_mean, similar_names};
use crate::wire::quoted::Printable;

/// A server's complete configuration.
pub trait Configuration: Serialize + DeserializeOwned + Default {
    /// Returns the pairs of settings that are valid alone but not together.
    fn conflicts(&self) -> Vec<Conflict>;
}

/// Two settings that are not valid together.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// The two keys. The error is reported for the first one and names the second.
    pub keys: [&'static str; 2],
    /// The reason.
    pub problem: String,
    /// The correction, an imperative sentence.
    pub remedy: &'static str,
}

/// A valid value that cannot be used, such as the path of a file that cannot be read.
#[derive(Clone, Debug)]
pub struct InvalidKey {
    /// The key.
    pub key: &'static str,
    /// The reason, and how to correct it.
    pub problem: String,
}

/// The origin of a setting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A file and a line, counted from 1.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// An argument, as in the command line.
    Argument(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Argument(argument) => f.write_str(&hide_argument(argument)),
        }
    }
}

/// The origins of the settings. A key without one has its default.
#[derive(Clone, Debug, Default)]
pub struct Sources(BTreeMap<String, Source>);

impl Sources {
    /// Returns the origin of a key's value, as in `config/power-server.toml:12` or `the default`. It is printable,
    /// short, and shows no password.
    #[must_use]
    pub fn describe(&self, key: &str) -> String {
        self.0.get(key).map_or_else(|| "the default".to_owned(), |source| show(&source.to_string()))
    }

    /// Adds the source of each value to a configuration that is printed as TOML, as a comment behind the value.
    pub(crate) fn annotate(&self, printed: &str) -> String {
        let Ok(table) = DeTable::parse(printed) else { return printed.to_owned() };
        let mut settings = Vec::new();
        flatten("", table.get_ref(), &mut settings);
        let ends: BTreeMap<_, _> = settings.into_iter().map(|(key, span, _)| (span.end, key)).collect();
        let (mut annotated, mut copied) = (String::with_capacity(2 * printed.len()), 0);
        for (end, key) in ends {
            let source = self.describe(&key);
            annotated.extend([&printed[copied..end], "  # ", source.strip_prefix("the ").unwrap_or(&source)]);
            copied = end;
        }
        annotated + &printed[copied..]
    }
}

/// Returns a text from a source as it is shown: without the passwords of URLs, shortened, and
/// [escaped](Printable).
fn show(text: &str) -> String {
    Printable(&shorten(hide_passwords(text))).to_string()
}

/// The errors of a configuration, one line each, with the source, the key and the values that are valid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(Vec<String>);

impl ConfigErrors {
    /// Creates a list of one error.
    #[must_use]
    pub fn one(error: String) -> Self {
        Self::all([error])
    }

    /// Creates the list. Errors quote text from the sources, so they are changed as [`show`] does.
    fn all(errors: impl IntoIterator<Item = String>) -> Self {
        Self(errors.into_iter().map(|error| show(&error)).collect())
    }
}

/// Replaces the passwords in a text's URLs by `***`.
///
/// A URL ends at white space or a quote: an invalid value can be any text, and an argument is quoted as a whole.
fn hide_passwords(text: &str) -> String {
    let is_end = |character: char| character.is_whitespace() || matches!(character, '"' | '\'' | '`');
    let mut shown = String::with_capacity(text.len());
    for word in text.split_inclusive(is_end) {
        let url = word.trim_end_matches(is_end);
        shown.extend([&hide_password(url), &word[url.len()..]]);
    }
    shown
}

/// Replaces the password in a URL, or in a text that ends with a URL, by `***`: between the colon after the user and
/// the last `@`, and after `pass=`.
fn hide_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (user, rest) = match rest.rsplit_once('@') {
        Some((credentials, rest)) => match credentials.split_once(':') {
            Some((user, _)) => (format!("{user}:***@"), rest),
            // A password whose colon is missing.
            None => ("***@".to_owned(), rest),
        },
        None => (String::new(), rest),
    };
    format!("{scheme}://{user}{}", hide_parameter(rest))
}

/// Replaces the value of `pass=` by `***`.
fn hide_parameter(text: &str) -> String {
    let mut shown = String::new();
    for (number, part) in text.split("pass=").enumerate() {
        if number == 0 {
            shown.push_str(part);
        } else {
            let end = part.find('&').unwrap_or(part.len());
            shown.extend(["pass=***", &part[end..]]);
        }
    }
    shown
}

/// Replaces the password in a value by `***`. A value without `://` can be a URL whose scheme is missing or mistyped:
/// then everything before the last `@` is replaced, except in the paths of Unix sockets.
fn hide_value(value: &str) -> String {
    let is_path = || value.split(['"', '\'', ',', ' ', '[']).any(|part| part.starts_with("unix:"));
    match value.rsplit_once('@') {
        _ if value.contains("://") => hide_password(value),
        Some((_, host)) if !is_path() => format!("***@{}", hide_parameter(host)),
        _ => hide_parameter(value),
    }
}

/// Replaces the password in an argument by `***`. The argument is a value, or `KEY=VALUE`, or `--set` with either.
pub(super) fn hide_argument(argument: &str) -> String {
    let (option, setting) = match argument.strip_prefix("--set ") {
        Some(setting) => ("--set ", setting),
        None => ("", argument),
    };
    // An `=` in a password does not end a key.
    let is_in_key = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    match setting.split_once('=') {
        Some((key, value)) if key.trim().chars().all(is_in_key) => format!("{option}{key}={}", hide_value(value)),
        _ => format!("{option}{}", hide_value(setting)),
    }
}

/// Replaces the passwords in a value by `***` where an error quotes it. A password can have any characters, also those
/// that end a URL in a text.
fn hide_quoted(error: &str, value: &Value) -> String {
    match value {
        Value::String(text) => {
            let hidden = hide_value(text);
            if hidden == *text {
                return error.to_owned();
            }
            // In most errors it is in quotes and escaped. The error of a list quotes one of its elements.
            let elements = text.split(',').map(str::trim).filter(|element| !element.is_empty());
            let replaced = [text.as_str()].into_iter().chain(elements).fold(error.to_owned(), |error, quoted| {
                let error = error.replace(&format!("{quoted:?}"), &format!("{hidden:?}"));
                error.replace(&format!("`{quoted}`"), &format!("`{hidden}`"))
            });
            replaced.replace(text, &hidden)
        }
        Value::Array(values) => values.iter().fold(error.to_owned(), |error, value| hide_quoted(&error, value)),
        _ => error.to_owned(),
    }
}

/// The number of errors that are reported in full, so that a report fits into a log line and on a screen.
const MAX_ERRORS: usize = 20;

/// The maximum length of an error, and of a setting in the log. One quoted value can be as long as the file.
const MAX_CHARACTERS: usize = 1000;

/// Replaces the middle of a long text. The ends of an error are the important parts: the source with the key, and the
/// values that are valid.
pub(crate) fn shorten(text: String) -> String {
    let length = text.chars().count();
    if length <= MAX_CHARACTERS {
        return text;
    }
    let end = text.chars().skip(length - MAX_CHARACTERS / 2);
    text.chars().take(MAX_CHARACTERS / 2).chain(['…']).chain(end).collect()
}

/// Merges settings into a configuration. A later setting replaces an earlier one.
#[derive(Debug)]
pub struct ConfigBuilder<C> {
    values: Table,
    sources: Sources,
    /// The first `MAX_ERRORS` errors.
    errors: Vec<(Source, String)>,
    further_errors: usize,
    configuration: PhantomData<C>,
}

impl<C: Configuration> ConfigBuilder<C> {
    /// Starts with the built-in defaults.
    ///
    /// # Panics
    ///
    /// Panics if the defaults are not a TOML table. A test of each server proves that they are one.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the defaults are constant, and a test of each server builds them")]
    pub fn from_defaults() -> Self {
        let values = Table::try_from(C::default()).expect("the defaults are a TOML table");
        Self { values, sources: Sources::default(), errors: Vec::new(), further_errors: 0, configuration: PhantomData }
    }

    /// Applies the settings of a file.
    pub fn add_file(&mut self, path: &Path, text: &str) {
        let count_lines = |range: Range<usize>| text[range].matches('\n').count();
        match DeTable::parse(text) {
            Ok(table) => {
                let mut settings = Vec::new();
                flatten("", table.get_ref(), &mut settings);
                settings.sort_by_key(|(_, span, _)| span.start);
                // Each line is counted once: a file can have tens of thousands of keys.
                let (mut line, mut counted) = (1, 0);
                for (key, span, value) in settings {
                    line += count_lines(counted..span.start);
                    counted = span.start;
                    self.set_value(&key, value, Source::File(path.to_owned(), line));
                }
            }
            Err(error) => {
                let line = 1 + error.span().map_or(0, |span| count_lines(0..span.start));
                let source = Source::File(path.to_owned(), line);
                let problem = text.lines().nth(line - 1).and_then(missing_quotes);
                let problem = problem.unwrap_or_else(|| error.message().to_owned());
                self.add_error(source, format!("not valid TOML: {problem}"));
            }
        }
    }

    /// Applies one setting. `text` is a TOML value; other text is used as a string, so that a shell command needs no
    /// second pair of quotes.
    pub fn set(&mut self, key: &str, text: &str, source: Source) {
        let value = DeValue::parse(text).map_or_else(|_| Value::from(text), |value| to_value(value.get_ref()));
        self.set_value(key, value, source);
    }

    /// Applies one setting whose value is the string `text`, also if it looks like another TOML value.
    pub fn set_string(&mut self, key: &str, text: &str, source: Source) {
        self.set_value(key, Value::from(text), source);
    }

    /// Adds an error that belongs to a source and not to one of its keys.
    pub fn add_error(&mut self, source: Source, error: String) {
        if self.has_enough_errors() {
            self.further_errors += 1;
        } else {
            self.errors.push((source, error));
        }
    }

    /// Whether further errors are only counted, so that their text does not matter.
    pub(super) fn has_enough_errors(&self) -> bool {
        self.errors.len() >= MAX_ERRORS
    }

    fn set_value(&mut self, key: &str, value: Value, source: Source) {
        let error = match (look_up(&self.values, key), value) {
            // A file can have tens of thousands of unknown keys, and the search for similar ones takes time.
            (None, _) if self.has_enough_errors() => String::new(),
            (None, _) => unknown_key(&self.values, key),
            // A table sets each of its keys; an empty table changes nothing.
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
            (Some(_), value) => match self.with(key, value.clone()) {
                Ok(values) => {
                    self.values = values;
                    self.sources.0.insert(key.to_owned(), source);
                    return;
                }
                Err(error) => format!("{key}: {}", hide_quoted(error.message(), &value)),
            },
        };
        self.add_error(source, error);
    }

    /// Returns the values with one of them replaced, if they still deserialize as `C`.
    fn with(&self, key: &str, value: Value) -> Result<Table, toml::de::Error> {
        let mut values = self.values.clone();
        if let Some(entry) = look_up_mut(&mut values, key) {
            *entry = value;
        }
        values.clone().try_into::<C>()?;
        Ok(values)
    }

    /// Returns the merged configuration.
    ///
    /// # Errors
    ///
    /// Returns the errors of all sources: the first 20, and the number of the others. Without any, returns all
    /// conflicts between settings.
    pub fn build(self) -> Result<C, ConfigErrors> {
        self.build_with(|_| Ok(())).map(|(configuration, ..)| configuration)
    }

    /// Returns all keys, such as `limits.backlog`.
    pub(crate) fn keys(&self) -> Vec<String> {
        keys(&self.values)
    }

    /// Whether the default of a key is a text.
    pub(super) fn is_text(key: &str) -> bool {
        look_up(&Self::from_defaults().values, key).is_some_and(Value::is_str)
    }

    /// Returns the merged configuration, the result of `open`, such as the contents of the files that it names, and the
    /// sources.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build); without any, that of `open`.
    pub(crate) fn build_with<T>(
        self,
        open: impl FnOnce(&C) -> Result<T, InvalidKey>,
    ) -> Result<(C, T, Sources), ConfigErrors> {
        if !self.errors.is_empty() {
            let errors = self.errors.iter().map(|(source, error)| format!("{source}: {error}"));
            let further = (self.further_errors > 0).then(|| format!("and {} more", self.further_errors));
            return Err(ConfigErrors::all(errors.chain(further)));
        }
        let configuration: C = self.values.try_into().map_err(|error| ConfigErrors::one(error.to_string()))?;
        let conflicts = configuration.conflicts();
        let source = |key: &str| self.sources.describe(key);
        if conflicts.is_empty() {
            return match open(&configuration) {
                Ok(opened) => Ok((configuration, opened, self.sources)),
                Err(InvalidKey { key, problem }) => {
                    Err(ConfigErrors::one(format!("{}: {key}: {problem}", source(key))))
                }
            };
        }
        let show = |Conflict { keys, problem, remedy }: &Conflict| {
            let [first, second] = keys.map(source);
            format!("{first}: {}: {problem} ({}: {second}); {remedy}", keys[0], keys[1])
        };
        Err(ConfigErrors::all(conflicts.iter().map(show)))
    }
}

/// Returns the error for a line that would be valid TOML with quotes around its value, such as
/// `listen = 127.0.0.1:5000`. It does not repeat the value, which can have a password.
fn missing_quotes(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let value = value.split(" #").next()?.trim();
    if value.is_empty() || value.starts_with(['"', '\'', '[', '{']) || DeTable::parse(line).is_ok() {
        return None;
    }
    let quoted = |value: &str| format!("{} = {}", key.trim(), Value::from(value));
    let is_missing = DeTable::parse(&quoted(value)).is_ok();
    is_missing.then(|| format!("a text needs quotes: write {}", quoted("VALUE")))
}

/// Returns the dotted keys of the values in a table and in its tables.
fn keys(table: &Table) -> Vec<String> {
    let inner = |(key, value): (&String, &Value)| match value {
        Value::Table(table) => keys(table).into_iter().map(|inner| format!("{key}.{inner}")).collect(),
        _ => vec![key.clone()],
    };
    table.iter().flat_map(inner).collect()
}

/// Whether a configuration is still valid with this text for one of its keys.
pub(crate) fn is_valid_with<C: Configuration>(configuration: &C, key: &str, text: &str) -> bool {
    let Ok(mut values) = Table::try_from(configuration) else { return false };
    let Some(value) = look_up_mut(&mut values, key) else { return false };
    *value = Value::from(text);
    values.try_into::<C>().is_ok_and(|changed| changed.conflicts().is_empty())
}

/// Returns the configuration in which these keys have the values and the sources of `kept`. `None` if it is not valid.
pub(crate) fn with_kept<C: Configuration>(
    config: &C,
    sources: &Sources,
    keys: &[&str],
    (kept_values, kept_sources): &(Table, Sources),
) -> Option<(C, Sources)> {
    let (mut values, mut sources) = (Table::try_from(config).ok()?, sources.clone());
    for &key in keys {
        *look_up_mut(&mut values, key)? = look_up(kept_values, key)?.clone();
        sources.0.remove(key);
        sources.0.extend(kept_sources.0.get(key).map(|source| (key.to_owned(), source.clone())));
    }
    Some((values.try_into().ok()?, sources))
}

/// Collects a file's settings, each with its dotted key and the position of key and value.
fn flatten(prefix: &str, table: &DeTable<'_>, settings: &mut Vec<(String, Range<usize>, Value)>) {
    for (key, value) in table {
        // A quoted key with a dot in it is one key, not a path, and no such key is valid. Keep the quotes for the
        // error.
        let name = key.get_ref();
        let name = if name.contains('.') { format!("\"{name}\"") } else { name.to_string() };
        // Not valid if it is too long. All keys of a table repeat its name, which can be as long as the file.
        let dotted = shorten(if prefix.is_empty() { name } else { format!("{prefix}.{name}") });
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => flatten(&dotted, inner, settings),
            inner => settings.push((dotted, key.span().start..value.span().end, to_value(inner))),
        }
    }
}

/// Converts a parsed value to a value without positions.
fn to_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            // A number outside the range of a TOML integer stays text, so that the error shows it as it was written.
            i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Value::String(number.to_string()), Value::Integer)
        }
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::String(number.to_string()), Value::Float)
        }
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(datetime) => Value::Datetime(*datetime),
        DeValue::Array(array) => Value::Array(array.iter().map(|value| to_value(Spanned::get_ref(value))).collect()),
        DeValue::Table(table) => Value::Table(
            table.iter().map(|(key, value)| (key.get_ref().to_string(), to_value(value.get_ref()))).collect(),
        ),
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

/// Returns the error for a key that does not exist: with similar keys, or else with the keys of the table where it was
/// looked up.
fn unknown_key(values: &Table, key: &str) -> String {
    let all = keys(values);
    let similar = similar_names(key, &all.iter().map(String::as_str).collect::<Vec<_>>(), '.');
    if !similar.is_empty() {
        return format!("{key}: unknown key{}", did_you_mean(similar));
    }
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
