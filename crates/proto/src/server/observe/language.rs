//! The languages of the pages for operators. It depends on no other module.

/// A language of the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Chinese, in simplified characters.
    Chinese,
}

/// A text in every language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text in English.
    pub english: &'static str,
    /// The text in Chinese.
    pub chinese: &'static str,
}

impl Text {
    /// Creates a text.
    #[must_use]
    pub const fn new(english: &'static str, chinese: &'static str) -> Self {
        Self { english, chinese }
    }

    /// Returns the text in a language.
    pub(crate) const fn get(self, language: Language) -> &'static str {
        match language {
            Language::English => self.english,
            Language::Chinese => self.chinese,
        }
    }
}

impl Language {
    /// Chooses the language for a value of `Accept-Language` (RFC 9110, 12.5.4): the one with the highest quality, of
    /// equal ones the first. English if the value names no known language.
    pub(crate) fn accepted(value: &str) -> Self {
        let mut chosen = (Self::default(), 0.0);
        for item in value.split(',') {
            let (range, parameters) = item.split_once(';').unwrap_or((item, ""));
            let (_, quality) = parameters.split_once('=').unwrap_or(("q", "1"));
            // An invalid quality is that of a range that is not accepted.
            let quality: f32 = quality.trim().parse().unwrap_or(0.0);
            let primary = range.split('-').next().unwrap_or_default().trim();
            let language = match primary {
                _ if primary.eq_ignore_ascii_case("zh") => Self::Chinese,
                _ if primary.eq_ignore_ascii_case("en") || primary == "*" => Self::English,
                _ => continue,
            };
            if quality > chosen.1 {
                chosen = (language, quality);
            }
        }
        chosen.0
    }

    /// Returns the language tag (BCP 47).
    pub(crate) const fn tag(self) -> &'static str {
        Text::new("en", "zh-CN").get(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_with_the_highest_quality_is_chosen() {
        for (value, language) in [
            ("", Language::English),
            ("en", Language::English),
            ("zh-CN,zh;q=0.9,en;q=0.8", Language::Chinese),
            ("en-GB,en;q=0.9,zh;q=0.8", Language::English),
            ("zh;q=0.3, EN ; q=0.5", Language::English),
            ("en;q=0.2,ZH-Hant-TW;q=0.7", Language::Chinese),
            ("de,fr;q=0.9,zh;q=0.1", Language::Chinese),
            ("de, *;q=0.5, zh;q=0.4", Language::English),
            ("zh;q=0,en;q=0", Language::English),
            ("zh;q=x", Language::English),
            ("zh;q=NaN", Language::English),
            ("zhuang,zh-;q=0.1", Language::Chinese),
            (";;,==,-", Language::English),
        ] {
            assert_eq!(Language::accepted(value), language, "{value}");
        }
    }
}
