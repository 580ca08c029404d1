//! What the fuzzer has found worth keeping of configurations, played again.

#[path = "../../proto/tests/properties/mod.rs"]
mod properties;

#[path = "../../proto/tests/properties/configuration.rs"]
mod configuration;

use power_server::config::Config;

#[test]
fn a_configuration_is_read_as_it_prints_or_refused_with_its_reason() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/fuzz/corpus/configuration");
    properties::replay(corpus, configuration::check::<Config>);
}
