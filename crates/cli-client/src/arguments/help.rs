//! Help in the language of the process: headings, flags and line breaks.

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::language::{Language, texts};

/// Maximum width of the help text, a common value.
const WIDTH: usize = 80;

/// Width of the text beside the longest option.
const TEXT_WIDTH: usize = 48;

/// Localizes a command and all its subcommands.
pub(super) fn localized(command: Command) -> Command {
    let version = Arg::new("version").short('V').long("version").action(ArgAction::Version).help(texts::version_flag());
    let mut command = localize(command.disable_version_flag(true).arg(version));
    // Clap adds its help subcommands here.
    command.build();
    localize_help(command)
}

fn localize(command: Command) -> Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help).help(texts::help_flag());
    let template = format!("{{about-with-newline}}\n{}: {{usage}}\n\n{{all-args}}{{after-help}}", texts::help_usage());
    command
        .disable_help_flag(true)
        .arg(help)
        .max_term_width(WIDTH)
        // The last occurrence of an option wins, as in other programs.
        .args_override_self(true)
        .help_template(template)
        .subcommand_help_heading(texts::help_commands())
        .mut_args(|argument| {
            let heading = match &argument {
                argument if argument.is_positional() => texts::help_arguments(),
                argument if argument.is_global_set() => texts::help_common(),
                _ => texts::help_options(),
            };
            let text = argument.get_help().map(wrapped).unwrap_or_default();
            let takes_values = argument.get_action().takes_values();
            let argument = argument.help_heading(heading).help(text);
            // Clap writes these in English. The help texts contain them where they matter.
            argument.hide_default_value(takes_values).hide_possible_values(takes_values)
        })
        .mut_subcommands(localize)
}

fn localize_help(command: Command) -> Command {
    command.mut_subcommands(|subcommand| match subcommand.get_name() {
        "help" => subcommand.about(texts::help_command()).disable_help_subcommand(true),
        _ => localize_help(subcommand),
    })
}

/// Breaks lines of Chinese text, which has no blanks for clap to break at.
fn wrapped(text: &StyledStr) -> String {
    let text = text.to_string();
    if Language::current() == Language::English {
        return text;
    }
    let mut wrapped = String::new();
    let mut column = 0;
    for word in words(&text) {
        if column > 0 && column + word.trim_end().width() > TEXT_WIDTH {
            wrapped.truncate(wrapped.trim_end().len());
            wrapped.push('\n');
            column = 0;
        }
        wrapped.push_str(word);
        column += word.width();
    }
    wrapped
}

/// Splits a text at possible line breaks: after a blank and next to a wide character, but not before closing or after
/// opening punctuation, and not inside the label of a default or variable such as `[默认：`.
fn words(text: &str) -> Vec<&str> {
    let is_wide = |character: char| character.width() == Some(2);
    let mut words = Vec::new();
    let (mut start, mut before, mut in_label) = (0, '（', false);
    for (at, after) in text.char_indices() {
        let may_end = before == ' ' || is_wide(before) || is_wide(after);
        if may_end && !in_label && before != '（' && !"，。；：、）] ".contains(after) {
            words.push(&text[start..at]);
            start = at;
        }
        in_label = after == '[' || in_label && after != '：';
        before = after;
    }
    words.push(&text[start..]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_break_inside_words_or_before_closing_punctuation() {
        for (text, split) in [
            ("服务", vec!["服", "务"]),
            ("服，务", vec!["服，", "务"]),
            ("--timeout 服", vec!["--timeout ", "服"]),
            ("服 a服（a）b", vec!["服 ", "a", "服", "（a）", "b"]),
            ("服 [环境变量：POWER_ADDR] 务", vec!["服 ", "[环境变量：", "POWER_ADDR] ", "务"]),
        ] {
            assert_eq!(words(text), split, "{text}");
        }
    }
}
