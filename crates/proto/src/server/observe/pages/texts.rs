//! All texts of the pages, in English and Chinese. A missing translation does not compile. It depends on `language`.

use crate::server::observe::language::Language;

/// The texts of one language.
pub(super) struct Texts {
    /// The pages with their paths, in the order of the navigation.
    pub(super) navigation: &'static [(&'static str, &'static str)],
    pub(super) pages: &'static str,
    pub(super) ready: &'static str,
    pub(super) draining: &'static str,
    pub(super) stale: &'static str,
}

const ENGLISH: Texts = Texts {
    navigation: &[("/", "Status")],
    pages: "Pages",
    ready: "ready",
    draining: "draining",
    stale: "The server does not reply. These values are old.",
};

const CHINESE: Texts = Texts {
    navigation: &[("/", "状态")],
    pages: "页面",
    ready: "就绪",
    draining: "正在排空",
    stale: "服务器没有应答，以下数值已过时。",
};

impl Texts {
    pub(super) const fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &ENGLISH,
            Language::Chinese => &CHINESE,
        }
    }
}
