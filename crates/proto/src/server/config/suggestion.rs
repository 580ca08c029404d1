//! Suggests the name that a mistyped name stands for.
//!
//! It depends on `strsim` only.

use std::fmt::Display;

use strsim::osa_distance;

/// Names longer than this, in bytes, get no suggestion: the distance takes time in proportion to the product of the
/// lengths, and a name from a file can be as long as the file.
const MAX_BYTES: usize = 100;

/// Returns the candidates that are similar to `unknown`, most often one or none.
///
/// A candidate is similar if it differs only in case. Without such a candidate, it is similar if `unknown` is its end
/// behind a `separator`, as in `max_connections` for `limits.max_connections`. Without such a candidate too, it is the
/// one with the smallest edit distance, if that is at most a quarter of the length of `unknown`, and from 1 to 3. Upper
/// and lower case are the same.
pub(super) fn similar_names<'a>(unknown: &str, candidates: &[&'a str], separator: char) -> Vec<&'a str> {
    if unknown.is_empty() || unknown.len() > MAX_BYTES {
        return Vec::new();
    }
    let unknown = unknown.to_lowercase();
    if let Some(same) = candidates.iter().find(|name| name.to_lowercase() == unknown) {
        return vec![same];
    }
    let suffix = format!("{separator}{unknown}");
    let mut similar = candidates.to_vec();
    similar.retain(|name| name.to_lowercase().ends_with(&suffix));
    if similar.is_empty() {
        let max_distance = (unknown.chars().count() / 4).clamp(1, 3);
        let distances = candidates.iter().map(|name| (osa_distance(&unknown, &name.to_lowercase()), *name));
        similar.extend(distances.filter(|(distance, _)| *distance <= max_distance).min().map(|(_, name)| name));
    }
    similar
}

/// Returns the end of an error message that suggests these names; empty without any.
pub(super) fn did_you_mean(names: impl IntoIterator<Item = impl Display>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("'{name}'")).collect();
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(" or ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggestion_is_similar_and_no_other_name_is_suggested() {
        let keys =
            ["admin.listen", "duel.listen", "duel.window", "level", "limits.max_connections", "log.level", "workers"];
        let similar = |unknown: &str| similar_names(unknown, &keys, '.');
        for (unknown, expected) in [
            ("worker", &["workers"][..]),
            ("WORKERS", &["workers"]),
            ("log_level", &["log.level"]),
            ("limits.max_conections", &["limits.max_connections"]),
            ("limit.max_connectoins", &["limits.max_connections"]),
            ("duel.widnow", &["duel.window"]),
            ("max_connections", &["limits.max_connections"]),
            ("listen", &["admin.listen", "duel.listen"]),
            ("LEVEL", &["level"]),
            ("", &[]),
            ("threads", &[]),
            ("limits.backlog", &[]),
            ("k1", &[]),
            ("timeouts.idle", &[]),
        ] {
            assert_eq!(similar(unknown), expected, "{unknown}");
        }
        let long = format!("limits.max_connections{}", " ".repeat(MAX_BYTES));
        assert!(similar(&long).is_empty(), "too long to compare");
        assert_eq!(did_you_mean(similar("listen")), "; did you mean 'admin.listen' or 'duel.listen'?");
        assert_eq!(did_you_mean(similar("threads")), "");
    }
}
