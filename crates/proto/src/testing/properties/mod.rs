//! Properties that hold for any bytes. The ordinary tests check them against the corpus, the targets in `fuzz/` against
//! what a fuzzer generates.

#[cfg(feature = "server")]
pub mod configuration;
pub mod power;
pub mod rps;

/// Calls `check` with every file of a target's corpus.
pub fn replay(corpus: &str, check: impl Fn(&[u8])) {
    let entries: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!entries.is_empty(), "{corpus} has no inputs");
    for entry in entries {
        println!("{}", entry.display());
        check(&std::fs::read(entry).unwrap());
    }
}

/// Cuts `bytes` into pieces whose lengths `cuts` gives, over and over: what several reads may deliver of them.
pub fn pieces<'a>(bytes: &'a [u8], cuts: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = cuts.iter().map(|&cut| usize::from(cut) % 19 + 1).cycle();
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (piece, behind) = rest.split_at(rest.len().min(lengths.next().unwrap_or(rest.len())));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}
