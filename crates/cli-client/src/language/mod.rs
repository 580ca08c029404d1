//! The language of the process, chosen once, as a locale is.
//!
//! - `texts`: the table of all texts; `explain`: messages for errors of the library.

pub(crate) mod explain;
pub(crate) mod texts;

use std::env;
use std::ffi::OsString;
use std::sync::OnceLock;

use clap::ValueEnum;

/// A language of the texts. Completions show the comments of the variants.
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

impl Language {
    /// The language chosen, or English before that.
    pub(crate) fn current() -> Self {
        CHOSEN.get().copied().unwrap_or_default()
    }

    /// Chooses the language of this process: that of `--lang`, or of the environment. Help and usage errors are in it
    /// too, so it is chosen before the arguments are parsed. The first choice holds.
    pub(crate) fn choose(arguments: &[OsString]) {
        let chosen = Self::of_arguments(arguments).or_else(|| Self::of_environment(|name| env::var(name).ok()));
        let _ = CHOSEN.set(chosen.unwrap_or_default());
    }

    fn of_arguments(arguments: &[OsString]) -> Option<Self> {
        let arguments = arguments.iter().take_while(|argument| *argument != "--");
        let arguments: Vec<_> = arguments.filter_map(|argument| argument.to_str()).collect();
        let mut named = arguments.windows(2).filter_map(|pair| match pair {
            ["--lang", name] => Some(*name),
            [_, argument] => argument.strip_prefix("--lang="),
            _ => None,
        });
        named.next_back().and_then(|name| Self::from_str(name, false).ok())
    }

    /// The first of these that is set and not empty decides (locale(7)).
    fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let locale =
            ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty())?;
        Some(if locale.starts_with("zh") { Self::Chinese } else { Self::English })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_decides_wherever_it_stands() {
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
            assert_eq!(Language::of_arguments(&arguments), language, "{line}");
        }
    }

    #[test]
    fn the_first_variable_that_is_set_decides() {
        let of = |all: &str, messages: &str, lang: &str| {
            Language::of_environment(|name| {
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
