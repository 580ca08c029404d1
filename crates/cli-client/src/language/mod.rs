//! The language of the process, chosen once at the start.
//!
//! - `texts`: all texts, except those of `check`, which are in `check`; `explain`: messages for errors of `proto`.

pub(crate) mod check;
pub(crate) mod explain;
pub(crate) mod texts;

use std::cell::Cell;
use std::env;
use std::ffi::OsString;
use std::sync::OnceLock;

use clap::ValueEnum;

/// A language of the texts. Shell completions show the doc comments of the variants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// English.
    #[default]
    #[value(name = "en")]
    English,
    /// 中文.
    #[value(name = "zh")]
    Chinese,
}

static CHOSEN: OnceLock<Language> = OnceLock::new();

thread_local! {
    /// The language of [`Language::in_english`] while that runs.
    static OVERRIDE: Cell<Option<Language>> = const { Cell::new(None) };
}

impl Language {
    /// Returns the chosen language, or English before the choice.
    pub(crate) fn current() -> Self {
        OVERRIDE.get().or_else(|| CHOSEN.get().copied()).unwrap_or_default()
    }

    /// Runs a function with English texts in any language of the process.
    pub(crate) fn in_english<T>(run: impl FnOnce() -> T) -> T {
        let before = OVERRIDE.replace(Some(Self::English));
        let result = run();
        OVERRIDE.set(before);
        result
    }

    /// Sets the language of this process from `--lang` or the environment. Must run before the arguments are parsed,
    /// because help and usage errors use it. Only the first call has an effect.
    pub(crate) fn choose(arguments: &[OsString]) {
        let chosen = Self::from_arguments(arguments).or_else(|| Self::from_environment(|name| env::var(name).ok()));
        let _ = CHOSEN.set(chosen.unwrap_or_default());
    }

    fn from_arguments(arguments: &[OsString]) -> Option<Self> {
        let arguments = arguments.iter().take_while(|argument| *argument != "--");
        let arguments: Vec<_> = arguments.filter_map(|argument| argument.to_str()).collect();
        let mut named = arguments.windows(2).filter_map(|pair| match pair {
            ["--lang", name] => Some(*name),
            [_, argument] => argument.strip_prefix("--lang="),
            _ => None,
        });
        named.next_back().and_then(|name| Self::from_str(name, false).ok())
    }

    /// Returns the language of the first variable that is set and not empty, in the order of locale(7).
    fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let locale =
            ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty())?;
        Some(if locale.starts_with("zh") { Self::Chinese } else { Self::English })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_works_at_any_position() {
        for (line, language) in [
            ("client --lang zh power square 2", Some(Language::Chinese)),
            ("client power square 2 --lang=zh", Some(Language::Chinese)),
            ("client --lang en --help", Some(Language::English)),
            ("client power square 2", None),
            ("client --lang de", None),
            ("client --lang", None),
            ("client -- --lang zh", None),
        ] {
            let arguments: Vec<_> = line.split(' ').map(OsString::from).collect();
            assert_eq!(Language::from_arguments(&arguments), language, "{line}");
        }
    }

    #[test]
    fn the_first_variable_that_is_set_decides() {
        let of = |all: &str, messages: &str, lang: &str| {
            Language::from_environment(|name| {
                let value = match name {
                    "LC_ALL" => all,
                    "LC_MESSAGES" => messages,
                    _ => lang,
                };
                (value != "unset").then(|| value.to_owned())
            })
        };
        assert_eq!(of("zh_CN.UTF-8", "en_US.UTF-8", "en_US.UTF-8"), Some(Language::Chinese));
        assert_eq!(of("C", "zh_CN.UTF-8", "zh_CN.UTF-8"), Some(Language::English));
        assert_eq!(of("", "zh_TW.UTF-8", "en_US.UTF-8"), Some(Language::Chinese));
        assert_eq!(of("unset", "unset", "zh"), Some(Language::Chinese));
        assert_eq!(of("unset", "unset", "unset"), None);
    }
}
