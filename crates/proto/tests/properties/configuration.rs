//! The configuration reader.

#![allow(clippy::unwrap_used, reason = "what fails here is a finding")]

use std::fmt::Debug;

use proto::server::config::layers::{Configuration, Layers, Origin};

/// Takes the first line for a setting as an argument gives it, and the others for a file.
pub(crate) fn check<C: Configuration + PartialEq + Debug>(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (setting, file) = text.split_once('\n').unwrap_or(("", text));
    let mut layers = Layers::<C>::of_defaults();
    layers.lay_file("a.toml".as_ref(), file);
    if let Some((key, value)) = setting.split_once('=') {
        layers.lay_text(key, value, Origin::Argument("--set".to_owned()));
        layers.lay_string(key, value, Origin::Variable("VARIABLE".to_owned()));
    }
    match layers.finish() {
        // What is right contradicts nothing, and prints as what reads as the same.
        Ok(config) => {
            assert!(config.contradictions().is_empty());
            let printed = toml::to_string(&config).unwrap();
            let mut again = Layers::<C>::of_defaults();
            again.lay_file("printed.toml".as_ref(), &printed);
            assert_eq!(again.finish().unwrap(), config, "{printed}");
        }
        // What is wrong is told, each problem with its origin.
        Err(problems) => {
            let text = problems.to_string();
            let origins = ["a.toml:", "--set:", "environment variable VARIABLE:", "the default:"];
            assert!(origins.iter().any(|origin| text.starts_with(origin)), "{text}");
        }
    }
}
