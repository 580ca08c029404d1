//! Replays the fuzzer's corpus of configurations.

use proto::testing::properties::{configuration, replay};
use rps_server::config::Config;

#[test]
fn each_configuration_of_the_corpus_round_trips_or_is_rejected_with_a_reason() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/fuzz/corpus/configuration");
    replay(corpus, configuration::check::<Config>);
}
