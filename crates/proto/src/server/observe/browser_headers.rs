//! The headers that restrict what a browser does with a response. It depends on no other module.
//!
//! A page has one inline style sheet and one inline script, and loads nothing else. The Content-Security-Policy names
//! both by their hashes, so a browser runs nothing else, even if a value in the page were not escaped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::Response;
use hyper::header::{HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use ring::digest::{SHA256, digest};

/// Returns the Content-Security-Policy of a page. `form_action` is where its forms may lead: `'none'` or `'self'`.
pub(crate) fn content_security_policy(style: &str, script: &str, form_action: &str) -> HeaderValue {
    let hash = |text: &str| BASE64.encode(digest(&SHA256, text.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action {form_action}; frame-ancestors 'none'",
        hash(script),
        hash(style)
    );
    // The text is ASCII, so it is valid. The other value would allow less.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// Adds the headers with which a browser shows a response only as what it is, in no frame, and to no other site.
pub(crate) fn protect<B>(mut response: Response<B>) -> Response<B> {
    const HEADERS: [(HeaderName, &str); 4] = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let headers = HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response.headers_mut().extend(headers);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_allows_only_its_own_style_and_script() {
        let policy = content_security_policy("", "alert(1)", "'none'");
        // printf 'alert(1)' | openssl dgst -sha256 -binary | base64
        let script = "script-src 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='; ";
        assert!(policy.to_str().unwrap().contains(script), "{policy:?}");
    }
}
