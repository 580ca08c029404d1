#![no_main]

#[path = "../../tests/properties/configuration.rs"]
mod configuration;

use configuration::check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    check::<power_server::config::Config>(data);
    check::<rps_server::config::Config>(data);
});
