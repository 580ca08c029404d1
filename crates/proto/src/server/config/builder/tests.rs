//! The sources of settings, their precedence, and the text of every kind of error.

use serde::Deserialize;

use super::*;
use crate::server::config::types::{Count, TimeoutValue};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    workers: Count<0, 9>,
    limits: SampleLimits,
    timeouts: SampleTimeouts,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SampleLimits {
    #[serde(flatten)]
    shared: SampleShared,
    requests: Count<1, 99>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SampleShared {
    backlog: Count<1, 99>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SampleTimeouts {
    idle: TimeoutValue<1>,
    window: TimeoutValue<1>,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            workers: Count::new(0),
            limits: SampleLimits { shared: SampleShared { backlog: Count::new(5) }, requests: Count::new(10) },
            timeouts: SampleTimeouts { idle: TimeoutValue::from_secs(60), window: TimeoutValue::from_secs(30) },
        }
    }
}

impl Configuration for Sample {
    fn conflicts(&self) -> Vec<Conflict> {
        let SampleTimeouts { idle, window } = self.timeouts;
        let conflict = (idle <= window).then(|| Conflict {
            keys: ["timeouts.idle", "timeouts.window"],
            problem: format!("{idle} is no longer than {window}"),
            remedy: "make it longer",
        });
        conflict.into_iter().collect()
    }
}

fn argument(text: &str) -> Source {
    Source::Argument(text.to_owned())
}

/// Returns the errors of a file, one line each.
fn errors_of(text: &str) -> Vec<String> {
    let mut builder = ConfigBuilder::<Sample>::from_defaults();
    builder.add_file(Path::new("a.toml"), text);
    builder.build().unwrap_err().to_string().lines().map(str::to_owned).collect()
}

#[test]
fn a_later_source_overrides_an_earlier_one_key_by_key() {
    let mut builder = ConfigBuilder::<Sample>::from_defaults();
    builder.add_file(Path::new("a.toml"), "workers = 1\n[limits]\nbacklog = 6\nrequests = 7\n");
    builder.set_string("timeouts.idle", "90s", Source::Variable("IDLE".to_owned()));
    builder.set("limits.requests", "8", argument("--set"));
    builder.set("timeouts.idle", "2m", argument("--set"));
    let sample = builder.build().unwrap();
    assert_eq!((sample.workers.get(), sample.limits.shared.backlog.get(), sample.limits.requests.get()), (1, 6, 8));
    assert_eq!((sample.timeouts.idle.get().as_secs(), sample.timeouts.window.get().as_secs()), (120, 30));
}

#[test]
fn an_empty_file_and_an_empty_table_change_nothing() {
    for text in ["", "# nothing\n", "[limits]\n", "limits = {}\n"] {
        let mut builder = ConfigBuilder::<Sample>::from_defaults();
        builder.add_file(Path::new("a.toml"), text);
        assert_eq!(builder.build(), Ok(Sample::default()), "{text:?}");
    }
}

#[test]
fn every_error_names_its_line_its_key_and_the_valid_values() {
    let errors = errors_of(
        "workers = 10\nthreads = 3\n\n[limits]\nbacklog = 0\nrequests = \"many\"\nleast = 1\n\n[timeouts]\nidle = 60\n\
         [timeout]\nidle = \"5s\"\n",
    );
    let expected = [
        "a.toml:1: workers: invalid value: integer `10`, expected a whole number from 0 to 9",
        "a.toml:2: threads: unknown key; the keys here are limits.*, timeouts.*, workers",
        "a.toml:5: limits.backlog: invalid value: integer `0`, expected a whole number from 1 to 99",
        "a.toml:6: limits.requests: invalid type: string \"many\", expected a whole number from 1 to 99",
        "a.toml:7: limits.least: unknown key; the keys here are limits.backlog, limits.requests",
        "a.toml:10: timeouts.idle: invalid type: integer `60`, expected a duration with its unit, such as \"5s\" or \
         \"250ms\", from 1ms to 365days",
        "a.toml:12: timeout.idle: unknown key; did you mean 'timeouts.idle'?",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn a_value_for_a_table_and_a_table_for_a_value_are_errors() {
    assert_eq!(
        errors_of("limits = 5"),
        ["a.toml:1: limits: this is a table, not one value: set limits.backlog, limits.requests"]
    );
    assert_eq!(errors_of("[workers]\nx = 1"), ["a.toml:2: workers.x: unknown key; did you mean 'workers'?"]);
    assert_eq!(errors_of("[workers]"), ["a.toml:1: workers: this is one value, not a table"]);
    assert_eq!(
        errors_of("[[limits]]"),
        ["a.toml:1: limits: this is a table, not one value: set limits.backlog, limits.requests"]
    );
    assert_eq!(
        errors_of("\n[wrong]"),
        ["a.toml:2: wrong: unknown key; the keys here are limits.*, timeouts.*, workers"]
    );
}

#[test]
fn a_quoted_key_with_a_dot_is_not_a_path() {
    let unknown = "a.toml:1: \"limits.backlog\": unknown key; did you mean 'limits.backlog'?";
    assert_eq!(errors_of("\"limits.backlog\" = 5"), [unknown]);
}

#[test]
fn characters_that_are_not_printable_are_escaped_in_errors() {
    assert_eq!(
        errors_of("\"\u{202e}石\" = 1"),
        ["a.toml:1: \\u{202e}石: unknown key; the keys here are limits.*, timeouts.*, workers"]
    );
    assert_eq!(
        errors_of("\"a\\nb\\u001B[2J\" = 1"),
        ["a.toml:1: a\\nb\\u{1b}[2J: unknown key; the keys here are limits.*, timeouts.*, workers"]
    );
    let mut builder = ConfigBuilder::<Sample>::from_defaults();
    builder.set_string("a\r\nthe default: b", "1", argument("--set a\r\nthe default: b=1"));
    let error = builder.build().unwrap_err().to_string();
    assert!(error.starts_with("--set a\\r\\nthe default: b=1: a\\r\\nthe default: b: unknown key"), "{error}");
    assert_eq!(ConfigErrors::one("cannot read a\nb".to_owned()).to_string(), "cannot read a\\nb");
}

#[test]
fn of_many_errors_the_first_20_and_the_number_of_the_others_are_reported() {
    let keys = |count: usize| (0..count).map(|number| format!("k{number} = 1\n\n")).collect::<Vec<_>>().concat();
    let errors = errors_of(&keys(20));
    assert!(errors.len() == 20 && errors[19].starts_with("a.toml:39: k19: unknown key"), "{errors:?}");
    let errors = errors_of(&keys(22));
    assert!(errors.len() == 21 && errors[19].starts_with("a.toml:39: k19: "), "{errors:?}");
    assert_eq!(errors[20], "and 2 more");

    // Those of all sources together.
    let mut builder = ConfigBuilder::<Sample>::from_defaults();
    builder.add_file(Path::new("a.toml"), &keys(19));
    builder.set("workers", "many", argument("--set workers=many"));
    builder.add_error(argument("--set x"), "no value".to_owned());
    let errors = builder.build().unwrap_err().to_string();
    assert!(
        errors.contains("\n--set workers=many: workers: invalid type") && errors.ends_with("\nand 1 more"),
        "{errors}"
    );
}

#[test]
fn a_long_error_is_shortened_in_the_middle() {
    assert_eq!(shorten("é".repeat(1000)), "é".repeat(1000));
    assert_eq!(shorten("é".repeat(1001)), format!("{0}…{0}", "é".repeat(500)));
    let long = "a".repeat(100_000);
    let begin = "a".repeat(400);
    for (text, source, end) in [
        (format!("{long} = 1"), "a.toml:1: a", "a: unknown key; the keys here are limits.*, timeouts.*, workers"),
        (format!("workers = '{long}'"), "a.toml:1: workers: ", "\", expected a whole number from 0 to 9"),
        (
            format!("[{long}]\nkey = 1"),
            "a.toml:2: a",
            "a.key: unknown key; the keys here are limits.*, timeouts.*, workers",
        ),
    ] {
        let [error] = &errors_of(&text)[..] else { panic!("{source}: more than one") };
        assert!(error.starts_with(source) && error.contains(&begin) && error.ends_with(end), "{error}");
        assert!(error.chars().count() <= 1001, "{}", error.len());
    }
}

#[test]
fn a_toml_syntax_error_names_its_line() {
    for (text, line) in [("workers = \n", 1), ("\n\n[limits\n", 3), ("workers = 1\nworkers = 2\n", 2)] {
        let errors = errors_of(text);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(&format!("a.toml:{line}: not valid TOML: ")), "{errors:?}");
    }
}

#[test]
fn a_text_without_quotes_is_an_error_that_shows_the_key_and_not_the_value() {
    for (line, key) in [
        ("workers = 127.0.0.1:5000", "workers"),
        ("idle=5s", "idle"),
        ("a.b = many  # a comment", "a.b"),
        ("idle = redis://user:se cr'et@host", "idle"),
        ("engine = user:secret@host", "engine"),
    ] {
        let expected = format!("a.toml:2: not valid TOML: a text needs quotes: write {key} = \"VALUE\"");
        assert_eq!(errors_of(&format!("\n{line}\n")), [expected]);
    }
    for line in ["workers = ", "= 3", "workers = \"1", "workers = [1", "wor kers = 3"] {
        let [error] = &errors_of(line)[..] else { panic!("{line}: more than one error") };
        assert!(error.starts_with("a.toml:1: not valid TOML: ") && !error.contains("quotes:"), "{error}");
    }
}

#[test]
fn the_printed_configuration_has_the_source_of_each_value_and_sets_the_same_values() {
    let mut builder = ConfigBuilder::<Sample>::from_defaults();
    builder.add_file(Path::new("a\nb.toml"), "workers = 1\n[limits]\n\nbacklog = 6\n");
    builder.set("limits.requests", "8", Source::Variable("REQUESTS".to_owned()));
    builder.set("timeouts.idle", "2m", argument("--set timeouts.idle=redis://user:se cret@host"));
    let (sample, (), sources) = builder.build_with(|_| Ok(())).unwrap();
    let printed = sources.annotate(&toml::to_string(&sample).unwrap());
    let expected = "workers = 1  # a\\nb.toml:1\n\n[limits]\nbacklog = 6  # a\\nb.toml:4\n\
                    requests = 8  # environment variable REQUESTS\n\n[timeouts]\n\
                    idle = \"120s\"  # --set timeouts.idle=redis://user:***@host\nwindow = \"30s\"  # default\n";
    assert_eq!(printed, expected);
    let mut builder = ConfigBuilder::<Sample>::from_defaults();
    builder.add_file(Path::new("printed"), &printed);
    assert_eq!(builder.build(), Ok(sample));
}

#[test]
fn a_comment_follows_a_value_of_any_form() {
    let annotated = Sources::default().annotate("a = \"\"\"\nx # y\n\"\"\"\nb = [\n  1,\n]\n\n[c.d]\ne = 'f'\n");
    let expected = "a = \"\"\"\nx # y\n\"\"\"  # default\nb = [\n  1,\n]  # default\n\n[c.d]\ne = 'f'  # default\n";
    assert_eq!(annotated, expected);
}

#[test]
fn an_argument_is_a_toml_value_or_a_string() {
    for (text, is_valid) in [
        ("3", true),
        ("0x3", true),
        ("many", false),
        ("\"3\"", false),
        ("-1", false),
        ("3.0", false),
        ("99999999999999999999", false),
    ] {
        let mut builder = ConfigBuilder::<Sample>::from_defaults();
        builder.set("limits.requests", text, argument("--set limits.requests"));
        assert_eq!(builder.build().is_ok(), is_valid, "{text}");
    }
    let mut builder = ConfigBuilder::<Sample>::from_defaults();
    builder.set("limits", "{ requests = 3, backlog = 4 }", argument("--set"));
    builder.set("timeouts.idle", "\"45s\"", argument("--set"));
    let sample = builder.build().unwrap();
    assert_eq!((sample.limits.requests.get(), sample.limits.shared.backlog.get()), (3, 4));
}

#[test]
fn a_conflict_names_both_keys_and_both_sources() {
    let mut builder = ConfigBuilder::<Sample>::from_defaults();
    builder.add_file(Path::new("a.toml"), "[timeouts]\n\nidle = \"20s\"\n");
    let error = builder.build().unwrap_err().to_string();
    assert_eq!(
        error,
        "a.toml:3: timeouts.idle: 20s is no longer than 30s (timeouts.window: the default); make it longer"
    );
}

#[test]
fn an_error_hides_the_passwords_of_urls() {
    for (url, shown) in [
        ("redis://user:secret@host:1/2", "redis://user:***@host:1/2"),
        ("redis://:secret@host", "redis://:***@host"),
        ("redis://:se@cr/et@host", "redis://:***@host"),
        ("redis+unix:///a?db=1&pass=secret&user=u", "redis+unix:///a?db=1&pass=***&user=u"),
        ("redis+unix:///a?pass=secret", "redis+unix:///a?pass=***"),
        ("tls://host:1", "tls://host:1"),
        ("redis://secret@host", "redis://***@host"),
        ("redis+unix:///a?pass=secret&db=1", "redis+unix:///a?pass=***&db=1"),
    ] {
        let mut builder = ConfigBuilder::<Sample>::from_defaults();
        builder.set("workers", url, argument(&format!("--set workers={url}")));
        builder.add_file(Path::new("a.toml"), &format!("[limits]\nrequests = \"{url}\"\n"));
        let error = builder.build().unwrap_err().to_string();
        assert_eq!(error.matches(shown).count(), 3, "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn an_argument_hides_what_can_be_a_password_without_a_scheme() {
    for (argument, shown) in [
        ("--set a.b=u:secret@h:6379", "--set a.b=***@h:6379"),
        ("--set a.b = u:secret@h", "--set a.b =***@h"),
        ("--set a.b=redis:/u:secret@h", "--set a.b=***@h"),
        ("--set a.b=redis//u:se@cr=et@h", "--set a.b=***@h"),
        ("--set a.b=\"u:secret@h\"", "--set a.b=***@h\""),
        ("--set a.b=redis+unix:/a?pass=secret&db=1", "--set a.b=redis+unix:/a?pass=***&db=1"),
        ("--set a.b=redis://u:se cr@et@h", "--set a.b=redis://u:***@h"),
        // The key or the equals sign is missing.
        ("--set redis://u:secr=et@h", "--set redis://u:***@h"),
        ("--set u:secr=et@h", "--set ***@h"),
        ("--set a.b:u:secret@h", "--set ***@h"),
        ("redis://u:se cret@h", "redis://u:***@h"),
        ("a.b=u:secret@h", "a.b=***@h"),
        // Nothing to hide.
        ("--set a.b=unix:/run/a@b", "--set a.b=unix:/run/a@b"),
        ("--set a.b=127.0.0.1:1,unix:/run/a@b", "--set a.b=127.0.0.1:1,unix:/run/a@b"),
        ("--set a.b=[\"unix:/run/a@b\"]", "--set a.b=[\"unix:/run/a@b\"]"),
        ("--set a.b=5", "--set a.b=5"),
        ("--listen", "--listen"),
    ] {
        assert_eq!(self::argument(argument).to_string(), shown, "{argument}");
    }
}

#[test]
fn the_error_of_a_value_hides_a_password_with_any_characters() {
    for (url, shown) in [
        ("redis://u:se cr\"et@h", "redis://u:***@h"),
        ("redis://u:se\u{1b}cr\\et@h", "redis://u:***@h"),
        ("u:se cret@h:1", "***@h:1"),
        ("redis+unix:/a?pass=se cret", "redis+unix:/a?pass=***"),
    ] {
        let array = Value::Array(vec![Value::from(url)]);
        for (key, value) in [("workers", Value::from(url)), ("timeouts.idle", Value::from(url)), ("workers", array)] {
            let mut builder = ConfigBuilder::<Sample>::from_defaults();
            builder.set_value(key, value.clone(), Source::Variable("A".to_owned()));
            let error = builder.build().unwrap_err().to_string();
            assert!(error.starts_with(&format!("environment variable A: {key}: invalid ")), "{error}");
            assert!(value.is_array() || error.contains(&format!("string \"{shown}\"")), "{error}");
            assert!(!error.contains("cr") && !error.contains("se "), "{error}");
        }
    }
    for (error, hidden) in [
        ("unknown variant `u:se, cret@h`, expected a", "unknown variant `***@h`, expected a"),
        ("unknown variant `u:se`, expected a", "unknown variant `***@h`, expected a"),
        ("string \"cret@h\", expected \"\"", "string \"***@h\", expected \"\""),
        ("not u:se, cret@h", "not ***@h"),
    ] {
        assert_eq!(hide_quoted(error, &Value::from("u:se, cret@h")), hidden);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_causes_a_panic(text in "(\\[?[a-z.]{0,9}\\]?( ?= ?[-0-9a-z\"'\\[\\]{}.:]{0,12})?\n){0,5}") {
        let mut builder = ConfigBuilder::<Sample>::from_defaults();
        builder.add_file(Path::new("a.toml"), &text);
        let _ = builder.build();
    }
}
