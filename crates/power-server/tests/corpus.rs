//! What the fuzzer has found worth keeping of configurations, played again.

use power_server::config::Config;
use proto::testing::properties::{configuration, replay};

#[test]
fn a_configuration_is_read_as_it_prints_or_refused_with_its_reason() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/fuzz/corpus/configuration");
    replay(corpus, configuration::check::<Config>);
}
