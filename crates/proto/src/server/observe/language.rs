//! The languages of the pages for operators. It depends on `preferences`.

use std::cmp::Reverse;

use super::preferences::Preference;

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
    /// All languages, in the order of the variants.
    pub(crate) const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// Chooses the language for the ranges of `Accept-Language` (RFC 9110, 12.5.4): the one with the highest quality,
    /// of equal ones the first. `*` is for each language that has no range. English if no language is acceptable.
    pub(super) fn accepted(ranges: &[Preference<'_>]) -> Self {
        let best = |is_meant: &dyn Fn(&str) -> bool| {
            let meant = ranges.iter().enumerate().filter(|(_, preference)| is_meant(preference.range));
            meant.map(|(index, preference)| (preference.quality, Reverse(index))).max()
        };
        let primary = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
        let rank = |language: Self| {
            let own = best(&|range| primary(range) == primary(language.tag()));
            own.or_else(|| best(&|range| range == "*")).filter(|(quality, _)| *quality > 0)
        };
        let ranked = Self::ALL.into_iter().filter_map(|language| Some((rank(language)?, language)));
        let better = |one: (_, Self), other: (_, Self)| if other.0 > one.0 { other } else { one };
        ranked.reduce(better).map_or(Self::default(), |(_, language)| language)
    }

    /// Returns the language tag (BCP 47).
    pub(crate) const fn tag(self) -> &'static str {
        Text::new("en", "zh-CN").get(self)
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::ACCEPT_LANGUAGE;

    use super::*;
    use crate::server::observe::preferences::preferences;
    use crate::server::observe::preferences::tests::headers;

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
            ("zh;q=x,*", Language::English),
            ("zhuang,zh-;q=0.1", Language::Chinese),
            (";;,==,-", Language::English),
            ("*", Language::English),
            ("zh, *", Language::Chinese),
            ("*, zh", Language::English),
            ("en;q=0, *", Language::Chinese),
            ("en;q=0.1, *;q=0.2", Language::Chinese),
            ("zh;q=0, *;q=0.1", Language::English),
            ("zh;q=0, *;q=0", Language::English),
            ("zh;Q=0.9, en;q=0.8", Language::Chinese),
        ] {
            let headers = headers(&ACCEPT_LANGUAGE, &[value]);
            assert_eq!(Language::accepted(&preferences(&headers, &ACCEPT_LANGUAGE)), language, "{value}");
        }
    }
}
