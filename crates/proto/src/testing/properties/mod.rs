//! Properties that hold for any bytes. Ordinary tests check them with the stored corpus, the targets in `fuzz/` with
//! generated inputs.

#[cfg(feature = "server")]
pub mod configuration;
pub mod power;
pub mod proxy_header;
pub mod rps;
pub mod websocket;

/// Calls `check` with each file of a fuzz target's corpus.
pub fn replay(corpus: &str, check: impl Fn(&[u8])) {
    let entries: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!entries.is_empty(), "{corpus} has no inputs");
    for entry in entries {
        println!("{}", entry.display());
        check(&std::fs::read(entry).unwrap());
    }
}

/// Splits `bytes` into pieces, as several reads may deliver them. `cuts` determines the lengths and is repeated.
pub fn pieces<'a>(bytes: &'a [u8], cuts: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = cuts.iter().map(|&cut| usize::from(cut) % 19 + 1).cycle();
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (piece, remaining) = rest.split_at(rest.len().min(lengths.next().unwrap_or(rest.len())));
        rest = remaining;
        (!piece.is_empty()).then_some(piece)
    })
}
