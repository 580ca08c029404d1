//! The pages of a server's admin listener. It depends on `program`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

use super::program::ServerProcess;

/// The maximum size of a document.
const MAX_BYTES: usize = 40_000;

/// Requests a page and returns the document. Checks its size, its headers, and that it has only what its policy allows.
pub fn document(server: &ServerProcess, path: &str, headers: &str) -> String {
    let (head, document) = server.request("GET", path, headers).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for header in [
        "content-type: text/html; charset=utf-8",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "x-frame-options: DENY",
        "referrer-policy: no-referrer",
    ] {
        assert!(head.lines().any(|line| line == header), "{header}: {head}");
    }
    assert!(!head.contains("access-control-"), "{head}");
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    let has = |directive: &str| policy.split("; ").any(|other| other == directive);
    for directive in [
        "default-src 'none'",
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        if document.contains("<form") { "form-action 'self'" } else { "form-action 'none'" },
        "frame-ancestors 'none'",
    ] {
        assert!(has(directive), "{directive}: {policy}");
    }
    for element in ["script", "style"] {
        let (_, text) = document.split_once(&format!("<{element}>")).unwrap();
        let (text, rest) = text.split_once(&format!("</{element}>")).unwrap();
        let hash = STANDARD.encode(digest(&SHA256, text.as_bytes()));
        assert!(has(&format!("{element}-src 'sha256-{hash}'")), "{element} {hash}: {policy}");
        assert!(!rest.contains(&format!("<{element}")), "the policy has one hash");
    }
    assert!(!document.contains(" style=") && !document.contains("src="), "the policy forbids them: {document}");
    assert!(document.len() < MAX_BYTES, "{path}: {} bytes", document.len());

    let (head_only, body) = server.request("HEAD", path, headers).unwrap();
    assert!(head_only.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head_only}{body}");
    document
}

/// Returns the text of the element with this ID, without the tags in it.
pub fn text_of(document: &str, id: &str) -> String {
    let (before, rest) = document.split_once(&format!(" id=\"{id}\"")).unwrap_or_else(|| panic!("no {id}: {document}"));
    let name = before.rsplit('<').next().unwrap().split(' ').next().unwrap();
    let (_, content) = rest.split_once('>').unwrap();
    let (content, _) = content.split_once(&format!("</{name}>")).unwrap();
    content.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect::<Vec<_>>().join(" ")
}
