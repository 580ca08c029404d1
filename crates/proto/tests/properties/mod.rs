//! What has to hold for any bytes whatever: played against the corpus in the ordinary tests, and against what a fuzzer
//! thinks of in `fuzz/`. What holds for configurations stands beside, in a module for those who have any.

#![allow(clippy::unwrap_used, dead_code, reason = "what fails here is a finding, and not every user uses all of it")]

pub(crate) mod power;
pub(crate) mod rps;

/// Calls `check` with every file of a target's corpus.
#[allow(clippy::print_stdout, reason = "a test that fails shows which file it was that did it")]
pub(crate) fn replay(corpus: &str, check: impl Fn(&[u8])) {
    let entries: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!entries.is_empty(), "{corpus} has no inputs");
    for entry in entries {
        println!("{}", entry.display());
        check(&std::fs::read(entry).unwrap());
    }
}

/// Cuts `bytes` into pieces whose lengths `cuts` gives, over and over: what several reads may deliver of them.
pub(crate) fn pieces<'a>(bytes: &'a [u8], cuts: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = cuts.iter().map(|&cut| usize::from(cut) % 19 + 1).cycle();
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (piece, behind) = rest.split_at(rest.len().min(lengths.next().unwrap_or(rest.len())));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}
