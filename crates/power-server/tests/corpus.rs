//! Replays the fuzzer's corpus of configurations.

use power_server::config::Config;
use proto::testing::properties::{configuration, replay};

#[test]
fn a_configuration_reads_back_as_printed_or_has_an_error_that_names_its_source() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/fuzz/corpus/configuration");
    replay(corpus, configuration::check::<Config>);
}
